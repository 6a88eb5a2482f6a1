//! Finds the folders and files that a pattern matches.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::glob::{Glob, Segment, names};

/// What a pattern is to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Folders,
    Files,
}

/// What a pattern matches below `dir`: paths relative to it, with `/`, sorted by their bytes. `**`
/// goes into no hidden folder and no `node_modules`, and follows a link to a folder once.
pub(super) fn find(dir: &Path, pattern: &str, want: Want) -> Result<Vec<String>, Unfound> {
    find_in(dir, pattern, want, MOST_FOLDERS)
}

/// Folders that one pattern may look into: no monorepo has as many, but a disk has.
const MOST_FOLDERS: usize = 1_000_000;

/// Why nothing can be found, and what to do where it is not the pattern's form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfound {
    pub(super) message: String,
    pub(super) help: Option<&'static str>,
}

impl From<String> for Unfound {
    fn from(message: String) -> Self {
        Self { message, help: None }
    }
}

fn find_in(dir: &Path, pattern: &str, want: Want, most: usize) -> Result<Vec<String>, Unfound> {
    let glob = Glob::parse(pattern)?;
    let (start, prefix) = if pattern.starts_with('/') { (Path::new("/"), "/") } else { (dir, "") };
    let mut search =
        Search { glob: &glob, want, found: Vec::new(), followed: HashSet::new(), left: most };
    search.visit(start, prefix, search.closed(vec![0]))?;
    search.found.sort_unstable();
    search.found.dedup();
    Ok(search.found)
}

struct Search<'g> {
    glob: &'g Glob,
    want: Want,
    found: Vec<String>,
    /// Where links led that `**` went through.
    followed: HashSet<PathBuf>,
    /// How many folders it may still look into.
    left: usize,
}

impl Search<'_> {
    /// `**` may be no folder at all.
    fn closed(&self, mut next: Vec<usize>) -> Vec<usize> {
        let mut at = 0;
        while let Some(&position) = next.get(at) {
            if self.glob.segments.get(position) == Some(&Segment::Folders) {
                next.push(position + 1);
            }
            at += 1;
        }
        next.sort_unstable();
        next.dedup();
        next
    }

    /// The segments that may come after one name.
    fn after(&self, next: &[usize], name: &str) -> Vec<usize> {
        let step = |&at: &usize| match self.glob.segments.get(at)? {
            Segment::Folders => (!name.starts_with('.') && name != "node_modules").then_some(at),
            Segment::Name(own) => (own == name).then_some(at + 1),
            Segment::Wild(tokens) => names(tokens, name).then_some(at + 1),
        };
        self.closed(next.iter().filter_map(step).collect())
    }

    fn visit(&mut self, path: &Path, shown: &str, next: Vec<usize>) -> Result<(), Unfound> {
        self.left = self.left.checked_sub(1).ok_or_else(|| Unfound {
            message: format!("this looks into too many folders: it came to {}", path.display()),
            help: Some("begin it with the folder that holds yours, or write fewer `**`"),
        })?;
        if self.want == Want::Folders && next.contains(&self.glob.segments.len()) {
            self.found.push(if shown.is_empty() { ".".to_owned() } else { shown.to_owned() });
        }
        let open = next.iter().filter_map(|&at| self.glob.segments.get(at));
        let named: Option<Vec<&str>> = open
            .map(|segment| match segment {
                Segment::Name(name) => Some(name.as_str()),
                Segment::Folders | Segment::Wild(_) => None,
            })
            .collect();
        // A folder is listed only where a sign asks for it: names are looked up.
        match named {
            Some(names) => {
                for name in names {
                    let child = path.join(name);
                    if let Ok(meta) = fs::metadata(&child) {
                        self.child(&child, shown, name, self.after(&next, name), meta.is_dir())?;
                    }
                }
            }
            None => self.list(path, shown, &next)?,
        }
        Ok(())
    }

    fn list(&mut self, path: &Path, shown: &str, next: &[usize]) -> Result<(), Unfound> {
        let unreadable =
            |error: io::Error| Unfound::from(format!("cannot read {}: {error}", path.display()));
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
            let then = self.after(next, name);
            if then.is_empty() {
                continue;
            }
            let (child, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
            let is_folder = if kind.is_symlink() {
                match fs::metadata(&child) {
                    Ok(meta) if meta.is_dir() && !self.follows(path, &child, &then) => continue,
                    Ok(meta) => meta.is_dir(),
                    // A link to nowhere.
                    Err(_) => continue,
                }
            } else {
                kind.is_dir()
            };
            self.child(&child, shown, name, then, is_folder)?;
        }
        Ok(())
    }

    /// Whether to go through a link: under `**` not upwards, and not to one place twice.
    fn follows(&mut self, path: &Path, link: &Path, then: &[usize]) -> bool {
        let deep = then.iter().any(|&at| self.glob.segments.get(at) == Some(&Segment::Folders));
        if !deep {
            return true;
        }
        match (fs::canonicalize(path), fs::canonicalize(link)) {
            (Ok(own), Ok(target)) => !own.starts_with(&target) && self.followed.insert(target),
            _ => false,
        }
    }

    fn child(
        &mut self,
        path: &Path,
        above: &str,
        name: &str,
        then: Vec<usize>,
        is_folder: bool,
    ) -> Result<(), Unfound> {
        let shown = match above {
            "" => name.to_owned(),
            "/" => format!("/{name}"),
            above => format!("{above}/{name}"),
        };
        if is_folder {
            return self.visit(path, &shown, then);
        }
        if self.want == Want::Files && then.contains(&self.glob.segments.len()) {
            self.found.push(shown);
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
            assert_eq!(find(dir.path(), pattern, Want::Folders).unwrap(), expected, "{pattern}");
        }
        let files = find(dir.path(), "**/file", Want::Files).unwrap();
        assert_eq!(files, ["lib/api/file", "s/file"]);
        assert!(find(dir.path(), "a[", Want::Files).is_err());
        let found = find_in(dir.path(), "**/api", Want::Folders, 8);
        assert_eq!(found, find(dir.path(), "**/api", Want::Folders));
        let endless = find_in(dir.path(), "**/api", Want::Folders, 7).unwrap_err();
        assert!(endless.message.starts_with("this looks into too many folders"), "{endless:?}");
        let absolute = dir.path().join("l*").to_str().unwrap().to_owned();
        let found = find(Path::new("elsewhere"), &absolute, Want::Folders).unwrap();
        assert_eq!(found, [dir.path().join("lib").to_str().unwrap()]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_once_and_never_in_circles() {
        use std::os::unix::fs::symlink;
        let dir = tree();
        symlink(dir.path(), dir.path().join("s/up")).unwrap();
        symlink("../../lib", dir.path().join("s/api/lib")).unwrap();
        symlink("../lib", dir.path().join("s/lib")).unwrap();
        symlink("nowhere", dir.path().join("s/broken")).unwrap();
        let found = find(dir.path(), "s/**/api", Want::Folders).unwrap();
        // Whichever of the two links comes first leads to it, and only that.
        assert_eq!(found.len(), 2, "{found:?}");
        let found = find(dir.path(), "s/*", Want::Folders).unwrap();
        assert_eq!(found, ["s/Web", "s/api", "s/lib", "s/node_modules", "s/up"]);
    }
}
