//! Units that were built before their references had pins.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{
    Action, Decision, Facts, Plan, PlanOptions, Reason, build::build, decide, pins,
};
use super::model::{COMPLETE, Done, Model, done, lines, pin};
use super::properties::{apply_all, past};
use super::world::{build_of, built, mirrored, on, open, world};
use crate::base::name::Platform;
use crate::base::reference::OciDigest;
use crate::manifest::Workspace;
use crate::manifest::workspace::Unit;
use crate::state::{Pin, Record, State};

fn check_no_rebuild(plan: &Plan) -> Result<(), TestCaseError> {
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
    /// Pinning for the first time triggers no rebuild, whatever is pending.
    #[test]
    fn first_pins_are_adopted(
        (past, manifest) in past(),
        done in prop::collection::vec(done(), 24),
        all in any::<bool>(),
    ) {
        let mut model = past.unpinned().model();
        apply_all(&mut model, &manifest, &PlanOptions::default());
        if !all {
            let decision = model.decide(&manifest, &PlanOptions::default());
            model.apply(&decision, |step| done.get(step).copied().unwrap_or(COMPLETE));
        }
        let before = model.decide(&manifest, &PlanOptions::default());
        prop_assert!(before.plan.is_noop());
        model.upgrade = true;
        let after = model.decide(&manifest, &PlanOptions::default());
        check_no_rebuild(&after.plan)?;
        // A plan that is declined records no pin.
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

fn planned(units: &dyn Fn() -> Vec<Unit>, model: &Model) -> Vec<String> {
    lines(&decided(model, world(units())).plan)
}

/// Returns a model in which a run without pins got this far.
fn built_without_pins(units: &dyn Fn() -> Vec<Unit>, done: Done) -> Model {
    let mut model = Model::default();
    let decision = decided(&model, world(units()));
    model.apply(&decision, |_| done);
    model
}

#[test]
fn a_pending_build_is_adopted_after_its_first_pin() {
    let units = || vec![on("debian:12", built("a", "", &[])), mirrored("m", "redis:7")];
    let mut model = built_without_pins(&units, Done::Started);
    assert_eq!(
        planned(&units, &model),
        ["adopt a:v1: a build is in progress", "adopt m:v1: a build is in progress"]
    );
    model.upgrade = true;
    assert_eq!(
        planned(&units, &model),
        ["adopt a:v1: a build is in progress", "adopt m:v1: a build is in progress"]
    );
    let decision = decided(&model, world(units()));
    model.apply(&decision, |_| COMPLETE);
    assert_eq!(planned(&units, &model), [""; 0]);
    // A request in doubt is still recovered as a build of the same inputs.
    let mirror = || vec![mirrored("m", "redis:7")];
    let mut model = built_without_pins(&mirror, Done::Lost(true));
    model.upgrade = true;
    assert_eq!(planned(&mirror, &model), ["adopt m:v1: a build is in progress"]);
}

#[test]
fn a_content_tag_is_kept_on_the_first_pin() {
    let units = |words: &'static str| {
        move || {
            vec![
                open("c-{fingerprint}", on("debian:12", built("a", words, &[]))),
                built("b", "", &[0]),
            ]
        }
    };
    for done in [COMPLETE, Done::Started] {
        let mut model = built_without_pins(&units("one"), done);
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
        assert_eq!(planned(&units("one"), &model), [""; 0]);
        // Another change gives a new tag and leaves the old one.
        let lines = planned(&units("two"), &model);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].ends_with(": Dockerfile changed"), "{lines:?}");
        assert!(!lines[0].contains(&tag.to_string()) && lines[2].contains(&tag.to_string()));
    }
}

#[test]
fn other_changes_and_moved_pins_rebuild() {
    let units = |words: &'static str, image: &'static str| {
        move || vec![on(image, built("a", words, &[])), mirrored("m", "redis:7")]
    };
    let mut model = built_without_pins(&units("one", "debian:12"), COMPLETE);
    model.upgrade = true;
    assert_eq!(planned(&units("one", "debian:12"), &model), [""; 0]);
    let lines = planned(&units("two", "debian:12"), &model);
    assert_eq!(lines, ["build a:v1: Dockerfile changed"]);
    let decision = decided(&model, world(units("one", "debian:12")()));
    model.apply(&decision, |_| COMPLETE);
    model.epoch = 1;
    assert_eq!(planned(&units("one", "debian:12"), &model).len(), 2, "both moved");
}

#[test]
fn a_running_build_of_other_inputs_has_not_failed() {
    let units = |words: &'static str| move || vec![built("a", words, &[])];
    let model = built_without_pins(&units("one"), Done::Started);
    assert_eq!(planned(&units("two"), &model), ["build a:v1: Dockerfile changed"]);
}

#[test]
fn all_spellings_of_a_source_are_the_same() {
    let mut model = built_without_pins(&|| vec![mirrored("m", "redis:7")], COMPLETE);
    let full = || vec![mirrored("m", "docker.io/library/redis:7")];
    assert_eq!(planned(&full, &model), [""; 0]);
    model.upgrade = true;
    assert_eq!(planned(&full, &model), [""; 0]);
    assert_eq!(planned(&|| vec![mirrored("m", "redis:8")], &model).len(), 1);
}

#[test]
fn an_image_for_other_platforms_does_not_count() {
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

/// A reference has another image for each platform, and each use gets that of its own platform.
#[test]
fn a_base_is_pinned_to_the_image_of_its_platform() {
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
    let pinned = pins::pinned_bases(build_of(unit), Platform::Arm64, &make.inputs);
    let references: Vec<String> = pinned.into_iter().map(|(_, text)| text).collect();
    let expected =
        ["all", "amd64", "arm64"].map(|name| format!("docker.io/library/golang@{}", digest(name)));
    assert_eq!(references, expected);
    for key in ["from golang:1", "from golang:1 on linux/amd64", "from golang:1 on any"] {
        assert_eq!(pins::reference_of_input(key), Some("golang:1"));
    }
    assert_eq!(pins::reference_of_input("base golang:1"), None);
}

/// A build that nobody will start is not revived by a first pin.
#[test]
fn a_build_that_the_plan_does_not_adopt_ends() {
    let units = |path: &'static str| {
        move || {
            let mut unit = on("debian:12", built("a", "", &[]));
            build_of(&mut unit).dockerfile_inside = Some(path.to_owned());
            vec![unit]
        }
    };
    let mut model = built_without_pins(&units("Dockerfile"), Done::Uploaded);
    model.upgrade = true;
    let decision = decided(&model, world(units("other")()));
    assert!(matches!(decision.plan.steps[0].action, Action::Create(_)));
    model.apply(&decision, |_| Done::Not);
    let entry = model.state.entries.values().next().unwrap();
    assert!(entry.pending.is_none() && entry.failed.is_some(), "{entry:?}");
}
