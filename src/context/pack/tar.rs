//! Writes a GNU tar. Names are written by hand, because the crate `tar` normalizes them, but the
//! target of a link such as `./a//b` must not change.

use std::io::{self, Write};

use tar::{EntryType, Header};

use crate::context::permissions::Permissions;

/// Size of a block in a tar.
const BLOCK_BYTES: usize = 512;

/// Size of the fields for names and link targets in a header.
const NAME_FIELD_BYTES: usize = 100;

/// Writes a tar to `out`. All times, owners and groups are zero.
pub(super) struct TarWriter<W: Write> {
    out: W,
}

/// The kind of a member of the tar.
#[derive(Clone, Copy)]
pub(super) enum TarMember<'m> {
    File { size: u64, permissions: Permissions },
    Link { target: &'m [u8] },
    Dir { permissions: Permissions },
}

impl TarMember<'_> {
    fn mode(&self) -> u32 {
        match self {
            Self::File { permissions, .. } | Self::Dir { permissions } => {
                u32::from(permissions.bits())
            }
            Self::Link { .. } => 0o777,
        }
    }
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes the header of a member. For a file, [`content`](Self::content) and then
    /// [`end`](Self::end) must follow.
    pub(super) fn begin(&mut self, path: &[u8], member: TarMember<'_>) -> io::Result<()> {
        let (kind, size, link) = match member {
            TarMember::File { size, .. } => (EntryType::Regular, size, &b""[..]),
            TarMember::Link { target } => (EntryType::Symlink, 0, target),
            TarMember::Dir { .. } => (EntryType::Directory, 0, &b""[..]),
        };
        let slash: &[u8] = if kind == EntryType::Directory { b"/" } else { b"" };
        let name = [path, slash].concat();
        // A name or a link that is too long for its field is written before, as an extra member.
        for (field, kind) in [(link, EntryType::GNULongLink), (&name, EntryType::GNULongName)] {
            if field.len() > NAME_FIELD_BYTES {
                let size = field.len() as u64 + 1;
                self.header(kind, 0o644, size, b"././@LongLink", b"")?;
                self.content(field)?;
                self.content(b"\0")?;
                self.end(size)?;
            }
        }
        self.header(kind, member.mode(), size, &name, link)
    }

    /// Writes a part of a file's content.
    pub(super) fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Ends a file of `size` bytes: fills its last block with zeros.
    pub(super) fn end(&mut self, size: u64) -> io::Result<()> {
        const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
        let used = usize::try_from(size % BLOCK_BYTES as u64).unwrap_or(0);
        if used == 0 { Ok(()) } else { self.out.write_all(&ZEROS[used..]) }
    }

    /// Ends the tar, and returns the writer.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK_BYTES])?;
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
        let (name, link) =
            (&name[..name.len().min(NAME_FIELD_BYTES)], &link[..link.len().min(NAME_FIELD_BYTES)]);
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }
}
