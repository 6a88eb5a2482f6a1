//! The client of image registries. It looks up the digest of a reference, and that of each platform.
//!
//! [`registries`] makes the lookups: usually one HEAD request, which Docker Hub does not count against
//! its pull limit. `session` adds what a registry requires (`challenge`): tokens from its token service
//! (`token`) and the [`credentials`] of Docker's configuration. `wire` sends each request within the
//! rate limit of its host (`throttle`) and retries it. [`cache`] keeps results between runs.

pub mod cache;
mod challenge;
mod credential_helper;
pub mod credentials;
mod docker_config;
pub mod error;
mod header;
mod manifest;
pub mod registries;
mod retry;
mod session;
mod throttle;
mod token;
mod url;
mod window;
mod wire;

#[cfg(test)]
mod tests;

pub use cache::RegistryCache;
pub use credentials::Credentials;
pub use error::{RegistryError, RegistryErrorKind};
pub use registries::{Registries, RegistryConfig, Resolved};
