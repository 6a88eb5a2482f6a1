//! Tests of the registry client with fake registries in the process and a paused clock.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::error::RegistryErrorKind;
use super::{Credentials, Registries, RegistryConfig, RegistryError, Resolved};
use crate::base::limit::Limit;
use crate::base::name::Platform;
use crate::base::reference::{OciDigest, RegistryRef};
use crate::http::fake::{FakeRequest, FakeServer, Reply};
use crate::http::notice::Notice;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Time that every response takes.
const LATENCY: Duration = Duration::from_millis(100);

fn server(responder: impl FnMut(&FakeRequest) -> Reply + Send + 'static) -> Arc<FakeServer> {
    FakeServer::with_latency(LATENCY, responder)
}

/// Returns a client whose requests `server` answers.
fn registries(server: &Arc<FakeServer>, config: RegistryConfig) -> Registries {
    Registries::new(RegistryConfig { transport: Some(Arc::clone(server) as _), ..config }).unwrap()
}

/// Returns the reply of a registry with a manifest.
fn manifest(media_type: &str, body: &Value) -> Reply {
    let digest = OciDigest::of(body.to_string().as_bytes());
    Reply::json(200, body)
        .header("content-type", media_type)
        .header("docker-content-digest", &digest.to_string())
}

/// Returns the reply of a registry with a manifest that depends on `name` only.
fn image(name: &str) -> Reply {
    manifest(MANIFEST, &json!({"schemaVersion": 2, "config": {}, "name": name}))
}

fn error_reply(status: u16, code: &str) -> Reply {
    Reply::json(status, &json!({"errors": [{"code": code, "message": "details"}]}))
}

fn reference(text: &str) -> RegistryRef {
    text.parse().unwrap()
}

async fn resolve(registries: &Registries, text: &str) -> Result<Resolved, RegistryError> {
    resolve_known(registries, text, None).await
}

async fn resolve_known(
    registries: &Registries,
    text: &str,
    known: Option<&Resolved>,
) -> Result<Resolved, RegistryError> {
    let references = [(reference(text), known.cloned())];
    registries.resolve_all(&references, &|_| ()).await.remove(0)
}

/// Returns the digest of the manifest that [`image`] returns for `name`.
fn digest_of(name: &str) -> OciDigest {
    let body = json!({"schemaVersion": 2, "config": {}, "name": name});
    OciDigest::of(body.to_string().as_bytes())
}

/// Answers as a public registry that has every image. The content of an image depends on its URL.
fn public_registry(request: &FakeRequest) -> Reply {
    image(request.line.split_once(' ').unwrap().1)
}

