//! Turns a tree into an archive: a tar of the GNU kind in one gzip member. Its bytes depend on the
//! tree and the Dockerfile alone.

use std::fs;
use std::io::{self, BufWriter, Seek, Write};

use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use super::error::PackError;
use super::open::{fill, open};
use super::tree::{Entry, EntryKind, RelPath, Tree};
use crate::base::digest::Digest;
use crate::base::file::PathError;

/// The fastest level that still comes close to the best ratio; and unlike 1, 5 and 6 it gives the
/// same bytes however the data was cut into writes.
const LEVEL: Compression = Compression::new(4);

/// The Dockerfile as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedDockerfile {
    /// Its path in the archive. What the tree holds there is left out.
    pub path: RelPath,
    /// Its text.
    pub text: String,
}

/// An archive in a file without a name, which is gone with the process, however that ends.
#[derive(Debug)]
pub struct Spool {
    /// The file, at its start.
    pub file: fs::File,
    /// Its length in bytes.
    pub len: u64,
}

impl Spool {
    /// The file once more from its start. All readers share one place in it: use one at a time.
    pub fn reader(&self) -> io::Result<fs::File> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(file)
    }
}

/// See [`spool`](super::spool).
pub(super) fn spool(tree: &Tree, dockerfile: &PlacedDockerfile) -> Result<Spool, PackError> {
    let mut file = tempfile::tempfile()?;
    pack(tree, dockerfile, &file)?;
    let len = file.stream_position()?;
    file.rewind()?;
    Ok(Spool { file, len })
}

/// See [`pack`](super::pack).
pub(super) fn pack(
    tree: &Tree,
    dockerfile: &PlacedDockerfile,
    out: impl Write,
) -> Result<(), PackError> {
    check_place(tree, &dockerfile.path)?;
    let gzip = GzBuilder::new().mtime(0).write(out, LEVEL);
    let mut archive = Archive { tree, out: BufWriter::with_capacity(1 << 20, gzip) };
    let mut buffer = vec![0; 128 * 1024];
    let mut placed = Some(dockerfile);
    for entry in tree.entries() {
        if let Some(file) = placed.take_if(|file| file.path <= entry.path) {
            archive.text(file)?;
        }
        if entry.path != dockerfile.path {
            archive.entry(entry, &mut buffer)?;
        }
    }
    if let Some(file) = placed {
        archive.text(file)?;
    }
    archive.finish()?;
    Ok(())
}

/// A Dockerfile below a link or a file would be unpacked somewhere else, or nowhere.
fn check_place(tree: &Tree, path: &RelPath) -> Result<(), PackError> {
    let fail = |reason| Err(PackError::Place { path: path.clone(), reason });
    let bytes = path.as_bytes();
    if tree.get(bytes).is_some_and(|entry| entry.kind == EntryKind::Dir) {
        return fail("the context has a folder of that name");
    }
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        match tree.get(&bytes[..at]).map(|entry| &entry.kind) {
            Some(EntryKind::Link { .. }) => return fail("a folder above it is a link"),
            Some(EntryKind::File { .. }) => return fail("a folder above it is a file"),
            _ => {}
        }
    }
    Ok(())
}

struct Archive<'t, W: Write> {
    tree: &'t Tree,
    out: BufWriter<flate2::write::GzEncoder<W>>,
}

