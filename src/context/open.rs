//! Opens the files of a context and nothing outside of it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use super::tree::RelPath;

/// An open regular file of a context.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) executable: bool,
}

/// Opens a regular file. `None` where the path is none any more, or leads through a link.
///
/// The file is what the path names without following links, both before it is opened and as the
/// open file sees itself; and its folder is where its path says. So a link that takes the place of
/// a file or of a folder at any moment cannot have what it points to sent.
pub(super) fn open(real_root: &Path, path: &RelPath) -> io::Result<Option<Opened>> {
    let full = path.under(real_root);
    let before = fs::symlink_metadata(&full)?;
    // A FIFO would block whoever opens it, so it is not tried.
    if !before.is_file() {
        return Ok(None);
    }
    let file = File::open(&full)?;
    let opened = file.metadata()?;
    if !opened.is_file() || !same(&before, &opened) {
        return Ok(None);
    }
    let folder = full.parent().unwrap_or(real_root);
    if fs::canonicalize(folder)? != folder {
        return Ok(None);
    }
    Ok(Some(Opened { file, executable: executable(&opened) }))
}

#[cfg(unix)]
fn same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same(a: &Metadata, b: &Metadata) -> bool {
    a.len() == b.len()
}

#[cfg(unix)]
fn executable(meta: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    meta.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn executable(_: &Metadata) -> bool {
    false
}

/// Reads into `buffer` until it is full or the file ends.
pub(super) fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
