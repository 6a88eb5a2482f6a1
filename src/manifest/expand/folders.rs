//! Finds the folders and files that a pattern matches.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::glob::{PathGlob, Segment};
use crate::base::reach::Reach;

/// Kind of paths to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SearchFor {
    Folders,
    Files,
}

/// Maximum number of folders that one search visits. No monorepo has that many, but a disk may.
const MAX_FOLDERS_VISITED: usize = 1_000_000;

/// Name of folders that `**` does not match: they contain thousands of folders of other projects.
const NODE_MODULES: &str = "node_modules";

/// Reason why a search failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SearchError {
    pub(super) message: String,
    /// Help, unless the pattern is invalid.
    pub(super) help: Option<String>,
}

impl From<String> for SearchError {
    fn from(message: String) -> Self {
        Self { message, help: None }
    }
}

/// Returns the paths below `dir` that a pattern matches: relative to `dir`, with `/`, sorted by
/// bytes. `**` matches no hidden folder and no `node_modules`, and follows each link to a folder
/// once. Links found by a wildcard that lead out of reach, as Bazel's do, are left out.
///
/// # Errors
///
/// Fails if the pattern is invalid, if a folder cannot be read, or if there are too many folders.
pub(super) fn find(
    dir: &Path,
    pattern: &str,
    search_for: SearchFor,
    reach: &Reach,
) -> Result<Vec<String>, SearchError> {
    find_limited(dir, pattern, (search_for, reach), MAX_FOLDERS_VISITED)
}

/// Returns what `discover` finds in the working directory: the folders that match a pattern and have a
/// Dockerfile of this name, or the files that match if there is no name. `None` if the search fails.
pub(crate) fn discovered(pattern: &str, dockerfile: Option<&str>) -> Option<Vec<String>> {
    let (dir, search_for) = match dockerfile {
        Some(_) => (Path::new("."), SearchFor::Folders),
        None => (Path::new("."), SearchFor::Files),
    };
    let mut paths = find(dir, pattern, search_for, &Reach::new([dir], &[])).ok()?;
    paths.retain(|path| dockerfile.is_none_or(|name| has_file(&dir.join(path), name)));
    Some(paths)
}

/// Returns true if a folder has a file. A link that leads nowhere is a broken file, and not a missing
/// one.
pub(super) fn has_file(folder: &Path, name: &str) -> bool {
    folder.join(name).symlink_metadata().is_ok_and(|meta| !meta.is_dir())
}

fn find_limited(
    dir: &Path,
    pattern: &str,
    (search_for, reach): (SearchFor, &Reach),
    max_folders: usize,
) -> Result<Vec<String>, SearchError> {
    let glob = PathGlob::parse(pattern)?;
    let (start, prefix) = if pattern.starts_with('/') { (Path::new("/"), "/") } else { (dir, "") };
    let mut search = PathSearch {
        glob: &glob,
        search_for,
        reach,
        found: Vec::new(),
        followed: HashSet::new(),
        folders_left: max_folders,
    };
    search.visit(start, prefix, &glob.start())?;
    search.found.sort_unstable();
    search.found.dedup();
    Ok(search.found)
}

/// State of a search.
struct PathSearch<'g> {
    glob: &'g PathGlob,
    search_for: SearchFor,
    reach: &'g Reach,
    found: Vec<String>,
    /// Targets of the links that `**` has followed.
    followed: HashSet<PathBuf>,
    /// Number of folders that may still be visited.
    folders_left: usize,
}

