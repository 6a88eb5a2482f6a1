//! Finds the ignore rules of a context, and explains how they apply to a path.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use miette::NamedSource;

use super::error::{ScanError, ScanProblem, unreadable};
use super::ignore::{IgnoreError, IgnorePatterns, MAX_PATTERNS, count_patterns};
use super::names::FolderNames;
use super::path::RelPath;
use crate::base::file::TEMP_FILE_PREFIX;
use crate::base::input::{self, InputKind};

/// The ignore rules of a context.
#[derive(Debug, Clone, Default)]
pub(crate) struct IgnoreRules {
    pub(super) patterns: Arc<IgnorePatterns>,
    /// The `.dockerignore` that contains the patterns, if there is one.
    pub file: Option<PathBuf>,
}

/// The reason why a path of a context is sent or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Explanation<'r> {
    /// It is a file of imgplan itself, or in a folder of imgplan. It is never sent.
    Own,
    /// The last pattern that matches the path, or a folder above it, decides.
    Pattern {
        /// True if the pattern ignores the path, false if it is an exception.
        ignored: bool,
        /// The line number, counted from 1.
        line: usize,
        /// The pattern as written.
        pattern: &'r str,
    },
    /// No pattern matches the path. It is sent.
    NoPattern,
}

impl Explanation<'_> {
    /// Returns true if the path is sent.
    pub(crate) fn sent(&self) -> bool {
        !matches!(self, Self::Own | Self::Pattern { ignored: true, .. })
    }
}

/// The patterns of ignore files by their text. The contexts of a repository often have equal ignore
/// files, and compiling the patterns takes longer than matching a small context.
#[derive(Default)]
pub(super) struct PatternsCache(Mutex<HashMap<String, Arc<IgnorePatterns>>>);

impl PatternsCache {
    fn parse(&self, text: &str) -> Result<Arc<IgnorePatterns>, Vec<IgnoreError>> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(patterns) = lock().get(text) {
            return Ok(Arc::clone(patterns));
        }
        let patterns = Arc::new(IgnorePatterns::parse(text)?);
        lock().insert(text.to_owned(), Arc::clone(&patterns));
        Ok(patterns)
    }
}

impl IgnoreRules {
    /// Reads the ignore rules of the context in `root`. `dockerfile` is the full path of the
    /// Dockerfile.
    ///
    /// # Errors
    ///
    /// Fails if the ignore file cannot be read, is not UTF-8, or contains invalid or too many patterns.
    pub(crate) fn read(root: &Path, dockerfile: Option<&Path>) -> Result<Self, ScanError> {
        Self::find(root, dockerfile, None, &PatternsCache::default())
            .map_err(|problems| ScanError::new(root, problems))
    }

    /// Reads the first ignore file that exists: the Dockerfile's own, then the context's. `names` are the
    /// names in the context, if they are known.
    pub(super) fn find(
        root: &Path,
        dockerfile: Option<&Path>,
        names: Option<&FolderNames>,
        cache: &PatternsCache,
    ) -> Result<Self, Vec<ScanProblem>> {
        // On other systems, a name can be written in several ways, for example in another case.
        let names = names.filter(|_| cfg!(target_os = "linux"));
        let is_missing = |path: &Path| match (names, path.file_name()) {
            (Some(names), Some(name)) if path.parent() == Some(root) => {
                names.find(name.as_encoded_bytes()).is_none()
            }
            _ => false,
        };
        let own = dockerfile.map(|path| {
            let mut name = OsString::from(path);
            name.push(".dockerignore");
            PathBuf::from(name)
        });
        for path in own.into_iter().chain([root.join(".dockerignore")]) {
            if is_missing(&path) {
                continue;
            }
            let bytes = match input::read(&path, InputKind::IgnoreFile) {
                Ok(bytes) => bytes,
                Err(error) if is_absent(error.kind()) => continue,
                Err(error) => return Err(vec![unreadable("read", path, error)]),
            };
            let text = String::from_utf8(bytes).map_err(|error| {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.split(|byte| *byte == b'\n').count();
                vec![ScanProblem::NotUtf8 { path: path.clone(), line }]
            })?;
            let count = count_patterns(&text);
            if count > MAX_PATTERNS {
                return Err(vec![ScanProblem::TooManyPatterns { path, count }]);
            }
            let patterns =
                cache.parse(&text).map_err(|errors| invalid_patterns(&path, &text, errors))?;
            return Ok(Self { patterns, file: Some(path) });
        }
        Ok(Self::default())
    }

    /// Explains why a path is sent or not. The path need not exist: `is_dir` is `None` then.
    pub(crate) fn explain(&self, path: &RelPath, is_dir: Option<bool>) -> Explanation<'_> {
        let mut parts = path.as_bytes().rsplit(|byte| *byte == b'/');
        let name = parts.next().unwrap_or_default();
        let own = match is_dir {
            Some(is_dir) => is_own(name, is_dir),
            None => is_own(name, true) || is_own(name, false),
        };
        if own || parts.any(|part| is_own(part, true)) {
            return Explanation::Own;
        }
        let result = self.patterns.match_path(&path.lossy());
        match result.line.and_then(|line| Some((line, self.patterns.pattern(line)?))) {
            Some((line, pattern)) => {
                Explanation::Pattern { ignored: result.ignored, line, pattern }
            }
            None => Explanation::NoPattern,
        }
    }

    /// Returns true if an exception may include something below an ignored folder.
    pub(crate) fn may_include_below(&self, folder: &RelPath) -> bool {
        self.patterns.may_include_below(&folder.lossy())
    }
}

fn invalid_patterns(path: &Path, text: &str, errors: Vec<IgnoreError>) -> Vec<ScanProblem> {
    let text: Arc<str> = text.into();
    let problem = |error: IgnoreError| ScanProblem::Pattern {
        path: path.to_owned(),
        text: NamedSource::new(path.display().to_string(), Arc::clone(&text)),
        span: (error.offset, error.pattern.len()).into(),
        error,
    };
    errors.into_iter().map(problem).collect()
}

fn is_absent(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns true if a name belongs to imgplan itself: its folder, its lockfile, or a temporary file
/// that becomes the lockfile. They change with every run, so a context that included them would
/// never be up to date.
pub(super) fn is_own(name: &[u8], is_dir: bool) -> bool {
    let temporary = |name: &[u8]| {
        name.strip_prefix(TEMP_FILE_PREFIX.as_bytes())
            .is_some_and(|rest| rest.len() == 6 && rest.iter().all(u8::is_ascii_alphanumeric))
    };
    if is_dir { name == b".imgplan" } else { name == b"imgplan.lock" || temporary(name) }
}
