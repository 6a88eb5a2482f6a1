//! The engine `buildx`, with the BuildKit of a Docker daemon. `IMGPLAN_DOCKER` names the folder with the
//! unpacked packages of `.ci/run`: docker.io, docker-cli, docker-buildx and containerd.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::{BASE, content, leftovers, manifest, programs};
use crate::support::{REGISTRY_USER, Registry, TestEnv, wait_until};

const APPLY: [&str; 5] = ["apply", "--auto-approve", "--local", "--engine", "buildx"];

/// A Docker daemon without networks, which ends when dropped.
struct DockerDaemon {
    child: Child,
    /// Its files, below a short path, because that of a socket has at most 107 bytes.
    dir: tempfile::TempDir,
}

impl DockerDaemon {
    /// Starts a daemon with the programs of a `PATH`. `None`, with a message, if it does not run on this
    /// machine, such as in a container without cgroups.
    fn start(root: &Path, path: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let file = |name: &str| fs::File::create(at(name)).unwrap();
        let child = Command::new(root.join("usr/sbin/dockerd"))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .args(["--userland-proxy=false", "--storage-driver=overlay2"])
            .arg(format!("--host=unix://{}", at("socket").display()))
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("log"))
            .spawn()
            .unwrap();
        let mut daemon = Self { child, dir };
        let mut has_ended = false;
        wait_until("the Docker daemon listens", || {
            has_ended = daemon.child.try_wait().unwrap().is_some();
            has_ended || daemon.log().contains("API listen on ")
        });
        if has_ended {
            let reason = daemon.log().lines().last().unwrap_or_default().to_owned();
            let _ = writeln!(std::io::stderr(), "SKIPPED: engine::buildx: {reason}");
        }
        (!has_ended).then_some(daemon)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

impl Drop for DockerDaemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // It ends its containerd and unmounts its file systems.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// An environment with a daemon and a registry.
struct BuildxEnv {
    env: TestEnv,
    registry: Registry,
    _daemon: DockerDaemon,
}

impl BuildxEnv {
    /// Returns `None`, with a message, if a program is missing.
    fn start() -> Option<Self> {
        Self::start_with(programs()?)
    }

    fn start_with(registry: Registry) -> Option<Self> {
        let Some(root) = std::env::var_os("IMGPLAN_DOCKER").map(PathBuf::from) else {
            let _ = writeln!(std::io::stderr(), "SKIPPED: engine::buildx: no IMGPLAN_DOCKER");
            return None;
        };
        let mut env = TestEnv::at("http://127.0.0.1:9");
        // Only the programs of Docker: the others of the package are for another C library.
        let bin = env.everything().join("docker-bin");
        fs::create_dir(&bin).unwrap();
        for name in ["docker", "containerd", "containerd-shim-runc-v2"] {
            symlink(root.join("usr/bin").join(name), bin.join(name)).unwrap();
        }
        let plugins = env.home().join(".docker/cli-plugins");
        fs::create_dir_all(&plugins).unwrap();
        let plugin = root.join("usr/libexec/docker/cli-plugins/docker-buildx");
        symlink(plugin, plugins.join("docker-buildx")).unwrap();
        let path = format!("{}:{}", bin.display(), env.vars()["PATH"]);
        let daemon = DockerDaemon::start(&root, &path)?;
        let socket = daemon.dir.path().join("socket");
        env.set("PATH", &path).set("DOCKER_HOST", &format!("unix://{}", socket.display()));
        env.set("IMGPLAN_REGISTRY", &registry.address).set("IMGPLAN_BUILDER", "default");
        // The daemon has no network for containers.
        env.set("IMGPLAN_BUILD_NETWORK", "none");
        Some(Self { env, registry, _daemon: daemon })
    }

