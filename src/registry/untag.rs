//! Removes a tag from a registry. The protocol only deletes manifests, with all their tags.

use bytes::Bytes;
use reqwest::Method;
use serde_json::json;

use super::blob_stream::BlobDownload;
use super::calls::{BlobUpload, ManifestDeletion, RawManifest};
use super::content;
use super::error::{RegistryError, RegistryFailure};
use super::header;
use super::registries::{Registries, status_failure};
use super::session::RegistrySession;
use crate::base::reference::{OciDigest, RegistryRef};
use crate::http::notice::ObserverRef;

/// The result of the removal of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagRemoval {
    /// The tag is gone, or there was none.
    Removed,
    /// The registry does not delete manifests: the image can still be pulled.
    Unsupported,
}

/// Content of the configuration of a placeholder.
const EMPTY_CONFIG: &[u8] = b"{}";

impl Registries {
    /// Removes the tag of an image. `is_shared` tells whether other images of its repository use the
    /// digest: if none does, the manifest is deleted. A shared manifest must stay, so the tag is first
    /// moved to a placeholder of its own, which is deleted with it.
    ///
    /// # Errors
    ///
    /// Fails if the registry cannot be reached or denies the removal.
    pub async fn remove_tag(
        &self,
        image: &RegistryRef,
        is_shared: impl FnOnce(OciDigest) -> bool,
        observer: ObserverRef<'_>,
    ) -> Result<TagRemoval, RegistryError> {
        let removal = async {
            let Some(digest) = current_digest(&self.session, image, observer).await? else {
                return Ok(TagRemoval::Removed);
            };
            let deletion = if is_shared(digest) {
                delete_placeholder(&self.session, image, observer).await?
            } else {
                self.session.delete_manifest(image, digest, observer).await?
            };
            Ok(match deletion {
                ManifestDeletion::Deleted => TagRemoval::Removed,
                ManifestDeletion::Unsupported => TagRemoval::Unsupported,
            })
        };
        removal.await.map_err(|failure: RegistryFailure| failure.with_reference(image))
    }
}

async fn current_digest(
    session: &RegistrySession,
    image: &RegistryRef,
    observer: ObserverRef<'_>,
) -> Result<Option<OciDigest>, RegistryFailure> {
    let name = image.manifest_name();
    let head = session.manifest(&Method::HEAD, image, &name, observer).await?;
    match (head.status, header::digest(&head.headers)) {
        (200, Some(digest)) => return Ok(Some(digest)),
        (404, _) => return Ok(None),
        // Some registries refuse HEAD, or send no digest.
        _ => {}
    }
    let response = session.manifest(&Method::GET, image, &name, observer).await?;
    match response.status {
        200 => Ok(Some(OciDigest::of(&response.body))),
        404 => Ok(None),
        _ => Err(status_failure(&response, image)),
    }
}

/// Writes the configuration of a placeholder.
async fn push_config(
    session: &RegistrySession,
    image: &RegistryRef,
    observer: ObserverRef<'_>,
) -> Result<(), RegistryFailure> {
    let (download, blob) = BlobDownload::of_bytes(EMPTY_CONFIG);
    if session.has_blob(image, blob.digest, observer).await? {
        return Ok(());
    }
    let BlobUpload::Waiting(target) = session.begin_upload(image, None, observer).await? else {
        return Ok(());
    };
    let push = session.push_blob(image, target, blob, download, observer).await;
    push.map_err(|error| error.failure)
}

/// Moves a tag to a placeholder, and deletes that.
async fn delete_placeholder(
    session: &RegistrySession,
    image: &RegistryRef,
    observer: ObserverRef<'_>,
) -> Result<ManifestDeletion, RegistryFailure> {
    let name = image.manifest_name();
    let placeholder = placeholder(&name)?;
    // A registry that deletes nothing must not keep the placeholder.
    let support = session.delete_manifest(image, placeholder.digest, observer).await?;
    if support == ManifestDeletion::Unsupported {
        return Ok(support);
    }
    push_config(session, image, observer).await?;
    session.put_manifest(image, &name, &placeholder, observer).await?;
    session.delete_manifest(image, placeholder.digest, observer).await
}

/// Returns the placeholder of a tag: an image without files that no other tag has.
fn placeholder(tag: &str) -> Result<RawManifest, RegistryFailure> {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": OciDigest::of(EMPTY_CONFIG),
            "size": EMPTY_CONFIG.len(),
        },
        "layers": [],
        "annotations": {"org.opencontainers.image.description": format!("deleted tag {tag}")},
    });
    let bytes = Bytes::from(manifest.to_string());
    let parsed = content::parse(&bytes, None).map_err(RegistryFailure::unexpected)?;
    Ok(RawManifest { digest: OciDigest::of(&bytes), bytes, parsed })
}
