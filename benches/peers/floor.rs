//! The minimum work of any program that detects changes in a tree: read the names in every folder and
//! `statx` every file, by descriptor, on all cores.

use std::path::Path;

use crate::measure::Failed;

/// Counts the files below a folder and stats each of them.
#[cfg(target_os = "linux")]
pub(crate) fn count(dir: &Path) -> Result<usize, Failed> {
    linux::count(dir)
}

/// Other systems lack these calls, so the comparison is skipped.
#[cfg(not(target_os = "linux"))]
pub(crate) fn count(_dir: &Path) -> Result<usize, Failed> {
    Err("the floor needs Linux".into())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::{CStr, CString};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use rayon::Scope;
    use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, StatxFlags, open, openat, statx};
    use rustix::io::Errno;

    use crate::measure::Failed;

    const FOLDER: OFlags =
        OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

    /// The attributes that reveal a changed file, as imgplan and git use them.
    const WANTED: StatxFlags = StatxFlags::TYPE
        .union(StatxFlags::MODE)
        .union(StatxFlags::SIZE)
        .union(StatxFlags::INO)
        .union(StatxFlags::MTIME)
        .union(StatxFlags::CTIME);

    #[derive(Default)]
    struct Seen {
        files: AtomicUsize,
        error: Mutex<Option<Errno>>,
    }

    pub(super) fn count(dir: &Path) -> Result<usize, Failed> {
        let seen = Seen::default();
        let root = open(dir, FOLDER, Mode::empty())?;
        rayon::scope(|scope| seen.folder(scope, root));
        match seen.error.into_inner()? {
            Some(error) => Err(error.into()),
            None => Ok(seen.files.into_inner()),
        }
    }

    impl Seen {
        fn folder<'s>(&'s self, scope: &Scope<'s>, dir: OwnedFd) {
            if let Err(error) = self.try_folder(scope, dir) {
                *self.error.lock().unwrap() = Some(error);
            }
        }

        fn try_folder<'s>(&'s self, scope: &Scope<'s>, dir: OwnedFd) -> Result<(), Errno> {
            let dir = Arc::new(dir);
            let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
            let mut entries = RawDir::new(dir.as_fd(), &mut buffer);
            let mut files = 0;
            while let Some(entry) = entries.next() {
                let entry = entry?;
                let name = entry.file_name();
                if entry.file_type() != FileType::Directory {
                    statx(&dir, name, AtFlags::SYMLINK_NOFOLLOW, WANTED)?;
                    files += 1;
                } else if is_wanted(name) {
                    let (parent, name) = (Arc::clone(&dir), CString::from(name));
                    scope.spawn(move |scope| self.child(scope, &parent, &name));
                }
            }
            self.files.fetch_add(files, Ordering::Relaxed);
            Ok(())
        }

        fn child<'s>(&'s self, scope: &Scope<'s>, parent: &OwnedFd, name: &CStr) {
            match openat(parent, name, FOLDER, Mode::empty()) {
                Ok(dir) => self.folder(scope, dir),
                Err(error) => *self.error.lock().unwrap() = Some(error),
            }
        }
    }

    fn is_wanted(folder: &CStr) -> bool {
        !matches!(folder.to_bytes(), b"." | b".." | b".git" | b".imgplan")
    }
}
