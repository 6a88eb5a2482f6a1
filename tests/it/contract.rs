//! Facts of the images API as of November 2026, each as a request and the response to it, held against
//! the local server. A fact has three lines: its source, with the marks of
//! `docs/src/reference/api-contract.md`; the request; and the status and a pattern of the response.
//!
//! `IMGPLAN_STAND_IN` is the command of another server of the same API, to hold the same facts against
//! it. It gets `--token`, `--listen` and `--url-file`, and the switches that `hold` is called with.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use imgplan::test_support::base::secret::ApiKey;
use imgplan::test_support::server::{ApiVersion, DockerHub, ServerConfig};

use crate::support::http_client;
use reqwest::Method;
use serde_json::{Value, json};

use super::server::{Service, archive};
use super::support::wait_until;

/// Requests to build sources. The last ones show that a refused list has left nothing.
const SOURCES: &str = r#"
[live]
POST /images/build {"source_image": "registry.k8s.io/pause:3.9"}
201 {"build_id": "<string>", "buildIds": ["<string>"], "upload_url": null, "expires_in": null, "fullImagePath": "*/pause:3.9", "visibility": "PRIVATE"}

[new]
POST /images/build {"source_image": "ghcr.io/org/x:v1", "image_name": "app", "image_tag": "v1", "team_id": "t1", "visibility": "PUBLIC", "platform": "linux/arm64"}
201 {"buildIds": ["<string>"], "fullImagePath": "*team-t1/app:v1", "visibility": "PUBLIC"}

[new] [readme], in the spelling of [seed] and without an owner scope
POST /images/build {"sourceImage": "ubuntu:22.04"}
201 {"buildIds": ["<string>"], "fullImagePath": "ubuntu:22.04", "visibility": "PUBLIC"}

[new]
POST /images/build {"source_image": "docker.io/library/debian:12", "visibility": "PUBLIC", "owner_scope": "platform"}
201 {"fullImagePath": "debian:12", "visibility": "PUBLIC"}

[new]
POST /images/build {"source_image": "grafana/grafana:10", "visibility": "PUBLIC", "owner_scope": "platform"}
201 {"fullImagePath": "grafana/grafana:10", "visibility": "PUBLIC"}

[new]
POST /images/build {"source_image": "index.docker.io/library/redis:7", "visibility": "PUBLIC", "owner_scope": "platform"}
201 {"fullImagePath": "redis:7", "visibility": "PUBLIC"}

[live]
POST /images/build {"source_image": "ghcr.io/org/a:v1,quay.io/org/b:v1"}
201 {"results": [{"sourceImage": "ghcr.io/org/a:v1", "build": {"build_id": "<string>", "buildIds": ["<string>"], "fullImagePath": "*/a:v1"}, "error": null, "retryable": false}, {"sourceImage": "quay.io/org/b:v1", "build": {"fullImagePath": "*/b:v1"}, "error": null, "retryable": false}]}

[live]
POST /images/build {"source_image": "ghcr.io/org/c:v1,quay.io/org/c:v1"}
201 {"results": [{"build": {"fullImagePath": "*/c:v1"}, "error": null}, {"sourceImage": "quay.io/org/c:v1", "build": null, "error": "*uplicate*", "retryable": false}]}

[readme]
POST /images/build {"source_image": "ubuntu:22.04,docker.io/library/debian:12"}
201 {"results": [{"build": {"fullImagePath": "ubuntu:22.04", "visibility": "PUBLIC"}}, {"build": {"fullImagePath": "debian:12"}}]}

[readme]
POST /images/build {"source_image": "ubuntu:22.04,ghcr.io/org/d:v1"}
400 {"detail": "<string>"}

[readme]
POST /images/build {"source_image": "gcr.io/org/d:v1"}
400 {"detail": "<string>"}

[readme]
POST /images/build {"source_image": "example.com/org/d:v1"}
400 {"detail": "<string>"}

[live]
POST /images/build {"source_image": "ghcr.io/org/d:v1,gcr.io/org/e:v1"}
400 {"detail": "<string>"}

[live]
GET /images?search=d:v1
200 {"data": [], "total_count": 0, "offset": 0, "limit": "<integer>"}

