//! The main job, end to end: a manifest, a plan, an apply, a lockfile, and nothing left to do.

use std::time::Duration;

use imgplan::test_support::base::limit::Class;
use imgplan::test_support::server::ServerConfig;
use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Answer, Output, Scripted, TestEnv, wait_until};

/// A manifest of one build without a base.
const ONE: &str = "version: 1\nimages:\n  - name: app\n    tag: v1\n    context: app\n";

/// A project with one build, and a server whose builds take `build_time`.
fn one(build_time: Duration) -> TestEnv {
    let env = TestEnv::with(ServerConfig { build_time, ..ServerConfig::default() });
    env.write("imgplan.yaml", ONE).context("app", "FROM scratch\nCOPY . /\n");
    env
}

/// A build time longer than any test.
const ENDLESS: Duration = Duration::from_secs(3600);

/// Waits until the journal records the start of a build.
fn wait_until_started(env: &TestEnv) {
    wait_until("the journal says that a build was started", || {
        let journal = std::fs::read_to_string(env.path(".imgplan/journal.jsonl"));
        journal.is_ok_and(|text| text.contains(r#""record":"started""#))
    });
}

fn steps(output: &Output) -> String {
    output.steps().join("\n")
}

#[test]
fn a_plan_of_the_monorepo() {
    let env = TestEnv::example("monorepo");
    let plan = env.ok(["plan"]);
    assert_snapshot!(plan.shown(), @"
    exit 0
    --- stdout
    imgplan: 5 images, 7 targets, owner personal, lockfile imgplan.lock, service [service]

        + python-base:3.12-amd64  build   new
        + python-base:3.12-arm64  build   new
        + redis:7-alpine          mirror  new
        + api:v1                  build   new
        + web:v1-amd64            build   new
        + web:v1-arm64            build   new
        + worker:v1               build   new

    + create
    Order: python-base:3.12-amd64, python-base:3.12-arm64 first, then what depends on them (4 targets). Longest chain: 2.
    Cost: 6 builds with 113 B of context to pack, 1 transfer, about 13 requests (transfers: 1 of 10/60s).
    Plan: 7 to create, 0 to rebuild, 0 to update, 0 to delete, 0 to forget. 0 unchanged.
    ");
    assert_eq!(env.server().writes(), [""; 0]);
}

#[test]
fn bases_are_complete_before_their_dependents_begin() {
    let build_time = Duration::from_millis(200);
    let env = TestEnv::with(ServerConfig { build_time, ..ServerConfig::default() });
    env.copy_example("monorepo");
    env.apply();
    let log = env.server().log();
    let initiated = env.server().initiated();
    // Builds without a base all start first, however long the bases take.
    let mut first = initiated[..3].to_vec();
    first.sort();
    assert_eq!(first, ["python-base:3.12-amd64", "python-base:3.12-arm64", "redis:7-alpine"]);
    assert_eq!(initiated.len(), 7, "{initiated:?}");
    let initiation = |image: &str| {
        let seen = log.iter().find(|seen| seen.image.as_deref() == Some(image));
        seen.unwrap_or_else(|| panic!("{image} was not initiated")).at
    };
    for (base, dependents) in [
        ("python-base:3.12-amd64", &["api:v1", "worker:v1", "web:v1-amd64"][..]),
        ("python-base:3.12-arm64", &["web:v1-arm64"]),
    ] {
        let start = format!("/api/v1/images/build/{}/start", env.build_of(base));
        let complete = log.iter().find(|seen| seen.path == start).unwrap().at + build_time;
        for dependent in dependents {
            assert!(initiation(dependent) >= complete, "{dependent} began before {base} was done");
        }
    }
    let images = env.server().get("images");
    assert!(images["data"].as_array().unwrap().iter().all(|row| row["status"] == "COMPLETED"));
}

#[test]
fn every_build_id_is_in_the_lockfile() {
    let env = TestEnv::example("monorepo");
    env.apply();
    let lockfile = env.read("imgplan.lock");
    let started = env.server().log().into_iter().filter_map(|seen| {
        let id = seen.path.strip_prefix("/api/v1/images/build/")?.strip_suffix("/start")?;
        Some(id.to_owned())
    });
    let started: Vec<String> = started.collect();
    assert_eq!(started.len(), 6, "the mirror is transferred without a start");
    for build in &started {
        assert!(lockfile.contains(build), "{build} is not in\n{lockfile}");
    }
    assert_eq!(lockfile.matches("build: \"").count(), 7);
    assert!(!env.exists(".imgplan/journal.jsonl"), "what is in the lockfile is in no journal");
}

#[test]
fn builds_without_a_base_start_at_once() {
    let env = TestEnv::with(ServerConfig { build_time: ENDLESS, ..ServerConfig::default() });
    env.copy_example("nightly");
    env.write("imgplan.yaml", "version: 1\nimages: [{name: a, context: jobs/etl}, {name: b, context: jobs/etl}, {name: c, context: jobs/report}]\n");
    let run = env.call(["apply", "--auto-approve"]).start();
    wait_until("three are initiated", || env.server().initiated().len() == 3);
    drop(run);
}

#[test]
fn concurrency_limits_the_active_builds() {
    let env = TestEnv::with(ServerConfig {
        build_time: Duration::from_millis(100),
        ..ServerConfig::default()
    });
    env.copy_example("nightly");
    env.write("imgplan.yaml", "version: 1\nimages: [{name: a, context: jobs/etl}, {name: b, context: jobs/etl}, {name: c, context: jobs/report}]\n");
    env.ok(["apply", "--auto-approve", "--concurrency", "1"]);
    let log = env.server().log();
    let moments = |end: &str| {
        let ours = log.iter().filter(|s| s.method == "POST" && s.path.ends_with(end));
        ours.map(|seen| seen.at).collect::<Vec<_>>()
    };
    let (initiated, started) = (moments("/images/build"), moments("/start"));
    for (before, after) in started.iter().zip(&initiated[1..]) {
        assert!(*after >= *before + Duration::from_millis(100), "{log:?}");
    }
}

#[test]
fn a_second_plan_is_empty_and_sends_no_writes() {
    let env = TestEnv::example("monorepo");
    env.apply();
    let (writes, files) = (env.server().writes(), env.listing());
    let plan = env.run(["plan", "--detailed-exitcode"]);
    plan.success();
    assert_snapshot!(plan.shown(), @"
    exit 0
    --- stdout
    No changes. All 7 targets match the manifest. Compared with the lockfile and the service (images listed: 6 personal, 1 of the platform).
    ");
    assert_eq!(env.server().writes(), writes);
    assert_eq!(env.listing(), files);
}

#[test]
fn a_changed_context_plans_that_image_only() {
    let env = TestEnv::example("monorepo");
    env.apply();
    env.write("services/api/src/app.py", "print('changed')\n");
    let plan = env.run(["plan", "--detailed-exitcode"]);
    plan.code(2);
    assert_snapshot!(steps(&plan), @"-/+ api:v1 build context: ~ src/app.py");
    env.apply();
    assert_eq!(env.server().initiated().split_off(7), ["api:v1"]);
    env.plans_nothing();
}

#[test]
fn a_changed_file_that_is_not_sent_plans_nothing() {
    let env = TestEnv::example("monorepo");
    env.apply();
    env.write("services/api/NOTES.md", "other notes\n");
    env.write("services/api/src/app_test.py", "assert False\n");
    env.write("services/api/src/__pycache__/app.pyc", "x");
    env.write("README.md", "outside of every context\n");
    env.plans_nothing();
}

#[test]
fn a_changed_base_plans_it_and_its_dependents() {
    let env = TestEnv::example("monorepo");
    env.apply();
    env.write("base/requirements.txt", "requests==2.32.4\n");
    let plan = env.run(["plan", "--detailed-exitcode"]);
    plan.code(2);
    assert_snapshot!(steps(&plan), @"
    -/+ python-base:3.12-amd64 build context: ~ requirements.txt
    -/+ python-base:3.12-arm64 build context: ~ requirements.txt
    -/+ api:v1 build its base python-base:3.12-amd64 changes
    -/+ web:v1-amd64 build its base python-base:3.12-amd64 changes
    -/+ web:v1-arm64 build its base python-base:3.12-arm64 changes
    -/+ worker:v1 build its base python-base:3.12-amd64 changes
    ");
    env.apply();
    env.plans_nothing();
}

#[test]
fn a_changed_dockerfile_outside_of_the_context_plans_a_rebuild() {
    let env = TestEnv::example("monorepo");
    env.apply();
    env.edit("services/worker.Dockerfile", "WORKDIR /app", "WORKDIR /srv");
    assert_snapshot!(steps(&env.ok(["plan"])), @"-/+ worker:v1 build Dockerfile changed");
    env.apply();
    env.plans_nothing();
}

#[test]
fn a_new_visibility_is_an_update_without_a_build() {
    let env = TestEnv::example("monorepo");
    env.apply();
    let before = env.server().writes().len();
    env.edit("imgplan.yaml", "visibility: public", "visibility: private");
    let plan = env.run(["plan", "--detailed-exitcode"]);
    plan.code(2);
    assert_snapshot!(steps(&plan), @"~ api:v1 update visibility public -> private");
    env.apply();
    assert_eq!(env.server().writes().split_off(before), ["PATCH /images"]);
    let images = env.server().get("images?search=api");
    assert_eq!(images["data"][0]["visibility"], "PRIVATE", "{images:#}");
    env.plans_nothing();
    // A field that is removed from the manifest keeps its value at the service.
    env.edit("imgplan.yaml", "    visibility: private\n", "");
    env.plans_nothing();
}

#[test]
fn an_image_removed_from_the_manifest_is_forgotten_and_not_deleted() {
    let env = TestEnv::example("monorepo");
    env.apply();
    let before = env.server().writes().len();
    env.edit("imgplan.yaml", "  - source: docker.io/library/redis:7-alpine\n", "");
    let plan = env.ok(["plan"]);
    assert_snapshot!(steps(&plan), @". redis:7-alpine forget removed from the manifest, image kept");
    let apply = env.apply();
    assert_snapshot!(apply.last_line(), @"Apply: 0 built, 0 mirrored, 0 updated, 1 forgotten, 0 deleted, 0 failed, 0 skipped, in [time].");
    assert_eq!(env.server().writes().len(), before, "forgetting sends nothing");
    assert!(!env.read("imgplan.lock").contains("redis"));
    let images = env.server().get("images?ownerScope=platform&search=redis");
    assert_eq!(images["total_count"], 1, "the image stays in the service");
    env.plans_nothing();
}

#[test]
fn detailed_exit_codes() {
    let env = one(Duration::ZERO);
    env.run(["plan"]).code(0);
    env.run(["plan", "--detailed-exitcode"]).code(2);
    env.run(["apply", "--auto-approve", "--detailed-exitcode"]).code(2);
    env.run(["plan", "--detailed-exitcode"]).code(0);
    env.run(["apply", "--auto-approve", "--detailed-exitcode"]).code(0);

    // One image that cannot be built, and one that can.
    env.write("imgplan.yaml", format!("{ONE}  - name: bad\n    context: bad\n"));
    env.context("bad", "FROM scratch\nCOPY missing /\n").context("app", "FROM scratch\nUSER 1\n");
    env.run(["apply", "--auto-approve", "--detailed-exitcode"]).code(3);
    env.run(["apply", "--auto-approve", "--detailed-exitcode"]).code(1);
    env.run(["apply", "--auto-approve"]).code(1);
}

#[test]
fn only_yes_applies() {
    let env = one(Duration::ZERO);
    for answer in ["no\n", "y\n", "YES\n", "\n", ""] {
        let asked = env.call(["apply"]).stdin(answer).run();
        asked.code(4).says("Nothing was changed.");
        assert_eq!(env.server().writes(), [""; 0], "after {answer:?}");
        assert!(!env.exists("imgplan.lock"), "after {answer:?}");
    }
    let asked = env.call(["apply"]).stdin("yes\n").run();
    asked.success();
    assert_snapshot!(asked.shown(), @r#"
    exit 0
    --- stdout
    imgplan: 1 target, owner personal, lockfile imgplan.lock, service [service]

        + app:v1  build   new

    + create
    Cost: 1 build with 22 B of context to pack, about 2 requests (initiate: 1 of 150/60s).
    Plan: 1 to create, 0 to rebuild, 0 to update, 0 to delete, 0 to forget. 0 unchanged.
    Owner: personal
    Apply: 1 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 0 failed, 0 skipped, in [time].
    --- stderr

    Apply these changes for personal? Only "yes" is accepted: 
    app:v1: Building...
    app:v1: Built in [time] [build ID]
    "#);
    env.plans_nothing();
}

#[test]
fn without_a_terminal_the_prompt_says_how_to_continue() {
    let env = one(Duration::ZERO);
    env.call(["apply"]).stdin("").run().code(4).says("use --auto-approve");
    let silent = env.call(["apply"]).env("IMGPLAN_IN_AUTOMATION", "1").stdin("").run();
    silent.code(4).never_says("--auto-approve");
}

#[test]
fn only_one_apply_runs_at_a_time() {
    let env = one(ENDLESS);
    let first = env.call(["apply", "--auto-approve"]).start();
    wait_until_started(&env);
    let second = env.run(["apply", "--auto-approve"]);
    second.code(5);
    assert_snapshot!(second.shown(), @"
    exit 5
    --- stderr
      × another apply is running in this directory (PID [number] on host [host], since [stamp])
      help: wait for it to end; the lock is released when its process ends
    ");
    // A plan takes no lock.
    assert_snapshot!(steps(&env.ok(["plan"])), @"<= app:v1 adopt a build is in progress, started [age] ago [build ID]");
    // The lock is released when its process ends.
    drop(first);
    let third = env.call(["apply"]).stdin("no\n").run();
    third.code(4);
}

#[test]
fn an_apply_without_changes_writes_no_lockfile() {
    let env = TestEnv::example("monorepo");
    env.apply();
    let before = (env.read("imgplan.lock"), env.path("imgplan.lock").metadata().unwrap());
    let again = env.apply();
    assert!(again.stdout.starts_with("No changes."), "{again}");
    let after = (env.read("imgplan.lock"), env.path("imgplan.lock").metadata().unwrap());
    assert_eq!(before.0, after.0);
    assert_eq!(before.1.modified().unwrap(), after.1.modified().unwrap());
}

#[test]
fn the_lockfile_does_not_depend_on_the_order_of_the_work() {
    let lockfile = |concurrency: &str| {
        let env = TestEnv::example("monorepo");
        let apply = env.ok(["apply", "--auto-approve", "--concurrency", concurrency]);
        apply.redacted(&env.read("imgplan.lock"))
    };
    assert_eq!(lockfile("1"), lockfile("64"));
}

#[test]
fn a_lockfile_of_another_service_is_refused() {
    let mut env = one(Duration::ZERO);
    env.apply();
    let writes = env.server().writes().len();
    let before = env.read("imgplan.lock");
    env.set("PRIME_API_BASE_URL", "https://images.example");
    for args in [&["plan"][..], &["plan", "--offline"], &["apply", "--auto-approve"]] {
        let refused = env.run(args.iter().copied());
        refused.code(1).says("belongs to http://127.0.0.1").says("https://images.example");
    }
    assert_eq!(env.read("imgplan.lock"), before);
    assert_eq!(env.server().writes().len(), writes);
}

#[test]
fn a_build_that_outlives_its_run_is_adopted() {
    let env = one(Duration::from_secs(2));
    let run = env.call(["apply", "--auto-approve"]).start();
    wait_until_started(&env);
    run.signal("KILL");
    assert_eq!(run.wait().code, None);
    assert!(!env.exists("imgplan.lock"));
    let plan = env.run(["plan", "--detailed-exitcode"]);
    plan.code(2);
    assert_snapshot!(plan.shown(), @"
    exit 2
    --- stdout
    imgplan: 1 target, owner personal, lockfile imgplan.lock, service [service]

       <= app:v1  adopt   a build is in progress, started [age] ago [build ID]

    <= adopt a build in progress
    Plan: 0 to create, 0 to rebuild, 1 to adopt, 0 to update, 0 to delete, 0 to forget. 0 unchanged.
    ");
    let apply = env.apply();
    assert_snapshot!(apply.last_line(), @"Apply: 1 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 0 failed, 0 skipped, in [time].");
    assert_eq!(env.server().initiated(), ["app:v1"], "it was submitted again");
    env.plans_nothing();
}

/// The run is killed between the response to the start and its record.
#[test]
fn a_build_whose_start_was_not_recorded_is_adopted() {
    let env = one(ENDLESS);
    let run = env.call(["apply", "--auto-approve"]).start();
    wait_until_started(&env);
    drop(run);
    let journal = env.read(".imgplan/journal.jsonl");
    let lines = journal.lines().filter(|line| !line.contains(r#""record":"started""#));
    let lines: Vec<&str> = lines.collect();
    env.write(".imgplan/journal.jsonl", lines.join("\n") + "\n");
    assert_snapshot!(steps(&env.ok(["plan"])), @"<= app:v1 adopt a build is in progress, started [age] ago [build ID]");
}

/// The context is uploaded, and only the start is missing.
#[test]
fn a_build_that_could_not_be_started_is_started_by_the_next_apply() {
    let scripted = Scripted::accepting();
    scripted.on("POST", "/images/build/*/start", [Answer::detail(503, "not now")]);
    let uploading = json!({ "id": "b-1", "status": "UPLOADING" });
    scripted.on("GET", "/images/build/*", [Answer::json(200, &uploading)]);
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", ONE).context("app", "FROM scratch\n");
    env.run(["apply", "--auto-approve", "--retry-times", "1"]).code(1);
    assert!(env.read("imgplan.lock").contains("stage: uploaded"));
    assert_snapshot!(steps(&env.ok(["plan"])), @"<= app:v1 adopt a build is in progress [build b-1]");
    let completed = json!({ "id": "b-1", "status": "COMPLETED" });
    scripted.on("POST", "/images/build/*/start", [Answer::empty(200)]);
    scripted.on(
        "GET",
        "/images/build/*",
        [
            Answer::json(200, &uploading),
            Answer::json(200, &uploading),
            Answer::json(200, &completed),
        ],
    );
    env.apply();
    assert_eq!(scripted.count("POST", "/images/build"), 1);
}

/// The service will never start the build, so it is not adopted.
#[test]
fn a_build_whose_start_is_refused_is_built_again() {
    let scripted = Scripted::accepting();
    scripted.on("POST", "/images/build/*/start", [Answer::detail(400, "too late")]);
    let uploading = json!({ "id": "b-1", "status": "UPLOADING" });
    scripted.on("GET", "/images/build/*", [Answer::json(200, &uploading)]);
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", ONE).context("app", "FROM scratch\n");
    env.run(["apply", "--auto-approve"]).code(1).says("too late");
    assert_snapshot!(steps(&env.ok(["plan"])), @"+ app:v1 build the last build failed: cannot start the build (HTTP 400): too late");
}

#[test]
fn a_changed_context_is_built_although_another_build_is_pending() {
    let env = one(ENDLESS);
    let run = env.call(["apply", "--auto-approve"]).start();
    wait_until_started(&env);
    drop(run);
    env.write("app/new.txt", "new\n");
    assert_snapshot!(steps(&env.ok(["plan"])), @"+ app:v1 build context changed");
}

/// Stops a run while its first build is active and another waits for it.
fn stop_once(signal: &str) -> (TestEnv, Output) {
    let env = one(Duration::from_secs(1));
    env.write("imgplan.yaml", format!("{ONE}  - name: on-top\n    context: on-top\n"));
    env.context("on-top", "FROM app:v1\n");
    // The tests may run under nohup, whose children ignore SIGHUP.
    let call = env.call(["apply", "--auto-approve"]);
    let run = call.in_shell(r#"exec env --default-signal=HUP "$0" "$@""#).start();
    wait_until_started(&env);
    run.signal(signal);
    let stopped = run.wait();
    assert_eq!(env.server().initiated(), ["app:v1"]);
    assert!(!env.build_of("app:v1").is_empty(), "what was waited for is in the lockfile");
    assert!(!env.exists(".imgplan/journal.jsonl"));
    (env, stopped)
}

#[test]
fn the_first_ctrl_c_waits_for_active_builds_and_starts_nothing_new() {
    let (env, stopped) = stop_once("INT");
    stopped.code(130);
    assert_snapshot!(stopped.shown(), @"
    exit 130
    --- stdout
    imgplan: 2 targets, owner personal, lockfile imgplan.lock, service [service]

        + app:v1         build   new
        + on-top:latest  build   new

    + create
    Order: app:v1 first, then what depends on them (1 target). Longest chain: 2.
    Cost: 2 builds with 22 B of context to pack, about 4 requests (initiate: 2 of 150/60s).
    Plan: 2 to create, 0 to rebuild, 0 to update, 0 to delete, 0 to forget. 0 unchanged.
    skipped: 1 target not started because the run stopped

    Owner: personal
    Apply: 1 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 0 failed, 1 skipped, in [time].
    --- stderr
    app:v1: Building...
    Stopping: no new work starts; waiting for 1 target in progress. Press Ctrl-C again to exit at once.
    app:v1: Built in [time] [build ID]
    Next: run `imgplan apply` to continue
    ");
    assert_snapshot!(steps(&env.ok(["plan"])), @"+ on-top:latest build new");
}

#[test]
fn sigterm_stops_a_run_like_ctrl_c() {
    let (_env, stopped) = stop_once("TERM");
    stopped.code(143).says("Stopping on SIGTERM");
    stopped.says("Next: run `imgplan apply` to continue");
    let (_env, stopped) = stop_once("HUP");
    stopped.code(143).says("Next: run `imgplan apply` to continue");
}

#[test]
fn the_second_ctrl_c_aborts_at_once_and_loses_nothing() {
    let env = one(ENDLESS);
    let mut run = env.call(["apply", "--auto-approve"]).start();
    wait_until_started(&env);
    wait_until("it leaves", || {
        if !run.has_ended() {
            run.signal("INT");
        }
        run.has_ended()
    });
    let left = run.wait();
    left.code(130);
    assert_snapshot!(left.shown(), @"
    exit 130
    --- stdout
    imgplan: 1 target, owner personal, lockfile imgplan.lock, service [service]

        + app:v1  build   new

    + create
    Cost: 1 build with 22 B of context to pack, about 2 requests (initiate: 1 of 150/60s).
    Plan: 1 to create, 0 to rebuild, 0 to update, 0 to delete, 0 to forget. 0 unchanged.

    pending while queued: app:v1 [build ID]
      the run was aborted before it ended

    Owner: personal
    Apply: 0 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 0 failed, 0 skipped, 1 pending, in [time].
    --- stderr
    app:v1: Building...
    Stopping: no new work starts; waiting for 1 target in progress. Press Ctrl-C again to exit at once.
    Next: run `imgplan apply` to continue
    ");
    assert!(env.read("imgplan.lock").contains("pending"));
    assert_snapshot!(steps(&env.ok(["plan"])), @"<= app:v1 adopt a build is in progress, started [age] ago [build ID]");
}

#[test]
fn mirrors_are_transferred_without_a_context() {
    let env = TestEnv::example("mirror");
    env.apply();
    let requests = env.server().requests();
    assert!(
        !requests.iter().any(|r| r.starts_with("PUT") || r.ends_with("/start")),
        "{requests:?}"
    );
    assert_eq!(env.server().counts().of(Class::Images).accepted, 6);
    let mut initiated = env.server().initiated();
    initiated.sort();
    assert_eq!(
        initiated,
        [
            "alertmanager:v0.28.0-amd64",
            "alertmanager:v0.28.0-arm64",
            "pause:3.9",
            "prometheus:v3.1.0",
            "ubuntu:22.04",
            "uv:0.9"
        ]
    );
    env.plans_nothing();
}

#[test]
fn a_mirror_whose_source_changes_is_mirrored_again() {
    let env = TestEnv::manifest(
        "version: 1\nimages:\n  - {source: quay.io/o/redis:7, name: cache, tag: v1}\n",
    );
    env.apply();
    env.edit("imgplan.yaml", "redis:7", "redis:8");
    assert_snapshot!(steps(&env.ok(["plan"])), @"-/+ cache:v1 mirror source quay.io/o/redis:7 -> quay.io/o/redis:8");
    env.apply();
    env.plans_nothing();
}

#[test]
fn a_new_platform_adds_a_unit() {
    let env = TestEnv::example("monorepo");
    env.apply();
    env.edit("imgplan.yaml", "    visibility: public\n", "    platforms: [linux/arm64]\n");
    assert_snapshot!(steps(&env.ok(["plan"])), @"-/+ api:v1 build platform linux/amd64 -> linux/arm64; base python-base:3.12-amd64 -> python-base:3.12-arm64");
    env.apply();
    env.plans_nothing();
}

#[test]
fn the_team_of_the_environment_owns_images_without_an_owner() {
    let mut env = one(Duration::ZERO);
    env.set("PRIME_TEAM_ID", "t1");
    env.apply();
    assert_eq!(env.server().get("images")["total_count"], 0);
    assert_eq!(env.server().get("images?teamId=t1")["total_count"], 1);
    assert!(env.read("imgplan.lock").contains("prime/team-t1/app:v1"));
    // An existing image keeps its owner.
    env.unset("PRIME_TEAM_ID");
    env.plans_nothing();
}

#[test]
fn the_manifest_sets_the_owner_of_an_image() {
    let env = one(Duration::ZERO);
    env.write("imgplan.yaml", ONE.replace("images:", "owner: {team: t2}\nimages:"));
    env.apply();
    assert_eq!(env.server().get("images?teamId=t2")["total_count"], 1);
    env.plans_nothing();
    // A new owner moves the image without a build.
    env.edit("imgplan.yaml", "{team: t2}", "personal");
    let before = env.server().writes().len();
    assert_snapshot!(steps(&env.ok(["plan"])), @"~ app:v1 update owner team:t2 -> personal");
    env.apply();
    assert_eq!(env.server().writes().split_off(before), ["PATCH /images"]);
    assert_eq!(env.server().get("images?teamId=t2")["total_count"], 0);
    assert_eq!(env.server().get("images")["total_count"], 1);
    env.plans_nothing();
}

#[test]
fn a_platform_image_is_public_and_may_have_a_namespace() {
    let env = TestEnv::manifest(
        "version: 1\nowner: platform\nimages:\n  - {name: tools/app, tag: v1, context: app}\n",
    );
    env.context("app", "FROM scratch\n").apply();
    let images = env.server().get("images?ownerScope=platform");
    assert_eq!(images["data"][0]["visibility"], "PUBLIC", "{images:#}");
    assert!(env.read("imgplan.lock").contains("path: \"tools/app:v1\""));
    env.plans_nothing();
}

#[test]
fn key_and_url_can_come_from_the_home_directory() {
    let mut env = one(Duration::ZERO);
    let config =
        serde_json::json!({ "api_key": crate::support::KEY, "base_url": env.server().url() });
    std::fs::create_dir(env.home().join(".prime")).unwrap();
    std::fs::write(env.home().join(".prime/config.json"), config.to_string()).unwrap();
    env.unset("PRIME_API_KEY").unset("PRIME_API_BASE_URL");
    env.apply();
    assert_eq!(env.server().initiated(), ["app:v1"]);
}

#[test]
fn the_local_service_needs_no_account() {
    let mut env = TestEnv::at("http://127.0.0.1:1");
    env.copy_example("monorepo");
    env.unset("PRIME_API_KEY");
    env.ok(["apply", "--local", "--auto-approve"]);
    assert!(!env.exists("imgplan.lock"), "its lockfile is its own");
    env.run(["plan", "--local", "--detailed-exitcode"]).success();
    // Its state is kept: the base built by one run is used by the next.
    env.write("services/api/src/app.py", "print('changed')\n");
    let again = env.ok(["apply", "--local", "--auto-approve"]);
    assert_snapshot!(again.last_line(), @"Apply: 1 checked and not built, 0 updated, 0 forgotten, 0 deleted, 0 failed, 0 skipped, in [time].");
}
