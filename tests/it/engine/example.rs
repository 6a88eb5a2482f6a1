//! The example `own-registry`: twelve images on a base of their own and two mirrors, made by
//! `imgplan serve --engine buildah`, whose server is killed in the middle.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::{DirectBuildah, free_port, layers, leftovers, programs, serve};
use crate::mirrors_for_real::push;
use crate::support::{KEY, PulledImage, Registry, Running, TestEnv, http_client, wait_until};

/// The images that are built, bases first, and the arguments with which `buildah bud` builds them.
const BUILDS: [(&str, &str); 13] = [
    ("base", "base"),
    ("tools", "tools"),
    ("site", "site"),
    ("docs", "docs"),
    ("portal", "portal"),
    ("api", "--target release api"),
    ("api-debug", "--target debug api"),
    ("task-base", "tasks/base"),
    ("task-count", "tasks/count"),
    ("task-report", "tasks/report"),
    ("greeting-de", "--build-arg LANGUAGE=de greeting"),
    ("greeting-en", "--build-arg LANGUAGE=en greeting"),
    ("worker", "-f worker.Dockerfile worker"),
];

/// The repositories and tags of the mirrors: those of the source, and those in the server's registry.
const MIRRORS: [(&str, &str); 2] = [
    ("prometheus/alertmanager:v0.28.0", "alertmanager:v0.28.0"),
    ("prometheus/node-exporter:v1.9.0", "exporter:v1"),
];

/// The fields of a configuration that containers use.
const FIELDS: [&str; 12] = [
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];

/// The files and the configuration of an image.
#[derive(Debug, PartialEq)]
struct Built {
    /// The digests of the layers' content, which do not depend on the compression.
    layers: Value,
    config: BTreeMap<&'static str, Value>,
}

impl Built {
    /// Reads the description of an image, in Docker's format or in that of OCI.
    fn new(image: &Value) -> Self {
        let (layers, config) = (image["rootfs"]["diff_ids"].clone(), &image["config"]);
        let unset = [Value::Null, json!(""), json!([]), json!({})];
        let fields = FIELDS.map(|field| (field, config[field].clone()));
        let fields = fields.into_iter().filter(|(_, value)| !unset.contains(value));
        Self { layers, config: fields.collect() }
    }
}

/// Builds the images of a folder with Buildah alone.
fn direct(folder: &Path) -> BTreeMap<&'static str, Built> {
    let buildah = DirectBuildah::new();
    let build = |(name, arguments): (&'static str, &str)| {
        let tag = format!("{name}:v1");
        // The format that keeps everything.
        let mut all = vec!["--format", "docker", "-t", &tag];
        all.extend(arguments.split(' '));
        buildah.bud(folder, &all);
        let description = buildah.run(folder, &["inspect", "--type", "image", &tag]);
        let description: Value = serde_json::from_str(&description).unwrap();
        (name, Built::new(&description["Docker"]))
    };
    BUILDS.into_iter().map(build).collect()
}

/// Returns the logs of the server's builds, by build ID.
fn logs(env: &TestEnv) -> BTreeMap<String, String> {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), text)
    };
    std::fs::read_dir(env.path("state/logs")).unwrap().map(read).collect()
}

/// Returns the image of each build of a server, by build ID.
fn images_of_builds(url: &str) -> BTreeMap<String, String> {
    let url = format!("{url}/api/v1/images/builds?limit=250");
    let listing = async {
        let http = http_client();
        let response = http.get(url).bearer_auth(KEY).send().await.unwrap();
        serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap()
    };
    let listing = tokio::runtime::Runtime::new().unwrap().block_on(listing);
    let row = |row: &Value| {
        let text = |field: &str| row[field].as_str().unwrap_or_else(|| panic!("{row}")).to_owned();
        (text("id"), format!("{}:{}", text("imageName"), text("imageTag")))
    };
    listing["data"].as_array().unwrap().iter().map(row).collect()
}

