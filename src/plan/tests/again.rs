//! Units that are made again though nothing changed: asked for, or too old.

use jiff::SignedDuration;

use super::super::{Decision, PlanOptions};
use super::model::{COMPLETE, Done, Model, check, lines};
use super::world::{WEEK, built, world};
use crate::manifest::Workspace;
use crate::manifest::workspace::Unit;
use crate::state::BuildOutcome;

fn units() -> Workspace {
    let base = Unit { max_age: Some(WEEK), ..built("a", "", &[]) };
    world(vec![base, built("b", "", &[0]), built("c", "", &[1]), built("d", "", &[])])
}

fn decide(model: &Model, replace: &str) -> Decision {
    let replace = replace.split_whitespace().map(|one| one.parse().unwrap()).collect();
    let options = PlanOptions { replace, ..PlanOptions::default() };
    let facts = model.facts(&units());
    let decision = super::super::decide(units(), &facts, &model.state, &options);
    check(&decision, &model.state);
    decision
}

fn planned(model: &Model, replace: &str) -> Vec<String> {
    lines(&decide(model, replace).plan)
}

fn begin() -> Model {
    let mut model = Model::default();
    let decision = decide(&model, "");
    model.apply(&decision, |_| COMPLETE);
    assert_eq!(planned(&model, ""), [""; 0]);
    model
}

const AGAIN: [&str; 3] = [
    "build a:v1: rebuild requested",
    "build b:v1: its base a:v1 changes",
    "build c:v1: its base b:v1 changes, caused by a:v1",
];

#[test]
fn what_is_built_on_it_is_made_after_it() {
    let mut model = begin();
    let decision = decide(&model, "a");
    assert_eq!(lines(&decision.plan), AGAIN);
    model.apply(&decision, |_| COMPLETE);
    assert_eq!(planned(&model, ""), [""; 0]);
    assert_eq!(planned(&model, "a"), AGAIN, "as often as it is asked for");
}

/// Wherever the run dies.
#[test]
fn what_was_left_is_done_without_being_asked_again() {
    for dead in 0..3 {
        let mut model = begin();
        let decision = decide(&model, "a");
        model.apply(&decision, |step| if step < dead { COMPLETE } else { Done::Not });
        let left = planned(&model, "");
        // What never began is not remembered.
        let rest = if dead == 0 { 0 } else { 3 - dead };
        assert_eq!(left.len(), rest, "{left:?}");
        let decision = decide(&model, "");
        model.apply(&decision, |_| COMPLETE);
        assert_eq!(planned(&model, ""), [""; 0]);
    }
}

#[test]
fn one_that_is_under_way_is_adopted_and_not_made_once_more() {
    let mut model = begin();
    let decision = decide(&model, "a");
    model.apply(&decision, |_| Done::Started);
    for replace in ["", "a"] {
        let plan = planned(&model, replace);
        assert_eq!(plan[0], "adopt a:v1: a build is in progress");
        assert_eq!(plan[1..], AGAIN[1..]);
    }
    let decision = decide(&model, "");
    model.apply(&decision, |_| COMPLETE);
    assert_eq!(planned(&model, ""), [""; 0]);
}

#[test]
fn one_that_died_is_neither_adopted_nor_kept_as_made() {
    for done in
        [Done::Created, Done::Ended(BuildOutcome::Failed), Done::Ended(BuildOutcome::Cancelled)]
    {
        let mut model = begin();
        let decision = decide(&model, "a");
        model.apply(&decision, |_| done);
        let plan = planned(&model, "a");
        assert!(plan[0].starts_with("build a:v1: rebuild requested"), "{plan:?}");
        assert_eq!(plan[1..], AGAIN[1..], "{done:?}");
        assert_eq!(planned(&model, ""), [""; 0], "the image of before is there: {done:?}");
    }
}

/// Its context is there, and nobody told it to start: it is started where it is still wanted.
#[test]
fn one_that_waits_to_be_started_is_only_started_where_it_is_wanted() {
    let mut model = begin();
    let decision = decide(&model, "a");
    model.apply(&decision, |_| Done::Uploaded);
    assert!(planned(&model, "a")[0].starts_with("adopt a:v1"));
    let left = decide(&model, "");
    assert!(left.plan.is_noop());
    assert_eq!(left.refreshed.len(), 1, "it is over: {:?}", left.refreshed);
}

#[test]
fn a_base_that_expired_takes_along_what_is_built_on_it() {
    let mut model = begin();
    model.now += SignedDuration::from_hours(24 * 8);
    let plan = planned(&model, "");
    assert_eq!(plan[0], "build a:v1: 8d00h old");
    assert_eq!(plan[1..], AGAIN[1..]);
    let decision = decide(&model, "");
    model.apply(&decision, |step| if step == 0 { COMPLETE } else { Done::Not });
    assert_eq!(planned(&model, ""), AGAIN[1..], "also if the run dies in between");
    let decision = decide(&model, "");
    model.apply(&decision, |_| COMPLETE);
    assert_eq!(planned(&model, ""), [""; 0]);
}

/// A clock that goes wrong makes nothing too old.
#[test]
fn what_was_made_in_the_future_is_not_old() {
    let mut model = begin();
    model.now -= SignedDuration::from_hours(24 * 30);
    assert_eq!(planned(&model, ""), [""; 0]);
}
