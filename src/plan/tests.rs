//! The planner on worlds made by hand: each reason, and that nothing is left after everything is
//! done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::facts::{Facts, Known};
use super::{Action, Make, Options, Plan, build};
use crate::base::name::{BuildId, ImageRef, Owner, Platform, Visibility};
use crate::base::source::Span;
use crate::context::{ChangeKind, FileChange};
use crate::dockerfile::Dockerfile;
use crate::manifest::Workspace;
use crate::manifest::workspace::{BuildOrigin, Origin, Unit, UnitId};
use crate::state::{Kind, Outcome, Pending, Record, Stage, State};

/// A unit that is built from a Dockerfile of one comment.
fn built(name: &str, words: &str, needs: &[usize]) -> Unit {
    let dockerfile = Dockerfile::parse(&format!("# {words}\nFROM scratch\n")).unwrap();
    let origin = Origin::Build(BuildOrigin {
        context: PathBuf::from("."),
        dockerfile_path: PathBuf::from("Dockerfile"),
        dockerfile_inside: Some("Dockerfile".to_owned()),
        args: BTreeMap::new(),
        target: None,
        dockerfile: Arc::new(dockerfile),
        bases: Vec::new(),
        externals: Vec::new(),
    });
    unit(name, origin, needs)
}

/// A unit that is mirrored.
fn mirrored(name: &str, source: &str) -> Unit {
    unit(name, Origin::Mirror(source.parse().unwrap()), &[])
}

fn unit(name: &str, origin: Origin, needs: &[usize]) -> Unit {
    let key: ImageRef = format!("{name}:v1").parse().unwrap();
    Unit {
        image: key.name.clone(),
        key,
        content_tag: None,
        platform: Platform::Amd64,
        owner: None,
        visibility: None,
        timeout: None,
        max_age: None,
        protect: None,
        groups: BTreeSet::new(),
        labels: BTreeMap::new(),
        origin,
        needs: needs.iter().map(|&need| UnitId(need)).collect(),
        depth: 0,
        span: Span::new(0, 0),
    }
}

fn world(units: Vec<Unit>) -> Workspace {
    Workspace {
        root: PathBuf::from("."),
        images: units.len(),
        units,
        settings: crate::manifest::workspace::ServiceSettings::default(),
        moved: Vec::new(),
        removed: Vec::new(),
        warnings: Vec::new(),
        skipped: Vec::new(),
        sources: Arc::default(),
    }
}

fn plan(world: &Workspace, state: &State) -> Plan {
    build(world, &Facts::default(), state, &Options::default())
}

/// A plan as lines: what is done to which unit, and why.
fn lines(plan: &Plan) -> Vec<String> {
    let line = |step: &super::Step| {
        let reasons: Vec<String> = step.reasons.iter().map(ToString::to_string).collect();
        format!("{} {}: {}", step.verb(), step.key, reasons.join("; "))
    };
    plan.steps.iter().map(line).collect()
}

/// How far a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Not,
    Created,
    Started,
    Ended(Outcome),
}

const COMPLETE: Done = Done::Ended(Outcome::Completed);

