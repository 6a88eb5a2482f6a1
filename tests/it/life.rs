//! Changes to existing images: rename, move, forget, delete, protect, rebuild, and tags with a
//! fingerprint.

use std::io::Read;
use std::time::Duration;

use imgplan::test_support::server::ServerConfig;
use insta::assert_snapshot;

use crate::support::{Output, Simulation, THREE, TestEnv, wait_until, write_three};

/// The project with the independent image under another name.
const RENAMED: &str = "version: 1
defaults: {tag: v1}
images:
  - {name: base, context: base}
  - {name: top, context: top}
  - {name: solo, context: lone}
moved:
  - {from: lone, to: solo}
";

fn three() -> TestEnv {
    let env = TestEnv::new();
    write_three(&env);
    env.apply();
    env
}

fn without(env: &TestEnv, names: &[&str]) {
    let gone = |line: &&str| names.iter().any(|name| line.contains(&format!("name: {name},")));
    let text = env.read("imgplan.yaml");
    let kept: Vec<&str> = text.lines().filter(|line| !gone(line)).collect();
    env.write("imgplan.yaml", kept.join("\n") + "\n");
}

fn steps(output: &Output) -> String {
    output.steps().join("\n")
}

/// Applies and returns the requests that change something.
fn writes(env: &TestEnv, args: &[&str]) -> Vec<String> {
    let before = env.server().writes().len();
    env.ok(["apply", "--auto-approve"].iter().chain(args).copied());
    env.server().writes().split_off(before)
}

/// Applies and returns the units that were built or mirrored.
fn made(env: &TestEnv, args: &[&str]) -> Vec<String> {
    let before = env.server().initiated().len();
    env.ok(["apply", "--auto-approve"].iter().chain(args).copied());
    env.server().initiated().split_off(before)
}

#[test]
fn a_rename_is_one_request_and_no_build() {
    let env = three();
    let build = env.build_of("lone:v1");
    env.write("imgplan.yaml", RENAMED);
    assert_snapshot!(steps(&env.ok(["plan"])), @"~ solo:v1 update was lone:v1");
    assert_eq!(writes(&env, &[]), ["PATCH /images"]);
    assert_eq!(env.server().images(""), ["base:v1 PRIVATE", "solo:v1 PRIVATE", "top:v1 PRIVATE"]);
    assert!(!env.read("imgplan.lock").contains("lone:v1"));
    assert_eq!(env.build_of("solo:v1"), build);
    env.plans_nothing();
    // A `moved:` entry may stay after the rename.
    assert_eq!(writes(&env, &[]), [""; 0]);
}

#[test]
fn a_rename_may_go_with_an_owner_and_a_visibility() {
    let env = three();
    let more = "name: solo, owner: {team: t1}, visibility: public,";
    env.write("imgplan.yaml", RENAMED.replace("name: solo,", more));
    assert_snapshot!(steps(&env.ok(["plan"])), @"~ solo:v1 update was lone:v1; visibility private -> public; owner personal -> team:t1");
    assert_eq!(writes(&env, &[]), ["PATCH /images"]);
    assert_eq!(env.server().images("teamId=t1"), ["solo:v1 PUBLIC"]);
    assert_eq!(env.server().images("").len(), 2);
    env.plans_nothing();
}

