//! The client of image registries. It looks up the digest of a reference, and that of each platform.
//!
//! [`registries`] makes the lookups: usually one HEAD request, which Docker Hub does not count against
//! its pull limit. `session` adds what a registry requires (`challenge`): tokens from its token service
//! (`token`) and the [`credentials`] of Docker's configuration. `wire` sends each request within the
//! rate limit of its host (`throttle`) and retries it. [`cache`] keeps results between runs.
//!
//! [`copy`] copies images into a registry, for the local server: with the calls of `calls`, the blobs as
//! streams (`blob_copy`, `blob_stream`). `untag` removes images.

mod authorization;
mod blob_copy;
mod blob_stream;
pub(crate) mod cache;
mod calls;
mod challenge;
mod choice;
mod content;
pub(crate) mod copy;
mod credential_helper;
pub(crate) mod credentials;
mod docker_config;
pub(crate) mod error;
mod header;
mod manifest;
mod message;
pub(crate) mod registries;
mod retry;
mod session;
mod throttle;
mod token;
mod untag;
mod url;
mod window;
mod wire;

#[cfg(test)]
mod copy_tests;
#[cfg(test)]
mod tests;

pub(crate) use cache::RegistryCache;
pub(crate) use copy::{CopiedImage, ImageCopier};
pub(crate) use credentials::Credentials;
pub(crate) use error::RegistryError;
pub(crate) use registries::{Registries, RegistryConfig, Resolved};
pub(crate) use untag::TagRemoval;
pub(crate) use url::RegistryProtocol;
