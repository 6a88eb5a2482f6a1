//! CrashPoint at every request and every record, and what the next life makes of it: nothing that was
//! accepted is lost, nothing is started twice, and in the end there is nothing to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use imgplan::server::{BulkShape, Fault, ServerBuild};
use proptest::prelude::*;

use crate::support::{CrashPoint, ProcessResult, Simulation};

/// Builds on each other, and mirrors that go in one list and alone.
const MANIFEST: &str = "version: 1
defaults: {tag: v1}
images:
  - {name: base, context: base}
  - {name: api, context: api}
  - {name: other, context: other}
  - source: docker.io/library/redis:7
  - source: docker.io/library/nginx:1
  - {name: mine, tag: v2, source: 'docker.io/library/nginx:2'}
";

fn world() -> Simulation {
    let world = Simulation::new(MANIFEST);
    world
        .write("base/Dockerfile", "FROM scratch\n")
        .write("api/Dockerfile", "FROM base:v1\n")
        .write("other/Dockerfile", "FROM scratch\n");
    world
}

/// The builds of each image that were started, in order, and how each is.
fn started(builds: &[ServerBuild]) -> BTreeMap<&str, Vec<&ServerBuild>> {
    let mut started: BTreeMap<&str, Vec<&ServerBuild>> = BTreeMap::new();
    for build in builds.iter().filter(|build| build.started) {
        started.entry(&build.image).or_default().push(build);
    }
    started
}

/// What must hold at the end of all lives of a project that never changed.
fn check(world: &Simulation, last: &ProcessResult, what: &str) {
    let started = started(&last.builds);
    let state = world.state();
    for (unit, entry) in &state.entries {
        let unit = unit.to_string();
        let [one] = &started[unit.as_str()][..] else {
            panic!("{what}: {unit} was started {} times", started[unit.as_str()].len());
        };
        assert_eq!(one.status, "COMPLETED", "{what}: {unit}");
        let built = entry.built.as_ref().unwrap_or_else(|| panic!("{what}: {unit} is not built"));
        assert_eq!(built.build.as_str(), one.id, "{what}: {unit}");
        assert!(entry.pending.is_none() && entry.submitted.is_none(), "{what}: {unit}");
    }
    assert_eq!(started.len(), state.entries.len(), "{what}: the lockfile has all of it");
    assert!(world.plan().is_noop() && !world.has_journal(), "{what}");
}

/// Lives on until there is nothing to do.
fn live_on(world: &Simulation, what: &str) -> ProcessResult {
    for _ in 0..4 {
        let life = world.run_process(None);
        if life.idle {
            return life;
        }
        let summary = life.summary.unwrap();
        assert!(summary.is_complete(), "{what}: {:?}", summary.failures);
    }
    panic!("{what}: there is always something left to do")
}

#[test]
fn death_at_every_request_and_every_record() {
    for shape in [BulkShape::BuildIds, BulkShape::Results] {
        let fresh = || {
            let mut world = world();
            world.config.bulk = shape;
            world
        };
        let undisturbed = fresh();
        let whole = undisturbed.run_process(None);
        assert!(whole.summary.unwrap().is_complete());
        check(&undisturbed, &undisturbed.run_process(None), "undisturbed");
        let requests = whole.requests;
        assert!(requests > 15, "{requests} requests");
        let die = |death| {
            let what = format!("{shape:?} {death:?}");
            let world = fresh();
            let life = world.run_process(Some(death));
            assert!(!life.completed, "{what}");
            // A plan by what is on record can always be made.
            world.plan();
            let last = live_on(&world, &what);
            check(&world, &last, &what);
            life
        };
        let mut torn = 0;
        for at in 0..requests {
            die(CrashPoint::Before(at));
            die(CrashPoint::After(at));
            torn +=
                (0..99).take_while(|lines| die(CrashPoint::DuringWrite(at, *lines)).torn).count();
        }
        assert!(torn > 15, "{torn} records");
    }
}

#[test]
fn death_after_death() {
    let world = world();
    for at in 0..12 {
        world.run_process(Some(CrashPoint::After(at)));
        world.run_process(Some(CrashPoint::Before(at / 2)));
    }
    let last = live_on(&world, "at last");
    check(&world, &last, "at last");
}

/// Images of a random project: what each needs, or that it is a mirror.
#[derive(Debug, Clone)]
struct Project {
    /// For each build, the builds before it that it is built on.
    bases: Vec<BTreeSet<usize>>,
    mirrors: usize,
}

impl Project {
    fn manifest(&self) -> String {
        let mut text = "version: 1\ndefaults: {tag: v1}\nimages:\n".to_owned();
        for build in 0..self.bases.len() {
            writeln!(text, "  - {{name: b{build}, context: b{build}}}").unwrap();
        }
        for mirror in 0..self.mirrors {
            writeln!(text, "  - source: docker.io/library/m{mirror}:v1").unwrap();
        }
        text
    }

    fn write(&self, world: &Simulation, build: usize, version: usize) {
        let from = |base: &usize| format!("FROM b{base}:v1 AS s{base}\n");
        let froms: String = self.bases[build].iter().map(from).collect();
        let from = if froms.is_empty() { "FROM scratch\n".to_owned() } else { froms };
        world.write(&format!("b{build}/Dockerfile"), &format!("{from}# {version}\n"));
    }

