//! Fault injection of the local server: each fault has its response, and its effect or none.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use imgplan::test_support::base::limit::Class;
use imgplan::test_support::server::{ConnectionCut, Fault, FaultKind, Server, ServerConfig, start};
use regex::Regex;
use reqwest::Method;
use serde_json::{Value, json};

use super::server::{Service, archive, reason};
use super::support::{TestEnv, http_client, wait_until};

const INITIATE: &str = "/images/build";

fn with(faults: &[&str]) -> ServerConfig {
    let faults = faults.iter().map(|text| text.parse().unwrap()).collect();
    ServerConfig { faults, ..ServerConfig::default() }
}

fn image(name: &str) -> Value {
    json!({ "image_name": name, "image_tag": "v1" })
}

fn context() -> Vec<u8> {
    archive(&[("Dockerfile", "FROM scratch\n")])
}

/// Sends a request to a server inside the process. Returns the status and the body.
async fn call(
    server: &Server,
    method: Method,
    url: &str,
    body: impl Into<Body>,
) -> Result<(u16, Value), ConnectionCut> {
    let request = Request::builder().method(method).uri(url).header("authorization", "Bearer key");
    let response = server.call(request.body(body.into()).unwrap()).await?;
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
}

async fn initiate(server: &Server, body: Value) -> Result<(u16, Value), ConnectionCut> {
    let url = format!("{}/api/v1/images/build", server.url());
    call(server, Method::POST, &url, body.to_string()).await
}

#[tokio::test]
async fn a_fault_has_its_response_and_effect() {
    let table = [
        ("500", Some(500), false),
        ("503", Some(503), false),
        ("429", Some(429), false),
        ("429-date", Some(429), false),
        ("html", Some(200), false),
        ("html-after", Some(502), true),
        ("cut-before", None, false),
        ("cut-after", None, true),
        ("slow=1ms", Some(201), true),
    ];
    for (kind, status, effect) in table {
        let fault: Fault = format!("initiate:{kind}:1").parse().unwrap();
        let service =
            Service::start(ServerConfig { faults: vec![fault], ..ServerConfig::default() }).await;
        let url = format!("{}/api/v1{INITIATE}", service.server.url());
        let response = service.http.post(url).bearer_auth("key").json(&image("a")).send().await;
        match (&response, status) {
            (Ok(response), Some(status)) => assert_eq!(response.status(), status, "{kind}"),
            (Err(error), None) => assert!(error.is_request() && !error.is_connect(), "{error:?}"),
            _ => panic!("{kind}: {response:?}"),
        }
        if let Ok(response) = response {
            let header =
                |name| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
            let (retry, content) = (header("retry-after"), header("content-type"));
            match kind {
                "503" => assert_eq!(retry.as_deref(), Some("1")),
                "429-date" => assert!(retry.unwrap().ends_with(" GMT")),
                "html" | "html-after" => assert!(content.unwrap().starts_with("text/html")),
                _ => {}
            }
        }
        let builds = service.server.builds();
        assert_eq!(builds.len(), usize::from(effect), "{kind}: {builds:?}");
        let counts = service.server.counts();
        let of = counts.of(Class::Initiate);
        assert_eq!((of.accepted, of.refused, of.faulted, of.peak), (1, 0, 1, 1), "{kind}");
        let seen = &counts.log[0];
        assert_eq!((seen.fault, seen.status), (Some(fault.kind()), status.unwrap_or(0)), "{kind}");
        assert_eq!(seen.image.is_some(), effect, "{kind}");
    }
}

