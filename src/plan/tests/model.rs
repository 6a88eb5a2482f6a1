//! A service and a lockfile in memory, and a run that carries out plans completely or in part.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::super::facts::{Facts, PendingBuild, RecoveredBuild, Remote, RemoteState};
use super::super::{
    Action, Change, Create, Decision, Plan, PlanOptions, Reason, Step, decide, pins,
};
use super::world::Manifest;
use crate::base::digest::Fingerprint;
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Owner, Visibility};
use crate::base::reference::OciDigest;
use crate::manifest::Workspace;
use crate::state::{BuildOutcome, BuildStage, Entry, Pin, Record, State, Submission};

/// Progress of a step when the run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Not,
    /// The response was lost; true if the service accepted the request.
    Lost(bool),
    Created,
    Uploaded,
    Started,
    Ended(BuildOutcome),
}

pub(super) const COMPLETE: Done = Done::Ended(BuildOutcome::Completed);

pub(super) fn done() -> impl Strategy<Value = Done> {
    prop_oneof![
        1 => Just(Done::Not),
        1 => any::<bool>().prop_map(Done::Lost),
        1 => Just(Done::Created),
        1 => Just(Done::Uploaded),
        1 => Just(Done::Started),
        5 => Just(COMPLETE),
        1 => Just(Done::Ended(BuildOutcome::Failed)),
        1 => Just(Done::Ended(BuildOutcome::Cancelled)),
    ]
}

/// Change of an image outside of imgplan.
#[derive(Debug, Clone, Copy)]
pub(super) enum Interference {
    Delete,
    Replace,
    Show(Visibility),
}

pub(super) fn interference() -> impl Strategy<Value = Interference> {
    prop_oneof![
        Just(Interference::Delete),
        Just(Interference::Replace),
        Just(Interference::Show(Visibility::Public)),
        Just(Interference::Show(Visibility::Private)),
    ]
}

/// An image in the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    /// Fingerprint; `None` if the image does not come from imgplan.
    pub(super) content: Option<Fingerprint>,
    pub(super) visibility: Visibility,
    changed: Timestamp,
}

/// A build in the service.
#[derive(Debug, Clone)]
struct Build {
    unit: ImageRef,
    submission: Submission,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waits,
    Runs,
    Ended(BuildOutcome),
}

/// Lockfile, service, registries and clock.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) state: State,
    pub(super) images: BTreeMap<(Owner, ImageRef), Image>,
    builds: HashMap<BuildId, Build>,
    pub(super) now: Timestamp,
    /// Version of all images in the registries.
    pub(super) epoch: u8,
    /// True if registries are queried.
    pub(super) upgrade: bool,
    /// True if images are refreshed.
    pub(super) refresh: bool,
    /// Completed builds, in order.
    pub(super) completed: Vec<(ImageRef, Fingerprint)>,
    next: usize,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            state: State::default(),
            images: BTreeMap::new(),
            builds: HashMap::new(),
            now: "2026-11-01T03:00:00Z".parse().unwrap(),
            epoch: 0,
            upgrade: false,
            refresh: true,
            completed: Vec::new(),
            next: 0,
        }
    }
}

impl Model {
    /// Returns a model that queries registries.
    pub(super) fn upgrading() -> Self {
        Self { upgrade: true, ..Self::default() }
    }

    /// Returns the facts that a survey would gather.
    pub(super) fn facts(&self, workspace: &Workspace) -> Facts {
        let mut facts = Facts { now: Some(self.now), ..Facts::default() };
        facts.default_owner = Some(Owner::Personal);
        for unit in workspace.units.iter().filter(|_| self.refresh) {
            if let Some(owner) =
                facts.owner_of_unrecorded(unit, self.state.entries.get(&unit.key)).cloned()
            {
                facts.images.entry(owner).or_default();
            }
        }
        let mut known = BTreeSet::new();
        for entry in self.state.entries.values() {
            known.extend(entry.builds().cloned());
            if let Some(pending) = &entry.pending {
                let known = self.known(&pending.build, pending.stage);
                facts.builds.insert(pending.build.clone(), known);
            }
            if let Some(built) = entry.built.as_ref().filter(|_| self.refresh) {
                facts.images.entry(built.owner.clone()).or_default();
            }
        }
        for (unit, entry) in &self.state.entries {
            let Some(submission) = &entry.submitted else { continue };
            let lost = self.builds.iter().find(|(id, build)| {
                build.unit == *unit && build.submission.at >= submission.at && !known.contains(*id)
            });
            if let Some((id, _)) = lost {
                facts.builds.insert(id.clone(), self.known(id, BuildStage::Started));
            }
            let found = lost.map(|(id, _)| RecoveredBuild {
                build: id.clone(),
                path: crate::base::image_path::ImagePath::new(format!("prime/me/{unit}")),
            });
            facts.recovered.insert(unit.clone(), found);
        }
        for ((owner, unit), image) in &self.images {
            let remote = Remote {
                state: RemoteState::Complete,
                visibility: Some(image.visibility),
                changed: Some(image.changed),
                ended: Some(image.changed),
                path: None,
            };
            if let Some(images) = facts.images.get_mut(owner) {
                images.insert(unit.clone(), remote);
            }
        }
        if self.upgrade {
            let references = pins::references(workspace.units.iter()).into_keys();
            facts.pins = references.map(|key| (key.clone(), pin(&key, self.epoch))).collect();
        }
        facts
    }

