//! Turns an error into the JSON object of `validate --json` and of the event stream.

use miette::{Diagnostic, Severity};
use serde_json::{Value, json};

use super::failure;
use crate::base::span::{Problem, SourceMap};
use crate::manifest::ManifestError;

/// A problem of the manifest, with its place.
pub(super) fn of_problem(problem: &Problem, sources: &SourceMap) -> Value {
    let place = problem.labels.first().and_then(|(span, _)| {
        let (file, start, end) = sources.locate(*span)?;
        let range = json!({ "filename": file, "start": start, "end": end });
        Some((range, sources.text(*span).to_owned()))
    });
    let (range, snippet) = place.map_or((None, None), |(range, text)| (Some(range), Some(text)));
    json!({
        "severity": if problem.warning { "warning" } else { "error" },
        "summary": problem.message,
        "detail": problem.help,
        "range": range,
        "snippet": snippet,
    })
}

/// Any error, as one object or, for a manifest, one a problem.
pub(super) fn of_report(report: &miette::Report) -> Vec<Value> {
    if let Some(error) = report.downcast_ref::<ManifestError>() {
        return error.problems.iter().map(|p| of_problem(p, &error.sources)).collect();
    }
    if let Some(parts) = failure::parts(report) {
        return parts.into_iter().map(of_diagnostic).collect();
    }
    let mut all = vec![of_diagnostic(report.as_ref())];
    if let Some(related) = report.related() {
        all.extend(related.map(of_diagnostic));
    }
    all
}

fn of_diagnostic(diagnostic: &dyn Diagnostic) -> Value {
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
