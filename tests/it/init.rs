//! `imgplan init`: from an empty home and a fresh checkout to a plan in two commands.

use insta::assert_snapshot;

use crate::layouts::{self, Layout, edges, short};
use crate::support::TestEnv;

/// Targets and edges of a layout after `imgplan init`, in a folder with the name `work`.
fn expected(name: &str, layout: &Layout) -> (Vec<String>, Vec<String>) {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let named = |name: fn(&str) -> Option<String>| {
        layout.files.iter().filter_map(|(path, _)| name(path)).collect::<Vec<_>>()
    };
    let mut edges: Vec<String> = texts(layout.edges);
    let mut targets = match name {
        // Other Dockerfiles mean Docker Hub's `debian`.
        "agents" => texts(&["agents-debian", "alpine", "slim", "work-debian"]),
        // Its manifest gives them a tag.
        "browsers" => {
            edges = texts(&["hub -> base", "node-base -> base", "node-firefox -> node-base"]);
            texts(&["base", "hub", "node-base", "node-firefox"])
        }
        "frameworks" => {
            // Its manifest leaves one image out.
            for version in ["8.0", "9.0"] {
                let tag = format!("{version}-alpine3.20-arm64v8");
                edges.push(format!("sdk:{tag} -> runtime:{tag}"));
            }
            let images = named(|path| {
                let path = path.strip_prefix("src/")?.strip_suffix("/Dockerfile")?;
                Some(path.replacen('/', ":", 1).replace('/', "-"))
            });
            assert_eq!(images.len(), 24);
            images
        }
        // Its Dockerfiles mean names that its manifest makes up.
        "job_files" => {
            edges.clear();
            texts(&["base", "etl", "old-etl", "report"])
        }
        "namesakes" => texts(&["base", "curl", "firefox-alpine", "htop", "tor", "wget"]),
        "services" => {
            named(|path| Some(path.strip_prefix("src/")?.strip_suffix("/Dockerfile")?.to_owned()))
        }
        "stacks" => named(|path| {
            Some(path.strip_prefix("images/")?.strip_suffix("/Dockerfile")?.to_owned())
        }),
        "stages" => texts(&["work"]),
        "tasks" => {
            edges.clear();
            texts(&["base", "find", "ready:20251101", "sort:20251101"])
        }
        "versions" => named(|path| {
            let path = path.strip_prefix("dockerfiles/")?.strip_suffix(".Dockerfile")?;
            Some(path.replace('_', ":"))
        }),
        _ => panic!("{name} has no expectation"),
    };
    targets.sort();
    edges.sort();
    (targets, edges)
}

/// Returns the targets that are planned, sorted.
fn planned(env: &TestEnv) -> Vec<String> {
    let changes = env.ok(["plan", "--json"]).events("planned_change");
    let target = |event: &serde_json::Value| short(event["change"]["image"].as_str().unwrap());
    let mut targets: Vec<String> = changes.iter().map(target).collect();
    targets.sort();
    targets
}

#[test]
fn ten_layouts_are_planned_after_two_commands() {
    for (name, layout) in layouts::all() {
        let mut env = TestEnv::new();
        env.unset("PRIME_API_KEY").unset("PRIME_API_BASE_URL");
        for (path, text) in &layout.files {
            env.write(path, text);
        }
        env.ok(["init", "--yes"]).says("Next: imgplan plan");
        let (targets, expected_edges) = expected(name, &layout);
        assert_eq!(planned(&env), targets, "{name}");
        assert_eq!(edges(&env), expected_edges, "{name}");
        env.run(["init", "--yes"]).code(1).says("imgplan.yaml already exists");
    }
}

/// Two images, and a Compose file.
fn shop() -> TestEnv {
    let env = TestEnv::new();
    env.context("images/base", "FROM scratch\n");
    env.context("services/api", "FROM base\nCOPY run.sh /\n").write("services/api/run.sh", "run\n");
    env.write("compose.yaml", "services: {}\n");
    env
}

