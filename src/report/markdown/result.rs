//! The result of a run as Markdown: the counts, the failures with their texts, and the skipped targets.
//! Pure.

use super::super::SummaryView;
use super::super::human::run::{counts_line, group_failures, has_failed};
use super::super::markup::{block, code, prose};
use super::super::words::{build_tail, next_command, partial_note, phase_word, skip_reason};
use super::Room;
use crate::base::text::list;
use crate::event::{Summary, TargetFailure};

/// Names shown of failures with the same error.
const MAX_NAMES_OF_FAILURE: usize = 12;

/// Maximum number of lines of an error, of which the last ones count most.
const MAX_ERROR_LINES: usize = 60;

const FAILURES_HEADING: &str = "\n| Failed | While | Error |\n| --- | --- | --- |\n";

const SKIPPED_HEADING: &str = "\n| Skipped | Reason |\n| --- | --- |\n";

/// Notes and a table of a text, beyond the result of a run.
#[derive(Debug, Default)]
pub(in crate::report) struct Extras {
    /// Sentences below the counts.
    pub(in crate::report) notes: Vec<String>,
    /// Heading of the last table, in Markdown.
    pub(in crate::report) heading: String,
    /// Rows of the last table, in Markdown.
    pub(in crate::report) rows: Vec<String>,
}

/// Returns the result of a run.
pub(crate) fn result(view: &SummaryView<'_>, max_bytes: usize) -> String {
    result_with(view, Extras::default(), max_bytes)
}

/// Returns the result of a run with notes and a last table.
pub(in crate::report) fn result_with(
    view: &SummaryView<'_>,
    extras: Extras,
    max_bytes: usize,
) -> String {
    let SummaryView { summary, elapsed, next, owners } = *view;
    let mut room = Room::new(max_bytes);
    let counts = prose(&counts_line(summary, elapsed));
    let head = room.row(format!("### {counts}\n\nOwner: {}\n", code(owners)));
    let partial = summary.partial.map(|partial| partial_note("run", partial));
    let partial = partial.map(|note| format!("\n**Note:** this was a {}.\n", prose(&note)));
    let notes = extras.notes.iter().map(|note| format!("\n**Note:** {}\n", prose(note)));
    let notes = room.rows(notes.chain(partial));
    let next = next.map(|command| next_command(&code(command), has_failed(summary)));
    let next = room.rows(next.map(|line| format!("\n{line}\n")));
    let groups = group_failures(summary);
    let failures = match &groups[..] {
        [] => String::new(),
        groups => room.table(FAILURES_HEADING, groups.iter().map(|group| failure_row(group))),
    };
    let skipped = skipped_table(&mut room, summary);
    let texts = room.rows(groups.iter().filter_map(|group| full_text(group)));
    let last = match &extras.rows[..] {
        [] => String::new(),
        _ => room.table(&extras.heading, extras.rows),
    };
    format!("{head}{notes}{failures}{texts}{skipped}{last}{}{next}", room.left_out_line())
}

/// Returns the row of failures with the same error: its first line and the advice.
fn failure_row(group: &[&TargetFailure]) -> String {
    let [failure, ..] = group else { return String::new() };
    let names = group.iter().map(|it| format!("{}{}", it.unit, build_tail(it.build.as_ref())));
    let names = code(&list(names, MAX_NAMES_OF_FAILURE));
    let pending = if failure.pending { " (pending)" } else { "" };
    let error = prose(failure.message.lines().next().unwrap_or_default());
    let help = failure.help.as_deref().map(|help| format!("<br>help: {}", prose(help)));
    let (phase, help) = (phase_word(failure.phase), help.unwrap_or_default());
    format!("| {names} | {phase}{pending} | {error}{help} |\n")
}

/// Returns an error of several lines, folded. `None` for an error of one line.
fn full_text(group: &[&TargetFailure]) -> Option<String> {
    let [failure, others @ ..] = group else { return None };
    let lines: Vec<&str> = failure.message.lines().collect();
    if lines.len() < 2 {
        return None;
    }
    let left_out = lines.len().saturating_sub(MAX_ERROR_LINES);
    let gap = (left_out > 0).then(|| format!("[... {left_out} more lines ...]"));
    let last = lines.iter().skip(1 + left_out).map(|line| (*line).to_owned());
    let text =
        block(lines.first().map(|line| (*line).to_owned()).into_iter().chain(gap).chain(last));
    let more = match others.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let name = code(&failure.unit.to_string());
    Some(format!("\n<details><summary>Error of {name}{more}</summary>\n\n{text}\n</details>\n"))
}

fn skipped_table(room: &mut Room, summary: &Summary) -> String {
    if summary.skipped.is_empty() {
        return String::new();
    }
    let rows = summary.skipped.iter().map(|(unit, reason)| {
        format!("| {} | {} |\n", code(&unit.to_string()), prose(&skip_reason(reason)))
    });
    room.table(SKIPPED_HEADING, rows)
}
