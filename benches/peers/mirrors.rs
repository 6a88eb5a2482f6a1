//! An image of 500 MB copied from one registry on this machine to another, compared with skopeo. The
//! bench runs itself as imgplan's part: the copier of the local server, in a process of its own.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use imgplan::test_support::base::reference::{OciDigest, RegistryRef};
use imgplan::test_support::registry::{ImageCopier, Registries, RegistryConfig};
use serde_json::{Value, json};

use crate::Bench;
use crate::measure::{Done, Failed, Job, command, compare, is_here, output, run, timed};

const LAYERS: u8 = 8;
const LAYER_BYTES: usize = 500_000_000 / LAYERS as usize;
/// Maximum time relative to skopeo's.
const MAX_RELATIVE_TIME: f64 = 0.8;

/// The argument with which the bench copies one image: `--mirror SOURCE DESTINATION`.
pub(crate) const FLAG: &str = "--mirror";

/// Copies an image with the copier of the local server.
pub(crate) fn copy(source: &str, destination: &str) -> Done {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let [from, to] = [source, destination].map(str::parse::<RegistryRef>);
    let (from, to) = (from?, to?);
    let client = || Registries::new(RegistryConfig::default());
    let (copier, source) = (ImageCopier::new(client()?), client()?);
    runtime.block_on(async {
        let copied = copier.copy(&source, &from, None, &to, &|_| ()).await?;
        copier.publish(&copied, &|_| ()).await?;
        Ok(())
    })
}

/// 500 MB in 8 layers; the destination is empty before each run.
pub(crate) fn mirrors(bench: &Bench) -> Done {
    let hint = "apt-get install docker-registry skopeo";
    if !is_here("docker-registry", hint) || !is_here("skopeo", hint) {
        return Ok(());
    }
    let dir = bench.dir.join("mirrors");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
    let source = Registry::start(&dir.join("source"))?;
    timed("500 MB pushed to the source", || fill(&dir, &source.address))?;
    // A fixed address would be simpler, but may be taken.
    let empty = Registry::start(&dir.join("destination"))?;
    let destination = RefCell::new(empty);
    let address = destination.borrow().address.clone();
    let clean = || {
        destination.borrow_mut().empty()?;
        Ok(())
    };
    let from = format!("{}/app:1", source.address);
    let to = format!("{address}/app:1");
    let mut theirs = skopeo(&dir);
    theirs.args([
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--all",
        "--preserve-digests",
    ]);
    theirs.args([format!("docker://{from}"), format!("docker://{to}")]);
    let mut ours = command(std::env::current_exe()?, &dir);
    ours.args([FLAG, &from, &to]);
    let result = compare(
        Job::new("skopeo copy --all", theirs).before(&clean),
        Job::new("imgplan's copier", ours).before(&clean),
        bench.runs,
        Some(MAX_RELATIVE_TIME),
    );
    drop((source, destination));
    fs::remove_dir_all(&dir)?;
    result
}

/// Pushes the image from an OCI layout.
fn fill(dir: &Path, address: &str) -> Done {
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
    let mut push = skopeo(dir);
    push.args([
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

fn skopeo(dir: &Path) -> Command {
    let mut skopeo = command("skopeo", dir);
    skopeo.arg("--policy").arg(dir.join("policy.json")).args(["copy", "--quiet"]);
    skopeo
}

/// A registry on a free port of this machine, which ends with this value.
struct Registry {
    dir: PathBuf,
    child: Child,
    address: String,
}

impl Registry {
    fn start(dir: &Path) -> Result<Self, Failed> {
        fs::create_dir_all(dir)?;
        let (child, address) = serve(dir, "127.0.0.1:0")?;
        Ok(Self { dir: dir.to_owned(), child, address })
    }

    /// Removes all images, by a start with an empty folder at the same address.
    fn empty(&mut self) -> Done {
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
