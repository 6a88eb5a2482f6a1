//! The tree of a context: everything that it sends.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use super::listing::EntryKind;
use super::listing::{ContextFolder, digest_of_tree};
pub use super::path::RelPath;
use crate::base::digest::Digest;

/// One path of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Where.
    pub path: RelPath,
    /// What.
    pub kind: EntryKind,
}

/// Everything that a context sends, as it was when it was scanned.
#[derive(Debug, Clone)]
pub struct Tree {
    pub(super) root: PathBuf,
    /// The root without links, which every file that is opened must lie under.
    pub(super) real_root: PathBuf,
    /// Sorted by path; those that hold nothing are left out.
    folders: Vec<ContextFolder>,
    pub(super) ignored_by: Option<PathBuf>,
    entries: OnceLock<Vec<TreeEntry>>,
}

impl Tree {
    pub(super) fn new(
        root: PathBuf,
        real_root: PathBuf,
        mut folders: Vec<ContextFolder>,
        ignored_by: Option<PathBuf>,
    ) -> Self {
        folders.retain(|folder| !folder.kept.is_empty());
        folders.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Self { root, real_root, folders, ignored_by, entries: OnceLock::new() }
    }

    /// The folder that was scanned, as it was given.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The entries, sorted by the bytes of their paths: a folder comes before what it holds.
    pub fn entries(&self) -> &[TreeEntry] {
        self.entries.get_or_init(|| {
            let entries = self.items().map(|(folder, name, kind)| TreeEntry {
                path: RelPath::child(folder, name),
                kind: kind.clone(),
            });
            let mut entries: Vec<TreeEntry> = entries.collect();
            entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
            entries
        })
    }

    /// Everything that is sent, folder by folder: the folder's path, `None` for the root; a name in
    /// it; and what that is.
    pub(super) fn items(&self) -> impl Iterator<Item = (Option<&RelPath>, &[u8], &EntryKind)> {
        self.folders.iter().flat_map(|folder| {
            folder.items().map(|(name, kind)| (folder.path.as_ref(), name, kind))
        })
    }

    /// What lies at a path.
    pub fn get(&self, path: &[u8]) -> Option<&EntryKind> {
        let (index, name) = self.place(path)?;
        self.folders[index].get(name)
    }

    /// The digest of every path, its kind, its executable bit and its content or target. Neither
    /// times nor owners nor other bits of the mode are a part of it.
    pub fn digest(&self) -> Digest {
        digest_of_tree(self.folders.iter().map(|folder| (bytes(folder), folder.digest)))
    }

    /// The same without the content of one file, if the tree has it: for a file that is an input
    /// of its own. That it is there still counts.
    pub fn digest_without(&self, path: &[u8]) -> Digest {
        let without = self.place(path);
        digest_of_tree(self.folders.iter().enumerate().map(|(index, folder)| {
            let digest = match without {
                Some((at, name)) if at == index => folder.digest_without(Some(name)),
                _ => folder.digest,
            };
            (bytes(folder), digest)
        }))
    }

    /// The place of the folder that holds a path, and the path's last part.
    fn place<'p>(&self, path: &'p [u8]) -> Option<(usize, &'p [u8])> {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (folder, name) = slash.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
        let found = self.folders.binary_search_by(|other| bytes(other).cmp(folder));
        found.ok().map(|index| (index, name))
    }

    /// The bytes of all files.
    pub fn size(&self) -> u64 {
        self.items().fold(0, |sum: u64, (_, _, kind)| match kind {
            EntryKind::File { size, .. } => sum.saturating_add(*size),
            _ => sum,
        })
    }

    /// The number of files.
    pub fn files(&self) -> usize {
        self.items().filter(|(_, _, kind)| matches!(kind, EntryKind::File { .. })).count()
    }

    /// The `.dockerignore` that was followed.
    pub fn ignored_by(&self) -> Option<&Path> {
        self.ignored_by.as_deref()
    }
}

fn bytes(folder: &ContextFolder) -> &[u8] {
    folder.path.as_ref().map_or(b"", |path| path.as_bytes())
}

#[cfg(test)]
impl Tree {
    /// A tree of these entries, which lie nowhere.
    pub(super) fn of_entries(
        root: PathBuf,
        mut entries: Vec<TreeEntry>,
        ignored_by: Option<PathBuf>,
    ) -> Self {
        use std::collections::BTreeMap;
        use std::sync::Arc;

        use super::listing::FolderListing;
        use super::names::{FolderNames, ItemKind};

        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let mut listings: BTreeMap<Option<RelPath>, FolderListing> = BTreeMap::new();
        for TreeEntry { path, kind } in entries {
            let listing = listings.entry(path.parent()).or_insert_with(|| FolderListing {
                names: FolderNames::default(),
                kinds: Vec::new(),
            });
            listing.names.push(path.name().as_encoded_bytes(), ItemKind::File);
            listing.kinds.push(Some(kind));
        }
        let folder = |(path, listing): (Option<RelPath>, FolderListing)| {
            let kept = (0..).take(listing.kinds.len()).collect();
            ContextFolder::new(path, Arc::new(listing), kept)
        };
        let folders = listings.into_iter().map(folder).collect();
        Self::new(root.clone(), root, folders, ignored_by)
    }
}