impl<W: Write> Archive<'_, W> {
    fn changed(&self, path: &RelPath) -> PackError {
        PackError::Changed { path: path.under(self.tree.root()) }
    }

    /// A path that is gone has changed; anything else that the system says is told.
    fn failed(&self, path: &RelPath, error: io::Error) -> PackError {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => self.changed(path),
            _ => {
                let path = path.under(self.tree.root());
                PackError::Read(PathError { action: "read", path, source: error })
            }
        }
    }

    fn entry(&mut self, entry: &Entry, buffer: &mut [u8]) -> Result<(), PackError> {
        let path = &entry.path;
        let full = path.under(&self.tree.real_root);
        match &entry.kind {
            EntryKind::Dir => {
                let meta = fs::symlink_metadata(full).map_err(|error| self.failed(path, error))?;
                if !meta.is_dir() {
                    return Err(self.changed(path));
                }
                let name = [path.as_bytes(), b"/"].concat();
                self.header(EntryType::Directory, 0o755, 0, &name, b"")?;
            }
            EntryKind::Link { target } => {
                // What is a link no more fails with an error that differs by system.
                match fs::read_link(full) {
                    Ok(now) if now.as_os_str().as_encoded_bytes() == target => {}
                    _ => return Err(self.changed(path)),
                }
                self.header(EntryType::Symlink, 0o777, 0, path.as_bytes(), target)?;
            }
            EntryKind::File { size, executable, digest } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                self.header(EntryType::Regular, mode, *size, path.as_bytes(), b"")?;
                self.content(path, (*size, *executable, *digest), buffer)?;
            }
        }
        Ok(())
    }

    /// Copies a file that must still be what the tree says: as long, as executable, and of the same
    /// digest.
    fn content(
        &mut self,
        path: &RelPath,
        (size, executable, digest): (u64, bool, Digest),
        buffer: &mut [u8],
    ) -> Result<(), PackError> {
        let opened = open(&self.tree.real_root, path).map_err(|error| self.failed(path, error))?;
        let Some(mut opened) = opened.filter(|opened| opened.executable == executable) else {
            return Err(self.changed(path));
        };
        let mut hasher = blake3::Hasher::new();
        let mut left = size;
        loop {
            let read = fill(&mut opened.file, buffer).map_err(|error| self.failed(path, error))?;
            let Some(rest) = left.checked_sub(read as u64) else {
                return Err(self.changed(path));
            };
            left = rest;
            hasher.update(&buffer[..read]);
            self.out.write_all(&buffer[..read])?;
            if read < buffer.len() {
                break;
            }
        }
        if left != 0 || Digest::from(hasher.finalize()) != digest {
            return Err(self.changed(path));
        }
        self.pad(size)?;
        Ok(())
    }

    fn text(&mut self, file: &PlacedDockerfile) -> io::Result<()> {
        let size = file.text.len() as u64;
        self.header(EntryType::Regular, 0o644, size, file.path.as_bytes(), b"")?;
        self.out.write_all(file.text.as_bytes())?;
        self.pad(size)
    }

    /// Writes a header, after those that carry a name or a link too long for it.
    ///
    /// Done by hand for the bytes' sake: the crate's own way to set names tidies them up, but a link
    /// to `./a//b` must arrive as that.
    fn header(
        &mut self,
        kind: EntryType,
        mode: u32,
        size: u64,
        name: &[u8],
        link: &[u8],
    ) -> io::Result<()> {
        for (field, kind) in [(link, EntryType::GNULongLink), (name, EntryType::GNULongName)] {
            if field.len() > 100 {
                let size = field.len() as u64 + 1;
                self.block(kind, 0o644, size, b"././@LongLink", b"")?;
                self.out.write_all(field)?;
                self.out.write_all(b"\0")?;
                self.pad(size)?;
            }
        }
        self.block(kind, mode, size, name, link)
    }

    fn block(
        &mut self,
        kind: EntryType,
        mode: u32,
        size: u64,
        name: &[u8],
        link: &[u8],
    ) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let old = header.as_old_mut();
        let (name, link) = (&name[..name.len().min(100)], &link[..link.len().min(100)]);
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    /// Fills up the last block of `size` bytes.
    fn pad(&mut self, size: u64) -> io::Result<()> {
        const BLOCK: [u8; 512] = [0; 512];
        let used = usize::try_from(size % 512).unwrap_or(0);
        if used == 0 { Ok(()) } else { self.out.write_all(&BLOCK[used..]) }
    }

    fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&[0; 1024])?;
        let gzip = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        gzip.finish()?.flush()
    }
}
