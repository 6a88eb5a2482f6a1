//! The door of all output. Every byte that imgplan writes to a standard stream passes here, where
//! unsafe characters are escaped and workflow commands are broken, whatever text they come from.
//!
//! Code that puts an untrusted value into a sentence escapes its newlines (`base::safe_text`): here
//! a newline of a value cannot be told from one of imgplan.
//!
//! Workflow commands of imgplan itself pass as values of a type ([`RunnerCommand`]), never as a text.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use crate::base::runner_command::RunnerCommand;
use crate::base::safe_text::is_unsafe;
use crate::base::workflow_command::{CommandBreaker, MarkFinder};

/// Parameters of the colour sequences that imgplan, miette and clap write. Others are escaped: some
/// hide text, and others move the cursor.
const STYLES: &[&str] = &[
    "0",
    "1",
    "2",
    "4",
    "31",
    "32",
    "33",
    "34",
    "35",
    "36",
    // `ThemeStyles::rgb` of miette.
    "38;2;255;30;30",
    "38;2;244;191;117",
    "38;2;106;159;181",
    "38;2;246;87;248",
    "38;2;30;201;212",
    "38;2;145;246;111",
];

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Data.
    Out,
    /// Messages and errors.
    Err,
}

impl Stream {
    /// True if the stream is a terminal.
    pub(super) fn is_terminal(self) -> bool {
        match self {
            Self::Out => io::stdout().is_terminal(),
            Self::Err => io::stderr().is_terminal(),
        }
    }

    fn lock(self) -> Box<dyn Write> {
        match self {
            Self::Out => Box::new(io::stdout().lock()),
            Self::Err => Box::new(io::stderr().lock()),
        }
    }

    /// Returns the locked stream for lines of text. `color` lets the styles of imgplan pass.
    pub(super) fn text(self, color: bool) -> Door<Box<dyn Write>> {
        Door::new(self.lock(), Form::Text { color })
    }

    /// Returns the locked stream for a document, in which tabs are kept.
    pub(super) fn document(self) -> Door<Box<dyn Write>> {
        Door::new(self.lock(), Form::Document)
    }

    /// Returns the locked stream for JSON.
    pub(super) fn json(self) -> Door<Box<dyn Write>> {
        Door::new(self.lock(), Form::Json)
    }

    /// Returns the locked stream for an archive, whose bytes pass unchanged. `None` if it is a
    /// terminal, which would take them for commands.
    pub(super) fn archive(self) -> Option<impl Write + use<>> {
        (!self.is_terminal()).then(|| self.lock())
    }

    /// Writes lines to a terminal, in place of the footer that is drawn below the cursor, and draws another
    /// footer below them.
    pub(super) fn draw_footer(self, above: &str, footer: &str, color: bool) -> io::Result<()> {
        let safe = |text: &str| {
            let mut shown = Door::new(Vec::new(), Form::Text { color });
            shown.write_all(text.as_bytes())?;
            io::Result::Ok(String::from_utf8_lossy(&shown.finish()?).into_owned())
        };
        let mut stream = self.lock();
        stream.write_all(with_footer(&safe(above)?, &safe(footer)?).as_bytes())?;
        stream.flush()
    }

    /// Writes a workflow command of imgplan, the only one that is not broken. Its type escapes the texts
    /// in it.
    pub(super) fn command(self, command: &RunnerCommand) -> io::Result<()> {
        writeln!(self.lock(), "{command}")
    }

    /// Replaces the last `lines_before` lines of a terminal with a text.
    pub(super) fn redraw(self, text: &str, lines_before: usize, color: bool) -> io::Result<()> {
        let mut shown = Door::new(Vec::new(), Form::Text { color });
        shown.write_all(text.as_bytes())?;
        let text = String::from_utf8_lossy(&shown.finish()?).into_owned();
        let mut stream = self.lock();
        let lines_before = if self.is_terminal() { lines_before } else { 0 };
        stream.write_all(redrawn(&text, lines_before).as_bytes())?;
        stream.flush()
    }
}

