//! The registry that holds the images of a server, and the clients for it and for all others.

use std::path::Path;
use std::time::Duration;

use super::engine::config::{PushRegistry, RegistryTrust};
use super::error::ServerError;
use crate::base::input::{self, InputKind};
use crate::base::limit::Limit;
use crate::registry::{Credentials, Registries, RegistryConfig, RegistryError, RegistryProtocol};

/// Rate limit of the server's own registry: none, in effect.
const OWN_LIMIT: Limit = Limit { count: 10_000, window: Duration::from_secs(10) };

/// Maximum number of concurrent requests to the server's own registry.
const OWN_CONCURRENCY: usize = 32;

/// The registry that holds the images of a server.
#[derive(Debug, Clone)]
pub struct ServerRegistryConfig {
    /// Address, credentials and trust.
    pub registry: PushRegistry,
    /// Locations of the credentials for the sources of transfers.
    pub upstream: Credentials,
}

/// Returns a client for the registry that the server pushes to. Nothing is sent yet.
///
/// # Errors
///
/// Fails if a file cannot be read, or if TLS cannot be set up.
pub(super) fn own_registry(registry: &PushRegistry) -> Result<Registries, ServerError> {
    let (protocol, ca_file) = match &registry.trust {
        RegistryTrust::System => (RegistryProtocol::Https, None),
        RegistryTrust::Ca(file) => (RegistryProtocol::Https, Some(file)),
        RegistryTrust::PlainHttp => (RegistryProtocol::Http, None),
    };
    connect(RegistryConfig {
        credentials: credentials(registry.auth.as_deref()),
        limit: OWN_LIMIT,
        concurrency: OWN_CONCURRENCY,
        protocol,
        authorities: ca_file.map(|file| authorities(file)).transpose()?.unwrap_or_default(),
        ..RegistryConfig::default()
    })
}

/// Returns a client for registries that are not the server's. Nothing is sent yet.
///
/// # Errors
///
/// Fails if TLS cannot be set up.
pub(super) fn other_registries(credentials: Credentials) -> Result<Registries, ServerError> {
    connect(RegistryConfig { credentials, ..RegistryConfig::default() })
}

/// Returns the credentials of a file in the form of Docker's `config.json`.
pub(super) fn credentials(file: Option<&Path>) -> Credentials {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Credentials::from_files(file.iter().map(|file| file.to_path_buf()).collect(), path)
}

/// Returns the reason of a failure for a build. Its parts are one line, without secrets.
pub(super) fn reason(error: &RegistryError) -> String {
    format!("{error}; {}", error.help)
}

fn connect(config: RegistryConfig) -> Result<Registries, ServerError> {
    Registries::new(config).map_err(|error| ServerError::Registry {
        message: error.message,
        help: "check --registry-ca and the CA certificates of the system".to_owned(),
    })
}

fn authorities(path: &Path) -> Result<Vec<u8>, ServerError> {
    input::read(path, InputKind::CertificateAuthorities).map_err(|error| ServerError::Registry {
        message: format!("{} cannot be read: {error}", path.display()),
        help: "name a PEM file with the certificate of the registry's CA".to_owned(),
    })
}
