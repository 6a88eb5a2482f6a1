//! Decides which entries of a context a build reads. Pure.
//!
//! Follows BuildKit's client: each path that the Dockerfile reads is a pattern, and an entry is sent
//! if a pattern matches the entry or a folder above it. Files that `--exclude` leaves out are not
//! sent, which BuildKit's client does not do, but its builder copies none of them.

use std::collections::BTreeMap;

use super::ignore::{IgnorePatterns, ParentMatches};
use super::path::RelPath;

/// A pattern that a build reads, relative to the root of the context and with links followed. The
/// pattern of the whole context is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SelectedPattern {
    pub(super) pattern: String,
    /// The patterns of the entries that are left out, relative to the pattern. It is then the path
    /// of a folder.
    pub(super) excludes: Vec<String>,
}

/// The entries that a build reads.
#[derive(Debug, Clone)]
pub(super) struct ReadSelection {
    sources: Vec<SelectedSource>,
}

/// Patterns with the same exclusions.
#[derive(Debug, Clone)]
struct SelectedSource {
    patterns: IgnorePatterns,
    starts: Vec<PatternStart>,
    excluded: Option<ReadExclusion>,
}

/// Entries of a folder that are left out.
#[derive(Debug, Clone)]
struct ReadExclusion {
    /// The path of the folder; empty for the root.
    folder: String,
    /// The patterns, relative to the folder.
    patterns: IgnorePatterns,
}

/// The beginning of a pattern, which tells the folders that the pattern may match something in.
#[derive(Debug, Clone)]
struct PatternStart {
    /// The path before the first part with a wildcard.
    literal: String,
    /// The number of parts of a path that matches; `None` for any number.
    depth: Option<usize>,
}

/// The selection in one folder, passed down to its entries.
#[derive(Debug, Clone)]
pub(super) enum FolderSelection {
    /// Everything in the folder is selected.
    Everything,
    /// The matches of each source in the folders above.
    Partly(Vec<SourceMatches>),
}

/// The matches of a source in a folder.
#[derive(Debug, Clone, Default)]
pub(super) struct SourceMatches {
    included: ParentMatches,
    excluded: ParentMatches,
}

/// The selection of a folder and of its entries.
pub(super) struct SelectedFolder {
    /// True if the folder itself is selected.
    pub(super) selected: bool,
    /// True if something in the folder may be selected.
    pub(super) enter: bool,
    pub(super) inside: FolderSelection,
}

impl SelectedFolder {
    /// The selection of a folder in which everything is selected.
    pub(super) const EVERYTHING: Self =
        Self { selected: true, enter: true, inside: FolderSelection::Everything };
}

impl ReadSelection {
    /// Returns the selection of these patterns. Fails if one of them is not valid.
    pub(super) fn new(selected: Vec<SelectedPattern>) -> Result<Self, String> {
        let mut by_exclusion: BTreeMap<(String, Vec<String>), Vec<String>> = BTreeMap::new();
        for SelectedPattern { pattern, excludes } in selected {
            let folder = if excludes.is_empty() { String::new() } else { pattern.clone() };
            by_exclusion.entry((folder, excludes)).or_default().push(pattern);
        }
        let source = |((folder, excludes), patterns): ((String, Vec<String>), Vec<String>)| {
            let all = |pattern: &String| if pattern.is_empty() { "**" } else { pattern }.to_owned();
            let patterns: Vec<String> = patterns.iter().map(all).collect();
            let excluded = match &excludes[..] {
                [] => None,
                _ => Some(ReadExclusion { folder, patterns: IgnorePatterns::of(&excludes)? }),
            };
            let starts = patterns.iter().map(|pattern| PatternStart::of(pattern)).collect();
            // A file may be named `!a`, although BuildKit's client does not send it.
            let patterns = IgnorePatterns::without_exceptions(&patterns)?;
            Ok(SelectedSource { patterns, starts, excluded })
        };
        Ok(Self { sources: by_exclusion.into_iter().map(source).collect::<Result<_, String>>()? })
    }

    /// Returns the selection at the root of the context.
    pub(super) fn at_root(&self) -> FolderSelection {
        FolderSelection::Partly(vec![SourceMatches::default(); self.sources.len()])
    }

