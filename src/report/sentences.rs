//! Sentences about a plan, which the texts for a terminal and for Markdown share. They are not
//! escaped. Pure.

use std::collections::BTreeSet;

use super::PlanView;
use super::base_paths::unconfirmed_bases;
use super::symbol::symbol;
use super::words::{build_tail, partial_note, size};
use crate::base::name::{ImageRef, Owner};
use crate::base::text::{list, plural};
use crate::plan::{Action, Blocked, Renamed, Step};

/// Names that stand for a long list.
pub(super) const MAX_NAMES_SHOWN: usize = 3;

/// A sentence with the words that should stand out, at its beginning.
pub(super) struct Sentence {
    pub(super) head: String,
    /// The rest, which follows a blank.
    pub(super) rest: String,
}

impl Sentence {
    fn new(head: impl Into<String>, rest: impl Into<String>) -> Self {
        Self { head: head.into(), rest: rest.into() }
    }
}

impl PlanView<'_> {
    /// Returns the size of the manifest, the owners, the place of the state and the service. `shown` formats a
    /// name or a path.
    pub(super) fn subject(&self, shown: impl Fn(&str) -> String) -> String {
        let size = size(self.workspace.images, self.plan.units);
        let lockfile = shown(&self.lockfile.display().to_string());
        let (owners, service) = (shown(&self.owners()), shown(self.service));
        let unasked = self.facts.unasked.filter(|_| !self.facts.asked);
        let unasked = unasked.map(|reason| format!(" (not asked: {reason})")).unwrap_or_default();
        let place = self.place;
        format!("{size}, owner {owners}, {place} {lockfile}, service {service}{unasked}")
    }

    /// Returns the sentence on a partial plan.
    pub(super) fn partial(&self) -> Option<Sentence> {
        let partial = self.plan.partial?;
        Some(Sentence::new("Note:", format!("this is a {}.", partial_note("plan", partial))))
    }

    /// Returns the sentence on the targets of a partition that wait for a base.
    pub(super) fn blocked(&self) -> Option<Sentence> {
        let blocked = &self.plan.blocked;
        let verb = if blocked.len() == 1 { "waits" } else { "wait" };
        let targets = plural(blocked.len(), "target");
        let names = blocked.iter().map(|Blocked { unit, base }| format!("{unit} (on {base})"));
        let names = list(names, MAX_NAMES_SHOWN);
        (!blocked.is_empty()).then(|| {
            let rest = format!(
                "{targets} {verb} for a base that is not up to date: {names}. `imgplan apply \
                 --partition trunk` brings the bases up to date."
            );
            Sentence::new("Blocked:", rest)
        })
    }

    /// Returns the sentence of a plan without steps.
    pub(super) fn no_changes(&self) -> Sentence {
        let (count, selected) = match self.plan.partial {
            Some(partial) => (partial.selected, "selected "),
            None => (self.plan.units, ""),
        };
        if !self.plan.blocked.is_empty() {
            return Sentence::new("No steps.", "All changes of this part wait for a base.");
        }
        // The lines below name images whose protection changes.
        let head = if self.plan.has_changes() { "No image changes." } else { "No changes." };
        let matches = match count {
            0 if self.plan.partial.is_some() => {
                return Sentence::new(head, "No target of the manifest is selected.");
            }
            1 => format!("The {selected}target matches"),
            count => format!("All {count} {selected}targets match"),
        };
        let compared = match self.answers() {
            Some(answers) => {
                format!("the manifest. Compared with the {} and {answers}.", self.place)
            }
            None => format!("the {}; {}.", self.place, self.silence()),
        };
        Sentence::new(head, format!("{matches} {compared}"))
    }

    /// Returns the sentence on bases whose path comes from the lockfile alone.
    pub(super) fn unconfirmed_bases(&self) -> Option<String> {
        let paths = unconfirmed_bases(self);
        let bases = plural(paths.len(), "base");
        let names = paths.iter().map(|(base, path)| format!("{base} at {path}"));
        let names = list(names, MAX_NAMES_SHOWN);
        (!paths.is_empty())
            .then(|| format!("Uses {bases} by a path that only the {} names: {names}", self.place))
    }

    /// Returns the sentence on protected images that are replaced, with up to `max` names.
    pub(super) fn replaces(&self, max: usize) -> Option<Sentence> {
        let keys = self.replaced_protected();
        (!keys.is_empty()).then(|| named_images("Replaces", "protected image", &keys, max))
    }

    /// Returns the sentences on images that become protected, and on those that cease to be, with up
    /// to `max` names each.
    pub(super) fn protection(&self, max: usize) -> Vec<Sentence> {
        let changes = [("Protects", &self.plan.protects), ("Unprotects", &self.plan.unprotects)];
        let changes = changes.into_iter().filter(|(_, keys)| !keys.is_empty());
        changes.map(|(verb, keys)| named_images(verb, "image", keys, max)).collect()
    }

    /// Returns notes that no step stands for. They concern the whole manifest, so a partial plan
    /// has none.
    pub(super) fn plan_notes(&self) -> Vec<String> {
        if self.plan.partial.is_some() {
            return Vec::new();
        }
        let mut lines = self.protected_orphans();
        let renamed = &self.plan.renamed;
        lines.extend(renamed.iter().take(MAX_NAMES_SHOWN).map(|Renamed { from, to }| {
            format!(
                "`{to}` has the same content as `{from}`, which is no longer in the manifest: if \
                 it was renamed, add `moved: [{{from: {from}, to: {to}}}]`"
            )
        }));
        if let more @ 1.. = renamed.len().saturating_sub(MAX_NAMES_SHOWN) {
            lines.push(format!("{more} more may have been renamed; `--json` lists all"));
        }
        if let drift @ 1.. = self.plan.visibility_drift {
            let has = if drift == 1 { "has" } else { "have" };
            lines.push(format!(
                "Drift: {} {has} another visibility at the service than the lockfile records; \
                 the plan leaves it.",
                plural(drift, "image")
            ));
        }
        lines
    }

    /// Returns the sentences on orphans that are kept because they are protected.
    fn protected_orphans(&self) -> Vec<String> {
        let orphans = self.plan.protected.iter();
        let (listed, unlisted): (Vec<&ImageRef>, Vec<&ImageRef>) =
            orphans.partition(|key| self.is_listed_for_deletion(key));
        let line = |keys: &[&ImageRef], state: &str, advice: &str| {
            let (is, them) = if keys.len() == 1 { ("is", "it") } else { ("are", "them") };
            let (count, names) =
                (plural(keys.len(), "protected image"), list(keys, MAX_NAMES_SHOWN));
            let advice = advice.replace("{them}", them);
            (!keys.is_empty())
                .then(|| format!("{count} {is} {state} and {is} kept: {names} ({advice})"))
        };
        [
            line(&listed, "listed for deletion", "to delete {them}, apply `protect: false` first"),
            line(
                &unlisted,
                "not in the manifest",
                "to forget or delete {them}, list {them} under `removed:`",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Returns the symbols that the plan uses, with their meanings.
    pub(super) fn legend(&self) -> BTreeSet<(&'static str, &'static str)> {
        let symbols = self.plan.steps.iter().map(symbol);
        symbols.map(|symbol| (symbol.text.trim(), symbol.meaning)).collect()
    }

    /// Returns the sentence on the order of the steps.
    pub(super) fn order(&self) -> Option<String> {
        let steps = &self.plan.steps;
        // Deletions wait for their replacements, too; that order concerns nobody.
        let of_manifest = || steps.iter().filter(|step| step.unit().is_some());
        let bases: BTreeSet<_> = of_manifest().flat_map(|step| &step.needs).collect();
        let keys: Vec<&ImageRef> =
            bases.iter().filter_map(|step| Some(&steps.get(step.0)?.key)).collect();
        if keys.is_empty() {
            return None;
        }
        let dependents = of_manifest().filter(|step| !step.needs.is_empty()).count();
        Some(format!(
            "Order: {} first, then what depends on them ({}). Longest chain: {}.",
            list(&keys, MAX_NAMES_SHOWN),
            plural(dependents, "target"),
            self.plan.longest_chain()
        ))
    }

    /// Returns the sentence on a comparison that was not made.
    pub(super) fn not_compared(&self) -> Option<String> {
        let is_said = self.facts.unasked.is_some() || self.facts.asked;
        (self.answers().is_none() && is_said).then(|| format!("Not compared: {}.", self.silence()))
    }

    /// Returns the steps that delete an image, and the others.
    pub(super) fn deletions(&self) -> (Vec<&Step>, Vec<&Step>) {
        let is_deletion = |step: &&Step| matches!(step.action, Action::Delete { .. });
        self.plan.steps.iter().partition(is_deletion)
    }
}

fn named_images<T: ToString>(verb: &str, noun: &str, keys: &[T], max: usize) -> Sentence {
    let names = list(keys.iter().map(ToString::to_string), max);
    Sentence::new(format!("{verb} {}:", plural(keys.len(), noun)), names)
}

/// Returns what follows the reasons of a step; empty for most.
pub(super) fn step_suffix(step: &Step) -> String {
    let mut suffix = match &step.action {
        Action::Adopt { build, .. } => build_tail(Some(build)),
        Action::Delete { owner, .. } if *owner != Owner::Personal => format!(" ({owner})"),
        _ => String::new(),
    };
    if let Action::Forget { after: Some(build) } | Action::Delete { after: Some(build), .. } =
        &step.action
    {
        suffix = format!("{suffix} (once build {build} has ended)");
    }
    if step.added {
        suffix.push_str(" (needed by the selection)");
    }
    suffix
}
