//! Parses patterns of paths and matches them, segment by segment. Pure.
//!
//! The crate `glob` matches the names. It does not match whole paths, because its `a/**` does not
//! match `a`, and because a search needs to know whether anything below a folder can match.

use glob::{MatchOptions, Pattern};

/// A pattern of paths. `*` and `?` match within a name, but not a dot at its start; `[a-z]` and
/// `[!a-z]` match one character; `**` matches any number of folders. Case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathGlob {
    segments: Vec<Segment>,
}

/// Part of a pattern between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// `**`
    Folders,
    /// A name without wildcards.
    Name(String),
    /// A name with wildcards.
    Wildcard(Pattern),
}

/// Matches names as a shell does.
const NAME_OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Returns true if a text is a pattern and not just a path.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[']) || has_alternatives(text)
}

/// Returns true if a text contains `{a,b}`, which a shell would expand.
fn has_alternatives(text: &str) -> bool {
    let has_comma = |rest: &str| rest.split_once('}').is_some_and(|(inner, _)| inner.contains(','));
    text.split('{').skip(1).any(has_comma)
}

impl PathGlob {
    /// Parses a pattern. Fails with a message if it is invalid.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if has_alternatives(text) {
            return Err("patterns have no `{a,b}`: write one pattern for each".to_owned());
        }
        let mut segments = Vec::new();
        for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
            segments.push(match part {
                "**" if segments.last() == Some(&Segment::Folders) => continue,
                "**" => Segment::Folders,
                _ if part.contains("**") => {
                    return Err("`**` must stand alone between slashes: `a/**/b`".to_owned());
                }
                _ if is_pattern(part) => {
                    // `glob` knows only `!` for negation; shells accept `^` as well.
                    let pattern = Pattern::new(&part.replace("[^", "[!"));
                    Segment::Wildcard(pattern.map_err(|_| "`[` without `]`".to_owned())?)
                }
                _ => Segment::Name(part.to_owned()),
            });
        }
        Ok(Self { segments })
    }

    /// Returns true if the pattern matches a path with `/`.
    pub(super) fn matches(&self, path: &str) -> bool {
        let mut state = self.start();
        for name in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
            state = self.advance(&state, name, true);
        }
        self.is_match(&state)
    }

    /// Returns the state before the first name: the indexes of the segments that can match next.
    /// Keeping all of them makes backtracking unnecessary.
    pub(super) fn start(&self) -> Vec<usize> {
        self.skip_folders(vec![0])
    }

    /// Returns the state after one more name. An empty state cannot match any more. `**` matches
    /// the name only with `in_folders`, and never a hidden name.
    pub(super) fn advance(&self, state: &[usize], name: &str, in_folders: bool) -> Vec<usize> {
        let next = |&index: &usize| match self.segments.get(index)? {
            Segment::Folders => (in_folders && !name.starts_with('.')).then_some(index),
            Segment::Name(own) => (own == name).then_some(index + 1),
            Segment::Wildcard(pattern) => {
                pattern.matches_with(name, NAME_OPTIONS).then_some(index + 1)
            }
        };
        self.skip_folders(state.iter().filter_map(next).collect())
    }

    /// Returns true if the names so far match the whole pattern.
    pub(super) fn is_match(&self, state: &[usize]) -> bool {
        state.contains(&self.segments.len())
    }

    /// Returns the segments that can match next.
    pub(super) fn segments(&self, state: &[usize]) -> impl Iterator<Item = &Segment> {
        state.iter().filter_map(|&index| self.segments.get(index))
    }

    /// Adds the segments after each `**`, which also matches no folder.
    fn skip_folders(&self, mut state: Vec<usize>) -> Vec<usize> {
        let mut at = 0;
        while let Some(&index) = state.get(at) {
            if self.segments.get(index) == Some(&Segment::Folders) {
                state.push(index + 1);
            }
            at += 1;
        }
        state.sort_unstable();
        state.dedup();
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_paths() {
        for (pattern, matching, others) in [
            (
                "services/*",
                &["services/api", "./services/api"][..],
                &["services", "services/a/b"][..],
            ),
            ("*", &["a"], &[".git", "a/b", ""]),
            (".*", &[".git"], &["a"]),
            ("**", &["", "a", "a/b"], &[".git", "a/.b/c"]),
            ("**/api", &["api", "x/api", "x/y/api"], &["api/x", ".x/api", "xapi"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a", "b", "a/bb"]),
            ("a/**/**/b", &["a/b", "a/x/b"], &["a"]),
            ("./a/", &["a"], &["A"]),
            ("[a-c]?-*", &["ax-", "c1-y"], &["d1-", "a-", "ab"]),
            ("[!a-c]", &["d", "-"], &["a", "", ".", ".d"]),
            ("[^a-c]x", &["dx"], &["ax"]),
            ("?[.]*", &["a.b"], &["..b", "ab"]),
            ("[]x]", &["]", "x"], &["y"]),
            ("a*b*c", &["abc", "axxbxbc"], &["ab", "acb"]),
            ("../x/*", &["../x/y"], &["x/y"]),
        ] {
            let glob = PathGlob::parse(pattern).unwrap();
            for path in matching {
                assert!(glob.matches(path), "{pattern} matches {path}");
            }
            for path in others {
                assert!(!glob.matches(path), "{pattern} does not match {path}");
            }
        }
        assert!(PathGlob::parse("{{cookie}}/x").unwrap().matches("{{cookie}}/x"));
        for bad in ["a**", "***", "[", "[a", "x/[]", "{a,b}", "x/{a,b}*/y"] {
            assert!(PathGlob::parse(bad).is_err(), "{bad}");
        }
        // These would take exponential time with backtracking.
        let glob = PathGlob::parse(&"*a".repeat(50)).unwrap();
        assert!(!glob.matches(&"a".repeat(49)));
        let glob = PathGlob::parse(&"**/a/".repeat(30)).unwrap();
        assert!(!glob.matches(&"a/".repeat(29)));
    }
}
