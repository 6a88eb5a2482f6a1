//! What a plan says of protection: what comes and goes, and what is kept for it.

use anstyle::AnsiColor;

use super::super::words::{count, names};
use super::super::{PlanView, Verbosity};
use super::plan::{FEW, MOST_NAMES};
use super::{Human, color};
use crate::base::name::ImageRef;

impl Human<'_> {
    /// Which images are protected from now on, and which are not any more.
    pub(super) fn protection(&self, view: &PlanView<'_>) -> Vec<String> {
        let most = if self.options.talk >= Verbosity::Verbose { usize::MAX } else { MOST_NAMES };
        let line = |(word, keys): (&str, &Vec<ImageRef>)| {
            let head = format!("{word} {}:", count(keys.len(), "image"));
            let text = self.prose(&format!("{head} {}", names(keys, most)));
            let painted = self.paint(color(AnsiColor::Yellow).bold(), &head);
            (!keys.is_empty()).then(|| text.replacen(&head, &painted, 1))
        };
        let (on, off) = (&view.plan.protects, &view.plan.unprotects);
        [("Protects", on), ("Unprotects", off)].into_iter().filter_map(line).collect()
    }
}

/// What the manifest no longer has and is kept, and how to let go of it.
pub(super) fn kept(view: &PlanView<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let all = view.plan.protected.iter();
    let (doomed, protected): (Vec<&ImageRef>, Vec<&ImageRef>) =
        all.partition(|key| view.is_to_go(key));
    if !doomed.is_empty() {
        let (is, it) = if doomed.len() == 1 { ("is", "it is") } else { ("are", "they are") };
        lines.push(format!(
            "{} {is} to be deleted and {is} kept: {} ({it} protected: apply `protect: false` \
             first)",
            count(doomed.len(), "protected image"),
            names(&doomed, FEW)
        ));
    }
    if !protected.is_empty() {
        let (is, them) = if protected.len() == 1 { ("is", "it") } else { ("are", "them") };
        lines.push(format!(
            "{} {is} not in the manifest and {is} kept: {} (to let go of {them}, list {them} \
             under `removed:`)",
            count(protected.len(), "protected image"),
            names(&protected, FEW)
        ));
    }
    lines
}
