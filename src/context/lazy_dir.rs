//! A folder that is opened when it is needed. Of a folder whose names and files are in the cache, only
//! metadata is read, which needs no descriptor.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::dir::Dir;
use super::stat::Stat;

/// Number of names from which a folder is opened to read their metadata: relative to a descriptor, the
/// system need not resolve the path of each.
const MANY_NAMES: usize = 8;

/// A folder that may not be open yet. It is opened as [`Dir`] describes: from the root downwards, so that
/// no link is followed.
#[derive(Debug)]
pub(super) struct LazyDir<D> {
    path: PathBuf,
    /// The folder that contains it, unless it is a root.
    parent: Option<Arc<LazyDir<D>>>,
    opened: OnceLock<D>,
}

impl<D: Dir> LazyDir<D> {
    /// Returns a root. The path must not contain links.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, parent: None, opened: OnceLock::new() }
    }

    /// Returns a subfolder.
    pub(super) fn child(self: &Arc<Self>, name: &OsStr) -> Self {
        let parent = Some(Arc::clone(self));
        Self { path: self.path.join(name), parent, opened: OnceLock::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the open folder.
    pub(super) fn get(&self) -> io::Result<&D> {
        if let Some(dir) = self.opened.get() {
            return Ok(dir);
        }
        let dir = self.open()?;
        Ok(self.opened.get_or_init(|| dir))
    }

    /// Opens the folder from the nearest one above it that is open. Those between are closed again,
    /// because descriptors are limited.
    fn open(&self) -> io::Result<D> {
        let (mut closed, mut opened) = (Vec::new(), None);
        let mut above = self.parent.as_deref();
        while let Some(folder) = above {
            opened = folder.opened.get();
            if opened.is_some() {
                break;
            }
            closed.push(folder);
            above = folder.parent.as_deref();
        }
        let mut last: Option<D> = None;
        for folder in closed.into_iter().rev() {
            last = Some(folder.open_in(last.as_ref().or(opened))?);
        }
        self.open_in(last.as_ref().or(opened))
    }

    /// Opens the folder in the one above it; a root has none.
    fn open_in(&self, above: Option<&D>) -> io::Result<D> {
        match (above, self.path.file_name()) {
            (Some(above), Some(name)) => above.child(name),
            _ => D::at(&self.path),
        }
    }

    /// Forgets the folder above an open folder, so that it is closed as early as possible.
    pub(super) fn release_parent(&mut self) {
        if self.opened.get().is_some() {
            self.parent = None;
        }
    }

    /// Returns the metadata of the folder.
    pub(super) fn own_stat(&self) -> io::Result<Stat> {
        match (D::stat_at(&self.path), &self.parent, self.path.file_name()) {
            // The path is too long for the system.
            (Err(error), Some(parent), Some(name))
                if error.kind() == io::ErrorKind::InvalidFilename =>
            {
                parent.get()?.stat(name)
            }
            (stat, ..) => stat,
        }
    }

    /// Returns the metadata of a name.
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        if let Some(dir) = self.opened.get() {
            return dir.stat(name);
        }
        match D::stat_at(&self.path.join(name)) {
            // The path is too long for the system.
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => self.get()?.stat(name),
            stat => stat,
        }
    }

    /// Opens the folder if the metadata of so many names is needed that this saves time.
    pub(super) fn open_for(&self, names: usize) {
        if names >= MANY_NAMES {
            // If it cannot be opened, reading the metadata may succeed all the same.
            let _ = self.get();
        }
    }
}
