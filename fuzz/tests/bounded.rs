//! Runs every fuzz target on a fixed number of inputs, which are mutations of real ones. Set
//! `IMGPLAN_FUZZ_RUNS` for another number.

#![allow(clippy::disallowed_methods, reason = "it reads what it wrote")]

use std::path::{Path, PathBuf};

use mutatis::check::Check;

/// Inputs per target.
const DEFAULT_RUNS: usize = 2_000;

/// Mutates the seeds and checks that the target does not panic.
fn check(target: fn(&[u8]), seeds: Vec<Vec<u8>>) {
    assert!(!seeds.is_empty());
    let runs = std::env::var("IMGPLAN_FUZZ_RUNS").ok();
    let runs = runs.map_or(DEFAULT_RUNS, |runs| runs.parse().expect("a number"));
    let result = Check::new().iters(runs).max_shrink_iters(runs).run_with(
        mutatis::mutators::default::<Vec<u8>>(),
        seeds,
        |input: &Vec<u8>| {
            target(input);
            Ok::<(), String>(())
        },
    );
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// The files in a folder of the repository whose names end so.
fn files(folder: &str, ending: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| path.is_file() && path.to_string_lossy().ends_with(ending));
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Responses with the byte that chooses status 200 and JSON.
fn responses(bodies: &[&str]) -> Vec<Vec<u8>> {
    bodies.iter().map(|body| [b"\0", body.as_bytes()].concat()).collect()
}

#[test]
fn dockerfile() {
    let mut seeds = files("tests/data/dockerfiles", ".Dockerfile");
    seeds.retain(|seed| seed.len() < 2_000);
    check(imgplan_fuzz::dockerfile, seeds);
}

#[test]
fn ignore_file() {
    let seeds = ["*\n!src\n", "**/*.md\nbuild/\n# no\n!README.md\n", "a[0-9]?\n\\!x\n ./b/../c \n"];
    check(imgplan_fuzz::ignore_file, seeds.map(|seed| seed.as_bytes().to_vec()).to_vec());
}

#[test]
fn manifest() {
    let folders = ["many", "mirror", "monorepo", "nightly"];
    let seeds = folders.iter().flat_map(|name| files(&format!("examples/{name}"), "imgplan.yaml"));
    check(imgplan_fuzz::manifest, seeds.collect());
}

#[test]
fn lockfile() {
    check(imgplan_fuzz::lockfile, files("fuzz/seeds/lockfile", ""));
}

#[test]
fn saved_plan() {
    check(imgplan_fuzz::saved_plan, files("fuzz/seeds/saved_plan", ""));
}

#[test]
fn service_response() {
    let seeds = responses(&[
        r#"{"id":"b-1","imageName":"a","imageTag":"v1","status":"COMPLETED","createdAt":"2026-08-01T10:00:00Z","artifacts":[{"id":"1","artifactType":"CONTAINER_IMAGE","status":"COMPLETED","fullImagePath":"prime/x/a:v1","createdAt":"2026-08-01T10:00:00Z"}]}"#,
        r#"{"data":[{"id":"1","imageName":"a","imageTag":"v1","status":"FAILED","errorMessage":"no","visibility":"PRIVATE","ownerType":"personal","pushedAt":"2026-08-01T10:00:00"}],"total_count":1,"offset":0,"limit":250}"#,
        r#"{"build_id":"b-1","fullImagePath":"prime/x/a:v1","buildIds":["b-1","b-2"],"visibility":"PUBLIC"}"#,
        r#"{"results":[{"sourceImage":"redis:7","success":false,"error":"Too Many Requests","retryable":true}],"failed":[]}"#,
        r#"{"detail":[{"loc":["body","image_tag"],"msg":"is bad"}]}"#,
    ]);
    check(imgplan_fuzz::service_response, seeds);
}

#[test]
fn registry_response() {
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":7,"platform":{"os":"linux","architecture":"arm64","variant":"v8"}}]}"#;
    let mut seeds = responses(&[
        r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no"}]}"#,
        r#"{"token":"t","expires_in":300,"issued_at":"2026-08-01T10:00:00Z"}"#,
    ]);
    // The bytes that choose status 200 with the type of an index and of a manifest.
    for kind in [12, 24] {
        seeds.push([&[kind], index.as_bytes()].concat());
    }
    check(imgplan_fuzz::registry_response, seeds);
}
