//! `imgplan logs` and the failing lines of a build, and the server's endpoints for logs and cancelling.

use std::time::Duration;

use imgplan::test_support::server::ServerConfig;
use reqwest::StatusCode;
use serde_json::json;

use crate::server::{Service, archive};
use crate::support::{Answer, Scripted, TestEnv, wait_until};

const MANIFEST: &str = "version: 1\nimages:\n  - {name: app, tag: v1, context: app}\n";

fn write_app(env: &TestEnv) {
    env.write("imgplan.yaml", MANIFEST);
    env.context("app", "FROM scratch AS a\nFROM docker.io/library/busybox:1\nCOPY file /\n");
    env.write("app/file", "text");
}

/// Returns the lines of a log without their times.
fn lines(log: &str) -> Vec<&str> {
    log.lines().map(|line| line[9..].trim_end()).collect()
}

#[test]
fn the_log_of_an_image_is_that_of_its_last_build() {
    let config = ServerConfig { fail: Some("bad".parse().unwrap()), ..ServerConfig::default() };
    let env = TestEnv::with(config);
    write_app(&env);
    env.run(["logs", "app"]).code(1).says("the lockfile has no build of `app`");
    env.apply();
    let expected = [
        "Nothing is built: this server checks what a build needs.",
        "context: 2 files, 67 B",
        "Dockerfile: 1 base image",
        "  line 2: docker.io/library/busybox:1",
        "completed",
    ];
    let build = env.build_of("app:v1");
    for name in ["app", "app:v1", &build] {
        let output = env.ok(["logs", name]);
        assert_eq!(lines(&output.stdout), expected);
        output.says(&format!("Build {build} has ended: COMPLETED."));
    }
    env.run(["logs", "other"]).code(1).says("there is no log of a build other in the service");
    env.run(["logs", "no/image"]).code(64).says("neither an image nor a build ID");

    env.edit("imgplan.yaml", "tag: v1", "tag: bad");
    env.run(["apply", "--auto-approve"]).code(1);
    let text = "failed: this server is configured to fail images that match `bad`";
    assert_eq!(lines(&env.ok(["logs", "app:bad"]).stdout).last(), Some(&text));
}

#[test]
fn a_running_build_is_followed_to_its_end() {
    let config = ServerConfig { build_time: Duration::from_secs(2), ..ServerConfig::default() };
    let env = TestEnv::with(config);
    write_app(&env);
    let run = env.call(["apply", "--auto-approve"]).start();
    wait_until("the build has started", || env.server().builds().iter().any(|build| build.started));
    wait_until("the build is recorded", || env.run(["logs", "app"]).code == Some(0));
    let so_far = env.ok(["logs", "app"]);
    so_far.says("--follow waits for more");
    let followed = env.ok(["logs", "app", "--follow"]);
    assert!(followed.stdout.starts_with(&so_far.stdout), "{followed}");
    assert_eq!(lines(&followed.stdout).last(), Some(&"completed"));
    followed.says("has ended: COMPLETED");
    run.wait().success();
}

#[test]
fn a_log_of_the_local_server_is_read_with_and_without_the_server() {
    let env = TestEnv::new();
    write_app(&env);
    env.ok(["apply", "--auto-approve", "--local"]);
    let stored = env.ok(["logs", "app", "--local"]);
    assert_eq!(lines(&stored.stdout).last(), Some(&"completed"));
    let server = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--url-file",
        "url",
        "--state",
        ".imgplan/local/server",
    ];
    let running = env.call(server).start();
    wait_until("the server listens", || env.exists("url"));
    let asked = env.ok(["logs", "app", "--local"]);
    assert_eq!(asked.stdout, stored.stdout);
    asked.says("has ended: COMPLETED");
    drop(running);
}

#[test]
fn a_service_without_logs_says_what_it_knows() {
    let service = Scripted::accepting();
    let failed = json!({ "id": "b-1", "status": "FAILED", "artifacts": [{
        "errorMessage": "RUN make\n\u{1b}[31mcc: no\t such file\u{1b}[0m\n::error::forged"
    }] });
    service.on("GET", "/images/build/*", [Answer::json(200, &failed)]);
    service.on("GET", "/images/build/*/logs", [Answer::detail(404, "Not Found")]);
    let env = TestEnv::at(service.url());
    write_app(&env);
    let applied = env.run(["apply", "--auto-approve"]);
    applied.code(1);
    let shown =
        "\n  the build failed: RUN make\n  |  [31mcc: no  such file [0m\n  | ::error::forged\n";
    assert!(applied.stdout.contains(shown), "{applied}");
    let output = env.run(["logs", "app"]);
    output.code(1).says("this service does not offer the logs of builds; build b-1 failed:");
    output.says("[31mcc: no such file");
    output.never_says("\u{1b}[31m");
    // The lockfile has it in one line.
    assert!(env.read("imgplan.lock").contains("RUN make [31mcc: no such file"));
    env.ok(["plan", "--offline"]);
}

