//! A server with a registry behind it: transfers copy images of a second registry, and renames and
//! deletions happen in the registry too. Both registries are real (Debian's package, if it is
//! installed), and what they hold is read by skopeo.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::body::Body;
use axum::response::Response;
use futures::stream::{self, StreamExt};
use imgplan::test_support::base::name::Platform;
use imgplan::test_support::base::reference::{OciDigest, RegistryRef};
use imgplan::test_support::registry::{Credentials, ImageCopier, Registries, RegistryConfig};
use imgplan::test_support::server::{
    ApiVersion, PushRegistry, RegistryTrust, ServerConfig, ServerRegistryConfig,
};
use serde_json::{Value, json};

use crate::support::{
    Front, FrontSeen, REGISTRY_USER, Registry, TestEnv, answer, digest, wait_until,
};

/// The digests of the image `app:1` in a source registry.
struct SourceImages {
    index: OciDigest,
    amd64: OciDigest,
    arm64: OciDigest,
    attestation: OciDigest,
}

/// Pushes an index with two platforms and an attestation as `app:1`.
fn fill(registry: &Registry) -> SourceImages {
    let mut layout = registry.layout("layout");
    let amd64 = layout.image("linux/amd64", "for amd64");
    let arm64 = layout.image("linux/arm64", "for arm64");
    let attestation = layout.attestation(&amd64);
    let index = layout.index(&[&amd64, &arm64, &attestation]);
    layout.name("app", &index);
    registry.push(&layout, "app", "app:1");
    let [index, amd64, arm64, attestation] = [index, amd64, arm64, attestation].map(|d| digest(&d));
    SourceImages { index, amd64, arm64, attestation }
}

/// Pushes an image of one platform with this content. Returns its manifest.
pub(crate) fn push(registry: &Registry, image: &str, platform: &str, content: &str) -> Value {
    let name = image.replace([':', '/'], "-");
    let mut layout = registry.layout(&name);
    let manifest = layout.image(platform, content);
    layout.name(&name, &manifest);
    registry.push(&layout, &name, image);
    serde_json::from_slice(&registry.raw(image).unwrap()).unwrap()
}

/// Returns the digest of the only layer of a manifest.
fn layer(manifest: &Value) -> OciDigest {
    digest(&manifest["layers"][0])
}

/// Returns the settings of a server with this registry.
pub(crate) fn behind(registry: &Registry) -> ServerRegistryConfig {
    let registry = PushRegistry::new(registry.address.clone());
    ServerRegistryConfig { registry, upstream: Credentials::none() }
}

/// The same with a file of credentials.
fn behind_with(registry: &Registry, auth: Option<&Path>) -> ServerRegistryConfig {
    let mut config = behind(registry);
    config.registry.auth = auth.map(Path::to_owned);
    config
}

fn server(registry: ServerRegistryConfig, state: Option<PathBuf>) -> ServerConfig {
    let api = ApiVersion::August2026;
    ServerConfig { registry: Some(registry), state, api, ..ServerConfig::default() }
}

/// The end of a transfer.
#[derive(Debug)]
struct Ended {
    status: String,
    error: String,
    size: Option<u64>,
}

/// Starts a transfer of `source` to `name:tag` for a platform. Returns its build ID.
fn start(env: &TestEnv, source: &str, image: &str, platform: &str) -> String {
    let (name, tag) = image.split_once(':').unwrap();
    let request = json!({
        "source_image": source, "image_name": name, "image_tag": tag, "platform": platform,
    });
    let accepted = env.server().send("POST", "images/build", &request);
    accepted["build_id"].as_str().unwrap().to_owned()
}

fn wait(env: &TestEnv, build: &str) -> Ended {
    let mut status = Value::Null;
    wait_until("the transfer ends", || {
        status = env.server().get(&format!("images/build/{build}"));
        matches!(status["status"].as_str(), Some("COMPLETED" | "FAILED" | "CANCELLED"))
    });
    let artifact = &status["artifacts"][0];
    let rows = env.server().get("images?limit=250");
    let row = rows["data"].as_array().unwrap().iter().find(|row| row["id"] == artifact["id"]);
    Ended {
        status: status["status"].as_str().unwrap().to_owned(),
        error: artifact["errorMessage"].as_str().unwrap_or_default().to_owned(),
        size: row.and_then(|row| row["sizeBytes"].as_u64()),
    }
}

