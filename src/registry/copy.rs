//! Copies images into a registry, with the digests that they have: an index with all its platforms, or
//! the manifest of one.
//!
//! The blobs of an image come before its manifest, and the manifests of an index before the index, because
//! a registry accepts a manifest only with all that it names. The tag is written last, by
//! [`ImageCopier::publish`]: a copy that fails or is interrupted before changes no tag, and the next one
//! continues with the missing blobs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, TryStreamExt};
use tokio::sync::{OnceCell, Semaphore};

use super::blob_copy::{BlobRoute, KnownBlobs};
use super::calls::RawManifest;
use super::choice::{self, Choice};
use super::content::{BlobDescriptor, ManifestContent};
use super::error::{RegistryError, RegistryFailure};
use super::registries::Registries;
use super::throttle::lock;
use crate::base::name::Platform;
use crate::base::reference::{OciDigest, RegistryRef};
use crate::http::notice::ObserverRef;

/// Maximum number of blobs of one image that are copied at the same time.
const MAX_BLOBS_PER_COPY: usize = 4;

/// Maximum number of blobs that are copied at the same time, of all images.
const MAX_BLOBS: usize = 16;

/// Maximum number of manifests of one index that are copied at the same time.
const MAX_MANIFESTS_PER_COPY: usize = 4;

/// Maximum depth of indexes in indexes.
const MAX_DEPTH: u32 = 3;

/// Copies images into one registry. A process should have one only, since the number of concurrent
/// transfers is limited per copier.
#[derive(Debug)]
pub struct ImageCopier {
    destination: Registries,
    blobs: Semaphore,
    known: KnownBlobs,
}

/// An image whose blobs and further manifests are in the destination. Only its tag is missing.
#[derive(Debug)]
pub struct CopiedImage {
    root: RawManifest,
    to: RegistryRef,
    /// Size of all its blobs in bytes, each counted once.
    pub size: u64,
    /// The manifests that an index names, at any depth.
    pub children: Vec<OciDigest>,
}

impl CopiedImage {
    /// Returns the digest of the manifest or index, which is the same in both registries.
    pub fn digest(&self) -> OciDigest {
        self.root.digest
    }
}

/// The state of one copy.
struct CopyRun<'a> {
    route: BlobRoute<'a>,
    all_blobs: &'a Semaphore,
    own_blobs: Semaphore,
    progress: Mutex<CopyProgress>,
    observer: ObserverRef<'a>,
}

#[derive(Default)]
struct CopyProgress {
    /// The blobs that are copied or being copied, so that the platforms of an index share them.
    blobs: HashMap<OciDigest, (u64, Arc<OnceCell<()>>)>,
    children: Vec<OciDigest>,
}

impl ImageCopier {
    /// Creates a copier into a registry that `destination` has access to.
    pub fn new(destination: Registries) -> Self {
        Self { destination, blobs: Semaphore::new(MAX_BLOBS), known: KnownBlobs::default() }
    }

    /// Returns the client of the destination.
    pub(crate) fn destination(&self) -> &Registries {
        &self.destination
    }

    /// Copies all of an image but its tag: of an index the manifest of `platform`, or without a platform
    /// the whole index.
    ///
    /// # Errors
    ///
    /// Fails if a registry cannot be reached or denies access, if the source is missing, incomplete or has
    /// no image for the platform, if its content does not have the digests that it names, and if the
    /// destination refuses it. The error names the reference that it is about.
    pub async fn copy(
        &self,
        source: &Registries,
        from: &RegistryRef,
        platform: Option<Platform>,
        to: &RegistryRef,
        observer: ObserverRef<'_>,
    ) -> Result<CopiedImage, RegistryError> {
        let (destination, known) = (&self.destination, &self.known);
        let run = CopyRun {
            route: BlobRoute { source, from, destination, to, known },
            all_blobs: &self.blobs,
            own_blobs: Semaphore::new(MAX_BLOBS_PER_COPY),
            progress: Mutex::default(),
            observer,
        };
        run.copy(platform).await
    }

    /// Writes the tag, or the digest, of a copied image. From then on the image can be pulled.
    ///
    /// # Errors
    ///
    /// Fails if the registry cannot be reached or refuses the manifest.
    pub async fn publish(
        &self,
        image: &CopiedImage,
        observer: ObserverRef<'_>,
    ) -> Result<(), RegistryError> {
        let CopiedImage { root, to, .. } = image;
        let name = to.manifest_name();
        let put = self.destination.session.put_manifest(to, &name, root, observer).await;
        put.map_err(|failure| failure.with_reference(to))
    }
}

