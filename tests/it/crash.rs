//! Crashes at every request and every record. The next process must lose no accepted build, start no
//! content twice, and reach a state with nothing to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use imgplan::test_support::server::{BulkShape, Fault, ServerBuild};
use proptest::prelude::*;

use crate::support::{CrashPoint, ProcessResult, Simulation};

/// Builds with and without a base, mirrors in one batch, and a mirror with its own name.
const MANIFEST: &str = "version: 1
defaults: {tag: v1}
images:
  - {name: base, context: base}
  - {name: api, context: api}
  - {name: other, context: other}
  - source: quay.io/library/redis:7
  - source: quay.io/library/nginx:1
  - {name: mine, tag: v2, source: 'quay.io/library/nginx:2'}
";

fn simulation() -> Simulation {
    let simulation = Simulation::new(MANIFEST);
    simulation
        .write("base/Dockerfile", "FROM scratch\n")
        .write("api/Dockerfile", "FROM base:v1\n")
        .write("other/Dockerfile", "FROM scratch\n");
    simulation
}

/// Returns the started builds of each image, in order.
fn started(builds: &[ServerBuild]) -> BTreeMap<&str, Vec<&ServerBuild>> {
    let mut started: BTreeMap<&str, Vec<&ServerBuild>> = BTreeMap::new();
    for build in builds.iter().filter(|build| build.started) {
        started.entry(&build.image).or_default().push(build);
    }
    started
}

/// Checks the end of a project that did not change: each image was started once and is recorded.
/// `case` names the case in failures.
fn check(simulation: &Simulation, last: &ProcessResult, case: &str) {
    let started = started(&last.builds);
    let state = simulation.state();
    for (unit, entry) in &state.entries {
        let unit = unit.to_string();
        let [one] = &started[unit.as_str()][..] else {
            panic!("{case}: {unit} was started {} times", started[unit.as_str()].len());
        };
        assert_eq!(one.status, "COMPLETED", "{case}: {unit}");
        let built = entry.built.as_ref().unwrap_or_else(|| panic!("{case}: {unit} is not built"));
        assert_eq!(built.build.as_str(), one.id, "{case}: {unit}");
        assert!(entry.pending.is_none() && entry.submitted.is_none(), "{case}: {unit}");
    }
    assert_eq!(started.len(), state.entries.len(), "{case}: images are missing in the lockfile");
    assert!(simulation.plan().is_noop() && !simulation.has_journal(), "{case}");
}

/// Runs further processes until there is nothing to do.
fn run_to_end(simulation: &Simulation, case: &str) -> ProcessResult {
    for _ in 0..4 {
        let process = simulation.run_process(None);
        if process.idle {
            return process;
        }
        let summary = process.summary.unwrap();
        assert!(summary.is_complete(), "{case}: {:?}", summary.failures);
    }
    panic!("{case}: there is always something left to do")
}

#[test]
fn a_crash_at_any_request_or_record_loses_nothing() {
    for shape in [BulkShape::BuildIds, BulkShape::Results] {
        let fresh = || {
            let mut simulation = simulation();
            simulation.config.bulk = Some(shape);
            simulation
        };
        let undisturbed = fresh();
        let process = undisturbed.run_process(None);
        assert!(process.summary.unwrap().is_complete());
        check(&undisturbed, &undisturbed.run_process(None), "no crash");
        let requests = process.requests;
        assert!(requests > 15, "{requests} requests");
        let crash = |point| {
            let case = format!("{shape:?} {point:?}");
            let simulation = fresh();
            let process = simulation.run_process(Some(point));
            assert!(!process.completed, "{case}");
            // Planning never fails after a crash.
            simulation.plan();
            let last = run_to_end(&simulation, &case);
            check(&simulation, &last, &case);
            process
        };
        let mut torn = 0;
        for at in 0..requests {
            crash(CrashPoint::Before(at));
            crash(CrashPoint::After(at));
            torn +=
                (0..99).take_while(|lines| crash(CrashPoint::DuringWrite(at, *lines)).torn).count();
        }
        // Usually about 20. Requests that run at the same time share some, so it varies.
        assert!(torn >= 8, "{torn} records");
    }
}

#[test]
fn repeated_crashes_lose_nothing() {
    let simulation = simulation();
    for at in 0..12 {
        simulation.run_process(Some(CrashPoint::After(at)));
        simulation.run_process(Some(CrashPoint::Before(at / 2)));
    }
    let last = run_to_end(&simulation, "repeated crashes");
    check(&simulation, &last, "repeated crashes");
}

/// A random project of builds and mirrors.
#[derive(Debug, Clone)]
struct Project {
    /// For each build, the indices of its bases, which are lower than its own.
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
            writeln!(text, "  - source: quay.io/library/m{mirror}:v1").unwrap();
        }
        text
    }

    fn write(&self, simulation: &Simulation, build: usize, version: usize) {
        let from = |base: &usize| format!("FROM b{base}:v1 AS s{base}\n");
        let froms: String = self.bases[build].iter().map(from).collect();
        let from = if froms.is_empty() { "FROM scratch\n".to_owned() } else { froms };
        simulation.write(&format!("b{build}/Dockerfile"), &format!("{from}LABEL v={version}\n"));
    }

    /// Returns a build and all its direct and indirect dependents.
    fn with_dependents(&self, build: usize) -> BTreeSet<usize> {
        let mut builds = BTreeSet::from([build]);
        for next in build + 1..self.bases.len() {
            if !self.bases[next].is_disjoint(&builds) {
                builds.insert(next);
            }
        }
        builds
    }
}