/// Does a step of a plan as the runner would.
fn carry_out(plan: &Plan, index: usize, world: &Workspace, state: &mut State, done: Done) {
    let step = &plan.steps[index];
    let unit = step.key.clone();
    if done == Done::Not {
        return;
    }
    match &step.action {
        Action::Make(make) => {
            let of = world.unit(make.unit);
            let before = state.entries.get(&unit).and_then(|entry| entry.built.clone());
            let build = BuildId::new(format!("b-{index}-{}", make.inputs.0.len())).unwrap();
            let pending = Pending {
                fingerprint: make.fingerprint,
                inputs: make.inputs.clone(),
                build: build.clone(),
                path: format!("prime/local/{unit}"),
                owner: of
                    .owner
                    .clone()
                    .or(before.as_ref().map(|built| built.owner.clone()))
                    .unwrap_or(Owner::Personal),
                visibility: of
                    .visibility
                    .or(before.map(|built| built.visibility))
                    .unwrap_or(Visibility::Private),
                stage: if make.kind == Kind::Mirror { Stage::Started } else { Stage::Created },
            };
            let (kind, platform) = (make.kind, of.platform);
            state.apply(&Record::Created { unit: unit.clone(), kind, platform, pending });
            if done == Done::Created {
                return;
            }
            state.apply(&Record::Started { unit: unit.clone(), build: build.clone() });
            if let Done::Ended(outcome) = done {
                state.apply(&Record::Ended { unit, build, outcome, path: None, at: None });
            }
        }
        Action::Adopt { build, then, .. } => {
            if let Done::Ended(outcome) = done {
                let build = build.clone();
                state.apply(&Record::Ended {
                    unit: unit.clone(),
                    build,
                    outcome,
                    path: None,
                    at: None,
                });
                if let (Some(then), Outcome::Completed) = (then, outcome) {
                    let (visibility, owner) = (then.visibility, then.owner.clone());
                    state.apply(&Record::Updated { unit, to: None, visibility, owner, path: None });
                }
            }
        }
        Action::Update { change, .. } => {
            if done == COMPLETE {
                let (visibility, owner) = (change.visibility, change.owner.clone());
                state.apply(&Record::Updated { unit, to: None, visibility, owner, path: None });
            }
        }
        Action::Forget { .. } | Action::Remove { .. } => state.apply(&Record::Forgotten { unit }),
    }
}

/// The state after all of a world is made.
fn made(world: &Workspace) -> State {
    let mut state = State::default();
    let plan = plan(world, &state);
    for index in 0..plan.steps.len() {
        carry_out(&plan, index, world, &mut state, COMPLETE);
    }
    state
}

/// What is planned for `new` where all of `old` is made.
fn from(old: Vec<Unit>, new: Vec<Unit>) -> Vec<String> {
    lines(&plan(&world(new), &made(&world(old))))
}

#[test]
fn a_first_plan_makes_all() {
    let all = vec![built("base", "", &[]), mirrored("redis", "redis:7"), built("api", "", &[0])];
    let plan = plan(&world(all), &State::default());
    assert_eq!(lines(&plan), ["build base:v1: new", "mirror redis:v1: new", "build api:v1: new"]);
    assert_eq!(plan.steps[2].needs, [super::StepId(0)]);
    assert_eq!(plan.longest_chain(), 2);
}

#[test]
fn each_difference_has_its_reason() {
    let one = || vec![built("api", "one", &[])];
    assert_eq!(from(one(), one()), [""; 0]);
    assert_eq!(from(one(), vec![built("api", "two", &[])]), ["build api:v1: Dockerfile changed"]);
    assert_eq!(
        from(vec![mirrored("m", "redis:7")], vec![mirrored("m", "redis:8")]),
        ["mirror m:v1: source redis:7 -> redis:8"]
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
fn a_base_that_changes_is_named_down_to_where_it_began() {
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
            "build b:v1: base a:v1 changes",
            "build c:v1: base b:v1 changes < a:v1",
        ]
    );
    let mut more = all("one");
    more[3].needs = vec![UnitId(0)];
    assert_eq!(from(all("one"), more), ["build d:v1: base a:v1 added"]);
}

#[test]
fn a_context_and_a_format_that_changed() {
    let world = world(vec![built("api", "", &[])]);
    let mut state = made(&world);
    let change = |state: &mut State, key: &str| {
        let entry = state.entries.values_mut().next().unwrap();
        let built = entry.built.as_mut().unwrap();
        built.inputs.set(key, "other");
        built.fingerprint = built.inputs.fingerprint();
    };
    change(&mut state, "context");
    assert_eq!(lines(&plan(&world, &state)), ["build api:v1: context changed"]);
    change(&mut state, "format");
    assert_eq!(lines(&plan(&world, &state)), ["build api:v1: imgplan digests in a new way"]);
}

