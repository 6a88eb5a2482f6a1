//! Puts build arguments and the target stage into a Dockerfile's own text, for a builder that takes
//! neither. Pure.
//!
//! What BuildKit does with an argument that is given, at every `ARG` of its name: it sets the
//! variable to the value, and looks at no default. It expands nothing in the value. So the lowered
//! default is the value between quotes that keep it from being expanded.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::instruction::{Instruction, Pair};
use super::{Dockerfile, DockerfileError};
use crate::base::nearest::nearest;

#[cfg(test)]
mod tests;

/// The arguments that BuildKit takes for proxies, in any case of their letters, declared or not.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// The arguments that BuildKit sets by itself from the platforms.
const PLATFORM: [&str; 10] = [
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

/// The arguments of that prefix which BuildKit reads where they are declared.
const DECLARED: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Bytes of the longest line that BuildKit reads, its end included.
const MAX_LINE: usize = 65_535;

/// Stages that an error names.
const MAX_NAMED: usize = 10;

/// Why an argument or a target cannot be lowered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LowerError {
    /// What cannot be lowered.
    pub subject: LowerSubject,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// What cannot be lowered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LowerSubject {
    /// The argument of this name.
    Arg(String),
    /// The target stage.
    Target,
}

impl Dockerfile {
    /// The same file with `args` as the defaults of its ARGs, cut after the stage `target`: what a
    /// build without arguments and target makes of it is what `docker build --build-arg …
    /// --target …` makes of this one.
    ///
    /// A target is a stage's name in any case, or its index; of several stages of a name it is the
    /// last; an empty one is none. (BuildKit knows no index here, only `COPY --from` does.) An ARG
    /// behind ONBUILD gets the value too, where a later stage may carry the trigger out; in the
    /// last stage a trigger is part of the image, and stays as it is written. All else of the text
    /// stays. Says everything that cannot be lowered: the arguments by name, then the target.
    ///
    /// ```
    /// use imgplan::dockerfile::Dockerfile;
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
        let target = target.filter(|name| !name.is_empty());
        let target = target.map(|name| self.target(name)).transpose();
        let last = target.as_ref().ok().copied().flatten();
        let kept = last.map_or(self.stages.len(), |index| index + 1);
        let declared = self.declared(kept);
        let mut errors = Vec::new();
        for (name, value) in args {
            let cannot = |(message, help)| {
                let subject = LowerSubject::Arg(name.clone());
                LowerError { subject, message, help }
            };
            let refused = reserved(name).or_else(|| bad_name(name));
            let refused = refused.or_else(|| self.undeclared(name, &declared));
            errors.extend(refused.map(cannot));
            errors.extend(bad_value(name, value).map(cannot));
        }
        errors.extend(target.err());
        if !errors.is_empty() {
            return Err(errors);
        }
        let given = |pair: &&Pair| args.contains_key(&pair.name);
        let write = |pair: &Pair| {
            let value = args.get(&pair.name).map(|value| quoted(value)).unwrap_or_default();
            (pair.span.clone(), format!("{}={value}", pair.name))
        };
        let mut replaced: Vec<_> = declared.into_iter().filter(given).map(write).collect();
        self.check_lines(&replaced)?;
        let rest = last.and_then(|index| self.stages.get(index));
        replaced.extend(rest.map(|stage| (stage.span.end..self.text.len(), String::new())));
        Self::parse(&self.with_replaced(&replaced)).map_err(|errors| unreadable(&errors))
    }

    /// The index of the stage that a target names.
    fn target(&self, target: &str) -> Result<usize, LowerError> {
        let named = |name: &String| name.eq_ignore_ascii_case(target);
        if let Some(index) =
            self.stages.iter().rposition(|stage| stage.name.as_ref().is_some_and(named))
        {
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
        let named = names.iter().take(MAX_NAMED).map(|(_, name)| format!("`{name}`"));
        let list = named.collect::<Vec<_>>().join(", ");
        let help = match names.len() {
            0 => "no stage has a name: give it one, `FROM <image> AS <name>`".to_owned(),
            1 => format!("the only stage with a name is {list}"),
            all if all > MAX_NAMED => {
                format!("its stages are {list} and {} more", all - MAX_NAMED)
            }
            _ => format!("its stages are {list}"),
        };
        let message = format!("the Dockerfile has no stage `{}`", target.escape_debug());
        Err(LowerError { subject: LowerSubject::Target, message, help })
    }

    /// Every ARG that a build of the first `kept` stages comes by.
    fn declared(&self, kept: usize) -> Vec<&Pair> {
        let mut declared: Vec<&Pair> = self.globals.iter().collect();
        for (index, stage) in self.stages.iter().take(kept).enumerate() {
            for instruction in &stage.instructions {
                match instruction {
                    Instruction::Arg(pairs) => declared.extend(pairs),
                    Instruction::Onbuild(trigger) if index + 1 < kept => {
                        if let Instruction::Arg(pairs) = &**trigger {
                            declared.extend(pairs);
                        }
                    }
                    _ => {}
                }
            }
        }
        declared
    }

    /// What is wrong with a name that no ARG declares.
    fn undeclared(&self, name: &str, declared: &[&Pair]) -> Option<(String, String)> {
        if declared.iter().any(|pair| pair.name == name) {
            return None;
        }
        let shown = name.escape_debug();
        let message = format!("the Dockerfile does not declare `{shown}`");
        let known: Vec<&str> = declared.iter().map(|pair| pair.name.as_str()).collect();
        let help = if self.args().iter().any(|arg| arg.name == name) {
            "its ARG stands after the target, and is not part of the build: leave it out".to_owned()
        } else if name == "SOURCE_DATE_EPOCH" {
            format!(
                "the times of the image are the service's; for a RUN to read it, declare it: \
                 `ARG {shown}`"
            )
        } else if let Some(near) = nearest(name, &known) {
            format!("did you mean `{near}`?")
        } else {
            format!("declare it: `ARG {shown}`")
        };
        Some((message, help))
    }

    /// Finds lines that would be too long for BuildKit, given what is put in, in order.
    fn check_lines(&self, replaced: &[(Range<usize>, String)]) -> Result<(), Vec<LowerError>> {
        let mut lines: Vec<Line> = Vec::new();
        for (span, with) in replaced {
            let end = |at: usize| {
                self.text[at..].find('\n').map_or(self.text.len(), |length| at + length + 1)
            };
            let before = lines.last().map_or(0, |line| line.place.end);
            if span.start >= before {
                let start = self.text[before..span.start].rfind('\n');
                let start = start.map_or(before, |length| before + length + 1);
                let place = start..end(span.end);
                lines.push(Line { length: place.len(), place, names: BTreeSet::new() });
            }
            let Some(line) = lines.last_mut() else { continue };
            // Where a default was continued, the lines that it stood on become one.
            if span.end > line.place.end {
                let more = line.place.end..end(span.end);
                line.length += more.len();
                line.place.end = more.end;
            }
            line.length = line.length - span.len() + with.len();
            line.names.extend(with.split('=').next());
        }
        let too_long = lines.iter().filter(|line| line.length > MAX_LINE);
        let names: BTreeSet<&str> = too_long.flat_map(|line| &line.names).copied().collect();
        let error = |name: &str| LowerError {
            subject: LowerSubject::Arg(name.to_owned()),
            message: format!("the value of `{}` is too long", name.escape_debug()),
            help: "put it into a file that the Dockerfile copies: no line of a Dockerfile may be \
                   longer than 64 KiB"
                .to_owned(),
        };
        if names.is_empty() { Ok(()) } else { Err(names.into_iter().map(error).collect()) }
    }
}

