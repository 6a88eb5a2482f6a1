//! Runs that continue after an interrupted one: after a timeout, with a build that was not started, with
//! a damaged journal, and with a lockfile that git replaced in the meantime.

use std::time::Duration;

use imgplan::test_support::server::ServerConfig;
use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Answer, Output, Scripted, TestEnv, wait_until};

/// One image, built without a base.
const ONE: &str = "version: 1\nimages:\n  - name: app\n    tag: v1\n    context: app\n";

/// A build time longer than any test.
const ONE_HOUR: Duration = Duration::from_secs(3600);

const JOURNAL: &str = ".imgplan/journal.jsonl";

fn one(build_time: Duration) -> TestEnv {
    let env = TestEnv::with(ServerConfig { build_time, ..ServerConfig::default() });
    env.write("imgplan.yaml", ONE).context("app", "FROM scratch\n");
    env
}

/// Starts an apply and kills it when the journal has its build as started.
fn apply_and_kill(env: &TestEnv) {
    let run = env.call(["apply", "--auto-approve"]).start();
    wait_until("the journal says that a build was started", || {
        let journal = std::fs::read_to_string(env.path(JOURNAL));
        journal.is_ok_and(|text| text.contains(r#""record":"started""#))
    });
    run.signal("KILL");
    assert_eq!(run.wait().code, None);
}

fn steps(env: &TestEnv) -> String {
    env.ok(["plan"]).steps().join("\n")
}

/// Returns the end of the output: failures, summary and the next command.
fn end(output: &Output) -> String {
    let shown = output.shown();
    let at = shown.find(" unchanged.\n").map_or(0, |at| at + " unchanged.\n".len());
    shown[at..].to_owned()
}

/// Asserts that each image was started once, and that the lockfile has its build.
fn assert_started_once(env: &TestEnv, images: &[&str]) {
    let builds = env.server().builds();
    for image in images {
        let started: Vec<_> = builds.iter().filter(|b| b.image == *image && b.started).collect();
        let [build] = &started[..] else { panic!("{image}: {builds:#?}") };
        assert_eq!((env.build_of(image), "COMPLETED"), (build.id.clone(), &*build.status));
    }
}

#[test]
fn a_run_after_a_timeout_continues() {
    let env = TestEnv::with(ServerConfig {
        build_time: Duration::from_secs(4),
        ..ServerConfig::default()
    });
    env.write(
        "ci/imgplan.yaml",
        format!(
            "{ONE}  - {{name: on-top, tag: v1, context: on-top}}\n  - {{source: docker.io/library/redis:7}}\n"
        ),
    );
    env.context("ci/app", "FROM scratch\n").context("ci/on-top", "FROM app:v1\n");
    let timed_out =
        env.run(["apply", "-f", "ci/imgplan.yaml", "--auto-approve", "--timeout", "2s"]);
    timed_out.code(1);
    assert_snapshot!(end(&timed_out), @"

    skipped: 1 target not started because the run stopped
    pending while building: app:v1 [build ID], redis:7 [build ID]
      not done when the time limit of 2s ended

    Owner: personal
    Apply: 0 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 0 failed, 1 skipped, 2 pending, in [time].
    --- stderr
    app:v1: Building...
    redis:7: Mirroring...
    Stopping: the timeout of 2s is over
    Next: run `imgplan apply -f ci/imgplan.yaml --timeout 2s` to continue
    ");
    let next = env.ok(["apply", "-f", "ci/imgplan.yaml", "--auto-approve", "--json"]);
    let changes = &next.events("change_summary").pop().unwrap()["changes"];
    assert_eq!((&changes["adopted"], &changes["built"]), (&json!(2), &json!(1)), "{next}");
    assert_eq!(env.server().initiated().len(), 3, "each image was requested once");
    assert!(env.server().builds().iter().all(|build| build.started));
    env.ok(["plan", "-f", "ci/imgplan.yaml", "--detailed-exitcode"]);
}

#[test]
fn a_timeout_that_is_not_reached_changes_nothing() {
    let env = one(Duration::from_millis(100));
    env.ok(["apply", "--auto-approve", "--timeout", "10m"]);
    assert_started_once(&env, &["app:v1"]);
    env.run(["apply", "--auto-approve", "--timeout", "soon"]).code(64);
}

/// Returns a service with a build `b-1` whose context is uploaded and whose start failed.
fn unstarted() -> (Scripted, TestEnv) {
    let scripted = Scripted::accepting();
    scripted.on("POST", "/images/build/*/start", [Answer::detail(503, "not now")]);
    let uploading = json!({ "id": "b-1", "status": "UPLOADING" });
    scripted.on("GET", "/images/build/b-1", [Answer::json(200, &uploading)]);
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", ONE).context("app", "FROM scratch\n");
    env.run(["apply", "--auto-approve", "--retry-times", "0"]).code(1);
    assert!(env.read("imgplan.lock").contains("stage: uploaded"));
    (scripted, env)
}

#[test]
fn a_build_that_was_not_started_is_abandoned_if_its_context_changes() {
    let (scripted, env) = unstarted();
    scripted
        .on("POST", "/images/build", [Answer::json(201, &scripted.accepted("b-2"))])
        .on("POST", "/images/build/b-2/start", [Answer::empty(200)])
        .on("GET", "/images/build/b-2", [Answer::json(200, &json!({ "status": "COMPLETED" }))]);
    env.context("app", "FROM scratch\nUSER 1\n");
    env.ok(["apply", "--auto-approve", "--timeout", "20s"]);
    assert_eq!(env.build_of("app:v1"), "b-2");
    assert_eq!(scripted.count("POST", "/images/build/b-1/start"), 1, "not started again");
    env.plans_nothing();
}

/// The build is queued, but its start is not recorded. The 409 response to a second start does not mean
/// that the build failed.
#[test]
fn a_rejected_second_start_does_not_fail_a_build() {
    let (scripted, env) = unstarted();
    let status = |status: &str| Answer::json(200, &json!({ "id": "b-1", "status": status }));
    scripted
        .on("POST", "/images/build/*/start", [Answer::detail(409, "it was started already")])
        .on(
            "GET",
            "/images/build/b-1",
            [status("PENDING"), status("PENDING"), status("PENDING"), status("COMPLETED")],
        );
    env.apply();
    assert_eq!(scripted.count("POST", "/images/build"), 1, "requested once");
    env.plans_nothing();
}

#[test]
fn a_build_that_was_not_started_is_forgotten_with_its_image() {
    let (_scripted, env) = unstarted();
    env.write("imgplan.yaml", "version: 1\nimages: []\n");
    env.ok(["apply", "--auto-approve", "--timeout", "20s"]);
    env.plans_nothing();
}

#[test]
fn a_build_that_was_not_started_is_dropped_if_the_previous_content_returns() {
    let scripted = Scripted::accepting();
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", ONE).context("app", "FROM scratch\n");
    env.apply();
    let accepted = scripted.accepted("b-2");
    scripted
        .on("POST", "/images/build", [Answer::json(201, &accepted)])
        .on("POST", "/images/build/*/start", [Answer::detail(503, "not now")])
        .on("GET", "/images/build/b-2", [Answer::json(200, &json!({ "status": "UPLOADING" }))]);
    env.context("app", "FROM scratch\nUSER 1\n");
    env.run(["apply", "--auto-approve", "--retry-times", "0"]).code(1);
    env.context("app", "FROM scratch\n");
    env.apply();
    assert_eq!(env.ok(["status"]).stdout, "No builds in progress.\n");
    assert_eq!(env.build_of("app:v1"), "b-1");
    env.plans_nothing();
}

#[test]
fn an_incomplete_last_line_of_the_journal_is_ignored() {
    let env = one(Duration::from_secs(1));
    apply_and_kill(&env);
    let journal = env.read(JOURNAL);
    env.write(JOURNAL, &journal[..journal.len() - 20]);
    assert_snapshot!(steps(&env), @"<= app:v1 adopt a build is in progress, started [age] ago [build ID]");
    env.apply();
    assert_started_once(&env, &["app:v1"]);
}

#[test]
fn a_damaged_line_of_the_journal_is_an_error_that_says_how_to_repair_it() {
    let env = one(Duration::from_secs(1));
    apply_and_kill(&env);
    let journal = env.read(JOURNAL);
    let at = journal.find(r#"{"record":"uploaded""#).unwrap();
    let damaged = format!("{}{{\"record\":\"upl\u{0}\n{}", &journal[..at], &journal[at..]);
    env.write(JOURNAL, &damaged);
    let before = env.server().log().len();
    for args in [&["apply", "--auto-approve"][..], &["status"], &["show"], &["plan"]] {
        env.run(args.iter().copied()).code(1).says("line 4 is damaged");
        assert_eq!(env.read(JOURNAL), damaged, "the file is not changed");
    }
    assert_eq!(env.server().log().len(), before, "no request is sent");
    assert_snapshot!(env.run(["plan"]).shown(), @"
    exit 1
    --- stderr
      × cannot read .imgplan/journal.jsonl: line 4 is damaged
      help: remove this line: the lines above it are valid; then run `imgplan plan`
    ");
    // The suggested repair works.
    env.write(JOURNAL, &journal);
    env.apply();
    assert_started_once(&env, &["app:v1"]);
}

/// Applies in a copy of the project, and takes its lockfile, as `git pull` would.
fn pull_from_another_checkout(env: &TestEnv) {
    for file in ["imgplan.yaml", "app/Dockerfile"] {
        env.write(&format!("other/{file}"), env.read(file));
    }
    env.ok(["apply", "-C", "other", "--auto-approve"]);
    env.write("imgplan.lock", env.read("other/imgplan.lock"));
}

#[test]
fn a_journal_is_replayed_on_a_lockfile_with_a_build_of_another_machine() {
    let env = one(Duration::from_secs(2));
    apply_and_kill(&env);
    pull_from_another_checkout(&env);
    let before = env.server().log().len();
    env.ok(["plan"]);
    assert!(env.server().log().len() > before, "the plan asks the service");
    env.apply();
    assert_eq!(env.server().initiated(), ["app:v1"; 2], "once for each checkout");
    env.plans_nothing();
    assert!(!env.exists(JOURNAL));
}

/// The build in the journal has other content. It may complete after the build in the lockfile, and then
/// has the tag.
#[test]
fn a_journal_is_replayed_on_a_lockfile_with_newer_content() {
    let env = one(Duration::from_secs(2));
    apply_and_kill(&env);
    env.context("app", "FROM scratch\nUSER 1\n");
    pull_from_another_checkout(&env);
    env.apply();
    env.plans_nothing();
    assert!(!env.exists(JOURNAL));
    let builds = env.server().builds();
    assert_eq!(env.build_of("app:v1"), builds.last().unwrap().id, "{builds:#?}");
    assert_eq!(
        builds.len(),
        3,
        "the order of the builds is not known, so the image is built again"
    );
}

#[test]
fn a_build_in_the_journal_whose_image_left_the_manifest_is_forgotten() {
    let env = one(ONE_HOUR);
    apply_and_kill(&env);
    env.write("imgplan.yaml", "version: 1\nimages: []\n");
    assert_snapshot!(steps(&env), @". app:v1 forget removed from the manifest, image kept (once build ID has ended)");
}
