//! Explains the steps of single targets: every reason in full, and the bases down to the cause of a
//! change.

use std::collections::HashSet;
use std::io;

use serde_json::{Value, json};

use super::PlanView;
use super::fit::wrap;
use super::human::{BOLD, HumanReporter, color};
use super::json::{JsonReporter, action_word, change};
use super::symbol::symbol;
use super::words::build_tail;
use crate::base::name::ImageRef;
use crate::base::safe_text::escaped;
use crate::plan::{Action, Plan, Reason, Step};

/// Narrowest line of a reason. On a narrower terminal, the terminal breaks the line.
const MIN_LINE_COLUMNS: usize = 20;

/// Targets to explain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WhyView<'a> {
    /// The plan that contains the targets.
    pub plan: PlanView<'a>,
    /// The targets, of the manifest or only of the lockfile.
    pub units: &'a [ImageRef],
}

impl WhyView<'_> {
    /// Names of the inputs of the last build, the most likely cause of a change first.
    fn compared(&self, key: &ImageRef) -> Vec<&str> {
        let Some(built) = self.plan.entry(key).and_then(|entry| entry.built.as_ref()) else {
            return Vec::new();
        };
        let names = [
            ("context", "context"),
            ("dockerfile", "Dockerfile"),
            ("source", "source"),
            ("digest", "pinned digest"),
            ("platform", "platform"),
        ];
        let recorded = |(key, name)| built.inputs.get(key).map(|_| name);
        let keys = || built.inputs.0.keys();
        let bases = keys().filter(|key| key.starts_with("base "));
        // Bases outside the manifest that are pinned.
        let pinned = keys().filter(|key| key.starts_with("from "));
        names.into_iter().filter_map(recorded).chain(bases).chain(pinned).collect()
    }
}

fn step<'p>(plan: &'p Plan, key: &ImageRef) -> Option<&'p Step> {
    plan.steps.iter().find(|step| step.key == *key)
}

/// Returns the bases that a reason names, the cause of the change last.
fn path(reason: &Reason) -> impl DoubleEndedIterator<Item = &ImageRef> {
    let (base, via) = match reason {
        Reason::DependencyChanged { base, via } => (Some(base), via.as_slice()),
        _ => (None, &[][..]),
    };
    base.into_iter().chain(via)
}

/// Returns the steps of all bases between a step and the causes of its changes.
fn causes<'p>(plan: &'p Plan, explained: &Step) -> Vec<&'p Step> {
    let mut steps: Vec<&Step> = Vec::new();
    let mut visited = HashSet::new();
    let mut next: Vec<&ImageRef> = explained.reasons.iter().flat_map(path).collect();
    next.reverse();
    while let Some(key) = next.pop() {
        let Some(step) = step(plan, key).filter(|_| visited.insert(key)) else { continue };
        steps.push(step);
        next.extend(step.reasons.iter().flat_map(path).collect::<Vec<_>>().into_iter().rev());
    }
    steps
}

