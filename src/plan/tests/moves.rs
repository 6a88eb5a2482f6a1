//! Renames with `moved`, `removed`, tags with a fingerprint, and protection.

use super::super::facts::Facts;
use super::super::{Action, Decision, PlanOptions};
use super::model::{COMPLETE, Done, Model, check, lines};
use super::world::{built, mirrored, moving, open, removing, world};
use crate::base::name::{Owner, Platform, Visibility};
use crate::manifest::Workspace;
use crate::manifest::workspace::Unit;

const PRUNE: fn() -> PlanOptions = || PlanOptions { prune: true, ..PlanOptions::default() };

fn decide(model: &Model, workspace: Workspace, options: &PlanOptions) -> Decision {
    let facts = model.facts(&workspace);
    let decision = super::super::decide(workspace, &facts, &model.state, options);
    check(&decision, &model.state);
    decision
}

fn planned(model: &Model, workspace: Workspace) -> Vec<String> {
    lines(&decide(model, workspace, &PlanOptions::default()).plan)
}

fn apply(model: &mut Model, workspace: Workspace, options: &PlanOptions) {
    let decision = decide(model, workspace, options);
    model.apply(&decision, |_| COMPLETE);
}

fn begin(units: Vec<Unit>) -> Model {
    let mut model = Model::default();
    apply(&mut model, world(units), &PlanOptions::default());
    model
}

fn on_both(name: &str, tag: &str, words: &str) -> Vec<Unit> {
    let of = |platform: Platform| {
        let unit = built(&format!("{name}:{tag}-{}", platform.arch()), words, &[]);
        Unit { platform, ..unit }
    };
    Platform::ALL.map(of).into()
}

#[test]
fn each_platform_and_tag_moves_by_itself() {
    let both = begin(on_both("a", "v1", ""));
    let to = |tag, words| moving(&[("a", "b")], world(on_both("b", tag, words)));
    assert_eq!(
        planned(&both, to("v1", "")),
        ["update b:v1-amd64: was a:v1-amd64", "update b:v1-arm64: was a:v1-arm64"]
    );
    // A move of a name keeps the tags.
    let tags = planned(&both, to("v2", ""));
    assert!(tags[0] == "build b:v2-amd64: new" && tags[1] == "build b:v2-arm64: new", "{tags:?}");
    // A move of a single tag needs the same platform.
    let one = begin(vec![built("a:v1", "", &[])]);
    let arm = Unit { platform: Platform::Arm64, ..built("a:v2", "", &[]) };
    let renamed = |unit| moving(&[("a:v1", "a:v2")], world(vec![unit]));
    assert_eq!(planned(&one, renamed(built("a:v2", "", &[]))), ["update a:v2: was a:v1"]);
    assert_eq!(planned(&one, renamed(arm))[0], "build a:v2: new");
}

#[test]
fn a_rule_for_one_tag_comes_before_a_rule_for_the_name() {
    let model = begin(vec![built("a:v1", "", &[]), built("a:v2", "", &[])]);
    let units = || vec![built("b:v1", "", &[]), built("b:v2", "", &[]), built("c:v9", "", &[])];
    let rules = [("a:v1", "c:v9"), ("a", "b")];
    assert_eq!(
        planned(&model, moving(&rules, world(units()))),
        ["build b:v1: new", "update b:v2: was a:v2", "update c:v9: was a:v1"]
    );
    for gone in [[("a", true), ("a:v1", false)], [("a:v1", false), ("a", true)]] {
        assert_eq!(
            planned(&model, removing(&gone, world(Vec::new()))),
            [
                "forget a:v1: removed from the manifest, image kept",
                "delete a:v2: removed from the manifest"
            ]
        );
    }
}

#[test]
fn name_owner_and_visibility_change_together() {
    let mut model = begin(vec![built("a", "", &[])]);
    let unit = || Unit {
        visibility: Some(Visibility::Public),
        owner: Some(Owner::Team("t".to_owned())),
        protect: Some(true),
        ..built("b", "", &[])
    };
    let new = || moving(&[("a", "b")], world(vec![unit()]));
    assert_eq!(
        planned(&model, new()),
        ["update b:v1: was a:v1; visibility private -> public; owner personal -> team:t"]
    );
    // An interrupted run leaves no entry that hides the old name.
    let decision = decide(&model, new(), &PlanOptions::default());
    model.apply(&decision, |_| Done::Not);
    assert!(planned(&model, new())[0].starts_with("update b:v1: was a:v1"));
    apply(&mut model, new(), &PlanOptions::default());
    let left = decide(&model, new(), &PlanOptions::default());
    assert!(left.plan.is_noop() && left.bookkeeping.is_empty(), "{:?}", left.bookkeeping);
    assert!(model.state.entries[&"b:v1".parse().unwrap()].protect);
    // A rename that lifts the protection does not take it along.
    let bare = || Unit { protect: Some(false), ..built("c", "", &[]) };
    let last = || moving(&[("b", "c")], world(vec![bare()]));
    apply(&mut model, last(), &PlanOptions::default());
    assert!(!model.state.entries[&"c:v1".parse().unwrap()].protect);
    assert!(decide(&model, last(), &PlanOptions::default()).bookkeeping.is_empty());
}