    /// Returns true if a path that is not a folder is selected. `parent` is the selection in its
    /// folder.
    pub(super) fn selects_file(&self, path: &str, parent: &FolderSelection) -> bool {
        let FolderSelection::Partly(matches) = parent else { return true };
        self.sources.iter().zip(matches).any(|(source, parent)| {
            source.patterns.match_file(path, &parent.included).ignored
                && !source.exclusion(path).is_some_and(|(exclusion, rest)| {
                    exclusion.patterns.match_file(rest, &parent.excluded).ignored
                })
        })
    }

    /// Returns the selection of a folder. `parent` is the selection in the folder that contains it.
    pub(super) fn folder(&self, path: &str, parent: &FolderSelection) -> SelectedFolder {
        let FolderSelection::Partly(parents) = parent else { return SelectedFolder::EVERYTHING };
        let (mut selected, mut enter) = (false, false);
        let mut all = Vec::with_capacity(parents.len());
        for (source, parent) in self.sources.iter().zip(parents) {
            let (result, included) = source.patterns.match_folder(path, &parent.included);
            let is_included = result.ignored;
            if is_included && source.excluded.is_none() {
                return SelectedFolder::EVERYTHING;
            }
            let (is_excluded, may_include, excluded) = match source.exclusion(path) {
                Some((ReadExclusion { patterns, .. }, rest)) => {
                    let (result, matches) = patterns.match_folder(rest, &parent.excluded);
                    (result.ignored, patterns.may_include_below(rest), matches)
                }
                None => (false, true, ParentMatches::default()),
            };
            selected |= is_included && !is_excluded;
            enter |= if is_included {
                !is_excluded || may_include
            } else {
                source.starts.iter().any(|start| start.may_match_below(path))
            };
            all.push(SourceMatches { included, excluded });
        }
        SelectedFolder { selected, enter, inside: FolderSelection::Partly(all) }
    }

    /// Returns true if a path is selected. The path need not exist.
    pub(super) fn selects(&self, path: &RelPath, is_dir: bool) -> bool {
        let Some(inside) = self.above(path) else { return false };
        let path = path.lossy();
        if is_dir {
            self.folder(&path, &inside).selected
        } else {
            self.selects_file(&path, &inside)
        }
    }

    /// Returns true if something in a folder may be selected.
    pub(super) fn may_select_below(&self, folder: &RelPath) -> bool {
        self.above(folder).is_some_and(|inside| self.folder(&folder.lossy(), &inside).enter)
    }

    /// Returns the selection in the folder that contains a path, or `None` if nothing in it is
    /// selected.
    fn above(&self, path: &RelPath) -> Option<FolderSelection> {
        let mut inside = self.at_root();
        for folder in path.folders() {
            let folder = self.folder(&folder.lossy(), &inside);
            if !folder.enter {
                return None;
            }
            inside = folder.inside;
        }
        Some(inside)
    }
}

impl SelectedSource {
    /// Returns the exclusion that concerns a path, and the path relative to its folder.
    fn exclusion<'p>(&self, path: &'p str) -> Option<(&ReadExclusion, &'p str)> {
        let exclusion = self.excluded.as_ref()?;
        if exclusion.folder.is_empty() {
            return Some((exclusion, path));
        }
        Some((exclusion, path.strip_prefix(&exclusion.folder)?.strip_prefix('/')?))
    }
}

impl PatternStart {
    fn of(pattern: &str) -> Self {
        let parts: Vec<&str> = pattern.split('/').collect();
        let literal = parts.iter().take_while(|part| !has_wildcard(part));
        let literal: Vec<&str> = literal.copied().collect();
        // Two stars match slashes, and so may brackets.
        let fixed = !pattern.contains("**") && !pattern.contains('[');
        Self { literal: literal.join("/"), depth: fixed.then_some(parts.len()) }
    }

    /// Returns true if the pattern may match something in a folder that it does not match.
    fn may_match_below(&self, folder: &str) -> bool {
        let Self { literal, depth } = self;
        if is_below(literal, folder) {
            return true;
        }
        let follows = literal.is_empty() || folder == literal || is_below(folder, literal);
        follows && depth.is_none_or(|depth| folder.split('/').count() < depth)
    }
}

