//! Tests of the registry client with a real registry (Debian's package, if it is installed), behind a
//! proxy that requires tokens, removes headers, answers with errors and breaks connections.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use axum::response::Response;
use imgplan::test_support::base::name::Platform;
use imgplan::test_support::base::reference::{OciDigest, RegistryRef};
use imgplan::test_support::http::Notice;
use imgplan::test_support::registry::{
    Credentials, Registries, RegistryConfig, RegistryError, RegistryErrorKind, Resolved,
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Front, FrontSeen, Registry, answer, digest};

/// A registry client with its own runtime, as in a process of its own.
struct RegistryClient {
    runtime: tokio::runtime::Runtime,
    registries: Registries,
}

impl RegistryClient {
    fn new() -> Self {
        Self::with(Credentials::none())
    }

    fn with(credentials: Credentials) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let registries =
            Registries::new(RegistryConfig { credentials, ..RegistryConfig::default() }).unwrap();
        Self { runtime, registries }
    }

    fn resolve(&self, address: &str, image: &str) -> Result<Resolved, RegistryError> {
        self.resolve_known(address, image, None)
    }

    fn resolve_known(
        &self,
        address: &str,
        image: &str,
        known: Option<&Resolved>,
    ) -> Result<Resolved, RegistryError> {
        let reference: RegistryRef = format!("{address}/{image}").parse().unwrap();
        self.resolve_all(&[(reference, known.cloned())], &|_| ()).remove(0)
    }

    fn resolve_all(
        &self,
        references: &[(RegistryRef, Option<Resolved>)],
        observer: &(dyn Fn(Notice) + Sync),
    ) -> Vec<Result<Resolved, RegistryError>> {
        self.runtime.block_on(self.registries.resolve_all(references, observer))
    }
}

/// A registry with two images.
struct FilledRegistry {
    registry: Registry,
    /// Digest of `app:1`, an index.
    index: OciDigest,
    /// Digests of its manifests.
    amd64: OciDigest,
    arm64: OciDigest,
    /// Digest of `tools/one:latest`, a manifest.
    one: OciDigest,
}

fn filled() -> Option<FilledRegistry> {
    let registry = Registry::start()?;
    let mut layout = registry.layout("layout");
    let amd64 = layout.image("linux/amd64", "for amd64");
    let arm64 = layout.image("linux/arm64/v8", "for arm64");
    let arm = layout.image("linux/arm/v7", "for arm");
    let attestation = layout.attestation(&amd64);
    let index = layout.index(&[&arm, &amd64, &arm64, &attestation]);
    let one = layout.name("one", &layout.image("linux/amd64", "one"));
    let filled = FilledRegistry {
        index: layout.name("many", &index),
        amd64: digest(&amd64),
        arm64: digest(&arm64),
        one,
        registry,
    };
    filled.registry.push(&layout, "many", "app:1");
    filled.registry.push(&layout, "one", "tools/one:latest");
    Some(filled)
}

impl FilledRegistry {
    fn address(&self) -> &str {
        &self.registry.address
    }

    fn front(&self) -> Front {
        Front::of(self.address())
    }

    /// Asserts that the result is that of `app:1`.
    #[track_caller]
    fn assert_app(&self, resolved: &Resolved) {
        assert_eq!(resolved.digest, self.index);
        let platforms = [(Platform::Amd64, self.amd64), (Platform::Arm64, self.arm64)];
        assert_eq!(resolved.platforms, platforms.into());
    }
}

/// Asserts that a lookup failed with a message, without secrets. Returns its message and help.
#[track_caller]
fn fails(
    result: Result<Resolved, RegistryError>,
    kind: RegistryErrorKind,
    message: &str,
) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.contains(message), "{error}");
    let text = format!("{error}\n{}", error.help);
    assert!(!text.contains("p4ss"), "{text}");
    text
}

