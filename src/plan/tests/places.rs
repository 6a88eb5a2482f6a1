//! What the service shows where the lockfile has nothing: what a run that died did, or somebody else.

use super::super::facts::{Remote, RemoteState};
use super::super::{Decision, Plan, PlanOptions};
use super::model::{COMPLETE, Meddling, Model, check, lines};
use super::world::{built, moving, world};
use crate::base::name::Owner;
use crate::manifest::Workspace;
use crate::manifest::workspace::Unit;
use crate::state::State;

fn decide(model: &Model, workspace: Workspace) -> Decision {
    let facts = model.facts(&workspace);
    let decision = super::super::decide(workspace, &facts, &model.state, &PlanOptions::default());
    check(&decision, &model.state);
    decision
}

fn plan(model: &Model, workspace: Workspace) -> Plan {
    decide(model, workspace).plan
}

fn begin(units: Vec<Unit>) -> Model {
    let mut model = Model::default();
    let decision = decide(&model, world(units));
    model.apply(&decision, |_| COMPLETE);
    model
}

fn team() -> Owner {
    Owner::Team("t".to_owned())
}

/// The manifest with another name, with another owner, and with both.
fn elsewhere() -> [Workspace; 3] {
    let owned = |name| Unit { owner: Some(team()), ..built(name, "", &[]) };
    [
        moving(&[("a", "b")], world(vec![built("b", "", &[])])),
        world(vec![owned("a")]),
        moving(&[("a", "b")], world(vec![owned("b")])),
    ]
}

/// A run that died after the service did what it was asked.
#[test]
fn what_was_moved_and_not_kept_is_moved_and_not_made_again() {
    for number in 0..3 {
        let mut model = begin(vec![built("a", "", &[])]);
        let before = model.state.clone();
        let new = || elsewhere().into_iter().nth(number).unwrap();
        let decision = decide(&model, new());
        model.apply(&decision, |_| COMPLETE);
        model.state = before;
        let again = decide(&model, new());
        assert_eq!(again.plan, decision.plan, "{:?}", lines(&again.plan));
        model.apply(&again, |_| COMPLETE);
        assert!(plan(&model, new()).is_noop());
    }
}

#[test]
fn what_is_there_of_another_time_is_not_what_was_moved() {
    for number in 0..3 {
        let mut model = begin(vec![built("a", "", &[])]);
        let before = model.state.clone();
        let new = || elsewhere().into_iter().nth(number).unwrap();
        let decision = decide(&model, new());
        model.apply(&decision, |_| COMPLETE);
        model.state = before;
        model.meddle(&[(0, Meddling::Replace)]);
        let plan = plan(&model, new());
        let lines = lines(&plan);
        assert!(lines[0].contains(": exists in the service but not in the lockfile"), "{lines:?}");
        assert_eq!(plan.counts(None).rebuild, 1);
    }
}

/// Somebody else's image, or our own whose record is lost.
#[test]
fn what_is_at_the_place_of_a_new_unit_is_not_created() {
    let mut model = begin(vec![built("a", "", &[])]);
    model.state = State::default();
    let plan_of = |model: &Model, unit: Unit| {
        let plan = plan(model, world(vec![unit]));
        (lines(&plan).remove(0), plan.counts(None).rebuild)
    };
    let there = "build a:v1: exists in the service but not in the lockfile".to_owned();
    assert_eq!(plan_of(&model, built("a", "", &[])), (there, 1));
    let new = |name: &str| (format!("build {name}:v1: new"), 0);
    assert_eq!(plan_of(&model, built("b", "", &[])), new("b"));
    let owned = Unit { owner: Some(team()), ..built("a", "", &[]) };
    assert_eq!(plan_of(&model, owned), new("a"));
    model.refresh = false;
    assert_eq!(plan_of(&model, built("a", "", &[])), new("a"));
}

/// A build of somebody that failed does not take away what was there.
#[test]
fn what_shows_a_build_that_failed_is_replaced_and_not_created() {
    let model = begin(vec![built("a", "", &[])]);
    let units = || world(vec![built("a", "", &[])]);
    let mut facts = model.facts(&units());
    let rebuilt = |facts: &_| {
        let plan = super::super::decide(units(), facts, &model.state, &PlanOptions::default()).plan;
        (plan.counts(None).create, plan.counts(None).rebuild)
    };
    let images = facts.images.get_mut(&Owner::Personal).unwrap();
    let (key, row) = images.iter().next().unwrap();
    // It failed after ours was complete.
    let ended = row.ended.map(|ended| ended + jiff::SignedDuration::from_hours(1));
    let (key, row) = (key.clone(), Remote { state: RemoteState::Failed, ended, ..row.clone() });
    images.insert(key.clone(), row);
    assert_eq!(rebuilt(&facts), (0, 1));
    facts.images.get_mut(&Owner::Personal).unwrap().remove(&key);
    assert_eq!(rebuilt(&facts), (1, 0));
}
