//! A registry on this machine, Debian's `docker-registry`, and images to fill it with.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use imgplan::test_support::base::reference::OciDigest;
use serde_json::{Value, json};

use crate::measure::{Done, Failed, command, output, run};

const LAYERS: u8 = 8;
const LAYER_BYTES: usize = 500_000_000 / LAYERS as usize;

/// A registry on a free port of this machine, which ends with this value.
pub(crate) struct Registry {
    dir: PathBuf,
    child: Child,
    pub(crate) address: String,
}

impl Registry {
    pub(crate) fn start(dir: &Path) -> Result<Self, Failed> {
        fs::create_dir_all(dir)?;
        let (child, address) = serve(dir, "127.0.0.1:0")?;
        Ok(Self { dir: dir.to_owned(), child, address })
    }

    /// Removes all images, by a start with an empty folder at the same address.
    pub(crate) fn empty(&mut self) -> Done {
        self.stop();
        fs::remove_dir_all(self.dir.join("data")).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        self.child = serve(&self.dir, &self.address)?.0;
        Ok(())
    }

    fn stop(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts a registry, and returns its address once it listens.
fn serve(dir: &Path, address: &str) -> Result<(Child, String), Failed> {
    let (config, log) = (dir.join("config.yml"), dir.join("log"));
    let settings = json!({
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": true}},
        "storage": {"filesystem": {"rootdirectory": dir.join("data")}},
        "http": {"addr": address},
    });
    // JSON is YAML.
    fs::write(&config, settings.to_string())?;
    let mut registry = command("docker-registry", dir);
    registry.arg("serve").arg(&config).stderr(File::create(&log)?).stdout(Stdio::null());
    let child = registry.spawn()?;
    for _ in 0..500 {
        let text = fs::read_to_string(&log)?;
        if let Some((_, rest)) = text.split_once("listening on ") {
            let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ':'));
            if let Some(address) = end.map(|end| rest[..end].to_owned()) {
                return Ok((child, address));
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err("the registry does not listen".into())
}

/// Pushes `app:1`, an image of 500 MB, from an OCI layout.
pub(crate) fn fill(dir: &Path, address: &str) -> Done {
    let layout = dir.join("layout");
    fs::create_dir_all(layout.join("blobs/sha256"))?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let blob = |kind: &str, bytes: &[u8]| -> Result<Value, Failed> {
        let digest = OciDigest::of(bytes).to_string();
        fs::write(layout.join("blobs").join(digest.replace(':', "/")), bytes)?;
        Ok(json!({"mediaType": kind, "digest": digest, "size": bytes.len()}))
    };
    let mut layers = Vec::new();
    for seed in 0..LAYERS {
        let mut bytes = vec![0; LAYER_BYTES];
        // Noise, which no storage compresses.
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        layers.push(blob("application/vnd.oci.image.layer.v1.tar", &bytes)?);
    }
    let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
    let mut manifest = blob(kind, manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "app"});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(dir.join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
    let mut push = skopeo(dir, "copy");
    push.args([
        "--quiet",
        "--dest-tls-verify=false",
        "--preserve-digests",
        "--dest-oci-accept-uncompressed-layers",
    ]);
    push.arg(format!("oci:{}:app", layout.display())).arg(format!("docker://{address}/app:1"));
    run(&mut push)?;
    let mut check = command("skopeo", dir);
    check.args(["inspect", "--raw", "--tls-verify=false"]);
    let pushed = output(check.arg(format!("docker://{address}/app:1")))?;
    if OciDigest::of(pushed.as_bytes()).to_string() != manifest["digest"] {
        return Err("skopeo has pushed another image".into());
    }
    fs::remove_dir_all(layout)?;
    Ok(())
}

/// A command of skopeo, which requires no signature. [`fill`] has written its policy.
pub(crate) fn skopeo(dir: &Path, subcommand: &str) -> Command {
    let mut skopeo = command("skopeo", dir);
    skopeo.arg("--policy").arg(dir.join("policy.json")).arg(subcommand);
    skopeo
}
