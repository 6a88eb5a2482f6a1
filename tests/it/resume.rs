//! Going on where a run ended too early: at its timeout, with a build that was never started, with
//! a journal that is damaged, and on top of what git brought meanwhile.

use std::time::Duration;

use imgplan::server::ServerConfig;
use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Answer, Output, Scripted, TestEnv, wait_until};

/// One build that needs nothing.
const ONE: &str = "version: 1\nimages:\n  - name: app\n    tag: v1\n    context: app\n";

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

const JOURNAL: &str = ".imgplan/journal.jsonl";

fn one(build_time: Duration) -> TestEnv {
    let env = TestEnv::with(ServerConfig { build_time, ..ServerConfig::default() });
    env.write("imgplan.yaml", ONE).context("app", "FROM scratch\n");
    env
}

/// Starts an apply and kills it once its build is on record as started.
fn killed(env: &TestEnv) {
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

/// What was told at the end, and what comes next.
fn end(output: &Output) -> String {
    let shown = output.shown();
    let at = shown.find(" unchanged.\n").map_or(0, |at| at + " unchanged.\n".len());
    shown[at..].to_owned()
}

/// No image was begun twice, and the lockfile has what the server has.
fn nothing_twice(env: &TestEnv, images: &[&str]) {
    let builds = env.server().builds();
    for image in images {
        let begun: Vec<_> = builds.iter().filter(|b| b.image == *image && b.started).collect();
        let [build] = &begun[..] else { panic!("{image}: {builds:#?}") };
        assert_eq!((env.build_of(image), "COMPLETED"), (build.id.clone(), &*build.status));
    }
}

#[test]
fn a_run_past_its_timeout_leaves_the_rest_to_the_next() {
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
    let left = env.run(["apply", "-f", "ci/imgplan.yaml", "--auto-approve", "--timeout", "2s"]);
    left.code(1);
    assert_snapshot!(end(&left), @"

    pending while building: app:v1 [build ID], redis:7 [build ID]
      not done when the time limit of 2s ended
    skipped: 1 target not started because the run stopped

    Apply: 0 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 0 failed, 1 skipped, 2 pending, in [time].
    --- stderr
    app:v1: Building...
    redis:7: Mirroring...
    Stopping: the timeout of 2s is over
    Next: run `imgplan apply -f ci/imgplan.yaml --timeout 2s` to continue
    ");
    let again = env.ok(["apply", "-f", "ci/imgplan.yaml", "--auto-approve", "--json"]);
    let adopted = &again.events("change_summary").pop().unwrap()["changes"];
    assert_eq!((&adopted["adopted"], &adopted["built"]), (&json!(2), &json!(1)), "{again}");
    assert_eq!(env.server().initiated().len(), 3, "nothing was asked for twice");
    assert!(env.server().builds().iter().all(|build| build.started));
    env.ok(["plan", "-f", "ci/imgplan.yaml", "--detailed-exitcode"]);
}

#[test]
fn a_timeout_that_is_not_reached_changes_nothing() {
    let env = one(Duration::from_millis(100));
    env.ok(["apply", "--auto-approve", "--timeout", "10m"]);
    nothing_twice(&env, &["app:v1"]);
    env.run(["apply", "--auto-approve", "--timeout", "soon"]).code(64);
}

/// A service whose build `b-1` has its context and cannot be started, and a run that met that.
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
fn a_build_that_was_never_started_is_not_waited_for_once_its_context_changed() {
    let (scripted, env) = unstarted();
    scripted
        .on("POST", "/images/build", [Answer::json(201, &scripted.accepted("b-2"))])
        .on("POST", "/images/build/b-2/start", [Answer::empty(200)])
        .on("GET", "/images/build/b-2", [Answer::json(200, &json!({ "status": "COMPLETED" }))]);
    env.context("app", "FROM scratch\nUSER 1\n");
    env.ok(["apply", "--auto-approve", "--timeout", "20s"]);
    assert_eq!(env.build_of("app:v1"), "b-2");
    assert_eq!(scripted.count("POST", "/images/build/b-1/start"), 1, "nobody wants it");
    env.plans_nothing();
}

/// It waits in a queue, and its first start is on no record: a refused second one says nothing.
#[test]
fn a_build_that_may_have_been_started_is_not_given_up_where_a_second_start_is_refused() {
    let (scripted, env) = unstarted();
    let is = |status: &str| Answer::json(200, &json!({ "id": "b-1", "status": status }));
    scripted
        .on("POST", "/images/build/*/start", [Answer::detail(409, "it was started already")])
        .on(
            "GET",
            "/images/build/b-1",
            [is("PENDING"), is("PENDING"), is("PENDING"), is("COMPLETED")],
        );
    env.apply();
    assert_eq!(scripted.count("POST", "/images/build"), 1, "it was made again");
    env.plans_nothing();
}

#[test]
fn a_build_that_was_never_started_is_let_go_with_its_unit() {
    let (_scripted, env) = unstarted();
    env.write("imgplan.yaml", "version: 1\nimages: []\n");
    env.ok(["apply", "--auto-approve", "--timeout", "20s"]);
    env.plans_nothing();
}

#[test]
fn a_build_that_was_never_started_is_over_once_what_is_there_is_wanted_again() {
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
fn a_line_of_the_journal_that_was_torn_was_never_leaned_on() {
    let env = one(Duration::from_secs(1));
    killed(&env);
    let journal = env.read(JOURNAL);
    env.write(JOURNAL, &journal[..journal.len() - 20]);
    assert_snapshot!(steps(&env), @"<= app:v1 adopt its build is under way, started [age] ago [build ID]");
    env.apply();
    nothing_twice(&env, &["app:v1"]);
}

#[test]
fn a_damaged_line_in_the_middle_of_the_journal_is_an_error_with_a_way_out() {
    let env = one(Duration::from_secs(1));
    killed(&env);
    let journal = env.read(JOURNAL);
    let at = journal.find(r#"{"record":"uploaded""#).unwrap();
    let damaged = format!("{}{{\"record\":\"upl\u{0}\n{}", &journal[..at], &journal[at..]);
    env.write(JOURNAL, &damaged);
    let before = env.server().log().len();
    for args in [&["apply", "--auto-approve"][..], &["status"], &["show"], &["plan"]] {
        env.run(args.iter().copied()).code(1).says("line 4 is damaged");
        assert_eq!(env.read(JOURNAL), damaged, "it is left as it is");
    }
    assert_eq!(env.server().log().len(), before, "nobody is asked");
    assert_snapshot!(env.run(["plan"]).shown(), @"
    exit 1
    --- stderr
      × cannot read .imgplan/journal.jsonl: line 4 is damaged
      help: remove this line: the lines above it are good; then run `imgplan plan`
    ");
    // The way out works.
    env.write(JOURNAL, &journal);
    env.apply();
    nothing_twice(&env, &["app:v1"]);
}

/// Applies in another checkout, which is made from this one, and takes its lockfile, as from git.
fn pull_from_another_checkout(env: &TestEnv) {
    for file in ["imgplan.yaml", "app/Dockerfile"] {
        env.write(&format!("other/{file}"), env.read(file));
    }
    env.ok(["apply", "-C", "other", "--auto-approve"]);
    env.write("imgplan.lock", env.read("other/imgplan.lock"));
}

#[test]
fn a_journal_on_top_of_a_lockfile_that_has_the_unit_built_elsewhere() {
    let env = one(Duration::from_secs(2));
    killed(&env);
    pull_from_another_checkout(&env);
    let before = env.server().log().len();
    env.ok(["plan"]);
    assert!(env.server().log().len() > before, "who is right only the service knows");
    env.apply();
    assert_eq!(env.server().initiated(), ["app:v1"; 2], "once for each checkout");
    env.plans_nothing();
    assert!(!env.exists(JOURNAL));
}

/// What the journal tells of was of something else: it may land on the tag after what is there.
#[test]
fn a_journal_on_top_of_a_lockfile_that_has_something_newer() {
    let env = one(Duration::from_secs(2));
    killed(&env);
    env.context("app", "FROM scratch\nUSER 1\n");
    pull_from_another_checkout(&env);
    env.apply();
    env.plans_nothing();
    assert!(!env.exists(JOURNAL));
    let builds = env.server().builds();
    assert_eq!(env.build_of("app:v1"), builds.last().unwrap().id, "{builds:#?}");
    assert_eq!(builds.len(), 3, "who landed last is not known, so it was made once more");
}

/// The build of a dead run was started for nobody: the unit is gone from what git brought.
#[test]
fn a_journal_of_a_unit_that_left_meanwhile() {
    let env = one(FOR_EVER);
    killed(&env);
    env.write("imgplan.yaml", "version: 1\nimages: []\n");
    assert_snapshot!(steps(&env), @". app:v1 forget removed from the manifest, image kept (once build ID has ended)");
}
