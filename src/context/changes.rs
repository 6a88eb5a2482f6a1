//! Compares the files of a context with its files at an earlier time. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::listing::{EntryStamp, StampKind, digest_of_folder, digest_of_tree, stamp};
use super::path::RelPath;
use super::tree::{Tree, TreeEntry};
use crate::base::digest::Digest;

/// Every path of a context, with everything that the digest of the context depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileList {
    /// Sorted by path.
    entries: Vec<ListedPath>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ListedPath {
    path: RelPath,
    kind: StampKind,
    value: Vec<u8>,
}

impl ListedPath {
    fn stamp(&self) -> EntryStamp<'_> {
        (self.path.as_bytes(), self.kind, &self.value)
    }

    fn is_dir(&self) -> bool {
        self.kind.letter() == StampKind::DIR
    }

    /// Returns true for a file, with any content.
    fn is_file(&self) -> bool {
        !self.is_dir() && self.kind != StampKind::LINK
    }

    /// Returns true for a file whose content does not count.
    fn is_without_content(&self) -> bool {
        self.kind.letter() == StampKind::WITHOUT_CONTENT
    }
}

impl FileList {
    /// Returns the list for a tree. As in [`Tree::digest_without`], the content of the file
    /// `dockerfile` does not count, because it is an input of its own.
    pub fn new(tree: &Tree, dockerfile: &[u8]) -> Self {
        let listed = |entry: &TreeEntry| {
            let path = entry.path.as_bytes();
            Self::listed(stamp(path, &entry.kind, path == dockerfile))
        };
        Self { entries: tree.entries().iter().filter_map(listed).collect() }
    }

    fn listed((path, kind, value): EntryStamp<'_>) -> Option<ListedPath> {
        Some(ListedPath { path: RelPath::new(path)?, kind, value: value.to_vec() })
    }

    /// Returns the digest of the context, which equals [`Tree::digest_without`].
    pub fn digest(&self) -> Digest {
        let mut folders: BTreeMap<&[u8], Vec<EntryStamp<'_>>> = BTreeMap::new();
        for entry in &self.entries {
            let (path, kind, value) = entry.stamp();
            let slash = path.iter().rposition(|byte| *byte == b'/');
            let (folder, name) =
                slash.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
            folders.entry(folder).or_default().push((name, kind, value));
        }
        let digests =
            folders.iter().map(|(path, stamps)| (*path, digest_of_folder(stamps.iter().copied())));
        digest_of_tree(digests)
    }

    /// Encodes the list.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let stamps: Vec<EntryStamp<'_>> = self.entries.iter().map(ListedPath::stamp).collect();
        postcard::to_stdvec(&stamps).ok()
    }

    /// Decodes a list. Returns `None` if the bytes are invalid.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let stamps: Vec<EntryStamp<'_>> = postcard::from_bytes(bytes).ok()?;
        let entries = stamps.into_iter().map(Self::listed).collect::<Option<_>>()?;
        Some(Self { entries })
    }

    fn get(&self, path: &[u8]) -> Option<&ListedPath> {
        let index = self.entries.binary_search_by(|entry| entry.path.as_bytes().cmp(path));
        index.ok().map(|index| &self.entries[index])
    }

    /// Returns true if a folder is empty.
    fn is_empty(&self, dir: &RelPath) -> bool {
        let prefix = [dir.as_bytes(), b"/"].concat();
        let first = self.entries.partition_point(|entry| entry.path.as_bytes() < &prefix[..]);
        !self.entries.get(first).is_some_and(|entry| entry.path.as_bytes().starts_with(&prefix))
    }
}

/// A change of one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// The path in the context, with special characters escaped. The path of a folder ends with
    /// `/`.
    pub path: String,
    /// The kind of the change.
    pub change: ChangeKind,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The path is new.
    Added,
    /// The content, the permissions or the link target have changed, or a file has become a link or
    /// the reverse.
    Changed,
    /// The path does not exist any more.
    Removed,
}

impl fmt::Display for FileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.change {
            ChangeKind::Added => '+',
            ChangeKind::Changed => '~',
            ChangeKind::Removed => '-',
        };
        write!(f, "{mark} {}", self.path)
    }
}

/// Returns the changes from the old context to the new one, sorted by path.
///
/// A folder is left out, because its entries imply it, unless it is empty or there is no other
/// change. If the content of a file does not count in one of the lists, the file is unchanged.
pub(crate) fn changes(old: &FileList, new: &FileList) -> Vec<FileChange> {
    let changes =
        differences(old, new, &|list, entry| !entry.is_dir() || list.is_empty(&entry.path));
    if changes.is_empty() { differences(old, new, &|_, _| true) } else { changes }
}

