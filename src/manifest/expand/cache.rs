//! Remembers what was read and found while one manifest is expanded: the rows of a matrix ask for the
//! same files and folders again. Pure.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use super::lines::Line;
use crate::base::span::{Problem, Span};

/// What was read and found so far.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Files of references, or why one cannot be read.
    pub(super) lists: HashMap<PathBuf, Rc<Result<List, String>>>,
    /// What discoveries found, or why they cannot.
    pub(super) folders: HashMap<Search, Rc<Result<Folders, Problem>>>,
    /// Tasks, or what is wrong with them.
    pub(super) tasks: HashMap<PathBuf, Rc<Result<Task, Problem>>>,
}

/// A file of references.
#[derive(Debug)]
pub(super) struct List {
    pub(super) lines: Vec<Line>,
    /// What is wrong with other lines.
    pub(super) problems: Vec<Problem>,
}

/// What a discovery looks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Search {
    pub(super) dir: PathBuf,
    pub(super) pattern: String,
    pub(super) excludes: Vec<String>,
    /// The Dockerfile's name in each folder, with its templates.
    pub(super) dockerfile: String,
}

/// The folders that a discovery found.
#[derive(Debug)]
pub(super) struct Folders {
    /// Those with a Dockerfile, in order.
    pub(super) found: Vec<String>,
    /// How many have none.
    pub(super) without: usize,
}

/// What a task says about its image.
#[derive(Debug, Default)]
pub(super) struct Task {
    pub(super) name: Option<String>,
    pub(super) image: Option<(String, Span)>,
    /// In milliseconds.
    pub(super) timeout: Option<(u64, Span)>,
}
