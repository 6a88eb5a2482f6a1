//! Manifests with many images: `include`, `matrix`, `discover`, `sources`, `sources_from`, `--var`
//! and `--set`.

use std::fmt::Write as _;
use std::path::Path;

use imgplan::test_support::base::span::Problem;
use imgplan::test_support::manifest::workspace::{Origin, Unit};
use imgplan::test_support::manifest::{Invocation, ManifestError, Workspace};
use insta::assert_snapshot;
use proptest::prelude::*;

use super::support::TestEnv;

fn load(env: &TestEnv) -> Result<Workspace, ManifestError> {
    Workspace::load(&Invocation::file(env.path("imgplan.yaml")), &|_| None)
}

/// Returns all units as `name:tag`, in order.
fn units(env: &TestEnv) -> Vec<String> {
    let workspace = load(env).unwrap_or_else(|error| panic!("{:#?}", error.problems));
    workspace.units.iter().map(|unit| unit.key.to_string()).collect()
}

fn unit<'w>(workspace: &'w Workspace, key: &str) -> &'w Unit {
    let unit = workspace.units.iter().find(|unit| unit.key.to_string() == key);
    unit.unwrap_or_else(|| panic!("no {key}"))
}

/// Returns the output of `validate` for invalid files. The context `app` exists.
fn rejected(files: &[(&str, &str)]) -> String {
    rejected_with(files, &[])
}

fn rejected_with(files: &[(&str, &str)], flags: &[&str]) -> String {
    let env = TestEnv::new();
    env.context("app", "FROM scratch\n");
    for (path, text) in files {
        env.write(path, text);
    }
    let args = [&["validate"], flags].concat();
    let rejected = env.run(args);
    rejected.code(1);
    assert_eq!(env.server().requests(), [""; 0]);
    rejected.stderr.clone()
}

#[test]
fn the_example_is_planned_and_applied() {
    let env = TestEnv::example("many");
    let plan = env.ok(["plan"]);
    let expected = [
        "+ mirror-astral-sh-uv:0.9 mirror new",
        "+ mirror-pause:3.9 mirror new",
        "+ mirror-prometheus-prometheus:v3.1.0 mirror new",
        "+ python:3.11-slim build new",
        "+ python:3.12-alpine build new",
        "+ python:3.12-slim build new",
        "+ task-count:glibc mirror new",
        "+ task-hello:dev build new",
        "+ search-indexer:dev build new",
        "+ svc-api:dev build new",
        "+ svc-web:dev build new",
    ];
    let flat = |step: &str| step.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(plan.steps().iter().map(|step| flat(step)).collect::<Vec<_>>(), expected, "{plan}");
    env.apply();
    env.plans_nothing();
    // A variable of the command line changes the images.
    let prod = env.run(["plan", "--var", "STAGE=prod", "--detailed-exitcode"]);
    prod.code(2).says("svc-api:prod").says("search-indexer:prod");
}

