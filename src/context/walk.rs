//! Walks folders on all cores and finds what is left in by the rules of each context. Contexts that
//! share a folder share the walk through it: it is read once, and so is every file in it.

use std::collections::HashMap;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::Scope;

use super::cache::StatCache;
use super::dir::{Dir, Item, ItemKind};
use super::error::{MOST_PROBLEMS, ScanProblem, unreadable};
use super::files;
use super::ignore::Matched;
use super::rules::{Rules, is_own};
use super::tree::{Entry, EntryKind, RelPath};

/// One context to be walked.
pub(super) struct View {
    /// The folder as it was given.
    pub(super) shown: PathBuf,
    /// The folder without links.
    pub(super) root: PathBuf,
    pub(super) rules: Rules,
}

/// What a walk found of one context, in no order.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) entries: Vec<Entry>,
    pub(super) problems: Vec<ScanProblem>,
    /// Whether an ignored folder was entered for an exception: it is a part of the context only if
    /// something in it is.
    pub(super) entered_ignored: bool,
}

/// Walks all contexts at once. What was read is put into the cache.
pub(super) fn walk<D: Dir>(views: &[View], cache: &StatCache<'_>) -> Vec<Found> {
    let mut roots: HashMap<&Path, Root> = HashMap::new();
    for (index, view) in views.iter().enumerate() {
        roots.entry(view.root.as_path()).or_default().views.push(index);
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
struct Root {
    views: Vec<usize>,
    reached: AtomicBool,
}

/// One context inside of one folder.
struct Visit {
    view: usize,
    /// The folder's path in the context; `None` for its root.
    path: Option<RelPath>,
    matched: Matched,
    ignored: bool,
}

/// An item that a visit keeps.
struct Kept {
    visit: usize,
    item: usize,
    path: RelPath,
}

struct Walk<'w, D> {
    views: &'w [View],
    roots: HashMap<&'w Path, Root>,
    found: Vec<Mutex<Found>>,
    cache: &'w StatCache<'w>,
    dir: PhantomData<fn() -> D>,
}

impl<'w, D: Dir> Walk<'w, D> {
    /// The roots that were not reached yet and lie in no other such.
    fn outermost(&self) -> Vec<&'w Path> {
        let waits = |path: &Path| {
            self.roots.get(path).is_some_and(|root| !root.reached.load(Ordering::Relaxed))
        };
        let roots = self.roots.keys().copied().filter(|path| waits(path));
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
        if let Some(root) = self.roots.get(at.as_path()) {
            root.reached.store(true, Ordering::Relaxed);
            let begin =
                |&view| Visit { view, path: None, matched: Matched::default(), ignored: false };
            visits.extend(root.views.iter().map(begin));
        }
        let listed = dir.and_then(|dir| {
            let mut items = dir.items()?;
            items.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            Ok((dir, items))
        });
        let (dir, items) = match listed {
            Ok(listed) => listed,
            Err(error) => return self.unread(&visits, &error),
        };
        let (kept, below) = self.judge(&items, &visits);
        let mut wanted = vec![false; items.len()];
        for kept in &kept {
            wanted[kept.item] = true;
        }
        let looked = self.look(&dir, &at, &items, &wanted);
        self.note(&visits, kept, &items, &looked);
        let dir = Arc::new(dir);
        for (item, visits) in items.into_iter().zip(below) {
            if item.kind != ItemKind::Dir {
                continue;
            }
            let at = at.join(&item.name);
            if visits.is_empty() && !self.roots.contains_key(at.as_path()) {
                continue;
            }
            let parent = Arc::clone(&dir);
            scope.spawn(move |scope| {
                let dir = parent.child(&item.name);
                // One descriptor less is open while what is below is read.
                drop(parent);
                self.folder(scope, dir, at, visits);
            });
        }
    }

    /// What each context keeps of a folder, and in which of its folders each goes on.
    fn judge(&self, items: &[Item], visits: &[Visit]) -> (Vec<Kept>, Vec<Vec<Visit>>) {
        let mut kept = Vec::with_capacity(items.len());
        let mut below: Vec<Vec<Visit>> = items.iter().map(|_| Vec::new()).collect();
        for (number, visit) in visits.iter().enumerate() {
            let ignore = &self.views[visit.view].rules.ignore;
            for (index, item) in items.iter().enumerate() {
                let is_dir = item.kind == ItemKind::Dir;
                if is_own(item.name.as_encoded_bytes(), is_dir) {
                    continue;
                }
                let path = RelPath::child(visit.path.as_ref(), &item.name);
                let text = path.lossy();
                if !is_dir {
                    if !ignore.of_file(&text, &visit.matched).ignored {
                        drop(text);
                        kept.push(Kept { visit: number, item: index, path });
                    }
                    continue;
                }
                let (verdict, matched) = ignore.of_folder(&text, &visit.matched);
                let ignored = verdict.ignored;
                if ignored && !ignore.may_bring_back_below(&text) {
                    continue;
                }
                let (view, path) = (visit.view, path.clone());
                below[index].push(Visit { view, path: Some(path.clone()), matched, ignored });
                if !ignored {
                    kept.push(Kept { visit: number, item: index, path });
                }
            }
        }
        (kept, below)
    }

    /// Looks at the items that somebody keeps; nothing is known of the others, nor of what no
    /// archive carries.
    fn look(
        &self,
        dir: &D,
        at: &Path,
        items: &[Item],
        wanted: &[bool],
    ) -> Vec<Option<io::Result<EntryKind>>> {
        let mut files = files::look(dir, at, items, wanted, self.cache).into_iter();
        let look = |(item, wanted): (&Item, &bool)| match item.kind {
            _ if !wanted => None,
            ItemKind::File => files.next(),
            ItemKind::Dir => Some(Ok(EntryKind::Dir)),
            ItemKind::Link => Some(dir.link(&item.name).map(|target| EntryKind::Link { target })),
            ItemKind::Special(_) => None,
        };
        items.iter().zip(wanted).map(look).collect()
    }

    /// Keeps what was found of a folder.
    fn note(
        &self,
        visits: &[Visit],
        kept: Vec<Kept>,
        items: &[Item],
        looked: &[Option<io::Result<EntryKind>>],
    ) {
        let mut kept = kept.into_iter().peekable();
        for (number, visit) in visits.iter().enumerate() {
            let shown = &self.views[visit.view].shown;
            let mut found = self.found(visit.view);
            found.entered_ignored |= visit.ignored;
            while let Some(Kept { item, path, .. }) = kept.next_if(|kept| kept.visit == number) {
                match (&looked[item], items[item].kind) {
                    (Some(Ok(kind)), _) => found.entries.push(Entry { path, kind: kind.clone() }),
                    (Some(Err(error)), _) => {
                        // The system's word serves everyone; it cannot be cloned itself.
                        let error = io::Error::new(error.kind(), error.to_string());
                        found.problem(unreadable("read", path.under(shown), error));
                    }
                    (None, ItemKind::Special(kind)) => {
                        let help = format!("add `{path}` to .dockerignore");
                        found.problem(ScanProblem::Special { path: path.under(shown), kind, help });
                    }
                    (None, _) => {}
                }
            }
        }
    }

    /// Tells everyone who needs a folder that it cannot be read.
    fn unread(&self, visits: &[Visit], error: &io::Error) {
        // Docker passes over an ignored folder that it may not read.
        let passes =
            |visit: &&Visit| !(visit.ignored && error.kind() == io::ErrorKind::PermissionDenied);
        for visit in visits.iter().filter(passes) {
            let shown = &self.views[visit.view].shown;
            let path = visit.path.as_ref().map_or_else(|| shown.clone(), |path| path.under(shown));
            let error = io::Error::new(error.kind(), error.to_string());
            self.found(visit.view).problem(unreadable("read the folder", path, error));
        }
    }

    fn found(&self, view: usize) -> std::sync::MutexGuard<'_, Found> {
        self.found[view].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    fn problem(&mut self, problem: ScanProblem) {
        if self.problems.len() <= MOST_PROBLEMS {
            self.problems.push(problem);
        }
    }
}
