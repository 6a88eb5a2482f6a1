//! Images that the lockfile does not have: left by an interrupted run, or made outside of imgplan.

use super::super::facts::{Remote, RemoteState};
use super::super::{Decision, Plan, PlanOptions};
use super::model::{COMPLETE, Interference, Model, check, lines};
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

/// Manifests with another name, another owner, and both.
fn elsewhere() -> [Workspace; 3] {
    let owned = |name| Unit { owner: Some(team()), ..built(name, "", &[]) };
    [
        moving(&[("a", "b")], world(vec![built("b", "", &[])])),
        world(vec![owned("a")]),
        moving(&[("a", "b")], world(vec![owned("b")])),
    ]
}

/// A run was interrupted between the change in the service and its record.
#[test]
fn an_unrecorded_move_is_found_and_not_rebuilt() {
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
fn an_image_of_another_time_is_not_the_moved_one() {
    for number in 0..3 {
        let mut model = begin(vec![built("a", "", &[])]);
        let before = model.state.clone();
        let new = || elsewhere().into_iter().nth(number).unwrap();
        let decision = decide(&model, new());
        model.apply(&decision, |_| COMPLETE);
        model.state = before;
        model.interfere(&[(0, Interference::Replace)]);
        let plan = plan(&model, new());
        let lines = lines(&plan);
        assert!(lines[0].contains(": exists in the service but not in the lockfile"), "{lines:?}");
        assert_eq!(plan.counts(None).rebuild, 1);
    }
}

/// The image was made outside of imgplan, or its record is lost.
#[test]
fn an_unrecorded_image_is_replaced_and_not_created() {
    let mut model = begin(vec![built("a", "", &[])]);
    model.state = State::default();
    let plan_of = |model: &Model, unit: Unit| {
        let plan = plan(model, world(vec![unit]));
        (lines(&plan).remove(0), plan.counts(None).rebuild)
    };
    let exists = "build a:v1: exists in the service but not in the lockfile".to_owned();
    assert_eq!(plan_of(&model, built("a", "", &[])), (exists, 1));
    let new = |name: &str| (format!("build {name}:v1: new"), 0);
    assert_eq!(plan_of(&model, built("b", "", &[])), new("b"));
    let owned = Unit { owner: Some(team()), ..built("a", "", &[]) };
    assert_eq!(plan_of(&model, owned), new("a"));
    model.refresh = false;
    assert_eq!(plan_of(&model, built("a", "", &[])), new("a"));
}

/// A failed build outside of imgplan does not delete the image.
#[test]
fn an_image_with_a_failed_build_is_replaced_and_not_created() {
    let model = begin(vec![built("a", "", &[])]);
    let units = || world(vec![built("a", "", &[])]);
    let mut facts = model.facts(&units());
    let rebuilt = |facts: &_| {
        let plan = super::super::decide(units(), facts, &model.state, &PlanOptions::default()).plan;
        (plan.counts(None).create, plan.counts(None).rebuild)
    };
    let images = facts.images.get_mut(&Owner::Personal).unwrap();
    let (key, row) = images.iter().next().unwrap();
    // The other build failed after ours completed.
    let ended = row.ended.map(|ended| ended + jiff::SignedDuration::from_hours(1));
    let (key, row) = (key.clone(), Remote { state: RemoteState::Failed, ended, ..row.clone() });
    images.insert(key.clone(), row);
    assert_eq!(rebuilt(&facts), (0, 1));
    facts.images.get_mut(&Owner::Personal).unwrap().remove(&key);
    assert_eq!(rebuilt(&facts), (1, 0));
}
