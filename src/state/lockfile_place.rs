//! The file that holds the lockfile. A link beside the manifest is followed to a regular file of the
//! repository and nowhere else: a checkout must not make imgplan read or write files outside of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::StateError;
use super::paths::StatePaths;
use crate::base::file::{self, AtPath, PathError, is_mount};
use crate::base::input::{self, InputKind};
use crate::base::reach::{is_of_version_control, repository};
use crate::base::work_dir::{FileMode, WorkDir, WorkName};

/// The file that holds the lockfile.
#[derive(Debug)]
pub(super) enum LockfilePlace {
    /// A file beside the manifest, or the regular file that a link there leads to.
    Repository(PathBuf),
    /// A file of the work folder, as the local server has it.
    WorkFolder,
}

impl LockfilePlace {
    /// Finds the file.
    ///
    /// # Errors
    ///
    /// Fails if the lockfile is a link that is not followed, and if the folders cannot be read.
    pub(super) fn find(paths: &StatePaths) -> Result<Self, StateError> {
        if paths.lockfile.parent() == Some(&*paths.work) {
            return Ok(Self::WorkFolder);
        }
        Ok(Self::Repository(follow(&paths.lockfile)?))
    }

    /// Returns the folder in which the lockfile is replaced. `None` for the work folder.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Repository(path) => Some(folder_of(path)),
            Self::WorkFolder => None,
        }
    }

    /// Reads the lockfile. `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if it is not a regular file, cannot be read, or is not UTF-8.
    pub(super) fn read(&self, work: Option<&WorkDir>) -> Result<Option<String>, PathError> {
        match (self, work) {
            (Self::Repository(path), _) => match input::read_text(path, InputKind::Lockfile) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                text => text.at("read", path).map(Some),
            },
            (Self::WorkFolder, None) => Ok(None),
            (Self::WorkFolder, Some(work)) => {
                let Some(bytes) = work.read(&WorkName::LOCAL_LOCKFILE, InputKind::Lockfile)? else {
                    return Ok(None);
                };
                let text = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into());
                text.at("read", &work.path_of(WorkName::LOCAL_LOCKFILE)).map(Some)
            }
        }
    }

    /// Replaces the lockfile. One that is a mount of its own cannot be replaced: it is copied to
    /// the work folder while it is written in place.
    ///
    /// # Errors
    ///
    /// Fails if the lockfile or its copy cannot be written.
    pub(super) fn replace(&self, work: &WorkDir, bytes: &[u8]) -> Result<(), PathError> {
        let Self::Repository(path) = self else {
            return work.replace(&WorkName::LOCAL_LOCKFILE, bytes, FileMode::Shared);
        };
        match file::replace(path, bytes) {
            Err(error) if is_mount(&error.source) && path.exists() => overwrite(path, bytes, work),
            result => result,
        }
    }
}

fn overwrite(path: &Path, bytes: &[u8], work: &WorkDir) -> Result<(), PathError> {
    let old = input::read(path, InputKind::Lockfile).at("read", path)?;
    work.replace(&WorkName::LOCKFILE_COPY, &old, FileMode::Shared)?;
    file::overwrite(path, bytes)?;
    work.remove(&WorkName::LOCKFILE_COPY)
}

