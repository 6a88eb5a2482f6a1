//! The report of a run as Markdown, short enough for the comment of a pull request. Pure.

use super::super::human::run::{counts_line, has_failed};
use super::super::words::{next_command, partial_note, phase_word};
use super::escape::{code, markup_lines};
use super::failures::{FailureGroup, failure_groups};
use super::{RunView, TargetRow};
use crate::base::name::ImageRef;
use crate::base::text::{duration, list, plural};
use crate::event::TargetFailure;

/// Maximum number of characters of the report. A comment at GitHub has at most 65,536.
const MAX_REPORT_BYTES: usize = 65_000;

/// Bytes that are kept free for what comes after the failures.
const RESERVED_BYTES: usize = 24_000;

/// Maximum number of the slowest targets shown.
const MAX_SLOWEST: usize = 20;

/// Maximum number of causes of skipped targets, of names of each, and of failures with the same text.
const MAX_CAUSES_SHOWN: usize = 30;
const MAX_NAMES_SHOWN: usize = 10;

/// Returns the report.
pub(crate) fn markdown(view: &RunView<'_>) -> String {
    let result = view.result;
    let stopped = view.stopped().map(|text| code(&text));
    let partial = result.summary.partial;
    let partial = partial.map(|partial| format!("This was a {}.", partial_note("run", partial)));
    let next = result.next.map(|next| code(&next_command(next, has_failed(result.summary))));
    let counts = format!("### {}", counts_line(result.summary, result.elapsed));
    let facts = format!("Owner: {}; service: {}", code(result.owners), code(view.service));
    let head = [Some(counts), Some(facts), stopped, partial, next];
    let text = head.into_iter().flatten().collect::<Vec<_>>().join("\n\n") + "\n";
    let end = format!("{}{}", skipped(view), slowest(&view.rows()));
    let free_bytes = MAX_REPORT_BYTES.saturating_sub(text.len() + end.len());
    format!("{text}{}{end}", failures(view, free_bytes))
}

/// Returns the failures that fit, and the number of the others.
fn failures(view: &RunView<'_>, max_bytes: usize) -> String {
    let groups = failure_groups(view, MAX_REPORT_BYTES - RESERVED_BYTES);
    let (mut text, mut left_out) = (String::new(), 0);
    for group in &groups {
        let block = failure(group);
        if left_out == 0 && text.len() + block.len() + 100 <= max_bytes {
            text.push_str(&block);
        } else {
            left_out += group.failures.len();
        }
    }
    match left_out {
        0 => text,
        left_out => format!("{text}\nAnd {}.\n", plural(left_out, "more failure")),
    }
}

fn failure(group: &FailureGroup<'_>) -> String {
    let FailureGroup { failures, text, help } = group;
    let Some(failure) = failures.first() else { return String::new() };
    let name = |it: &&TargetFailure| match &it.build {
        Some(build) => code(&format!("{} [build {build}]", it.unit)),
        None => code(&it.unit.to_string()),
    };
    let names = list(failures.iter().map(name), MAX_NAMES_SHOWN);
    let word = if failure.pending { "Pending" } else { "Failed" };
    let help = help.as_ref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
    // Markdown does not look into the element. Its first and last lines must not be empty.
    let lines = markup_lines(&format!("{text}{help}"));
    format!("\n**{word}** while {}: {names}\n<pre>\n{lines}\n</pre>\n", phase_word(failure.phase))
}

fn skipped(view: &RunView<'_>) -> String {
    let causes = view.skipped_by_cause();
    if causes.is_empty() {
        return String::new();
    }
    let line = |(cause, units): &(String, Vec<&ImageRef>)| {
        let names = list(units.iter().map(|unit| code(&unit.to_string())), MAX_NAMES_SHOWN);
        format!("- {}: {}: {names}\n", plural(units.len(), "target"), code(cause))
    };
    let lines: String = causes.iter().take(MAX_CAUSES_SHOWN).map(line).collect();
    let more = match causes.len().saturating_sub(MAX_CAUSES_SHOWN) {
        0 => String::new(),
        more => format!("- {more} more causes\n"),
    };
    format!("\n#### {} skipped\n\n{lines}{more}", view.result.summary.skipped.len())
}

fn slowest(rows: &[TargetRow<'_>]) -> String {
    let mut started: Vec<&TargetRow<'_>> = rows.iter().filter(|it| !it.spans.is_empty()).collect();
    if started.is_empty() {
        return String::new();
    }
    started.sort_by_key(|row| std::cmp::Reverse(row.elapsed()));
    let row = |row: &&TargetRow<'_>| {
        // The characters of a name have no meaning in a cell of a table.
        let (name, word) = (code(&row.step.key.to_string()), row.outcome.word());
        let (time, waited) = (duration(row.elapsed()), duration(row.waited()));
        format!("| {name} | {} | {word} | {time} | {waited} |\n", row.action)
    };
    let rows: String = started.iter().take(MAX_SLOWEST).map(row).collect();
    let heading = if started.len() > MAX_SLOWEST { "Slowest targets" } else { "Targets" };
    format!(
        "\n#### {heading}\n\n| Target | Action | Result | Time | Of which waited |\n\
         | --- | --- | --- | ---: | ---: |\n{rows}"
    )
}
