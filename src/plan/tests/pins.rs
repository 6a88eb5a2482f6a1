//! Units that were made before their references had pins.

use proptest::prelude::*;

use super::super::{Action, Options, Reason, pins};
use super::model::{COMPLETE, done};
use super::properties::{past, whole};

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
