//! Scans one or many contexts at once, and returns a tree for each.

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
use super::follow::{self, ContextRead, SelectionsCache};
use super::listing::ContextFolder;
use super::path::RelPath;
use super::rules::{IgnoreRules, PatternsCache};
use super::shared_listings::SharedListings;
use super::stat::Stat;
use super::tree::Tree;
use super::walk::{PreparedContext, WalkResult, walk};

/// A context to be scanned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScanRequest {
    /// The folder.
    pub root: Arc<Path>,
    /// The full path of the Dockerfile. If `<Dockerfile>.dockerignore` exists, it is used instead
    /// of the `.dockerignore` at the root.
    pub dockerfile: Option<Arc<Path>>,
    /// The paths that the build reads, without which nothing is sent; `None` for everything.
    pub reads: Option<Arc<[ContextRead]>>,
}

/// Scans contexts: returns every path that Docker would send for the paths that the build reads, and
/// the digest of every file. If contexts share folders and files, each is read once.
///
/// Links are kept as links and never followed. The files of imgplan itself (`.imgplan/`,
/// `imgplan.lock`) are never sent, not even if a `!` pattern includes them: they change with every
/// run. Sockets, FIFOs and devices are left out, see [`Tree::left_out`]. Files that have not changed
/// since the `cache` was written are not read; the cache is updated if something has changed.
///
/// # Errors
///
/// Fails with an error for each context that cannot be sent: its folder, its `.dockerignore` or
/// something that would be sent cannot be read, or a pattern is invalid.
pub fn scan_all(
    requests: &[ScanRequest],
    cache: Option<StatCache>,
) -> Result<Vec<Arc<Tree>>, Vec<ScanError>> {
    scan_with::<NativeDir>(requests, cache)
}

/// Does the same as [`scan_all`] without reading the files, for checks of names, sizes and modes.
/// The digests of the trees are wrong, so the trees must not be compared or packed.
///
/// # Errors
///
/// Fails as [`scan_all`] does, except for a file that cannot be read: no file is opened.
pub(crate) fn scan_names(requests: &[ScanRequest]) -> Result<Vec<Arc<Tree>>, Vec<ScanError>> {
    scan_into::<NativeDir>(requests, &ScanCache::names_only())
}

/// Does the same as [`scan_all`] with a given way to read folders.
pub(super) fn scan_with<D: Dir>(
    requests: &[ScanRequest],
    cache: Option<StatCache>,
) -> Result<Vec<Arc<Tree>>, Vec<ScanError>> {
    let scan_cache = cache.as_ref().map_or_else(ScanCache::default, StatCache::start_scan);
    let trees = scan_into::<D>(requests, &scan_cache);
    if let Some(cache) = &cache {
        scan_cache.save(cache.work());
    }
    trees
}

fn scan_into<D: Dir>(
    requests: &[ScanRequest],
    scan_cache: &ScanCache<'_>,
) -> Result<Vec<Arc<Tree>>, Vec<ScanError>> {
    let (shared, listings) = (SharedLookups::default(), SharedListings::new(scan_cache));
    let prepared: Vec<Result<PreparedContext, ScanError>> =
        requests.par_iter().map(|request| prepare::<D>(request, &shared, &listings)).collect();
    let (mut contexts, mut errors) = (Vec::<PreparedContext>::new(), Vec::new());
    // Requests with the same root, ignore file and paths are one context.
    let mut index_of: HashMap<ContextKey<'_>, usize> = HashMap::new();
    let mut indexes = Vec::with_capacity(requests.len());
    for (context, request) in prepared.into_iter().zip(requests) {
        match context {
            Ok(context) => {
                let ignore_file = context.rules.file.clone().map(PathBuf::into_os_string);
                let reads = request.reads.as_deref().filter(|_| context.selection.is_some());
                let key = (context.real_root.clone().into_os_string(), ignore_file, reads);
                let index = *index_of.entry(key).or_insert(contexts.len());
                indexes.push(index);
                if index == contexts.len() {
                    contexts.push(context);
                }
            }
            Err(error) => errors.push(error),
        }
    }
    let results = walk::<D>(&contexts, &listings);
    let pairs: Vec<(PreparedContext, WalkResult)> = contexts.into_iter().zip(results).collect();
    let built: Vec<Result<Arc<Tree>, ScanError>> =
        pairs.into_par_iter().map(|(context, result)| build_tree(context, result)).collect();
    let mut trees = Vec::with_capacity(built.len());
    for tree in built {
        match tree {
            Ok(tree) => trees.push(tree),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(indexes.into_iter().map(|index| Arc::clone(&trees[index])).collect())
}

/// The root of a context, its ignore file, and what the build reads.
type ContextKey<'r> = (OsString, Option<OsString>, Option<&'r [ContextRead]>);

/// Results that several contexts need and that are computed once.
#[derive(Default)]
struct SharedLookups {
    patterns: PatternsCache,
    selections: SelectionsCache,
    /// The paths of folders without links, by the paths as requested.
    real_paths: Mutex<HashMap<PathBuf, PathBuf>>,
}

impl SharedLookups {
    /// Returns a folder's path without links. The folder itself must not be a link. Most contexts
    /// are next to others, so their parent has been resolved before.
    fn real_path(&self, folder: &Path) -> io::Result<PathBuf> {
        let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
            return fs::canonicalize(folder);
        };
        // On other systems, a name can be written in several ways, for example in another case.
        if parent.as_os_str().is_empty() || !cfg!(target_os = "linux") {
            return fs::canonicalize(folder);
        }
        let lock = || self.real_paths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(real) = lock().get(parent) {
            return Ok(real.join(name));
        }
        let real = fs::canonicalize(parent)?;
        lock().insert(parent.to_owned(), real.clone());
        Ok(real.join(name))
    }
}

