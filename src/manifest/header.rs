//! Reads the version of a manifest, and names its folder and its path. Pure.

use std::path::{Path, PathBuf};

use super::node::{Kind, Node, Value};
use crate::base::span::{Problem, Span};

/// The version of the manifest's format that this imgplan reads.
const VERSION: u64 = 1;

/// The folder that a manifest's paths are relative to; of standard input the working directory.
pub fn root_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The manifest's path, as people know it.
pub(super) fn shown(path: &Path) -> String {
    if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() }
}

/// The version comes first: of a later one nothing else can be judged.
pub(super) fn check_version(root: &Node, start: usize) -> Result<(), Problem> {
    let help = format!("begin the file with `version: {VERSION}`");
    let Value::Map(entries) = &root.value else {
        let message = match &root.value {
            Value::Scalar { kind: Kind::Null, .. } => "the manifest is empty",
            _ => "a manifest is a mapping of keys",
        };
        let span = Span::new(start, root.span.len);
        return Err(Problem::new(message, span, "").help(help + " and list `images:`"));
    };
    let Some((_, version)) = entries.iter().find(|(key, _)| key.text == "version") else {
        let span = entries.first().map_or(Span::new(start, 0), |(key, _)| key.span);
        let problem = Problem::new("the manifest has no version", span, "before this");
        return Err(problem.help(help));
    };
    match &version.value {
        Value::Scalar { text, kind: Kind::Number } => match text.parse::<u64>() {
            Ok(VERSION) => Ok(()),
            Ok(later) if later > VERSION => Err(Problem::new(
                format!("this manifest has version {later}, and this imgplan reads {VERSION}"),
                version.span,
                "later than this imgplan",
            )
            .help("use a newer imgplan")),
            _ => Err(Problem::new(format!("there is no version {text}"), version.span, "here")
                .help(format!("write `version: {VERSION}`"))),
        },
        // What is not a number at all is the decoder's to report, with all else.
        _ => Ok(()),
    }
}
