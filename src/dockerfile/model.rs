//! The parsed Dockerfile and the facts that are read from it. Pure.

use std::ops::Range;
use std::sync::Arc;

use super::instruction::{Assignment, Instruction, Stage};
use super::platform::ReferencePlatform;
use super::stage_names::StageNames;

/// A Dockerfile without syntax errors.
///
/// ```
/// use imgplan::test_support::base::name::Platform;
/// use imgplan::test_support::dockerfile::Dockerfile;
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
    pub(super) text: Arc<str>,
    /// The character that escapes and that continues lines: `\`, or a backtick.
    pub(super) escape: char,
    /// The value of the directive `syntax`: the image of the frontend, which reads the file.
    pub(super) syntax: Option<String>,
    /// The `ARG`s before the first `FROM`.
    pub(super) globals: Vec<Assignment>,
    pub(super) stages: Vec<Stage>,
    pub(super) stage_names: StageNames,
}

/// A problem in a Dockerfile that makes Docker reject it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DockerfileError {
    /// The problem, in one sentence without a full stop.
    pub message: String,
    /// The way to fix it.
    pub help: Option<String>,
    /// The byte range of the text that is wrong.
    pub span: Range<usize>,
}

impl DockerfileError {
    pub(super) fn new(
        message: impl Into<String>,
        help: impl Into<String>,
        span: Range<usize>,
    ) -> Self {
        Self { message: message.into(), help: Some(help.into()), span }
    }
}

/// The instruction that uses an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReferenceKind {
    /// `FROM image`.
    From,
    /// `COPY --from=image`.
    CopyFrom,
    /// `RUN --mount=from=image`.
    MountFrom,
}

/// An image that a Dockerfile uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The instruction that uses the image.
    pub kind: ReferenceKind,
    /// The byte range to overwrite in order to use another image.
    pub span: Range<usize>,
    /// The text of `span`.
    pub text: String,
    /// The image, with variables expanded.
    pub image: Result<String, UnresolvedArg>,
    /// The platform of the image. For `COPY --from` and mounts, BuildKit uses the platform of the
    /// build, whatever the platform of the stage.
    pub platform: ReferencePlatform,
    /// True if the build needs it. Docker refuses some references in stages that it does not need.
    pub needed: bool,
    /// True if the build reads content of the image. A mount of another type than `bind` and
    /// `cache` names an image that is looked up and not pulled.
    pub pulled: bool,
}

/// A variable without a value, which leaves a reference without meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UnresolvedArg {
    /// The name of the variable.
    pub name: String,
    /// The problem, in one sentence without a full stop.
    pub message: String,
    /// The way to fix it.
    pub help: String,
}

/// One name that an `ARG` declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// The name.
    pub name: String,
    /// The default as written, including its quotes.
    pub default: Option<String>,
    /// The byte range of `NAME` or `NAME=default`.
    pub span: Range<usize>,
    /// The index of the stage that declares it; `None` before the first `FROM`.
    pub stage: Option<usize>,
}

impl Dockerfile {
    /// Returns the original text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the original text, which the caller may keep without a copy.
    pub(crate) fn shared_text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// Returns the stages in order; there is at least one.
    #[cfg(feature = "test-support")]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Returns every `ARG` in order.
    pub fn args(&self) -> Vec<ArgDeclaration> {
        let declared_in = |stage: Option<usize>| {
            move |arg: &Assignment| ArgDeclaration {
                name: arg.name.clone(),
                default: arg.value.clone(),
                span: arg.span.clone(),
                stage,
            }
        };
        let mut args: Vec<ArgDeclaration> = self.globals.iter().map(declared_in(None)).collect();
        for (index, stage) in self.stages.iter().enumerate() {
            for instruction in &stage.instructions {
                if let Instruction::Arg(declared) = instruction {
                    args.extend(declared.iter().map(declared_in(Some(index))));
                }
            }
        }
        args
    }

    /// Returns the text with the given byte ranges replaced. A range that overlaps an earlier one,
    /// or that is not within the text, is ignored.
    pub fn with_replaced(&self, replacements: &[(Range<usize>, String)]) -> String {
        let mut sorted: Vec<_> = replacements.iter().collect();
        sorted.sort_by_key(|(span, _)| (span.start, span.end));
        let mut replaced = String::with_capacity(self.text.len());
        let mut end_of_last = 0;
        for (span, replacement) in sorted {
            if span.start < end_of_last || self.text.get(span.clone()).is_none() {
                continue;
            }
            replaced.push_str(&self.text[end_of_last..span.start]);
            replaced.push_str(replacement);
            end_of_last = span.end;
        }
        replaced.push_str(&self.text[end_of_last..]);
        replaced
    }
}
