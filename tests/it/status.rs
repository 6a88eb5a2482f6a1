//! `imgplan status` during a run, after a killed run and without builds; and the error of a second
//! run.

use std::time::Duration;

use imgplan::test_support::server::ServerConfig;
use insta::assert_snapshot;
use regex::Regex;
use serde_json::json;

use crate::support::{Answer, Output, Running, Scripted, TestEnv, wait_until};

/// A build, a build based on it, and a mirror.
const THREE: &str = "version: 1
defaults: {tag: v1}
images:
  - {name: app, context: app}
  - {name: on-top, context: on-top}
  - {source: docker.io/library/redis:7}
";

/// Longer than any test takes.
const LONG_BUILD: Duration = Duration::from_secs(3600);

/// Returns a project with these images, and a server whose builds take this long.
fn project(build_time: Duration) -> TestEnv {
    let env = TestEnv::with(ServerConfig { build_time, ..ServerConfig::default() });
    env.write("imgplan.yaml", THREE);
    env.context("app", "FROM scratch\n").context("on-top", "FROM app:v1\n");
    env
}

/// Starts an apply, and waits until both builds without a base are recorded.
fn start_apply(env: &TestEnv) -> Running {
    let run = env.call(["apply", "--auto-approve"]).start();
    wait_until("a build was started and a transfer accepted", || {
        let read = |path| std::fs::read_to_string(env.path(path)).unwrap_or_default();
        // Records move from the journal to the lockfile.
        let (journal, lockfile) = (read(".imgplan/journal.jsonl"), read("imgplan.lock"));
        let has = |text: &str| journal.contains(text);
        let both = has(r#""started","unit":"app:v1""#) && has(r#""created","unit":"redis:7""#);
        both || lockfile.matches("stage: started").count() == 2
    });
    run
}

/// Starts an apply and kills it.
fn kill_apply(env: &TestEnv) {
    let run = start_apply(env);
    run.signal("KILL");
    assert_eq!(run.wait().code, None);
}

/// Returns the output with `[age]` for ages, and with the rows, which are ordered by age, sorted.
fn shown(output: &Output) -> String {
    let age = Regex::new(r"  +\d+(\.\ds|m\d\ds)  ").unwrap();
    let shown = age.replace_all(&output.shown(), "  [age]  ").into_owned();
    let mut lines: Vec<&str> = shown.lines().collect();
    for rows in lines.chunk_by_mut(|a, b| a.starts_with("  ") && b.starts_with("  ")) {
        rows.sort_unstable();
    }
    lines.join("\n")
}

#[test]
fn status_shows_a_run_in_progress() {
    let env = project(LONG_BUILD);
    let run = start_apply(&env);
    let files = env.listing();
    let status = env.ok(["status"]);
    assert_snapshot!(shown(&status), @"
    exit 0
    --- stdout
      app:v1  [age]  building [build ID]
      redis:7  [age]  building [build ID]
    2 builds in progress. An apply is running in this directory: PID [number] on host [host], since [stamp].
    ");
    assert_eq!(env.listing(), files, "status writes nothing");
    drop(run);
}

#[test]
fn status_shows_the_builds_of_a_killed_run() {
    let env = project(LONG_BUILD);
    kill_apply(&env);
    assert_snapshot!(shown(&env.ok(["status"])), @"
    exit 0
    --- stdout
      app:v1  [age]  building [build ID]
      redis:7  [age]  building [build ID]
    2 builds in progress. Run `imgplan apply` to continue.
    ");
    let before = env.server().log().len();
    assert_snapshot!(shown(&env.ok(["status", "--offline"])), @"
    exit 0
    --- stdout
    note: the service was not asked; this is the recorded state
      app:v1           in progress [build ID]
      redis:7          in progress [build ID]
    2 builds in progress. Run `imgplan apply` to continue.
    ");
    assert_eq!(env.server().log().len(), before, "status --offline sends no request");
}

#[test]
fn json_status_has_all_builds_in_progress() {
    let env = project(LONG_BUILD);
    kill_apply(&env);
    let events = env.ok(["status", "--json"]).events("status");
    let [event] = &events[..] else { panic!("{events:#?}") };
    let status = &event["status"];
    assert_eq!((&status["running"], &status["holder"]), (&json!(2), &json!(null)));
    let builds = env.server().builds();
    for unit in status["units"].as_array().unwrap() {
        let image = unit["image"].as_str().unwrap();
        let build = builds.iter().find(|build| build.image == image).unwrap();
        assert_eq!(unit["build_id"], json!(build.id));
        assert_eq!((&unit["status"], &unit["word"]), (&json!("running"), &json!("BUILDING")));
        assert!(unit["elapsed_seconds"].is_u64(), "{unit}");
    }
}

#[test]
fn watch_ends_when_all_builds_have_ended() {
    let env = project(Duration::from_secs(3));
    kill_apply(&env);
    let watched = env.ok(["status", "--watch"]);
    assert!(!watched.stdout.contains('\u{1b}'), "stdout is not a terminal: {watched}");
    let lines: Vec<&str> = watched.stdout.lines().collect();
    assert!(lines.len() >= 3, "{watched}");
    assert_snapshot!(lines.last().unwrap(), @"0 builds in progress, 2 ended. Run `imgplan apply` to continue.");
    // The next apply records the builds that have ended.
    let again = env.ok(["status", "--watch"]);
    assert_eq!(again.last_line(), watched.last_line());
    env.apply();
    assert_snapshot!(env.ok(["status"]).shown(), @"
    exit 0
    --- stdout
    No builds in progress.
    ");
    let initiated = env.server().initiated();
    assert_eq!(initiated.len(), 3, "{initiated:?}");
}

#[test]
fn watch_ends_when_a_run_ends() {
    let env = project(Duration::from_secs(1));
    let run = start_apply(&env);
    let watched = env.ok(["status", "--watch", "--json"]);
    run.wait().success();
    let views = watched.events("status");
    assert!(views[0]["status"]["holder"].is_string(), "{watched}");
    let last = &views.last().unwrap()["status"];
    assert_eq!((&last["running"], &last["holder"]), (&json!(0), &json!(null)));
    env.plans_nothing();
}

#[test]
fn status_without_builds_sends_no_request() {
    let env = project(Duration::ZERO);
    assert_snapshot!(env.ok(["status"]).shown(), @"
    exit 0
    --- stdout
    No builds in progress.
    ");
    env.apply();
    let before = env.server().log().len();
    for args in [&["status"][..], &["status", "--watch"], &["status", "--offline"]] {
        assert_eq!(env.ok(args.iter().copied()).stdout, "No builds in progress.\n");
    }
    assert_eq!(env.server().log().len(), before, "without builds there is nothing to poll");
    env.run(["status", "--watch", "--offline"]).code(64);
}

/// Neither the transfer nor the listing gets a response.
#[test]
fn a_request_without_a_response_is_shown_as_in_doubt() {
    let scripted = Scripted::start();
    scripted.on("POST", "/images/build", [Answer::empty(502)]);
    scripted.on("GET", "/images/builds", [Answer::empty(502)]);
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", "version: 1\nimages: [{source: docker.io/library/redis:7}]\n");
    env.run(["apply", "--auto-approve", "--retry-times", "1"]).code(1);
    assert_snapshot!(shown(&env.ok(["status"])), @"
    exit 0
    --- stdout
      redis:7  [age]  in doubt
    1 build in progress. Run `imgplan apply` to continue.
    ");
}

#[test]
fn a_refused_key_is_a_note() {
    let mut env = project(LONG_BUILD);
    kill_apply(&env);
    env.set("PRIME_API_KEY", "wrong-key");
    assert_snapshot!(shown(&env.ok(["status"])), @"
    exit 0
    --- stdout
    note: cannot query the build's status (HTTP 401)
      app:v1           in progress [build ID]
      redis:7          in progress [build ID]
    2 builds in progress. Run `imgplan apply` to continue.
    ");
}

#[test]
fn a_second_run_fails_and_names_the_process_that_holds_the_lock() {
    let env = project(Duration::from_secs(3));
    let run = start_apply(&env);
    let second = env.run(["apply", "--auto-approve", "--json"]);
    second.code(5);
    let id = run.id();
    let error = &second.events("diagnostic")[0]["diagnostic"];
    let summary = error["summary"].as_str().unwrap();
    assert!(summary.contains(&format!("PID {id} on host ")), "{second}");
    assert_eq!(env.server().initiated().len(), 2, "{second}");
    run.wait().success();
    env.plans_nothing();
}
