//! `imgplan lock` with registries that are correct in unusual ways, or wrong in usual ones, over real
//! HTTP: compressed responses, other names of platforms, challenges, tokens and redirects.

use std::io::Write;

use axum::response::Response;
use imgplan::test_support::base::reference::OciDigest;
use serde_json::{Value, json};

use crate::support::{Front, FrontSeen, Output, TestEnv, answer};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Starts a registry that sends these responses.
fn registry(mut respond: impl FnMut(&FrontSeen) -> Response + Send + 'static) -> Front {
    Front::of("127.0.0.1:9").instead(move |seen| Some(respond(seen)))
}

/// Runs `imgplan lock` for the mirror of `app:v1` for these platforms.
fn lock_platforms(registry: &Front, platforms: &str) -> (TestEnv, Output) {
    let env = TestEnv::manifest(&format!(
        "version: 1\nimages:\n  - source: {}/app:v1\n    platforms: [{platforms}]\n",
        registry.address
    ));
    // Credentials for the registry: they must not be sent to another one.
    let docker = env.home().join(".docker");
    std::fs::create_dir(&docker).unwrap();
    let auth = json!({"username": "ann", "password": "p4ssword"});
    let config = json!({"auths": {&registry.address: auth}});
    std::fs::write(docker.join("config.json"), config.to_string()).unwrap();
    let output = env.run(["lock"]);
    (env, output)
}

fn lock(registry: &Front) -> Output {
    lock_platforms(registry, "linux/amd64").1
}

/// Returns the response with a manifest or index.
fn manifest(media_type: &str, body: &Value) -> Response {
    let body = body.to_string();
    let digest = OciDigest::of(body.as_bytes()).to_string();
    answer(200, &[("content-type", media_type), ("docker-content-digest", &digest)], body)
}

/// Returns the response with an index of these platforms.
fn index(platforms: &[Value]) -> Response {
    let entry = |platform: &Value| {
        let digest = OciDigest::of(platform.to_string().as_bytes());
        json!({"mediaType": MANIFEST, "digest": digest, "size": 1, "platform": platform})
    };
    let manifests: Vec<Value> = platforms.iter().map(entry).collect();
    manifest(INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))
}

fn amd64() -> Response {
    index(&[json!({"os": "linux", "architecture": "amd64"})])
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_request_asks_for_no_coding_and_gzip_is_read_all_the_same() {
    let body = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string();
    let twice = gzip(&gzip(body.as_bytes()));
    let gzip = gzip(body.as_bytes());
    let zstd = b"\x28\xb5\x2f\xfd".to_vec();
    for (coding, sent, error) in [
        ("identity", body.as_bytes(), ""),
        ("gzip", &gzip, ""),
        ("X-GZIP", &gzip, ""),
        ("zstd", &zstd, "the response has the content coding `zstd`; none was requested"),
        ("deflate", &zstd, "`deflate`"),
        ("gzip, gzip", &twice, "`gzip, gzip`"),
        ("gzip", &gzip[..gzip.len() - 3], "the gzip data of the response is damaged"),
    ] {
        let sent = sent.to_owned();
        let registry = registry(move |_| answer(200, &[("content-encoding", coding)], &sent));
        let output = lock(&registry);
        let seen = registry.seen();
        assert!(seen.iter().all(|seen| seen.headers["accept-encoding"] == "identity"));
        if error.is_empty() {
            output.success();
        } else {
            output.code(1).says(error);
        }
    }
}

#[test]
fn platforms_have_several_names() {
    let platform = |os: &str, arch: &str, variant: Option<&str>| json!({"os": os, "architecture": arch, "variant": variant});
    for platforms in [
        [platform("linux", "x86_64", None), platform("linux", "aarch64", None)],
        [platform("Linux", "AMD64", None), platform("LINUX", "ARM64", Some("V8"))],
        [platform("", "x86-64", Some("v1")), platform("linux", "arm64", Some("8"))],
    ] {
        let registry = registry(move |_| index(&platforms));
        let (env, output) = lock_platforms(&registry, "linux/amd64, linux/arm64");
        output.success();
        let lockfile = env.read("imgplan.lock");
        assert!(lockfile.contains("linux/amd64") && lockfile.contains("linux/arm64"), "{lockfile}");
    }
}

#[test]
fn an_image_for_another_platform_is_refused() {
    let only = |platform: &str| {
        format!("it has no image for linux/amd64 or linux/arm64, only for {platform}")
    };
    let table = [
        (json!({"os": "linux", "architecture": "x86_64"}), String::new()),
        (json!({"architecture": "AMD64"}), String::new()),
        (
            json!({"os": "linux", "architecture": "aarch64"}),
            "is not available for linux/amd64, only for linux/arm64".to_owned(),
        ),
        (json!({"os": "linux", "architecture": "s390x"}), only("linux/s390x")),
        (json!({"os": "linux", "architecture": "arm", "variant": "7"}), only("linux/arm/v7")),
        (json!({"os": "windows", "architecture": "amd64"}), only("windows/amd64")),
    ];
    for (config, error) in table {
        let shown = config.to_string();
        let config = config.to_string();
        let image = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"digest": OciDigest::of(config.as_bytes()), "size": config.len()}});
        let single = registry(move |seen| {
            let is_blob = seen.line.contains("/blobs/");
            if is_blob { answer(200, &[], &config) } else { manifest(MANIFEST, &image) }
        });
        let output = lock(&single);
        if error.is_empty() {
            output.success();
        } else {
            output.code(1).says(&error);
        }
        // The same as the only entry of an index.
        let platform: Value = serde_json::from_str(&shown).unwrap();
        let output = lock(&registry(move |_| index(std::slice::from_ref(&platform))));
        if error.is_empty() {
            output.success();
        } else {
            output.code(1).says(&error);
        }
    }
}

