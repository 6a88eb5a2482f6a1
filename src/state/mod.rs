//! What is known to exist: the lockfile ([`lockfile`], [`encode`]), the journal of what happened
//! since it was last written ([`journal`]), and the store that keeps both ([`store`]).
//!
//! One reducer, [`State::apply`], serves the live run and the replay after a death, so that
//! recovery is not a second way through the program.

pub mod encode;
pub mod journal;
mod json;
pub mod lockfile;
pub mod snapshot;
pub mod store;

use std::collections::BTreeMap;

pub use journal::{Outcome, Record};
pub use lockfile::{Built, Entry, Failed, Inputs, Kind, Pending};
pub use snapshot::Snapshot;
pub use store::{Paths, StateError, Store};

use crate::base::name::{BuildId, ImageRef};

/// Everything that is known of the units, by `name:tag`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// What is known of each unit.
    pub entries: BTreeMap<ImageRef, Entry>,
}

impl State {
    /// Takes in one thing that happened. A record that fits nothing known (of a build that was
    /// superseded, say) changes nothing.
    pub fn apply(&mut self, record: &Record) {
        match record {
            // What was sent is not known to be there: it only helps to look for it.
            Record::Submitting { .. } | Record::Uploaded { .. } => {}
            Record::Created { unit, kind, platform, pending } => {
                let old = self.entries.remove(unit);
                let (built, failed) = old.map_or((None, None), |old| (old.built, old.failed));
                let pending = Some(pending.clone());
                let entry = Entry { kind: *kind, platform: *platform, built, pending, failed };
                self.entries.insert(unit.clone(), entry);
            }
            Record::Started { unit, build } => {
                let pending = self.entries.get_mut(unit).and_then(|entry| entry.pending.as_mut());
                if let Some(pending) = pending.filter(|pending| pending.build == *build) {
                    pending.started = true;
                }
            }
            Record::Ended { unit, build, outcome, path } => {
                self.end(unit, build, *outcome, path.as_deref());
            }
            Record::Updated { unit, visibility, owner } => {
                if let Some(entry) = self.entries.get_mut(unit) {
                    let Some(built) = &mut entry.built else { return };
                    built.visibility = visibility.unwrap_or(built.visibility);
                    built.owner = owner.clone().unwrap_or_else(|| built.owner.clone());
                }
            }
            Record::Forgotten { unit } => {
                self.entries.remove(unit);
            }
        }
    }

    fn end(&mut self, unit: &ImageRef, build: &BuildId, outcome: Outcome, path: Option<&str>) {
        let Some(entry) = self.entries.get_mut(unit) else { return };
        let Some(pending) = entry.pending.take_if(|pending| pending.build == *build) else {
            return;
        };
        match outcome {
            Outcome::Completed => {
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
                });
            }
            Outcome::Failed | Outcome::Cancelled => {
                entry.failed =
                    Some(Failed { fingerprint: pending.fingerprint, build: pending.build });
            }
        }
    }
}
