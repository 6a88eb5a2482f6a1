//! Packs a tree into an archive: a GNU tar in one gzip member. Its bytes depend only on the tree
//! and the Dockerfile. Only a few blocks are in memory at a time, whatever the size of the archive.

mod gzip;
mod spool;
mod tar;

use std::io::Write;

use self::gzip::Gzip;
pub(crate) use self::spool::Spool;
use self::spool::SpoolWriter;
use self::tar::{TarMember, TarWriter};
use super::dir::{Dir, NativeDir};
use super::error::PackError;
use super::listing::EntryKind;
use super::placement::{PlacedFile, Placement};
use super::tree::{Tree, TreeEntry};
use super::tree_reader::TreeReader;

/// Size of the buffer for reading files.
const READ_BUFFER_BYTES: usize = 128 * 1024;

/// Packs a context into a temporary file without a name. Fails as [`pack()`] does.
pub fn spool(tree: &Tree, placement: &Placement) -> Result<Spool, PackError> {
    let spooler = pack(tree, placement, SpoolWriter::new()?)?;
    Ok(spooler.finish())
}

/// Packs a tree and its Dockerfile as a `tar.gz`, writes it to `out`, and returns `out`. Every file
/// is read again.
///
/// Must not be called from a thread of rayon's pool: it waits for work in that pool.
///
/// # Errors
///
/// Fails if a file cannot be read, if anything has changed since the scan, or if `out` fails. The
/// bytes that were written must not be used then.
pub fn pack<W: Write>(tree: &Tree, placement: &Placement, out: W) -> Result<W, PackError> {
    pack_with::<NativeDir, W>(tree, placement, out)
}

/// Does the same as [`pack()`] with a given way to read folders.
pub(super) fn pack_with<D: Dir, W: Write>(
    tree: &Tree,
    placement: &Placement,
    out: W,
) -> Result<W, PackError> {
    let mut packer = Packer {
        source: TreeReader::<D>::new(tree)?,
        tar: TarWriter::new(Gzip::new(out)?),
        buffer: vec![0; READ_BUFFER_BYTES],
    };
    let mut placed = placement.files.iter().peekable();
    for entry in tree.entries() {
        while let Some(file) = placed.next_if(|file| file.path < entry.path) {
            packer.placed(file)?;
        }
        // A placed file replaces the entry at its path.
        match placed.next_if(|file| file.path == entry.path) {
            Some(file) => packer.placed(file)?,
            None => packer.entry(entry)?,
        }
    }
    for file in placed {
        packer.placed(file)?;
    }
    Ok(packer.tar.finish()?.finish()?)
}

struct Packer<'t, D, W: Write> {
    source: TreeReader<'t, D>,
    tar: TarWriter<Gzip<W>>,
    buffer: Vec<u8>,
}

impl<D: Dir, W: Write> Packer<'_, D, W> {
    fn entry(&mut self, entry: &TreeEntry) -> Result<(), PackError> {
        self.source.check(entry)?;
        let path = entry.path.as_bytes();
        match &entry.kind {
            &EntryKind::Dir { permissions } => {
                self.tar.begin(path, TarMember::Dir { permissions })?;
            }
            EntryKind::Link { target } => self.tar.begin(path, TarMember::Link { target })?,
            &EntryKind::File { size, permissions, digest } => {
                let Self { source, tar, buffer } = self;
                tar.begin(path, TarMember::File { size, permissions })?;
                let expected = (size, permissions, digest);
                source.copy(&entry.path, expected, buffer, |part| tar.content(part))?;
                tar.end(size)?;
            }
        }
        Ok(())
    }

    fn placed(&mut self, file: &PlacedFile) -> Result<(), PackError> {
        let size = file.text.len() as u64;
        let member = TarMember::File { size, permissions: file.permissions };
        self.tar.begin(file.path.as_bytes(), member)?;
        self.tar.content(file.text.as_bytes())?;
        self.tar.end(size)?;
        Ok(())
    }
}
