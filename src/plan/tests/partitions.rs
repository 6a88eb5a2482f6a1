//! Partitions.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::members::Members;
use super::super::{Action, Partition, Pattern, PlanOptions, Selection, decide};
use super::model::{COMPLETE, Model, lines};
use super::properties::{apply_all, past, replace};
use super::world::{built, moving, on, world};
use crate::base::name::ImageRef;
use crate::manifest::Workspace;
use crate::manifest::workspace::{Unit, UnitId};

/// Returns the trunk and all parts of one kind.
fn parts(kind: &str, count: u32) -> Vec<Partition> {
    let parts = (1..=count).map(|part| format!("{kind}:{part}/{count}"));
    ["trunk".to_owned()].into_iter().chain(parts).map(|text| text.parse().unwrap()).collect()
}

fn of_part(partition: Partition, selection: &Selection) -> Selection {
    Selection { partition: Some(partition), ..selection.clone() }
}

fn patterns(names: &[u8]) -> Vec<Pattern> {
    names.iter().map(|name| format!("u{name}").parse().unwrap()).collect()
}

/// Returns the units of a selection with the bases that they need, at any depth.
fn with_bases(workspace: &Workspace, selection: &Selection) -> Vec<UnitId> {
    let mut units = Members::new(workspace, selection).units;
    for index in (0..workspace.units.len()).rev() {
        if units.contains(&UnitId(index)) {
            units.extend(workspace.units[index].needs.iter().copied());
        }
    }
    let mut units: Vec<UnitId> = units.into_iter().collect();
    units.sort_unstable();
    units
}

fn kind() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("hash"), Just("slice")]
}

proptest! {
    #[test]
    fn the_parts_have_each_target_once(
        (past, manifest) in past(),
        prune in any::<bool>(),
        kind in kind(),
        count in 1_u32..6,
        (targets, excludes) in (
            prop::collection::vec(0u8..8, 0..4),
            prop::collection::vec(0u8..8, 0..2),
        ),
    ) {
        let model = past.unpinned().model();
        let selection = Selection {
            targets: patterns(&targets),
            excludes: patterns(&excludes),
            ..Selection::default()
        };
        let options = |selection| PlanOptions { prune, selection, ..PlanOptions::default() };
        let whole = model.decide(&manifest, &options(selection.clone()));
        let mut units = Vec::new();
        let mut steps: BTreeMap<ImageRef, usize> = BTreeMap::new();
        for partition in parts(kind, count) {
            let selection = of_part(partition, &selection);
            let members = Members::new(&whole.workspace, &selection);
            // The digests in tags do not change which part has a unit.
            let unresolved = manifest.workspace();
            prop_assert_eq!(&members.units, &Members::new(&unresolved, &selection).units);
            units.extend(members.units.iter().copied());
            for key in model.state.entries.keys().filter(|key| members.has_orphan(key)) {
                if whole.workspace.units.iter().all(|unit| unit.key != *key) {
                    *steps.entry(key.clone()).or_default() += 1;
                }
            }
            let part = model.decide(&manifest, &options(selection.clone()));
            let blocked = part.plan.blocked.iter().map(|blocked| &blocked.unit);
            let planned = part.plan.steps.iter().filter(|step| step.unit().is_some());
            for key in planned.map(|step| &step.key).chain(blocked) {
                *steps.entry(key.clone()).or_default() += 1;
            }
            prop_assert_eq!(part.plan.partial.unwrap().selected, members.units.len());
        }
        units.sort_unstable();
        prop_assert_eq!(units, with_bases(&whole.workspace, &selection));
        for step in &whole.plan.steps {
            prop_assert_eq!(steps.get(&step.key), Some(&1), "{}", step.key);
        }
        prop_assert!(steps.values().all(|times| *times == 1), "{:?}", steps);
    }

    #[test]
    fn the_trunk_and_then_the_parts_do_what_a_whole_apply_does(
        (past, manifest) in past(),
        replace in replace(),
        prune in any::<bool>(),
        kind in kind(),
        count in 1_u32..5,
        backwards in any::<bool>(),
    ) {
        let mut at_once = past.unpinned().model();
        let mut in_parts = at_once.clone();
        let all = PlanOptions { replace, prune, ..PlanOptions::default() };
        apply_all(&mut at_once, &manifest, &all);
        let mut parts = parts(kind, count);
        if backwards {
            parts[1..].reverse();
        }
        for partition in parts {
            let selection = of_part(partition, &Selection::default());
            let options = PlanOptions { selection, ..all.clone() };
            let decision = in_parts.decide(&manifest, &options);
            prop_assert_eq!(&decision.plan.blocked, &[], "the trunk was applied first");
            in_parts.apply(&decision, |_| COMPLETE);
            let again = PlanOptions { replace: Vec::new(), ..options };
            prop_assert_eq!(lines(&in_parts.decide(&manifest, &again).plan), [""; 0]);
        }
        let built = |model: &Model| {
            let mut built = model.completed.clone();
            built.sort_unstable();
            built
        };
        prop_assert_eq!(built(&at_once), built(&in_parts), "each is built as often");
        // Of several units that replace one orphan, another part may have the last one.
        apply_all(&mut in_parts, &manifest, &PlanOptions { prune, ..PlanOptions::default() });
        prop_assert_eq!(at_once.recorded_content(), in_parts.recorded_content());
        prop_assert_eq!(built(&at_once), built(&in_parts));
    }
}