    /// Writes contexts with `BusyBox`, and a manifest with their images.
    fn images(&self, images: &[(&str, &str)]) -> &TestEnv {
        for (name, dockerfile) in images {
            self.env.context(name, dockerfile);
            fs::copy("/bin/busybox", self.env.path(&format!("{name}/busybox"))).unwrap();
        }
        let names: Vec<&str> = images.iter().map(|(name, _)| *name).collect();
        self.env.write("imgplan.yaml", manifest(&names));
        &self.env
    }
}

#[test]
fn a_builder_builds_and_pushes() {
    let Some(buildx) = BuildxEnv::start() else { return };
    // What the engine `buildah` refuses.
    let app = "FROM base:v1\nCOPY <<EOF /from-heredoc\nheredoc\nEOF\n\
               RUN --mount=type=bind,target=/context cp /context/busybox /copied\n\
               RUN --mount=type=cache,id=shared,target=/cache echo app > /name\n";
    let env = buildx.images(&[("base", BASE), ("app", app)]);
    let first = env.ok(APPLY);
    let engine = format!("Engine: buildx, pushes to {}", buildx.registry.address);
    first.says(&engine).says("builder default (driver docker), network none");
    first.says("Apply: 2 built, 0 mirrored");
    let image = format!("{}/prime/local/app:v1", buildx.registry.address);
    let files = content(&buildx.registry, &image);
    assert!(files.contains("heredoc\n") && files.contains("app\n"), "the files are missing");
    env.ok(APPLY).says("No changes.");

    // A name that only the server knows, a stage of the name of an image, and a Dockerfile in a folder.
    env.context("literal", "");
    let literal = "FROM prime/local/base:v1 AS base\nRUN echo literal > /literal\nFROM base\n";
    env.write("literal/docker/Dockerfile", literal);
    let images = manifest(&["base", "app", "literal"]);
    env.write(
        "imgplan.yaml",
        images.replace("context: literal", "context: literal, dockerfile: docker/Dockerfile"),
    );
    env.ok(APPLY).says("Apply: 1 built");
    let literal = format!("{}/prime/local/literal:v1", buildx.registry.address);
    assert!(content(&buildx.registry, &literal).contains("literal\n"));
    let log = env.ok(["logs", "literal", "--local"]).stdout.clone();
    assert!(
        log.contains(&format!("{}/prime/local/base@sha256:", buildx.registry.address)),
        "{log}"
    );

    // A base that is built again is used in its new form, although the builder has the old one.
    env.edit(
        "base/Dockerfile",
        "COPY busybox /bin/busybox\n",
        "COPY busybox /bin/busybox\nCOPY new /\n",
    );
    env.write("base/new", "the new base\n");
    env.ok(APPLY).says("Apply: 2 built");
    assert!(content(&buildx.registry, &image).contains("the new base\n"));
}

#[test]
fn failures_of_a_builder_have_their_reasons() {
    let Some(mut buildx) = BuildxEnv::start() else { return };
    let env = buildx.images(&[
        ("base", BASE),
        ("broken", "FROM base:v1\nRUN echo going wrong; exit 7\n"),
        ("foreign", "FROM base:v1\nCOPY busybox /b\n"),
        ("runs", "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"true\"]\n"),
        ("unknown", "FROM localhost:1/none:v1\nCOPY busybox /b\n"),
    ]);
    env.edit("imgplan.yaml", "context: runs}", "context: runs, platforms: [linux/arm64]}");
    // Its base is named outside of the manifest, and is not for its platform.
    let base = format!("FROM {}/prime/local/base:v1\n", buildx.registry.address);
    env.ok(APPLY.into_iter().chain(["--target", "base"]).collect::<Vec<_>>());
    env.write("foreign/Dockerfile", format!("{base}COPY busybox /b\n"));
    env.edit("imgplan.yaml", "context: foreign}", "context: foreign, platforms: [linux/arm64]}");
    let output = env.run(APPLY);
    output.code(1).says("Apply: 0 built").says("4 failed");
    output
        .says("Dockerfile: `RUN echo going wrong; exit 7` failed: exit code: 7\n  | going wrong\n");
    output.says(" --local` shows the whole log");
    output.says("is for linux/amd64, and this build needs it for linux/arm64");
    if !Path::new("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists() {
        output.says("RUN needs a builder that runs linux/arm64 programs").says("tonistiigi/binfmt");
    }
    output.says("line 1: the base image `localhost:1/none:v1` cannot be looked up: ");

    let refused = env.call(APPLY).env("IMGPLAN_CACHE", "localhost:5000/cache").run();
    refused.code(1).says("it does not share layers by a repository");
    let refused = env.call(APPLY).env("IMGPLAN_BUILDER", "farm").run();
    refused.code(1).says("no builder \"farm\" found");
    buildx.env.unset("IMGPLAN_REGISTRY");
    buildx.env.run(APPLY).code(1).says("it needs a registry").says("--registry HOST:PORT");
}

#[test]
fn a_builder_gets_the_credentials_of_the_server_only() {
    if programs().is_none() {
        return;
    }
    let Some(registry) = Registry::protected() else { return };
    let Some(mut buildx) = BuildxEnv::start_with(registry) else { return };
    let (user, password) = REGISTRY_USER;
    let given = json!({
        "auths": {&buildx.registry.address: {"username": user, "password": password}},
        "proxies": {"default": {"httpProxy": "http://user:secret@127.0.0.1:9"}},
    });
    let base = format!("{BASE}RUN test -z \"$HTTP_PROXY$http_proxy\"\n");
    let app = "FROM base:v1\nRUN echo app > /name\n";
    let users = "{\"auths\": {}, \"proxies\": {\"default\": {\"httpProxy\": \"http://x\"}}}";
    fs::write(buildx.env.home().join(".docker/config.json"), users).unwrap();
    buildx.images(&[("base", &base), ("app", app)]);
    let denied = buildx.env.run(APPLY);
    denied.code(1).says("Apply: 0 built");
    buildx.env.write("auth.json", given.to_string());
    buildx.env.set("IMGPLAN_REGISTRY_AUTH", "auth.json");
    // Docker's command line prefers it to its configuration.
    buildx.env.set("DOCKER_AUTH_CONFIG", "{\"auths\": {}}");
    let output = buildx.env.ok(APPLY);
    output.says("Apply: 2 built").never_says(password).never_says("secret");
}

#[test]
fn builds_of_a_builder_end_with_their_limits_and_with_apply() {
    let Some(buildx) = BuildxEnv::start() else { return };
    let env = buildx.images(&[("slow", &format!("{BASE}RUN sleep 300.0471\n"))]);
    let is_running = || !leftovers("sleep 300.0471").is_empty();
    let running = env.call(APPLY).start();
    wait_until("a command runs", is_running);
    running.signal("INT");
    wait_until("apply stops", || running.has_said("Press Ctrl-C again"));
    running.signal("INT");
    assert_eq!(running.wait().code, Some(130));
    wait_until("no command is left", || !is_running());

    let mut killed = env.call(APPLY).start();
    wait_until("a command runs", is_running);
    killed.kill();
    wait_until("no command is left", || !is_running());

    let limited = env.run(APPLY.into_iter().chain(["--build-timeout", "2s"]).collect::<Vec<_>>());
    limited.code(1).says("the build took longer than 2s, the limit of this server");
    wait_until("no command is left", || !is_running());
    env.write("slow/Dockerfile", BASE);
    env.ok(APPLY).says("Apply: 1 built");
}
