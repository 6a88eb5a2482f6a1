//! Names the differences between a unit and its last build. Pure.

use super::facts::Facts;
use super::inputs::set_files;
use super::reason::Reason;
use super::steps::{Change, Step, StepId};
use crate::base::name::{ImageRef, Owner, Visibility};
use crate::manifest::workspace::{Origin, Unit, UnitId, Workspace};
use crate::state::Inputs;

/// Context of the comparison.
pub(super) struct Differences<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) facts: &'a Facts,
    /// Steps so far, including those of all bases.
    pub(super) steps: &'a [Step],
}

impl Differences<'_> {
    /// Returns the inputs that differ from an earlier build, the likeliest cause first. `--replace`
    /// and `max_age` are in [`Identity::forced`](super::Identity).
    pub(super) fn between<'s>(
        &self,
        id: UnitId,
        old: &Inputs,
        new: &Inputs,
        step_of: impl Fn(UnitId) -> Option<&'s StepId>,
    ) -> Vec<Reason> {
        let differs = |key: &str| old.get(key) != new.get(key);
        if differs("format") {
            return vec![Reason::FingerprintFormatChanged];
        }
        if old.has_whole_context() && new.get("inputs").is_some() {
            return self.since_whole_context(id, old, new, step_of);
        }
        let mut reasons = settings(old, new);
        // The digests of different scopes cannot be compared. A mirror has none.
        let is_build = |inputs: &Inputs| inputs.get("dockerfile").is_some();
        let same_scope = !differs("inputs") || !is_build(old) || !is_build(new);
        if !same_scope {
            let text = |inputs: &Inputs| inputs.get("inputs").unwrap_or("context").to_owned();
            reasons.push(config_change("inputs", &text(old), &text(new)));
        }
        // Settings are written into the Dockerfile that is sent: they are not reported twice.
        let dockerfile_differs =
            (differs("dockerfile") && reasons.is_empty()) || differs("dockerfile_path");
        if same_scope && dockerfile_differs {
            reasons.insert(0, Reason::DockerfileChanged);
        }
        let files = self.facts.changes.get(&id).cloned();
        // If another file became the Dockerfile, the digest differs although no file does.
        let files_differ = files.as_ref().is_none_or(|files| !files.is_empty());
        if same_scope && differs("context") && (files_differ || reasons.is_empty()) {
            reasons.push(Reason::ContextChanged { files });
        }
        for field in ["source", "platform"] {
            if differs(field) {
                let text = |inputs: &Inputs| inputs.get(field).unwrap_or_default().to_owned();
                reasons.push(config_change(field, &text(old), &text(new)));
            }
        }
        self.digests(id, old, new, &mut reasons);
        self.bases(id, old, new, &step_of, &mut reasons);
        reasons
    }

    /// Returns the differences from a build whose whole context was recorded: those of the inputs
    /// that would be recorded for the whole context today.
    fn since_whole_context<'s>(
        &self,
        id: UnitId,
        old: &Inputs,
        new: &Inputs,
        step_of: impl Fn(UnitId) -> Option<&'s StepId>,
    ) -> Vec<Reason> {
        let mut whole = new.clone();
        whole.0.remove("inputs");
        if let (Origin::Build(build), Some(context)) =
            (&self.workspace.unit(id).origin, self.facts.context(id))
        {
            set_files(&mut whole, build, context.as_whole().as_ref());
        }
        let mut reasons = self.between(id, old, &whole, step_of);
        for reason in &mut reasons {
            if matches!(reason, Reason::ContextChanged { .. }) {
                *reason = Reason::WholeContextChanged;
            }
        }
        reasons
    }

    /// Adds the external references with another digest.
    fn digests(&self, id: UnitId, old: &Inputs, new: &Inputs, reasons: &mut Vec<Reason>) {
        let text = |inputs: &Inputs, key: &str| inputs.get(key).map(str::to_owned);
        if let Origin::Mirror(source) = &self.workspace.unit(id).origin
            && old.get("digest") != new.get("digest")
            && old.get("source") == new.get("source")
        {
            let (old, new) = (text(old, "digest"), text(new, "digest"));
            reasons.push(Reason::SourceChanged { reference: source.to_string(), old, new });
        }
        // A base that was added or removed is a change of the Dockerfile.
        let dockerfile_changed = old.get("dockerfile") != new.get("dockerfile");
        for key in keys(old, new, "from ") {
            let (old, new) = (text(old, &key), text(new, &key));
            let reported = dockerfile_changed && (old.is_none() || new.is_none());
            if old != new && !reported {
                let reference = key["from ".len()..].to_owned();
                reasons.push(Reason::BaseChanged { reference, old, new });
            }
        }
    }

    /// Adds the bases that change, and those that were added, removed or exchanged.
    fn bases<'s>(
        &self,
        id: UnitId,
        old: &Inputs,
        new: &Inputs,
        step_of: &impl Fn(UnitId) -> Option<&'s StepId>,
        reasons: &mut Vec<Reason>,
    ) {
        let removed = |key: &str| old.get(key).is_some() && new.get(key).is_none();
        // Removed bases that a base of the same name with another tag replaces.
        let mut replaced = Vec::new();
        for &base in &self.workspace.unit(id).needs {
            let key = &self.workspace.unit(base).key;
            let name = format!("base {key}");
            let other_tag = old.0.keys().find(|old| {
                let base = old.strip_prefix("base ").and_then(|base| base.rsplit_once(':'));
                base.is_some_and(|(name, _)| name == key.name.as_str()) && removed(old)
            });
            match (old.get(&name), other_tag) {
                (Some(old), _) if Some(old) == new.get(&name) => {}
                // The base does not change; only its tag does.
                (None, Some(other)) if step_of(base).is_none() => {
                    replaced.push(other);
                    let other = other.strip_prefix("base ").unwrap_or(other);
                    reasons.push(config_change("base", other, &key.to_string()));
                }
                (old, other) if old.is_some() || other.is_some() => {
                    replaced.extend(other);
                    let via = self.causes(step_of(base));
                    reasons.push(Reason::DependencyChanged { base: key.clone(), via });
                }
                _ => reasons.push(config_change("base", "", &key.to_string())),
            }
        }
        for key in old.0.keys().filter(|key| removed(key) && !replaced.contains(key)) {
            if let Some(base) = key.strip_prefix("base ") {
                reasons.push(config_change("base", base, ""));
            }
        }
    }

    /// Returns the bases below a base that changes, down to the one that changes by itself.
    fn causes(&self, step: Option<&StepId>) -> Vec<ImageRef> {
        let step = step.and_then(|step| self.steps.get(step.0));
        match step.and_then(|step| step.reasons.first()) {
            Some(Reason::DependencyChanged { base, via }) => {
                [base.clone()].into_iter().chain(via.iter().cloned()).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Returns the build arguments and the target stage that differ. The values of arguments are not
/// shown: they may be secret.
fn settings(old: &Inputs, new: &Inputs) -> Vec<Reason> {
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

/// Returns the keys of both with this prefix, sorted.
fn keys(old: &Inputs, new: &Inputs, prefix: &str) -> Vec<String> {
    let both = old.0.keys().chain(new.0.keys());
    let mut keys: Vec<String> =
        both.filter(|key| key.starts_with(prefix)).map(str::to_owned).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn config_change(field: &str, old: &str, new: &str) -> Reason {
    Reason::ConfigChanged { field: field.to_owned(), old: old.to_owned(), new: new.to_owned() }
}

/// Returns the change that the manifest wants of an image with the right content, and its reasons.
/// A setting that the manifest leaves out stays as it is, whatever the credentials are. A mirror of
/// Docker Hub that the service made an image of the platform stays one: nobody else may change it.
pub(super) fn change(
    unit: &Unit,
    of: &Owner,
    current: Visibility,
) -> (Option<Change>, Vec<Reason>) {
    if *of == Owner::Platform && unit.mirrors_docker_hub() {
        return (None, Vec::new());
    }
    let visibility = unit.visibility.filter(|visibility| *visibility != current);
    let owner = unit.owner.clone().filter(|owner| owner != of);
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
