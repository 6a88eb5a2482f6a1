//! Plans from lockfiles with conflict markers of git.

use proptest::prelude::*;

use super::super::{Action, Facts, PlanOptions, decide};
use super::model::{COMPLETE, Model, done};
use super::properties::{apply_all, past};
use super::world::manifest;
use crate::state::decode::decode;
use crate::state::encode::encode;
use crate::state::{Entry, State};

/// Returns two texts merged as git does it, with conflict markers around the lines that differ.
fn merged(ours: &str, theirs: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (ours.lines().collect(), theirs.lines().collect());
    // Length of the longest common subsequence of the lines from `i` and `j` on.
    let mut common = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            text = format!("{text}{}\n", a[i]);
            (i, j) = (i + 1, j + 1);
            continue;
        }
        let (mut mine, mut yours) = (String::new(), String::new());
        while (i < a.len() || j < b.len()) && !(i < a.len() && j < b.len() && a[i] == b[j]) {
            if j >= b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
                mine = format!("{mine}{}\n", a[i]);
                i += 1;
            } else {
                yours = format!("{yours}{}\n", b[j]);
                j += 1;
            }
        }
        text = format!("{text}<<<<<<< HEAD\n{mine}=======\n{yours}>>>>>>> other\n");
    }
    text
}

fn read(ours: &State, theirs: &State) -> State {
    let (ours, theirs) = (encode("s", ours), encode("s", theirs));
    decode(&merged(&ours, &theirs)).unwrap().state
}

const MARKS: [&str; 6] = ["<<<<<<< a", "=======", ">>>>>>> b", "||||||| c", "<<<<<<<", ">>>>>>>"];

proptest! {
    #[test]
    fn both_sides_of_a_merge_are_read(
        (past, manifest) in past(),
        other in manifest(),
        done in prop::collection::vec((done(), done()), 24),
    ) {
        let base = past.model();
        let (mut ours, mut theirs) = (base.clone(), base);
        let decision = ours.decide(&manifest, &PlanOptions::default());
        ours.apply(&decision, |step| done.get(step).map_or(COMPLETE, |done| done.0));
        let decision = theirs.decide(&other, &PlanOptions::default());
        theirs.apply(&decision, |step| done.get(step).map_or(COMPLETE, |done| done.1));
        let state = read(&ours.state, &theirs.state);
        let (ours, theirs) = (&ours.state.entries, &theirs.state.entries);
        for key in ours.keys().chain(theirs.keys()) {
            let entry = &state.entries[key];
            let (mine, yours) = (ours.get(key), theirs.get(key));
            prop_assert!(mine == yours || mine.is_none() || yours.is_none()
                || state.entry_conflicts.get(key) == yours);
            let either = mine.or(yours).unwrap();
            let protect = either.protect || yours.is_some_and(|yours| yours.protect);
            prop_assert_eq!((&entry.built, &entry.pending), (&either.built, &either.pending));
            prop_assert_eq!(entry.protect, protect);
        }
        prop_assert!(state.entry_conflicts.keys().all(|key| ours.get(key) != theirs.get(key)));
        prop_assert!(state.entries.keys().all(|key| ours.contains_key(key) || theirs.contains_key(key)));
        // Without conflicts, the state is read as it is.
        prop_assert!(read(&state, &state).entry_conflicts.is_empty());
    }

    /// Images that the manifest wants are not rebuilt, whichever side built them, unless the other
    /// side replaced them later.
    #[test]
    fn the_side_with_the_wanted_content_wins(
        (past, manifest) in past(),
        other in manifest(),
        swap in any::<bool>(),
    ) {
        let mut other = other;
        other.likes.iter_mut().for_each(|like| like.aging = false);
        let mut ours = past.model();
        apply_all(&mut ours, &other, &PlanOptions::default());
        let mut theirs = past.model();
        theirs.now = ours.now;
        apply_all(&mut theirs, &manifest, &PlanOptions::default());
        // A pending build of one side may still replace the image of the other.
        let mut entries = ours.state.entries.values().chain(theirs.state.entries.values());
        prop_assume!(entries.all(|entry| entry.pending.is_none()));
        // The tag has the image that was built last.
        let made = |entry: &Entry| entry.built.as_ref().and_then(|built| built.completed);
        // Images of two owners are two images, and the lockfile can record only one.
        let owned = |entry: &Entry| entry.built.as_ref().map(|built| built.owner.clone());
        prop_assume!(ours.state.entries.iter().all(|(key, other)| {
            theirs.state.entries.get(key).is_none_or(|wanted| {
                made(other) <= made(wanted) && owned(other) == owned(wanted)
            })
        }));
        let (one, other) = if swap { (&ours, &theirs) } else { (&theirs, &ours) };
        let state = read(&one.state, &other.state);
        let facts = Facts { now: Some(theirs.now), ..Facts::default() };
        let decision = decide(manifest.workspace(), &facts, &state, &PlanOptions::default());
        super::model::check(&decision, &state);
        for step in &decision.plan.steps {
            prop_assert!(!matches!(step.action, Action::Create(_)), "{}: {:?}", step.key, step.reasons);
        }
    }

    #[test]
    fn no_damaged_text_causes_a_panic(
        (past, manifest) in past(),
        marks in prop::collection::vec((0usize..400, 0usize..6), 1..8),
    ) {
        let mut ours = past.model();
        let before = ours.state.clone();
        apply_all(&mut ours, &manifest, &PlanOptions::default());
        let text = merged(&encode("s", &before), &encode("s", &ours.state));
        let mut lines: Vec<&str> = text.lines().collect();
        for (place, mark) in marks {
            lines.insert(place % (lines.len() + 1), MARKS[mark]);
        }
        let _ = decode(&lines.join("\n"));
    }
}

