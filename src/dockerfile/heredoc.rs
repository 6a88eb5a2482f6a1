//! Finds where here-documents begin and how they end. Pure.

use super::shell::{Shell, Value};

/// A word that begins a here-document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heredoc {
    /// The mark that ends it.
    pub(super) name: String,
    /// Whether tabs before the mark are ignored: `<<-`.
    pub(super) strip_tabs: bool,
}

/// The here-documents that a line begins. A line that cannot be read has none, as in BuildKit.
pub(super) fn heredocs(line: &str) -> Vec<Heredoc> {
    let shell = Shell { escape: '\\', raw: true, lookup: &|_| Value::Keep };
    let words = shell.expand(line).map(|expanded| expanded.words).unwrap_or_default();
    words.iter().filter_map(|word| heredoc(word)).collect()
}

/// Reads `<<EOF`, `3<<-'EOF'` and their like. A `<<<` is a here-string of the shell.
pub(super) fn heredoc(word: &str) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let shell = Shell { escape: '\\', raw: false, lookup: &|_| Value::Keep };
    let mut words = shell.expand(rest).ok()?.words;
    let name = words.pop().filter(|_| words.is_empty())?;
    Some(Heredoc { name, strip_tabs })
}
