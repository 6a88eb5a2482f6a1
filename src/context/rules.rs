//! Finds the rules that a context follows, and says of one path what they make of it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use miette::NamedSource;

use super::error::{ScanProblem, unreadable};
use super::ignore::{IgnoreError, IgnorePatterns};
use super::tree::RelPath;
use crate::base::file::TEMP_FILE_PREFIX;

/// The rules that a context follows.
#[derive(Debug, Clone, Default)]
pub struct IgnoreRules {
    /// The rules; none where there is no file that gives some.
    pub ignore: Arc<IgnorePatterns>,
    /// The `.dockerignore` that gave them.
    pub file: Option<PathBuf>,
}

/// Explanation a path of a context is sent or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explanation<'r> {
    /// It belongs to imgplan itself, or lies in what does: it is never sent.
    Own,
    /// The last pattern that matches it, or a folder above it, decides.
    Pattern {
        /// Whether the pattern keeps it out, or brings it back.
        ignored: bool,
        /// The line, counted from 1.
        line: usize,
        /// The pattern, as it was written.
        pattern: &'r str,
    },
    /// No pattern matches it: it is sent.
    NoPattern,
}

impl Explanation<'_> {
    /// Whether the path is sent.
    pub fn sent(&self) -> bool {
        !matches!(self, Self::Own | Self::Pattern { ignored: true, .. })
    }
}

/// Texts that were parsed: the contexts of one repository tend to have the same rules, and it takes
/// longer to make a matcher than to ask it about a small context.
#[derive(Default)]
pub(super) struct RulesCache(Mutex<HashMap<String, Arc<IgnorePatterns>>>);

impl RulesCache {
    fn parse(&self, text: &str) -> Result<Arc<IgnorePatterns>, Vec<IgnoreError>> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(text) {
            return Ok(Arc::clone(known));
        }
        let ignore = Arc::new(IgnorePatterns::parse(text)?);
        lock().insert(text.to_owned(), Arc::clone(&ignore));
        Ok(ignore)
    }
}

impl IgnoreRules {
    /// The rules of the first `.dockerignore` there is: the Dockerfile's own, then the context's.
    pub(super) fn find(
        root: &Path,
        dockerfile: Option<&Path>,
        parsed: &RulesCache,
    ) -> Result<Self, Vec<ScanProblem>> {
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
            let ignore = parsed.parse(&text).map_err(|errors| no_patterns(&path, &text, errors))?;
            return Ok(Self { ignore, file: Some(path) });
        }
        Ok(Self::default())
    }

    /// Explanation a path is sent or is not, whether or not it is there; `is_dir` where it is.
    pub fn why(&self, path: &RelPath, is_dir: Option<bool>) -> Explanation<'_> {
        let mut parts = path.as_bytes().rsplit(|byte| *byte == b'/');
        let last = parts.next().unwrap_or_default();
        let own = match is_dir {
            Some(is_dir) => is_own(last, is_dir),
            None => is_own(last, true) || is_own(last, false),
        };
        if own || parts.any(|part| is_own(part, true)) {
            return Explanation::Own;
        }
        let verdict = self.ignore.verdict(&path.lossy());
        match verdict.line.and_then(|line| Some((line, self.ignore.pattern(line)?))) {
            Some((line, pattern)) => {
                Explanation::Pattern { ignored: verdict.ignored, line, pattern }
            }
            None => Explanation::NoPattern,
        }
    }

    /// Whether an exception may bring back something below an ignored folder.
    pub fn may_bring_back_below(&self, folder: &RelPath) -> bool {
        self.ignore.may_bring_back_below(&folder.lossy())
    }
}

fn no_patterns(path: &Path, text: &str, errors: Vec<IgnoreError>) -> Vec<ScanProblem> {
    let text: Arc<str> = text.into();
    let problem = |error: IgnoreError| ScanProblem::Pattern {
        path: path.to_owned(),
        text: NamedSource::new(path.display().to_string(), Arc::clone(&text)),
        place: (error.offset, error.pattern.len()).into(),
        error,
    };
    errors.into_iter().map(problem).collect()
}

fn is_absent(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a name belongs to imgplan itself: its folder, its lockfile, and the file that becomes
/// the lockfile. They change with every run, so a context that held them would never be up to date.
pub(super) fn is_own(name: &[u8], is_dir: bool) -> bool {
    let temporary = |name: &[u8]| {
        name.strip_prefix(TEMP_FILE_PREFIX.as_bytes())
            .is_some_and(|rest| rest.len() == 6 && rest.iter().all(u8::is_ascii_alphanumeric))
    };
    if is_dir { name == b".imgplan" } else { name == b"imgplan.lock" || temporary(name) }
}