/// The side that rebuilt a base rebuilt its dependents, too.
#[test]
fn a_rebuilt_base_and_its_dependents_come_from_one_side() {
    use super::world::{built, world};
    let units = || vec![built("a", "", &[]), built("b", "", &[0]), built("c", "", &[1])];
    let apply = |model: &mut Model, replace: &str| {
        let replace = if replace.is_empty() { vec![] } else { vec![replace.parse().unwrap()] };
        let options = PlanOptions { replace, ..PlanOptions::default() };
        let facts = model.facts(&world(units()));
        let decision = decide(world(units()), &facts, &model.state, &options);
        model.apply(&decision, |_| COMPLETE);
    };
    let mut base = Model::default();
    apply(&mut base, "");
    let (mut ours, mut theirs) = (base.clone(), base);
    apply(&mut ours, "b");
    apply(&mut theirs, "b");
    apply(&mut theirs, "a");
    for (one, other) in [(&ours.state, &theirs.state), (&theirs.state, &ours.state)] {
        let state = read(one, other);
        let facts = Facts { now: Some(theirs.now), ..Facts::default() };
        let decision = decide(world(units()), &facts, &state, &PlanOptions::default());
        assert!(decision.plan.is_noop(), "{:?}", super::model::lines(&decision.plan));
    }
}

/// For an orphan, only the time decides.
#[test]
fn of_an_orphan_the_later_build_wins() {
    let of = |words: &str| super::world::world(vec![super::world::built("a", words, &[])]);
    let mut model = Model::default();
    let mut states = Vec::new();
    for words in ["one", "two"] {
        let facts = model.facts(&of(words));
        let decision = decide(of(words), &facts, &model.state, &PlanOptions::default());
        model.apply(&decision, |_| COMPLETE);
        states.push(model.state.clone());
    }
    let facts = Facts { now: Some(model.now), ..Facts::default() };
    for (ours, theirs) in [(0, 1), (1, 0)] {
        let mut state = read(&states[ours], &states[theirs]);
        let empty = super::world::world(Vec::new());
        for record in decide(empty, &facts, &state, &PlanOptions::default()).refreshed {
            state.apply(&record);
        }
        assert_eq!(state.entries, states[1].entries);
    }
}
