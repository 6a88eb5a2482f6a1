//! Partial plans.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::{Pattern, Plan, PlanOptions, Selection, Step};
use super::model::{COMPLETE, Done, Model, lines};
use super::properties::{apply_all, past, replace};
use super::world::{built, open, world};
use crate::base::name::ImageRef;
use crate::manifest::Workspace;
use crate::manifest::workspace::UnitId;

fn patterns(names: &[u8]) -> Vec<Pattern> {
    names.iter().map(|name| format!("u{name}").parse().unwrap()).collect()
}

fn selected(workspace: &Workspace, selection: &Selection) -> BTreeSet<UnitId> {
    let mut excluded = BTreeSet::new();
    for (index, unit) in workspace.units.iter().enumerate() {
        let named = selection.excludes.iter().any(|pattern| pattern.matches(unit));
        if named || unit.needs.iter().any(|need| excluded.contains(need)) {
            excluded.insert(UnitId(index));
        }
    }
    let targeted = |id: &UnitId| {
        let unit = workspace.unit(*id);
        let named = selection.targets.iter().any(|pattern| pattern.matches(unit));
        (selection.targets.is_empty() || named) && !excluded.contains(id)
    };
    (0..workspace.units.len()).map(UnitId).filter(targeted).collect()
}

fn by_key<'p>(plan: &'p Plan) -> impl Fn(&ImageRef) -> Option<&'p Step> {
    |key| plan.steps.iter().find(|step| step.key == *key)
}

proptest! {
    #[test]
    fn a_partial_plan_has_the_selected_units_and_their_needs(
        (past, manifest) in past(),
        replace in replace(),
        prune in any::<bool>(),
        (targets, excludes) in (
            prop::collection::vec(0u8..8, 0..4),
            prop::collection::vec(0u8..8, 0..2),
        ),
    ) {
        let model = past.model();
        let all = PlanOptions { replace, prune, ..PlanOptions::default() };
        let selection = Selection {
            targets: patterns(&targets),
            excludes: patterns(&excludes),
            ..Selection::default()
        };
        let some = PlanOptions { selection: selection.clone(), ..all.clone() };
        let full = model.decide(&manifest, &all);
        let part = model.decide(&manifest, &some);
        // The refresh does not depend on the selection: a build that was not started is not ended
        // because the plan leaves it out.
        prop_assert_eq!(&part.refreshed, &full.refreshed);
        let of_full = by_key(&full.plan);
        let wanted = selected(&part.workspace, &selection);
        for step in &part.plan.steps {
            let same = of_full(&step.key).expect("the full plan has it");
            prop_assert_eq!((&same.action, &same.reasons), (&step.action, &step.reasons));
            let keys = |plan: &Plan, step: &Step| -> Vec<ImageRef> {
                step.needs.iter().map(|need| plan.steps[need.0].key.clone()).collect()
            };
            prop_assert_eq!(keys(&full.plan, same), keys(&part.plan, step), "the same needs");
            let added = step.unit().is_some_and(|unit| !wanted.contains(&unit));
            prop_assert_eq!(step.added, added, "{}", step.key);
            let excluded = |pattern: &Pattern| match step.unit() {
                Some(unit) => pattern.matches(part.workspace.unit(unit)),
                None => pattern.matches_key(&step.key),
            };
            prop_assert!(!selection.excludes.iter().any(excluded), "{} is excluded", step.key);
        }
        let of_part = by_key(&part.plan);
        let mut added = BTreeSet::new();
        for step in &full.plan.steps {
            let is_wanted = step.unit().is_some_and(|unit| wanted.contains(&unit));
            prop_assert!(!is_wanted || of_part(&step.key).is_some(), "{} is left out", step.key);
        }
        for step in &part.plan.steps {
            added.extend(step.needs.iter().map(|need| part.plan.steps[need.0].key.clone()));
        }
        for step in part.plan.steps.iter().filter(|step| step.added) {
            prop_assert!(added.contains(&step.key), "nothing needs {}", step.key);
        }
        if !selection.is_all() {
            let partial = part.plan.partial.unwrap();
            prop_assert_eq!(partial.left, full.plan.steps.len() - part.plan.steps.len());
            prop_assert_eq!(partial.selected, wanted.len());
            let changed = wanted
                .iter()
                .filter(|id| full.plan.steps.iter().any(|step| step.unit() == Some(**id)));
            prop_assert_eq!(part.plan.unchanged.len(), wanted.len() - changed.count());
        }
    }

    #[test]
    fn a_partial_apply_and_a_full_one_give_the_same_result(
        (past, manifest) in past(),
        prune in any::<bool>(),
        targets in prop::collection::vec(0u8..8, 1..4),
    ) {
        let mut at_once = past.model();
        let mut in_two = at_once.clone();
        let all = PlanOptions { prune, ..PlanOptions::default() };
        let selection = Selection { targets: patterns(&targets), ..Selection::default() };
        let some = PlanOptions { selection, ..all.clone() };
        apply_all(&mut at_once, &manifest, &all);
        apply_all(&mut in_two, &manifest, &some);
        apply_all(&mut in_two, &manifest, &all);
        prop_assert_eq!(at_once.recorded_content(), in_two.recorded_content());
        prop_assert_eq!(&at_once.state.pins, &in_two.state.pins);
        let images = |model: &Model| -> Vec<String> {
            let images = model.images.iter();
            images.map(|(key, image)| format!("{key:?} {:?} {}", image.content, image.visibility)).collect()
        };
        prop_assert_eq!(images(&at_once), images(&in_two));
    }
}

