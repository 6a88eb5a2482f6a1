//! Turns a folder into the files that a build is sent, a digest of them, and an archive.
//!
//! ```no_run
//! use std::path::Path;
//! use imgplan::context::{self, Placement};
//!
//! let tree = context::scan(Path::new("services/api"), None)?;
//! println!("{} files, {} bytes, {}", tree.files(), tree.size(), tree.digest());
//! let dockerfile = Placement::of(&tree, Some("Dockerfile"), "FROM scratch\n".to_owned());
//! let archive = context::spool(&tree, &dockerfile)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod cache_file;
mod changes;
mod content;
mod dir;
mod error;
mod files;
mod history;
pub mod ignore;
pub mod lint;
mod listing;
mod names;
mod pack;
mod path;
mod pattern;
mod placement;
mod rules;
mod scan;
mod stat;
mod tree;
mod tree_reader;
mod walk;

#[cfg(test)]
mod cache_tests;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

pub use self::cache::StatCache;
pub use self::changes::{ChangeKind, FileChange, FileList, changes};
pub use self::error::{PackError, ScanError, ScanProblem};
pub use self::history::{BuiltContext, History};
pub use self::pack::Spool;
pub use self::placement::{PlacedFile, Placement};
pub use self::rules::{Explanation, IgnoreRules};
pub use self::scan::ScanRequest;
pub use self::tree::{EntryKind, RelPath, Tree, TreeEntry};

/// Reads a context: every path that Docker would send, and the digest of every file.
///
/// `dockerfile` is the full path of the Dockerfile: a `.dockerignore` of its own,
/// `<Dockerfile>.dockerignore`, wins over the one at the root. Links are kept as links and never
/// followed. Files of imgplan itself (`.imgplan/`, `imgplan.lock`) are left out wherever they
/// are, and no `!` brings them back: they change with every run.
pub fn scan(root: &Path, dockerfile: Option<&Path>) -> Result<Tree, ScanError> {
    let wanted = ScanRequest { root: root.to_owned(), dockerfile: dockerfile.map(Path::to_owned) };
    let mut trees = scan_all(&[wanted], None).map_err(|mut errors| errors.remove(0))?;
    Ok(Arc::unwrap_or_clone(trees.remove(0)))
}

/// Reads many contexts at once, each folder and each file once however many share them; or says
/// everything that is wrong with any of them.
///
/// What has not changed since the `cache` was written is not read. It is written anew where something
/// changed. It only ever saves time: one that is missing or
/// damaged is as good as none, and one that cannot be written is done without.
pub fn scan_all(
    wanted: &[ScanRequest],
    cache: Option<StatCache>,
) -> Result<Vec<Arc<Tree>>, Vec<ScanError>> {
    scan::scan_all(wanted, cache)
}

/// The rules that a context follows, without a look at what is in it.
pub fn rules(root: &Path, dockerfile: Option<&Path>) -> Result<IgnoreRules, ScanError> {
    IgnoreRules::find(root, dockerfile, &rules::RulesCache::default())
        .map_err(|all| ScanError::new(root, all))
}

/// Writes a tree and its Dockerfile as a `tar.gz`, and gives back what it was written to. Every
/// file is read again and must be what the tree says; where one is not, what was written so far is
/// of no use. Not to be called from a thread of rayon's pool, which does the work.
pub fn pack<W: Write>(tree: &Tree, placement: &Placement, out: W) -> Result<W, PackError> {
    pack::pack(tree, placement, out)
}

/// Packs into a temporary file without a name, as [`pack()`] does.
pub fn spool(tree: &Tree, placement: &Placement) -> Result<Spool, PackError> {
    pack::spool(tree, placement)
}
