//! The folders of a scan: each is listed once, and not at all while the cache has its names.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::{CachedFolder, ScanCache};
use super::dir::Dir;
use super::lazy_dir::LazyDir;
use super::names::FolderNames;
use super::stat::Stat;

/// The names in a folder.
#[derive(Debug, Clone)]
pub(super) struct FolderContent<'b> {
    pub(super) names: FolderNames,
    /// The metadata of the folder if the names may be cached.
    pub(super) cacheable_stat: Option<Stat>,
    /// The content of the cache for the folder.
    pub(super) cached: CachedFolder<'b>,
    /// True if the names are those of the cache.
    pub(super) is_cached: bool,
}

impl<'b> FolderContent<'b> {
    /// Lists a folder with this metadata.
    fn read<D: Dir>(dir: &LazyDir<D>, stat: &Stat, cache: &ScanCache<'b>) -> io::Result<Self> {
        let cached = cache.folder(dir.path());
        let may_use_names = cache.may_use_names::<D>(dir.path(), stat);
        if let Some(names) = cached.names(stat).filter(|_| may_use_names) {
            return Ok(Self { names, cacheable_stat: Some(*stat), cached, is_cached: true });
        }
        let names = dir.get()?.names()?;
        let is_certain = may_use_names && cache.may_cache(stat);
        let is_certain = is_certain && dir.own_stat().is_ok_and(|after| after == *stat);
        let cacheable_stat = is_certain.then_some(*stat);
        Ok(Self { names, cacheable_stat, cached, is_cached: false })
    }
}

/// The folders that were listed before the walk reaches them: roots, and folders in which links are
/// searched.
pub(super) struct SharedListings<'b> {
    pub(super) cache: &'b ScanCache<'b>,
    listed: Mutex<HashMap<PathBuf, Arc<FolderContent<'b>>>>,
}

impl<'b> SharedListings<'b> {
    pub(super) fn new(cache: &'b ScanCache<'b>) -> Self {
        Self { cache, listed: Mutex::default() }
    }

    /// Lists a folder, and keeps its names for others. `stat` is its metadata if it is known. The path must
    /// not contain links.
    pub(super) fn list<D: Dir>(
        &self,
        path: &Path,
        stat: Option<Stat>,
    ) -> io::Result<Arc<FolderContent<'b>>> {
        if let Some(listed) = self.lock().get(path) {
            return Ok(Arc::clone(listed));
        }
        let dir = LazyDir::<D>::at(path.to_owned());
        let stat = stat.map_or_else(|| dir.own_stat(), Ok)?;
        let listed = Arc::new(FolderContent::read(&dir, &stat, self.cache)?);
        self.lock().insert(path.to_owned(), Arc::clone(&listed));
        Ok(listed)
    }

    /// Lists a folder, and keeps nothing.
    pub(super) fn take<D: Dir>(
        &self,
        dir: &LazyDir<D>,
        stat: Option<Stat>,
    ) -> io::Result<FolderContent<'b>> {
        if let Some(listed) = self.lock().remove(dir.path()) {
            return Ok(Arc::unwrap_or_clone(listed));
        }
        let stat = stat.map_or_else(|| dir.own_stat(), Ok)?;
        FolderContent::read(dir, &stat, self.cache)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Arc<FolderContent<'b>>>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
