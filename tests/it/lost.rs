//! Responses that are lost, in another order or incomplete: every build is assigned to its unit,
//! and nothing is requested twice.

use imgplan::test_support::base::limit::Class;
use imgplan::test_support::server::{BulkShape, ServerConfig};
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Answer, Output, Scripted, TestEnv};

/// Mirrors that share one request.
const THREE: &str = "version: 1
images:
  - {source: quay.io/library/redis:7}
  - {source: ghcr.io/org/app:v1}
  - {source: quay.io/org/tool:v2}
";

/// The units of [`THREE`].
const UNITS: [&str; 3] = ["app:v1", "redis:7", "tool:v2"];

/// Creates an environment with three mirrors and a scripted service that knows the builds `b-NAME`.
fn three(scripted: &Scripted) -> TestEnv {
    for unit in UNITS {
        let build = build(unit);
        let status = Answer::json(200, &status(unit, &build));
        scripted.on("GET", &format!("/images/build/{build}"), [status]);
    }
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", THREE);
    env
}

fn build(unit: &str) -> String {
    format!("b-{}", unit.split_once(':').unwrap().0)
}

/// Returns the status of a completed transfer.
fn status(unit: &str, build: &str) -> Value {
    let (name, tag) = unit.split_once(':').unwrap();
    json!({
        "id": build,
        "imageName": name,
        "imageTag": tag,
        "status": "COMPLETED",
        "fullImagePath": format!("prime/local/{unit}"),
    })
}

/// Returns the bodies of all requests for a build or a transfer.
fn requests(scripted: &Scripted) -> Vec<Value> {
    let requests = scripted.requests().into_iter();
    let requests =
        requests.filter(|request| request.method == "POST" && request.path == "/images/build");
    requests.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
}

fn sources(body: &Value) -> Vec<String> {
    body["sourceImage"].as_str().unwrap().split(',').map(str::to_owned).collect()
}

/// Checks that the lockfile has the build and path of each unit.
fn check_assigned(env: &TestEnv) {
    for unit in UNITS {
        assert_eq!(env.build_of(unit), build(unit));
        let path = format!("path: \"prime/local/{unit}\"");
        let lockfile = env.read("imgplan.lock");
        assert!(lockfile.contains(&path), "{path}\n{lockfile}");
    }
    env.plans_nothing();
}

/// Returns the output after the plan.
fn end(output: &Output) -> String {
    output.after_plan()
}

#[test]
fn a_transfer_with_a_lost_response_is_found_and_not_requested_twice() {
    let faults = vec!["initiate:cut-after:1".parse().unwrap()];
    for shape in [BulkShape::BuildIds, BulkShape::Results, BulkShape::Builds] {
        let config =
            ServerConfig { faults: faults.clone(), bulk: Some(shape), ..ServerConfig::default() };
        let env = TestEnv::with(config);
        let named = "  - {source: quay.io/library/redis:8, name: cache, tag: v1}\n";
        env.write("imgplan.yaml", format!("{THREE}{named}"));
        let apply = env.ok(["apply", "--auto-approve", "--json"]);
        assert_eq!(apply.events("retry").len(), 2, "{apply}");
        assert_eq!(
            env.server().counts().of(Class::Initiate).accepted,
            2,
            "the batch, and the named one"
        );
        for build in env.server().builds() {
            assert_eq!(env.build_of(&build.image), build.id);
        }
        assert_eq!(env.server().builds().len(), 4);
        env.plans_nothing();
    }
}