#[test]
fn a_rename_with_other_content_is_a_build_and_forgets_the_old_image() {
    for (flags, left) in [
        (&[][..], &["base:v1 PRIVATE", "lone:v1 PRIVATE", "solo:v1 PRIVATE", "top:v1 PRIVATE"][..]),
        (
            &["--prune", "--max-destroy", "1"],
            &["base:v1 PRIVATE", "solo:v1 PRIVATE", "top:v1 PRIVATE"],
        ),
    ] {
        let env = three();
        env.write("imgplan.yaml", RENAMED).edit("lone/Dockerfile", "LABEL v=lone", "LABEL v=solo");
        if flags.is_empty() {
            assert_snapshot!(steps(&env.ok(["plan"])), @"
            + solo:v1 build Dockerfile changed; was lone:v1
            . lone:v1 forget replaced by solo:v1, image kept
            ");
        } else {
            assert_snapshot!(steps(&env.ok(["plan", "--prune"])), @"
            + solo:v1 build Dockerfile changed; was lone:v1
            - lone:v1 delete replaced by solo:v1
            ");
        }
        assert_eq!(made(&env, flags), ["solo:v1"]);
        assert_eq!(env.server().images(""), left);
        assert!(!env.read("imgplan.lock").contains("lone:v1"));
        env.plans_nothing();
    }
}

#[test]
fn a_replacement_exists_before_the_old_image_is_deleted() {
    let config = ServerConfig { fail: Some("^solo".parse().unwrap()), ..ServerConfig::default() };
    let env = TestEnv::with(config);
    write_three(&env);
    env.apply();
    env.write("imgplan.yaml", RENAMED).edit("lone/Dockerfile", "LABEL v=lone", "LABEL v=solo");
    let before = env.server().writes().len();
    let failed = env.run(["apply", "--auto-approve", "--prune", "--max-destroy", "1"]);
    failed.code(1).says("skipped");
    let sent = env.server().writes().split_off(before);
    assert!(!sent.iter().any(|request| request.starts_with("DELETE")), "{sent:?}");
    assert!(env.server().images("").contains(&"lone:v1 PRIVATE".to_owned()));
    assert!(env.read("imgplan.lock").contains("lone:v1"));
}

#[test]
fn an_undeclared_rename_is_detected() {
    let world = Simulation::new(THREE);
    world.write("base/Dockerfile", "FROM scratch\n").write("top/Dockerfile", "FROM base:v1\n");
    world.write("lone/Dockerfile", "FROM scratch\nLABEL v=lone\n");
    assert!(world.run_process(None).summary.unwrap().is_complete());
    let (text, _) = RENAMED.split_once("moved:").unwrap();
    world.write("imgplan.yaml", text);
    let plan = world.plan();
    let renamed: Vec<String> =
        plan.renamed.iter().map(|renamed| format!("{} -> {}", renamed.from, renamed.to)).collect();
    assert_eq!(renamed, ["lone:v1 -> solo:v1"]);
    // An image with other content is not a rename.
    world.write("lone/Dockerfile", "FROM scratch\nLABEL v=solo\n");
    assert_eq!(world.plan().renamed, []);
    world.write("imgplan.yaml", RENAMED);
    assert_eq!(world.plan().renamed, []);
}

#[test]
fn an_undeclared_rename_gets_a_suggestion() {
    let env = three();
    let (text, _) = RENAMED.split_once("moved:").unwrap();
    env.write("imgplan.yaml", text);
    env.ok(["plan"]).says("add `moved: [{from: lone:v1, to: solo:v1}]`");
    // The suggested line makes it a rename.
    env.write("imgplan.yaml", format!("{text}moved: [{{from: lone:v1, to: solo:v1}}]\n"));
    assert_eq!(writes(&env, &[]), ["PATCH /images"]);
    env.plans_nothing();
}

#[test]
fn dependents_of_a_renamed_base_get_its_new_path() {
    let dir = tempfile::tempdir().unwrap();
    let state = Some(dir.path().join("state"));
    let env = TestEnv::with(ServerConfig { state, ..ServerConfig::default() });
    write_three(&env);
    env.apply();
    let renamed = THREE.replace("name: base", "name: core");
    env.write("imgplan.yaml", format!("{renamed}moved:\n  - {{from: base, to: core}}\n"));
    env.context("top", "FROM core:v1\n");
    assert_snapshot!(steps(&env.ok(["plan"])), @"
    ~ core:v1 update was base:v1
    -/+ top:v1 build Dockerfile changed; base core:v1 added; base base:v1 removed
    ");
    env.apply();
    env.plans_nothing();
    let sent = env.ok(["context", "dockerfile", "top"]);
    assert!(sent.stdout.starts_with("FROM ") && sent.stdout.contains("/core:v1"), "{sent}");
}

#[test]
fn a_forgotten_image_stays_in_the_service() {
    let env = three();
    without(&env, &["lone"]);
    let text = env.read("imgplan.yaml");
    env.write("imgplan.yaml", format!("{text}removed:\n  - {{name: lone}}\n"));
    // Even with `--prune`.
    assert_snapshot!(steps(&env.ok(["plan", "--prune"])), @". lone:v1 forget removed from the manifest, image kept");
    assert_eq!(writes(&env, &["--prune"]), [""; 0]);
    assert!(env.server().images("").contains(&"lone:v1 PRIVATE".to_owned()));
    assert!(!env.read("imgplan.lock").contains("lone"));
    env.plans_nothing();
}

#[test]
fn a_removed_image_is_deleted_once_that_is_allowed() {
    let env = three();
    without(&env, &["lone"]);
    let text = env.read("imgplan.yaml");
    env.write("imgplan.yaml", format!("{text}removed:\n  - {{name: lone, destroy: true}}\n"));
    assert_snapshot!(steps(&env.ok(["plan"])), @"- lone:v1 delete removed from the manifest");
    let before = (env.server().writes().len(), env.read("imgplan.lock"));
    let refused = env.run(["apply", "--auto-approve"]);
    refused.code(1);
    assert_snapshot!(refused.redacted(&refused.stderr), @"
    × 1 image (lone:v1) would be deleted, which --auto-approve alone does not allow
    help: nothing was done; to allow it, add --max-destroy 1
    ");
    assert_eq!((env.server().writes().len(), env.read("imgplan.lock")), before);
    assert_eq!(writes(&env, &["--max-destroy", "1"]), ["DELETE /images/lone/v1"]);
    assert!(!env.read("imgplan.lock").contains("lone"));
    env.plans_nothing();
}

#[test]
fn no_more_is_deleted_than_is_allowed() {
    let env = three();
    without(&env, &["lone", "top"]);
    assert_snapshot!(steps(&env.ok(["plan"])), @"
    . lone:v1 forget removed from the manifest, image kept
    . top:v1 forget removed from the manifest, image kept
    ");
    assert_snapshot!(steps(&env.ok(["plan", "--prune"])), @"
    - lone:v1 delete removed from the manifest
    - top:v1 delete removed from the manifest
    ");
    let before = (env.server().writes().len(), env.read("imgplan.lock"));
    let prune = ["apply", "--auto-approve", "--prune"];
    env.run(prune).code(1).says("would be deleted, which --auto-approve alone does not allow");
    for most in ["0", "1"] {
        let refused = env.run(prune.into_iter().chain(["--max-destroy", most]));
        refused.code(1).says(&format!("--max-destroy allows {most}")).says("--max-destroy 2");
        refused.says("2 images (lone:v1, top:v1) would be deleted");
    }
    assert_eq!((env.server().writes().len(), env.read("imgplan.lock")), before);
    let mut sent = writes(&env, &["--prune", "--max-destroy", "2"]);
    sent.sort();
    assert_eq!(sent, ["DELETE /images/lone/v1", "DELETE /images/top/v1"]);
    assert_eq!(env.server().images(""), ["base:v1 PRIVATE"]);
    env.plans_nothing();
}

#[test]
fn a_confirmed_prompt_allows_deletions() {
    let env = three();
    without(&env, &["lone"]);
    env.call(["apply", "--prune"]).stdin("no\n").run().code(4).says("Nothing was changed.");
    assert_eq!(env.server().images("").len(), 3);
    env.call(["apply", "--prune", "--max-destroy", "0"]).stdin("yes\n").run().code(1);
    assert_eq!(env.server().images("").len(), 3);
    env.call(["apply", "--prune"]).stdin("yes\n").run().success();
    assert_eq!(env.server().images("").len(), 2);
}

#[test]
fn deleting_a_missing_image_succeeds() {
    let env = three();
    without(&env, &["lone"]);
    env.server().send("DELETE", "images/lone/v1", &serde_json::Value::Null);
    env.ok(["apply", "--auto-approve", "--prune", "--max-destroy", "1"]);
    env.plans_nothing();
}

#[test]
fn protection_outlives_its_manifest_entry() {
    let env = TestEnv::new();
    write_three(&env);
    env.edit("imgplan.yaml", "name: lone,", "name: lone, protect: true,");
    env.apply();
    assert_eq!(env.read("imgplan.lock").matches("protect: true").count(), 1);
    env.plans_nothing();
    // The next commit deletes the entry.
    without(&env, &["lone"]);
    for flags in [&[][..], &["--prune", "--max-destroy", "9"]] {
        assert_eq!(writes(&env, flags), [""; 0], "{flags:?}");
        assert!(env.read("imgplan.lock").contains("lone:v1"), "{flags:?}");
        env.ok(["plan"]).says("1 protected image is not in the manifest and is kept: lone:v1");
    }
    // Without `protect` in the new entry, it stays protected.
    env.write("imgplan.yaml", THREE);
    env.plans_nothing();
    env.apply();
    assert!(env.read("imgplan.lock").contains("protect: true"));
    env.edit("imgplan.yaml", "name: lone,", "name: lone, protect: false,");
    env.run(["plan", "--detailed-exitcode"]).code(2).says("Unprotects 1 image: lone:v1");
    env.run(["plan", "--target", "top"]).success().never_says("Unprotects");
    // Lifting the protection needs an approval, which is missing here.
    env.run(["apply"]).says("Nothing was changed.");
    env.ok(["apply", "--auto-approve", "--target", "top"]);
    assert!(env.read("imgplan.lock").contains("protect: true"));
    env.run(["apply", "--auto-approve", "--detailed-exitcode"]).code(2);
    assert!(!env.read("imgplan.lock").contains("protect"));
    without(&env, &["lone"]);
    let prune = ["--prune", "--max-destroy", "1"];
    assert_eq!(writes(&env, &prune), ["DELETE /images/lone/v1"]);
}

#[test]
fn a_protected_image_is_forgotten_on_request() {
    let env = TestEnv::new();
    write_three(&env);
    env.edit("imgplan.yaml", "name: lone,", "name: lone, protect: true,");
    env.apply();
    without(&env, &["lone"]);
    let text = env.read("imgplan.yaml");
    env.write("imgplan.yaml", format!("{text}removed: [{{name: lone, destroy: true}}]\n"));
    assert_eq!(writes(&env, &["--max-destroy", "1"]), [""; 0]);
    assert!(env.read("imgplan.lock").contains("lone:v1"));
    let advice = "apply `protect: false` first";
    env.ok(["plan"])
        .says("1 protected image is listed for deletion and is kept: lone:v1")
        .says(advice);
    env.ok(["why", "lone:v1"]).says(advice);
    env.write("imgplan.yaml", format!("{text}removed: [{{name: lone}}]\n"));
    assert_eq!(writes(&env, &[]), [""; 0]);
    assert!(!env.read("imgplan.lock").contains("lone:v1"));
    assert_eq!(env.server().images("").len(), 3);
}

#[test]
fn a_failed_rename_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        || ServerConfig { state: Some(dir.path().join("state")), ..ServerConfig::default() };
    let mut env = TestEnv::with(config());
    write_three(&env);
    env.apply();
    env.restart(ServerConfig { faults: vec!["update:500:1".parse().unwrap()], ..config() });
    env.write("imgplan.yaml", RENAMED.replace("name: solo,", "name: solo, protect: true,"));
    env.run(["apply", "--auto-approve", "--retry-times", "0"]).code(1);
    env.restart(config());
    assert_snapshot!(steps(&env.ok(["plan"])), @"~ solo:v1 update was lone:v1");
    assert_eq!(writes(&env, &[]), ["PATCH /images"]);
    assert_eq!(env.read("imgplan.lock").matches("protect: true").count(), 1);
    env.plans_nothing();
}

#[test]
fn an_expired_image_and_its_dependents_are_rebuilt() {
    let mut env = TestEnv::new();
    // Moves the recorded time back.
    env.set("IMGPLAN_REFRESH", "false");
    write_three(&env);
    env.edit("imgplan.yaml", "name: base,", "name: base, max_age: 1d,");
    env.apply();
    env.plans_nothing();
    env.age(49);
    assert_snapshot!(steps(&env.ok(["plan"])), @"
    -/+ base:v1 build 2d01h old
    -/+ top:v1 build its base base:v1 changes
    ");
    assert_eq!(made(&env, &[]), ["base:v1", "top:v1"]);
    env.plans_nothing();
    env.age(49);
    assert_eq!(made(&env, &[]), ["base:v1", "top:v1"]);
    env.plans_nothing();
}

#[test]
fn replace_forces_a_rebuild() {
    let env = three();
    assert_snapshot!(steps(&env.ok(["plan", "--replace", "ba*"])), @"
    -/+ base:v1 build rebuild requested
    -/+ top:v1 build its base base:v1 changes
    ");
    for _ in 0..2 {
        assert_eq!(made(&env, &["--replace", "ba*"]), ["base:v1", "top:v1"]);
        env.plans_nothing();
    }
    assert_eq!(made(&env, &["--replace", "base", "--replace", "top:v1"]), ["base:v1", "top:v1"]);
    assert_eq!(made(&env, &["--replace", "lone,top"]).len(), 2);
    env.plans_nothing();
    env.run(["plan", "--replace", "bse"]).code(1).says("did you mean `base`?");
}

#[test]
fn after_a_forced_base_only_the_failed_dependent_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        || ServerConfig { state: Some(dir.path().join("state")), ..ServerConfig::default() };
    let mut env = TestEnv::with(config());
    write_three(&env);
    env.apply();
    env.restart(ServerConfig { fail: Some("^top".parse().unwrap()), ..config() });
    let failed = env.run(["apply", "--auto-approve", "--replace", "base"]);
    failed.code(1).says("failed while building: top:v1");
    env.restart(config());
    assert_snapshot!(steps(&env.ok(["plan"])), @"-/+ top:v1 build its base base:v1 changes; the last build failed: this server is configured to fail images that match `^top`");
    assert_eq!(made(&env, &[]), ["top:v1"]);
    env.plans_nothing();
}

#[test]
fn the_command_to_continue_repeats_a_failed_replace() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        || ServerConfig { state: Some(dir.path().join("state")), ..ServerConfig::default() };
    let mut env = TestEnv::with(config());
    write_three(&env);
    env.apply();
    env.restart(ServerConfig { fail: Some("^base".parse().unwrap()), ..config() });
    let failed = env.run(["apply", "--auto-approve", "--replace", "base"]);
    failed.code(1).says("skipped: top:v1 depends on base:v1, which failed");
    failed.says("then run `imgplan apply --replace base:v1` to continue");
    env.restart(config());
    // Without `--replace`, the earlier image is up to date.
    env.plans_nothing();
    assert_eq!(made(&env, &["--replace", "base:v1"]), ["base:v1", "top:v1"]);
    env.plans_nothing();
}

#[test]
fn a_killed_replace_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        || ServerConfig { state: Some(dir.path().join("state")), ..ServerConfig::default() };
    let mut env = TestEnv::with(config());
    write_three(&env);
    env.apply();
    env.restart(ServerConfig { build_time: Duration::from_millis(500), ..config() });
    let run = env.call(["apply", "--auto-approve", "--replace", "base"]).start();
    wait_until("the base is begun", || {
        let journal = std::fs::read_to_string(env.path(".imgplan/journal.jsonl"));
        journal.is_ok_and(|text| text.contains(r#""started","unit":"base:v1""#))
    });
    run.signal("KILL");
    assert_eq!(run.wait().code, None);
    assert_eq!(made(&env, &[]), ["top:v1"]);
    env.plans_nothing();
    assert_eq!(env.server().initiated(), ["base:v1", "top:v1"]);
}

#[test]
fn the_command_to_continue_replaces_only_what_was_not_started() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        || ServerConfig { state: Some(dir.path().join("state")), ..ServerConfig::default() };
    let mut env = TestEnv::with(config());
    write_three(&env);
    env.apply();
    env.restart(ServerConfig { build_time: Duration::from_secs(3600), ..config() });
    let args = ["--auto-approve", "--concurrency", "1", "--timeout", "1s", "--replace", "*"];
    let stopped = env.run(["apply"].into_iter().chain(args));
    stopped.code(1);
    let begun = env.server().initiated();
    assert_eq!(begun.len(), 1, "{stopped}");
    let all = ["base:v1", "lone:v1", "top:v1"].map(str::to_owned);
    let left: Vec<String> = all.into_iter().filter(|image| *image != begun[0]).collect();
    let mut told: Vec<&str> = stopped
        .stderr
        .split_once("--replace ")
        .and_then(|(_, rest)| rest.split(['`', ' ']).next())
        .unwrap_or_else(|| panic!("{stopped}"))
        .split(',')
        .collect();
    told.sort_unstable();
    assert_eq!(told, left);
    env.restart(config());
    let replace = told.join(",");
    let before = env.server().initiated().len();
    env.ok(["apply", "--auto-approve", "--replace", &replace]);
    let mut made = env.server().initiated().split_off(before);
    made.sort();
    assert_eq!(made, left);
    env.plans_nothing();
}

/// A project with an image whose tag has its fingerprint.
const CONTENT: &str = "version: 1
images:
  - {name: app, context: app, tag: \"v1-{fingerprint}\"}
  - {name: top, context: top, tag: v1}
  - {name: web, context: web, tag: \"{arch}\", platforms: [linux/amd64, linux/arm64]}
";

fn content() -> TestEnv {
    let env = TestEnv::new();
    env.write("imgplan.yaml", CONTENT).context("app", "FROM scratch\nLABEL v=1\n");
    env.context("top", "FROM app\n").context("web", "FROM scratch\n");
    env.apply();
    env
}

fn tags(env: &TestEnv) -> Vec<String> {
    let images = env.server().images("");
    images.iter().map(|image| image.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn changed_content_gets_another_tag_and_the_old_one_stays() {
    let env = content();
    let first = tags(&env);
    assert_eq!(first.len(), 4, "{first:?}");
    assert!(first[0].starts_with("app:v1-") && first[0].len() == "app:v1-".len() + 12);
    assert_eq!(first[1..], ["top:v1", "web:amd64", "web:arm64"]);
    env.plans_nothing();
    assert_eq!(made(&env, &[]), [""; 0]);
    env.edit("app/Dockerfile", "LABEL v=1", "LABEL v=2");
    let plan = env.ok(["plan"]);
    let hex = regex::Regex::new("v1-[0-9a-f]{12}").unwrap();
    assert_snapshot!(hex.replace_all(&steps(&plan), "v1-[content]"), @"
    + app:v1-[content] build Dockerfile changed
    -/+ top:v1 build its base app:v1-[content] changes
    . app:v1-[content] forget replaced by app:v1-[content], image kept
    ");
    assert_eq!(made(&env, &[]).len(), 2);
    let second = tags(&env);
    assert_eq!(second.len(), 5, "{second:?}");
    let lockfile = env.read("imgplan.lock");
    assert!(!lockfile.contains(&first[0]), "what is old is let go:\n{lockfile}");
    env.plans_nothing();
    // The tag of the earlier content still exists but is no longer recorded.
    env.edit("app/Dockerfile", "LABEL v=2", "LABEL v=1");
    env.apply();
    assert_eq!(tags(&env), second);
    env.plans_nothing();
}

#[test]
fn changed_content_can_delete_the_old_tag() {
    let env = content();
    let first = tags(&env);
    env.edit("app/Dockerfile", "LABEL v=1", "LABEL v=2");
    let sent = writes(&env, &["--prune", "--max-destroy", "1"]);
    let delete = format!("DELETE /images/{}", first[0].replace(':', "/"));
    // Not before the new image exists.
    let place = |what: &str| sent.iter().position(|request| request == what).unwrap();
    assert!(place(&delete) > place("POST /images/build/ID/start"), "{sent:?}");
    assert_eq!(tags(&env).len(), 4);
    assert!(!tags(&env).contains(&first[0]));
    env.plans_nothing();
}

#[test]
fn a_forced_rebuild_of_content_has_another_tag() {
    let env = content();
    let first = tags(&env);
    assert_eq!(made(&env, &["--replace", "app"]).len(), 2);
    assert_eq!(tags(&env).len(), 5);
    env.plans_nothing();
    env.edit("app/Dockerfile", "LABEL v=1", "LABEL v=2");
    env.apply();
    env.plans_nothing();
    assert!(tags(&env).contains(&first[0]));
}

#[test]
fn content_that_failed_keeps_its_planned_tag() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        || ServerConfig { state: Some(dir.path().join("state")), ..ServerConfig::default() };
    let mut env = TestEnv::with(config());
    env.write("imgplan.yaml", CONTENT).context("app", "FROM scratch\nLABEL v=1\n");
    env.context("top", "FROM app\n").context("web", "FROM scratch\n");
    env.apply();
    env.ok(["apply", "--auto-approve", "--replace", "app"]);
    env.edit("app/Dockerfile", "LABEL v=1", "LABEL v=2");
    env.restart(ServerConfig { fail: Some("^app".parse().unwrap()), ..config() });
    env.run(["apply", "--auto-approve"]).code(1);
    env.restart(config());
    env.apply();
    env.plans_nothing();
    let count = env.server().initiated().iter().filter(|one| one.starts_with("app")).count();
    assert_eq!(count, 1);
}

/// Returns the Dockerfile of an archive.
fn dockerfile_in(archive: &std::path::Path) -> String {
    let file = std::fs::File::open(archive).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if path.ends_with(".imgplan.Dockerfile") || path.ends_with("Dockerfile") {
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            return text;
        }
    }
    panic!("no Dockerfile in the archive")
}

#[test]
fn the_shown_dockerfile_is_the_one_that_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        || ServerConfig { state: Some(dir.path().join("state")), ..ServerConfig::default() };
    let mut env = TestEnv::with(config());
    env.write(
        "imgplan.yaml",
        "version: 1
defaults: {tag: v1}
images:
  - {name: base, context: base}
  - {name: app, context: app, args: {VERSION: \"7\"}, target: run}
",
    );
    env.context("base", "FROM scratch\n");
    env.context(
        "app",
        "ARG VERSION=1
FROM base AS run
ARG VERSION
LABEL version=$VERSION

FROM base AS test
RUN test
",
    );
    // The path of a base is not known before it is built.
    let before = env.ok(["context", "dockerfile", "app"]);
    assert!(before.stdout.contains("FROM base AS run"), "{before}");
    env.ok(["apply", "--auto-approve", "--target", "base"]);
    let shown = env.ok(["context", "dockerfile", "app"]);
    assert_snapshot!(shown.stdout, @"
    ARG VERSION=7
    FROM prime/local/base:v1 AS run
    ARG VERSION=7
    LABEL version=$VERSION
    ");
    env.ok(["context", "pack", "app", "-o", "app.tar.gz"]);
    assert_eq!(dockerfile_in(&env.path("app.tar.gz")), shown.stdout);
    std::fs::remove_file(env.path("app.tar.gz")).unwrap();
    // The archive on the server, during the build.
    let build_time = Duration::from_secs(3600);
    env.restart(ServerConfig { build_time, ..config() });
    let run = env.call(["apply", "--auto-approve"]).start();
    wait_until("it builds", || {
        env.server().builds().iter().any(|build| build.status == "BUILDING")
    });
    let uploads = std::fs::read_dir(dir.path().join("state/uploads")).unwrap();
    let uploads: Vec<_> = uploads.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(uploads.len(), 1, "{uploads:?}");
    assert_eq!(dockerfile_in(&uploads[0]), shown.stdout);
    drop(run);
    env.run(["context", "dockerfile", "ap"]).code(1).says("the manifest has no image `ap`");
}

/// The run was killed, or the response was lost, between the rename and its record.
#[test]
fn an_unrecorded_rename_is_found() {
    for text in
        [RENAMED.to_owned(), RENAMED.replace("name: solo,", "name: solo, owner: {team: t1},")]
    {
        let env = three();
        let before = env.read("imgplan.lock");
        env.write("imgplan.yaml", text);
        env.apply();
        env.write("imgplan.lock", before);
        assert!(steps(&env.ok(["plan"])).starts_with("~ solo:v1 update was lone:v1"));
        assert_eq!(made(&env, &[]), [""; 0]);
        assert!(!env.read("imgplan.lock").contains("lone:v1"));
        env.plans_nothing();
    }
}

#[test]
fn an_unrecorded_image_is_reported_before_it_is_replaced() {
    let env = three();
    std::fs::remove_file(env.path("imgplan.lock")).unwrap();
    assert_snapshot!(steps(&env.ok(["plan"])), @"
    -/+ base:v1 build exists in the service but not in the lockfile
    -/+ lone:v1 build exists in the service but not in the lockfile
    -/+ top:v1 build exists in the service but not in the lockfile
    ");
    env.ok(["why", "lone"]).says("run `imgplan import lone:v1`");
    assert_eq!(steps(&env.ok(["plan", "--minimal-refresh"])), steps(&env.ok(["plan"])));
    env.ok(["import", "lone"]);
    assert!(!steps(&env.ok(["plan"])).contains("lone"));
}

#[test]
fn a_shown_dockerfile_names_a_base_with_a_content_tag() {
    let env = TestEnv::manifest(
        "version: 1\nimages:\n  - {name: base, tag: '{fingerprint}', context: base}\n  - {name: top, context: top}\n",
    );
    env.context("base", "FROM scratch\n").context("top", "FROM base\n");
    let before = env.ok(["context", "dockerfile", "top"]);
    before.says("base:{fingerprint} is not built yet");
    assert_eq!(before.stdout, "FROM base\n");
    env.apply();
    let shown = env.ok(["context", "dockerfile", "top"]).stdout;
    let tag = shown.trim_end().rsplit(':').next().unwrap();
    assert!(
        shown.starts_with("FROM prime/") && tag.len() == 12 && tag != "000000000000",
        "{shown}"
    );
}
