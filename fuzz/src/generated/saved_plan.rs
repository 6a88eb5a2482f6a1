//! Saved plans.

use std::collections::{BTreeMap, HashMap};

use imgplan::test_support::plan::{PlanOptions, SavedPlan};
use imgplan::test_support::state::State;
use serde_json::Value;

use super::world::{applied, document, plan};
use crate::choices::{Choices, ShownOnPanic};

const FRAGMENTS: [&str; 14] = [
    "mirror",
    "build",
    "\"",
    ",",
    "}",
    "null",
    "0",
    "a",
    "\"delete\"",
    "\"forget\"",
    "\"public\"",
    "app0",
    "linux/arm64",
    "b3:",
];

/// Saves a plan and reads it: it is the same, and fits. A changed one is refused, or each of its
/// steps is a step of the plan, except for the reasons, which are for people.
pub fn saved_plan(input: &[u8]) -> bool {
    let choices = &mut Choices::new(input);
    let (earlier, manifest) = (document(choices), document(choices));
    let options = PlanOptions { prune: choices.percent(50), ..PlanOptions::default() };
    let mut state = State::default();
    if let Ok(decision) = plan(&earlier.text(), &state, &options) {
        state = applied(&decision, &state);
    }
    let Ok(decision) = plan(&manifest.text(), &state, &options) else { return false };
    let fresh = decision.plan;
    let time = "2026-11-25T12:30:00Z".parse().expect("the time is valid");
    let saved = SavedPlan::new(&fresh, &state, "https://service", &options, &BTreeMap::new(), time);
    let text = serde_json::to_string_pretty(&saved).expect("a plan can be written");
    let _shown = ShownOnPanic(&text);
    let read: SavedPlan = serde_json::from_str(&text).expect("a saved plan can be read");
    assert_eq!(read, saved);
    let checked = read.check(fresh.clone(), &decision.workspace, &state);
    assert_eq!(checked.as_ref(), Ok(&fresh));

    let mut changed = text.clone();
    if choices.percent(50) {
        let mut document: Value = serde_json::from_str(&text).expect("the text is JSON");
        if choices.percent(20) {
            swap_kind(choices, &mut document);
        }
        choices.mutate_json(&mut document);
        changed = document.to_string();
    } else {
        choices.mutate(&mut changed, &FRAGMENTS);
    }
    let _shown = ShownOnPanic(&changed);
    let Ok(read) = serde_json::from_str::<SavedPlan>(&changed) else { return true };
    let written = serde_json::to_string(&read).expect("a plan can be written");
    assert_eq!(serde_json::from_str::<SavedPlan>(&written).ok().as_ref(), Some(&read));
    let Ok(kept) = read.check(fresh.clone(), &decision.workspace, &state) else { return true };
    let original = steps(&saved);
    for (image, step) in steps(&read) {
        let before = original.get(&image);
        let is_same = before.is_some_and(|before| same(before, &step));
        assert!(is_same, "{step:#} instead of {before:#?}");
        assert!(kept.steps.iter().any(|step| step.key.to_string() == image));
    }
    assert!(kept.steps.len() <= read.steps.len());
    true
}

/// Gives one step the other kind.
fn swap_kind(choices: &mut Choices<'_>, plan: &mut Value) {
    let steps = plan["steps"].as_array_mut().expect("a plan has steps");
    if steps.is_empty() {
        return;
    }
    let index = choices.below(steps.len());
    let is_build = steps[index]["kind"] == "build";
    steps[index]["kind"] = Value::from(if is_build { "mirror" } else { "build" });
}

/// Returns true if two steps are the same except for their reasons. A deletion may not have the time
/// of the image's last push.
fn same(before: &Value, after: &Value) -> bool {
    let but_free = |step: &Value| {
        let mut step = step.clone();
        step["reasons"] = Value::Null;
        if step["action"] == "delete" {
            step["changed"] = Value::Null;
        }
        step
    };
    but_free(before) == but_free(after)
}

/// Returns the steps as JSON, by image.
fn steps(plan: &SavedPlan) -> HashMap<String, Value> {
    let step = |step| {
        let step = serde_json::to_value(step).expect("a step can be written");
        (step["image"].as_str().unwrap_or_default().to_owned(), step)
    };
    plan.steps.iter().map(step).collect()
}
