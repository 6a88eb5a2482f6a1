//! A record of each image that was pushed, until the server has stored the result of its build. After a
//! crash in between, the image is not built again.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::file::replace_private;
use crate::base::input::{self, InputKind};
use crate::base::name::BuildId;
use crate::base::reference::OciDigest;

/// The records of pushed images, one file for each.
#[derive(Debug)]
pub(super) struct PushRecords(PathBuf);

/// An image that was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PushRecord {
    /// Full reference with a tag.
    pub(super) destination: String,
    pub(super) digest: OciDigest,
}

impl PushRecords {
    /// Opens the folder of the records, and creates it if it does not exist. Fails if it cannot be
    /// created.
    pub(super) fn open(dir: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    /// Stores a record. Without it, a crash now leads to a second build, which does no harm.
    pub(super) fn add(&self, id: &BuildId, record: &PushRecord) {
        if let Ok(text) = serde_json::to_vec(record) {
            let _ = replace_private(&self.path(id), &text);
        }
    }

    /// Returns the record of a build.
    pub(super) fn get(&self, id: &BuildId) -> Option<PushRecord> {
        let text = input::read(&self.path(id), InputKind::ServerState).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Deletes the record of a build whose result is stored.
    pub(super) fn remove(&self, id: &BuildId) {
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
        let records = PushRecords::open(dir.path().join("pushed")).unwrap();
        let id = BuildId::new("b1").unwrap();
        let digest = OciDigest::of(b"x");
        let record = PushRecord { destination: "r:1/prime/local/x:v1".to_owned(), digest };
        records.add(&id, &record);
        assert_eq!(PushRecords::open(dir.path().join("pushed")).unwrap().get(&id), Some(record));
        records.remove(&id);
        assert_eq!(records.get(&id), None);
    }
}
