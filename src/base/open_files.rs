//! The operating system's limit of open files.

/// Returns the maximum number of file descriptors of this process; `None` if there is no limit.
pub(crate) fn max_open_files() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    None
}