/// Returns the path of the lockfile itself, or of the regular file inside the repository that it is a
/// link to. Fails if it is a link to anything else.
fn follow(link: &Path) -> Result<PathBuf, StateError> {
    if !fs::symlink_metadata(link).is_ok_and(|meta| meta.is_symlink()) {
        return Ok(link.to_owned());
    }
    let to = fs::read_link(link).at("read", link)?;
    let reject = |why: String| StateError::Link {
        path: link.to_owned(),
        why: format!("is a link to {}, {why}", to.display()),
        help: "replace the link by the lockfile, or move the lockfile into the repository",
    };
    let file = fs::canonicalize(link).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => reject("which does not exist".to_owned()),
        _ => reject(format!("which cannot be followed: {error}")),
    })?;
    let repository = repository(folder_of(link)).at("read", link)?;
    let inside = file.strip_prefix(&repository).ok();
    if inside.is_none_or(is_of_version_control) {
        return Err(reject("which is outside of the repository".to_owned()));
    }
    if !file.is_file() {
        return Err(reject("which is not a regular file".to_owned()));
    }
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_mount_is_written_in_place_after_a_copy() {
        for (kind, expected) in [
            (io::ErrorKind::ResourceBusy, true),
            (io::ErrorKind::CrossesDevices, true),
            (io::ErrorKind::ReadOnlyFilesystem, true),
            (io::ErrorKind::PermissionDenied, false),
            (io::ErrorKind::StorageFull, false),
        ] {
            assert_eq!(is_mount(&kind.into()), expected, "{kind}");
        }
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::create(&dir.path().join(".imgplan")).unwrap();
        let path = dir.path().join("f");
        for (old, new) in [("short", "longer text"), ("longer text", "short"), ("", "x"), ("x", "")]
        {
            fs::write(&path, old).unwrap();
            let file = fs::File::open(&path).unwrap();
            overwrite(&path, new.as_bytes(), &work).unwrap();
            assert_eq!(io::read_to_string(file).unwrap(), new, "it is the same file");
            assert_eq!(work.names(), [".gitignore"]);
        }
        fs::write(&path, "old").unwrap();
        fs::create_dir(work.path_of(WorkName::LOCKFILE_COPY)).unwrap();
        overwrite(&path, b"new", &work).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"old", "nothing is written without a copy");
    }

    /// Creates a repository in `<dir>/repo` with a manifest folder `app`.
    fn repository_in(dir: &Path) -> StatePaths {
        for folder in ["repo/.git", "repo/app", "repo/state"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        fs::write(dir.join("outside.lock"), "").unwrap();
        fs::write(dir.join("repo/.git/config"), "").unwrap();
        fs::write(dir.join("repo/state/app.lock"), "").unwrap();
        symlink("app.lock", dir.join("repo/state/chain.lock")).unwrap();
        symlink("../..", dir.join("repo/state/up")).unwrap();
        StatePaths::beside(&dir.join("repo/app"))
    }

    #[test]
    fn a_linked_lockfile_is_a_regular_file_of_the_repository() {
        for (to, expected) in [
            ("../state/app.lock", Ok("repo/state/app.lock")),
            ("../state/chain.lock", Ok("repo/state/app.lock")),
            ("../state/up/repo/state/app.lock", Ok("repo/state/app.lock")),
            ("../state/none.lock", Err("which does not exist")),
            ("../../outside.lock", Err("which is outside of the repository")),
            ("../state/up/outside.lock", Err("which is outside of the repository")),
            ("/dev/null", Err("which is outside of the repository")),
            ("../.git/config", Err("which is outside of the repository")),
            ("../state", Err("which is not a regular file")),
            ("imgplan.lock", Err("which cannot be followed")),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let real = dir.path().canonicalize().unwrap();
            let paths = repository_in(&real);
            symlink(to, &paths.lockfile).unwrap();
            match (follow(&paths.lockfile), expected) {
                (Ok(file), Ok(expected)) => assert_eq!(file, real.join(expected), "{to}"),
                (Err(error), Err(expected)) => {
                    let text = error.to_string();
                    assert!(text.contains(expected) && text.contains(to), "{to}: {text}");
                }
                (found, _) => panic!("{to}: {found:?}"),
            }
        }
    }

    #[test]
    fn without_a_repository_the_folder_of_the_manifest_is_the_border() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        fs::create_dir(real.join("app")).unwrap();
        fs::write(real.join("app/real.lock"), "").unwrap();
        fs::write(real.join("other.lock"), "").unwrap();
        let paths = StatePaths::beside(&real.join("app"));
        symlink("real.lock", &paths.lockfile).unwrap();
        assert_eq!(follow(&paths.lockfile).unwrap(), real.join("app/real.lock"));
        fs::remove_file(&paths.lockfile).unwrap();
        symlink("../other.lock", &paths.lockfile).unwrap();
        assert!(follow(&paths.lockfile).is_err());
    }
}
