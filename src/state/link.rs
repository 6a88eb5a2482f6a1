//! Follows a link from the lockfile beside the manifest, and rejects all others: a checkout must not
//! make imgplan read or write files outside of its repository.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::StateError;
use super::paths::StatePaths;
use crate::base::file::AtPath;

/// Folders that mark the root of a repository.
const REPOSITORY_MARKS: [&str; 3] = [".git", ".hg", ".jj"];

/// Returns the file that holds the lockfile: its own path, or the regular file inside the repository
/// that it is a link to.
///
/// # Errors
///
/// Fails if the work folder has a link, if the lockfile is a link to anything else, and if the
/// folders cannot be read.
pub(super) fn lockfile_file(paths: &StatePaths) -> Result<PathBuf, StateError> {
    reject_work_links(paths)?;
    let link = &paths.lockfile;
    if !is_link(link) {
        return Ok(link.clone());
    }
    let to = fs::read_link(link).at("read", link)?;
    let reject = |why: String| StateError::Link {
        path: link.clone(),
        why: format!("is a link to {}, {why}", to.display()),
        help: "replace the link by the lockfile, or move the lockfile into the repository",
    };
    let file = fs::canonicalize(link).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => reject("which does not exist".to_owned()),
        _ => reject(format!("which cannot be followed: {error}")),
    })?;
    let repository = repository(folder_of(link)).at("read", link)?;
    let inside = file.strip_prefix(&repository).ok();
    let is_mark = |inside: &Path| REPOSITORY_MARKS.iter().any(|mark| inside.starts_with(mark));
    if inside.is_none_or(is_mark) {
        return Err(reject("which is outside of the repository".to_owned()));
    }
    if !file.is_file() {
        return Err(reject("which is not a regular file".to_owned()));
    }
    Ok(file)
}

/// Fails if the work folder, or a file or folder in it, is a link.
fn reject_work_links(paths: &StatePaths) -> Result<(), StateError> {
    // The work folder of the local server lies in the other one.
    let outer = paths.work.parent().filter(|outer| outer.ends_with(".imgplan"));
    let inner = paths.work.join("server");
    for folder in [outer, Some(&*paths.work), Some(&*inner)].into_iter().flatten() {
        let Ok(meta) = fs::symlink_metadata(folder) else { continue };
        let mut link = meta.is_symlink().then(|| folder.to_owned());
        if meta.is_dir() {
            let entries = fs::read_dir(folder).at("read", folder)?;
            let links = entries.filter_map(Result::ok).map(|entry| entry.path());
            link = links.into_iter().find(|path| is_link(path));
        }
        if let Some(path) = link {
            let why = "is a link".to_owned();
            let help = "remove the link: imgplan follows none in its work folder";
            return Err(StateError::Link { path, why, help });
        }
    }
    Ok(())
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
}

/// Returns the root of the repository that a folder is in; the folder itself if it is in none.
fn repository(folder: &Path) -> io::Result<PathBuf> {
    let folder = fs::canonicalize(folder)?;
    let is_root = |folder: &&Path| REPOSITORY_MARKS.iter().any(|mark| folder.join(mark).exists());
    let root = folder.ancestors().find(is_root).map(Path::to_owned);
    Ok(root.unwrap_or(folder))
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
            match (lockfile_file(&paths), expected) {
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
        assert_eq!(lockfile_file(&paths).unwrap(), real.join("app/real.lock"));
        fs::remove_file(&paths.lockfile).unwrap();
        symlink("../other.lock", &paths.lockfile).unwrap();
        assert!(lockfile_file(&paths).is_err());
    }

    #[test]
    fn links_in_the_work_folder_are_rejected() {
        for link in [
            ".imgplan",
            ".imgplan/lock",
            ".imgplan/journal.jsonl",
            ".imgplan/.gitignore",
            ".imgplan/local",
            ".imgplan/local/imgplan.lock",
            ".imgplan/local/server",
            ".imgplan/local/server/changes.jsonl",
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(link);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::create_dir(dir.path().join("elsewhere")).unwrap();
            symlink(dir.path().join("elsewhere"), &path).unwrap();
            let error = lockfile_file(&StatePaths::local(dir.path())).unwrap_err();
            assert_eq!(error.to_string(), format!("{} is a link", path.display()));
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".imgplan/local/server")).unwrap();
        fs::write(dir.path().join(".imgplan/local/server/lock"), "").unwrap();
        let paths = StatePaths::local(dir.path());
        assert_eq!(lockfile_file(&paths).unwrap(), paths.lockfile);
    }
}