/// Transfers an image for amd64, and returns its end.
fn transfer(env: &TestEnv, source: &str, image: &str) -> Ended {
    wait(env, &start(env, source, image, "linux/amd64"))
}

#[track_caller]
fn completes(env: &TestEnv, source: &str, image: &str) {
    let ended = transfer(env, source, image);
    assert_eq!(ended.status, "COMPLETED", "{ended:?}");
}

/// Transfers an image, which fails. Returns the reason.
#[track_caller]
fn fails(env: &TestEnv, source: &str, image: &str) -> String {
    let ended = transfer(env, source, image);
    assert_eq!(ended.status, "FAILED", "{ended:?}");
    assert!(!ended.error.contains(['\n', '\u{1b}']), "{ended:?}");
    ended.error
}

fn patch(env: &TestEnv, image: &str, set: &Value) {
    let (name, tag) = image.split_once(':').unwrap();
    let source = json!({"owner": {"type": "personal"}, "name": name, "tag": tag});
    let updates = json!([{"source": source, "set": set}]);
    let body = json!({"mode": "explicit", "dryRun": false, "updates": updates});
    let response = env.server().send("PATCH", "images", &body);
    assert_eq!(response["success"], true, "{response}");
}

fn delete(env: &TestEnv, image: &str) {
    let path = format!("images/{}", image.replace(':', "/"));
    env.server().send("DELETE", &path, &Value::Null);
}

/// Returns the digest of an image in a registry, as skopeo reads it.
fn digest_in(registry: &Registry, image: &str) -> Option<OciDigest> {
    registry.raw(image).map(|bytes| OciDigest::of(&bytes))
}

#[test]
fn an_index_is_copied_as_a_whole_with_its_digests_and_a_second_time_not_at_all() {
    let (Some(source), Some(own)) = (Registry::start(), Registry::start()) else { return };
    let images = fill(&source);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = || Registries::new(RegistryConfig::default()).unwrap();
    let copier = ImageCopier::new(client());
    let from: RegistryRef = format!("{}/app:1", source.address).parse().unwrap();
    let copy = |to: &str| {
        let to: RegistryRef = format!("{}/{to}", own.address).parse().unwrap();
        runtime.block_on(async {
            let copied = copier.copy(&client(), &from, None, &to, &|_| ()).await.unwrap();
            copier.publish(&copied, &|_| ()).await.unwrap();
            copied
        })
    };
    let copied = copy("mirror/app:1");
    assert_eq!(copied.digest(), images.index);
    let mut children = copied.children.clone();
    let mut expected = vec![images.amd64, images.arm64, images.attestation];
    children.sort();
    expected.sort();
    assert_eq!(children, expected);
    for name in [":1".to_owned(), format!("@{}", images.amd64), format!("@{}", images.arm64)] {
        let raw = own.raw(&format!("mirror/app{name}")).unwrap();
        assert_eq!(raw, source.raw(&format!("app{name}")).unwrap(), "{name}");
    }
    let before = own.requests().len();
    assert_eq!(copy("mirror/app:2").size, copied.size);
    let again = own.requests().split_off(before);
    assert!(again.iter().all(|line| !line.contains("/blobs/")), "{again:#?}");
    assert_eq!(digest_in(&own, "mirror/app:2"), Some(images.index));
    // Another repository of the same registry: the blobs are mounted.
    let before = own.requests().len();
    copy("other/app:1");
    let mounted = own.requests().split_off(before);
    let posts: Vec<_> = mounted.iter().filter(|line| line.starts_with("POST ")).collect();
    assert!(
        posts.iter().all(|line| line.contains("mount=") && line.ends_with(" 201")),
        "{posts:?}"
    );
    assert!(
        !posts.is_empty() && !mounted.iter().any(|line| line.contains("/blobs/uploads/?digest"))
    );
    assert_eq!(digest_in(&own, "other/app:1"), Some(images.index));
}

