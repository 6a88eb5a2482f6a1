//! The stat cache: the digests of files that were read before, and the names of folders that were listed
//! before. A digest is valid as long as the file's metadata is unchanged, and names are as long as the
//! folder's is. So a plan without changes reads no file contents and lists no folder.
//!
//! A row holds one name of a folder, with metadata and digest if it is a file that was read. Rows are
//! grouped by folder. The cache only saves time: if it is missing, damaged, or of another version or
//! system, it counts as empty, and failures to write it are ignored.
//!
//! A file that is written while it is read can have the same metadata before and after: its times
//! are those of the start of the write, and two writes within one tick of the clock get the same
//! time. So a file or folder is cached only if it has not changed for [`MIN_AGE`] before the scan. Two
//! cases are still missed, because the system reports neither: a single write that takes longer than
//! that, and a memory map that is written to after its first store. Both matter only if a plan
//! reads the file meanwhile and its size does not change.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::cache_file::{self, CacheContent};
use super::dir::Dir;
use super::names::{FolderNames, ItemKind};
use super::path::as_os_str;
use super::stat::{STAT_BYTES, Stat, UnixNanos, unix_nanos};
use crate::base::digest::Digest;
use crate::base::input::InputKind;
use crate::base::work_dir::{WorkDir, WorkName};

/// The kind of the cache file. The number changes with the format, which includes the order of the variants
/// of [`ItemKind`]. Systems differ in the meaning of times and modes.
const FILE_KIND: &str = if cfg!(target_os = "linux") { "stat 2 linux" } else { "stat 2" };

/// Minimum time since the last change of a file or folder, for it to be cached. It is longer than a
/// tick of any file system's clock (2 seconds on FAT), than most writes take, and than clocks
/// differ.
const MIN_AGE: Duration = Duration::from_secs(2);

/// The content of the cache for a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CachedFolder<'b> {
    /// The metadata of the folder if the rows are all its names, otherwise empty.
    #[serde(borrow)]
    stat: RawBytes<'b>,
    /// The rows, sorted by name.
    #[serde(borrow)]
    pub(super) rows: Vec<CacheRow<'b>>,
}

/// One name of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CacheRow<'b> {
    #[serde(borrow)]
    name: RawBytes<'b>,
    kind: ItemKind,
    /// The metadata of a file that was read, followed by the digest; otherwise empty.
    #[serde(borrow)]
    value: RawBytes<'b>,
}

/// The metadata of a file, followed by its digest.
pub(super) type RowValue = [u8; STAT_BYTES + 32];

pub(super) fn row_value(stat: &Stat, digest: &Digest) -> RowValue {
    let mut value = [0; STAT_BYTES + 32];
    value[..STAT_BYTES].copy_from_slice(&stat.to_bytes());
    value[STAT_BYTES..].copy_from_slice(digest.as_bytes());
    value
}

impl<'b> CachedFolder<'b> {
    /// Creates the content of a folder with this metadata, if the rows are all its names.
    pub(super) fn new(stat: Option<&'b [u8; STAT_BYTES]>, rows: Vec<CacheRow<'b>>) -> Self {
        Self { stat: RawBytes(stat.map_or(&[], |stat| stat)), rows }
    }

    /// Returns the names of a folder with this metadata, if no name was added or removed since they
    /// were listed. Whoever can write the cache must not lead out of the folder: a name that no folder can
    /// have is refused.
    pub(super) fn names(&self, stat: &Stat) -> Option<FolderNames> {
        if self.stat.0 != stat.to_bytes() {
            return None;
        }
        let mut names = FolderNames::with_capacity(self.rows.len());
        let mut last: &[u8] = b"";
        for row in &self.rows {
            let name = row.name();
            let is_possible = !matches!(name, b"." | b"..") && !name.contains(&b'/');
            if !is_possible || name.contains(&0) || name <= last {
                return None;
            }
            names.push(name, row.kind);
            last = name;
        }
        Some(names)
    }
}

impl<'b> CacheRow<'b> {
    /// Creates the row of a name. `value` is for a file that was read.
    pub(super) fn new(name: &'b [u8], kind: ItemKind, value: Option<&'b RowValue>) -> Self {
        Self { name: RawBytes(name), kind, value: RawBytes(value.map_or(&[], |value| value)) }
    }

    pub(super) fn name(&self) -> &'b [u8] {
        self.name.0
    }

    /// Returns the row for a name of this kind: a digest is kept for a file.
    pub(super) fn of_kind(self, kind: ItemKind) -> Self {
        let value = if kind == ItemKind::File { self.value } else { RawBytes(&[]) };
        Self { kind, value, ..self }
    }

    /// Returns true if the file was read.
    pub(super) fn has_digest(&self) -> bool {
        !self.value.0.is_empty()
    }

    /// Returns the digest if the file's metadata is unchanged.
    pub(super) fn digest(&self, stat: &Stat) -> Option<Digest> {
        let digest = self.value.0.strip_prefix(&stat.to_bytes())?;
        Some(Digest::from_bytes(digest.try_into().ok()?))
    }
}

/// The stat cache of a work folder.
#[derive(Debug)]
pub struct StatCache {
    work: PathBuf,
    content: CacheContent,
    min_age: Duration,
}

impl StatCache {
    /// Reads the cache. A missing cache is empty.
    pub fn read(work: &Path) -> Self {
        Self { content: read(work), work: work.to_owned(), min_age: MIN_AGE }
    }

