//! What a reference points to, asked of a real registry: Debian's, where it is installed, with a door
//! in front of it that demands tokens, forgets headers, refuses, lies and breaks off.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use axum::response::Response;
use imgplan::base::name::Platform;
use imgplan::base::reference::{OciDigest, RegistryRef};
use imgplan::http::Notice;
use imgplan::registry::{
    Credentials, Registries, RegistryConfig, RegistryError, RegistryErrorKind, Resolved,
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Front, FrontSeen, Registry, answer, digest};

/// Asks as a process of its own would.
struct Asking {
    runtime: tokio::runtime::Runtime,
    registries: Registries,
}

impl Asking {
    fn new() -> Self {
        Self::with(Credentials::none())
    }

    fn with(credentials: Credentials) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let registries =
            Registries::new(RegistryConfig { credentials, ..RegistryConfig::default() }).unwrap();
        Self { runtime, registries }
    }

    fn ask(&self, address: &str, image: &str) -> Result<Resolved, RegistryError> {
        self.ask_knowing(address, image, None)
    }

    fn ask_knowing(
        &self,
        address: &str,
        image: &str,
        known: Option<&Resolved>,
    ) -> Result<Resolved, RegistryError> {
        let reference: RegistryRef = format!("{address}/{image}").parse().unwrap();
        self.runtime.block_on(self.registries.resolve(&reference, known))
    }
}

/// What a registry was filled with.
struct Filled {
    registry: Registry,
    /// Of `app:1`, an index, and of what it has for each platform.
    index: OciDigest,
    amd64: OciDigest,
    arm64: OciDigest,
    /// Of `tools/one:latest`, one manifest.
    one: OciDigest,
}

