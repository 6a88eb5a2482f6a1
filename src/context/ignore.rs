//! Turns a `.dockerignore` into verdicts on paths. Pure.
//!
//! The rules are those that Docker carries out: patterns are anchored at the root of the context
//! and cleaned as paths, a pattern that matches a folder matches all below it, `!` makes an
//! exception, and the last pattern that matches wins.

use std::sync::Arc;

use super::pattern::{Matcher, clean};

/// The patterns of one `.dockerignore`.
///
/// ```
/// use imgplan::context::ignore::IgnorePatterns;
///
/// let ignore = IgnorePatterns::parse("*\n!src\nsrc/**/*.md\n").unwrap();
/// assert!(ignore.verdict("README.md").ignored);
/// assert!(!ignore.verdict("src/a/main.rs").ignored);
/// assert_eq!(ignore.verdict("src/a/b.md").line, Some(3));
/// ```
#[derive(Debug, Clone, Default)]
pub struct IgnorePatterns {
    rules: Vec<Rule>,
    /// Whether the folders that an exception may concern can be told from its text alone.
    plain_exceptions: bool,
}

#[derive(Debug, Clone)]
struct Rule {
    matcher: Matcher,
    /// The pattern as it was written.
    written: String,
    /// The pattern as it is matched: cleaned, and without its `!`.
    pattern: String,
    exception: bool,
    line: usize,
}

/// What a `.dockerignore` says of a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathMatch {
    /// Whether the path stays out of the context.
    pub ignored: bool,
    /// The line of the pattern that decided, counted from 1; `None` where no pattern matched.
    pub line: Option<usize>,
}

/// A line of a `.dockerignore` that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{}` is not a pattern: {message}", pattern.replace(char::is_control, "\u{fffd}"))]
pub struct IgnoreError {
    /// The line, counted from 1.
    pub line: usize,
    /// What stands there.
    pub pattern: String,
    /// Where it begins, in bytes of the text.
    pub offset: usize,
    /// What is wrong with it.
    pub message: String,
}

/// Which patterns matched a folder, handed down to what is below it; nothing where none did. Most
/// folders share it with the one that holds them.
#[derive(Debug, Clone, Default)]
pub(super) struct ParentMatches(Option<Arc<[bool]>>);

impl ParentMatches {
    fn has(&self, index: usize) -> bool {
        self.0.as_ref().is_some_and(|all| all[index])
    }
}

impl IgnorePatterns {
    /// Reads the text of a `.dockerignore`, or says which lines are no patterns.
    pub fn parse(text: &str) -> Result<Self, Vec<IgnoreError>> {
        let mut rules = Vec::new();
        let mut errors = Vec::new();
        let whole = text;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.split('\n').enumerate() {
            // A comment begins in the first column: ` #x` is a pattern.
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            match Rule::parse(line.trim(), index + 1) {
                Ok(rule) => rules.push(rule),
                Err(message) => errors.push(IgnoreError {
                    line: index + 1,
                    pattern: line.trim().to_owned(),
                    offset: line.trim_start().as_ptr().addr() - whole.as_ptr().addr(),
                    message,
                }),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let plain = |rule: &Rule| !rule.trunk().contains(['*', '[', ']', '?', '^', '\\']);
        let plain_exceptions = rules.iter().filter(|rule| rule.exception).all(plain);
        Ok(Self { rules, plain_exceptions })
    }

    /// What becomes of a path, given relative to the context and separated by `/`.
    pub fn verdict(&self, path: &str) -> PathMatch {
        let mut matched = ParentMatches::default();
        for (end, _) in path.match_indices('/') {
            let folder = &path[..end];
            let (verdict, of_folder) = self.of_folder(folder, &matched);
            if verdict.ignored && !self.may_bring_back_below(folder) {
                return verdict;
            }
            matched = of_folder;
        }
        self.of_file(path, &matched)
    }

    /// The pattern on a line, as it was written.
    pub fn pattern(&self, line: usize) -> Option<&str> {
        let rule = self.rules.iter().find(|rule| rule.line == line);
        rule.map(|rule| rule.written.as_str())
    }

    /// The verdict on a path that has nothing below it, given which patterns matched the folder that
    /// holds it.
    pub(super) fn of_file(&self, path: &str, parent: &ParentMatches) -> PathMatch {
        self.decide(path, parent, |_| ())
    }

    /// The verdict on a folder, and which patterns matched it.
    pub(super) fn of_folder(
        &self,
        path: &str,
        parent: &ParentMatches,
    ) -> (PathMatch, ParentMatches) {
        let mut matched = parent.clone();
        let verdict = self.decide(path, parent, |index| {
            if !matched.has(index) {
                let all = matched.0.get_or_insert_with(|| vec![false; self.rules.len()].into());
                Arc::make_mut(all)[index] = true;
            }
        });
        (verdict, matched)
    }

    /// Goes through the rules and tells of each that matches.
    fn decide(
        &self,
        path: &str,
        parent: &ParentMatches,
        mut matches: impl FnMut(usize),
    ) -> PathMatch {
        let mut verdict = PathMatch::default();
        for (index, rule) in self.rules.iter().enumerate() {
            // As in moby, a pattern is only asked where its answer could change something, and is
            // taken to have matched nothing where it is not asked: this decides what is below.
            let asked = rule.exception == verdict.ignored;
            if parent.has(index) || (asked && rule.matcher.matches(path)) {
                matches(index);
                verdict = PathMatch { ignored: !rule.exception, line: Some(rule.line) };
            }
        }
        verdict
    }

    /// Whether an exception may bring back something below an ignored folder. Where it may not, the
    /// folder is not entered: after `*` and `!a/*/**`, Docker does not send `a/b/c`.
    pub(super) fn may_bring_back_below(&self, folder: &str) -> bool {
        if !self.plain_exceptions {
            return true;
        }
        let below = |rule: &Rule| {
            let rest = rule.trunk().strip_prefix(folder);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.rules.iter().filter(|rule| rule.exception).any(below)
    }
}

impl Rule {
    fn parse(line: &str, number: usize) -> Result<Self, String> {
        // Docker cleans a pattern twice: without its `!` when it reads the file, and with it when it
        // builds the matcher. So `/!x` is an exception, and a blank before a last slash is dropped.
        let read = match line.strip_prefix('!').map(str::trim) {
            Some("") => "!".to_owned(),
            Some(pattern) => format!("!{}", unrooted(clean(pattern))),
            None => unrooted(clean(line)),
        };
        let pattern = clean(read.trim());
        let (exception, pattern) = match pattern.strip_prefix('!') {
            Some("") => return Err("a `!` needs a pattern after it".to_owned()),
            Some(pattern) => (true, pattern.to_owned()),
            None => (false, pattern),
        };
        let matcher = Matcher::new(&pattern)?;
        Ok(Self { matcher, written: line.to_owned(), pattern, exception, line: number })
    }

    /// The pattern without the stars at its end.
    fn trunk(&self) -> &str {
        let trunk = self.pattern.strip_suffix("/**").unwrap_or(&self.pattern);
        trunk.strip_suffix("/*").unwrap_or(trunk)
    }
}

/// A leading slash means the root of the context, where every pattern begins anyway.
fn unrooted(pattern: String) -> String {
    match pattern.strip_prefix('/') {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => pattern,
    }
}
