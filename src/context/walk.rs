//! Walks a folder and makes a tree of what its `.dockerignore` leaves in.

use std::collections::BTreeMap;
use std::fs::{self, FileType};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::error::{MOST_PROBLEMS, ScanError, ScanProblem, unreadable};
use super::ignore::{Ignore, Matched};
use super::open::{fill, open};
use super::rules::{Rules, is_own};
use super::tree::{Entry, EntryKind, RelPath, Tree};
use crate::base::digest::Digest;

/// See [`scan`](super::scan).
pub(super) fn scan(root: &Path, dockerfile: Option<&Path>) -> Result<Tree, ScanError> {
    let mut walk = Walk::new(root);
    let real_root = walk.real_root()?;
    let rules = Rules::find(root, dockerfile).map_err(|all| ScanError::new(root, all))?;
    walk.folder(&real_root, &rules.ignore);
    let (mut entries, files) = (walk.entries, walk.files);
    let (digested, problems) = digest_files(root, &real_root, &files);
    walk.problems.extend(problems);
    if !walk.problems.is_empty() {
        return Err(ScanError::new(root, walk.problems));
    }
    entries.extend(digested);
    Ok(Tree::new(root.to_owned(), real_root, entries, rules.file))
}

/// A folder that is yet to be read.
struct Folder {
    path: Option<RelPath>,
    matched: Matched,
    ignored: bool,
}

struct Walk<'r> {
    root: &'r Path,
    entries: Vec<Entry>,
    files: Vec<RelPath>,
    /// Ignored folders that were entered for an exception: they are a part of the context only if
    /// something in them is.
    pending: BTreeMap<Vec<u8>, RelPath>,
    problems: Vec<ScanProblem>,
}

