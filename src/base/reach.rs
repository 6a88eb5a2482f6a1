//! The reach of a manifest: the folders in which the files lie that it may name. A manifest comes with
//! a checkout, and whoever wrote it must not see files of the machine in an error or an image.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::clean_path::clean;
use super::name::NameError;

/// Folders and files that mark the root of a repository. Their content, such as the token that a CI
/// job keeps in `.git/config`, is out of reach.
const REPOSITORY_MARKS: [&str; 3] = [".git", ".hg", ".jj"];

/// Returns the root of the repository that a folder is in; the folder itself if it is in none. The
/// path is canonical.
///
/// # Errors
///
/// Fails if the folder does not exist or cannot be read, and if it lies below the working directory
/// and a link leads out of the repository: a checkout must not choose the border.
pub(crate) fn repository(folder: &Path) -> io::Result<PathBuf> {
    let real = fs::canonicalize(folder)?;
    let here = std::env::current_dir()?;
    if clean(&here.join(folder)).starts_with(&here) && !real.starts_with(marked(&here)) {
        return Err(io::Error::other("a link leads out of the repository"));
    }
    Ok(marked(&real).to_owned())
}

/// Returns the nearest folder with a mark; the folder itself if there is none.
fn marked(folder: &Path) -> &Path {
    let is_root = |folder: &&Path| REPOSITORY_MARKS.iter().any(|mark| folder.join(mark).exists());
    folder.ancestors().find(is_root).unwrap_or(folder)
}

/// Returns true if a path inside a repository belongs to its version control. Some file systems do not
/// tell upper case from lower case.
pub(crate) fn is_of_version_control(inside: &Path) -> bool {
    let is_mark = |part: Component<'_>| {
        REPOSITORY_MARKS.iter().any(|mark| part.as_os_str().eq_ignore_ascii_case(mark))
    };
    inside.components().any(is_mark)
}

/// The folders that a manifest reaches.
#[derive(Debug)]
pub(crate) struct Reach {
    /// Canonical paths.
    roots: Vec<PathBuf>,
    /// Canonical paths of the folders and links that were asked for; `None` if there is none.
    resolved: Mutex<HashMap<PathBuf, Option<PathBuf>>>,
}

impl Reach {
    /// Creates the reach of manifests in these folders: their repositories, and the folders that the
    /// user allows. A folder that does not exist adds nothing.
    pub(crate) fn new<'p>(
        manifests: impl IntoIterator<Item = &'p Path>,
        allowed: &[PathBuf],
    ) -> Self {
        let repositories = manifests.into_iter().filter_map(|folder| repository(folder).ok());
        let allowed = allowed.iter().filter_map(|folder| fs::canonicalize(folder).ok());
        Self { roots: repositories.chain(allowed).collect(), resolved: Mutex::default() }
    }

    /// Checks that a file or folder lies within reach, wherever links lead. One that does not exist
    /// does: nothing can be read of it.
    ///
    /// # Errors
    ///
    /// Fails with a message and a way out.
    pub(crate) fn check(&self, path: &Path) -> Result<(), NameError> {
        let Some(real) = self.resolve(path) else { return Ok(()) };
        let inside = |root: &PathBuf| {
            real.strip_prefix(root).is_ok_and(|inside| !is_of_version_control(inside))
        };
        if self.roots.iter().any(inside) {
            return Ok(());
        }
        let (path, root) = (path.display(), self.roots.first());
        let message = match root {
            _ if self.roots.iter().any(|root| real.starts_with(root)) => {
                format!("{path} belongs to the version control of the repository")
            }
            Some(root) => format!("{path} lies outside of the repository {}", root.display()),
            None => format!("{path} lies outside of the manifest's folder"),
        };
        let help = "a manifest reaches files of its repository only; if you trust this one, allow \
                    another folder with --allow-outside DIR or IMGPLAN_ALLOW_OUTSIDE";
        Err(NameError::new(message, help))
    }

    /// Returns the canonical path, or `None` if the file cannot be found. Asks once for each folder.
    fn resolve(&self, path: &Path) -> Option<PathBuf> {
        let lock = || self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(path) {
            return known.clone();
        }
        let meta = fs::symlink_metadata(path).ok()?;
        let real = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if !parent.as_os_str().is_empty() && !meta.is_symlink() => {
                self.resolve(parent).map(|parent| parent.join(name))
            }
            _ => fs::canonicalize(path).ok(),
        };
        // Files are not on the way to others.
        if !meta.is_file() {
            lock().insert(path.to_owned(), real.clone());
        }
        real
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["repo/.git", "repo/app/ctx", "repo/shared", "outside", "allowed/in"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in ["repo/.git/config", "repo/app/ctx/Dockerfile", "outside/f", "allowed/in/f"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        for (to, link) in [
            ("../../shared", "repo/app/to-shared"),
            ("../../outside", "repo/app/to-outside"),
            ("/etc/passwd", "repo/app/ctx/passwd"),
            ("../.git", "repo/app/to-git"),
            ("nowhere", "repo/app/dangling"),
            ("../outside", "allowed/out"),
        ] {
            symlink(to, dir.path().join(link)).unwrap();
        }
        dir
    }

    #[test]
    fn files_of_the_repository_and_of_allowed_folders_are_within_reach() {
        let dir = tree();
        let at = |path: &str| dir.path().join(path);
        let reach = Reach::new([at("repo/app").as_path()], &[at("allowed"), at("missing")]);
        for (path, problem) in [
            ("repo/app", None),
            ("repo/app/ctx/Dockerfile", None),
            ("repo/app/../shared", None),
            ("repo/app/to-shared", None),
            ("repo/app/to-shared/missing", None),
            ("repo/app/dangling", None),
            ("repo/app/to-outside/missing", None),
            ("allowed/in/f", None),
            ("repo/app/to-outside/f", Some("outside of the repository")),
            ("repo/app/to-outside", Some("outside of the repository")),
            ("repo/app/ctx/passwd", Some("outside of the repository")),
            ("repo/app/../..", Some("outside of the repository")),
            ("outside/f", Some("outside of the repository")),
            ("allowed/out/f", Some("outside of the repository")),
            ("repo/.git/config", Some("version control")),
            ("repo/app/to-git/config", Some("version control")),
        ] {
            for _ in 0..2 {
                match (reach.check(&at(path)), problem) {
                    (Ok(()), None) => {}
                    (Err(error), Some(part)) => {
                        assert!(error.message.contains(part), "{}", error.message);
                    }
                    (result, _) => panic!("{path}: {result:?}"),
                }
            }
        }
    }

    #[test]
    fn without_a_repository_the_folder_of_the_manifest_is_the_border() {
        let dir = tree();
        let reach = Reach::new([dir.path().join("outside").as_path()], &[]);
        assert!(reach.check(&dir.path().join("outside/f")).is_ok());
        assert!(reach.check(&dir.path().join("allowed/in/f")).is_err());
    }
}
