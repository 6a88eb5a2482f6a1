//! The engine `buildah`: real builds by the local server, pushed to a real registry. Needs buildah,
//! runc, docker-registry, skopeo and a static `BusyBox`: `apt-get install buildah runc docker-registry
//! skopeo busybox-static`.

mod builds;
mod buildx;
mod clients;
mod contained;
mod emulated;
mod ends;
mod example;
mod local;
mod names;

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use imgplan::test_support::server::{EngineConfig, EngineKind, PushRegistry, ServerConfig};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{KEY, Registry, Running, TestEnv, wait_until};

/// A Dockerfile with `BusyBox` and nothing else. `RUN` needs no shell: `["/bin/busybox", "sh", ...]`.
const BASE: &str = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";

/// A server with the engine, and its registry.
pub(crate) struct EngineEnv {
    pub(crate) env: TestEnv,
    pub(crate) registry: Registry,
}

impl EngineEnv {
    /// Returns `None`, with a message, if a program is missing.
    pub(crate) fn start(change: impl FnOnce(&mut EngineConfig)) -> Option<Self> {
        let registry = programs()?;
        let mut engine = config(&registry);
        change(&mut engine);
        let env = TestEnv::unlimited(ServerConfig { engine, ..ServerConfig::default() });
        Some(Self { env, registry })
    }

    /// Writes a context with `BusyBox`.
    pub(crate) fn context(&self, name: &str, dockerfile: &str) -> &Self {
        self.env.context(name, dockerfile);
        std::fs::copy("/bin/busybox", self.env.path(&format!("{name}/busybox"))).unwrap();
        self
    }

    /// Applies one image of the context of its name, whose build fails, and returns the server's error
    /// message.
    pub(crate) fn fails(&self, name: &str, dockerfile: &str) -> String {
        self.context(name, dockerfile);
        self.env.write("imgplan.yaml", one_image(name));
        let output = self.env.run(["apply", "--auto-approve"]);
        assert_ne!(output.code, Some(0), "{output}");
        self.error_of(name)
    }

    /// Returns the error message of the last build of an image.
    pub(crate) fn error_of(&self, name: &str) -> String {
        let builds = self.env.server().get("images/builds?limit=250");
        let build = builds["data"].as_array().unwrap().iter().find(|row| row["imageName"] == name);
        let build = build.unwrap_or_else(|| panic!("no build of {name}: {builds}"));
        assert_eq!(build["status"], "FAILED", "{build}");
        build["artifacts"][0]["errorMessage"].as_str().unwrap().to_owned()
    }

    /// Returns the full reference of a personal image.
    pub(crate) fn reference(&self, image: &str) -> String {
        format!("{}/prime/local/{image}", self.registry.address)
    }

    /// Returns the digests of an image's layers.
    pub(crate) fn layers(&self, image: &str) -> Vec<String> {
        layers(&self.registry.inspect("--raw", &self.reference(image)))
    }
}

/// Buildah with a store of its own, as a person uses it.
pub(crate) struct DirectBuildah(TempDir);

impl DirectBuildah {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Builds in a folder, with the timestamps of the server's builds.
    pub(crate) fn bud(&self, folder: &Path, arguments: &[&str]) {
        let always = ["bud", "--isolation", "oci", "--runtime", "runc", "--timestamp", "0"];
        let always = [&always[..], &["--tls-verify=false", "--layers"]].concat();
        self.run(folder, &[&always, arguments].concat());
    }

    /// Runs Buildah in a folder, and returns its output.
    pub(crate) fn run(&self, folder: &Path, arguments: &[&str]) -> String {
        let dir = self.0.path();
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "overlay", "--root"]).arg(dir.join("store"));
        command.arg("--runroot").arg(dir.join("run")).args(arguments);
        let output = command.env("HOME", dir).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Returns a port that is free now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts `imgplan serve` with the engine and the folder `state`, and waits until it listens.
pub(crate) fn serve(env: &TestEnv, registry: &str, port: u16) -> Running {
    let listen = format!("127.0.0.1:{port}");
    let args = ["serve", "--engine", "buildah", "--registry", registry, "--state", "state"];
    let args = args.into_iter().chain(["--listen", &listen, "--url-file", "url", "--token", KEY]);
    let _ = std::fs::remove_file(env.path("url"));
    let mut running = env.call(args.collect::<Vec<_>>()).start();
    wait_until("the server listens", || env.exists("url") || running.has_ended());
    running
}

/// Returns everything in the layers of an image, as text.
pub(crate) fn content(registry: &Registry, reference: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    registry.pull(reference, dir.path());
    let mut content = Vec::new();
    for blob in std::fs::read_dir(dir.path()).unwrap() {
        let blob = std::fs::File::open(blob.unwrap().path()).unwrap();
        // Manifest and configuration are not compressed.
        let _ = flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut content);
    }
    String::from_utf8_lossy(&content).into_owned()
}

/// Returns a manifest with one image.
pub(crate) fn one_image(name: &str) -> String {
    manifest(&[name])
}

/// Returns a manifest with images, each with a context of its name.
pub(crate) fn manifest(names: &[impl AsRef<str>]) -> String {
    let line = |name: &str| format!("  - {{name: {name}, tag: v1, context: {name}}}\n");
    let lines: Vec<String> = names.iter().map(|name| line(name.as_ref())).collect();
    format!("version: 1\nimages:\n{}", lines.concat())
}

/// Returns the settings of a server that pushes to a registry.
pub(crate) fn config(registry: &Registry) -> EngineConfig {
    EngineConfig {
        kind: EngineKind::Buildah,
        registry: Some(PushRegistry::new(registry.address.clone())),
        slots: Some(2),
        ..EngineConfig::default()
    }
}

/// Returns a registry; `None`, with a message, if a program is missing.
pub(crate) fn programs() -> Option<Registry> {
    programs_with(None)
}

/// The same for a registry with users, in the form of `htpasswd`.
pub(crate) fn programs_with(users: Option<&str>) -> Option<Registry> {
    let missing = ["buildah", "runc", "skopeo", "unshare", "setpriv"].into_iter().find(|program| {
        let version = Command::new(program).arg("--version").output();
        !version.is_ok_and(|output| output.status.success())
    });
    let missing = missing.or((!Path::new("/bin/busybox").exists()).then_some("/bin/busybox"));
    if let Some(program) = missing {
        let required = std::env::var_os("IMGPLAN_BUILDAH").is_some_and(|value| value == "required");
        assert!(!required, "IMGPLAN_BUILDAH=required: no usable {program}");
        let _ = writeln!(std::io::stderr(), "SKIPPED: engine: no usable {program}");
        return None;
    }
    users.map_or_else(Registry::start, Registry::with_users)
}

/// Returns the digests of the layers of a manifest.
pub(crate) fn layers(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

/// Returns the processes, mounts and cgroups of a machine whose description contains a text.
pub(crate) fn leftovers(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let own = std::process::id().to_string();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name == own || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(text) {
            found.push(format!("process {name}: {line}"));
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(text)).map(str::to_owned));
    found
}
