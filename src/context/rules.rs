//! Finds the rules that a context follows: which `.dockerignore`, and what is never sent.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{ScanProblem, unreadable};
use super::ignore::Ignore;

/// What is left out of a context, and who says so.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The patterns.
    pub ignore: Arc<Ignore>,
    /// The file that has them; `None` where there is none, and all is sent.
    pub file: Option<PathBuf>,
}

impl Rules {
    /// The rules of the first `.dockerignore` there is: the Dockerfile's own, then the context's.
    pub fn find(root: &Path, dockerfile: Option<&Path>) -> Result<Self, Vec<ScanProblem>> {
        let own = dockerfile.map(|path| {
            let mut name = OsString::from(path);
            name.push(".dockerignore");
            PathBuf::from(name)
        });
        for path in own.into_iter().chain([root.join(".dockerignore")]) {
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if is_absent(error.kind()) => continue,
                Err(error) => return Err(vec![unreadable("read", path, error)]),
            };
            let text = String::from_utf8(bytes).map_err(|error| {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.split(|byte| *byte == b'\n').count();
                vec![ScanProblem::NotText { path: path.clone(), line }]
            })?;
            let ignore = Ignore::parse(&text).map_err(|errors| {
                let problem = |error| ScanProblem::Pattern { path: path.clone(), error };
                errors.into_iter().map(problem).collect::<Vec<_>>()
            })?;
            return Ok(Self { ignore: Arc::new(ignore), file: Some(path) });
        }
        Ok(Self::default())
    }
}

fn is_absent(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a name belongs to imgplan itself: its folder, its lockfile, and the file that becomes
/// the lockfile. They change with every run, so a context that held them would never be up to date.
pub(super) fn is_own(name: &OsStr, is_dir: bool) -> bool {
    let name = name.as_encoded_bytes();
    let temporary = |name: &[u8]| {
        name.strip_prefix(b".imgplan-")
            .is_some_and(|rest| rest.len() == 6 && rest.iter().all(u8::is_ascii_alphanumeric))
    };
    if is_dir { name == b".imgplan" } else { name == b"imgplan.lock" || temporary(name) }
}
