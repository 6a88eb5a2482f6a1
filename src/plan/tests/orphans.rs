//! What becomes of images that the manifest no longer has, whatever somebody else did to them.

use super::super::{Action, Decision, PlanOptions, SavedPlan};
use super::model::{COMPLETE, Done, Meddling, Model, check, lines};
use super::world::{built, open, removing, world};
use crate::manifest::Workspace;
use crate::manifest::workspace::Unit;

fn prune() -> PlanOptions {
    PlanOptions { prune: true, ..PlanOptions::default() }
}

fn decide(model: &Model, workspace: Workspace, options: &PlanOptions) -> Decision {
    let facts = model.facts(&workspace);
    let decision = super::super::decide(workspace, &facts, &model.state, options);
    check(&decision, &model.state);
    decision
}

fn apply(model: &mut Model, workspace: Workspace, done: Done) {
    let decision = decide(model, workspace, &prune());
    model.apply(&decision, |_| done);
}

fn begin(units: Vec<Unit>) -> Model {
    let mut model = Model::default();
    apply(&mut model, world(units), COMPLETE);
    model
}

#[test]
fn only_what_we_made_is_deleted() {
    let of = |meddling: &[(usize, Meddling)]| {
        let mut model = begin(vec![built("a", "", &[])]);
        model.meddle(meddling);
        let pruned = decide(&model, world(Vec::new()), &prune()).plan;
        let said = removing(&[("a", true)], world(Vec::new()));
        let said = decide(&model, said, &PlanOptions::default()).plan;
        assert_eq!(lines(&pruned), lines(&said));
        (lines(&pruned).remove(0), pruned.counts(None).delete)
    };
    assert_eq!(of(&[]), ("delete a:v1: removed from the manifest".to_owned(), 1));
    let gone = "forget a:v1: removed from the manifest; missing from the service";
    assert_eq!(of(&[(0, Meddling::Delete)]), (gone.to_owned(), 0));
    let (line, destroyed) = of(&[(0, Meddling::Replace)]);
    let kept =
        "forget a:v1: removed from the manifest, image kept; replaced outside of imgplan on ";
    assert!(line.starts_with(kept) && destroyed == 0, "{line}");
}

/// What has the place of an old tag says no more of who put there what is there.
#[test]
fn an_old_tag_that_somebody_else_replaced_stays() {
    let of = |words| world(vec![open("{fingerprint}", built("a", words, &[]))]);
    let mut model = Model::default();
    apply(&mut model, of("one"), COMPLETE);
    model.meddle(&[(0, Meddling::Replace)]);
    let plan = decide(&model, of("two"), &prune()).plan;
    assert!(matches!(plan.steps[1].action, Action::Forget { .. }), "{:?}", lines(&plan));
}

/// A push so soon after our own build that the times tell nothing.
#[test]
fn what_is_replaced_after_it_was_agreed_to_is_not_deleted() {
    let mut model = begin(vec![built("a", "", &[])]);
    let decision = decide(&model, world(Vec::new()), &prune());
    let pins = std::collections::BTreeMap::new();
    let saved = SavedPlan::new(&decision.plan, &model.state, "service", &prune(), &pins, model.now);
    let check = |model: &Model| {
        let Decision { workspace, plan, .. } = decide(model, world(Vec::new()), &prune());
        saved.check(plan, &workspace, &model.state)
    };
    assert!(check(&model).is_ok());
    model.push_soon();
    let stale = check(&model).expect_err("it is another image");
    assert!(stale[0].cause.contains("has another image there now"), "{stale:?}");
    // Who does not ask the service has nothing to hold it against.
    model.refresh = false;
    assert!(check(&model).is_ok());
}

/// Protection that comes with a new content is meant for what is there.
#[test]
fn protection_that_comes_with_a_new_content_holds_for_the_old_one() {
    let of = |words, protect| {
        let unit = open("{fingerprint}", built("a", words, &[]));
        world(vec![Unit { protect, ..unit }])
    };
    let mut model = Model::default();
    apply(&mut model, of("one", None), COMPLETE);
    let plan = decide(&model, of("two", Some(true)), &prune()).plan;
    assert_eq!((plan.counts(None).delete, plan.protected.len()), (0, 1));
    // Once it came, to leave the word out does not lift it.
    apply(&mut model, of("two", Some(true)), COMPLETE);
    let plan = decide(&model, of("two", None), &prune()).plan;
    assert_eq!((plan.counts(None).delete, plan.protected.len()), (0, 1));
    let plan = decide(&model, of("two", Some(false)), &prune()).plan;
    assert_eq!((plan.counts(None).delete, plan.protected.len()), (1, 0));
}

#[test]
fn what_is_built_for_the_first_time_is_deleted_once_it_is_there() {
    let mut model = Model::default();
    apply(&mut model, world(vec![built("a", "", &[])]), Done::Started);
    let removed = || removing(&[("a", true)], world(Vec::new()));
    let decision = decide(&model, removed(), &PlanOptions::default());
    assert!(
        matches!(&decision.plan.steps[0].action, Action::Delete { after: Some(_), .. }),
        "{:?}",
        lines(&decision.plan)
    );
    model.apply(&decision, |_| COMPLETE);
    assert!(model.images.is_empty() && model.state.entries.is_empty());
}