    fn known(&self, build: &BuildId, stage: BuildStage) -> PendingBuild {
        match self.builds.get(build).map(|build| build.progress) {
            Some(Progress::Waits) if stage == BuildStage::Uploaded => PendingBuild::NotStarted,
            Some(Progress::Runs | Progress::Ended(BuildOutcome::Completed)) => {
                PendingBuild::Running { age: None }
            }
            Some(Progress::Waits | Progress::Ended(_)) | None => PendingBuild::Ended,
        }
    }

    /// Plans a manifest and checks the invariants of the plan.
    pub(super) fn decide(&self, manifest: &Manifest, options: &PlanOptions) -> Decision {
        let workspace = manifest.workspace();
        let facts = self.facts(&workspace);
        let decision = decide(workspace, &facts, &self.state, options);
        check(&decision, &self.state);
        decision
    }

    /// Carries out a plan as a run would. Dependents of a failed step are skipped.
    pub(super) fn apply(&mut self, decision: &Decision, done: impl Fn(usize) -> Done) {
        for record in decision.refreshed.iter().chain(&decision.bookkeeping) {
            self.credit(record);
            self.state.apply(record);
        }
        let mut succeeded: Vec<bool> = Vec::new();
        for (index, step) in decision.plan.steps.iter().enumerate() {
            let ready = step.needs.iter().all(|need| succeeded[need.0]);
            let done = done(index);
            succeeded.push(ready && self.carry_out(step, &decision.workspace, done));
        }
    }

    /// Credits images and builds to their first pins, as the records do in the lockfile.
    fn credit(&mut self, record: &Record) {
        let (unit, old, new) = match record {
            Record::Known { unit, built: Some(built), .. } => {
                let entry = self.state.entries.get(unit);
                let old = entry.and_then(|entry| Some(entry.built.as_ref()?.fingerprint));
                (unit, old, built.fingerprint)
            }
            Record::Created { unit, pending, .. } => {
                let old = self.builds.get(&pending.build);
                (unit, old.map(|old| old.submission.fingerprint), pending.fingerprint)
            }
            Record::Submitting { unit, submission, .. } => {
                let entry = self.state.entries.get(unit);
                let old = entry.and_then(|entry| Some(entry.submitted.as_ref()?.fingerprint));
                (unit, old, submission.fingerprint)
            }
            _ => return,
        };
        let of = |key: &ImageRef, content: Fingerprint| key == unit && Some(content) == old;
        let images = self.images.iter_mut();
        for (_, image) in
            images.filter(|((_, key), image)| image.content.is_some_and(|content| of(key, content)))
        {
            image.content = Some(new);
        }
        for build in self.builds.values_mut() {
            if of(&build.unit, build.submission.fingerprint) {
                build.submission.fingerprint = new;
            }
        }
        for made in self.completed.iter_mut().filter(|(key, content)| of(key, *content)) {
            made.1 = new;
        }
    }

