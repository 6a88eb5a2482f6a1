//! The settings of the registry that holds the images of a server.

use super::engine::config::PushRegistry;
use crate::registry::Credentials;

/// The registry that holds the images of a server.
#[derive(Debug, Clone)]
pub struct ServerRegistryConfig {
    /// Address, credentials and trust.
    pub registry: PushRegistry,
    /// Locations of the credentials for the sources of transfers.
    pub upstream: Credentials,
}
