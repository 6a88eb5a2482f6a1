//! Each reason alone, in a plan with one step.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::super::{Decision, Facts, PlanOptions, Reason, decide};
use super::model::{COMPLETE, Done, Model, lines, pin};
use super::world::{WEEK, build_of, built, mirrored, moving, on, open, world};
use crate::base::name::{Owner, Visibility};
use crate::manifest::Workspace;
use crate::manifest::workspace::Unit;
use crate::state::{BuildOutcome, Record, State};

/// Returns a model in which these units are built.
fn begin(units: Vec<Unit>) -> Model {
    let mut model = Model::default();
    apply(&mut model, world(units), COMPLETE);
    model
}

fn planned(model: &Model, workspace: Workspace, facts: &Facts, options: &PlanOptions) -> Decision {
    let decision = decide(workspace, facts, &model.state, options);
    super::model::check(&decision, &model.state);
    decision
}

fn apply(model: &mut Model, workspace: Workspace, done: Done) {
    let facts = model.facts(&workspace);
    let decision = planned(model, workspace, &facts, &PlanOptions::default());
    model.apply(&decision, |_| done);
}

/// Returns the index of a reason in the list of all.
fn index(reason: &Reason) -> usize {
    match reason {
        Reason::New => 0,
        Reason::ContextChanged { .. } => 1,
        Reason::DockerfileChanged => 2,
        Reason::ConfigChanged { .. } => 3,
        Reason::DependencyChanged { .. } => 4,
        Reason::BaseChanged { .. } => 5,
        Reason::SourceChanged { .. } => 6,
        Reason::MissingRemote => 7,
        Reason::RemoteChanged { .. } => 8,
        Reason::Requested => 9,
        Reason::Expired { .. } => 10,
        Reason::PreviousFailed { .. } => 11,
        Reason::InDoubt => 12,
        Reason::FingerprintFormatChanged => 13,
        Reason::Pending { .. } => 14,
        Reason::VisibilityChanged { .. } => 15,
        Reason::OwnerChanged { .. } => 16,
        Reason::Moved { .. } => 17,
        Reason::Superseded { .. } => 18,
        Reason::RemovedFromManifest { .. } => 19,
        Reason::ExistsRemote => 20,
        // In `earlier_inputs`, because it needs contexts.
        Reason::WholeContextChanged => 21,
    }
}
const REASONS: usize = 21;

/// The line and the only reason of a plan with one step.
struct OnlyStep(String, Reason);

fn only_step(model: &Model, workspace: Workspace, options: &PlanOptions) -> OnlyStep {
    let facts = model.facts(&workspace);
    only_step_with(model, workspace, &facts, options)
}

fn only_step_with(
    model: &Model,
    workspace: Workspace,
    facts: &Facts,
    options: &PlanOptions,
) -> OnlyStep {
    let plan = planned(model, workspace, facts, options).plan;
    let [line] = &lines(&plan)[..] else { panic!("{:?}", lines(&plan)) };
    let [reason] = &plan.steps[0].reasons[..] else { panic!("{line}") };
    OnlyStep(line.clone(), reason.clone())
}

fn plain(model: &Model, workspace: Workspace) -> OnlyStep {
    only_step(model, workspace, &PlanOptions::default())
}

fn one() -> Vec<Unit> {
    vec![built("a", "", &[])]
}

/// Returns a model in which the unit was built with another value of an input.
fn otherwise(key: &str) -> Model {
    let mut model = begin(one());
    let entry = model.state.entries.values_mut().next().unwrap();
    let last = entry.built.as_mut().unwrap();
    last.inputs.set(key, "other");
    last.fingerprint = last.inputs.fingerprint();
    model
}

fn of_content() -> Vec<OnlyStep> {
    let changed = plain(&begin(one()), world(vec![built("a", "other", &[])]));
    // The value is written into the Dockerfile.
    let mut arg = built("a", "1", &[]);
    build_of(&mut arg).args = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    let base = |words: &str| vec![built("a", words, &[]), built("b", "", &[0])];
    let mut half = begin(base("one"));
    let two = world(base("two"));
    let decision = planned(&half, two, &half.facts(&world(Vec::new())), &PlanOptions::default());
    half.apply(&decision, |step| if step == 0 { COMPLETE } else { Done::Not });
    vec![
        plain(&Model::default(), world(one())),
        plain(&otherwise("context"), world(one())),
        changed,
        plain(&begin(one()), world(vec![arg])),
        plain(&half, world(base("two"))),
        plain(&otherwise("format"), world(one())),
    ]
}

fn of_pins() -> Vec<OnlyStep> {
    let upgraded = |unit: fn() -> Unit| {
        let mut model = Model::upgrading();
        apply(&mut model, world(vec![unit()]), COMPLETE);
        model.epoch += 1;
        plain(&model, world(vec![unit()]))
    };
    vec![upgraded(|| on("debian:12", built("a", "", &[]))), upgraded(|| mirrored("a", "redis:7"))]
}

