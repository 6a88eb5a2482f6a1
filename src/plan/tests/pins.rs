//! Units that were made before their references had pins.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{Action, Decision, Facts, Plan, PlanOptions, Reason, build, decide, pins};
use super::model::{COMPLETE, Done, Model, done, lines, pin};
use super::properties::{past, whole};
use super::world::{build_of, built, mirrored, on, open, world};
use crate::base::name::Platform;
use crate::base::reference::OciDigest;
use crate::manifest::Workspace;
use crate::manifest::workspace::Unit;
use crate::state::{Pin, Record, State};

fn fresh(plan: &Plan) -> Result<(), TestCaseError> {
    for step in &plan.steps {
        prop_assert!(!matches!(step.action, Action::Create(_)), "{}: {:?}", step.key, step.reasons);
        let pinned = |reason: &Reason| {
            matches!(reason, Reason::BaseChanged { .. } | Reason::SourceChanged { .. })
        };
        prop_assert!(!step.reasons.iter().any(pinned));
    }
    Ok(())
}

proptest! {
    /// To pin what was made without pins makes nothing again, whatever of it is under way.
    #[test]
    fn what_was_made_without_pins_is_taken_for_made_with_them(
        (past, manifest) in past(),
        done in prop::collection::vec(done(), 24),
        all in any::<bool>(),
    ) {
        let mut model = past.unpinned().model();
        whole(&mut model, &manifest, &PlanOptions::default());
        if !all {
            let decision = model.decide(&manifest, &PlanOptions::default());
            model.apply(&decision, |step| done.get(step).copied().unwrap_or(COMPLETE));
        }
        let before = model.decide(&manifest, &PlanOptions::default());
        prop_assert!(before.plan.is_noop());
        model.upgrade = true;
        let after = model.decide(&manifest, &PlanOptions::default());
        fresh(&after.plan)?;
        // A plan that is declined keeps nothing.
        prop_assert!(after.refreshed.is_empty(), "{:?}", after.refreshed);
        model.apply(&after, |_| COMPLETE);
        let again = model.decide(&manifest, &PlanOptions::default());
        prop_assert!(again.plan.is_noop(), "{:?}", lines(&again.plan));
        prop_assert_eq!(again.bookkeeping, []);
        model.upgrade = false;
        let later = model.decide(&manifest, &PlanOptions::default());
        prop_assert!(later.plan.is_noop(), "{:?}", lines(&later.plan));
    }
}

fn decided(model: &Model, workspace: Workspace) -> Decision {
    let facts = model.facts(&workspace);
    decide(workspace, &facts, &model.state, &PlanOptions::default())
}

fn of(units: &dyn Fn() -> Vec<Unit>, model: &Model) -> Vec<String> {
    lines(&decided(model, world(units())).plan)
}

/// A model in which these were begun without pins, and come as far as is said.
fn begun(units: &dyn Fn() -> Vec<Unit>, done: Done) -> Model {
    let mut model = Model::default();
    let decision = decided(&model, world(units()));
    model.apply(&decision, |_| done);
    model
}

#[test]
fn what_is_under_way_is_waited_for_though_it_is_pinned_meanwhile() {
    let units = || vec![on("debian:12", built("a", "", &[])), mirrored("m", "redis:7")];
    let mut model = begun(&units, Done::Started);
    assert_eq!(
        of(&units, &model),
        ["adopt a:v1: a build is in progress", "adopt m:v1: a build is in progress"]
    );
    model.upgrade = true;
    assert_eq!(
        of(&units, &model),
        ["adopt a:v1: a build is in progress", "adopt m:v1: a build is in progress"]
    );
    let decision = decided(&model, world(units()));
    model.apply(&decision, |_| COMPLETE);
    assert_eq!(of(&units, &model), [""; 0]);
    // A request without an answer is still looked for, and is of just that.
    let mirror = || vec![mirrored("m", "redis:7")];
    let mut model = begun(&mirror, Done::Asked(true));
    model.upgrade = true;
    assert_eq!(of(&mirror, &model), ["adopt m:v1: a build is in progress"]);
}

#[test]
fn a_tag_of_the_content_stays_when_that_is_pinned_first() {
    let units = |words: &'static str| {
        move || {
            vec![
                open("c-{fingerprint}", on("debian:12", built("a", words, &[]))),
                built("b", "", &[0]),
            ]
        }
    };
    for done in [COMPLETE, Done::Started] {
        let mut model = begun(&units("one"), done);
        let tag = model.state.entries.keys().find(|key| key.name.as_str() == "a").unwrap().clone();
        model.upgrade = true;
        let decision = decided(&model, world(units("one")()));
        assert!(
            decision
                .plan
                .steps
                .iter()
                .all(|step| step.reasons != [Reason::New] || done != COMPLETE)
        );
        assert_eq!(decision.workspace.units[0].key, tag);
        model.apply(&decision, |_| COMPLETE);
        assert_eq!(of(&units("one"), &model), [""; 0]);
        // What changes otherwise gets a tag of its own, and leaves the old one.
        let told = of(&units("two"), &model);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].ends_with(": Dockerfile changed"), "{told:?}");
        assert!(!told[0].contains(&tag.to_string()) && told[2].contains(&tag.to_string()));
    }
}

