//! Units that were made before their references had pins.

use proptest::prelude::*;

use super::super::{Action, Options, Reason, pins};
use super::model::{COMPLETE, done};
use super::properties::{past, whole};
use super::world::Tagged;

proptest! {
    /// To pin what was made without pins makes nothing again.
    #[test]
    fn what_was_made_without_pins_is_taken_for_made_with_them(
        (past, manifest) in past(),
        done in prop::collection::vec(done(), 24),
        all in any::<bool>(),
    ) {
        let mut manifest = manifest;
        // A tag that holds the content's digest cannot stay where that holds the pins.
        manifest.likes.iter_mut().for_each(|like| like.tag = Tagged::V1);
        let mut model = past.model();
        model.upgrade = false;
        model.state.pins.clear();
        whole(&mut model, &manifest, &Options::default());
        if !all {
            let decision = model.decide(&manifest, &Options::default());
            model.apply(&decision, |step| done.get(step).copied().unwrap_or(COMPLETE));
        }
        let before = model.decide(&manifest, &Options::default());
        prop_assert!(before.plan.is_noop());
        model.upgrade = true;
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
        // Once more changes nothing.
        let again = pins::adopted(&workspace, &model.facts(&workspace), &model.state);
        prop_assert_eq!(again, []);
    }
}