fn of_the_service() -> Vec<OnlyStep> {
    let mut gone = begin(one());
    gone.images.clear();
    let mut unknown = begin(one());
    unknown.state = State::default();
    let mut replaced = begin(one());
    replaced.interfere(&[(0, super::model::Interference::Replace)]);
    let mut failed = Model::default();
    apply(&mut failed, world(one()), Done::Ended(BuildOutcome::Failed));
    let mut pending = Model::default();
    apply(&mut pending, world(one()), Done::Started);
    let mirror = || vec![mirrored("a", "redis:7")];
    let mut asked = Model::default();
    apply(&mut asked, world(mirror()), Done::Lost(true));
    let silent = Facts::default();
    vec![
        plain(&gone, world(one())),
        plain(&replaced, world(one())),
        plain(&failed, world(one())),
        only_step_with(&asked, world(mirror()), &silent, &PlanOptions::default()),
        plain(&pending, world(one())),
        plain(&unknown, world(one())),
    ]
}

fn of_requests() -> Vec<OnlyStep> {
    let replace = PlanOptions { replace: vec!["a".parse().unwrap()], ..PlanOptions::default() };
    let mut old = begin(one());
    old.now += SignedDuration::from_hours(24 * 8);
    let aging = Unit { max_age: Some(WEEK), ..built("a", "", &[]) };
    let public = Unit { visibility: Some(Visibility::Public), ..built("a", "", &[]) };
    let team = Unit { owner: Some(Owner::Team("t".to_owned())), ..built("a", "", &[]) };
    let tagged = |words: &str| vec![open("{fingerprint}", built("a", words, &[]))];
    let mut half = begin(tagged("one"));
    let facts = half.facts(&world(Vec::new()));
    let decision = planned(&half, world(tagged("two")), &facts, &PlanOptions::default());
    half.apply(&decision, |step| if step == 0 { COMPLETE } else { Done::Not });
    let renamed = moving(&[("a", "b")], world(vec![built("b", "", &[])]));
    vec![
        only_step(&begin(one()), world(one()), &replace),
        plain(&old, world(vec![aging])),
        plain(&begin(one()), world(vec![public])),
        plain(&begin(one()), world(vec![team])),
        plain(&begin(one()), renamed),
        plain(&half, world(tagged("two"))),
        plain(&begin(one()), world(Vec::new())),
    ]
}

#[test]
fn each_reason_alone() {
    let all = [of_content(), of_pins(), of_the_service(), of_requests()];
    let mut all: Vec<OnlyStep> = all.into_iter().flatten().collect();
    all.sort_by_key(|step| index(&step.1));
    let indices: Vec<usize> = all.iter().map(|step| index(&step.1)).collect();
    assert_eq!(indices, (0..REASONS).collect::<Vec<_>>());
    let lines: Vec<&str> = all.iter().map(|step| step.0.as_str()).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    build a:v1: new
    build a:v1: context changed
    build a:v1: Dockerfile changed
    build a:v1: args.A changed
    build b:v1: its base a:v1 changes
    build a:v1: base debian:12 moved 4266a71b30bd -> 1d64f6d9c846
    mirror a:v1: source redis:7 moved 8d47a244e98a -> 5217fd8d4062
    build a:v1: missing from the service
    build a:v1: replaced outside of imgplan on 2026-11-01 04:00 UTC
    build a:v1: rebuild requested
    build a:v1: 8d00h old
    build a:v1: the last build did not succeed
    mirror a:v1: in doubt: the service may have accepted a request
    build a:v1: fingerprint format changed
    adopt a:v1: a build is in progress
    update a:v1: visibility private -> public
    update a:v1: owner personal -> team:t
    update b:v1: was a:v1
    forget a:9c0949b85556: replaced by a:b75a9da61963, image kept
    forget a:v1: removed from the manifest, image kept
    build a:v1: exists in the service but not in the lockfile
    ");
}

/// Visibility is not part of a fingerprint: a difference is bookkeeping.
#[test]
fn a_setting_that_the_manifest_leaves_out_is_no_reason() {
    let mut model = begin(one());
    model.interfere(&[(0, super::model::Interference::Show(Visibility::Public))]);
    let facts = model.facts(&world(one()));
    let decision = planned(&model, world(one()), &facts, &PlanOptions::default());
    assert!(decision.plan.is_noop() && decision.plan.visibility_drift == 1);
    assert!(
        matches!(&decision.bookkeeping[..], [Record::Known { .. }]),
        "{:?}",
        decision.bookkeeping
    );
}

#[test]
fn an_unchanged_pin_is_no_reason() {
    let mut model = Model::upgrading();
    let unit = || vec![on("debian:12", built("a", "", &[]))];
    apply(&mut model, world(unit()), COMPLETE);
    assert_eq!(
        model.state.pins["docker.io/library/debian:12"],
        pin("docker.io/library/debian:12", 0)
    );
    for upgrade in [true, false] {
        model.upgrade = upgrade;
        let facts = model.facts(&world(unit()));
        assert!(planned(&model, world(unit()), &facts, &PlanOptions::default()).plan.is_noop());
    }
}
