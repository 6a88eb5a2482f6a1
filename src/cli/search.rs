//! Finds the files from which `imgplan init` proposes a manifest.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::{self, FileType};
use std::io;
use std::path::Path;

use super::failure::Failure;
use crate::base::safe_text::shown_path;
use crate::convert::proposal::found::{KnownFile, join, known_file, split};
use crate::manifest::{DEFAULT_MAX_IMAGES, NAMES};

/// Maximum number of folders that are searched. No monorepo has that many, but a disk may.
const MAX_FOLDERS: usize = 1_000_000;

/// Folders with build output and the code of other projects.
const FOREIGN_FOLDERS: [&str; 7] =
    ["dist", "node_modules", "target", "testdata", "third_party", "vendor", "venv"];

/// Prefix of the folders in which Bazel builds.
const BAZEL_PREFIX: &str = "bazel-";

/// Result of a search. Paths are relative to its folder, which is `.`, with `/`.
#[derive(Debug, Default)]
pub(super) struct FoundPaths {
    /// Sorted, without those of Harbor tasks.
    pub(super) dockerfiles: Vec<String>,
    /// Folders that may be Harbor tasks.
    pub(super) tasks: BTreeSet<String>,
    /// Files of other tools, with their formats for `imgplan convert`.
    pub(super) foreign: BTreeSet<(String, &'static str)>,
    /// Links with the names of Dockerfiles.
    pub(super) links: Vec<String>,
    /// Manifests of folders below, which are not searched.
    pub(super) manifests: Vec<String>,
    /// Folders that are not searched because of their names.
    pub(super) unsearched: Vec<String>,
    /// Folders that cannot be read, with the reason.
    pub(super) unreadable: Vec<String>,
    /// The sorted names in each folder that was searched.
    names: HashMap<String, Vec<String>>,
}

/// Searches a folder. Hidden folders, folders with foreign code and those with a manifest of their own
/// are left out. Links are not followed, so that nothing outside of the folder is read.
///
/// # Errors
///
/// Fails if there are too many folders or Dockerfiles.
pub(super) fn search(root: &Path) -> Result<FoundPaths, Failure> {
    let mut found = FoundPaths::default();
    let mut queue = VecDeque::from([".".to_owned()]);
    let mut folders_left = MAX_FOLDERS;
    while let Some(folder) = queue.pop_front() {
        folders_left =
            folders_left.checked_sub(1).ok_or_else(|| too_many(MAX_FOLDERS, "folders", &folder))?;
        match entries(&root.join(&folder)) {
            Ok(entries) => found.add(&folder, entries, &mut queue),
            Err(error) => {
                found.unreadable.push(format!("{} ({error})", shown_path(Path::new(&folder))));
            }
        }
        if found.dockerfiles.len() > DEFAULT_MAX_IMAGES {
            return Err(too_many(DEFAULT_MAX_IMAGES, "Dockerfiles", &folder));
        }
    }
    found.dockerfiles.sort_unstable();
    Ok(found)
}

/// Returns the entries of a folder whose names a manifest can have, sorted.
fn entries(folder: &Path) -> io::Result<Vec<(String, FileType)>> {
    let named = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        let kind = entry.file_type()?;
        Ok(entry.file_name().into_string().ok().map(|name| (name, kind)))
    };
    let entries = fs::read_dir(folder)?.filter_map(|entry| named(entry).transpose());
    let mut entries: Vec<(String, FileType)> = entries.collect::<io::Result<_>>()?;
    entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(entries)
}

impl FoundPaths {
    /// Returns true if a folder has a path. A folder that was not searched has every path.
    pub(super) fn has(&self, folder: &str, path: &str) -> bool {
        let mut folder = folder.to_owned();
        for name in path.split('/') {
            let Some(names) = self.names.get(&folder) else { return true };
            if names.binary_search_by(|known| known.as_str().cmp(name)).is_err() {
                return false;
            }
            folder = join(&folder, name);
        }
        true
    }

    /// Adds the files of a folder, after those of the folders above it, and queues its folders.
    fn add(
        &mut self,
        folder: &str,
        entries: Vec<(String, FileType)>,
        queue: &mut VecDeque<String>,
    ) {
        let has = |name: &str, is_kind: fn(&FileType) -> bool| {
            entries.iter().any(|(entry, kind)| entry == name && is_kind(kind))
        };
        if let Some(name) = NAMES.into_iter().find(|name| folder != "." && has(name, |_| true)) {
            self.manifests.push(join(folder, name));
            return;
        }
        if has("task.toml", FileType::is_file) && has("environment", FileType::is_dir) {
            self.tasks.insert(folder.to_owned());
        }
        let (parent, own) = split(folder);
        let is_of_task = own == "environment" && self.tasks.contains(parent);
        for (name, kind) in &entries {
            let (path, file) = (join(folder, name), known_file(name));
            if kind.is_dir() {
                if FOREIGN_FOLDERS.contains(&&**name) || name.starts_with(BAZEL_PREFIX) {
                    self.unsearched.push(path);
                } else if !name.starts_with('.') {
                    queue.push_back(path);
                }
                continue;
            }
            match file {
                // Podman looks for both names, Docker only for the second: they are one image.
                Some(KnownFile::Dockerfile)
                    if is_of_task
                        || name == "Containerfile" && has("Dockerfile", FileType::is_file) => {}
                Some(KnownFile::Dockerfile) if kind.is_symlink() => self.links.push(path),
                Some(KnownFile::Dockerfile) if kind.is_file() => self.dockerfiles.push(path),
                Some(KnownFile::Foreign(format)) if kind.is_file() && !is_of_task => {
                    self.foreign.insert((path, format));
                }
                _ => {}
            }
        }
        let names = entries.into_iter().map(|(name, _)| name).collect();
        self.names.insert(folder.to_owned(), names);
    }
}

fn too_many(max: usize, what: &str, folder: &str) -> Failure {
    let help = "run `imgplan init` in a project's folder, or add `-C DIR`";
    let folder = shown_path(Path::new(folder));
    Failure::with_help(format!("there are more than {max} {what}, up to {folder}"), help)
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
            "root/bazel-out/Dockerfile",
            "root/own/imgplan.yml",
            "root/own/sub/Dockerfile",
            "root/v/Dockerfile",
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
        assert_eq!(found.dockerfiles, ["a/Dockerfile", "v/Dockerfile"]);
        assert_eq!(found.tasks, BTreeSet::from(["t".to_owned()]));
        assert_eq!(found.foreign, BTreeSet::from([("compose.yaml".to_owned(), "compose")]));
        assert_eq!(found.unsearched, ["bazel-out", "node_modules", "vendor"]);
        assert_eq!(found.manifests, ["own/imgplan.yml"]);
        assert_eq!((found.unreadable, found.links), (Vec::new(), Vec::new()));
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
            ("..", "v/up"),
        ] {
            symlink(to, root.join(link)).unwrap();
        }
        let found = search(&root).unwrap();
        assert_eq!(found.dockerfiles, ["a/Dockerfile", "v/Dockerfile"]);
        assert_eq!(found.tasks, BTreeSet::from(["t".to_owned()]));
        assert_eq!(found.links, ["a/Dockerfile.out"]);
        for path in ["main.c", "a", "a/Dockerfile", "out/any", ".git/any/path", "v/up/x"] {
            assert!(found.has(".", path), "{path}");
        }
        for path in ["main", "a/b", "b/a", "no/x/y"] {
            assert!(!found.has(".", path), "{path}");
        }
    }
}
