//! The sorted names in a folder, and the kind of each. Pure.

use std::ffi::OsStr;

use serde::{Deserialize, Serialize};

use super::path::as_os_str;

/// The kind of file that a name stands for. Links are not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ItemKind {
    File,
    Dir,
    Link,
    Special(SpecialKind),
}

/// A kind of file that an archive cannot carry to a build, or that has no meaning there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum SpecialKind {
    /// A Unix domain socket.
    Socket,
    /// A named pipe.
    Fifo,
    /// A device, or a kind that only this system knows.
    Device,
}

/// The names in a folder, stored in one buffer.
#[derive(Debug, Clone, Default)]
pub(super) struct FolderNames {
    bytes: Vec<u8>,
    ranges: Vec<NameRange>,
}

/// The range of one name in the buffer, and its kind.
#[derive(Debug, Clone, Copy)]
struct NameRange {
    start: u32,
    end: u32,
    kind: ItemKind,
}

impl FolderNames {
    /// Creates an empty list with room for a number of names.
    pub(super) fn with_capacity(names: usize) -> Self {
        Self { bytes: Vec::with_capacity(names * 12), ranges: Vec::with_capacity(names) }
    }

    /// Adds a name. The names of one folder may have 4 GB together; no real folder has more.
    pub(super) fn push(&mut self, name: &[u8], kind: ItemKind) {
        let start = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(name);
        let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.ranges.push(NameRange { start, end, kind });
    }

    /// Sorts the names by their bytes.
    pub(super) fn sort(&mut self) {
        let Self { bytes, ranges } = self;
        ranges.sort_unstable_by(|a, b| slice(bytes, *a).cmp(slice(bytes, *b)));
    }

    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(super) fn name(&self, index: usize) -> &[u8] {
        slice(&self.bytes, self.ranges[index])
    }

    pub(super) fn os(&self, index: usize) -> &OsStr {
        as_os_str(self.name(index))
    }

    pub(super) fn kind(&self, index: usize) -> ItemKind {
        self.ranges[index].kind
    }

    /// Returns the index of a name. The names must be sorted.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        self.ranges.binary_search_by(|other| slice(&self.bytes, *other).cmp(name)).ok()
    }
}

fn slice(bytes: &[u8], range: NameRange) -> &[u8] {
    &bytes[range.start as usize..range.end as usize]
}