/// Returns true if `path` is in `folder`, at any depth.
fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Returns true if a pattern has characters that do not stand for themselves.
pub(super) fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?', '[', '\\'])
}

/// Returns the pattern that matches only `path`, as a part of any pattern.
pub(crate) fn escape(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '{' | '|' | '}') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the selection of patterns, each followed by its exclusions after ` - `.
    fn selection(patterns: &[&str]) -> ReadSelection {
        let selected = |text: &&str| {
            let mut parts = text.split(" - ").map(str::to_owned);
            let pattern = parts.next().unwrap_or_default();
            SelectedPattern { pattern, excludes: parts.collect() }
        };
        ReadSelection::new(patterns.iter().map(selected).collect()).unwrap()
    }

    #[test]
    fn patterns_select_entries_and_everything_below() {
        for (patterns, path, expected) in [
            (&["a"][..], "a", true),
            (&["a"], "a/b/c", true),
            (&["a"], "ab", false),
            (&["a/b"], "a", false),
            (&["a/b"], "a/c", false),
            (&["a/*.go"], "a/x.go", true),
            (&["a/*.go"], "a/x.go/y", true),
            (&["a/*.go"], "a/b/x.go", false),
            (&["*/x"], "a/x", true),
            (&["*/x"], "a/y", false),
            (&["*/x"], "a/b/x", false),
            (&["a/**/x"], "a/b/c/x", true),
            (&["a/**/x"], "b/x", false),
            (&["?[ab]"], "xa", true),
            (&["?[ab]"], "xc", false),
            (&[r"a\*"], "a*", true),
            (&[r"a\*"], "ab", false),
            (&["b", "a"], "a", true),
            (&["!a"], "!a", true),
            (&["!a"], "a", false),
            (&["!a", "b"], "c", false),
            (&["a "], "a ", true),
            (&["a "], "a", false),
            (&[" a*"], " ab", true),
            (&[""], "any/thing", true),
            (&[" - *.md"], "a.md", false),
            (&[" - *.md"], "a/a.md", true),
            (&[" - **/*.md"], "a/a.md", false),
            (&["src - *.md"], "src/a.md", false),
            (&["src - *.md"], "src/a.go", true),
            (&["src - *.md"], "src", true),
            (&["src - src"], "src/a.go", true),
            (&["src - b"], "src/b/c", false),
            (&["src - b - !b/c"], "src/b/c", true),
            (&["src - b - !b/c"], "src/b/d", false),
            (&["src - *.md", "src/a.md"], "src/a.md", true),
            (&["src - *.md", "src - *.go"], "src/a.md", true),
            (&["src - *.md", "src - *.md"], "src/a.md", false),
        ] {
            let path_in = RelPath::new(path).unwrap();
            let selection = selection(patterns);
            assert_eq!(selection.selects(&path_in, false), expected, "{patterns:?} {path}");
            assert_eq!(selection.selects(&path_in, true), expected, "{patterns:?} {path}/");
        }
    }

    #[test]
    fn only_folders_with_a_match_are_entered() {
        for (pattern, folder, expected) in [
            ("a/b/c", "a", true),
            ("a/b/c", "a/b", true),
            ("a/b/c", "b", false),
            ("a/b/c", "ab", false),
            ("a/*/c", "a/x", true),
            ("a/*/c", "a/x/y", false),
            ("*.go", "a", false),
            ("**/*.go", "a/b/c", true),
            ("a/**", "b", false),
            ("a[!-~]b", "a", true),
        ] {
            let selection = selection(&[pattern]);
            let mut inside = selection.at_root();
            let mut entered = true;
            for (end, _) in format!("{folder}/").match_indices('/') {
                let result = selection.folder(&folder[..end], &inside);
                (entered, inside) = (entered && result.enter, result.inside);
            }
            assert_eq!(entered, expected, "{pattern} {folder}");
        }
    }

    #[test]
    fn invalid_patterns_are_refused() {
        let invalid = SelectedPattern { pattern: "a[".to_owned(), excludes: Vec::new() };
        assert!(ReadSelection::new(vec![invalid]).is_err());
    }
}
