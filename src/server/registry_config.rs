//! The settings of the registry that holds the images of a server.

use std::path::PathBuf;

use crate::registry::Credentials;

/// The registry that holds the images of a server.
#[derive(Debug, Clone)]
pub struct ServerRegistryConfig {
    /// Host, with its port if it has one: `127.0.0.1:5000`.
    pub host: String,
    /// File with the credentials for the registry, in the form of Docker's `config.json`.
    pub auth_file: Option<PathBuf>,
    /// File with CA certificates in PEM, which are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// True if the registry is reached over HTTP. A registry on this machine is, unless it has a CA file.
    pub plain_http: bool,
    /// Locations of the credentials for the sources of transfers.
    pub upstream: Credentials,
}
