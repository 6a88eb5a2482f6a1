//! Writes the members of a tar of the GNU kind, by hand for the bytes' sake: the crate's own way to
//! set names tidies them up, but a link to `./a//b` must arrive as that.

use std::io::{self, Write};

use tar::{EntryType, Header};

/// Bytes of a block of a tar.
const BLOCK: usize = 512;

/// Writes a tar to `out`. Times and owners are nobody's; all modes that there are: see
/// [`TarMember::mode`].
pub(super) struct TarWriter<W: Write> {
    out: W,
}

/// What a member is.
#[derive(Clone, Copy)]
pub(super) enum TarMember<'m> {
    File { size: u64, executable: bool },
    Link { target: &'m [u8] },
    Dir,
}

impl TarMember<'_> {
    fn mode(&self) -> u32 {
        match self {
            Self::File { executable: false, .. } => 0o644,
            Self::File { executable: true, .. } | Self::Dir => 0o755,
            Self::Link { .. } => 0o777,
        }
    }
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }

    /// Begins a member. The content of a file follows, and then [`end`](Self::end).
    pub(super) fn begin(&mut self, path: &[u8], member: TarMember<'_>) -> io::Result<()> {
        let (kind, size, link) = match member {
            TarMember::File { size, .. } => (EntryType::Regular, size, &b""[..]),
            TarMember::Link { target } => (EntryType::Symlink, 0, target),
            TarMember::Dir => (EntryType::Directory, 0, &b""[..]),
        };
        let slash: &[u8] = if kind == EntryType::Directory { b"/" } else { b"" };
        let name = [path, slash].concat();
        // A name or a link that is too long for its field comes first, as a member of its own.
        for (field, kind) in [(link, EntryType::GNULongLink), (&name, EntryType::GNULongName)] {
            if field.len() > 100 {
                let size = field.len() as u64 + 1;
                self.header(kind, 0o644, size, b"././@LongLink", b"")?;
                self.content(field)?;
                self.content(b"\0")?;
                self.end(size)?;
            }
        }
        self.header(kind, member.mode(), size, &name, link)
    }

    /// A part of a file's content.
    pub(super) fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Ends a file of `size` bytes.
    pub(super) fn end(&mut self, size: u64) -> io::Result<()> {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        let used = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        if used == 0 { Ok(()) } else { self.out.write_all(&ZEROS[used..]) }
    }

    /// Ends the tar.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn header(
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
}
