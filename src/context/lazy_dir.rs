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
        let dir = match (&self.parent, self.path.file_name()) {
            (Some(parent), Some(name)) => parent.get()?.child(name)?,
            _ => D::at(&self.path)?,
        };
        Ok(self.opened.get_or_init(|| dir))
    }

    /// Returns the metadata of the folder.
    pub(super) fn own_stat(&self) -> io::Result<Stat> {
        D::stat_at(&self.path)
    }

    /// Returns the metadata of a name.
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        match self.opened.get() {
            Some(dir) => dir.stat(name),
            None => D::stat_at(&self.path.join(name)),
        }
    }

    /// Opens the folder if the metadata of so many names is needed that this saves time.
    pub(super) fn prepare(&self, names: usize) {
        if names >= MANY_NAMES {
            // If it cannot be opened, reading the metadata may succeed all the same.
            let _ = self.get();
        }
    }
}
