//! Finds the files from which `imgplan init` proposes a manifest.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, FileType};
use std::io;
use std::path::Path;

use super::failure::Failure;
use crate::base::safe_text::shown_path;
use crate::convert::proposal::found::{KnownFile, join, known_file, split};

/// Maximum number of folders that are searched. No monorepo has that many, but a disk may.
const MAX_FOLDERS: usize = 1_000_000;

/// Maximum number of Dockerfiles.
const MAX_DOCKERFILES: usize = 10_000;

/// Result of a search. Paths are relative to its folder, which is `.`, with `/`.
#[derive(Debug, Default)]
pub(super) struct FoundPaths {
    /// Sorted, without those of Harbor tasks.
    pub(super) dockerfiles: Vec<String>,
    /// Folders of Harbor tasks.
    pub(super) tasks: BTreeSet<String>,
    /// Files of other tools, with their formats for `imgplan convert`.
    pub(super) foreign: BTreeSet<(String, &'static str)>,
    /// Folders in which the pattern of a manifest would find more: it follows links.
    pub(super) irregular: BTreeSet<String>,
    /// Folders that cannot be read, with the reason.
    pub(super) unreadable: Vec<String>,
}

/// Searches a folder. As for the `**` of a manifest, hidden folders and `node_modules` are left out.
/// Links are not followed, so that nothing outside of the folder is read.
///
/// # Errors
///
/// Fails if there are too many folders or Dockerfiles.
pub(super) fn search(root: &Path) -> Result<FoundPaths, Failure> {
    let mut found = FoundPaths::default();
    let mut queue = VecDeque::from([".".to_owned()]);
    let mut folders_left = MAX_FOLDERS;
    while let Some(folder) = queue.pop_front() {
        folders_left = folders_left.checked_sub(1).ok_or_else(|| too_many("folders"))?;
        match entries(&root.join(&folder)) {
            Ok(entries) => found.add(&folder, &entries, &mut queue),
            Err(error) => {
                found.unreadable.push(format!("{}: {error}", shown_path(Path::new(&folder))));
            }
        }
        if found.dockerfiles.len() > MAX_DOCKERFILES {
            return Err(too_many("Dockerfiles"));
        }
    }
    found.dockerfiles.sort_unstable();
    Ok(found)
}

/// Returns the entries of a folder whose names a manifest can have.
fn entries(folder: &Path) -> io::Result<Vec<(String, FileType)>> {
    let named = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        let kind = entry.file_type()?;
        Ok(entry.file_name().into_string().ok().map(|name| (name, kind)))
    };
    fs::read_dir(folder)?.filter_map(|entry| named(entry).transpose()).collect()
}

impl FoundPaths {
    /// Adds the files of a folder, after those of the folders above it, and queues its folders.
    fn add(&mut self, folder: &str, entries: &[(String, FileType)], queue: &mut VecDeque<String>) {
        let has = |name: &str, is_kind: fn(&FileType) -> bool| {
            entries.iter().any(|(entry, kind)| entry == name && is_kind(kind))
        };
        if has("task.toml", FileType::is_file) && has("environment", FileType::is_dir) {
            self.tasks.insert(folder.to_owned());
            self.irregular.insert(folder.to_owned());
        }
        let (parent, own) = split(folder);
        let is_of_task = own == "environment" && self.tasks.contains(parent);
        for (name, kind) in entries {
            let (path, file) = (join(folder, name), known_file(name));
            if kind.is_symlink() {
                self.irregular.insert(folder.to_owned());
                self.irregular.extend(file.map(|_| parent.to_owned()));
            } else if kind.is_dir() {
                let is_searched = !name.starts_with('.') && name != "node_modules";
                queue.extend(is_searched.then_some(path));
            } else if kind.is_file() && !is_of_task {
                match file {
                    // Podman looks for both names, Docker only for the second: they are one image.
                    Some(KnownFile::Dockerfile)
                        if name == "Containerfile" && has("Dockerfile", FileType::is_file) =>
                    {
                        self.irregular.insert(parent.to_owned());
                    }
                    Some(KnownFile::Dockerfile) => self.dockerfiles.push(path),
                    Some(KnownFile::Foreign(format)) => {
                        self.foreign.insert((path, format));
                    }
                    Some(KnownFile::HarborTask) | None => {}
                }
            }
        }
    }
}

fn too_many(what: &str) -> Failure {
    let help = "run it in the folder of one project, or with `-C DIR`";
    Failure::with_help(format!("there are too many {what} to search"), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "outside/Dockerfile",
            "root/a/Dockerfile",
            "root/a/Containerfile",
            "root/.git/Dockerfile",
            "root/.x/Dockerfile",
            "root/node_modules/m/Dockerfile",
            "root/vendor/Dockerfile",
            "root/t/task.toml",
            "root/t/environment/Dockerfile",
            "root/t/environment/compose.yaml",
            "root/no/task.toml",
            "root/compose.yaml",
            "root/main.c",
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    #[test]
    fn folders_that_a_pattern_leaves_out_are_left_out() {
        let dir = tree();
        let found = search(&dir.path().join("root")).unwrap();
        assert_eq!(found.dockerfiles, ["a/Dockerfile", "vendor/Dockerfile"]);
        assert_eq!(found.tasks, BTreeSet::from(["t".to_owned()]));
        assert_eq!(found.foreign, BTreeSet::from([("compose.yaml".to_owned(), "compose")]));
        assert_eq!(found.irregular, [".", "t"].map(str::to_owned).into());
        assert_eq!(found.unreadable, [""; 0]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let dir = tree();
        let root = dir.path().join("root");
        for (to, link) in [
            ("../../outside/Dockerfile", "a/Dockerfile.out"),
            ("../../outside", "no/environment"),
            ("../outside", "out"),
            ("..", "vendor/up"),
        ] {
            symlink(to, root.join(link)).unwrap();
        }
        let found = search(&root).unwrap();
        assert_eq!(found.dockerfiles, ["a/Dockerfile", "vendor/Dockerfile"]);
        assert_eq!(found.tasks, BTreeSet::from(["t".to_owned()]));
        assert_eq!(found.irregular, [".", "a", "no", "t", "vendor"].map(str::to_owned).into());
    }
}