/// A name that is protected before an image has it.
#[test]
fn protection_applies_to_a_later_image() {
    let mut model = begin(vec![built("a", "", &[])]);
    let protected = || Unit { protect: Some(true), ..built("b", "", &[]) };
    let decision = decide(&model, world(vec![protected()]), &PlanOptions::default());
    model.apply(&decision, |_| Done::Not);
    let new = || moving(&[("a", "b")], world(vec![built("b", "", &[])]));
    assert_eq!(planned(&model, new()), ["update b:v1: was a:v1"]);
    apply(&mut model, new(), &PlanOptions::default());
    assert!(model.state.entries[&"b:v1".parse().unwrap()].protect);
}

#[test]
fn a_moved_and_changed_image_is_built_before_the_old_one_is_deleted() {
    let mut model = begin(vec![built("a:v1", "", &[]), built("a:v2", "", &[])]);
    let words = |one: &str, two: &str| vec![built("b:v1", one, &[]), built("b:v2", two, &[])];
    let new = |units| moving(&[("a", "b")], world(units));
    let plan = decide(&model, new(words("", "new")), &PRUNE()).plan;
    assert_eq!(
        lines(&plan),
        [
            "update b:v1: was a:v1",
            "build b:v2: Dockerfile changed; was a:v2",
            "delete a:v2: replaced by b:v2"
        ]
    );
    assert_eq!(plan.steps[2].needs, [super::super::StepId(1)]);
    // Without an equal tag, all possible successors come first.
    let other = vec![built("b:v3", "", &[]), built("b:v4", "", &[])];
    let plan = decide(&model, new(other), &PRUNE()).plan;
    assert_eq!(plan.steps[3].needs.len(), 2, "{:?}", lines(&plan));
    apply(&mut model, new(words("", "new")), &PRUNE());
    assert_eq!(planned(&model, new(words("", "new"))), [""; 0]);
}

fn tagged(words: &str) -> Vec<Unit> {
    vec![open("{fingerprint}", built("a", words, &[])), built("b", "", &[0])]
}

#[test]
fn a_content_tag_changes_with_the_content_and_nothing_else() {
    let mut model = begin(tagged("one"));
    let first = model.state.entries.keys().next().unwrap().clone();
    let public = || {
        let mut units = tagged("one");
        units[0].visibility = Some(Visibility::Public);
        units
    };
    assert_eq!(
        planned(&model, world(public())),
        [format!("update {first}: visibility private -> public")]
    );
    let plan = decide(&model, world(tagged("two")), &PRUNE()).plan;
    let new = &plan.steps[0].key;
    assert_eq!(
        lines(&plan),
        [
            format!("build {new}: Dockerfile changed"),
            format!("build b:v1: its base {new} changes"),
            format!("delete {first}: replaced by {new}"),
        ]
    );
    assert_eq!(plan.steps[2].needs, [super::super::StepId(0)]);
    // The old image is not deleted if the new one is not built.
    let decision = decide(&model, world(tagged("two")), &PRUNE());
    model.apply(&decision, |step| if step == 0 { Done::Started } else { COMPLETE });
    assert!(model.state.entries[&first].built.is_some());
    // The earlier content still exists.
    let back = planned(&model, world(tagged("one")));
    assert_eq!(back, [format!("forget {new}: replaced by {first}, image kept")]);
    apply(&mut model, world(tagged("two")), &PRUNE());
    assert_eq!(planned(&model, world(tagged("two"))), [""; 0]);
    assert!(!model.state.entries.contains_key(&first));
}

/// A forced rebuild has a new tag, whatever happened to an earlier attempt.
#[test]
fn a_content_tag_changes_with_a_forced_rebuild() {
    let again = || PlanOptions { replace: vec!["a".parse().unwrap()], ..PlanOptions::default() };
    let mut model = begin(tagged("one"));
    for done in [Done::Not, Done::Ended(crate::state::BuildOutcome::Failed), Done::Uploaded] {
        let decision = decide(&model, world(tagged("one")), &again());
        let plan = &decision.plan;
        assert_eq!(plan.counts(None).create, 1, "{:?}", lines(plan));
        assert_eq!(plan.counts(None).rebuild, 1, "its dependent: {:?}", lines(plan));
        model.apply(&decision, |_| done);
    }
    apply(&mut model, world(tagged("one")), &again());
    assert_eq!(planned(&model, world(tagged("one"))), [""; 0]);
    assert_eq!(model.state.entries.len(), 2);
}

