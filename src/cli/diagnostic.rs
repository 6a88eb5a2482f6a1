//! Turns errors and warnings into records, for JSON and for annotations of a CI job. Pure.

use miette::{Diagnostic, Report, Severity};
use serde::Serialize;

use super::failure;
use crate::base::span::{Position, Problem, SourceMap};
use crate::manifest::ManifestError;

/// An error or a warning, as `validate --json` and the event stream contain it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct DiagnosticRecord {
    /// `error` or `warning`.
    pub(super) severity: &'static str,
    pub(super) summary: String,
    /// The correction.
    pub(super) detail: Option<String>,
    pub(super) range: Option<DiagnosticRange>,
    /// The text in the range.
    snippet: Option<String>,
}

/// The place of a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct DiagnosticRange {
    pub(super) filename: String,
    pub(super) start: Position,
    end: Position,
}

impl DiagnosticRecord {
    /// Returns the record of a warning without a place or a correction.
    pub(super) fn note(summary: &str) -> Self {
        let summary = summary.to_owned();
        Self { severity: "warning", summary, detail: None, range: None, snippet: None }
    }

    /// Returns the record of a problem of a manifest.
    pub(super) fn of_problem(problem: &Problem, sources: &SourceMap) -> Self {
        let location = problem.labels.first().and_then(|(span, _)| {
            let (file, start, end) = sources.locate(*span)?;
            let range = DiagnosticRange { filename: file.to_owned(), start, end };
            Some((range, sources.text(*span).to_owned()))
        });
        let (range, snippet) = location.unzip();
        Self {
            severity: if problem.warning { "warning" } else { "error" },
            summary: problem.message.clone(),
            detail: problem.help.clone(),
            range,
            snippet,
        }
    }

    fn of_diagnostic(diagnostic: &dyn Diagnostic) -> Self {
        let mut summary = diagnostic.to_string();
        let mut source = diagnostic.source();
        while let Some(cause) = source {
            summary = format!("{summary}: {cause}");
            source = cause.source();
        }
        let severity = match diagnostic.severity() {
            Some(Severity::Warning | Severity::Advice) => "warning",
            _ => "error",
        };
        let detail = diagnostic.help().map(|help| help.to_string());
        Self { severity, summary, detail, range: None, snippet: None }
    }
}

/// Returns the records of problems of a manifest.
pub(super) fn problem_records(problems: &[Problem], sources: &SourceMap) -> Vec<DiagnosticRecord> {
    problems.iter().map(|problem| DiagnosticRecord::of_problem(problem, sources)).collect()
}

/// Returns the records of an error: one for each problem of which it consists.
pub(super) fn report_records(report: &Report) -> Vec<DiagnosticRecord> {
    if let Some(error) = report.downcast_ref::<ManifestError>() {
        return problem_records(&error.problems, &error.sources);
    }
    if let Some(parts) = failure::parts(report) {
        return parts.into_iter().map(DiagnosticRecord::of_diagnostic).collect();
    }
    let related = report.related().into_iter().flatten();
    let all = std::iter::once(report.as_ref()).chain(related);
    let mut all: Vec<DiagnosticRecord> = all.map(DiagnosticRecord::of_diagnostic).collect();
    let lines = failure::lines(report);
    if let ([first, ..], [_, ..]) = (&mut all[..], lines) {
        first.summary = format!("{}\n{}", first.summary, lines.join("\n"));
    }
    all
}
