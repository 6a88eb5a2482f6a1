//! Saved plans: applied exactly once as approved, or rejected as stale.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{Action, Change, Decision, PlanOptions, SavedPlan, SavedPlanError};
use super::model::{COMPLETE, Done, Model, done};
use super::properties::{past, replace};
use super::world::{Manifest, build_of};
use crate::base::kind::ImageKind;
use crate::base::name::Visibility;
use crate::manifest::Workspace;
use crate::manifest::workspace::Origin;
use crate::state::{Failed, Inputs, State};

fn save(model: &Model, decision: &Decision, options: &PlanOptions) -> SavedPlan {
    let pins = BTreeMap::new();
    let saved = SavedPlan::new(&decision.plan, &model.state, "service", options, &pins, model.now);
    let text = saved.encode().unwrap();
    let read = SavedPlan::decode(&text).unwrap();
    assert_eq!(read, saved);
    let compact = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(SavedPlan::decode(&compact).unwrap(), saved, "the layout does not matter");
    let prune = format!("\"prune\": {}", options.prune);
    let edited = text.replacen(&prune, &format!("\"prune\": {}", !options.prune), 1);
    assert!(matches!(SavedPlan::decode(&edited), Err(SavedPlanError::Changed)), "{edited}");
    assert_eq!(read.options, *options);
    read
}

/// Plans again and compares the result with the saved plan.
fn recheck(
    saved: &SavedPlan,
    model: &Model,
    workspace: Workspace,
    state: &State,
) -> Result<super::super::Plan, Vec<String>> {
    let facts = model.facts(&workspace);
    let options = saved.options.clone();
    let Decision { workspace, plan, .. } = super::super::decide(workspace, &facts, state, &options);
    let stale = saved.check(plan, &workspace, state);
    stale.map_err(|stale| stale.into_iter().map(|stale| stale.subject).collect())
}

fn of(manifest: &Manifest, change: impl FnOnce(&mut Workspace)) -> Workspace {
    let mut workspace = manifest.workspace();
    change(&mut workspace);
    workspace
}

proptest! {
    #[test]
    fn a_saved_plan_is_applied_once_or_not_at_all(
        (past, manifest) in past(),
        replace in replace(),
        prune in any::<bool>(),
        fresh in prop::bool::weighted(0.2),
        done in prop::collection::vec(done(), 24),
        all in any::<bool>(),
    ) {
        let mut model = if fresh { Model::default() } else { past.model() };
        let options = PlanOptions { replace, prune, ..PlanOptions::default() };
        let decision = model.decide(&manifest, &options);
        let saved = save(&model, &decision, &options);
        let same = recheck(&saved, &model, manifest.workspace(), &model.state);
        prop_assert_eq!(same.as_ref(), Ok(&decision.plan));
        let before = model.clone();
        model.apply(&decision, |step| {
            if all { COMPLETE } else { done.get(step).copied().unwrap_or(Done::Not) }
        });
        let after = recheck(&saved, &model, manifest.workspace(), &model.state);
        if all && !decision.plan.is_noop() {
            prop_assert!(after.is_err(), "the plan was applied already");
        } else if model.state.entries == before.state.entries && model.images == before.images {
            prop_assert_eq!(after, Ok(decision.plan), "nothing was applied");
        }
    }

    #[test]
    fn a_changed_step_is_stale(
        (past, manifest) in past(),
        replace in replace(),
        prune in any::<bool>(),
    ) {
        let model = past.model();
        let options = PlanOptions { replace, prune, ..PlanOptions::default() };
        let decision = model.decide(&manifest, &options);
        let saved = save(&model, &decision, &options);
        for step in &decision.plan.steps {
            let stale = |state: &State, workspace: Workspace| {
                let stale = recheck(&saved, &model, workspace, state).expect_err("the plan is stale");
                assert!(stale.contains(&step.key.to_string()), "{}: {stale:?}", step.key);
            };
            // The lockfile entry changed.
            let key = match &step.action {
                Action::Update { change: Change { from: Some(from), .. }, .. } => from,
                _ => &step.key,
            };
            if let Some(entry) = model.state.entries.get(key) {
                let mut state = model.state.clone();
                state.entries.get_mut(key).unwrap().protect ^= true;
                stale(&state, manifest.workspace());
                let mut state = model.state.clone();
                let failed = entry.builds().next().map(|build| Failed {
                    fingerprint: Inputs::default().fingerprint(),
                    build: build.clone(),
                    error: None,
                });
                state.entries.get_mut(key).unwrap().failed = failed;
                if state != model.state {
                    stale(&state, manifest.workspace());
                }
            }
            // The file was edited.
            let mut edited = saved.clone();
            let of_step = edited.steps.iter_mut().find(|saved| saved.image == step.key).unwrap();
            of_step.kind = match step.kind {
                ImageKind::Build => ImageKind::Mirror,
                ImageKind::Mirror => ImageKind::Build,
            };
            let stale_kind = recheck(&edited, &model, manifest.workspace(), &model.state);
            assert_eq!(stale_kind, Err(vec![step.key.to_string()]));
            // The manifest changed.
            let Some(id) = step.unit() else { continue };
            if let Action::Create(_) = &step.action {
                stale(&model.state, of(&manifest, |workspace| {
                    let unit = &mut workspace.units[id.0];
                    unit.visibility = match unit.visibility {
                        Some(Visibility::Public) => Some(Visibility::Private),
                        _ => Some(Visibility::Public),
                    };
                }));
                if let Origin::Build(_) = decision.workspace.unit(id).origin
                    && decision.workspace.unit(id).content_tag.is_none()
                {
                    stale(&model.state, of(&manifest, |workspace| {
                        let build = build_of(&mut workspace.units[id.0]);
                        build.dockerfile_inside = Some("other".to_owned());
                    }));
                }
            }
        }
    }
}
