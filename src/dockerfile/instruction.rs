//! The instructions that matter here, and the stages that hold them.

use std::ops::Range;

/// A text and its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The text, quotes of flags and JSON undone.
    pub(super) value: String,
    pub(super) span: Range<usize>,
}

/// A name and perhaps a value, both not yet expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) span: Range<usize>,
}

/// An instruction, as far as it decides what a build reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Instruction {
    Arg(Vec<Pair>),
    Env(Vec<Pair>),
    Copy { add: bool, from: Option<Place>, sources: Vec<Place> },
    Run { mounts: Vec<Place> },
    Onbuild(Box<Instruction>),
    Other,
}

/// What one FROM begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The name after `AS`, in lower case, as Docker compares it.
    pub name: Option<String>,
    /// From the first byte of FROM to the next stage, or to the end.
    pub span: Range<usize>,
    pub(super) base: Place,
    /// What `--platform` says, not yet expanded.
    pub(super) platform: Option<String>,
    pub(super) instructions: Vec<Instruction>,
}
