//! Follows the symbolic links in a tree of paths that is not on disk. Pure.

/// Maximum number of links on the way to one file, as on Linux.
const MAX_LINKS: usize = 40;

/// An entry of a tree.
pub(crate) enum LinkEntry {
    /// A file or a folder.
    Other,
    /// A link and its target. A target that starts with `/` begins at the root of the tree.
    Link(String),
}

/// Follows the links of a path, and returns the path that they lead to. `..` does not leave the
/// root. Returns `None` if something on the way does not exist, or if there are too many links.
pub(crate) fn follow(path: &str, entry: impl Fn(&str) -> Option<LinkEntry>) -> Option<String> {
    let mut resolved: Vec<String> = Vec::new();
    let mut remaining: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let mut links = 0;
    while let Some(segment) = remaining.pop() {
        match segment.as_str() {
            "" | "." => continue,
            ".." => {
                resolved.pop();
                continue;
            }
            _ => resolved.push(segment),
        }
        if let LinkEntry::Link(target) = entry(&resolved.join("/"))? {
            links += 1;
            if links > MAX_LINKS {
                return None;
            }
            resolved.pop();
            if target.starts_with('/') {
                resolved.clear();
            }
            remaining.extend(target.split('/').rev().map(str::to_owned));
        }
    }
    Some(resolved.join("/"))
}

/// Returns true if a `COPY` of `path` succeeds. A pattern may match nothing: `BuildKit` then copies
/// nothing.
pub(crate) fn can_copy(path: &str, entry: impl Fn(&str) -> Option<LinkEntry>) -> bool {
    path.contains(['*', '?', '[', '\\']) || follow(path, entry).is_some()
}