    /// A build and all that stands on it.
    fn above(&self, build: usize) -> BTreeSet<usize> {
        let mut above = BTreeSet::from([build]);
        for next in build + 1..self.bases.len() {
            if !self.bases[next].is_disjoint(&above) {
                above.insert(next);
            }
        }
        above
    }
}

fn projects() -> impl Strategy<Value = Project> {
    let bases = prop::collection::vec(prop::collection::btree_set(0usize..5, 0..3), 1..5);
    (bases, 0usize..4).prop_map(|(bases, mirrors)| {
        let below = |(build, bases): (usize, BTreeSet<usize>)| {
            bases.into_iter().filter(|base| *base < build).collect()
        };
        Project { bases: bases.into_iter().enumerate().map(below).collect(), mirrors }
    })
}

/// What happens to a project.
#[derive(Debug, Clone)]
enum Event {
    Edit(usize),
    Live(Option<CrashPoint>),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let at = 0usize..14;
    let death = prop_oneof![
        at.clone().prop_map(|at| Some(CrashPoint::Before(at))),
        at.clone().prop_map(|at| Some(CrashPoint::After(at))),
        (at, 0usize..3).prop_map(|(at, lines)| Some(CrashPoint::DuringWrite(at, lines))),
        Just(None),
    ];
    let event = prop_oneof![
        1 => (0usize..5).prop_map(Event::Edit),
        3 => death.prop_map(Event::Live),
    ];
    prop::collection::vec(event, 0..8)
}

/// Every kind of fault, at a rate that leaves most requests alone.
fn faults(seed: u64) -> Vec<Fault> {
    let all = [
        "500",
        "503",
        "429",
        "cut-before",
        "cut-after",
        "html",
        "html-after",
        "slow=2s",
        "late=3s",
    ];
    let all = all.map(|kind| format!("all:{kind}:0.02"));
    let more = ["initiate:expired:0.05", "upload:length:0.05"].map(str::to_owned);
    let chosen = all.into_iter().chain(more).enumerate();
    let chosen = chosen.filter(|(index, _)| seed >> index & 1 == 1);
    chosen.map(|(_, text)| text.parse().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to a project, in the end each image is there as it should be, and each
    /// content of it was started once.
    #[test]
    fn lives_and_deaths_of_a_project(
        project in projects(),
        events in events(),
        seed in any::<u64>(),
    ) {
        let mut world = Simulation::new(&project.manifest());
        world.config.faults = faults(seed);
        world.config.seed = seed;
        world.config.bulk =
            [BulkShape::BuildIds, BulkShape::Results, BulkShape::Builds][(seed % 3) as usize];
        let builds = project.bases.len();
        // How many builds there were on the service when the content of each changed.
        let mut changes: Vec<Vec<usize>> = vec![vec![0]; builds];
        let mut seen = 0;
        (0..builds).for_each(|build| project.write(&world, build, 0));
        for (version, event) in events.into_iter().enumerate() {
            match event {
                Event::Edit(build) => {
                    let build = build % builds;
                    project.write(&world, build, version + 1);
                    project.above(build).into_iter().for_each(|at| changes[at].push(seen));
                }
                Event::Live(death) => {
                    world.config.seed = world.config.seed.wrapping_add(1);
                    seen = world.run_process(death).builds.len();
                }
            }
        }
        let mut lives = 0;
        let last = loop {
            world.config.seed = world.config.seed.wrapping_add(1);
            let life = world.run_process(None);
            if life.idle {
                break life;
            }
            lives += 1;
            prop_assert!(lives < 6, "{:?}", life.summary);
        };
        let started = started(&last.builds);
        let at = |build: &ServerBuild| last.builds.iter().position(|b| b.id == build.id).unwrap();
        for (unit, entry) in &world.state().entries {
            let unit = unit.to_string();
            let all = &started[unit.as_str()];
            // A mirror never changes.
            let number = unit.strip_prefix('b').and_then(|rest| rest.strip_suffix(":v1"));
            let changes = number.map_or(&[0][..], |number| &changes[number.parse::<usize>().unwrap()]);
            let epoch = |build: &ServerBuild| changes.iter().filter(|change| **change <= at(build)).count();
            let epochs: Vec<usize> = all.iter().map(|build| epoch(build)).collect();
            prop_assert!(
                epochs.windows(2).all(|pair| pair[0] < pair[1]),
                "{unit} was started twice for one content: {epochs:?} of {changes:?}"
            );
            let newest = all.last().unwrap();
            prop_assert_eq!(newest.status.as_str(), "COMPLETED");
            prop_assert_eq!(entry.built.as_ref().unwrap().build.as_str(), newest.id.as_str());
            prop_assert!(entry.pending.is_none() && entry.submitted.is_none());
        }
        prop_assert!(world.plan().is_noop() && !world.has_journal());
    }
}

/// A run that has a day for what takes a day.
#[test]
fn a_timeout_leaves_what_runs_to_the_next_life() {
    let mut world = world();
    world.timeout = Some(Duration::from_secs(30));
    let life = world.run_process(None);
    let summary = life.summary.unwrap();
    assert!(summary.failures.iter().all(|failure| failure.pending), "{summary:?}");
    assert!((30..35).contains(&life.time.as_secs()), "{:?}", life.time);
    world.timeout = None;
    let last = live_on(&world, "after a timeout");
    check(&world, &last, "after a timeout");
}
