//! The free space of a file system.

use std::fs::File;
use std::path::Path;

/// Returns the free space of a file's file system in bytes, or `None` if it is not known.
pub(crate) fn free_bytes(file: &File) -> Option<u64> {
    #[cfg(unix)]
    return rustix::fs::fstatvfs(file).ok().map(|stat| available(&stat));
    #[cfg(not(unix))]
    {
        let _ = file;
        None
    }
}

/// Does the same as [`free_bytes`] for the file system of a path.
pub(crate) fn free_bytes_at(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    return rustix::fs::statvfs(path).ok().map(|stat| available(&stat));
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

#[cfg(unix)]
fn available(stat: &rustix::fs::StatVfs) -> u64 {
    stat.f_bavail.saturating_mul(stat.f_frsize)
}
