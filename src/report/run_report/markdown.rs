//! The report of a run as Markdown, short enough for the comment of a pull request. Pure.

use super::super::markdown::{Extras, MAX_COMMENT_BYTES, result_with};
use super::super::markup::code;
use super::{RunView, TargetRow};
use crate::base::text::duration;

/// Maximum number of the slowest targets shown.
const MAX_SLOWEST: usize = 20;

/// Returns the report: the result, and a table of the slowest targets.
pub(crate) fn markdown(view: &RunView<'_>) -> String {
    let rows = view.rows();
    let mut started: Vec<&TargetRow<'_>> = rows.iter().filter(|it| !it.spans.is_empty()).collect();
    started.sort_by_key(|row| std::cmp::Reverse(row.elapsed()));
    let heading = if started.len() > MAX_SLOWEST { "Slowest targets" } else { "Targets" };
    let heading = format!(
        "\n#### {heading}\n\n| Target | Action | Result | Time | Of which waited |\n\
         | --- | --- | --- | ---: | ---: |\n"
    );
    let rows = started.into_iter().take(MAX_SLOWEST).map(slowest_row).collect();
    let extras = Extras { notes: view.notes(), heading, rows };
    result_with(&view.result, extras, MAX_COMMENT_BYTES)
}

fn slowest_row(row: &TargetRow<'_>) -> String {
    let (name, word) = (code(&row.step.key.to_string()), row.outcome.word());
    let (time, waited) = (duration(row.elapsed()), duration(row.waited()));
    format!("| {name} | {} | {word} | {time} | {waited} |\n", row.action)
}