impl HumanReporter<'_> {
    /// Explains targets, separated by empty lines. Fails if the stream cannot be written to.
    pub(crate) fn why(&mut self, view: &WhyView<'_>) -> io::Result<()> {
        self.notes(&view.plan)?;
        for (index, key) in view.units.iter().enumerate() {
            if index > 0 {
                writeln!(self.out)?;
            }
            self.target(view, key)?;
        }
        Ok(())
    }

    /// Explains one target, without the notes. Fails if the stream cannot be written to.
    pub(super) fn target(&mut self, view: &WhyView<'_>, key: &ImageRef) -> io::Result<()> {
        let Some(step) = step(view.plan.plan, key) else { return self.no_changes_to(view, key) };
        self.head(step, "")?;
        writeln!(self.out)?;
        self.reasons(view, step, "", &mut HashSet::from([&step.key]))
    }

    fn head(&mut self, step: &Step, indent: &str) -> io::Result<()> {
        let symbol = symbol(step);
        let style = color(symbol.color);
        let (symbol, verb) =
            (self.paint(style, symbol.text.trim()), self.paint(style, step.verb()));
        let name = self.paint(BOLD, &step.key.to_string());
        let build = match &step.action {
            Action::Adopt { build, .. } => build_tail(Some(build)),
            _ => String::new(),
        };
        writeln!(self.out, "{indent}{symbol} {name}  {verb}{build}")
    }

    /// Writes every reason of a step. A base is explained once, where it is named first.
    fn reasons<'v>(
        &mut self,
        view: &'v WhyView<'_>,
        step: &'v Step,
        indent: &str,
        explained: &mut HashSet<&'v ImageRef>,
    ) -> io::Result<()> {
        for reason in &step.reasons {
            for line in view.plan.full_form(step, reason) {
                let line = self.line(&line, indent);
                writeln!(self.out, "{line}")?;
            }
            if let Some(cause) = path(reason).next_back() {
                self.cause(view, cause, &format!("{indent}  "), explained)?;
            }
        }
        Ok(())
    }

    /// Returns a line of a reason, wrapped below its first word.
    fn line(&self, line: &str, indent: &str) -> String {
        let text = line.trim_start();
        let margin = format!("{indent}{}", " ".repeat(line.len() - text.len()));
        let width = self.options.columns.map(|width| width.saturating_sub(margin.len()));
        let wrapped = wrap(&escaped(text), width.map(|width| width.max(MIN_LINE_COLUMNS)), 2);
        format!("{margin}{}", wrapped.replace('\n', &format!("\n{margin}")))
    }

    /// Explains the step of a base.
    fn cause<'v>(
        &mut self,
        view: &'v WhyView<'_>,
        key: &'v ImageRef,
        indent: &str,
        explained: &mut HashSet<&'v ImageRef>,
    ) -> io::Result<()> {
        match step(view.plan.plan, key) {
            None => {
                writeln!(self.out, "{indent}{key} has been rebuilt since; no changes")
            }
            Some(_) if !explained.insert(key) => writeln!(self.out, "{indent}{key}: see above"),
            Some(step) => {
                self.head(step, indent)?;
                // Below the name, so that they are not taken for reasons of the target above.
                self.reasons(view, step, &format!("{indent}    "), explained)
            }
        }
    }

    /// Writes that a target has no changes, and the comparisons that show it.
    fn no_changes_to(&mut self, view: &WhyView<'_>, key: &ImageRef) -> io::Result<()> {
        let text = if view.plan.plan.protected.contains(key) {
            let advice = if view.plan.is_listed_for_deletion(key) {
                "to delete it, apply `protect: false` first"
            } else {
                "to forget or delete it, list it under `removed:`"
            };
            format!("It is not in the manifest and is kept because it is protected; {advice}.")
        } else {
            let built = view.plan.entry(key).and_then(|entry| entry.built.as_ref());
            let build = build_tail(built.map(|built| &built.build));
            let compared = view.compared(key).join(", ");
            format!(
                "Compared with its last build{build}: {compared}; with the manifest: visibility, \
                 owner."
            )
        };
        let text = self.prose(&format!("No changes to {key}. {text}"));
        writeln!(self.out, "{}", self.paint_head(BOLD, "No changes", &text))
    }
}

impl JsonReporter<'_> {
    /// Explains targets, a line each. Fails if the stream cannot be written to.
    pub(crate) fn why(&mut self, view: &WhyView<'_>) -> io::Result<()> {
        self.notes(&view.plan)?;
        for key in view.units {
            let step = step(view.plan.plan, key);
            let word = step.map_or("noop", action_word);
            let change = step.map_or_else(|| noop(view, key), |step| with_causes(view, step));
            self.line("info", "why", format!("{key}: {word}"), json!({ "change": change }))?;
        }
        Ok(())
    }
}

/// Returns a step with the steps of the bases that cause it.
fn with_causes(view: &WhyView<'_>, step: &Step) -> Value {
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
