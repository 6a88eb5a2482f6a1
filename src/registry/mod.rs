//! The client of image registries. It looks up the digest of a reference, and that of each platform.
//!
//! [`registries`] makes the lookups: usually one HEAD request, which Docker Hub does not count against
//! its pull limit. `session` adds what a registry requires (`challenge`): tokens from its token service
//! (`token`) and the [`credentials`] of Docker's configuration. `wire` sends each request within the
//! rate limit of its host (`throttle`) and retries it. [`cache`] keeps results between runs.

pub(crate) mod cache;
mod challenge;
mod credential_helper;
pub(crate) mod credentials;
mod docker_config;
pub(crate) mod error;
mod header;
mod manifest;
pub(crate) mod registries;
mod retry;
mod session;
mod throttle;
mod token;
mod url;
mod window;
mod wire;

#[cfg(test)]
mod tests;

pub(crate) use cache::RegistryCache;
pub(crate) use credentials::Credentials;
pub(crate) use error::RegistryError;
pub(crate) use registries::{Registries, RegistryConfig, Resolved};
