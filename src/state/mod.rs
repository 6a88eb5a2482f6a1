//! The recorded state: the lockfile ([`lockfile`], [`encode`], [`decode`]), the journal of changes
//! since the lockfile was written ([`journal`]), and the store that keeps both on disk ([`store`]). A
//! [`replica`] takes the place of the lockfile if many runners share the state.
//!
//! The one reducer, [`State::apply`], serves the running process and the replay after a crash, so that
//! recovery has no code of its own.

pub(crate) mod decode;
pub(crate) mod decoded;
pub(crate) mod encode;
pub(crate) mod error;
mod fast_path;
pub(crate) mod journal;
pub(crate) mod lockfile;
mod lockfile_place;
mod lockfile_text;
mod merge;
pub(crate) mod paths;
mod process;
mod replay;
pub(crate) mod replica;
pub(crate) mod snapshot;
pub(crate) mod store;
mod text_map;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub(crate) use error::StateError;
pub(crate) use journal::{BuildOutcome, Record};
pub(crate) use lockfile::{BuildStage, Built, Entry, Failed, Inputs, Pending, Pin, Submission};
pub(crate) use paths::StatePaths;
pub(crate) use process::on_host;
pub(crate) use snapshot::StateSnapshot;
pub(crate) use store::{LockedJournal, Store};

use crate::base::image_path::ImagePath;
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Owner, Platform, Visibility};

/// The recorded state of all units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The entry of each unit.
    pub entries: BTreeMap<ImageRef, Entry>,
    /// The pin of each reference, by its full form.
    pub pins: BTreeMap<String, Pin>,
    /// If the lockfile has conflict markers of git: the other side's entries that differ from those in
    /// `entries`.
    pub entry_conflicts: BTreeMap<ImageRef, Entry>,
    /// If the lockfile has conflict markers of git: the other side's pins that differ from those in
    /// `pins`.
    pub pin_conflicts: BTreeMap<String, Pin>,
}

impl State {
    /// Applies a change. A record that no longer applies (of a superseded build, for example) changes
    /// nothing.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Submitting { unit, kind, platform, submission } => {
                // A build in doubt needs no recovery: without its upload URL nobody can send the
                // context, so it never starts.
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
            Record::Ended { unit, build, outcome, error, path, image, at, seconds } => {
                let image = image.clone();
                let (error, path, at, seconds) = (error.as_deref(), path.as_ref(), *at, *seconds);
                self.end(unit, build, *outcome, Ending { error, path, image, at, seconds });
            }
            Record::Updated { unit, to, visibility, owner, path } => {
                let Some(entry) = self.entries.get_mut(unit) else { return };
                let Some(built) = &mut entry.built else { return };
                built.visibility = visibility.unwrap_or(built.visibility);
                built.owner = owner.clone().unwrap_or_else(|| built.owner.clone());
                if to.is_some() || owner.is_some() {
                    built.path = path.clone().unwrap_or_default();
                }
                built.image.take_if(|_| to.is_some());
                if let Some(to) = to
                    && let Some(mut entry) = self.entries.remove(unit)
                {
                    // The protection of an entry that the moved one replaces stays.
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

    fn end(&mut self, unit: &ImageRef, build: &BuildId, outcome: BuildOutcome, ending: Ending<'_>) {
        let Some(entry) = self.entries.get_mut(unit) else { return };
        let Some(pending) = entry.pending.take_if(|pending| pending.build == *build) else {
            return;
        };
        match outcome {
            BuildOutcome::Completed => {
                entry.failed = None;
                let path = match ending.path {
                    Some(path) if pending.path.is_empty() => path.clone(),
                    _ => pending.path,
                };
                let (owner, visibility) = if pending.inputs.is_on_platform(&path) {
                    (Owner::Platform, Visibility::Public)
                } else {
                    (pending.owner, pending.visibility)
                };
                entry.built = Some(Built {
                    fingerprint: pending.fingerprint,
                    inputs: pending.inputs,
                    build: pending.build,
                    path,
                    owner,
                    visibility,
                    image: ending.image,
                    completed: ending.at,
                    seconds: ending.seconds,
                });
            }
            BuildOutcome::Failed | BuildOutcome::Cancelled => {
                entry.failed = Some(Failed::of(pending, ending.error));
            }
        }
    }
}

/// The result of a build that ended: its error or its image.
struct Ending<'a> {
    error: Option<&'a str>,
    path: Option<&'a ImagePath>,
    image: Option<ImageRef>,
    at: Option<Timestamp>,
    seconds: Option<u64>,
}

#[cfg(test)]
impl State {
    /// Returns a state with one unit, `a:1`, whose build `b-1` is running.
    pub(crate) fn with_one_pending_build() -> Self {
        let inputs = Inputs::default();
        let pending = Pending {
            fingerprint: inputs.fingerprint(),
            inputs,
            build: BuildId::new("b-1").unwrap(),
            path: ImagePath::default(),
            owner: Owner::Personal,
            visibility: Visibility::Private,
            stage: BuildStage::Started,
        };
        let (kind, platform) = (ImageKind::Build, Platform::Amd64);
        let mut state = Self::default();
        let unit = "a:1".parse().unwrap();
        state.apply(&Record::Created { unit, kind, platform, pending });
        state
    }
}
