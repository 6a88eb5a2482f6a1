//! Explains what is to be done to single units: every reason in full, and the bases down to where a
//! change began.

use std::collections::HashSet;
use std::io;

use serde_json::{Value, json};

use super::PlanView;
use super::human::{BOLD, Human, color, symbol};
use super::json::{Json, action_word, change};
use super::words::tail;
use crate::base::name::ImageRef;
use crate::manifest::workspace::{BuildOrigin, Origin};
use crate::plan::{Action, FileChange, Plan, Reason, Step};
use crate::state::{Entry, State};

/// Units of which everything is to be said.
#[derive(Debug, Clone, Copy)]
pub struct WhyView<'a> {
    /// The plan that they are a part of.
    pub plan: PlanView<'a>,
    /// What is known to exist.
    pub state: &'a State,
    /// The units: of the manifest, or of the lockfile alone.
    pub units: &'a [ImageRef],
}

impl WhyView<'_> {
    /// What the manifest has a unit built from.
    fn build(&self, key: &ImageRef) -> Option<&BuildOrigin> {
        let unit = self.plan.workspace.units.iter().find(|unit| unit.key == *key)?;
        match &unit.origin {
            Origin::Build(build) => Some(build),
            Origin::Mirror(_) => None,
        }
    }

    /// Whether there are two contexts to compare: a mirror that became a build had none, nor has a
    /// build that became a mirror.
    fn was_and_is_built(&self, key: &ImageRef) -> bool {
        let built = self.entry(key).and_then(|entry| entry.built.as_ref());
        built.is_some_and(|built| built.inputs.context().is_some()) && self.build(key).is_some()
    }

    fn entry(&self, key: &ImageRef) -> Option<&Entry> {
        self.state.entries.get(key)
    }

    /// What the unit's last build was made of, as people call it, the likeliest cause first.
    fn compared(&self, key: &ImageRef) -> Vec<&str> {
        let Some(built) = self.entry(key).and_then(|entry| entry.built.as_ref()) else {
            return Vec::new();
        };
        let words = [
            ("context", "context"),
            ("dockerfile", "Dockerfile"),
            ("source", "source"),
            ("platform", "platform"),
        ];
        let has = |(key, word)| built.inputs.get(key).map(|_| word);
        let bases =
            built.inputs.0.keys().map(String::as_str).filter(|key| key.starts_with("base "));
        words.into_iter().filter_map(has).chain(bases).collect()
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
            match reason {
                Reason::New => {
                    writeln!(self.out, "{indent}new: the lockfile has no build of it")?;
                }
                Reason::ContextChanged { files } if view.was_and_is_built(&step.key) => {
                    self.files(files.as_deref(), indent)?;
                }
                Reason::DockerfileChanged if view.was_and_is_built(&step.key) => {
                    let path = view.build(&step.key).map(|build| build.dockerfile_path.display());
                    let path = path.map(|path| format!(": {path}")).unwrap_or_default();
                    writeln!(self.out, "{indent}{reason}{path}")?;
                }
                Reason::PreviousFailed => {
                    let entry = view.entry(&step.key);
                    let pending = entry.and_then(|entry| Some(&entry.pending.as_ref()?.build));
                    let failed = entry.and_then(|entry| Some(&entry.failed.as_ref()?.build));
                    writeln!(self.out, "{indent}{reason}{}", tail(pending.or(failed)))?;
                }
                reason => writeln!(self.out, "{indent}{reason}")?,
            }
            if let Some(cause) = path(reason).next_back() {
                self.cause(view, cause, &format!("{indent}  "), told)?;
            }
        }
        Ok(())
    }

    fn files(&mut self, files: Option<&[FileChange]>, indent: &str) -> io::Result<()> {
        match files {
            Some(files @ [_, ..]) => {
                writeln!(self.out, "{indent}context changed:")?;
                files.iter().try_for_each(|file| writeln!(self.out, "{indent}  {file}"))
            }
            Some([]) => writeln!(
                self.out,
                "{indent}context changed: its files are as they were, another is the Dockerfile"
            ),
            None => writeln!(
                self.out,
                "{indent}context changed\n\
                 {indent}  which files is not known: the list of what the last build was sent is not on this\n\
                 {indent}  machine. It was built elsewhere, or .imgplan/ was removed. The next plan after an\n\
                 {indent}  apply will know."
            ),
        }
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
        let built = view.entry(key).and_then(|entry| entry.built.as_ref());
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
        "platform": view.entry(key).map(|entry| entry.platform),
        "kind": view.entry(key).map(|entry| entry.kind),
        "action": "noop",
        "build_id": null,
        "reasons": [],
        "needs": [],
        "compared": view.compared(key),
        "via": [],
    })
}
