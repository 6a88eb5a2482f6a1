//! Writes build arguments and the target stage into the text of a Dockerfile, for a builder that
//! accepts neither. Pure.
//!
//! If an argument is set, BuildKit uses its value at every `ARG` of that name, ignores the default
//! and expands nothing in the value. So the lowered default is the value, in quotes that prevent
//! expansion.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::instruction::{Assignment, Instruction};
use super::model::{Dockerfile, DockerfileError};
use crate::base::nearest::nearest;
use crate::base::text::list;

#[cfg(test)]
mod tests;

/// The arguments that BuildKit treats as proxies, declared or not, whatever their case.
const PROXY_ARGS: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// The arguments that BuildKit sets from the platforms.
const PLATFORM_ARGS: [&str; 10] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
];

/// Maximum length of a line that BuildKit reads, in bytes, including its line break.
const MAX_LINE_BYTES: usize = 65_535;

/// Maximum number of stages that an error lists.
const MAX_STAGES_SHOWN: usize = 10;

/// An argument or a target that cannot be written into the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LowerError {
    /// The argument, or the target.
    pub subject: LowerSubject,
    /// The problem, in one sentence without a full stop.
    pub message: String,
    /// The way to fix it.
    pub help: String,
}

/// The input that cannot be lowered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LowerSubject {
    /// The argument with this name.
    Arg(String),
    /// The target stage.
    Target,
}

impl Dockerfile {
    /// Returns the file with `args` as the defaults of its ARGs, cut off after the stage `target`.
    /// Building the result without arguments makes the same image as building this file with
    /// `docker build --build-arg … --target …`.
    ///
    /// `target` is the name of a stage, in any case, or its index. If several stages have the
    /// name, it selects the last; an empty target selects none. (An index is an addition: BuildKit
    /// accepts one in `COPY --from` only.) An ARG after ONBUILD gets the value too if a later stage
    /// may run the trigger; in the last stage, a trigger is part of the image and stays as it is.
    /// A stage that copies from a stage after the target is not built
    /// ([`order_errors`](Self::order_errors) reports the others), and copies from `scratch` instead.
    /// The rest of the text does not change.
    ///
    /// # Errors
    ///
    /// Fails with everything that cannot be lowered: the arguments by name, then the target. An
    /// argument must not be reserved by BuildKit, and its value must fit into a line. An argument
    /// that no ARG declares has no effect; [`unused_args`](Self::unused_args) returns it.
    ///
    /// ```
    /// use imgplan::test_support::dockerfile::Dockerfile;
    ///
    /// let text = "ARG TAG=1\nFROM a:$TAG AS build\n# of the next\nFROM b\n";
    /// let file = Dockerfile::parse(text).unwrap();
    /// let args = [("TAG".to_owned(), "$2".to_owned())].into();
    /// let lowered = file.lowered(&args, Some("build")).unwrap();
    /// assert_eq!(lowered.text(), "ARG TAG='$2'\nFROM a:$TAG AS build\n");
    /// ```
    pub fn lowered(
        &self,
        args: &BTreeMap<String, String>,
        target: Option<&str>,
    ) -> Result<Self, Vec<LowerError>> {
        let target = self.target_index(target);
        let last = target.as_ref().ok().copied().flatten();
        let declared = self.declared(last);
        let mut errors = Vec::new();
        for (name, value) in args {
            let error = |(message, help)| {
                let subject = LowerSubject::Arg(name.clone());
                LowerError { subject, message, help }
            };
            let is_declared = declares(&declared, name);
            errors.extend(reserved(name).or_else(|| invalid_name(name)).map(error));
            errors.extend(invalid_value(name, value).filter(|_| is_declared).map(error));
        }
        errors.extend(target.err());
        if !errors.is_empty() {
            return Err(errors);
        }
        let replacement = |arg: &Assignment| {
            let value = args.get(&arg.name)?;
            Some((arg.span.clone(), format!("{}={}", arg.name, quoted(value))))
        };
        let mut replacements: Vec<_> = declared.into_iter().filter_map(replacement).collect();
        self.check_line_lengths(&replacements)?;
        replacements.extend(self.names_after(last));
        let target = last.and_then(|index| self.stages.get(index));
        replacements.extend(target.map(|stage| (stage.span.end..self.text.len(), String::new())));
        Self::parse(&self.with_replaced(&replacements)).map_err(|errors| unreadable(&errors))
    }

