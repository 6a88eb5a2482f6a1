//! Parses a `.dockerignore` and decides which paths it ignores. Pure.
//!
//! Follows the rules that Docker implements: patterns are anchored at the root of the context and
//! cleaned like paths; a pattern that matches a folder matches everything below it; `!` marks an
//! exception; and the last pattern that matches decides.
//!
//! Written by hand, because the crate `globset` follows other rules than Docker.

use std::sync::Arc;

use super::pattern::{Matcher, clean};
use crate::base::safe_text::escaped;

/// Maximum number of patterns in a `.dockerignore`. A pattern with a wildcard takes about 15 KB of
/// memory, and each is compared with each path, so that more would exhaust the memory and seem to
/// hang. Docker has no such limit.
pub(super) const MAX_PATTERNS: usize = 10_000;

/// The patterns of one `.dockerignore`.
///
/// ```
/// use imgplan::test_support::context::ignore::IgnorePatterns;
///
/// let patterns = IgnorePatterns::parse("*\n!src\nsrc/**/*.md\n").unwrap();
/// assert!(patterns.match_path("README.md").ignored);
/// assert!(!patterns.match_path("src/a/main.rs").ignored);
/// assert_eq!(patterns.match_path("src/a/b.md").line, Some(3));
/// ```
#[derive(Debug, Clone, Default)]
pub struct IgnorePatterns {
    patterns: Vec<IgnorePattern>,
    /// True if no exception has special characters before its trailing stars, so that its text
    /// shows which folders it may concern.
    plain_exceptions: bool,
}

#[derive(Debug, Clone)]
struct IgnorePattern {
    matcher: Matcher,
    /// The pattern as written.
    written: String,
    /// The pattern as matched: cleaned, and without its `!`.
    cleaned: String,
    exception: bool,
    line: usize,
}

/// The result of matching a path against all patterns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathMatch {
    /// True if the path is not sent.
    pub ignored: bool,
    /// The line of the pattern that decided, counted from 1; `None` if no pattern matched.
    pub line: Option<usize>,
}

/// A line of a `.dockerignore` with an invalid pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: invalid pattern `{}`: {message}", escaped(pattern))]
pub struct IgnoreError {
    /// The line number, counted from 1.
    pub line: usize,
    /// The pattern.
    pub pattern: String,
    /// The start of the pattern, in bytes of the text.
    pub offset: usize,
    /// The problem.
    pub message: String,
}

/// For each pattern, true if it matched a folder. It is passed down to the entries of the folder.
/// Most folders share it with their parent, and it is `None` if no pattern matched.
#[derive(Debug, Clone, Default)]
pub(super) struct ParentMatches(Option<Arc<[bool]>>);

impl ParentMatches {
    fn contains(&self, index: usize) -> bool {
        self.0.as_ref().is_some_and(|all| all[index])
    }
}

impl IgnorePatterns {
    /// Parses the text of a `.dockerignore`. Fails with an error for each invalid pattern.
    pub fn parse(text: &str) -> Result<Self, Vec<IgnoreError>> {
        let mut patterns = Vec::new();
        let mut errors = Vec::new();
        let without_bom = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in pattern_lines(without_bom) {
            match IgnorePattern::parse(line.trim(), index + 1) {
                Ok(pattern) => patterns.push(pattern),
                Err(message) => errors.push(IgnoreError {
                    line: index + 1,
                    pattern: line.trim().to_owned(),
                    offset: line.trim_start().as_ptr().addr() - text.as_ptr().addr(),
                    message,
                }),
            }
        }
        if errors.is_empty() { Ok(Self::from_patterns(patterns)) } else { Err(errors) }
    }

    fn from_patterns(patterns: Vec<IgnorePattern>) -> Self {
        let is_plain =
            |pattern: &IgnorePattern| !pattern.prefix().contains(['*', '[', ']', '?', '^', '\\']);
        let plain_exceptions = patterns.iter().filter(|pattern| pattern.exception).all(is_plain);
        Self { patterns, plain_exceptions }
    }

    /// Returns patterns that do not come from a file, one per line. An exception begins with `!`.
    /// Fails with the problem of the first invalid pattern.
    pub(super) fn of(patterns: &[String]) -> Result<Self, String> {
        let pattern = |(index, text): (usize, &String)| IgnorePattern::new(text, index + 1);
        let patterns: Vec<IgnorePattern> =
            patterns.iter().enumerate().map(pattern).collect::<Result<_, _>>()?;
        Ok(Self::from_patterns(patterns))
    }

    /// Returns patterns of which none is an exception, and in which all blanks count.
    /// Fails with the problem of the first invalid pattern.
    pub(super) fn without_exceptions(patterns: &[String]) -> Result<Self, String> {
        let pattern = |(index, text): (usize, &String)| {
            let (cleaned, written) = (clean(text), text.clone());
            let matcher = Matcher::new(&cleaned)?;
            Ok(IgnorePattern { matcher, written, cleaned, exception: false, line: index + 1 })
        };
        let patterns = patterns.iter().enumerate().map(pattern);
        Ok(Self::from_patterns(patterns.collect::<Result<_, String>>()?))
    }

