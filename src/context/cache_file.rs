//! Writes caches as files that are whole and what they say they are, or are not there at all.
//!
//! A file begins with the line `imgplan cache 1: KIND`, which says its form and what is in it; the
//! BLAKE3 digest of that line and of what follows comes next, and then what was written. A kind has
//! the version of its content in its name: what another imgplan wrote is as good as missing.

use std::fs;
use std::io::{self, Write};
use std::ops::Deref;
use std::path::Path;

use crate::base::digest::{Digest, FieldHasher};

/// What is before a file's kind; the number is the version of this form.
const MAGIC: &str = "imgplan cache 1: ";

/// Writes a file, and the folder that it lies in. Whoever reads sees the old one, the new one or
/// none. It is not synced: after a power cut it may be gone or garbage, which [`read`] tells.
pub(super) fn write(path: &Path, kind: &str, payload: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut temp =
        readable_by_all(&mut tempfile::Builder::new()).prefix(".new-").tempfile_in(dir)?;
    let head = head(kind);
    temp.write_all(head.as_bytes())?;
    temp.write_all(checksum(&head, payload).as_bytes())?;
    temp.write_all(payload)?;
    temp.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Reads what was written. `None` where there is no such file, or it is of another kind, of another
/// version, or damaged.
pub(super) fn read(path: &Path, kind: &str) -> Option<Payload> {
    let bytes = fs::read(path).ok()?;
    let head = head(kind);
    let rest = bytes.strip_prefix(head.as_bytes())?;
    let (sum, payload) = rest.split_first_chunk::<32>()?;
    if checksum(&head, payload).as_bytes() != sum {
        return None;
    }
    let start = head.len() + sum.len();
    Some(Payload { bytes, start })
}

/// What was written, still in the file's bytes: it may be large.
#[derive(Debug, Default)]
pub(super) struct Payload {
    bytes: Vec<u8>,
    start: usize,
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

fn head(kind: &str) -> String {
    format!("{MAGIC}{kind}\n")
}

fn checksum(head: &str, payload: &[u8]) -> Digest {
    let mut hasher = FieldHasher::new(head);
    hasher.field(payload);
    hasher.finish()
}

/// A temporary file is readable by its owner alone; in a folder that is shared, others read it too.
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
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        assert!(read(&path, "k 1").is_none(), "there is none yet");
        for payload in [&b""[..], b"one", b"another\n"] {
            write(&path, "k 1", payload).unwrap();
            assert_eq!(read(&path, "k 1").as_deref(), Some(payload));
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
    fn what_is_of_another_kind_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, "k 1", b"payload").unwrap();
        for kind in ["k 2", "k", "k 1\n", "k 11", ""] {
            assert!(read(&path, kind).is_none(), "{kind:?}");
        }
        assert!(read(dir.path(), "k 1").is_none(), "a folder is no file");
    }

    #[test]
    fn what_is_damaged_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, "k 1", b"a payload").unwrap();
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                fs::write(&path, &bytes).unwrap();
                assert!(read(&path, "k 1").is_none(), "byte {at}, bit {bit}");
            }
            fs::write(&path, &whole[..at]).unwrap();
            assert!(read(&path, "k 1").is_none(), "cut at {at}");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(read(&path, "k 1").is_none(), "with more at its end");
        fs::write(&path, &whole).unwrap();
        assert!(read(&path, "k 1").is_some());
    }
}
