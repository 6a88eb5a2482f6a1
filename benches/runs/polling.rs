//! Builds that take their time, at the published limits: how soon a run hears that one has ended,
//! and how often it asks.

use std::time::Duration;

use imgplan::base::limit::{Class, Limit};
use imgplan::server::ServerConfig;

use crate::program::{Done, Manifest, apply, verdict};
use crate::service::{Service, accepted, all_made, requests};

const BUILDS: u32 = 500;
const BUILD_TIME: Duration = Duration::from_secs(20);
/// What is in flight where nothing is said.
const AT_ONCE: usize = 64;
/// The most time over an ideal schedule.
const MOST: f64 = 1.05;
/// Requests in a second that ask how builds are.
const ASKED: f64 = 1.0;

pub(crate) fn polling() -> Done {
    let dir = tempfile::tempdir()?;
    let mut manifest = Manifest::new();
    for number in 0..BUILDS {
        manifest.build(dir.path(), &format!("image-{number}"), "scratch")?;
    }
    manifest.write(dir.path())?;
    let service =
        Service::start(ServerConfig { build_time: BUILD_TIME, ..ServerConfig::default() })?;
    apply(dir.path(), &service.url(), &[])?;
    let ended = service.elapsed();
    let counts = service.stop()?;
    all_made(counts.of(Class::Initiate).accepted, BUILDS.into())?;

    let first = accepted(&counts).next().ok_or("nothing was asked for")?.at;
    let took = ended.saturating_sub(first).as_secs_f64();
    let ideal = ideal(Class::Initiate.default_limit()).as_secs_f64();
    println!("  {BUILDS} builds of {BUILD_TIME:?}, {AT_ONCE} at once, all limits as published");
    println!("  first initiate to the end {took:.1} s, ideal {ideal:.1} s: {:.3}", took / ideal);
    println!("  at most {MOST}: {}", verdict(took <= MOST * ideal));
    let looks = counts.of(Class::Status).accepted + counts.of(Class::List).accepted;
    #[expect(clippy::cast_precision_loss, reason = "hundreds")]
    let asked = looks as f64 / took;
    println!(
        "  {asked:.2} requests a second that ask how builds are; all: {}",
        requests(&counts).1
    );
    println!("  under {ASKED}: {}", verdict(asked < ASKED));
    Ok(())
}

/// How long it takes if nothing but the builds takes time, and nobody waits for anything but room in
/// the window and among those at once. As all take as long, the first to begin is the first to end.
fn ideal(limit: Limit) -> Duration {
    let mut begun: Vec<Duration> = Vec::new();
    for build in 0..BUILDS as usize {
        let before = |many: usize, wait: Duration| Some(begun[build.checked_sub(many)?] + wait);
        let place = before(AT_ONCE, BUILD_TIME).unwrap_or_default();
        let slot = before(limit.count as usize, limit.window).unwrap_or_default();
        begun.push(place.max(slot));
    }
    begun.last().copied().unwrap_or_default() + BUILD_TIME
}
