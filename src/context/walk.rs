//! Walks folders on all cores and selects the entries that each context sends. Contexts that share
//! a folder share the walk through it: the folder and each file in it are read once.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::Scope;

use super::cache::ScanCache;
use super::dir::Dir;
use super::error::{MAX_PROBLEMS, ScanProblem, unreadable};
use super::files;
use super::ignore::ParentMatches;
use super::lazy_dir::LazyDir;
use super::listing::{ContextFolder, EntryKind, FolderListing};
use super::names::{FolderNames, ItemKind, SpecialKind};
use super::path::{RelPath, lossy};
use super::rules::{IgnoreRules, is_own};
use super::selection::{FolderSelection, ReadSelection, SelectedFolder};
use super::shared_listings::{FolderContent, SharedListings};
use super::stat::Stat;

/// A context that is ready to be walked.
pub(super) struct PreparedContext {
    /// The folder as requested, for messages.
    pub(super) root: Arc<Path>,
    /// The folder's path without links.
    pub(super) real_root: PathBuf,
    pub(super) rules: IgnoreRules,
    /// The entries that the build reads; `None` for everything.
    pub(super) selection: Option<Arc<ReadSelection>>,
}

/// The result of a walk for one context, in no particular order.
#[derive(Debug, Default)]
pub(super) struct WalkResult {
    pub(super) folders: Vec<ContextFolder>,
    pub(super) problems: Vec<ScanProblem>,
    /// Sockets, FIFOs and devices, which are not sent.
    pub(super) left_out: Vec<(RelPath, SpecialKind)>,
    /// True if the walk entered a folder that is not sent by itself, because something below it may
    /// be: an exception of the ignore rules, or a path that the build reads. Such a folder is sent
    /// only if something in it is.
    pub(super) entered_unsent: bool,
}