/// Resolves the folder of a context and reads its ignore file.
fn prepare<D: Dir>(
    request: &ScanRequest,
    shared: &SharedLookups,
    listings: &SharedListings<'_>,
) -> Result<PreparedContext, ScanError> {
    let root = &request.root;
    let fail = |problem| ScanError::new(root, vec![problem]);
    let unresolved = |error| fail(unreadable("resolve", root.to_path_buf(), error));
    let (real_root, stat) = match fs::symlink_metadata(root) {
        Ok(meta) if meta.is_dir() => {
            (shared.real_path(root).map_err(unresolved)?, Some(Stat::of(&meta)))
        }
        Ok(meta) if meta.is_symlink() && root.is_dir() => {
            (fs::canonicalize(root).map_err(unresolved)?, None)
        }
        Ok(_) => return Err(fail(ScanProblem::NotAFolder { path: root.to_path_buf() })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(fail(ScanProblem::Missing { path: root.to_path_buf() }));
        }
        Err(error) => return Err(fail(unreadable("read", root.to_path_buf(), error))),
    };
    // If the folder cannot be listed, the walk reports it.
    let listed = listings.list::<D>(&real_root, stat).ok();
    let names = listed.as_ref().map(|listed| &listed.names);
    let rules = IgnoreRules::find(root, request.dockerfile.as_deref(), names, &shared.patterns)
        .map_err(|problems| ScanError::new(root, problems))?;
    let selection = match &request.reads {
        Some(reads) => follow::patterns::<D>(&real_root, reads, listings)
            .map_err(|error| fail(ScanProblem::Unreadable(error)))?
            .and_then(|patterns| shared.selections.select(patterns)),
        None => None,
    };
    Ok(PreparedContext { root: root.clone(), real_root, rules, selection })
}

fn build_tree(context: PreparedContext, result: WalkResult) -> Result<Arc<Tree>, ScanError> {
    if !result.problems.is_empty() {
        return Err(ScanError::new(&context.root, result.problems));
    }
    let mut folders = result.folders;
    if result.entered_unsent {
        send_parents(&mut folders);
    }
    let mut tree = Tree::new(context.root, context.real_root, folders, context.rules.file);
    tree.selection = context.selection;
    tree.left_out = result.left_out;
    tree.left_out.sort_unstable();
    Ok(Arc::new(tree))
}

/// Sends each folder that contains something that is sent.
fn send_parents(folders: &mut [ContextFolder]) {
    // The deepest folders come first, so that a folder that is added here adds its own parent.
    folders.sort_unstable_by(|a, b| b.path.cmp(&a.path));
    let index_of: HashMap<Option<RelPath>, usize> =
        folders.iter().enumerate().map(|(index, folder)| (folder.path.clone(), index)).collect();
    for index in 0..folders.len() {
        let ContextFolder { path: Some(path), sent, .. } = &folders[index] else { continue };
        if sent.is_empty() {
            continue;
        }
        let name = path.name().as_encoded_bytes().to_vec();
        if let Some(&parent) = index_of.get(&path.parent()) {
            folders[parent].send(&name);
        }
    }
}
