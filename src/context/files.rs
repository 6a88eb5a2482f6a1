//! Finds out what the files of one folder are: from the stat cache where nothing changed, else by
//! reading them, several at a time.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use rayon::prelude::*;

use super::cache::{Row, StatCache};
use super::content;
use super::dir::{Dir, Item, ItemKind};
use super::stat::Stat;
use super::tree::EntryKind;
use crate::base::digest::Digest;

/// Files that a thread takes at least: to hand over costs as much as to read a small file.
const FEW: usize = 16;

/// A file, as far as it is known.
enum Look {
    /// As it was when its digest was found out.
    Known(Stat, Digest),
    /// What the system says of it now; it has to be read.
    Unread(Stat),
    Failed(io::Error),
}

/// What was read of a file.
struct Read {
    kind: EntryKind,
    digest: Digest,
    /// What the system said of it before and after, if that was the same.
    stat: Option<Stat>,
}

/// The wanted files among the items of a folder, in order. `items` are sorted by name.
pub(super) fn look<D: Dir>(
    dir: &D,
    at: &Path,
    items: &[Item],
    wanted: &[bool],
    cache: &StatCache<'_>,
) -> Vec<io::Result<EntryKind>> {
    let is_file = |(item, wanted): &(&Item, &bool)| **wanted && item.kind == ItemKind::File;
    let names: Vec<&OsStr> =
        items.iter().zip(wanted).filter(is_file).map(|(item, _)| item.name.as_os_str()).collect();
    let rows = cache.rows(at);
    let looks = compare(dir, &names, &rows);
    let unread: Vec<(&OsStr, &Stat)> = names
        .iter()
        .zip(&looks)
        .filter_map(|(name, look)| match look {
            Look::Unread(stat) => Some((*name, stat)),
            _ => None,
        })
        .collect();
    let read: Vec<io::Result<Read>> =
        unread.par_iter().with_min_len(FEW).map(|(name, stat)| read(dir, name, stat)).collect();
    let mut read = read.into_iter();
    let mut fresh: Vec<Row<'_>> = Vec::new();
    let mut found = Vec::with_capacity(names.len());
    let mut changed = false;
    for (name, look) in names.iter().zip(looks) {
        found.push(match look {
            Look::Failed(error) => Err(error),
            Look::Known(stat, digest) => {
                fresh.push(Row::new(name, stat, digest));
                Ok(file(&stat, stat.size, digest))
            }
            Look::Unread(_) => read.next().unwrap_or_else(|| Err(replaced())).map(|read| {
                if let Some(stat) = read.stat.filter(|stat| cache.may_keep(stat)) {
                    fresh.push(Row::new(name, stat, read.digest));
                    changed = true;
                }
                read.kind
            }),
        });
    }
    // What another context keeps of this folder stays known.
    let here = |row: &&Row<'_>| {
        let name = row.name();
        names.binary_search_by(|other| other.as_encoded_bytes().cmp(name)).is_err()
            && items.binary_search_by(|item| item.name.as_encoded_bytes().cmp(name)).is_ok()
    };
    let kept = fresh.len();
    fresh.extend(rows.iter().filter(here));
    if changed || fresh.len() != rows.len() {
        if kept < fresh.len() {
            fresh.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        }
        cache.put(at, &fresh);
    }
    found
}

/// Asks the system about each file, and compares with what it said before.
fn compare<D: Dir>(dir: &D, names: &[&OsStr], rows: &[Row<'_>]) -> Vec<Look> {
    let mut rows = rows.iter().peekable();
    let look = |name: &&OsStr| {
        let bytes = name.as_encoded_bytes();
        while rows.next_if(|row| row.name() < bytes).is_some() {}
        let row = rows.next_if(|row| row.name() == bytes);
        match (dir.stat(name), row) {
            (Err(error), _) => Look::Failed(error),
            (Ok(stat), Some(row)) if row.stat == stat => Look::Known(stat, row.digest()),
            (Ok(stat), _) => Look::Unread(stat),
        }
    };
    names.iter().map(look).collect()
}

fn read<D: Dir>(dir: &D, name: &OsStr, before: &Stat) -> io::Result<Read> {
    let mut opened = dir.open(name)?.ok_or_else(replaced)?;
    let (size, digest) = content::digest(&mut opened.file)?;
    let after = Stat::of(&opened.file.metadata()?);
    let stat = (after == *before && size == after.size).then_some(after);
    Ok(Read { kind: file(&after, size, digest), digest, stat })
}

fn file(stat: &Stat, size: u64, digest: Digest) -> EntryKind {
    EntryKind::File { size, executable: stat.executable(), digest }
}

fn replaced() -> io::Error {
    io::Error::other("it was replaced while the context was read")
}
