//! Reads the text of a manifest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::input::{self, InputKind};
use crate::base::span::Problem;
use crate::manifest::elsewhere::help_for_missing;

/// Returns the canonical path of a file; `-` for standard input.
pub(super) fn canonical_path(path: &Path) -> PathBuf {
    if path == Path::new("-") {
        return path.to_owned();
    }
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Creates a problem without a span.
pub(super) fn unreadable(message: String, help: impl Into<String>) -> Problem {
    Problem { message, help: Some(help.into()), labels: Vec::new(), warning: false }
}

/// Reads the text of a manifest, which an argument names or a manifest includes. Fails with a problem
/// without a span.
pub(super) fn read(path: &Path, is_argument: bool) -> Result<String, Problem> {
    let kind = InputKind::Manifest;
    let bytes = match (path, is_argument) {
        (path, true) if path == Path::new("-") => input::read_stdin(kind),
        (path, true) => input::read_argument(path, kind),
        (path, false) => input::read(path, kind),
    };
    let bytes = bytes.map_err(|error| {
        let (message, help) = match error.kind() {
            io::ErrorKind::NotFound => {
                (format!("there is no {}", path.display()), help_for_missing(path))
            }
            io::ErrorKind::IsADirectory => (
                format!("{} is a folder", path.display()),
                "name the manifest in it: -f path/to/imgplan.yaml".to_owned(),
            ),
            _ => (
                format!("cannot read {}: {error}", path.display()),
                "check that it is a file and that you may read it".to_owned(),
            ),
        };
        unreadable(message, help)
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = String::from_utf8_lossy(&error.as_bytes()[..valid]).matches('\n').count() + 1;
        unreadable(
            format!("{} is not UTF-8: line {line} has an invalid byte", path.display()),
            "save the file as UTF-8",
        )
    })
}