#[test]
fn manifests_and_indexes_are_resolved() {
    let Some(filled) = filled() else { return };
    let (address, client) = (filled.address(), RegistryClient::new());
    let app = client.resolve(address, "app:1").unwrap();
    filled.assert_app(&app);
    assert_eq!(client.resolve(address, &format!("app@{}", filled.index)), Ok(app));
    let one = client.resolve(address, "tools/one").unwrap();
    assert_eq!((one.digest, one.platforms.len()), (filled.one, 0));
    let amd64 = client.resolve(address, &format!("app@{}", filled.amd64)).unwrap();
    assert_eq!(amd64.digest, filled.amd64);

    let mut layout = filled.registry.layout("docker");
    layout.name("docker", &layout.image("linux/arm64", "in Docker's format"));
    let docker = filled.registry.push_as_docker(&layout, "docker", "docker:1");
    assert_eq!(client.resolve(address, "docker:1").unwrap().digest, docker);
}

#[test]
fn missing_references_are_not_found() {
    let Some(filled) = filled() else { return };
    let (address, client) = (filled.address(), RegistryClient::new());
    let not_found = RegistryErrorKind::NotFound;
    fails(client.resolve(address, "app:2"), not_found, "no such tag");
    // The registry returns the same code for a missing repository.
    fails(client.resolve(address, "other:1"), not_found, "no such tag or repository");
    let digest = format!("app@{}", OciDigest::of(b"nowhere"));
    let text = fails(client.resolve(address, &digest), not_found, "no such digest");
    assert!(text.starts_with(&format!("{address}/{digest}: ")), "{text}");
}

#[test]
fn an_unchanged_tag_takes_one_head_and_a_moved_tag_is_noticed() {
    let Some(filled) = filled() else { return };
    let (front, client) = (filled.front(), RegistryClient::new());
    let app = client.resolve(&front.address, "app:1").unwrap();
    let get = format!("GET /v2/app/manifests/{}", filled.index);
    assert_eq!(front.lines(), ["HEAD /v2/app/manifests/1", &get]);
    let again = client.resolve_known(&front.address, "app:1", Some(&app)).unwrap();
    assert_eq!((again, front.lines()), (app.clone(), vec!["HEAD /v2/app/manifests/1".to_owned()]));
    client.resolve(&front.address, "tools/one").unwrap();
    assert_eq!(front.lines(), ["HEAD /v2/tools/one/manifests/latest"], "one manifest: no GET");

    let mut layout = filled.registry.layout("moved");
    let amd64 = layout.image("linux/amd64", "moved");
    let moved = layout.name("moved", &layout.index(&[&amd64]));
    filled.registry.push(&layout, "moved", "app:1");
    let resolved = client.resolve_known(&front.address, "app:1", Some(&app)).unwrap();
    assert_eq!(resolved.digest, moved);
    assert_eq!(resolved.platforms, [(Platform::Amd64, digest(&amd64))].into());
}

#[test]
fn each_reference_is_looked_up_once() {
    let Some(filled) = filled() else { return };
    let (front, client) = (filled.front(), RegistryClient::new());
    let reference = |image: &str| format!("{}/{image}", front.address).parse().unwrap();
    let known = Resolved { digest: filled.one, platforms: [].into() };
    let references = [
        (reference("tools/one"), Some(known)),
        (reference("app:1"), None),
        (reference("nothing:1"), None),
        (reference("tools/one:latest"), None),
    ];
    let notices = Mutex::new(Vec::new());
    let observer = |notice| notices.lock().unwrap().push(notice);
    let results = client.resolve_all(&references, &observer);
    assert_eq!(results[0].as_ref().unwrap().digest, filled.one);
    filled.assert_app(results[1].as_ref().unwrap());
    assert_eq!(results[2].as_ref().unwrap_err().kind, RegistryErrorKind::NotFound);
    assert_eq!(results[3], results[0]);
    let requests = front.lines().iter().filter(|line| line.contains("/one/")).count();
    assert_eq!(requests, 1);
    let notices = notices.into_inner().unwrap();
    let last = notices.last();
    assert!(matches!(last, Some(Notice::LookupDone { done: 3, total: 3, .. })), "{last:?}");
}

