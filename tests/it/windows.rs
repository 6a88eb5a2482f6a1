//! How well whole runs use the limits, by the clock that jumps: nothing is refused, no slot stays
//! empty while work waits, and asking how builds are costs little. The benches measure the same by
//! the clock on the wall.

use std::fmt::Write;
use std::time::Duration;

use imgplan::base::limit::ClassLimit;
use imgplan::server::BulkShape;

use crate::support::World;

#[test]
fn two_thousand_mirrors_take_what_the_window_allows_in_few_requests() {
    let mut manifest = "version: 1\nimages:\n".to_owned();
    for mirror in 0..2000 {
        writeln!(manifest, "  - source: docker.io/library/image-{mirror}:v1").unwrap();
    }
    let ClassLimit { class, limit } = "images=500/3s".parse().unwrap();
    for shape in [BulkShape::BuildIds, BulkShape::Results, BulkShape::Builds] {
        let mut world = World::new(&manifest);
        world.limits = vec![(class, limit)];
        world.config.limits = vec![ClassLimit { class, limit }];
        world.config.bulk = shape;
        world.config.build_time = Duration::from_secs(1);
        let life = world.live(None);
        assert!(life.summary.unwrap().is_complete());
        assert_eq!(life.images, (2000, 0), "{shape:?}: none was refused");
        // Of 2,000 at 500 in 3 s the last may leave 9 s after the first; it takes a second, and it is
        // some until its end is seen.
        let ideal = 9.0 + 1.0;
        let time = life.time.as_secs_f64();
        assert!(time <= ideal / 0.95 + 2.0, "{shape:?}: {time} s");
        assert!(life.requests <= 150, "{shape:?}: {} requests", life.requests);
    }
}

#[test]
fn five_hundred_builds_take_little_longer_than_they_must() {
    let mut manifest = "version: 1\nimages:\n".to_owned();
    for build in 0..500 {
        writeln!(manifest, "  - {{name: b{build}, context: c}}").unwrap();
    }
    let mut world = World::new(&manifest);
    world.write("c/Dockerfile", "FROM scratch\n");
    world.config.build_time = Duration::from_secs(20);
    let life = world.live(None);
    assert!(life.summary.unwrap().is_complete());
    // 150 in 60 s and 64 at once: the last 50 begin after three minutes.
    let time = life.time.as_secs_f64();
    assert!((200.0..=1.05 * 200.0).contains(&time), "{time} s");
    // An initiate, an upload and a start for each; the rest asks how they are.
    let asking = life.requests - 3 * 500;
    assert!((asking as u64) < life.time.as_secs(), "{asking} requests in {time} s");
}