#[test]
fn an_old_tag_is_deleted_with_the_unit_that_replaces_it() {
    let units =
        |words: &str| vec![open("{fingerprint}", built("a", words, &[])), built("b", words, &[])];
    let mut model = Model::default();
    let mut plan = |words: &str, target: &str, done: Option<Done>| {
        let targets = vec![target.parse().unwrap()];
        let selection = Selection { targets, ..Selection::default() };
        let options = PlanOptions { prune: true, selection, ..PlanOptions::default() };
        let facts = model.facts(&world(Vec::new()));
        let decision = super::super::decide(world(units(words)), &facts, &model.state, &options);
        if let Some(done) = done {
            model.apply(&decision, |_| done);
        }
        lines(&decision.plan).iter().map(|line| line[..8].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(plan("one", "*", Some(COMPLETE)), ["build a:", "build b:"]);
    assert_eq!(plan("two", "b", None), ["build b:"]);
    assert_eq!(plan("two", "a", None), ["build a:", "delete a"]);
    assert_eq!(plan("two", "a", Some(COMPLETE)), ["build a:", "delete a"]);
    assert_eq!(plan("two", "*", None), ["build b:"]);
}

/// The labels of an orphan are not known.
#[test]
fn an_orphan_is_left_out_if_a_label_is_excluded() {
    let mut model = Model::default();
    let facts = model.facts(&world(Vec::new()));
    let both = || world(vec![built("a", "", &[]), built("b", "", &[])]);
    let decision = super::super::decide(both(), &facts, &model.state, &PlanOptions::default());
    model.apply(&decision, |_| COMPLETE);
    let plan = |exclude: &str| {
        let excludes = vec![exclude.parse().unwrap()];
        let selection = Selection { excludes, ..Selection::default() };
        let options = PlanOptions { prune: true, selection, ..PlanOptions::default() };
        let facts = model.facts(&world(Vec::new()));
        let plan = super::super::decide(world(Vec::new()), &facts, &model.state, &options).plan;
        (plan.steps.len(), plan.partial.unwrap().left)
    };
    assert_eq!(plan("a"), (1, 1));
    assert_eq!(plan("team=core"), (0, 2));
}