fn filled() -> Option<Filled> {
    let registry = Registry::start()?;
    let mut layout = registry.layout("layout");
    let amd64 = layout.image("linux/amd64", "for amd64");
    let arm64 = layout.image("linux/arm64/v8", "for arm64");
    let arm = layout.image("linux/arm/v7", "for arm");
    let attestation = layout.attestation(&amd64);
    let index = layout.index(&[&arm, &amd64, &arm64, &attestation]);
    let one = layout.name("one", &layout.image("linux/amd64", "one"));
    let filled = Filled {
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

impl Filled {
    fn address(&self) -> &str {
        &self.registry.address
    }

    fn front(&self) -> Front {
        Front::of(self.address())
    }

    /// What `app:1` points to.
    #[track_caller]
    fn is_app(&self, found: &Resolved) {
        assert_eq!(found.digest, self.index);
        let platforms = [(Platform::Amd64, self.amd64), (Platform::Arm64, self.arm64)];
        assert_eq!(found.platforms, platforms.into());
    }
}

#[track_caller]
fn fails(found: Result<Resolved, RegistryError>, kind: RegistryErrorKind, says: &str) -> String {
    let error = found.unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.contains(says), "{error}");
    let all = format!("{error}\n{}", error.help);
    assert!(!all.contains("p4ss"), "{all}");
    all
}

#[test]
fn a_reference_points_to_a_manifest_or_to_one_for_each_platform() {
    let Some(filled) = filled() else { return };
    let (address, asking) = (filled.address(), Asking::new());
    let app = asking.ask(address, "app:1").unwrap();
    filled.is_app(&app);
    assert_eq!(asking.ask(address, &format!("app@{}", filled.index)), Ok(app));
    let one = asking.ask(address, "tools/one").unwrap();
    assert_eq!((one.digest, one.platforms.len()), (filled.one, 0));
    let amd64 = asking.ask(address, &format!("app@{}", filled.amd64)).unwrap();
    assert_eq!(amd64.digest, filled.amd64);

    let mut layout = filled.registry.layout("docker");
    layout.name("docker", &layout.image("linux/arm64", "in Docker's form"));
    let docker = filled.registry.push_as_docker(&layout, "docker", "docker:1");
    assert_eq!(asking.ask(address, "docker:1").unwrap().digest, docker);
}

#[test]
fn what_is_missing_is_not_found() {
    let Some(filled) = filled() else { return };
    let (address, asking) = (filled.address(), Asking::new());
    let not_found = RegistryErrorKind::NotFound;
    fails(asking.ask(address, "app:2"), not_found, "no such tag");
    // Debian's says the same of a repository that it does not have.
    fails(asking.ask(address, "other:1"), not_found, "no such tag, or no such repository");
    let digest = format!("app@{}", OciDigest::of(b"nowhere"));
    let said = fails(asking.ask(address, &digest), not_found, "no such digest");
    assert!(said.starts_with(&format!("{address}/{digest}: ")), "{said}");
}

#[test]
fn an_unchanged_tag_costs_one_head_and_a_moved_one_is_seen() {
    let Some(filled) = filled() else { return };
    let (front, asking) = (filled.front(), Asking::new());
    let app = asking.ask(&front.address, "app:1").unwrap();
    let get = format!("GET /v2/app/manifests/{}", filled.index);
    assert_eq!(front.lines(), ["HEAD /v2/app/manifests/1", &get]);
    let again = asking.ask_knowing(&front.address, "app:1", Some(&app)).unwrap();
    assert_eq!((again, front.lines()), (app.clone(), vec!["HEAD /v2/app/manifests/1".to_owned()]));
    asking.ask(&front.address, "tools/one").unwrap();
    assert_eq!(front.lines(), ["HEAD /v2/tools/one/manifests/latest"], "one manifest: no GET");

    let mut layout = filled.registry.layout("moved");
    let amd64 = layout.image("linux/amd64", "moved");
    let moved = layout.name("moved", &layout.index(&[&amd64]));
    filled.registry.push(&layout, "moved", "app:1");
    let found = asking.ask_knowing(&front.address, "app:1", Some(&app)).unwrap();
    assert_eq!(found.digest, moved);
    assert_eq!(found.platforms.get(&Platform::Amd64).copied(), Some(digest(&amd64)));
    assert_eq!(found.platforms.get(&Platform::Arm64).copied(), None);
}

#[test]
fn many_are_answered_in_their_order_each_asked_once() {
    let Some(filled) = filled() else { return };
    let (front, asking) = (filled.front(), Asking::new());
    let reference = |image: &str| format!("{}/{image}", front.address).parse().unwrap();
    let known = Resolved { digest: filled.one, platforms: [].into() };
    let wanted = [
        (reference("tools/one"), Some(known)),
        (reference("app:1"), None),
        (reference("nothing:1"), None),
        (reference("tools/one:latest"), None),
    ];
    let told = Mutex::new(Vec::new());
    let tell = |notice| told.lock().unwrap().push(notice);
    let answers = asking.runtime.block_on(asking.registries.resolve_all(&wanted, &tell));
    assert_eq!(answers[0].as_ref().unwrap().digest, filled.one);
    filled.is_app(answers[1].as_ref().unwrap());
    assert_eq!(answers[2].as_ref().unwrap_err().kind, RegistryErrorKind::NotFound);
    assert_eq!(answers[3], answers[0]);
    let ones = front.lines().iter().filter(|line| line.contains("/one/")).count();
    assert_eq!(ones, 1);
    let told = told.into_inner().unwrap();
    let last = told.last();
    assert!(matches!(last, Some(Notice::LookupDone { done: 3, total: 3, .. })), "{last:?}");
}

#[test]
fn registries_that_say_less_are_asked_by_get() {
    let Some(filled) = filled() else { return };
    let heads = |seen: &FrontSeen| seen.line.starts_with("HEAD ");
    let silent = filled.front().afterwards(|_, mut answer| {
        answer.headers_mut().remove("docker-content-digest");
        answer
    });
    let untyped = filled.front().afterwards(|_, mut answer| {
        answer.headers_mut().remove("content-type");
        answer
    });
    let only_get = |status: u16| {
        filled.front().instead(move |seen| heads(seen).then(|| answer(status, &[], "")))
    };
    for front in [silent, untyped, only_get(405), only_get(404), only_get(501)] {
        let asking = Asking::new();
        let app = asking.ask(&front.address, "app:1").unwrap();
        filled.is_app(&app);
        assert_eq!(asking.ask(&front.address, "tools/one").unwrap().digest, filled.one);
        assert_eq!(asking.ask_knowing(&front.address, "app:1", Some(&app)), Ok(app));
        let missing = asking.ask(&front.address, "app:2");
        fails(missing, RegistryErrorKind::NotFound, "no such tag");
    }
}

#[test]
fn a_registry_that_lies_about_a_digest_is_refused() {
    let Some(filled) = filled() else { return };
    let other = OciDigest::of(b"other").to_string();
    let lies = |which: &'static str| {
        let other = other.clone();
        filled.front().afterwards(move |seen, mut answer| {
            if seen.line.starts_with(which) {
                let headers = answer.headers_mut();
                headers.insert("docker-content-digest", other.parse().unwrap());
            }
            answer
        })
    };
    let swapped = || {
        filled.front().instead(|seen| {
            let kind = ("content-type", "application/vnd.oci.image.index.v1+json");
            let get = seen.line.starts_with("GET ");
            get.then(|| answer(200, &[kind], r#"{"schemaVersion":2,"manifests":[]}"#))
        })
    };
    let odd = RegistryErrorKind::Odd;
    let asking = Asking::new();
    // With an index, a GET shows the lie. What GET says of itself must be true as well.
    fails(asking.ask(&lies("GET ").address, "app:1"), odd, "does not have the digest");
    fails(asking.ask(&swapped().address, "app:1"), odd, "does not have the digest");
    let held = format!("tools/one@{}", filled.one);
    fails(asking.ask(&lies("HEAD ").address, &held), odd, "does not have the digest");
    // The registry itself does not have what the HEAD has named.
    fails(asking.ask(&lies("HEAD ").address, "app:1"), RegistryErrorKind::NotFound, "no such tag");
}

#[test]
fn a_429_is_waited_for_as_long_as_the_registry_asks() {
    let Some(filled) = filled() else { return };
    let mut left = 2;
    let front = filled.front().instead(move |_| {
        left -= i32::from(left >= 0);
        (left >= 0).then(|| answer(429, &[("retry-after", "1")], ""))
    });
    let asking = Asking::new();
    let wanted = [(format!("{}/app:1", front.address).parse().unwrap(), None)];
    let told = Mutex::new(Vec::new());
    let tell = |notice| told.lock().unwrap().push(notice);
    let answers = asking.runtime.block_on(asking.registries.resolve_all(&wanted, &tell));
    filled.is_app(answers[0].as_ref().unwrap());
    let told = told.into_inner().unwrap();
    let pauses =
        told.iter().filter(|notice| matches!(notice, Notice::RegistryPaused { .. })).count();
    assert_eq!((pauses, front.lines().len()), (2, 4));

    let closed = filled.front().instead(|_| Some(answer(429, &[("retry-after", "3600")], "")));
    let limited = RegistryErrorKind::RateLimited;
    for _ in 0..3 {
        fails(asking.ask(&closed.address, "app:1"), limited, "asks to wait 3600 s");
    }
    assert_eq!(closed.lines().len(), 1, "nobody is asked who asked to be left alone");
}

#[test]
fn broken_connections_are_made_anew_and_dead_hosts_given_up() {
    let Some(filled) = filled() else { return };
    let front = filled.front().breaking(2);
    filled.is_app(&Asking::new().ask(&front.address, "app:1").unwrap());
    assert_eq!(front.unbroken(), 0);

    let dead = filled.front().breaking(1000);
    let wanted: Vec<_> =
        (0..100).map(|n| (format!("{}/app:{n}", dead.address).parse().unwrap(), None)).collect();
    let asking = Asking::new();
    let answers = asking.runtime.block_on(asking.registries.resolve_all(&wanted, &|_| ()));
    for answer in answers {
        fails(answer, RegistryErrorKind::Unreachable, &dead.address);
    }
    // Eight at once, three times each.
    let tried = 1000 - dead.unbroken();
    assert!(tried <= 24, "{tried} connections");

    // The port of one that has gone.
    let gone = filled.front().address.clone();
    fails(Asking::new().ask(&gone, "app:1"), RegistryErrorKind::Unreachable, &gone);
}

#[test]
fn a_body_that_breaks_off_is_fetched_again() {
    let Some(filled) = filled() else { return };
    let broken = Mutex::new(1);
    let front = filled.front().afterwards(move |seen, passed| {
        let mut broken = broken.lock().unwrap();
        if *broken == 0 || !seen.line.starts_with("GET ") {
            return passed;
        }
        *broken -= 1;
        let (parts, _) = passed.into_parts();
        let part = [Ok("{"), Err(std::io::Error::other("cut"))];
        let body = axum::body::Body::from_stream(futures::stream::iter(part));
        Response::from_parts(parts, body)
    });
    filled.is_app(&Asking::new().ask(&front.address, "app:1").unwrap());
    assert_eq!(front.lines().len(), 3);
}

/// A door that demands tokens, which it gives to these who show this, each for a number of requests.
fn guarded(filled: &Filled, who: &'static [&'static str], mut uses: i32) -> Front {
    let mut tokens: i32 = 0;
    let mut left = 0;
    let mut address = None;
    filled.front().instead(move |seen| {
        let host = seen.headers["host"].to_str().unwrap().to_owned();
        let own = address.get_or_insert(host).clone();
        if seen.line.starts_with("GET /token?") || seen.line == "POST /token" {
            let shown = format!("{}{}", seen.authorization(), seen.body);
            if !who.iter().any(|who| shown.contains(who)) {
                return Some(answer(
                    401,
                    &[],
                    &json!({"details": format!("who is {shown}?")}).to_string(),
                ));
            }
            tokens += 1;
            left = uses;
            // The next ones last.
            uses = i32::MAX;
            let token = json!({"access_token": format!("token-{tokens}"), "expires_in": 300});
            return Some(answer(200, &[], &token.to_string()));
        }
        if tokens > 0 && left > 0 && seen.authorization() == format!("Bearer token-{tokens}") {
            left -= 1;
            return None;
        }
        let demand =
            format!("Basic realm=\"x\", Bearer realm=\"http://{own}/token\",service=\"reg\"");
        Some(answer(401, &[("www-authenticate", &demand)], ""))
    })
}

/// `ann` and `p4ssword`, as a header has them.
const ANN: &str = "Basic YW5uOnA0c3N3b3Jk";

/// A `config.json` in a folder of its own.
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

/// A credential helper in that folder.
fn helper(dir: &TempDir, script: &str) {
    let (from, to) = (dir.path().join("script"), dir.path().join("docker-credential-test"));
    fs::write(&from, format!("#!/bin/sh\n{script}\n")).unwrap();
    // Another process writes what is run: where one of ours has a file open, as a child of another
    // test may for a moment, it cannot be run.
    let mut install = std::process::Command::new("install");
    assert!(install.arg("-m755").args([from, to]).status().unwrap().success());
}

#[test]
fn a_token_for_everybody() {
    let Some(filled) = filled() else { return };
    let (front, asking) = (guarded(&filled, &[""], i32::MAX), Asking::new());
    filled.is_app(&asking.ask(&front.address, "app:1").unwrap());
    let token = "GET /token?service=reg&scope=repository%3Aapp%3Apull";
    let seen = front.lines();
    assert_eq!(seen[..3], ["HEAD /v2/app/manifests/1", token, "HEAD /v2/app/manifests/1"]);
    assert_eq!(seen.len(), 4);
    // Another repository needs a token of its own, and to be told so no more.
    asking.ask(&front.address, "tools/one").unwrap();
    let token = "GET /token?service=reg&scope=repository%3Atools%2Fone%3Apull";
    assert_eq!(front.lines(), [token, "HEAD /v2/tools/one/manifests/latest"]);
}

#[test]
fn a_token_that_expires_is_fetched_anew() {
    let Some(filled) = filled() else { return };
    // It holds for the HEAD and not for the GET, whatever the door says of it.
    let (front, asking) = (guarded(&filled, &[""], 1), Asking::new());
    filled.is_app(&asking.ask(&front.address, "app:1").unwrap());
    let tokens = front.lines().iter().filter(|line| line.contains("/token")).count();
    assert_eq!(tokens, 2);
}

#[test]
fn credentials_out_of_a_file() {
    let Some(filled) = filled() else { return };
    let front = guarded(&filled, &[ANN], i32::MAX);
    let auth = |auth: &str| json!({"auths": {(&*front.address): {"auth": auth}}});
    let denied = RegistryErrorKind::Denied;

    let said = fails(Asking::new().ask(&front.address, "app:1"), denied, "no token to nobody");
    assert!(said.contains(&format!("docker login {}", front.address)), "{said}");

    let (_dir, good) = docker_config(&auth("YW5uOnA0c3N3b3Jk"));
    let asking = Asking::with(good);
    front.seen();
    filled.is_app(&asking.ask(&front.address, "app:1").unwrap());
    let shown = |seen: &FrontSeen| seen.authorization().to_owned();
    let shown: Vec<_> = front.seen().iter().map(shown).collect();
    assert_eq!(shown, ["", ANN, "Bearer token-1", "Bearer token-1"]);

    // `ann:p4ss-wrong`. The door says it back, and nobody sees it.
    let (_dir, wrong) = docker_config(&auth("YW5uOnA0c3Mtd3Jvbmc="));
    let said = fails(Asking::with(wrong).ask(&front.address, "app:1"), denied, "no token to these");
    assert!(said.contains("who is Basic [hidden]?"), "{said}");

    // Those of another registry stay where they are.
    let (_dir, other) =
        docker_config(&json!({"auths": {"localhost:1": {"auth": "YW5uOnA0c3N3b3Jk"}}}));
    front.seen();
    fails(Asking::with(other).ask(&front.address, "app:1"), denied, "no token to nobody");
    assert!(front.seen().iter().all(|seen| seen.authorization().is_empty()));
}

#[test]
fn credentials_out_of_a_helper() {
    const FORM: &str = "&refresh_token=p4ss-identity";
    let Some(filled) = filled() else { return };
    let front = guarded(&filled, &[ANN, FORM], i32::MAX);
    let own = json!({"credHelpers": {(&*front.address): "test"}});
    let store = json!({"credsStore": "test"});
    for config in [&own, &store] {
        let (dir, credentials) = docker_config(config);
        let server = &front.address;
        helper(
            &dir,
            &format!(
                "read -r server\n[ \"$1 $server\" = 'get {server}' ] || exit 1\n\
                 echo called >>'{}'\n\
                 echo '{{\"ServerURL\":\"x\",\"Username\":\"ann\",\"Secret\":\"p4ssword\"}}'",
                dir.path().join("calls").display()
            ),
        );
        let asking = Asking::with(credentials);
        filled.is_app(&asking.ask(&front.address, "app:1").unwrap());
        asking.ask(&front.address, "tools/one").unwrap();
        let calls = fs::read_to_string(dir.path().join("calls")).unwrap();
        assert_eq!(calls, "called\n", "asked once");
    }

    let (dir, credentials) = docker_config(&store);
    helper(&dir, r#"echo '{"Username":"<token>","Secret":"p4ss-identity"}'"#);
    filled.is_app(&Asking::with(credentials).ask(&front.address, "app:1").unwrap());
    assert!(front.lines().contains(&"POST /token".to_owned()));
}

#[test]
fn a_helper_that_is_of_no_help_does_not_hide_what_is_public() {
    let Some(filled) = filled() else { return };
    let (public, private) = (guarded(&filled, &[""], i32::MAX), guarded(&filled, &[ANN], i32::MAX));
    let none = "echo 'credentials not found in native keychain'; exit 1";
    let table = [
        (Some(none), "docker login"),
        (Some("echo p4ss-in-a-message; exit 1"), "docker-credential-test failed"),
        (Some("echo p4ss-no-json"), "something else than a credential"),
        (None, "docker-credential-test, which Docker's configuration names, is not in PATH"),
    ];
    for (script, said) in table {
        let (dir, credentials) = docker_config(&json!({"credsStore": "test"}));
        if let Some(script) = script {
            helper(&dir, script);
        }
        let asking = Asking::with(credentials);
        filled.is_app(&asking.ask(&public.address, "app:1").unwrap());
        let denied = RegistryErrorKind::Denied;
        let all = fails(asking.ask(&private.address, "app:1"), denied, "no token to nobody");
        assert!(all.contains(said), "{all}");
    }
}

#[test]
fn a_registry_that_wants_a_password() {
    let Some(filled) = filled() else { return };
    let front = filled.front().instead(|seen| {
        let demand = ("www-authenticate", "Basic realm=\"here\"");
        (seen.authorization() != ANN).then(|| answer(401, &[demand], ""))
    });
    let denied = RegistryErrorKind::Denied;
    fails(Asking::new().ask(&front.address, "app:1"), denied, "wants a user and a password");
    let entry = |password: &str| {
        let entry = json!({"username": "ann", "password": password});
        docker_config(&json!({"auths": {(&*front.address): entry}}))
    };
    let (_dir, good) = entry("p4ssword");
    filled.is_app(&Asking::with(good).ask(&front.address, "app:1").unwrap());
    let (_dir, wrong) = entry("p4ss-wrong");
    front.seen();
    fails(Asking::with(wrong).ask(&front.address, "app:1"), denied, "may not be read");
    assert_eq!(front.lines().len(), 2, "a wrong password is not tried again");
}

#[test]
fn a_redirect_takes_no_token_along() {
    let Some(filled) = filled() else { return };
    let elsewhere = filled.front();
    let to = elsewhere.address.clone();
    let guard = guarded(&filled, &[ANN], i32::MAX);
    let behind = guard.address.clone();
    // Whoever has shown a token to the door is sent on.
    let front = Front::of(&behind).instead(move |seen| {
        if seen.authorization().starts_with("Bearer ") {
            let path = seen.line.split_once(' ').unwrap().1;
            return Some(answer(307, &[("location", &format!("http://{to}{path}"))], ""));
        }
        let demand = format!("Bearer realm=\"http://{behind}/token\",service=\"reg\"");
        Some(answer(401, &[("www-authenticate", &demand)], ""))
    });
    let entry = json!({"auth": "YW5uOnA0c3N3b3Jk"});
    let (_dir, credentials) = docker_config(&json!({"auths": {(&*front.address): entry}}));
    filled.is_app(&Asking::with(credentials).ask(&front.address, "app:1").unwrap());
    let seen = elsewhere.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.authorization().is_empty()), "{seen:?}");
}
