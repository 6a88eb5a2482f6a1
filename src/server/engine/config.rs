//! The settings of the engines. Pure.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::base::engine_kind::EngineKind;
use crate::base::source_ref::SourceRef;

/// Default limit of the time of a build.
pub(crate) const DEFAULT_BUILD_TIMEOUT: Duration = Duration::from_secs(3600);

/// Default limit of the disk space of all builds together, in bytes.
pub(crate) const DEFAULT_DISK_BYTES: u64 = 20_000_000_000;

/// Default limit of the memory of a build, in bytes.
pub(crate) const DEFAULT_MEMORY_BYTES: u64 = 2 << 30;

/// Default limit of the processes of a build.
const DEFAULT_MAX_PROCESSES: u32 = 2048;

/// The settings of the engine of a server.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The requested engine.
    pub kind: EngineKind,
    /// Registry that images are pushed to. Without one, `buildah` starts its own.
    pub registry: Option<PushRegistry>,
    /// File with credentials for the bases of builds that push to a registry of their own.
    pub auth: Option<PathBuf>,
    /// Maximum disk space of all builds together, with their caches, in bytes.
    pub disk: u64,
    /// Maximum number of builds at the same time; `None` for one on each core, and 8 with `buildx`.
    pub slots: Option<usize>,
    /// Maximum time of a build.
    pub build_timeout: Duration,
    /// Maximum memory of a build, in bytes.
    pub memory: u64,
    /// Maximum number of processes of a build.
    pub max_processes: u32,
    /// Network of the commands of a build.
    pub network: BuildNetwork,
    /// Builder of docker buildx; `None` for the one that the user has chosen.
    pub builder: Option<String>,
    /// Repository for the layers of builds, which several servers share: a host and a path.
    pub cache: Option<String>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            kind: EngineKind::Check,
            registry: None,
            auth: None,
            disk: DEFAULT_DISK_BYTES,
            slots: None,
            build_timeout: DEFAULT_BUILD_TIMEOUT,
            memory: DEFAULT_MEMORY_BYTES,
            max_processes: DEFAULT_MAX_PROCESSES,
            network: BuildNetwork::Private,
            builder: None,
            cache: None,
        }
    }
}

impl EngineConfig {
    /// Returns the share of the disk space that each of the slots has, in bytes.
    pub(super) fn slot_bytes(&self, slots: usize) -> u64 {
        self.disk / u64::try_from(slots).unwrap_or(1).max(1)
    }
}

/// The network of the commands of a build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BuildNetwork {
    /// A network of its own, with access to the outside
    #[default]
    Private,
    /// No network
    None,
    /// The network of the machine that builds, with its loopback interface
    Host,
}

impl BuildNetwork {
    /// Returns the value as flags have it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::None => "none",
            Self::Host => "host",
        }
    }
}

/// A registry that images are pushed to.
#[derive(Clone, PartialEq, Eq)]
pub struct PushRegistry {
    /// Host and port: `127.0.0.1:5000`.
    pub address: String,
    /// File with credentials, in the form of Docker's `config.json`.
    pub auth: Option<PathBuf>,
    /// The way in which the connection is secured.
    pub trust: RegistryTrust,
}

/// The way in which connections to a registry are secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryTrust {
    /// TLS with the certificates of the system.
    System,
    /// TLS with the certificates of this file, in PEM.
    Ca(PathBuf),
    /// HTTP without TLS.
    PlainHttp,
}

impl PushRegistry {
    /// Returns a registry without credentials. As with Docker, one on this machine uses HTTP.
    pub fn new(address: impl Into<String>) -> Self {
        let address = address.into();
        let trust = default_trust(&address);
        Self { address, auth: None, trust }
    }
}

impl fmt::Debug for PushRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushRegistry").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Returns HTTP for a loopback address, and TLS for every other one.
fn default_trust(address: &str) -> RegistryTrust {
    let image = format!("{address}/image").parse::<SourceRef>();
    let is_local = image.is_ok_and(|image| image.is_loopback());
    if is_local { RegistryTrust::PlainHttp } else { RegistryTrust::System }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_registries_use_http() {
        for (address, expected) in [
            ("127.0.0.1:5000", RegistryTrust::PlainHttp),
            ("127.1.2.3:5000", RegistryTrust::PlainHttp),
            ("LocalHost:5000", RegistryTrust::PlainHttp),
            ("[::1]:5000", RegistryTrust::PlainHttp),
            ("localhost.example:5000", RegistryTrust::System),
            ("registry.example", RegistryTrust::System),
            ("10.0.0.1:5000", RegistryTrust::System),
        ] {
            assert_eq!(PushRegistry::new(address).trust, expected, "{address}");
        }
    }
}
