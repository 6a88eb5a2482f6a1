//! `imgplan status`: what is under way, while a run works, after one died, and when there is
//! nothing; and what a second run is told.

use std::time::Duration;

use imgplan::server::ServerConfig;
use insta::assert_snapshot;
use regex::Regex;
use serde_json::json;

use crate::support::{Answer, Output, Running, Scripted, TestEnv, wait_until};

/// A build, one that needs it, and a mirror.
const THREE: &str = "version: 1
defaults: {tag: v1}
images:
  - {name: app, context: app}
  - {name: on-top, context: on-top}
  - {source: docker.io/library/redis:7}
";

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// The three, and a server whose builds take this long.
fn three(build_time: Duration) -> TestEnv {
    let env = TestEnv::with(ServerConfig { build_time, ..ServerConfig::default() });
    env.write("imgplan.yaml", THREE);
    env.context("app", "FROM scratch\n").context("on-top", "FROM app:v1\n");
    env
}

/// Starts an apply, and waits until all that can be under way is on record.
fn under_way(env: &TestEnv) -> Running {
    let run = env.call(["apply", "--auto-approve"]).start();
    wait_until("a build was started and a transfer accepted", || {
        let read = |path| std::fs::read_to_string(env.path(path)).unwrap_or_default();
        // What is in the lockfile is in the journal no more.
        let (journal, lockfile) = (read(".imgplan/journal.jsonl"), read("imgplan.lock"));
        let has = |text: &str| journal.contains(text);
        let both = has(r#""started","unit":"app:v1""#) && has(r#""created","unit":"redis:7""#);
        both || lockfile.matches("stage: started").count() == 2
    });
    run
}

fn killed(env: &TestEnv) {
    let run = under_way(env);
    run.signal("KILL");
    assert_eq!(run.wait().code, None);
}

/// What was said, with `[age]` for how long.
fn shown(output: &Output) -> String {
    let age = Regex::new(r"  +\d+(\.\ds|m\d\ds)  ").unwrap();
    age.replace_all(&output.shown(), "  [age]  ").into_owned()
}

#[test]
fn a_run_that_goes_on_is_seen_from_beside_it() {
    let env = three(FOR_EVER);
    let run = under_way(&env);
    let files = env.listing();
    let status = env.ok(["status"]);
    assert_snapshot!(shown(&status), @"
    exit 0
    --- stdout
      app:v1  [age]  building [build ID]
      redis:7  [age]  building [build ID]
    2 builds in progress. An apply is running in this directory: PID [number] on host [host], since [stamp].
    ");
    assert_eq!(env.listing(), files, "it changes nothing");
    drop(run);
}

#[test]
fn what_outlived_its_run_is_shown_with_its_build() {
    let env = three(FOR_EVER);
    killed(&env);
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
    assert_eq!(env.server().log().len(), before, "nobody was asked");
}

#[test]
fn programs_are_told_what_is_under_way() {
    let env = three(FOR_EVER);
    killed(&env);
    let events = env.ok(["status", "--json"]).events("status");
    let [event] = &events[..] else { panic!("{events:#?}") };
    let status = &event["status"];
    assert_eq!((&status["running"], &status["holder"]), (&json!(2), &json!(null)));
    let builds = env.server().builds();
    for (unit, image) in status["units"].as_array().unwrap().iter().zip(["app:v1", "redis:7"]) {
        let seen = builds.iter().find(|build| build.image == image).unwrap();
        assert_eq!((&unit["image"], &unit["build_id"]), (&json!(image), &json!(seen.id)));
        assert_eq!((&unit["status"], &unit["word"]), (&json!("running"), &json!("BUILDING")));
        assert!(unit["elapsed_seconds"].is_u64(), "{unit}");
    }
}

#[test]
fn whoever_watches_is_told_until_nothing_is_under_way() {
    let env = three(Duration::from_secs(3));
    killed(&env);
    let watched = env.ok(["status", "--watch"]);
    assert!(!watched.stdout.contains('\u{1b}'), "this is no terminal: {watched}");
    let lines: Vec<&str> = watched.stdout.lines().collect();
    assert!(lines.len() >= 3, "{watched}");
    assert_snapshot!(lines.last().unwrap(), @"0 builds in progress, 2 ended. Run `imgplan apply` to continue.");
    // What ended is taken in by the next apply.
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
fn whoever_watches_a_run_sees_it_to_its_end() {
    let env = three(Duration::from_secs(1));
    let run = under_way(&env);
    let watched = env.ok(["status", "--watch", "--json"]);
    run.wait().success();
    let views = watched.events("status");
    assert!(views[0]["status"]["holder"].is_string(), "{watched}");
    let last = &views.last().unwrap()["status"];
    assert_eq!((&last["running"], &last["holder"]), (&json!(0), &json!(null)));
    env.plans_nothing();
}

#[test]
fn nothing_is_under_way() {
    let env = three(Duration::ZERO);
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
    assert_eq!(env.server().log().len(), before, "there is nothing to ask for");
    env.run(["status", "--watch", "--offline"]).code(64);
}

/// The listing cannot be had, and whether the transfer was accepted is not known.
#[test]
fn what_was_never_answered_is_shown_as_asked_for() {
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
fn a_service_that_cannot_be_asked_is_a_note() {
    let mut env = three(FOR_EVER);
    killed(&env);
    env.set("PRIME_API_KEY", "wrong-key");
    assert_snapshot!(shown(&env.ok(["status"])), @"
    exit 0
    --- stdout
    note: cannot ask for the build's status (HTTP 401)
      app:v1           in progress [build ID]
      redis:7          in progress [build ID]
    2 builds in progress. Run `imgplan apply` to continue.
    ");
}

#[test]
fn a_second_run_is_told_who_works_and_leaves_all_to_it() {
    let env = three(Duration::from_secs(3));
    let run = under_way(&env);
    let second = env.run(["apply", "--auto-approve", "--json"]);
    second.code(5);
    let id = run.id();
    let told = &second.events("diagnostic")[0]["diagnostic"];
    let summary = told["summary"].as_str().unwrap();
    assert!(summary.contains(&format!("PID {id} on host ")), "{second}");
    assert_eq!(env.server().initiated().len(), 2, "{second}");
    run.wait().success();
    env.plans_nothing();
}
