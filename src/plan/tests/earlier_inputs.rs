//! Units whose whole context was recorded, as earlier versions did.

use std::sync::Arc;

use super::super::facts::Context;
use super::super::{Decision, Facts, PlanOptions, decide};
use super::model::{COMPLETE, Model, lines};
use super::world::{built, world};
use crate::base::digest::Digest;
use crate::context::Tree;
use crate::manifest::Workspace;
use crate::manifest::workspace::Unit;

/// Returns the context of a unit: its whole files, or what its instructions reach of them.
fn context(files: &str, reached: Option<&str>) -> Context {
    let digest = |text: &str| Digest::of(text.as_bytes());
    Context {
        tree: Arc::new(Tree::empty()),
        digest: digest(reached.unwrap_or(files)),
        instructions: reached.map(|_| digest("instructions")),
        whole: reached.map(|_| digest(files)),
    }
}

fn units() -> Vec<Unit> {
    vec![built("base", "", &[]), built("app", "", &[0])]
}

fn with(model: &Model, workspace: &Workspace, contexts: [Context; 2]) -> Facts {
    let contexts = contexts.into_iter().map(Some).collect();
    Facts { contexts, ..model.facts(workspace) }
}

/// Returns a model of which both whole contexts are recorded.
fn recorded() -> Model {
    let mut model = Model::default();
    let facts = with(&model, &world(units()), [context("b1", None), context("a1", None)]);
    let decision = decide(world(units()), &facts, &model.state, &PlanOptions::default());
    model.apply(&decision, |_| COMPLETE);
    model
}

fn decision(model: &Model, contexts: [Context; 2]) -> Decision {
    let facts = with(model, &world(units()), contexts);
    decide(world(units()), &facts, &model.state, &PlanOptions::default())
}

#[test]
fn units_without_changes_are_carried_over() {
    let mut model = recorded();
    let contexts = || [context("b1", Some("b")), context("a1", Some("a"))];
    let carried = decision(&model, contexts());
    assert_eq!(lines(&carried.plan), [""; 0]);
    assert_eq!(carried.bookkeeping.len(), 2);
    model.apply(&carried, |_| COMPLETE);
    let entries = model.state.entries.values();
    let mut built = entries.filter_map(|entry| entry.built.as_ref());
    assert!(built.all(|built| !built.inputs.has_whole_context()
        && built.inputs.get("dockerfile_path").is_none()
        && built.fingerprint == built.inputs.fingerprint()));
    // From now on, other files of the contexts do not count.
    let later = decision(&model, [context("b2", Some("b")), context("a2", Some("a"))]);
    assert!(later.plan.is_noop() && later.bookkeeping.is_empty());
    let changed = decision(&model, [context("b2", Some("b")), context("a2", Some("a'"))]);
    assert_eq!(lines(&changed.plan), ["build app:v1: context changed"]);
}

#[test]
fn a_change_in_a_whole_context_rebuilds_once() {
    let mut model = recorded();
    let contexts = || [context("b1", Some("b")), context("a2", Some("a"))];
    let changed = decision(&model, contexts());
    let reason = "its whole context was recorded, and something in it changed";
    assert_eq!(lines(&changed.plan), [format!("build app:v1: {reason}")]);
    model.apply(&changed, |_| COMPLETE);
    assert!(decision(&model, contexts()).plan.is_noop());
}

#[test]
fn the_whole_context_counts_again_on_request() {
    let mut model = recorded();
    let carried = decision(&model, [context("b1", Some("b")), context("a1", Some("a"))]);
    model.apply(&carried, |_| COMPLETE);
    let whole = decision(&model, [context("b1", Some("b")), context("a1", None)]);
    assert_eq!(lines(&whole.plan), ["build app:v1: inputs reached -> context"]);
}