/// Returns how often each image was begun: a second try of a build replaces its log, and a server that
/// died left the logs in `before`.
fn tries(
    images: &BTreeMap<String, String>,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> BTreeMap<String, usize> {
    let mut tries: BTreeMap<String, usize> = BTreeMap::new();
    for (id, image) in images {
        let again = after.get(id).is_some_and(|log| before.get(id) != Some(log));
        *tries.entry(image.clone()).or_default() +=
            usize::from(before.contains_key(id)) + usize::from(again);
    }
    tries
}

/// A copy of the example, with its registry and the one of the mirrors.
struct Example {
    env: TestEnv,
    own: Registry,
    upstream: Registry,
    port: u16,
}

impl Example {
    /// Returns `None`, with a message, if a program is missing.
    fn new() -> Option<Self> {
        let (own, upstream) = (programs()?, Registry::start()?);
        for (source, image) in MIRRORS {
            push(&upstream, source, "linux/amd64", image);
        }
        let (mut env, port) = (TestEnv::at("http://127.0.0.1:9"), free_port());
        env.set("PRIME_API_BASE_URL", &format!("http://127.0.0.1:{port}"));
        env.copy_example("own-registry");
        env.edit("imgplan.yaml", "UPSTREAM: quay.io", &format!("UPSTREAM: {}", upstream.address));
        std::fs::create_dir_all(env.path("base/rootfs/bin")).unwrap();
        std::fs::copy("/bin/busybox", env.path("base/rootfs/bin/busybox")).unwrap();
        Some(Self { env, own, upstream, port })
    }

    fn serve(&self) -> Running {
        serve(&self.env, &self.own.address, self.port)
    }

    /// Pulls an image with skopeo.
    fn pull(&self, image: &str) -> PulledImage {
        let dir = tempfile::tempdir().unwrap();
        self.own.pull(&format!("{}/prime/local/{image}", self.own.address), dir.path())
    }

    /// Asserts that every image can be pulled, and is what it should be.
    fn check_images(&self, direct: &BTreeMap<&str, Built>) {
        for (name, expected) in direct {
            let pulled = self.pull(&format!("{name}:v1"));
            assert_eq!(Built::new(&pulled.config), *expected, "{name}");
            assert_eq!(layers(&pulled.manifest).len(), expected.layers.as_array().unwrap().len());
        }
        for (source, image) in MIRRORS {
            let copied = self.upstream.raw(source).unwrap();
            let copied: Value = serde_json::from_slice(&copied).unwrap();
            assert_eq!(self.pull(image).manifest, copied, "{image}");
        }
    }

    /// Asserts that no image was built more than twice, and none again that was complete before the
    /// server died.
    fn check_tries(&self, before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
        let images = images_of_builds(&format!("http://127.0.0.1:{}", self.port));
        let tries = tries(&images, before, after);
        assert_eq!(tries.len(), BUILDS.len() + MIRRORS.len(), "{tries:?}");
        let is_mirror = |image: &String| MIRRORS.iter().any(|(_, mirror)| mirror == image);
        for (image, tries) in &tries {
            // A mirror that succeeds has no log.
            assert!(is_mirror(image) || (1..=2).contains(tries), "{image}: {tries} builds");
        }
        let finished = before.iter().filter(|(_, log)| is_complete(log));
        for (id, log) in finished {
            assert_eq!(after.get(id), Some(log), "{} was made again", images[id]);
        }
    }
}

/// True if a log is that of a build that succeeded.
fn is_complete(log: &str) -> bool {
    log.ends_with(" completed\n")
}

#[test]
fn the_example_is_what_direct_builds_give_though_the_server_dies() {
    let Some(example) = Example::new() else { return };
    let env = &example.env;
    let folder = env.path("");
    let direct = std::thread::spawn(move || direct(&folder));
    let server = example.serve();
    let apply = env.call(["apply", "--auto-approve"]).start();
    wait_until("an image is built on the base", || {
        BUILDS[1..].iter().any(|(name, _)| apply.has_said(&format!("{name}:v1: Built")))
    });
    server.signal("KILL");
    let ended = server.wait();
    assert_eq!(ended.code, None, "{ended}");
    let engine = env.path("state/engine").display().to_string();
    wait_until("nothing is left", || leftovers(&engine).is_empty());
    let before = logs(env);
    let complete = before.values().filter(|log| is_complete(log)).count();
    assert!((2..BUILDS.len()).contains(&complete), "{complete} builds were complete");

    let server = example.serve();
    // The client has waited for the server, or continues now.
    let _ = apply.wait();
    env.apply();
    env.plans_nothing();
    let after = logs(env);
    assert_eq!(after.values().filter(|log| is_complete(log)).count(), BUILDS.len());
    example.check_tries(&before, &after);
    example.check_images(&direct.join().unwrap());

    let old = layers(&example.pull("portal:v1").manifest);
    env.write("portal/index.html", "changed");
    env.apply().says("Apply: 1 built, 0 mirrored");
    env.plans_nothing();
    assert_eq!(logs(env).len(), after.len() + 1, "one build");
    let new = layers(&example.pull("portal:v1").manifest);
    let differ = old.iter().zip(&new).filter(|(old, new)| old != new).count();
    assert_eq!((new.len(), differ), (old.len(), 1));
    server.signal("TERM");
    let ended = server.wait();
    assert_eq!(ended.code, Some(143), "{ended}");
    assert_eq!(leftovers(&engine), [""; 0]);
}