impl PathSearch<'_> {
    fn advance(&self, state: &[usize], name: &str) -> Vec<usize> {
        self.glob.advance(state, name, name != NODE_MODULES)
    }

    /// Visits a folder. `relative` is its path relative to the start; `state` is the state of the
    /// pattern after it.
    fn visit(&mut self, path: &Path, relative: &str, state: &[usize]) -> Result<(), SearchError> {
        self.folders_left = self.folders_left.checked_sub(1).ok_or_else(|| SearchError {
            message: format!("this pattern visits too many folders, up to {}", path.display()),
            help: Some("begin it with the name of a folder, or use fewer `**`".to_owned()),
        })?;
        if self.search_for == SearchFor::Folders && self.glob.is_match(state) {
            self.found.push(if relative.is_empty() { "." } else { relative }.to_owned());
        }
        let names: Option<Vec<&str>> = self
            .glob
            .segments(state)
            .map(|segment| match segment {
                Segment::Name(name) => Some(name.as_str()),
                Segment::Folders | Segment::Wildcard(_) => None,
            })
            .collect();
        // List the folder only for wildcards: look up names directly.
        let Some(names) = names else { return self.list(path, relative, state) };
        for name in names {
            let child = path.join(name);
            if let Ok(meta) = fs::metadata(&child) {
                self.child(&child, relative, name, &self.advance(state, name), meta.is_dir())?;
            }
        }
        Ok(())
    }

    /// Visits the entries of a folder.
    fn list(&mut self, path: &Path, relative: &str, state: &[usize]) -> Result<(), SearchError> {
        self.reach
            .check(path)
            .map_err(|error| SearchError { message: error.message, help: Some(error.help) })?;
        let unreadable = |error: io::Error| {
            SearchError::from(format!("cannot read {}: {error}", path.display()))
        };
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(unreadable(error)),
        };
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let next = self.advance(state, name);
            if next.is_empty() {
                continue;
            }
            let (child, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
            let is_folder = if kind.is_symlink() {
                match fs::metadata(&child) {
                    Ok(_) if self.reach.check(&child).is_err() => continue,
                    Ok(meta) if meta.is_dir() && !self.follows(path, &child, &next) => continue,
                    Ok(meta) => meta.is_dir(),
                    // A dangling link.
                    Err(_) => continue,
                }
            } else {
                kind.is_dir()
            };
            self.child(&child, relative, name, &next, is_folder)?;
        }
        Ok(())
    }

    /// Returns true if the search goes through a link. `**` follows no link to a parent, and each
    /// target once.
    fn follows(&mut self, path: &Path, link: &Path, next: &[usize]) -> bool {
        if self.glob.segments(next).all(|segment| *segment != Segment::Folders) {
            return true;
        }
        match (fs::canonicalize(path), fs::canonicalize(link)) {
            (Ok(own), Ok(target)) => !own.starts_with(&target) && self.followed.insert(target),
            _ => false,
        }
    }

    /// Visits a folder, or adds a file that matches.
    fn child(
        &mut self,
        path: &Path,
        parent: &str,
        name: &str,
        state: &[usize],
        is_folder: bool,
    ) -> Result<(), SearchError> {
        let relative = match parent {
            "" => name.to_owned(),
            "/" => format!("/{name}"),
            parent => format!("{parent}/{name}"),
        };
        if is_folder {
            return self.visit(path, &relative, state);
        }
        if self.search_for == SearchFor::Files && self.glob.is_match(state) {
            self.found.push(relative);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for folder in
            ["s/api/deep", "s/Web", "s/.hidden", "s/node_modules/x", ".git/x", "lib/api", "B"]
        {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("s/file"), "").unwrap();
        fs::write(dir.path().join("lib/api/file"), "").unwrap();
        dir
    }

    #[test]
    fn patterns_find_folders_and_files() {
        let dir = tree();
        let reach = Reach::new([dir.path()], &[]);
        for (pattern, expected) in [
            ("s/*", &["s/Web", "s/api", "s/node_modules"][..]),
            ("*", &["B", "lib", "s"]),
            ("*/api", &["lib/api", "s/api"]),
            ("**/api", &["lib/api", "s/api"]),
            ("s/**", &["s", "s/Web", "s/api", "s/api/deep"]),
            ("s/node_modules/*", &["s/node_modules/x"]),
            ("s/.h*", &["s/.hidden"]),
            ("./s/api", &["s/api"]),
            ("s/../lib/*", &["s/../lib/api"]),
            ("nowhere/*", &[]),
            ("s/file/*", &[]),
            (".", &["."]),
        ] {
            assert_eq!(
                find(dir.path(), pattern, SearchFor::Folders, &reach).unwrap(),
                expected,
                "{pattern}"
            );
        }
        let files = find(dir.path(), "**/file", SearchFor::Files, &reach).unwrap();
        assert_eq!(files, ["lib/api/file", "s/file"]);
        assert!(find(dir.path(), "a[", SearchFor::Files, &reach).is_err());
        let found = find_limited(dir.path(), "**/api", (SearchFor::Folders, &reach), 8);
        assert_eq!(found, find(dir.path(), "**/api", SearchFor::Folders, &reach));
        let endless =
            find_limited(dir.path(), "**/api", (SearchFor::Folders, &reach), 7).unwrap_err();
        assert!(endless.message.starts_with("this pattern visits too many folders"), "{endless:?}");
        let absolute = dir.path().join("l*").to_str().unwrap().to_owned();
        let found = find(Path::new("elsewhere"), &absolute, SearchFor::Folders, &reach).unwrap();
        assert_eq!(found, [dir.path().join("lib").to_str().unwrap()]);
    }

    #[test]
    fn folders_out_of_reach_are_not_listed() {
        let dir = tree();
        fs::remove_dir_all(dir.path().join(".git")).unwrap();
        let reach = Reach::new([dir.path().join("s").as_path()], &[]);
        for pattern in ["lib/*", "*", "**/api", "s/../*", "/*"] {
            let error = find(dir.path(), pattern, SearchFor::Folders, &reach).unwrap_err();
            assert!(error.message.contains("lies outside of"), "{pattern}: {}", error.message);
        }
        assert_eq!(find(dir.path(), "s/a*", SearchFor::Folders, &reach).unwrap(), ["s/api"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_once_and_never_upwards() {
        use std::os::unix::fs::symlink;
        let dir = tree();
        let reach = Reach::new([dir.path()], &[]);
        symlink("/usr", dir.path().join("s/usr")).unwrap();
        symlink(dir.path(), dir.path().join("s/up")).unwrap();
        symlink("../../lib", dir.path().join("s/api/lib")).unwrap();
        symlink("../lib", dir.path().join("s/lib")).unwrap();
        symlink("nowhere", dir.path().join("s/broken")).unwrap();
        let found = find(dir.path(), "s/**/api", SearchFor::Folders, &reach).unwrap();
        // Only the first of the two links is followed.
        assert_eq!(found.len(), 2, "{found:?}");
        let found = find(dir.path(), "s/*", SearchFor::Folders, &reach).unwrap();
        assert_eq!(found, ["s/Web", "s/api", "s/lib", "s/node_modules", "s/up"]);
    }
}
