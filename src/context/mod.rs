//! Turns a folder into the files that a build is sent, a digest of them, and an archive.
//!
//! ```no_run
//! use std::path::Path;
//! use imgplan::context::{self, PlacedDockerfile, RelPath};
//!
//! let tree = context::scan(Path::new("services/api"), None)?;
//! println!("{} files, {} bytes, {}", tree.files(), tree.size(), tree.digest());
//! let path = RelPath::new("Dockerfile").expect("a relative path");
//! let dockerfile = PlacedDockerfile { path, text: "FROM scratch\n".to_owned() };
//! let archive = context::spool(&tree, &dockerfile)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
pub mod ignore;
mod open;
mod pack;
mod pattern;
mod rules;
mod tree;
mod walk;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::Path;

pub use self::error::{PackError, ScanError, ScanProblem};
pub use self::pack::{PlacedDockerfile, Spool};
pub use self::rules::{Rules, Why};
pub use self::tree::{Entry, EntryKind, RelPath, Tree};

/// Reads a context: every path that Docker would send, and the digest of every file.
///
/// `dockerfile` is the full path of the Dockerfile: a `.dockerignore` of its own,
/// `<Dockerfile>.dockerignore`, wins over the one at the root. Links are kept as links and never
/// followed. Files of imgplan itself (`.imgplan/`, `imgplan.lock`) are left out wherever they
/// are, and no `!` brings them back: they change with every run.
pub fn scan(root: &Path, dockerfile: Option<&Path>) -> Result<Tree, ScanError> {
    walk::scan(root, dockerfile)
}

/// The rules that a context follows, without a look at what is in it.
pub fn rules(root: &Path, dockerfile: Option<&Path>) -> Result<Rules, ScanError> {
    Rules::find(root, dockerfile).map_err(|all| ScanError::new(root, all))
}

/// Writes a tree and the Dockerfile as a `tar.gz`. Every file is read again and must be what the
/// tree says; where one is not, what was written so far is of no use.
pub fn pack(tree: &Tree, dockerfile: &PlacedDockerfile, out: impl Write) -> Result<(), PackError> {
    pack::pack(tree, dockerfile, out)
}

/// Packs into a temporary file without a name.
pub fn spool(tree: &Tree, dockerfile: &PlacedDockerfile) -> Result<Spool, PackError> {
    pack::spool(tree, dockerfile)
}

/// A name at the root of the archive for a Dockerfile that lies outside of the context, or is not
/// the one that lies there: one that the tree does not have.
pub fn lowered_path(tree: &Tree) -> String {
    let mut name = ".imgplan.Dockerfile".to_owned();
    let mut number = 1;
    while tree.get(name.as_bytes()).is_some() {
        number += 1;
        name = format!(".imgplan.{number}.Dockerfile");
    }
    name
}
