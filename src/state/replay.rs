//! Applies a journal to the state of a lockfile. Pure.
//!
//! Usually it is the lockfile that the journal continues, or the one that it was committed to. After a
//! `git pull`, for example, it is a different one. Then the lockfile may be newer than the journal, and
//! only the service knows which of them is right.

use std::collections::{HashMap, HashSet};

use super::State;
use super::journal::Record;
use super::lockfile::{BuildStage, Pending, Submission};
use crate::base::digest::Digest;
use crate::base::name::{BuildId, ImageRef};

impl State {
    /// Applies the records of a journal. `lockfile` is the text that this state was read from, `base`
    /// the digest of the lockfile that the journal continues.
    pub(super) fn replay(
        &mut self,
        lockfile: Option<&str>,
        base: Option<Digest>,
        records: &[Record],
    ) {
        let current = lockfile.map(|text| Digest::of(text.as_bytes()));
        let committed = records.iter().rposition(
            |record| matches!(record, Record::Committed { lockfile } if Some(*lockfile) == current),
        );
        match committed {
            Some(index) => records[index..].iter().for_each(|record| self.apply(record)),
            None if current == base => records.iter().for_each(|record| self.apply(record)),
            None => self.replay_on_other_lockfile(records),
        }
    }

    /// Applies the journal of an earlier run to a shared state, which has its requests as well. Only the
    /// ID of a build may be missing there, and only the request that the state has in doubt may take it:
    /// another run may have resolved that request and sent one of its own.
    pub(super) fn replay_on_shared(&mut self, records: &[Record]) {
        let mut submissions: HashMap<&ImageRef, &Submission> = HashMap::new();
        for record in records {
            match record {
                Record::Submitting { unit, submission, .. } => {
                    submissions.insert(unit, submission);
                }
                Record::Created { unit, .. } => {
                    let entry = self.entries.get(unit);
                    let in_doubt = entry.and_then(|entry| entry.submitted.as_ref());
                    if in_doubt.is_some() && in_doubt == submissions.get(unit).copied() {
                        self.apply(record);
                    }
                }
                Record::Uploaded { unit, build } | Record::Started { unit, build } => {
                    let entry = self.entries.get(unit);
                    let pending = entry.and_then(|entry| entry.pending.as_ref());
                    if pending.is_some_and(|pending| pending.build == *build) {
                        self.apply(record);
                    }
                }
                Record::NotAccepted { .. }
                | Record::Ended { .. }
                | Record::Updated { .. }
                | Record::Forgotten { .. }
                | Record::Known { .. }
                | Record::Protected { .. }
                | Record::Pinned { .. }
                | Record::Committed { .. } => {}
            }
        }
    }

    /// Applies a journal that continues a different lockfile.
    ///
    /// Builds in the lockfile stay as the lockfile has them. Builds only in the journal become pending,
    /// even if the journal has their end: the next refresh asks the service. If the lockfile has a
    /// pending build that the journal does not mention, another machine started it, and it is newer
    /// than the journal's builds of that unit.
    fn replay_on_other_lockfile(&mut self, records: &[Record]) {
        let known: HashSet<BuildId> =
            self.entries.values().flat_map(|entry| entry.builds().cloned()).collect();
        let pending_elsewhere = self.pending_elsewhere(records);
        for record in records {
            match record {
                Record::Submitting { unit, .. }
                | Record::NotAccepted { unit }
                | Record::Created { unit, .. }
                | Record::Uploaded { unit, .. }
                | Record::Started { unit, .. }
                    if pending_elsewhere.contains(unit) => {}
                Record::Created { unit, pending, .. } if known.contains(&pending.build) => {
                    // The build is known, but the record still resolves the request in doubt.
                    self.apply(&Record::NotAccepted { unit: unit.clone() });
                }
                Record::Submitting { .. }
                | Record::NotAccepted { .. }
                | Record::Created { .. }
                | Record::Uploaded { .. }
                | Record::Started { .. } => self.apply(record),
                Record::Ended { .. }
                | Record::Updated { .. }
                | Record::Forgotten { .. }
                | Record::Known { .. }
                | Record::Protected { .. }
                | Record::Pinned { .. }
                | Record::Committed { .. } => {}
            }
        }
    }

    /// Returns the units with a pending build that the records do not mention: another machine started
    /// it. Builds without a context do not count, because most likely nobody will upload it.
    fn pending_elsewhere(&self, records: &[Record]) -> HashSet<ImageRef> {
        let mentioned: HashSet<&BuildId> = records.iter().filter_map(build_of).collect();
        let is_elsewhere = |pending: &Pending| {
            pending.stage > BuildStage::Created && !mentioned.contains(&pending.build)
        };
        let units = self.entries.iter();
        let units = units.filter(|(_, entry)| entry.pending.as_ref().is_some_and(is_elsewhere));
        units.map(|(unit, _)| unit.clone()).collect()
    }
}

