//! A plan as Markdown. Pure.

use super::super::PlanView;
use super::super::cost::Cost;
use super::super::group::{MAX_ROWS, StepGroup, groups};
use super::super::human::MAX_PROTECTED_SHOWN;
use super::super::markup::{code, prose};
use super::super::sentences::{Sentence, step_suffix};
use super::super::symbol::symbol;
use super::super::words::plan_line;
use super::Room;
use crate::base::text::plural;
use crate::plan::Step;

/// Heading of a table of steps.
const STEPS_HEADING: &str = "\n| Action | Target | Reason |\n| --- | --- | --- |\n";

/// Title of the other steps, below those that delete.
const STEPS_TITLE: &str = "\n#### Other steps\n";

/// Returns a plan: a heading with the counts, the deletions, a table of the other steps, or a folded
/// table for each group of many, and the notes, order and cost. A plan without changes is one line.
pub(crate) fn plan(view: &PlanView<'_>, max_bytes: usize) -> String {
    let mut room = Room::new(max_bytes);
    let notes = || view.notes().map(|note| note_line("Note:", &note)).collect::<Vec<_>>();
    let partial = view.partial().map(|note| sentence(&note));
    if view.plan.is_noop() {
        let head = room.row(sentence(&view.no_changes()) + "\n");
        let more = partial.into_iter().chain(warnings(view)).chain(notes()).chain(plan_notes(view));
        let more = room.rows(more.map(|line| format!("\n{line}\n")));
        return format!("{head}{more}{}", room.left_out_line());
    }
    let (deletions, steps) = view.deletions();
    let (counts, subject) = (prose(&plan_line(&view.plan.counts(None))), view.subject(code));
    let head = room.row(format!("### {counts}\n\nimgplan: {subject}\n"));
    // The rows of tables come last, because they can be left out.
    let before = room.rows(partial.into_iter().chain(warnings(view)).map(|it| format!("\n{it}\n")));
    let last = [view.order(), Cost::of(view).text(view.budget), view.not_compared()];
    let last = last.into_iter().flatten().map(|line| prose(&line));
    let after = notes().into_iter().chain(plan_notes(view)).chain(last);
    let after = room.rows(after.map(|line| format!("\n{line}\n")));
    let legend = room.row(legend(view));
    room.takes(STEPS_TITLE);
    let deletions = deletions_block(&mut room, &deletions);
    let steps_title = if deletions.is_empty() || steps.is_empty() { "" } else { STEPS_TITLE };
    let table = if steps.len() <= MAX_ROWS {
        steps_table(&mut room, &steps)
    } else {
        folded_groups(&mut room, &groups(&steps))
    };
    format!("{head}{before}{deletions}{steps_title}{table}{}{legend}{after}", room.left_out_line())
}

/// Returns the paragraphs that should be read before a plan is approved.
fn warnings(view: &PlanView<'_>) -> Vec<String> {
    let first = view.blocked().into_iter().chain(view.replaces(MAX_PROTECTED_SHOWN));
    let protection = first.chain(view.protection(MAX_PROTECTED_SHOWN));
    let paths = view.unconfirmed_bases().map(|text| prose(&text));
    protection.map(|it| sentence(&it)).chain(paths).collect()
}

fn plan_notes(view: &PlanView<'_>) -> Vec<String> {
    view.plan_notes().iter().map(|note| prose(note)).collect()
}

fn sentence(sentence: &Sentence) -> String {
    note_line(&sentence.head, &sentence.rest)
}

fn note_line(head: &str, rest: &str) -> String {
    format!("**{}** {}", prose(head), prose(rest))
}

fn steps_table(room: &mut Room, steps: &[&Step]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    room.table(STEPS_HEADING, steps.iter().map(|step| row(step)))
}

fn deletions_block(room: &mut Room, steps: &[&Step]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let heading = format!("\n#### Deletes {}\n{STEPS_HEADING}", plural(steps.len(), "image"));
    room.table(&heading, steps.iter().map(|step| row(step)))
}

/// Returns the steps without a group in a table, and the others in a folded table for each group.
fn folded_groups(room: &mut Room, groups: &[StepGroup<'_>]) -> String {
    let (single, large): (Vec<_>, Vec<_>) = groups.iter().partition(|group| group.steps.len() == 1);
    let single: Vec<&Step> = single.iter().flat_map(|group| group.steps.iter().copied()).collect();
    let table = steps_table(room, &single);
    // The frames of all groups come before the rows of any, so that each cause is named.
    let frames = large.into_iter().map(|group| {
        let (begin, end) = frame(group);
        if room.takes(&begin) && room.takes(&end) {
            return Some((group, begin, end));
        }
        room.left_out += group.steps.len();
        None
    });
    let frames: Vec<_> = frames.collect();
    let folded = frames.into_iter().flatten().map(|(group, begin, end)| {
        let rows = room.rows(group.steps.iter().map(|step| row(step)));
        format!("{begin}{rows}{end}")
    });
    let folded: String = folded.collect();
    format!("{table}{folded}")
}

/// Returns the beginning and the end of a folded table.
fn frame(group: &StepGroup<'_>) -> (String, String) {
    let action = group.steps.first().map(|step| action(step)).unwrap_or_default();
    let (targets, cause) = (plural(group.steps.len(), "target"), prose(&group.cause));
    let added = match group.steps.iter().filter(|step| step.added).count() {
        0 => String::new(),
        added => format!(" ({added} needed by the selection)"),
    };
    let summary = format!("<summary>{action} <b>{targets}</b>: {cause}{added}</summary>");
    let begin = format!("\n<details>{summary}\n{STEPS_HEADING}");
    (begin, "\n</details>\n".to_owned())
}

fn row(step: &Step) -> String {
    let reasons: Vec<String> = step.reasons.iter().map(ToString::to_string).collect();
    let reasons = format!("{}{}", reasons.join("; "), step_suffix(step));
    format!("| {} | {} | {} |\n", action(step), code(&step.key.to_string()), prose(&reasons))
}

fn action(step: &Step) -> String {
    format!("{} {}", code(symbol(step).text.trim()), step.verb())
}

/// Returns the meanings of the symbols that the plan uses.
fn legend(view: &PlanView<'_>) -> String {
    let entry = |(text, meaning)| format!("{} {meaning}", code(text));
    let entries: Vec<String> = view.legend().into_iter().map(entry).collect();
    format!("\n<sub>{}</sub>\n", entries.join(" · "))
}
