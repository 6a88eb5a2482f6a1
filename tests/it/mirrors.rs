//! Mirrors at both versions of the service: warnings, requests and responses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use imgplan::test_support::server::{ApiVersion, BulkShape, DockerHub, ServerConfig};
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Answer, Scripted, TestEnv};

#[test]
fn mirrors_that_the_service_makes_differently_are_warnings() {
    let env = TestEnv::manifest(
        "version: 1
images:
  - {source: docker.io/library/alpine:3, visibility: private}
  - {source: grafana/grafana:10, visibility: private}
  - {source: \"docker.io/library/busybox:1\", platforms: [linux/amd64, linux/arm64], tag: \"1-{arch}\"}
  - {source: redis:7, name: cache}
  - {source: valkey:8, tag: stable}
  - {source: gcr.io/org/a:1}
  - {source: europe-docker.pkg.dev/org/repo/b:1}
  - {source: registry.example.com/org/c:1}
  - {source: \"registry.example.com:5000/org/d:1\"}
",
    );
    let warnings = env.ok(["validate"]).stderr;
    let lines = warnings.lines().filter(|line| line.contains('⚠') || line.contains("help:"));
    assert_snapshot!(lines.map(str::trim).collect::<Vec<_>>().join("\n"), @"
    ⚠ the service makes mirrors of Docker Hub public, also alpine:3, grafana/grafana:10
    help: remove `visibility: private`, or copy the image to another registry and mirror it from
    ⚠ the service keeps one platform of a mirror of Docker Hub: busybox:1-amd64, busybox:1-arm64
    help: list one platform, or copy the image to another registry and mirror it from there
    ⚠ the service chooses the names of Docker Hub mirrors, also of cache:7, valkey:stable
    help: remove `name:` and `tag:`, or copy the image to another registry and mirror it from there
    ⚠ the service may refuse the registry of 4 mirrors: gcr.io/org/a:1, europe-docker.pkg.dev/org/
    help: it supports Docker Hub, ghcr.io, quay.io, public.ecr.aws, registry.k8s.io,
    ");
    env.run(["validate", "--deny-warnings"]).code(1);
    env.ok(["plan"]).says("the service makes mirrors of Docker Hub public");
}

#[test]
fn mirrors_that_every_service_makes_are_no_warning() {
    let env = TestEnv::manifest(
        "version: 1
images:
  - {source: docker.io/library/alpine:3, visibility: public}
  - {source: grafana/grafana:10, name: grafana/grafana, tag: \"10\", owner: platform}
  - {source: library/redis:7, name: redis}
  - {source: ghcr.io/org/a:1, name: x, visibility: private}
  - {source: QUAY.io/org/b:1, platforms: [linux/amd64, linux/arm64], tag: \"{arch}\"}
  - {source: public.ecr.aws/org/c:1}
  - {source: registry.k8s.io/pause:3.9}
  - {source: mcr.microsoft.com/dotnet/sdk:8.0}
  - {source: \"localhost:5000/org/d:1\"}
  - {source: localhost/org/e:1}
  - {source: \"127.0.0.1:5000/org/f:1\"}
",
    );
    let output = env.ok(["validate", "--deny-warnings"]);
    assert!(!output.stderr.contains('⚠'), "{output}");
}

/// Mirrors of Docker Hub, two of which have the same last segment, and of other registries.
const FIVE: &str = "version: 1
images:
  - {source: \"docker.io/library/redis:7\"}
  - {source: \"bitnami/redis:7\"}
  - {source: \"index.docker.io/grafana/grafana:10\"}
  - {source: \"ghcr.io/org/app:v1\"}
  - {source: \"quay.io/org/tool:v2\"}
";

/// The variants of the service that nobody outside of it can tell apart in advance.
fn services() -> Vec<(String, ServerConfig)> {
    use ApiVersion::{August2026, November2026};
    let mut all = Vec::new();
    for (api, docker_hub) in [
        (August2026, DockerHub::Override),
        (November2026, DockerHub::Override),
        (November2026, DockerHub::Strict),
    ] {
        for bulk in [BulkShape::BuildIds, BulkShape::Results, BulkShape::Builds] {
            for (admin, vm_paths) in [(true, false), (false, true)] {
                // The August service has container images only.
                let vm_paths = vm_paths && api == November2026;
                let name = format!("{api:?} {docker_hub:?} {bulk:?} {admin} {vm_paths}");
                let bulk = Some(bulk);
                let config = ServerConfig {
                    api,
                    docker_hub,
                    bulk,
                    admin,
                    vm_paths,
                    ..ServerConfig::default()
                };
                all.push((name, config));
            }
        }
    }
    all
}

/// Every variant of the service gets each mirror once, and the plan is empty afterwards. Images of the
/// same names that others made stay as they are.
#[test]
fn every_service_gets_each_mirror_once() {
    for (number, (name, config)) in services().into_iter().enumerate() {
        let is_august = config.api == ApiVersion::August2026;
        let mut env = TestEnv::with(config);
        let team = (number % 2 == 1).then_some("t1");
        if let Some(team) = team {
            env.set("PRIME_TEAM_ID", team);
        }
        let by_hand = json!({ "sourceImage": "ghcr.io/hand/made:7", "teamId": team });
        env.server().send("POST", "images/build", &by_hand);
        let before = env.server().builds().len();
        // The August service gives both redis images the same name.
        let other = if is_august { "bitnami/valkey" } else { "bitnami/redis" };
        env.write("imgplan.yaml", FIVE.replace("bitnami/redis", other));
        env.apply().says("5 mirrored");
        for _ in 0..2 {
            env.plans_nothing();
        }
        env.ok(["plan", "--refresh=false", "--detailed-exitcode"]);
        assert_eq!(env.server().builds().len(), before + 5, "{name}");
        // Without its entries, only the mirrors of this lockfile go.
        env.write("imgplan.yaml", "version: 1\nimages: [{source: \"ghcr.io/org/app:v1\"}]\n");
        env.ok(["apply", "--auto-approve", "--prune", "--max-destroy", "9"]);
        let query = team.map_or_else(String::new, |team| format!("teamId={team}"));
        let left = env.server().images(&query);
        assert_eq!(left, ["app:v1 PRIVATE", "made:7 PRIVATE"], "{name}");
    }
}

/// The response to a list is lost: its mirrors are found under the names that the service gives them.
#[test]
fn every_service_is_asked_for_lost_transfers_under_its_own_names() {
    for (name, config) in services() {
        let faults = vec!["initiate:cut-after:1".parse().unwrap()];
        let env = TestEnv::with(ServerConfig { faults, ..config });
        env.write("imgplan.yaml", FIVE.replace("bitnami/redis", "bitnami/valkey"));
        env.apply().says("5 mirrored");
        env.plans_nothing();
        assert_eq!(env.server().builds().len(), 5, "{name}");
    }
}

/// A list that the rate limit refuses as a whole is not sent again at the same size.
#[test]
fn a_refused_list_is_cut() {
    for refusal in [
        "Image transfer rate limit exceeded: 0/3 images",
        "Source image build rate limit exceeded: 0/3 images",
        "the transfer limit is reached",
    ] {
        let scripted = Scripted::start();
        scripted.by_body("POST", "/images/build", move |body| {
            let body: Value = serde_json::from_slice(body).unwrap();
            let sources: Vec<&str> = body["sourceImage"].as_str().unwrap().split(',').collect();
            if sources.len() > 3 {
                return Answer::detail(429, refusal);
            }
            let build = |source: &&str| format!("b-{}", &source[source.len() - 1..]);
            let builds: Vec<String> = sources.iter().map(build).collect();
            Answer::json(201, &json!({ "build_id": builds[0], "buildIds": builds }))
        });
        for number in 1..=5 {
            let build = format!("b-{number}");
            let status = json!({ "id": build, "status": "COMPLETED" });
            scripted.on("GET", &format!("/images/build/{build}"), [Answer::json(200, &status)]);
        }
        let mut env = TestEnv::at(scripted.url());
        env.set("IMGPLAN_LIMIT", "images=5/1s");
        let sources = (1..=5).map(|number| format!("  - {{source: ghcr.io/org/app:{number}}}\n"));
        env.write("imgplan.yaml", format!("version: 1\nimages:\n{}", sources.collect::<String>()));
        env.apply().says("5 mirrored");
        let requests = scripted.requests().into_iter().filter(|request| request.method == "POST");
        let body = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap();
        let count = |body: Value| body["sourceImage"].as_str().unwrap().split(',').count();
        let counts: Vec<usize> = requests.map(|request| count(body(&request.body))).collect();
        if refusal.ends_with("images") {
            assert_eq!(counts, [5, 3, 2], "{refusal}");
        }
        let (first, others) = counts.split_first().unwrap();
        assert!(*first == 5 && others.iter().all(|count| *count < 5), "{refusal}: {counts:?}");
    }
}

/// A target fails once, and is not transferred again, if the service does not make what the manifest
/// sets. After the correction that the help describes, it is not transferred again either, and its
/// image stays.
#[test]
fn a_mirror_that_the_service_makes_differently_fails_once() {
    let image = |fields: &str| format!("version: 1\nimages: [{{source: \"redis:7\"{fields}}}]\n");
    for (fields, made, transfers, corrected) in [
        (", name: cache", "the service made redis:7 of redis:7, and not cache:7", 1, ""),
        (", tag: stable", "the service made redis:7 of redis:7, and not redis:stable", 1, ""),
        (
            ", platforms: [linux/arm64], tag: \"7-{arch}\"",
            "and not redis:7-arm64",
            1,
            ", platforms: [linux/arm64]",
        ),
        (
            ", platforms: [linux/amd64, linux/arm64], tag: \"7-{arch}\"",
            "and not redis:7-amd64",
            2,
            "",
        ),
        (
            ", platforms: [linux/amd64, linux/arm64], tag: \"7-{arch}\"",
            "and not redis:7-arm64",
            2,
            ", tag: \"7-amd64\"",
        ),
        (", visibility: private", "the service made redis:7 a public image of the platform", 1, ""),
    ] {
        let env = TestEnv::with(ServerConfig { admin: true, ..ServerConfig::default() });
        env.write("imgplan.yaml", image(fields));
        env.run(["apply", "--auto-approve"]).code(1).says(made);
        env.plans_nothing();
        env.apply();
        assert_eq!(env.server().builds().len(), transfers, "{fields}");
        env.write("imgplan.yaml", image(corrected));
        let pruned = env.ok(["apply", "--auto-approve", "--prune", "--max-destroy", "9"]);
        assert_eq!(env.server().builds().len(), transfers, "{fields}: {pruned}");
        assert_eq!(env.server().images("ownerScope=platform"), ["redis:7 PUBLIC"], "{fields}");
        env.plans_nothing();
    }
}

/// The name and owner of a Docker Hub mirror are not known while its build is running, so nothing is
/// deleted in its place.
#[test]
fn a_running_mirror_of_docker_hub_is_only_forgotten() {
    let config =
        ServerConfig { build_time: Duration::from_secs(4), admin: true, ..ServerConfig::default() };
    let env = TestEnv::with(config);
    // An image of the platform with the name that the manifest gives the mirror.
    let by_hand = json!({
        "sourceImage": "ghcr.io/hand/cache:7", "imageName": "cache", "imageTag": "7",
        "ownerScope": "platform", "visibility": "PUBLIC",
    });
    env.server().send("POST", "images/build", &by_hand);
    let image = "{source: \"redis:7\", name: cache, owner: platform, visibility: public}";
    env.write(
        "imgplan.yaml",
        format!("version: 1\ndefaults: {{timeout: 1s}}\nimages: [{image}]\n"),
    );
    env.run(["apply", "--auto-approve"]).code(1).says("not done within");
    env.write("imgplan.yaml", "version: 1\nimages: []\n");
    env.ok(["plan", "--prune"]).says("forget");
    env.ok(["apply", "--auto-approve", "--prune", "--max-destroy", "9"]);
    let left = env.server().images("ownerScope=platform");
    assert_eq!(left, ["cache:7 PUBLIC", "redis:7 PUBLIC"]);
}

/// The service gave a mirror another name than the request. The image of the requested name is not
/// deleted in its place.
#[test]
fn the_image_of_an_unused_name_is_not_deleted() {
    let scripted = Scripted::accepting();
    scripted.on("POST", "/images/build", [Answer::json(201, &json!({ "build_id": "b-1" }))]);
    let status = |status: &str| {
        let image = json!({ "id": "b-1", "status": status, "imageName": "api", "imageTag": "v1" });
        Answer::json(200, &image)
    };
    scripted.on("GET", "/images/build/b-1", [status("BUILDING")]);
    scripted.on("GET", "/images", [Answer::json(200, &json!({ "data": [], "total_count": 0 }))]);
    scripted.on("DELETE", "/images/up/v1", [Answer::json(200, &json!({}))]);
    let env = TestEnv::at(scripted.url());
    let image = "{source: \"ghcr.io/x/api:v1\", name: up, timeout: 1s}";
    env.write("imgplan.yaml", format!("version: 1\nimages: [{image}]\n"));
    env.run(["apply", "--auto-approve"]).code(1).says("not done within");
    scripted.on("GET", "/images/build/b-1", [status("BUILDING"), status("COMPLETED")]);
    env.write("imgplan.yaml", "version: 1\nimages: []\n");
    let apply = ["apply", "--auto-approve", "--prune", "--max-destroy", "9"];
    env.ok(apply).says("1 forgotten, 0 deleted");
    assert_eq!(scripted.count("DELETE", "/images/up/v1"), 0);
}

/// A strict service says what it does not take, and that text is shown.
#[test]
fn what_the_manifest_sets_fails_with_the_text_of_the_service() {
    let strict = || ServerConfig { docker_hub: DockerHub::Strict, ..ServerConfig::default() };
    for (fields, team) in [
        ("name: cache", None),
        ("visibility: private", None),
        ("visibility: private", Some("t1")),
        ("owner: {team: t2}", None),
    ] {
        let mut env = TestEnv::with(strict());
        if let Some(team) = team {
            env.set("PRIME_TEAM_ID", team);
        }
        let text = format!("version: 1\nimages: [{{source: \"redis:7\", {fields}}}]\n");
        env.write("imgplan.yaml", text);
        env.run(["apply", "--auto-approve"]).code(1).says("HTTP 4").says("Docker Hub");
        assert_eq!(env.server().builds().len(), 0, "{fields}");
    }
}

/// The build of a context has a name that the service could derive for a mirror. The transfer of the
/// mirror was not accepted, and must not take that build for its own.
#[test]
fn a_lost_transfer_does_not_adopt_the_build_of_a_context() {
    let scripted = Scripted::accepting();
    let (accepted, transfers) = (scripted.accepted("b-1"), AtomicU32::new(0));
    scripted.by_body("POST", "/images/build", move |body| {
        let body: Value = serde_json::from_slice(body).unwrap();
        if body["sourceImage"].is_null() {
            return Answer::json(201, &accepted);
        }
        match transfers.fetch_add(1, Ordering::Relaxed) {
            0 => Answer::detail(500, "internal error"),
            _ => Answer::json(201, &json!({ "build_id": "b-2" })),
        }
    });
    let build = |id: &str, name: &str, status: &str| json!({ "id": id, "status": status, "imageName": name, "imageTag": "10" });
    // The listing has the build of the context once it has started.
    let is_started = Arc::new(AtomicBool::new(false));
    let start = Arc::clone(&is_started);
    scripted.by_body("POST", "/images/build/b-1/start", move |_| {
        start.store(true, Ordering::Relaxed);
        Answer::json(200, &json!({ "ok": true }))
    });
    let row = build("b-1", "grafana", "BUILDING");
    scripted.by_body("GET", "/images/builds", move |_| {
        let rows = if is_started.load(Ordering::Relaxed) { vec![&row] } else { Vec::new() };
        Answer::json(200, &json!({ "total_count": rows.len(), "data": rows }))
    });
    for (id, name) in [("b-1", "grafana"), ("b-2", "grafana/grafana")] {
        let completed = Answer::json(200, &build(id, name, "COMPLETED"));
        scripted.on("GET", &format!("/images/build/{id}"), [completed]);
    }
    let env = TestEnv::at(scripted.url());
    env.write(
        "imgplan.yaml",
        "version: 1
images:
  - {name: grafana, tag: \"10\", context: own}
  - {source: \"docker.io/grafana/grafana:10\"}
",
    );
    env.context("own", "FROM scratch\n");
    env.apply();
    let builds = ["grafana:10", "grafana/grafana:10"].map(|unit| env.build_of(unit));
    assert_eq!(builds, ["b-1", "b-2"]);
}

/// A run that adopts the build of a private mirror fails as the run that requested it would have.
#[test]
fn an_adopted_private_mirror_that_is_public_fails() {
    let config = ServerConfig { build_time: Duration::from_secs(4), ..ServerConfig::default() };
    let env = TestEnv::with(config);
    let manifest =
        "version: 1\nimages: [{source: \"redis:7\", visibility: private, timeout: 1s}]\n";
    env.write("imgplan.yaml", manifest);
    env.run(["apply", "--auto-approve"]).code(1).says("not done within");
    env.edit("imgplan.yaml", ", timeout: 1s", "");
    let adopted = env.run(["apply", "--auto-approve"]);
    adopted.code(1).says("the service made redis:7 a public image of the platform");
    assert_eq!(env.server().builds().len(), 1);
    env.plans_nothing();
}

/// The name without the namespace is that of a personal image, so for the platform it is sent.
#[test]
fn a_custom_name_on_the_platform_that_the_service_does_not_use_is_a_failure() {
    let scripted = Scripted::accepting();
    scripted.on("POST", "/images/build", [Answer::json(201, &json!({ "build_id": "b-1" }))]);
    let status =
        json!({ "id": "b-1", "status": "COMPLETED", "imageName": "o/app", "imageTag": "1" });
    scripted.on("GET", "/images/build/b-1", [Answer::json(200, &status)]);
    let env = TestEnv::at(scripted.url());
    let image = "{source: \"ghcr.io/o/app:1\", name: app, owner: platform, visibility: public}";
    env.write("imgplan.yaml", format!("version: 1\nimages: [{image}]\n"));
    let made = "the service made o/app:1 of ghcr.io/o/app:1, and not app:1";
    env.run(["apply", "--auto-approve"]).code(1).says(made);
}
