//! Makes trees of many contexts at once.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::cache::{ScanCache, StatCache};
use super::dir::{Dir, NativeDir};
use super::error::{ScanError, ScanProblem, unreadable};
use super::listing::ContextFolder;
use super::path::RelPath;
use super::rules::{IgnoreRules, RulesCache};
use super::tree::Tree;
use super::walk::{PreparedContext, WalkResult, walk};

/// A context that somebody wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScanRequest {
    /// The folder.
    pub root: PathBuf,
    /// The full path of the Dockerfile, which may have a `.dockerignore` of its own.
    pub dockerfile: Option<PathBuf>,
}

/// See [`scan_all`](super::scan_all).
pub(super) fn scan_all(
    wanted: &[ScanRequest],
    cache: Option<StatCache>,
) -> Result<Vec<Arc<Tree>>, Vec<ScanError>> {
    scan_with::<NativeDir>(wanted, cache)
}

/// The same, by a given way to read folders.
pub(super) fn scan_with<D: Dir>(
    wanted: &[ScanRequest],
    cache: Option<StatCache>,
) -> Result<Vec<Arc<Tree>>, Vec<ScanError>> {
    let common = SharedLookups::default();
    let prepared: Vec<Result<PreparedContext, ScanError>> =
        wanted.par_iter().map(|wanted| prepare(wanted, &common)).collect();
    let known = cache.as_ref().map_or_else(ScanCache::default, StatCache::rows);
    let (mut views, mut errors) = (Vec::<PreparedContext>::new(), Vec::new());
    // Contexts with one root and one set of rules are one.
    let mut index_of: HashMap<(OsString, Option<OsString>), usize> = HashMap::new();
    let mut places = Vec::with_capacity(wanted.len());
    for view in prepared {
        match view {
            Ok(view) => {
                let rules = view.rules.file.as_ref().map(|file| file.clone().into_os_string());
                let key = (view.root.clone().into_os_string(), rules);
                places.push(*index_of.entry(key).or_insert(views.len()));
                if places.last() == Some(&views.len()) {
                    views.push(view);
                }
            }
            Err(error) => errors.push(error),
        }
    }
    let found = walk::<D>(&views, &known);
    let pairs: Vec<(PreparedContext, WalkResult)> = views.into_iter().zip(found).collect();
    let trees: Vec<Result<Arc<Tree>, ScanError>> =
        pairs.into_par_iter().map(|(view, found)| tree(view, found)).collect();
    if let Some(cache) = &cache {
        known.save(cache.file());
    }
    let mut whole = Vec::with_capacity(trees.len());
    for tree in trees {
        match tree {
            Ok(tree) => whole.push(tree),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(places.into_iter().map(|index| Arc::clone(&whole[index])).collect())
}

/// What contexts have in common, looked up once.
#[derive(Default)]
struct SharedLookups {
    rules: RulesCache,
    /// Folders without links, by their paths as they were given.
    folders: Mutex<HashMap<PathBuf, PathBuf>>,
}

impl SharedLookups {
    /// A folder's path without links. Most contexts lie beside others: the way to them is known.
    fn real(&self, folder: &Path) -> io::Result<PathBuf> {
        let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
            return fs::canonicalize(folder);
        };
        // Elsewhere a name may be written in more than one way.
        if parent.as_os_str().is_empty() || !cfg!(target_os = "linux") {
            return fs::canonicalize(folder);
        }
        let lock = || self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(real) = lock().get(parent) {
            return Ok(real.join(name));
        }
        let real = fs::canonicalize(parent)?;
        lock().insert(parent.to_owned(), real.clone());
        Ok(real.join(name))
    }
}

/// Finds a context's folder and its rules.
fn prepare(wanted: &ScanRequest, common: &SharedLookups) -> Result<PreparedContext, ScanError> {
    let root = &wanted.root;
    let fail = |problem| ScanError::new(root, vec![problem]);
    let unresolved = |error| fail(unreadable("resolve", root.clone(), error));
    let real = match fs::symlink_metadata(root) {
        Ok(meta) if meta.is_dir() => common.real(root).map_err(unresolved)?,
        Ok(meta) if meta.is_symlink() && root.is_dir() => {
            fs::canonicalize(root).map_err(unresolved)?
        }
        Ok(_) => return Err(fail(ScanProblem::NotAFolder { path: root.clone() })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(fail(ScanProblem::Missing { path: root.clone() }));
        }
        Err(error) => return Err(fail(unreadable("read", root.clone(), error))),
    };
    let rules = IgnoreRules::find(root, wanted.dockerfile.as_deref(), &common.rules)
        .map_err(|problems| ScanError::new(root, problems))?;
    Ok(PreparedContext { shown: root.clone(), root: real, rules })
}

fn tree(view: PreparedContext, found: WalkResult) -> Result<Arc<Tree>, ScanError> {
    if !found.problems.is_empty() {
        return Err(ScanError::new(&view.shown, found.problems));
    }
    let mut folders = found.folders;
    if found.entered_ignored {
        keep_above(&mut folders);
    }
    Ok(Arc::new(Tree::new(view.shown, view.root, folders, view.rules.file)))
}

/// What is kept keeps the ignored folders above it.
fn keep_above(folders: &mut [ContextFolder]) {
    // What lies deeper comes first: a folder that something is kept in is then kept itself.
    folders.sort_unstable_by(|a, b| b.path.cmp(&a.path));
    let places: HashMap<Option<RelPath>, usize> =
        folders.iter().enumerate().map(|(place, folder)| (folder.path.clone(), place)).collect();
    for index in 0..folders.len() {
        let ContextFolder { path: Some(path), kept, .. } = &folders[index] else { continue };
        if kept.is_empty() {
            continue;
        }
        let name = path.name().as_encoded_bytes().to_vec();
        if let Some(&above) = places.get(&path.parent()) {
            folders[above].keep(&name);
        }
    }
}
