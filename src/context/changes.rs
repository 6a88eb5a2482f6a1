//! Compares the files of a context with those that it had. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::listing::{DIR, EntryStamp, FILES, PRESENT, digest_of_folder, digest_of_tree, stamp};
use super::tree::{RelPath, Tree, TreeEntry};
use crate::base::digest::Digest;

/// Every path of a context and what of it counts: enough to tell another context from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileList {
    /// Sorted by path.
    entries: Vec<ListedPath>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ListedPath {
    path: RelPath,
    kind: u8,
    value: Vec<u8>,
}

impl ListedPath {
    fn stamp(&self) -> EntryStamp<'_> {
        (self.path.as_bytes(), self.kind, &self.value)
    }

    fn is_dir(&self) -> bool {
        self.kind == DIR
    }

    /// Whether it is a file, of whatever content.
    fn is_file(&self) -> bool {
        self.kind == PRESENT || FILES.contains(&self.kind)
    }
}

impl FileList {
    /// The files of a tree. `dockerfile` is the path of one whose content is an input of its own, as
    /// it is of [`Tree::digest_without`]: that it is there is all that counts.
    pub fn of(tree: &Tree, dockerfile: &[u8]) -> Self {
        let listed = |entry: &TreeEntry| {
            let path = entry.path.as_bytes();
            Self::listed(stamp(path, &entry.kind, path == dockerfile))
        };
        Self { entries: tree.entries().iter().filter_map(listed).collect() }
    }

    fn listed((path, kind, value): EntryStamp<'_>) -> Option<ListedPath> {
        Some(ListedPath { path: RelPath::new(path)?, kind, value: value.to_vec() })
    }

    /// The digest of the context: what [`Tree::digest_without`] said of it.
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

    /// The list as bytes.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let stamps: Vec<EntryStamp<'_>> = self.entries.iter().map(ListedPath::stamp).collect();
        postcard::to_stdvec(&stamps).ok()
    }

    /// The list that was made into these bytes. `None` where they are none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let stamps: Vec<EntryStamp<'_>> = postcard::from_bytes(bytes).ok()?;
        let entries = stamps.into_iter().map(Self::listed).collect::<Option<_>>()?;
        Some(Self { entries })
    }

    fn get(&self, path: &[u8]) -> Option<&ListedPath> {
        let found = self.entries.binary_search_by(|entry| entry.path.as_bytes().cmp(path));
        found.ok().map(|index| &self.entries[index])
    }

    /// Whether nothing lies in a folder.
    fn is_empty(&self, dir: &RelPath) -> bool {
        let within = [dir.as_bytes(), b"/"].concat();
        let first = self.entries.partition_point(|entry| entry.path.as_bytes() < &within[..]);
        !self.entries.get(first).is_some_and(|entry| entry.path.as_bytes().starts_with(&within))
    }
}

/// One path that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// The path inside the context, readable whatever it is; a `/` follows that of a folder.
    pub path: String,
    /// What happened to it.
    pub change: ChangeKind,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It was not there.
    Added,
    /// Its content, its executable bit or its target is another, or it became a link or a file.
    Changed,
    /// It is not there any more.
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

/// What has to be done to the old context to have the new one, sorted by path.
///
/// Folders follow from what lies in them and are left out, but for those in which nothing lies, or
/// where there is nothing else to tell. Where either list leaves out a file's content, that file is
/// as it was.
pub fn changes(old: &FileList, new: &FileList) -> Vec<FileChange> {
    let mut found =
        differences(old, new, &|list, entry| !entry.is_dir() || list.is_empty(&entry.path));
    if found.is_empty() {
        found = differences(old, new, &|_, _| true);
    }
    found
}