impl CopyRun<'_> {
    async fn copy(&self, platform: Option<Platform>) -> Result<CopiedImage, RegistryError> {
        let root = self.root(platform).await?;
        self.content_of(&root, MAX_DEPTH).await?;
        let progress = std::mem::take(&mut *lock(&self.progress));
        Ok(CopiedImage {
            to: self.route.to.clone(),
            size: progress.blobs.values().fold(0, |sum, (size, _)| sum.saturating_add(*size)),
            children: progress.children,
            root,
        })
    }

    /// Returns the manifest or the index to copy.
    async fn root(&self, platform: Option<Platform>) -> Result<RawManifest, RegistryError> {
        let from = self.route.from;
        let root = self.manifest(&from.manifest_name(), from.digest()).await?;
        let Some(platform) = platform else { return Ok(root) };
        let at_source = |failure| self.route.at_source(failure);
        match choice::choose(&root.bytes, platform).map_err(at_source)? {
            Choice::Whole => Ok(root),
            Choice::Manifest(digest) => self.manifest(&digest.to_string(), Some(digest)).await,
            Choice::IfConfigured(config) => {
                let config = self.route.source.session.blob(from, config, self.observer).await;
                let config = config.map_err(at_source)?;
                choice::check_config(&config.body, platform).map_err(at_source)?;
                Ok(root)
            }
        }
    }

    /// Returns a manifest of the source.
    async fn manifest(
        &self,
        name: &str,
        expected: Option<OciDigest>,
    ) -> Result<RawManifest, RegistryError> {
        let BlobRoute { source, from, .. } = &self.route;
        let manifest = source.session.raw_manifest(from, name, expected, self.observer).await;
        manifest.map_err(|failure| self.route.at_source(failure))
    }

    /// Copies all that a manifest names. Indexes may be nested `depth` times.
    fn content_of<'a>(
        &'a self,
        manifest: &'a RawManifest,
        depth: u32,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        async move {
            match &manifest.parsed.content {
                ManifestContent::Image(blobs) => self.image(manifest.digest, blobs).await,
                ManifestContent::Index(_) if depth == 0 => {
                    let problem = "the index has too many levels of indexes";
                    Err(self.route.at_source(RegistryFailure::unexpected(problem)))
                }
                ManifestContent::Index(entries) => {
                    let children: Vec<_> =
                        entries.iter().map(|entry| Ok(self.child(*entry, depth - 1))).collect();
                    let children = stream::iter(children);
                    children.try_buffer_unordered(MAX_MANIFESTS_PER_COPY).try_collect().await
                }
            }
        }
        .boxed()
    }

    /// Copies a manifest of an index.
    async fn child(&self, entry: BlobDescriptor, depth: u32) -> Result<(), RegistryError> {
        let BlobRoute { destination, to, .. } = &self.route;
        let name = entry.digest.to_string();
        let child = self.manifest(&name, Some(entry.digest)).await?;
        if child.bytes.len() as u64 != entry.size {
            let message = format!("the index names another size of the manifest {name}");
            return Err(self.route.at_source(RegistryFailure::unexpected(message)));
        }
        self.content_of(&child, depth).await?;
        let put = destination.session.put_manifest(to, &name, &child, self.observer).await;
        put.map_err(|failure| self.route.at_destination(failure))?;
        lock(&self.progress).children.push(entry.digest);
        Ok(())
    }

    /// Copies the blobs of an image, unless the repository has its manifest.
    async fn image(
        &self,
        digest: OciDigest,
        blobs: &[BlobDescriptor],
    ) -> Result<(), RegistryError> {
        let cells: Vec<(BlobDescriptor, Arc<OnceCell<()>>)> = {
            let mut progress = lock(&self.progress);
            let mut cell = |blob: &BlobDescriptor| {
                let known = progress.blobs.entry(blob.digest);
                Arc::clone(&known.or_insert_with(|| (blob.size, Arc::default())).1)
            };
            blobs.iter().map(|blob| (*blob, cell(blob))).collect()
        };
        let BlobRoute { destination, to, .. } = &self.route;
        let is_there = destination.session.has_manifest(to, digest, self.observer).await;
        if is_there.map_err(|failure| self.route.at_destination(failure))? {
            return Ok(());
        }
        let copies: Vec<_> = cells.iter().map(|(blob, cell)| Ok(self.blob(*blob, cell))).collect();
        stream::iter(copies).try_buffer_unordered(MAX_BLOBS_PER_COPY).try_collect().await
    }

    /// Copies a blob, or waits until another manifest's copy of it has ended.
    async fn blob(&self, blob: BlobDescriptor, cell: &OnceCell<()>) -> Result<(), RegistryError> {
        let copy = async || {
            let problem = "the copier was shut down";
            let closed = |_| self.route.at_destination(RegistryFailure::unexpected(problem));
            let _own = self.own_blobs.acquire().await.map_err(closed)?;
            let _any = self.all_blobs.acquire().await.map_err(closed)?;
            self.route.copy(blob, self.observer).await
        };
        cell.get_or_try_init(copy).await.copied()
    }
}