#[tokio::test]
async fn upload_faults_keep_the_context_or_drop_it() {
    let table = [
        ("500", Some(500), false),
        ("503", Some(503), false),
        ("429", Some(429), false),
        ("html", Some(200), false),
        ("length", Some(400), false),
        ("cut-before", None, false),
        ("html-after", Some(502), true),
        ("cut-after", None, true),
    ];
    for (kind, status, effect) in table {
        let service = Service::start(with(&[&format!("upload:{kind}:1")])).await;
        let build = service.initiate(image("a")).await;
        let put = service.http.put(build["upload_url"].as_str().unwrap()).body(context());
        let answer = put.send().await.map(|answer| answer.status().as_u16());
        assert_eq!(answer.ok(), status, "{kind}");
        let path = format!("/images/build/{}/start", build["build_id"].as_str().unwrap());
        let (status, _) = service.post(&path, json!({ "context_uploaded": true })).await;
        assert_eq!(status, if effect { 200 } else { 400 }, "{kind}");
        service.server.idle().await;
        let uploads = service.server.counts().uploads;
        assert_eq!((uploads.accepted, uploads.faulted), (1, 1), "{kind}");
        let seen = &service.server.builds()[0];
        let expected = if effect { ("COMPLETED", true) } else { ("UPLOADING", false) };
        assert_eq!((seen.status.as_str(), seen.started), expected, "{kind}");
    }
}

#[tokio::test]
async fn a_cut_upload_has_no_response() {
    let service = Service::start(with(&["upload:cut-before:1"])).await;
    let build = service.initiate(image("a")).await;
    let put = service.http.put(build["upload_url"].as_str().unwrap()).body(vec![0; 8 << 20]);
    assert_eq!(put.send().await.unwrap_err().status(), None);
    assert_eq!(service.server.builds()[0].status, "UPLOADING");
}

#[tokio::test]
async fn an_upload_url_may_be_expired_from_the_start() {
    let service = Service::start(with(&["initiate:expired:1"])).await;
    let mut lifetimes = std::collections::BTreeSet::new();
    for number in 0..20 {
        let build = service.initiate(image(&format!("a{number}"))).await;
        lifetimes.insert(build["expires_in"].as_i64().unwrap());
        assert_eq!(service.put(build["upload_url"].as_str().unwrap(), context()).await, 403);
    }
    assert_eq!(lifetimes.into_iter().collect::<Vec<_>>(), [0, 3600]);
}

#[tokio::test]
async fn the_same_seed_injects_the_same_faults() {
    let run = async |seed| {
        let faults = ["initiate:500:10%", "initiate:cut-after:10%", "all:429:0.1"];
        let server = start(ServerConfig { listen: None, seed, ..with(&faults) }).await.unwrap();
        let mut statuses = Vec::new();
        for number in 0..100 {
            let answer = initiate(&server, image(&format!("a{number}"))).await;
            statuses.push(answer.map_or(0, |(status, _)| status));
        }
        let counts = server.counts_of(Class::Initiate);
        let whole = statuses.iter().filter(|status| **status == 201).count();
        assert_eq!(counts.faulted, 100 - whole as u64);
        let cut = statuses.iter().filter(|status| **status == 0).count();
        assert_eq!(server.builds().len(), whole + cut);
        statuses
    };
    let first = run(1).await;
    assert_eq!(first, run(1).await);
    assert_ne!(first, run(2).await);
    assert!([0, 201, 429, 500].iter().all(|status| first.contains(status)), "{first:?}");
}

#[tokio::test]
async fn rate_limited_requests_get_no_fault() {
    let limits = vec!["initiate=1/60s".parse().unwrap()];
    let config = ServerConfig { listen: None, limits, ..with(&["initiate:500:1"]) };
    let server = start(config).await.unwrap();
    for expected in [500, 429] {
        assert_eq!(initiate(&server, image("a")).await.unwrap().0, expected);
    }
    let counts = server.counts_of(Class::Initiate);
    assert_eq!((counts.accepted, counts.refused, counts.faulted), (1, 1, 1));
    assert_eq!(server.counts().log[1].fault, None);
}