/// Walks all contexts at once. The digests of the files that were read go to the cache.
pub(super) fn walk<D: Dir>(
    contexts: &[PreparedContext],
    listings: &SharedListings<'_>,
) -> Vec<WalkResult> {
    let mut roots: HashMap<&OsStr, WalkRoot> = HashMap::new();
    for (index, context) in contexts.iter().enumerate() {
        roots.entry(context.real_root.as_os_str()).or_default().contexts.push(index);
    }
    let results = contexts.iter().map(|_| Mutex::default()).collect();
    let walk: Walk<'_, '_, D> = Walk { contexts, roots, results, listings, dir: PhantomData };
    // The walk through one context reaches the contexts inside it, unless an ignored folder is in
    // between: then these are walked in the next round.
    loop {
        let outermost = walk.outermost();
        if outermost.is_empty() {
            break;
        }
        rayon::scope(|scope| {
            for root in outermost {
                let walk = &walk;
                scope.spawn(move |scope| {
                    walk.folder(scope, LazyDir::at(root.to_owned()), None, Vec::new());
                });
            }
        });
    }
    walk.results
        .into_iter()
        .map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// A folder that is the root of contexts.
#[derive(Default)]
struct WalkRoot {
    /// The indexes of these contexts.
    contexts: Vec<usize>,
    reached: AtomicBool,
}

/// The walk of one context through one folder.
struct Visit {
    /// The index of the context.
    context: usize,
    /// The folder's path in the context; `None` for the root.
    path: Option<RelPath>,
    matches: ParentMatches,
    selection: FolderSelection,
    ignored: bool,
    /// True if the folder is sent whatever is in it.
    sent: bool,
}

struct Walk<'w, 'b, D> {
    contexts: &'w [PreparedContext],
    /// By path. The keys are plain strings, because they are compared much faster than paths, and
    /// all of them are in canonical form.
    roots: HashMap<&'w OsStr, WalkRoot>,
    results: Vec<Mutex<WalkResult>>,
    listings: &'w SharedListings<'b>,
    dir: PhantomData<fn() -> D>,
}

impl<'w, D: Dir> Walk<'w, '_, D> {
    /// Returns the unreached roots that are not inside another unreached root.
    fn outermost(&self) -> Vec<&'w Path> {
        let is_unreached = |path: &Path| {
            let root = self.roots.get(path.as_os_str());
            root.is_some_and(|root| !root.reached.load(Ordering::Relaxed))
        };
        let roots = self.roots.keys().map(|root| Path::new(*root));
        roots
            .filter(|path| is_unreached(path) && !path.ancestors().skip(1).any(is_unreached))
            .collect()
    }

    /// Reads one folder and everything below it. `stat` is the metadata of the folder if it is known.
    fn folder<'s>(
        &'s self,
        scope: &Scope<'s>,
        mut dir: LazyDir<D>,
        stat: Option<Stat>,
        mut visits: Vec<Visit>,
    ) {
        if let Some(root) = self.roots.get(dir.path().as_os_str()) {
            root.reached.store(true, Ordering::Relaxed);
            let visit = |&context: &usize| {
                let selection = self.contexts[context].selection.as_ref();
                let everything = FolderSelection::Everything;
                Visit {
                    context,
                    path: None,
                    matches: ParentMatches::default(),
                    selection: selection.map_or(everything, |selection| selection.at_root()),
                    ignored: false,
                    sent: true,
                }
            };
            visits.extend(root.contexts.iter().map(visit));
        }
        let listed = match self.listings.take(&dir, stat) {
            Ok(listed) => listed,
            Err(error) => return self.report_unreadable(&visits, &error),
        };
        let names = &listed.names;
        let mut subvisits: Vec<Vec<Visit>> = (0..names.len()).map(|_| Vec::new()).collect();
        let sent: Vec<Vec<u32>> =
            visits.iter().map(|visit| self.select(names, visit, &mut subvisits)).collect();
        let mut requested = vec![false; names.len()];
        for &index in sent.iter().flatten() {
            requested[index as usize] = true;
        }
        // A folder that is not sent by itself is sent if something below it is.
        for (index, visits) in subvisits.iter().enumerate() {
            requested[index] |= !visits.is_empty();
        }
        let Entries { kinds, failed, folder_stats } =
            Entries::read(&dir, &listed, &requested, self.listings.cache);
        let listing = Arc::new(FolderListing { names: listed.names, kinds });
        for (visit, sent) in visits.into_iter().zip(sent) {
            self.finish(visit, sent, &listing, &failed);
        }
        dir.release_parent();
        let dir = Arc::new(dir);
        let mut folder_stats = folder_stats.into_iter().peekable();
        for (index, visits) in subvisits.into_iter().enumerate() {
            let stat = folder_stats.next_if(|(of, _)| *of == index).map(|(_, stat)| stat);
            if listing.names.kind(index) != ItemKind::Dir {
                continue;
            }
            let child = dir.child(listing.names.os(index));
            if visits.is_empty() && !self.roots.contains_key(child.path().as_os_str()) {
                continue;
            }
            scope.spawn(move |scope| self.folder(scope, child, stat, visits));
        }
    }

    /// Returns the indexes of the entries that a context sends. Adds a visit to `subvisits` for
    /// each subfolder that the context's walk must enter.
    fn select(&self, names: &FolderNames, visit: &Visit, subvisits: &mut [Vec<Visit>]) -> Vec<u32> {
        let PreparedContext { rules, selection, .. } = &self.contexts[visit.context];
        let patterns = &rules.patterns;
        let mut sent = Vec::with_capacity(names.len());
        let mut path = visit.path.as_ref().map_or_else(Vec::new, |path| path.as_bytes().to_vec());
        if !path.is_empty() {
            path.push(b'/');
        }
        let folder_len = path.len();
        for (index, number) in (0..names.len()).zip(0u32..) {
            let name = names.name(index);
            let is_dir = names.kind(index) == ItemKind::Dir;
            if is_own(name, is_dir) {
                continue;
            }
            path.truncate(folder_len);
            path.extend_from_slice(name);
            let text = lossy(&path);
            if !is_dir {
                let selects = |selection: &Arc<ReadSelection>| {
                    selection.selects_file(&text, &visit.selection)
                };
                let selected = selection.as_ref().is_none_or(selects);
                if selected && !patterns.match_file(&text, &visit.matches).ignored {
                    sent.push(number);
                }
                continue;
            }
            let folder = match selection {
                Some(selection) => selection.folder(&text, &visit.selection),
                None => SelectedFolder::EVERYTHING,
            };
            if !folder.enter {
                continue;
            }
            let (result, matches) = patterns.match_folder(&text, &visit.matches);
            let ignored = result.ignored;
            if ignored && !patterns.may_include_below(&text) {
                continue;
            }
            let is_sent = folder.selected && !ignored;
            if is_sent {
                sent.push(number);
            }
            let path = Some(RelPath::child(visit.path.as_ref(), name));
            let (context, selection) = (visit.context, folder.inside);
            subvisits[index].push(Visit {
                context,
                path,
                matches,
                selection,
                ignored,
                sent: is_sent,
            });
        }
        sent
    }

    /// Adds a folder and its problems to the result of one context.
    fn finish(
        &self,
        visit: Visit,
        mut sent: Vec<u32>,
        listing: &Arc<FolderListing>,
        failed: &[(usize, io::Error)],
    ) {
        let Visit { context, path, sent: is_sent, .. } = visit;
        let root = &self.contexts[context].root;
        let entry_path = |index| RelPath::child(path.as_ref(), listing.names.name(index));
        let mut problems = Vec::new();
        for (index, error) in failed {
            let Ok(position) = sent.binary_search_by(|&sent| (sent as usize).cmp(index)) else {
                continue;
            };
            if error.kind() == io::ErrorKind::NotFound {
                // The entry was deleted after the folder was read.
                sent.remove(position);
            } else {
                problems.push(unreadable("read", entry_path(*index).under(root), copy_of(error)));
            }
        }
        let mut left_out = Vec::new();
        sent.retain(|&index| match listing.names.kind(index as usize) {
            ItemKind::Special(kind) => {
                left_out.push((entry_path(index as usize), kind));
                false
            }
            _ => true,
        });
        // Computes the digest here, while the folder's data is in the CPU caches.
        let folder = ContextFolder::new(path, Arc::clone(listing), sent);
        let mut result = self.result(context);
        for problem in problems {
            result.add_problem(problem);
        }
        result.left_out.extend(left_out);
        result.entered_unsent |= !is_sent;
        result.folders.push(folder);
    }

    /// Reports an unreadable folder to every context that needs it.
    fn report_unreadable(&self, visits: &[Visit], error: &io::Error) {
        let is_problem = |visit: &&Visit| match error.kind() {
            // A subfolder was deleted after its parent was read. Packing detects it if it matters.
            io::ErrorKind::NotFound => visit.path.is_none(),
            // Docker skips an ignored folder that it has no permission to read.
            io::ErrorKind::PermissionDenied => !visit.ignored,
            _ => true,
        };
        for visit in visits.iter().filter(is_problem) {
            let root = &self.contexts[visit.context].root;
            let path = visit.path.as_ref();
            let path = path.map_or_else(|| root.to_path_buf(), |path| path.under(root));
            let problem = unreadable("read the folder", path, copy_of(error));
            self.result(visit.context).add_problem(problem);
        }
    }

    fn result(&self, context: usize) -> std::sync::MutexGuard<'_, WalkResult> {
        self.results[context].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WalkResult {
    /// Adds a problem. If there are too many, the first ones by path are kept, so that the result
    /// does not depend on the order of the walk.
    fn add_problem(&mut self, problem: ScanProblem) {
        let position = self.problems.partition_point(|other| other.path() <= problem.path());
        self.problems.insert(position, problem);
        self.problems.truncate(MAX_PROBLEMS);
    }
}

