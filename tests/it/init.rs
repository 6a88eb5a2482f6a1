//! `imgplan init`: from an empty home and a fresh checkout to a plan in two commands.

use insta::assert_snapshot;

use crate::layouts::{self, edges, short};
use crate::support::TestEnv;

/// Targets of a layout after `imgplan init`, whose folder is `work`.
fn expected(layout: &str, files: &[(String, String)]) -> Vec<String> {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let folders = |from: &'static str| {
        let names = files.iter().filter_map(move |(path, _)| path.strip_prefix(from));
        names.filter_map(|path| Some(path.strip_suffix("/Dockerfile")?.replace('/', "-")))
    };
    let mut targets: Vec<String> = match layout {
        // Other Dockerfiles mean Docker Hub's `debian`.
        "agents" => texts(&["agents-debian", "alpine", "slim", "work-debian"]),
        "browsers" => texts(&["base", "hub", "nodebase", "nodefirefox"]),
        "frameworks" | "services" => folders("src/").collect(),
        "job_files" => texts(&["base", "etl", "old-etl", "report"]),
        "namesakes" => texts(&["base", "curl", "firefox-alpine", "htop", "tor", "wget"]),
        "stacks" => folders("images/").collect(),
        "stages" => texts(&["work"]),
        "tasks" => texts(&["base", "find", "ready:20251101", "sort:20251101"]),
        "versions" => {
            let names = files.iter().filter_map(|(path, _)| path.strip_prefix("dockerfiles/"));
            names.map(|name| name.trim_end_matches(".Dockerfile").to_owned()).collect()
        }
        _ => panic!("{layout} has no expectation"),
    };
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
        let plan = env.ok(["plan", "--local", "--json"]);
        let target = |event: serde_json::Value| short(event["change"]["image"].as_str().unwrap());
        let mut targets: Vec<String> =
            plan.events("planned_change").into_iter().map(target).collect();
        targets.sort();
        assert_eq!(targets, expected(name, &layout.files), "{name}");
        env.ok(["validate"]);
        env.ok(["plan"]).says("to create");
        match name {
            // All Dockerfiles name their bases by the references under which they are published.
            "stacks" => assert_eq!(edges(&env), layout.edges),
            "namesakes" => assert_eq!(edges(&env), ["tor -> base"]),
            "browsers" => assert_eq!(edges(&env), ["hub -> base", "nodebase -> base"]),
            _ => {}
        }
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
    Found compose.yaml, which is not part of the proposal. To convert it: imgplan convert --from compose compose.yaml -o compose.imgplan.yaml
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
    declined.code(4).says("Write imgplan.yaml? Only \"yes\" is accepted:").says("--yes");
    env.call(["init"]).stdin("y\n").run().code(4).says("Nothing was written.");
    assert!(!env.exists("imgplan.yaml"));
    env.call(["init"]).stdin("yes\n").run().success();
    env.ok(["validate"]);
    // The flag of `imgplan apply` does the same.
    let other = shop();
    other.ok(["init", "--auto-approve"]);
    assert!(other.exists("imgplan.yaml"));
    let elsewhere = shop();
    let output = elsewhere.ok(["-C", "services", "init", "-y"]);
    output.says("Next: imgplan plan -C services");
    assert!(elsewhere.exists("services/imgplan.yaml") && !elsewhere.exists("imgplan.yaml"));
}

#[test]
fn a_manifest_is_never_overwritten() {
    for name in ["imgplan.yaml", "imgplan.yml"] {
        let env = shop();
        env.write(name, "mine\n");
        env.run(["init", "--yes"]).code(1).says(&format!("{name} exists, and is not overwritten"));
        assert_eq!(env.read(name), "mine\n");
    }
}

#[test]
fn files_of_other_tools_are_named_with_their_commands() {
    let env = TestEnv::new();
    env.run(["init", "--yes"]).code(1).says("found no Dockerfile and no Harbor task");
    env.write("docker-bake.json", "{}").write("ci/docker-bake.hcl", "").write("regsync.yml", "");
    env.write("mirror/skopeo.yaml", "");
    let output = env.run(["init", "--yes"]);
    output.code(1);
    for command in [
        "imgplan convert --from bake docker-bake.json -o imgplan.yaml",
        "docker buildx bake --print -f ci/docker-bake.hcl | imgplan convert --from bake -",
        "imgplan convert --from regsync regsync.yml",
        "imgplan convert --from skopeo mirror/skopeo.yaml",
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
        let task = format!("{folder}/{folder}-ready");
        env.write(&format!("{task}/environment/.keep"), "");
        env.write(&format!("{task}/task.toml"), "[environment]\ndocker_image = 'quay.io/a/b:1'\n");
    }
    env.context("tools/sort", "FROM scratch\n");
    env.ok(["init", "--yes"]);
    let changes = env.ok(["plan", "--json"]).events("planned_change");
    let target = |event: &serde_json::Value| short(event["change"]["image"].as_str().unwrap());
    let mut targets: Vec<String> = changes.iter().map(target).collect();
    targets.sort();
    assert_eq!(targets, ["b:1", "hard-hard-ready:1", "hard-sort", "sort", "tools-sort"]);
    // One task that does not parse would stop all of its folder.
    env.write("hard/sort/task.toml", "[");
    std::fs::remove_file(env.path("imgplan.yaml")).unwrap();
    env.ok(["init", "--yes"]).says("left out the tasks in hard: tasks.sort: ");
    env.ok(["validate"]);
}

#[test]
fn a_dockerfile_with_errors_is_proposed() {
    let env = shop();
    env.context("broken", "FRM scratch\n").context("open", "ARG BASE\nFROM $BASE\n");
    let output = env.ok(["init", "--yes"]);
    output.says("open/Dockerfile uses `$BASE`: give its variables values under `args:`.");
    env.run(["validate"]).code(1).says("FRM").says("$BASE");
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
    assert!(!output.all().contains("secret") && !output.all().contains("base"), "{output}");
    let manifest = env.read("repo/imgplan.yaml");
    assert!(manifest.ends_with("images:\n  - name: app\n    context: app\n"), "{manifest}");
}