/// Returns a door to a file for JSON.
pub(super) fn json_door<W: Write>(file: W) -> Door<W> {
    Door::new(file, Form::Json)
}

/// Returns a JSON document as a text for a file.
pub(super) fn json_text(value: &serde_json::Value) -> String {
    let mut door = json_door(Vec::new());
    // Writing into a vector cannot fail.
    let written = writeln!(door, "{value:#}").and_then(|()| door.finish());
    String::from_utf8_lossy(&written.unwrap_or_default()).into_owned()
}

/// Returns lines, and a footer below them that leaves the cursor at its beginning: a terminal that is
/// resized wraps the lines anew, and keeps the cursor where it was in the text. For as long as the size
/// is not known to this process, long lines of the footer must not wrap. A user who presses Enter
/// moves the cursor, and the line that it leaves stays.
fn with_footer(above: &str, footer: &str) -> String {
    let (clear_line, clear_rest) = ("\x1b[K", "\x1b[J");
    let (no_wrap, wrap) = ("\x1b[?7l", "\x1b[?7h");
    // Not after the lines: behind a full line, some terminals would clear its last character.
    let clear_first = if above.is_empty() { "" } else { clear_rest };
    let lines_up = match footer.lines().count().saturating_sub(1) {
        0 => String::new(),
        lines => format!("\x1b[{lines}A"),
    };
    let footer = footer.trim_end_matches('\n').replace('\n', &format!("{clear_line}\n"));
    format!("\r{clear_first}{above}{no_wrap}{footer}{clear_rest}{wrap}\r{lines_up}")
}

