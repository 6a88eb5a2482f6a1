//! One function per kind of input that is not trusted. Each takes any bytes and panics only if
//! imgplan does, or if one of the properties named in its comment does not hold. The functions of
//! [`generated`] read the bytes as choices and generate documents that are mostly valid.

#![allow(clippy::disallowed_methods, reason = "it reads what it wrote")]

mod choices;
pub mod generated;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use imgplan::test_support::api::{Client, Endpoint, RateLimiter, Transport, TransportError};
use imgplan::test_support::base::name::{BuildId, Owner, Platform};
use imgplan::test_support::base::owner::DefaultOwner;
use imgplan::test_support::base::reference::RegistryRef;
use imgplan::test_support::base::secret::ApiKey;
use imgplan::test_support::context::ignore::IgnorePatterns;
use imgplan::test_support::dockerfile::{Dockerfile, ReachRequest};
use imgplan::test_support::manifest::{Invocation, Workspace};
use imgplan::test_support::plan::SavedPlan;
use imgplan::test_support::registry::{Registries, RegistryConfig};
use imgplan::test_support::state::{decode::decode, encode::encode};
use reqwest::{Request, Response};

/// Reads a Dockerfile. Without replacements its text does not change.
pub fn dockerfile(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(dockerfile) = Dockerfile::parse(text) else { return };
    for platform in [Platform::Amd64, Platform::Arm64] {
        assert!(dockerfile.reach(&ReachRequest::new(platform)).is_ok());
    }
    assert_eq!(dockerfile.with_replaced(&[]), dockerfile.text());
}

/// Reads an ignore file and matches paths against it.
pub fn ignore_file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(patterns) = IgnorePatterns::parse(text) else { return };
    for path in ["a", "a/b", ".git", "src/main.rs", "node_modules/x/y.js", "ä/…"] {
        let _ = patterns.match_path(path);
    }
}

/// Loads a manifest from a folder that holds nothing else.
pub fn manifest(input: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let file = folder.path().join("imgplan.yaml");
    std::fs::write(&file, input).expect("the folder is writable");
    let _ = Workspace::load(&Invocation::file(file), &|_| None);
}

/// Reads a lockfile. What it reads is the same after it was written and read again.
pub fn lockfile(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(decoded) = decode(text) else { return };
    // A lockfile is only written once its conflicts are resolved.
    if !decoded.state.entry_conflicts.is_empty() || !decoded.state.pin_conflicts.is_empty() {
        return;
    }
    let written = encode("https://service", &decoded.state);
    let again = decode(&written).expect("a lockfile that was written can be read");
    assert_eq!(again.state, decoded.state);
}

/// Reads a saved plan. What it reads is the same after it was written and read again.
pub fn saved_plan(input: &[u8]) {
    let Ok(plan) = serde_json::from_slice::<SavedPlan>(input) else { return };
    let written = serde_json::to_string(&plan).expect("a saved plan can be written");
    let again: SavedPlan = serde_json::from_str(&written).expect("and read again");
    assert_eq!(serde_json::to_string(&again).ok(), Some(written));
}

/// Answers every request of the images API client with these bytes.
pub fn service_response(input: &[u8]) {
    let client = client(Arc::new(Answer::new(input)));
    let build = BuildId::new("b-1").expect("the ID is valid");
    let requests = async {
        let _ = client.status(&build).await;
        let _ = client.builds(0).await;
        let _ = client.images(&Owner::Personal, None, 0).await;
    };
    // The client waits for a rate limit as often as the service asks.
    runtime()
        .block_on(async { tokio::time::timeout(Duration::from_secs(600), requests).await.ok() });
}

/// Answers every request of the registry client with these bytes.
pub fn registry_response(input: &[u8]) {
    let transport: Arc<dyn Transport> = Arc::new(Answer::new(input));
    let config =
        RegistryConfig { transport: Some(transport), max_attempts: 1, ..RegistryConfig::default() };
    let registries = Registries::new(config).expect("the transport is given");
    let reference: RegistryRef = "ghcr.io/a/b:v1".parse().expect("the reference is valid");
    runtime().block_on(async {
        let _ = registries.resolve_all(&[(reference, None)], &|_| {}).await;
    });
}

/// Returns a client of the service that sends its requests over `transport`.
fn client(transport: Arc<dyn Transport>) -> Client {
    let endpoint = Endpoint {
        url: "https://service".to_owned(),
        key: ApiKey::new("key"),
        key_from: None,
        owner: DefaultOwner::default(),
    };
    let client = Client::with_transport(&endpoint, RateLimiter::new(&[]), transport);
    client.expect("the endpoint is valid").with_max_attempts(2)
}

/// A runtime whose clock jumps over every wait.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().expect("the runtime starts")
}

/// Gives one response to every request. The first byte of the input chooses status and type.
struct Answer {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
}

impl Answer {
    fn new(input: &[u8]) -> Self {
        let (first, body) = input.split_first().unwrap_or((&0, &[]));
        let statuses = [200, 200, 200, 201, 204, 400, 401, 404, 422, 429, 500, 503];
        let kinds = [
            "application/json",
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.oci.image.manifest.v1+json",
            "text/html",
        ];
        Self {
            status: statuses[usize::from(*first) % statuses.len()],
            kind: kinds[usize::from(*first) / statuses.len() % kinds.len()],
            body: body.to_vec(),
        }
    }
}

impl Transport for Answer {
    fn send(&self, _: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        let response = http::Response::builder()
            .status(self.status)
            .header("content-type", self.kind)
            .header("www-authenticate", "Bearer realm=\"https://ghcr.io/token\",service=\"s\"")
            .body(self.body.clone())
            .expect("the status is valid");
        Box::pin(async { Ok(response.into()) })
    }
}
