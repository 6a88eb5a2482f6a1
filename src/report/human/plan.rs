//! The text of a plan: the table, deletions in a block of their own, notes, cost and counts.

use anstyle::{AnsiColor, Style};

use super::super::PlanView;
use super::super::cost::Cost;
use super::super::fit::wrap;
use super::super::group::{MAX_ROWS, groups};
use super::super::sentences::Sentence;
use super::super::words::plan_line;
use super::table::Row;
use super::{BOLD, DIM, HumanReporter, color, warning};
use crate::base::safe_text::escaped;
use crate::base::text::plural;
use crate::plan::Step;

/// The text of a plan, in three parts.
pub(crate) struct PlanText {
    /// The text before the table.
    pub(crate) before: String,
    /// The table.
    pub(crate) table: String,
    /// The text after the table.
    pub(crate) after: String,
    /// True if the table has more rows than a plan shows without `--verbose`.
    pub(crate) is_long: bool,
}

impl HumanReporter<'_> {
    /// Returns the text of a plan.
    pub(crate) fn plan_text(&self, view: &PlanView<'_>) -> PlanText {
        let partial = view.partial().map(|note| self.sentence(warning(), &note));
        let blocked = view.blocked().map(|note| self.sentence(warning(), &note));
        if view.plan.is_noop() {
            let lines = [Some(self.sentence(BOLD, &view.no_changes())), partial, blocked];
            let lines = lines.into_iter().flatten();
            let lines = lines.chain(self.protection(view)).chain(self.plan_notes(view));
            let before = format!("{}\n", lines.collect::<Vec<_>>().join("\n"));
            let (table, after) = (String::new(), String::new());
            return PlanText { before, table, after, is_long: false };
        }
        let (deletions, steps) = view.deletions();
        let unconfirmed = view.unconfirmed_bases().map(|text| self.prose(&text));
        let after = [
            blocked.unwrap_or_default(),
            self.deletions(&deletions),
            self.replaced_protected(view),
            self.protection(view).join("\n"),
            self.plan_notes(view).join("\n"),
            unconfirmed.unwrap_or_default(),
            self.last_lines(view),
        ];
        let head = self.prose(&format!("imgplan: {}", view.subject(str::to_owned)));
        let table = self.table(&steps);
        PlanText {
            before: paragraphs([head, partial.unwrap_or_default()]) + "\n",
            table: if table.is_empty() { table } else { format!("{table}\n\n") },
            after: paragraphs(after),
            is_long: self.is_verbose() && steps.len() > MAX_ROWS,
        }
    }

    fn last_lines(&self, view: &PlanView<'_>) -> String {
        let mut lines = vec![self.legend(view)];
        lines.extend(view.order().map(|order| self.prose(&order)));
        lines.extend(Cost::of(view).text(view.budget).map(|cost| self.prose(&cost)));
        lines.push(self.paint(BOLD, &self.prose(&plan_line(&view.plan.counts(None)))));
        lines.extend(view.not_compared().map(|text| self.prose(&text)));
        lines.join("\n")
    }

    /// Wraps a sentence.
    pub(in crate::report) fn prose(&self, text: &str) -> String {
        wrap(&escaped(text), self.options.columns, 2)
    }

    fn sentence(&self, style: Style, sentence: &Sentence) -> String {
        let Sentence { head, rest } = sentence;
        self.paint_head(style, head, &self.prose(&format!("{head} {rest}")))
    }

    fn protection(&self, view: &PlanView<'_>) -> Vec<String> {
        let sentences = view.protection(self.max_protected());
        sentences.iter().map(|sentence| self.sentence(warning(), sentence)).collect()
    }

    fn replaced_protected(&self, view: &PlanView<'_>) -> String {
        let replaces = view.replaces(self.max_protected());
        replaces.map(|sentence| self.sentence(warning(), &sentence)).unwrap_or_default()
    }

    fn plan_notes(&self, view: &PlanView<'_>) -> Vec<String> {
        view.plan_notes().iter().map(|line| self.prose(line)).collect()
    }

    /// Returns the steps as a table, grouped if there are many.
    fn table(&self, steps: &[&Step]) -> String {
        if steps.len() <= MAX_ROWS || self.is_verbose() {
            return self.rows(&steps.iter().map(|step| Row::of(step)).collect::<Vec<_>>());
        }
        let groups = groups(steps);
        let mut text = self.rows(&groups.iter().filter_map(Row::of_group).collect::<Vec<_>>());
        if self.options.hints && groups.len() < steps.len() {
            let hint = "`imgplan why NAME` explains one target; `--verbose` lists all.";
            text = format!("{text}\n\n{}", self.paint(DIM, &self.prose(hint)));
        }
        text
    }

    fn deletions(&self, steps: &[&Step]) -> String {
        if steps.is_empty() {
            return String::new();
        }
        let head = format!("Deletes {}:", plural(steps.len(), "image"));
        let head = self.paint(color(AnsiColor::Red).bold(), &head);
        let rows: Vec<Row> = steps.iter().map(|step| Row::of(step)).collect();
        format!("{head}\n{}", self.rows(&rows))
    }

    /// Returns the meanings of the symbols that the plan uses.
    fn legend(&self, view: &PlanView<'_>) -> String {
        // The line does not break within an entry.
        let entry = |(text, meaning)| format!("{text} {meaning}").replace(' ', "\u{a0}");
        let entries: Vec<String> = view.legend().into_iter().map(entry).collect();
        let text = wrap(&entries.join("   "), self.options.columns, 0).replace('\u{a0}', " ");
        self.paint(DIM, &text)
    }
}

/// Joins texts with empty lines between them, and ends the last line.
fn paragraphs(texts: impl IntoIterator<Item = String>) -> String {
    let texts: Vec<String> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    format!("{}\n", texts.join("\n\n"))
}
