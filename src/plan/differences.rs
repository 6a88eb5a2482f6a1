//! Says in what a unit differs from its last build. Pure.

use super::facts::Facts;
use super::{Change, Reason, Step, StepId};
use crate::base::name::{ImageRef, Owner, Visibility};
use crate::manifest::workspace::{Origin, Unit, UnitId, Workspace};
use crate::state::Inputs;

/// What differences are told with.
pub(super) struct Differences<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) facts: &'a Facts,
    /// The steps so far, those of all bases among them.
    pub(super) steps: &'a [Step],
}

impl Differences<'_> {
    /// Which inputs differ from those of a build before, the likeliest cause first. `again` is not
    /// told: why a unit is made again is known otherwise.
    pub(super) fn between<'s>(
        &self,
        id: UnitId,
        before: &Inputs,
        inputs: &Inputs,
        step_of: impl Fn(UnitId) -> Option<&'s StepId>,
    ) -> Vec<Reason> {
        let differs = |key: &str| before.get(key) != inputs.get(key);
        if differs("format") {
            return vec![Reason::FingerprintFormatChanged];
        }
        let mut reasons = configured(before, inputs);
        // What the manifest says is in the Dockerfile that is sent: that is not told twice.
        if (differs("dockerfile") && reasons.is_empty()) || differs("dockerfile_path") {
            reasons.insert(0, Reason::DockerfileChanged);
        }
        let files = self.facts.changes.get(&id).cloned();
        // Where another file became the Dockerfile, the files are as they were: that is said.
        let same = files.as_ref().is_some_and(|files| files.is_empty()) && !reasons.is_empty();
        if differs("context") && !same {
            reasons.push(Reason::ContextChanged { files });
        }
        for field in ["source", "platform"] {
            if differs(field) {
                let text = |inputs: &Inputs| inputs.get(field).unwrap_or_default().to_owned();
                let (old, new) = (text(before), text(inputs));
                reasons.push(Reason::ConfigChanged { field: field.to_owned(), old, new });
            }
        }
        self.upstreams(id, before, inputs, &mut reasons);
        self.bases(id, before, inputs, &step_of, &mut reasons);
        reasons
    }

    /// Pins that moved.
    fn upstreams(&self, id: UnitId, old: &Inputs, new: &Inputs, reasons: &mut Vec<Reason>) {
        let text = |inputs: &Inputs, key: &str| inputs.get(key).map(str::to_owned);
        if let Origin::Mirror(source) = &self.workspace.unit(id).origin
            && old.get("digest") != new.get("digest")
            && old.get("source") == new.get("source")
        {
            let (old, new) = (text(old, "digest"), text(new, "digest"));
            reasons.push(Reason::SourceChanged { reference: source.to_string(), old, new });
        }
        // A base that came or went is a change of the Dockerfile.
        let dockerfile = old.get("dockerfile") != new.get("dockerfile");
        for key in keys(old, new, "from ") {
            let (was, is) = (text(old, &key), text(new, &key));
            let told = dockerfile && (was.is_none() || is.is_none());
            if was != is && !told {
                let reference = key["from ".len()..].to_owned();
                reasons.push(Reason::BaseChanged { reference, old: was, new: is });
            }
        }
    }

    fn bases<'s>(
        &self,
        id: UnitId,
        old: &Inputs,
        new: &Inputs,
        step_of: &impl Fn(UnitId) -> Option<&'s StepId>,
        reasons: &mut Vec<Reason>,
    ) {
        let needs = &self.workspace.unit(id).needs;
        let gone = |key: &str| old.get(key).is_some() && new.get(key).is_none();
        // A base of the same name under another tag took the place of the one before.
        let mut replaced = Vec::new();
        for &base in needs {
            let key = &self.workspace.unit(base).key;
            let name = format!("base {key}");
            let before = old.0.keys().find(|old| {
                let other = old.strip_prefix("base ").and_then(|old| old.rsplit_once(':'));
                other.is_some_and(|(name, _)| name == key.name.as_str()) && gone(old)
            });
            match (old.get(&name), before) {
                (Some(was), _) if Some(was) == new.get(&name) => {}
                // One that stays as it is only takes the place of another.
                (None, Some(before)) if step_of(base).is_none() => {
                    replaced.push(before.clone());
                    let before = before.strip_prefix("base ").unwrap_or(before);
                    reasons.push(config_change("base", before, &key.to_string()));
                }
                (old, before) if old.is_some() || before.is_some() => {
                    replaced.extend(before.cloned());
                    let via = self.root_of(step_of(base));
                    reasons.push(Reason::DependencyChanged { base: key.clone(), via });
                }
                _ => reasons.push(config_change("base", "", &key.to_string())),
            }
        }
        for key in old.0.keys().filter(|key| gone(key) && !replaced.contains(key)) {
            if let Some(base) = key.strip_prefix("base ") {
                reasons.push(config_change("base", base, ""));
            }
        }
    }

    /// The chain of bases below one that changes, down to the one that changes by itself.
    fn root_of(&self, step: Option<&StepId>) -> Vec<ImageRef> {
        let step = step.and_then(|step| self.steps.get(step.0));
        match step.and_then(|step| step.reasons.first()) {
            Some(Reason::DependencyChanged { base, via }) => {
                [base.clone()].into_iter().chain(via.iter().cloned()).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Arguments and the target that differ. The values of arguments are not shown: they may be more
/// than a version.
fn configured(old: &Inputs, new: &Inputs) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if old.get("target") != new.get("target") {
        let text = |inputs: &Inputs| inputs.get("target").unwrap_or("the last stage").to_owned();
        reasons.push(config_change("target", &text(old), &text(new)));
    }
    for key in keys(old, new, "arg ") {
        if old.get(&key) != new.get(&key) {
            let field = format!("args.{}", &key["arg ".len()..]);
            reasons.push(config_change(&field, "", ""));
        }
    }
    reasons
}

/// The keys of both that begin so, in order.
fn keys(old: &Inputs, new: &Inputs, prefix: &str) -> Vec<String> {
    let mut keys: Vec<String> =
        old.0.keys().chain(new.0.keys()).filter(|key| key.starts_with(prefix)).cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn config_change(field: &str, old: &str, new: &str) -> Reason {
    Reason::ConfigChanged { field: field.to_owned(), old: old.to_owned(), new: new.to_owned() }
}

/// What the manifest wants changed of an image whose content is right. What it does not say stays
/// as it is, whoever's credentials are in use.
pub(super) fn change(
    unit: &Unit,
    of: &Owner,
    current: Visibility,
) -> (Option<Change>, Vec<Reason>) {
    let visibility = unit.visibility.filter(|wanted| *wanted != current);
    let owner = unit.owner.clone().filter(|wanted| wanted != of);
    let mut reasons = Vec::new();
    if let Some(new) = visibility {
        reasons.push(Reason::VisibilityChanged { old: current, new });
    }
    if let Some(new) = &owner {
        reasons.push(Reason::OwnerChanged { old: of.clone(), new: new.clone() });
    }
    let change = Change { of: of.clone(), from: None, visibility, owner };
    ((!reasons.is_empty()).then_some(change), reasons)
}