fn build_of(record: &Record) -> Option<&BuildId> {
    match record {
        Record::Created { pending, .. } => Some(&pending.build),
        Record::Uploaded { build, .. }
        | Record::Started { build, .. }
        | Record::Ended { build, .. } => Some(build),
        Record::Submitting { .. }
        | Record::NotAccepted { .. }
        | Record::Updated { .. }
        | Record::Forgotten { .. }
        | Record::Known { .. }
        | Record::Protected { .. }
        | Record::Pinned { .. }
        | Record::Committed { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode::encode;
    use super::super::{BuildOutcome, Inputs};
    use super::*;
    use crate::base::kind::ImageKind;
    use crate::base::name::{Owner, Platform};

    fn unit() -> ImageRef {
        "a:1".parse().unwrap()
    }

    /// Returns the records of a build of the unit: submitted, created, ended.
    fn records(build: &str) -> Vec<Record> {
        let build = BuildId::new(build).unwrap();
        let inputs = Inputs::default();
        let submission = Submission {
            at: jiff::Timestamp::UNIX_EPOCH,
            fingerprint: inputs.fingerprint(),
            inputs,
            owner: Owner::Personal,
            visibility: None,
        };
        let (kind, platform) = (ImageKind::Mirror, Platform::Amd64);
        let pending =
            submission.clone().into_pending(build.clone(), None, None, BuildStage::Started);
        vec![
            Record::Submitting { unit: unit(), kind, platform, submission },
            Record::Created { unit: unit(), kind, platform, pending },
            Record::Ended {
                unit: unit(),
                build,
                outcome: BuildOutcome::Completed,
                error: None,
                path: None,
                image: None,
                at: None,
                seconds: None,
            },
        ]
    }

    fn state_after(records: &[Record]) -> State {
        let mut state = State::default();
        for record in records {
            state.apply(record);
        }
        state
    }

    fn digest(state: &State) -> Digest {
        Digest::of(encode("s", state).as_bytes())
    }

    #[test]
    fn a_crash_at_any_moment_of_a_commit_loses_nothing() {
        let old = state_after(&records("b-0"));
        let mut records = records("b-1");
        let mut new = old.clone();
        for record in &records {
            new.apply(record);
        }
        let expected = new.clone();
        records.push(Record::Committed { lockfile: digest(&new) });
        // Before the lockfile was replaced, and after.
        for mut state in [old.clone(), new] {
            let text = encode("s", &state);
            state.replay(Some(&text), Some(digest(&old)), &records);
            assert_eq!(state, expected);
        }
    }

    #[test]
    fn builds_that_another_lockfile_does_not_have_become_pending() {
        let base = digest(&State::default());
        // Another machine built the unit in the meantime.
        let mut state = state_after(&records("b-9"));
        let text = encode("s", &state);
        state.replay(Some(&text), Some(base), &records("b-1"));
        let entry = &state.entries[&unit()];
        assert_eq!(entry.built.as_ref().unwrap().build.as_str(), "b-9");
        assert_eq!(
            entry.pending.as_ref().unwrap().build.as_str(),
            "b-1",
            "resolved by the next refresh"
        );
        // The lockfile has the end of the same build.
        let mut state = state_after(&records("b-1"));
        let (text, before) = (encode("s", &state), state.clone());
        state.replay(Some(&text), Some(base), &records("b-1"));
        assert_eq!(state, before);
    }

    #[test]
    fn a_pending_build_of_another_machine_is_newer_than_the_journal() {
        let base = digest(&State::default());
        let replayed = |mut state: State, records: &[Record]| {
            let text = encode("s", &state);
            state.replay(Some(&text), Some(base), records);
            state
        };
        let theirs = state_after(&records("b-9")[..2]);
        for end in 1..=3 {
            assert_eq!(replayed(theirs.clone(), &records("b-1")[..end]), theirs, "{end}");
        }
        // A build that the journal mentions is older than the journal's next build.
        let mut ours = records("b-9");
        ours.extend(records("b-1"));
        let pending = |state: &State| state.entries[&unit()].pending.clone().unwrap().build;
        assert_eq!(pending(&replayed(theirs.clone(), &ours[2..])).as_str(), "b-1");
        // A build of another machine that waits for its context does not count.
        let mut without_context = theirs;
        let entry = without_context.entries.get_mut(&unit()).unwrap();
        entry.pending.as_mut().unwrap().stage = BuildStage::Created;
        assert_eq!(pending(&replayed(without_context, &records("b-1"))).as_str(), "b-1");
    }

    #[test]
    fn a_shared_state_takes_a_build_only_for_the_request_that_it_has_in_doubt() {
        let of_first = records("b-1");
        let later = |record: &Record| match record.clone() {
            Record::Submitting { unit, kind, platform, submission } => {
                let at = jiff::Timestamp::from_second(1_000).unwrap();
                Record::Submitting {
                    unit,
                    kind,
                    platform,
                    submission: Submission { at, ..submission },
                }
            }
            other => other,
        };
        let in_doubt = state_after(&of_first[..1]);
        let mut state = in_doubt.clone();
        state.replay_on_shared(&of_first[..1]);
        assert_eq!(state, in_doubt);
        // A run that died before the store had the build.
        state.replay_on_shared(&of_first);
        assert_eq!(state, state_after(&of_first[..2]));
        // Another run has sent a request of its own, or has built the target.
        for other in [state_after(&[later(&of_first[0])]), state_after(&records("b-2"))] {
            let refused = Record::NotAccepted { unit: unit() };
            for journal in [&of_first[..], &[of_first[0].clone(), refused]] {
                let mut state = other.clone();
                state.replay_on_shared(journal);
                assert_eq!(state, other);
            }
        }
    }
}
