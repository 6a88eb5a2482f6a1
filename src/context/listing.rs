//! One folder of a context: its entries, the entries that are sent, and the digest of those. Pure.
//!
//! Usually nothing has changed in a context, and only its digest is needed. So the full paths of
//! the entries are built only on request.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::names::FolderNames;
use super::path::RelPath;
use super::permissions::Permissions;
use crate::base::digest::{Digest, FieldHasher};

/// The kind of an entry, with everything that its digest depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// The length in bytes.
        size: u64,
        /// The permissions.
        permissions: Permissions,
        /// The digest of the content.
        digest: Digest,
    },
    /// A symbolic link, which is never followed.
    Link {
        /// The target as written in the link.
        target: Vec<u8>,
    },
    /// A folder. Empty folders are entries too.
    Dir {
        /// The permissions.
        permissions: Permissions,
    },
}

impl EntryKind {
    /// Returns true for a folder.
    pub(crate) fn is_dir(&self) -> bool {
        matches!(self, Self::Dir { .. })
    }
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

/// The parts of an entry that its digest depends on: the name, a number for the kind and the
/// permissions, and the digest of the content or the target of the link.
pub(super) type EntryStamp<'e> = (&'e [u8], StampKind, &'e [u8]);

/// The kind and the permissions of an entry. The usual permissions are part of the letter, so that
/// the digests of earlier versions, which kept only the executable bit, stay valid for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StampKind(u16);

impl StampKind {
    pub(super) const FILE: Self = Self::of(b'f');
    pub(super) const EXECUTABLE: Self = Self::of(b'x');
    pub(super) const LINK: Self = Self::of(b'l');
    pub(super) const DIR: Self = Self::of(b'd');
    /// A file whose content does not count.
    pub(super) const WITHOUT_CONTENT: Self = Self::of(b'-');

    const fn of(letter: u8) -> Self {
        Self(u16::from_be_bytes([0, letter]))
    }

    /// Returns the kind with permissions that its letter does not imply: the upper four bits name
    /// the letter, and the lower twelve are the permissions. A link has none, and `EXECUTABLE` implies
    /// its own.
    pub(super) fn with(self, permissions: Permissions) -> Self {
        let letter: u16 = match self {
            Self::DIR => 1,
            Self::WITHOUT_CONTENT => 2,
            Self::FILE => 3,
            other => return other,
        };
        Self(letter << 12 | permissions.bits())
    }

    /// Returns the letter, which stands for the usual permissions.
    pub(super) fn letter(self) -> Self {
        match self.0 >> 12 {
            0 => self,
            1 => Self::DIR,
            2 => Self::WITHOUT_CONTENT,
            _ => Self::FILE,
        }
    }
}

/// Returns the stamp of an entry. With `without_content`, the content of a file does not count.
pub(super) fn stamp<'e>(
    name: &'e [u8],
    kind: &'e EntryKind,
    without_content: bool,
) -> EntryStamp<'e> {
    let (usual, letter, permissions, value) = match kind {
        EntryKind::File { permissions, .. } if without_content => {
            (Permissions::FILE, StampKind::WITHOUT_CONTENT, *permissions, &[][..])
        }
        EntryKind::File { permissions: Permissions::EXECUTABLE, digest, .. } => {
            return (name, StampKind::EXECUTABLE, digest.as_bytes());
        }
        EntryKind::File { permissions, digest, .. } => {
            (Permissions::FILE, StampKind::FILE, *permissions, &digest.as_bytes()[..])
        }
        EntryKind::Link { target } => return (name, StampKind::LINK, target),
        EntryKind::Dir { permissions } => {
            (Permissions::EXECUTABLE, StampKind::DIR, *permissions, &[][..])
        }
    };
    (name, if permissions == usual { letter } else { letter.with(permissions) }, value)
}

/// Returns the digest of a folder from the sorted stamps of its entries.
pub(super) fn digest_of_folder<'e>(stamps: impl Iterator<Item = EntryStamp<'e>>) -> Digest {
    let mut hasher = FieldHasher::new("folder");
    for (name, StampKind(kind), value) in stamps {
        let [high, low] = kind.to_be_bytes();
        let kind = if high == 0 { &[low][..] } else { &[high, low] };
        hasher.field(name).field(kind).field(value);
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
