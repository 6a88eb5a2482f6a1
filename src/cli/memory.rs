//! How the process takes memory from the system.

/// Takes small pages from here on, where the allocator asks the system for huge ones.
///
/// Huge pages make a plan over many files a little faster, but each is kept whole for the least
/// that lives in it: an apply of 10,000 images kept 180 MB instead of 125, and may go on for hours.
pub(super) fn small_pages() {
    #[cfg(target_os = "linux")]
    // A system that cannot is as before.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
