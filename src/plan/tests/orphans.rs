//! Orphans, with and without changes outside of imgplan.

use super::super::{Action, Decision, PlanOptions, SavedPlan};
use super::model::{COMPLETE, Done, Interference, Model, check, lines};
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
fn only_our_own_image_is_deleted() {
    let of = |interferences: &[(usize, Interference)]| {
        let mut model = begin(vec![built("a", "", &[])]);
        model.interfere(interferences);
        let pruned = decide(&model, world(Vec::new()), &prune()).plan;
        let removed = removing(&[("a", true)], world(Vec::new()));
        let removed = decide(&model, removed, &PlanOptions::default()).plan;
        assert_eq!(lines(&pruned), lines(&removed));
        (lines(&pruned).remove(0), pruned.counts(None).delete)
    };
    assert_eq!(of(&[]), ("delete a:v1: removed from the manifest".to_owned(), 1));
    let gone = "forget a:v1: removed from the manifest; missing from the service";
    assert_eq!(of(&[(0, Interference::Delete)]), (gone.to_owned(), 0));
    let (line, deleted) = of(&[(0, Interference::Replace)]);
    let kept =
        "forget a:v1: removed from the manifest, image kept; replaced outside of imgplan on ";
    assert!(line.starts_with(kept) && deleted == 0, "{line}");
}

#[test]
fn an_old_tag_that_was_replaced_outside_is_kept() {
    let of = |words| world(vec![open("{fingerprint}", built("a", words, &[]))]);
    let mut model = Model::default();
    apply(&mut model, of("one"), COMPLETE);
    model.interfere(&[(0, Interference::Replace)]);
    let plan = decide(&model, of("two"), &prune()).plan;
    assert!(matches!(plan.steps[1].action, Action::Forget { .. }), "{:?}", lines(&plan));
}

/// The push is so close to the end of our build that its time alone shows no drift.
#[test]
fn an_image_replaced_after_the_approval_is_not_deleted() {
    let mut model = begin(vec![built("a", "", &[])]);
    let decision = decide(&model, world(Vec::new()), &prune());
    let pins = std::collections::BTreeMap::new();
    let saved = SavedPlan::new(&decision.plan, &model.state, "service", &prune(), &pins, model.now);
    let check = |model: &Model| {
        let Decision { workspace, plan, .. } = decide(model, world(Vec::new()), &prune());
        saved.check(plan, &workspace, &model.state)
    };
    assert!(check(&model).is_ok());
    model.replace_within_tolerance();
    let stale = check(&model).expect_err("the plan is stale");
    assert!(stale[0].cause.contains("has another image there now"), "{stale:?}");
    // Without a refresh there is nothing to compare.
    model.refresh = false;
    assert!(check(&model).is_ok());
}

#[test]
fn protection_added_with_new_content_covers_the_old_image() {
    let of = |words, protect| {
        let unit = open("{fingerprint}", built("a", words, &[]));
        world(vec![Unit { protect, ..unit }])
    };
    let mut model = Model::default();
    apply(&mut model, of("one", None), COMPLETE);
    let plan = decide(&model, of("two", Some(true)), &prune()).plan;
    assert_eq!((plan.counts(None).delete, plan.protected.len()), (0, 1));
    // Removing `protect` from the manifest does not lift the protection.
    apply(&mut model, of("two", Some(true)), COMPLETE);
    let plan = decide(&model, of("two", None), &prune()).plan;
    assert_eq!((plan.counts(None).delete, plan.protected.len()), (0, 1));
    let plan = decide(&model, of("two", Some(false)), &prune()).plan;
    assert_eq!((plan.counts(None).delete, plan.protected.len()), (1, 0));
}

#[test]
fn a_pending_first_build_is_deleted_after_its_end() {
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
