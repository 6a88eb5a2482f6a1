//! Names files from the root of their repository, as CI systems want them.

use std::env;
use std::path::Path;

use crate::base::clean_path::clean;

/// Returns the path of a regular file from a folder that it is in, with slashes. `name` is relative to
/// the current directory. `None` for a file elsewhere, and for a name that is not of a file.
pub(super) fn within(root: &Path, name: &str) -> Option<String> {
    let path = clean(&env::current_dir().ok()?.join(name));
    if !path.is_file() {
        return None;
    }
    relative(root, &path).or_else(|| {
        // One of the two may lead through a link.
        relative(&root.canonicalize().ok()?, &path.canonicalize().ok()?)
    })
}

fn relative(root: &Path, path: &Path) -> Option<String> {
    let parts = path.strip_prefix(root).ok()?.components();
    let parts: Vec<String> =
        parts.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    Some(parts.join("/"))
}
