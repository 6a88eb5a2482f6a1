//! Asks foreign registries what a reference points to now: its digest, and that of each platform.
//!
//! [`registries`] says what is asked, and mostly that is one HEAD, which Docker Hub does not count
//! against its pull limit. Each request passes its host's budget and takes a [`transport`](crate::http::transport); what
//! a registry demands first (`challenge`) is had from its `token` service, with the
//! [`credentials`] that Docker's own configuration has for it. [`memory`] keeps answers between runs.

mod ask;
mod challenge;
mod credential_helper;
pub mod credentials;
mod docker_config;
pub mod error;
#[cfg(test)]
mod fake;
mod header;
mod host;
mod manifest;
pub mod memory;
mod place;
pub mod registries;
mod retry;
mod token;

mod window;
mod wire;

#[cfg(test)]
mod tests;

pub use crate::http::transport::{Transport, TransportError};
pub use credentials::Credentials;
pub use error::{RegistryError, RegistryErrorKind};
pub use memory::Memory;
pub use registries::{Config, Notice, Registries, Resolved};