    /// Returns a warning for each argument that has no effect, because no ARG of the build declares
    /// it. Docker warns about these too. [`lowered`](Self::lowered) reports wrong names and a wrong
    /// target.
    pub fn unused_args(
        &self,
        args: &BTreeMap<String, String>,
        target: Option<&str>,
    ) -> Vec<LowerError> {
        let Ok(last) = self.target_index(target) else { return Vec::new() };
        let declared = self.declared(last);
        let warning = |name: &String| {
            if reserved(name).or_else(|| invalid_name(name)).is_some() {
                return None;
            }
            let (message, help) = self.undeclared(name, &declared)?;
            Some(LowerError { subject: LowerSubject::Arg(name.clone()), message, help })
        };
        args.keys().filter_map(warning).collect()
    }

    /// Returns the index of the stage that `target` selects; `None` for the last stage.
    pub(super) fn target_index(&self, target: Option<&str>) -> Result<Option<usize>, LowerError> {
        let target = target.filter(|name| !name.is_empty());
        target.map(|name| self.stage_index(name)).transpose()
    }

    fn stage_index(&self, target: &str) -> Result<usize, LowerError> {
        if let Some(index) = self.stage_names.last(target, self.stages.len()) {
            return Ok(index);
        }
        if let Some(index) = target.parse().ok().filter(|index| *index < self.stages.len()) {
            return Ok(index);
        }
        let lower = target.to_lowercase();
        let names: BTreeSet<&str> =
            self.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
        let mut names: Vec<(usize, &str)> = names
            .into_iter()
            .map(|name| (strsim::damerau_levenshtein(&lower, name), name))
            .collect();
        names.sort_unstable();
        let list = list(names.iter().map(|(_, name)| format!("`{name}`")), MAX_STAGES_SHOWN);
        let help = match names.len() {
            0 => "no stage has a name: add one with `FROM <image> AS <name>`".to_owned(),
            1 => format!("the only named stage is {list}"),
            _ => format!("the named stages are {list}"),
        };
        let message = format!("the Dockerfile has no stage `{}`", target.escape_debug());
        Err(LowerError { subject: LowerSubject::Target, message, help })
    }

    /// Returns every ARG that applies to a build of the stages up to `last`, or of all.
    fn declared(&self, last: Option<usize>) -> Vec<&Assignment> {
        let kept = last.map_or(self.stages.len(), |index| index + 1);
        let mut declared: Vec<&Assignment> = self.globals.iter().collect();
        for (index, stage) in self.stages.iter().take(kept).enumerate() {
            for instruction in &stage.instructions {
                match instruction {
                    Instruction::Arg(args) => declared.extend(args),
                    Instruction::Onbuild(trigger) if index + 1 < kept => {
                        if let Instruction::Arg(args) = &**trigger {
                            declared.extend(args);
                        }
                    }
                    _ => {}
                }
            }
        }
        declared
    }

    /// Returns message and help if no ARG declares the name.
    fn undeclared(&self, name: &str, declared: &[&Assignment]) -> Option<(String, String)> {
        if declares(declared, name) {
            return None;
        }
        let shown = name.escape_debug();
        if is_proxy(name) {
            // Docker sets it in every RUN of every stage, in upper and lower case, but not in the
            // image.
            return Some((
                format!("`{shown}` is not passed on: no ARG can pass a proxy to every RUN"),
                format!("declare `ARG {shown}` in each stage that needs it, or remove the value"),
            ));
        }
        if name.starts_with("BUILDKIT_") {
            let message = format!("`{shown}` is a setting of BuildKit, which is not passed on");
            return Some((message, "remove it: the service configures its builder".to_owned()));
        }
        let message = format!("the Dockerfile does not declare `{shown}`");
        let known: Vec<&str> = declared.iter().map(|arg| arg.name.as_str()).collect();
        let help = if self.args().iter().any(|arg| arg.name == name) {
            "its ARG comes after the target stage and is not built: remove the value".to_owned()
        } else if name == "SOURCE_DATE_EPOCH" {
            format!(
                "the service sets the times of the image; to read the value in a RUN, declare \
                 `ARG {shown}`"
            )
        } else if let Some(near) = nearest(name, &known) {
            format!("did you mean `{near}`?")
        } else {
            format!("declare it with `ARG {shown}`")
        };
        Some((message, help))
    }

