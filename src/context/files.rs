//! Finds the digests of the files in one folder: in the stat cache if a file is unchanged, else by
//! reading it, several files at a time.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use rayon::prelude::*;

use super::cache::{CacheRow, RowValue, ScanCache, row_value};
use super::content;
use super::dir::Dir;
use super::listing::EntryKind;
use super::names::{FolderNames, ItemKind};
use super::stat::Stat;
use crate::base::digest::Digest;

/// Minimum number of files per thread: starting a thread's work takes as long as reading a small
/// file.
const MIN_FILES_PER_THREAD: usize = 16;

/// The state of a file before it is read.
enum FileState {
    /// The file is unchanged, and the cache has its digest.
    Cached(Stat, Digest),
    /// The file must be read.
    Unread(Stat),
    Failed(io::Error),
}

/// A file that was read.
struct HashedFile {
    kind: EntryKind,
    digest: Digest,
    /// The metadata, if it was the same before and after reading.
    stat: Option<Stat>,
}

/// Returns the kinds of the requested files of a folder, in order. `at` is the path of the folder.
pub(super) fn hash<D: Dir>(
    dir: &D,
    at: &Path,
    names: &FolderNames,
    requested: &[bool],
    cache: &ScanCache<'_>,
) -> Vec<io::Result<EntryKind>> {
    let is_file = |&index: &usize| requested[index] && names.kind(index) == ItemKind::File;
    let files: Vec<usize> = (0..names.len()).filter(is_file).collect();
    let rows = cache.rows(at);
    let states = compare(dir, names, &files, &rows);
    if cache.names_only {
        return states.into_iter().map(unread_kind).collect();
    }
    let unread: Vec<(usize, Stat)> = files
        .iter()
        .zip(&states)
        .filter_map(|(&index, state)| match state {
            FileState::Unread(stat) => Some((index, *stat)),
            FileState::Cached(..) | FileState::Failed(_) => None,
        })
        .collect();
    let hashed: Vec<io::Result<HashedFile>> = unread
        .par_iter()
        .with_min_len(MIN_FILES_PER_THREAD)
        .map(|(index, stat)| hash_file(dir, names.os(*index), stat))
        .collect();
    update_cache(at, names, (&files, &states, &hashed), &rows, cache);
    let mut hashed = hashed.into_iter();
    let kinds = states.into_iter().map(|state| match state {
        FileState::Failed(error) => Err(error),
        FileState::Cached(stat, digest) => Ok(file_kind(&stat, stat.size, digest)),
        FileState::Unread(_) => {
            hashed.next().unwrap_or_else(|| Err(replaced())).map(|file| file.kind)
        }
    });
    kinds.collect()
}

/// Returns the kind of a file without its content.
fn unread_kind(state: FileState) -> io::Result<EntryKind> {
    match state {
        FileState::Failed(error) => Err(error),
        FileState::Cached(stat, digest) => Ok(file_kind(&stat, stat.size, digest)),
        FileState::Unread(stat) => Ok(file_kind(&stat, stat.size, Digest::from_bytes([0; 32]))),
    }
}

/// Updates the rows of a folder in the cache if they have changed.
fn update_cache(
    at: &Path,
    names: &FolderNames,
    (files, states, hashed): (&[usize], &[FileState], &[io::Result<HashedFile>]),
    rows: &[CacheRow<'_>],
    cache: &ScanCache<'_>,
) {
    // Rows of files that only another context sends are kept.
    let exists = |row: &CacheRow<'_>| names.find(row.name()).is_some();
    let cached = states.iter().filter(|state| matches!(state, FileState::Cached(..))).count();
    if hashed.is_empty() && (cached == rows.len() || rows.iter().all(exists)) {
        return;
    }
    let mut hashed = hashed.iter();
    let mut values: Vec<(usize, RowValue)> = Vec::with_capacity(files.len());
    for (&index, state) in files.iter().zip(states) {
        let value = match state {
            FileState::Failed(_) => None,
            FileState::Cached(stat, digest) => Some(row_value(stat, digest)),
            FileState::Unread(_) => hashed.next().and_then(|file| {
                let file = file.as_ref().ok()?;
                let stat = file.stat.filter(|stat| cache.may_cache(stat))?;
                Some(row_value(&stat, &file.digest))
            }),
        };
        values.extend(value.map(|value| (index, value)));
    }
    let mut new_rows: Vec<CacheRow<'_>> =
        values.iter().map(|(index, value)| CacheRow::new(names.name(*index), value)).collect();
    let requested = |row: &CacheRow<'_>| {
        names.find(row.name()).is_some_and(|index| files.binary_search(&index).is_ok())
    };
    new_rows.extend(rows.iter().filter(|row| exists(row) && !requested(row)));
    new_rows.sort_by(|a, b| a.name().cmp(b.name()));
    if new_rows != rows {
        cache.put(at, &new_rows);
    }
}

/// Compares the metadata of each file with its row in the cache. Both are sorted by name.
fn compare<D: Dir>(
    dir: &D,
    names: &FolderNames,
    files: &[usize],
    rows: &[CacheRow<'_>],
) -> Vec<FileState> {
    let mut rows = rows.iter().peekable();
    let state = |&index: &usize| {
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
    files.iter().map(state).collect()
}

fn hash_file<D: Dir>(dir: &D, name: &OsStr, before: &Stat) -> io::Result<HashedFile> {
    let mut opened = dir.open(name)?.ok_or_else(replaced)?;
    let (size, digest) = content::digest(&mut opened.file)?;
    let after = Stat::of(&opened.file.metadata()?);
    let stat = (after == *before && size == after.size).then_some(after);
    Ok(HashedFile { kind: file_kind(&after, size, digest), digest, stat })
}

fn file_kind(stat: &Stat, size: u64, digest: Digest) -> EntryKind {
    EntryKind::File { size, permissions: stat.permissions(), digest }
}

fn replaced() -> io::Error {
    io::Error::other("it was replaced while the context was read")
}
