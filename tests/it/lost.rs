//! Answers that get lost, come in another order, or speak of something else: every transfer is
//! booked to its unit, and none is asked for twice.

use imgplan::base::limit::Class;
use imgplan::server::{BulkShape, ServerConfig};
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Answer, Output, Scripted, TestEnv};

/// Mirrors that may go with one request.
const THREE: &str = "version: 1
images:
  - {source: docker.io/library/redis:7}
  - {source: ghcr.io/org/app:v1}
  - {source: quay.io/org/tool:v2}
";

/// The units of [`THREE`].
const UNITS: [&str; 3] = ["app:v1", "redis:7", "tool:v2"];

/// Three mirrors against a service that follows a script, which knows the builds `b-NAME`.
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

/// What the service says of a transfer that is done.
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

/// The bodies of all requests for a build or a transfer.
fn requests(scripted: &Scripted) -> Vec<Value> {
    let asked = scripted.requests().into_iter();
    let asked = asked.filter(|asked| asked.method == "POST" && asked.path == "/images/build");
    asked.map(|asked| serde_json::from_slice(&asked.body).unwrap()).collect()
}

fn sources(body: &Value) -> Vec<String> {
    body["sourceImage"].as_str().unwrap().split(',').map(str::to_owned).collect()
}

/// Every unit has its build in the lockfile, and the path that goes with it.
fn all_are_booked(env: &TestEnv) {
    for unit in UNITS {
        assert_eq!(env.build_of(unit), build(unit));
        let path = format!("path: \"prime/local/{unit}\"");
        let lockfile = env.read("imgplan.lock");
        assert!(lockfile.contains(&path), "{path}\n{lockfile}");
    }
    env.plans_nothing();
}

/// What was told at the end: all after the plan.
fn end(output: &Output) -> String {
    let text = output.redacted(&output.stdout);
    let at = text.find(" unchanged.\n").map_or(0, |at| at + " unchanged.\n".len());
    text[at..].trim_matches('\n').to_owned()
}

#[test]
fn a_transfer_whose_answer_was_lost_is_found_and_not_asked_for_twice() {
    let faults = vec!["initiate:cut-after:1".parse().unwrap()];
    for shape in [BulkShape::BuildIds, BulkShape::Results, BulkShape::Builds] {
        let config =
            ServerConfig { faults: faults.clone(), bulk: shape, ..ServerConfig::default() };
        let env = TestEnv::with(config);
        let named = "  - {source: docker.io/library/redis:8, name: cache, tag: v1}\n";
        env.write("imgplan.yaml", format!("{THREE}{named}"));
        let apply = env.ok(["apply", "--auto-approve", "--json"]);
        assert_eq!(apply.events("retry").len(), 2, "{apply}");
        assert_eq!(env.server().counts().of(Class::Initiate).accepted, 2, "the list, and the one");
        for build in env.server().builds() {
            assert_eq!(env.build_of(&build.image), build.id);
        }
        assert_eq!(env.server().builds().len(), 4);
        env.plans_nothing();
    }
}

/// The service took what was asked for, and could not say so until its source had changed.
#[test]
fn what_was_taken_of_an_earlier_source_is_not_taken_for_the_new_one() {
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
        // The run that asked, the plan of the next, and then it can be had.
        .on("GET", "/images/builds", [down(), down(), Answer::json(200, &page)]);
    let env = TestEnv::at(scripted.url());
    let manifest = "version: 1\nimages: [{source: \"redis:8\", name: cache, tag: v1}]\n";
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

/// An image that was made thrice within seconds: what was superseded is no answer to the third.
#[test]
fn a_transfer_that_was_superseded_is_not_taken_for_the_one_that_was_lost() {
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
        "version: 1\nimages: [{source: \"redis:7\", name: cache, tag: v1}]\n",
    );
    let mut rows = Vec::new();
    for (build, next) in [("b-1", "redis:8"), ("b-2", "redis:9"), ("b-3", "redis:10")] {
        let status = Answer::json(200, &row(build));
        scripted.on("GET", &format!("/images/build/{build}"), [status]);
        let page = json!({ "data": rows, "total_count": rows.len(), "offset": 0, "limit": 100 });
        scripted.on("GET", "/images/builds", [Answer::json(200, &page)]);
        env.apply();
        rows.insert(0, row(build));
        assert_eq!(env.build_of("cache:v1"), build, "booked for what came before {next}");
        let now = env.read("imgplan.yaml");
        let from = now.find("redis:").unwrap();
        let to = from + now[from..].find('"').unwrap();
        env.write("imgplan.yaml", format!("{}{next}{}", &now[..from], &now[to..]));
    }
    assert_eq!(requests(&scripted).len(), 4);
}