/// Decides with a state in which the units of `before` are built.
fn plan(before: Vec<Unit>, after: Workspace, options: &PlanOptions) -> super::super::Decision {
    let mut model = Model::default();
    let facts = model.facts(&world(Vec::new()));
    let decision = decide(world(before), &facts, &model.state, &PlanOptions::default());
    model.apply(&decision, |_| COMPLETE);
    let facts = model.facts(&after);
    decide(after, &facts, &model.state, options)
}

fn options(partition: &str, targets: &[&str]) -> PlanOptions {
    let targets = targets.iter().map(|target| target.parse().unwrap()).collect();
    let partition = Some(partition.parse().unwrap());
    let selection = Selection { targets, partition, ..Selection::default() };
    PlanOptions { selection, ..PlanOptions::default() }
}

/// A chain of two bases, and two units on each.
fn tree(words: &str) -> Vec<Unit> {
    vec![
        built("low", words, &[]),
        built("mid", "", &[0]),
        built("a", "", &[0]),
        built("b", "", &[1]),
        built("c", "", &[]),
    ]
}

#[test]
fn a_target_is_blocked_by_its_base_and_the_trunk_has_the_bases() {
    let decided = |partition: &str, targets: &[&str]| {
        let plan = plan(tree("old"), world(tree("new")), &options(partition, targets)).plan;
        let blocked = plan.blocked.iter().map(|it| format!("{} waits for {}", it.unit, it.base));
        let steps = plan.steps.iter().map(|step| format!("{} {}", step.key, step.added));
        (steps.chain(blocked).collect::<Vec<_>>(), plan.partial.unwrap())
    };
    let (steps, partial) = decided("slice:1/1", &[]);
    assert_eq!(steps, ["a:v1 waits for low:v1", "b:v1 waits for mid:v1"]);
    assert_eq!((partial.selected, partial.left), (3, 2));
    assert_eq!(decided("trunk", &[]).0, ["low:v1 false", "mid:v1 false"]);
    // The trunk of a selection has the bases that the selection needs.
    assert_eq!(decided("trunk", &["b"]).0, ["low:v1 true", "mid:v1 true"]);
    assert_eq!(decided("trunk", &["a"]).0, ["low:v1 true"]);
    assert_eq!(decided("trunk", &["c"]).0, [""; 0]);
    assert_eq!(decided("slice:1/1", &["a"]).0, ["a:v1 waits for low:v1"]);
}

#[test]
fn an_orphan_goes_with_the_unit_that_replaces_it() {
    let before = || vec![built("old", "", &[]), built("gone", "", &[])];
    let after = || {
        let mut new = built("new", "other", &[]);
        new.old_names.push("old".parse().unwrap());
        moving(&[("old", "new")], world(vec![new]))
    };
    let mut found = Vec::new();
    for part in 1..=64 {
        let plan = plan(before(), after(), &options(&format!("hash:{part}/64"), &[])).plan;
        found.extend(plan.steps.iter().map(|step| format!("{} {part}", step.key)));
    }
    let part = |name: &str| crate::base::bucket::Bucket::of(name).number() + 1;
    let (new, gone) = (part("new:v1"), part("gone:v1"));
    let mut expected =
        vec![format!("new:v1 {new}"), format!("old:v1 {new}"), format!("gone:v1 {gone}")];
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_partition_records_no_pins() {
    let units = || vec![on("python:3.12", built("a", "", &[]))];
    let mut model = Model::upgrading();
    let facts = model.facts(&world(units()));
    assert_eq!(facts.pins.len(), 1);
    let decision = decide(world(units()), &facts, &model.state, &options("slice:1/1", &[]));
    model.apply(&decision, |_| COMPLETE);
    assert!(matches!(decision.plan.steps[0].action, Action::Create(_)));
    assert!(model.state.pins.is_empty());
}
