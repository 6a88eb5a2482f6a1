//! Units that were made before their references had pins.

use proptest::prelude::*;

use super::super::facts::Facts;
use super::super::{Action, Options, Reason, build, pins};
use super::model::{COMPLETE, done};
use super::properties::{past, whole};
use super::world::{build_of, built, on, world};
use crate::base::name::Platform;
use crate::base::reference::OciDigest;
use crate::state::{Pin, State};

proptest! {
    /// To pin what was made without pins makes nothing again.
    #[test]
    fn what_was_made_without_pins_is_taken_for_made_with_them(
        (past, manifest) in past(),
        done in prop::collection::vec(done(), 24),
        all in any::<bool>(),
    ) {
        let mut model = past.model();
        model.upgrade = false;
        model.state.pins.clear();
        model.state.entries.retain(|_, entry| {
            let built = entry.built.as_ref().map(|built| &built.inputs);
            let pending = entry.pending.as_ref().map(|pending| &pending.inputs);
            let mut keys = built.into_iter().chain(pending).flat_map(|inputs| inputs.0.keys());
            !keys.any(|key| key == "digest" || key.starts_with("from "))
        });
        whole(&mut model, &manifest, &Options::default());
        if !all {
            let decision = model.decide(&manifest, &Options::default());
            model.apply(&decision, |step| done.get(step).copied().unwrap_or(COMPLETE));
        }
        let before = model.decide(&manifest, &Options::default());
        prop_assert!(before.plan.is_noop());
        // Pins that nothing was ever made with.
        (model.upgrade, model.epoch) = (true, 9);
        let workspace = manifest.workspace();
        let records = pins::adopted(&workspace, &model.facts(&workspace), &model.state);
        for record in &records {
            model.state.apply(record);
        }
        let after = model.decide(&manifest, &Options::default());
        for step in &after.plan.steps {
            prop_assert!(!matches!(step.action, Action::Make(_)), "{}: {:?}", step.key, step.reasons);
            let pinned = |reason: &Reason| matches!(reason, Reason::BaseChanged { .. });
            prop_assert!(!step.reasons.iter().any(pinned));
        }
        // The tags that hold a fingerprint are put right, and that is all.
        model.apply(&after, |_| COMPLETE);
        prop_assert!(model.decide(&manifest, &Options::default()).plan.is_noop());
        // Once more changes nothing.
        let again = pins::adopted(&workspace, &model.facts(&workspace), &model.state);
        prop_assert_eq!(again, []);
    }
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
    let plan = build(&workspace, &Facts::default(), &state, &Options::default());
    let Action::Make(make) = &plan.steps[0].action else { panic!("{:?}", plan.steps[0]) };
    let inputs = |key: &str| make.inputs.get(key).map(str::to_owned);
    assert_eq!(inputs("from golang:1"), Some(digest("arm64").to_string()));
    assert_eq!(inputs("from golang:1 on linux/amd64"), Some(digest("amd64").to_string()));
    assert_eq!(inputs("from golang:1 on any"), Some(digest("all").to_string()));
    let mut workspace = workspace;
    let unit = &mut workspace.units[0];
    let held = pins::held_bases(build_of(unit), Platform::Arm64, &make.inputs);
    let held: Vec<String> = held.into_iter().map(|(_, held)| held).collect();
    let expected =
        ["all", "amd64", "arm64"].map(|name| format!("docker.io/library/golang@{}", digest(name)));
    assert_eq!(held, expected);
    for key in ["from golang:1", "from golang:1 on linux/amd64", "from golang:1 on any"] {
        assert_eq!(pins::from_reference(key), Some("golang:1"));
    }
    assert_eq!(pins::from_reference("base golang:1"), None);
}