#[test]
fn a_transfer_copies_the_manifest_of_its_platform_and_sends_no_blob_twice() {
    let (Some(source), Some(own)) = (Registry::start(), Registry::start()) else { return };
    let images = fill(&source);
    let env = TestEnv::unlimited(server(behind(&own), None));
    let app = format!("{}/app:1", source.address);
    let ended = wait(&env, &start(&env, &app, "app:arm", "linux/arm64"));
    assert_eq!(ended.status, "COMPLETED", "{ended:?}");
    let raw = own.raw("prime/local/app:arm").unwrap();
    assert_eq!(OciDigest::of(&raw), images.arm64);
    let manifest: Value = serde_json::from_slice(&raw).unwrap();
    let sizes = [&manifest["config"], &manifest["layers"][0]].map(|d| d["size"].as_u64().unwrap());
    assert_eq!(ended.size, Some(sizes.iter().sum()));
    let uploads = || own.requests().iter().filter(|line| line.starts_with("POST ")).count();
    assert_eq!(uploads(), 2);
    // By its digest, under a further tag.
    completes(&env, &format!("{app}@{}", images.index), "app:2");
    assert_eq!((digest_in(&own, "prime/local/app:2"), uploads()), (Some(images.amd64), 4));
    completes(&env, &app, "app:3");
    assert_eq!((digest_in(&own, "prime/local/app:3"), uploads()), (Some(images.amd64), 4));
    // Docker's format keeps its digest too.
    let mut layout = source.layout("docker");
    let image = layout.image("linux/amd64", "in the format of Docker");
    layout.name("docker", &image);
    let docker = source.push_as_docker(&layout, "docker", "docker:1");
    completes(&env, &format!("{}/docker:1", source.address), "docker:1");
    assert_eq!(digest_in(&own, "prime/local/docker:1"), Some(docker));
}

#[test]
fn a_transfer_of_another_platform_fails() {
    let (Some(source), Some(own)) = (Registry::start(), Registry::start()) else { return };
    push(&source, "single:1", "linux/arm64", "for arm64");
    let mut layout = source.layout("others");
    let others = ["linux/s390x", "windows/amd64"].map(|platform| layout.image(platform, platform));
    let index = layout.index(&[&others[0], &others[1]]);
    layout.name("others", &index);
    source.push(&layout, "others", "others:1");
    let env = TestEnv::unlimited(server(behind(&own), None));
    for (image, expected) in [
        ("single:1", "it is an image for linux/arm64, and not for linux/amd64"),
        ("others:1", "it has no image for linux/amd64, only for linux/s390x, windows/amd64"),
        ("none:1", "the registry has no such"),
    ] {
        let reason = fails(&env, &format!("{}/{image}", source.address), image);
        assert!(reason.contains(expected), "{reason}");
        assert!(own.raw(&format!("prime/local/{image}")).is_none());
    }
}

#[test]
fn private_registries_take_the_credentials_of_the_docker_configuration_and_of_the_auth_file() {
    let (Some(source), Some(own)) = (Registry::protected(), Registry::protected()) else { return };
    let images = fill(&source);
    let dir = tempfile::tempdir().unwrap();
    let [config, auth] = ["config.json", "auth.json"].map(|name| dir.path().join(name));
    source.write_credentials(&config);
    own.write_credentials(&auth);
    let app = format!("{}/app:1", source.address);
    let with = |upstream: Option<&Path>, auth_file: Option<&Path>| {
        let files = upstream.map(Path::to_owned).into_iter().collect();
        let upstream = Credentials::from_files(files, "");
        let registry = ServerRegistryConfig { upstream, ..behind_with(&own, auth_file) };
        TestEnv::unlimited(server(registry, None))
    };
    let env = with(Some(&config), Some(&auth));
    completes(&env, &app, "app:1");
    assert_eq!(digest_in(&own, "prime/local/app:1"), Some(images.amd64));
    let password = REGISTRY_USER.1;
    let no_source = fails(&with(None, Some(&auth)), &app, "app:2");
    let help = format!("log in with `docker login {}`", source.address);
    assert!(no_source.contains(&help), "{no_source}");
    // The credentials of one registry are not those of the other.
    let crossed = fails(&with(Some(&auth), Some(&config)), &app, "app:2");
    let no_own = fails(&with(Some(&config), None), &app, "app:2");
    let help = format!("{}/prime/local/app:2: ", own.address);
    assert!(no_own.starts_with(&help) && no_own.contains("docker login"), "{no_own}");
    std::fs::write(&auth, std::fs::read_to_string(&auth).unwrap().replace(password, "wr0ng-pass"))
        .unwrap();
    let wrong = fails(&with(Some(&config), Some(&auth)), &app, "app:2");
    for text in [no_source, crossed, no_own, wrong] {
        assert!(!text.contains(password) && !text.contains("wr0ng-pass"), "{text}");
    }
    assert!(own.raw("prime/local/app:2").is_none());
}

