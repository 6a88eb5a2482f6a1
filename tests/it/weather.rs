//! A large apply against a service with every kind of fault on every kind of request. It must end in
//! the same state as without faults.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use imgplan::test_support::base::limit::Class;
use imgplan::test_support::server::{ClassCounts, ServerConfig};

use crate::support::TestEnv;

const BASES: usize = 8;
const ON_BASES: usize = 52;
const ALONE: usize = 60;
const IN_LISTS: usize = 60;
const NAMED: usize = 20;
const IMAGES: usize = BASES + ON_BASES + ALONE + IN_LISTS + NAMED;

/// Faults that apply to any request.
const GENERAL_FAULTS: [&str; 10] = [
    "500",
    "503",
    "429",
    "429-date",
    "cut-before",
    "cut-after",
    "html",
    "html-after",
    "slow=200ms",
    "late=2s",
];

/// Rate of each fault: 14 % of the requests, and a few more in classes with faults of their own.
const RATE: &str = "1.4%";

/// A project of bases, builds on them, builds without a base, and mirrors.
fn project(env: &TestEnv) {
    let mut manifest = "version: 1\ndefaults: {tag: v1}\nimages:\n".to_owned();
    let builds = (0..BASES).map(|n| (format!("base{n}"), "scratch".to_owned()));
    let on_bases = (0..ON_BASES).map(|n| (format!("on{n}"), format!("base{}:v1", n % BASES)));
    let alone = (0..ALONE).map(|n| (format!("alone{n}"), "scratch".to_owned()));
    for (name, base) in builds.chain(on_bases).chain(alone) {
        writeln!(manifest, "  - {{name: {name}, context: {name}}}").unwrap();
        env.context(&name, &format!("FROM {base}\nLABEL name={name}\n"));
    }
    for n in 0..IN_LISTS {
        writeln!(manifest, "  - {{source: \"ghcr.io/org/listed{n}:v1\"}}").unwrap();
    }
    for n in 0..NAMED {
        writeln!(manifest, "  - {{source: \"ghcr.io/org/other{n}:v2\", name: named{n}}}").unwrap();
    }
    env.write("imgplan.yaml", manifest);
}

#[test]
fn faults_of_every_kind_do_not_change_the_final_state() {
    let mut faults: Vec<_> =
        GENERAL_FAULTS.iter().map(|kind| format!("all:{kind}:{RATE}")).collect();
    faults.extend(["initiate:expired:4%".to_owned(), "upload:length:4%".to_owned()]);
    let env = TestEnv::unlimited(ServerConfig {
        build_time: Duration::from_millis(100),
        faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(),
        seed: std::env::var("IMGPLAN_TEST_SEED").map_or(5, |seed| seed.parse().unwrap()),
        ..ServerConfig::default()
    });
    project(&env);
    let apply = env.run(["apply", "--auto-approve", "--json"]);
    apply.success();
    assert!(!apply.events("retry").is_empty(), "{apply}");

    let mut started: BTreeMap<String, usize> = BTreeMap::new();
    for build in env.server().builds() {
        // A build whose response was lost or whose URL expired never gets a context.
        let mirror = build.image.starts_with("listed") || build.image.starts_with("named");
        let started_or_mirror = build.started || mirror;
        assert_eq!(
            build.status,
            if started_or_mirror { "COMPLETED" } else { "UPLOADING" },
            "{build:?}"
        );
        *started.entry(build.image).or_default() += usize::from(started_or_mirror);
    }
    assert_eq!(started.len(), IMAGES);
    let wrong: Vec<_> = started.iter().filter(|(_, times)| **times != 1).collect();
    assert!(wrong.is_empty(), "not started exactly once: {wrong:?}");
    env.plans_nothing();

    let counts = env.server().counts();
    let injected: BTreeSet<&str> =
        counts.log.iter().filter_map(|request| Some(request.fault?.as_str())).collect();
    let kinds = faults.iter().map(|fault| fault.split([':', '=']).nth(1).unwrap());
    assert_eq!(injected, kinds.collect(), "every kind of fault was injected");
    let each = [Class::Initiate, Class::Start, Class::List].map(|class| counts.of(class));
    let all = [&each[..], &[counts.of(Class::Status), counts.uploads]].concat();
    assert!(each.iter().chain([&counts.uploads]).all(|of| of.faulted > 0), "{all:?}");
    let sum = |count: fn(&ClassCounts) -> u64| all.iter().map(count).sum::<u64>();
    let (faulted, accepted) = (sum(|of| of.faulted), sum(|of| of.accepted));
    assert!(faulted * 10 >= accepted, "{faulted} of {accepted} had a fault");
}