fn projects() -> impl Strategy<Value = Project> {
    let bases = prop::collection::vec(prop::collection::btree_set(0usize..5, 0..3), 1..5);
    (bases, 0usize..4).prop_map(|(bases, mirrors)| {
        let lower = |(build, bases): (usize, BTreeSet<usize>)| {
            bases.into_iter().filter(|base| *base < build).collect()
        };
        Project { bases: bases.into_iter().enumerate().map(lower).collect(), mirrors }
    })
}

/// An event in the life of a project.
#[derive(Debug, Clone)]
enum Event {
    Edit(usize),
    Run(Option<CrashPoint>),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let at = 0usize..14;
    let crash = prop_oneof![
        at.clone().prop_map(|at| Some(CrashPoint::Before(at))),
        at.clone().prop_map(|at| Some(CrashPoint::After(at))),
        (at, 0usize..3).prop_map(|(at, lines)| Some(CrashPoint::DuringWrite(at, lines))),
        Just(None),
    ];
    let event = prop_oneof![
        1 => (0usize..5).prop_map(Event::Edit),
        3 => crash.prop_map(Event::Run),
    ];
    prop::collection::vec(event, 0..8)
}

/// Returns faults chosen by the seed, each at a low rate.
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

    /// After any sequence of edits, runs and crashes, each image is built, and each of its contents was
    /// started at most once.
    #[test]
    fn random_crashes_lose_nothing_and_start_nothing_twice(
        project in projects(),
        events in events(),
        seed in any::<u64>(),
    ) {
        let mut simulation = Simulation::new(&project.manifest());
        simulation.config.faults = faults(seed);
        simulation.config.seed = seed;
        let shapes = [BulkShape::BuildIds, BulkShape::Results, BulkShape::Builds];
        simulation.config.bulk = Some(shapes[(seed % 3) as usize]);
        let builds = project.bases.len();
        // For each build: the number of builds in the service at each change of its content.
        let mut changes: Vec<Vec<usize>> = vec![vec![0]; builds];
        let mut builds_in_service = 0;
        (0..builds).for_each(|build| project.write(&simulation, build, 0));
        for (version, event) in events.into_iter().enumerate() {
            match event {
                Event::Edit(build) => {
                    let build = build % builds;
                    project.write(&simulation, build, version + 1);
                    for dependent in project.with_dependents(build) {
                        changes[dependent].push(builds_in_service);
                    }
                }
                Event::Run(crash) => {
                    simulation.config.seed = simulation.config.seed.wrapping_add(1);
                    builds_in_service = simulation.run_process(crash).builds.len();
                }
            }
        }
        let mut processes = 0;
        let last = loop {
            simulation.config.seed = simulation.config.seed.wrapping_add(1);
            let process = simulation.run_process(None);
            if process.idle {
                break process;
            }
            processes += 1;
            prop_assert!(processes < 6, "{:?}", process.summary);
        };
        let started = started(&last.builds);
        let index = |build: &ServerBuild| last.builds.iter().position(|b| b.id == build.id).unwrap();
        for (unit, entry) in &simulation.state().entries {
            let unit = unit.to_string();
            let all = &started[unit.as_str()];
            // Mirrors never change.
            let number = unit.strip_prefix('b').and_then(|name| name.strip_suffix(":v1"));
            let changes = number.map_or(&[0][..], |number| &changes[number.parse::<usize>().unwrap()]);
            let content = |build: &ServerBuild| {
                changes.iter().filter(|change| **change <= index(build)).count()
            };
            let contents: Vec<usize> = all.iter().map(|build| content(build)).collect();
            prop_assert!(
                contents.windows(2).all(|pair| pair[0] < pair[1]),
                "{unit} was started twice for one content: {contents:?} of {changes:?}"
            );
            let newest = all.last().unwrap();
            prop_assert_eq!(newest.status.as_str(), "COMPLETED");
            prop_assert_eq!(entry.built.as_ref().unwrap().build.as_str(), newest.id.as_str());
            prop_assert!(entry.pending.is_none() && entry.submitted.is_none());
        }
        prop_assert!(simulation.plan().is_noop() && !simulation.has_journal());
    }
}

#[test]
fn builds_that_run_at_a_timeout_are_adopted_by_the_next_process() {
    let mut simulation = simulation();
    simulation.timeout = Some(Duration::from_secs(30));
    let process = simulation.run_process(None);
    let summary = process.summary.unwrap();
    assert!(summary.failures.iter().all(|failure| failure.pending), "{summary:?}");
    assert!((30..35).contains(&process.time.as_secs()), "{:?}", process.time);
    simulation.timeout = None;
    let last = run_to_end(&simulation, "after a timeout");
    check(&simulation, &last, "after a timeout");
}
