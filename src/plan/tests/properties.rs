//! Properties of all plans, whatever happened before and however far the run got.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::super::{Action, Pattern, PlanOptions};
use super::model::{COMPLETE, Done, Interference, Model, done, interference, lines};
use super::world::{Manifest, manifest, two_manifests};

/// Earlier runs and changes.
#[derive(Debug, Clone)]
pub(super) struct Past {
    applied: Vec<(Manifest, Vec<Done>, Vec<bool>, bool)>,
    interferences: Vec<(usize, Interference)>,
    days: i64,
    epoch: u8,
}

pub(super) fn past() -> impl Strategy<Value = (Past, Manifest)> {
    let round = (prop::collection::vec(done(), 24), prop::collection::vec(any::<bool>(), 8));
    let rounds = prop::collection::vec((round, any::<bool>()), 1..4);
    let interferences = prop::collection::vec((0usize..32, interference()), 0..4);
    let world = (two_manifests(), manifest());
    let time = (prop_oneof![2 => Just(0i64), 1 => 1i64..10], 0u8..2);
    (rounds, world, interferences, time).prop_map(
        |(rounds, world, interferences, (days, epoch))| {
            let ((before, after), other) = world;
            let manifests = [before, other].into_iter().cycle();
            let applied = rounds.into_iter().zip(manifests);
            let applied = applied
                .map(|(((done, rest), upgrade), manifest)| (manifest, done, rest, upgrade))
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect();
            (Past { applied, interferences, days, epoch }, after)
        },
    )
}

impl Past {
    /// Returns the same past without registry lookups.
    pub(super) fn unpinned(mut self) -> Self {
        self.applied.iter_mut().for_each(|(.., upgrade)| *upgrade = false);
        self
    }

    pub(super) fn model(&self) -> Model {
        let mut model = Model::default();
        for (manifest, done, rest, upgrade) in &self.applied {
            model.upgrade = *upgrade;
            let decision = model.decide(manifest, &PlanOptions::default());
            model.apply(&decision, |step| done.get(step).copied().unwrap_or(COMPLETE));
            model.end_running(rest);
        }
        model.upgrade = false;
        model.epoch = self.epoch;
        model.now += SignedDuration::from_hours(24 * self.days);
        model.interfere(&self.interferences);
        model
    }
}

pub(super) fn apply_all(model: &mut Model, manifest: &Manifest, options: &PlanOptions) {
    let decision = model.decide(manifest, options);
    model.apply(&decision, |_| COMPLETE);
}

/// Checks that nothing is left to do or to record.
fn assert_done(model: &Model, manifest: &Manifest, prune: bool) {
    let left = model.decide(manifest, &PlanOptions { prune, ..PlanOptions::default() });
    assert_eq!(lines(&left.plan), [""; 0]);
    assert_eq!(left.refreshed, []);
    assert_eq!(left.bookkeeping, []);
    assert_eq!(left.plan.unchanged.len(), left.workspace.units.len());
    // The lockfile matches the service.
    for unit in &left.workspace.units {
        let entry = &model.state.entries[&unit.key];
        let built = entry.built.as_ref().unwrap();
        let image = &model.images[&(built.owner.clone(), unit.key.clone())];
        assert_eq!(image.content, Some(built.fingerprint), "{}", unit.key);
        assert_eq!(image.visibility, built.visibility, "{}", unit.key);
    }
}

pub(super) fn replace() -> impl Strategy<Value = Vec<Pattern>> {
    let pattern = |name: u8| format!("u{name}").parse().unwrap();
    prop::collection::vec((0u8..8).prop_map(pattern), 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 4096, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_after_a_complete_apply_is_empty(
        (past, manifest) in past(),
        replace in replace(),
        prune in any::<bool>(),
        upgrade in any::<bool>(),
    ) {
        let mut model = past.model();
        model.upgrade = upgrade;
        apply_all(&mut model, &manifest, &PlanOptions { replace, prune, ..PlanOptions::default() });
        assert_done(&model, &manifest, prune);
        // Planning is deterministic.
        let again = |model: &Model| model.decide(&manifest, &PlanOptions::default()).plan;
        prop_assert_eq!(again(&model), again(&model));
    }

    /// However often a run is interrupted.
    #[test]
    fn the_next_runs_finish_a_plan(
        (past, manifest) in past(),
        replace in replace(),
        prune in any::<bool>(),
        rounds in prop::collection::vec(
            (prop::collection::vec(done(), 24), prop::collection::vec(any::<bool>(), 8)),
            1..4,
        ),
    ) {
        let mut model = past.model();
        model.completed.clear();
        let mut options = PlanOptions { replace, prune, ..PlanOptions::default() };
        for (done, rest) in rounds {
            let decision = model.decide(&manifest, &options);
            for step in &decision.plan.steps {
                if let Action::Create(make) = &step.action {
                    let built = model.completed.contains(&(step.key.clone(), make.fingerprint));
                    prop_assert!(!built, "{} is built twice", step.key);
                }
            }
            model.apply(&decision, |step| done.get(step).copied().unwrap_or(COMPLETE));
            model.end_running(&rest);
            options.replace.clear();
        }
        for _ in 0..2 {
            apply_all(&mut model, &manifest, &options);
        }
        assert_done(&model, &manifest, prune);
    }

    /// Without a refresh the lockfile counts, and drift shows in the next plan with one.
    #[test]
    fn drift_shows_after_a_plan_without_refresh(
        (past, manifest) in past(),
        done in prop::collection::vec(done(), 24),
    ) {
        let mut model = past.model();
        model.refresh = false;
        let decision = model.decide(&manifest, &PlanOptions::default());
        model.apply(&decision, |step| done.get(step).copied().unwrap_or(COMPLETE));
        model.refresh = true;
        model.now += SignedDuration::from_hours(1);
        for _ in 0..2 {
            apply_all(&mut model, &manifest, &PlanOptions::default());
        }
        assert_done(&model, &manifest, false);
    }

    #[test]
    fn the_order_of_a_manifest_does_not_matter(
        (past, manifest) in past(),
        shuffled in Just(()).prop_perturb(|(), mut rng| {
            (0..16).map(|_| rng.next_u32()).collect::<Vec<u32>>()
        }),
    ) {
        let model = past.model();
        let mut other = manifest.clone();
        let mut keys = shuffled.iter();
        other.likes.sort_by_cached_key(|_| *keys.next().unwrap());
        let options = PlanOptions::default();
        prop_assert_eq!(
            model.decide(&manifest, &options).plan,
            model.decide(&other, &options).plan
        );
    }
}