    /// Carries out a step. Returns true if it succeeded.
    pub(super) fn carry_out(&mut self, step: &Step, workspace: &Workspace, done: Done) -> bool {
        if done == Done::Not {
            return false;
        }
        self.now += SignedDuration::from_secs(1);
        match &step.action {
            Action::Create(make) => self.create(&step.key, make, workspace, done),
            Action::Adopt { build, start, then, .. } => {
                let Done::Ended(outcome) = done else { return false };
                if *start && self.builds[build].progress == Progress::Waits {
                    self.state
                        .apply(&Record::Started { unit: step.key.clone(), build: build.clone() });
                }
                let outcome = self.end(&step.key, build, outcome);
                let completed = outcome == BuildOutcome::Completed;
                completed && then.as_ref().is_none_or(|change| self.update(&step.key, change))
            }
            Action::Update { change, .. } => done == COMPLETE && self.update(&step.key, change),
            Action::Forget { after } | Action::Delete { after, .. } => {
                if let Some(build) = after {
                    self.end(&step.key, build, BuildOutcome::Completed);
                }
                if let Action::Delete { owner, .. } = &step.action {
                    if let [Reason::Superseded { by, .. }] = &step.reasons[..] {
                        let entry = &self.state.entries[by];
                        assert!(
                            entry.built.is_some(),
                            "{by} exists before {} is deleted",
                            step.key
                        );
                    }
                    self.images.remove(&(owner.clone(), step.key.clone()));
                }
                self.state.apply(&Record::Forgotten { unit: step.key.clone() });
                true
            }
        }
    }

    fn create(
        &mut self,
        unit: &ImageRef,
        make: &Create,
        workspace: &Workspace,
        done: Done,
    ) -> bool {
        let of = workspace.unit(make.unit);
        self.check_create(unit, make, workspace);
        if let Some(build) = &make.after {
            self.end(unit, build, BuildOutcome::Completed);
        }
        let before = self.state.entries.get(unit).and_then(|entry| entry.built.clone());
        let owner = before.as_ref().map_or(Owner::Personal, |built| built.owner.clone());
        let submission = Submission {
            at: self.now,
            fingerprint: make.fingerprint,
            inputs: make.inputs.clone(),
            owner: make.owner.clone().unwrap_or(owner),
            visibility: make.visibility.or(before.map(|built| built.visibility)),
        };
        let (kind, platform) = (make.kind, of.platform);
        let record = |submission: &Submission| Record::Submitting {
            unit: unit.clone(),
            kind,
            platform,
            submission: submission.clone(),
        };
        if done != Done::Lost(false) {
            self.next += 1;
        }
        let id = BuildId::new(format!("b-{}", self.next)).unwrap();
        let mut progress = if kind == ImageKind::Mirror { Progress::Runs } else { Progress::Waits };
        if let Done::Lost(accepted) = done {
            self.state.apply(&record(&submission));
            if accepted && kind == ImageKind::Mirror {
                let unit = unit.clone();
                self.builds.insert(id, Build { unit, submission, progress });
            }
            return false;
        }
        if matches!(done, Done::Started | Done::Ended(_)) {
            progress = Progress::Runs;
        }
        let build = Build { unit: unit.clone(), submission: submission.clone(), progress };
        self.builds.insert(id.clone(), build);
        self.state.apply(&record(&submission));
        let stage =
            if kind == ImageKind::Mirror { BuildStage::Started } else { BuildStage::Created };
        let path = crate::base::image_path::ImagePath::new(format!("prime/local/{unit}"));
        let pending = submission.into_pending(id.clone(), path, None, stage);
        self.state.apply(&Record::Created { unit: unit.clone(), kind, platform, pending });
        if done == Done::Created {
            return false;
        }
        self.state.apply(&Record::Uploaded { unit: unit.clone(), build: id.clone() });
        if done == Done::Uploaded {
            return false;
        }
        self.state.apply(&Record::Started { unit: unit.clone(), build: id.clone() });
        match done {
            Done::Ended(outcome) => self.end(unit, &id, outcome) == BuildOutcome::Completed,
            _ => false,
        }
    }

    /// Checks that the bases exist and that no other build can still write the tag.
    fn check_create(&self, unit: &ImageRef, make: &Create, workspace: &Workspace) {
        for base in &workspace.unit(make.unit).needs {
            let base = &workspace.unit(*base).key;
            let entry = &self.state.entries[base];
            let fingerprint = entry.built.as_ref().unwrap().fingerprint.to_string();
            assert_eq!(make.inputs.get(&format!("base {base}")), Some(fingerprint.as_str()));
            assert!(entry.pending.is_none(), "{base} may still change");
        }
        let pending = self.state.entries.get(unit).and_then(|entry| entry.pending.as_ref());
        let runs = |build: &BuildId| match self.builds.get(build).map(|build| build.progress) {
            Some(Progress::Runs | Progress::Ended(BuildOutcome::Completed)) => true,
            Some(Progress::Waits | Progress::Ended(_)) | None => false,
        };
        let running = pending.map(|pending| &pending.build).filter(|build| runs(build));
        assert_eq!(make.after.as_ref(), running, "{unit}");
    }

