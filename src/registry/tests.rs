//! Registries inside the process, with a clock that runs as fast as it may.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Credentials, Registries, RegistryConfig, RegistryError, RegistryErrorKind, Resolved};
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

/// A manifest as a registry sends it.
fn manifest(media_type: &str, body: &Value) -> Reply {
    let digest = OciDigest::of(body.to_string().as_bytes());
    Reply::json(200, body)
        .header("content-type", media_type)
        .header("docker-content-digest", &digest.to_string())
}

/// A manifest that contains its name and nothing else.
fn image(name: &str) -> Reply {
    manifest(MANIFEST, &json!({"schemaVersion": 2, "config": {}, "name": name}))
}

fn error_reply(status: u16, code: &str) -> Reply {
    Reply::json(status, &json!({"errors": [{"code": code, "message": "so it is"}]}))
}

fn reference(text: &str) -> RegistryRef {
    text.parse().unwrap()
}

async fn resolve(registries: &Registries, text: &str) -> Result<Resolved, RegistryError> {
    registries.resolve(&reference(text), None).await
}

/// What `Reply::image` of this name has.
fn digest_of(name: &str) -> OciDigest {
    let body = json!({"schemaVersion": 2, "config": {}, "name": name});
    OciDigest::of(body.to_string().as_bytes())
}

/// The answer of a registry that has every image, each with its own content.
fn willing(asked: &FakeRequest) -> Reply {
    image(asked.line.split_once(' ').unwrap().1)
}

fn many(registry: &str, count: usize) -> Vec<(RegistryRef, Option<Resolved>)> {
    (0..count).map(|n| (reference(&format!("{registry}/image{n}:1")), None)).collect()
}