/// A line that arguments are put into.
struct Line<'w> {
    /// Where it is now.
    place: Range<usize>,
    /// How many bytes it will have.
    length: usize,
    /// The arguments.
    names: BTreeSet<&'w str>,
}

/// What is wrong with a name that means something to BuildKit without an ARG, as message and help.
fn reserved(name: &str) -> Option<(String, String)> {
    let shown = name.escape_debug();
    let lower = name.to_ascii_lowercase();
    if PROXIES.contains(&lower.as_str()) {
        // Every RUN of every stage gets it, in both cases, and no image keeps it.
        return Some((
            format!("`{shown}` is a proxy, which Docker gives to every RUN and no ARG can"),
            format!("write `ARG {shown}=<url>` into each stage that needs it"),
        ));
    }
    if PLATFORM.contains(&name) {
        // Docker lets it be overridden, even for a FROM that no ARG stands before.
        return Some((
            format!("`{shown}` is set by the builder, from the platform"),
            "leave it out: `platforms:` decides".to_owned(),
        ));
    }
    if name == "TARGETSTAGE" {
        return Some((
            format!("`{shown}` is set by the builder, from the stage that is built"),
            "leave it out: `target:` decides".to_owned(),
        ));
    }
    if name.starts_with("BUILDKIT_") && !DECLARED.contains(&name) {
        let help = match name {
            "BUILDKIT_SYNTAX" => "write it as the first line: `# syntax=<image>`",
            "BUILDKIT_DOCKERFILE_CHECK" => "write it as one of the first lines: `# check=<rules>`",
            _ => "leave it out: the service sets its builder up by itself",
        };
        let message = format!("`{shown}` is a setting of Docker's builder, and no ARG");
        return Some((message, help.to_owned()));
    }
    None
}

/// What is wrong with a name that no ARG can have, as message and help.
fn bad_name(name: &str) -> Option<(String, String)> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "'\"\\`$=".contains(c);
    (name.is_empty() || name.contains(odd)).then(|| {
        (
            format!("`{}` cannot be the name of an ARG", name.escape_debug()),
            "a name is made of letters, digits and `_`".to_owned(),
        )
    })
}

/// What is wrong with a value that no ARG can hold, as message and help.
fn bad_value(name: &str, value: &str) -> Option<(String, String)> {
    let what = match value.chars().find(|c| matches!(c, '\n' | '\0'))? {
        '\n' => "a line end",
        _ => "a NUL",
    };
    Some((
        format!("the value of `{}` has {what}, which no ARG can hold", name.escape_debug()),
        "put it into a file that the Dockerfile copies".to_owned(),
    ))
}

/// A value as a word that means just this, whichever character escapes in this file. Only single
/// quotes keep everything as it is: a single quote itself stands between double ones.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+,%=".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', "'\"'\"'"))
}

/// A lowered text that cannot be read is a fault of this module: none is known.
fn unreadable(errors: &[DockerfileError]) -> Vec<LowerError> {
    let lowered = |error: &DockerfileError| LowerError {
        subject: LowerSubject::Target,
        message: format!("with arguments and target put in, {error}"),
        help: "write the arguments and the target into the Dockerfile by hand".to_owned(),
    };
    errors.iter().map(lowered).collect()
}