/// A fixed tag may look like a fingerprint.
#[test]
fn a_fixed_tag_is_never_another_units_content() {
    let fixed = || built("a:0123456789ab", "one", &[]);
    let model = begin(vec![fixed()]);
    let both = || vec![fixed(), open("{fingerprint}", built("a", "one", &[]))];
    let plan = planned(&model, world(both()));
    assert!(plan.len() == 1 && plan[0].ends_with(": new"), "{plan:?}");
}

#[test]
fn a_protected_image_is_only_dropped_on_request() {
    let protected = Unit { protect: Some(true), ..built("a", "", &[]) };
    let model = begin(vec![protected]);
    let gone = |removed: &[(&str, bool)]| {
        let plan = decide(&model, removing(removed, world(Vec::new())), &PRUNE()).plan;
        (lines(&plan), plan.protected.len())
    };
    assert_eq!(gone(&[]), (Vec::new(), 1));
    assert_eq!(gone(&[("a", true)]), (Vec::new(), 1));
    let forget = "forget a:v1: removed from the manifest, image kept".to_owned();
    assert_eq!(gone(&[("a", false)]), (vec![forget], 0));
    // Removing `protect` from the manifest does not lift the protection; `protect: false` does.
    let with = |protect| world(vec![Unit { protect, ..built("a", "", &[]) }]);
    assert!(decide(&model, with(None), &PlanOptions::default()).bookkeeping.is_empty());
    assert_eq!(decide(&model, with(Some(false)), &PlanOptions::default()).bookkeeping.len(), 1);
}

/// The image of a pending build is protected, too.
#[test]
fn a_protected_pending_build_is_kept() {
    let protected = || vec![Unit { protect: Some(true), ..built("a", "", &[]) }];
    for (done, kept) in [(Done::Started, true), (Done::Created, false)] {
        let mut model = Model::default();
        let decision = decide(&model, world(protected()), &PlanOptions::default());
        model.apply(&decision, |_| done);
        let plan = decide(&model, world(Vec::new()), &PRUNE()).plan;
        assert_eq!((plan.is_noop(), plan.protected.len()), (kept, usize::from(kept)));
    }
}

/// Old tags of a protected image accumulate until the protection is lifted.
#[test]
fn old_tags_are_protected_until_the_protection_is_lifted() {
    let of = |words: &str, protect| {
        let unit = open("{fingerprint}", built("a", words, &[]));
        world(vec![Unit { protect, ..unit }])
    };
    let mut model = Model::default();
    for words in ["one", "two"] {
        apply(&mut model, of(words, Some(true)), &PRUNE());
    }
    let counts = |protect| {
        let plan = decide(&model, of("two", protect), &PRUNE()).plan;
        (plan.counts(None).delete, plan.protected.len())
    };
    assert_eq!(counts(Some(true)), (0, 1));
    assert_eq!(counts(None), (0, 1));
    assert_eq!(counts(Some(false)), (1, 0));
}

/// A transfer in doubt may still create an image.
#[test]
fn a_unit_in_doubt_is_not_dropped() {
    let mut model = Model::default();
    let mirror = || world(vec![mirrored("a", "ghcr.io/org/redis:7")]);
    let decision = decide(&model, mirror(), &PlanOptions::default());
    model.apply(&decision, |_| Done::Lost(true));
    let silent = |minutes: i64| {
        let later = model.now + jiff::SignedDuration::from_mins(minutes);
        let facts = Facts { now: Some(later), ..Facts::default() };
        lines(&super::super::decide(world(Vec::new()), &facts, &model.state, &PRUNE()).plan)
    };
    assert_eq!(silent(5), [""; 0]);
    assert_eq!(silent(20), ["forget a:v1: removed from the manifest, image kept"]);
    // If the service has the build, the step waits for its end, and then deletes the image if
    // requested.
    let plan = decide(&model, world(Vec::new()), &PRUNE()).plan;
    assert!(matches!(&plan.steps[0].action, Action::Delete { after: Some(_), .. }));
    let plan = decide(&model, world(Vec::new()), &PlanOptions::default()).plan;
    assert!(matches!(&plan.steps[0].action, Action::Forget { after: Some(_) }));
}

/// Nothing is known about images that were not refreshed.
#[test]
fn an_image_that_was_not_refreshed_is_not_missing() {
    let units = || vec![built("a", "", &[]), built("b", "", &[])];
    let mut model = begin(units());
    model.images.clear();
    let plan = |only: Option<&str>| {
        let mut facts = model.facts(&world(units()));
        facts.refreshed = only.map(|only| [only.parse().unwrap()].into());
        lines(
            &super::super::decide(world(units()), &facts, &model.state, &PlanOptions::default())
                .plan,
        )
    };
    assert_eq!(plan(None).len(), 2);
    assert_eq!(plan(Some("a:v1")), ["build a:v1: missing from the service"]);
}
