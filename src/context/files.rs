//! Finds out what the files of one folder are: from the stat cache where nothing changed, else by
//! reading them, several at a time.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use rayon::prelude::*;

use super::cache::{CacheRow, CachedValue, ScanCache, known};
use super::content;
use super::dir::Dir;
use super::listing::EntryKind;
use super::names::{FolderNames, ItemKind};
use super::stat::Stat;
use crate::base::digest::Digest;

/// Files that a thread takes at least: to hand over costs as much as to read a small file.
const FEW: usize = 16;

/// A file, as far as it is known.
enum FileState {
    /// As it was when its digest was found out.
    Cached(Stat, Digest),
    /// What the system says of it now; it has to be read.
    Unread(Stat),
    Failed(io::Error),
}

/// What was read of a file.
struct HashedFile {
    kind: EntryKind,
    digest: Digest,
    /// What the system said of it before and after, if that was the same.
    stat: Option<Stat>,
}

/// The wanted files of a folder, in order.
pub(super) fn look<D: Dir>(
    dir: &D,
    at: &Path,
    names: &FolderNames,
    wanted: &[bool],
    cache: &ScanCache<'_>,
) -> Vec<io::Result<EntryKind>> {
    let is_file = |&index: &usize| wanted[index] && names.kind(index) == ItemKind::File;
    let files: Vec<usize> = (0..names.len()).filter(is_file).collect();
    let rows = cache.rows(at);
    let looks = compare(dir, names, &files, &rows);
    let unread: Vec<(usize, Stat)> = files
        .iter()
        .zip(&looks)
        .filter_map(|(&index, look)| match look {
            FileState::Unread(stat) => Some((index, *stat)),
            FileState::Cached(..) | FileState::Failed(_) => None,
        })
        .collect();
    let read: Vec<io::Result<HashedFile>> = unread
        .par_iter()
        .with_min_len(FEW)
        .map(|(index, stat)| read(dir, names.os(*index), stat))
        .collect();
    remember(at, names, (&files, &looks, &read), &rows, cache);
    let mut read = read.into_iter();
    let found = looks.into_iter().map(|look| match look {
        FileState::Failed(error) => Err(error),
        FileState::Cached(stat, digest) => Ok(file(&stat, stat.size, digest)),
        FileState::Unread(_) => {
            read.next().unwrap_or_else(|| Err(replaced())).map(|read| read.kind)
        }
    });
    found.collect()
}

/// Puts the rows of a folder into the cache, where they are not what they were.
fn remember(
    at: &Path,
    names: &FolderNames,
    (files, looks, read): (&[usize], &[FileState], &[io::Result<HashedFile>]),
    rows: &[CacheRow<'_>],
    cache: &ScanCache<'_>,
) {
    // What another context keeps of this folder stays known.
    let is_here = |row: &CacheRow<'_>| names.find(row.name()).is_some();
    let as_it_was = looks.iter().filter(|look| matches!(look, FileState::Cached(..))).count();
    if read.is_empty() && (as_it_was == rows.len() || rows.iter().all(is_here)) {
        return;
    }
    let mut read = read.iter();
    let mut all: Vec<(usize, CachedValue)> = Vec::with_capacity(files.len());
    for (&index, look) in files.iter().zip(looks) {
        let found = match look {
            FileState::Failed(_) => None,
            FileState::Cached(stat, digest) => Some(known(stat, digest)),
            FileState::Unread(_) => read.next().and_then(|read| {
                let read = read.as_ref().ok()?;
                let stat = read.stat.filter(|stat| cache.may_keep(stat))?;
                Some(known(&stat, &read.digest))
            }),
        };
        all.extend(found.map(|known| (index, known)));
    }
    let mut fresh: Vec<CacheRow<'_>> =
        all.iter().map(|(index, known)| CacheRow::new(names.name(*index), known)).collect();
    let asked = |row: &CacheRow<'_>| {
        names.find(row.name()).is_some_and(|index| files.binary_search(&index).is_ok())
    };
    fresh.extend(rows.iter().filter(|row| is_here(row) && !asked(row)));
    fresh.sort_by(|a, b| a.name().cmp(b.name()));
    if fresh != rows {
        cache.put(at, &fresh);
    }
}

/// Asks the system about each file, and compares with what it said before.
fn compare<D: Dir>(
    dir: &D,
    names: &FolderNames,
    files: &[usize],
    rows: &[CacheRow<'_>],
) -> Vec<FileState> {
    let mut rows = rows.iter().peekable();
    let look = |&index: &usize| {
        let name = names.name(index);
        while rows.next_if(|row| row.name() < name).is_some() {}
        let row = rows.next_if(|row| row.name() == name);
        let stat = match dir.stat(names.os(index)) {
            Ok(stat) => stat,
            Err(error) => return FileState::Failed(error),
        };
        let digest = row.and_then(|row| row.digest(&stat));
        digest.map_or(FileState::Unread(stat), |digest| FileState::Cached(stat, digest))
    };
    files.iter().map(look).collect()
}

fn read<D: Dir>(dir: &D, name: &OsStr, before: &Stat) -> io::Result<HashedFile> {
    let mut opened = dir.open(name)?.ok_or_else(replaced)?;
    let (size, digest) = content::digest(&mut opened.file)?;
    let after = Stat::of(&opened.file.metadata()?);
    let stat = (after == *before && size == after.size).then_some(after);
    Ok(HashedFile { kind: file(&after, size, digest), digest, stat })
}

fn file(stat: &Stat, size: u64, digest: Digest) -> EntryKind {
    EntryKind::File { size, executable: stat.executable(), digest }
}

fn replaced() -> io::Error {
    io::Error::other("it was replaced while the context was read")
}
