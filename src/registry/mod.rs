//! Asks foreign registries what a reference points to now: its digest, and that of each platform.
//!
//! [`registries`] says what is asked, and mostly that is one HEAD, which Docker Hub does not count
//! against its pull limit. Each request passes its host's budget and takes a [`transport`](crate::http::transport); what
//! a registry demands first (`challenge`) is had from its `token` service, with the
//! [`credentials`] that Docker's own configuration has for it. [`cache`] keeps answers between runs.

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

pub use crate::http::transport::{Transport, TransportError};
pub use cache::RegistryCache;
pub use credentials::Credentials;
pub use error::{RegistryError, RegistryErrorKind};
pub use registries::{Registries, RegistryConfig, Resolved};
