//! Answers of registries and their token services.

use std::sync::Arc;

use futures::future::BoxFuture;
use imgplan::test_support::api::{Transport, TransportError};
use imgplan::test_support::base::reference::{OciDigest, RegistryRef};
use imgplan::test_support::registry::{Registries, RegistryConfig};
use reqwest::{Request, Response};
use serde_json::{Value, json};

use crate::choices::{Choices, ODD_TEXTS, ShownOnPanic, assert_printable};
use crate::runtime;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Looks up a reference at a registry that asks for a token. The digest is that of the manifest that
/// the registry sends, the platforms are those of its index, and every error is printable.
pub fn registry_answers(input: &[u8]) -> bool {
    let choices = &mut Choices::new(input);
    let is_index = choices.percent(70);
    let mut manifest = if is_index { index(choices) } else { image_manifest(choices) };
    let is_changed = choices.mutate_json(&mut manifest);
    let mut token = token(choices);
    choices.mutate_json(&mut token);
    let registry = Registry {
        challenges: (0..1 + choices.below(2)).map(|_| challenge(choices)).collect(),
        token: token.to_string(),
        status: choices.pick(&[200, 200, 200, 200, 200, 404, 429, 500]),
        kind: if is_index { INDEX } else { MANIFEST },
        digest: choices.pick(&[DigestHeader::Right, DigestHeader::Missing, DigestHeader::Odd]),
        body: manifest.to_string(),
    };
    let shown = format!("{registry:#?}");
    let _shown = ShownOnPanic(&shown);
    let body = registry.body.clone();
    let transport: Arc<dyn Transport> = Arc::new(registry);
    let config =
        RegistryConfig { transport: Some(transport), max_attempts: 1, ..RegistryConfig::default() };
    let registries = Registries::new(config).expect("the transport is given");
    let reference: RegistryRef = "ghcr.io/a/b:v1".parse().expect("the reference is valid");
    let lookup = async { registries.resolve_all(&[(reference, None)], &|_| {}).await };
    let result = runtime().block_on(lookup).pop().expect("there is one result");
    match result {
        Ok(resolved) => {
            assert_eq!(resolved.digest, OciDigest::of(body.as_bytes()));
            let document: Value = serde_json::from_str(&body).expect("the body is JSON");
            for digest in resolved.platforms.values() {
                let named = document["manifests"].as_array().into_iter().flatten();
                let mut named = named.filter_map(|entry| entry["digest"].as_str());
                assert!(named.any(|text| text == digest.to_string()), "{digest}");
            }
            let images = expected_platforms(&document);
            assert!(is_changed || resolved.platforms.len() == images, "{resolved:?}");
            true
        }
        Err(error) => {
            assert_printable(&error.to_string());
            assert_printable(&error.message);
            assert_printable(&error.help);
            assert!(!error.message.is_empty());
            false
        }
    }
}

/// Returns the number of the service's platforms in an index.
fn expected_platforms(index: &Value) -> usize {
    let has = |architecture: &str| {
        let entries = index["manifests"].as_array();
        entries.into_iter().flatten().any(|entry| {
            entry["platform"]["os"] == "linux" && entry["platform"]["architecture"] == architecture
        })
    };
    usize::from(has("amd64")) + usize::from(has("arm64"))
}

fn index(choices: &mut Choices<'_>) -> Value {
    let mut entries = Vec::new();
    for number in 0..1 + choices.below(4) {
        let digest = OciDigest::of(&[u8::try_from(number).unwrap_or_default()]).to_string();
        let platform = choices.pick(&[
            json!({ "os": "linux", "architecture": "amd64" }),
            json!({ "os": "linux", "architecture": "arm64", "variant": "v8" }),
            json!({ "os": "linux", "architecture": "arm", "variant": "v7" }),
            json!({ "os": "unknown", "architecture": "unknown" }),
            json!({ "os": "windows", "architecture": "amd64", "os.version": "10" }),
            Value::Null,
        ]);
        entries.push(json!({ "digest": digest, "size": 7, "platform": platform }));
    }
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries })
}

fn image_manifest(choices: &mut Choices<'_>) -> Value {
    let digest = choices.pick(&[OciDigest::of(b"config").to_string(), "sha512:00".to_owned()]);
    json!({ "schemaVersion": 2, "config": { "digest": digest, "size": 3 }, "layers": [] })
}

fn token(choices: &mut Choices<'_>) -> Value {
    let mut token = json!({});
    token[choices.pick(&["token", "access_token"])] =
        json!(choices.pick(&["t", "a.b-c", "\u{1b}"]));
    let lifetimes =
        [json!(300), json!("300"), json!(0), json!(u64::MAX), json!("soon"), json!(1e300)];
    token["expires_in"] = choices.pick(&lifetimes);
    token["issued_at"] = json!("2026-08-01T10:00:00Z");
    token
}

/// Returns a value of a `WWW-Authenticate` header.
fn challenge(choices: &mut Choices<'_>) -> String {
    let realm = choices.pick(&[
        "realm=\"https://ghcr.io/token\"",
        "Realm = \"https:\\/\\/ghcr.io/token\"",
        "realm=https://ghcr.io/token",
        "realm=\"http://169.254.169.254/\"",
        "realm=\"file:///etc/passwd\"",
        "realm=\"\"",
    ]);
    let service =
        choices.pick(&[",service=\"s\"", "", ", service=s", ",service=\"a,b=\\\"c\\\"\""]);
    let scope = choices.pick(&[
        ",scope=\"repository:a/b:pull\"",
        "",
        ",scope=\"  \"",
        ",scope=\"repository:a/b:pull repository:c/d:pull\"",
    ]);
    let header = match choices.below(6) {
        4 => format!("Basic realm=\"x\", Bearer {realm}{service}{scope}"),
        5 => format!("Negotiate a==, bearer {realm}{scope}{service}"),
        _ => format!("Bearer {realm}{service}{scope}"),
    };
    let odd: String =
        choices.pick(&ODD_TEXTS).chars().filter(|c| (' '..='~').contains(c)).collect();
    choices.mutated(&header, &["\"", ",", "=", "\\", "Basic", &odd]).replace(['\n', '\r'], " ")
}

#[derive(Debug, Clone, Copy)]
enum DigestHeader {
    Right,
    Missing,
    Odd,
}

#[derive(Debug)]
struct Registry {
    challenges: Vec<String>,
    token: String,
    status: u16,
    kind: &'static str,
    digest: DigestHeader,
    body: String,
}

impl Registry {
    fn answer(&self, request: &Request) -> http::Response<String> {
        let response = http::Response::builder();
        if request.url().path().starts_with("/token") {
            let response = response.header("content-type", "application/json");
            return response.body(self.token.clone()).expect("the headers are valid");
        }
        if !request.headers().contains_key("authorization") {
            let mut response = response.status(401);
            for challenge in &self.challenges {
                if let Ok(value) = http::HeaderValue::from_str(challenge) {
                    response = response.header("www-authenticate", value);
                }
            }
            return response.body(String::new()).expect("the headers are valid");
        }
        let digest = match self.digest {
            DigestHeader::Right => Some(OciDigest::of(self.body.as_bytes()).to_string()),
            DigestHeader::Missing => None,
            DigestHeader::Odd => Some("sha256:x".to_owned()),
        };
        let mut response = response.status(self.status).header("content-type", self.kind);
        if let Some(digest) = digest {
            response = response.header("docker-content-digest", digest);
        }
        response.body(self.body.clone()).expect("the headers are valid")
    }
}

impl Transport for Registry {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        let response = self.answer(&request);
        Box::pin(async move { Ok(response.into()) })
    }
}
