//! Reads the entries of a tree again, and checks that they have not changed since the scan.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::content::fill;
use super::dir::{Dir, NativeDir, OpenFile};
use super::error::PackError;
use super::listing::EntryKind;
use super::path::RelPath;
use super::permissions::Permissions;
use super::tree::{Tree, TreeEntry};
use crate::base::digest::Digest;
use crate::base::file::PathError;

/// Opens the entries of a tree. Keeps the last folder open, because the next entry is usually in
/// it.
pub(super) struct TreeReader<'t, D> {
    tree: &'t Tree,
    root: D,
    folder: Option<(RelPath, D)>,
}

impl<'t, D: Dir> TreeReader<'t, D> {
    pub(super) fn new(tree: &'t Tree) -> Result<Self, PackError> {
        let root = D::at(&tree.real_root).map_err(|error| failed(tree.root(), error))?;
        Ok(Self { tree, root, folder: None })
    }

    /// Fails if a folder or a link has changed. Files are checked by [`copy`](Self::copy).
    pub(super) fn check(&mut self, entry: &TreeEntry) -> Result<(), PackError> {
        let (tree, path) = (self.tree, &entry.path);
        let unchanged = self.lookup(path, |dir, name| match &entry.kind {
            EntryKind::Dir { .. } => dir.child(name).map(|_| true),
            // Reading something else than a link fails, with an error that differs by system.
            EntryKind::Link { target } => {
                Ok(dir.link(name).is_ok_and(|current| current == *target))
            }
            EntryKind::File { .. } => Ok(true),
        });
        match unchanged {
            Ok(true) => Ok(()),
            Ok(false) => Err(changed(&path.under(tree.root()))),
            Err(error) => Err(failed(&path.under(tree.root()), error)),
        }
    }

    /// Reads a file in parts and passes each to `write`.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, if `write` fails, or if size, permissions or digest have
    /// changed. In the last case, the parts that were written must not be used.
    pub(super) fn copy(
        &mut self,
        path: &RelPath,
        (size, permissions, digest): (u64, Permissions, Digest),
        buffer: &mut [u8],
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), PackError> {
        let full = path.under(self.tree.root());
        let opened = self.lookup(path, D::open);
        let opened = opened.map_err(|error| failed(&full, error))?;
        let Some(OpenFile { mut file, .. }) =
            opened.filter(|opened| opened.stat.permissions() == permissions)
        else {
            return Err(changed(&full));
        };
        let mut hasher = blake3::Hasher::new();
        let mut remaining = size;
        loop {
            let read = fill(&mut file, buffer).map_err(|error| failed(&full, error))?;
            remaining = remaining.checked_sub(read as u64).ok_or_else(|| changed(&full))?;
            hasher.update(&buffer[..read]);
            write(&buffer[..read])?;
            if read < buffer.len() {
                break;
            }
        }
        if remaining == 0 && Digest::from(hasher.finalize()) == digest {
            Ok(())
        } else {
            Err(changed(&full))
        }
    }

    /// Opens the folder of `path`, from the root and without following a link, and calls `then`
    /// with it and the name.
    fn lookup<T>(
        &mut self,
        path: &RelPath,
        then: impl FnOnce(&D, &OsStr) -> io::Result<T>,
    ) -> io::Result<T> {
        let (parent, name) = (path.parent(), path.name());
        let Some(parent) = parent else { return then(&self.root, name) };
        let dir = match self.folder.take() {
            Some((open, dir)) if open == parent => dir,
            // Usually the folder is directly below the last one.
            Some((open, dir)) if parent.is_below(&open) => descend(dir, parent.parts_below(&open))?,
            _ => {
                let mut parts = parent.parts();
                let first = parts.next().unwrap_or_default();
                descend(self.root.child(first)?, parts)?
            }
        };
        let result = then(&dir, name);
        self.folder = Some((parent, dir));
        result
    }
}

/// Returns the first bytes of a file, at most `max_bytes`. They are empty if there is no regular
/// file at the path any more.
pub(super) fn head(tree: &Tree, path: &RelPath, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut source = TreeReader { tree, root: NativeDir::at(&tree.real_root)?, folder: None };
    let Some(mut opened) = source.lookup(path, NativeDir::open)? else { return Ok(Vec::new()) };
    let mut head = vec![0; max_bytes];
    let read = fill(&mut opened.file, &mut head)?;
    head.truncate(read);
    Ok(head)
}

fn descend<'p, D: Dir>(dir: D, mut parts: impl Iterator<Item = &'p OsStr>) -> io::Result<D> {
    parts.try_fold(dir, |dir, part| dir.child(part))
}

fn changed(path: &Path) -> PackError {
    PackError::Changed { path: path.to_owned() }
}

/// Turns an error of the system into a packing error. A missing path has changed.
fn failed(path: &Path, error: io::Error) -> PackError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => changed(path),
        _ => PackError::Read(PathError { action: "read", path: path.to_owned(), source: error }),
    }
}
