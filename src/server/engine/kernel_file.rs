//! Reads and writes files of the kernel, in `/proc` and `/sys`. They have no length and cannot be
//! replaced, so that the doors for other files do not fit.

use std::io;
use std::path::Path;

/// Returns the content of a file; `None` if it cannot be read.
#[expect(clippy::disallowed_methods, reason = "a file of the kernel")]
pub(super) fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Writes a value. Fails if the kernel refuses it.
#[expect(clippy::disallowed_methods, reason = "a file of the kernel")]
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    std::fs::write(path, text)
}
