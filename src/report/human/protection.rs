//! The paragraphs of a plan about protected images.

use super::super::PlanView;
use super::{HumanReporter, MAX_NAMES_SHOWN, warning};
use crate::base::name::ImageRef;
use crate::base::text::{list, plural};

impl HumanReporter<'_> {
    /// Returns the lines on images that become protected, and on those that cease to be.
    pub(super) fn protection(&self, view: &PlanView<'_>) -> Vec<String> {
        let lines = [("Protects", &view.plan.protects), ("Unprotects", &view.plan.unprotects)];
        let lines = lines.into_iter().filter(|(_, keys)| !keys.is_empty());
        lines.map(|(verb, keys)| self.named_images(verb, "image", keys)).collect()
    }

    /// Returns the paragraph on protected images that are replaced.
    pub(super) fn replaced_protected(&self, view: &PlanView<'_>) -> String {
        let keys = view.replaced_protected();
        if keys.is_empty() {
            return String::new();
        }
        self.named_images("Replaces", "protected image", &keys)
    }

    fn named_images<T: ToString>(&self, verb: &str, noun: &str, keys: &[T]) -> String {
        let head = format!("{verb} {}:", plural(keys.len(), noun));
        let names = list(keys.iter().map(ToString::to_string), self.max_protected());
        self.paint_head(warning(), &head, &self.prose(&format!("{head} {names}")))
    }
}

/// Returns the lines on orphans that are kept because they are protected.
pub(super) fn protected_orphans(view: &PlanView<'_>) -> Vec<String> {
    let orphans = view.plan.protected.iter();
    let (listed, unlisted): (Vec<&ImageRef>, Vec<&ImageRef>) =
        orphans.partition(|key| view.is_listed_for_deletion(key));
    let line = |keys: &[&ImageRef], state: &str, advice: &str| {
        let (is, them) = if keys.len() == 1 { ("is", "it") } else { ("are", "them") };
        let (count, names) = (plural(keys.len(), "protected image"), list(keys, MAX_NAMES_SHOWN));
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