    /// Ends a build, unless it has ended already, and records its end.
    fn end(&mut self, unit: &ImageRef, build: &BuildId, outcome: BuildOutcome) -> BuildOutcome {
        let outcome = self.land(build, outcome);
        let (unit, build, at) = (unit.clone(), build.clone(), Some(self.now));
        self.state.apply(&Record::Ended {
            unit,
            build,
            outcome,
            error: None,
            path: None,
            image: None,
            at,
            seconds: None,
        });
        outcome
    }

    fn land(&mut self, id: &BuildId, outcome: BuildOutcome) -> BuildOutcome {
        let Some(build) = self.builds.get_mut(id) else { return BuildOutcome::Failed };
        if let Progress::Ended(outcome) = build.progress {
            return outcome;
        }
        build.progress = Progress::Ended(outcome);
        if outcome == BuildOutcome::Completed {
            let Submission { owner, visibility, fingerprint, .. } = &build.submission;
            let key = (owner.clone(), build.unit.clone());
            self.images.insert(
                key,
                Image {
                    content: Some(*fingerprint),
                    visibility: visibility.unwrap_or(Visibility::Private),
                    changed: self.now,
                },
            );
            self.completed.push((build.unit.clone(), *fingerprint));
        }
        outcome
    }

    fn update(&mut self, unit: &ImageRef, change: &Change) -> bool {
        let old = change.from.as_ref().unwrap_or(unit);
        let owner = change.owner.as_ref().unwrap_or(&change.of).clone();
        let image = self.images.remove(&(change.of.clone(), old.clone()));
        // An interrupted run may have changed the image already.
        let there = || self.images.get(&(owner.clone(), unit.clone())).cloned();
        let Some(mut image) = image.or_else(there) else { return false };
        image.visibility = change.visibility.unwrap_or(image.visibility);
        self.images.insert((owner, unit.clone()), image);
        self.state.apply(&Record::Updated {
            unit: old.clone(),
            to: change.from.is_some().then(|| unit.clone()),
            visibility: change.visibility,
            owner: change.owner.clone(),
            path: None,
        });
        true
    }

    /// Ends running builds without recording it, as if time passed without a run.
    pub(super) fn end_running(&mut self, outcomes: &[bool]) {
        let mut running: Vec<BuildId> = self.builds.keys().cloned().collect();
        running.sort_unstable_by_key(ToString::to_string);
        running.retain(|id| self.builds[id].progress == Progress::Runs);
        for (id, completes) in running.iter().zip(outcomes) {
            let outcome = if *completes { BuildOutcome::Completed } else { BuildOutcome::Failed };
            self.land(id, outcome);
        }
    }

    /// Changes images outside of imgplan. Images with a pending build are left alone: their drift
    /// only shows once the end of the build is recorded.
    pub(super) fn interfere(&mut self, interferences: &[(usize, Interference)]) {
        self.now += SignedDuration::from_hours(1);
        for (index, interference) in interferences {
            let settled = |(_, unit): &&(Owner, ImageRef)| {
                let entry = self.state.entries.get(unit);
                entry.is_none_or(|entry| entry.pending.is_none() && entry.submitted.is_none())
            };
            let keys: Vec<_> = self.images.keys().filter(settled).cloned().collect();
            let Some(key) = keys.get(index % keys.len().max(1)).cloned() else { return };
            let image = self.images.get_mut(&key).unwrap();
            match interference {
                Interference::Delete => drop(self.images.remove(&key)),
                Interference::Replace => (image.content, image.changed) = (None, self.now),
                Interference::Show(visibility) => image.visibility = *visibility,
            }
        }
        self.now += SignedDuration::from_hours(1);
    }

    /// Replaces each image within the tolerance for the end of a build.
    pub(super) fn replace_within_tolerance(&mut self) {
        for image in self.images.values_mut() {
            (image.content, image.changed) = (None, image.changed + SignedDuration::from_secs(60));
        }
    }

    /// Returns the recorded content, without IDs and times that differ from run to run.
    pub(super) fn recorded_content(&self) -> BTreeMap<ImageRef, String> {
        let content = |(key, entry): (&ImageRef, &Entry)| {
            let built = entry.built.as_ref();
            let built = built.map(|built| (&built.fingerprint, &built.owner, built.visibility));
            let pending = entry.pending.as_ref().map(|pending| &pending.fingerprint);
            (key.clone(), format!("{built:?} {pending:?} {}", entry.protect))
        };
        self.state.entries.iter().map(content).collect()
    }
}