fn references(registry: &str, count: usize) -> Vec<(RegistryRef, Option<Resolved>)> {
    (0..count).map(|n| (reference(&format!("{registry}/image{n}:1")), None)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lookup_is_one_head_and_for_an_index_one_get() {
    let index = json!({"schemaVersion": 2, "manifests": [
        {"digest": digest_of("a"), "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": digest_of("b"), "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        {"digest": digest_of("c"), "platform": {"os": "unknown", "architecture": "unknown"}},
    ]});
    let digest = OciDigest::of(index.to_string().as_bytes());
    let fake = server(move |_| manifest(INDEX, &index));
    let registries = registries(&fake, RegistryConfig::default());
    let resolved = resolve(&registries, "redis:7").await.unwrap();
    assert_eq!(resolved.digest, digest);
    assert_eq!(resolved.platforms.get(&Platform::Arm64).copied(), Some(digest_of("b")));
    assert_eq!(resolved.platforms.len(), 2);
    let hub = "https://registry-1.docker.io/v2/library/redis/manifests";
    assert_eq!(fake.lines(), [format!("HEAD {hub}/7"), format!("GET {hub}/{digest}")]);
    let first = fake.requests().remove(0);
    let accepted: Vec<_> = first.headers.get_all("accept").into_iter().collect();
    assert!(accepted[0] == INDEX && accepted[2] == MANIFEST, "{accepted:?}");
    // A known tag takes one HEAD, a known digest no request.
    let known = Some(&resolved);
    assert_eq!(resolve_known(&registries, "redis:7", known).await.as_ref(), Ok(&resolved));
    assert_eq!(fake.lines().len(), 3);
    let by_digest = format!("redis:7@{digest}");
    assert_eq!(resolve_known(&registries, &by_digest, known).await.as_ref(), Ok(&resolved));
    assert_eq!(fake.lines().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn lookups_keep_the_limits_and_the_order() {
    let fake = server(public_registry);
    let limit = Limit { count: 10, window: Duration::from_secs(10) };
    let registries =
        registries(&fake, RegistryConfig { limit, concurrency: 4, ..RegistryConfig::default() });
    let mut references = references("a.example", 25);
    references.push((reference("a.example/image3:1"), None));
    let notices = std::sync::Mutex::new(Vec::new());
    let results =
        registries.resolve_all(&references, &|notice| notices.lock().unwrap().push(notice)).await;
    for ((image, _), result) in references.iter().zip(&results) {
        let url = format!("https://a.example/v2/{}/manifests/1", image.repository());
        assert_eq!(result.as_ref().unwrap().digest, digest_of(&url));
    }
    assert_eq!((results.len(), fake.lines().len()), (26, 25), "each reference once");
    assert_eq!(fake.max_in_flight(), 4);
    for requests in fake.requests().windows(11) {
        assert!(requests[10].at - requests[0].at >= limit.window, "11 requests in one window");
    }
    let notices = notices.into_inner().unwrap();
    let last = notices.last();
    assert!(matches!(last, Some(Notice::LookupDone { done: 25, total: 25, .. })), "{last:?}");
    assert_eq!(notices.len(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_429_pauses_the_whole_host_and_no_other() {
    let mut remaining = 3;
    let fake = server(move |request| {
        if request.line.contains("//a.example") && remaining > 0 {
            remaining -= 1;
            return error_reply(429, "TOOMANYREQUESTS").header("retry-after", "7");
        }
        public_registry(request)
    });
    let registries =
        registries(&fake, RegistryConfig { concurrency: 3, ..RegistryConfig::default() });
    let references = [references("a.example", 6), references("b.example", 1)].concat();
    let notices = std::sync::Mutex::new(Vec::new());
    let results =
        registries.resolve_all(&references, &|notice| notices.lock().unwrap().push(notice)).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    // Three requests receive a 429 together; then no request is sent for 7 s.
    assert_eq!(fake.times(), [0, 0, 0, 0, 7, 7, 7, 7, 7, 7]);
    let notices = notices.into_inner().unwrap();
    let pauses: Vec<_> =
        notices.iter().filter(|n| matches!(n, Notice::RegistryPaused { .. })).collect();
    let pause =
        Notice::RegistryPaused { registry: "a.example".to_owned(), wait: Duration::from_secs(7) };
    assert_eq!(pauses, [&pause], "reported once");
}

#[tokio::test(start_paused = true)]
async fn a_persistent_429_fails_the_lookups() {
    // A wait of more than an hour counts as absent: it is often a time in seconds since 1970.
    for (retry_after, max_requests) in
        [(Some("3600"), 3), (None, 20), (Some("21600"), 20), (Some("1785578400"), 20)]
    {
        let fake = server(move |_| {
            let reply = error_reply(429, "TOOMANYREQUESTS");
            retry_after.map_or(reply.clone(), |secs| reply.header("retry-after", secs))
        });
        let registries =
            registries(&fake, RegistryConfig { concurrency: 3, ..RegistryConfig::default() });
        let results = registries.resolve_all(&references("a.example", 50), &|_| ()).await;
        for result in &results {
            assert_eq!(result.as_ref().unwrap_err().kind, RegistryErrorKind::RateLimited);
        }
        assert!(fake.lines().len() <= max_requests, "{} requests", fake.lines().len());
        assert!(*fake.times().last().unwrap() <= 63, "{:?}", fake.times());
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_host_fails_its_lookups_at_once_and_no_others() {
    for reply in [
        Reply::Broken { sent: false },
        Reply::Broken { sent: true },
        Reply::Silence,
        error_reply(503, "X"),
    ] {
        let dead = reply.clone();
        let fake = server(move |request| {
            if request.line.contains("//dead.example") {
                dead.clone()
            } else {
                public_registry(request)
            }
        });
        let registries =
            registries(&fake, RegistryConfig { concurrency: 2, ..RegistryConfig::default() });
        let references = [references("dead.example", 500), references("a.example", 5)].concat();
        let results = registries.resolve_all(&references, &|_| ()).await;
        for (index, result) in results.iter().enumerate() {
            match result {
                Ok(_) => assert!(index >= 500),
                Err(error) => {
                    assert!(index < 500, "{error}");
                    assert_eq!(error.kind, RegistryErrorKind::Unreachable, "{error}");
                    assert!(error.to_string().contains("dead.example: "), "{error}");
                }
            }
        }
        let dead = fake.lines().iter().filter(|line| line.contains("dead")).count();
        assert!(dead <= 12, "{reply:?}: {dead} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn transient_errors_are_retried() {
    let mut replies =
        vec![Reply::Broken { sent: true }, error_reply(503, "X").header("retry-after", "5")];
    let fake = server(move |request| replies.pop().unwrap_or_else(|| public_registry(request)));
    let registries = registries(&fake, RegistryConfig::default());
    assert!(resolve(&registries, "a.example/b:1").await.is_ok());
    let requests = fake.requests();
    let waits: Vec<_> =
        requests.windows(2).map(|pair| pair[1].at - (pair[0].at + LATENCY)).collect();
    assert_eq!(waits[0], Duration::from_secs(5));
    let backoff = Duration::from_millis(500)..=Duration::from_secs(1);
    assert!(backoff.contains(&waits[1]), "{waits:?}");
}

/// The reply of a registry that requires a token of `https://auth.example/token`.
fn unauthorized() -> Reply {
    let challenge = r#"Bearer realm="https://auth.example/token",service="s""#;
    error_reply(401, "UNAUTHORIZED").header("www-authenticate", challenge)
}

/// Answers as a registry that requires a token, and as its token service, which returns the tokens `t1`,
/// `t2` and so on.
fn registry_with_tokens(expires_in: &'static str) -> impl FnMut(&FakeRequest) -> Reply + Send {
    let mut tokens = 0;
    move |request| {
        if request.line.contains("//auth.example/") {
            tokens += 1;
            let body = format!(r#"{{"token":"t{tokens}","expires_in":{expires_in}}}"#);
            return Reply::new(200, body);
        }
        let token = request.authorization().and_then(|value| value.strip_prefix("Bearer t"));
        let number: Option<u32> = token.and_then(|number| number.parse().ok());
        if number.is_some_and(|number| number <= tokens) {
            return public_registry(request);
        }
        let challenge = r#"Bearer realm="https://auth.example/token?x=1",service="s""#;
        error_reply(401, "UNAUTHORIZED").header("www-authenticate", challenge)
    }
}

fn token_fetches(fake: &FakeServer) -> usize {
    fake.lines().iter().filter(|line| line.contains("//auth.example/")).count()
}

#[tokio::test(start_paused = true)]
async fn one_token_serves_all_tags_of_a_repository() {
    let fake = server(registry_with_tokens("300"));
    let registries = registries(&fake, RegistryConfig::default());
    let references: Vec<_> =
        (0..6).map(|n| (reference(&format!("a.example/b:{n}")), None)).collect();
    let results = registries.resolve_all(&references, &|_| ()).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(token_fetches(&fake), 1);
    assert_eq!(fake.lines().len(), 6 + 1 + 6);
    let token = "GET https://auth.example/token?x=1&service=s&scope=repository%3Ab%3Apull";
    assert!(fake.lines().contains(&token.to_owned()), "{:?}", fake.lines());
    // The challenge is cached: the next tag takes one request, until the token expires.
    resolve(&registries, "a.example/b:7").await.unwrap();
    assert_eq!(fake.lines().len(), 14);
    tokio::time::sleep(Duration::from_secs(300)).await;
    resolve(&registries, "a.example/b:8").await.unwrap();
    assert_eq!((fake.lines().len(), token_fetches(&fake)), (16, 2));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_fetched_again() {
    let mut registry = registry_with_tokens("300");
    let mut requests = 0;
    let fake = server(move |request| {
        requests += 1;
        // The fourth request is the first with a cached token.
        if requests == 4 { unauthorized() } else { registry(request) }
    });
    let registries = registries(&fake, RegistryConfig::default());
    resolve(&registries, "a.example/b:1").await.unwrap();
    resolve(&registries, "a.example/b:2").await.unwrap();
    assert_eq!((fake.lines().len(), token_fetches(&fake)), (6, 2));
}

#[tokio::test(start_paused = true)]
async fn denied_access_is_an_error() {
    let fake = server(|request| {
        if request.line.contains("//auth.example/") {
            Reply::json(200, &json!({"token": "t"}))
        } else {
            unauthorized()
        }
    });
    let registries = registries(&fake, RegistryConfig::default());
    let error = resolve(&registries, "a.example/b:1").await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Denied);
    let expected = "a.example/b:1: it does not exist, or access to it is denied (HTTP 401)";
    assert_eq!(error.to_string(), expected);
    assert!(error.help.contains("docker login a.example"), "{}", error.help);
    assert_eq!(fake.lines().len(), 3, "a new token is not tried twice");
}

#[tokio::test(start_paused = true)]
async fn waiting_lookups_share_a_failed_token_fetch() {
    let fake = server(|request| {
        if request.line.contains("//auth.example/") {
            Reply::json(401, &json!({"details": "no such account"}))
        } else {
            unauthorized()
        }
    });
    let registries = registries(&fake, RegistryConfig::default());
    let references: Vec<_> =
        (0..8).map(|n| (reference(&format!("a.example/b:{n}")), None)).collect();
    for result in registries.resolve_all(&references, &|_| ()).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Denied);
        assert!(error.message.contains("no such account"), "{error}");
    }
    assert_eq!(token_fetches(&fake), 1);
}

/// Returns credentials for `a.example` and `b.example`, and the folder that contains them.
fn credentials() -> (tempfile::TempDir, Credentials) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    let config = json!({"auths": {
        "a.example": {"username": "ann", "password": "p4ss-a"},
        "b.example": {"identitytoken": "p4ss-b"},
    }});
    std::fs::write(&file, config.to_string()).unwrap();
    (dir, Credentials::from_files(vec![file], ""))
}

#[tokio::test(start_paused = true)]
async fn credentials_are_sent_only_to_the_token_service_of_their_registry() {
    let (_dir, credentials) = credentials();
    let fake = server(registry_with_tokens("300"));
    let registries = registries(&fake, RegistryConfig { credentials, ..RegistryConfig::default() });
    // Another registry with the same token service needs its own token.
    for image in ["a.example/x:1", "c.example/x:1", "b.example/x:1"] {
        resolve(&registries, image).await.unwrap();
    }
    let requests: Vec<_> = fake
        .requests()
        .iter()
        .map(|request| {
            let host = request.line.split('/').nth(2).unwrap();
            format!(
                "{host} {} {}",
                request.authorization().unwrap_or("-"),
                String::from_utf8_lossy(&request.body)
            )
        })
        .collect();
    let form = "grant_type=refresh_token&service=s&scope=repository%3Ax%3Apull&client_id=imgplan&\
                refresh_token=p4ss-b";
    assert_eq!(
        requests,
        [
            "a.example - ",
            // `ann:p4ss-a`
            "auth.example Basic YW5uOnA0c3MtYQ== ",
            "a.example Bearer t1 ",
            "c.example - ",
            "auth.example - ",
            "c.example Bearer t2 ",
            "b.example - ",
            &format!("auth.example - {form}"),
            "b.example Bearer t3 ",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn credentials_are_not_sent_to_untrusted_token_services() {
    let table = [
        // The realm; the target of its redirect; the message.
        ("http://auth.example/token", "", "which is not HTTPS"),
        ("https://u:p@auth.example/token", "", "an invalid URL"),
        ("https://127.0.0.1/token", "", "which is this machine"),
        ("file:///etc/passwd", "", "an invalid URL"),
        ("token", "", "an invalid URL"),
        ("https://auth.example/token", "https://evil.example/", "a request with secrets to"),
        ("https://auth.example/token", "http://auth.example/", "which is not HTTPS"),
    ];
    for image in ["a.example/x:1", "b.example/x:1"] {
        for (realm, location, message) in table {
            let (_dir, credentials) = credentials();
            let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
            let fake = server(move |request| {
                if request.line.contains("//auth.example/") {
                    return Reply::json(307, &json!({})).header("location", location);
                }
                error_reply(401, "UNAUTHORIZED").header("www-authenticate", &challenge)
            });
            let registries =
                registries(&fake, RegistryConfig { credentials, ..RegistryConfig::default() });
            let error = resolve(&registries, image).await.unwrap_err();
            assert_eq!(error.kind, RegistryErrorKind::Unexpected, "{error}");
            assert!(error.message.contains(message), "{realm} {location}: {error}");
            assert!(fake.lines().iter().all(|line| !line.contains("evil")), "{:?}", fake.lines());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_service_may_redirect_a_request_without_credentials() {
    for (status, to) in
        [(302, "https://auth.example/other"), (307, "https://login.example/"), (308, "/other")]
    {
        let fake = server(move |request| {
            if request.line.contains("//auth.example/token") {
                return Reply::json(status, &json!({})).header("location", to);
            }
            if request.line.contains("/other") || request.line.contains("//login.example/") {
                return Reply::json(200, &json!({"token": "t"}));
            }
            match request.authorization() {
                Some("Bearer t") => public_registry(request),
                _ => unauthorized(),
            }
        });
        let registries = registries(&fake, RegistryConfig::default());
        assert!(resolve(&registries, "a.example/x:1").await.is_ok(), "{to}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_to_another_host_carries_no_token() {
    let (_dir, credentials) = credentials();
    let mut registry = registry_with_tokens("300");
    let fake = server(move |request| {
        if request.line.contains("//mirror.example/") {
            return image("it");
        }
        match registry(request) {
            Reply::Response { status: 200, .. } if request.line.starts_with("HEAD") => {
                let to = "https://mirror.example/it?sig=s3cret";
                Reply::json(307, &json!({})).header("location", to)
            }
            reply => reply,
        }
    });
    let registries = registries(&fake, RegistryConfig { credentials, ..RegistryConfig::default() });
    let resolved = resolve(&registries, "a.example/x:1").await.unwrap();
    assert_eq!(resolved.digest, digest_of("it"));
    let requests = fake.requests();
    let last = requests.last().unwrap();
    assert_eq!(last.line, "HEAD https://mirror.example/it?sig=s3cret");
    assert_eq!(last.authorization(), None);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_back_to_the_registry_carries_only_an_anonymous_token() {
    let (_dir, credentials) = credentials();
    let mut registry = registry_with_tokens("300");
    let fake = server(move |request| {
        let redirect = |to| Reply::json(307, &json!({})).header("location", to);
        if request.line.contains("//mirror.example/") {
            return redirect("https://a.example/v2/secret/manifests/1");
        }
        match registry(request) {
            Reply::Response { status: 200, .. } if request.line.ends_with("/x/manifests/1") => {
                redirect("https://mirror.example/")
            }
            reply => reply,
        }
    });
    let registries = registries(&fake, RegistryConfig { credentials, ..RegistryConfig::default() });
    resolve(&registries, "a.example/x:1").await.unwrap();
    let token = |repository: &str| {
        let scope = format!("scope=repository%3A{repository}%3Apull");
        format!("GET https://auth.example/token?x=1&service=s&{scope}")
    };
    let [x, secret] =
        ["x", "secret"].map(|name| format!("HEAD https://a.example/v2/{name}/manifests/1"));
    let mirror = "HEAD https://mirror.example/";
    assert_eq!(
        authorizations(&fake),
        [
            format!("{x} -"),
            format!("{} Basic YW5uOnA0c3MtYQ==", token("x")),
            format!("{x} Bearer t1"),
            format!("{mirror} -"),
            format!("{secret} -"),
            format!("{} -", token("secret")),
            format!("{secret} Bearer t2"),
        ]
    );
}

/// Returns the line of each request, with its `Authorization` header.
fn authorizations(fake: &FakeServer) -> Vec<String> {
    let requests = fake.requests().into_iter();
    requests
        .map(|request| format!("{} {}", request.line, request.authorization().unwrap_or("-")))
        .collect()
}

/// Answers as `a.example`, which redirects to `b.example`, which sends `challenge` without the token `t`
/// and has the token service `https://b.example/token`.
fn redirecting_registry(challenge: &'static str) -> impl FnMut(&FakeRequest) -> Reply + Send {
    move |request| {
        if request.line.contains("//a.example/") {
            let to = "https://b.example/v2/moved/x/manifests/1?sig=s";
            return Reply::json(307, &json!({})).header("location", to);
        }
        if request.line.contains("/token?") {
            return Reply::json(200, &json!({"token": "t"}));
        }
        match request.authorization() {
            Some("Bearer t") => image("it"),
            _ => error_reply(401, "UNAUTHORIZED").header("www-authenticate", challenge),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_challenge_of_a_redirects_target_is_met_without_credentials() {
    let (_dir, credentials) = credentials();
    for (challenge, query) in [
        (r#"Bearer realm="https://b.example/token""#, "scope=repository%3Amoved%2Fx%3Apull"),
        (
            r#"Basic realm="b", Bearer realm="https://b.example/token",service="b""#,
            "service=b&scope=repository%3Amoved%2Fx%3Apull",
        ),
        (r#"bearer Realm="https://b.example/token",scope="other""#, "scope=other"),
    ] {
        let fake = server(redirecting_registry(challenge));
        // Credentials for both registries exist, and none is sent.
        let credentials = credentials.clone();
        let registries =
            registries(&fake, RegistryConfig { credentials, ..RegistryConfig::default() });
        let resolved = resolve(&registries, "a.example/x:1").await.unwrap();
        assert_eq!(resolved.digest, digest_of("it"));
        let to = "HEAD https://b.example/v2/moved/x/manifests/1?sig=s";
        assert_eq!(
            authorizations(&fake),
            [
                "HEAD https://a.example/v2/x/manifests/1 -".to_owned(),
                format!("{to} -"),
                format!("GET https://b.example/token?{query} -"),
                format!("{to} Bearer t"),
            ]
        );
        // The token is cached.
        resolve(&registries, "a.example/x:1").await.unwrap();
        assert_eq!(fake.lines().len(), 4 + 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_challenge_of_a_redirects_target_that_needs_credentials_is_an_error() {
    let (_dir, credentials) = credentials();
    for (challenge, kind, message) in [
        (
            r#"Basic realm="b""#,
            RegistryErrorKind::Denied,
            "https://b.example requires a user name and a password",
        ),
        ("Negotiate", RegistryErrorKind::Denied, "access to it is denied (HTTP 401)"),
        (
            r#"Bearer realm="http://127.0.0.1/token""#,
            RegistryErrorKind::Unexpected,
            "the token service of https://b.example is http://127.0.0.1, which is this machine",
        ),
        (
            r#"Bearer realm="http://b.example/token""#,
            RegistryErrorKind::Unexpected,
            "which is not HTTPS",
        ),
    ] {
        let fake = server(redirecting_registry(challenge));
        let credentials = credentials.clone();
        let registries =
            registries(&fake, RegistryConfig { credentials, ..RegistryConfig::default() });
        let error = resolve(&registries, "a.example/x:1").await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(message), "{error}");
        if kind == RegistryErrorKind::Denied {
            assert!(error.help.contains("credentials do not follow redirects"), "{}", error.help);
        }
        assert!(authorizations(&fake).iter().all(|request| request.ends_with(" -")));
    }
}

#[tokio::test(start_paused = true)]
async fn registries_that_redirect_in_turn_are_given_up() {
    let fake = server(|request| {
        let host = request.line.split('/').nth(2).unwrap().to_owned();
        if request.line.contains("/token?") {
            return Reply::json(200, &json!({"token": "t"}));
        }
        if request.authorization().is_none() && host != "a.example" {
            let challenge = format!(r#"Bearer realm="https://{host}/token""#);
            return error_reply(401, "UNAUTHORIZED").header("www-authenticate", &challenge);
        }
        let to = if host == "b.example" { "c.example" } else { "b.example" };
        let to = format!("https://{to}/v2/x/manifests/1");
        Reply::json(307, &json!({})).header("location", &to)
    });
    let registries = registries(&fake, RegistryConfig::default());
    let error = resolve(&registries, "a.example/x:1").await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Denied);
    assert!(fake.lines().len() < 20, "{:?}", fake.lines());
}

/// Answers as a registry whose challenges have the scope that `scope` returns for a repository, and whose
/// token service returns a token for that scope only.
fn registry_with_scopes(
    scope: impl Fn(&str) -> String + Send + 'static,
) -> impl FnMut(&FakeRequest) -> Reply + Send {
    move |request| {
        if let Some((_, query)) = request.line.split_once("/token?") {
            return Reply::json(200, &json!({ "token": query }));
        }
        let repository = request.line.split('/').nth(4).unwrap();
        let scope = scope(repository);
        let url = reqwest::Url::parse_with_params("https://a/", [("scope", &scope)]).unwrap();
        let token = format!("Bearer {}", url.query().unwrap());
        if request.authorization() == Some(&*token) {
            return public_registry(request);
        }
        let challenge = format!(r#"Bearer realm="https://a.example/token",scope="{scope}""#);
        error_reply(401, "UNAUTHORIZED").header("www-authenticate", &challenge)
    }
}

#[tokio::test(start_paused = true)]
async fn the_scope_of_the_challenge_is_requested() {
    type Scope = fn(&str) -> String;
    let table: [(Scope, usize); 4] = [
        // Each scope, and the requests for a second repository: with the usual scope, or with one for
        // all repositories, the challenge is known.
        (|repository| format!("repository:{repository}:pull"), 2),
        (|_| "aws".to_owned(), 1),
        (|repository| format!("repository:elsewhere/{repository}:pull"), 3),
        (|repository| format!("repository:{repository}:pull,push"), 3),
    ];
    for (scope, requests) in table {
        let fake = server(registry_with_scopes(scope));
        let registries = registries(&fake, RegistryConfig::default());
        resolve(&registries, "a.example/x:1").await.unwrap();
        assert_eq!(fake.lines().len(), 3, "{:?}", fake.lines());
        resolve(&registries, "a.example/x:2").await.unwrap();
        assert_eq!(fake.lines().len(), 4, "the challenge and the token are known");
        resolve(&registries, "a.example/y:1").await.unwrap();
        assert_eq!(fake.lines().len(), 4 + requests, "{:?}", fake.lines());
    }
    // The usual scope is expected, and another one is required.
    let scope = |repository: &str| match repository {
        "x" => "repository:x:pull".to_owned(),
        other => format!("repository:elsewhere/{other}:pull"),
    };
    let fake = server(registry_with_scopes(scope));
    let registries = registries(&fake, RegistryConfig::default());
    resolve(&registries, "a.example/x:1").await.unwrap();
    resolve(&registries, "a.example/y:1").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_registry_may_refuse_head() {
    for status in [400, 403, 404, 405, 418, 501] {
        let fake = server(move |request| {
            let is_head = request.line.starts_with("HEAD ");
            if is_head { Reply::new(status, "") } else { public_registry(request) }
        });
        let registries = registries(&fake, RegistryConfig::default());
        assert!(resolve(&registries, "a.example/x:1").await.is_ok(), "{status}");
        assert_eq!(fake.lines().len(), 2, "{status}");
    }
}

/// Returns the reply with a compressed body.
fn gzip(reply: Reply, coding: &str) -> Reply {
    let Reply::Response { status, headers, body } = reply else { return reply };
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&body).unwrap();
    let body = encoder.finish().unwrap();
    Reply::Response { status, headers, body }.header("content-encoding", coding)
}

type Responder = Box<dyn FnMut(&FakeRequest) -> Reply + Send>;

#[tokio::test(start_paused = true)]
async fn compressed_responses_are_read_and_their_digest_is_checked() {
    let image = |request: &FakeRequest| {
        let body = json!({"schemaVersion": 2, "config": {}, "name": request.line}).to_string();
        Reply::new(200, body)
    };
    for coding in ["gzip", "x-gzip", "GZip"] {
        let mut registry = registry_with_tokens("300");
        let fake = server(move |request| match registry(request) {
            Reply::Response { status: 200, .. } if request.line.contains("/manifests/") => {
                gzip(image(request), coding)
            }
            reply => gzip(reply, coding),
        });
        let registries = registries(&fake, RegistryConfig::default());
        let resolved = resolve(&registries, "a.example/x:1").await.unwrap();
        let line = "GET https://a.example/v2/x/manifests/1";
        assert_eq!(resolved.digest, digest_of(line), "{coding}: the digest of the decoded body");
    }
    let wrong = digest_of("other").to_string();
    let mismatch = move |request: &FakeRequest| {
        gzip(image(request), "gzip").header("docker-content-digest", &wrong)
    };
    let table: [(Responder, &str); 5] = [
        (Box::new(mismatch), "does not have the expected digest"),
        (Box::new(move |request| image(request).header("content-encoding", "zstd")), "`zstd`"),
        (
            Box::new(move |request| image(request).header("content-encoding", "deflate")),
            "`deflate`",
        ),
        (Box::new(move |request| image(request).header("content-encoding", "gzip")), "damaged"),
        (Box::new(|_| gzip(Reply::new(200, vec![b' '; 5 << 20]), "gzip")), "more than 4 MiB"),
    ];
    for (responder, message) in table {
        let fake = server(responder);
        let registries = registries(&fake, RegistryConfig::default());
        let error = resolve(&registries, "a.example/x:1").await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Unexpected, "{error}");
        assert!(error.message.contains(message), "{error}");
        assert!(fake.lines().len() <= 2, "another attempt would fail the same way");
    }
}

#[tokio::test(start_paused = true)]
async fn the_platform_of_a_single_image_is_checked() {
    let table = [
        (json!({"os": "linux", "architecture": "amd64"}), Ok(Some(Platform::Amd64))),
        (json!({"os": "Linux", "architecture": "AArch64"}), Ok(Some(Platform::Arm64))),
        (json!({"architecture": "x86_64"}), Ok(Some(Platform::Amd64))),
        (
            json!({"os": "linux", "architecture": "arm64", "variant": "8"}),
            Ok(Some(Platform::Arm64)),
        ),
        (json!({"os": "unknown", "architecture": "unknown"}), Ok(None)),
        (json!({"mediaType": "application/vnd.cncf.helm.config.v1+json"}), Ok(None)),
        (json!({"os": "linux", "architecture": "s390x"}), Err("linux/s390x")),
        (json!({"os": "linux", "architecture": "armhf"}), Err("linux/arm/v7")),
        (json!({"os": "linux", "architecture": "arm", "variant": "v6"}), Err("linux/arm/v6")),
        (json!({"os": "linux", "architecture": "riscv64"}), Err("linux/riscv64")),
        (json!({"os": "Windows", "architecture": "amd64"}), Err("windows/amd64")),
    ];
    for (config, expected) in table {
        let body = config.to_string();
        let manifest_body = json!({"schemaVersion": 2,
            "config": {"digest": OciDigest::of(body.as_bytes())}});
        let digest = OciDigest::of(manifest_body.to_string().as_bytes());
        let fake = server(move |request| {
            let is_blob = request.line.contains("/blobs/");
            if is_blob { Reply::new(200, body.clone()) } else { manifest(MANIFEST, &manifest_body) }
        });
        let registries = registries(&fake, RegistryConfig::default());
        let image = reference("a.example/x:1");
        let platform = registries.image_platform(&image, digest, &|_| ()).await;
        let only = |platform: &str| {
            let ours = "it has no image for linux/amd64 or linux/arm64";
            format!("a.example/x:1: {ours}, only for {platform}")
        };
        let platform = platform.map_err(|error| error.to_string());
        assert_eq!(platform, expected.map_err(only), "{config}");
    }
}

/// A HEAD request may name any digest; a pin needs the manifest itself.
#[tokio::test(start_paused = true)]
async fn a_digest_without_its_manifest_is_not_pinned() {
    let digest = OciDigest::of(b"a manifest");
    for (reply, message) in [
        (Reply::json(404, &json!({"errors": [{"code": "MANIFEST_UNKNOWN"}]})), "has no such"),
        (manifest(MANIFEST, &json!({"schemaVersion": 2})), "does not have the expected digest"),
    ] {
        let fake = server(move |_| reply.clone());
        let registries = registries(&fake, RegistryConfig::default());
        let image = reference("a.example/x:1");
        let error = registries.image_platform(&image, digest, &|_| ()).await.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn invalid_redirects_are_errors() {
    let table = [
        ("https://a.example/v2/x/manifests/1", "too many redirects"),
        ("http://a.example/", "which is not HTTPS"),
        ("https://[::1]/", "which is this machine"),
        ("http://localhost:1/", "which is this machine"),
        ("https://u:p4ss@b.example/", "an invalid URL"),
        ("mailto:a", "an invalid URL"),
        ("", "without a valid location"),
    ];
    for (location, message) in table {
        let fake = server(move |_| {
            let reply = Reply::json(307, &json!({}));
            if location.is_empty() { reply } else { reply.header("location", location) }
        });
        let registries = registries(&fake, RegistryConfig::default());
        let error = resolve(&registries, "a.example/x:1").await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Unexpected);
        assert!(error.message.contains(message) && !error.message.contains("p4ss"), "{error}");
        assert!(fake.lines().len() <= 6);
    }
}

#[tokio::test(start_paused = true)]
async fn errors_are_short_and_contain_no_secrets_or_control_characters() {
    let (_dir, credentials) = credentials();
    for echo in ["YW5uOnA0c3MtYQ==", "p4ss-a"] {
        let fake = server(move |request| {
            if request.line.contains("//auth.example/") {
                let message = format!("\u{1b}[2J{echo}\n{}", "x".repeat(100_000));
                Reply::json(403, &json!({"message": message}))
            } else {
                unauthorized()
            }
        });
        let registries = registries(
            &fake,
            RegistryConfig { credentials: credentials.clone(), ..RegistryConfig::default() },
        );
        let error = resolve(&registries, "a.example/x:1").await.unwrap_err();
        let all = format!("{error} {error:?} {}", error.help);
        assert!(all.contains("[hidden]") && !all.contains(echo), "{all}");
        assert!(!error.to_string().chars().any(char::is_control) && error.message.len() < 500);
    }
}

#[tokio::test(start_paused = true)]
async fn invalid_responses_are_errors() {
    let wrong_digest = digest_of("other").to_string();
    let mismatch = Reply::json(200, &json!({"manifests": []}))
        .header("content-type", INDEX)
        .header("docker-content-digest", &wrong_digest);
    let too_large = Reply::new(200, vec![b' '; (4 << 20) + 1]);
    let html = Reply::new(200, b"<html>".to_vec());
    let table = [
        (mismatch, "does not have the expected digest"),
        (too_large, "more than 4 MiB"),
        (html, "not a manifest"),
        (Reply::new(404, b"default backend".to_vec()), "HTTP 404"),
        (Reply::json(418, &json!({})), "HTTP 418"),
    ];
    for (reply, message) in table {
        let fake = server(move |_| reply.clone());
        let registries = registries(&fake, RegistryConfig::default());
        let error = resolve(&registries, "a.example/x:1").await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Unexpected, "{error}");
        assert!(error.message.contains(message), "{error}");
    }
    // A registry that returns another manifest for a digest.
    let fake = server(public_registry);
    let registries = registries(&fake, RegistryConfig::default());
    let by_digest = format!("a.example/x@{}", digest_of("mine"));
    let error = resolve(&registries, &by_digest).await.unwrap_err();
    assert!(error.message.contains("does not have the expected digest"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn missing_references_are_not_found() {
    let table = [
        ("MANIFEST_UNKNOWN", "a.example/x:1", "no such tag"),
        ("NOT_FOUND", "a.example/x", "no such tag"),
        ("NAME_UNKNOWN", "a.example/x:1", "no such repository"),
    ];
    for (code, image, message) in table {
        let fake = server(move |_| error_reply(404, code));
        let registries = registries(&fake, RegistryConfig::default());
        let error = resolve(&registries, image).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::NotFound);
        assert!(error.message.contains(message), "{error}");
        assert_eq!(fake.lines().len(), 2, "HEAD has no body, so GET is sent for the reason");
    }
}

#[tokio::test(start_paused = true)]
async fn clones_can_be_used_in_other_tasks() {
    let fake = server(registry_with_tokens("300"));
    let registries = registries(&fake, RegistryConfig::default());
    let clone = registries.clone();
    let task = tokio::spawn(async move {
        let references = references("a.example", 3);
        clone.resolve_all(&references, &|_| ()).await
    });
    assert!(resolve(&registries, "a.example/x:1").await.is_ok());
    assert_eq!(task.await.unwrap().len(), 3);
}
