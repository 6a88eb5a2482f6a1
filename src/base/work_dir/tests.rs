//! Tests of the work folder, with links, FIFOs and folders in the place of its files.

use super::*;

/// Any file.
const F: WorkName = WorkName::any("f");

fn at(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join(".imgplan").join("local")
}

#[test]
fn a_path_is_split_before_the_last_work_folder() {
    for (path, outer, inner) in [
        (".imgplan", "", ".imgplan"),
        (".imgplan/local", "", ".imgplan local"),
        ("a/.imgplan/local/server", "a", ".imgplan local server"),
        ("/x/.imgplan/y/.imgplan", "/x/.imgplan/y", ".imgplan"),
        ("/x/state", "/x/state", ""),
    ] {
        let (found, names) = split(Path::new(path));
        let names: Vec<_> = names.iter().map(|name| name.to_str().unwrap()).collect();
        assert_eq!((found.as_path(), names.join(" ").as_str()), (Path::new(outer), inner));
    }
}

#[test]
fn files_are_written_read_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    assert!(WorkDir::open(&at(&dir)).unwrap().is_none());
    let work = WorkDir::create(&at(&dir)).unwrap();
    assert!(work.read(&F, InputKind::Journal).unwrap().is_none());
    work.replace(&F, b"one", FileMode::Private).unwrap();
    work.append(&F, FileMode::Private).unwrap().write_all(b" more").unwrap();
    assert_eq!(work.read(&F, InputKind::Journal).unwrap().as_deref(), Some(&b"one more"[..]));
    work.replace_cache(&F, &[b"t", b"wo"]).unwrap();
    let again = WorkDir::open(&at(&dir)).unwrap().unwrap();
    assert_eq!(again.read(&F, InputKind::Journal).unwrap().as_deref(), Some(&b"two"[..]));
    work.now().unwrap();
    let mut names = work.names();
    names.sort();
    assert_eq!(names, [".gitignore", "f"], "no temporary file remains");
    work.remove(&F).unwrap();
    work.remove(&F).unwrap();
    drop(work.temporary(".upload-").unwrap());
    assert_eq!(work.names(), [".gitignore"]);
    let lock = work.lock(&WorkName::LOCK, "PID 1").unwrap();
    assert_eq!(again.lock_holder(&WorkName::LOCK).as_deref(), Some("PID 1"));
    assert!(matches!(again.lock(&WorkName::LOCK, "PID 2"), Err(LockError::Held(_))));
    drop(lock);
    assert_eq!(again.lock_holder(&WorkName::LOCK), None);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::super::descriptor::DescriptorFolder;
    use super::super::portable::PathFolder;
    use super::*;

    #[test]
    fn private_files_are_readable_by_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::create_private(&at(&dir)).unwrap();
        let mode = |name: &str| fs::metadata(work.path_of(name)).unwrap().mode() & 0o777;
        assert_eq!(mode(""), 0o700);
        work.replace(&F, b"", FileMode::Private).unwrap();
        assert_eq!(mode("f"), 0o600);
        fs::set_permissions(work.path_of("f"), fs::Permissions::from_mode(0o644)).unwrap();
        work.append(&F, FileMode::Private).unwrap();
        assert_eq!(mode("f"), 0o600);
        work.append(&WorkName::any("shared"), FileMode::Shared).unwrap();
        assert_eq!(mode("shared") & 0o400, 0o400);
    }

    /// Every way in which the two implementations open a file.
    fn open_all(folder: &impl Folder, name: &str) -> Vec<io::Result<File>> {
        [OpenMode::Read, OpenMode::ReadWrite, OpenMode::Append, OpenMode::New]
            .map(|how| folder.open(OsStr::new(name), how, FileMode::Private))
            .into()
    }

    /// Checks a folder with things that must not be opened.
    fn check_all(folder: &impl Folder) {
        for name in ["link", "dangling", "to-folder"] {
            for result in open_all(folder, name) {
                let error = result.unwrap_err().to_string();
                assert!(
                    error.contains("it is a link") || error.contains("File exists"),
                    "{name}: {error}"
                );
            }
            let error = folder.child(OsStr::new(name)).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("it is a link"), "{name}: {error}");
        }
        for name in ["fifo", "folder"] {
            for file in open_all(folder, name).into_iter().flatten() {
                check_regular(&file.metadata().unwrap()).unwrap_err();
            }
        }
        assert!(folder.child(OsStr::new("folder")).is_ok());
        assert!(folder.child(OsStr::new("fifo")).is_err());
    }

    #[test]
    fn no_implementation_follows_a_link_or_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("victim"), "precious").unwrap();
        fs::create_dir(path("folder")).unwrap();
        symlink("victim", path("link")).unwrap();
        symlink("nowhere", path("dangling")).unwrap();
        symlink("folder", path("to-folder")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        check_all(&DescriptorFolder::at(dir.path()).unwrap());
        check_all(&PathFolder::at(dir.path()).unwrap());
        assert_eq!(fs::read(path("victim")).unwrap(), b"precious");
        assert!(!path("nowhere").exists());
    }

    #[test]
    fn a_file_with_another_hard_link_is_not_written_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::create(&at(&dir)).unwrap();
        fs::write(dir.path().join("victim"), "precious").unwrap();
        fs::hard_link(dir.path().join("victim"), work.path_of("f")).unwrap();
        for error in [
            work.append(&F, FileMode::Private).unwrap_err(),
            match work.lock(&F, "PID 1").unwrap_err() {
                LockError::Path(error) => error,
                LockError::Held(_) => panic!(),
            },
        ] {
            assert!(error.source.to_string().contains("another hard link"), "{error:?}");
        }
        work.replace(&F, b"new", FileMode::Private).unwrap();
        assert_eq!(fs::read(dir.path().join("victim")).unwrap(), b"precious");
        assert_eq!(fs::read(work.path_of("f")).unwrap(), b"new");
    }

    #[test]
    fn the_open_folder_stays_the_same_if_a_link_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::create(&at(&dir)).unwrap();
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        fs::rename(at(&dir), dir.path().join("moved")).unwrap();
        symlink(dir.path().join("elsewhere"), at(&dir)).unwrap();
        work.replace(&F, b"text", FileMode::Shared).unwrap();
        assert!(dir.path().join("moved/f").exists());
        assert_eq!(fs::read_dir(dir.path().join("elsewhere")).unwrap().count(), 0);
        for path in [at(&dir), at(&dir).join("server")] {
            let error = WorkDir::open(&path).unwrap_err();
            assert!(error.source.to_string().contains("it is a link"), "{error:?}");
            WorkDir::create(&path).unwrap_err();
        }
    }
}