impl State {
    /// True if an entry has this content, built or pending.
    fn has(&self, key: &ImageRef, content: Fingerprint) -> bool {
        let Some(entry) = self.entries.get(key) else { return false };
        let built = entry.built.as_ref().map(|built| built.fingerprint);
        let pending = entry.pending.as_ref().map(|pending| pending.fingerprint);
        let submitted = entry.submitted.as_ref().map(|submitted| submitted.fingerprint);
        [built, pending, submitted].contains(&Some(content))
    }
}

/// Returns the pin of a reference in an epoch.
pub(super) fn pin(reference: &str, epoch: u8) -> Pin {
    let digest = OciDigest::of(format!("{reference} {epoch}").as_bytes());
    Pin { digest, platforms: BTreeMap::new() }
}

/// Checks the invariants of every plan.
pub(super) fn check(decision: &Decision, state: &State) {
    let Decision { workspace, plan, refreshed, bookkeeping, .. } = decision;
    let mut state = state.clone();
    for record in refreshed {
        state.apply(record);
    }
    let mut with_bookkeeping = state.clone();
    for record in bookkeeping {
        with_bookkeeping.apply(record);
    }
    let mut keys = BTreeSet::new();
    let mut from = BTreeSet::new();
    let place = |unit| plan.steps.iter().position(|step| step.unit() == Some(unit));
    for (index, step) in plan.steps.iter().enumerate() {
        assert!(keys.insert(&step.key), "only one step for {}", step.key);
        assert!(!step.reasons.is_empty(), "{} has a reason", step.key);
        assert!(step.needs.iter().all(|need| need.0 < index), "needs come first");
        if let Some(id) = step.unit() {
            for base in &workspace.unit(id).needs {
                let base = place(*base);
                assert!(base.is_none_or(|base| base < index), "bases come first: {}", step.key);
                assert!(base.is_none_or(|base| step.needs.contains(&super::super::StepId(base))));
            }
        }
        let entry = state.entries.get(&step.key);
        match &step.action {
            Action::Create(make) => {
                let unit = workspace.unit(make.unit);
                if let Some(template) = &unit.content_tag {
                    let from_fingerprint =
                        unit.key.tag == template.with_fingerprint(&make.fingerprint);
                    // A tag from before the first pins is kept.
                    assert!(
                        from_fingerprint || with_bookkeeping.has(&unit.key, make.fingerprint),
                        "{}",
                        unit.key
                    );
                }
            }
            Action::Update { change: Change { from: Some(old), .. }, .. } => {
                assert!(from.insert(old), "{old} is renamed once");
                let in_use =
                    entry.is_some_and(|entry| entry.built.is_some() || entry.pending.is_some());
                assert!(!in_use, "{} is not in use", step.key);
            }
            Action::Forget { .. } | Action::Delete { .. } => {
                check_protection(step, entry.expect("an orphan has an entry"), workspace);
            }
            Action::Update { .. } | Action::Adopt { .. } => {}
        }
    }
}

/// Checks that no protected orphan is deleted or forgotten, unless the manifest says so.
fn check_protection(step: &Step, entry: &Entry, workspace: &Workspace) {
    let forgets =
        workspace.removed.iter().any(|removed| removed.from.matches(&step.key) && !removed.destroy);
    let by = step.reasons.iter().find_map(|reason| match reason {
        Reason::Superseded { by, .. } => Some(by),
        _ => None,
    });
    let lifted = workspace
        .units
        .iter()
        .any(|unit| by.is_some_and(|by| unit.key.name == by.name) && unit.protect == Some(false));
    let protected = entry.protect && (entry.built.is_some() || entry.pending.is_some());
    let deletes = matches!(step.action, Action::Delete { .. });
    assert!(!protected || lifted || (forgets && !deletes), "{} is protected", step.key);
}

/// Returns the steps of a plan as lines: verb, key and reasons.
pub(super) fn lines(plan: &Plan) -> Vec<String> {
    let line = |step: &Step| {
        let reasons: Vec<String> = step.reasons.iter().map(ToString::to_string).collect();
        format!("{} {}: {}", step.verb(), step.key, reasons.join("; "))
    };
    plan.steps.iter().map(line).collect()
}
