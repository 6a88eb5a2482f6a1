//! The images that an engine has pushed: their sizes in the registry, and a record of each until the
//! server has stored the result of its build. After a crash in between, the image is not built again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::BuiltImage;
use super::config::PushRegistry;
use crate::base::file::{AtPath, replace_private};
use crate::base::input::{self, InputKind};
use crate::base::name::BuildId;
use crate::base::reference::{OciDigest, RegistryRef};
use crate::registry::Registries;
use crate::server::error::ServerError;
use crate::server::registry_client::own_registry;

/// The images in the registry that an engine pushes to.
#[derive(Debug)]
pub(super) struct PushedImages {
    registry: Registries,
    records: PushRecords,
}

/// The records of pushed images, one file for each.
#[derive(Debug)]
struct PushRecords(PathBuf);

/// An image that was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PushRecord {
    /// Full reference with a tag.
    destination: String,
    digest: OciDigest,
}

impl PushedImages {
    /// Opens the records in `engine`, the folder of the engine.
    ///
    /// # Errors
    ///
    /// Fails if the folder of the records cannot be created, or a file of the registry's settings cannot
    /// be read.
    pub(super) fn open(engine: &Path, registry: &PushRegistry) -> Result<Self, ServerError> {
        let folder = engine.join("pushed");
        let records = PushRecords::open(folder.clone()).at("create the folder", &folder)?;
        Ok(Self { registry: own_registry(registry)?, records })
    }

    /// Returns the client of the registry.
    pub(super) fn registry(&self) -> &Registries {
        &self.registry
    }

    /// Returns the digest of the image that an earlier call for the same build pushed, if its tag still
    /// has it.
    pub(super) async fn find(&self, id: &BuildId, destination: &RegistryRef) -> Option<OciDigest> {
        let digest = self.records.get(id, destination)?;
        let lookup = self.registry.resolve_all(&[(destination.clone(), None)], &|_| ()).await;
        let tagged = lookup.into_iter().next()?.ok()?;
        (tagged.digest == digest).then_some(digest)
    }

    /// Records that an image was pushed for a build.
    pub(super) fn add(&self, id: &BuildId, destination: &RegistryRef, digest: OciDigest) {
        let record = PushRecord { destination: destination.to_string(), digest };
        self.records.add(id, &record);
    }

    /// Returns a pushed image, with its size if the registry tells it.
    pub(super) async fn image(&self, destination: &RegistryRef, digest: OciDigest) -> BuiltImage {
        let size = self.registry.image_size(destination, digest, &|_| ()).await;
        BuiltImage { digest: Some(digest), size: size.ok().flatten() }
    }

    /// Deletes the record of a build whose result is stored.
    pub(super) fn forget(&self, id: &BuildId) {
        self.records.remove(id);
    }
}

impl PushRecords {
    /// Opens the folder of the records, and creates it if it does not exist. Fails if it cannot be
    /// created.
    fn open(dir: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    /// Stores a record. Without it, a crash now leads to a second build, which does no harm.
    fn add(&self, id: &BuildId, record: &PushRecord) {
        if let Ok(text) = serde_json::to_vec(record) {
            let _ = replace_private(&self.path(id), &text);
        }
    }

    /// Returns the digest that was pushed for a build to a destination.
    fn get(&self, id: &BuildId, destination: &RegistryRef) -> Option<OciDigest> {
        let text = input::read(&self.path(id), InputKind::ServerState).ok()?;
        let record: PushRecord = serde_json::from_slice(&text).ok()?;
        (record.destination == destination.to_string()).then_some(record.digest)
    }

    fn remove(&self, id: &BuildId) {
        let _ = std::fs::remove_file(self.path(id));
    }

    fn path(&self, id: &BuildId) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_lasts_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let open = || PushRecords::open(dir.path().join("pushed")).unwrap();
        let (records, id) = (open(), BuildId::new("b1").unwrap());
        let destination: RegistryRef = "r:1/prime/local/x:v1".parse().unwrap();
        let digest = OciDigest::of(b"x");
        records.add(&id, &PushRecord { destination: destination.to_string(), digest });
        assert_eq!(open().get(&id, &destination), Some(digest));
        assert_eq!(open().get(&id, &"r:1/prime/local/x:v2".parse().unwrap()), None);
        records.remove(&id);
        assert_eq!(open().get(&id, &destination), None);
    }
}
