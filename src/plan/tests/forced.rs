//! Rebuilds without a changed input: requested, or because of the age.

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

const REBUILDS: [&str; 3] = [
    "build a:v1: rebuild requested",
    "build b:v1: its base a:v1 changes",
    "build c:v1: its base b:v1 changes, caused by a:v1",
];

#[test]
fn dependents_are_rebuilt_after_their_base() {
    let mut model = begin();
    let decision = decide(&model, "a");
    assert_eq!(lines(&decision.plan), REBUILDS);
    model.apply(&decision, |_| COMPLETE);
    assert_eq!(planned(&model, ""), [""; 0]);
    assert_eq!(planned(&model, "a"), REBUILDS, "every request rebuilds");
}

#[test]
fn the_next_run_finishes_an_interrupted_rebuild() {
    for dead in 0..3 {
        let mut model = begin();
        let decision = decide(&model, "a");
        model.apply(&decision, |step| if step < dead { COMPLETE } else { Done::Not });
        let left = planned(&model, "");
        // A rebuild that never started is forgotten.
        let rest = if dead == 0 { 0 } else { 3 - dead };
        assert_eq!(left.len(), rest, "{left:?}");
        let decision = decide(&model, "");
        model.apply(&decision, |_| COMPLETE);
        assert_eq!(planned(&model, ""), [""; 0]);
    }
}

#[test]
fn a_running_rebuild_is_adopted() {
    let mut model = begin();
    let decision = decide(&model, "a");
    model.apply(&decision, |_| Done::Started);
    for replace in ["", "a"] {
        let plan = planned(&model, replace);
        assert_eq!(plan[0], "adopt a:v1: a build is in progress");
        assert_eq!(plan[1..], REBUILDS[1..]);
    }
    let decision = decide(&model, "");
    model.apply(&decision, |_| COMPLETE);
    assert_eq!(planned(&model, ""), [""; 0]);
}

#[test]
fn a_failed_rebuild_is_neither_adopted_nor_kept() {
    for done in
        [Done::Created, Done::Ended(BuildOutcome::Failed), Done::Ended(BuildOutcome::Cancelled)]
    {
        let mut model = begin();
        let decision = decide(&model, "a");
        model.apply(&decision, |_| done);
        let plan = planned(&model, "a");
        assert!(plan[0].starts_with("build a:v1: rebuild requested"), "{plan:?}");
        assert_eq!(plan[1..], REBUILDS[1..], "{done:?}");
        assert_eq!(planned(&model, ""), [""; 0], "the earlier image still exists: {done:?}");
    }
}

/// The context is uploaded and the build was never started.
#[test]
fn a_build_that_was_not_started_is_adopted_only_if_still_wanted() {
    let mut model = begin();
    let decision = decide(&model, "a");
    model.apply(&decision, |_| Done::Uploaded);
    assert!(planned(&model, "a")[0].starts_with("adopt a:v1"));
    let left = decide(&model, "");
    assert!(left.plan.is_noop());
    assert_eq!(left.refreshed.len(), 1, "the build ends: {:?}", left.refreshed);
}

#[test]
fn an_expired_base_rebuilds_its_dependents() {
    let mut model = begin();
    model.now += SignedDuration::from_hours(24 * 8);
    let plan = planned(&model, "");
    assert_eq!(plan[0], "build a:v1: 8d00h old");
    assert_eq!(plan[1..], REBUILDS[1..]);
    let decision = decide(&model, "");
    model.apply(&decision, |step| if step == 0 { COMPLETE } else { Done::Not });
    assert_eq!(planned(&model, ""), REBUILDS[1..], "also after an interruption");
    let decision = decide(&model, "");
    model.apply(&decision, |_| COMPLETE);
    assert_eq!(planned(&model, ""), [""; 0]);
}

/// A wrong clock expires no image.
#[test]
fn an_image_from_the_future_is_not_expired() {
    let mut model = begin();
    model.now -= SignedDuration::from_hours(24 * 30);
    assert_eq!(planned(&model, ""), [""; 0]);
}
