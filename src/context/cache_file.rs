//! Writes and reads cache files that are either valid or treated as missing.
//!
//! A file begins with the line `imgplan cache 1: KIND`: the version of the file format, and the
//! kind of the content. The BLAKE3 digest of that line and of the content follows, and then the
//! content. The kind includes the version of the content's format, so that a file of another
//! version of imgplan is treated as missing.

use std::fs;
use std::io::{self, Write};
use std::ops::Deref;
use std::path::Path;

use crate::base::digest::{Digest, FieldHasher};

/// The text before a file's kind; the number is the version of the file format.
const MAGIC: &str = "imgplan cache 1: ";

/// Writes a file, and creates its folder. Readers see the old file, the new file or none. The file
/// is not synced: a power failure can lose or damage it, which [`read`] detects.
pub(super) fn write(path: &Path, kind: &str, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut temp =
        readable_by_all(&mut tempfile::Builder::new()).prefix(".new-").tempfile_in(dir)?;
    let head = head(kind);
    temp.write_all(head.as_bytes())?;
    temp.write_all(checksum(&head, content).as_bytes())?;
    temp.write_all(content)?;
    temp.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Reads the content of a file. Returns `None` if there is no file, or if it is of another kind or
/// version, or damaged.
pub(super) fn read(path: &Path, kind: &str) -> Option<CacheContent> {
    let bytes = fs::read(path).ok()?;
    let head = head(kind);
    let rest = bytes.strip_prefix(head.as_bytes())?;
    let (sum, content) = rest.split_first_chunk::<32>()?;
    if checksum(&head, content).as_bytes() != sum {
        return None;
    }
    let start = head.len() + sum.len();
    Some(CacheContent { bytes, start })
}

/// The content of a cache file. It can be large, so it is not copied out of the file's bytes.
#[derive(Debug, Default)]
pub(super) struct CacheContent {
    bytes: Vec<u8>,
    start: usize,
}

impl Deref for CacheContent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

fn head(kind: &str) -> String {
    format!("{MAGIC}{kind}\n")
}

fn checksum(head: &str, content: &[u8]) -> Digest {
    let mut hasher = FieldHasher::new(head);
    hasher.field(content);
    hasher.finish()
}

/// Lets other users read the file: by default, only the owner of a temporary file can.
#[cfg(unix)]
fn readable_by_all<'b, 'a, 'p>(
    builder: &'b mut tempfile::Builder<'a, 'p>,
) -> &'b mut tempfile::Builder<'a, 'p> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable_by_all<'b, 'a, 'p>(
    builder: &'b mut tempfile::Builder<'a, 'p>,
) -> &'b mut tempfile::Builder<'a, 'p> {
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_returns_the_written_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        assert!(read(&path, "k 1").is_none(), "there is no file yet");
        for content in [&b""[..], b"one", b"another\n"] {
            write(&path, "k 1", content).unwrap();
            assert_eq!(read(&path, "k 1").as_deref(), Some(content));
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(fs::read(&path).unwrap().starts_with(b"imgplan cache 1: k 1\n"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o444 & !0o022, mode & 0o444, "{mode:o}");
            assert_eq!(mode & 0o133, 0, "{mode:o}");
        }
    }

    #[test]
    fn a_file_of_another_kind_counts_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, "k 1", b"content").unwrap();
        for kind in ["k 2", "k", "k 1\n", "k 11", ""] {
            assert!(read(&path, kind).is_none(), "{kind:?}");
        }
        assert!(read(dir.path(), "k 1").is_none(), "a folder is not a file");
    }

    #[test]
    fn a_damaged_file_counts_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, "k 1", b"a content").unwrap();
        let valid = fs::read(&path).unwrap();
        for at in 0..valid.len() {
            for bit in 0..8 {
                let mut bytes = valid.clone();
                bytes[at] ^= 1 << bit;
                fs::write(&path, &bytes).unwrap();
                assert!(read(&path, "k 1").is_none(), "byte {at}, bit {bit}");
            }
            fs::write(&path, &valid[..at]).unwrap();
            assert!(read(&path, "k 1").is_none(), "cut at {at}");
        }
        fs::write(&path, [&valid[..], b"x"].concat()).unwrap();
        assert!(read(&path, "k 1").is_none(), "with an extra byte at its end");
        fs::write(&path, &valid).unwrap();
        assert!(read(&path, "k 1").is_some());
    }
}
