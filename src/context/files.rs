//! Finds the digests of the files in one folder: in the stat cache if a file is unchanged, else by
//! reading it, several files at a time.

use std::ffi::OsStr;
use std::io;

use rayon::prelude::*;

use super::cache::{CacheRow, CachedFolder, RowValue, ScanCache, row_value};
use super::content;
use super::dir::Dir;
use super::lazy_dir::LazyDir;
use super::listing::EntryKind;
use super::names::{FolderNames, ItemKind};
use super::shared_listings::FolderContent;
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

/// Returns the kinds of the requested files of a folder, in order.
pub(super) fn hash<D: Dir>(
    dir: &LazyDir<D>,
    listed: &FolderContent<'_>,
    requested: &[bool],
    cache: &ScanCache<'_>,
) -> Vec<io::Result<EntryKind>> {
    let names = &listed.names;
    let is_file = |&index: &usize| requested[index] && names.kind(index) == ItemKind::File;
    let files: Vec<usize> = (0..names.len()).filter(is_file).collect();
    let states = compare(dir, names, &files, &listed.cached.rows);
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
    if !(listed.is_cached && hashed.is_empty()) {
        update_cache(dir, listed, (&files, &states, &hashed), cache);
    }
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

/// Updates the content of the cache for a folder if it has changed.
fn update_cache<D: Dir>(
    dir: &LazyDir<D>,
    listed: &FolderContent<'_>,
    (files, states, hashed): (&[usize], &[FileState], &[io::Result<HashedFile>]),
    cache: &ScanCache<'_>,
) {
    let FolderContent { names, cacheable_stat, cached, .. } = listed;
    let mut hashed = hashed.iter();
    let mut values: Vec<(usize, Option<RowValue>)> = Vec::with_capacity(files.len());
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
        values.push((index, value));
    }
    let (mut values, mut rows) = (values.iter().peekable(), cached.rows.iter().peekable());
    let row = |index: usize| {
        let (name, kind) = (names.name(index), names.kind(index));
        while rows.next_if(|row| row.name() < name).is_some() {}
        let row = rows.next_if(|row| row.name() == name);
        match values.next_if(|(requested, _)| *requested == index) {
            Some((_, value)) => CacheRow::new(name, kind, value.as_ref()),
            // Another context may send the file.
            None => row.map_or(CacheRow::new(name, kind, None), |row| row.of_kind(kind)),
        }
    };
    let all = (0..names.len()).map(row);
    let rows = all.filter(|row| cacheable_stat.is_some() || row.has_digest()).collect();
    let stat = cacheable_stat.map(Stat::to_bytes);
    let folder = CachedFolder::new(stat.as_ref(), rows);
    if folder != *cached {
        cache.put(dir.path(), &folder);
    }
}

/// Compares the metadata of each file with its row in the cache. Both are sorted by name.
fn compare<D: Dir>(
    dir: &LazyDir<D>,
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

fn hash_file<D: Dir>(dir: &LazyDir<D>, name: &OsStr, before: &Stat) -> io::Result<HashedFile> {
    let mut opened = dir.get()?.open(name)?.ok_or_else(replaced)?;
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