#[tokio::test(start_paused = true)]
async fn a_slow_response_is_delayed() {
    let server =
        start(ServerConfig { listen: None, ..with(&["initiate:slow=1h:1"]) }).await.unwrap();
    let start_time = tokio::time::Instant::now();
    assert_eq!(initiate(&server, image("a")).await.unwrap().0, 201);
    assert_eq!(start_time.elapsed().as_secs(), 3600);
    let kind = server.counts().log[0].fault;
    assert_eq!(kind, Some(FaultKind::Slow(Duration::from_secs(3600))));
}

/// Returns the listings of builds and images.
async fn listings(server: &Server) -> Vec<Value> {
    let mut pages = Vec::new();
    for path in ["images/builds", "images"] {
        let url = format!("{}/api/v1/{path}", server.url());
        pages.push(call(server, Method::GET, &url, "").await.unwrap().1);
    }
    pages
}

/// Classes of requests that change something, in an order in which each has something to change.
const CHANGES: [&str; 5] = ["initiate", "upload", "start", "update", "delete"];

/// Sends a request of a class. `build` is the response to the initiate request before it.
async fn change(
    server: &Server,
    class: &str,
    build: &Value,
) -> Result<(u16, Value), ConnectionCut> {
    let api = format!("{}/api/v1", server.url());
    let text = |field: &str| build[field].as_str().unwrap();
    match class {
        "initiate" => initiate(server, image("a")).await,
        "upload" => call(server, Method::PUT, text("upload_url"), context()).await,
        "start" => {
            let url = format!("{api}/images/build/{}/start", text("build_id"));
            let body = json!({ "context_uploaded": true });
            call(server, Method::POST, &url, body.to_string()).await
        }
        "update" => {
            let source = json!({ "owner": { "type": "personal" }, "name": "a", "tag": "v1" });
            let update = json!({ "source": source, "set": { "visibility": "PUBLIC" } });
            let body = json!({ "updates": [update] });
            call(server, Method::PATCH, &format!("{api}/images"), body.to_string()).await
        }
        _ => call(server, Method::DELETE, &format!("{api}/images/a/v1"), "").await,
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_request_gets_its_response_at_once_and_its_effect_later() {
    let mut answers = std::collections::BTreeSet::new();
    for (class, seed) in CHANGES.into_iter().flat_map(|class| (0..4).map(move |seed| (class, seed)))
    {
        let upload_ttl = Duration::from_secs(7200);
        let faults = with(&[&format!("{class}:late=1h:1")]);
        let config = ServerConfig { listen: None, upload_ttl, seed, ..faults };
        let server = start(config).await.unwrap();
        let mut build = Value::Null;
        for before in CHANGES.into_iter().take_while(|before| *before != class) {
            let (status, answer) = change(&server, before, &build).await.unwrap();
            assert!((200..300).contains(&status), "{class} {before}: {answer}");
            build = if before == "initiate" { answer } else { build };
            server.idle().await;
        }
        let (before, start_time) = (listings(&server).await, tokio::time::Instant::now());
        let answer = change(&server, class, &build).await;
        answers.insert(answer.map_or(0, |(status, _)| status));
        assert_eq!(start_time.elapsed(), Duration::ZERO, "{class}");
        tokio::time::sleep(Duration::from_secs(3599)).await;
        assert_eq!(listings(&server).await, before, "{class}");
        if class == "upload" {
            assert_eq!(change(&server, "start", &build).await.unwrap().0, 400);
        }
        server.idle().await;
        assert_eq!(
            start_time.elapsed().as_secs(),
            3600,
            "{class}: idle() waits for the late request"
        );
        if class == "upload" {
            assert_eq!(change(&server, "start", &build).await.unwrap().0, 200);
        } else {
            assert_ne!(listings(&server).await, before, "{class}");
        }
    }
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), [0, 504], "a 504 or no response");
}