#[test]
fn the_summary_shows_the_failing_lines() {
    let service = Scripted::accepting();
    let lines: Vec<String> = (1..=20).map(|number| format!("line {number}")).collect();
    let error =
        format!("RUN make failed\n{}\n`imgplan logs b-1` shows the whole log", lines.join("\n"));
    let failed =
        json!({ "id": "b-1", "status": "FAILED", "artifacts": [{ "errorMessage": error }] });
    service.on("GET", "/images/build/*", [Answer::json(200, &failed)]);
    let env = TestEnv::at(service.url());
    write_app(&env);
    let applied = env.run(["apply", "--auto-approve"]);
    let shown = "\n  the build failed: RUN make failed\n  [... 13 lines more ...]\n  | line 14\n";
    assert!(applied.stdout.contains(shown), "{applied}");
    let last = "\n  | line 20\n  | `imgplan logs b-1` shows the whole log\n";
    assert!(applied.stdout.contains(last), "{applied}");
}

async fn started(service: &Service) -> String {
    let body = json!({ "image_name": "app", "image_tag": "v1" });
    let build = service.initiate(body).await;
    let id = build["build_id"].as_str().unwrap().to_owned();
    let context = archive(&[("Dockerfile", "FROM scratch\n")]);
    assert_eq!(service.put(build["upload_url"].as_str().unwrap(), context).await, 200);
    let path = format!("/images/build/{id}/start");
    assert_eq!(service.post(&path, json!({ "context_uploaded": true })).await.0, 200);
    id
}

#[tokio::test]
async fn a_running_build_is_cancelled() {
    let build_time = Duration::from_secs(3600);
    let state = tempfile::tempdir().unwrap();
    let config =
        ServerConfig { build_time, state: Some(state.path().into()), ..ServerConfig::default() };
    let service = Service::start(config).await;
    let id = started(&service).await;
    let cancel = format!("/images/build/{id}/cancel");
    let (status, body) = service.post(&cancel, json!({})).await;
    assert_eq!((status, &body["status"]), (200, &json!("CANCELLED")), "{body}");
    service.server.idle().await;
    let log = service.get(&format!("/images/build/{id}/logs")).await;
    assert_eq!((&log["status"], &log["ended"]), (&json!("CANCELLED"), &json!(true)));
    assert_eq!(lines(log["text"].as_str().unwrap()).last(), Some(&"cancelled"));
    assert!(state.path().join("uploads").read_dir().unwrap().next().is_none());
    // Cancelling it again changes nothing.
    assert_eq!(service.post(&cancel, json!({})).await.0, 200);
    assert_eq!(service.post("/images/build/none/cancel", json!({})).await.0, 404);

    // Nothing has begun, and the context is not needed.
    let body = json!({ "image_name": "app", "image_tag": "v1" });
    let build = service.initiate(body).await;
    assert_eq!(service.put(build["upload_url"].as_str().unwrap(), vec![0]).await, 200);
    let cancel = format!("/images/build/{}/cancel", build["build_id"].as_str().unwrap());
    assert_eq!(service.post(&cancel, json!({})).await.1["status"], "CANCELLED");
    assert!(state.path().join("uploads").read_dir().unwrap().next().is_none());
}

#[tokio::test]
async fn a_log_is_deleted_with_its_build() {
    let state = tempfile::tempdir().unwrap();
    let config = ServerConfig { state: Some(state.path().into()), ..ServerConfig::default() };
    let service = Service::start(config).await;
    let built = service.push("app").await;
    let id = built["id"].as_str().unwrap();
    let path = format!("/images/build/{id}/logs");
    let log = service.get(&path).await;
    let (text, next) = (log["text"].as_str().unwrap(), &log["nextOffset"]);
    assert_eq!((next, &log["ended"]), (&json!(text.len()), &json!(true)));
    let rest = service.get(&format!("{path}?offset={}", text.find('\n').unwrap() + 1)).await;
    assert_eq!(rest["text"], text.split_once('\n').unwrap().1);
    assert_eq!(service.call_status("GET", &format!("{path}?offset=-1")).await, 422);
    let ended = service.post(&format!("/images/build/{id}/cancel"), json!({})).await.0;
    assert_eq!(ended, StatusCode::CONFLICT.as_u16());
    let logs = || state.path().join("logs").read_dir().unwrap().count();
    assert_eq!(logs(), 1);
    assert_eq!(service.call_status("DELETE", "/images/app/v1").await, 200);
    assert_eq!(service.call_status("GET", &path).await, 404);
    assert_eq!(logs(), 0);
}
