//! Reads folders by descriptor: `getdents64` for the names, and `statx` relative to the folder, so
//! that the kernel need not resolve the path from the root for each name.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, StatxFlags, openat, readlinkat, statx,
};
use rustix::io::Errno;

use super::{Dir, OpenFile};
use crate::context::names::{FolderNames, ItemKind, SpecialKind};
use crate::context::path::as_os_str;
use crate::context::stat::{NANOS_PER_SECOND, Stat, UnixNanos};

/// The descriptor of a folder.
#[derive(Debug)]
pub(in crate::context) struct LinuxDir(OwnedFd);

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Flags for opening a file. `NONBLOCK`, because opening a FIFO would block otherwise.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// The numbers of file systems, as in `statfs(2)`: ext2 to ext4, XFS, Btrfs, ZFS, F2FS, bcachefs, tmpfs and
/// overlayfs.
const LOCAL_FILE_SYSTEMS: [rustix::fs::FsWord; 8] = [
    0xEF53,
    0x5846_5342,
    0x9123_683E,
    0x2FC1_2FC1,
    0xF2F5_2010,
    0xCA45_1A4E,
    0x0102_1994,
    0x794C_7630,
];

impl Dir for LinuxDir {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the door of contexts; it follows no link"
    )]
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self(openat(CWD, path, FOLDER, Mode::empty())?))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the door of contexts; it follows no link"
    )]
    fn child(&self, name: &OsStr) -> io::Result<Self> {
        match openat(&self.0, name, FOLDER, Mode::empty()) {
            Ok(dir) => Ok(Self(dir)),
            // The errors for a link differ between file systems.
            Err(Errno::LOOP) => Err(io::ErrorKind::NotADirectory.into()),
            Err(error) => Err(error.into()),
        }
    }

    fn names(&self) -> io::Result<FolderNames> {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut entries = RawDir::new(self.0.as_fd(), &mut buffer);
        let mut names = FolderNames::default();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not store the kind with the name.
                FileType::Unknown => FileType::from_raw_mode(self.stat(as_os_str(name))?.mode),
                kind => kind,
            };
            names.push(name, kind_of(kind));
        }
        names.sort();
        Ok(names)
    }

    fn stat_at(path: &Path) -> io::Result<Stat> {
        stat(CWD, path.as_os_str())
    }

    fn keeps_folder_times(path: &Path) -> bool {
        rustix::fs::statfs(path).is_ok_and(|fs| LOCAL_FILE_SYSTEMS.contains(&fs.f_type))
    }

    fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        stat(self.0.as_fd(), name)
    }

    fn link(&self, name: &OsStr) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.0, name, Vec::new())?.into_bytes())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the door of contexts; it follows no link"
    )]
    fn open(&self, name: &OsStr) -> io::Result<Option<OpenFile>> {
        let file = match openat(&self.0, name, FILE, Mode::empty()) {
            Ok(file) => File::from(file),
            // The name is a link, or a socket.
            Err(Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let meta = file.metadata()?;
        Ok(meta.is_file().then(|| OpenFile { stat: Stat::of(&meta), file }))
    }
}

/// Returns the metadata of a path relative to a folder.
fn stat(folder: BorrowedFd<'_>, path: &OsStr) -> io::Result<Stat> {
    const FIELDS: StatxFlags = StatxFlags::TYPE
        .union(StatxFlags::MODE)
        .union(StatxFlags::SIZE)
        .union(StatxFlags::INO)
        .union(StatxFlags::MTIME)
        .union(StatxFlags::CTIME);
    let meta = statx(folder, path, AtFlags::SYMLINK_NOFOLLOW, FIELDS)?;
    let time = |secs: i64, nanos: u32| {
        secs.saturating_mul(NANOS_PER_SECOND).saturating_add(UnixNanos::from(nanos))
    };
    Ok(Stat {
        size: meta.stx_size,
        mtime: time(meta.stx_mtime.tv_sec, meta.stx_mtime.tv_nsec),
        ctime: time(meta.stx_ctime.tv_sec, meta.stx_ctime.tv_nsec),
        inode: meta.stx_ino,
        device: rustix::fs::makedev(meta.stx_dev_major, meta.stx_dev_minor),
        mode: u32::from(meta.stx_mode),
    })
}

fn kind_of(kind: FileType) -> ItemKind {
    match kind {
        FileType::RegularFile => ItemKind::File,
        FileType::Directory => ItemKind::Dir,
        FileType::Symlink => ItemKind::Link,
        FileType::Fifo => ItemKind::Special(SpecialKind::Fifo),
        FileType::Socket => ItemKind::Special(SpecialKind::Socket),
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
            ItemKind::Special(SpecialKind::Device)
        }
    }
}