[live]
GET /images?search=pause
200 {"data": [{"id": "<string>", "artifactType": "VM_SANDBOX", "imageName": "pause", "imageTag": "3.9", "status": "<string>", "createdAt": "<string>", "visibility": "PRIVATE", "ownerType": "personal", "displayRef": "*/pause:3.9"}], "total_count": 1}

[new] [readme]
GET /images?ownerScope=platform&search=grafana
200 {"data": [{"artifactType": "VM_SANDBOX", "imageName": "grafana/grafana", "visibility": "PUBLIC", "ownerType": "platform", "displayRef": "grafana/grafana:10"}], "total_count": 1}

[new]
GET /images?search=grafana
200 {"data": [], "total_count": 0}
"#;

/// Requests for images and for builds of contexts. `BUILD` is the ID of a build whose context is
/// uploaded.
const IMAGES: &str = r#"
[oa] [doc]
GET /images/build/BUILD
200 {"id": "<string>", "imageName": "app", "imageTag": "v1", "status": "<string>", "createdAt": "<string>", "artifacts": [{"artifactType": "VM_SANDBOX", "status": "<string>"}]}

[oa] [new]
POST /images/build/BUILD/start {"context_uploaded": true}
200 {"status": "<string>"}

[inf]
POST /images/build/BUILD/start {"context_uploaded": true}
400 {"detail": "<string>"}

[inf]
POST /images/build/none/start {"context_uploaded": true}
404 {"detail": "<string>"}

[oa]
GET /images/build/none
404 {"detail": "<string>"}

[doc]
PATCH /images {"mode": "explicit", "updates": [{"source": {"owner": {"type": "personal"}, "name": "no", "tag": "v1"}, "set": {"tag": "v2"}}]}
200 {"success": false, "dryRun": false, "results": [{"success": false, "error": {"code": "image_not_found", "message": "<string>"}}]}

[cli]
DELETE /images/no/v1
404 {"detail": "<string>"}

[doc], once the build is complete
PATCH /images {"mode": "explicit", "updates": [{"source": {"owner": {"type": "personal"}, "name": "app", "tag": "v1"}, "set": {"tag": "v2", "visibility": "PUBLIC"}}]}
200 {"success": true, "results": [{"success": true, "before": {"owner": {"type": "personal"}, "name": "app", "tag": "v1", "visibility": "PRIVATE"}, "after": {"tag": "v2", "visibility": "PUBLIC"}}]}

[oa]
DELETE /images/app/v2
200 {"success": true, "message": "<string>"}

[cli]
GET /user/whoami
200 {"data": {"id": "<string>", "slug": "<string>"}}
"#;

/// Requests for Docker Hub sources that the provider's client never sends, as it refuses them.
const STRICT: &str = r#"
[new]
POST /images/build {"sourceImage": "redis:7", "image_name": "r", "image_tag": "7"}
400 {"detail": "Docker Hub source builds do not accept a custom destination"}

[new]
POST /images/build {"sourceImage": "redis:7", "image_tag": "7"}
400 {"detail": "Docker Hub source builds do not accept a custom destination"}

[new]
POST /images/build {"sourceImage": "redis:7", "teamId": "t1"}
400 {"detail": "Docker Hub source builds do not accept team_id"}

[new]
POST /images/build {"sourceImage": "redis:7", "visibility": "PRIVATE"}
400 {"detail": "Docker Hub source builds must be public"}

?
POST /images/build {"sourceImage": "redis:7", "visibility": "INHERIT"}
201 {"fullImagePath": "redis:7"}
"#;

/// The same requests, if the service ignores what does not fit.
const OVERRIDE: &str = r#"
?
POST /images/build {"sourceImage": "redis:7", "image_name": "r", "image_tag": "7"}
201 {"fullImagePath": "redis:7", "visibility": "PUBLIC"}

?
POST /images/build {"sourceImage": "redis:7", "teamId": "t1"}
201 {"fullImagePath": "redis:7", "visibility": "PUBLIC"}

?
POST /images/build {"sourceImage": "redis:7", "visibility": "PRIVATE"}
201 {"fullImagePath": "redis:7", "visibility": "PUBLIC"}
"#;

/// Requests of an account that is no admin of the platform.
const NOT_ADMIN: &str = r#"
[new]
POST /images/build {"sourceImage": "redis:7"}
201 {"fullImagePath": "redis:7"}