/// Returns the differences between the entries for which `counts` is true. A file that became a
/// folder is removed and added, and so is a folder that became a file.
fn differences(
    old: &FileList,
    new: &FileList,
    counts: &dyn Fn(&FileList, &ListedPath) -> bool,
) -> Vec<FileChange> {
    let mut changes = Vec::new();
    let mut add = |entry: &ListedPath, change| {
        let slash = if entry.is_dir() { "/" } else { "" };
        let change = FileChange { path: format!("{}{slash}", entry.path), change };
        changes.push((entry.path.as_bytes().to_vec(), change));
    };
    for entry in &old.entries {
        let current = new.get(entry.path.as_bytes());
        if current.is_none_or(|current| current.is_dir() != entry.is_dir()) && counts(old, entry) {
            add(entry, ChangeKind::Removed);
        }
    }
    for entry in &new.entries {
        match old.get(entry.path.as_bytes()).filter(|old| old.is_dir() == entry.is_dir()) {
            None if counts(new, entry) => add(entry, ChangeKind::Added),
            Some(old) if differs(old, entry) => add(entry, ChangeKind::Changed),
            _ => {}
        }
    }
    changes.sort_by(|(a, _), (b, _)| a.cmp(b));
    changes.into_iter().map(|(_, change)| change).collect()
}

