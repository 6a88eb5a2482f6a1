//! Long builds at the published limits: how soon a run sees their end, and how often it polls.

use std::time::Duration;

use imgplan::test_support::base::limit::{Class, Limit};
use imgplan::test_support::server::ServerConfig;

use crate::program::{Done, Manifest, apply, verdict};
use crate::service::{Service, accepted, check_accepted, requests};

const BUILDS: u32 = 500;
const BUILD_TIME: Duration = Duration::from_secs(20);
/// Default number of concurrent builds.
const CONCURRENCY: usize = 150;
/// Maximum duration, relative to an ideal schedule.
const MAX_RELATIVE_TIME: f64 = 1.05;
/// Maximum poll requests per second.
const MAX_POLLS_PER_SECOND: f64 = 1.0;

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
    check_accepted(counts.of(Class::Initiate).accepted, BUILDS.into())?;

    let first = accepted(&counts).next().ok_or("no build was accepted")?.at;
    let took = ended.saturating_sub(first).as_secs_f64();
    let ideal = ideal(Class::Initiate.default_limit()).as_secs_f64();
    println!("  {BUILDS} builds of {BUILD_TIME:?}, {CONCURRENCY} at once, all limits as published");
    println!("  first initiate to the end {took:.1} s, ideal {ideal:.1} s: {:.3}", took / ideal);
    println!("  at most {MAX_RELATIVE_TIME}: {}", verdict(took <= MAX_RELATIVE_TIME * ideal));
    let polls = counts.of(Class::Status).accepted + counts.of(Class::List).accepted;
    #[expect(clippy::cast_precision_loss, reason = "hundreds")]
    let polls = polls as f64 / took;
    println!("  {polls:.2} polls per second; all requests: {}", requests(&counts).1);
    println!("  under {MAX_POLLS_PER_SECOND}: {}", verdict(polls < MAX_POLLS_PER_SECOND));
    Ok(())
}

/// Returns the duration of an ideal schedule: only builds take time, and a build waits only for the
/// rate limit and the concurrency. All builds take equally long, so the first to begin ends first.
fn ideal(limit: Limit) -> Duration {
    let mut begun: Vec<Duration> = Vec::new();
    for build in 0..BUILDS as usize {
        let before = |many: usize, wait: Duration| Some(begun[build.checked_sub(many)?] + wait);
        let place = before(CONCURRENCY, BUILD_TIME).unwrap_or_default();
        let slot = before(limit.count as usize, limit.window).unwrap_or_default();
        begun.push(place.max(slot));
    }
    begun.last().copied().unwrap_or_default() + BUILD_TIME
}