/// The response to a transfer is lost, and its source changes before the service can be queried.
#[test]
fn a_lost_transfer_of_an_earlier_source_is_not_used_for_the_new_one() {
    let scripted = Scripted::start();
    let down = || Answer::detail(502, "not now");
    let row = |build: &str| {
        let created = jiff::Timestamp::now().to_string();
        json!({ "id": build, "imageName": "cache", "imageTag": "v1", "status": "COMPLETED",
                "createdAt": created, "fullImagePath": "prime/local/cache:v1" })
    };
    let page = json!({ "data": [row("b-old")], "total_count": 1, "offset": 0, "limit": 100 });
    scripted
        .on("POST", "/images/build", [down(), Answer::json(201, &json!({ "build_id": "b-new" }))])
        .on("GET", "/images/build/b-old", [Answer::json(200, &row("b-old"))])
        .on("GET", "/images/build/b-new", [Answer::json(200, &row("b-new"))])
        // The listing fails in the first run and in the next plan.
        .on("GET", "/images/builds", [down(), down(), Answer::json(200, &page)]);
    let env = TestEnv::at(scripted.url());
    let manifest = "version: 1\nimages: [{source: \"quay.io/o/redis:8\", name: cache, tag: v1}]\n";
    env.write("imgplan.yaml", manifest);
    let apply = || env.run(["apply", "--auto-approve", "--retry-times", "0"]);
    apply().code(1).says("it is not known whether the service accepted the transfer");
    env.edit("imgplan.yaml", "redis:8", "redis:9");
    for _ in 0..2 {
        if apply().code == Some(0) {
            break;
        }
    }
    assert_eq!(env.build_of("cache:v1"), "b-new", "b-old is of redis:8");
    assert_eq!(requests(&scripted).len(), 2);
    env.plans_nothing();
}

/// An image is mirrored three times within seconds, and the third response is lost.
#[test]
fn a_superseded_transfer_is_not_used_for_a_lost_one() {
    let scripted = Scripted::start();
    let row = |build: &str| {
        let created = jiff::Timestamp::now().to_string();
        json!({ "id": build, "imageName": "cache", "imageTag": "v1", "status": "COMPLETED",
                "createdAt": created, "fullImagePath": "prime/local/cache:v1" })
    };
    let accepted = |build: &str| Answer::json(201, &json!({ "build_id": build }));
    let lost = Answer::detail(502, "not now");
    scripted.on("POST", "/images/build", [accepted("b-1"), accepted("b-2"), lost, accepted("b-3")]);
    let env = TestEnv::at(scripted.url());
    env.write(
        "imgplan.yaml",
        "version: 1\nimages: [{source: \"quay.io/o/redis:7\", name: cache, tag: v1}]\n",
    );
    let mut rows = Vec::new();
    for (build, next) in [("b-1", "redis:8"), ("b-2", "redis:9"), ("b-3", "redis:10")] {
        let status = Answer::json(200, &row(build));
        scripted.on("GET", &format!("/images/build/{build}"), [status]);
        let page = json!({ "data": rows, "total_count": rows.len(), "offset": 0, "limit": 100 });
        scripted.on("GET", "/images/builds", [Answer::json(200, &page)]);
        env.apply();
        rows.insert(0, row(build));
        assert_eq!(env.build_of("cache:v1"), build, "the transfer before {next}");
        let now = env.read("imgplan.yaml");
        let from = now.find("redis:").unwrap();
        let to = from + now[from..].find('"').unwrap();
        env.write("imgplan.yaml", format!("{}{next}{}", &now[..from], &now[to..]));
    }
    assert_eq!(requests(&scripted).len(), 4);
}

/// Accepts requests for a single source, and refuses batches and the source `refused`.
fn accept_single_sources(scripted: &Scripted, refused: &'static str) {
    scripted.by_body("POST", "/images/build", move |body| {
        let body: Value = serde_json::from_slice(body).unwrap();
        match &sources(&body)[..] {
            [source] if source != refused => {
                let unit = source.rsplit('/').next().unwrap();
                Answer::json(201, &json!({ "build_id": build(unit) }))
            }
            [source] => Answer::detail(400, &format!("Invalid transfer source: {source}")),
            _ => Answer::detail(400, "a comma list is not taken"),
        }
    });
}

#[test]
fn a_refused_batch_is_split_into_single_requests() {
    let scripted = Scripted::start();
    accept_single_sources(&scripted, "");
    let env = three(&scripted);
    env.apply();
    let requests = requests(&scripted);
    assert_eq!(requests.len(), 4, "{requests:#?}");
    assert_eq!(sources(&requests[0]).len(), 3);
    assert!(requests[0].get("image_name").is_none(), "a name is for one source: {}", requests[0]);
    check_assigned(&env);
}

