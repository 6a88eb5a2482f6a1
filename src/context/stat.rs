//! What a file system says of a file without reading it, and when that can be trusted. Pure, but
//! for the conversions from what the system gives.

use std::fs::Metadata;

/// A moment, in nanoseconds since 1970, as file systems note it.
pub(super) type Moment = i64;

const SECOND: Moment = 1_000_000_000;

/// What is compared to tell whether a file is still the one that was read. A field that the system
/// does not have is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// Bytes.
    pub(super) size: u64,
    /// When the content changed.
    pub(super) mtime: Moment,
    /// When anything about the file changed; unlike `mtime`, nobody can set it.
    pub(super) ctime: Moment,
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

    /// Whether a change after `now` is sure to show. A file that is written twice within one tick of
    /// its file system's clock has the same times after both: what was read between the two must
    /// not be remembered. Both times are by the same clock, or nearly.
    pub(super) fn is_settled(&self, now: Moment) -> bool {
        let before = |time: Moment| {
            // Whole seconds are how file systems with a coarse clock note their times: some count
            // in twos.
            let tick = if time % SECOND == 0 { 2 * SECOND } else { 0 };
            time.saturating_add(tick) < now
        };
        before(self.mtime) && before(self.ctime)
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
        let mtime = meta.modified().map_or(0, moment_of);
        Self { size: meta.len(), mtime, ctime: 0, inode: 0, mode: 0 }
    }
}

/// The moment of a time of the system's clock.
pub(super) fn moment_of(time: std::time::SystemTime) -> Moment {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Moment::try_from(since.as_nanos()).unwrap_or(Moment::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_change_within_the_tick_is_not_settled() {
        let at = |mtime, ctime| Stat { size: 1, mtime, ctime, inode: 1, mode: 0o100_644 };
        let now = 100 * SECOND + 5;
        for (mtime, ctime, settled) in [
            (now - 1, now - 1, true),
            (now, now - 1, false),
            (now - 1, now, false),
            (now + 1, now - 1, false),
            // On a clock of whole seconds the last two may not be over.
            (99 * SECOND, now - 1, false),
            (98 * SECOND, now - 1, true),
        ] {
            assert_eq!(at(mtime, ctime).is_settled(now), settled, "{mtime} {ctime}");
        }
    }
}