impl<'r> Walk<'r> {
    fn new(root: &'r Path) -> Self {
        Self {
            root,
            entries: Vec::new(),
            files: Vec::new(),
            pending: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    fn real_root(&self) -> Result<PathBuf, ScanError> {
        let fail = |problem| ScanError::new(self.root, vec![problem]);
        match fs::metadata(self.root) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(fail(ScanProblem::NotAFolder { path: self.root.to_owned() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(fail(ScanProblem::Missing { path: self.root.to_owned() }));
            }
            Err(error) => return Err(fail(unreadable("read", self.root.to_owned(), error))),
        }
        fs::canonicalize(self.root)
            .map_err(|error| fail(unreadable("resolve", self.root.to_owned(), error)))
    }

    /// Reads the root and all below it; a stack of its own, since folders nest deeper than calls.
    fn folder(&mut self, real_root: &Path, ignore: &Ignore) {
        let mut stack = vec![Folder { path: None, matched: Matched::default(), ignored: false }];
        while let Some(folder) = stack.pop() {
            if self.problems.len() > MOST_PROBLEMS {
                return;
            }
            let full = match &folder.path {
                Some(path) => path.under(real_root),
                None => real_root.to_owned(),
            };
            // Docker passes over an ignored folder that it may not read.
            let passed = |error: &io::Error| {
                folder.ignored && error.kind() == io::ErrorKind::PermissionDenied
            };
            let children = fs::read_dir(&full).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            let mut children = match children {
                Ok(children) => children,
                Err(error) if passed(&error) => continue,
                Err(error) => {
                    let shown = folder.path.as_ref().map(|path| path.under(self.root));
                    let shown = shown.unwrap_or_else(|| self.root.to_owned());
                    self.problems.push(unreadable("read the folder", shown, error));
                    continue;
                }
            };
            children.sort_unstable_by_key(fs::DirEntry::file_name);
            for child in children {
                let path = RelPath::child(folder.path.as_ref(), &child.file_name());
                match child.file_type() {
                    Ok(kind) => stack.extend(self.child(path, kind, &child, &folder, ignore)),
                    Err(error) => {
                        self.problems.push(unreadable("read", path.under(self.root), error));
                    }
                }
            }
        }
    }

    /// Notes one entry; gives it back if it is a folder to read.
    fn child(
        &mut self,
        path: RelPath,
        kind: FileType,
        child: &fs::DirEntry,
        folder: &Folder,
        ignore: &Ignore,
    ) -> Option<Folder> {
        if is_own(child.file_name().as_encoded_bytes(), kind.is_dir()) {
            return None;
        }
        let text = path.lossy();
        let (verdict, matched) = if kind.is_dir() {
            ignore.of_folder(&text, &folder.matched)
        } else {
            (ignore.of_file(&text, &folder.matched), Matched::default())
        };
        if verdict.ignored {
            if !kind.is_dir() || !ignore.may_bring_back_below(&text) {
                return None;
            }
            self.pending.insert(path.as_bytes().to_vec(), path.clone());
            return Some(Folder { path: Some(path), matched, ignored: true });
        }
        self.keep_parents(&path);
        if kind.is_dir() {
            self.entries.push(Entry { path: path.clone(), kind: EntryKind::Dir });
            return Some(Folder { path: Some(path), matched, ignored: false });
        }
        if kind.is_file() {
            self.files.push(path);
        } else if kind.is_symlink() {
            match fs::read_link(child.path()) {
                Ok(target) => {
                    let target = target.into_os_string().into_encoded_bytes();
                    self.entries.push(Entry { path, kind: EntryKind::Link { target } });
                }
                Err(error) => {
                    let full = path.under(self.root);
                    self.problems.push(unreadable("read the link", full, error));
                }
            }
        } else {
            let pattern = path.to_string();
            self.problems.push(ScanProblem::Special {
                path: path.under(self.root),
                kind: special(kind),
                help: format!("add `{pattern}` to .dockerignore"),
            });
        }
        None
    }

    /// An entry that is kept keeps the ignored folders above it.
    fn keep_parents(&mut self, path: &RelPath) {
        if self.pending.is_empty() {
            return;
        }
        let bytes = path.as_bytes();
        for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            if let Some(path) = self.pending.remove(&bytes[..at]) {
                self.entries.push(Entry { path, kind: EntryKind::Dir });
            }
        }
    }
}

#[cfg(unix)]
fn special(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_socket() {
        "a socket"
    } else if kind.is_fifo() {
        "a FIFO"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> &'static str {
    "neither a file nor a folder nor a link"
}

/// Reads and digests files on as many threads as help.
fn digest_files(
    root: &Path,
    real_root: &Path,
    files: &[RelPath],
) -> (Vec<Entry>, Vec<ScanProblem>) {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    // A thread costs as much as some tens of small files.
    let threads = threads.min(8).min(files.len() / 64 + 1);
    let next = AtomicUsize::new(0);
    let done = Mutex::new((Vec::with_capacity(files.len()), Vec::new()));
    let work = || {
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        let mut buffer = vec![0; 64 * 1024];
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            match digest_file(real_root, path, &mut buffer) {
                Ok(kind) => entries.push(Entry { path: path.clone(), kind }),
                Err(error) => problems.push(unreadable("read", path.under(root), error)),
            }
        }
        let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        done.0.append(&mut entries);
        done.1.append(&mut problems);
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn digest_file(real_root: &Path, path: &RelPath, buffer: &mut [u8]) -> io::Result<EntryKind> {
    let Some(mut opened) = open(real_root, path)? else {
        return Err(io::Error::other("it was replaced while the context was read"));
    };
    let mut hasher = blake3::Hasher::new();
    let mut size = 0;
    loop {
        let read = fill(&mut opened.file, buffer)?;
        hasher.update(&buffer[..read]);
        size += read as u64;
        if read < buffer.len() {
            break;
        }
    }
    let digest = Digest::from(hasher.finalize());
    Ok(EntryKind::File { size, executable: opened.executable, digest })
}
