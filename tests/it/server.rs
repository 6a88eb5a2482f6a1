//! The local server over HTTP: each endpoint of the API contract.

use std::io::Write;
use std::time::Duration;

use imgplan::test_support::base::limit::Class;
use imgplan::test_support::base::secret::ApiKey;
use imgplan::test_support::http::install_tls_provider;
use imgplan::test_support::server::{
    ApiVersion, BulkShape, Server, ServerConfig, ServerError, start,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[cfg(unix)]
use crate::support::{TestEnv, http_client, wait_until};

/// A server and a client of it.
pub(crate) struct Service {
    pub(crate) server: Server,
    pub(crate) http: reqwest::Client,
    token: &'static str,
}

impl Service {
    pub(crate) async fn start(config: ServerConfig) -> Self {
        let server = start(config).await.unwrap();
        Self { server, http: http_client(), token: "key" }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> reqwest::Response {
        let url = format!("{}/api/v1{path}", self.server.url());
        let mut request = self.http.request(method, url).bearer_auth(self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let response = self.send(method, path, body).await;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub(crate) async fn call_status(&self, method: &str, path: &str) -> u16 {
        self.call(method.parse().unwrap(), path, None).await.0
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn initiate(&self, body: Value) -> Value {
        let (status, body) = self.post("/images/build", body).await;
        assert_eq!(status, 201, "{body}");
        body
    }

    pub(crate) async fn put(&self, url: &str, bytes: Vec<u8>) -> u16 {
        self.http.put(url).body(bytes).send().await.unwrap().status().as_u16()
    }

    /// Uploads and starts a build, and waits for its end.
    async fn build(&self, body: Value, files: &[(&str, &str)]) -> Value {
        let build = self.initiate(body).await;
        assert_eq!(self.put(build["upload_url"].as_str().unwrap(), archive(files)).await, 200);
        self.finish(build["build_id"].as_str().unwrap()).await
    }

    pub(crate) async fn finish(&self, id: &str) -> Value {
        let path = format!("/images/build/{id}/start");
        let (status, body) = self.post(&path, json!({ "context_uploaded": true })).await;
        assert_eq!(status, 200, "{body}");
        self.server.idle().await;
        self.get(&format!("/images/build/{id}")).await
    }

    pub(crate) async fn push(&self, name: &str) -> Value {
        let dockerfile = [("Dockerfile", "FROM scratch\n")];
        self.build(json!({ "image_name": name, "image_tag": "v1" }), &dockerfile).await
    }
}

pub(crate) fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar.into_inner().unwrap()).unwrap();
    gzip.finish().unwrap()
}

fn august() -> ServerConfig {
    ServerConfig { api: ApiVersion::August2026, ..ServerConfig::default() }
}

fn slow() -> ServerConfig {
    ServerConfig { build_time: Duration::from_secs(3600), ..ServerConfig::default() }
}

pub(crate) fn reason(build: &Value) -> &str {
    build["artifacts"][0]["errorMessage"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_build_from_first_to_last() {
    let service = Service::start(ServerConfig::default()).await;
    let build = service.initiate(json!({ "image_name": "app", "image_tag": "v1" })).await;
    assert_eq!(build["fullImagePath"], "prime/local/app:v1");
    assert_eq!(build["visibility"], "PRIVATE");
    assert_eq!(build["expires_in"], 3600);
    assert_eq!(build["buildIds"], json!([build["build_id"]]));
    let id = build["build_id"].as_str().unwrap();
    let status = service.get(&format!("/images/build/{id}")).await;
    assert_eq!(status["status"], "UPLOADING");

    let url = build["upload_url"].as_str().unwrap();
    assert_eq!(service.put(url, archive(&[("Dockerfile", "FROM scratch\n")])).await, 200);
    let done = service.finish(id).await;
    assert_eq!(done["status"], "COMPLETED", "{done}");
    assert_eq!(done["artifacts"][0]["artifactType"], "VM_SANDBOX");
    for stamp in ["createdAt", "startedAt", "completedAt"] {
        assert!(done[stamp].as_str().unwrap().ends_with('Z'), "{stamp}");
    }
    let list = service.get("/images").await;
    assert_eq!(
        (&list["total_count"], &list["offset"], &list["limit"]),
        (&json!(1), &json!(0), &json!(100))
    );
    let row = &list["data"][0];
    assert_eq!((&row["status"], &row["ownerType"]), (&json!("COMPLETED"), &json!("personal")));
    assert_eq!(row["displayRef"], "prime/local/app:v1");
    assert!(row["sizeBytes"].as_u64().unwrap() > 0 && row["pushedAt"].is_string());
    // A second start and a second upload are refused.
    let path = format!("/images/build/{id}/start");
    assert_eq!(service.post(&path, json!({ "context_uploaded": true })).await.0, 400);
    assert_eq!(service.put(url, Vec::new()).await, 409);
}

#[tokio::test]
async fn a_build_with_the_api_of_august() {
    let service = Service::start(august()).await;
    let built = service.push("app").await;
    assert_eq!(built["artifacts"][0]["artifactType"], "CONTAINER_IMAGE");
    // A second start changes nothing.
    assert_eq!(service.finish(built["id"].as_str().unwrap()).await["status"], "COMPLETED");
}

#[tokio::test]
async fn requests_without_the_token() {
    let config = ServerConfig { token: ApiKey::new("right"), ..ServerConfig::default() };
    let mut service = Service::start(config).await;
    let response = service.send(Method::GET, "/images", None).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.text().await.unwrap(), "");
    service.token = "right";
    assert_eq!(service.send(Method::GET, "/images", None).await.status(), StatusCode::OK);
    let none = service.http.get(format!("{}/api/v1/images", service.server.url()));
    assert_eq!(none.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn both_spellings_are_accepted_and_invalid_fields_are_not() {
    let service = Service::start(ServerConfig::default()).await;
    let snake = json!({ "image_name": "a", "image_tag": "1", "team_id": "t1" });
    assert_eq!(service.initiate(snake).await["fullImagePath"], "prime/team-t1/a:1");
    let both = json!({ "image_name": "a", "image_tag": "1", "team_id": "t1", "teamId": "t2" });
    assert_eq!(service.initiate(both).await["fullImagePath"], "prime/team-t2/a:1");

    let bad = [
        (json!({ "image_tag": "1" }), 422, "image_name"),
        (json!({ "image_name": "a" }), 422, "image_tag"),
        (json!({ "image_name": "A", "image_tag": "1" }), 422, "image_name"),
        (json!({ "image_name": "a/b", "image_tag": "1" }), 422, "image_name"),
        (json!({ "image_name": "a", "image_tag": "1", "platform": "x" }), 422, "platform"),
        (json!({ "image_name": "a", "image_tag": "1", "visibility": "x" }), 422, "visibility"),
        (json!({ "image_name": "a", "image_tag": "1", "ownerScope": "x" }), 422, "ownerScope"),
        (
            json!({ "image_name": "a", "image_tag": "1", "dockerfile_path": "../x" }),
            422,
            "dockerfile_path",
        ),
        (json!({ "image_name": 1, "image_tag": "1" }), 422, "image_name"),
        (json!({ "image_name": "a", "image_tag": "1", "ownerScope": "platform" }), 400, ""),
        (json!({ "sourceImage": "ubuntu:" }), 400, ""),
    ];
    for (body, expected, param) in bad {
        let (status, answer) = service.post("/images/build", body.clone()).await;
        assert_eq!(status, expected, "{body}: {answer}");
        if expected == 422 {
            assert_eq!(answer["errors"][0]["param"], param, "{answer}");
        } else {
            assert!(answer["detail"].is_string(), "{answer}");
        }
    }
    assert_eq!(service.call(Method::GET, "/nowhere", None).await.0, 404);
    assert_eq!(service.call(Method::PUT, "/images/build", None).await.0, 405);
}

#[tokio::test]
async fn uploads_need_a_valid_url_and_a_length() {
    let config = ServerConfig { max_upload: 1000, ..ServerConfig::default() };
    let service = Service::start(config).await;
    let build = service.initiate(json!({ "image_name": "a", "image_tag": "1" })).await;
    let (id, url) = (build["build_id"].as_str().unwrap(), build["upload_url"].as_str().unwrap());
    let start = format!("/images/build/{id}/start");
    let (status, answer) = service.post(&start, json!({ "context_uploaded": true })).await;
    assert_eq!((status, &answer["detail"]), (400, &json!("Build context has not been uploaded")));

    assert_eq!(service.put(&url.replace("signature=", "signature=0"), vec![0]).await, 403);
    assert_eq!(service.put(url, vec![0; 1001]).await, 413);
    let stream = futures::stream::iter([Ok::<_, std::io::Error>(vec![0])]);
    let chunked = service.http.put(url).body(reqwest::Body::wrap_stream(stream));
    assert_eq!(chunked.send().await.unwrap().status(), StatusCode::LENGTH_REQUIRED);
    assert_eq!(service.put(url, vec![0]).await, 200);
    assert_eq!(service.put(url, archive(&[("Dockerfile", "FROM scratch")])).await, 200);
    assert_eq!(service.finish(id).await["status"], "COMPLETED");
    assert_eq!(service.post("/images/build/none/start", json!({})).await.0, 404);

    let config = ServerConfig { upload_ttl: Duration::ZERO, ..ServerConfig::default() };
    let service = Service::start(config).await;
    let build = service.initiate(json!({ "image_name": "a", "image_tag": "1" })).await;
    assert_eq!(service.put(build["upload_url"].as_str().unwrap(), vec![0]).await, 403);
}

#[tokio::test]
async fn transfers_and_their_shapes() {
    let service = Service::start(august()).await;
    let one = service.initiate(json!({ "sourceImage": "ghcr.io/Org/My-App:v1" })).await;
    assert_eq!(one["fullImagePath"], "prime/local/my-app:v1");
    assert_eq!((&one["upload_url"], &one["expires_in"]), (&Value::Null, &Value::Null));
    let platform = json!({
        "sourceImage": "docker.io/library/ubuntu:22.04", "ownerScope": "platform", "visibility": "PUBLIC",
    });
    assert_eq!(service.initiate(platform).await["fullImagePath"], "library/ubuntu:22.04");
    let two = service.initiate(json!({ "source_image": " alpine:3 , , busybox " })).await;
    assert_eq!(two["buildIds"].as_array().unwrap().len(), 2);
    service.server.idle().await;
    for id in two["buildIds"].as_array().unwrap() {
        let path = format!("/images/build/{}", id.as_str().unwrap());
        assert_eq!(service.get(&path).await["status"], "COMPLETED");
    }
    let named = json!({ "sourceImage": "a,b", "image_name": "x" });
    assert_eq!(service.post("/images/build", named).await.0, 400);
    assert_eq!(service.get("/images?ownerScope=platform").await["total_count"], 1);

    for (shape, list) in [(BulkShape::Results, "a:1,a:"), (BulkShape::Builds, "a:1,a:")] {
        let service = Service::start(ServerConfig { bulk: Some(shape), ..august() }).await;
        let answer = service.initiate(json!({ "sourceImage": list })).await;
        let (good, bad) = (&answer["results"][0], &answer["results"][1]);
        assert!(bad["error"].as_str().unwrap().starts_with("Invalid transfer source"));
        assert_eq!((&bad["retryable"], &bad["sourceImage"]), (&json!(false), &json!("a:")));
        if shape == BulkShape::Results {
            assert_eq!(good["fullImagePath"], "prime/local/a:1");
            assert_eq!(answer["failed"], json!([bad]));
        } else {
            assert_eq!(good["build"]["fullImagePath"], "prime/local/a:1");
            assert_eq!(answer.get("failed"), None);
        }
    }
}

#[tokio::test]
async fn limits_of_requests_images_and_quotas() {
    let limits = vec!["status=2/60s".parse().unwrap()];
    let mut service = Service::start(ServerConfig { limits, quota: Some(12), ..august() }).await;
    for expected in [404, 404, 429] {
        assert_eq!(service.call(Method::GET, "/images/build/x", None).await.0, expected);
    }
    let refused = service.send(Method::GET, "/images/build/x", None).await;
    let after: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
    let detail: Value = refused.json().await.unwrap();
    assert_eq!(detail["detail"], "Too Many Requests (per-token limit)");
    service.token = "another";
    assert_eq!(service.call(Method::GET, "/images/build/x", None).await.0, 404);
    let counts = service.server.counts();
    let status = counts.of(Class::Status);
    assert_eq!((status.accepted, status.refused, status.peak), (3, 2, 4));
    assert_eq!((counts.log.len(), counts.log[2].status), (5, 429));

    let list: Vec<String> = (0..10).map(|n| format!("i{n}")).collect();
    service.initiate(json!({ "sourceImage": list.join(",") })).await;
    let (status, answer) = service.post("/images/build", json!({ "sourceImage": "x" })).await;
    assert_eq!(status, 429);
    assert_eq!(answer["detail"], "Image transfer rate limit exceeded: 10/10 images");
    service.initiate(json!({ "sourceImage": "x", "teamId": "t1" })).await;
    let too_many: Vec<String> = (0..61).map(|n| format!("i{n}")).collect();
    let body = json!({ "sourceImage": too_many.join(","), "teamId": "t2" });
    assert_eq!(service.post("/images/build", body).await.0, 429);

    for name in ["a", "b"] {
        service.initiate(json!({ "image_name": name, "image_tag": "1" })).await;
    }
    let full = json!({ "image_name": "c", "image_tag": "1" });
    let (status, answer) = service.post("/images/build", full).await;
    let text = "Image limit exceeded. Personal has 12 images. Maximum allowed is 12.";
    assert_eq!((status, &answer["detail"]), (429, &json!(text)));
    service.initiate(json!({ "image_name": "a", "image_tag": "1" })).await;
    let mut initiated = service.server.counts().log.into_iter().filter_map(|seen| seen.image);
    assert_eq!(initiated.next_back().as_deref(), Some("a:1"));
}

#[tokio::test]
async fn the_builder_reports_the_errors_of_a_real_build() {
    let service = Service::start(ServerConfig::default()).await;
    service.push("base").await;
    let app = json!({ "image_name": "app", "image_tag": "v1", "dockerfile_path": "d/Df" });
    let good = "FROM prime/local/base:v1 AS b\nFROM ubuntu\nCOPY --from=b /x /x\nCOPY src *.md /\n";
    let build = service.build(app.clone(), &[("d/Df", good), ("src/a", "")]).await;
    assert_eq!(build["status"], "COMPLETED", "{}", reason(&build));

    service.initiate(json!({ "image_name": "late", "image_tag": "v1" })).await;
    let bad =
        "FROM prime/local/late:v1\nCOPY none /\nRUN --mount=from=prime/local/no,target=/x ls\n";
    let build = service.build(app.clone(), &[("d/Df", bad)]).await;
    assert_eq!(build["status"], "FAILED");
    assert_eq!(
        reason(&build),
        "d/Df: line 1: the base image `prime/local/late:v1` is not COMPLETED: its last build is \
         UPLOADING; line 2: `none` is not in the build context; line 3: the base image \
         `prime/local/no` does not exist"
    );
    let build = service.build(app.clone(), &[("Dockerfile", "FROM scratch")]).await;
    assert_eq!(reason(&build), "the context has no Dockerfile at `d/Df`");
    let build = service.build(app, &[("d/Df", "FORM scratch")]).await;
    assert!(reason(&build).starts_with("d/Df: line 1: "), "{}", reason(&build));
}

#[tokio::test]
async fn listing_pages_searches_and_scopes() {
    let service = Service::start(ServerConfig::default()).await;
    for name in ["one", "two", "three"] {
        service.push(name).await;
    }
    // A second build of an image adds a row and not an image.
    let again = json!({ "image_name": "three", "image_tag": "v1" });
    service.initiate(again.clone()).await;
    service.build(json!({ "image_name": "t", "image_tag": "v1", "teamId": "t1" }), &[]).await;
    let names = |page: &Value| -> Vec<String> {
        let rows = page["data"].as_array().unwrap();
        rows.iter().map(|row| row["imageName"].as_str().unwrap().to_owned()).collect()
    };
    let page = service.get("/images?limit=2").await;
    assert_eq!(
        (names(&page), &page["total_count"]),
        (vec!["three".into(), "three".into(), "two".into()], &json!(3))
    );
    let page = service.get("/images?limit=2&offset=2").await;
    assert_eq!(names(&page), ["one"]);
    assert_eq!(names(&service.get("/images?search=TW").await), ["two"]);
    let team = service.get("/images?teamId=t1").await;
    let row = &team["data"][0];
    assert_eq!((&row["teamId"], &row["status"]), (&json!("t1"), &json!("FAILED")));
    let builds = service.get("/images/builds?limit=2").await;
    assert_eq!((&builds["total_count"], builds["data"].as_array().unwrap().len()), (&json!(5), 2));
    assert_eq!(builds["data"][0]["imageName"], "t");
    assert_eq!(service.call(Method::GET, "/images?limit=0", None).await.0, 422);
    assert_eq!(service.get("/user/whoami").await["data"]["slug"], "local");
    assert_eq!(service.get("/user/teams").await["data"][0]["teamId"], "t1");
}

#[tokio::test]
async fn visibility_is_kept_by_inherit() {
    let service = Service::start(ServerConfig::default()).await;
    let public = json!({ "image_name": "a", "image_tag": "v1", "visibility": "PUBLIC" });
    service.build(public, &[("Dockerfile", "FROM scratch")]).await;
    let again = json!({ "image_name": "a", "image_tag": "v1", "visibility": "INHERIT" });
    assert_eq!(service.initiate(again.clone()).await["visibility"], "PUBLIC");
    let source = json!({ "reference": "prime/local/a:v1" });
    let private = json!({ "updates": [{ "source": source, "set": { "visibility": "PRIVATE" } }] });
    let (status, answer) = service.patch("/images", private).await;
    assert_eq!((status, &answer["success"]), (200, &json!(true)));
    assert_eq!(service.initiate(again).await["visibility"], "PRIVATE");
}

#[tokio::test]
async fn a_vm_build_names_the_build_of_the_image() {
    let service = Service::start(ServerConfig::default()).await;
    let built = service.push("a").await;
    for path in ["/images/a/v1/vm-build", "/images/prime/local/a/v1/vm-build"] {
        let (status, answer) = service.post(path, json!({})).await;
        assert_eq!((status, &answer["buildId"]), (201, &built["id"]), "{path}");
    }
    for (path, body) in [
        ("/images/b/v1/vm-build", json!({})),
        ("/images/a/v1/vm-build", json!({ "teamId": "t1" })),
        ("/images/a/v1/vm-build", json!({ "ownerScope": "platform" })),
    ] {
        assert_eq!(service.post(path, body.clone()).await.0, 404, "{path} {body}");
    }
}

#[tokio::test]
async fn updates_rename_move_and_collide() {
    let service = Service::start(ServerConfig::default()).await;
    for name in ["a", "b"] {
        service.push(name).await;
    }
    let personal =
        |name: &str| json!({ "owner": { "type": "personal" }, "name": name, "tag": "v1" });
    let updates = json!([
        { "source": personal("a"), "set": { "name": "b" } },
        { "source": personal("a"), "set": { "name": "c" } },
        { "source": personal("b"), "set": { "name": "a", "visibility": "PUBLIC" } },
        { "source": { "reference": "prime/local/c:v1" }, "set": { "owner": { "type": "team", "teamId": "t1" } } },
        { "source": personal("gone"), "set": { "tag": "v2" } },
    ]);
    let outcome = |answer: &Value| -> Vec<String> {
        let results = answer["results"].as_array().unwrap();
        results
            .iter()
            .map(|result| result["error"]["code"].as_str().unwrap_or("ok").to_owned())
            .collect()
    };
    let expected = ["destination_exists", "ok", "ok", "ok", "image_not_found"];
    let before = service.get("/images").await;
    let dry = json!({ "mode": "explicit", "dryRun": true, "updates": updates });
    let (status, answer) = service.patch("/images", dry).await;
    assert_eq!((status, &answer["success"], &answer["dryRun"]), (200, &json!(false), &json!(true)));
    assert_eq!(outcome(&answer), expected);
    assert_eq!(service.get("/images").await, before);

    let (_, answer) = service.patch("/images", json!({ "updates": updates })).await;
    assert_eq!(outcome(&answer), expected);
    assert_eq!(answer["results"][2]["after"]["visibility"], "PUBLIC");
    assert_eq!(answer["results"][3]["after"]["owner"], json!({ "type": "team", "teamId": "t1" }));
    assert_eq!(service.get("/images?teamId=t1").await["data"][0]["imageName"], "c");
    assert_eq!(service.get("/images").await["data"][0]["imageName"], "a");

    for bad in [
        json!({ "updates": [] }),
        json!({ "updates": [{ "source": personal("a"), "set": {} }] }),
        json!({ "updates": [{ "source": { "name": "a" }, "set": { "tag": "x" } }] }),
        json!({ "updates": [{ "source": { "name": "a", "reference": "a:v1" }, "set": { "tag": "x" } }] }),
    ] {
        assert_eq!(service.patch("/images", bad.clone()).await.0, 422, "{bad}");
    }
}

#[tokio::test]
async fn a_move_must_not_exceed_the_quota() {
    let service = Service::start(ServerConfig { quota: Some(1), ..ServerConfig::default() }).await;
    service.push("a").await;
    service.initiate(json!({ "image_name": "b", "image_tag": "v1", "teamId": "t1" })).await;
    let to = |owner: Value| {
        let source = json!({ "reference": "a:v1" });
        json!({ "updates": [{ "source": source, "set": { "owner": owner } }] })
    };
    let (_, answer) = service.patch("/images", to(json!({ "type": "team", "teamId": "t1" }))).await;
    assert_eq!(answer["results"][0]["error"]["code"], "quota_exceeded");
    let (_, answer) = service.patch("/images", to(json!({ "type": "platform" }))).await;
    assert_eq!(answer["results"][0]["after"]["visibility"], "PUBLIC");
    // A platform image can be a base by its path without an owner.
    let app = json!({ "image_name": "app", "image_tag": "v1" });
    let build = service.build(app, &[("Dockerfile", "FROM a:v1")]).await;
    assert_eq!(build["status"], "COMPLETED", "{}", reason(&build));
}

#[tokio::test]
async fn deletion_takes_all_forms_and_cancels() {
    let service = Service::start(ServerConfig::default()).await;
    for (name, path) in [
        ("a", "/images/a/v1"),
        ("build", "/images/build/v1"),
        ("b", "/images/prime/local/b/v1"),
        ("c", "/images/local-account/c/v1"),
    ] {
        let built = service.push(name).await;
        assert_eq!(service.call(Method::DELETE, path, None).await.0, 200, "{path}");
        assert_eq!(service.call(Method::DELETE, path, None).await.0, 404, "{path}");
        let path = format!("/images/build/{}", built["id"].as_str().unwrap());
        assert_eq!(service.call(Method::GET, &path, None).await.0, 404);
    }
    let team =
        service.initiate(json!({ "image_name": "a", "image_tag": "v1", "teamId": "t" })).await;
    assert_eq!(service.call(Method::DELETE, "/images/a/v1?teamId=t", None).await.0, 200);
    let path = format!("/images/build/{}", team["build_id"].as_str().unwrap());
    assert_eq!(service.get(&path).await["status"], "CANCELLED");
    assert_eq!(service.get("/images?teamId=t").await["total_count"], 0);
}

#[tokio::test]
async fn state_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = || ServerConfig { state: Some(dir.path().to_owned()), ..slow() };
    let service = Service::start(config()).await;
    let waiting = service.initiate(json!({ "image_name": "a", "image_tag": "v1" })).await;
    let running = service.initiate(json!({ "sourceImage": "ubuntu" })).await;
    let building = service.initiate(json!({ "image_name": "b", "image_tag": "v1" })).await;
    let context = archive(&[("Dockerfile", "FROM scratch\nCOPY none /\n")]);
    assert_eq!(service.put(building["upload_url"].as_str().unwrap(), context).await, 200);
    let start_path = format!("/images/build/{}/start", building["build_id"].as_str().unwrap());
    let (_, answer) = service.post(&start_path, json!({ "context_uploaded": true })).await;
    assert_eq!(answer["status"], "BUILDING");
    assert!(matches!(start(config()).await, Err(ServerError::Held { .. })));
    let port = service.server.url();
    service.server.stop().await.unwrap();

    let quick = ServerConfig { build_time: Duration::ZERO, ..config() };
    let service = Service::start(quick).await;
    service.server.idle().await;
    let path = format!("/images/build/{}", running["build_id"].as_str().unwrap());
    assert_eq!(service.get(&path).await["status"], "COMPLETED");
    let path = format!("/images/build/{}", building["build_id"].as_str().unwrap());
    let failed = service.get(&path).await;
    assert_eq!(reason(&failed), "Dockerfile: line 2: `none` is not in the build context");
    // The signature is still valid after the restart; only the port differs.
    let url = waiting["upload_url"].as_str().unwrap().replace(&port, &service.server.url());
    assert_eq!(service.put(&url, archive(&[("Dockerfile", "FROM scratch")])).await, 200);
    let done = service.finish(waiting["build_id"].as_str().unwrap()).await;
    assert_eq!(done["status"], "COMPLETED", "{}", reason(&done));
}

#[tokio::test]
async fn the_server_counts_requests_over_the_limit() {
    let limits = vec!["initiate=20/60s".parse().unwrap()];
    let service = Service::start(ServerConfig { limits, ..ServerConfig::default() }).await;
    let body = json!({ "image_name": "a", "image_tag": "v1" });
    let posts = (0..50).map(|_| service.post("/images/build", body.clone()));
    let answers = futures::future::join_all(posts).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 20);
    let counts = service.server.counts();
    let initiate = counts.of(Class::Initiate);
    assert_eq!((initiate.accepted, initiate.refused, initiate.peak), (20, 30, 50));
    assert!(counts.log.is_sorted_by_key(|seen| seen.at));
    assert_eq!(counts.log.iter().filter(|seen| seen.image.is_some()).count(), 20);
}

#[cfg(unix)]
#[tokio::test]
async fn builds_wait_for_file_descriptors() {
    const BUILDS: usize = 40;
    let env = TestEnv::at("http://127.0.0.1:9");
    let args = ["serve", "--listen", "127.0.0.1:0", "--url-file", "url", "--state", "state"];
    // The server itself needs about 20, and a connection that uploads needs three.
    let limits = ["initiate=1000/60s", "start=1000/60s", "status=100000/60s"];
    let limits = limits.iter().flat_map(|limit| ["--limit", limit]);
    let args = args.into_iter().chain(limits).chain(["--build-time", "0s"]);
    let mut server = env.call(args).with_descriptors(32).start();
    wait_until("the server listens", || env.exists("url") || server.has_ended());
    let url = env.read("url").trim().to_owned();
    // A connection for each request: idle ones would keep their places.
    install_tls_provider();
    let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let call = async |method: Method, path: String, body: Option<Value>| -> Value {
        let request = http.request(method, format!("{url}/api/v1{path}")).bearer_auth("key");
        let request = body.iter().fold(request, reqwest::RequestBuilder::json);
        request.send().await.unwrap().json().await.unwrap()
    };
    let text = "x".repeat(1 << 20);
    let context = archive(&[("real", "FROM scratch\n"), ("large", &text)]);
    let run = async |index: usize| {
        let name = format!("app-{index}");
        let body = json!({ "image_name": name, "image_tag": "v1", "dockerfile_path": "real" });
        let build = call(Method::POST, "/images/build".to_owned(), Some(body)).await;
        let (id, put) = (&build["build_id"], build["upload_url"].as_str().unwrap());
        let path = format!("/images/build/{}", id.as_str().unwrap());
        let uploaded = http.put(put).body(context.clone()).send().await.unwrap();
        let (status, text) = (uploaded.status().as_u16(), uploaded.text().await.unwrap());
        assert_eq!(status, 200, "{text}");
        let started = json!({ "context_uploaded": true });
        let mut build = call(Method::POST, format!("{path}/start"), Some(started)).await;
        while build["status"] == "BUILDING" {
            build = call(Method::GET, path.clone(), None).await;
        }
        assert_eq!(build["status"], "COMPLETED", "{build}");
    };
    futures::future::join_all((0..BUILDS).map(run)).await;
    server.signal("TERM");
    server.wait().code(143);
}

#[tokio::test]
async fn a_port_in_use_is_reported() {
    let service = Service::start(ServerConfig::default()).await;
    let taken = service.server.url().replace("http://", "").parse().unwrap();
    let error =
        start(ServerConfig { listen: Some(taken), ..ServerConfig::default() }).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot listen on 127.0.0.1:"), "{error}");
}