/// Returns true for a request that downloads a blob.
fn is_blob(seen: &FrontSeen) -> bool {
    seen.line.starts_with("GET ") && seen.line.contains("/blobs/")
}

#[test]
fn a_rate_limit_of_the_source_is_waited_for() {
    let (Some(source), Some(own)) = (Registry::start(), Registry::start()) else { return };
    let images = fill(&source);
    let mut refusals = 2;
    let front = Front::of(&source.address).instead(move |seen| {
        (refusals > 0 && (is_blob(seen) || refusals == 2)).then(|| {
            refusals -= 1;
            answer(429, &[("retry-after", "1")], "")
        })
    });
    let env = TestEnv::unlimited(server(behind(&own), None));
    completes(&env, &format!("{}/app:1", front.address), "app:1");
    assert_eq!(digest_in(&own, "prime/local/app:1"), Some(images.amd64));
    // A limit that lasts for hours is the reason of a failure.
    let front = Front::of(&source.address)
        .instead(|seen| is_blob(seen).then(|| answer(429, &[("retry-after", "3600")], "")));
    push(&source, "other:1", "linux/amd64", "of another content");
    let reason = fails(&env, &format!("{}/other:1", front.address), "other:1");
    assert!(reason.contains("asks to wait 3600 s") && reason.contains("docker login"), "{reason}");
}

/// Returns a response that ends in the middle of its body.
fn cut(bytes: usize) -> Response {
    let half = axum::body::Bytes::from(vec![b'x'; bytes / 2]);
    let broken = stream::once(async {
        // Until then the head and the half are sent.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut"))
    });
    let body = Body::from_stream(stream::iter([Ok(half)]).chain(broken));
    Response::builder().header("content-length", bytes).body(body).unwrap()
}

#[test]
fn a_broken_download_is_repeated_or_leaves_nothing() {
    let (Some(source), Some(own)) = (Registry::start(), Registry::start()) else { return };
    let numbers: Vec<String> = (0..60_000).map(|n| format!("{n:x}")).collect();
    let manifest = push(&source, "app:1", "linux/amd64", &numbers.join(" "));
    let (layer, size) = (layer(&manifest), manifest["layers"][0]["size"].as_u64().unwrap());
    let path = format!("/blobs/{layer}");
    let broken = |count: usize| {
        let (path, left) = (path.clone(), AtomicUsize::new(count));
        let size = usize::try_from(size).unwrap();
        Front::of(&source.address).instead(move |seen| {
            let is_layer = is_blob(seen) && seen.line.ends_with(&path);
            let less = |left: usize| left.checked_sub(1);
            let breaks =
                is_layer && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
            breaks.then(|| cut(size))
        })
    };
    let env = TestEnv::unlimited(server(behind(&own), None));
    let front = broken(usize::MAX);
    let reason = fails(&env, &format!("{}/app:1", front.address), "app:1");
    assert!(reason.contains(&format!("the blob {layer} broke off")), "{reason}");
    assert!(own.raw("prime/local/app:1").is_none() && !own.has_blob(layer));
    let front = broken(2);
    completes(&env, &format!("{}/app:1", front.address), "app:1");
    assert!(digest_in(&own, "prime/local/app:1").is_some() && own.has_blob(layer));
}

type Respond = Box<dyn Fn() -> Response + Send>;

