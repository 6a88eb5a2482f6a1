//! Splits a Dockerfile into instructions of one line each, for a builder that joins lines in another
//! way than `BuildKit`. Pure.

use super::heredoc;
use super::instruction::KEYWORDS;
use super::lines::LineReader;
use super::model::Dockerfile;
use super::words;

/// An instruction on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlainInstruction {
    /// The keyword in upper case.
    pub(crate) keyword: String,
    /// The names of the flags and their values, without quotes.
    pub(crate) flags: Vec<(String, Option<String>)>,
    /// The text after the flags.
    pub(crate) rest: String,
    /// True if a here-document may follow.
    pub(crate) has_heredoc: bool,
}

impl PlainInstruction {
    /// Reads the instruction of one line; `None` if it does not begin with a keyword.
    pub(crate) fn read(line: &str, escape: char) -> Option<Self> {
        let (keyword, rest) = words::first(line, 0..line.len());
        let keyword = line[keyword].to_ascii_uppercase();
        if !KEYWORDS.contains(&keyword.as_str()) {
            return None;
        }
        let (flags, rest) = words::flags(line, rest, escape);
        let flags = flags.iter().map(|flag| {
            let (name, value) = flag.split_at_equals();
            (name, value.map(|value| value.text()))
        });
        Some(Self {
            keyword,
            flags: flags.collect(),
            rest: line[rest].to_owned(),
            has_heredoc: line.contains("<<") && !heredoc::heredocs(line).is_empty(),
        })
    }
}

impl Dockerfile {
    /// Returns every instruction, each with the offset at which it begins, in order. Without comments
    /// and directives. After a here-document, the lines of its body follow as if they were
    /// instructions, as far as they begin with a keyword.
    pub(crate) fn plain_instructions(&self) -> Vec<(usize, PlainInstruction)> {
        let mut lines = LineReader::new(&self.text);
        let mut instructions = Vec::new();
        while let Some(line) = lines.line(&mut Vec::new()) {
            let part = line.trimmed();
            let at = line.span(part.clone()).start;
            let read = PlainInstruction::read(&line.text[part], lines.escape);
            instructions.extend(read.map(|instruction| (at, instruction)));
        }
        instructions
    }

    /// Returns the character that escapes and that continues lines.
    pub(crate) fn escape(&self) -> char {
        self.escape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_on_one_line_each() {
        let text =
            "# c\nFROM a\nrun --mount='type=cache' \\\n  # c\n\n  x \\\n y\nCOPY <<E /x\nE\n";
        let plain = Dockerfile::parse(text).unwrap().plain_instructions();
        let [(4, from), (11, run), (_, copy)] = &*plain else { panic!("{plain:?}") };
        assert_eq!((&*from.keyword, &*from.rest), ("FROM", "a"));
        assert_eq!((&*run.keyword, &*run.rest, run.has_heredoc), ("RUN", "x  y", false));
        assert_eq!(run.flags, [("--mount".to_owned(), Some("type=cache".to_owned()))]);
        assert!(copy.has_heredoc);
    }
}
