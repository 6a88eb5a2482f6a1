//! Files that are believed only when they are whole: a kind, and a digest of what follows.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::base::digest::Digest;

/// Writes one.
pub(super) fn write(path: &Path, kind: &str, payload: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut temp = tempfile::Builder::new().prefix(".imgplan-").tempfile_in(folder)?;
    temp.write_all(head(kind).as_bytes())?;
    temp.write_all(Digest::of(payload).as_bytes())?;
    temp.write_all(payload)?;
    temp.persist(path)?;
    Ok(())
}

/// Reads one.
pub(super) fn read(path: &Path, kind: &str) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok()?;
    let rest = bytes.strip_prefix(head(kind).as_bytes())?;
    let (digest, payload) = rest.split_at_checked(32)?;
    (Digest::of(payload).as_bytes() == digest).then(|| payload.to_vec())
}

fn head(kind: &str) -> String {
    format!("imgplan {kind}\n")
}
