//! Puts a journal on top of the lockfile that lies beside it. Pure.
//!
//! As a rule that is the lockfile that the journal goes on from, or the one that it was committed
//! to. After a `git pull`, say, it is another: then what the lockfile says of a unit may be newer
//! than what the journal says, and who is right only the service knows.

use std::collections::HashSet;

use super::{Record, State};
use crate::base::digest::Digest;
use crate::base::name::BuildId;

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
    /// knows are as it says; others are pending until the service was asked, however they ended.
    fn replay_elsewhere(&mut self, records: &[Record]) {
        let known: HashSet<BuildId> =
            self.entries.values().flat_map(|entry| entry.builds().cloned()).collect();
        for record in records {
            match record {
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
                | Record::Committed { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode::encode;
    use super::super::{Inputs, Kind, Outcome, Stage, Submission};
    use super::*;
    use crate::base::name::{ImageRef, Owner, Platform};

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
        let (kind, platform) = (Kind::Mirror, Platform::Amd64);
        let pending = submission.clone().accepted(build.clone(), None, None, Stage::Started);
        vec![
            Record::Submitting { unit: unit(), kind, platform, submission },
            Record::Created { unit: unit(), kind, platform, pending },
            Record::Ended { unit: unit(), build, outcome: Outcome::Completed, path: None },
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
}
