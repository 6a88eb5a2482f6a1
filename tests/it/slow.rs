//! A service that does not respond, a reader that does not read, a disk that cannot be written: the
//! user is told why, can stop the program, and loses nothing.

use std::fmt::Write;
use std::time::{Duration, Instant};

use imgplan::test_support::server::ServerConfig;
use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Answer, Scripted, TestEnv, wait_until};

/// A build time longer than any test.
const ENDLESS: Duration = Duration::from_secs(3600);

const ONE: &str = "version: 1\nimages:\n  - {name: app, tag: v1, context: app}\n";

/// Shorter than any time after which the program would give up by itself.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// A service that refuses status requests with 429, and a project with a pending build.
fn busy() -> (Scripted, TestEnv) {
    let scripted = Scripted::accepting();
    scripted.on("GET", "/images/build/*", [Answer::detail(404, "no such build")]);
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", ONE).context("app", "FROM scratch\n");
    env.run(["apply", "--auto-approve", "--timeout", "1s"]).code(1);
    assert!(env.read("imgplan.lock").contains("pending"));
    let busy = Answer::detail(429, "too many requests").header("retry-after", "100");
    scripted.on("GET", "/images/build/*", [busy]);
    (scripted, env)
}

#[test]
fn status_can_be_interrupted_while_the_service_is_busy() {
    let (scripted, env) = busy();
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let before = scripted.requests().len();
        let began = Instant::now();
        let run = env.call(["status"]).start();
        wait_until("it sends a request", || scripted.requests().len() > before);
        run.signal(signal);
        run.wait().code(code);
        assert!(began.elapsed() < STOP_DEADLINE);
    }
}

#[test]
fn plan_reports_a_busy_service_and_can_be_interrupted() {
    let (_scripted, env) = busy();
    let commands: [&[&str]; 3] = [&["plan"], &["why", "app"], &["apply", "--auto-approve"]];
    for command in commands {
        let began = Instant::now();
        let run = env.call(command.iter().copied()).start();
        wait_until("it reports the wait", || run.has_said("for the rate limit of"));
        run.signal("INT");
        let left = run.wait();
        assert_eq!(left.code, None, "{left}");
        assert!(began.elapsed() < STOP_DEADLINE);
    }
    let run = env.call(["plan", "--json"]).start();
    wait_until("it reports the wait", || run.has_written(r#""type":"rate_wait""#));
    run.signal("INT");
    let retries = run.wait().events("retry");
    assert_eq!((&retries[0]["status"], &retries[0]["image"]), (&json!(429), &json!(null)));
}

#[test]
fn a_reader_that_does_not_read_blocks_neither_the_run_nor_its_end() {
    const IMAGES: usize = 150;
    let env = TestEnv::unlimited(ServerConfig { build_time: ENDLESS, ..ServerConfig::default() });
    let mut manifest = "version: 1\nimages:\n".to_owned();
    for image in 0..IMAGES {
        writeln!(manifest, "  - {{name: app-{image}, tag: v1, context: app}}").unwrap();
    }
    env.write("imgplan.yaml", manifest).context("app", "FROM scratch\n");
    let run = ["apply", "--json", "--auto-approve", "--concurrency", "150"];
    let mut run = env.call(run).start_unread();
    let started = || env.server().builds().iter().filter(|build| build.started).count();
    wait_until("all builds were started", || started() == IMAGES);
    let began = Instant::now();
    for _ in 0..2 {
        run.signal("INT");
        std::thread::sleep(Duration::from_millis(300));
    }
    wait_until("it ends", || run.has_ended());
    assert!(began.elapsed() < STOP_DEADLINE);
    run.wait().code(130);
    let lockfile = env.read("imgplan.lock");
    for build in env.server().builds() {
        assert!(lockfile.contains(&build.id), "{build:?}");
    }
    assert!(!env.exists(".imgplan/journal.jsonl"));
}

#[test]
fn results_are_reported_even_if_the_journal_cannot_be_written() {
    let env = TestEnv::with(ServerConfig {
        build_time: Duration::from_secs(3),
        ..ServerConfig::default()
    });
    env.write("imgplan.yaml", format!("{ONE}  - {{name: on-top, tag: v1, context: on-top}}\n"));
    env.context("app", "FROM scratch\n").context("on-top", "FROM app:v1\n");
    let journal = env.path(".imgplan/journal.jsonl");
    let run = env.call(["apply", "--auto-approve", "--retry-times", "3"]).start();
    wait_until("what was recorded is in the lockfile", || {
        let lockfile = std::fs::read_to_string(env.path("imgplan.lock")).unwrap_or_default();
        let both = lockfile.contains("built:") && lockfile.contains("stage: started");
        both && !journal.exists()
    });
    // A directory in its place: the journal cannot be written any more.
    std::fs::create_dir(&journal).unwrap();
    let broken = run.wait();
    broken.code(1);
    let shown = broken.shown();
    let end = shown.find("pending while").unwrap();
    assert_snapshot!(shown[end..], @"
    pending while building: on-top:v1 [build ID]
      the run was aborted before it ended

    Owner: personal
    Apply: 1 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 0 failed, 0 skipped, 1 pending, in [time].
    --- stderr
    app:v1: Building...
    app:v1: Built in [time] [build ID]
    on-top:v1: Building...
    Stopping: every other target would fail with the same error; waiting for 1 target in progress
    Next: run `imgplan apply --retry-times 3` to continue
      × cannot write the journal, so the run was aborted
      ├─▶ cannot read .imgplan/journal.jsonl
      ╰─▶ Is a directory (os error 21)
      help: free disk space or make the folder .imgplan writable, then run `imgplan apply` again
    ");
    std::fs::remove_dir(&journal).unwrap();
    env.apply();
    assert_eq!(env.server().initiated(), ["app:v1", "on-top:v1"]);
    env.plans_nothing();
}

#[test]
fn the_json_summary_has_the_command_that_continues() {
    let env = TestEnv::with(ServerConfig { build_time: ENDLESS, ..ServerConfig::default() });
    env.write("my apps/imgplan.yaml", ONE).context("my apps/app", "FROM scratch\n");
    let args = ["apply", "-C", "my apps", "--auto-approve", "--json", "--timeout", "1s"];
    let left = env.run(args);
    let next = &left.code(1).events("change_summary").pop().unwrap()["changes"]["next"];
    assert_eq!(next, "imgplan apply -C 'my apps' --timeout 1s");
}