/// The differences of those entries that count. A path that became a folder is no file any more,
/// and the other way round.
fn differences(
    old: &FileList,
    new: &FileList,
    counts: &dyn Fn(&FileList, &ListedPath) -> bool,
) -> Vec<FileChange> {
    let mut found = Vec::new();
    let mut tell = |entry: &ListedPath, change| {
        let slash = if entry.is_dir() { "/" } else { "" };
        let told = FileChange { path: format!("{}{slash}", entry.path), change };
        found.push((entry.path.as_bytes().to_vec(), told));
    };
    for entry in &old.entries {
        let now = new.get(entry.path.as_bytes());
        if now.is_none_or(|now| now.is_dir() != entry.is_dir()) && counts(old, entry) {
            tell(entry, ChangeKind::Removed);
        }
    }
    for entry in &new.entries {
        match old.get(entry.path.as_bytes()).filter(|was| was.is_dir() == entry.is_dir()) {
            None if counts(new, entry) => tell(entry, ChangeKind::Added),
            Some(was) if differs(was, entry) => tell(entry, ChangeKind::Changed),
            _ => {}
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found.into_iter().map(|(_, change)| change).collect()
}

fn differs(was: &ListedPath, is: &ListedPath) -> bool {
    let unknown = [was, is].iter().any(|entry| entry.kind == PRESENT);
    !(unknown && was.is_file() && is.is_file()) && was.stamp() != is.stamp()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A list of `path=content`, `path!content` (may be executed), `path>target`, `path?` (a file
    /// whose content does not count) and `path/`, each with the folders that it lies in.
    fn list(text: &str) -> FileList {
        let mut entries = BTreeMap::new();
        for word in text.split_whitespace() {
            let at = word.find(['=', '!', '>', '?']).unwrap_or(word.len());
            let (path, kind) = (&word[..at], word[at..].chars().next());
            let value = word.get(at + 1..).unwrap_or_default().as_bytes().to_vec();
            let kind = match kind {
                Some('=') => b'f',
                Some('!') => b'x',
                Some('>') => b'l',
                Some('?') => PRESENT,
                _ => DIR,
            };
            let path = path.trim_end_matches('/');
            for (slash, _) in path.match_indices('/') {
                entries.insert(path[..slash].to_owned(), (DIR, Vec::new()));
            }
            entries.insert(path.to_owned(), (kind, value));
        }
        let listed = |(path, (kind, value)): (String, (u8, Vec<u8>))| ListedPath {
            path: RelPath::new(path).unwrap(),
            kind,
            value,
        };
        let mut entries: Vec<ListedPath> = entries.into_iter().map(listed).collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        FileList { entries }
    }

    fn told(old: &str, new: &str) -> String {
        let told: Vec<String> =
            changes(&list(old), &list(new)).iter().map(ToString::to_string).collect();
        told.join(", ")
    }

    #[test]
    fn what_is_told() {
        for (old, new, expected) in [
            ("", "", ""),
            ("a=1", "a=1", ""),
            ("a=1", "a=2", "~ a"),
            ("a=1", "a!1", "~ a"),
            ("a=1", "a>1", "~ a"),
            ("a>1", "a>2", "~ a"),
            ("a=1", "", "- a"),
            ("", "a=1", "+ a"),
            ("b=1 c=1 d=1", "a=1 b=2 d=1", "+ a, ~ b, - c"),
            // Folders follow from what is in them.
            ("x/a=1", "x/a=1 y/z/b=1", "+ y/z/b"),
            ("x/a=1 y/b=1", "x/a=1", "- y/b"),
            ("x/a=1", "x/", "- x/a"),
            ("x/", "x/a=1", "+ x/a"),
            // Where nothing is in them, they are told.
            ("a=1", "a=1 x/", "+ x/"),
            ("a=1 x/", "a=1", "- x/"),
            ("a=1", "a=2 x/y/", "~ a, + x/y/"),
            ("a=1 a-b=1", "a=1 a-b=1 a.d/", "+ a.d/"),
            // A file where a folder was, and the other way round.
            ("x/a=1", "x=1", "+ x, - x/a"),
            ("x=1", "x/a=1", "- x, + x/a"),
            ("x=1", "x/", "- x, + x/"),
            ("x/", "x=1", "- x/, + x"),
            ("x/", "x>a", "- x/, + x"),
            // The Dockerfile, whose content is told elsewhere.
            ("Dockerfile? a=1", "Dockerfile? a=2", "~ a"),
            ("Dockerfile?", "", "- Dockerfile"),
            ("", "Dockerfile?", "+ Dockerfile"),
            ("Dockerfile?", "Dockerfile>a", "~ Dockerfile"),
            // Another file became the Dockerfile: what is in either is not known of both.
            ("A? B=1", "A=1 B?", ""),
        ] {
            assert_eq!(told(old, new), expected, "{old:?} -> {new:?}");
        }
    }

    /// Only a folder's own entry differs: an ignore file that lies elsewhere can do that.
    #[test]
    fn a_folder_that_alone_differs_is_told() {
        let new = list("x/a=1");
        let mut old = new.clone();
        old.entries.retain(|entry| !entry.is_dir());
        assert_eq!(
            changes(&old, &new),
            [FileChange { path: "x/".to_owned(), change: ChangeKind::Added }]
        );
    }

    #[test]
    fn to_bytes_and_back() {
        let list = list("a=1 b!2 c/d>e c/f/ Dockerfile?");
        let bytes = list.encode().unwrap();
        let back = FileList::decode(&bytes).unwrap();
        assert_eq!((back.digest(), &back), (list.digest(), &list));
        for end in 0..bytes.len() {
            assert_ne!(FileList::decode(&bytes[..end]).as_ref(), Some(&list), "cut at {end}");
        }
        assert_eq!(FileList::decode(b"\x01\x03../f\x00"), None, "a path that leaves the context");
    }

    /// Files and empty folders, some of which lie where others have a folder.
    fn tree() -> impl Strategy<Value = BTreeMap<String, (u8, Vec<u8>)>> {
        let path = "[ab](/[ab]){0,2}";
        let kind = prop::sample::select(vec![b'f', b'x', b'l', DIR]);
        prop::collection::btree_map(path, (kind, 0u8..2), 0..8).prop_map(|chosen| {
            let mut tree = BTreeMap::new();
            for (path, (kind, value)) in chosen {
                let above: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
                let blocked = |above: &&str| tree.get(*above).is_some_and(|&(kind, _)| kind != DIR);
                if above.iter().any(blocked) || tree.contains_key(&path) {
                    continue;
                }
                for above in above {
                    tree.insert(above.to_owned(), (DIR, Vec::new()));
                }
                let value = if kind == DIR { Vec::new() } else { vec![value] };
                tree.insert(path, (kind, value));
            }
            tree
        })
    }

    fn listed(tree: &BTreeMap<String, (u8, Vec<u8>)>) -> FileList {
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

    /// The paths in which nothing lies: files, links and empty folders, which end in `/`.
    fn leaves(list: &FileList) -> BTreeMap<String, (u8, Vec<u8>)> {
        let leaf = |entry: &&ListedPath| !entry.is_dir() || list.is_empty(&entry.path);
        let told = |entry: &ListedPath| {
            let slash = if entry.is_dir() { "/" } else { "" };
            (format!("{}{slash}", entry.path), (entry.kind, entry.value.clone()))
        };
        list.entries.iter().filter(leaf).map(told).collect()
    }

    proptest! {
        /// The changes, done to the old context, make the new one; none is told twice.
        #[test]
        fn changes_lead_from_the_old_to_the_new(old in tree(), new in tree()) {
            let (old, new) = (listed(&old), listed(&new));
            let told = changes(&old, &new);
            prop_assert_eq!(told.is_empty(), old == new);
            let (mut made, wanted) = (leaves(&old), leaves(&new));
            for FileChange { path, change } in &told {
                let is = wanted.get(path).cloned();
                match change {
                    ChangeKind::Added => prop_assert!(made.insert(path.clone(), is.unwrap()).is_none()),
                    ChangeKind::Changed => prop_assert!(made.insert(path.clone(), is.unwrap()).is_some()),
                    ChangeKind::Removed => prop_assert!(made.remove(path).is_some()),
                }
            }
            // A folder that was empty follows from what lies in it now, or the other way round.
            made.retain(|path, _| !path.ends_with('/') || wanted.contains_key(path));
            for (path, leaf) in wanted.iter().filter(|(path, _)| path.ends_with('/')) {
                made.entry(path.clone()).or_insert_with(|| leaf.clone());
            }
            prop_assert_eq!(made, wanted);
            prop_assert_eq!(changes(&new, &new), []);
        }
    }
}