/// A unit whose context, and Dockerfile, were others when it was last built.
fn context_changed(changes: Option<&str>, dockerfile: bool) -> Vec<String> {
    let world = world(vec![built("api", "", &[])]);
    let mut state = made(&world);
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
    lines(&build(&world, &Facts { changes, ..Facts::default() }, &state, &Options::default()))
}

#[test]
fn the_first_files_that_changed_are_named() {
    for (changes, dockerfile, expected) in [
        (None, false, "context changed"),
        (None, true, "Dockerfile changed; context changed"),
        (Some("~a/b"), false, "context: ~ a/b"),
        (Some("~a +b"), true, "Dockerfile changed; context: ~ a, + b"),
        (Some("~a +b -c"), false, "context: ~ a, + b, - c"),
        (Some("~a +b -c +d"), false, "context: ~ a, + b, - c, and 1 more"),
        (Some("~a +b -c +d +e +f"), false, "context: ~ a, + b, - c, and 3 more"),
        // Another file became the Dockerfile.
        (Some(""), true, "Dockerfile changed"),
        (Some(""), false, "context changed"),
    ] {
        assert_eq!(context_changed(changes, dockerfile), [format!("build api:v1: {expected}")]);
    }
}

const ALIVE: Known = Known::Alive { age: None };

/// The state in which one unit got just so far.
fn half(done: Done) -> (Workspace, State) {
    let world = world(vec![built("api", "", &[])]);
    let mut state = State::default();
    carry_out(&plan(&world, &state), 0, &world, &mut state, done);
    (world, state)
}

#[test]
fn what_is_pending_is_adopted_unless_nothing_can_come_of_it() {
    let (world, state) = half(Done::Started);
    let pending = |state: &State| {
        state.entries.values().next().unwrap().pending.as_ref().unwrap().build.clone()
    };
    assert_eq!(lines(&plan(&world, &state)), ["adopt api:v1: its build is under way"]);
    let knowing = |state: &State, known| {
        let builds = [(pending(state), known)].into();
        lines(&build(&world, &Facts { builds, ..Facts::default() }, state, &Options::default()))
    };
    assert_eq!(knowing(&state, ALIVE), ["adopt api:v1: its build is under way"]);
    assert_eq!(knowing(&state, Known::Dead), ["build api:v1: the last build did not succeed"]);
    // One whose start is on no record is only adopted if the service says that it runs.
    let (_, state) = half(Done::Created);
    let again = ["build api:v1: the last build did not succeed"];
    assert_eq!(lines(&plan(&world, &state)), again);
    assert_eq!(knowing(&state, Known::Dead), again);
    assert_eq!(knowing(&state, ALIVE), ["adopt api:v1: its build is under way"]);
    let three_minutes = Known::Alive { age: Some(std::time::Duration::from_secs(200)) };
    let told = ["adopt api:v1: its build is under way, started 3 min ago"];
    assert_eq!(knowing(&state, three_minutes), told);
}

#[test]
fn what_waits_to_be_started_is_adopted_and_in_nobodys_way() {
    let (world, state) = half(Done::Created);
    let build = state.entries.values().next().unwrap().pending.as_ref().unwrap().build.clone();
    let facts = Facts { builds: [(build, Known::Unstarted)].into(), ..Facts::default() };
    let action =
        |world| super::build(world, &facts, &state, &Options::default()).steps.remove(0).action;
    assert!(matches!(action(&world), Action::Adopt { .. }));
    let changed = self::world(vec![built("api", "other", &[])]);
    assert!(matches!(action(&changed), Action::Make(Make { after: None, .. })));
    let gone = self::world(Vec::new());
    assert!(matches!(action(&gone), Action::Forget { after: None }));
}

