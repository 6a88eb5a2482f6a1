//! Reasons down to the file: in plans, in `imgplan why`, and without the file list of the last
//! build.

use std::collections::BTreeSet;
use std::fs;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Output, TestEnv};

/// Returns the monorepo after an apply.
fn built() -> TestEnv {
    let env = TestEnv::example("monorepo");
    env.apply();
    env
}

/// Returns the names of the recorded file lists.
fn lists(env: &TestEnv) -> BTreeSet<String> {
    let entries = fs::read_dir(env.path(".imgplan/contexts")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Returns the name of the file list of a unit in the lockfile.
fn list_of(env: &TestEnv, unit: &str) -> String {
    let shown: Value = serde_json::from_str(&env.ok(["show", "--json", unit]).stdout).unwrap();
    let digest = shown["units"][0]["built"]["inputs"]["context"].as_str().unwrap();
    digest.strip_prefix("b3:").unwrap().to_owned()
}

/// Returns the reasons of a unit as JSON.
fn reasons(output: &Output, unit: &str) -> Value {
    let events = output.events("planned_change");
    let change = events.iter().map(|event| &event["change"]).find(|it| it["image"] == unit);
    change.unwrap_or_else(|| panic!("no change of {unit}\n{output}"))["reasons"].clone()
}

fn edit_api(env: &TestEnv) {
    env.write("services/api/src/app.py", "print('changed')\n");
    env.write("services/api/src/new.py", "");
    env.write("services/api/src/old/a.txt", "").write("services/api/src/old/b.txt", "");
}

#[test]
fn changed_files_are_named() {
    let env = built();
    edit_api(&env);
    fs::create_dir(env.path("services/api/src/empty")).unwrap();
    assert_eq!(
        env.ok(["plan"]).steps(),
        ["-/+ api:v1 build context: ~ src/app.py, + src/empty/, + src/new.py and 2 more"]
    );
    assert_snapshot!(env.ok(["why", "api"]).shown(), @"
    exit 0
    --- stdout
    -/+ api:v1  build

    context changed:
      ~ src/app.py
      + src/empty/
      + src/new.py
      + src/old/a.txt
      + src/old/b.txt
    ");
    env.apply();
    fs::remove_dir_all(env.path("services/api/src/old")).unwrap();
    fs::remove_dir(env.path("services/api/src/empty")).unwrap();
    env.write("services/api/src/new.py", "pass\n");
    let plan = env.ok(["plan"]);
    assert_eq!(
        plan.steps(),
        ["-/+ api:v1 build context: - src/empty/, ~ src/new.py, - src/old/a.txt and 1 more"]
    );
    assert_eq!(
        reasons(&env.ok(["plan", "--json"]), "api:v1"),
        json!([{ "code": "context_changed", "files": [
            { "path": "src/empty/", "change": "removed" },
            { "path": "src/new.py", "change": "changed" },
            { "path": "src/old/a.txt", "change": "removed" },
            { "path": "src/old/b.txt", "change": "removed" },
        ]}])
    );
    env.apply();
    env.plans_nothing();
}

#[cfg(unix)]
#[test]
fn changed_modes_and_links_are_named() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let env = built();
    let app = env.path("services/api/src/app.py");
    fs::set_permissions(&app, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(env.ok(["plan"]).steps(), ["-/+ api:v1 build context: ~ src/app.py"]);
    fs::remove_file(&app).unwrap();
    symlink("other.py", &app).unwrap();
    assert_eq!(env.ok(["plan"]).steps(), ["-/+ api:v1 build context: ~ src/app.py"]);
}

/// The Dockerfile is an input of its own, and one change must not be reported twice.
#[test]
fn the_dockerfile_is_not_reported_as_a_context_file() {
    let env = built();
    env.edit("services/api/Dockerfile", "WORKDIR /app", "WORKDIR /srv");
    assert_eq!(env.ok(["plan"]).steps(), ["-/+ api:v1 build Dockerfile changed"]);
    env.write("services/api/src/new.py", "");
    assert_eq!(
        env.ok(["plan"]).steps(),
        ["-/+ api:v1 build Dockerfile changed; context: + src/new.py"]
    );
    assert_snapshot!(env.ok(["why", "api:v1"]).shown(), @"
    exit 0
    --- stdout
    -/+ api:v1  build

    Dockerfile changed: services/api/Dockerfile
    context changed:
      + src/new.py
    ");
    // Another file becomes the Dockerfile; no file changes.
    env.edit("services/api/Dockerfile", "WORKDIR /srv", "WORKDIR /app");
    fs::remove_file(env.path("services/api/src/new.py")).unwrap();
    env.write("services/api/src/D", env.read("services/api/Dockerfile")).apply();
    env.edit("imgplan.yaml", "services/api\n", "services/api\n    dockerfile: src/D\n");
    assert_eq!(env.ok(["plan"]).steps(), ["-/+ api:v1 build Dockerfile changed"]);
    env.apply();
    env.plans_nothing();
}

#[test]
fn a_changed_base_is_explained_down_to_its_files() {
    let env = TestEnv::example("monorepo");
    env.edit("base/Dockerfile", "COPY requirements.txt /tmp/requirements.txt", "COPY . /tmp/");
    env.apply();
    env.write("base/requirements.txt", "requests==2.32.4\n").write("base/patches/ssl.diff", "+\n");
    assert_snapshot!(env.ok(["why", "worker"]).shown(), @"
    exit 0
    --- stdout
    -/+ worker:v1  build

    its base python-base:3.12-amd64 changes
      -/+ python-base:3.12-amd64  build
          context changed:
            + patches/ssl.diff
            ~ requirements.txt
    ");
    let why = env.ok(["why", "worker", "--json"]);
    let events = why.events("why");
    let [event] = &events[..] else { panic!("{why}") };
    assert_eq!(event["change"]["image"], "worker:v1");
    assert_eq!(event["change"]["action"], "rebuild");
    assert_eq!(
        event["change"]["reasons"],
        json!([{ "code": "dependency_changed", "base": "python-base:3.12-amd64", "via": [] }])
    );
    let via = &event["change"]["via"];
    assert_eq!(via.as_array().unwrap().len(), 1, "{via:#}");
    assert_eq!(via[0]["image"], "python-base:3.12-amd64");
    assert_eq!(
        via[0]["reasons"],
        json!([{ "code": "context_changed", "files": [
            { "path": "patches/ssl.diff", "change": "added" },
            { "path": "requirements.txt", "change": "changed" },
        ]}])
    );
}

/// A chain of bases, one of which is reached in two ways.
#[test]
fn the_path_to_a_cause_is_printed_once() {
    let env = TestEnv::manifest(
        "version: 1\ndefaults: {tag: v1}\nimages:\n  - {name: a, context: a}\n  \
         - {name: b, context: b}\n  - {name: c, context: c}\n  - {name: d, context: d}\n",
    );
    env.context("a", "FROM scratch\nCOPY . /\n").context("b", "FROM a:v1\n");
    env.context("c", "FROM b:v1\n");
    env.context("d", "FROM c:v1\nCOPY --from=a:v1 / /a\nCOPY . /\n").apply();
    env.write("a/new", "").write("d/new", "");
    assert_snapshot!(env.ok(["why", "d"]).shown(), @"
    exit 0
    --- stdout
    -/+ d:v1  build

    context changed:
      + new
    its base a:v1 changes
      -/+ a:v1  build
          context changed:
            + new
    its base c:v1 changes, caused by a:v1
      a:v1: see above
    ");
    let why = env.ok(["why", "d", "--json"]);
    let change = &why.events("why")[0]["change"];
    let via = change["via"].as_array().unwrap().iter().map(|step| step["image"].clone());
    let mut via: Vec<Value> = via.collect();
    via.sort_by_key(ToString::to_string);
    assert_eq!(via, ["a:v1", "b:v1", "c:v1"]);

    // The base is rebuilt; its dependents are not.
    env.context("b", "FROM a:v1\nCOPY missing /\n");
    env.run(["apply", "--auto-approve"]).code(1);
    env.ok(["why", "b"]).says("the last build did not succeed [build ");
    env.context("b", "FROM a:v1\n");
    assert_snapshot!(env.ok(["why", "d"]).shown(), @"
    exit 0
    --- stdout
    -/+ d:v1  build

    context changed:
      + new
    its base a:v1 changes
      a:v1 has been rebuilt since; no changes
    its base c:v1 changes, caused by a:v1
      a:v1 has been rebuilt since; no changes
    ");
}

#[test]
fn an_unchanged_image_takes_one_line() {
    let env = built();
    assert_snapshot!(env.ok(["why", "api"]).shown(), @"
    exit 0
    --- stdout
    No changes to api:v1. Compared with its last build [build ID]: context, Dockerfile, platform, base python-base:3.12-amd64; with the manifest: visibility, owner.
    ");
    assert_snapshot!(env.ok(["why", "redis:7-alpine"]).shown(), @"
    exit 0
    --- stdout
    No changes to redis:7-alpine. Compared with its last build [build ID]: source, platform; with the manifest: visibility, owner.
    ");
    let why = env.ok(["why", "redis", "--json"]);
    let change = &why.events("why")[0]["change"];
    assert_eq!((&change["action"], &change["reasons"]), (&json!("noop"), &json!([])));
    assert_eq!(change["compared"], json!(["source", "platform"]));
}

#[test]
fn all_other_reasons_are_explained() {
    let env = TestEnv::example("monorepo");
    assert_snapshot!(env.ok(["why", "web"]).shown(), @"
    exit 0
    --- stdout
    + web:v1-amd64  build

    new: the lockfile records no build

    + web:v1-arm64  build

    new: the lockfile records no build
    ");
    env.apply();
    env.edit(
        "imgplan.yaml",
        "redis:7-alpine\n",
        "redis:8-alpine\n    name: redis\n    tag: 7-alpine\n",
    );
    env.edit("imgplan.yaml", "visibility: public", "visibility: private");
    assert_snapshot!(env.ok(["why", "redis"]).shown(), @"
    exit 0
    --- stdout
    -/+ redis:7-alpine  mirror

    source docker.io/library/redis:7-alpine -> docker.io/library/redis:8-alpine
    --- stderr
      ⚠ the service chooses the names of Docker Hub mirrors, also of redis:7-alpine
        ╭─[imgplan.yaml:34:11]
     33 │   - source: docker.io/library/redis:8-alpine
     34 │     name: redis
        ·           ─────
     35 │     tag: 7-alpine
        ╰────
      help: remove `name:` and `tag:`, or copy the image to another registry and mirror it from there
    ");
    assert_snapshot!(env.ok(["why", "api"]).shown(), @"
    exit 0
    --- stdout
    ~ api:v1  update

    visibility public -> private
    --- stderr
      ⚠ the service chooses the names of Docker Hub mirrors, also of redis:7-alpine
        ╭─[imgplan.yaml:34:11]
     33 │   - source: docker.io/library/redis:8-alpine
     34 │     name: redis
        ·           ─────
     35 │     tag: 7-alpine
        ╰────
      help: remove `name:` and `tag:`, or copy the image to another registry and mirror it from there
    ");
    env.write("imgplan.yaml", "version: 1\nimages: []\n");
    assert_snapshot!(env.ok(["why", "worker"]).shown(), @"
    exit 0
    --- stdout
    . worker:v1  forget

    removed from the manifest, image kept
    ");
}

/// A mirror has no files, so no list is missing.
#[test]
fn a_mirror_that_becomes_a_build_misses_no_list() {
    let mirror = "version: 1\nimages: [{source: quay.io/o/redis:7, name: app, tag: v1}]\n";
    let build = "version: 1\nimages: [{context: app, name: app, tag: v1}]\n";
    let env = TestEnv::manifest(mirror);
    env.context("app", "FROM scratch\n").apply();
    env.write("imgplan.yaml", build);
    assert_snapshot!(env.ok(["why", "app"]).shown(), @"
    exit 0
    --- stdout
    -/+ app:v1  build

    Dockerfile changed
    context changed
    source quay.io/o/redis:7 removed
    ");
    env.apply();
    env.write("imgplan.yaml", mirror);
    assert_snapshot!(env.ok(["why", "app", "--offline"]).shown(), @"
    exit 0
    --- stdout
    -/+ app:v1  mirror

    Dockerfile changed
    context changed
    source quay.io/o/redis:7 added
    ");
}

#[test]
fn why_of_an_unknown_image_fails() {
    let env = built();
    assert_snapshot!(env.run(["why", "apis"]).shown(), @"
    exit 1
    --- stderr
      × neither the manifest nor the lockfile has an image `apis`
      help: did you mean `api`?
    ");
    assert_snapshot!(env.run(["why", "something:else"]).shown(), @"
    exit 1
    --- stderr
      × neither the manifest nor the lockfile has an image `something:else`
      help: `imgplan graph` and `imgplan show` list the images
    ");
    env.run(["why"]).code(64);
}

/// Without a file list, or with an invalid one, plan and `why` report only that the context
/// changed.
#[test]
fn a_missing_list_is_not_guessed() {
    let env = built();
    let path = format!(".imgplan/contexts/{}", list_of(&env, "api:v1"));
    let whole = fs::read(env.path(&path)).unwrap();
    let other = fs::read(env.path(&format!(".imgplan/contexts/{}", list_of(&env, "worker:v1"))));
    edit_api(&env);
    let broken = [
        None,
        Some(b"garbage".to_vec()),
        Some(whole[..whole.len() - 1].to_vec()),
        Some([b"imgplan cache 2", &whole[15..]].concat()),
        // A valid list of another context.
        Some(other.unwrap()),
    ];
    for bytes in broken {
        match &bytes {
            Some(bytes) => fs::write(env.path(&path), bytes).unwrap(),
            None => fs::remove_file(env.path(&path)).unwrap(),
        }
        assert_eq!(env.ok(["plan"]).steps(), ["-/+ api:v1 build context changed"]);
        assert!(!env.exists(&path), "what is not believed is dropped");
    }
    assert_eq!(
        reasons(&env.ok(["plan", "--json"]), "api:v1"),
        json!([{ "code": "context_changed", "files": null }])
    );
    assert_snapshot!(env.ok(["why", "api"]).shown(), @"
    exit 0
    --- stdout
    -/+ api:v1  build

    context changed
      The changed files are unknown: this machine has no list of the files of the last
      build. It ran elsewhere, or .imgplan/ was removed. After the next apply, plans name
      the files.
    ");
    // With the list, the same plan names the files.
    fs::write(env.path(&path), &whole).unwrap();
    assert_eq!(
        env.ok(["plan"]).steps(),
        ["-/+ api:v1 build context: ~ src/app.py, + src/new.py, + src/old/a.txt and 1 more"]
    );
}

/// Lockfile and files come from git: after one plan, changed files are named.
#[test]
fn one_plan_is_enough_after_a_pull() {
    for plan in [&["plan"][..], &["plan", "--offline"], &["why", "api"], &["apply"]] {
        let env = built();
        let before = lists(&env);
        assert_eq!(before.len(), 4, "python-base, api, web and worker, whatever their platforms");
        fs::remove_dir_all(env.path(".imgplan")).unwrap();
        env.ok(plan.iter().copied());
        assert_eq!(lists(&env), before, "{plan:?}");
        assert_eq!(env.read(".imgplan/.gitignore"), "*\n", "{plan:?}");
        edit_api(&env);
        env.ok(["plan"]).says("~ src/app.py");
    }
}

#[test]
fn lists_that_the_lockfile_does_not_name_are_removed() {
    let env = built();
    let old = list_of(&env, "api:v1");
    env.write(".imgplan/contexts/.new-left", "of a death");
    edit_api(&env);
    env.ok(["plan"]);
    assert!(lists(&env).contains(&old), "a plan still needs it");
    env.apply();
    let new = list_of(&env, "api:v1");
    assert_eq!(lists(&env).len(), 4);
    assert!(lists(&env).contains(&new) && !lists(&env).contains(&old));

    // A failed build leaves the list of the last successful one.
    env.write("services/api/Dockerfile", "FROM scratch\nCOPY src missing /\n");
    env.write("services/api/src/newer.py", "");
    env.run(["apply", "--auto-approve"]).code(1);
    assert!(lists(&env).contains(&new));
    env.ok(["plan"]).says("context: + src/newer.py");

    env.write("imgplan.yaml", "version: 1\nimages: []\n").apply();
    assert_eq!(lists(&env), BTreeSet::new());
}

/// A mode would not stop root from writing; a file in the way of the folder does.
#[test]
fn without_a_writable_work_folder_only_file_names_are_lost() {
    let env = built();
    // On a slow machine, the files become old enough for the stat cache.
    let files = || {
        let names = fs::read_dir(env.path(".imgplan")).unwrap().map(|e| e.unwrap().file_name());
        names.filter(|name| name != "stat-cache").collect::<BTreeSet<_>>()
    };
    let before = files();
    fs::remove_dir_all(env.path(".imgplan")).unwrap();
    env.write(".imgplan/contexts", "a file");
    env.plans_nothing();
    edit_api(&env);
    assert_eq!(env.ok(["plan"]).steps(), ["-/+ api:v1 build context changed"]);
    env.apply();
    assert_eq!(files(), before);
    env.plans_nothing();
}

#[test]
fn the_local_service_keeps_lists_of_its_own() {
    let env = TestEnv::example("monorepo");
    env.ok(["apply", "--local", "--auto-approve"]);
    assert!(!env.exists(".imgplan/contexts"));
    edit_api(&env);
    env.ok(["plan", "--local"]).says("~ src/app.py");
    env.ok(["why", "--local", "api"]).says("+ src/new.py");
}

#[test]
fn a_fingerprint_is_computed_from_the_inputs() {
    let env = built();
    let digest = env.ok(["context", "digest", "api", "--json"]);
    let ours: Value = serde_json::from_str(&digest.stdout).unwrap();
    let shown: Value = serde_json::from_str(&env.ok(["show", "--json", "api"]).stdout).unwrap();
    let built = &shown["units"][0]["built"];
    assert_eq!(ours["image"], "api:v1");
    assert_eq!(ours["inputs"], built["inputs"]);
    assert_eq!(ours["fingerprint"], built["fingerprint"]);
    let text = env.ok(["context", "digest", "api"]).stdout;
    let keys: Vec<&str> = text.lines().filter_map(|line| line.split("  ").next()).collect();
    assert_eq!(
        keys,
        [
            "base python-base:3.12-amd64",
            "context",
            "dockerfile",
            "format",
            "inputs",
            "platform",
            "fingerprint",
        ]
    );
    assert!(text.lines().all(|line| line.contains("  ")), "{text}");
    env.run(["context", "digest", "redis"]).code(1).says("has no context");
}