#[test]
fn content_with_a_wrong_digest_is_not_pushed() {
    let (Some(source), Some(own)) = (Registry::start(), Registry::start()) else { return };
    let manifest = push(&source, "app:1", "linux/amd64", "content");
    let (layer, size) = (layer(&manifest), manifest["layers"][0]["size"].as_u64().unwrap());
    let size = usize::try_from(size).unwrap();
    let env = TestEnv::unlimited(server(behind(&own), None));
    let other = |length: usize| axum::body::Bytes::from(vec![b'x'; length]);
    let chunked = move |length: usize| {
        let body = stream::iter([Ok::<_, std::io::Error>(other(length))]);
        Response::new(Body::from_stream(body))
    };
    let cases: [(Respond, &str); 4] = [
        (Box::new(move || answer(200, &[], other(size))), "sent bytes of the digest sha256:"),
        (Box::new(move || chunked(size + 1)), "more than its"),
        (Box::new(move || answer(200, &[], other(size - 1))), "bytes for the blob"),
        (Box::new(|| answer(404, &[], "")), "the registry has no blob"),
    ];
    for (respond, expected) in cases {
        let path = format!("/blobs/{layer}");
        let front = Front::of(&source.address)
            .instead(move |seen| (is_blob(seen) && seen.line.ends_with(&path)).then(&respond));
        let reason = fails(&env, &format!("{}/app:1", front.address), "app:1");
        assert!(reason.contains(expected) && reason.contains(&layer.to_string()), "{reason}");
        assert!(own.raw("prime/local/app:1").is_none() && !own.has_blob(layer), "{expected}");
    }
    // A manifest that is not the one of the tag's digest.
    let front = Front::of(&source.address).afterwards(|seen, mut response| {
        if seen.line.contains("/manifests/") {
            let wrong = OciDigest::of(b"other").to_string();
            response.headers_mut().insert("docker-content-digest", wrong.parse().unwrap());
        }
        response
    });
    let reason = fails(&env, &format!("{}/app:1", front.address), "app:1");
    assert!(reason.contains("does not have the expected digest"), "{reason}");
}

#[test]
fn a_source_that_repeats_the_request_does_not_show_its_secrets() {
    let (Some(source), Some(own)) = (Registry::protected(), Registry::start()) else { return };
    fill(&source);
    let dir = tempfile::tempdir().unwrap();
    let front = Front::of(&source.address).instead(|seen| {
        let text = format!("bad\u{1b}[31m: {}", seen.authorization());
        let errors = json!({"errors": [{"code": "X", "message": text}]});
        match seen.authorization() {
            "" => Some(answer(401, &[("www-authenticate", "Basic realm=\"x\"")], "")),
            _ => Some(answer(400, &[], errors.to_string())),
        }
    });
    let config = dir.path().join("config.json");
    let (user, password) = REGISTRY_USER;
    let auth = json!({"username": user, "password": password});
    std::fs::write(&config, json!({"auths": {&front.address: auth}}).to_string()).unwrap();
    let upstream = Credentials::from_files(vec![config], "");
    let registry = ServerRegistryConfig { upstream, ..behind(&own) };
    let env = TestEnv::unlimited(server(registry, None));
    let reason = fails(&env, &format!("{}/app:1", front.address), "app:1");
    assert!(reason.contains("HTTP 400: bad") && reason.contains("Basic [hidden]"), "{reason}");
}

#[test]
fn a_rename_moves_the_tag_and_a_change_of_owner_mounts_the_blobs() {
    let (Some(source), Some(own)) = (Registry::start(), Registry::start()) else { return };
    let images = fill(&source);
    let env = TestEnv::unlimited(server(behind(&own), None));
    let app = format!("{}/app:1", source.address);
    for image in ["app:1", "app:2"] {
        completes(&env, &app, image);
    }
    let gone = |image: &str| own.raw(image).is_none();
    patch(&env, "app:1", &json!({"tag": "renamed"}));
    assert_eq!(digest_in(&own, "prime/local/app:renamed"), Some(images.amd64));
    wait_until("the old tag is gone", || gone("prime/local/app:1"));
    assert_eq!(digest_in(&own, "prime/local/app:2"), Some(images.amd64), "it has the same digest");
    let before = own.requests().len();
    let team = json!({"name": "tool", "owner": {"type": "team", "teamId": "t1"}});
    patch(&env, "app:renamed", &team);
    assert_eq!(digest_in(&own, "prime/team-t1/tool:renamed"), Some(images.amd64));
    wait_until("the old tag is gone", || gone("prime/local/app:renamed"));
    let requests = own.requests().split_off(before);
    let mounts = requests.iter().filter(|line| line.contains("mount=") && line.ends_with(" 201"));
    assert_eq!(mounts.count(), 2, "{requests:#?}");
    assert!(!requests.iter().any(|line| line.starts_with("GET /v2/prime/local/app/blobs/")));
    assert_eq!(env.server().images("teamId=t1"), ["tool:renamed PRIVATE"]);
}