#[test]
fn a_bad_source_in_a_batch_fails_alone() {
    let scripted = Scripted::start();
    accept_single_sources(&scripted, "quay.io/library/redis:7");
    let env = three(&scripted);
    let failed = env.run(["apply", "--auto-approve"]);
    failed.code(1);
    assert_snapshot!(end(&failed), @"
    failed while submitting: redis:7
      cannot initiate the build (HTTP 400): Invalid transfer source: quay.io/library/redis:7

    Owner: personal
    Apply: 0 built, 2 mirrored, 0 updated, 0 forgotten, 0 deleted, 1 failed, 0 skipped, in [time].
    ");
    assert_eq!(requests(&scripted).len(), 4, "the batch, and each source once");
    assert_eq!(env.ok(["plan"]).steps(), ["+ redis:7 mirror new"]);
}

#[test]
fn a_full_quota_in_a_bulk_response_stops_submissions() {
    for shape in [BulkShape::Results, BulkShape::Builds] {
        let env = TestEnv::with(ServerConfig {
            quota: Some(2),
            bulk: Some(shape),
            ..ServerConfig::default()
        });
        let more = "  - {source: quay.io/org/two:v2}\n  - {source: quay.io/org/x:v2}\n";
        env.write("imgplan.yaml", format!("{THREE}{more}"));
        let full = env.run(["apply", "--auto-approve", "--concurrency", "3"]);
        full.code(1);
        full.says("Image limit exceeded. Personal has 2 images. Maximum allowed is 2.");
        full.says("help: delete images that are no longer needed, or request a larger quota");
        full.says("skipped: 2 targets not started because the run stopped");
        let initiate = env.server().counts().of(Class::Initiate);
        assert_eq!(initiate.accepted, 1, "no request after the refusal");
        assert_eq!(env.read("imgplan.lock").matches("path: ").count(), 2);
        assert_eq!(env.ok(["plan"]).steps().len(), 3);
    }
}

#[test]
fn results_in_another_order_are_assigned_by_source() {
    let scripted = Scripted::start();
    let result = |unit: &str, source: &str| {
        let path = format!("prime/local/{unit}");
        json!({ "sourceImage": source, "success": true, "buildId": build(unit), "fullImagePath": path })
    };
    let results = json!([
        result("tool:v2", "quay.io/org/tool:v2"),
        result("redis:7", "quay.io/library/redis:7"),
        result("app:v1", "ghcr.io/org/app:v1"),
    ]);
    let answer = Answer::json(201, &json!({ "results": results, "failed": [] }));
    scripted.on("POST", "/images/build", [answer]);
    let env = three(&scripted);
    env.apply();
    assert_eq!(requests(&scripted).len(), 1);
    check_assigned(&env);
}

/// The response names no sources, and its order is not guaranteed.
#[test]
fn builds_in_another_order_are_assigned_by_name() {
    let scripted = Scripted::start();
    let reordered = ["tool:v2", "redis:7", "app:v1"];
    let answer = json!({
        "build_id": build(reordered[0]),
        "buildIds": reordered.map(build),
        "fullImagePath": "prime/local/tool:v2",
    });
    scripted.on("POST", "/images/build", [Answer::json(201, &answer)]);
    let rows = reordered.map(|unit| status(unit, &build(unit)));
    let page = json!({ "data": rows, "total_count": 3, "offset": 0, "limit": 100 });
    scripted.on("GET", "/images/builds", [Answer::json(200, &page)]);
    let env = three(&scripted);
    env.apply();
    assert_eq!(requests(&scripted).len(), 1);
    check_assigned(&env);
}

#[test]
fn a_build_of_another_image_fails_its_unit_only() {
    let scripted = Scripted::start();
    scripted.by_body("POST", "/images/build", |body| {
        let sources = sources(&serde_json::from_slice(body).unwrap());
        let builds = sources.iter().map(|source| build(source.rsplit('/').next().unwrap()));
        let builds: Vec<String> = builds.collect();
        Answer::json(201, &json!({ "build_id": builds[0], "buildIds": builds }))
    });
    let env = three(&scripted);
    let other = Answer::json(200, &status("app:latest", "b-app"));
    scripted.on("GET", "/images/build/b-app", [other]);
    let failed = env.run(["apply", "--auto-approve"]);
    failed.code(1);
    assert_snapshot!(end(&failed), @"
    failed while building: app:v1 [build b-app]
      the service built app:latest instead

    Owner: personal
    Apply: 0 built, 2 mirrored, 0 updated, 0 forgotten, 0 deleted, 1 failed, 0 skipped, in [time].
    ");
    assert_eq!(
        env.ok(["plan"]).steps(),
        ["+ app:v1 mirror the last build failed: the service built app:latest instead"]
    );
}

#[test]
fn an_expired_upload_url_leads_to_another_build() {
    let faults = vec!["initiate:expired:0.5".parse().unwrap()];
    let env = TestEnv::with(ServerConfig { faults, seed: 3, ..ServerConfig::default() });
    let units = ["a", "b", "c", "d", "e", "f"];
    let images = units.map(|name| format!("  - {{name: {name}, tag: v1, context: app}}\n"));
    env.write("imgplan.yaml", format!("version: 1\nimages:\n{}", images.concat()));
    env.context("app", "FROM scratch\n").apply();
    let builds = env.server().builds();
    assert!(builds.len() > units.len(), "no URL has expired");
    for unit in units {
        let image = format!("{unit}:v1");
        let (started, abandoned): (Vec<_>, Vec<_>) =
            builds.iter().filter(|build| build.image == image).partition(|build| build.started);
        assert_eq!(started.len(), 1, "{builds:#?}");
        assert_eq!(env.build_of(&image), started[0].id);
        assert!(abandoned.iter().all(|build| build.status == "UPLOADING"));
    }
    env.plans_nothing();
}

#[test]
fn no_retries_means_one_request() {
    let scripted = Scripted::accepting();
    scripted.on("POST", "/images/build", [Answer::detail(503, "not now")]);
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", "version: 1\nimages: [{name: app, tag: v1, context: app}]\n");
    env.context("app", "FROM scratch\n");
    let failed = env.run(["apply", "--auto-approve", "--retry-times", "0", "--json"]);
    failed.code(1);
    assert_eq!(requests(&scripted).len(), 1);
    assert!(failed.events("retry").is_empty(), "{failed}");
    env.write("imgplan.yaml", THREE);
    let listed = env.run(["apply", "--auto-approve", "--retry-times", "0"]);
    listed.code(1);
    assert_eq!(requests(&scripted).len(), 2);
    // Waiting for a rate limit is not a retry.
    let wait = Answer::detail(429, "Too Many Requests (per-token limit)");
    let accepted = Answer::json(201, &scripted.accepted("b-1"));
    scripted.on("POST", "/images/build", [wait.header("retry-after", "1"), accepted]);
    env.write("imgplan.yaml", "version: 1\nimages: [{name: app, tag: v1, context: app}]\n");
    env.ok(["apply", "--auto-approve", "--retry-times", "0"]);
    assert_eq!(requests(&scripted).len(), 4);
}

/// A moved image is not found under its old name, so that a repeated request would be refused.
#[test]
fn a_move_with_a_lost_response_counts_as_done() {
    let scripted = Scripted::accepting();
    let env = TestEnv::at(scripted.url());
    let one = "images: [{name: app, tag: v1, context: app}]\n";
    env.write("imgplan.yaml", format!("version: 1\n{one}")).context("app", "FROM scratch\n");
    env.apply();
    let team = json!({ "type": "team", "teamId": "t" });
    let new = team.clone();
    scripted.by_body("PATCH", "/images", move |body| {
        let body: Value = serde_json::from_slice(body).unwrap();
        if body["dryRun"] == false {
            return Answer::text(502, "<html>Bad Gateway</html>");
        }
        let result = |update: &Value| {
            let exists = update["source"]["owner"] == new;
            let error = (!exists).then(|| json!({ "code": "image_not_found" }));
            json!({ "success": exists, "error": error })
        };
        let results: Vec<Value> = body["updates"].as_array().unwrap().iter().map(result).collect();
        Answer::json(200, &json!({ "results": results }))
    });
    env.write("imgplan.yaml", format!("version: 1\nowner: {{team: t}}\n{one}"));
    env.apply();
    let mut updates = Vec::new();
    for request in scripted.requests().iter().filter(|request| request.method == "PATCH") {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        for update in body["updates"].as_array().unwrap() {
            updates.push((body["dryRun"].clone(), update["source"]["owner"].clone()));
        }
    }
    let old = json!({ "type": "personal" });
    assert_eq!(updates, [(json!(false), old.clone()), (json!(true), old), (json!(true), team)]);
    env.plans_nothing();
}

/// A service may write a source in another form. The builds are then assigned by their order and by
/// the names of their images.
#[test]
fn sources_in_another_spelling_lose_no_build() {
    let scripted = Scripted::start();
    scripted.by_body("POST", "/images/build", |body| {
        let body: Value = serde_json::from_slice(body).unwrap();
        let part = |source: &String| {
            let build = build(source.rsplit('/').next().unwrap());
            json!({ "sourceImage": format!("oci://{source}"), "success": true, "buildId": build })
        };
        let results: Vec<Value> = sources(&body).iter().map(part).collect();
        Answer::json(201, &json!({ "results": results }))
    });
    let env = three(&scripted);
    env.apply();
    check_assigned(&env);
    assert_eq!(requests(&scripted).len(), 1);
}

/// Until the VM cutover, a transfer made a container image and a VM image: its response may have
/// two builds.
#[test]
fn a_second_build_of_one_source_is_ignored() {
    let scripted = Scripted::start();
    let two = json!({ "build_id": "b-redis", "buildIds": ["b-redis", "b-vm"] });
    scripted.on("POST", "/images/build", [Answer::json(201, &two)]);
    let status = Answer::json(200, &status("redis:7", "b-redis"));
    scripted.on("GET", "/images/build/b-redis", [status]);
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", "version: 1\nimages: [{source: \"redis:7\"}]\n");
    env.apply();
    assert_eq!(env.build_of("redis:7"), "b-redis");
    assert_eq!(requests(&scripted).len(), 1);
    env.plans_nothing();
}

/// A response with fewer builds than sources does not mean that the others were not accepted.
#[test]
fn sources_without_a_result_are_not_requested_again() {
    let scripted = Scripted::start();
    let one = json!({ "build_id": "b-app", "buildIds": ["b-app"] });
    scripted.on("POST", "/images/build", [Answer::json(201, &one)]);
    let empty = json!({ "data": [], "total_count": 0, "offset": 0, "limit": 100 });
    scripted.on("GET", "/images/builds", [Answer::json(200, &empty)]);
    let env = three(&scripted);
    env.run(["apply", "--auto-approve"]).code(1).says("does not mention it");
    assert_eq!(env.build_of("app:v1"), "b-app", "assigned by its name");
    assert_eq!(requests(&scripted).len(), 1);
    assert!(env.read("imgplan.lock").contains("submitted:"), "the next apply looks for them");
}

/// The service may refuse the second start of a build.
#[test]
fn a_start_with_a_lost_response_is_not_repeated() {
    let scripted = Scripted::accepting();
    let status = |word| Answer::json(200, &json!({ "id": "b-1", "status": word }));
    scripted
        .on("POST", "/images/build/*/start", [Answer::text(502, "<html>Bad Gateway</html>")])
        .on("GET", "/images/build/*", [status("BUILDING"), status("COMPLETED")]);
    let env = TestEnv::at(scripted.url());
    let manifest = "version: 1\nimages: [{name: app, tag: v1, context: app}]\n";
    env.write("imgplan.yaml", manifest).context("app", "FROM scratch\n");
    env.apply();
    assert_eq!(scripted.count("POST", "/images/build/*/start"), 1);
}
