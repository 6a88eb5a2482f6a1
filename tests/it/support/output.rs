//! The output of a run of the program: both streams and the exit code.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// The output of a run of the program.
pub(crate) struct Output {
    pub(crate) command: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Texts that differ from run to run, and their replacements.
    pub(crate) redactions: Vec<(String, &'static str)>,
}

impl Output {
    /// Asserts exit code 0.
    #[track_caller]
    pub(crate) fn success(&self) -> &Self {
        self.code(0)
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self}");
        assert!(!self.all().contains("panicked"), "{self}");
        self
    }

    /// Asserts that a stream contains a text, wherever its lines are wrapped.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Self {
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let all = flat(&self.all().replace(['│', '╰', '─', '▶'], " "));
        assert!(all.contains(&flat(text)), "does not say {text:?}\n{self}");
        self
    }

    /// Asserts that no stream contains a text.
    #[track_caller]
    pub(crate) fn never_says(&self, text: &str) -> &Self {
        assert!(!self.all().contains(text), "says {text:?}\n{self}");
        self
    }

    /// Returns both streams.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Returns the JSON lines of standard output, which must contain nothing else.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}\n{self}"));
        self.stdout.lines().map(parse).collect()
    }

    /// Returns the JSON lines of one type.
    #[track_caller]
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        self.json().into_iter().filter(|event| event["type"] == kind).collect()
    }

    /// Returns the lines of a plan's steps, such as `+ api:v1 build new`.
    pub(crate) fn steps(&self) -> Vec<String> {
        let marks = ["+ ", "-/+ ", "<= ", "~ ", ". ", "- "];
        let step = |line: &&str| {
            line.starts_with("  ") && marks.iter().any(|mark| line.trim_start().starts_with(mark))
        };
        let flat = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        self.redacted(&self.stdout).lines().filter(step).map(flat).collect()
    }

    /// Returns the last line of standard output, redacted.
    pub(crate) fn last_line(&self) -> String {
        self.redacted(self.stdout.lines().last().unwrap_or_default())
    }

    /// Returns what standard output contains after the plan, redacted.
    pub(crate) fn after_plan(&self) -> String {
        let text = self.redacted(&self.stdout);
        let after = text.split_once(" unchanged.\n").map_or(&*text, |(_, after)| after);
        let is_line = |line: &str| line.starts_with("Not compared: ");
        let after = match after.split_once('\n') {
            Some((line, after)) if is_line(line) => after,
            _ => after,
        };
        after.trim_matches('\n').to_owned()
    }

    /// Returns both streams and the code, redacted, for snapshots.
    pub(crate) fn shown(&self) -> String {
        let mut text = format!("exit {}\n", self.code.unwrap_or(-1));
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                text = format!("{text}--- {name}\n{}", self.redacted(stream));
            }
        }
        text
    }

    /// Replaces everything in a text that differs from run to run.
    pub(crate) fn redacted(&self, text: &str) -> String {
        static TIME: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\b(after|in) [\d.]+(h\d+m|m\d+s|ms|s)\b").unwrap());
        static STAMP: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\d{4}-\d\d-\d\d[T ][0-9:.]+Z").unwrap());
        static AGE: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"started [0-9.dhms]+ ago").unwrap());
        static PROCESS: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"PID \d+ on host [^,]+").unwrap());
        let mut text = text.to_owned();
        for (original, replacement) in &self.redactions {
            text = text.replace(original, replacement);
        }
        let text = TIME.replace_all(&text, "$1 [time]");
        let text = STAMP.replace_all(&text, "[stamp]");
        let text = AGE.replace_all(&text, "started [age] ago");
        let text = PROCESS.replace_all(&text, "PID [number] on host [host]");
        redact_builds(&text)
    }
}

/// Replaces every build ID in a text by `ID`.
pub(crate) fn redact_builds(text: &str) -> String {
    static BUILD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[0-9a-f]{32}\b").unwrap());
    BUILD.replace_all(text, "ID").into_owned()
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, stdout, stderr, code, .. } = self;
        write!(f, "$ {command}\nexit {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}
