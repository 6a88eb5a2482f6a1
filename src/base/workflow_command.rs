//! Workflow commands: lines by which a build's output can give orders to the runner of a CI job. Pure.
//!
//! The runner of GitHub takes a line that begins with `::` after blanks, and one that contains `##[`
//! anywhere (`ActionCommand.cs` of actions/runner). Azure Pipelines takes `##[` and `##vso[`, and
//! other services have words of their own; so any word between `##` and `[` counts. No text
//! that is shown may form one: the error of a build, or the name of a file.

use super::safe_text::push_escaped;

/// Breaks workflow commands in a text that arrives character by character, with a backslash that a
/// person can overlook: `\::error`, `##\[error]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommandBreaker {
    start: LineStart,
    marks: MarkFinder,
}

/// The beginning of a line, as far as it was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum LineStart {
    /// Nothing but blanks.
    #[default]
    Blank,
    /// One colon after blanks, which is held back.
    HeldColon,
    /// One colon after blanks, which was passed on.
    Colon,
    /// Something else: the line cannot begin with a command.
    Past,
}

impl CommandBreaker {
    /// Appends the next character, escaped if it is unsafe. The first colon of a line is held back
    /// until the next character. `keeps` names unsafe characters that are not escaped.
    pub(crate) fn push(&mut self, text: &mut String, c: char, keeps: impl Fn(char) -> bool) {
        let next = match (self.start, c) {
            (_, '\n') => LineStart::Blank,
            (LineStart::Blank, ':') => LineStart::HeldColon,
            (LineStart::HeldColon | LineStart::Colon, ':') => {
                text.push('\\');
                LineStart::Past
            }
            (LineStart::HeldColon, c) if has_no_width(c) => LineStart::Colon,
            (start, c) if has_no_width(c) || (start == LineStart::Blank && c.is_whitespace()) => {
                start
            }
            _ => LineStart::Past,
        };
        if self.start == LineStart::HeldColon {
            text.push(':');
        }
        self.start = next;
        if self.marks.completes(c) {
            text.push('\\');
        }
        match c {
            ':' if next == LineStart::HeldColon => {}
            c if keeps(c) => text.push(c),
            c => push_escaped(text, c),
        }
    }

    /// Appends a colon that is held back.
    pub(crate) fn flush(&mut self, text: &mut String) {
        if self.start == LineStart::HeldColon {
            text.push(':');
            self.start = LineStart::Colon;
        }
    }
}

/// Finds `##[` and `##word[`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MarkFinder(Mark);

/// The part of a mark before its bracket, as far as it was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mark {
    #[default]
    None,
    Hash,
    Hashes,
    Word,
}

impl MarkFinder {
    /// Takes the next character. Returns true for the bracket at the end of a mark.
    pub(crate) fn completes(&mut self, c: char) -> bool {
        let (next, completes) = match (self.0, c) {
            (mark, c) if has_no_width(c) => (mark, false),
            (Mark::Hash | Mark::Hashes, '#') => (Mark::Hashes, false),
            (Mark::Hashes | Mark::Word, '[') => (Mark::None, true),
            (Mark::Hashes | Mark::Word, c) if c.is_ascii_alphanumeric() => (Mark::Word, false),
            (_, '#') => (Mark::Hash, false),
            _ => (Mark::None, false),
        };
        self.0 = next;
        completes
    }
}

/// True for a character without width, which a comparison of texts by culture ignores.
fn has_no_width(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// Returns an untrusted text as one line that is safe to print: unsafe characters are escaped, and
/// workflow commands are broken with a backslash.
pub(crate) fn safe_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut breaker = CommandBreaker::default();
    text.chars().for_each(|c| breaker.push(&mut line, c, |_| false));
    breaker.flush(&mut line);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workflow_commands_are_broken() {
        for (text, expected) in [
            ("::error::x", "\\::error::x"),
            ("  \u{a0}::error::x", "  \u{a0}\\::error::x"),
            ("\u{200b}:\u{feff}:error::x", "\u{200b}:\u{feff}\\:error::x"),
            ("a ::error::x", "a ::error::x"),
            ("a::b", "a::b"),
            (": :", ": :"),
            ("a ##[error]x", "a ##\\[error]x"),
            ("###[x", "###\\[x"),
            ("#\u{ad}#[x", "#\u{ad}#\\[x"),
            ("##vso[task.x]", "##vso\\[task.x]"),
            ("##vs##VSO[x", "##vs##VSO\\[x"),
            ("# [x] ##a b[ #[", "# [x] ##a b[ #["),
            ("x ##teamcity[setParameter", "x ##teamcity\\[setParameter"),
            ("a\n::b", "a\\n\\::b"),
            (":", ":"),
            (":\n:", ":\\n:"),
            (":::", "\\:::"),
        ] {
            assert_eq!(safe_line(text), expected, "{text:?}");
        }
    }
}
