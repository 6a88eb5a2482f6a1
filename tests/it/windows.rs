//! Use of the rate limits by whole runs, with a paused clock: nothing is refused, no slot stays unused
//! while work waits, and polling costs little. The benches measure the same in real time.

use std::fmt::Write;
use std::time::Duration;

use imgplan::test_support::base::limit::ClassLimit;
use imgplan::test_support::server::BulkShape;

use crate::support::Simulation;

#[test]
fn two_thousand_mirrors_use_the_limit_with_few_requests() {
    let mut manifest = "version: 1\nimages:\n".to_owned();
    for mirror in 0..2000 {
        writeln!(manifest, "  - source: quay.io/library/image-{mirror}:v1").unwrap();
    }
    let ClassLimit { class, limit } = "images=500/3s".parse().unwrap();
    for shape in [BulkShape::BuildIds, BulkShape::Results, BulkShape::Builds] {
        let mut world = Simulation::new(&manifest);
        world.limits = vec![(class, limit)];
        world.config.limits = vec![ClassLimit { class, limit }];
        world.config.bulk = Some(shape);
        world.config.build_time = Duration::from_secs(1);
        let life = world.run_process(None);
        assert!(life.summary.unwrap().is_complete());
        assert_eq!(life.images, (2000, 0), "{shape:?}: none was refused");
        // With 500 in 3 s, the last of 2,000 is sent 9 s after the first and takes a second; its end
        // is seen by a later poll.
        let ideal = 9.0 + 1.0;
        let time = life.time.as_secs_f64();
        assert!(time <= ideal / 0.95 + 2.0, "{shape:?}: {time} s");
        assert!(life.requests <= 150, "{shape:?}: {} requests", life.requests);
    }
}

#[test]
fn five_hundred_builds_take_at_most_five_percent_longer_than_ideal() {
    let mut manifest = "version: 1\nimages:\n".to_owned();
    for build in 0..500 {
        writeln!(manifest, "  - {{name: b{build}, context: c}}").unwrap();
    }
    let mut world = Simulation::new(&manifest);
    world.write("c/Dockerfile", "FROM scratch\n");
    world.config.build_time = Duration::from_secs(20);
    let life = world.run_process(None);
    assert!(life.summary.unwrap().is_complete());
    // With 150 in 60 s, the last 50 of 500 begin after three minutes.
    let time = life.time.as_secs_f64();
    assert!((200.0..=1.05 * 200.0).contains(&time), "{time} s");
    // An initiate, an upload and a start for each; all other requests are polls.
    let polls = life.requests - 3 * 500;
    assert!((polls as u64) < life.time.as_secs(), "{polls} polls in {time} s");
}