#[test]
fn a_build_of_a_unit_that_left_is_waited_for_before_it_is_forgotten() {
    let after = |state: &State| match &plan(&world(Vec::new()), state).steps[0].action {
        Action::Forget { after } => after.is_some(),
        other => panic!("{other:?}"),
    };
    assert!(after(&half(Done::Started).1));
    assert!(!after(&half(Done::Created).1), "what was never started lands nowhere");
    assert!(!after(&half(COMPLETE).1));
}

/// The service does not say where a moved image is, and what is built on a base needs to know.
#[test]
fn a_base_with_a_new_owner_is_made_anew() {
    let units = |owner| {
        let base = Unit { owner, ..built("base", "b", &[]) };
        vec![base, built("api", "a", &[0])]
    };
    let moved = from(units(None), units(Some(Owner::Team("t".to_owned()))));
    assert_eq!(moved, ["build base:v1: owner personal -> team:t"]);
}

#[test]
fn what_failed_is_made_again() {
    for outcome in [Outcome::Failed, Outcome::Cancelled] {
        let (world, state) = half(Done::Ended(outcome));
        let again = ["build api:v1: the last build did not succeed"];
        assert_eq!(lines(&plan(&world, &state)), again);
    }
}

/// What a unit of a random world is like; its name is its place.
type Like = (u8, u8, Vec<usize>, Option<Visibility>, Option<bool>, bool);

fn like() -> impl Strategy<Value = Vec<Like>> {
    let visibility =
        prop_oneof![Just(None), Just(Some(Visibility::Public)), Just(Some(Visibility::Private)),];
    let needs = prop::collection::vec(0usize..6, 0..3);
    let one = (0u8..6, 0u8..3, needs, visibility, any::<Option<bool>>(), any::<bool>());
    prop::collection::vec(one, 0..6)
}

fn random(likes: &[Like]) -> Workspace {
    let mut names = BTreeSet::new();
    let mut units: Vec<Unit> = Vec::new();
    for (name, words, needs, visibility, team, mirror) in likes {
        if !names.insert(name) {
            continue;
        }
        let needs: BTreeSet<usize> =
            needs.iter().copied().filter(|&need| need < units.len()).collect();
        let needs: Vec<usize> = needs.into_iter().collect();
        let name = format!("u{name}");
        let mut unit = match mirror {
            true => mirrored(&name, &format!("redis:{words}")),
            false => built(&name, &words.to_string(), &needs),
        };
        unit.visibility = *visibility;
        unit.owner = team.map(|team| if team { Owner::Team("t".into()) } else { Owner::Personal });
        units.push(unit);
    }
    world(units)
}

fn outcome() -> impl Strategy<Value = Done> {
    prop_oneof![
        Just(Done::Not),
        Just(Done::Created),
        Just(Done::Started),
        Just(COMPLETE),
        Just(Done::Ended(Outcome::Failed)),
    ]
}

proptest! {
    /// Whatever was there before, and however much of it was done: after a whole apply there is
    /// nothing left to do.
    #[test]
    fn a_plan_after_a_whole_apply_is_empty(
        before in like(),
        done in prop::collection::vec(outcome(), 12),
        after in like(),
    ) {
        let mut state = State::default();
        let old = random(&before);
        let first = plan(&old, &state);
        for (index, &done) in (0..first.steps.len()).zip(&done) {
            carry_out(&first, index, &old, &mut state, done);
        }
        let new = random(&after);
        let second = plan(&new, &state);
        for (index, step) in second.steps.iter().enumerate() {
            prop_assert!(step.needs.iter().all(|need| need.0 < index), "what is needed comes first");
            prop_assert!(!step.reasons.is_empty(), "every step has a reason");
            carry_out(&second, index, &new, &mut state, COMPLETE);
        }
        let left = plan(&new, &state);
        prop_assert!(left.is_noop(), "{:?}", lines(&left));
        let units: usize = left.unchanged.len();
        prop_assert_eq!(units, new.units.len());
        // A plan is a function: the same again.
        prop_assert_eq!(plan(&new, &state), left);
    }
}
