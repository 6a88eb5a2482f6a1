//! What a run of the program left: its two streams and how it ended.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// How the program ended and what it said.
pub(crate) struct Output {
    pub(crate) command: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    /// What differs from run to run and is the same everywhere: what, and what stands for it.
    pub(crate) redactions: Vec<(String, &'static str)>,
}

impl Output {
    /// It ended well.
    #[track_caller]
    pub(crate) fn success(&self) -> &Self {
        self.code(0)
    }

    /// It ended with this code.
    #[track_caller]
    pub(crate) fn code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self}");
        assert!(!self.all().contains("panicked"), "{self}");
        self
    }

    /// It said this, on one of its streams, whatever the width of the line.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Self {
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let all = flat(&self.all().replace(['│', '╰', '─', '▶'], " "));
        assert!(all.contains(&flat(text)), "does not say {text:?}\n{self}");
        self
    }

    /// It did not say this.
    #[track_caller]
    pub(crate) fn never_says(&self, text: &str) -> &Self {
        assert!(!self.all().contains(text), "says {text:?}\n{self}");
        self
    }

    /// Both streams.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The JSON lines of standard output, which has nothing else.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}\n{self}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The JSON lines of one type.
    #[track_caller]
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        self.json().into_iter().filter(|event| event["type"] == kind).collect()
    }

    /// The lines of standard output that plan a step: `+ api:v1 build new`.
    pub(crate) fn steps(&self) -> Vec<String> {
        let marks = ["+ ", "-/+ ", "<= ", "~ ", ". ", "- "];
        let step = |line: &&str| {
            line.starts_with("  ") && marks.iter().any(|mark| line.trim_start().starts_with(mark))
        };
        let flat = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        self.redacted(&self.stdout).lines().filter(step).map(flat).collect()
    }

    /// The last line of standard output, without what differs from run to run.
    pub(crate) fn last_line(&self) -> String {
        self.redacted(self.stdout.lines().last().unwrap_or_default())
    }

    /// Both streams and the code, without what differs from run to run: for snapshots.
    pub(crate) fn shown(&self) -> String {
        let mut text = format!("exit {}\n", self.code.unwrap_or(-1));
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                text = format!("{text}--- {name}\n{}", self.redacted(stream));
            }
        }
        text
    }

    /// A text without what differs from run to run.
    pub(crate) fn redacted(&self, text: &str) -> String {
        static TIME: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\b(after|in) [\d.]+(h\d+m|m\d+s|ms|s)\b").unwrap());
        static STAMP: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\d{4}-\d\d-\d\d[T ][0-9:.]+Z").unwrap());
        static AGE: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"started \d+ (s|min|h) ago").unwrap());
        static PROCESS: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"PID \d+ on host [^,]+").unwrap());
        let mut text = text.to_owned();
        for (what, stand_in) in &self.redactions {
            text = text.replace(what, stand_in);
        }
        let text = TIME.replace_all(&text, "$1 [time]");
        let text = STAMP.replace_all(&text, "[stamp]");
        let text = AGE.replace_all(&text, "started [age] ago");
        let text = PROCESS.replace_all(&text, "PID [number] on host [host]");
        redact_builds(&text)
    }
}

/// A text with `ID` for every build ID.
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
