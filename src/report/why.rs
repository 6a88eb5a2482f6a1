//! Explains what is to be done to single units: every reason in full, and the bases down to where a
//! change began.

use std::collections::HashSet;
use std::io;

use serde_json::{Value, json};

use super::PlanView;
use super::fit::printable;
use super::human::{BOLD, Human, color, symbol};
use super::json::{Json, action_word, change};
use super::words::tail;
use crate::base::name::ImageRef;
use crate::plan::{Action, Plan, Reason, Step};

/// Units of which everything is to be said.
#[derive(Debug, Clone, Copy)]
pub struct WhyView<'a> {
    /// The plan that they are a part of.
    pub plan: PlanView<'a>,
    /// The units: of the manifest, or of the lockfile alone.
    pub units: &'a [ImageRef],
}

impl WhyView<'_> {
    /// What the unit's last build was made of, as people call it, the likeliest cause first.
    fn compared(&self, key: &ImageRef) -> Vec<&str> {
        let Some(built) = self.plan.entry(key).and_then(|entry| entry.built.as_ref()) else {
            return Vec::new();
        };
        let words = [
            ("context", "context"),
            ("dockerfile", "Dockerfile"),
            ("source", "source"),
            ("digest", "its digest"),
            ("platform", "platform"),
        ];
        let has = |(key, word)| built.inputs.get(key).map(|_| word);
        let keys = || built.inputs.0.keys().map(String::as_str);
        let bases = keys().filter(|key| key.starts_with("base "));
        // A pinned base outside of the manifest.
        let pinned = keys().filter(|key| key.starts_with("from "));
        words.into_iter().filter_map(has).chain(bases).chain(pinned).collect()
    }
}

fn step<'p>(plan: &'p Plan, key: &ImageRef) -> Option<&'p Step> {
    plan.steps.iter().find(|step| step.key == *key)
}

/// The bases that a reason names, the one that changes by itself last.
fn path(reason: &Reason) -> impl DoubleEndedIterator<Item = &ImageRef> {
    let (base, via) = match reason {
        Reason::DependencyChanged { base, via } => (Some(base), via.as_slice()),
        _ => (None, &[][..]),
    };
    base.into_iter().chain(via)
}

/// The steps of all bases on the paths from a step to where its changes began.
fn causes<'p>(plan: &'p Plan, of: &Step) -> Vec<&'p Step> {
    let mut found: Vec<&Step> = Vec::new();
    let mut told = HashSet::new();
    let mut next: Vec<&ImageRef> = of.reasons.iter().flat_map(path).collect();
    next.reverse();
    while let Some(key) = next.pop() {
        let Some(step) = step(plan, key).filter(|_| told.insert(key)) else { continue };
        found.push(step);
        next.extend(step.reasons.iter().flat_map(path).collect::<Vec<_>>().into_iter().rev());
    }
    found
}

impl Human<'_> {
    /// Explains units, with an empty line between any two.
    pub fn why(&mut self, view: &WhyView<'_>) -> io::Result<()> {
        self.notes(&view.plan)?;
        for (index, key) in view.units.iter().enumerate() {
            if index > 0 {
                writeln!(self.out)?;
            }
            match step(view.plan.plan, key) {
                Some(step) => {
                    self.head(step, "")?;
                    writeln!(self.out)?;
                    self.reasons(view, step, "", &mut HashSet::from([key]))?;
                }
                None => self.nothing(view, key)?,
            }
        }
        Ok(())
    }

    fn head(&mut self, step: &Step, indent: &str) -> io::Result<()> {
        let mark = symbol(step);
        let mark = self.paint(color(mark.color), mark.text.trim());
        let build = match &step.action {
            Action::Adopt { build, .. } => tail(Some(build)),
            _ => String::new(),
        };
        writeln!(self.out, "{indent}{mark} {}  {}{build}", step.key, step.verb())
    }

    /// Tells every reason of a step. A base is explained where it is named first.
    fn reasons<'v>(
        &mut self,
        view: &'v WhyView<'_>,
        step: &'v Step,
        indent: &str,
        told: &mut HashSet<&'v ImageRef>,
    ) -> io::Result<()> {
        for reason in &step.reasons {
            for line in view.plan.full_form(step, reason) {
                writeln!(self.out, "{indent}{}", printable(&line))?;
            }
            if let Some(cause) = path(reason).next_back() {
                self.cause(view, cause, &format!("{indent}  "), told)?;
            }
        }
        Ok(())
    }

    /// Tells why a base changes.
    fn cause<'v>(
        &mut self,
        view: &'v WhyView<'_>,
        key: &'v ImageRef,
        indent: &str,
        told: &mut HashSet<&'v ImageRef>,
    ) -> io::Result<()> {
        match step(view.plan.plan, key) {
            None => {
                writeln!(self.out, "{indent}{key} was made anew since; nothing is left to do to it")
            }
            Some(_) if !told.insert(key) => writeln!(self.out, "{indent}{key}: see above"),
            Some(step) => {
                self.head(step, indent)?;
                self.reasons(view, step, indent, told)
            }
        }
    }

    /// Tells that there is nothing to do, and how that is known.
    fn nothing(&mut self, view: &WhyView<'_>, key: &ImageRef) -> io::Result<()> {
        let head = self.paint(BOLD, "No changes");
        if view.plan.plan.protected.contains(key) {
            let advice = if view.plan.is_to_go(key) {
                "to delete it, apply `protect: false` first"
            } else {
                "list it under `removed:` to let go of it"
            };
            return writeln!(
                self.out,
                "{head} to {key}. It is not in the manifest and is kept, for it is protected; {advice}."
            );
        }
        let built = view.plan.entry(key).and_then(|entry| entry.built.as_ref());
        writeln!(
            self.out,
            "{head} to {key}. Compared with its last build{}: {}; with the manifest: visibility, owner.",
            tail(built.map(|built| &built.build)),
            view.compared(key).join(", ")
        )
    }
}

impl Json<'_> {
    /// Explains units, a line each.
    pub fn why(&mut self, view: &WhyView<'_>) -> io::Result<()> {
        self.notes(&view.plan)?;
        for key in view.units {
            let step = step(view.plan.plan, key);
            let word = step.map_or("noop", action_word);
            let change = step.map_or_else(|| noop(view, key), |step| explained(view, step));
            self.line("info", "why", format!("{key}: {word}"), json!({ "change": change }))?;
        }
        Ok(())
    }
}

/// A step, and those of the bases on the way to where its changes began.
fn explained(view: &WhyView<'_>, step: &Step) -> Value {
    let causes = causes(view.plan.plan, step);
    let mut object = change(&view.plan, step);
    object["via"] = causes.into_iter().map(|step| change(&view.plan, step)).collect();
    object
}

fn noop(view: &WhyView<'_>, key: &ImageRef) -> Value {
    json!({
        "image": key,
        "platform": view.plan.entry(key).map(|entry| entry.platform),
        "kind": view.plan.entry(key).map(|entry| entry.kind),
        "action": "noop",
        "build_id": null,
        "reasons": [],
        "needs": [],
        "compared": view.compared(key),
        "via": [],
    })
}