#[test]
fn missing_headers_and_methods_are_replaced_by_get() {
    let Some(filled) = filled() else { return };
    let is_head = |seen: &FrontSeen| seen.line.starts_with("HEAD ");
    let without_digest = filled.front().afterwards(|_, mut answer| {
        answer.headers_mut().remove("docker-content-digest");
        answer
    });
    let without_type = filled.front().afterwards(|_, mut answer| {
        answer.headers_mut().remove("content-type");
        answer
    });
    let only_get = |status: u16| {
        filled.front().instead(move |seen| is_head(seen).then(|| answer(status, &[], "")))
    };
    for front in [without_digest, without_type, only_get(405), only_get(404), only_get(501)] {
        let client = RegistryClient::new();
        let app = client.resolve(&front.address, "app:1").unwrap();
        filled.assert_app(&app);
        assert_eq!(client.resolve(&front.address, "tools/one").unwrap().digest, filled.one);
        assert_eq!(client.resolve_known(&front.address, "app:1", Some(&app)), Ok(app));
        let missing = client.resolve(&front.address, "app:2");
        fails(missing, RegistryErrorKind::NotFound, "no such tag");
    }
}

#[test]
fn a_wrong_digest_is_an_error() {
    let Some(filled) = filled() else { return };
    let other = OciDigest::of(b"other").to_string();
    let wrong_header = |which: &'static str| {
        let other = other.clone();
        filled.front().afterwards(move |seen, mut answer| {
            if seen.line.starts_with(which) {
                let headers = answer.headers_mut();
                headers.insert("docker-content-digest", other.parse().unwrap());
            }
            answer
        })
    };
    let other_body = || {
        filled.front().instead(|seen| {
            let media_type = ("content-type", "application/vnd.oci.image.index.v1+json");
            let is_get = seen.line.starts_with("GET ");
            is_get.then(|| answer(200, &[media_type], r#"{"schemaVersion":2,"manifests":[]}"#))
        })
    };
    let client = RegistryClient::new();
    let by_digest = format!("tools/one@{}", filled.one);
    for (front, image) in [
        (wrong_header("GET "), "app:1"),
        (other_body(), "app:1"),
        (wrong_header("HEAD "), &by_digest),
    ] {
        let unexpected = RegistryErrorKind::Unexpected;
        fails(client.resolve(&front.address, image), unexpected, "the expected digest");
    }
    // The registry does not have the index whose digest the HEAD returned.
    let result = client.resolve(&wrong_header("HEAD ").address, "app:1");
    fails(result, RegistryErrorKind::NotFound, "no such tag");
}

#[test]
fn a_429_is_waited_out_unless_the_wait_is_too_long() {
    let Some(filled) = filled() else { return };
    let mut remaining = 2;
    let front = filled.front().instead(move |_| {
        remaining -= i32::from(remaining >= 0);
        (remaining >= 0).then(|| answer(429, &[("retry-after", "1")], ""))
    });
    let client = RegistryClient::new();
    let references = [(format!("{}/app:1", front.address).parse().unwrap(), None)];
    let notices = Mutex::new(Vec::new());
    let observer = |notice| notices.lock().unwrap().push(notice);
    let results = client.resolve_all(&references, &observer);
    filled.assert_app(results[0].as_ref().unwrap());
    let notices = notices.into_inner().unwrap();
    let pauses =
        notices.iter().filter(|notice| matches!(notice, Notice::RegistryPaused { .. })).count();
    assert_eq!((pauses, front.lines().len()), (2, 4));

    let closed = filled.front().instead(|_| Some(answer(429, &[("retry-after", "3600")], "")));
    let limited = RegistryErrorKind::RateLimited;
    for _ in 0..3 {
        fails(client.resolve(&closed.address, "app:1"), limited, "asks to wait 3600 s");
    }
    assert_eq!(closed.lines().len(), 1, "no request is sent during the wait");
}

#[test]
fn broken_connections_are_retried_and_unreachable_hosts_fail() {
    let Some(filled) = filled() else { return };
    let front = filled.front().breaking(2);
    filled.assert_app(&RegistryClient::new().resolve(&front.address, "app:1").unwrap());
    assert_eq!(front.unbroken(), 0);

    let dead = filled.front().breaking(1000);
    let references: Vec<_> =
        (0..100).map(|n| (format!("{}/app:{n}", dead.address).parse().unwrap(), None)).collect();
    for result in RegistryClient::new().resolve_all(&references, &|_| ()) {
        fails(result, RegistryErrorKind::Unreachable, &dead.address);
    }
    // Eight concurrent requests with three attempts each.
    let attempts = 1000 - dead.unbroken();
    assert!(attempts <= 24, "{attempts} connections");

    // A port on which no server listens any more.
    let closed = filled.front().address.clone();
    let result = RegistryClient::new().resolve(&closed, "app:1");
    fails(result, RegistryErrorKind::Unreachable, &closed);
}

#[test]
fn an_incomplete_body_is_fetched_again() {
    let Some(filled) = filled() else { return };
    let breaks = Mutex::new(1);
    let front = filled.front().afterwards(move |seen, response| {
        let mut breaks = breaks.lock().unwrap();
        if *breaks == 0 || !seen.line.starts_with("GET ") {
            return response;
        }
        *breaks -= 1;
        let (head, _) = response.into_parts();
        let chunks = [Ok("{"), Err(std::io::Error::other("connection lost"))];
        let body = axum::body::Body::from_stream(futures::stream::iter(chunks));
        Response::from_parts(head, body)
    });
    filled.assert_app(&RegistryClient::new().resolve(&front.address, "app:1").unwrap());
    assert_eq!(front.lines().len(), 3);
}

/// Returns a proxy that requires tokens. Its token service returns one if the request contains one of
/// `secrets`. The first token is valid for `uses` requests, later ones without limit.
fn with_tokens(filled: &FilledRegistry, secrets: &'static [&'static str], mut uses: i32) -> Front {
    let mut tokens: i32 = 0;
    let mut uses_left = 0;
    let mut address = None;
    filled.front().instead(move |seen| {
        let host = seen.headers["host"].to_str().unwrap().to_owned();
        let own = address.get_or_insert(host).clone();
        if seen.line.starts_with("GET /token?") || seen.line == "POST /token" {
            let login = format!("{}{}", seen.authorization(), seen.body);
            if !secrets.iter().any(|secret| login.contains(secret)) {
                let body = json!({"details": format!("unknown login {login}")}).to_string();
                return Some(answer(401, &[], &body));
            }
            tokens += 1;
            uses_left = uses;
            uses = i32::MAX;
            let token = json!({"access_token": format!("token-{tokens}"), "expires_in": 300});
            return Some(answer(200, &[], token.to_string()));
        }
        if uses_left > 0 && seen.authorization() == format!("Bearer token-{tokens}") {
            uses_left -= 1;
            return None;
        }
        let challenge =
            format!("Basic realm=\"x\", Bearer realm=\"http://{own}/token\",service=\"reg\"");
        Some(answer(401, &[("www-authenticate", &challenge)], ""))
    })
}