#[test]
fn what_differs_otherwise_is_made_again_and_what_moved_is() {
    let units = |words: &'static str, image: &'static str| {
        move || vec![on(image, built("a", words, &[])), mirrored("m", "redis:7")]
    };
    let mut model = begun(&units("one", "debian:12"), COMPLETE);
    model.upgrade = true;
    assert_eq!(of(&units("one", "debian:12"), &model), [""; 0]);
    let told = of(&units("two", "debian:12"), &model);
    assert_eq!(told, ["build a:v1: Dockerfile changed"]);
    let decision = decided(&model, world(units("one", "debian:12")()));
    model.apply(&decision, |_| COMPLETE);
    model.epoch = 1;
    assert_eq!(of(&units("one", "debian:12"), &model).len(), 2, "both moved");
}

#[test]
fn a_build_of_something_else_that_runs_did_not_fail() {
    let units = |words: &'static str| move || vec![built("a", words, &[])];
    let model = begun(&units("one"), Done::Started);
    assert_eq!(of(&units("two"), &model), ["build a:v1: Dockerfile changed"]);
}

#[test]
fn a_source_is_the_same_however_it_is_written() {
    let mut model = begun(&|| vec![mirrored("m", "redis:7")], COMPLETE);
    let full = || vec![mirrored("m", "docker.io/library/redis:7")];
    assert_eq!(of(&full, &model), [""; 0]);
    model.upgrade = true;
    assert_eq!(of(&full, &model), [""; 0]);
    assert_eq!(of(&|| vec![mirrored("m", "redis:8")], &model).len(), 1);
}

#[test]
fn an_image_for_other_platforms_is_none_for_this_one() {
    let units = || vec![mirrored("m", "redis:7")];
    let mut model = Model::default();
    let reference = "docker.io/library/redis:7".to_owned();
    let pinned = pin(&reference, 0);
    let arm = Pin {
        platforms: BTreeMap::from([(Platform::Arm64, OciDigest::of(b"arm64"))]),
        ..pinned.clone()
    };
    assert_eq!(pinned.for_platform(Platform::Amd64), Some(pinned.digest));
    assert_eq!(arm.for_platform(Platform::Amd64), None);
    assert_eq!(arm.for_platform(Platform::Arm64), Some(OciDigest::of(b"arm64")));
    model.state.apply(&Record::Pinned { reference, pin: Some(arm) });
    let plan = decided(&model, world(units())).plan;
    let Action::Create(make) = &plan.steps[0].action else { panic!() };
    assert_eq!(make.inputs.get("digest"), None);
}
/// One reference stands for another image on each platform, and each place gets its own.
#[test]
fn a_base_is_held_to_the_platform_for_which_it_is_taken() {
    let digest = |text: &str| OciDigest::of(text.as_bytes());
    let platforms = [(Platform::Amd64, digest("amd64")), (Platform::Arm64, digest("arm64"))];
    let pin = Pin { digest: digest("all"), platforms: platforms.into() };
    let mut state = State::default();
    state.pins.insert("docker.io/library/golang:1".to_owned(), pin);
    let mut unit = built("app", "", &[]);
    for (at, taken) in [None, Some(Platform::Amd64), Some(Platform::Arm64)].into_iter().enumerate()
    {
        unit = on("golang:1", unit);
        let base = build_of(&mut unit).externals.last_mut().unwrap();
        (base.platform, base.range) = (taken, at..at);
    }
    unit.platform = Platform::Arm64;
    let workspace = world(vec![unit]);
    let plan = build(&workspace, &Facts::default(), &state, &PlanOptions::default());
    let Action::Create(make) = &plan.steps[0].action else { panic!("{:?}", plan.steps[0]) };
    let inputs = |key: &str| make.inputs.get(key).map(str::to_owned);
    assert_eq!(inputs("from golang:1"), Some(digest("arm64").to_string()));
    assert_eq!(inputs("from golang:1 on linux/amd64"), Some(digest("amd64").to_string()));
    assert_eq!(inputs("from golang:1 on any"), Some(digest("all").to_string()));
    let mut workspace = workspace;
    let unit = &mut workspace.units[0];
    let held = pins::pinned_bases(build_of(unit), Platform::Arm64, &make.inputs);
    let held: Vec<String> = held.into_iter().map(|(_, held)| held).collect();
    let expected =
        ["all", "amd64", "arm64"].map(|name| format!("docker.io/library/golang@{}", digest(name)));
    assert_eq!(held, expected);
    for key in ["from golang:1", "from golang:1 on linux/amd64", "from golang:1 on any"] {
        assert_eq!(pins::reference_of_input(key), Some("golang:1"));
    }
    assert_eq!(pins::reference_of_input("base golang:1"), None);
}

/// What nobody will start does not come back because it is pinned.
#[test]
fn a_build_that_a_plan_has_no_use_for_is_over() {
    let units = |path: &'static str| {
        move || {
            let mut unit = on("debian:12", built("a", "", &[]));
            build_of(&mut unit).dockerfile_inside = Some(path.to_owned());
            vec![unit]
        }
    };
    let mut model = begun(&units("Dockerfile"), Done::Uploaded);
    model.upgrade = true;
    let decision = decided(&model, world(units("other")()));
    assert!(matches!(decision.plan.steps[0].action, Action::Create(_)));
    model.apply(&decision, |_| Done::Not);
    let entry = model.state.entries.values().next().unwrap();
    assert!(entry.pending.is_none() && entry.failed.is_some(), "{entry:?}");
}