/// Returns an equal error for another context: `io::Error` has no `Clone`.
fn copy_of(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// The requested entries of a folder.
struct Entries {
    /// The kind of each; `None` for an entry that was not requested or could not be read, and for a
    /// special file.
    kinds: Vec<Option<EntryKind>>,
    /// The index and the error of each that could not be read.
    failed: Vec<(usize, io::Error)>,
    /// The indexes and the metadata of the folders.
    folder_stats: Vec<(usize, Stat)>,
}

impl Entries {
    fn read<D: Dir>(
        dir: &LazyDir<D>,
        listed: &FolderContent<'_>,
        requested: &[bool],
        cache: &ScanCache<'_>,
    ) -> Self {
        let names = &listed.names;
        dir.open_for(requested.iter().filter(|requested| **requested).count());
        let mut files = files::hash(dir, listed, requested, cache).into_iter();
        let (mut failed, mut folder_stats) = (Vec::new(), Vec::new());
        let kind = |(index, requested): (usize, &bool)| {
            let kind = match names.kind(index) {
                _ if !requested => return None,
                ItemKind::Dir => dir.stat(names.os(index)).map(|stat| {
                    folder_stats.push((index, stat));
                    EntryKind::Dir { permissions: stat.permissions() }
                }),
                ItemKind::File => files.next()?,
                ItemKind::Link => dir
                    .get()
                    .and_then(|dir| dir.link(names.os(index)))
                    .map(|target| EntryKind::Link { target }),
                ItemKind::Special(_) => return None,
            };
            kind.map_err(|error| failed.push((index, error))).ok()
        };
        let kinds = requested.iter().enumerate().map(kind).collect();
        Self { kinds, failed, folder_stats }
    }
}
