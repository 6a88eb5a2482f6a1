//! The stat cache: digests of files that were read before, believed for as long as the file system
//! says nothing else of them. So a plan with nothing to do reads no file for its digest.
//!
//! A row is one file: its name, what the system said of it, and its digest; rows lie together by
//! folder. Nothing depends on the cache but time: one that is missing, damaged, of another version
//! or of another system is as good as an empty one, and one that cannot be written is done without.
//!
//! A file that is written while it is read may look the same before and after: its times are those
//! of the beginning of a write, and two writes within one tick of the clock have the same. So a file
//! is only remembered if nothing happened to it for [`MARGIN`] before the scan. What still escapes
//! is a single write that takes longer than that, or a memory map that goes on after its first store,
//! while a plan reads the file, and that keeps its size: the system tells nobody of those.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::cache_file::{self, Payload};
use super::path::as_os_str;
use super::stat::{STAT, Stat, UnixNanos, unix_nanos};
use crate::base::digest::Digest;
use crate::base::file::create_work_dir;

/// What the sealed file is called inside. What the times and modes mean differs by system.
const KIND: &str = if cfg!(target_os = "linux") { "stat 1 linux" } else { "stat 1" };

/// The name of the file.
const NAME: &str = "stat-cache";

/// How long a file must have been left alone to be remembered: longer than the tick of any file
/// system's clock (FAT counts in twos), than most writes take, and than clocks differ.
const MARGIN: Duration = Duration::from_secs(2);

/// One file of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CacheRow<'b> {
    #[serde(borrow)]
    name: RawBytes<'b>,
    /// What the system said of it, then its digest.
    #[serde(borrow)]
    known: RawBytes<'b>,
}

/// A row's second half, to be borrowed from.
pub(super) type CachedValue = [u8; STAT + 32];

/// What is known of a file.
pub(super) fn known(stat: &Stat, digest: &Digest) -> CachedValue {
    let mut known = [0; STAT + 32];
    known[..STAT].copy_from_slice(&stat.to_bytes());
    known[STAT..].copy_from_slice(digest.as_bytes());
    known
}

impl<'b> CacheRow<'b> {
    pub(super) fn new(name: &'b [u8], known: &'b CachedValue) -> Self {
        Self { name: RawBytes(name), known: RawBytes(known) }
    }

    pub(super) fn name(&self) -> &'b [u8] {
        self.name.0
    }

    /// The digest, if the system still says of the file what it said then.
    pub(super) fn digest(&self, stat: &Stat) -> Option<Digest> {
        let digest = self.known.0.strip_prefix(&stat.to_bytes())?;
        Some(Digest::from_bytes(digest.try_into().ok()?))
    }
}

/// The stat cache in a work folder.
#[derive(Debug)]
pub struct StatCache {
    file: PathBuf,
    rows: Payload,
    margin: Duration,
}

impl StatCache {
    /// Reads the cache, which need not exist.
    pub fn read(work: &Path) -> Self {
        let file = work.join(NAME);
        Self { rows: read(&file), file, margin: MARGIN }
    }

    /// The same, for tests that cannot wait: a file need only be older than the scan.
    #[cfg(test)]
    pub(super) fn without_margin(work: &Path) -> Self {
        Self { margin: Duration::ZERO, ..Self::read(work) }
    }

    /// Removes the cache of a work folder: a file was not what it said, whatever the system told.
    pub fn forget(work: &Path) {
        // One that cannot be removed cannot be replaced either, and was not written by this run.
        let _ = fs::remove_file(work.join(NAME));
    }

    /// The file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// What it says, for a scan that begins now.
    pub(super) fn rows(&self) -> ScanCache<'_> {
        let margin = UnixNanos::try_from(self.margin.as_nanos()).unwrap_or(UnixNanos::MAX);
        ScanCache::new(&self.rows, now(&self.file).saturating_sub(margin))
    }
}

/// What was known before a scan, and what the scan adds to it.
#[derive(Default)]
pub(super) struct ScanCache<'b> {
    /// The rows of each folder, still encoded, by its path.
    known: HashMap<&'b [u8], &'b [u8]>,
    changed: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
    /// Since when nothing may have happened to a file that is remembered.
    before: UnixNanos,
}

/// The bytes of a stored cache; none where there is none to be believed.
pub(super) fn read(file: &Path) -> Payload {
    cache_file::read(file, KIND).unwrap_or_default()
}

/// Stores the bytes of a cache. Where that fails, the next scan takes longer.
pub(super) fn write(file: &Path, bytes: &[u8]) {
    if create_work_dir(folder_of(file)).is_ok() {
        let _ = cache_file::write(file, KIND, bytes);
    }
}

/// The time by the clock of the file system that the cache lies on, which is most likely that of
/// the contexts as well.
pub(super) fn now(file: &Path) -> UnixNanos {
    // A file without a name leaves no trace.
    let probe =
        tempfile::tempfile_in(folder_of(file)).and_then(|probe| probe.metadata()?.modified());
    unix_nanos(probe.unwrap_or_else(|_| SystemTime::now()))
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("."))
}

impl<'b> ScanCache<'b> {
    /// What the bytes of a cache say, for a scan that remembers what is older than `before`.
    fn new(bytes: &'b [u8], before: UnixNanos) -> Self {
        let folders: Vec<(RawBytes<'b>, RawBytes<'b>)> =
            postcard::from_bytes(bytes).unwrap_or_default();
        let known = folders.into_iter().map(|(path, rows)| (path.0, rows.0)).collect();
        Self { known, changed: Mutex::default(), before }
    }

    /// The rows of a folder, sorted by name.
    pub(super) fn rows(&self, folder: &Path) -> Vec<CacheRow<'b>> {
        let bytes = self.known.get(folder.as_os_str().as_encoded_bytes());
        bytes.and_then(|bytes| postcard::from_bytes(bytes).ok()).unwrap_or_default()
    }

    /// Whether what was read of a file during this scan may be believed later.
    pub(super) fn may_keep(&self, stat: &Stat) -> bool {
        // Where the system says too little of a file, nothing is remembered.
        cfg!(unix) && stat.is_older_than(self.before)
    }

    /// Takes in the rows of a folder, sorted by name, where they are not what they were.
    pub(super) fn put(&self, folder: &Path, rows: &[CacheRow<'_>]) {
        let Ok(bytes) = postcard::to_stdvec(rows) else { return };
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.insert(folder.to_owned(), bytes);
    }

    /// Writes the cache, if anything in it changed.
    pub(super) fn save(self, file: &Path) {
        let changed = self.changed.into_inner().unwrap_or_else(PoisonError::into_inner);
        if changed.is_empty() {
            return;
        }
        // Folders of other manifests, which this scan did not visit, stay as long as they exist.
        let is_kept = |path: &&[u8]| {
            let path = Path::new(as_os_str(path));
            !changed.contains_key(path) && fs::symlink_metadata(path).is_ok()
        };
        let kept = self.known.iter().filter(|(path, _)| is_kept(path));
        let kept = kept.map(|(path, rows)| (RawBytes(path), RawBytes(rows)));
        let new = changed.iter().filter(|(_, rows)| rows.len() > 1);
        let new =
            new.map(|(path, rows)| (RawBytes(path.as_os_str().as_encoded_bytes()), RawBytes(rows)));
        let folders: Vec<_> = kept.chain(new).collect();
        if let Ok(bytes) = postcard::to_stdvec(&folders) {
            write(file, &bytes);
        }
    }
}

/// RawBytes that are read in place and written in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct RawBytes<'b>(&'b [u8]);

impl Serialize for RawBytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}
