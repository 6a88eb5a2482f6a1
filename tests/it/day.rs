//! A day of a nightly job, with a paused clock: thousands of requests, faults of every kind, expired
//! upload URLs, and a quota that is reached half way.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use imgplan::test_support::base::limit::{Class, ClassLimit};
use imgplan::test_support::event::{RunEvent, StopReason, TargetFailure};
use imgplan::test_support::http::Notice;

use crate::support::Simulation;

const MIRRORS: usize = 1440;
const BUILDS: usize = 40;
/// Ten images in ten minutes, so that the mirrors take a day.
const LIMIT: &str = "images=10/600s";

/// A project of mirrors and builds. Every fourth build is the base of the next three.
fn world() -> Simulation {
    let mut manifest = "version: 1\ndefaults: {tag: v1}\nimages:\n".to_owned();
    for build in 0..BUILDS {
        writeln!(manifest, "  - {{name: b{build}, context: b{build}}}").unwrap();
    }
    for mirror in 0..MIRRORS {
        writeln!(manifest, "  - source: quay.io/library/m{mirror}:v1").unwrap();
    }
    let mut world = Simulation::new(&manifest);
    for build in 0..BUILDS {
        let base = build / 4 * 4;
        let from = if base == build { "scratch".to_owned() } else { format!("b{base}:v1") };
        world.write(&format!("b{build}/Dockerfile"), &format!("FROM {from}\n"));
    }
    let ClassLimit { class, limit } = LIMIT.parse().unwrap();
    world.limits = vec![(class, limit)];
    world.config.limits = vec![ClassLimit { class, limit }];
    world.config.build_time = Duration::from_secs(240);
    world.config.upload_ttl = Duration::from_secs(60);
    let kinds =
        ["500", "503", "429", "429-date", "cut-before", "cut-after", "html", "html-after", "late"];
    let everywhere = kinds.map(|kind| format!("all:{kind}:0.01"));
    let more = ["all:slow=90s:0.01", "initiate:expired:0.1", "upload:length:0.05"];
    let faults = everywhere.iter().map(String::as_str).chain(more);
    world.config.faults = faults.map(|fault| fault.parse().unwrap()).collect();
    world
}

#[test]
fn a_day_ends_in_the_right_state() {
    let mut world = world();
    world.config.quota = Some(1000);
    let morning = world.run_process(None);
    let summary = morning.summary.unwrap();
    let Some(StopReason::Error(why)) = &summary.stopped else { panic!("{:?}", summary.stopped) };
    assert!(why.contains("Image limit exceeded"), "{why}");
    let quota = |failure: &&TargetFailure| failure.message.contains("Image limit exceeded");
    let others: Vec<_> = summary.failures.iter().filter(|failure| !quota(failure)).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(summary.failures.iter().all(|failure| failure.help.is_some()));
    assert_eq!(summary.done() + summary.failures.len() + summary.skipped.len(), BUILDS + MIRRORS);
    assert!(summary.done() >= 990, "the run waits for active transfers: {}", summary.done());
    assert_eq!(morning.images.1, 0, "no transfer exceeded the limit");

    // The quota is raised.
    world.config.quota = None;
    world.config.seed += 1;
    let evening = world.run_process(None);
    let summary = evening.summary.unwrap();
    assert!(summary.is_complete(), "{:?}", summary.failures);
    assert_eq!(evening.images.1, 0, "no transfer exceeded the limit");
    let hours = (morning.time + evening.time).as_secs_f64() / 3600.0;
    // A request with a fault still uses the limit, so the run takes longer than the ideal day.
    assert!((23.5..27.0).contains(&hours), "{hours} hours");

    let mut started: HashMap<&str, usize> = HashMap::new();
    for build in evening.builds.iter().filter(|build| build.started) {
        assert_eq!(build.status, "COMPLETED", "{}", build.image);
        *started.entry(&build.image).or_default() += 1;
    }
    assert_eq!(started.len(), BUILDS + MIRRORS);
    assert!(started.values().all(|times| *times == 1), "nothing is started twice");
    let ids: Vec<&str> = evening.builds.iter().map(|build| build.id.as_str()).collect();
    for (unit, entry) in &world.state().entries {
        let built = entry.built.as_ref().unwrap_or_else(|| panic!("{unit} is not built"));
        assert!(ids.contains(&built.build.as_str()) && entry.pending.is_none(), "{unit}");
    }
    assert!(world.run_process(None).idle && !world.has_journal());

    let count =
        |kind: fn(&RunEvent) -> bool| evening.events.iter().filter(|event| kind(event)).count();
    assert!(
        count(|event| matches!(event, RunEvent::Notice { notice: Notice::Retry { .. }, .. })) > 50
    );
    let waits = count(|event| {
        matches!(
            event,
            RunEvent::Notice { notice: Notice::RateWait { class: Class::Images, .. }, .. }
        )
    });
    assert!((20..200).contains(&waits), "a wait for each window, not for each unit: {waits}");
    let heartbeats = count(|event| matches!(event, RunEvent::Heartbeat { .. }));
    assert!(heartbeats as u64 > evening.time.as_secs() / 11, "it is never silent: {heartbeats}");
}
