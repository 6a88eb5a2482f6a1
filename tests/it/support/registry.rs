//! A real registry, Debian's `docker-registry`, on a free port, filled by `skopeo` from OCI layouts.
//! `.ci/run` installs both. By hand: `apt-get install docker-registry skopeo`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use imgplan::test_support::base::reference::OciDigest;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::wait_until;

/// Name and password of the only user of a protected registry.
pub(crate) const REGISTRY_USER: (&str, &str) = ("ann", "p4ss-W0rd");

/// The user in the form of Apache's `htpasswd -B`.
const HTPASSWD: &str = "ann:$2y$05$abcdefghijklmnopqrstuu7owP.Ynym8H8SHoXlMTQO4h70OEm/fi\n";

/// A registry, empty at first. It is killed when dropped.
pub(crate) struct Registry {
    dir: TempDir,
    child: Child,
    /// Address, such as `127.0.0.1:40123`.
    pub(crate) address: String,
    is_protected: bool,
    /// Folder of its password file.
    further: Option<TempDir>,
}

impl Registry {
    /// Returns `None`, with a message, if a tool is missing.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&json!({}))
    }

    /// Starts a registry that requires the name and password of [`REGISTRY_USER`].
    pub(crate) fn protected() -> Option<Self> {
        let mut registry = Self::with_users(HTPASSWD)?;
        registry.is_protected = true;
        Some(registry)
    }

    /// Starts a registry for the users of an `htpasswd` file with this text.
    pub(crate) fn with_users(users: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("htpasswd");
        fs::write(&path, users).unwrap();
        let auth = json!({"htpasswd": {"realm": "test", "path": path}});
        let mut registry = Self::start_with(&json!({"auth": auth}))?;
        registry.further = Some(dir);
        Some(registry)
    }

    /// Starts a registry with HTTPS, by a certificate for 127.0.0.1 and its key.
    pub(crate) fn with_certificate(certificate: &Path, key: &Path) -> Option<Self> {
        let tls = json!({"certificate": certificate, "key": key});
        let http = json!({"addr": "127.0.0.1:0", "tls": tls});
        Self::start_with(&json!({"http": http}))
    }

    /// Starts a registry with further settings.
    fn start_with(settings: &Value) -> Option<Self> {
        let missing = ["docker-registry", "skopeo"].into_iter().find(|tool| {
            let version = Command::new(tool).arg("--version").stdout(Stdio::null()).status();
            !version.is_ok_and(|status| status.success())
        });
        if let Some(tool) = missing {
            let required = std::env::var_os("IMGPLAN_DOCKER_REGISTRY")
                .is_some_and(|value| value == "required");
            assert!(!required, "IMGPLAN_DOCKER_REGISTRY=required: no usable {tool}");
            // Unlike `eprintln!`, this is not captured in tests that succeed.
            let _ = writeln!(std::io::stderr(), "SKIPPED: registries.rs: no usable {tool}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let storage = json!({"rootdirectory": dir.path().join("data")});
        let mut config = json!({
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {"filesystem": storage, "delete": {"enabled": true}},
            "http": {"addr": "127.0.0.1:0"},
        });
        for (name, value) in settings.as_object().unwrap() {
            config[name] = value.clone();
        }
        // JSON is YAML.
        fs::write(dir.path().join("config.yml"), config.to_string()).unwrap();
        fs::write(
            dir.path().join("policy.json"),
            r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
        )
        .unwrap();
        fs::write(dir.path().join("registries.conf"), "").unwrap();
        let log = dir.path().join("log");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .stdin(Stdio::null())
            .stdout(fs::File::create(dir.path().join("requests")).unwrap())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let (address, is_protected, further) = (String::new(), false, None);
        let mut registry = Self { dir, child, address, is_protected, further };
        // The log contains the port.
        wait_until("the registry listens", || {
            let text = fs::read_to_string(&log).unwrap();
            let address = text.split_once("listening on ").and_then(|(_, rest)| {
                let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ':'))?;
                Some(rest[..end].to_owned())
            });
            registry.address = address.unwrap_or_default();
            !registry.address.is_empty()
        });
        Some(registry)
    }

    /// Returns all requests so far, such as `HEAD /v2/app/manifests/1 404`.
    pub(crate) fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.path().join("requests")).unwrap();
        let request = |line: &str| {
            let mut parts = line.split('"').skip(1);
            let (line, answer) = (parts.next()?, parts.next()?);
            let status = answer.split_whitespace().next()?;
            Some(format!("{} {status}", line.strip_suffix(" HTTP/1.1")?))
        };
        log.lines().filter_map(request).collect()
    }

    /// Returns the manifest or index of an image as it is, read by skopeo. `None` if there is none.
    pub(crate) fn raw(&self, image: &str) -> Option<Vec<u8>> {
        let mut command = self.skopeo_command();
        command.args(["inspect", "--raw", "--tls-verify=false"]);
        match (self.is_protected, REGISTRY_USER) {
            (true, (user, password)) => command.arg("--creds").arg(format!("{user}:{password}")),
            (false, _) => command.arg("--no-creds"),
        };
        let output = command.arg(format!("docker://{}/{image}", self.address)).output().unwrap();
        output.status.success().then_some(output.stdout)
    }

    /// Writes a file with the credentials for this registry, in the form of Docker's configuration.
    pub(crate) fn write_credentials(&self, path: &Path) {
        let (user, password) = REGISTRY_USER;
        let auth = json!({"username": user, "password": password});
        fs::write(path, json!({"auths": {&self.address: auth}}).to_string()).unwrap();
    }

    /// True if the registry has a blob, in any of its repositories.
    pub(crate) fn has_blob(&self, digest: OciDigest) -> bool {
        let digest = digest.to_string();
        let digest = digest.strip_prefix("sha256:").unwrap();
        let blobs = self.dir.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&digest[..2]).join(digest).join("data").exists()
    }

    /// Creates an empty layout.
    pub(crate) fn layout(&self, name: &str) -> Layout {
        Layout::new(self.dir.path().join(name))
    }

    /// Pushes the image `name` of a layout to `repository:tag`, unchanged.
    pub(crate) fn push(&self, layout: &Layout, name: &str, image: &str) {
        self.skopeo(&["--preserve-digests"], layout, name, image);
    }

    /// The same in Docker's format. Returns the digest, which only the registry knows.
    pub(crate) fn push_as_docker(&self, layout: &Layout, name: &str, image: &str) -> OciDigest {
        let file = self.dir.path().join("digest");
        self.skopeo(
            &["--format=v2s2", "--digestfile", file.to_str().unwrap()],
            layout,
            name,
            image,
        );
        fs::read_to_string(file).unwrap().trim().parse().unwrap()
    }

    fn skopeo(&self, options: &[&str], layout: &Layout, name: &str, image: &str) {
        let mut command = self.skopeo_command();
        command.args(["copy", "--all", "--quiet", "--dest-tls-verify=false"]);
        match (self.is_protected, REGISTRY_USER) {
            (true, (user, password)) => {
                command.arg("--dest-creds").arg(format!("{user}:{password}"))
            }
            (false, _) => command.arg("--dest-no-creds"),
        };
        command.args(options).arg(format!("oci:{}:{name}", layout.dir.display()));
        command.arg(format!("docker://{}/{image}", self.address));
        run(command);
    }

    /// Returns the manifest or, with `--config`, the configuration of an image.
    pub(crate) fn inspect(&self, option: &str, image: &str) -> Value {
        let mut command = self.skopeo_command();
        command.args(["inspect", option, "--tls-verify=false", "--no-creds"]);
        command.arg(format!("docker://{image}"));
        serde_json::from_str(&run(command)).unwrap()
    }

    /// Returns the digest of an image.
    pub(crate) fn digest_of(&self, image: &str) -> String {
        let mut command = self.skopeo_command();
        command.args(["inspect", "--tls-verify=false", "--no-creds", "--format", "{{.Digest}}"]);
        command.arg(format!("docker://{image}"));
        run(command).trim().to_owned()
    }

    /// Copies an image to another reference.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let mut command = self.skopeo_command();
        command.args(["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]);
        command.arg(format!("docker://{from}")).arg(format!("docker://{to}"));
        run(command);
    }

    /// Pulls an image as it is into a folder: `manifest.json`, and a file for each blob.
    pub(crate) fn pull(&self, image: &str, to: &Path) -> PulledImage {
        let mut command = self.skopeo_command();
        command.args(["copy", "--quiet", "--src-tls-verify=false", "--src-no-creds"]);
        command.arg(format!("docker://{image}")).arg(format!("dir:{}", to.display()));
        run(command);
        let read = |file: &str| serde_json::from_slice(&fs::read(to.join(file)).unwrap()).unwrap();
        let manifest: Value = read("manifest.json");
        let digest = manifest["config"]["digest"].as_str().unwrap();
        let config = read(digest.strip_prefix("sha256:").unwrap());
        PulledImage { manifest, config }
    }

    fn skopeo_command(&self) -> Command {
        let mut command = Command::new("skopeo");
        command.arg("--policy").arg(self.dir.path().join("policy.json"));
        command.env("CONTAINERS_REGISTRIES_CONF", self.dir.path().join("registries.conf"));
        command.envs(["HOME", "TMPDIR", "XDG_RUNTIME_DIR"].map(|name| (name, self.dir.path())));
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(name);
        }
        command
    }
}

