//! Rules of the planner, on units written by hand.

use super::super::facts::{Facts, PendingBuild};
use super::super::{Action, Create, Plan, PlanOptions, build::build};
use super::model::{COMPLETE, Done, Model, lines};
use super::world::{built, mirrored, world};
use crate::base::name::{Owner, Platform, Visibility};
use crate::context::FileChange;
use crate::context::changes::ChangeKind;
use crate::manifest::Workspace;
use crate::manifest::workspace::{Unit, UnitId};
use crate::state::{BuildOutcome, State};

fn plan(world: &Workspace, state: &State) -> Plan {
    build(world, &Facts::default(), state, &PlanOptions::default())
}

/// Returns the state after a run that got this far with each unit.
fn so_far(world: &Workspace, done: Done) -> State {
    let mut model = Model::default();
    for step in plan(world, &State::default()).steps {
        model.carry_out(&step, world, done);
    }
    model.state
}

/// Returns the plan for `new` after an apply of `old`.
fn from(old: Vec<Unit>, new: Vec<Unit>) -> Vec<String> {
    lines(&plan(&world(new), &so_far(&world(old), COMPLETE)))
}

#[test]
fn a_first_plan_creates_all_units() {
    let all = vec![built("base", "", &[]), mirrored("redis", "redis:7"), built("api", "", &[0])];
    let plan = plan(&world(all), &State::default());
    assert_eq!(lines(&plan), ["build base:v1: new", "mirror redis:v1: new", "build api:v1: new"]);
    assert_eq!(plan.steps[2].needs, [super::super::StepId(0)]);
    assert_eq!(plan.longest_chain(), 2);
}

#[test]
fn each_difference_has_its_reason() {
    let one = || vec![built("api", "one", &[])];
    assert_eq!(from(one(), one()), [""; 0]);
    assert_eq!(from(one(), vec![built("api", "two", &[])]), ["build api:v1: Dockerfile changed"]);
    assert_eq!(
        from(vec![mirrored("m", "redis:7")], vec![mirrored("m", "redis:8")]),
        ["mirror m:v1: source docker.io/library/redis:7 -> docker.io/library/redis:8"]
    );
    let mut arm = built("api", "one", &[]);
    arm.platform = Platform::Arm64;
    assert_eq!(from(one(), vec![arm]), ["build api:v1: platform linux/amd64 -> linux/arm64"]);
    let mut public = built("api", "one", &[]);
    public.visibility = Some(Visibility::Public);
    assert_eq!(from(one(), vec![public]), ["update api:v1: visibility private -> public"]);
    let mut team = built("api", "one", &[]);
    team.owner = Some(Owner::Team("t".to_owned()));
    let moved = from(one(), vec![team]);
    assert!(moved.len() == 1 && moved[0].starts_with("update api:v1: owner "), "{moved:?}");
    let gone = from(one(), Vec::new());
    assert!(gone.len() == 1 && gone[0].starts_with("forget api:v1: removed from the"), "{gone:?}");
}

#[test]
fn a_changed_base_is_traced_to_its_cause() {
    let all = |words: &str| {
        vec![
            built("a", words, &[]),
            built("b", "", &[0]),
            built("c", "", &[1]),
            built("d", "", &[]),
        ]
    };
    assert_eq!(
        from(all("one"), all("two")),
        [
            "build a:v1: Dockerfile changed",
            "build b:v1: its base a:v1 changes",
            "build c:v1: its base b:v1 changes, caused by a:v1",
        ]
    );
    let mut more = all("one");
    more[3].needs = vec![UnitId(0)];
    assert_eq!(from(all("one"), more), ["build d:v1: base a:v1 added"]);
}

#[test]
fn changed_contexts_and_formats_are_reasons() {
    let world = world(vec![built("api", "", &[])]);
    let mut state = so_far(&world, COMPLETE);
    let change = |state: &mut State, key: &str| {
        let entry = state.entries.values_mut().next().unwrap();
        let built = entry.built.as_mut().unwrap();
        built.inputs.set(key, "other");
        built.fingerprint = built.inputs.fingerprint();
    };
    change(&mut state, "context");
    assert_eq!(lines(&plan(&world, &state)), ["build api:v1: context changed"]);
    change(&mut state, "format");
    assert_eq!(lines(&plan(&world, &state)), ["build api:v1: fingerprint format changed"]);
}

/// Returns the plan for a unit whose context, and Dockerfile if so, changed since the last build.
fn context_changed(changes: Option<&str>, dockerfile: bool) -> Vec<String> {
    let world = world(vec![built("api", "", &[])]);
    let mut state = so_far(&world, COMPLETE);
    let entry = state.entries.values_mut().next().unwrap();
    let inputs = &mut entry.built.as_mut().unwrap().inputs;
    inputs.set("context", "other");
    if dockerfile {
        inputs.set("dockerfile_path", "other");
    }
    entry.built.as_mut().unwrap().fingerprint = inputs.fingerprint();
    let change = |text: &str| FileChange {
        path: text[1..].to_owned(),
        change: match &text[..1] {
            "+" => ChangeKind::Added,
            "~" => ChangeKind::Changed,
            _ => ChangeKind::Removed,
        },
    };
    let changes = changes.map(|text| text.split_whitespace().map(change).collect());
    let changes = changes.into_iter().map(|files| (UnitId(0), files)).collect();
    lines(&build(&world, &Facts { changes, ..Facts::default() }, &state, &PlanOptions::default()))
}

