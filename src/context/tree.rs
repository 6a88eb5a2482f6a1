//! The tree of a context: everything that is sent to the build.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::listing::{ContextFolder, EntryKind, digest_of_tree};
use super::names::SpecialKind;
use super::path::RelPath;
use super::selection::ReadSelection;
use crate::base::digest::Digest;
use crate::base::links::{self, LinkEntry};

/// One entry of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// The path in the context.
    pub path: RelPath,
    /// The kind, with everything that the digest depends on.
    pub kind: EntryKind,
}

/// Everything that a context sends, as of the time of the scan.
#[derive(Debug, Clone)]
pub struct Tree {
    pub(super) root: Arc<Path>,
    /// The path of the root without links. Every file that is opened must be below it.
    pub(super) real_root: PathBuf,
    /// Sorted by path, without the folders from which nothing is sent.
    folders: Vec<ContextFolder>,
    pub(super) ignore_file: Option<PathBuf>,
    /// Sockets, FIFOs and devices, which are not sent, sorted by path.
    pub(super) left_out: Vec<(RelPath, SpecialKind)>,
    /// The entries that the build reads; `None` for everything.
    pub(super) selection: Option<Arc<ReadSelection>>,
    entries: OnceLock<Vec<TreeEntry>>,
}

impl Tree {
    pub(super) fn new(
        root: Arc<Path>,
        real_root: PathBuf,
        mut folders: Vec<ContextFolder>,
        ignore_file: Option<PathBuf>,
    ) -> Self {
        folders.retain(|folder| !folder.sent.is_empty());
        folders.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let (left_out, selection, entries) = (Vec::new(), None, OnceLock::new());
        Self { root, real_root, folders, ignore_file, left_out, selection, entries }
    }

    /// Returns the root folder as requested.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the entries, sorted by the bytes of their paths: a folder comes before its entries.
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

    /// Returns every entry, folder by folder: the folder's path (`None` for the root), the name and
    /// the kind.
    pub(super) fn items(&self) -> impl Iterator<Item = (Option<&RelPath>, &[u8], &EntryKind)> {
        self.folders.iter().flat_map(|folder| {
            folder.items().map(|(name, kind)| (folder.path.as_ref(), name, kind))
        })
    }

    /// Returns true if the build reads the file at a path, if there is one that is not ignored.
    pub(super) fn selects_file(&self, path: &RelPath) -> bool {
        self.selection.as_ref().is_none_or(|selection| selection.selects(path, false))
    }

    /// Returns the kind of the entry at a path.
    pub fn get(&self, path: &[u8]) -> Option<&EntryKind> {
        let (index, name) = self.locate(path)?;
        self.folders[index].get(name)
    }

    /// Returns true if a `COPY` of `path` succeeds. The file `dockerfile` may be a link on disk, but
    /// is sent as a file.
    pub fn can_copy(&self, path: &str, dockerfile: Option<&str>) -> bool {
        links::can_copy(path, |path| match self.get(path.as_bytes())? {
            EntryKind::Link { target } if dockerfile != Some(path) => {
                Some(LinkEntry::Link(String::from_utf8_lossy(target).into_owned()))
            }
            _ => Some(LinkEntry::Other),
        })
    }

    /// Returns the digest of all entries: their paths, kinds, permissions, contents and link
    /// targets. It does not depend on times and owners, nor on the content of the file at `path`:
    /// this is for the Dockerfile, whose content is an input of its own.
    pub fn digest_without(&self, path: &[u8]) -> Digest {
        let without = self.locate(path);
        digest_of_tree(self.folders.iter().enumerate().map(|(index, folder)| {
            let digest = match without {
                Some((at, name)) if at == index => folder.digest_without(Some(name)),
                _ => folder.digest,
            };
            (bytes(folder), digest)
        }))
    }

    /// Returns the index of the folder that contains a path, and the last part of the path.
    fn locate<'p>(&self, path: &'p [u8]) -> Option<(usize, &'p [u8])> {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (folder, name) = slash.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
        let index = self.folders.binary_search_by(|other| bytes(other).cmp(folder));
        Some((index.ok()?, name))
    }

    /// Returns the total size of all files, in bytes.
    pub fn size(&self) -> u64 {
        self.items().fold(0, |sum: u64, (_, _, kind)| match kind {
            EntryKind::File { size, .. } => sum.saturating_add(*size),
            _ => sum,
        })
    }

    /// Returns the number of files.
    pub fn files(&self) -> usize {
        self.items().filter(|(_, _, kind)| matches!(kind, EntryKind::File { .. })).count()
    }

    /// Returns the `.dockerignore` that was applied.
    pub fn ignore_file(&self) -> Option<&Path> {
        self.ignore_file.as_deref()
    }
}

fn bytes(folder: &ContextFolder) -> &[u8] {
    folder.path.as_ref().map_or(b"", |path| path.as_bytes())
}

#[cfg(test)]
impl Tree {
    /// Returns the tree of an empty context.
    pub(crate) fn empty() -> Self {
        Self::new(PathBuf::new().into(), PathBuf::new(), Vec::new(), None)
    }

    /// Returns a tree of these entries, without files on disk.
    pub(super) fn from_entries(
        root: PathBuf,
        mut entries: Vec<TreeEntry>,
        ignore_file: Option<PathBuf>,
    ) -> Self {
        use std::collections::BTreeMap;

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
            let sent = (0..).take(listing.kinds.len()).collect();
            ContextFolder::new(path, Arc::new(listing), sent)
        };
        let folders = listings.into_iter().map(folder).collect();
        Self::new(root.clone().into(), root, folders, ignore_file)
    }
}