/// Runs a command that succeeds, and returns its output.
fn run(mut command: Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An image that was pulled.
pub(crate) struct PulledImage {
    pub(crate) manifest: Value,
    pub(crate) config: Value,
}

/// An OCI image layout: a folder of blobs, some with names.
pub(crate) struct Layout {
    dir: PathBuf,
    names: Vec<Value>,
}

impl Layout {
    fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { dir, names: Vec::new() }
    }

    /// Adds an image with one file, for a platform such as `linux/arm64/v8`. Returns its descriptor.
    pub(crate) fn image(&self, platform: &str, content: &str) -> Value {
        let mut parts = platform.split('/');
        let (os, architecture) = (parts.next().unwrap(), parts.next().unwrap());
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "content", content.as_bytes()).unwrap();
        let tar = tar.into_inner().unwrap();
        let mut layer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        layer.write_all(&tar).unwrap();
        let config = json!({
            "os": os, "architecture": architecture, "config": {},
            "rootfs": {"type": "layers", "diff_ids": [OciDigest::of(&tar)]},
        });
        let mut image = self.manifest(
            &self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
            &self.blob("application/vnd.oci.image.layer.v1.tar+gzip", &layer.finish().unwrap()),
        );
        image["platform"] = json!({"os": os, "architecture": architecture});
        if let Some(variant) = parts.next() {
            image["platform"]["variant"] = variant.into();
        }
        image
    }

    /// Adds an attestation of an image, as `BuildKit` does.
    pub(crate) fn attestation(&self, of: &Value) -> Value {
        let config = json!({"architecture": "unknown", "os": "unknown", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [OciDigest::of(b"{}")]}});
        let mut attestation = self.manifest(
            &self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
            &self.blob("application/vnd.in-toto+json", b"{}"),
        );
        attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        attestation["annotations"] = json!({
            "vnd.docker.reference.digest": of["digest"],
            "vnd.docker.reference.type": "attestation-manifest",
        });
        attestation
    }

    /// Adds an index of manifests.
    pub(crate) fn index(&self, manifests: &[&Value]) -> Value {
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
        self.blob(kind, index.to_string().as_bytes())
    }

    /// Names a manifest or index.
    pub(crate) fn name(&mut self, name: &str, descriptor: &Value) -> OciDigest {
        let mut named = descriptor.clone();
        named["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        self.names.push(named);
        let index = json!({"schemaVersion": 2, "manifests": self.names});
        fs::write(self.dir.join("index.json"), index.to_string()).unwrap();
        digest(descriptor)
    }

    fn manifest(&self, config: &Value, layer: &Value) -> Value {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
        self.blob(kind, manifest.to_string().as_bytes())
    }

    fn blob(&self, kind: &str, bytes: &[u8]) -> Value {
        let digest = OciDigest::of(bytes).to_string();
        let file: &Path = digest.strip_prefix("sha256:").unwrap().as_ref();
        fs::write(self.dir.join("blobs/sha256").join(file), bytes).unwrap();
        json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    }
}

/// Returns the digest of a descriptor.
pub(crate) fn digest(descriptor: &Value) -> OciDigest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}
