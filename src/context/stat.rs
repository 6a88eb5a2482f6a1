//! File metadata that shows if a file has changed since it was read.
//! Pure, except for the conversions from the system's types.

use std::fs::Metadata;

use super::permissions::Permissions;

/// A time in nanoseconds since 1970, as file systems store it.
pub(super) type UnixNanos = i64;

pub(super) const NANOS_PER_SECOND: UnixNanos = 1_000_000_000;

/// The metadata that is compared to tell if a file has changed. A field that the system does not
/// have is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// The length in bytes.
    pub(super) size: u64,
    /// The time of the last change of the content.
    pub(super) mtime: UnixNanos,
    /// The time of the last change of content or metadata. Unlike `mtime`, no program can set it.
    pub(super) ctime: UnixNanos,
    pub(super) inode: u64,
    /// The device of the file system. It may have another number after the next start of the machine, so it
    /// is not stored.
    pub(super) device: u64,
    /// The file type and the permissions, as in Unix.
    pub(super) mode: u32,
}

/// Length of an encoded [`Stat`].
pub(super) const STAT_BYTES: usize = 36;

impl Stat {
    /// Encodes all fields but the device, to be compared and stored.
    pub(super) fn to_bytes(self) -> [u8; STAT_BYTES] {
        let mut bytes = [0; STAT_BYTES];
        bytes[..8].copy_from_slice(&self.size.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.mtime.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.ctime.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.inode.to_le_bytes());
        bytes[32..].copy_from_slice(&self.mode.to_le_bytes());
        bytes
    }

    /// Returns the permissions with which the file or folder is sent.
    pub(super) fn permissions(&self) -> Permissions {
        Permissions::of_mode(self.mode)
    }

    /// Returns true if the file was last changed before `time`.
    pub(super) fn is_older_than(&self, time: UnixNanos) -> bool {
        self.mtime < time && self.ctime < time
    }

    #[cfg(unix)]
    pub(super) fn of(meta: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let time =
            |secs: i64, nanos: i64| secs.saturating_mul(NANOS_PER_SECOND).saturating_add(nanos);
        Self {
            size: meta.size(),
            mtime: time(meta.mtime(), meta.mtime_nsec()),
            ctime: time(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
            device: meta.dev(),
            mode: meta.mode(),
        }
    }

    #[cfg(not(unix))]
    pub(super) fn of(meta: &Metadata) -> Self {
        let mtime = meta.modified().map_or(0, unix_nanos);
        let mode = if meta.is_dir() { 0o755 } else { 0o644 };
        Self { size: meta.len(), mtime, ctime: 0, inode: 0, device: 0, mode }
    }
}

/// Converts a time of the system's clock.
pub(super) fn unix_nanos(time: std::time::SystemTime) -> UnixNanos {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixNanos::try_from(since.as_nanos()).unwrap_or(UnixNanos::MAX)
}
