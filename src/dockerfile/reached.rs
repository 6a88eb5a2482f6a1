//! The paths and triggers that a build reaches. Pure.

use std::ops::Range;

use super::instruction::{Instruction, Mount, SpannedText};

/// An `ONBUILD` trigger of an image. A build that is based on the image runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger(pub(super) Instruction);

impl Trigger {
    /// Returns true if the platform of the machine that builds may change what the trigger reads.
    pub(super) fn may_depend_on_builder(&self) -> bool {
        let mentions = |text: &SpannedText| text.value.contains("BUILD");
        let in_mount = |mount: &Mount| mount.fields.iter().any(|(_, v)| v.iter().any(mentions));
        match &self.0 {
            Instruction::Copy(copy) => copy.sources.iter().any(mentions),
            Instruction::Run { mounts } => mounts.iter().any(in_mount),
            Instruction::Arg(_) | Instruction::Env(_) => true,
            Instruction::Onbuild(_) | Instruction::Other => false,
        }
    }
}

/// The instruction that reads a path of the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReadBy {
    /// `COPY`.
    Copy,
    /// `ADD`.
    Add,
    /// `RUN --mount=type=bind`, in which a pattern has no meaning.
    Mount,
}

/// A file, folder or pattern that a build reads from its context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReachedPath {
    /// The path as written, with variables expanded; the text itself if a variable is not known.
    pub path: String,
    /// True if every variable was known.
    pub resolved: bool,
    /// The instruction.
    pub read_by: ReadBy,
    /// The patterns of `--exclude`.
    pub excludes: Vec<String>,
    /// True for `--parents`.
    pub parents: bool,
    /// The byte range of the path in the text; `None` for a trigger from outside of the file.
    pub span: Option<Range<usize>>,
    /// False if the platform of the machine that builds decides whether the path is read.
    pub certain: bool,
}

impl ReachedPath {
    /// Returns the path from the root of the context, as BuildKit follows it: without `.`, `..`,
    /// slashes around it and repeated slashes. Empty for the whole context.
    pub fn path_from_root(&self) -> String {
        from_root(&self.path)
    }
}

/// Returns a path without `.`, `..`, slashes around it and repeated slashes. `..` does not leave the
/// root.
pub(crate) fn from_root(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Something that an instruction of a stage reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StageInput {
    Stage(usize),
    /// The image that the name at this byte of the text refers to.
    Image(usize),
    Context,
}