    /// Reads the cache for tests that cannot wait: a file need only be older than the scan.
    #[cfg(test)]
    pub(super) fn without_min_age(work: &Path) -> Self {
        Self { min_age: Duration::ZERO, ..Self::read(work) }
    }

    /// Deletes the cache of a work folder, after a file had another digest than the cache says.
    pub fn forget(work: &Path) {
        if let Ok(Some(work)) = WorkDir::open(work) {
            // If the file cannot be deleted, it cannot be replaced either, so this run did not write
            // the wrong digest.
            let _ = work.remove(&WorkName::STAT_CACHE);
        }
    }

    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    /// Starts a scan now.
    pub(super) fn start_scan(&self) -> ScanCache<'_> {
        let min_age = UnixNanos::try_from(self.min_age.as_nanos()).unwrap_or(UnixNanos::MAX);
        ScanCache::new(&self.content, now(&self.work).saturating_sub(min_age))
    }
}

/// The cache during a scan: the rows from before, and the changes of the scan.
#[derive(Default)]
pub(super) struct ScanCache<'b> {
    /// The content of each folder by its path, still encoded.
    cached: HashMap<&'b [u8], &'b [u8]>,
    changed: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
    /// For each device, whether its file system keeps the times of folders.
    devices: Mutex<HashMap<u64, bool>>,
    /// The time before which a file or folder must have changed last, for it to be cached.
    max_time: UnixNanos,
    /// True if no file is read.
    pub(super) names_only: bool,
}

/// Reads the content of the cache; it is empty if there is no valid file.
pub(super) fn read(work: &Path) -> CacheContent {
    let read =
        |work| cache_file::read(&work, &WorkName::STAT_CACHE, InputKind::StatCache, FILE_KIND);
    WorkDir::open(work).ok().flatten().and_then(read).unwrap_or_default()
}

/// Writes the content of the cache. If that fails, only the next scan takes longer.
pub(super) fn write(work: &Path, bytes: &[u8]) {
    if let Ok(work) = WorkDir::create(work) {
        let _ = cache_file::write(&work, &WorkName::STAT_CACHE, FILE_KIND, bytes);
    }
}

/// Returns the current time by the clock of the cache's file system, which is probably that of the
/// contexts too.
pub(super) fn now(work: &Path) -> UnixNanos {
    let work = WorkDir::open(work).ok().flatten();
    unix_nanos(work.and_then(|work| work.now().ok()).unwrap_or_else(SystemTime::now))
}

impl<'b> ScanCache<'b> {
    /// Returns the cache of a scan that reads no file, and caches nothing.
    pub(super) fn names_only() -> Self {
        Self { names_only: true, ..Self::default() }
    }

    fn new(bytes: &'b [u8], max_time: UnixNanos) -> Self {
        let folders: Vec<(RawBytes<'b>, RawBytes<'b>)> =
            postcard::from_bytes(bytes).unwrap_or_default();
        let cached = folders.into_iter().map(|(path, rows)| (path.0, rows.0)).collect();
        Self { cached, max_time, ..Self::default() }
    }

    /// Returns the content of the cache for a folder.
    pub(super) fn folder(&self, folder: &Path) -> CachedFolder<'b> {
        let bytes = self.cached.get(folder.as_os_str().as_encoded_bytes());
        bytes.and_then(|bytes| postcard::from_bytes(bytes).ok()).unwrap_or_default()
    }

    /// Returns true if the names of a folder with this metadata may be taken from the cache.
    pub(super) fn may_use_names<D: Dir>(&self, folder: &Path, stat: &Stat) -> bool {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        *devices.entry(stat.device).or_insert_with(|| D::keeps_folder_times(folder))
    }

    /// Returns true if the digest of a file, or the names of a folder, that this scan has read may be
    /// cached.
    pub(super) fn may_cache(&self, stat: &Stat) -> bool {
        // Other systems report too little metadata to detect each change.
        cfg!(unix) && stat.is_older_than(self.max_time)
    }

    /// Sets the content of the cache for a folder.
    pub(super) fn put(&self, folder: &Path, content: &CachedFolder<'_>) {
        let Ok(bytes) = postcard::to_stdvec(content) else { return };
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.insert(folder.to_owned(), bytes);
    }

    /// Writes the cache if it has changed.
    pub(super) fn save(self, work: &Path) {
        let changed = self.changed.into_inner().unwrap_or_else(PoisonError::into_inner);
        if changed.is_empty() {
            return;
        }
        // The folders of other manifests, which this scan did not visit, stay while they exist.
        let is_kept = |path: &&[u8]| {
            let path = Path::new(as_os_str(path));
            !changed.contains_key(path) && fs::symlink_metadata(path).is_ok()
        };
        let kept = self.cached.iter().filter(|(path, _)| is_kept(path));
        let kept = kept.map(|(path, rows)| (RawBytes(path), RawBytes(rows)));
        // Two bytes are the encoding of no metadata and no rows.
        let new = changed.iter().filter(|(_, content)| content.len() > 2);
        let new =
            new.map(|(path, rows)| (RawBytes(path.as_os_str().as_encoded_bytes()), RawBytes(rows)));
        let folders: Vec<_> = kept.chain(new).collect();
        if let Ok(bytes) = postcard::to_stdvec(&folders) {
            write(work, &bytes);
        }
    }
}

/// Bytes that are decoded without a copy, and encoded as one slice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
struct RawBytes<'b>(&'b [u8]);

impl Serialize for RawBytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}