#[test]
fn a_deletion_spares_other_tags_with_the_same_digest() {
    let (Some(source), Some(own)) = (Registry::start(), Registry::start()) else { return };
    let images = fill(&source);
    let env = TestEnv::unlimited(server(behind(&own), None));
    let app = format!("{}/app:1", source.address);
    for image in ["app:1", "app:2", "other:1"] {
        completes(&env, &app, image);
    }
    let by_digest = format!("prime/local/app@{}", images.amd64);
    delete(&env, "app:1");
    wait_until("the tag is gone", || own.raw("prime/local/app:1").is_none());
    assert_eq!(digest_in(&own, "prime/local/app:2"), Some(images.amd64));
    delete(&env, "app:2");
    wait_until("the manifest is gone", || own.raw(&by_digest).is_none());
    assert_eq!(digest_in(&own, "prime/local/other:1"), Some(images.amd64), "another repository");
    // The name is free again.
    completes(&env, &app, "app:1");
    assert_eq!(digest_in(&own, "prime/local/app:1"), Some(images.amd64));
}

#[test]
fn a_deletion_that_the_registry_refused_is_made_by_the_next_start() {
    let (Some(source), Some(own)) = (Registry::start(), Registry::protected()) else { return };
    let images = fill(&source);
    let dir = tempfile::tempdir().unwrap();
    let (state, auth) = (dir.path().join("state"), dir.path().join("auth.json"));
    own.write_credentials(&auth);
    let registry = behind_with(&own, Some(&auth));
    let config = |registry: &ServerRegistryConfig| server(registry.clone(), Some(state.clone()));
    let app = format!("{}/app:1", source.address);
    let env = TestEnv::unlimited(config(&registry));
    completes(&env, &app, "app:1");
    completes(&env, &app, "app:2");
    drop(env);
    // Without credentials it cannot delete.
    let before = own.requests().len();
    let env = TestEnv::unlimited(config(&behind(&own)));
    delete(&env, "app:1");
    wait_until("it is refused", || {
        own.requests().split_off(before).iter().any(|line| line.ends_with(" 401"))
    });
    assert_eq!(env.server().images(""), ["app:2 PRIVATE"]);
    drop(env);
    assert_eq!(digest_in(&own, "prime/local/app:1"), Some(images.amd64));
    let env = TestEnv::unlimited(config(&registry));
    wait_until("the tag is gone", || own.raw("prime/local/app:1").is_none());
    assert_eq!(digest_in(&own, "prime/local/app:2"), Some(images.amd64));
    drop(env);
}

#[test]
fn a_server_that_dies_in_a_copy_resumes_it_without_the_blobs_that_are_there() {
    let (Some(source), Some(own)) = (Registry::start(), Registry::start()) else { return };
    let manifest = push(&source, "app:1", "linux/amd64", "content");
    let (layer, config) = (layer(&manifest), digest(&manifest["config"]));
    let is_stuck = Arc::new(AtomicBool::new(true));
    let (path, stuck) = (format!("/blobs/{layer}"), Arc::clone(&is_stuck));
    // The layer does not come until the server has died.
    let front = Front::of(&source.address).instead(move |seen| {
        let waits = is_blob(seen) && seen.line.ends_with(&path) && stuck.load(Ordering::Relaxed);
        waits.then(|| answer(503, &[("retry-after", "100")], ""))
    });
    let state = tempfile::tempdir().unwrap();
    let running = || server(behind(&own), Some(state.path().join("state")));
    let env = TestEnv::unlimited(running());
    let build = start(&env, &format!("{}/app:1", front.address), "app:1", "linux/amd64");
    wait_until("the configuration is there", || own.has_blob(config));
    assert!(own.raw("prime/local/app:1").is_none() && !own.has_blob(layer));
    drop(env);
    is_stuck.store(false, Ordering::Relaxed);
    let before = own.requests().len();
    front.lines();
    let env = TestEnv::unlimited(running());
    let ended = wait(&env, &build);
    assert_eq!(ended.status, "COMPLETED", "{ended:?}");
    let expected = OciDigest::of(&source.raw("app:1").unwrap());
    assert_eq!(digest_in(&own, "prime/local/app:1"), Some(expected));
    let uploads = own.requests().split_off(before);
    assert_eq!(uploads.iter().filter(|line| line.starts_with("POST ")).count(), 1);
    let config_downloads =
        front.lines().iter().filter(|line| line.ends_with(&format!("/blobs/{config}"))).count();
    assert_eq!(config_downloads, 1, "its platform is checked again, and it is not sent");
}