#[test]
fn a_file_overrides_what_it_inherits() {
    let env = TestEnv::manifest(
        "version: 1
include: [teams/*/imgplan.yaml, other.yaml]
vars: {A: root, B: root}
owner: {team: all}
defaults: {tag: \"${A}-${B}\", visibility: public, timeout: 5m}
images:
  - {name: base, context: app}
",
    );
    env.context("app", "FROM scratch\n").context("teams/b/app", "FROM base\n");
    env.write("teams/a/imgplan.yaml", "version: 1\nvars: {B: team}\nowner: personal\n\
        defaults: {tag: \"${A}-${B}\", visibility: private}\nimages: [{name: a, context: ../../app}]\n");
    env.write("teams/b/imgplan.yaml", "version: 1\nimages: [{name: b, context: app}]\n");
    env.write("other.yaml", "version: 1\ninclude: [teams/b/imgplan.yaml]\n");
    let workspace = load(&env).unwrap();
    let shown = |unit: &Unit| {
        let Origin::Build(build) = &unit.origin else { panic!("no build") };
        let context = build.context.strip_prefix(env.path("")).unwrap().display().to_string();
        let owner = unit.owner.as_ref().map(ToString::to_string).unwrap_or_default();
        let seen = unit.visibility.map(|v| v.to_string()).unwrap_or_default();
        format!("{} {context} {owner} {seen} {:?} {}", unit.key, unit.timeout, unit.needs.len())
    };
    assert_snapshot!(workspace.units.iter().map(shown).collect::<Vec<_>>().join("\n"), @"
    a:root-team app personal private Some(300s) 0
    base:root-root app team:all public Some(300s) 0
    b:root-root teams/b/app team:all public Some(300s) 1
    ");
}

#[test]
fn the_first_file_of_several_includes_the_others() {
    let env = TestEnv::new();
    env.context("app", "FROM scratch\n").context("x/app", "FROM one\n");
    env.write("one.yaml", "version: 1\nvars: {T: v1}\nimages: [{name: one, context: app}]\n");
    env.write("x/two.yaml", "version: 1\nimages: [{name: two, tag: \"${T}\", context: app}]\n");
    let plan = env.ok(["plan", "-f", "one.yaml", "-f", "x/two.yaml", "-f", "one.yaml"]);
    assert_eq!(plan.steps().len(), 2, "{plan}");
    env.ok(["apply", "--auto-approve", "-f", "one.yaml", "-f", "x/two.yaml"]);
    assert!(env.exists("imgplan.lock") && !env.exists("x/imgplan.lock"));
    let stdin = env.read("one.yaml");
    let args = ["plan", "--detailed-exitcode", "-f", "-", "-f", "x/two.yaml"];
    env.call(args).stdin(&stdin).run().success().says("No changes.");
    let of_env = env.call(["validate"]).env("IMGPLAN_FILE", "one.yaml\nx/two.yaml").run();
    of_env.success().says("one.yaml is valid: 2 images");
    let missing = env.run(["validate", "-f", "one.yaml", "-f", "three.yaml"]);
    missing.code(1);
    assert_snapshot!(missing.stderr, @"
      × there is no three.yaml
       ╭─[-f:1:1]
     1 │ three.yaml
       · ─────┬────
       ·      ╰── included here
       ╰────
      help: paths are relative to the file that contains them

    error: 1 problem in one.yaml; nothing was sent
    ");
}

#[test]
fn include_cycle_snapshot() {
    let a = "version: 1\ninclude:\n  - sub/b.yaml\nimages: []\n";
    let b = "version: 1\ninclude: [c.yaml]\n";
    let c = "version: 1\ninclude: [\"../*.yaml\"]\n";
    let files = [("imgplan.yaml", a), ("sub/b.yaml", b), ("sub/c.yaml", c)];
    assert_snapshot!(rejected(&files), @r#"
      × include cycle: imgplan.yaml -> sub/b.yaml -> sub/c.yaml -> imgplan.yaml
       ╭─[imgplan.yaml:3:5]
     2 │ include:
     3 │   - sub/b.yaml
       ·     ─────┬────
       ·          ╰── imgplan.yaml includes sub/b.yaml
     4 │ images: []
       ╰────
       ╭─[sub/b.yaml:2:11]
     1 │ version: 1
     2 │ include: [c.yaml]
       ·           ───┬──
       ·              ╰── sub/b.yaml includes sub/c.yaml
       ╰────
       ╭─[sub/c.yaml:2:11]
     1 │ version: 1
     2 │ include: ["../*.yaml"]
       ·           ─────┬─────
       ·                ╰── sub/c.yaml includes imgplan.yaml
       ╰────
      help: remove one of these includes

    error: 1 problem in imgplan.yaml; nothing was sent
    "#);
}

#[test]
fn invalid_includes_snapshot() {
    let root = "version: 1\ninclude: [gone.yaml, \"teams/*.yaml\", \"a[\", sub.yaml, old.yaml]\n";
    let sub =
        "version: 1\nsettings: {concurrency: 3}\nimages: [{name: a, context: app, tag: 1.0}]\n";
    let old = "version: 2\nimages: []\n";
    let files = [("imgplan.yaml", root), ("sub.yaml", sub), ("old.yaml", old)];
    assert_snapshot!(rejected(&files), @r#"
      × there is no gone.yaml
       ╭─[imgplan.yaml:2:11]
     1 │ version: 1
     2 │ include: [gone.yaml, "teams/*.yaml", "a[", sub.yaml, old.yaml]
       ·           ────┬────
       ·               ╰── included here
       ╰────
      help: paths are relative to the file that contains them

      × no file matches `teams/*.yaml`
       ╭─[imgplan.yaml:2:22]
     1 │ version: 1
     2 │ include: [gone.yaml, "teams/*.yaml", "a[", sub.yaml, old.yaml]
       ·                      ──────────────
       ╰────
      help: patterns are relative to the folder of the file, .

      × `[` without `]`
       ╭─[imgplan.yaml:2:38]
     1 │ version: 1
     2 │ include: [gone.yaml, "teams/*.yaml", "a[", sub.yaml, old.yaml]
       ·                                      ────
       ╰────
      help: write a pattern like `teams/*/imgplan.yaml` or `**/imgplan.yaml`

      × `settings` are only allowed in the first file
       ╭─[sub.yaml:2:1]
     1 │ version: 1
     2 │ settings: {concurrency: 3}
       · ────────
     3 │ images: [{name: a, context: app, tag: 1.0}]
       ╰────
      help: move them to imgplan.yaml

      × YAML reads 1.0 as the number 1
       ╭─[sub.yaml:3:39]
     2 │ settings: {concurrency: 3}
     3 │ images: [{name: a, context: app, tag: 1.0}]
       ·                                       ───
       ╰────
      help: quote it: "1.0"

      × unsupported manifest version 2
       ╭─[old.yaml:1:10]
     1 │ version: 2
       ·          ─
     2 │ images: []
       ╰────
      help: install a newer imgplan

    error: 6 problems in imgplan.yaml; nothing was sent
    "#);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a long snapshot")]
fn matrix_problems_snapshot() {
    let root = "version: 1
vars: {OS: x}
images:
  - name: one
    tag: \"${PY}-${TAG}\"
    context: app
    visibility: ${WHO}
    matrix:
      PY: [\"3.11\", \"3.12\"]
      TAG: [slim, \"a b\"]
  - name: two
    context: app
    matrix: {PY: [\"1\", \"2\"]}
  - name: three
    tag: \"${PY}\"
    context: app
    matrix:
      PY: [3.10, \"3.11\"]
      OS: [a]
      exclude: [{PI: \"3.11\"}]
  - name: four
    tag: \"${PY}\"
    context: \"${PY}\"
    matrix: {PY: [app, gone, lost, away]}
";
    assert_snapshot!(rejected(&[("imgplan.yaml", root)]), @r#"
      × `3.11-a b` is not a tag
       ╭─[imgplan.yaml:5:10]
     4 │   - name: one
     5 │     tag: "${PY}-${TAG}"
       ·          ───────┬──────
       ·                 ╰── in the matrix row PY=3.11, TAG=a b
     6 │     context: app
       ╰────
      help: use letters, digits, `_`, `.` and `-`; start with a letter, a digit or `_`

      × `3.12-a b` is not a tag
       ╭─[imgplan.yaml:5:10]
     4 │   - name: one
     5 │     tag: "${PY}-${TAG}"
       ·          ───────┬──────
       ·                 ╰── in the matrix row PY=3.12, TAG=a b
     6 │     context: app
       ╰────
      help: use letters, digits, `_`, `.` and `-`; start with a letter, a digit or `_`

      × the variable `WHO` is not set
       ╭─[imgplan.yaml:7:17]
     6 │     context: app
     7 │     visibility: ${WHO}
       ·                 ──────
     8 │     matrix:
       ╰────
      help: set it under `vars:` or in the environment, or add a default: ${WHO:-default}

      × two images have the destination two:latest
        ╭─[imgplan.yaml:11:11]
     10 │       TAG: [slim, "a b"]
     11 │   - name: two
        ·           ─┬─
        ·            ╰── in the matrix row PY=1 and in the matrix row PY=2
     12 │     context: app
        ╰────
      help: use the variables or placeholders that distinguish them in `name:` or `tag:`

      × YAML reads 3.10 as the number 3.1
        ╭─[imgplan.yaml:18:12]
     17 │     matrix:
     18 │       PY: [3.10, "3.11"]
        ·            ────
     19 │       OS: [a]
        ╰────
      help: quote it: "3.10"

      × `OS` is a variable of this matrix and is also set under `vars:`
        ╭─[imgplan.yaml:19:7]
     18 │       PY: [3.10, "3.11"]
     19 │       OS: [a]
        ·       ──
     20 │       exclude: [{PI: "3.11"}]
        ╰────
      help: rename one of the two

      × this matrix has no variable `PI`
        ╭─[imgplan.yaml:20:18]
     19 │       OS: [a]
     20 │       exclude: [{PI: "3.11"}]
        ·                  ──
     21 │   - name: four
        ╰────
      help: did you mean `PY`?

      × there is no folder gone
        ╭─[imgplan.yaml:23:14]
     22 │     tag: "${PY}"
     23 │     context: "${PY}"
        ·              ───┬───
        ·                 ╰── in the matrix row PY=gone
     24 │     matrix: {PY: [app, gone, lost, away]}
        ╰────
      help: contexts are relative to the folder of the manifest, .

      × there is no folder lost
        ╭─[imgplan.yaml:23:14]
     22 │     tag: "${PY}"
     23 │     context: "${PY}"
        ·              ───┬───
        ·                 ╰── in the matrix row PY=lost
     24 │     matrix: {PY: [app, gone, lost, away]}
        ╰────
      help: contexts are relative to the folder of the manifest, .

      × there is no folder away
        ╭─[imgplan.yaml:23:14]
     22 │     tag: "${PY}"
     23 │     context: "${PY}"
        ·              ───┬───
        ·                 ╰── in the matrix row PY=away
     24 │     matrix: {PY: [app, gone, lost, away]}
        ╰────
      help: contexts are relative to the folder of the manifest, .

    error: 10 problems in imgplan.yaml; nothing was sent
    "#);
}

#[test]
fn a_dockerfile_problem_names_its_row() {
    let root = "version: 1
images:
  - {name: base, tag: v1, context: app, platforms: [linux/arm64]}
  - name: \"app-${BASE}\"
    context: on
    args: {BASE: \"${BASE}\"}
    matrix: {BASE: [\"base\", \"other\"]}
";
    let files = [("imgplan.yaml", root), ("on/Dockerfile", "ARG BASE=x\nFROM ${BASE}:v1\n")];
    assert_snapshot!(rejected(&files), @"
      × `base:v1` is not built for linux/amd64, but app-base is
       ╭─[on/Dockerfile, with args:2:6]
     1 │ ARG BASE=base
     2 │ FROM ${BASE}:v1
       ·      ─────┬────
       ·           ╰── in the matrix row BASE=base
       ╰────
      help: add linux/amd64 to the platforms of `base`

    error: 1 problem in imgplan.yaml; nothing was sent
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a long snapshot")]
fn source_problems_snapshot() {
    let root = "version: 1
images:
  - sources_from: refs.txt
    name: \"{path}\"
    tag: \"{digest}\"
  - sources_from: refs.jsonl
    visibility: hidden
  - sources_from: gone.txt
  - sources_from: empty.txt
  - sources: [\"redis:7\", \"a b\", \"redis:7\", 7]
    name: \"{nmae}\"
  - sources: [\"busybox:1\"]
    context: app
";
    let a = "a".repeat(64);
    let refs = format!("# ours\nubuntu@sha256:{a}\n\n  https://x/y\nubuntu@sha256:{a}\nb:1\n");
    let jsonl =
        "{\"source\": \"x/y:1\", \"image\": \"z:2\"}\n{\"sorce\": \"x\"}\n{\"source\": \"x\"\n";
    let files = [
        ("imgplan.yaml", root),
        ("refs.txt", &refs),
        ("refs.jsonl", jsonl),
        ("empty.txt", "# nothing\n"),
    ];
    assert_snapshot!(rejected(&files), @r#"
      × `{digest}` has no value here
       ╭─[imgplan.yaml:5:10]
     4 │     name: "{path}"
     5 │     tag: "{digest}"
       ·          ─────┬────
       ·               ╰── for line 6 of refs.txt
     6 │   - sources_from: refs.jsonl
       ╰────
      help: write the template without `{digest}`

      × `hidden` is not a visibility
       ╭─[imgplan.yaml:7:17]
     6 │   - sources_from: refs.jsonl
     7 │     visibility: hidden
       ·                 ───┬──
       ·                    ╰── for line 1 of refs.jsonl
     8 │   - sources_from: gone.txt
       ╰────
      help: write `inherit`, `private` or `public`

      × there is no gone.txt
       ╭─[imgplan.yaml:8:19]
     7 │     visibility: hidden
     8 │   - sources_from: gone.txt
       ·                   ────────
     9 │   - sources_from: empty.txt
       ╰────
      help: the path is relative to the folder of the file, .

      × empty.txt has no references
        ╭─[imgplan.yaml:9:19]
      8 │   - sources_from: gone.txt
      9 │   - sources_from: empty.txt
        ·                   ─────────
     10 │   - sources: ["redis:7", "a b", "redis:7", 7]
        ╰────
      help: write one reference per line

      × `a b` is not an image reference
        ╭─[imgplan.yaml:10:26]
      9 │   - sources_from: empty.txt
     10 │   - sources: ["redis:7", "a b", "redis:7", 7]
        ·                          ─────
     11 │     name: "{nmae}"
        ╰────
      help: write it as docker pull takes it: docker.io/library/ubuntu:22.04

      × `redis:7` is listed twice
        ╭─[imgplan.yaml:10:33]
      9 │   - sources_from: empty.txt
     10 │   - sources: ["redis:7", "a b", "redis:7", 7]
        ·               ────┬────         ────┬────
        ·                   │                 ╰── second
        ·                   ╰── first
     11 │     name: "{nmae}"
        ╰────
      help: remove one of them

      × YAML reads 7 as a number
        ╭─[imgplan.yaml:10:44]
      9 │   - sources_from: empty.txt
     10 │   - sources: ["redis:7", "a b", "redis:7", 7]
        ·                                            ─
     11 │     name: "{nmae}"
        ╰────
      help: quote it: "7"

      × unknown placeholder `{nmae}`
        ╭─[imgplan.yaml:11:11]
     10 │   - sources: ["redis:7", "a b", "redis:7", 7]
     11 │     name: "{nmae}"
        ·           ────┬───
        ·               ╰── for redis:7
     12 │   - sources: ["busybox:1"]
        ╰────
      help: did you mean `{name}`?

      × an entry has either `sources` or `context`, not both
        ╭─[imgplan.yaml:13:5]
     11 │     name: "{nmae}"
     12 │   - sources: ["busybox:1"]
        ·     ───┬───
        ·        ╰── first
     13 │     context: app
        ·     ───┬───
        ·        ╰── second
        ╰────
      help: make two entries, or remove one of the two

      × `https://x/y` is not an image reference
       ╭─[refs.txt:4:3]
     3 │ 
     4 │   https://x/y
       ·   ───────────
     5 │ ubuntu@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
       ╰────
      help: write it as docker pull takes it: docker.io/library/ubuntu:22.04

      × `ubuntu@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is listed
      │ twice
       ╭─[refs.txt:5:1]
     1 │ # ours
     2 │ ubuntu@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
       · ───────────────────────────────────────┬──────────────────────────────────────
       ·                                        ╰── first
     3 │ 
     4 │   https://x/y
     5 │ ubuntu@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
       · ───────────────────────────────────────┬──────────────────────────────────────
       ·                                        ╰── second
     6 │ b:1
       ╰────
      help: remove one of them

      × unknown key `sorce`
       ╭─[refs.jsonl:2:2]
     1 │ {"source": "x/y:1", "image": "z:2"}
     2 │ {"sorce": "x"}
       ·  ───────
     3 │ {"source": "x"
       ╰────
      help: did you mean `source`?

      × invalid JSON: EOF while parsing an object
       ╭─[refs.jsonl:3:14]
     2 │ {"sorce": "x"}
     3 │ {"source": "x"
       ·              ─
       ╰────
      help: write one object per line: {"source": "redis:7"}

    error: 13 problems in imgplan.yaml; nothing was sent
    "#);
}

#[test]
fn sources_fill_in_templates() {
    let env = TestEnv::manifest(
        "version: 1
defaults: {tag: unused}
images:
  - sources: [\"redis:7\", \"ghcr.io/Org/App\"]
  - sources_from: refs.txt
    name: m-{registry}-{path}
    tag: \"{tag}-${V}\"
    matrix: {V: [a, b]}
  - sources_from: lists/refs.jsonl
    name: l-{name}
",
    );
    env.write("refs.txt", "localhost:5000/x/Y:T # why\n\nubuntu\n");
    let lines = [
        "{\"source\": \"a/b:1\"}",
        "{\"source\": \"a/b:1\", \"image\": \"c:2\"}",
        "{\"source\": \"d\", \"name\": \"e\", \"platform\": \"linux/arm64\", \"tag\": null}",
    ];
    env.write("lists/refs.jsonl", lines.join("\n"));
    let mut units = units(&env);
    units.sort();
    let expected = [
        "app:latest",
        "c:2",
        "e:latest",
        "l-b:1",
        "m-docker.io-ubuntu:latest-a",
        "m-docker.io-ubuntu:latest-b",
        "m-localhost-5000-x-y:T-a",
        "m-localhost-5000-x-y:T-b",
        "redis:7",
    ];
    assert_eq!(units, expected);
    let workspace = load(&env).unwrap();
    assert_eq!(unit(&workspace, "e:latest").platform.to_string(), "linux/arm64");
}

#[test]
fn folders_are_discovered() {
    let env = TestEnv::manifest(
        "version: 1
images:
  - discover: {glob: \"apps/**\", exclude: [\"apps/old*\", \"**/skip\"]}
    name: \"{parent}-{dir}\"
    tag: \"{path}-{arch}\"
  - discover: {glob: .}
    dockerfile: docker/Root
",
    );
    for folder in [
        "apps/My App",
        "apps/b/c",
        "apps/old1",
        "apps/old1/inner",
        "apps/b/skip",
        "apps/.h",
        "apps/node_modules/x",
    ] {
        env.context(folder, "FROM scratch\n");
    }
    env.write("docker/Root", "FROM scratch\nCOPY . /\n");
    let mut units = units(&env);
    units.sort();
    assert_eq!(units, ["apps-my-app:apps-My-App-amd64", "b-c:apps-b-c-amd64", "work:latest"]);
    let validated = env.ok(["validate"]);
    assert_snapshot!(validated.shown(), @"
    exit 0
    --- stdout
    imgplan.yaml is valid: 3 images, 3 targets.
    --- stderr
      ⚠ a context contains `node_modules`: apps/node_modules
      help: add `**/node_modules` to .dockerignore
      ⚠ a context contains the manifest, whose changes rebuild the image: imgplan.yaml
      help: add `imgplan.yaml` to .dockerignore
    skipped apps: it has no Dockerfile
    skipped apps/b: it has no Dockerfile
    ");
    let json: serde_json::Value =
        serde_json::from_str(&env.ok(["validate", "--json"]).stdout).unwrap();
    assert_eq!(json["skipped"][0]["path"], "apps");
    assert_eq!(json["skipped"][0]["reason"], "it has no Dockerfile");
    env.ok(["plan", "-v"]).says("skipped apps/b: it has no Dockerfile");
    env.ok(["plan"]).never_says("skipped");
}

/// Returns each image with its context and its Dockerfile, relative to the folder of the manifest.
fn builds(env: &TestEnv) -> Vec<String> {
    let root = env.path("");
    let relative = |path: &Path| path.strip_prefix(&root).unwrap().display().to_string();
    let shown = |unit: &Unit| match &unit.origin {
        Origin::Build(build) => {
            let (context, dockerfile) =
                (relative(&build.context), relative(&build.dockerfile_path));
            Some(format!("{} [{context}] {dockerfile}", unit.key))
        }
        Origin::Mirror(_) => None,
    };
    load(env).unwrap().units.iter().filter_map(shown).collect()
}

#[test]
fn discovered_dockerfiles_can_share_a_context() {
    let env = TestEnv::manifest(
        "version: 1
images:
  - {discover: {glob: \"src/*\"}, context: .}
  - {discover: {glob: \"src/*\"}, name: \"in-{parent}-{dir}\", context: \"{parent}\", dockerfile: \"{dir}.df\"}
",
    );
    for name in ["api", "web"] {
        env.context(&format!("src/{name}"), "FROM scratch\nCOPY src /\n");
        env.write(&format!("src/{name}/{name}.df"), "FROM scratch\n");
    }
    let expected = [
        "api:latest [] src/api/Dockerfile",
        "in-src-api:latest [src] src/api/api.df",
        "in-src-web:latest [src] src/web/web.df",
        "web:latest [] src/web/Dockerfile",
    ];
    assert_eq!(builds(&env), expected);
    // The context is the folder of the manifest: files of the other folder are sent.
    env.ok(["context", "list", "api"]).says("src/web/web.df");
}

#[test]
fn dockerfiles_are_discovered() {
    let env = TestEnv::manifest(
        "version: 1
images:
  - discover: {dockerfiles: \"docker/*\", exclude: [\"docker/*.md\"]}
    context: .
  - discover: {dockerfiles: \"**/Dockerfile*\"}
    name: \"{path}-{file}\"
    labels: {at: \"{path}/{file}\"}
  - {discover: {glob: .}, name: \"root-{path}\", args: {AT: \"{path}\"}}
",
    );
    for file in ["docker/api.Dockerfile", "docker/Dockerfile.web", "Dockerfile", "lib/Dockerfile"] {
        env.write(file, "ARG AT\nFROM scratch\n");
    }
    env.write("docker/api.Dockerfile.dockerignore", "*\n").write("docker/README.md", "");
    let expected = [
        "api:latest [] docker/api.Dockerfile",
        "docker-web:latest [docker] docker/Dockerfile.web",
        "lib-lib:latest [lib] lib/Dockerfile",
        "root-work:latest [] Dockerfile",
        "web:latest [] docker/Dockerfile.web",
        "work-work:latest [] Dockerfile",
    ];
    assert_eq!(builds(&env), expected);
    let workspace = load(&env).unwrap();
    assert_eq!(unit(&workspace, "docker-web:latest").labels["at"], "docker/web");
    // A text has the path, which leads to the folder; only names have its name.
    let Origin::Build(build) = &unit(&workspace, "root-work:latest").origin else { panic!() };
    assert_eq!(build.args["AT"], ".");
}

#[test]
fn a_broken_dockerfile_can_be_skipped() {
    let env = TestEnv::new();
    let manifest = |on_error: &str| {
        format!(
            "version: 1
images:
  - discover: {{glob: \"src/*\"{on_error}}}
  - {{name: top, context: top, tag: v1}}
  - {{name: later, context: later, needs: [top]}}
"
        )
    };
    env.write("imgplan.yaml", manifest(", on_error: skip"));
    for name in ["api", "web", "later"] {
        let folder = if name == "later" { "later".to_owned() } else { format!("src/{name}") };
        env.context(&folder, "FROM scratch\n");
    }
    env.context("top", "FROM api\n");
    env.apply();
    let lockfile = env.read("imgplan.lock");
    for broken in ["COPPY a b\n", "FROM $NOWHERE\n"] {
        env.context("src/api", broken).context("src/web", "FROM scratch\nRUN new\n");
        let plan = env.ok(["plan", "--prune"]);
        plan.says("api:latest is skipped: its Dockerfile has an error")
            .says("top:v1 is skipped: it depends on api:latest")
            .says("later:latest is skipped: it depends on top:v1")
            .says("0 to create, 1 to rebuild, 0 to update, 0 to delete, 0 to forget");
        env.run(["validate", "--deny-warnings"]).code(1);
    }
    env.ok(["apply", "--auto-approve", "--prune", "--max-destroy", "9"]);
    let blocks = |text: &str| -> Vec<String> {
        let of_others = |block: &&str| !block.contains("web");
        text.split("\n\n").filter(of_others).map(str::to_owned).collect()
    };
    assert_eq!(blocks(&env.read("imgplan.lock")), blocks(&lockfile));
    // By default, and for an entry that does not skip, it is an error.
    env.write("imgplan.yaml", manifest(""));
    env.run(["plan"]).code(1).says("cannot resolve `$NOWHERE`");
    env.context("src/api", "COPPY a b\n");
    env.run(["plan"]).code(1).says("unknown instruction `COPPY`");
    let both = manifest(", on_error: skip") + "  - {name: same, context: src/api}\n";
    env.write("imgplan.yaml", both);
    env.run(["plan"]).code(1).says("× unknown instruction `COPPY`");
}

/// A tag often changes with each commit: the record of the last one is not an orphan.
#[test]
fn the_records_of_a_skipped_image_are_kept_whatever_its_tag_is() {
    let env = TestEnv::manifest(
        "version: 1\nimages:\n  - {discover: {glob: \"src/*\", on_error: skip}, tag: \"${TAG}\"}\n",
    );
    for name in ["arm", "api", "web"] {
        env.context(&format!("src/{name}"), "FROM scratch\n");
    }
    env.ok(["apply", "--auto-approve", "--var", "TAG=1"]);
    // One Dockerfile has an error, and the base of another is not built for its platform.
    env.context("src/api", "COPPY a b\n");
    env.context("src/arm", "FROM --platform=linux/arm64 web\n");
    let plan = env.ok(["plan", "--prune", "--var", "TAG=2"]);
    plan.says("api:2 is skipped").says("arm:2 is skipped").says("1 to create").says("1 to delete");
    assert!(plan.stdout.contains("- web:1"), "{plan}");
}

#[test]
fn harbor_tasks_are_discovered() {
    let env = TestEnv::manifest(
        "version: 1
images:
  - discover: {harbor: tasks}
    visibility: public
    args: {A: \"1\"}
  - discover: {harbor: tasks/one}
    name: \"t-{name}\"
    timeout: 1h
",
    );
    env.write(
        "tasks/one/task.toml",
        "[task]\nname = 'Org/One'\n[environment]\nbuild_timeout_sec = 90\n",
    );
    env.context("tasks/one/environment", "ARG A\nFROM scratch\n");
    for shared in ["two", "three"] {
        env.write(
            &format!("tasks/{shared}/task.toml"),
            "[environment]\ndocker_image = 'redis:7'\n",
        );
        env.write(&format!("tasks/{shared}/environment/x"), "");
    }
    env.write("tasks/four/task.toml", "").write("tasks/four/environment/compose.yaml", "");
    env.write("tasks/five/task.toml", "").write("tasks/README.md", "").write("tasks/six/x", "");
    let workspace = load(&env).unwrap();
    let shown = |unit: &Unit| format!("{} {:?}", unit.key, unit.timeout.map(|t| t.as_secs()));
    let shown: Vec<String> = workspace.units.iter().map(shown).collect();
    assert_eq!(shown, ["one:latest Some(90)", "redis:7 None", "t-org-one:latest Some(3600)"]);
    let skipped = workspace.skipped.iter().map(|skipped| {
        let path = skipped.path.strip_prefix(env.path("")).unwrap();
        format!("{}: {}", path.display(), skipped.reason)
    });
    assert_eq!(
        skipped.collect::<Vec<_>>(),
        [
            "tasks/five: it has no environment/",
            "tasks/four: it has no docker_image and no environment/Dockerfile",
        ]
    );
}

#[test]
fn a_task_with_an_image_and_a_dockerfile_has_a_preference() {
    let units_of = |prefer: &str| {
        let env = TestEnv::manifest(&format!(
            "version: 1\nimages:\n  - {{discover: {{harbor: tasks{prefer}}}, args: {{A: x}}}}\n"
        ));
        for task in ["both", "image", "built"] {
            let image = if task == "built" { "" } else { "docker_image = 'redis:7'\n" };
            env.write(&format!("tasks/{task}/task.toml"), format!("[environment]\n{image}"));
            env.write(&format!("tasks/{task}/environment/x"), "");
            if task != "image" {
                env.context(&format!("tasks/{task}/environment"), "ARG A\nFROM scratch\n");
            }
        }
        let help = |problem: &Problem| problem.help.clone().unwrap_or_default();
        let warnings = load(&env).unwrap().warnings.iter().map(help).collect::<Vec<_>>();
        (units(&env), warnings)
    };
    let (units, warnings) = units_of("");
    assert_eq!(units, ["built:latest", "redis:7"]);
    assert!(warnings[0].contains("to build `tasks/both`"), "{warnings:?}");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let expected = |units: [&str; 2]| units.map(str::to_owned).to_vec();
    assert_eq!(units_of(", prefer: image"), (expected(["built:latest", "redis:7"]), vec![]));
    let (units, warnings) = units_of(", prefer: dockerfile");
    assert_eq!(
        (units.as_slice(), warnings),
        (&["both:latest", "built:latest", "redis:7"].map(str::to_owned)[..], vec![])
    );
}

#[test]
fn discover_problems_snapshot() {
    let root = "version: 1
images:
  - discover: {glob: \"services/*\"}
  - discover: {glob: ap?}
    dockerfile: Containerfile
  - discover: {glob: \"a**\"}
  - discover: {harbor: nowhere}
  - discover: {harbor: app}
  - discover: {harbor: tasks}
  - discover: {globs: x}
  - discover: {harbor: bare}
  - discover: {glob: app}
    tag: \"{dri}\"
  - discover: {glob: app}
    name: {dir}
";
    let files = [
        ("imgplan.yaml", root),
        ("tasks/x/task.toml", "[environment]\ndocker_image = 5\n"),
        ("tasks/x/environment/y", ""),
        ("bare/x/task.toml", ""),
        ("bare/x/environment/y", ""),
    ];
    assert_snapshot!(rejected(&files), @r#"
      × no folder matches `services/*`
       ╭─[imgplan.yaml:3:22]
     2 │ images:
     3 │   - discover: {glob: "services/*"}
       ·                      ────────────
     4 │   - discover: {glob: ap?}
       ╰────
      help: patterns are relative to the folder of the file, .

      × no folder that matches `ap?` has a Containerfile
       ╭─[imgplan.yaml:4:22]
     3 │   - discover: {glob: "services/*"}
     4 │   - discover: {glob: ap?}
       ·                      ───
     5 │     dockerfile: Containerfile
       ╰────
      help: set `dockerfile:` to its path, relative to each folder

      × `**` must stand alone between slashes: `a/**/b`
       ╭─[imgplan.yaml:6:22]
     5 │     dockerfile: Containerfile
     6 │   - discover: {glob: "a**"}
       ·                      ─────
     7 │   - discover: {harbor: nowhere}
       ╰────
      help: write a pattern like `services/*` or `services/**`

      × cannot read nowhere: No such file or directory (os error 2)
       ╭─[imgplan.yaml:7:24]
     6 │   - discover: {glob: "a**"}
     7 │   - discover: {harbor: nowhere}
       ·                        ───────
     8 │   - discover: {harbor: app}
       ╰────
      help: the path is relative to the folder of the file, .

      × there is no task in `app`
       ╭─[imgplan.yaml:8:24]
     7 │   - discover: {harbor: nowhere}
     8 │   - discover: {harbor: app}
       ·                        ───
     9 │   - discover: {harbor: tasks}
       ╰────
      help: a task is a folder with task.toml and environment/

      × unknown key `globs`
        ╭─[imgplan.yaml:10:16]
      9 │   - discover: {harbor: tasks}
     10 │   - discover: {globs: x}
        ·                ─────
     11 │   - discover: {harbor: bare}
        ╰────
      help: did you mean `glob`?

      × no task in `bare` has an image
        ╭─[imgplan.yaml:11:24]
     10 │   - discover: {globs: x}
     11 │   - discover: {harbor: bare}
        ·                        ────
     12 │   - discover: {glob: app}
        ╰────
      help: a task has a docker_image in its task.toml, or an environment/Dockerfile

      × unknown placeholder `{dri}`
        ╭─[imgplan.yaml:13:10]
     12 │   - discover: {glob: app}
     13 │     tag: "{dri}"
        ·          ───┬───
        ·             ╰── for app
     14 │   - discover: {glob: app}
        ╰────
      help: did you mean `{dir}`?

      × expected a string, found a mapping
        ╭─[imgplan.yaml:15:11]
     14 │   - discover: {glob: app}
     15 │     name: {dir}
        ·           ┬
        ·           ╰── for app
        ╰────
      help: quote it: "{dir}"

      × `docker_image` must be a string
       ╭─[tasks/x/task.toml:2:16]
     1 │ [environment]
     2 │ docker_image = 5
       ·                ─
       ╰────
      help: quote it

    error: 10 problems in imgplan.yaml; nothing was sent
    "#);
}

#[test]
fn the_command_line_overrides_the_manifest() {
    let env = TestEnv::manifest(
        "version: 1
vars: {V: file}
images:
  - {name: \"a-${V}\", context: app}
  - {name: b, context: app, platforms: [linux/amd64]}
  - sources: [\"redis:7\"]
",
    );
    env.context("app", "ARG PY=1\nFROM scratch\n");
    let loaded = |vars: &[&str], sets: &[&str]| {
        let invocation = Invocation {
            files: vec![env.path("imgplan.yaml")],
            vars: vars.iter().map(|var| var.parse().unwrap()).collect(),
            sets: sets.iter().map(|set| set.parse().unwrap()).collect(),
            ..Invocation::default()
        };
        let workspace = Workspace::load(&invocation, &|_| None).unwrap();
        let shown = |unit: &Unit| {
            let seen = unit.visibility.map(|v| v.to_string()).unwrap_or_default();
            let args = match &unit.origin {
                Origin::Build(build) => format!("{:?}", build.args),
                Origin::Mirror(_) => String::new(),
            };
            format!("{} {seen} {args} {:?}", unit.key, unit.protect)
        };
        workspace.units.iter().map(shown).collect::<Vec<_>>().join("\n")
    };
    let sets = [
        "*.visibility=public",
        "b.visibility=private",
        "b.platforms+=linux/arm64",
        "a-*.args.PY=3.13",
        "redis.tag=cache",
        "*.protect=true",
    ];
    assert_snapshot!(loaded(&["V=flag", "UNUSED=x"], &sets), @r#"
    a-flag:latest public {"PY": "3.13"} Some(true)
    b:latest-amd64 private {} Some(true)
    b:latest-arm64 private {} Some(true)
    redis:cache public  Some(true)
    "#);
    env.ok(["plan", "--set", "*.tag=v9", "--var", "V=x"]).says("a-x:v9").says("redis:v9");
    let of_env = env
        .call(["plan"])
        .env("IMGPLAN_SET", "b.tag=x\n\nredis.tag=y\n")
        .env("IMGPLAN_VAR", "V=env\n");
    of_env.run().success().says("b:x").says("redis:y").says("a-env:latest");
    for usage in [["--var", "V"], ["--var", "1=x"], ["--set", "b=x"], ["--set", "b.tag"]] {
        let args = [&["plan"][..], &usage].concat();
        let output = env.run(args);
        output.code(64).says("write");
    }
    // The API key cannot be used in a manifest, not even with --var.
    env.edit("imgplan.yaml", "name: b", "name: \"b-${PRIME_API_KEY:-x}\"");
    let rejected = env.run(["plan", "--var", "PRIME_API_KEY=s3cr3t"]);
    rejected.code(1).says("is a secret").never_says("s3cr3t");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a long snapshot")]
fn invalid_overrides_snapshot() {
    let root = "version: 1
images:
  - {name: api, context: app}
  - {name: web, context: app, matrix: {V: [x]}, tag: \"${V}\"}
";
    let flags = [
        "--set",
        "apj.tag=x",
        "--set",
        "api.tga=x",
        "--set",
        "*.visibility=hidden",
        "--set",
        "api.matrix=x",
        "--set",
        "api.tag+=x",
        "--var",
        "V=y",
    ];
    assert_snapshot!(rejected_with(&[("imgplan.yaml", root)], &flags[..10]), @"
      × no image matches `apj`
       ╭─[--set:1:1]
     1 │ apj.tag=x
       · ───
       ╰────
      help: did you mean `api`?

      × unknown key `tga`
       ╭─[--set:1:5]
     1 │ api.tga=x
       ·     ───
       ╰────
      help: did you mean `tag`?

      × `hidden` is not a visibility
       ╭─[--set:1:14]
     1 │ *.visibility=hidden
       ·              ──────
       ╰────
      help: write `inherit`, `private` or `public`

      × `matrix` cannot be overridden
       ╭─[--set:1:5]
     1 │ api.matrix=x
       ·     ──────
       ╰────
      help: set it in the manifest, with variables: --var NAME=VALUE

      × `tag` is not a list
       ╭─[--set:1:5]
     1 │ api.tag+=x
       ·     ───
       ╰────
      help: `+=` adds to a list: platforms, needs, groups, published_as

    error: 5 problems in imgplan.yaml; nothing was sent
    ");
    assert_snapshot!(rejected_with(&[("imgplan.yaml", root)], &flags[10..]), @r#"
      × `V` is a variable of this matrix and is also set by --var
       ╭─[imgplan.yaml:4:40]
     3 │   - {name: api, context: app}
     4 │   - {name: web, context: app, matrix: {V: [x]}, tag: "${V}"}
       ·                                        ─
       ╰────
      help: rename one of the two

    error: 1 problem in imgplan.yaml; nothing was sent
    "#);
}

#[test]
fn thousands_of_references_are_read_and_their_problems_counted() {
    let env =
        TestEnv::manifest("version: 1\nimages: [{sources_from: refs.txt, name: \"{path}\"}]\n");
    let mut refs = String::new();
    for number in 0..5000 {
        let _ = writeln!(refs, "docker.io/org/app{number}:v1");
    }
    env.write("refs.txt", &refs);
    assert_eq!(units(&env).len(), 5000);
    env.write("refs.txt", refs.replace("docker.io", "http://x"));
    let error = load(&env).unwrap_err();
    assert_eq!((error.problems.len(), error.unshown), (100, 4900));
    assert!(error.to_string().starts_with("5000 problems in "), "{error}");
    let output = env.run(["validate"]);
    output.code(1).says("5000 problems in imgplan.yaml, 4900 of them not shown");
    let json: serde_json::Value =
        serde_json::from_str(&env.run(["validate", "--json"]).stdout).unwrap();
    assert_eq!(json["error_count"], 5000);
    // A problem that all lines share is reported once.
    env.write("refs.txt", &refs);
    env.edit("imgplan.yaml", "{path}", "App");
    assert_eq!(load(&env).unwrap_err().problems.len(), 1);
}

#[test]
fn too_many_images_are_rejected() {
    let values: Vec<String> = (0..300).map(|number| format!("\"{number}\"")).collect();
    let values = values.join(", ");
    let root = format!(
        "version: 1\nimages:\n  - name: a\n    context: app\n    matrix:\n      A: [{values}]\n      B: [{values}]\n      C: [\"1\", \"2\", \"3\"]\n"
    );
    assert_snapshot!(rejected(&[("imgplan.yaml", &root)]).lines().next().unwrap(), @"  × the manifest has more than 200000 images, the maximum of `settings.max_images`");
    let matrix = |max: &str| {
        format!(
            "version: 1\nsettings: {{max_images: {max}}}\nimages:\n  - name: a-${{A}}\n    context: app\n    \
             matrix:\n      A: [\"1\", \"2\", \"3\"]\n"
        )
    };
    let first = |max: &str| {
        let error = rejected(&[("imgplan.yaml", &matrix(max))]);
        error.lines().next().unwrap().to_owned()
    };
    assert_snapshot!(first("2"), @"  × the manifest has more than 2 images, the maximum of `settings.max_images`");
    assert_snapshot!(first("0"), @"  × `max_images` is 0, which is out of range");
    let env = TestEnv::at("http://localhost:9");
    env.context("app", "FROM scratch\n").write("imgplan.yaml", matrix("3"));
    assert_eq!(load(&env).unwrap().units.len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The order of files and images does not change the result.
    #[test]
    fn order_does_not_matter(
        include in Just(vec!["one.yaml", "two.yaml", "three.yaml"]).prop_shuffle(),
        images in Just(vec![
            "  - {source: \"busybox:1\"}\n",
            "  - {name: \"m-${V}\", context: s/a, matrix: {V: [x, z]}}\n",
            "  - {name: own, context: s/a, needs: [b, redis]}\n",
        ]).prop_shuffle(),
    ) {
        let env = TestEnv::at("http://localhost:9");
        env.context("s/a", "FROM scratch\n").context("s/b", "FROM a\n");
        env.write("refs.txt", "redis:7\nubuntu:22.04\n");
        let one = "defaults: {tag: one}\nimages:\n  - {discover: {glob: \"s/*\"}}\n";
        let two = "vars: {V: no}\nimages:\n  - {sources_from: refs.txt}\n";
        let three = "include: [one.yaml]\nimages: []\n";
        let root = format!("include: [{}]\nimages:\n{}", include.join(", "), images.concat());
        let files = [("one.yaml", one), ("two.yaml", two), ("three.yaml", three)];
        for (path, text) in files.into_iter().chain([("imgplan.yaml", &*root)]) {
            env.write(path, format!("version: 1\n{text}"));
        }
        let expected = [
            "a:one", "busybox:1", "m-x:latest", "m-z:latest", "redis:7", "ubuntu:22.04", "b:one",
            "own:latest",
        ];
        prop_assert_eq!(units(&env), expected);
    }
}
