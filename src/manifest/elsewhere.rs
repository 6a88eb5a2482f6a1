//! Looks for a manifest that is not where it was expected: under the other extension, or in a parent
//! folder.

use std::path::{Path, PathBuf};

use super::header::root_of;

/// Names that a manifest may have.
pub(crate) const NAMES: [&str; 2] = ["imgplan.yaml", "imgplan.yml"];

/// Returns the path of the manifest in the working directory, if there is one, or anything else with
/// its name.
pub(crate) fn existing() -> Option<&'static Path> {
    NAMES.into_iter().map(Path::new).find(|path| path.symlink_metadata().is_ok())
}

/// Returns the help for a manifest that does not exist.
pub(crate) fn help_for_missing(path: &Path) -> String {
    let other = match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml") => path.with_extension("yml"),
        _ => path.with_extension("yaml"),
    };
    if other.is_file() {
        return format!("rename {0} to {1}, or add `-f {0}`", other.display(), path.display());
    }
    let is_default = NAMES.iter().any(|name| Path::new(name) == path);
    match is_default.then(|| in_parent(&root_of(path))).flatten() {
        Some((dir, name)) => {
            let file = if name == NAMES[0] { String::new() } else { format!(" -f {name}") };
            format!("there is one in a parent folder: add `-C {}{file}`", dir.display())
        }
        None => {
            "run imgplan in the folder of the manifest, name it: -f FILE, or run `imgplan init`"
                .to_owned()
        }
    }
}

/// Returns the nearest parent folder with a manifest, as `..` or `../..`, and the manifest's name.
pub(crate) fn in_parent(dir: &Path) -> Option<(PathBuf, &'static str)> {
    let real = dir.canonicalize().ok()?;
    let parents = real.ancestors().enumerate().skip(1);
    parents.take_while(|(_, parent)| parent.parent().is_some()).find_map(|(up, parent)| {
        let name = NAMES.into_iter().find(|name| parent.join(name).is_file())?;
        Some((std::iter::repeat_n("..", up).collect(), name))
    })
}