#[test]
fn the_proposal_is_shown_and_written() {
    let env = shop();
    assert_snapshot!(env.ok(["init", "--yes"]).shown(), @r"
    exit 0
    --- stdout
    # yaml-language-server: $schema=imgplan.schema.json
    # Proposed by `imgplan init`.
    version: 1

    images:
      - name: base
        context: images/base
      - name: api
        context: services/api
    --- stderr
    Found compose.yaml, which may declare the same images: use it or the proposal. To convert it: imgplan convert --from compose compose.yaml -o compose.imgplan.yaml
    Wrote imgplan.yaml with 2 entries.
    Next: imgplan plan
    ");
    env.ok(["validate"]);
    assert_eq!(edges(&env), ["api -> base"]);
    assert_eq!(env.server().requests(), [""; 0]);
    assert!(!env.exists(".imgplan") && !env.exists("imgplan.lock"));
}

#[test]
fn nothing_is_written_without_approval() {
    let env = shop();
    let declined = env.run(["init"]);
    declined.code(4).says("  - name: api").says("Write imgplan.yaml? [y/N]");
    declined.says("Nothing was written.").says("To write it without a terminal, use --yes.");
    env.call(["init"]).stdin("Y es\n").run().code(4).says("Nothing was written.");
    assert!(!env.exists("imgplan.yaml"));
    env.call(["init"]).stdin("y\n").run().code(0).says("Wrote imgplan.yaml");
    let elsewhere = shop();
    elsewhere.ok(["-C", "services", "init", "-y"]).says("Next: imgplan plan -C services");
    assert!(elsewhere.exists("services/imgplan.yaml") && !elsewhere.exists("imgplan.yaml"));
}

#[cfg(unix)]
#[test]
fn a_person_answers_on_a_terminal() {
    let env = shop();
    for (keys, message) in [
        ("no\r", "Nothing was written."),
        ("\x04", "Nothing was written."),
        ("yes\r", "Next: imgplan plan"),
    ] {
        assert!(!env.exists("imgplan.yaml"));
        let mut terminal = env.call(["init"]).start_on_terminal();
        terminal.wait_for("  - name: api\r\n");
        terminal.wait_for("Write imgplan.yaml? [y/N] ");
        terminal.type_in(keys);
        terminal.wait_for(message);
    }
    env.ok(["validate"]);
}

#[test]
fn a_manifest_is_never_overwritten() {
    for name in ["imgplan.yaml", "imgplan.yml"] {
        let env = shop();
        env.write(name, "mine\n");
        env.run(["init", "--yes"]).code(1).says(&format!("{name} already exists"));
        assert_eq!(env.read(name), "mine\n");
    }
}

#[test]
fn files_of_other_tools_are_named_with_their_commands() {
    let env = TestEnv::new();
    env.run(["init", "--yes"]).code(1).says("found no Dockerfile and no Harbor task");
    env.write("docker-bake.json", "{}").write("ci/docker-bake.hcl", "").write("regsync.yml", "");
    env.write("mirror/skopeo.yaml", "").write("-x/compose.dev.yaml", "");
    let output = env.run(["init", "--yes"]);
    output.code(1);
    for command in [
        "imgplan convert --from bake docker-bake.json -o docker-bake.imgplan.yaml",
        "docker buildx bake --print -f ci/docker-bake.hcl | imgplan convert --from bake - -o ci/",
        "imgplan convert --from compose ./-x/compose.dev.yaml -o ./-x/compose.dev.imgplan.yaml",
        "imgplan convert --from regsync regsync.yml -o regsync.imgplan.yaml",
        "imgplan convert --from skopeo mirror/skopeo.yaml -o mirror/skopeo.imgplan.yaml",
    ] {
        output.says(command);
    }
    assert!(!env.exists("imgplan.yaml"));
}

/// Tasks of two folders that share names and an image to mirror.
#[test]
fn tasks_of_several_folders_get_names_of_their_own() {
    let env = TestEnv::new();
    for folder in ["easy", "hard"] {
        env.write(&format!("{folder}/sort/task.toml"), "");
        env.context(&format!("{folder}/sort/environment"), "FROM scratch\n");
        let task = format!("{folder}/ready");
        env.write(&format!("{task}/environment/.keep"), "");
        env.write(&format!("{task}/task.toml"), "[environment]\ndocker_image = 'quay.io/a/b:1'\n");
    }
    env.context("tools/sort", "FROM scratch\n");
    env.ok(["init", "--yes"]);
    assert_eq!(planned(&env), ["easy-ready:1", "easy-sort", "hard-ready:1", "hard-sort", "sort"]);
}

/// Files that are no Dockerfiles, and one that needs the value of an argument.
#[test]
fn dockerfiles_that_no_plan_can_have_are_left_out() {
    let env = TestEnv::new();
    for name in ["a", "b", "c", "d"] {
        env.context(&format!("s/{name}"), "FROM scratch\n");
    }
    env.context("s/broken", "FRM scratch\n").context("s/open", "ARG BASE\nFROM $BASE\n");
    let output = env.ok(["init", "--yes"]);
    output.says("note: left out s/broken/Dockerfile: unknown instruction `FRM`");
    output.says("note: left out s/open/Dockerfile: `$BASE` is not an image name");
    output.says("`- {name: open, context: s/open, args: {BASE: ...}}`");
    assert_eq!(planned(&env), ["a", "b", "c", "d"]);
    assert!(env.read("imgplan.yaml").contains("exclude: [s/broken, s/open]"));
    env.run(["-C", "s/open", "init", "--yes"])
        .code(1)
        .says("a parent folder has a manifest: ../..");
    let none = TestEnv::new();
    none.context("a", "FRM scratch\n").context("b", "ARG X\nFROM $X\n");
    none.run(["init", "--yes"]).code(1).says("none of the 2 Dockerfiles can be proposed");
    assert!(!none.exists("imgplan.yaml"));
}

/// Paths that a pattern finds, and that are no images.
#[cfg(unix)]
#[test]
fn patterns_exclude_what_is_no_image() {
    use std::os::unix::fs::symlink;
    let env = TestEnv::new();
    for name in ["a", "b", "c", "d", "e", "node_modules", "vendor"] {
        env.context(&format!("s/{name}"), "FROM scratch\n");
        env.write(&format!("f/{name}-x.Dockerfile"), "FROM scratch\n");
    }
    env.context("s/own/sub", "FROM scratch\n").write("s/own/imgplan.yaml", "mine\n");
    env.context("s/own", "FROM scratch\n");
    env.write("s/a/AGENTS.md", "");
    symlink("AGENTS.md", env.path("s/a/CLAUDE.md")).unwrap();
    symlink("a", env.path("s/link")).unwrap();
    symlink("a-x.Dockerfile", env.path("f/x.Dockerfile")).unwrap();
    env.write("s/pipe/.keep", "");
    let pipe = env.path("s/pipe/Dockerfile");
    assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    let output = env.ok(["init", "--yes"]);
    output.says("note: left out f/x.Dockerfile: it is a link");
    output.says("1 folder left out, with a manifest of its own: s/own/imgplan.yaml");
    output.says("2 folders left out as build output or foreign code: s/node_modules, s/vendor");
    let manifest = env.read("imgplan.yaml");
    for exclude in ["[s/link, s/node_modules, s/own, s/pipe, s/vendor]", "[f/x.Dockerfile]"] {
        assert!(manifest.contains(exclude), "{manifest}");
    }
}

#[test]
fn an_invalid_proposal_is_not_written() {
    let env = TestEnv::new();
    env.context("a", "FROM b\n").context("b", "FROM a\n");
    let output = env.run(["init", "--yes"]);
    output.code(1).says("1 problem in the proposal, which was not written");
    assert!(!env.exists("imgplan.yaml"));
}

#[cfg(unix)]
#[test]
fn a_folder_for_no_manifest_is_refused_first() {
    use std::os::unix::fs::PermissionsExt;
    let env = shop();
    std::fs::set_permissions(env.path("."), PermissionsExt::from_mode(0o555)).unwrap();
    // Root may write everywhere.
    if std::fs::write(env.path("test"), "").is_err() {
        let output = env.run(["init", "--yes"]);
        output.code(1).says("cannot create imgplan.yaml").never_says("name: api");
    }
    std::fs::set_permissions(env.path("."), PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn a_manifest_in_the_context_is_noted() {
    let env = TestEnv::new();
    env.context(".", "FROM scratch\nCOPY . /app\n");
    let note = "add `imgplan.yaml` to .dockerignore";
    env.run(["init"]).code(4).says(note);
    env.write(".dockerignore", "*.yaml\n");
    env.ok(["init", "--yes"]).never_says(note);
}

#[test]
fn tasks_without_an_image_are_no_tasks() {
    let env = TestEnv::new();
    env.write("t/a/task.toml", "").write("t/a/environment/.keep", "");
    env.run(["init", "--yes"]).code(1).says("found no Dockerfile and no Harbor task");
}

/// Names of folders that would be read as something else than names.
#[cfg(unix)]
#[test]
fn hostile_names_stay_names() {
    let env = TestEnv::new();
    let names = [
        "a\n  - source: evil",
        "b: {c}",
        "${HOME}",
        "\u{1b}[2J##[error]",
        "'\"\\",
        "#x",
        "::error::y",
        "null",
        "&a *b",
    ];
    for name in names {
        env.context(name, "FROM scratch\n");
        env.write(&format!("{name}/docker-compose.yml"), "");
    }
    env.write("name\u{1b}[1m\n::error::z.Dockerfile", "FROM scratch\n");
    let output = env.ok(["init", "--yes"]);
    for unsafe_text in ["\u{1b}", "\n::", "##[", "\n  - source"] {
        output.never_says(unsafe_text);
    }
    assert_eq!(planned(&env).len(), names.len() + 1);
}

#[cfg(unix)]
#[test]
fn nothing_outside_of_the_folder_is_read() {
    use std::os::unix::fs::symlink;
    let env = TestEnv::new();
    env.write(".git/HEAD", "").context("repo/app", "FROM scratch\n");
    env.context("outside/base", "FROM secret\n").write("outside/task.toml", "secret");
    symlink("../../outside", env.path("repo/app/out")).unwrap();
    symlink("../../outside/base/Dockerfile", env.path("repo/app/base.Dockerfile")).unwrap();
    symlink("../../outside/task.toml", env.path("repo/app/task.toml")).unwrap();
    std::fs::create_dir(env.path("repo/app/environment")).unwrap();
    let output = env.ok(["-C", "repo", "init", "--yes"]);
    output.never_says("secret").says("left out app/base.Dockerfile: it is a link");
    let manifest = env.read("repo/imgplan.yaml");
    assert!(manifest.ends_with("images:\n  - name: app\n    context: app\n"), "{manifest}");
    // Nor is anything written there.
    symlink("../outside/written", env.path("repo/imgplan.yml")).unwrap();
    std::fs::remove_file(env.path("repo/imgplan.yaml")).unwrap();
    env.run(["-C", "repo", "init", "--yes"]).code(1).says("imgplan.yml already exists");
    assert!(!env.exists("outside/written") && !env.exists("repo/imgplan.yaml"));
}