/// The `Authorization` header for `ann` with the password `p4ssword`.
const ANN: &str = "Basic YW5uOnA0c3N3b3Jk";

/// Creates a `config.json` in a new folder.
fn docker_config(config: &serde_json::Value) -> (TempDir, Credentials) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let env = |name: &str| match name {
        "DOCKER_CONFIG" | "PATH" => Some(OsString::from(dir.path())),
        _ => None,
    };
    let credentials = Credentials::from_env(&env, Some(Path::new("/nowhere")));
    (dir, credentials)
}

/// Creates a credential helper in the folder.
fn create_helper(dir: &TempDir, script: &str) {
    let (from, to) = (dir.path().join("script"), dir.path().join("docker-credential-test"));
    fs::write(&from, format!("#!/bin/sh\n{script}\n")).unwrap();
    // `install` writes the program, and not this process: if a child process of another test inherited
    // the open file, running the program would fail with ETXTBSY.
    let mut install = std::process::Command::new("install");
    assert!(install.arg("-m755").args([from, to]).status().unwrap().success());
}

#[test]
fn anonymous_tokens_are_used() {
    let Some(filled) = filled() else { return };
    let (front, client) = (with_tokens(&filled, &[""], i32::MAX), RegistryClient::new());
    filled.assert_app(&client.resolve(&front.address, "app:1").unwrap());
    let token = "GET /token?service=reg&scope=repository%3Aapp%3Apull";
    let seen = front.lines();
    assert_eq!(seen[..3], ["HEAD /v2/app/manifests/1", token, "HEAD /v2/app/manifests/1"]);
    assert_eq!(seen.len(), 4);
    // Another repository needs its own token; the challenge is cached.
    client.resolve(&front.address, "tools/one").unwrap();
    let token = "GET /token?service=reg&scope=repository%3Atools%2Fone%3Apull";
    assert_eq!(front.lines(), [token, "HEAD /v2/tools/one/manifests/latest"]);
}

