//! One folder of a context: its entries, the entries that are sent, and the digest of those. Pure.
//!
//! Usually nothing has changed in a context, and only its digest is needed. So the full paths of
//! the entries are built only on request.

use std::sync::Arc;

use super::names::FolderNames;
use super::path::RelPath;
use crate::base::digest::{Digest, FieldHasher};

/// The kind of an entry, with everything that its digest depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// The length in bytes.
        size: u64,
        /// True if the owner may execute the file. As in git, no other mode bits are kept.
        executable: bool,
        /// The digest of the content.
        digest: Digest,
    },
    /// A symbolic link, which is never followed.
    Link {
        /// The target as written in the link.
        target: Vec<u8>,
    },
    /// A folder. Empty folders are entries too.
    Dir,
}

/// The entries of a folder on disk. Contexts that share the folder share its listing.
#[derive(Debug)]
pub(super) struct FolderListing {
    pub(super) names: FolderNames,
    /// The kind of each name; `None` if no context sends the entry.
    pub(super) kinds: Vec<Option<EntryKind>>,
}

/// The part of a folder that one context sends.
#[derive(Debug, Clone)]
pub(super) struct ContextFolder {
    /// The path in the context; `None` for the root.
    pub(super) path: Option<RelPath>,
    pub(super) listing: Arc<FolderListing>,
    /// The sorted indexes in the listing of the entries that are sent.
    pub(super) sent: Vec<u32>,
    /// The digest of the entries that are sent.
    pub(super) digest: Digest,
}

impl ContextFolder {
    pub(super) fn new(path: Option<RelPath>, listing: Arc<FolderListing>, sent: Vec<u32>) -> Self {
        let mut folder = Self { path, listing, sent, digest: Digest::from_bytes([0; 32]) };
        folder.digest = folder.digest_without(None);
        folder
    }

    /// Returns the name and the kind of each entry that is sent.
    pub(super) fn items(&self) -> impl Iterator<Item = (&[u8], &EntryKind)> {
        let FolderListing { names, kinds } = &*self.listing;
        self.sent.iter().filter_map(|&index| {
            let index = index as usize;
            Some((names.name(index), kinds[index].as_ref()?))
        })
    }

    /// Returns the kind of an entry, or `None` if there is no such entry or it is not sent.
    pub(super) fn get(&self, name: &[u8]) -> Option<&EntryKind> {
        let index = self.listing.names.find(name)?;
        let is_sent = self.sent.binary_search_by(|&sent| (sent as usize).cmp(&index)).is_ok();
        self.listing.kinds[index].as_ref().filter(|_| is_sent)
    }

    /// Adds an entry to those that are sent.
    pub(super) fn send(&mut self, name: &[u8]) {
        let Some(index) = self.listing.names.find(name) else { return };
        let position = self.sent.partition_point(|&sent| (sent as usize) < index);
        let is_sent = self.sent.get(position).is_some_and(|&sent| sent as usize == index);
        if let (false, Ok(index)) = (is_sent, u32::try_from(index)) {
            self.sent.insert(position, index);
            self.digest = self.digest_without(None);
        }
    }

    /// Returns the digest of the entries that are sent. It does not depend on the content of the
    /// file `without`.
    pub(super) fn digest_without(&self, without: Option<&[u8]>) -> Digest {
        digest_of_folder(self.items().map(|(name, kind)| stamp(name, kind, Some(name) == without)))
    }
}

/// The parts of an entry that its digest depends on: the name, a byte for the kind, and the digest
/// of the content or the target of the link.
pub(super) type EntryStamp<'e> = (&'e [u8], u8, &'e [u8]);

/// The kind of a folder in an [`EntryStamp`].
pub(super) const DIR_KIND: u8 = b'd';

/// The kind of a file whose content does not count.
pub(super) const FILE_WITHOUT_CONTENT_KIND: u8 = b'-';

/// The kinds of a file that is not executable, and of one that is.
pub(super) const FILE_KINDS: [u8; 2] = [b'f', b'x'];

/// Returns the stamp of an entry. With `without_content`, the content of a file does not count.
pub(super) fn stamp<'e>(
    name: &'e [u8],
    kind: &'e EntryKind,
    without_content: bool,
) -> EntryStamp<'e> {
    match kind {
        EntryKind::File { .. } if without_content => (name, FILE_WITHOUT_CONTENT_KIND, b""),
        EntryKind::File { executable, digest, .. } => {
            (name, FILE_KINDS[usize::from(*executable)], digest.as_bytes())
        }
        EntryKind::Link { target } => (name, b'l', target),
        EntryKind::Dir => (name, DIR_KIND, b""),
    }
}

/// Returns the digest of a folder from the sorted stamps of its entries.
pub(super) fn digest_of_folder<'e>(stamps: impl Iterator<Item = EntryStamp<'e>>) -> Digest {
    let mut hasher = FieldHasher::new("folder");
    for (name, kind, value) in stamps {
        hasher.field(name).field(&[kind]).field(value);
    }
    hasher.finish()
}

/// Returns the digest of a tree from the digests of its folders, sorted by path. Empty folders are
/// left out.
pub(super) fn digest_of_tree<'e>(folders: impl Iterator<Item = (&'e [u8], Digest)>) -> Digest {
    let mut hasher = FieldHasher::new("tree");
    for (path, digest) in folders {
        hasher.field(path).field(digest.as_bytes());
    }
    hasher.finish()
}
