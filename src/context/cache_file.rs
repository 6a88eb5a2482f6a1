//! Writes and reads cache files that are either valid or treated as missing.
//!
//! A file begins with the line `imgplan cache 1: KIND`: the version of the file format, and the
//! kind of the content. The BLAKE3 digest of that line and of the content follows, and then the
//! content. The kind includes the version of the content's format, so that a file of another
//! version of imgplan is treated as missing.

use std::ops::Deref;

use crate::base::digest::{Digest, FieldHasher};
use crate::base::file::PathError;
use crate::base::input::InputKind;
use crate::base::work_dir::{WorkDir, WorkName};

/// The text before a file's kind; the number is the version of the file format.
const MAGIC: &str = "imgplan cache 1: ";

/// Writes a file. Readers see the old file, the new file or none. The file is not synced: a power
/// failure can lose or damage it, which [`read`] detects. Fails if it cannot be written.
pub(super) fn write(
    folder: &WorkDir,
    name: &WorkName,
    kind: &str,
    content: &[u8],
) -> Result<(), PathError> {
    let head = head(kind);
    let sum = checksum(&head, content);
    folder.replace_cache(name, &[head.as_bytes(), sum.as_bytes(), content])
}

/// Reads the content of a file. Returns `None` if there is no file, or if it is of another kind or
/// version, or damaged.
pub(super) fn read(
    folder: &WorkDir,
    name: &WorkName,
    input: InputKind,
    kind: &str,
) -> Option<CacheContent> {
    let bytes = folder.read(name, input).ok()??;
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NAME: WorkName = WorkName::any("file");

    fn work() -> (tempfile::TempDir, WorkDir) {
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::create(&dir.path().join(".imgplan")).unwrap();
        (dir, work)
    }

    fn read(work: &WorkDir, kind: &str) -> Option<CacheContent> {
        super::read(work, &NAME, InputKind::StatCache, kind)
    }

    #[test]
    fn read_returns_the_written_content() {
        let (_dir, work) = work();
        assert!(read(&work, "k 1").is_none(), "there is no file yet");
        for content in [&b""[..], b"one", b"another\n"] {
            write(&work, &NAME, "k 1", content).unwrap();
            assert_eq!(read(&work, "k 1").as_deref(), Some(content));
        }
        let path = work.path_of(NAME);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
        assert!(fs::read(&path).unwrap().starts_with(b"imgplan cache 1: k 1\n"));
    }

    #[test]
    fn a_file_of_another_kind_counts_as_missing() {
        let (_dir, work) = work();
        write(&work, &NAME, "k 1", b"content").unwrap();
        for kind in ["k 2", "k", "k 1\n", "k 11", ""] {
            assert!(read(&work, kind).is_none(), "{kind:?}");
        }
        fs::remove_file(work.path_of(NAME)).unwrap();
        fs::create_dir(work.path_of(NAME)).unwrap();
        assert!(read(&work, "k 1").is_none(), "a folder is not a file");
    }

    #[test]
    fn a_damaged_file_counts_as_missing() {
        let (_dir, work) = work();
        write(&work, &NAME, "k 1", b"a content").unwrap();
        let path = work.path_of(NAME);
        let valid = fs::read(&path).unwrap();
        for at in 0..valid.len() {
            for bit in 0..8 {
                let mut bytes = valid.clone();
                bytes[at] ^= 1 << bit;
                fs::write(&path, &bytes).unwrap();
                assert!(read(&work, "k 1").is_none(), "byte {at}, bit {bit}");
            }
            fs::write(&path, &valid[..at]).unwrap();
            assert!(read(&work, "k 1").is_none(), "cut at {at}");
        }
        fs::write(&path, [&valid[..], b"x"].concat()).unwrap();
        assert!(read(&work, "k 1").is_none(), "with an extra byte at its end");
        fs::write(&path, &valid).unwrap();
        assert!(read(&work, "k 1").is_some());
    }
}