/// Answers single requests for a source, and refuses lists and the source that is named.
fn singly(scripted: &Scripted, refused: &'static str) {
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
fn a_list_that_is_refused_falls_apart_into_single_requests() {
    let scripted = Scripted::start();
    singly(&scripted, "");
    let env = three(&scripted);
    env.apply();
    let asked = requests(&scripted);
    assert_eq!(asked.len(), 4, "{asked:#?}");
    assert_eq!(sources(&asked[0]).len(), 3);
    assert!(asked[0].get("image_name").is_none(), "a name is for one source: {}", asked[0]);
    all_are_booked(&env);
}

#[test]
fn one_bad_source_in_a_list_fails_alone() {
    let scripted = Scripted::start();
    singly(&scripted, "docker.io/library/redis:7");
    let env = three(&scripted);
    let failed = env.run(["apply", "--auto-approve"]);
    failed.code(1);
    assert_snapshot!(end(&failed), @"
    failed while submitting: redis:7
      cannot initiate the build (HTTP 400): Invalid transfer source: docker.io/library/redis:7

    Apply: 0 built, 2 mirrored, 0 updated, 0 forgotten, 0 deleted, 1 failed, 0 skipped, in [time].
    ");
    assert_eq!(requests(&scripted).len(), 4, "the list, and each by itself, once");
    assert_eq!(env.ok(["plan"]).steps(), ["+ redis:7 mirror new"]);
}

#[test]
fn a_full_quota_within_an_answer_stops_submissions() {
    for shape in [BulkShape::Results, BulkShape::Builds] {
        let env =
            TestEnv::with(ServerConfig { quota: Some(2), bulk: shape, ..ServerConfig::default() });
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
fn results_in_another_order_are_booked_by_their_source() {
    let scripted = Scripted::start();
    let result = |unit: &str, source: &str| {
        let path = format!("prime/local/{unit}");
        json!({ "sourceImage": source, "success": true, "buildId": build(unit), "fullImagePath": path })
    };
    let results = json!([
        result("tool:v2", "quay.io/org/tool:v2"),
        result("redis:7", "docker.io/library/redis:7"),
        result("app:v1", "ghcr.io/org/app:v1"),
    ]);
    let answer = Answer::json(201, &json!({ "results": results, "failed": [] }));
    scripted.on("POST", "/images/build", [answer]);
    let env = three(&scripted);
    env.apply();
    assert_eq!(requests(&scripted).len(), 1);
    all_are_booked(&env);
}

/// The shape that names no sources, in an order that nobody promised.
#[test]
fn builds_in_another_order_are_booked_by_their_names() {
    let scripted = Scripted::start();
    let turned = ["tool:v2", "redis:7", "app:v1"];
    let answer = json!({
        "build_id": build(turned[0]),
        "buildIds": turned.map(build),
        "fullImagePath": "prime/local/tool:v2",
    });
    scripted.on("POST", "/images/build", [Answer::json(201, &answer)]);
    let rows = turned.map(|unit| status(unit, &build(unit)));
    let page = json!({ "data": rows, "total_count": 3, "offset": 0, "limit": 100 });
    scripted.on("GET", "/images/builds", [Answer::json(200, &page)]);
    let env = three(&scripted);
    env.apply();
    assert_eq!(requests(&scripted).len(), 1);
    all_are_booked(&env);
}

#[test]
fn an_image_that_is_not_the_one_asked_for_fails_its_unit_and_no_other() {
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
    failed while queued: app:v1 [build b-app]
      the service built app:latest instead

    Apply: 0 built, 2 mirrored, 0 updated, 0 forgotten, 0 deleted, 1 failed, 0 skipped, in [time].
    ");
    assert_eq!(env.ok(["plan"]).steps(), ["+ app:v1 mirror the last build did not succeed"]);
}

#[test]
fn an_upload_whose_url_has_expired_begins_anew_with_another() {
    let faults = vec!["initiate:expired:0.5".parse().unwrap()];
    let env = TestEnv::with(ServerConfig { faults, seed: 3, ..ServerConfig::default() });
    let units = ["a", "b", "c", "d", "e", "f"];
    let images = units.map(|name| format!("  - {{name: {name}, tag: v1, context: app}}\n"));
    env.write("imgplan.yaml", format!("version: 1\nimages:\n{}", images.concat()));
    env.context("app", "FROM scratch\n").apply();
    let builds = env.server().builds();
    assert!(builds.len() > units.len(), "no URL had expired");
    for unit in units {
        let image = format!("{unit}:v1");
        let (begun, left): (Vec<_>, Vec<_>) =
            builds.iter().filter(|build| build.image == image).partition(|build| build.started);
        assert_eq!(begun.len(), 1, "{builds:#?}");
        assert_eq!(env.build_of(&image), begun[0].id);
        assert!(left.iter().all(|build| build.status == "UPLOADING"));
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
    // To wait for a limit is no retry.
    let wait = Answer::detail(429, "Too Many Requests (per-token limit)");
    let accepted = Answer::json(201, &scripted.accepted("b-1"));
    scripted.on("POST", "/images/build", [wait.header("retry-after", "1"), accepted]);
    env.write("imgplan.yaml", "version: 1\nimages: [{name: app, tag: v1, context: app}]\n");
    env.ok(["apply", "--auto-approve", "--retry-times", "0"]);
    assert_eq!(requests(&scripted).len(), 4);
}

/// An image that has moved is not found where it was: a request that came through would be refused
/// ever after.
#[test]
fn a_move_whose_answer_was_lost_is_done_all_the_same() {
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
            let there = update["source"]["owner"] == new;
            let error = (!there).then(|| json!({ "code": "image_not_found" }));
            json!({ "success": there, "error": error })
        };
        let results: Vec<Value> = body["updates"].as_array().unwrap().iter().map(result).collect();
        Answer::json(200, &json!({ "results": results }))
    });
    env.write("imgplan.yaml", format!("version: 1\nowner: {{team: t}}\n{one}"));
    env.apply();
    let mut asked = Vec::new();
    for request in scripted.requests().iter().filter(|asked| asked.method == "PATCH") {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        for update in body["updates"].as_array().unwrap() {
            asked.push((body["dryRun"].clone(), update["source"]["owner"].clone()));
        }
    }
    let old = json!({ "type": "personal" });
    assert_eq!(asked, [(json!(false), old.clone()), (json!(true), old), (json!(true), team)]);
    env.plans_nothing();
}

/// A service writes a source as it likes: in full, say. Whose the builds are is told by their order,
/// and by the names of the images.
#[test]
fn sources_that_are_spelt_otherwise_lose_no_build() {
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
    all_are_booked(&env);
    assert_eq!(requests(&scripted).len(), 1);
}

/// Until the cutover a transfer made an image and one for VMs: its answer may have two builds.
#[test]
fn a_second_build_of_one_source_is_no_reason_to_ask_again() {
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

/// A service that says of fewer builds than it was asked for may have taken all of them.
#[test]
fn what_an_answer_does_not_speak_of_is_not_asked_for_again() {
    let scripted = Scripted::start();
    let one = json!({ "build_id": "b-app", "buildIds": ["b-app"] });
    scripted.on("POST", "/images/build", [Answer::json(201, &one)]);
    let empty = json!({ "data": [], "total_count": 0, "offset": 0, "limit": 100 });
    scripted.on("GET", "/images/builds", [Answer::json(200, &empty)]);
    let env = three(&scripted);
    env.run(["apply", "--auto-approve"]).code(1).says("does not mention it");
    assert_eq!(env.build_of("app:v1"), "b-app", "the names tell whose the one is");
    assert_eq!(requests(&scripted).len(), 1);
    assert!(env.read("imgplan.lock").contains("submitted:"), "the next apply looks for them");
}

/// A start that came through is not repeated: a service may take the second one ill.
#[test]
fn a_start_whose_answer_was_lost_is_not_repeated() {
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
