//! Common mistakes in manifests with many images, and their messages.

use std::fmt::Write as _;

use imgplan::test_support::manifest::workspace::{Origin, Unit};
use imgplan::test_support::manifest::{Invocation, Workspace};

use super::support::TestEnv;

fn invocation(env: &TestEnv) -> Invocation {
    Invocation::file(env.path("imgplan.yaml"))
}

fn load(env: &TestEnv) -> Workspace {
    Workspace::load(&invocation(env), &|_| None)
        .unwrap_or_else(|error| panic!("{:#?}", error.problems))
}

/// Returns each problem or warning on one line: `message | help`.
fn messages(env: &TestEnv, invocation: &Invocation) -> Vec<String> {
    let problems = match Workspace::load(invocation, &|_| None) {
        Ok(workspace) => workspace.warnings,
        Err(error) => error.problems,
    };
    let line = |p: imgplan::test_support::base::span::Problem| {
        assert!(!p.labels.is_empty(), "{p} has no span");
        format!("{} | {}", p.message, p.help.unwrap_or_default())
    };
    let dir = env.path("").display().to_string();
    problems.into_iter().map(|p| line(p).replace(dir.trim_end_matches('/'), "DIR")).collect()
}

fn unit<'w>(workspace: &'w Workspace, key: &str) -> &'w Unit {
    let unit = workspace.units.iter().find(|unit| unit.key.to_string() == key);
    unit.unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn errors_in_one_long_line_are_readable() {
    let env = TestEnv::at("http://127.0.0.1:1");
    let mut text = "{\"version\": 1, \"images\": [".to_owned();
    for n in 0..2000 {
        write!(text, "{{\"source\": \"docker.io/library/redis:{n}\"}}, ").unwrap();
    }
    text.push_str("{\"source\": \"a b\"}]}");
    assert!(text.len() > 79_000);
    env.write("gen.json", &text);
    let rejected = env.run(["validate", "-f", "gen.json"]);
    rejected.code(1).says("`a b` is not an image reference").says("\"a b\"").says("…");
    rejected.says(&format!("gen.json:1:{}", text.find("\"a b\"").unwrap() + 1));
    assert!(rejected.stderr.lines().all(|line| line.chars().count() < 300), "{rejected}");
    let line = format!("{{\"note\": \"{}\", \"source\": \"redis:7\"}}\n", "x".repeat(70_000));
    env.write("refs.jsonl", line);
    env.write("imgplan.yaml", "version: 1\nimages:\n  - sources_from: refs.jsonl\n");
    let rejected = env.run(["validate"]);
    rejected.code(1).says("unknown key `note`");
    assert!(rejected.stderr.lines().all(|line| line.chars().count() < 300), "{rejected}");
}