    /// Matches a path, which is relative to the context and separated by `/`.
    pub fn match_path(&self, path: &str) -> PathMatch {
        let mut matches = ParentMatches::default();
        for (end, _) in path.match_indices('/') {
            let folder = &path[..end];
            let (result, folder_matches) = self.match_folder(folder, &matches);
            if result.ignored && !self.may_include_below(folder) {
                return result;
            }
            matches = folder_matches;
        }
        self.match_file(path, &matches)
    }

    /// Returns the pattern on a line, as written.
    pub fn pattern(&self, line: usize) -> Option<&str> {
        let pattern = self.patterns.iter().find(|pattern| pattern.line == line);
        pattern.map(|pattern| pattern.written.as_str())
    }

    /// Matches a path that is not a folder. `parent` are the matches of its folder.
    pub(super) fn match_file(&self, path: &str, parent: &ParentMatches) -> PathMatch {
        self.decide(path, parent, |_| ())
    }

    /// Matches a folder, and returns the matches for its entries.
    pub(super) fn match_folder(
        &self,
        path: &str,
        parent: &ParentMatches,
    ) -> (PathMatch, ParentMatches) {
        let mut matches = parent.clone();
        let result = self.decide(path, parent, |index| {
            if !matches.contains(index) {
                let all = matches.0.get_or_insert_with(|| vec![false; self.patterns.len()].into());
                Arc::make_mut(all)[index] = true;
            }
        });
        (result, matches)
    }

    /// Applies all patterns in order, and calls `on_match` with the index of each that matches.
    fn decide(
        &self,
        path: &str,
        parent: &ParentMatches,
        mut on_match: impl FnMut(usize),
    ) -> PathMatch {
        let mut result = PathMatch::default();
        for (index, pattern) in self.patterns.iter().enumerate() {
            // As in moby, a pattern is tried only if it could change the result. Otherwise it
            // counts as not matching, which also affects the entries of a folder.
            let can_change = pattern.exception == result.ignored;
            if parent.contains(index) || (can_change && pattern.matcher.matches(path)) {
                on_match(index);
                result = PathMatch { ignored: !pattern.exception, line: Some(pattern.line) };
            }
        }
        result
    }

    /// Returns true if an exception may include something below an ignored folder. If not, Docker
    /// does not enter the folder: after `*` and `!a/*/**`, it does not send `a/b/c`.
    pub(super) fn may_include_below(&self, folder: &str) -> bool {
        if !self.plain_exceptions {
            return true;
        }
        let concerns = |pattern: &IgnorePattern| {
            let rest = pattern.prefix().strip_prefix(folder);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.patterns.iter().filter(|pattern| pattern.exception).any(concerns)
    }
}

/// Returns the number of patterns in the text of a `.dockerignore`.
pub(super) fn count_patterns(text: &str) -> usize {
    pattern_lines(text).count()
}

/// Returns the lines with a pattern, with their indexes.
fn pattern_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // A comment begins in the first column: ` #x` is a pattern.
    let is_pattern = |(_, line): &(usize, &str)| !line.starts_with('#') && !line.trim().is_empty();
    text.split('\n').enumerate().filter(is_pattern)
}

impl IgnorePattern {
    fn parse(line: &str, number: usize) -> Result<Self, String> {
        // Docker cleans a pattern twice: without its `!` when it reads the file, and with it when
        // it builds the matcher. So `/!x` is an exception, and a blank before a final slash is
        // dropped.
        let read = match line.strip_prefix('!').map(str::trim) {
            Some("") => "!".to_owned(),
            Some(pattern) => format!("!{}", without_leading_slash(clean(pattern))),
            None => without_leading_slash(clean(line)),
        };
        Ok(Self { written: line.to_owned(), ..Self::new(&read, number)? })
    }

    /// Compiles a pattern as Docker's matcher does.
    fn new(text: &str, line: usize) -> Result<Self, String> {
        let pattern = clean(text.trim());
        let (exception, cleaned) = match pattern.strip_prefix('!') {
            Some("") => return Err("`!` needs a pattern after it".to_owned()),
            Some(pattern) => (true, pattern.to_owned()),
            None => (false, pattern),
        };
        let matcher = Matcher::new(&cleaned)?;
        Ok(Self { matcher, written: text.to_owned(), cleaned, exception, line })
    }

    /// Returns the pattern without its trailing `/**` and `/*`.
    fn prefix(&self) -> &str {
        let prefix = self.cleaned.strip_suffix("/**").unwrap_or(&self.cleaned);
        prefix.strip_suffix("/*").unwrap_or(prefix)
    }
}

/// Drops a leading slash. It means the root of the context, where every pattern is anchored anyway.
fn without_leading_slash(pattern: String) -> String {
    match pattern.strip_prefix('/') {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => pattern,
    }
}