[seed]
POST /images/build {"sourceImage": "ghcr.io/org/a:v1", "ownerScope": "platform", "visibility": "PUBLIC"}
403 {"detail": "<string>"}

[new]
GET /images?ownerScope=platform
403 {"detail": "<string>"}

[inf], once the build is complete
PATCH /images {"mode": "explicit", "updates": [{"source": {"owner": {"type": "platform"}, "name": "redis", "tag": "7"}, "set": {"tag": "8"}}]}
200 {"success": false, "results": [{"success": false, "error": {"code": "forbidden"}}]}

[inf]
DELETE /images/redis/7?ownerScope=platform
403 {"detail": "<string>"}
"#;

/// Requests over the rate of source builds. A Docker Hub source is on the account's limit too; an
/// admin's transfer to the platform from another registry is not.
const RATE: &str = r#"
[t]
POST /images/build {"source_image": "ghcr.io/o/a,ghcr.io/o/b,ghcr.io/o/c,ghcr.io/o/d,ghcr.io/o/e,ghcr.io/o/f,ghcr.io/o/g,ghcr.io/o/h,ghcr.io/o/i"}
201 {"results": [{"error": null}, {"error": null}, {"error": null}, {"error": null}, {"error": null}, {"error": null}, {"error": null}, {"error": null}, {"error": null}]}

[t]
POST /images/build {"source_image": "ghcr.io/o/j,ghcr.io/o/k"}
201 {"results": [{"error": null}, {"build": null, "error": "Source image build rate limit exceeded: 10/10 images", "retryable": true}]}

[t]
POST /images/build {"source_image": "ghcr.io/o/k"}
429 {"detail": "Source image build rate limit exceeded: 10/10 images"}

[new]
POST /images/build {"source_image": "redis:7"}
429 {"detail": "Source image build rate limit exceeded: 10/10 images"}

[new]
POST /images/build {"source_image": "ghcr.io/o/k", "owner_scope": "platform", "visibility": "PUBLIC"}
201 {"fullImagePath": "o/k:latest"}
"#;

/// Listings that show storage paths.
const VM_PATHS: &str = r#"
[t]
POST /images/build {"source_image": "ghcr.io/org/x:v1"}
201 {"fullImagePath": "*/x:v1"}

[t]
GET /images
200 {"data": [{"fullImagePath": "vm/x:v1", "displayRef": "*/x:v1"}]}
"#;

/// Returns the configuration of a server of November 2026.
fn november() -> ServerConfig {
    ServerConfig {
        api: ApiVersion::November2026,
        token: ApiKey::new("key"),
        ..ServerConfig::default()
    }
}

#[tokio::test]
async fn sources_and_images_are_as_the_contract_has_them() {
    hold(SOURCES, november(), &[]).await;
    hold(IMAGES, november(), &[]).await;
    hold(RATE, november(), &[]).await;
}

#[tokio::test]
async fn each_reading_of_what_is_not_known_has_a_switch() {
    let strict = ServerConfig { docker_hub: DockerHub::Strict, ..november() };
    hold(STRICT, strict, &["--hub", "strict"]).await;
    hold(OVERRIDE, november(), &["--hub", "override"]).await;
    hold(NOT_ADMIN, ServerConfig { admin: false, ..november() }, &["--not-admin"]).await;
    hold(VM_PATHS, ServerConfig { vm_paths: true, ..november() }, &["--vm-path"]).await;
}

/// Holds facts against the local server, and against the stand-in if there is one.
async fn hold(facts: &str, config: ServerConfig, switches: &[&str]) {
    let service = Service::start(config).await;
    check(facts, &service.server.url()).await;
    if let Some(command) = std::env::var_os("IMGPLAN_STAND_IN") {
        let dir = tempfile::tempdir().unwrap();
        let stand_in = StandIn::start(Path::new(&command), switches, dir.path());
        check(facts, &stand_in.url).await;
    }
}

