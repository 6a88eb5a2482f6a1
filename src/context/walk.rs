//! Walks folders on all cores and finds what is left in by the rules of each context. Contexts that
//! share a folder share the walk through it: it is read once, and so is every file in it.

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
use super::error::{MOST_PROBLEMS, ScanProblem, unreadable};
use super::files;
use super::ignore::ParentMatches;
use super::listing::{ContextFolder, EntryKind, FolderListing};
use super::names::{FolderNames, ItemKind};
use super::path::{RelPath, lossy};
use super::rules::{IgnoreRules, is_own};

/// One context to be walked.
pub(super) struct PreparedContext {
    /// The folder as it was given.
    pub(super) shown: PathBuf,
    /// The folder without links.
    pub(super) root: PathBuf,
    pub(super) rules: IgnoreRules,
}

/// What a walk found of one context, in no order.
#[derive(Debug, Default)]
pub(super) struct WalkResult {
    pub(super) folders: Vec<ContextFolder>,
    pub(super) problems: Vec<ScanProblem>,
    /// Whether an ignored folder was entered for an exception: it is a part of the context only if
    /// something in it is.
    pub(super) entered_ignored: bool,
}

/// Walks all contexts at once. What was read is put into the cache.
pub(super) fn walk<D: Dir>(views: &[PreparedContext], cache: &ScanCache<'_>) -> Vec<WalkResult> {
    let mut roots: HashMap<&OsStr, WalkRoot> = HashMap::new();
    for (index, view) in views.iter().enumerate() {
        roots.entry(view.root.as_os_str()).or_default().views.push(index);
    }
    let found = views.iter().map(|_| Mutex::default()).collect();
    let walk: Walk<'_, D> = Walk { views, roots, found, cache, dir: PhantomData };
    // A context that lies in another is met on the way, unless the way there is ignored.
    loop {
        let outermost = walk.outermost();
        if outermost.is_empty() {
            break;
        }
        rayon::scope(|scope| {
            for root in outermost {
                let walk = &walk;
                scope.spawn(move |scope| {
                    walk.folder(scope, D::at(root), root.to_owned(), Vec::new());
                });
            }
        });
    }
    walk.found
        .into_iter()
        .map(|found| found.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// A folder that contexts begin with.
#[derive(Default)]
struct WalkRoot {
    views: Vec<usize>,
    reached: AtomicBool,
}

/// One context inside of one folder.
struct Visit {
    view: usize,
    /// The folder's path in the context; `None` for its root.
    path: Option<RelPath>,
    matched: ParentMatches,
    ignored: bool,
}

struct Walk<'w, D> {
    views: &'w [PreparedContext],
    /// By their paths, as bytes: those are compared much faster, and all are in one form.
    roots: HashMap<&'w OsStr, WalkRoot>,
    found: Vec<Mutex<WalkResult>>,
    cache: &'w ScanCache<'w>,
    dir: PhantomData<fn() -> D>,
}

impl<'w, D: Dir> Walk<'w, D> {
    /// The roots that were not reached yet and lie in no other such.
    fn outermost(&self) -> Vec<&'w Path> {
        let waits = |path: &Path| {
            let root = self.roots.get(path.as_os_str());
            root.is_some_and(|root| !root.reached.load(Ordering::Relaxed))
        };
        let roots = self.roots.keys().map(|root| Path::new(*root)).filter(|path| waits(path));
        roots.filter(|path| !path.ancestors().skip(1).any(waits)).collect()
    }

    /// Reads one folder, and all below it.
    fn folder<'s>(
        &'s self,
        scope: &Scope<'s>,
        dir: io::Result<D>,
        at: PathBuf,
        mut visits: Vec<Visit>,
    ) {
        if let Some(root) = self.roots.get(at.as_os_str()) {
            root.reached.store(true, Ordering::Relaxed);
            let begin = |&view| Visit {
                view,
                path: None,
                matched: ParentMatches::default(),
                ignored: false,
            };
            visits.extend(root.views.iter().map(begin));
        }
        let listed = dir.and_then(|dir| {
            let names = dir.names()?;
            Ok((dir, names))
        });
        let (dir, names) = match listed {
            Ok(listed) => listed,
            Err(error) => return self.unread(&visits, &error),
        };
        let mut below: Vec<Vec<Visit>> = (0..names.len()).map(|_| Vec::new()).collect();
        let kept: Vec<Vec<u32>> =
            visits.iter().map(|visit| self.judge(&names, visit, &mut below)).collect();
        let mut wanted = vec![false; names.len()];
        for &index in kept.iter().flatten() {
            wanted[index as usize] = true;
        }
        let (kinds, failed) = look(&dir, &at, &names, &wanted, self.cache);
        let listing = Arc::new(FolderListing { names, kinds });
        for (visit, kept) in visits.into_iter().zip(kept) {
            self.note(visit, kept, &listing, &failed);
        }
        let dir = Arc::new(dir);
        for (index, visits) in below.into_iter().enumerate() {
            if listing.names.kind(index) != ItemKind::Dir {
                continue;
            }
            let at = at.join(listing.names.os(index));
            if visits.is_empty() && !self.roots.contains_key(at.as_os_str()) {
                continue;
            }
            let (parent, listing) = (Arc::clone(&dir), Arc::clone(&listing));
            scope.spawn(move |scope| {
                let dir = parent.child(listing.names.os(index));
                // One descriptor less is open while what is below is read.
                drop(parent);
                self.folder(scope, dir, at, visits);
            });
        }
    }

    /// What a context keeps of a folder. Of each folder in it that it goes on with, it says so.
    fn judge(&self, names: &FolderNames, visit: &Visit, below: &mut [Vec<Visit>]) -> Vec<u32> {
        let ignore = &self.views[visit.view].rules.ignore;
        let mut kept = Vec::with_capacity(names.len());
        let mut path = visit.path.as_ref().map_or_else(Vec::new, |path| path.as_bytes().to_vec());
        if !path.is_empty() {
            path.push(b'/');
        }
        let above = path.len();
        for (index, number) in (0..names.len()).zip(0u32..) {
            let name = names.name(index);
            let is_dir = names.kind(index) == ItemKind::Dir;
            if is_own(name, is_dir) {
                continue;
            }
            path.truncate(above);
            path.extend_from_slice(name);
            let text = lossy(&path);
            if !is_dir {
                if !ignore.of_file(&text, &visit.matched).ignored {
                    kept.push(number);
                }
                continue;
            }
            let (verdict, matched) = ignore.of_folder(&text, &visit.matched);
            let ignored = verdict.ignored;
            if !ignored {
                kept.push(number);
            } else if !ignore.may_bring_back_below(&text) {
                continue;
            }
            let path = Some(RelPath::child(visit.path.as_ref(), name));
            below[index].push(Visit { view: visit.view, path, matched, ignored });
        }
        kept
    }

    /// Keeps what was found of a folder for one context.
    fn note(
        &self,
        visit: Visit,
        mut kept: Vec<u32>,
        listing: &Arc<FolderListing>,
        failed: &[(usize, io::Error)],
    ) {
        let Visit { view, path, ignored, .. } = visit;
        let shown = &self.views[view].shown;
        let inside = |index| RelPath::child(path.as_ref(), listing.names.name(index));
        let mut problems = Vec::new();
        for (index, error) in failed {
            let Ok(place) = kept.binary_search_by(|&kept| (kept as usize).cmp(index)) else {
                continue;
            };
            if error.kind() == io::ErrorKind::NotFound {
                // It is gone since its folder was read: as good as never there.
                kept.remove(place);
            } else {
                problems.push(unreadable("read", inside(*index).under(shown), again(error)));
            }
        }
        for index in kept.iter().map(|&index| index as usize) {
            if let ItemKind::Special(kind) = listing.names.kind(index) {
                let path = inside(index);
                let help = format!("add `{path}` to .dockerignore");
                problems.push(ScanProblem::Special { path: path.under(shown), kind, help });
            }
        }
        // Digested here, where all of it is still at hand.
        let folder = ContextFolder::new(path, Arc::clone(listing), kept);
        let mut found = self.found(view);
        for problem in problems {
            found.problem(problem);
        }
        found.entered_ignored |= ignored;
        found.folders.push(folder);
    }

    /// Tells everyone who needs a folder that it cannot be read.
    fn unread(&self, visits: &[Visit], error: &io::Error) {
        let tells = |visit: &&Visit| match error.kind() {
            // It is gone since the folder above was read; whoever packs it will see.
            io::ErrorKind::NotFound => visit.path.is_none(),
            // Docker passes over an ignored folder that it may not read.
            io::ErrorKind::PermissionDenied => !visit.ignored,
            _ => true,
        };
        for visit in visits.iter().filter(tells) {
            let shown = &self.views[visit.view].shown;
            let path = visit.path.as_ref().map_or_else(|| shown.clone(), |path| path.under(shown));
            self.found(visit.view).problem(unreadable("read the folder", path, again(error)));
        }
    }

    fn found(&self, view: usize) -> std::sync::MutexGuard<'_, WalkResult> {
        self.found[view].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WalkResult {
    /// Notes a problem. Of too many the first by path stay, whichever was found first.
    fn problem(&mut self, problem: ScanProblem) {
        let place = self.problems.partition_point(|other| other.path() <= problem.path());
        self.problems.insert(place, problem);
        self.problems.truncate(MOST_PROBLEMS);
    }
}

/// The same error for someone else: it cannot be cloned.
fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// What of a folder is known: of each name, what it is, and of which that could not be found out.
type Looked = (Vec<Option<EntryKind>>, Vec<(usize, io::Error)>);

/// Looks at the names that somebody wants. Nothing is known of the others, but for folders, nor of
/// what no archive carries.
fn look<D: Dir>(
    dir: &D,
    at: &Path,
    names: &FolderNames,
    wanted: &[bool],
    cache: &ScanCache<'_>,
) -> Looked {
    let mut files = files::look(dir, at, names, wanted, cache).into_iter();
    let mut failed = Vec::new();
    let look = |(index, wanted): (usize, &bool)| {
        let kind = match names.kind(index) {
            ItemKind::Dir => return Some(EntryKind::Dir),
            _ if !wanted => return None,
            ItemKind::File => files.next()?,
            ItemKind::Link => dir.link(names.os(index)).map(|target| EntryKind::Link { target }),
            ItemKind::Special(_) => return None,
        };
        kind.map_err(|error| failed.push((index, error))).ok()
    };
    let kinds = wanted.iter().enumerate().map(look).collect();
    (kinds, failed)
}