/// Returns a text that replaces the last `lines_before` lines of a terminal.
fn redrawn(text: &str, lines_before: usize) -> String {
    if lines_before == 0 {
        return text.to_owned();
    }
    // Moves the cursor up and replaces line by line, which does not flicker. Clearing the whole screen
    // first would also put its lines into the history of some terminals.
    format!("\x1b[{lines_before}A{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

/// The form of a text, which decides what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Lines for people.
    Text { color: bool },
    /// A document: a Dockerfile, a graph.
    Document,
    /// JSON, in which the escapes of JSON are used, so that a reader gets the original text.
    Json,
}

/// A writer that makes a text safe. What it holds back is written by `flush`, and on drop.
pub(super) struct Door<W: Write> {
    /// `None` once the writer is taken back.
    stream: Option<W>,
    form: Form,
    commands: CommandBreaker,
    marks: MarkFinder,
    /// The beginning of a colour sequence, without its ESC.
    style: Option<String>,
    /// The beginning of a character of several bytes.
    partial: Vec<u8>,
}

impl<W: Write> Door<W> {
    fn new(stream: W, form: Form) -> Self {
        Self {
            stream: Some(stream),
            form,
            commands: CommandBreaker::default(),
            marks: MarkFinder::default(),
            style: None,
            partial: Vec::new(),
        }
    }

    /// Writes what is held back, and returns the writer.
    fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.stream.take().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    fn push(&mut self, safe: &mut String, c: char) {
        if self.form == Form::Json {
            // The characters stand in strings only: JSON has no syntax beyond ASCII.
            if (is_unsafe(c) && c != '\n') || self.marks.completes(c) {
                // Writing into a String cannot fail.
                let _ = write!(safe, "\\u{:04x}", u32::from(c));
            } else {
                safe.push(c);
            }
            return;
        }
        if let Some(mut style) = self.style.take() {
            style.push(c);
            if is_style(&style) {
                safe.push('\x1b');
                safe.push_str(&style);
            } else if begins_style(&style) {
                self.style = Some(style);
            } else {
                self.push_plain(safe, '\x1b');
                style.chars().for_each(|c| self.push(safe, c));
            }
        } else if c == '\x1b' && self.form == (Form::Text { color: true }) {
            self.style = Some(String::new());
        } else {
            self.push_plain(safe, c);
        }
    }

    fn push_plain(&mut self, safe: &mut String, c: char) {
        let keeps_tab = self.form == Form::Document;
        self.commands.push(safe, c, |c| c == '\n' || (c == '\t' && keeps_tab));
    }

    /// Takes the text that is held back. Its characters are not part of a sequence.
    fn held_back(&mut self) -> String {
        let mut safe = String::new();
        if !self.partial.is_empty() {
            self.partial.clear();
            self.push(&mut safe, char::REPLACEMENT_CHARACTER);
        }
        if let Some(style) = self.style.take() {
            self.push_plain(&mut safe, '\x1b');
            style.chars().for_each(|c| self.push_plain(&mut safe, c));
        }
        self.commands.flush(&mut safe);
        safe
    }

    fn stream(&mut self) -> io::Result<&mut W> {
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

/// True for a colour sequence of imgplan, without its ESC.
fn is_style(text: &str) -> bool {
    let parameters = text.strip_prefix('[').and_then(|text| text.strip_suffix('m'));
    parameters.is_some_and(|parameters| STYLES.contains(&parameters))
}

/// True for the beginning of a colour sequence of imgplan, without its ESC.
fn begins_style(text: &str) -> bool {
    let parameters = text.strip_prefix('[');
    parameters.is_some_and(|begin| STYLES.iter().any(|style| style.starts_with(begin)))
}

impl<W: Write> Write for Door<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut safe = String::with_capacity(bytes.len());
        let joined;
        let whole = if self.partial.is_empty() {
            bytes
        } else {
            joined = [&std::mem::take(&mut self.partial)[..], bytes].concat();
            &joined
        };
        for chunk in whole.utf8_chunks() {
            chunk.valid().chars().for_each(|c| self.push(&mut safe, c));
            let invalid = chunk.invalid();
            let at_end = invalid.as_ptr_range().end == whole.as_ptr_range().end;
            let is_begun = std::str::from_utf8(invalid).is_err_and(|it| it.error_len().is_none());
            if at_end && is_begun {
                self.partial = invalid.to_vec();
            } else if !invalid.is_empty() {
                self.push(&mut safe, char::REPLACEMENT_CHARACTER);
            }
        }
        self.stream()?.write_all(safe.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let safe = self.held_back();
        let stream = self.stream()?;
        stream.write_all(safe.as_bytes())?;
        stream.flush()
    }
}

impl<W: Write> Drop for Door<W> {
    fn drop(&mut self) {
        // An error of the stream was reported by the write before, or nobody reads it.
        let held_back = self.held_back();
        if let Some(stream) = &mut self.stream {
            let _ = stream.write_all(held_back.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: Form = Form::Text { color: false };
    const COLOR: Form = Form::Text { color: true };

    fn written(form: Form, pieces: &[&[u8]]) -> String {
        let mut door = Door::new(Vec::new(), form);
        for piece in pieces {
            door.write_all(piece).unwrap();
        }
        String::from_utf8(door.finish().unwrap()).unwrap()
    }

    #[test]
    fn unsafe_characters_are_escaped_in_the_way_of_the_form() {
        for (form, text, expected) in [
            (
                TEXT,
                "a\tb\n\x1b[31mc\u{9b}\u{202e}\x07\r",
                "a\\tb\n\\u{1b}[31mc\\u{9b}\\u{202e}\\u{7}\\r",
            ),
            (Form::Document, "\tRUN\x1b[1m\n::x\n", "\tRUN\\u{1b}[1m\n\\::x\n"),
            (
                COLOR,
                "\x1b[1m\x1b[38;2;30;201;212ma\x1b[0m\n",
                "\x1b[1m\x1b[38;2;30;201;212ma\x1b[0m\n",
            ),
            (COLOR, "\x1b[8ma\x1b[2J\x1b]0;t\x07", "\\u{1b}[8ma\\u{1b}[2J\\u{1b}]0;t\\u{7}"),
            (COLOR, "\x1b\x1b[31m\x1b[", "\\u{1b}\x1b[31m\\u{1b}["),
            (COLOR, "\x1b[31\n::x", "\\u{1b}[31\n\\::x"),
            (COLOR, "\x1b[0m::error::x", "\x1b[0m\\::error::x"),
            (COLOR, "##\x1b[error]\x1b[0000000000", "##\\u{1b}[error]\\u{1b}[0000000000"),
            (TEXT, "##[error]a\n :", "##\\[error]a\n :"),
            (
                Form::Json,
                "{\"a\":\"##[x]\u{202e}\u{9b}\u{7f}\u{2028}é\"}\n",
                "{\"a\":\"##\\u005bx]\\u202e\\u009b\\u007f\\u2028é\"}\n",
            ),
        ] {
            assert_eq!(written(form, &[text.as_bytes()]), expected, "{text:?}");
        }
        assert_eq!(
            written(TEXT, &[b"a\xff\xc3", b"\xa9\xc2", b"\x9b\xe2\x80"]),
            "a\u{fffd}é\\u{9b}\u{fffd}"
        );
        assert_eq!(written(TEXT, &[b":", b":x #", b"#", b"[x"]), "\\::x ##\\[x");
    }

    #[test]
    fn the_cursor_stays_at_the_beginning_of_the_footer() {
        for (above, footer, expected) in [
            ("", "", "\r\x1b[?7l\x1b[J\x1b[?7h\r"),
            ("", "bar\n", "\r\x1b[?7lbar\x1b[J\x1b[?7h\r"),
            ("a\nb\n", "bar\nc\n", "\r\x1b[Ja\nb\n\x1b[?7lbar\x1b[K\nc\x1b[J\x1b[?7h\r\x1b[1A"),
        ] {
            assert_eq!(with_footer(above, footer), expected);
        }
    }

    #[test]
    fn a_redrawn_text_replaces_the_lines_before_it() {
        for (lines_before, expected) in [
            (0, "a\nb\n"),
            (1, "\x1b[1Aa\x1b[K\nb\x1b[K\n\x1b[J"),
            (12, "\x1b[12Aa\x1b[K\nb\x1b[K\n\x1b[J"),
        ] {
            assert_eq!(redrawn("a\nb\n", lines_before), expected);
        }
    }

    proptest! {
        #[test]
        fn nothing_unsafe_leaves(bytes in proptest::collection::vec(
            proptest::sample::select(b"\x1b[]m0138;:#vso \n\t\r\x07\x9b\xc2\xe2\x80\xaea".to_vec()), 0..40,
        ), cut in 0usize..40, color: bool) {
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            let text = written(Form::Text { color }, &[a, b]);
            prop_assert_eq!(&text, &written(Form::Text { color }, &[&bytes]));
            let mut plain = text.clone();
            for style in STYLES.iter().filter(|_| color) {
                plain = plain.replace(&format!("\x1b[{style}m"), "");
            }
            prop_assert!(!plain.contains(|c| is_unsafe(c) && c != '\n'), "{:?}", text);
            prop_assert!(!plain.contains("##[") && !plain.contains("##vso["), "{:?}", text);
            prop_assert!(plain.lines().all(|line| !line.trim_start().starts_with("::")), "{:?}", text);
        }

        #[test]
        fn json_reads_as_before(text in "[\\x00-\\x1f\u{7f}-\u{9f}\u{200e}\u{202e}\u{2028}#\\[v\\\\\" é]{0,20}") {
            let json = written(Form::Json, &[serde_json::Value::from(&*text).to_string().as_bytes()]);
            prop_assert!(!json.contains(is_unsafe) && !json.contains("##["), "{:?}", json);
            let value: String = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(value, text);
        }
    }
}
