//! Finds the files from which `imgplan init` proposes a manifest.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use super::failure::Failure;
use crate::base::reach::is_of_version_control;
use crate::base::safe_text::shown_path;
use crate::convert::found::{KnownFile, known_file};
use crate::manifest::{MAX_FOLDERS_VISITED, is_searched};

/// Maximum number of files that are found.
const MAX_FILES_FOUND: usize = 100_000;

/// Result of a search. Paths are relative to its folder, with `/`.
#[derive(Debug, Default)]
pub(super) struct FoundPaths {
    /// Sorted by their paths.
    pub(super) files: Vec<(String, KnownFile)>,
    /// Folders with links that were not followed.
    pub(super) with_links: BTreeSet<String>,
    /// Folders that cannot be read, with the reason.
    pub(super) unreadable: Vec<String>,
}

/// Searches a folder, whose path is canonical. As for the `**` of a manifest, hidden folders and
/// `node_modules` are left out. Links to folders are not followed, and links to files only within the
/// folder, so that nothing outside of it is read.
///
/// # Errors
///
/// Fails if there are too many folders or files.
pub(super) fn search(root: &Path) -> Result<FoundPaths, Failure> {
    let mut found = FoundPaths::default();
    let mut folders_left = MAX_FOLDERS_VISITED;
    let mut queue = VecDeque::from([String::new()]);
    while let Some(folder) = queue.pop_front() {
        folders_left = folders_left.checked_sub(1).ok_or_else(|| too_many("folders"))?;
        let entries = fs::read_dir(root.join(&folder)).and_then(Iterator::collect);
        let entries: Vec<DirEntry> = match entries {
            Ok(entries) => entries,
            Err(error) => {
                found.unreadable.push(format!("{}: {error}", shown_path(Path::new(&folder))));
                continue;
            }
        };
        for entry in entries {
            // A manifest cannot name a path that is not UTF-8.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                queue.extend(is_searched(&name).then_some(path));
            } else if kind.is_file() || kind.is_symlink() && is_file_within(root, &path) {
                found.files.extend(known_file(&name).map(|file| (path, file)));
            } else if kind.is_symlink() {
                found.with_links.insert(if folder.is_empty() { "." } else { &folder }.to_owned());
            }
        }
        if found.files.len() > MAX_FILES_FOUND {
            return Err(too_many("Dockerfiles"));
        }
    }
    found.files.sort_unstable();
    Ok(found)
}

/// Returns true if a link leads to a file within the folder.
fn is_file_within(root: &Path, path: &str) -> bool {
    let is_within =
        |real: &Path| real.strip_prefix(root).is_ok_and(|inside| !is_of_version_control(inside));
    let real: io::Result<_> = fs::canonicalize(root.join(path));
    real.is_ok_and(|real| is_within(&real) && real.is_file())
}

fn too_many(what: &str) -> Failure {
    let help = "run it in the folder of one project, or with `-C DIR`";
    Failure::with_help(format!("there are too many {what} to search"), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("root");
        for folder in
            ["outside", "root/a", "root/.git", "root/.x", "root/node_modules/m", "root/vendor"]
        {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join("Dockerfile"), "").unwrap();
        }
        fs::write(root.join("compose.yaml"), "").unwrap();
        fs::write(root.join("main.c"), "").unwrap();
        (dir, root)
    }

    fn paths(found: &FoundPaths) -> Vec<&str> {
        found.files.iter().map(|(path, _)| &**path).collect()
    }

    #[test]
    fn folders_that_a_pattern_leaves_out_are_left_out() {
        let (_dir, root) = tree();
        let found = search(&root).unwrap();
        assert_eq!(paths(&found), ["a/Dockerfile", "compose.yaml", "vendor/Dockerfile"]);
        assert!(found.with_links.is_empty() && found.unreadable.is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn links_lead_nowhere_else() {
        use std::os::unix::fs::symlink;
        let (_dir, root) = tree();
        for (to, link) in [
            ("../../outside/Dockerfile", "a/Dockerfile.out"),
            ("../.git/Dockerfile", "a/Dockerfile.git"),
            ("../vendor/Dockerfile", "a/Dockerfile.dev"),
            ("nowhere", "a/Dockerfile.broken"),
            ("../outside", "out"),
            ("..", "vendor/up"),
        ] {
            symlink(to, root.join(link)).unwrap();
        }
        let found = search(&root).unwrap();
        let expected = ["a/Dockerfile", "a/Dockerfile.dev", "compose.yaml", "vendor/Dockerfile"];
        assert_eq!(paths(&found), expected);
        assert_eq!(found.with_links, [".", "a", "vendor"].map(str::to_owned).into());
    }
}
