//! Answers of registries and their token services.

use std::sync::Arc;

use futures::future::BoxFuture;
use imgplan::test_support::api::{Transport, TransportError};
use imgplan::test_support::base::reference::{OciDigest, RegistryRef};
use imgplan::test_support::registry::{Registries, RegistryConfig, RegistryError};
use reqwest::{Request, Response};
use serde_json::{Value, json};

use crate::choices::{Choices, ODD_TEXTS, ShownOnPanic, assert_printable};
use crate::runtime;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Looks up a reference as for a pin, at a registry that asks for a token. The digest is that of the
/// manifest that the registry sends, the platforms are those of its index, and every error is printable.
pub fn registry_answers(input: &[u8]) -> bool {
    let choices = &mut Choices::new(input);
    let is_index = choices.percent(70);
    let mut manifest = if is_index { index(choices) } else { image_manifest(choices) };
    let is_changed = choices.mutate_json(&mut manifest);
    let mut token = token(choices);
    if choices.percent(10) {
        choices.mutate_json(&mut token);
    }
    let registry = Registry {
        challenges: (0..1 + choices.below(2)).map(|_| challenge(choices)).collect(),
        token: token.to_string(),
        status: if choices.percent(90) { 200 } else { choices.pick(&[404, 429, 500]) },
        kind: if is_index { INDEX } else { MANIFEST },
        digest: match choices.below(10) {
            0 => DigestHeader::Missing,
            1 => DigestHeader::Other,
            2 => DigestHeader::Odd,
            _ => DigestHeader::Right,
        },
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
    let result = runtime().block_on(async {
        let mut results = registries.resolve_all(&[(reference.clone(), None)], &|_| {}).await;
        let resolved = results.pop().expect("there is one result")?;
        if resolved.platforms.is_empty() {
            registries.image_platform(&reference, resolved.digest, &|_| {}).await?;
        }
        Ok::<_, RegistryError>(resolved)
    });
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
        json!(choices.pick(&["t", "a.b-c", "x", "y", "\u{1b}"]));
    let lifetimes =
        [json!(300), json!("300"), json!(0), json!(u64::MAX), json!("soon"), json!(1e300)];
    token["expires_in"] = choices.pick(&lifetimes);
    token["issued_at"] = json!("2026-08-01T10:00:00Z");
    token
}

/// Returns a value of a `WWW-Authenticate` header.
fn challenge(choices: &mut Choices<'_>) -> String {
    let realm = match choices.below(24) {
        0 => "realm=\"http://169.254.169.254/\"",
        1 => "realm=\"file:///etc/passwd\"",
        2 => "realm=\"\"",
        3 => "Realm = \"https:\\/\\/ghcr.io/token\"",
        4 => "realm=https://ghcr.io/token",
        5 => "REALM=\"https://ghcr.io/token?x=1\"",
        _ => "realm=\"https://ghcr.io/token\"",
    };
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
    if choices.percent(60) {
        return header;
    }
    choices.mutated(&header, &["\"", ",", "=", "\\", "Basic", &odd]).replace(['\n', '\r'], " ")
}

#[derive(Debug, Clone, Copy)]
enum DigestHeader {
    Right,
    Missing,
    /// The digest of another manifest.
    Other,
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
            DigestHeader::Other => Some(OciDigest::of(b"other").to_string()),
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
