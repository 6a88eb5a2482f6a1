//! Failures during a run: failed builds, and a service that refuses requests, fails or sends
//! invalid responses. The user learns the reason, no build is lost, and nothing panics.

use std::time::Duration;

use imgplan::test_support::base::limit::Class;
use imgplan::test_support::server::ServerConfig;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Answer, Output, Scripted, TestEnv, completed};

/// Manifest with a single build.
const ONE: &str = "version: 1\nimages:\n  - name: app\n    tag: v1\n    context: app\n";

/// Creates an environment with a single build and a scripted service.
fn env_at(scripted: &Scripted) -> TestEnv {
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", ONE).context("app", "FROM scratch\n");
    env
}

fn apply(env: &TestEnv) -> Output {
    env.run(["apply", "--auto-approve"])
}

/// Returns the output after the plan.
fn end(output: &Output) -> String {
    output.after_plan()
}

/// Returns the content of the lockfile and the journal, which hold the build IDs.
fn records(env: &TestEnv) -> String {
    let read = |path| std::fs::read_to_string(env.path(path)).unwrap_or_default();
    read("imgplan.lock") + &read(".imgplan/journal.jsonl")
}

fn steps(env: &TestEnv) -> String {
    env.ok(["plan"]).steps().join("\n")
}

#[test]
fn a_failed_build_skips_its_dependents_only() {
    let env = TestEnv::manifest(
        "version: 1
defaults: {tag: v1}
images:
  - {name: base, context: base}
  - {name: api, context: api}
  - {name: on-api, context: on-api}
  - {name: other, context: other}
  - {name: copy, source: quay.io/library/redis:7}
",
    );
    env.context("base", "FROM scratch\n")
        .context("api", "FROM base:v1\nCOPY src/missing.py /app/\n")
        .context("on-api", "FROM api:v1\n")
        .context("other", "FROM base:v1\n");
    let failed = apply(&env);
    failed.code(1);
    assert_snapshot!(end(&failed), @"
    skipped: on-api:v1 depends on api:v1, which failed
    failed while building: api:v1 [build ID]
      the build failed: Dockerfile: line 2: `src/missing.py` is not in the build context

    Owner: personal
    Apply: 2 built, 1 mirrored, 0 updated, 0 forgotten, 0 deleted, 1 failed, 1 skipped, in [time].
    ");
    assert!(!failed.stderr.contains("skipped"), "the summary groups them: {failed}");
    let lockfile = env.read("imgplan.lock");
    for done in ["base:v1", "other:v1", "copy:7"] {
        assert!(lockfile.contains(&format!("path: \"prime/local/{done}\"")), "{lockfile}");
    }
    assert!(!env.server().initiated().contains(&"on-api:v1".to_owned()));
    // The next plan has exactly the remaining builds.
    assert_snapshot!(steps(&env), @"
    + api:v1 build the last build failed: Dockerfile: line 2: `src/missing.py` is not in the build context
    + on-api:v1 build new
    ");
    env.write("api/src/missing.py", "print('found')\n");
    env.apply();
    env.plans_nothing();
}

/// The error of the service is in the lockfile until a build succeeds.
#[test]
fn the_error_of_a_failed_build_is_kept_and_shown() {
    let long = "x".repeat(2000);
    for (cause, shown) in [
        ("no space left on device", "no space left on device".to_owned()),
        (
            "process \"/bin/sh -c make\" failed\n  in C:\\src",
            "process \"/bin/sh -c make\" failed in C:\\src".to_owned(),
        ),
        ("\u{1b}[31mred\u{1b}[0m \u{202e}text", "[31mred [0m text".to_owned()),
        (&long, "x".repeat(300)),
    ] {
        let scripted = Scripted::accepting();
        let failed = json!({ "id": "b-1", "status": "FAILED", "errorMessage": cause });
        scripted.on("GET", "/images/build/*", [Answer::json(200, &failed)]);
        let env = env_at(&scripted);
        apply(&env).code(1);
        let quoted = format!("      error: {}\n", json!(shown));
        let lockfile = env.read("imgplan.lock");
        assert!(lockfile.contains(&quoted), "{lockfile}");
        let plan = env.ok(["plan"]);
        assert_eq!(plan.steps(), [format!("+ app:v1 build the last build failed: {shown}")]);
        env.ok(["why", "app:v1"]).says(&format!("\n  {shown}\n"));
        env.ok(["show"]).says(&format!("failed [build b-1]: {shown}\n"));
        let json: Value = serde_json::from_str(&env.ok(["show", "--json"]).stdout).unwrap();
        assert_eq!(json["units"][0]["failed"]["error"], *shown);
        assert_eq!(env.read("imgplan.lock"), lockfile, "nothing was written");
        // As an earlier imgplan wrote it.
        env.edit("imgplan.lock", &quoted, "");
        let plan = env.ok(["plan"]);
        assert_eq!(plan.steps(), ["+ app:v1 build the last build did not succeed"]);
        env.write("imgplan.lock", &lockfile);

        scripted.on("POST", "/images/build", [Answer::json(201, &scripted.accepted("b-2"))]).on(
            "GET",
            "/images/build/*",
            [Answer::json(200, &completed("b-2"))],
        );
        env.apply();
        let lockfile = env.read("imgplan.lock");
        assert!(!lockfile.contains("error:") && !lockfile.contains("failed:"), "{lockfile}");
        env.ok(["plan", "--refresh=false"]).says("No changes.");
    }
}

/// The next refresh finds the failure of a build that nobody watched.
#[test]
fn the_error_of_an_unwatched_build_is_kept_and_shown() {
    let scripted = Scripted::accepting();
    scripted.on("GET", "/images/build/*", [Answer::json(200, &json!({ "status": "BUILDING" }))]);
    let env = env_at(&scripted);
    env.write("imgplan.yaml", format!("{ONE}    timeout: 1s\n"));
    apply(&env).code(1);
    let failed = json!({ "id": "b-1", "status": "FAILED", "errorMessage": "no space left" });
    scripted.on("GET", "/images/build/*", [Answer::json(200, &failed)]);
    assert_snapshot!(steps(&env), @"+ app:v1 build the last build failed: no space left");
    env.ok(["apply", "--refresh-only", "--auto-approve"]);
    assert!(env.read("imgplan.lock").contains("      error: \"no space left\"\n"));
    env.ok(["show"]).says("failed [build b-1]: no space left");
}

#[test]
fn failures_are_in_the_json_output() {
    let env = TestEnv::manifest(ONE);
    env.context("app", "FROM scratch\nCOPY missing /\n");
    let failed = env.run(["apply", "--auto-approve", "--json"]);
    failed.code(1);
    let errors = failed.events("apply_errored");
    assert_eq!(errors.len(), 1, "{failed}");
    assert!(errors[0].to_string().contains("missing"), "{failed}");
    let summary = failed.events("change_summary").pop().unwrap();
    assert_eq!(summary["changes"]["failed"], 1, "{failed}");
}

#[test]
fn a_failed_rebuild_keeps_the_last_build() {
    let env = TestEnv::manifest(ONE);
    env.context("app", "FROM scratch\n").apply();
    let before = env.read("imgplan.lock");
    env.context("app", "FROM scratch\nCOPY missing /\n");
    apply(&env).code(1);
    let path = "path: \"prime/local/app:v1\"";
    assert!(before.contains(path) && env.read("imgplan.lock").contains(path));
    // The old content needs no build.
    env.context("app", "FROM scratch\n");
    env.plans_nothing();
}

#[test]
fn a_refused_api_key_has_help() {
    let mut env = TestEnv::manifest(ONE);
    env.context("app", "FROM scratch\n");
    env.set("PRIME_API_KEY", "wrong-key");
    let refused = env.run(["apply", "--auto-approve", "--refresh=false"]);
    refused.code(1).never_says("wrong-key");
    assert_snapshot!(end(&refused), @"
    failed while submitting: app:v1
      cannot initiate the build (HTTP 401)
      help: the API key is not accepted: check that PRIME_API_KEY is correct and not revoked

    Owner: personal
    Apply: 0 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 1 failed, 0 skipped, in [time].
    ");
    assert_eq!(env.server().initiated(), [""; 0]);
}

#[test]
fn a_missing_api_key_has_help() {
    let mut env = TestEnv::manifest(ONE);
    env.context("app", "FROM scratch\n");
    env.unset("PRIME_API_KEY");
    let refused = apply(&env);
    refused.code(1);
    assert_snapshot!(refused.shown(), @"
    exit 1
    --- stderr
      × cannot connect to the service: there is no API key
      help: set PRIME_API_KEY, or run `prime login`; `--local` needs no key
    ");
    // A plan needs no key.
    env.ok(["plan"]);
    assert_eq!(env.server().requests(), [""; 0]);
}

#[test]
fn an_unpaid_account_stops_the_run_at_once() {
    let scripted = Scripted::accepting();
    scripted.on("POST", "/images/build", [Answer::detail(402, "Payment required")]);
    let env = env_at(&scripted);
    env.write(
        "imgplan.yaml",
        format!("{ONE}  - {{name: b, context: app}}\n  - {{name: c, context: app}}\n"),
    );
    let refused = env.run(["apply", "--auto-approve", "--concurrency", "1"]);
    refused.code(1);
    assert_snapshot!(end(&refused), @"
    skipped: 2 targets not started because the run stopped
    failed while submitting: app:v1
      cannot initiate the build (HTTP 402): Payment required
      help: pay the account's outstanding balance

    Owner: personal
    Apply: 0 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 1 failed, 2 skipped, in [time].
    ");
    assert_eq!(
        scripted.count("POST", "/images/build"),
        1,
        "the other builds would fail in the same way"
    );
}

#[test]
fn an_unreachable_service_is_named() {
    // A port without a server.
    let url = Scripted::start().url().to_owned();
    let env = TestEnv::at(&url);
    env.write("imgplan.yaml", ONE).context("app", "FROM scratch\n");
    let help = "check PRIME_API_BASE_URL and the network connection";
    for command in [&["plan"][..], &["apply", "--auto-approve"]] {
        env.run(command.iter().copied()).code(1).says("cannot compare").says(help);
    }
    let lost = env.run(["apply", "--auto-approve", "--refresh=false"]);
    lost.code(1);
    assert_snapshot!(end(&lost), @"
    failed while submitting: app:v1
      cannot reach the service: [service]/api/v1: error sending request: client error (Connect): tcp connect error: Connection refused (os error 111)
      help: check PRIME_API_BASE_URL and the network connection

    Owner: personal
    Apply: 0 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 1 failed, 0 skipped, in [time].
    ");
    env.ok(["plan", "--offline"]);
}

#[test]
fn an_html_page_is_not_taken_as_a_response() {
    let page = Answer::text(200, "<!doctype html><html><body>Welcome</body></html>")
        .header("content-type", "text/html");
    let scripted = Scripted::accepting();
    scripted.on("POST", "/images/build", [page]);
    let mut env = env_at(&scripted);
    // Before the first valid response, an HTML page means a wrong URL and not a transient error.
    let refused = apply(env.set("IMGPLAN_REFRESH", "false"));
    refused.code(1);
    assert_snapshot!(end(&refused), @"
    failed while submitting: app:v1
      cannot initiate the build: the service answered with an HTML page instead of JSON
      help: this is not the images API: check that PRIME_API_BASE_URL is correct and that no proxy responds in its place

    Owner: personal
    Apply: 0 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 1 failed, 0 skipped, in [time].
    ");
    // Initiated builds never start without a context, so that a retry is safe.
    assert_eq!(
        scripted.count("POST", "/images/build"),
        3,
        "a wrong URL is reported within seconds"
    );
}

#[test]
fn an_html_page_instead_of_a_status_is_a_transient_error() {
    let page = Answer::text(502, "<html>Bad Gateway</html>");
    let ok_page = Answer::text(200, "<html>Maintenance</html>");
    let done = Answer::json(200, &json!({ "id": "b-1", "status": "COMPLETED" }));
    let scripted = Scripted::accepting();
    scripted.on("GET", "/images/build/*", [page, ok_page, done]);
    let env = env_at(&scripted);
    apply(&env).success();
    assert_eq!(scripted.count("POST", "/images/build"), 1);
}

#[test]
fn a_build_without_a_valid_status_stays_pending() {
    let scripted = Scripted::accepting();
    scripted.on("GET", "/images/build/*", [Answer::json(200, &json!({ "status": 7 }))]);
    let env = env_at(&scripted);
    env.write("imgplan.yaml", format!("{ONE}    timeout: 1s\n"));
    let left = apply(&env);
    left.code(1);
    assert_snapshot!(end(&left), @"
    pending while queued: app:v1 [build b-1]
      not done within 1s
      help: the build continues, and the next apply waits for it

    Owner: personal
    Apply: 0 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 0 failed, 0 skipped, 1 pending, in [time].
    ");
    assert!(records(&env).contains("b-1"), "the build ID is lost");
}

#[test]
fn a_start_may_have_an_empty_response() {
    let scripted = Scripted::accepting();
    scripted.on("POST", "/images/build/*/start", [Answer::empty(204)]);
    let env = env_at(&scripted);
    apply(&env).success();
    env.plans_nothing();
}

#[test]
fn unknown_fields_and_statuses_are_accepted() {
    let scripted = Scripted::accepting();
    let mut accepted = scripted.accepted("b-1");
    accepted["news"] = json!([{ "of": "tomorrow" }]);
    accepted["expires_in"] = json!("soon");
    accepted["visibility"] = json!("FRIENDS");
    let status = |status: &str| {
        Answer::json(
            200,
            &json!({ "id": "b-1", "status": status, "artifacts": null, "x": { "y": 1 } }),
        )
    };
    scripted.on("POST", "/images/build", [Answer::json(200, &accepted)]).on(
        "GET",
        "/images/build/*",
        [status("QUANTUM"), status("scanning"), status("Completed")],
    );
    let env = env_at(&scripted);
    apply(&env).success();
    env.plans_nothing();
}

#[test]
fn a_response_without_an_upload_url_loses_no_build() {
    let scripted = Scripted::accepting();
    for url in [Value::Null, json!(""), json!(5), json!("not a url")] {
        let mut accepted = scripted.accepted("b-1");
        accepted["upload_url"] = url.clone();
        scripted.on("POST", "/images/build", [Answer::json(201, &accepted)]);
        let env = env_at(&scripted);
        let failed = apply(&env);
        failed.code(1);
        assert!(end(&failed).contains("upload"), "{url}: {failed}");
        assert!(records(&env).contains("b-1"), "{url}: the build ID is lost");
    }
}

#[test]
fn a_response_without_a_build_id_is_an_error() {
    for body in [
        json!({}),
        json!([]),
        json!(null),
        json!({ "build_id": "" }),
        json!({ "build_id": "../x" }),
    ] {
        let scripted = Scripted::accepting();
        scripted.on("POST", "/images/build", [Answer::json(201, &body)]);
        let mut env = env_at(&scripted);
        let failed = apply(env.set("IMGPLAN_REFRESH", "false"));
        failed.code(1);
        assert!(end(&failed).contains("build"), "{body}: {failed}");
    }
}

#[test]
fn a_refusal_shows_the_text_of_the_service() {
    let refusal = json!({ "detail": [{ "loc": ["body", "image_tag"], "msg": "tag is reserved" }] });
    let scripted = Scripted::accepting();
    scripted.on("POST", "/images/build", [Answer::json(422, &refusal)]);
    let env = env_at(&scripted);
    let refused = apply(&env);
    refused.code(1);
    assert_snapshot!(end(&refused), @"
    failed while submitting: app:v1
      cannot initiate the build (HTTP 422): body.image_tag: tag is reserved

    Owner: personal
    Apply: 0 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 1 failed, 0 skipped, in [time].
    ");
    assert_snapshot!(steps(&env), @"+ app:v1 build new");
}

#[test]
fn a_rate_limit_is_waited_out() {
    let too_many =
        || Answer::detail(429, "Too Many Requests (per-token limit)").header("retry-after", "1");
    let scripted = Scripted::accepting();
    let accepted = Answer::json(201, &scripted.accepted("b-1"));
    scripted.on("POST", "/images/build", [too_many(), too_many(), accepted]);
    let env = env_at(&scripted);
    let start = std::time::Instant::now();
    apply(&env).success();
    assert!(start.elapsed() >= Duration::from_secs(2), "Retry-After was not honoured");
    assert_eq!(scripted.count("POST", "/images/build"), 3);
}

#[test]
fn a_rate_limit_on_other_requests_is_waited_out_too() {
    let too_many = || Answer::detail(429, "Rate limit exceeded").header("retry-after", "0");
    let scripted = Scripted::accepting();
    let done = Answer::json(200, &json!({ "id": "b-1", "status": "COMPLETED" }));
    scripted.on("POST", "/images/build/*/start", [too_many(), Answer::empty(200)]).on(
        "GET",
        "/images/build/*",
        [too_many(), done],
    );
    apply(&env_at(&scripted)).success();
    assert_eq!(scripted.count("POST", "/images/build"), 1);
}

#[test]
fn a_full_quota_stops_submissions() {
    let env = TestEnv::with(ServerConfig { quota: Some(2), ..ServerConfig::default() });
    let images =
        ["a", "b", "c", "d", "e"].map(|name| format!("  - {{name: {name}, context: app}}\n"));
    env.write("imgplan.yaml", format!("version: 1\nimages:\n{}", images.concat()));
    env.context("app", "FROM scratch\n");
    let full = env.run(["apply", "--auto-approve", "--concurrency", "1"]);
    full.code(1);
    assert_snapshot!(end(&full), @"
    skipped: 2 targets not started because the run stopped
    failed while submitting: c:latest
      cannot initiate the build (HTTP 429): Image limit exceeded. Personal has 2 images. Maximum allowed is 2.
      help: delete images that are no longer needed, or request a larger quota

    Owner: personal
    Apply: 2 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 1 failed, 2 skipped, in [time].
    ");
    assert_eq!(
        env.server().counts().of(Class::Initiate).accepted,
        3,
        "no request after the refusal"
    );
    assert_eq!(env.read("imgplan.lock").matches("path: ").count(), 2);
    assert_eq!(env.ok(["plan"]).steps().len(), 3);
}

#[test]
fn a_failed_upload_loses_no_build() {
    let scripted = Scripted::accepting();
    scripted.on(
        "PUT",
        "/upload/*",
        [Answer::text(403, "<Error><Code>AccessDenied</Code></Error>")],
    );
    let env = env_at(&scripted);
    let failed = apply(&env);
    failed.code(1).never_says("s3cr3t");
    assert_snapshot!(end(&failed), @"
    failed while uploading: app:v1 [build b-1]
      cannot upload the context (HTTP 403): AccessDenied

    Owner: personal
    Apply: 0 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 1 failed, 0 skipped, in [time].
    ");
    assert!(records(&env).contains("b-1"));
    assert_eq!(scripted.count("POST", "/images/build/*/start"), 0, "nothing to start");
}

#[test]
fn a_failed_upload_is_sent_again_from_the_start() {
    let scripted = Scripted::accepting();
    scripted.on("PUT", "/upload/*", [Answer::empty(503), Answer::empty(200)]);
    apply(&env_at(&scripted)).success();
    let requests = scripted.requests();
    let uploads: Vec<_> = requests.iter().filter(|request| request.method == "PUT").collect();
    assert_eq!(uploads.len(), 2);
    assert!(!uploads[0].body.is_empty() && uploads[0].body == uploads[1].body);
}

#[test]
fn a_timeout_leaves_the_build_for_the_next_run() {
    let env = TestEnv::with(ServerConfig {
        build_time: Duration::from_secs(3),
        ..ServerConfig::default()
    });
    env.write("imgplan.yaml", format!("{ONE}    timeout: 1s\n")).context("app", "FROM scratch\n");
    let left = apply(&env);
    left.code(1);
    assert_snapshot!(end(&left), @"
    pending while building: app:v1 [build ID]
      not done within 1s
      help: the build continues, and the next apply waits for it

    Owner: personal
    Apply: 0 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 0 failed, 0 skipped, 1 pending, in [time].
    ");
    assert_snapshot!(steps(&env), @"<= app:v1 adopt a build is in progress, started [age] ago [build ID]");
    env.edit("imgplan.yaml", "timeout: 1s", "timeout: 1m");
    env.apply();
    assert_eq!(env.server().initiated(), ["app:v1"]);
}

#[test]
fn a_failed_update_is_reported_and_planned_again() {
    let scripted = Scripted::accepting();
    let env = env_at(&scripted);
    env.apply();
    let failed = json!({ "results": [{ "success": false, "error": { "code": "conflict", "message": "a build is under way" } }] });
    scripted.on("PATCH", "/images", [Answer::json(200, &failed)]);
    env.write("imgplan.yaml", format!("{ONE}    visibility: public\n"));
    let refused = apply(&env);
    refused.code(1);
    assert_snapshot!(end(&refused), @"
    failed while updating: app:v1
      cannot update the image: a build is under way

    Owner: personal
    Apply: 0 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 1 failed, 0 skipped, in [time].
    ");
    assert_snapshot!(steps(&env), @"~ app:v1 update visibility private -> public");
}

#[test]
fn a_pending_build_that_the_service_forgot_is_built_again() {
    let scripted = Scripted::accepting();
    scripted.on("GET", "/images/build/*", [Answer::json(200, &json!({ "status": "BUILDING" }))]);
    let env = env_at(&scripted);
    env.write("imgplan.yaml", format!("{ONE}    timeout: 1s\n"));
    apply(&env).code(1);
    assert_snapshot!(steps(&env), @"<= app:v1 adopt a build is in progress [build b-1]");
    scripted.on("GET", "/images/build/*", [Answer::detail(404, "no such build")]);
    assert_snapshot!(steps(&env), @"+ app:v1 build the last build did not succeed");
}

#[test]
fn a_damaged_lockfile_is_refused_with_its_line() {
    let env = TestEnv::manifest(ONE);
    env.context("app", "FROM scratch\n").apply();
    let good = env.read("imgplan.lock");
    let writes = env.server().writes().len();
    for bad in [
        good.replace("version: 1", "version: 3"),
        format!("<<<<<<< ours\n{good}=======\n>>>>>>> theirs\n"),
        good.replace("kind: build", "kind: bild"),
        good[..good.len() / 2].to_owned(),
        String::new(),
        "\u{0}".to_owned(),
    ] {
        env.write("imgplan.lock", &bad);
        for args in [&["plan"][..], &["apply", "--auto-approve"], &["show"]] {
            let refused = env.run(args.iter().copied());
            refused.code(1).says("imgplan.lock").says("help");
            assert_eq!(env.read("imgplan.lock"), bad, "the file is unchanged");
        }
    }
    assert_eq!(env.server().writes().len(), writes);
}

#[test]
fn a_lockfile_with_a_merge_conflict_or_another_version_is_refused() {
    let env = TestEnv::manifest(ONE);
    env.context("app", "FROM scratch\n");
    env.write("imgplan.lock", "version: 1\n<<<<<<< ours\nunits:\n=======\n>>>>>>> theirs\n");
    assert_snapshot!(env.run(["plan"]).shown(), @"
    exit 1
    --- stderr
      × cannot read imgplan.lock: it has conflict markers of a merge, on line 2
       ╭─[imgplan.lock:2:1]
     1 │ version: 1
     2 │ <<<<<<< ours
       · ────────────
     3 │ units:
       ╰────
      help: finish the merge: for each target, keep the block of one side
    ");
    env.write("imgplan.lock", "version: 9\n");
    assert_snapshot!(env.run(["plan"]).shown(), @"
    exit 1
    --- stderr
      × cannot read imgplan.lock: it has version 9, and this imgplan reads 2
      help: use a newer imgplan
    ");
}
