//! Reads the entries of a tree once more, each of which must still be what the tree says.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::content::fill;
use super::dir::{Dir, NativeDir, OpenFile};
use super::error::PackError;
use super::tree::{EntryKind, RelPath, Tree, TreeEntry};
use crate::base::digest::Digest;
use crate::base::file::PathError;

/// Opens what lies in a tree; one folder after another stays open.
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

    /// That a folder or a link is as it was; a file is read by [`copy`](Self::copy).
    pub(super) fn check(&mut self, entry: &TreeEntry) -> Result<(), PackError> {
        let (tree, path) = (self.tree, &entry.path);
        let same = self.lookup(path, |dir, name| match &entry.kind {
            EntryKind::Dir => dir.child(name).map(|_| true),
            // What is a link no more fails with an error that differs by system.
            EntryKind::Link { target } => Ok(dir.link(name).is_ok_and(|now| now == *target)),
            EntryKind::File { .. } => Ok(true),
        });
        match same {
            Ok(true) => Ok(()),
            Ok(false) => Err(changed(&path.under(tree.root()))),
            Err(error) => Err(failed(&path.under(tree.root()), error)),
        }
    }

    /// Hands the content of a file over in parts. It must still be what the tree says: as long, as
    /// executable, and of the same digest; where it is not, what was handed over is of no use.
    pub(super) fn copy(
        &mut self,
        path: &RelPath,
        (size, executable, digest): (u64, bool, Digest),
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), PackError> {
        let full = path.under(self.tree.root());
        let opened = self.lookup(path, D::open);
        let opened = opened.map_err(|error| failed(&full, error))?;
        let Some(OpenFile { mut file, .. }) =
            opened.filter(|opened| opened.stat.executable() == executable)
        else {
            return Err(changed(&full));
        };
        let mut hasher = blake3::Hasher::new();
        let mut left = size;
        loop {
            let read = fill(&mut file, buffer).map_err(|error| failed(&full, error))?;
            left = left.checked_sub(read as u64).ok_or_else(|| changed(&full))?;
            hasher.update(&buffer[..read]);
            take(&buffer[..read])?;
            if read < buffer.len() {
                break;
            }
        }
        if left == 0 && Digest::from(hasher.finalize()) == digest {
            Ok(())
        } else {
            Err(changed(&full))
        }
    }

    /// Does something with a name in its folder, which is reached from the root without following
    /// a link.
    fn lookup<T>(
        &mut self,
        path: &RelPath,
        then: impl FnOnce(&D, &OsStr) -> io::Result<T>,
    ) -> io::Result<T> {
        let (parent, name) = (path.parent(), path.name());
        let Some(parent) = parent else { return then(&self.root, name) };
        let dir = match self.folder.take() {
            Some((open, dir)) if open == parent => dir,
            // Most often it lies right below the one before.
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

/// The first bytes of a file of a tree, at most `most`; none where it is not that file any more.
pub(super) fn head(tree: &Tree, path: &RelPath, most: usize) -> io::Result<Vec<u8>> {
    let mut source = TreeReader { tree, root: NativeDir::at(&tree.real_root)?, folder: None };
    let Some(mut opened) = source.lookup(path, NativeDir::open)? else { return Ok(Vec::new()) };
    let mut head = vec![0; most];
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

/// A path that is gone has changed; anything else that the system says is told.
fn failed(path: &Path, error: io::Error) -> PackError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => changed(path),
        _ => PackError::Read(PathError { action: "read", path: path.to_owned(), source: error }),
    }
}
