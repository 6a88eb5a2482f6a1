//! One folder of a context: what lies in it, what of that is sent, and the digest of it. Pure.
//!
//! Most contexts are as they were, and of those nobody wants more than the digest. So paths are only
//! made where somebody asks for them.

use std::sync::Arc;

use super::names::FolderNames;
use super::path::RelPath;
use crate::base::digest::{Digest, FieldHasher};

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Whether its owner may execute it; all of the mode that is kept, as git has it.
        executable: bool,
        /// The digest of its content.
        digest: Digest,
    },
    /// A symbolic link, never followed.
    Link {
        /// What it points to, as it was written.
        target: Vec<u8>,
    },
    /// A folder, listed even if it is empty.
    Dir,
}

/// What lies in a folder: the names, sorted, and what is known of each. Contexts that share the
/// folder share it.
#[derive(Debug)]
pub(super) struct FolderListing {
    pub(super) names: FolderNames,
    /// What each name is; `None` where nobody wanted to know.
    pub(super) kinds: Vec<Option<EntryKind>>,
}

/// A folder as one context sends it.
#[derive(Debug, Clone)]
pub(super) struct ContextFolder {
    /// Where it is; `None` for the root.
    pub(super) path: Option<RelPath>,
    pub(super) listing: Arc<FolderListing>,
    /// The names that are sent, by their places in the listing, in order.
    pub(super) kept: Vec<u32>,
    /// The digest of what is sent of it.
    pub(super) digest: Digest,
}

impl ContextFolder {
    pub(super) fn new(path: Option<RelPath>, listing: Arc<FolderListing>, kept: Vec<u32>) -> Self {
        let mut folder = Self { path, listing, kept, digest: Digest::from_bytes([0; 32]) };
        folder.digest = folder.digest_without(None);
        folder
    }

    /// What is sent of it: each name, and what it is.
    pub(super) fn items(&self) -> impl Iterator<Item = (&[u8], &EntryKind)> {
        let FolderListing { names, kinds } = &*self.listing;
        self.kept.iter().filter_map(|&index| {
            let index = index as usize;
            Some((names.name(index), kinds[index].as_ref()?))
        })
    }

    /// What a name is that is sent.
    pub(super) fn get(&self, name: &[u8]) -> Option<&EntryKind> {
        let index = self.listing.names.find(name)?;
        let sent = self.kept.binary_search_by(|&kept| (kept as usize).cmp(&index)).is_ok();
        self.listing.kinds[index].as_ref().filter(|_| sent)
    }

    /// Has a name sent that was not.
    pub(super) fn keep(&mut self, name: &[u8]) {
        let Some(index) = self.listing.names.find(name) else { return };
        let place = self.kept.partition_point(|&kept| (kept as usize) < index);
        let known = self.kept.get(place).is_some_and(|&kept| kept as usize == index);
        if let (false, Ok(index)) = (known, u32::try_from(index)) {
            self.kept.insert(place, index);
            self.digest = self.digest_without(None);
        }
    }

    /// The digest of what is sent of it; of a file called `without`, only that it is there.
    pub(super) fn digest_without(&self, without: Option<&[u8]>) -> Digest {
        digest_of_folder(self.items().map(|(name, kind)| stamp(name, kind, Some(name) == without)))
    }
}

/// What of a path counts: its name, a letter for its kind, and its content's digest or its target.
pub(super) type EntryStamp<'e> = (&'e [u8], u8, &'e [u8]);

/// The letter of a folder in a [`EntryStamp`].
pub(super) const DIR: u8 = b'd';

/// The letter of a file whose content does not count.
pub(super) const PRESENT: u8 = b'-';

/// The letters of a file, and of one that may be executed.
pub(super) const FILES: [u8; 2] = [b'f', b'x'];

/// What of an entry counts; where `present`, of a file only that it is there.
pub(super) fn stamp<'e>(name: &'e [u8], kind: &'e EntryKind, present: bool) -> EntryStamp<'e> {
    match kind {
        EntryKind::File { .. } if present => (name, PRESENT, b""),
        EntryKind::File { executable, digest, .. } => {
            (name, FILES[usize::from(*executable)], digest.as_bytes())
        }
        EntryKind::Link { target } => (name, b'l', target),
        EntryKind::Dir => (name, DIR, b""),
    }
}

/// The digest of a folder, from what counts of each name in it, sorted.
pub(super) fn digest_of_folder<'e>(stamps: impl Iterator<Item = EntryStamp<'e>>) -> Digest {
    let mut hasher = FieldHasher::new("folder");
    for (name, kind, value) in stamps {
        hasher.field(name).field(&[kind]).field(value);
    }
    hasher.finish()
}

/// The digest of a tree, from those of its folders that hold something, sorted by path.
pub(super) fn digest_of_tree<'e>(folders: impl Iterator<Item = (&'e [u8], Digest)>) -> Digest {
    let mut hasher = FieldHasher::new("tree");
    for (path, digest) in folders {
        hasher.field(path).field(digest.as_bytes());
    }
    hasher.finish()
}