#[tokio::test(start_paused = true)]
async fn one_head_and_a_get_where_there_is_an_index() {
    let index = json!({"schemaVersion": 2, "manifests": [
        {"digest": digest_of("a"), "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": digest_of("b"), "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        {"digest": digest_of("c"), "platform": {"os": "unknown", "architecture": "unknown"}},
    ]});
    let digest = OciDigest::of(index.to_string().as_bytes());
    let fake = server(move |_| manifest(INDEX, &index));
    let registries = registries(&fake, RegistryConfig::default());
    let found = resolve(&registries, "redis:7").await.unwrap();
    assert_eq!(found.digest, digest);
    assert_eq!(found.platforms.get(&Platform::Arm64).copied(), Some(digest_of("b")));
    assert_eq!(found.platforms.len(), 2);
    let hub = "https://registry-1.docker.io/v2/library/redis/manifests";
    assert_eq!(fake.lines(), [format!("HEAD {hub}/7"), format!("GET {hub}/{digest}")]);
    let accept = fake.requests()[0].headers["accept"].to_str().unwrap().to_owned();
    assert!(accept.contains(INDEX) && accept.contains(MANIFEST), "{accept}");
    // Known: one HEAD. By its digest: nothing.
    assert_eq!(registries.resolve(&reference("redis:7"), Some(&found)).await, Ok(found.clone()));
    assert_eq!(fake.lines().len(), 3);
    let held = reference(&format!("redis:7@{digest}"));
    assert_eq!(registries.resolve(&held, Some(&found)).await, Ok(found));
    assert_eq!(fake.lines().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn many_are_asked_politely_and_answered_in_their_order() {
    let fake = server(willing);
    let budget = Limit { count: 10, window: Duration::from_secs(10) };
    let registries =
        registries(&fake, RegistryConfig { budget, concurrency: 4, ..RegistryConfig::default() });
    let mut wanted = many("a.example", 25);
    wanted.push((reference("a.example/image3:1"), None));
    let told = std::sync::Mutex::new(Vec::new());
    let answers =
        registries.resolve_all(&wanted, &|notice| told.lock().unwrap().push(notice)).await;
    for ((image, _), answer) in wanted.iter().zip(&answers) {
        let url = format!("https://a.example/v2/{}/manifests/1", image.repository());
        assert_eq!(answer.as_ref().unwrap().digest, digest_of(&url));
    }
    assert_eq!((answers.len(), fake.lines().len()), (26, 25), "each once");
    assert_eq!(fake.max_in_flight(), 4);
    let asked = fake.requests();
    for pair in asked.windows(11) {
        assert!(pair[10].at - pair[0].at >= budget.window, "11 in a window of 10");
    }
    let told = told.into_inner().unwrap();
    let last = told.last();
    assert!(matches!(last, Some(Notice::LookupDone { done: 25, total: 25, .. })), "{last:?}");
    assert_eq!(told.len(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_429_pauses_the_whole_host_and_no_other() {
    let mut refusals = 3;
    let fake = server(move |asked| {
        if asked.line.contains("//a.example") && refusals > 0 {
            refusals -= 1;
            return error_reply(429, "TOOMANYREQUESTS").header("retry-after", "7");
        }
        willing(asked)
    });
    let registries =
        registries(&fake, RegistryConfig { concurrency: 3, ..RegistryConfig::default() });
    let wanted = [many("a.example", 6), many("b.example", 1)].concat();
    let told = std::sync::Mutex::new(Vec::new());
    let answers =
        registries.resolve_all(&wanted, &|notice| told.lock().unwrap().push(notice)).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    // Three leave, are refused together, and nothing leaves for 7 s.
    assert_eq!(fake.times(), [0, 0, 0, 0, 7, 7, 7, 7, 7, 7]);
    let told = told.into_inner().unwrap();
    let pauses: Vec<_> =
        told.iter().filter(|n| matches!(n, Notice::RegistryPaused { .. })).collect();
    let wait = Duration::from_secs(7);
    assert_eq!(
        pauses,
        [&Notice::RegistryPaused { registry: "a.example".to_owned(), wait }],
        "told once"
    );
}

#[tokio::test(start_paused = true)]
async fn who_asks_to_wait_for_hours_is_told_to_the_user() {
    for (after, most) in [(Some("21600"), 3), (None, 20)] {
        let fake = server(move |_| {
            let refused = error_reply(429, "TOOMANYREQUESTS");
            after.map_or(refused.clone(), |after| refused.header("retry-after", after))
        });
        let registries =
            registries(&fake, RegistryConfig { concurrency: 3, ..RegistryConfig::default() });
        let answers = registries.resolve_all(&many("a.example", 50), &|_| ()).await;
        for answer in &answers {
            assert_eq!(answer.as_ref().unwrap_err().kind, RegistryErrorKind::RateLimited);
        }
        assert!(fake.lines().len() <= most, "{} requests", fake.lines().len());
        assert!(*fake.times().last().unwrap() <= 63, "{:?}", fake.times());
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cannot_be_reached_fails_all_that_is_asked_of_it_at_once() {
    for reply in [
        Reply::Broken { sent: false },
        Reply::Broken { sent: true },
        Reply::Silence,
        error_reply(503, "X"),
    ] {
        let dead = reply.clone();
        let fake = server(move |asked| {
            if asked.line.contains("//dead.example") { dead.clone() } else { willing(asked) }
        });
        let registries =
            registries(&fake, RegistryConfig { concurrency: 2, ..RegistryConfig::default() });
        let wanted = [many("dead.example", 500), many("a.example", 5)].concat();
        let answers = registries.resolve_all(&wanted, &|_| ()).await;
        for (place, answer) in answers.iter().enumerate() {
            match answer {
                Ok(_) => assert!(place >= 500),
                Err(error) => {
                    assert!(place < 500, "{error}");
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
async fn trouble_passes() {
    let mut replies =
        vec![Reply::Broken { sent: true }, error_reply(503, "X").header("retry-after", "5")];
    let fake = server(move |asked| replies.pop().unwrap_or_else(|| willing(asked)));
    let registries = registries(&fake, RegistryConfig::default());
    assert!(resolve(&registries, "a.example/b:1").await.is_ok());
    let asked = fake.requests();
    let waits: Vec<_> = asked.windows(2).map(|two| two[1].at - (two[0].at + LATENCY)).collect();
    assert_eq!(waits[0], Duration::from_secs(5));
    let backoff = Duration::from_millis(500)..=Duration::from_secs(1);
    assert!(backoff.contains(&waits[1]), "{waits:?}");
}

/// A registry that demands a token, and a service that gives them, with a number each.
fn guarded(lives: &'static str) -> impl FnMut(&FakeRequest) -> Reply + Send {
    let mut given = 0;
    move |asked| {
        if asked.line.contains("//auth.example/") {
            given += 1;
            let body = format!(r#"{{"token":"t{given}","expires_in":{lives}}}"#);
            return Reply::new(200, body);
        }
        let number =
            asked.authorization().and_then(|shown| shown.strip_prefix("Bearer t")?.parse().ok());
        if number.is_some_and(|number: u32| number <= given) {
            return willing(asked);
        }
        let demand = r#"Bearer realm="https://auth.example/token?x=1",service="s""#;
        error_reply(401, "UNAUTHORIZED").header("www-authenticate", demand)
    }
}

fn fetches(fake: &FakeServer) -> usize {
    fake.lines().iter().filter(|line| line.contains("//auth.example/")).count()
}

#[tokio::test(start_paused = true)]
async fn one_token_serves_all_tags_of_a_repository() {
    let fake = server(guarded("300"));
    let registries = registries(&fake, RegistryConfig::default());
    let wanted: Vec<_> = (0..6).map(|n| (reference(&format!("a.example/b:{n}")), None)).collect();
    let answers = registries.resolve_all(&wanted, &|_| ()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(fetches(&fake), 1);
    assert_eq!(fake.lines().len(), 6 + 1 + 6);
    let token = "GET https://auth.example/token?x=1&service=s&scope=repository%3Ab%3Apull";
    assert!(fake.lines().contains(&token.to_owned()), "{:?}", fake.lines());
    // The demand is known by now: the next tag needs one request, until the token is too old.
    resolve(&registries, "a.example/b:7").await.unwrap();
    assert_eq!(fake.lines().len(), 14);
    tokio::time::sleep(Duration::from_secs(300)).await;
    resolve(&registries, "a.example/b:8").await.unwrap();
    assert_eq!((fake.lines().len(), fetches(&fake)), (16, 2));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_no_longer_taken_is_fetched_anew() {
    let mut inner = guarded("300");
    let mut asks = 0;
    let fake = server(move |asked| {
        asks += 1;
        // The fourth request is the first with the old token.
        if asks == 4 {
            let demand = r#"Bearer realm="https://auth.example/token",service="s""#;
            return error_reply(401, "UNAUTHORIZED").header("www-authenticate", demand);
        }
        inner(asked)
    });
    let registries = registries(&fake, RegistryConfig::default());
    resolve(&registries, "a.example/b:1").await.unwrap();
    resolve(&registries, "a.example/b:2").await.unwrap();
    assert_eq!((fake.lines().len(), fetches(&fake)), (6, 2));
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_read_is_said_to_be_so() {
    let fake = server(|asked| {
        if asked.line.contains("//auth.example/") {
            return Reply::json(200, &json!({"token": "t"}));
        }
        let demand = r#"Bearer realm="https://auth.example/token",service="s""#;
        error_reply(401, "UNAUTHORIZED").header("www-authenticate", demand)
    });
    let registries = registries(&fake, RegistryConfig::default());
    let error = resolve(&registries, "a.example/b:1").await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Denied);
    let said = "a.example/b:1: it does not exist, or may not be read by us (HTTP 401)";
    assert_eq!(error.to_string(), said);
    assert!(error.help.contains("docker login a.example"), "{}", error.help);
    assert_eq!(fake.lines().len(), 3, "a new token is not tried twice");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_is_refused_to_all_who_wait() {
    let fake = server(|asked| {
        if asked.line.contains("//auth.example/") {
            return Reply::json(401, &json!({"details": "no such account"}));
        }
        let demand = r#"Bearer realm="https://auth.example/token",service="s""#;
        error_reply(401, "UNAUTHORIZED").header("www-authenticate", demand)
    });
    let registries = registries(&fake, RegistryConfig::default());
    let wanted: Vec<_> = (0..8).map(|n| (reference(&format!("a.example/b:{n}")), None)).collect();
    for answer in registries.resolve_all(&wanted, &|_| ()).await {
        let error = answer.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Denied);
        assert!(error.message.contains("no such account"), "{error}");
    }
    assert_eq!(fetches(&fake), 1);
}

/// Credentials for `a.example` and `b.example`, in a folder that lives as long as they are used.
fn credentials() -> (tempfile::TempDir, Credentials) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    let config = json!({"auths": {
        "a.example": {"username": "ann", "password": "p4ss-a"},
        "b.example": {"identitytoken": "p4ss-b"},
    }});
    std::fs::write(&file, config.to_string()).unwrap();
    (dir, Credentials::of(vec![file], ""))
}

#[tokio::test(start_paused = true)]
async fn credentials_go_where_their_registry_says_and_nowhere_else() {
    let (_dir, credentials) = credentials();
    let fake = server(guarded("300"));
    let registries = registries(&fake, RegistryConfig { credentials, ..RegistryConfig::default() });
    // Another registry names the same service: it gets a token of its own.
    for image in ["a.example/x:1", "c.example/x:1", "b.example/x:1"] {
        resolve(&registries, image).await.unwrap();
    }
    let shown: Vec<_> = fake
        .requests()
        .iter()
        .map(|asked| {
            let host = asked.line.split('/').nth(2).unwrap();
            format!(
                "{host} {} {}",
                asked.authorization().unwrap_or("-"),
                String::from_utf8_lossy(&asked.body)
            )
        })
        .collect();
    let form = "grant_type=refresh_token&service=s&scope=repository%3Ax%3Apull&client_id=imgplan&\
                refresh_token=p4ss-b";
    assert_eq!(
        shown,
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
async fn nobody_gets_credentials_by_sending_us_elsewhere() {
    let bearer = |realm: &str| format!("Bearer realm=\"{realm}\",service=\"s\"");
    let table = [
        // Where the registry has its tokens; where that sends us on to; what is said about it.
        ("http://auth.example/token", "", "which is not HTTPS"),
        ("https://u:p@auth.example/token", "", "a URL that is none"),
        ("https://127.0.0.1/token", "", "which is this machine"),
        ("file:///etc/passwd", "", "a URL that is none"),
        ("token", "", "a place that is no URL"),
        ("https://auth.example/token", "https://evil.example/", "where no secret may go"),
        ("https://auth.example/token", "http://auth.example/", "which is not HTTPS"),
    ];
    for image in ["a.example/x:1", "b.example/x:1"] {
        for (realm, location, said) in table {
            let (_dir, credentials) = credentials();
            let demand = bearer(realm);
            let fake = server(move |asked| {
                if asked.line.contains("//auth.example/") {
                    return Reply::json(307, &json!({})).header("location", location);
                }
                error_reply(401, "UNAUTHORIZED").header("www-authenticate", &demand)
            });
            let registries =
                registries(&fake, RegistryConfig { credentials, ..RegistryConfig::default() });
            let error = resolve(&registries, image).await.unwrap_err();
            assert_eq!(error.kind, RegistryErrorKind::Odd, "{error}");
            assert!(error.message.contains(said), "{realm} {location}: {error}");
            assert!(fake.lines().iter().all(|line| !line.contains("evil")), "{:?}", fake.lines());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_manifest_may_be_elsewhere_but_the_token_stays() {
    let (_dir, credentials) = credentials();
    let mut inner = guarded("300");
    let fake = server(move |asked| {
        if asked.line.contains("//mirror.example/") {
            return image("it");
        }
        match inner(asked) {
            Reply::Response { status: 200, .. } if asked.line.starts_with("HEAD") => {
                let to = "https://mirror.example/it?sig=s3cret";
                Reply::json(307, &json!({})).header("location", to)
            }
            reply => reply,
        }
    });
    let registries = registries(&fake, RegistryConfig { credentials, ..RegistryConfig::default() });
    let found = resolve(&registries, "a.example/x:1").await.unwrap();
    assert_eq!(found.digest, digest_of("it"));
    let asked = fake.requests();
    let last = asked.last().unwrap();
    assert_eq!(last.line, "HEAD https://mirror.example/it?sig=s3cret");
    assert_eq!(last.authorization(), None);
}

#[tokio::test(start_paused = true)]
async fn whoever_sends_us_back_home_does_not_choose_what_the_token_is_for() {
    let mut inner = guarded("300");
    let fake = server(move |asked| {
        let to = |place| Reply::json(307, &json!({})).header("location", place);
        if asked.line.contains("//mirror.example/") {
            return to("https://a.example/v2/secret/manifests/1");
        }
        match inner(asked) {
            Reply::Response { status: 200, .. } if asked.line.ends_with("/x/manifests/1") => {
                to("https://mirror.example/")
            }
            reply => reply,
        }
    });
    let registries = registries(&fake, RegistryConfig::default());
    let error = resolve(&registries, "a.example/x:1").await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Denied);
    let asked = fake.requests();
    let last = asked.last().unwrap();
    assert_eq!(last.line, "HEAD https://a.example/v2/secret/manifests/1");
    assert_eq!(last.authorization(), None);
}

#[tokio::test(start_paused = true)]
async fn redirects_end_and_do_not_leave_the_secure_world() {
    let table = [
        ("https://a.example/v2/x/manifests/1", "on and on"),
        ("http://a.example/", "which is not HTTPS"),
        ("https://[::1]/", "which is this machine"),
        ("http://localhost:1/", "which is this machine"),
        ("https://u:p4ss@b.example/", "a URL that is none"),
        ("mailto:a", "a URL that is none"),
        ("", "does not say where"),
    ];
    for (location, said) in table {
        let fake = server(move |_| {
            let reply = Reply::json(307, &json!({}));
            if location.is_empty() { reply } else { reply.header("location", location) }
        });
        let registries = registries(&fake, RegistryConfig::default());
        let error = resolve(&registries, "a.example/x:1").await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Odd);
        assert!(error.message.contains(said) && !error.message.contains("p4ss"), "{error}");
        assert!(fake.lines().len() <= 6);
    }
}

#[tokio::test(start_paused = true)]
async fn errors_hold_no_secret_no_control_and_are_short() {
    let (_dir, credentials) = credentials();
    for echo in ["YW5uOnA0c3MtYQ==", "p4ss-a"] {
        let fake = server(move |asked| {
            if asked.line.contains("//auth.example/") {
                let said = format!("\u{1b}[2J{echo}\n{}", "x".repeat(100_000));
                return Reply::json(403, &json!({"message": said}));
            }
            let demand = r#"Bearer realm="https://auth.example/token",service="s""#;
            error_reply(401, "UNAUTHORIZED").header("www-authenticate", demand)
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
async fn answers_that_cannot_be_right_are_refused() {
    let wrong = digest_of("other").to_string();
    let lie = Reply::json(200, &json!({"manifests": []}))
        .header("content-type", INDEX)
        .header("docker-content-digest", &wrong);
    let long = Reply::new(200, vec![b' '; (4 << 20) + 1]);
    let page = Reply::new(200, b"<html>".to_vec());
    let table = [
        (lie, "does not have the digest"),
        (long, "more than 4 MiB"),
        (page, "not a manifest"),
        (Reply::new(404, b"default backend".to_vec()), "HTTP 404"),
        (Reply::json(418, &json!({})), "HTTP 418"),
    ];
    for (reply, said) in table {
        let fake = server(move |_| reply.clone());
        let registries = registries(&fake, RegistryConfig::default());
        let error = resolve(&registries, "a.example/x:1").await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Odd, "{error}");
        assert!(error.message.contains(said), "{error}");
    }
    // A registry that has something else under a digest, and says so.
    let fake = server(willing);
    let registries = registries(&fake, RegistryConfig::default());
    let held = format!("a.example/x@{}", digest_of("mine"));
    let error = resolve(&registries, &held).await.unwrap_err();
    assert!(error.message.contains("does not have the digest"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_not_found() {
    let table = [
        ("MANIFEST_UNKNOWN", "a.example/x:1", "no such tag"),
        ("NOT_FOUND", "a.example/x", "no such tag"),
        ("NAME_UNKNOWN", "a.example/x:1", "no such repository"),
    ];
    for (code, image, said) in table {
        let fake = server(move |_| error_reply(404, code));
        let registries = registries(&fake, RegistryConfig::default());
        let error = resolve(&registries, image).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::NotFound);
        assert!(error.message.contains(said), "{error}");
        assert_eq!(fake.lines().len(), 2, "HEAD says nothing more, GET says why");
    }
}

#[tokio::test(start_paused = true)]
async fn many_threads_may_ask() {
    let fake = server(guarded("300"));
    let registries = registries(&fake, RegistryConfig::default());
    let clone = registries.clone();
    let task = tokio::spawn(async move {
        let wanted = many("a.example", 3);
        clone.resolve_all(&wanted, &|_| ()).await
    });
    assert!(resolve(&registries, "a.example/x:1").await.is_ok());
    assert_eq!(task.await.unwrap().len(), 3);
}
