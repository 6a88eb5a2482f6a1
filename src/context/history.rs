//! Keeps the file list of every context that was built, so that a plan can name the files that
//! changed since.
//!
//! A list is a file in `contexts/`, under the work folder, named by the digest that the lockfile
//! has for the context: units that are sent the same share one, and where the lockfile came from
//! another machine there is none. It is a cache. What cannot be written is only missed by plans
//! that say less for it, so nothing here fails.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::cache_file;
use super::changes::FileList;
use super::tree::Tree;
use crate::base::digest::Digest;
use crate::base::file::create_work_dir;

/// What is in a file, with the version of its form.
const KIND: &str = "files 1";

/// The lists of a work folder.
#[derive(Debug, Clone)]
pub struct History {
    work: PathBuf,
}

/// A context whose list is to be kept.
#[derive(Debug, Clone, Copy)]
pub struct BuiltContext<'t> {
    /// Its digest, such as the lockfile has it.
    pub digest: Digest,
    /// Its files.
    pub tree: &'t Tree,
    /// The path in it of the Dockerfile, whose content is no part of the digest.
    pub dockerfile: &'t [u8],
}

impl History {
    /// The lists under a work folder, which need not exist.
    pub fn at(work: &Path) -> Self {
        Self { work: work.to_owned() }
    }

    /// The list of the context with this digest, if it is here.
    pub fn load(&self, digest: Digest) -> Option<FileList> {
        let path = self.path(digest);
        let list = cache_file::read(&path, KIND).and_then(|bytes| FileList::decode(&bytes));
        let list = list.filter(|list| list.digest() == digest);
        if list.is_none() && fs::read(&path).is_ok() {
            // What was read and cannot be believed is in the way of one that can.
            let _ = fs::remove_file(&path);
        }
        list
    }

    /// Keeps the lists of these contexts, but for those that are here.
    pub fn keep<'t>(&self, contexts: impl IntoIterator<Item = BuiltContext<'t>>) {
        let mut contexts = contexts.into_iter().peekable();
        if contexts.peek().is_none() {
            return;
        }
        let mut here: HashSet<Digest> =
            self.names().filter_map(|name| digest_of(&name.to_string_lossy())).collect();
        let mut missing = contexts.filter(|context| here.insert(context.digest)).peekable();
        // A folder that cannot be written, such as that of a checkout made for reading, only means
        // that later plans name no files.
        if missing.peek().is_none() || create_work_dir(&self.work).is_err() {
            return;
        }
        for BuiltContext { digest, tree, dockerfile } in missing {
            let Some(bytes) = FileList::of(tree, dockerfile).encode() else { continue };
            if cache_file::write(&self.path(digest), KIND, &bytes).is_err() {
                return;
            }
        }
    }

    /// Removes what is none of these lists.
    pub fn prune(&self, named: &HashSet<Digest>) {
        for name in self.names() {
            if digest_of(&name.to_string_lossy()).is_none_or(|of| !named.contains(&of)) {
                // It costs a little room, and the next apply tries again.
                let _ = fs::remove_file(self.folder().join(name));
            }
        }
    }

    /// The names of what lies in the folder of lists, which may not be there.
    fn names(&self) -> impl Iterator<Item = OsString> + use<> {
        let entries = fs::read_dir(self.folder()).into_iter().flatten();
        entries.flatten().map(|entry| entry.file_name())
    }

    fn folder(&self) -> PathBuf {
        self.work.join("contexts")
    }

    /// Without the `b3:`, since not every file system takes a `:` in a name.
    fn path(&self, digest: Digest) -> PathBuf {
        self.folder().join(digest.to_string().trim_start_matches("b3:"))
    }
}

fn digest_of(name: &str) -> Option<Digest> {
    format!("b3:{name}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{changes, scan};

    /// A context with a Dockerfile, and what is kept of it.
    fn context(dir: &Path, files: &[(&str, &str)]) -> Tree {
        let root = dir.join("context");
        let _ = fs::remove_dir_all(&root);
        fs::create_dir(&root).unwrap();
        for (path, text) in files {
            fs::write(root.join(path), text).unwrap();
        }
        scan(&root, None).unwrap()
    }

    fn kept(tree: &Tree) -> BuiltContext<'_> {
        let dockerfile = b"Dockerfile";
        BuiltContext { digest: tree.digest_without(dockerfile), tree, dockerfile }
    }

    #[test]
    fn a_list_is_kept_until_nothing_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        let history = History::at(&work);
        history.keep([]);
        history.prune(&HashSet::new());
        assert!(!work.exists(), "there is nothing to keep");

        let old = context(dir.path(), &[("Dockerfile", "one"), ("a", "1"), ("b", "1")]);
        let new = context(dir.path(), &[("Dockerfile", "two"), ("a", "2"), ("c", "1")]);
        assert!(history.load(kept(&old).digest).is_none());
        history.keep([kept(&old), kept(&old)]);
        assert_eq!(fs::read_to_string(work.join(".gitignore")).unwrap(), "*\n");
        let list = history.load(kept(&old).digest).unwrap();
        let now = FileList::of(&new, b"Dockerfile");
        let told: Vec<String> = changes(&list, &now).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["~ a", "- b", "+ c"]);

        history.keep([kept(&new)]);
        fs::write(work.join("contexts/.new-left"), "").unwrap();
        history.prune(&[kept(&new).digest].into());
        assert_eq!(history.names().count(), 1);
        assert!(history.load(kept(&new).digest).is_some());
    }

    #[test]
    fn what_cannot_be_believed_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::at(&dir.path().join("work"));
        let one = context(dir.path(), &[("a", "1")]);
        let two = context(dir.path(), &[("a", "2")]);
        let path = history.path(kept(&one).digest);
        history.keep([kept(&one), kept(&two)]);
        // The list of another context under this one's name.
        fs::copy(history.path(kept(&two).digest), &path).unwrap();
        assert_eq!(history.load(kept(&one).digest), None);
        assert!(!path.exists());
        history.keep([kept(&one)]);
        assert!(history.load(kept(&one).digest).is_some());
        fs::write(&path, "garbage").unwrap();
        assert_eq!(history.load(kept(&one).digest), None);
        cache_file::write(&path, KIND, b"\xff\xff").unwrap();
        assert_eq!(history.load(kept(&one).digest), None);
    }

    #[test]
    fn what_cannot_be_written_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let tree = context(dir.path(), &[("a", "1")]);
        let work = dir.path().join("work");
        fs::write(&work, "a file where the folder would be").unwrap();
        let history = History::at(&work);
        history.keep([kept(&tree)]);
        history.prune(&HashSet::new());
        assert_eq!(history.load(kept(&tree).digest), None);
        fs::remove_file(&work).unwrap();
        fs::create_dir(&work).unwrap();
        fs::write(work.join("contexts"), "here too").unwrap();
        history.keep([kept(&tree)]);
        assert_eq!(history.load(kept(&tree).digest), None);
    }
}
