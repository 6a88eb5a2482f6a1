//! Scans a build context: finds the files that are sent to the build, computes their digest, and
//! packs them into an archive.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use imgplan::test_support::context::{self, DockerfileToSend, Placement, ScanRequest};
//!
//! let root = Path::new("services/api").into();
//! let request = ScanRequest { root, dockerfile: None, reads: None };
//! let tree = context::scan_all(&[request], None).unwrap().remove(0);
//! println!("{} files, {} bytes", tree.files(), tree.size());
//! let text = "FROM scratch\n".to_owned();
//! let dockerfile = DockerfileToSend { inside: Some("Dockerfile"), is_changed: false, text };
//! let archive = context::spool(&tree, &Placement::new(&tree, dockerfile)).unwrap();
//! ```

pub(crate) mod cache;
mod cache_file;
pub(crate) mod changes;
mod content;
mod dir;
mod error;
mod files;
pub(crate) mod follow;
pub(crate) mod history;
pub(crate) mod ignore;
mod lazy_dir;
pub(crate) mod lint;
mod listing;
mod names;
pub(crate) mod pack;
mod path;
mod pattern;
mod permissions;
pub(crate) mod placement;
mod rules;
pub(crate) mod scan;
mod selection;
mod shared_listings;
mod stat;
mod tree;
mod tree_reader;
mod walk;

#[cfg(test)]
mod cache_tests;
#[cfg(test)]
mod tests;

pub(crate) use self::cache::StatCache;
pub(crate) use self::changes::{FileChange, FileList, changes};
pub(crate) use self::error::{PackError, ScanError};
pub(crate) use self::follow::{ContextRead, ReadMatch, read_match};
pub(crate) use self::history::{BuiltContext, History};
pub(crate) use self::listing::EntryKind;
pub(crate) use self::pack::{Spool, pack, spool};
pub(crate) use self::path::RelPath;
pub(crate) use self::placement::{DockerfileToSend, Placement};
pub(crate) use self::rules::{Explanation, IgnoreRules};
pub(crate) use self::scan::{ScanRequest, scan_all, scan_names};
pub(crate) use self::selection::escape as escape_pattern;
pub(crate) use self::tree::Tree;
