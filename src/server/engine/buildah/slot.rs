//! A slot: the folder in which one build runs at a time, with one store for each platform.
//!
//! One store for all platforms would be wrong: with `--layers`, Buildah takes layers of another
//! platform from its cache and reports success.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::base::file::{AtPath, PathError, replace_private};
use crate::base::name::Platform;
use crate::server::engine::config::{PushRegistry, RegistryTrust};

/// Policy for signatures, for machines that have none: no signature is required.
const POLICY: &str = "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}\n";

/// A slot.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) dir: PathBuf,
    /// Name of the slot's cgroup.
    pub(super) name: String,
    /// True if a build may have left containers and mounts.
    pub(super) is_dirty: bool,
}

impl Slot {
    /// Creates a slot, or takes over that of an earlier server.
    ///
    /// # Errors
    /// Fails if a file or folder cannot be created.
    pub(super) fn create(
        parent: &Path,
        index: usize,
        registry: &PushRegistry,
        credentials: Option<&str>,
    ) -> Result<Self, PathError> {
        let name = format!("slot-{index}");
        let slot = Self { dir: parent.join(&name), name, is_dirty: true };
        let config = slot.home().join(".config/containers");
        for dir in [&slot.temp(), &slot.empty_dir(), &config] {
            std::fs::create_dir_all(dir).at("create the folder", dir)?;
        }
        replace_private(&slot.registries_conf(), registries_conf(registry).as_bytes())?;
        if !Path::new("/etc/containers/policy.json").exists() {
            replace_private(&config.join("policy.json"), POLICY.as_bytes())?;
        }
        replace_private(&slot.authfile(), credentials.unwrap_or("{}").as_bytes())?;
        let certificates = config.join("certs.d");
        let _ = std::fs::remove_dir_all(&certificates);
        if let RegistryTrust::Ca(file) = &registry.trust {
            // Only for this registry; `--cert-dir` would trust it for all.
            let dir = certificates.join(&registry.address);
            std::fs::create_dir_all(&dir).at("create the folder", &dir)?;
            let file = std::path::absolute(file).at("find", file)?;
            symlink(file, dir.join("ca.crt")).at("create a link in", &dir)?;
        }
        Ok(slot)
    }

    /// Returns the store of a platform.
    pub(super) fn store(&self, platform: Platform) -> PathBuf {
        self.dir.join(platform.arch())
    }

    /// Returns the folder of the store's state, which does not survive a restart of the machine.
    pub(super) fn run_dir(&self, platform: Platform) -> PathBuf {
        self.dir.join(format!("{}-run", platform.arch()))
    }

    pub(super) fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    pub(super) fn temp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Returns the working folder of programs. No build writes there, so no name of a build is found in
    /// it.
    pub(super) fn empty_dir(&self) -> PathBuf {
        self.dir.join("empty")
    }

    /// Returns the Dockerfile that Buildah executes.
    pub(super) fn dockerfile(&self) -> PathBuf {
        self.dir.join("Dockerfile")
    }

    /// Returns the file with the credentials of registries, which only its owner can read.
    pub(super) fn authfile(&self) -> PathBuf {
        self.dir.join("auth.json")
    }

    pub(super) fn registries_conf(&self) -> PathBuf {
        self.dir.join("registries.conf")
    }

    /// Returns the slot's disk space in bytes. A file with several links counts once.
    pub(super) async fn disk_bytes(&self) -> u64 {
        let dir = self.dir.clone();
        tokio::task::spawn_blocking(move || disk_bytes(&dir)).await.unwrap_or_default()
    }
}

/// Returns the configuration of registries: a name without a registry means Docker Hub, as in Docker.
fn registries_conf(registry: &PushRegistry) -> String {
    let docker_hub = "unqualified-search-registries = [\"docker.io\"]\n\
                      short-name-mode = \"disabled\"\n";
    let address = &registry.address;
    match registry.trust {
        // Only for this registry; `--tls-verify=false` would hold for all.
        RegistryTrust::PlainHttp => {
            format!("{docker_hub}[[registry]]\nlocation = \"{address}\"\ninsecure = true\n")
        }
        RegistryTrust::System | RegistryTrust::Ca(_) => docker_hub.to_owned(),
    }
}

/// Returns the disk space of a folder in bytes. Does not follow links, and skips what it cannot read or
/// what disappears meanwhile.
fn disk_bytes(dir: &Path) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let mut total = 0;
    let mut linked = std::collections::HashSet::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                folders.push(entry.path());
            } else if meta.nlink() > 1 && !linked.insert((meta.dev(), meta.ino())) {
                continue;
            }
            total += meta.blocks() * BLOCK_BYTES;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(registry: &PushRegistry) -> (tempfile::TempDir, Slot) {
        let dir = tempfile::tempdir().unwrap();
        let slot = Slot::create(dir.path(), 0, registry, Some("{\"auths\":{}}")).unwrap();
        (dir, slot)
    }

    #[test]
    fn only_the_registry_itself_is_insecure() {
        let text = registries_conf(&PushRegistry::new("127.0.0.1:5000"));
        assert!(text.ends_with("location = \"127.0.0.1:5000\"\ninsecure = true\n"), "{text}");
        let text = registries_conf(&PushRegistry::new("registry.example"));
        assert!(!text.contains("insecure"), "{text}");
    }

    #[test]
    fn credentials_are_readable_by_their_owner_only() {
        let (_dir, slot) = slot(&PushRegistry::new("127.0.0.1:5000"));
        assert_eq!(slot.authfile().metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_certificate_is_for_its_registry() {
        let mut registry = PushRegistry::new("registry.example:5000");
        registry.trust = RegistryTrust::Ca("/certs/ca.pem".into());
        let (_dir, slot) = slot(&registry);
        let link = slot.home().join(".config/containers/certs.d/registry.example:5000/ca.crt");
        assert_eq!(std::fs::read_link(link).unwrap(), Path::new("/certs/ca.pem"));
    }

    #[test]
    fn disk_space_counts_links_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/b");
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(&file, vec![1; 100_000]).unwrap();
        let one = disk_bytes(dir.path());
        assert!(one >= 100_000, "{one}");
        std::fs::hard_link(&file, dir.path().join("c")).unwrap();
        symlink(&file, dir.path().join("d")).unwrap();
        assert!(disk_bytes(dir.path()) < one + 50_000);
    }
}
