//! Shows the checks of a machine and a service: a line for each with its verdict, and the summary.

use std::io;

use anstyle::{AnsiColor, Style};
use serde_json::json;

use super::human::{BOLD, HumanReporter, color};
use super::json::JsonReporter;
use crate::base::safe_text::escaped;
use crate::base::text::plural;

/// The result of one check.
#[derive(Debug)]
pub(crate) struct Check {
    /// Name of the check, one word.
    pub name: &'static str,
    /// Its verdict.
    pub verdict: Verdict,
    /// The finding, on one line without a full stop.
    pub finding: String,
    /// The correction, in the imperative.
    pub help: Option<String>,
}

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing is wrong.
    Ok,
    /// It was not checked.
    Skipped,
    /// An apply does not stop at once; something may go wrong or be slow.
    Warning,
    /// An apply would stop.
    Error,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    fn level(self) -> &'static str {
        match self {
            Self::Ok | Self::Skipped => "info",
            Self::Warning => "warn",
            Self::Error => "error",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Ok => color(AnsiColor::Green),
            Self::Skipped => Style::new(),
            Self::Warning => color(AnsiColor::Yellow),
            Self::Error => color(AnsiColor::Red),
        }
    }
}

impl Check {
    /// Creates a check without a correction.
    pub(crate) fn new(name: &'static str, verdict: Verdict, finding: impl Into<String>) -> Self {
        Self { name, verdict, finding: finding.into(), help: None }
    }

    /// Adds a correction.
    pub(crate) fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    fn text(&self) -> String {
        match &self.help {
            Some(help) => format!("{}; {help}", self.finding),
            None => self.finding.clone(),
        }
    }
}

fn count(checks: &[Check], verdict: Verdict) -> usize {
    checks.iter().filter(|check| check.verdict == verdict).count()
}

fn summary(checks: &[Check]) -> String {
    let count = |verdict| count(checks, verdict);
    let (errors, warnings, skipped) =
        (count(Verdict::Error), count(Verdict::Warning), count(Verdict::Skipped));
    let found = [
        (errors, plural(errors, "error")),
        (warnings, plural(warnings, "warning")),
        (skipped, format!("{} skipped", plural(skipped, "check"))),
    ];
    let found = found.into_iter().filter(|(number, _)| *number > 0).map(|(_, text)| text);
    let found = found.collect::<Vec<_>>().join(", ");
    match errors {
        0 if found.is_empty() => "Nothing is wrong.".to_owned(),
        // A check that was skipped may hide what stops an apply.
        0 => format!("No errors: {found}."),
        _ => format!("An apply would stop: {found}."),
    }
}

impl HumanReporter<'_> {
    /// Writes the checks. Fails if the stream cannot be written to.
    pub(crate) fn checks(&mut self, checks: &[Check]) -> io::Result<()> {
        let verdicts = checks.iter().map(|check| check.verdict.word().len()).max();
        let names = checks.iter().map(|check| check.name.len()).max();
        let (verdicts, names) = (verdicts.unwrap_or(0), names.unwrap_or(0));
        for check in checks {
            let verdict = format!("{:verdicts$}", check.verdict.word());
            let verdict = self.paint(check.verdict.style(), &verdict);
            let text = escaped(&check.text());
            writeln!(self.out, "  {verdict}  {:names$}  {text}", check.name)?;
        }
        writeln!(self.out, "{}", self.paint(BOLD, &summary(checks)))
    }
}

impl JsonReporter<'_> {
    /// Writes the checks. Fails if the stream cannot be written to.
    pub(crate) fn checks(&mut self, checks: &[Check]) -> io::Result<()> {
        for check in checks {
            let payload = json!({
                "name": check.name,
                "verdict": check.verdict.word(),
                "finding": check.finding,
                "help": check.help,
            });
            let level = check.verdict.level();
            let message = format!("{}: {}", check.name, check.text());
            self.line(level, "check", message, json!({ "check": payload }))?;
        }
        let errors = count(checks, Verdict::Error);
        let payload = json!({
            "stops_apply": errors > 0,
            "ok": count(checks, Verdict::Ok),
            "skipped": count(checks, Verdict::Skipped),
            "warnings": count(checks, Verdict::Warning),
            "errors": errors,
        });
        self.line("info", "check_summary", summary(checks), json!({ "check_summary": payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Progress, ReportOptions, Verbosity};
    use super::*;

    fn check(name: &'static str, verdict: Verdict, help: Option<&str>) -> Check {
        let help = help.map(str::to_owned);
        Check { name, verdict, finding: format!("{name} was checked"), help }
    }

    fn text(checks: &[Check], color: bool) -> String {
        let options = ReportOptions {
            color_stdout: color,
            color_stderr: false,
            width: 80,
            columns: None,
            verbosity: Verbosity::Normal,
            hints: true,
            progress: Progress::Lines,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        HumanReporter::new(&mut out, &mut err, options).checks(checks).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn checks_are_aligned_lines() {
        let checks = [
            check("key", Verdict::Error, Some("set PRIME_API_KEY")),
            check("files", Verdict::Ok, None),
            check("clock", Verdict::Skipped, None),
            check("registry", Verdict::Warning, Some("log in")),
        ];
        insta::assert_snapshot!(text(&checks, false), @"
          error    key       key was checked; set PRIME_API_KEY
          ok       files     files was checked
          skipped  clock     clock was checked
          warning  registry  registry was checked; log in
        An apply would stop: 1 error, 1 warning, 1 check skipped.
        ");
        assert!(text(&checks, true).contains("\x1b[31merror  \x1b[0m  key"));
        assert!(text(&checks[3..], false).ends_with("\nNo errors: 1 warning.\n"));
        assert!(text(&checks[1..3], false).ends_with("\nNo errors: 1 check skipped.\n"));
        assert!(text(&checks[1..2], false).ends_with("\nNothing is wrong.\n"));
    }

    #[test]
    fn json_has_a_line_for_each_check_and_the_counts() {
        let mut out = Vec::new();
        let checks =
            [check("key", Verdict::Error, Some("set it")), check("files", Verdict::Ok, None)];
        JsonReporter::resume(&mut out).checks(&checks).unwrap();
        let lines = String::from_utf8(out).unwrap();
        let lines: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["@level"], &lines[0]["type"]), (&json!("error"), &json!("check")));
        let expected = json!({
            "name": "key", "verdict": "error", "finding": "key was checked", "help": "set it",
        });
        assert_eq!(lines[0]["check"], expected);
        assert_eq!(lines[1]["check"]["help"], json!(null));
        let counts =
            json!({"stops_apply": true, "ok": 1, "skipped": 0, "warnings": 0, "errors": 1});
        assert_eq!(lines[2]["check_summary"], counts);
        assert_eq!(lines[2]["@message"], "An apply would stop: 1 error.");
    }
}
