//! Asks foreign registries what a reference points to now: its digest, and that of each platform.
//!
//! [`registries`] says what is asked, and mostly that is one HEAD, which Docker Hub does not count
//! against its pull limit. Each request passes its host's budget and takes a [`transport`]; what
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
pub mod transport;
mod window;
mod wire;

#[cfg(test)]
mod tests;

pub use credentials::Credentials;
pub use error::{UpstreamError, UpstreamErrorKind};
pub use memory::Memory;
pub use registries::{Config, Notice, Registries, Resolved};
pub use transport::{Broken, Transport};