async fn check(facts: &str, url: &str) {
    let client = Client { http: http_client(), url: url.to_owned() };
    let mut build = None;
    for fact in facts.trim().split("\n\n") {
        let [source, request, response] = fact.lines().collect::<Vec<_>>()[..] else {
            panic!("a fact has three lines: {fact}");
        };
        if build.is_none() && request.contains("BUILD") {
            build = Some(client.uploaded_build().await);
        }
        if source.ends_with("once the build is complete") {
            client.wait_for_builds().await;
        }
        let request = request.replace("BUILD", build.as_deref().unwrap_or_default());
        let (status, answer) = client.send(&request).await;
        let shown = format!("{url} {fact}\ngot {status} {answer:#}");
        let (expected, pattern) = response.split_once(' ').unwrap();
        assert_eq!(status.to_string(), expected, "{shown}");
        let difference = difference(&serde_json::from_str(pattern).unwrap(), &answer);
        assert_eq!(difference, None, "{shown}");
    }
}

struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    /// Sends a request: method, path, and a body if there is one.
    async fn send(&self, request: &str) -> (u16, Value) {
        let mut parts = request.splitn(3, ' ');
        let method: Method = parts.next().unwrap().parse().unwrap();
        let url = format!("{}/api/v1{}", self.url, parts.next().unwrap());
        let mut request = self.http.request(method, url).bearer_auth("key");
        if let Some(body) = parts.next() {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
    }

    /// Creates a build as the provider's client does, and uploads its context.
    async fn uploaded_build(&self) -> String {
        let body = r#"{"image_name": "app", "image_tag": "v1", "platform": "linux/amd64"}"#;
        let (status, build) = self.send(&format!("POST /images/build {body}")).await;
        assert_eq!(status, 201, "{build}");
        let pattern = json!({
            "build_id": "<string>", "upload_url": "<string>", "expires_in": "<integer>",
            "fullImagePath": "*/app:v1", "visibility": "PRIVATE",
        });
        assert_eq!(difference(&pattern, &build), None, "{build}");
        let context = archive(&[("Dockerfile", "FROM scratch\n")]);
        let upload = self.http.put(build["upload_url"].as_str().unwrap()).body(context);
        assert_eq!(upload.send().await.unwrap().status(), 200);
        build["build_id"].as_str().unwrap().to_owned()
    }

    /// Waits until no build is active.
    async fn wait_for_builds(&self) {
        loop {
            let (_, page) = self.send("GET /images/builds").await;
            let ended = |build: &Value| build["status"] == "COMPLETED";
            if page["data"].as_array().unwrap().iter().all(ended) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Compares a value with a pattern. An object may have more fields than its pattern; `<string>` and
/// `<integer>` stand for any such value, and `*` at an end of a string for any text.
fn difference(pattern: &Value, value: &Value) -> Option<String> {
    let fits = match (pattern, value) {
        (Value::Object(fields), Value::Object(_)) => {
            let different = |(key, pattern): (&String, &Value)| {
                let found = value.get(key).map(|value| difference(pattern, value));
                let found = found.unwrap_or_else(|| Some("is missing".to_owned()));
                found.map(|difference| format!("{key}: {difference}"))
            };
            return fields.iter().find_map(different);
        }
        (Value::Array(patterns), Value::Array(values)) if patterns.len() == values.len() => {
            return patterns.iter().zip(values).find_map(|(one, other)| difference(one, other));
        }
        (Value::String(pattern), Value::String(text)) => fits(pattern, text),
        (Value::String(pattern), Value::Number(_)) => pattern == "<integer>",
        (pattern, value) => pattern == value,
    };
    (!fits).then(|| format!("{value} is not {pattern}"))
}

fn fits(pattern: &str, text: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        _ if pattern == "<string>" => !text.is_empty(),
        (Some(_), Some(_)) => text.contains(pattern.trim_matches('*')),
        (Some(end), None) => text.ends_with(end),
        (None, Some(start)) => text.starts_with(start),
        (None, None) => pattern == text,
    }
}

/// Another server of the API in a process of its own.
struct StandIn {
    process: Child,
    url: String,
}

impl StandIn {
    fn start(command: &Path, switches: &[&str], dir: &Path) -> Self {
        let url_file = dir.join("url");
        let process = Command::new(command)
            .args(["--token", "key", "--listen", "127.0.0.1:0", "--url-file"])
            .arg(&url_file)
            .args(switches)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let url = || std::fs::read_to_string(&url_file).unwrap_or_default();
        wait_until("the stand-in listens", || !url().is_empty());
        Self { process, url: url().trim().to_owned() }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
