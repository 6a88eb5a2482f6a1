//! What a file system says of a file without reading it, and when that can be trusted. Pure, but
//! for the conversions from what the system gives.

use std::fs::Metadata;

/// A moment, in nanoseconds since 1970, as file systems note it.
pub(super) type UnixNanos = i64;

const SECOND: UnixNanos = 1_000_000_000;

/// What is compared to tell whether a file is still the one that was read. A field that the system
/// does not have is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// Bytes.
    pub(super) size: u64,
    /// When the content changed.
    pub(super) mtime: UnixNanos,
    /// When anything about the file changed; unlike `mtime`, nobody can set it.
    pub(super) ctime: UnixNanos,
    /// Which file of its file system it is.
    pub(super) inode: u64,
    /// Kind and permissions, as Unix has them.
    pub(super) mode: u32,
}

/// Bytes of a [`Stat`].
pub(super) const STAT: usize = 36;

impl Stat {
    /// All of it, to be compared and kept.
    pub(super) fn to_bytes(self) -> [u8; STAT] {
        let mut bytes = [0; STAT];
        bytes[..8].copy_from_slice(&self.size.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.mtime.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.ctime.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.inode.to_le_bytes());
        bytes[32..].copy_from_slice(&self.mode.to_le_bytes());
        bytes
    }

    /// Whether the owner may execute it.
    pub(super) fn executable(&self) -> bool {
        self.mode & 0o100 != 0
    }

    /// Whether nothing happened to the file since `before`.
    pub(super) fn is_older_than(&self, before: UnixNanos) -> bool {
        self.mtime < before && self.ctime < before
    }

    #[cfg(unix)]
    pub(super) fn of(meta: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let moment = |secs: i64, nanos: i64| secs.saturating_mul(SECOND).saturating_add(nanos);
        Self {
            size: meta.size(),
            mtime: moment(meta.mtime(), meta.mtime_nsec()),
            ctime: moment(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
            mode: meta.mode(),
        }
    }

    #[cfg(not(unix))]
    pub(super) fn of(meta: &Metadata) -> Self {
        let mtime = meta.modified().map_or(0, unix_nanos);
        Self { size: meta.len(), mtime, ctime: 0, inode: 0, mode: 0 }
    }
}

/// The moment of a time of the system's clock.
pub(super) fn unix_nanos(time: std::time::SystemTime) -> UnixNanos {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixNanos::try_from(since.as_nanos()).unwrap_or(UnixNanos::MAX)
}
