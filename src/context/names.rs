//! The names in a folder, sorted, and the kind of each. Pure.

use std::ffi::OsStr;

use super::path::as_os_str;

/// What a name stands for; a link is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemKind {
    File,
    Dir,
    Link,
    /// Neither: in words, with an article.
    Special(&'static str),
}

/// The names in a folder, in one run of bytes.
#[derive(Debug, Default)]
pub(super) struct FolderNames {
    bytes: Vec<u8>,
    all: Vec<NameRange>,
}

#[derive(Debug, Clone, Copy)]
struct NameRange {
    start: u32,
    end: u32,
    kind: ItemKind,
}

impl FolderNames {
    /// Adds a name. What does not fit into 4 GB is no folder that anyone sends.
    pub(super) fn push(&mut self, name: &[u8], kind: ItemKind) {
        let start = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(name);
        let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.all.push(NameRange { start, end, kind });
    }

    /// Sorts by the bytes of the names.
    pub(super) fn sort(&mut self) {
        let Self { bytes, all } = self;
        all.sort_unstable_by(|a, b| slice(bytes, *a).cmp(slice(bytes, *b)));
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn name(&self, index: usize) -> &[u8] {
        slice(&self.bytes, self.all[index])
    }

    pub(super) fn os(&self, index: usize) -> &OsStr {
        as_os_str(self.name(index))
    }

    pub(super) fn kind(&self, index: usize) -> ItemKind {
        self.all[index].kind
    }

    /// The place of a name among the sorted.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        self.all.binary_search_by(|other| slice(&self.bytes, *other).cmp(name)).ok()
    }
}

fn slice(bytes: &[u8], name: NameRange) -> &[u8] {
    &bytes[name.start as usize..name.end as usize]
}
