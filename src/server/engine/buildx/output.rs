//! The plain progress of docker buildx, from which the message of a failed build is made. Pure.
//!
//! Every step has a number. Its lines are `#4 [2/3] RUN make`, then its output as `#4 0.081 text`, and
//! at the end `#4 DONE 0.1s` or `#4 ERROR: cause`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::base::safe_text::one_line;
use crate::server::engine::LogSink;

/// Maximum number of lines that are kept, of all steps.
const MAX_LINES: usize = 40;

/// Maximum number of steps whose names are kept.
const MAX_STEPS: usize = 1000;

/// Maximum number of lines of output in a message.
const MAX_OUTPUT_LINES: usize = 10;

/// Maximum length of a line of a message, in characters.
const MAX_LINE_CHARS: usize = 300;

/// Beginning of the last line of a failed build.
const ERROR_PREFIX: &str = "ERROR: ";

/// A log that passes lines on, and keeps what the message of a failed build needs.
pub(super) struct BuildxOutput<'b> {
    log: &'b dyn LogSink,
    parsed: Mutex<ParsedOutput>,
}

#[derive(Debug, Default)]
struct ParsedOutput {
    /// The name of each step: `RUN make`.
    names: BTreeMap<u32, String>,
    /// The last lines of output, with their steps.
    lines: VecDeque<(u32, String)>,
    /// The step that failed, and the cause.
    failed: Option<(u32, String)>,
    /// The error of the whole build.
    error: Option<String>,
}

impl<'b> BuildxOutput<'b> {
    pub(super) fn new(log: &'b dyn LogSink) -> Self {
        Self { log, parsed: Mutex::default() }
    }

    /// Returns the message for a failed build. Its texts are untrusted, and it has no control characters
    /// but newlines.
    pub(super) fn message(&self, dockerfile: &str) -> String {
        self.parsed.lock().unwrap_or_else(PoisonError::into_inner).message(dockerfile)
    }
}

impl LogSink for BuildxOutput<'_> {
    fn line(&self, text: &str) {
        self.log.line(text);
        self.parsed.lock().unwrap_or_else(PoisonError::into_inner).add(text);
    }
}

impl ParsedOutput {
    fn add(&mut self, line: &str) {
        if let Some(error) = line.strip_prefix(ERROR_PREFIX) {
            self.error = Some(one_line(error, MAX_LINE_CHARS));
            return;
        }
        let Some((number, text)) = line.strip_prefix('#').and_then(|rest| rest.split_once(' '))
        else {
            return;
        };
        let Ok(step) = number.parse::<u32>() else { return };
        if let Some(cause) = text.strip_prefix(ERROR_PREFIX) {
            let cause = cause.rsplit_once("did not complete successfully: ").map_or(cause, |s| s.1);
            self.failed.get_or_insert_with(|| (step, one_line(cause, MAX_LINE_CHARS)));
        } else if let Some((_, name)) = text.split_once("] ").filter(|_| text.starts_with('[')) {
            if self.names.len() < MAX_STEPS {
                self.names.insert(step, one_line(name, MAX_LINE_CHARS));
            }
        } else if let Some((_, output)) = text.split_once(' ').filter(|(time, _)| is_time(time)) {
            if self.lines.len() == MAX_LINES {
                self.lines.pop_front();
            }
            self.lines.push_back((step, one_line(output, MAX_LINE_CHARS)));
        }
    }

    fn message(&self, dockerfile: &str) -> String {
        let Some((step, cause)) = &self.failed else {
            let error = self.error.as_deref().unwrap_or("the build ended without a message");
            return format!("{dockerfile}: {error}");
        };
        let name = self.names.get(step).map_or("the build", String::as_str);
        let mut message = format!("{dockerfile}: `{name}` failed: {cause}");
        let lines: Vec<&str> =
            self.lines.iter().filter(|(of, _)| of == step).map(|(_, line)| &**line).collect();
        for line in &lines[lines.len().saturating_sub(MAX_OUTPUT_LINES)..] {
            message.push('\n');
            message.push_str(line);
        }
        message
    }
}

/// True if a word is the time of a line, in seconds.
fn is_time(word: &str) -> bool {
    word.contains('.') && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message_of(text: &str) -> String {
        let mut parsed = ParsedOutput::default();
        text.lines().for_each(|line| parsed.add(line));
        parsed.message("docker/Dockerfile")
    }

    #[test]
    fn the_instruction_and_its_output_are_shown() {
        let text = "#0 building with \"default\" instance using docker driver\n\
            #7 [stage-1 2/3] RUN pip install x\n#8 [other 1/2] RUN make\n#8 0.050 of another step\n\
            #7 0.081 Collecting x\n#7 0.200 \u{1b}[31mno x\u{1b}[0m\n\
            #7 ERROR: process \"/bin/sh -c pip\" did not complete successfully: exit code: 7\n\
            ------\n > [stage-1 2/3] RUN pip install x:\n0.081 Collecting x\n------\n\
            ERROR: failed to solve: process \"/bin/sh -c pip\" did not complete\n";
        let expected = "docker/Dockerfile: `RUN pip install x` failed: exit code: 7\n\
            Collecting x\n[31mno x [0m";
        assert_eq!(message_of(text), expected);
    }

    #[test]
    fn an_error_without_a_step_is_shown() {
        let text = "ERROR: no builder \"farm\" found\n";
        assert_eq!(message_of(text), "docker/Dockerfile: no builder \"farm\" found");
        assert_eq!(message_of(""), "docker/Dockerfile: the build ended without a message");
        let hostile = "#x\n#1\n#99999999999 [a] b\n#1 ERROR: \n# [\n#2 [x\n";
        assert_eq!(message_of(hostile), "docker/Dockerfile: `the build` failed: ");
    }

    #[test]
    fn a_message_is_bounded() {
        let line = "x".repeat(4000);
        let text = format!(
            "#1 [1/1] RUN {line}\n{}#1 ERROR: {line}\n",
            format!("#1 0.1 {line}\n").repeat(99)
        );
        assert!(message_of(&text).len() < 4000);
    }
}