#[test]
fn an_expired_token_is_fetched_again() {
    let Some(filled) = filled() else { return };
    // The token is valid for the HEAD but not for the GET, despite its `expires_in`.
    let (front, client) = (with_tokens(&filled, &[""], 1), RegistryClient::new());
    filled.assert_app(&client.resolve(&front.address, "app:1").unwrap());
    let tokens = front.lines().iter().filter(|line| line.contains("/token")).count();
    assert_eq!(tokens, 2);
}

#[test]
fn credentials_of_a_file_are_used() {
    let Some(filled) = filled() else { return };
    let front = with_tokens(&filled, &[ANN], i32::MAX);
    let auth = |auth: &str| json!({"auths": {(&*front.address): {"auth": auth}}});
    let denied = RegistryErrorKind::Denied;

    let result = RegistryClient::new().resolve(&front.address, "app:1");
    let text = fails(result, denied, "no token without credentials");
    assert!(text.contains(&format!("docker login {}", front.address)), "{text}");

    let (_dir, good) = docker_config(&auth("YW5uOnA0c3N3b3Jk"));
    let client = RegistryClient::with(good);
    front.seen();
    filled.assert_app(&client.resolve(&front.address, "app:1").unwrap());
    let authorization = |seen: &FrontSeen| seen.authorization().to_owned();
    let authorizations: Vec<_> = front.seen().iter().map(authorization).collect();
    assert_eq!(authorizations, ["", ANN, "Bearer token-1", "Bearer token-1"]);

    // `ann:p4ss-wrong`. The response contains it; the error message does not.
    let (_dir, wrong) = docker_config(&auth("YW5uOnA0c3Mtd3Jvbmc="));
    let result = RegistryClient::with(wrong).resolve(&front.address, "app:1");
    let text = fails(result, denied, "rejects the credentials");
    assert!(text.contains("unknown login Basic [hidden]"), "{text}");

    // Credentials of another registry are not sent.
    let (_dir, other) =
        docker_config(&json!({"auths": {"localhost:1": {"auth": "YW5uOnA0c3N3b3Jk"}}}));
    front.seen();
    let result = RegistryClient::with(other).resolve(&front.address, "app:1");
    fails(result, denied, "no token without credentials");
    assert!(front.seen().iter().all(|seen| seen.authorization().is_empty()));
}