    /// Fails if the replacements, which are in order, make a line too long for BuildKit.
    fn check_line_lengths(
        &self,
        replacements: &[(Range<usize>, String)],
    ) -> Result<(), Vec<LowerError>> {
        let mut lines: Vec<ChangedLine> = Vec::new();
        for (span, replacement) in replacements {
            let line_end = |at: usize| {
                self.text[at..].find('\n').map_or(self.text.len(), |length| at + length + 1)
            };
            let end_of_last = lines.last().map_or(0, |line| line.span.end);
            if span.start >= end_of_last {
                let start = self.text[end_of_last..span.start].rfind('\n');
                let start = start.map_or(end_of_last, |length| end_of_last + length + 1);
                let span = start..line_end(span.end);
                lines.push(ChangedLine { length: span.len(), span, args: BTreeSet::new() });
            }
            let Some(line) = lines.last_mut() else { continue };
            // A default that was continued over several lines becomes part of one line.
            if span.end > line.span.end {
                let joined = line.span.end..line_end(span.end);
                line.length += joined.len();
                line.span.end = joined.end;
            }
            line.length = line.length - span.len() + replacement.len();
            line.args.extend(replacement.split('=').next());
        }
        let too_long = lines.iter().filter(|line| line.length > MAX_LINE_BYTES);
        let names: BTreeSet<&str> = too_long.flat_map(|line| &line.args).copied().collect();
        let error = |name: &str| LowerError {
            subject: LowerSubject::Arg(name.to_owned()),
            message: format!("the value of `{}` is too long", name.escape_debug()),
            help: "a line of a Dockerfile may have 64 KiB: put the value into a file that the \
                   Dockerfile copies"
                .to_owned(),
        };
        if names.is_empty() { Ok(()) } else { Err(names.into_iter().map(error).collect()) }
    }
}

/// A line of the Dockerfile that argument values are written into.
struct ChangedLine<'w> {
    /// The byte range of the line in the original text.
    span: Range<usize>,
    /// The length of the new line, in bytes.
    length: usize,
    /// The names of the arguments.
    args: BTreeSet<&'w str>,
}

fn declares(declared: &[&Assignment], name: &str) -> bool {
    declared.iter().any(|arg| arg.name == name)
}

fn is_proxy(name: &str) -> bool {
    PROXY_ARGS.contains(&name.to_ascii_lowercase().as_str())
}

/// Returns message and help if BuildKit gives the name a meaning without an ARG that changes the
/// image.
fn reserved(name: &str) -> Option<(String, String)> {
    let shown = name.escape_debug();
    if PLATFORM_ARGS.contains(&name) {
        // Docker allows overriding it, even for a FROM without an ARG before it.
        return Some((
            format!("the builder sets `{shown}` from the platform"),
            "remove it, and set `platforms:`".to_owned(),
        ));
    }
    if name == "TARGETSTAGE" {
        return Some((
            format!("the builder sets `{shown}` to the stage that is built"),
            "remove it, and set `target:`".to_owned(),
        ));
    }
    if name == "BUILDKIT_SYNTAX" {
        let help = "write it in the first line of the Dockerfile: `# syntax=<image>`";
        return Some((format!("`{shown}` is a setting of BuildKit, not an ARG"), help.to_owned()));
    }
    None
}

/// Returns message and help if an ARG cannot have the name.
fn invalid_name(name: &str) -> Option<(String, String)> {
    let invalid = |c: char| c.is_whitespace() || c.is_control() || "'\"\\`$=".contains(c);
    (name.is_empty() || name.contains(invalid)).then(|| {
        (
            format!("invalid ARG name `{}`", name.escape_debug()),
            "use letters, digits and `_`".to_owned(),
        )
    })
}

/// Returns message and help if an ARG cannot hold the value.
fn invalid_value(name: &str, value: &str) -> Option<(String, String)> {
    let content = match value.chars().find(|c| matches!(c, '\n' | '\0'))? {
        '\n' => "a line break",
        _ => "a NUL byte",
    };
    Some((
        format!("the value of `{}` contains {content}, which no ARG can hold", name.escape_debug()),
        "put the value into a file that the Dockerfile copies".to_owned(),
    ))
}

/// Returns a word that expands to exactly this value, whatever the escape character of the file.
/// Single quotes keep everything literal; a single quote itself is written in double quotes.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+,%=".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', "'\"'\"'"))
}

/// Turns the errors of a lowered text that cannot be parsed into errors of lowering. Such a text is
/// a bug of this module; none is known.
fn unreadable(errors: &[DockerfileError]) -> Vec<LowerError> {
    let lowered = |error: &DockerfileError| LowerError {
        subject: LowerSubject::Target,
        message: format!("after writing the arguments and the target into it: {error}"),
        help: "write the arguments into the Dockerfile by hand".to_owned(),
    };
    errors.iter().map(lowered).collect()
}