fn differs(old: &ListedPath, new: &ListedPath) -> bool {
    // If the content counts in one list only, it cannot be compared: a file that is the Dockerfile
    // in one list equals any file.
    let one_side = old.is_without_content() != new.is_without_content();
    !(one_side && old.is_file() && new.is_file()) && old.stamp() != new.stamp()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::context::permissions::Permissions;

    /// Parses a list of `path=content`, `path!content` (executable), `path#content` (mode 600),
    /// `path>target`, `path?` (a file whose content does not count), `path/` and `path#/` (a folder
    /// of mode 700), and adds the folders above each path.
    fn list(text: &str) -> FileList {
        let mut entries = BTreeMap::new();
        for word in text.split_whitespace() {
            let at = word.find(['=', '!', '#', '>', '?']).unwrap_or(word.len());
            let (path, kind) = (&word[..at], word[at..].chars().next());
            let value = word.get(at + 1..).unwrap_or_default().as_bytes().to_vec();
            let kind = match kind {
                Some('=') => StampKind::FILE,
                Some('!') => StampKind::EXECUTABLE,
                Some('#') if value == b"/" => StampKind::DIR.with(Permissions::of_mode(0o700)),
                Some('#') => StampKind::FILE.with(Permissions::of_mode(0o600)),
                Some('>') => StampKind::LINK,
                Some('?') => StampKind::WITHOUT_CONTENT,
                _ => StampKind::DIR,
            };
            let path = path.trim_end_matches('/');
            for (slash, _) in path.match_indices('/') {
                entries.insert(path[..slash].to_owned(), (StampKind::DIR, Vec::new()));
            }
            let value = if kind.letter() == StampKind::DIR { Vec::new() } else { value };
            entries.insert(path.to_owned(), (kind, value));
        }
        let listed = |(path, (kind, value)): (String, (StampKind, Vec<u8>))| ListedPath {
            path: RelPath::new(path).unwrap(),
            kind,
            value,
        };
        let mut entries: Vec<ListedPath> = entries.into_iter().map(listed).collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        FileList { entries }
    }

    fn changes_between(old: &str, new: &str) -> String {
        let changes: Vec<String> =
            changes(&list(old), &list(new)).iter().map(ToString::to_string).collect();
        changes.join(", ")
    }

    #[test]
    fn each_kind_of_change() {
        for (old, new, expected) in [
            ("", "", ""),
            ("a=1", "a=1", ""),
            ("a=1", "a=2", "~ a"),
            ("a=1", "a!1", "~ a"),
            ("a=1", "a#1", "~ a"),
            ("a!1", "a#1", "~ a"),
            ("a#1", "a#1", ""),
            ("x/a=1", "x/a=1 x#/", "~ x/"),
            ("x#/", "x/", "~ x/"),
            ("a=1", "a>1", "~ a"),
            ("a>1", "a>2", "~ a"),
            ("a=1", "", "- a"),
            ("", "a=1", "+ a"),
            ("b=1 c=1 d=1", "a=1 b=2 d=1", "+ a, ~ b, - c"),
            // Folders with entries are left out.
            ("x/a=1", "x/a=1 y/z/b=1", "+ y/z/b"),
            ("x/a=1 y/b=1", "x/a=1", "- y/b"),
            ("x/a=1", "x/", "- x/a"),
            ("x/", "x/a=1", "+ x/a"),
            // Empty folders are listed.
            ("a=1", "a=1 x/", "+ x/"),
            ("a=1 x/", "a=1", "- x/"),
            ("a=1", "a=2 x/y/", "~ a, + x/y/"),
            ("a=1 a-b=1", "a=1 a-b=1 a.d/", "+ a.d/"),
            // A folder becomes a file, and a file becomes a folder.
            ("x/a=1", "x=1", "+ x, - x/a"),
            ("x=1", "x/a=1", "- x, + x/a"),
            ("x=1", "x/", "- x, + x/"),
            ("x/", "x=1", "- x/, + x"),
            ("x/", "x>a", "- x/, + x"),
            // The content of the Dockerfile does not count.
            ("Dockerfile? a=1", "Dockerfile? a=2", "~ a"),
            ("Dockerfile?", "", "- Dockerfile"),
            ("", "Dockerfile?", "+ Dockerfile"),
            ("Dockerfile?", "Dockerfile>a", "~ Dockerfile"),
            // Another file is the Dockerfile: each content counts in one list only.
            ("A? B=1", "A=1 B?", ""),
            ("A? B=1", "A#1 B?", ""),
        ] {
            assert_eq!(changes_between(old, new), expected, "{old:?} -> {new:?}");
        }
    }

    /// An ignore file outside of the context can add or remove just the entry of a folder.
    #[test]
    fn a_folder_is_listed_if_nothing_else_changed() {
        let new = list("x/a=1");
        let mut old = new.clone();
        old.entries.retain(|entry| !entry.is_dir());
        assert_eq!(
            changes(&old, &new),
            [FileChange { path: "x/".to_owned(), change: ChangeKind::Added }]
        );
    }

    #[test]
    fn decoding_reverses_encoding() {
        let list = list("a=1 b!2 c/d>e c/f/ c/g#/ c/h#3 Dockerfile?");
        let bytes = list.encode().unwrap();
        let decoded = FileList::decode(&bytes).unwrap();
        assert_eq!((decoded.digest(), &decoded), (list.digest(), &list));
        for end in 0..bytes.len() {
            assert_ne!(FileList::decode(&bytes[..end]).as_ref(), Some(&list), "cut at {end}");
        }
        assert_eq!(FileList::decode(b"\x01\x03../f\x00"), None, "a path that leaves the context");
    }

    /// Trees of files and empty folders. A path can be a file in one tree and a folder in another.
    fn tree() -> impl Strategy<Value = BTreeMap<String, (StampKind, Vec<u8>)>> {
        let path = "[ab](/[ab]){0,2}";
        let kind = prop::sample::select(vec![
            StampKind::FILE,
            StampKind::EXECUTABLE,
            StampKind::LINK,
            StampKind::DIR,
        ]);
        prop::collection::btree_map(path, (kind, 0u8..2), 0..8).prop_map(|entries| {
            let mut tree = BTreeMap::new();
            for (path, (kind, value)) in entries {
                let above: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
                let blocked = |above: &&str| {
                    tree.get(*above).is_some_and(|&(kind, _)| kind != StampKind::DIR)
                };
                if above.iter().any(blocked) || tree.contains_key(&path) {
                    continue;
                }
                for above in above {
                    tree.insert(above.to_owned(), (StampKind::DIR, Vec::new()));
                }
                let value = if kind == StampKind::DIR { Vec::new() } else { vec![value] };
                tree.insert(path, (kind, value));
            }
            tree
        })
    }

    fn listed(tree: &BTreeMap<String, (StampKind, Vec<u8>)>) -> FileList {
        let mut entries: Vec<ListedPath> = tree
            .iter()
            .map(|(path, (kind, value))| ListedPath {
                path: RelPath::new(path.as_str()).unwrap(),
                kind: *kind,
                value: value.clone(),
            })
            .collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        FileList { entries }
    }

    /// Returns the files, the links and the empty folders. The paths of folders end with `/`.
    fn leaves(list: &FileList) -> BTreeMap<String, (StampKind, Vec<u8>)> {
        let leaf = |entry: &&ListedPath| !entry.is_dir() || list.is_empty(&entry.path);
        let listed = |entry: &ListedPath| {
            let slash = if entry.is_dir() { "/" } else { "" };
            (format!("{}{slash}", entry.path), (entry.kind, entry.value.clone()))
        };
        list.entries.iter().filter(leaf).map(listed).collect()
    }

    proptest! {
        /// Applying the changes to the old context gives the new one, and no change is listed
        /// twice.
        #[test]
        fn changes_lead_from_the_old_to_the_new(old in tree(), new in tree()) {
            let (old, new) = (listed(&old), listed(&new));
            let changes_found = changes(&old, &new);
            prop_assert_eq!(changes_found.is_empty(), old == new);
            let (mut changed, expected) = (leaves(&old), leaves(&new));
            for FileChange { path, change } in &changes_found {
                let leaf = expected.get(path).cloned();
                let old_leaf = match change {
                    ChangeKind::Added | ChangeKind::Changed => {
                        changed.insert(path.clone(), leaf.unwrap())
                    }
                    ChangeKind::Removed => changed.remove(path),
                };
                prop_assert_eq!(old_leaf.is_some(), *change != ChangeKind::Added);
            }
            // An empty folder that got entries is not listed, and neither is the reverse.
            changed.retain(|path, _| !path.ends_with('/') || expected.contains_key(path));
            for (path, leaf) in expected.iter().filter(|(path, _)| path.ends_with('/')) {
                changed.entry(path.clone()).or_insert_with(|| leaf.clone());
            }
            prop_assert_eq!(changed, expected);
            prop_assert_eq!(changes(&new, &new), []);
        }
    }
}
