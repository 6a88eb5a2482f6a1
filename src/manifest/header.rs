//! Checks the version of a manifest, and derives its folder and display name from its path. Pure.

use std::path::{Path, PathBuf};

use super::node::{ScalarKind, Value, YamlNode};
use crate::base::span::{Problem, Span};

/// Supported version of the manifest format.
const FORMAT_VERSION: u64 = 1;

/// Returns the folder that the paths of a manifest are relative to: the folder of its file, or the
/// working directory for standard input.
pub(crate) fn root_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Returns the path of a manifest for messages.
pub(super) fn display_name(path: &Path) -> String {
    if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() }
}

/// Checks the version of the format. Later checks make no sense for an unknown version, so its
/// problem is the only one. Fails if the file is not a mapping or has another version.
pub(super) fn check_version(root: &YamlNode, start: usize) -> Result<(), Problem> {
    let help = format!("begin the file with `version: {FORMAT_VERSION}`");
    let Value::Map(entries) = &root.value else {
        let message = match &root.value {
            Value::Scalar { kind: ScalarKind::Null, .. } => "the manifest is empty",
            _ => "a manifest must be a mapping",
        };
        let span = Span::new(start, root.span.len);
        return Err(Problem::new(message, span, "").help(help + " and list `images:`"));
    };
    let Some((_, version)) = entries.iter().find(|(key, _)| key.text == "version") else {
        let span = entries.first().map_or(Span::new(start, 0), |(key, _)| key.span);
        let problem = Problem::new("the manifest has no version", span, "");
        return Err(problem.help(help));
    };
    // The decoder reports a version that is not a number.
    let Value::Scalar { text, kind: ScalarKind::Number } = &version.value else { return Ok(()) };
    let help = match text.parse::<u64>() {
        Ok(FORMAT_VERSION) => return Ok(()),
        Ok(later) if later > FORMAT_VERSION => "install a newer imgplan".to_owned(),
        _ => format!("write `version: {FORMAT_VERSION}`"),
    };
    let message = format!("unsupported manifest version {text}");
    Err(Problem::new(message, version.span, "").help(help))
}