#[test]
fn the_rows_of_a_matrix_share_files_and_folders() {
    let env = TestEnv::at("http://127.0.0.1:1");
    env.context("services/api", "FROM scratch\n").write("services/none/file", "");
    env.write("refs.txt", "redis:7\nubuntu:22.04\n");
    env.write("tasks/one/task.toml", "[environment]\ndocker_image = 'busybox:1'\n");
    env.write("tasks/one/environment/x", "");
    env.write(
        "imgplan.yaml",
        "version: 1
images:
  - {sources_from: refs.txt, tag: \"${R}\", matrix: {R: [a, b, c]}}
  - {discover: {harbor: tasks}, tag: \"${R}\", matrix: {R: [a, b, c]}}
  - {discover: {glob: \"services/*\"}, tag: \"${R}\", matrix: {R: [a, b, c]}}
",
    );
    let workspace = load(&env);
    assert_eq!(workspace.units.len(), 12);
    for name in ["redis", "ubuntu", "busybox"] {
        let spans = ["a", "b", "c"].map(|row| unit(&workspace, &format!("{name}:{row}")).span);
        assert!(
            spans.iter().all(|span| *span == spans[0]),
            "{name} is read more than once: {spans:?}"
        );
    }
    let skipped: Vec<_> = workspace.skipped.iter().map(|skipped| &skipped.reason).collect();
    assert_eq!(skipped, ["it has no Dockerfile"], "folders are searched for more than once");
}

#[test]
fn rows_stop_at_the_maximum_number_of_images() {
    let env = TestEnv::at("http://127.0.0.1:1");
    let list = (0..60_000).fold(String::new(), |list, n| format!("{list}a{n}:1\n"));
    env.write("refs.txt", list);
    env.write(
        "imgplan.yaml",
        "version: 1\nimages:\n  - {sources_from: refs.txt, tag: \"${R}\", matrix: {R: [a, b, c, d]}}\n",
    );
    let messages = messages(&env, &invocation(&env));
    assert!(messages[0].starts_with("the manifest has more than"), "{messages:?}");
}

#[test]
fn templates_are_filled_in_in_all_keys() {
    let env = TestEnv::at("http://127.0.0.1:1");
    let dockerfile = "ARG DIR\nARG JSON\nFROM scratch AS api\nFROM scratch AS web\nFROM scratch\n";
    for name in ["api", "web"] {
        env.context(&format!("s/{name}"), "FROM scratch\n");
        env.write(&format!("s/{name}/{name}.Dockerfile"), dockerfile);
        env.context(&format!("b/{name}"), "FROM scratch\n");
    }
    env.write(
        "imgplan.yaml",
        "version: 1
images:
  - discover: {glob: \"s/*\"}
    dockerfile: \"{dir}.Dockerfile\"
    target: \"{dir}\"
    args: {DIR: \"{path}\", JSON: '{\"a\": \"{os} {arch}\"}'}
    labels: {at: \"{parent}/{dir}\", other: \"{unknown} $${dir}\"}
    groups: [\"of-{dir}\"]
    needs: [\"base-{dir}\"]
  - discover: {glob: \"b/*\"}
    name: \"base-{dir}\"
  - sources: [ghcr.io/org/tool:2]
    labels: {from: \"{registry} {path} {name} {tag}\"}
",
    );
    let workspace = load(&env);
    let web = unit(&workspace, "web:latest");
    let Origin::Build(build) = &web.origin else { panic!("it is built") };
    assert!(build.dockerfile_path.ends_with("s/web/web.Dockerfile"), "{build:?}");
    assert_eq!(build.target.as_deref(), Some("web"));
    assert_eq!(build.args["DIR"], "s/web");
    assert_eq!(build.args["JSON"], "{\"a\": \"{os} amd64\"}");
    assert_eq!(web.labels["at"], "s/web");
    assert_eq!(web.labels["other"], "{unknown} ${dir}");
    assert_eq!(web.groups.iter().collect::<Vec<_>>(), ["of-web"]);
    let needs: Vec<_> = web.needs.iter().map(|id| workspace.unit(*id).key.to_string()).collect();
    assert_eq!(needs, ["base-web:latest"]);
    assert_eq!(unit(&workspace, "tool:2").labels["from"], "ghcr.io org/tool tool 2");
}

/// Returns the messages for a manifest, next to the folders of [`with_images`].
fn messages_of(images: &str) -> Vec<String> {
    let env = with_images(images);
    messages(&env, &invocation(&env))
}

/// Creates an environment with a manifest and the folders `app` and `services/{api,web}`.
fn with_images(images: &str) -> TestEnv {
    let env = TestEnv::at("http://127.0.0.1:1");
    env.context("app", "ARG PY\nFROM scratch\n").context("services/api", "FROM scratch\n");
    env.context("services/web", "FROM scratch\n");
    env.context("upper", "FROM localhost:5000/UPPER:1\n");
    env.write("imgplan.yaml", format!("version: 1\n{images}"));
    env
}

#[test]
fn mistakes_are_reported() {
    for (images, expected) in [
        (
            "images: [{name: a, context: app, args: {PY: $PY}}]",
            &["`$PY` is not replaced by a variable | write `${PY}` for the variable, or `$$PY`"][..],
        ),
        ("images: [{name: a, context: app, args: {PY: $$PY}}]", &[]),
        (
            "defaults: {labels: {x: a-$Y}}\nimages: [{name: a, context: app}]",
            &["`$Y` is not replaced by a variable | write `${Y}` for the variable, or `$$Y`"],
        ),
        (
            "images: [{discover: {glob: 'services/*', exclude: [services/wep]}}]",
            &["`services/wep` excludes nothing | did you mean `services/web`?"],
        ),
        ("images: [{discover: {glob: 'services/*', exclude: [services/web]}}]", &[]),
        (
            "images: [{discover: {glob: 'services/*.Dockerfile'}}]",
            &[
                "no folder matches `services/*.Dockerfile` | to find Dockerfiles, write `dockerfiles:` instead of `glob:`",
            ],
        ),
        (
            "images: [{discover: {dockerfiles: 'services/*.Dockerfile'}}]",
            &["no file matches `services/*.Dockerfile` | patterns are relative to the folder"],
        ),
        (
            "images: [{discover: {dockerfiles: 'services/*/Dockerfile'}, dockerfile: x}]",
            &["`dockerfile` and `dockerfiles` exclude each other | remove it"],
        ),
        (
            "images: [{discover: {dockerfiles: 'services/*/Dockerfile', harbor: services}}]",
            &["`discover` has one of `glob`, `dockerfiles` and `harbor` | make two entries"],
        ),
        (
            "images: [{discover: {glob: 'services/*'}, name: '${dir}'}]",
            &["the variable `dir` is not set | write `{dir}`: a placeholder has no `$`"],
        ),
        (
            "images: [{discover: {harbor: services}, context: .}]",
            &["a Harbor task has its own context | remove it"],
        ),
        ("images: [{discover: {glob: 'services/*'}, context: .}]", &[]),
        ("images: [{discover: {glob: 'services/*'}, context: nowhere}]", &["there is no folder "]),
        (
            "images: [{discover: {glob: 'services/{api,web}'}}]",
            &[
                "patterns have no `{a,b}`: write one pattern for each | write a pattern like `services/*` or `services/**`",
            ],
        ),
        (
            "defaults: {tag: '${PY}'}\nimages: [{name: a, context: app, matrix: {PY: ['1', '2']}}]",
            &[
                "`PY` is a matrix variable and has no value outside of its entry | move this into the entry with the matrix",
            ],
        ),
        (
            "defaults: {tag: '${PY}'}\nimages: [{name: a, context: app, matrix: [{PY: '1'}, {PY: '2'}]}]",
            &["`PY` is a matrix variable and has no value outside of its entry"],
        ),
        (
            "defaults: {tag: '${PY}'}\nimages: [{name: a, context: app, matrix: {A: [b], include: [{PY: '1'}]}}]",
            &["`PY` is a matrix variable and has no value outside of its entry"],
        ),
        (
            "images: [{name: a, context: app, tag: '${PY}', matrix: [{PY: '1'}, {OS: b}]}]",
            &[
                "`PY` has no value in this row of the matrix | give each row a value, or add a default",
            ],
        ),
        (
            "images: [{name: a, context: app, tag: '${matrix.PY}', matrix: {PY: ['1', '2']}}]",
            &["matrix variables have no prefix `matrix.` | write ${PY}"],
        ),
        (
            "images: [{name: a, context: app, tag: '${{ matrix.PY }}', matrix: {PY: ['1', '2']}}]",
            &["matrix variables have no prefix `matrix.` | write ${PY}"],
        ),
        (
            "images: [{name: a, context: app, tag: 'a b'}, {name: a, context: app, tag: 'a b'}]",
            &["`a b` is not a tag | ", "`a b` is not a tag | "],
        ),
        (
            "defaults: {tag: 'a b'}\nimages: [{name: a, context: app}, {name: a, context: app}]",
            &["`a b` is not a tag | "],
        ),
        (
            "images: [{name: redis, tag: v1, source: 'localhost:5000/library/Redis:1'}]",
            &[
                "repositories have lowercase names, so this cannot be pinned | write localhost:5000/library/redis:1",
            ],
        ),
        (
            "images: [{name: a, context: upper}]",
            &[
                "no registry can have `localhost:5000/UPPER:1`: `UPPER` is not an image path | write `upper`",
            ],
        ),
        ("images: [{source: 'ghcr.io//x:1'}]", &["`ghcr.io//x:1` is not an image reference"]),
    ] {
        let messages = messages_of(images);
        assert_eq!(messages.len(), expected.len(), "{images}: {messages:#?}");
        for (message, expected) in messages.iter().zip(expected) {
            assert!(message.starts_with(expected), "{images}:\n{message}\n{expected}");
        }
    }
}

#[test]
fn harbor_takes_no_pattern() {
    let messages = messages_of("images: [{discover: {harbor: 'services/*'}}]");
    let help = "| write the folder that the tasks are in, without a pattern";
    assert!(messages.len() == 1 && messages[0].ends_with(help), "{messages:?}");
}

#[test]
fn an_unused_variable_of_the_command_line_is_a_warning() {
    let env = with_images("images: [{name: a, context: app, tag: '${STAGE:-dev}'}]");
    for (vars, expected) in [
        (&["STAGE=x"][..], &[][..]),
        (&["STAGGE=x"], &["nothing uses the variable `STAGGE` | did you mean `STAGE`?"]),
        (
            &["STAGE=x", "OTHER=secret"],
            &["nothing uses the variable `OTHER` | use it as `${OTHER}`, or remove the flag"],
        ),
    ] {
        let vars = vars.iter().map(|var| var.parse().unwrap()).collect();
        assert_eq!(messages(&env, &Invocation { vars, ..invocation(&env) }), expected);
    }
    let shown = env.run(["validate", "--var", "OTHER=secret"]);
    shown.code(0).says("nothing uses the variable `OTHER`");
    assert!(!shown.stderr.contains("secret"), "{shown}");
}

#[test]
fn set_matches_tags() {
    let env = with_images(
        "images:
  - {name: a, context: app, tag: '1', platforms: [linux/amd64, linux/arm64]}
  - {name: a, context: app, tag: '2'}
",
    );
    for (set, protected) in [
        ("a:1.protect=true", &["a:1-amd64", "a:1-arm64"][..]),
        ("a:1-arm64.protect=true", &["a:1-amd64", "a:1-arm64"]),
        ("a:2.protect=true", &["a:2"]),
        ("*:?.protect=true", &["a:1-amd64", "a:1-arm64", "a:2"]),
        ("a.protect=true", &["a:1-amd64", "a:1-arm64", "a:2"]),
    ] {
        let invocation = Invocation { sets: vec![set.parse().unwrap()], ..invocation(&env) };
        let workspace = Workspace::load(&invocation, &|_| None).unwrap();
        let units = workspace.units.iter().filter(|unit| unit.protect == Some(true));
        let keys: Vec<String> = units.map(|unit| unit.key.to_string()).collect();
        assert_eq!(keys, protected, "{set}");
    }
}
