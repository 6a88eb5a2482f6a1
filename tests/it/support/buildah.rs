//! Runs Buildah, if it is installed, to see how an engine reads a context and a Dockerfile. `.ci/run`
//! installs it. By hand: `apt-get install buildah`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::list;

/// Buildah with a storage in a temporary folder. If run as root, it ignores that folder for its cache
/// of blob locations.
pub(crate) struct Buildah {
    dir: PathBuf,
}

/// The content of an image, without values that differ from build to build.
#[derive(Debug, PartialEq)]
pub(crate) struct Image {
    /// The kind, mode, link target and content of each file.
    pub(crate) files: BTreeMap<String, String>,
    /// The part of the configuration that containers use.
    pub(crate) config: Value,
}

impl Buildah {
    /// Returns `None`, with a message, if Buildah is missing or unusable.
    pub(crate) fn find(dir: PathBuf) -> Option<Self> {
        let buildah = Self { dir };
        fs::create_dir_all(buildah.dir.join("temp")).unwrap();
        let storage = |name: &str| format!("{name} = '{}'\n", buildah.dir.join(name).display());
        let (graph, run) = (storage("graphroot"), storage("runroot"));
        let files = [
            ("storage.conf", &*format!("[storage]\ndriver = \"vfs\"\n{graph}{run}")),
            // No registry is used, and no signature is required.
            ("registries.conf", ""),
            ("policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#),
        ];
        for (name, text) in files {
            fs::write(buildah.dir.join(name), text).unwrap();
        }
        let usable = buildah.command(&buildah.dir, &["from", "scratch"]).output();
        let reason = match usable {
            Ok(output) if output.status.success() => return Some(buildah),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        skip(&format!("no usable buildah: {reason}"));
        None
    }

    fn command(&self, from: &Path, args: &[&str]) -> Command {
        let at = |name: &str| self.dir.join(name);
        let mut command = Command::new("buildah");
        command.current_dir(from).args(args);
        command.envs([("STORAGE_DRIVER", "vfs"), ("BUILDAH_ISOLATION", "chroot")]);
        command.env("CONTAINERS_STORAGE_CONF", at("storage.conf"));
        command.env("CONTAINERS_REGISTRIES_CONF", at("registries.conf"));
        command.envs(["HOME", "TMPDIR", "XDG_RUNTIME_DIR"].map(|name| (name, at("temp"))));
        command
    }

    /// Builds with more options; the error is Buildah's output.
    fn bud(&self, from: &Path, options: &[&str], context: &str) -> Result<(), String> {
        let policy = self.dir.join("policy.json").display().to_string();
        let always = ["bud", "--layers=false", "--signature-policy", &policy];
        let args = [&always[..], options, &[context]].concat();
        let output = self.command(from, &args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(format!("buildah {args:?}: {stderr}")) }
    }

    /// Builds, and lists every file of the image.
    #[track_caller]
    pub(crate) fn build(&self, from: &Path, dockerfile: &str, context: &str) -> Vec<String> {
        let out = self.dir.join("image");
        let _ = fs::remove_dir_all(&out);
        let to = format!("type=local,dest={}", out.display());
        self.bud(from, &["--output", &to, "-f", dockerfile], context).unwrap();
        let mut files = Vec::new();
        list(&out, &mut |path, meta| {
            if !meta.is_dir() {
                files.push(path.strip_prefix(&out).unwrap().display().to_string());
            }
        });
        files.sort();
        files
    }

    /// Builds into the storage, for later use in a FROM; the error is Buildah's output.
    pub(crate) fn store(&self, context: &Path, name: &str) -> Result<(), String> {
        self.bud(context, &["-t", name], ".")
    }

    /// Builds from images in the storage only, and reads the result; the error is Buildah's output.
    pub(crate) fn image(
        &self,
        context: &Path,
        dockerfile: &str,
        options: &[&str],
    ) -> Result<Image, String> {
        let out = self.dir.join("image");
        let _ = fs::remove_dir_all(&out);
        let to = format!("dir:{}", out.display());
        // One layer with all files; and Docker's format, whose configuration has more fields.
        let always =
            ["--squash", "--pull-never", "--format", "docker", "-t", &to, "-f", dockerfile];
        self.bud(context, &[&always[..], options].concat(), ".")?;
        let blob = |at: &Value| {
            let digest = at["digest"].as_str().unwrap();
            out.join(digest.strip_prefix("sha256:").unwrap())
        };
        let json = |path: PathBuf| serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let manifest: Value = json(out.join("manifest.json"));
        let mut config: Value = json(blob(&manifest["config"]));
        let mut config = config["config"].take();
        let differs = ["Hostname", "Image"];
        config.as_object_mut().unwrap().retain(|key, _| !differs.contains(&key.as_str()));
        let mut files = BTreeMap::new();
        for layer in manifest["layers"].as_array().unwrap() {
            let mut archive = tar::Archive::new(fs::File::open(blob(layer)).unwrap());
            for entry in archive.entries().unwrap() {
                let (path, description) = describe(entry.unwrap());
                files.insert(path, description);
            }
        }
        Ok(Image { files, config })
    }
}

/// Reports a skipped test. With `IMGPLAN_BUILDAH=required`, the test fails instead.
pub(crate) fn skip(reason: &str) {
    let required = std::env::var_os("IMGPLAN_BUILDAH").is_some_and(|value| value == "required");
    assert!(!required, "IMGPLAN_BUILDAH=required: {reason}");
    // Unlike `eprintln!`, this is not captured in tests that succeed.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}

/// Returns the path and a description of a layer's entry, without times.
fn describe(mut entry: tar::Entry<'_, fs::File>) -> (String, String) {
    let path = entry.path().unwrap().display().to_string();
    let header = entry.header().clone();
    let link = entry.link_name().unwrap().map(|link| link.display().to_string());
    let mut content = Vec::new();
    entry.read_to_end(&mut content).unwrap();
    let content = String::from_utf8(content).unwrap_or_else(|binary| {
        // A binary file: its length and the sum of its bytes are enough to compare.
        let bytes = binary.as_bytes();
        format!("{} bytes, sum {}", bytes.len(), bytes.iter().map(|b| u64::from(*b)).sum::<u64>())
    });
    let (kind, mode) = (header.entry_type(), header.mode().unwrap());
    let owner = (header.uid().unwrap(), header.gid().unwrap());
    (path, format!("{kind:?} {mode:o} {owner:?} {link:?}\n{content}"))
}
