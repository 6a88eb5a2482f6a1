//! Turns a Dockerfile's text into facts: its stages, the images that it names, the files that it
//! copies. Pure.
//!
//! The rules are those of BuildKit's `dockerfile.v0` frontend. What a fact says of a place is a
//! range of bytes of the text as written, so that a reference can be replaced and all else stays.

mod heredoc;
mod instruction;
mod lines;
mod lower;
mod parse;
mod platform;
mod read;
mod resolve;
mod shell;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

pub use self::instruction::Stage;
use self::instruction::{Instruction, Pair};
pub use self::lower::{LowerError, LowerSubject};
pub use self::platform::ReferencePlatform;
use crate::base::name::Platform;

/// A Dockerfile that can be built, as far as its text tells.
///
/// ```
/// use imgplan::base::name::Platform;
/// use imgplan::dockerfile::Dockerfile;
///
/// let file = Dockerfile::parse("ARG TAG=3.12\nFROM base:$TAG AS build\nFROM build\n").unwrap();
/// let references = file.references(Platform::Amd64);
/// assert_eq!(references.len(), 1);
/// assert_eq!(references[0].image.as_deref(), Ok("base:3.12"));
/// let sent = file.with_replaced(&[(references[0].span.clone(), "host/me/base:3.12".to_owned())]);
/// assert_eq!(sent, "ARG TAG=3.12\nFROM host/me/base:3.12 AS build\nFROM build\n");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    text: String,
    escape: char,
    /// The `ARG`s before the first `FROM`.
    globals: Vec<Pair>,
    stages: Vec<Stage>,
}

/// Something in a Dockerfile that Docker would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DockerfileError {
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where, in bytes of the text.
    pub span: Range<usize>,
}

impl DockerfileError {
    fn new(message: impl Into<String>, help: impl Into<String>, span: Range<usize>) -> Self {
        Self { message: message.into(), help: Some(help.into()), span }
    }
}

/// Where a Dockerfile names an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReferenceKind {
    /// `FROM image`.
    From,
    /// `COPY --from=image`.
    CopyFrom,
    /// `RUN --mount=from=image`.
    MountFrom,
}

/// An image that a Dockerfile names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// How it is named.
    pub kind: ReferenceKind,
    /// The bytes to replace for another image to take its place.
    pub span: Range<usize>,
    /// Those bytes as text.
    pub text: String,
    /// The image, its variables expanded.
    pub image: Result<String, UnresolvedArg>,
    /// The platform for which it is taken. BuildKit takes what `COPY --from` and mounts name for the
    /// platform that is built, whatever the stage's own.
    pub platform: ReferencePlatform,
}

/// A variable that leaves a reference without meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UnresolvedArg {
    /// The variable's name.
    pub name: String,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// A file, folder or pattern that a Dockerfile copies from the build context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// The path, its variables expanded; as written where they could not be.
    pub path: String,
    /// Where it stands.
    pub span: Range<usize>,
    /// Whether every variable was known.
    pub resolved: bool,
}

/// An `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// Its default as written, quotes included.
    pub default: Option<String>,
    /// The bytes of `NAME` or `NAME=default`.
    pub span: Range<usize>,
    /// The index of the stage that declares it; `None` before the first `FROM`.
    pub stage: Option<usize>,
}

impl Dockerfile {
    /// Reads a Dockerfile, or says everything that is wrong with it, in order.
    pub fn parse(text: &str) -> Result<Self, Vec<DockerfileError>> {
        parse::parse(text)
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The stages, in order; at least one.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Every `ARG`, in order.
    pub fn args(&self) -> Vec<Arg> {
        let of = |stage: Option<usize>| {
            move |pair: &Pair| Arg {
                name: pair.name.clone(),
                default: pair.value.clone(),
                span: pair.span.clone(),
                stage,
            }
        };
        let mut args: Vec<Arg> = self.globals.iter().map(of(None)).collect();
        for (index, stage) in self.stages.iter().enumerate() {
            for instruction in &stage.instructions {
                if let Instruction::Arg(pairs) = instruction {
                    args.extend(pairs.iter().map(of(Some(index))));
                }
            }
        }
        args
    }

    /// The images that it names, in order: in `FROM`, `COPY --from` and `RUN --mount=from=`, where
    /// the name is neither a stage nor `scratch`.
    ///
    /// In names, the builder's own platform (`BUILDPLATFORM` and its kin) is taken to be `platform`
    /// too.
    pub fn references(&self, platform: Platform) -> Vec<Reference> {
        resolve::references(self, platform)
    }

    /// What `COPY` and `ADD` read from the build context, in order: no URLs, no here-documents, and
    /// no `ONBUILD`, which reads another build's context.
    pub fn copy_sources(&self, platform: Platform) -> Vec<CopySource> {
        resolve::copy_sources(self, platform)
    }

    /// The text with the given spans replaced, and nothing else changed. A span that overlaps an
    /// earlier one, or is not one of the text, is left alone.
    pub fn with_replaced(&self, replacements: &[(Range<usize>, String)]) -> String {
        let mut sorted: Vec<_> = replacements.iter().collect();
        sorted.sort_by_key(|(span, _)| (span.start, span.end));
        let mut out = String::with_capacity(self.text.len());
        let mut at = 0;
        for (span, with) in sorted {
            if span.start < at || self.text.get(span.clone()).is_none() {
                continue;
            }
            out.push_str(&self.text[at..span.start]);
            out.push_str(with);
            at = span.end;
        }
        out.push_str(&self.text[at..]);
        out
    }
}

impl fmt::Display for Dockerfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