#[tokio::test]
async fn a_late_transfer_takes_effect_later_or_when_the_server_stops() {
    let state = tempfile::tempdir().unwrap();
    for (late, stop) in [("200ms", false), ("1h", true)] {
        let config = with(&[&format!("initiate:late={late}:1")]);
        let config = ServerConfig { state: Some(state.path().join(late)), ..config };
        let service = Service::start(config.clone()).await;
        let url = format!("{}/api/v1{INITIATE}", service.server.url());
        let body = json!({ "sourceImage": "ghcr.io/org/app:v1" });
        let answer = service.http.post(url).bearer_auth("key").json(&body).send().await;
        let page = answer.map(|answer| (answer.status().as_u16(), answer));
        if let Ok((status, answer)) = page {
            assert_eq!(status, 504);
            assert!(answer.text().await.unwrap().starts_with("<html>"));
        }
        assert_eq!(service.server.builds(), []);
        if stop {
            service.server.stop().await.unwrap();
            let again = start(config).await.unwrap();
            again.idle().await;
            assert_eq!(again.builds()[0].status, "COMPLETED");
        } else {
            service.server.idle().await;
            assert_eq!(service.server.builds()[0].status, "COMPLETED");
            let seen = &service.server.counts().log[0];
            assert_eq!(seen.image.as_deref(), Some("app:v1"), "the log has the image");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_advances_by_hours() {
    let build_time = Duration::from_secs(600);
    let server =
        start(ServerConfig { listen: None, build_time, ..ServerConfig::default() }).await.unwrap();
    assert_eq!(server.url(), "http://in-process");
    let (_, late) = initiate(&server, image("late")).await.unwrap();
    let (_, build) = initiate(&server, image("a")).await.unwrap();
    let url = |build: &Value| build["upload_url"].as_str().unwrap().to_owned();
    assert!(url(&build).starts_with("http://in-process/uploads/"), "{build}");
    assert_eq!(call(&server, Method::PUT, &url(&build), context()).await.unwrap().0, 200);
    let id = build["build_id"].as_str().unwrap();
    let status = format!("{}/api/v1/images/build/{id}", server.url());
    let started = json!({ "context_uploaded": true }).to_string();
    call(&server, Method::POST, &format!("{status}/start"), started).await.unwrap();

    // From here on, the next timer is the end of the build: writing a file must not advance the
    // clock.
    let start_time = tokio::time::Instant::now();
    let (_, large) = initiate(&server, image("large")).await.unwrap();
    let put = call(&server, Method::PUT, &url(&large), vec![0; 8 << 20]).await;
    assert_eq!((put.unwrap().0, start_time.elapsed()), (200, Duration::ZERO));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(call(&server, Method::PUT, &url(&late), context()).await.unwrap().0, 403);
    let (_, built) = call(&server, Method::GET, &status, "").await.unwrap();
    assert_eq!(built["status"], "COMPLETED", "{}", reason(&built));
    let time = |field: &str| built[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let took = time("completedAt").duration_since(time("startedAt"));
    assert_eq!(took.as_secs(), 600);
    let order: Vec<_> = server.builds().into_iter().map(|b| (b.order, b.image)).collect();
    let names = [(0, "late:v1"), (1, "a:v1"), (2, "large:v1")];
    assert_eq!(order, names.map(|(order, name)| (order, name.to_owned())));
    server.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_day_of_transfers_takes_a_moment_with_a_paused_clock() {
    let build_time = Duration::from_secs(90);
    let server =
        start(ServerConfig { listen: None, build_time, ..ServerConfig::default() }).await.unwrap();
    let start_time = tokio::time::Instant::now();
    for number in 0..14_000 {
        let source = format!("ghcr.io/org/image{number}:v1");
        let (status, answer) = initiate(&server, json!({ "sourceImage": source })).await.unwrap();
        assert_eq!(status, 201, "{answer}");
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    server.idle().await;
    assert_eq!(start_time.elapsed().as_secs() / 3600, 23);
    let images = server.counts_of(Class::Images);
    assert_eq!((images.accepted, images.refused, images.peak), (14_000, 0, 10));
    assert!(server.builds().iter().all(|build| build.started && build.status == "COMPLETED"));
}

#[tokio::test]
async fn builds_and_transfers_that_match_the_fail_pattern_fail() {
    let fail = Some(Regex::new("^bad.*:v1$").unwrap());
    let service = Service::start(ServerConfig { fail, ..ServerConfig::default() }).await;
    let failed = service.push("bad-one").await;
    assert_eq!(failed["status"], "FAILED");
    let text = "this server is configured to fail images that match `^bad.*:v1$`";
    assert_eq!(reason(&failed), text);
    assert_eq!(service.push("not-bad").await["status"], "COMPLETED");
    service.initiate(json!({ "sourceImage": "ghcr.io/org/bad:v1" })).await;
    service.initiate(json!({ "sourceImage": "ghcr.io/org/bad:v2" })).await;
    service.server.idle().await;
    let builds = service.server.builds();
    let statuses: Vec<_> = builds.iter().map(|build| build.status.as_str()).collect();
    assert_eq!(statuses, ["FAILED", "COMPLETED", "FAILED", "COMPLETED"]);
    assert!(builds.iter().all(|build| build.started && build.owner == "personal"));
}

#[tokio::test]
async fn the_quota_can_change_while_the_server_runs() {
    let service = Service::start(ServerConfig { quota: Some(1), ..ServerConfig::default() }).await;
    service.initiate(image("a")).await;
    assert_eq!(service.post(INITIATE, image("b")).await.0, 429);
    service.server.set_quota(Some(2));
    service.initiate(image("b")).await;
    let (status, answer) = service.post(INITIATE, image("c")).await;
    let text = "Image limit exceeded. Personal has 2 images. Maximum allowed is 2.";
    assert_eq!((status, &answer["detail"]), (429, &json!(text)));
    service.server.set_quota(None);
    service.initiate(image("c")).await;
}

#[test]
fn the_flags_of_serve_reach_the_server() {
    let env = TestEnv::new();
    let line = "serve --listen 127.0.0.1:0 --url-file url --quota 1 --upload-ttl 2m --seed 3 \
                --api 2026-08 --bulk-shape results --fail ^a --fault list:503:100% --fault all:slow=1ms:0";
    let _running = env.call(line.split_whitespace()).start();
    wait_until("the server is up", || env.exists("url"));
    let url = format!("{}/api/v1{INITIATE}", env.read("url").trim());
    tokio::runtime::Runtime::new().unwrap().block_on(check_flags(&url));
}

async fn check_flags(url: &str) {
    let http = http_client();
    let post = async |body: Value| {
        let answer = http.post(url).bearer_auth("key").json(&body).send().await.unwrap();
        serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()
    };
    assert_eq!(post(image("b")).await["expires_in"], 120);
    let over = post(json!({ "sourceImage": "b:v1,c:v1" })).await;
    assert_eq!(over["results"][0]["success"], true);
    let text = "Image limit exceeded. Personal has 1 images. Maximum allowed is 1.";
    assert_eq!(over["failed"][0]["error"], text);
    let list = http.get(url.replace("/build", "/builds")).bearer_auth("key").send().await.unwrap();
    assert_eq!(list.status(), 503);
}

#[test]
fn invalid_faults_are_refused() {
    let env = TestEnv::new();
    let table: [(&[&str], &str); 5] = [
        (&["--fault", "start:501:1"], "unknown fault kind `501`: the kinds are 500, 503,"),
        (&["--fault", "start:length:1"], "`length` applies only to `upload`: write upload:"),
        (
            &["--fault", "all:500:0.5", "--fault", "list:html:75%"],
            "the fault rates of `list` add up",
        ),
        (&["--fail", "["], "regex parse error"),
        (&["--bulk-shape", "d"], "the shapes are build-ids, results, builds"),
    ];
    for (args, expected) in table {
        let output = env.run([&["serve", "--listen", "127.0.0.1:0"], args].concat());
        assert_eq!(output.code, Some(64), "{args:?}: {}", output.stderr);
        assert!(output.stderr.contains(expected), "{args:?}: {}", output.stderr);
    }
}