#[test]
fn credentials_of_a_helper_are_used() {
    const FORM: &str = "&refresh_token=p4ss-identity";
    let Some(filled) = filled() else { return };
    let front = with_tokens(&filled, &[ANN, FORM], i32::MAX);
    let own = json!({"credHelpers": {(&*front.address): "test"}});
    let store = json!({"credsStore": "test"});
    for config in [&own, &store] {
        let (dir, credentials) = docker_config(config);
        let server = &front.address;
        create_helper(
            &dir,
            &format!(
                "read -r server\n[ \"$1 $server\" = 'get {server}' ] || exit 1\n\
                 echo called >>'{}'\n\
                 echo '{{\"ServerURL\":\"x\",\"Username\":\"ann\",\"Secret\":\"p4ssword\"}}'",
                dir.path().join("calls").display()
            ),
        );
        let client = RegistryClient::with(credentials);
        filled.assert_app(&client.resolve(&front.address, "app:1").unwrap());
        client.resolve(&front.address, "tools/one").unwrap();
        let calls = fs::read_to_string(dir.path().join("calls")).unwrap();
        assert_eq!(calls, "called\n", "called once");
    }

    let (dir, credentials) = docker_config(&store);
    create_helper(&dir, r#"echo '{"Username":"<token>","Secret":"p4ss-identity"}'"#);
    filled.assert_app(&RegistryClient::with(credentials).resolve(&front.address, "app:1").unwrap());
    assert!(front.lines().contains(&"POST /token".to_owned()));
}

#[test]
fn a_failed_helper_does_not_prevent_anonymous_access() {
    let Some(filled) = filled() else { return };
    let public = with_tokens(&filled, &[""], i32::MAX);
    let private = with_tokens(&filled, &[ANN], i32::MAX);
    let none = "echo 'credentials not found in native keychain'; exit 1";
    let table = [
        (Some(none), "docker login"),
        (Some("echo p4ss-in-a-message; exit 1"), "docker-credential-test failed"),
        (Some("echo p4ss-no-json"), "the output of docker-credential-test is not a credential"),
        (None, "docker-credential-test (from Docker's configuration) is not in PATH"),
    ];
    for (script, help) in table {
        let (dir, credentials) = docker_config(&json!({"credsStore": "test"}));
        if let Some(script) = script {
            create_helper(&dir, script);
        }
        let client = RegistryClient::with(credentials);
        filled.assert_app(&client.resolve(&public.address, "app:1").unwrap());
        let denied = RegistryErrorKind::Denied;
        let result = client.resolve(&private.address, "app:1");
        let text = fails(result, denied, "no token without credentials");
        assert!(text.contains(help), "{text}");
    }
}

#[test]
fn passwords_are_sent_if_a_registry_requires_basic_authentication() {
    let Some(filled) = filled() else { return };
    let front = filled.front().instead(|seen| {
        let challenge = ("www-authenticate", "Basic realm=\"here\"");
        (seen.authorization() != ANN).then(|| answer(401, &[challenge], ""))
    });
    let denied = RegistryErrorKind::Denied;
    let result = RegistryClient::new().resolve(&front.address, "app:1");
    fails(result, denied, "requires a user name and a password");
    let entry = |password: &str| {
        let entry = json!({"username": "ann", "password": password});
        docker_config(&json!({"auths": {(&*front.address): entry}}))
    };
    let (_dir, good) = entry("p4ssword");
    filled.assert_app(&RegistryClient::with(good).resolve(&front.address, "app:1").unwrap());
    let (_dir, wrong) = entry("p4ss-wrong");
    front.seen();
    fails(RegistryClient::with(wrong).resolve(&front.address, "app:1"), denied, "is denied");
    assert_eq!(front.lines().len(), 2, "a wrong password is not tried again");
}

#[test]
fn a_redirect_carries_no_token() {
    let Some(filled) = filled() else { return };
    let target = filled.front();
    let to = target.address.clone();
    let tokens = with_tokens(&filled, &[ANN], i32::MAX);
    let behind = tokens.address.clone();
    // Requests with a token are redirected.
    let front = Front::of(&behind).instead(move |seen| {
        if seen.authorization().starts_with("Bearer ") {
            let path = seen.line.split_once(' ').unwrap().1;
            return Some(answer(307, &[("location", &format!("http://{to}{path}"))], ""));
        }
        let challenge = format!("Bearer realm=\"http://{behind}/token\",service=\"reg\"");
        Some(answer(401, &[("www-authenticate", &challenge)], ""))
    });
    let entry = json!({"auth": "YW5uOnA0c3N3b3Jk"});
    let (_dir, credentials) = docker_config(&json!({"auths": {(&*front.address): entry}}));
    filled.assert_app(&RegistryClient::with(credentials).resolve(&front.address, "app:1").unwrap());
    let seen = target.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.authorization().is_empty()), "{seen:?}");
}
