//! The text of a plan: the table, deletions in a block of their own, notes, cost and counts.

use std::collections::BTreeSet;

use anstyle::AnsiColor;

use super::super::PlanView;
use super::super::base_paths::unconfirmed_bases;
use super::super::cost::Cost;
use super::super::fit::wrap;
use super::super::group::{MAX_ROWS, groups};
use super::super::symbol::symbol;
use super::super::words::{partial_note, plan_line, size};
use super::protection::protected_orphans;
use super::table::Row;
use super::{BOLD, DIM, HumanReporter, MAX_NAMES_SHOWN, color, warning};
use crate::base::name::ImageRef;
use crate::base::safe_text::escaped;
use crate::base::text::{list, plural};
use crate::plan::{Action, PartialPlan, Renamed, Step};

impl HumanReporter<'_> {
    /// Returns the whole text of a plan.
    pub(super) fn plan_text(&self, view: &PlanView<'_>) -> String {
        let partial = view.plan.partial.map(|partial| self.partial(partial));
        let paragraphs = if view.plan.is_noop() {
            let lines = [Some(self.no_changes(view)), partial].into_iter().flatten();
            let lines = lines.chain(self.protection(view)).chain(self.plan_notes(view));
            vec![lines.collect::<Vec<_>>().join("\n")]
        } else {
            let (deletions, steps): (Vec<&Step>, Vec<&Step>) = view
                .plan
                .steps
                .iter()
                .partition(|step| matches!(step.action, Action::Delete { .. }));
            let mut last = vec![self.legend(view)];
            last.extend(self.order(view));
            last.extend(Cost::of(view).text(view.limits).map(|cost| self.prose(&cost)));
            last.push(self.paint(BOLD, &self.prose(&plan_line(&view.plan.counts(None)))));
            if view.answers().is_none() && (view.facts.unasked.is_some() || view.facts.asked) {
                last.push(self.prose(&format!("Not compared: {}.", view.silence())));
            }
            vec![
                self.prose(&head(view)),
                partial.unwrap_or_default(),
                self.table(&steps),
                self.deletions(&deletions),
                self.replaced_protected(view),
                self.protection(view).join("\n"),
                self.plan_notes(view).join("\n"),
                self.unconfirmed_bases(view),
                last.join("\n"),
            ]
        };
        let paragraphs: Vec<String> =
            paragraphs.into_iter().filter(|text| !text.is_empty()).collect();
        format!("{}\n", paragraphs.join("\n\n"))
    }

    /// Returns the paragraph on bases whose path comes from the lockfile alone.
    fn unconfirmed_bases(&self, view: &PlanView<'_>) -> String {
        let paths = unconfirmed_bases(view);
        if paths.is_empty() {
            return String::new();
        }
        let bases = plural(paths.len(), "base");
        let names = paths.iter().map(|(base, path)| format!("{base} at {path}"));
        let names = list(names, MAX_NAMES_SHOWN);
        self.prose(&format!("Uses {bases} by a path that only the lockfile names: {names}"))
    }

    /// Wraps a sentence.
    pub(in crate::report) fn prose(&self, text: &str) -> String {
        wrap(&escaped(text), self.options.columns, 2)
    }

    fn partial(&self, partial: PartialPlan) -> String {
        let note = format!("Note: this is a {}.", partial_note("plan", partial));
        self.paint_head(warning(), "Note:", &self.prose(&note))
    }

    fn no_changes(&self, view: &PlanView<'_>) -> String {
        let (count, selected) = match view.plan.partial {
            Some(partial) => (partial.selected, "selected "),
            None => (view.plan.units, ""),
        };
        let matches = match count {
            1 => format!("The {selected}target matches"),
            count => format!("All {count} {selected}targets match"),
        };
        // The lines below name images whose protection changes.
        let head = if view.plan.has_changes() { "No image changes." } else { "No changes." };
        let compared = match view.answers() {
            Some(answers) => format!("the manifest. Compared with the lockfile and {answers}."),
            None => format!("the lockfile; {}.", view.silence()),
        };
        let text = format!("{head} {matches} {compared}");
        self.paint_head(BOLD, head, &self.prose(&text))
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

    /// Returns notes that no step stands for. They concern the whole manifest, so a partial plan
    /// has none.
    fn plan_notes(&self, view: &PlanView<'_>) -> Vec<String> {
        if view.plan.partial.is_some() {
            return Vec::new();
        }
        let mut lines = protected_orphans(view);
        let renamed = &view.plan.renamed;
        lines.extend(renamed.iter().take(MAX_NAMES_SHOWN).map(|Renamed { from, to }| {
            format!(
                "`{to}` has the same content as `{from}`, which is no longer in the manifest: if \
                 it was renamed, add `moved: [{{from: {from}, to: {to}}}]`"
            )
        }));
        if let more @ 1.. = renamed.len().saturating_sub(MAX_NAMES_SHOWN) {
            lines.push(format!("{more} more may have been renamed; `--json` lists all"));
        }
        if let drift @ 1.. = view.plan.visibility_drift {
            let has = if drift == 1 { "has" } else { "have" };
            lines.push(format!(
                "Drift: {} {has} another visibility at the service than the lockfile records; \
                 the plan leaves it.",
                plural(drift, "image")
            ));
        }
        lines.iter().map(|line| self.prose(line)).collect()
    }

    /// Returns the meanings of the symbols that the plan uses.
    fn legend(&self, view: &PlanView<'_>) -> String {
        let symbols = view.plan.steps.iter().map(symbol);
        let entries: BTreeSet<(&str, &str)> =
            symbols.map(|symbol| (symbol.text.trim(), symbol.meaning)).collect();
        // The line does not break within an entry.
        let entry = |(text, meaning)| format!("{text} {meaning}").replace(' ', "\u{a0}");
        let entries: Vec<String> = entries.into_iter().map(entry).collect();
        let text = wrap(&entries.join("   "), self.options.columns, 0).replace('\u{a0}', " ");
        self.paint(DIM, &text)
    }

    fn order(&self, view: &PlanView<'_>) -> Option<String> {
        let steps = &view.plan.steps;
        // Deletions wait for their replacements, too; that order concerns nobody.
        let of_manifest = || steps.iter().filter(|step| step.unit().is_some());
        let bases: BTreeSet<_> = of_manifest().flat_map(|step| &step.needs).collect();
        let keys: Vec<&ImageRef> =
            bases.iter().filter_map(|step| Some(&steps.get(step.0)?.key)).collect();
        if keys.is_empty() {
            return None;
        }
        let dependents = of_manifest().filter(|step| !step.needs.is_empty()).count();
        Some(self.prose(&format!(
            "Order: {} first, then what depends on them ({}). Longest chain: {}.",
            list(&keys, MAX_NAMES_SHOWN),
            plural(dependents, "target"),
            view.plan.longest_chain()
        )))
    }
}

fn head(view: &PlanView<'_>) -> String {
    let size = size(view.workspace.images, view.plan.units);
    let (owners, lockfile, service) = (view.owners(), view.lockfile.display(), view.service);
    let unasked = view.facts.unasked.filter(|_| !view.facts.asked);
    let unasked = unasked.map(|reason| format!(" (not asked: {reason})")).unwrap_or_default();
    format!("imgplan: {size}, owner {owners}, lockfile {lockfile}, service {service}{unasked}")
}
