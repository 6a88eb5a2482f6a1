//! Scans a build context: finds the files that are sent to the build, computes their digest, and
//! packs them into an archive.
//!
//! ```no_run
//! use imgplan::context::{self, Placement, ScanRequest};
//!
//! let request = ScanRequest { root: "services/api".into(), dockerfile: None };
//! let tree = context::scan_all(&[request], None).unwrap().remove(0);
//! println!("{} files, {} bytes", tree.files(), tree.size());
//! let dockerfile = Placement::new(&tree, Some("Dockerfile"), "FROM scratch\n".to_owned());
//! let archive = context::spool(&tree, &dockerfile).unwrap();
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

pub use self::cache::StatCache;
pub use self::changes::{ChangeKind, FileChange, FileList, changes};
pub use self::error::{PackError, ScanError, ScanProblem};
pub use self::history::{BuiltContext, History};
pub use self::listing::EntryKind;
pub use self::pack::{Spool, pack, spool};
pub use self::path::RelPath;
pub use self::placement::{PlacedFile, Placement};
pub use self::rules::{Explanation, IgnoreRules};
pub use self::scan::{ScanRequest, scan_all};
pub use self::tree::{Tree, TreeEntry};