#[test]
fn the_first_changed_files_are_named() {
    for (changes, dockerfile, expected) in [
        (None, false, "context changed"),
        (None, true, "Dockerfile changed; context changed"),
        (Some("~a/b"), false, "context: ~ a/b"),
        (Some("~a +b"), true, "Dockerfile changed; context: ~ a, + b"),
        (Some("~a +b -c"), false, "context: ~ a, + b, - c"),
        (Some("~a +b -c +d"), false, "context: ~ a, + b, - c and 1 more"),
        (Some("~a +b -c +d +e +f"), false, "context: ~ a, + b, - c and 3 more"),
        // Another file became the Dockerfile.
        (Some(""), true, "Dockerfile changed"),
        (Some(""), false, "context changed"),
    ] {
        assert_eq!(context_changed(changes, dockerfile), [format!("build api:v1: {expected}")]);
    }
}

const RUNNING: PendingBuild = PendingBuild::Running { age: None };

/// Returns a world of one unit, and the state after a run that got this far.
fn half(done: Done) -> (Workspace, State) {
    let world = world(vec![built("api", "", &[])]);
    let state = so_far(&world, done);
    (world, state)
}

#[test]
fn a_pending_build_is_adopted_unless_it_ended() {
    let (world, state) = half(Done::Started);
    let pending = |state: &State| {
        state.entries.values().next().unwrap().pending.as_ref().unwrap().build.clone()
    };
    assert_eq!(lines(&plan(&world, &state)), ["adopt api:v1: a build is in progress"]);
    let with_build = |state: &State, pending_build| {
        let builds = [(pending(state), pending_build)].into();
        lines(&build(&world, &Facts { builds, ..Facts::default() }, state, &PlanOptions::default()))
    };
    assert_eq!(with_build(&state, RUNNING), ["adopt api:v1: a build is in progress"]);
    assert_eq!(
        with_build(&state, PendingBuild::Ended),
        ["build api:v1: the last build did not succeed"]
    );
    // A build without a recorded start is adopted only if the service shows it running.
    let (_, state) = half(Done::Created);
    let again = ["build api:v1: the last build did not succeed"];
    assert_eq!(lines(&plan(&world, &state)), again);
    assert_eq!(with_build(&state, PendingBuild::Ended), again);
    assert_eq!(with_build(&state, RUNNING), ["adopt api:v1: a build is in progress"]);
    let three_minutes = PendingBuild::Running { age: Some(std::time::Duration::from_secs(200)) };
    let line = ["adopt api:v1: a build is in progress, started 3m20s ago"];
    assert_eq!(with_build(&state, three_minutes), line);
}

#[test]
fn a_build_that_was_not_started_is_adopted_and_blocks_nothing() {
    let (world, state) = half(Done::Created);
    let waiting = state.entries.values().next().unwrap().pending.as_ref().unwrap().build.clone();
    let facts = Facts { builds: [(waiting, PendingBuild::NotStarted)].into(), ..Facts::default() };
    let action =
        |world| build(world, &facts, &state, &PlanOptions::default()).steps.remove(0).action;
    assert!(matches!(action(&world), Action::Adopt { .. }));
    let changed = self::world(vec![built("api", "other", &[])]);
    assert!(matches!(action(&changed), Action::Create(Create { after: None, .. })));
    let gone = self::world(Vec::new());
    assert!(matches!(action(&gone), Action::Forget { after: None }));
}

#[test]
fn an_orphan_with_a_running_build_is_forgotten_after_it() {
    let after = |state: &State| match &plan(&world(Vec::new()), state).steps[0].action {
        Action::Forget { after } => after.is_some(),
        other => panic!("{other:?}"),
    };
    assert!(after(&half(Done::Started).1));
    assert!(!after(&half(Done::Created).1), "a build that was not started writes no tag");
    assert!(!after(&half(COMPLETE).1));
}

/// The service does not tell the path of an image that moved, and dependents need it.
#[test]
fn a_base_with_a_new_owner_is_rebuilt() {
    let units = |owner| {
        let base = Unit { owner, ..built("base", "b", &[]) };
        vec![base, built("api", "a", &[0])]
    };
    let moved = from(units(None), units(Some(Owner::Team("t".to_owned()))));
    assert_eq!(moved, ["build base:v1: owner personal -> team:t"]);
}

#[test]
fn a_failed_build_is_repeated() {
    for outcome in [BuildOutcome::Failed, BuildOutcome::Cancelled] {
        let (world, state) = half(Done::Ended(outcome));
        let again = ["build api:v1: the last build did not succeed"];
        assert_eq!(lines(&plan(&world, &state)), again);
    }
}