/// Returns a registry that requires the token `t`, with this challenge after `Bearer realm=...`, and whose
/// token service sends this response.
fn with_token(challenge: &'static str, grant: &'static str) -> Front {
    registry(move |seen| {
        let host = seen.headers["host"].to_str().unwrap();
        if seen.line.starts_with("GET /token") {
            return answer(200, &[], grant);
        }
        if seen.authorization() == "Bearer t" {
            return amd64();
        }
        let challenge = format!("Bearer realm=\"http://{host}/token\"{challenge}");
        answer(401, &[("www-authenticate", &challenge)], "")
    })
}

#[test]
fn the_lifetime_of_a_token_has_several_forms() {
    for grant in [
        r#"{"token":"t","expires_in":"300"}"#,
        r#"{"access_token":"t","expires_in":300.5}"#,
        r#"{"token":null,"access_token":"t","expires_in":null}"#,
        r#"{"token":"t","expires_in":0}"#,
        r#"{"token":"t","expires_in":"-1"}"#,
        r#"{"token":"t","expires_in":"soon"}"#,
        r#"{"token":"t","expires_in":99999999999999999999}"#,
    ] {
        lock(&with_token("", grant)).success();
    }
    lock(&with_token("", "t")).code(1).says("returned no token");
}

#[test]
fn the_scope_of_the_challenge_is_requested() {
    for (challenge, query) in [
        ("", "scope=repository%3Aapp%3Apull"),
        (r#",service="s",scope="""#, "service=s&scope=repository%3Aapp%3Apull"),
        (r#",scope="repository:elsewhere/app:pull""#, "scope=repository%3Aelsewhere%2Fapp%3Apull"),
        (
            r#", Scope="repository:app:pull,push",service=s"#,
            "service=s&scope=repository%3Aapp%3Apull%2Cpush",
        ),
        (r#",scope="aws""#, "scope=aws"),
        (
            r#",scope="repository:a:pull repository:b:pull""#,
            "scope=repository%3Aa%3Apull&scope=repository%3Ab%3Apull",
        ),
        (r#",scope=aws, Basic realm="x, Bearer scope=no""#, "scope=aws"),
    ] {
        let registry = with_token(challenge, r#"{"token":"t"}"#);
        lock(&registry).success();
        let lines = registry.lines();
        assert_eq!(lines[1], format!("GET /token?{query}"), "{challenge}");
    }
}

#[test]
fn a_redirects_target_gets_a_token_of_its_own_and_no_credentials() {
    for status in [301, 302, 303, 307, 308] {
        let target = with_token(",service=\"second\"", r#"{"token":"t"}"#);
        let to = target.address.clone();
        let first = registry(move |seen| {
            // `ann:p4ssword`
            if seen.authorization() != "Basic YW5uOnA0c3N3b3Jk" {
                return answer(401, &[("www-authenticate", "Basic realm=\"first\"")], "");
            }
            let path = seen.line.split_once(' ').unwrap().1.replacen("/v2/", "/v2/moved/", 1);
            answer(status, &[("location", &format!("http://{to}{path}"))], "")
        });
        lock(&first).success();
        let seen = target.seen();
        let authorizations: Vec<&str> = seen.iter().map(FrontSeen::authorization).collect();
        assert_eq!(authorizations[..3], ["", "", "Bearer t"], "{seen:?}");
        assert!(authorizations.iter().all(|text| matches!(*text, "" | "Bearer t")), "{seen:?}");
        assert_eq!(seen[1].line, "GET /token?service=second&scope=repository%3Amoved%2Fapp%3Apull");
    }
}