#[test]
fn a_deleted_transfer_publishes_nothing() {
    let (Some(source), Some(own)) = (Registry::start(), Registry::start()) else { return };
    let manifest = push(&source, "app:1", "linux/amd64", "content");
    let path = format!("/blobs/{}", layer(&manifest));
    let mut waits = 1;
    let front = Front::of(&source.address).instead(move |seen| {
        (is_blob(seen) && seen.line.ends_with(&path) && waits > 0).then(|| {
            waits -= 1;
            answer(503, &[("retry-after", "1")], "")
        })
    });
    let env = TestEnv::unlimited(server(behind(&own), None));
    let build = start(&env, &format!("{}/app:1", front.address), "app:1", "linux/amd64");
    wait_until("the source is asked for the layer", || {
        front.lines().iter().any(|line| line.contains("/blobs/") && line.starts_with("GET "))
    });
    delete(&env, "app:1");
    assert_eq!(wait(&env, &build).status, "CANCELLED");
    completes(&env, &format!("{}/app:1", front.address), "other:1");
    env.server().wait_until_idle();
    assert!(own.raw("prime/local/app:1").is_none());
}

/// Writes a CA certificate, and a certificate of it for 127.0.0.1 with its key. False without openssl.
fn certificates(dir: &Path) -> bool {
    let script = "
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
            -keyout ca.key -out ca.pem -subj /CN=test-ca -addext basicConstraints=critical,CA:TRUE &&
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
            -keyout key.pem -out request.pem -subj /CN=127.0.0.1 &&
        printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth\\n' >extensions &&
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -set_serial 1 -days 2 \
            -extfile extensions -out certificate.pem";
    let output = std::process::Command::new("sh").args(["-c", script]).current_dir(dir).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn a_registry_with_a_ca_of_its_own_is_reached_by_https_only() {
    let dir = tempfile::tempdir().unwrap();
    if !certificates(dir.path()) {
        return;
    }
    let [certificate, key, ca] =
        ["certificate.pem", "key.pem", "ca.pem"].map(|name| dir.path().join(name));
    let Some(source) = Registry::start() else { return };
    let Some(own) = Registry::with_certificate(&certificate, &key) else { return };
    let images = fill(&source);
    let app = format!("{}/app:1", source.address);
    let mut trusting = behind(&own);
    trusting.registry.trust = RegistryTrust::Ca(ca);
    let env = TestEnv::unlimited(server(trusting, None));
    completes(&env, &app, "app:1");
    assert_eq!(digest_in(&own, "prime/local/app:1"), Some(images.amd64));
    let env = TestEnv::unlimited(server(behind(&own), None));
    let reason = fails(&env, &app, "app:2");
    assert!(reason.starts_with(&own.address), "{reason}");
}

#[test]
fn a_platform_image_is_at_the_root_of_the_registry() {
    let (Some(source), Some(own)) = (Registry::start(), Registry::start()) else { return };
    let images = fill(&source);
    let env = TestEnv::unlimited(server(behind(&own), None));
    let request = json!({
        "source_image": format!("{}/app:1", source.address), "image_name": "ns/app",
        "image_tag": "1", "platform": Platform::Amd64.as_str(), "owner_scope": "platform",
        "visibility": "PUBLIC",
    });
    let accepted = env.server().send("POST", "images/build", &request);
    let ended = wait(&env, accepted["build_id"].as_str().unwrap());
    assert_eq!(ended.status, "COMPLETED", "{ended:?}");
    assert_eq!(digest_in(&own, "ns/app:1"), Some(images.amd64));
}
