//! Caches what was read while a manifest is expanded: the rows of a matrix use the same files and
//! folders. Pure.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::lines::SourceList;
use crate::base::span::{Problem, Span};

/// Files and folders that were read.
#[derive(Debug, Default)]
pub(super) struct ReadCache {
    /// Files of references, or the reason why a file cannot be read.
    pub(super) lists: HashMap<PathBuf, Rc<Result<SourceList, String>>>,
    /// Results of searches.
    pub(super) searches: HashMap<Search, Rc<Result<Found, Problem>>>,
    /// Harbor tasks.
    pub(super) tasks: HashMap<PathBuf, Rc<Result<HarborTask, Problem>>>,
}

/// A search for folders with a Dockerfile, or for Dockerfiles.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Search {
    pub(super) dir: PathBuf,
    pub(super) pattern: String,
    pub(super) excludes: Vec<String>,
    /// Path of the Dockerfile in each folder, which may contain templates. `None` to search for
    /// Dockerfiles.
    pub(super) dockerfile: Option<String>,
}

/// Result of a search.
#[derive(Debug)]
pub(super) struct Found {
    /// Folders with a Dockerfile, or Dockerfiles, sorted.
    pub(super) paths: Vec<String>,
    /// Number of folders without a Dockerfile.
    pub(super) without_dockerfile: usize,
}

/// A Harbor task, as far as it concerns the image.
#[derive(Debug, Default)]
pub(super) struct HarborTask {
    pub(super) name: Option<String>,
    pub(super) image: Option<(String, Span)>,
    pub(super) timeout: Option<(Duration, Span)>,
}
