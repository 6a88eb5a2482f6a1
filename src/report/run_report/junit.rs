//! The report of a run in the XML format of JUnit, which CI systems read. Pure.

use std::fmt::Write as _;

use super::super::words::{phase_word, skip_reason};
use super::escape::{markup, markup_lines};
use super::failures::{MAX_TEXT_BYTES, short_help, shortened};
use super::{Outcome, RunView, TargetRow, seconds};
use crate::event::TargetFailure;

/// Returns the report: a suite with a test case for each target, and one for an error of the whole run.
pub(crate) fn junit(view: &RunView<'_>) -> String {
    let (rows, unchanged, error) = (view.rows(), view.unchanged(), view.run_error());
    let (summary, errors) = (view.result.summary, usize::from(error.is_some()));
    let counts = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{errors}\" skipped=\"{}\" time=\"{:.3}\"",
        rows.len() + unchanged.len() + errors,
        summary.failures.len(),
        summary.skipped.len(),
        seconds(view.result.elapsed)
    );
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"imgplan\" {counts}>\n\
         <testsuite name=\"imgplan apply\" timestamp=\"{:.0}\" {counts}>\n",
        view.began
    );
    for row in &rows {
        push_case(&mut xml, row);
    }
    // Writing into a String cannot fail.
    for (key, _) in unchanged {
        let name = markup(&key.to_string());
        let _ = writeln!(xml, "<testcase name=\"{name}\" classname=\"imgplan\" time=\"0.000\" />");
    }
    if let Some(error) = error {
        let _ = writeln!(
            xml,
            "<testcase name=\"imgplan apply\" classname=\"imgplan\" time=\"0.000\">\
             <error message=\"{}\" /></testcase>",
            markup(&error)
        );
    }
    xml + "</testsuite>\n</testsuites>\n"
}

fn push_case(xml: &mut String, row: &TargetRow<'_>) {
    let (name, action) = (markup(&row.step.key.to_string()), markup(row.action));
    // Writing into a String cannot fail.
    let _ = write!(
        xml,
        "<testcase name=\"{name}\" classname=\"imgplan\" time=\"{:.3}\">\
         <properties><property name=\"action\" value=\"{action}\" /></properties>",
        seconds(row.elapsed())
    );
    let _ = match row.outcome {
        Outcome::Done => writeln!(xml, "</testcase>"),
        Outcome::Skipped(reason) => {
            writeln!(xml, "<skipped message=\"{}\" /></testcase>", markup(&skip_reason(reason)))
        }
        Outcome::Failed(failure) => writeln!(xml, "{}</testcase>", failed(failure)),
    };
}

fn failed(failure: &TargetFailure) -> String {
    let TargetFailure { phase, message, help, build, pending, .. } = failure;
    let word = if *pending { "pending" } else { "failed" };
    let kind = format!("{word} while {}", phase_word(*phase));
    let first = message.lines().next().unwrap_or_default();
    let help =
        help.as_deref().map(|help| format!("\nhelp: {}", short_help(help))).unwrap_or_default();
    let build = build.as_ref().map(|build| format!("\nbuild: {build}")).unwrap_or_default();
    let text = format!("{}{help}{build}", shortened(message, MAX_TEXT_BYTES));
    format!(
        "<failure message=\"{}\" type=\"{}\">{}</failure>",
        markup(first),
        markup(&kind),
        markup_lines(&text)
    )
}
