//! Puts a journal on top of the lockfile that lies beside it. Pure.
//!
//! As a rule that is the lockfile that the journal goes on from, or the one that it was committed
//! to. After a `git pull`, say, it is another: then what the lockfile says of a unit may be newer
//! than what the journal says, and who is right only the service knows.

use std::collections::HashSet;

use super::{BuildStage, Record, State};
use crate::base::digest::Digest;
use crate::base::name::{BuildId, ImageRef};

impl State {
    /// Takes in a journal. `lockfile` is the text that this state was read from, `base` the digest
    /// of the one that the journal goes on from.
    pub(super) fn replay(
        &mut self,
        lockfile: Option<&str>,
        base: Option<Digest>,
        records: &[Record],
    ) {
        let here = lockfile.map(|text| Digest::of(text.as_bytes()));
        let committed = records.iter().rposition(
            |record| matches!(record, Record::Committed { lockfile } if Some(*lockfile) == here),
        );
        match committed {
            Some(index) => records[index..].iter().for_each(|record| self.apply(record)),
            None if here == base => records.iter().for_each(|record| self.apply(record)),
            None => self.replay_elsewhere(records),
        }
    }

    /// Takes in a journal that goes on from another lockfile than this. Builds that the lockfile
    /// knows are as it says; others are pending until the service was asked, however they ended. A
    /// build that is pending there and was never heard of here is the newer one.
    fn replay_elsewhere(&mut self, records: &[Record]) {
        let known: HashSet<BuildId> =
            self.entries.values().flat_map(|entry| entry.builds().cloned()).collect();
        let theirs = self.pending_elsewhere(records);
        for record in records {
            match record {
                Record::Submitting { unit, .. }
                | Record::NotAccepted { unit }
                | Record::Created { unit, .. }
                | Record::Uploaded { unit, .. }
                | Record::Started { unit, .. }
                    if theirs.contains(unit) => {}
                Record::Created { unit, pending, .. } if known.contains(&pending.build) => {
                    // It is the answer to what was asked for, all the same.
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

    /// Units with a pending build that the records do not speak of: somebody else has begun it. One
    /// that waits for its context is not among them: most likely nobody sends that any more.
    fn pending_elsewhere(&self, records: &[Record]) -> HashSet<ImageRef> {
        let spoken_of: HashSet<&BuildId> = records.iter().filter_map(build_of).collect();
        let theirs = self.entries.iter().filter(|(_, entry)| {
            entry.pending.as_ref().is_some_and(|pending| {
                pending.stage > BuildStage::Created && !spoken_of.contains(&pending.build)
            })
        });
        theirs.map(|(unit, _)| unit.clone()).collect()
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
    use super::super::{BuildOutcome, Inputs, Submission};
    use super::*;
    use crate::base::kind::ImageKind;
    use crate::base::name::{Owner, Platform};

    fn unit() -> ImageRef {
        "a:1".parse().unwrap()
    }

    /// What is recorded of a build of the unit, from its beginning to its end.
    fn life(build: &str) -> Vec<Record> {
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
                path: None,
                at: None,
            },
        ]
    }

    fn after(records: &[Record]) -> State {
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
    fn a_death_at_any_moment_of_a_commit_changes_nothing() {
        let old = after(&life("b-0"));
        let mut records = life("b-1");
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
    fn what_another_lockfile_knows_is_believed_and_the_rest_is_asked_for() {
        let base = digest(&State::default());
        // Somebody else built the unit meanwhile.
        let mut state = after(&life("b-9"));
        let text = encode("s", &state);
        state.replay(Some(&text), Some(base), &life("b-1"));
        let entry = &state.entries[&unit()];
        assert_eq!(entry.built.as_ref().unwrap().build.as_str(), "b-9");
        assert_eq!(entry.pending.as_ref().unwrap().build.as_str(), "b-1", "the service knows");
        // The same build, of which the lockfile knows the end.
        let mut state = after(&life("b-1"));
        let (text, before) = (encode("s", &state), state.clone());
        state.replay(Some(&text), Some(base), &life("b-1"));
        assert_eq!(state, before);
    }

    #[test]
    fn what_somebody_else_has_under_way_is_newer_than_what_the_journal_has() {
        let base = digest(&State::default());
        let replayed = |mut state: State, records: &[Record]| {
            let text = encode("s", &state);
            state.replay(Some(&text), Some(base), records);
            state
        };
        let theirs = after(&life("b-9")[..2]);
        for end in 1..=3 {
            assert_eq!(replayed(theirs.clone(), &life("b-1")[..end]), theirs, "{end}");
        }
        // What this machine knew of, and went on from, is older.
        let mut ours = life("b-9");
        ours.extend(life("b-1"));
        let pending = |state: &State| state.entries[&unit()].pending.clone().unwrap().build;
        assert_eq!(pending(&replayed(theirs.clone(), &ours[2..])).as_str(), "b-1");
        // And what waits for a context is in nobody's way.
        let mut waits = theirs;
        let entry = waits.entries.get_mut(&unit()).unwrap();
        entry.pending.as_mut().unwrap().stage = BuildStage::Created;
        assert_eq!(pending(&replayed(waits, &life("b-1"))).as_str(), "b-1");
    }
}
