//! Turns errors into JSON objects. Pure.

use miette::{Diagnostic, Report, Severity};
use serde_json::{Value, json};

use super::failure;
use crate::base::span::{Problem, SourceMap};
use crate::manifest::ManifestError;

/// Returns a problem of a manifest as the JSON of `validate --json` and of the event stream.
pub(super) fn problem_json(problem: &Problem, sources: &SourceMap) -> Value {
    let location = problem.labels.first().and_then(|(span, _)| {
        let (file, start, end) = sources.locate(*span)?;
        let range = json!({ "filename": file, "start": start, "end": end });
        Some((range, sources.text(*span).to_owned()))
    });
    let (range, snippet) = location.unzip();
    json!({
        "severity": if problem.warning { "warning" } else { "error" },
        "summary": problem.message,
        "detail": problem.help,
        "range": range,
        "snippet": snippet,
    })
}

/// Returns an error as JSON: one object for each problem of which it consists.
pub(super) fn report_json(report: &Report) -> Vec<Value> {
    if let Some(error) = report.downcast_ref::<ManifestError>() {
        return error.problems.iter().map(|p| problem_json(p, &error.sources)).collect();
    }
    if let Some(parts) = failure::parts(report) {
        return parts.into_iter().map(diagnostic_json).collect();
    }
    let related = report.related().into_iter().flatten();
    let mut all: Vec<Value> =
        std::iter::once(report.as_ref()).chain(related).map(diagnostic_json).collect();
    let lines = failure::lines(report);
    if let ([first, ..], [_, ..]) = (&mut all[..], lines) {
        let summary = first["summary"].as_str().unwrap_or_default();
        first["summary"] = format!("{summary}\n{}", lines.join("\n")).into();
    }
    all
}

fn diagnostic_json(diagnostic: &dyn Diagnostic) -> Value {
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
    let help = diagnostic.help().map(|help| help.to_string());
    json!({ "severity": severity, "summary": summary, "detail": help })
}
