//! Stores the file list of every context that was built, so that a plan can list the files that
//! have changed since.
//!
//! A list is a file in `contexts/`, in the work folder. Its name is the digest of the context in
//! the lockfile, so units with equal contexts share a list. If the lockfile came from another
//! machine, there is no list. The lists are a cache: if one cannot be written, plans only show
//! less, so nothing here fails.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::cache_file;
use super::changes::FileList;
use super::tree::Tree;
use crate::base::digest::Digest;
use crate::base::input::InputKind;
use crate::base::work_dir::{FileMode, WorkDir, WorkName};

/// The kind of the cache files, with the version of their format.
const FILE_KIND: &str = "files 1";

/// The file lists in a work folder.
#[derive(Debug, Clone)]
pub struct History {
    work: PathBuf,
}

/// A context that was built.
#[derive(Debug, Clone, Copy)]
pub struct BuiltContext<'t> {
    /// The digest of the context in the lockfile.
    pub digest: Digest,
    /// The files of the context.
    pub tree: &'t Tree,
    /// The path of the Dockerfile in the context. Its content is not part of the digest.
    pub dockerfile: &'t [u8],
}

impl History {
    /// Returns the history in a work folder, which need not exist.
    pub fn at(work: &Path) -> Self {
        Self { work: work.to_owned() }
    }

    /// Returns the list of the context with this digest, if there is one.
    pub fn load(&self, digest: Digest) -> Option<FileList> {
        let (folder, name) = (self.folder()?, WorkName::file_list(digest));
        let content = cache_file::read(&folder, &name, InputKind::FileList, FILE_KIND);
        let list = content.and_then(|bytes| FileList::decode(&bytes));
        let list = list.filter(|list| list.digest() == digest);
        if list.is_none() {
            // A damaged file would prevent `keep` from writing a new one.
            let _ = folder.remove(name);
        }
        list
    }

    /// Stores the lists of these contexts, unless they are stored already.
    pub fn keep<'t>(&self, contexts: impl IntoIterator<Item = BuiltContext<'t>>) {
        let mut contexts = contexts.into_iter().peekable();
        if contexts.peek().is_none() {
            return;
        }
        let mut stored: HashSet<Digest> = HashSet::new();
        if let Some(folder) = self.folder() {
            folder.visit_names(|name| stored.extend(digest_of(&name.to_string_lossy())));
        }
        let mut missing = contexts.filter(|context| stored.insert(context.digest)).peekable();
        if missing.peek().is_none() {
            return;
        }
        let folder = WorkDir::create(&self.work)
            .and_then(|work| work.create_child(&WorkName::FILE_LISTS, FileMode::Shared));
        // If the work folder is read-only, later plans only list no files.
        let Ok(folder) = folder else { return };
        for BuiltContext { digest, tree, dockerfile } in missing {
            let Some(bytes) = FileList::new(tree, dockerfile).encode() else { continue };
            if cache_file::write(&folder, &WorkName::file_list(digest), FILE_KIND, &bytes).is_err()
            {
                return;
            }
        }
    }

    /// Deletes all files except the lists of these contexts.
    pub fn prune(&self, kept: &HashSet<Digest>) {
        let Some(folder) = self.folder() else { return };
        for name in folder.names() {
            if digest_of(&name.to_string_lossy()).is_none_or(|digest| !kept.contains(&digest)) {
                // A failure costs little disk space, and the next apply tries again.
                let _ = folder.remove(name);
            }
        }
    }

    /// Opens the folder of lists, if it exists.
    fn folder(&self) -> Option<WorkDir> {
        WorkDir::open(&self.work).ok()??.child(&WorkName::FILE_LISTS).ok()?
    }
}

fn digest_of(name: &str) -> Option<Digest> {
    format!("b3:{name}").parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::context::changes;
    use crate::context::tests::scan;

    /// Writes and scans a context with these files.
    fn context(dir: &Path, files: &[(&str, &str)]) -> Tree {
        let root = dir.join("context");
        let _ = fs::remove_dir_all(&root);
        fs::create_dir(&root).unwrap();
        for (path, text) in files {
            fs::write(root.join(path), text).unwrap();
        }
        scan(&root, None).unwrap()
    }

    fn built(tree: &Tree) -> BuiltContext<'_> {
        let dockerfile = b"Dockerfile";
        BuiltContext { digest: tree.digest_without(dockerfile), tree, dockerfile }
    }

    #[test]
    fn a_list_is_stored_until_it_is_pruned() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        let history = History::at(&work);
        history.keep([]);
        history.prune(&HashSet::new());
        assert!(!work.exists(), "there is nothing to store");

        let old = context(dir.path(), &[("Dockerfile", "one"), ("a", "1"), ("b", "1")]);
        let new = context(dir.path(), &[("Dockerfile", "two"), ("a", "2"), ("c", "1")]);
        assert!(history.load(built(&old).digest).is_none());
        history.keep([built(&old), built(&old)]);
        assert_eq!(fs::read_to_string(work.join(".gitignore")).unwrap(), "*\n");
        let list = history.load(built(&old).digest).unwrap();
        let current = FileList::new(&new, b"Dockerfile");
        let changes: Vec<String> =
            changes(&list, &current).iter().map(ToString::to_string).collect();
        assert_eq!(changes, ["~ a", "- b", "+ c"]);

        history.keep([built(&new)]);
        fs::write(work.join("contexts/.new-left"), "").unwrap();
        history.prune(&[built(&new).digest].into());
        assert_eq!(history.folder().unwrap().names().len(), 1);
        assert!(history.load(built(&new).digest).is_some());
    }

    #[test]
    fn invalid_lists_are_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::at(&dir.path().join("work"));
        let one = context(dir.path(), &[("a", "1")]);
        let two = context(dir.path(), &[("a", "2")]);
        history.keep([built(&one), built(&two)]);
        let folder = history.folder().unwrap();
        let name = WorkName::file_list(built(&one).digest);
        let path = folder.path_of(&name);
        // The list of another context, under the name of this one.
        fs::copy(folder.path_of(WorkName::file_list(built(&two).digest)), &path).unwrap();
        assert_eq!(history.load(built(&one).digest), None);
        assert!(!path.exists());
        history.keep([built(&one)]);
        assert!(history.load(built(&one).digest).is_some());
        fs::write(&path, "garbage").unwrap();
        assert_eq!(history.load(built(&one).digest), None);
        cache_file::write(&folder, &name, FILE_KIND, b"\xff\xff").unwrap();
        assert_eq!(history.load(built(&one).digest), None);
    }

    #[test]
    fn failures_to_write_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let tree = context(dir.path(), &[("a", "1")]);
        let work = dir.path().join("work");
        fs::write(&work, "a file in the place of the folder").unwrap();
        let history = History::at(&work);
        history.keep([built(&tree)]);
        history.prune(&HashSet::new());
        assert_eq!(history.load(built(&tree).digest), None);
        fs::remove_file(&work).unwrap();
        fs::create_dir(&work).unwrap();
        fs::write(work.join("contexts"), "a file in the place of the folder").unwrap();
        history.keep([built(&tree)]);
        assert_eq!(history.load(built(&tree).digest), None);
    }
}
