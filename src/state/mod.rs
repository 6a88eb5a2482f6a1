//! What is known to exist: the lockfile ([`lockfile`], [`encode`]), the journal of what happened
//! since it was last written ([`journal`]), and the store that keeps both ([`store`]).
//!
//! One reducer, [`State::apply`], serves the live run and the replay after a death, so that
//! recovery is not a second way through the program.

pub mod encode;
mod fast_path;
pub mod journal;
pub mod lockfile;
mod merge;
mod replay;
pub mod snapshot;
pub mod store;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use journal::{BuildOutcome, Record};
pub use lockfile::{BuildStage, Built, Entry, Failed, Inputs, Pending, Pin, Submission};
pub use snapshot::StateSnapshot;
pub use store::{StateError, StatePaths, Store};

use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Platform};

/// Everything that is known of the units, by `name:tag`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// What is known of each unit.
    pub entries: BTreeMap<ImageRef, Entry>,
    /// What public references stand for, by their full form.
    pub pins: BTreeMap<String, Pin>,
    /// What the other side of a merge has of units that git could not merge; not in a lockfile that
    /// imgplan wrote.
    pub entry_conflicts: BTreeMap<ImageRef, Entry>,
    /// The same of pins.
    pub pin_conflicts: BTreeMap<String, Pin>,
}

impl State {
    /// Takes in one thing that happened. A record that fits nothing known (of a build that was
    /// superseded, say) changes nothing.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Submitting { unit, kind, platform, submission } => {
                // A build whose context nobody can send never begins: it is nothing to look for.
                if *kind == ImageKind::Mirror {
                    self.entry(unit, *kind, *platform).submitted = Some(submission.clone());
                }
            }
            Record::NotAccepted { unit } => {
                if let Some(entry) = self.entries.get_mut(unit) {
                    entry.submitted = None;
                    self.drop_if_empty(unit);
                }
            }
            Record::Created { unit, kind, platform, pending } => {
                let entry = self.entry(unit, *kind, *platform);
                entry.submitted = None;
                entry.pending = Some(pending.clone());
            }
            Record::Uploaded { unit, build } => self.reach(unit, build, BuildStage::Uploaded),
            Record::Started { unit, build } => self.reach(unit, build, BuildStage::Started),
            Record::Ended { unit, build, outcome, path, at } => {
                self.end(unit, build, *outcome, path.as_deref(), *at);
            }
            Record::Updated { unit, to, visibility, owner, path } => {
                let Some(entry) = self.entries.get_mut(unit) else { return };
                let Some(built) = &mut entry.built else { return };
                built.visibility = visibility.unwrap_or(built.visibility);
                built.owner = owner.clone().unwrap_or_else(|| built.owner.clone());
                if to.is_some() || owner.is_some() {
                    built.path = path.clone().unwrap_or_default();
                }
                if let Some(to) = to
                    && let Some(mut entry) = self.entries.remove(unit)
                {
                    // What was protected before it was there stays so.
                    entry.protect |= self.entries.get(to).is_some_and(|before| before.protect);
                    self.entries.insert(to.clone(), entry);
                }
            }
            Record::Forgotten { unit } => {
                self.entries.remove(unit);
            }
            Record::Known { unit, kind, platform, built } => {
                self.entry(unit, *kind, *platform).built.clone_from(built);
                self.drop_if_empty(unit);
            }
            Record::Protected { unit, kind, platform, protect } => {
                self.entry(unit, *kind, *platform).protect = *protect;
                self.drop_if_empty(unit);
            }
            Record::Pinned { reference, pin } => {
                match pin {
                    Some(pin) => self.pins.insert(reference.clone(), pin.clone()),
                    None => self.pins.remove(reference),
                };
            }
            Record::Committed { .. } => {}
        }
    }

    fn entry(&mut self, unit: &ImageRef, kind: ImageKind, platform: Platform) -> &mut Entry {
        let entry = self.entries.entry(unit.clone()).or_insert_with(|| Entry::new(kind, platform));
        (entry.kind, entry.platform) = (kind, platform);
        entry
    }

    fn drop_if_empty(&mut self, unit: &ImageRef) {
        if self.entries.get(unit).is_some_and(Entry::is_empty) {
            self.entries.remove(unit);
        }
    }

    fn reach(&mut self, unit: &ImageRef, build: &BuildId, stage: BuildStage) {
        let pending = self.entries.get_mut(unit).and_then(|entry| entry.pending.as_mut());
        if let Some(pending) = pending.filter(|pending| pending.build == *build) {
            pending.stage = pending.stage.max(stage);
        }
    }

    fn end(
        &mut self,
        unit: &ImageRef,
        build: &BuildId,
        outcome: BuildOutcome,
        path: Option<&str>,
        at: Option<Timestamp>,
    ) {
        let Some(entry) = self.entries.get_mut(unit) else { return };
        let Some(pending) = entry.pending.take_if(|pending| pending.build == *build) else {
            return;
        };
        match outcome {
            BuildOutcome::Completed => {
                entry.failed = None;
                entry.built = Some(Built {
                    fingerprint: pending.fingerprint,
                    inputs: pending.inputs,
                    build: pending.build,
                    path: match path {
                        Some(path) if pending.path.is_empty() => path.to_owned(),
                        _ => pending.path,
                    },
                    owner: pending.owner,
                    visibility: pending.visibility,
                    completed: at,
                });
            }
            BuildOutcome::Failed | BuildOutcome::Cancelled => {
                entry.failed =
                    Some(Failed { fingerprint: pending.fingerprint, build: pending.build });
            }
        }
    }
}

#[cfg(test)]
impl State {
    /// A unit `a:1` whose build `b-1` is under way, for tests of whoever asks for it.
    pub(crate) fn with_one_pending_build() -> Self {
        let inputs = Inputs::default();
        let pending = Pending {
            fingerprint: inputs.fingerprint(),
            inputs,
            build: BuildId::new("b-1").unwrap(),
            path: String::new(),
            owner: crate::base::name::Owner::Personal,
            visibility: crate::base::name::Visibility::Private,
            stage: BuildStage::Started,
        };
        let (kind, platform) = (ImageKind::Build, Platform::Amd64);
        let mut state = Self::default();
        let unit = "a:1".parse().unwrap();
        state.apply(&Record::Created { unit, kind, platform, pending });
        state
    }
}
