//! Copies one blob into a repository: not at all if it is there, by a mount if another repository of the
//! registry has it, and else as a stream.

use std::collections::HashMap;
use std::sync::Mutex;

use super::calls::{BlobUpload, UploadError, UploadTarget};
use super::content::BlobDescriptor;
use super::error::{RegistryError, RegistryErrorKind, RegistryFailure};
use super::registries::Registries;
use super::retry;
use super::throttle::lock;
use crate::base::reference::{OciDigest, RegistryRef};
use crate::http::notice::ObserverRef;

/// Maximum number of blobs whose repository is remembered.
const MAX_KNOWN_BLOBS: usize = 10_000;

/// A repository of the destination that has each blob, for mounts. Only a hint: a blob may be gone.
#[derive(Debug, Default)]
pub(super) struct KnownBlobs(Mutex<HashMap<OciDigest, String>>);

impl KnownBlobs {
    /// Returns a repository other than `repository` that has had the blob.
    fn elsewhere(&self, digest: OciDigest, repository: &str) -> Option<String> {
        lock(&self.0).get(&digest).filter(|known| *known != repository).cloned()
    }

    fn record(&self, digest: OciDigest, repository: &str) {
        let mut known = lock(&self.0);
        if known.len() >= MAX_KNOWN_BLOBS {
            known.clear();
        }
        known.insert(digest, repository.to_owned());
    }
}

/// The way of all blobs of one copy.
pub(super) struct BlobRoute<'a> {
    pub(super) source: &'a Registries,
    pub(super) from: &'a RegistryRef,
    pub(super) destination: &'a Registries,
    pub(super) to: &'a RegistryRef,
    pub(super) known: &'a KnownBlobs,
}

/// The failure of one attempt to copy a blob.
struct BlobError {
    error: RegistryError,
    is_transient: bool,
}

impl BlobRoute<'_> {
    /// Returns the error for a failure of the source.
    pub(super) fn at_source(&self, failure: RegistryFailure) -> RegistryError {
        failure.with_reference(self.from)
    }

    /// Returns the error for a failure of the destination.
    pub(super) fn at_destination(&self, failure: RegistryFailure) -> RegistryError {
        failure.with_reference(self.to)
    }

    /// Copies a blob, and repeats that after transient errors.
    ///
    /// # Errors
    ///
    /// Fails if a registry cannot be reached, denies access, or does not have the blob as its descriptor
    /// says.
    pub(super) async fn copy(
        &self,
        blob: BlobDescriptor,
        observer: ObserverRef<'_>,
    ) -> Result<(), RegistryError> {
        let sender = &self.destination.session.sender;
        let mut attempt = 0;
        loop {
            let BlobError { error, is_transient } = match self.attempt(blob, observer).await {
                Ok(()) => {
                    self.known.record(blob.digest, self.to.repository());
                    return Ok(());
                }
                Err(error) => error,
            };
            attempt += 1;
            if !is_transient || attempt >= sender.max_attempts {
                return Err(error);
            }
            tokio::time::sleep(retry::wait(attempt, None, sender.jitter.draw())).await;
        }
    }

    async fn attempt(
        &self,
        blob: BlobDescriptor,
        observer: ObserverRef<'_>,
    ) -> Result<(), BlobError> {
        let at_source = |failure| BlobError { error: self.at_source(failure), is_transient: false };
        let at_destination =
            |failure| BlobError { error: self.at_destination(failure), is_transient: false };
        let destination = &self.destination.session;
        let is_there = destination.has_blob(self.to, blob.digest, observer).await;
        if is_there.map_err(at_destination)? {
            return Ok(());
        }
        let begun = self.mount_or_begin(blob.digest, observer).await;
        let Some(target) = begun.map_err(at_destination)? else { return Ok(()) };
        let download = self.source.session.pull_blob(self.from, blob, observer).await;
        let download = download.map_err(at_source)?;
        let pushed = destination.push_blob(self.to, target, blob, download, observer).await;
        pushed.map_err(|UploadError { failure, is_transient, is_of_download }| {
            let error =
                if is_of_download { self.at_source(failure) } else { self.at_destination(failure) };
            BlobError { error, is_transient }
        })
    }

    /// Begins the upload of a blob. `None` if the registry has mounted it.
    async fn mount_or_begin(
        &self,
        digest: OciDigest,
        observer: ObserverRef<'_>,
    ) -> Result<Option<UploadTarget>, RegistryFailure> {
        let (session, repository) = (&self.destination.session, self.to.repository());
        let is_same_registry = self.from.registry() == self.to.registry();
        let from = if is_same_registry && self.from.repository() != repository {
            Some(self.from.repository().to_owned())
        } else {
            self.known.elsewhere(digest, repository)
        };
        let mount = from.as_deref().map(|from| (digest, from));
        let upload = match session.begin_upload(self.to, mount, observer).await {
            // The credentials may not allow to read the other repository.
            Err(failure) if mount.is_some() && failure.kind == RegistryErrorKind::Denied => {
                session.begin_upload(self.to, None, observer).await?
            }
            upload => upload?,
        };
        Ok(match upload {
            BlobUpload::Mounted => None,
            BlobUpload::Waiting(target) => Some(target),
        })
    }
}
