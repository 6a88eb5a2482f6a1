//! The workflow commands that imgplan itself gives to the runner of GitHub Actions: annotations, and
//! groups of lines in the log. Only this type passes the door of output as a command; its texts may
//! come from anywhere, and are escaped here. Pure.
//!
//! The form is `::error file=F,line=L,col=C,title=T::MESSAGE`, on a line of its own. The runner decodes
//! `%25`, `%0D` and `%0A` in the message, and `%3A` and `%2C` in properties too
//! (`ActionCommand.cs` of actions/runner).

use std::fmt::{self, Write as _};

use super::workflow_command::safe_line;

/// Maximum number of characters of a line of a message.
const MAX_LINE_CHARS: usize = 2_000;

/// Maximum number of lines of a message.
const MAX_MESSAGE_LINES: usize = 20;

/// A workflow command of imgplan. `Display` writes it as one line, without the newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunnerCommand {
    /// Shows a problem beside the file, and on the page of the run.
    Annotate(Annotation),
    /// Begins a group of lines with this title, which the page of the log folds.
    Group(String),
    /// Ends the group.
    EndGroup,
}

/// A problem for people who do not read the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Annotation {
    /// True for a warning, false for an error.
    pub(crate) warning: bool,
    /// Lines of the message.
    pub(crate) lines: Vec<String>,
    /// Place in a file of the repository.
    pub(crate) place: Option<AnnotationPlace>,
}

/// A place in a file of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnnotationPlace {
    /// Path of the file, relative to the root of the repository.
    pub(crate) file: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// Column in characters, from 1.
    pub(crate) column: usize,
}

impl fmt::Display for RunnerCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotate(annotation) => annotation.fmt(f),
            Self::Group(title) => write!(f, "::group::{}", data(&safe_line(&cut(title)))),
            Self::EndGroup => f.write_str("::endgroup::"),
        }
    }
}

impl fmt::Display for Annotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.warning { "::warning " } else { "::error " })?;
        if let Some(AnnotationPlace { file, line, column }) = &self.place {
            write!(f, "file={},line={line},col={column},", property(&safe_line(file)))?;
        }
        f.write_str("title=imgplan::")?;
        for (index, line) in self.lines.iter().take(MAX_MESSAGE_LINES).enumerate() {
            if index > 0 {
                f.write_str("%0A")?;
            }
            // The runner writes the decoded lines to the log, where `##[error]` has a meaning.
            f.write_str(&data(&safe_line(&cut(line))))?;
        }
        Ok(())
    }
}

/// Returns the beginning of a text that is too long.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_LINE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Escapes the message of a command.
fn data(text: &str) -> String {
    encode(text, |c| matches!(c, '%' | '\r' | '\n'))
}

/// Escapes the value of a property.
fn property(text: &str) -> String {
    encode(text, |c| matches!(c, '%' | '\r' | '\n' | ':' | ','))
}

fn encode(text: &str, is_special: impl Fn(char) -> bool) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut encoded, c| {
        if is_special(c) {
            // Writing into a String cannot fail.
            let _ = write!(encoded, "%{:02X}", u32::from(c));
        } else {
            encoded.push(c);
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn annotation(file: &str, line: &str) -> Annotation {
        let place = AnnotationPlace { file: file.to_owned(), line: 3, column: 7 };
        Annotation { warning: false, lines: vec![line.to_owned()], place: Some(place) }
    }

    /// Decodes as the runner does.
    fn decoded(text: &str) -> String {
        let text = text.replace("%0D", "\r").replace("%0A", "\n");
        text.replace("%3A", ":").replace("%2C", ",").replace("%25", "%")
    }

    #[test]
    fn commands_are_one_escaped_line() {
        let warning =
            Annotation { warning: true, lines: vec!["a".into(), "b".into()], place: None };
        for (command, expected) in [
            (
                RunnerCommand::Annotate(annotation("a, b:c%.yaml", "100% wrong: x, y")),
                "::error file=a%2C b%3Ac%25.yaml,line=3,col=7,title=imgplan::100%25 wrong: x, y",
            ),
            (
                RunnerCommand::Annotate(annotation("a", "::stop-commands::x\n::error::y")),
                "::error file=a,line=3,col=7,title=imgplan::\\::stop-commands::x\\n\\::error::y",
            ),
            (
                RunnerCommand::Annotate(annotation("a", "\u{1b}[2J##[error]\r\u{202e}")),
                "::error file=a,line=3,col=7,title=imgplan::\\u{1b}[2J##\\[error]\\r\\u{202e}",
            ),
            (RunnerCommand::Annotate(warning), "::warning title=imgplan::a%0Ab"),
            (
                RunnerCommand::Group("50% of\nall ##[error]x".to_owned()),
                "::group::50%25 of\\nall ##\\[error]x",
            ),
            (RunnerCommand::EndGroup, "::endgroup::"),
        ] {
            assert_eq!(command.to_string(), expected);
        }
        let long = Annotation { lines: vec!["é".repeat(9_000); 50], ..annotation("a", "") };
        let text = long.to_string();
        assert_eq!(text.matches("%0A").count(), MAX_MESSAGE_LINES - 1);
        assert!(text.len() < 2 * (MAX_LINE_CHARS + 10) * MAX_MESSAGE_LINES);
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_place(file in "[a:,%\n\r =#\\[\u{85}]{1,12}", text in "[a:,%\n\r =#\\[]{0,12}") {
            let line = RunnerCommand::Annotate(annotation(&file, &text)).to_string();
            prop_assert!(!line.contains(['\n', '\r']) && !line.contains("##["), "{:?}", line);
            let (head, message) = line[2..].split_once("::").unwrap();
            prop_assert_eq!(decoded(message), safe_line(&text));
            let (name, properties) = head.split_once(' ').unwrap();
            let properties: Vec<&str> = properties.split(',').collect();
            prop_assert_eq!(name, "error");
            prop_assert_eq!(properties.len(), 4);
            let expected = format!("file={}", safe_line(&file));
            prop_assert_eq!(decoded(properties[0]), expected);
        }
    }
}
