//! The instructions that decide what a build reads, and the stages that contain them. Pure.

use std::ops::Range;

use crate::base::digest::Digest;

/// The keywords of all instructions in Docker's reference.
pub(super) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A text and its byte range in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpannedText {
    /// The text, without the quotes of flags and JSON strings.
    pub(super) value: String,
    pub(super) span: Range<usize>,
}

/// `NAME` or `NAME=value` in an `ARG` or `ENV`, with variables not yet expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) span: Range<usize>,
}

/// A `COPY` or `ADD`, with variables not yet expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CopyInstruction {
    /// True for `ADD`.
    pub(super) add: bool,
    pub(super) from: Option<SpannedText>,
    /// The sources, without here-documents.
    pub(super) sources: Vec<SpannedText>,
    pub(super) destination: Option<SpannedText>,
    /// The values of `--exclude`, in which Docker expands no variables.
    pub(super) excludes: Vec<String>,
    /// True for `--parents`.
    pub(super) parents: bool,
}

/// A `--mount` of a `RUN`, with variables not yet expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) span: Range<usize>,
    pub(super) from: Option<SpannedText>,
    /// The keys in lower case and their values, in order. Of equal keys, the last counts.
    pub(super) fields: Vec<(String, Option<SpannedText>)>,
}

/// The parts of an instruction that decide what a build reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Instruction {
    Arg(Vec<Assignment>),
    Env(Vec<Assignment>),
    /// Boxed, because most instructions are others.
    Copy(Box<CopyInstruction>),
    Run {
        mounts: Vec<Mount>,
    },
    Onbuild(Box<Instruction>),
    Other,
}

/// A build stage: one `FROM` and the instructions after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The name after `AS`, in lower case, because Docker ignores the case of stage names.
    pub name: Option<String>,
    /// The byte range from the `FROM` to the next stage, or to the end of the file.
    pub span: Range<usize>,
    /// The digest of the instructions, without comments and with continued lines joined.
    pub(super) digest: Digest,
    pub(super) base: SpannedText,
    /// The value of `--platform`, with variables not yet expanded.
    pub(super) platform: Option<String>,
    pub(super) instructions: Vec<Instruction>,
}
