//! Recognizes the words that start here-documents. Pure.

use super::shell::{Shell, VariableValue};

/// A word such as `<<EOF`, which starts a here-document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heredoc {
    /// The delimiter, which ends the here-document.
    pub(super) delimiter: String,
    /// True for `<<-`: tabs before the delimiter are ignored.
    pub(super) strip_tabs: bool,
}

/// Returns the here-documents that a line starts. As in BuildKit, a line with a syntax error
/// starts none.
pub(super) fn heredocs(line: &str) -> Vec<Heredoc> {
    let shell = Shell { escape: '\\', keep_quotes: true, lookup: &|_| VariableValue::Unexpanded };
    let words = shell.expand(line).map(|expansion| expansion.words).unwrap_or_default();
    words.iter().filter_map(|word| heredoc(word)).collect()
}

/// Parses a word such as `<<EOF` or `3<<-'EOF'`. Returns `None` for any other word, including
/// `<<<`, a here-string of the shell.
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
    let shell = Shell { escape: '\\', keep_quotes: false, lookup: &|_| VariableValue::Unexpanded };
    let mut words = shell.expand(rest).ok()?.words;
    let delimiter = words.pop().filter(|_| words.is_empty())?;
    Some(Heredoc { delimiter, strip_tabs })
}
