//! Moves paths from the folder of an input to the folder of the manifest. Pure.

use std::path::{Component, Path, PathBuf};

use crate::base::clean_path::clean;

/// The folders of an input and of the manifest. Both are canonical, so that `..` leads from one to
/// the other.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    /// Folder that the paths of the input are relative to.
    pub(crate) input: PathBuf,
    /// Folder that the paths of the manifest are relative to.
    pub(crate) output: PathBuf,
}

impl Folders {
    /// Returns a path of the input as the manifest writes it, or `None` if there is no such path: it
    /// would contain a folder whose name is not UTF-8, or lie on another disk.
    pub(super) fn of_manifest(&self, path: &str) -> Option<String> {
        relative(&self.output, &self.of_input(path))
    }

    /// Returns a path of the input, relative to a context of the input.
    pub(super) fn of_context(&self, context: &str, path: &str) -> Option<String> {
        relative(&self.of_input(context), &self.of_input(path))
    }

    fn of_input(&self, path: &str) -> PathBuf {
        clean(&self.input.join(path))
    }
}

/// Returns the path from one absolute folder to another, with `/`.
fn relative(from: &Path, to: &Path) -> Option<String> {
    let (from, to): (Vec<_>, Vec<_>) = (from.components().collect(), to.components().collect());
    let same = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    if same == 0 {
        return None;
    }
    let up = from[same..].iter().map(|_| Some(".."));
    let down = to[same..].iter().map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let parts: Option<Vec<&str>> = up.chain(down).collect();
    Some(parts?.join("/")).map(|path| if path.is_empty() { ".".to_owned() } else { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_manifest() {
        for (input, output, path, expected) in [
            ("/a", "/a", "app", "app"),
            ("/a", "/a", ".", "."),
            ("/a", "/a", "./x/../y/", "y"),
            ("/a/b", "/a", "c", "b/c"),
            ("/a", "/a/b/c", "d", "../../d"),
            ("/a/b", "/a/c", "../../x", "../../x"),
            ("/a/b", "/c", "/c/d", "d"),
            ("/", "/a", "b", "../b"),
        ] {
            let folders = Folders { input: input.into(), output: output.into() };
            assert_eq!(folders.of_manifest(path).as_deref(), Some(expected), "{input} {path}");
        }
        let folders = Folders { input: "/a".into(), output: "/b".into() };
        assert_eq!(folders.of_context("x/y", "x/Dockerfile").as_deref(), Some("../Dockerfile"));
        assert_eq!(folders.of_context(".", "Dockerfile").as_deref(), Some("Dockerfile"));
    }
}
