//! Turns a tree into an archive: a tar of the GNU kind in one gzip member. Its bytes depend on the
//! tree and the Dockerfile alone. Nothing is held of it but a few blocks, however large it is.

mod gzip;
mod spool;
mod tar;

use std::io::Write;

use self::gzip::Gzip;
pub use self::spool::Spool;
use self::spool::SpoolWriter;
use self::tar::{TarMember, TarWriter};
use super::dir::{Dir, NativeDir};
use super::error::PackError;
use super::placement::{PlacedFile, Placement};
use super::tree::{EntryKind, Tree, TreeEntry};
use super::tree_reader::TreeReader;

/// Bytes that are read of a file at once.
const PART: usize = 128 * 1024;

/// See [`spool`](super::spool).
pub(super) fn spool(tree: &Tree, placement: &Placement) -> Result<Spool, PackError> {
    let spooler = pack(tree, placement, SpoolWriter::new()?)?;
    Ok(spooler.finish())
}

/// See [`pack`](super::pack()).
pub(super) fn pack<W: Write>(tree: &Tree, placement: &Placement, out: W) -> Result<W, PackError> {
    pack_with::<NativeDir, W>(tree, placement, out)
}

/// The same, by a given way to read folders.
pub(super) fn pack_with<D: Dir, W: Write>(
    tree: &Tree,
    placement: &Placement,
    out: W,
) -> Result<W, PackError> {
    let mut packer = Packer {
        source: TreeReader::<D>::new(tree)?,
        tar: TarWriter::new(Gzip::new(out)?),
        buffer: vec![0; PART],
    };
    let mut placed = placement.files.iter().peekable();
    for entry in tree.entries() {
        while let Some(file) = placed.next_if(|file| file.path < entry.path) {
            packer.placed(file)?;
        }
        // What is placed takes the place of what lies there.
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
            EntryKind::Dir => self.tar.begin(path, TarMember::Dir)?,
            EntryKind::Link { target } => self.tar.begin(path, TarMember::Link { target })?,
            &EntryKind::File { size, executable, digest } => {
                let Self { source, tar, buffer } = self;
                tar.begin(path, TarMember::File { size, executable })?;
                let expected = (size, executable, digest);
                source.copy(&entry.path, expected, buffer, |part| tar.content(part))?;
                tar.end(size)?;
            }
        }
        Ok(())
    }

    fn placed(&mut self, file: &PlacedFile) -> Result<(), PackError> {
        let size = file.text.len() as u64;
        self.tar.begin(file.path.as_bytes(), TarMember::File { size, executable: false })?;
        self.tar.content(file.text.as_bytes())?;
        self.tar.end(size)?;
        Ok(())
    }
}
