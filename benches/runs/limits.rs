//! How much of a limit a run uses: of requests by builds, and of images by mirrors.

use std::time::Duration;

use imgplan::base::limit::{Class, ClassLimit, Limit};
use imgplan::server::{BulkShape, RequestCounts, ServerConfig};

use crate::program::{Done, Failed, Manifest, apply, verdict};
use crate::service::{Service, all_made, requests, span};

/// A build takes a moment, so that the run is as concurrent as a real one.
const BUILD_TIME: Duration = Duration::from_millis(500);

/// The least part of what a limit allows.
const LEAST: f64 = 0.95;

/// Builds, all in flight at once, so that nothing but the limit holds them up.
pub(crate) fn window() -> Done {
    const BUILDS: u32 = 300;
    const LIMIT: &str = "initiate=50/2s";
    let dir = tempfile::tempdir()?;
    let mut manifest = Manifest::new();
    for number in 0..BUILDS {
        manifest.build(dir.path(), &format!("image-{number}"), "scratch")?;
    }
    manifest.write(dir.path())?;
    let given: ClassLimit = LIMIT.parse()?;
    let config =
        ServerConfig { limits: vec![given], build_time: BUILD_TIME, ..ServerConfig::default() };
    let service = Service::start(config)?;
    let args = ["--limit", LIMIT, "--concurrency", &BUILDS.to_string()];
    let wall = apply(dir.path(), &service.url(), &args)?;
    let counts = service.stop()?;
    println!("  {BUILDS} builds, {LIMIT}; the whole apply {:.3} s", wall.as_secs_f64());
    of_the_limit(&counts, given.limit, Class::Initiate, BUILDS)
}

/// Mirrors, by each shape in which the service may answer a list of them. All other limits are the
/// published ones.
pub(crate) fn mirrors() -> Done {
    const MIRRORS: u32 = 2000;
    const LIMIT: &str = "images=500/3s";
    /// Requests of all kinds for so many images are a small part of them.
    const PART: f64 = 0.05;
    let given: ClassLimit = LIMIT.parse()?;
    for bulk in [BulkShape::BuildIds, BulkShape::Results, BulkShape::Builds] {
        let dir = tempfile::tempdir()?;
        let mut manifest = Manifest::new();
        (0..MIRRORS).try_for_each(|number| manifest.mirror(number))?;
        manifest.write(dir.path())?;
        let limits = vec![given];
        let config =
            ServerConfig { limits, build_time: BUILD_TIME, bulk, ..ServerConfig::default() };
        let service = Service::start(config)?;
        let wall = apply(dir.path(), &service.url(), &["--limit", LIMIT])?;
        let counts = service.stop()?;
        let wall = wall.as_secs_f64();
        println!("  {MIRRORS} mirrors, {LIMIT}, answers as {bulk:?}; the whole apply {wall:.3} s");
        of_the_limit(&counts, given.limit, Class::Images, MIRRORS)?;
        let (sent, words) = requests(&counts);
        #[expect(clippy::cast_precision_loss, reason = "thousands")]
        let part = sent as f64 / f64::from(MIRRORS);
        println!("  {sent} requests, {:.1} % of the images: {words}", 100.0 * part);
        println!("  at most {:.0} %: {}", 100.0 * PART, verdict(part <= PART));
    }
    Ok(())
}

/// Prints how much of a limit was used by so many that could have gone at once.
fn of_the_limit(
    counts: &RequestCounts,
    limit: Limit,
    class: Class,
    wanted: u32,
) -> Result<(), Failed> {
    let seen = counts.of(class);
    all_made(seen.accepted, wanted.into())?;
    // Of 300 at 50 in 2 s, the first of the sixth 50 may come 10 s after the very first.
    let bound = limit.window * ((wanted - 1) / limit.count);
    let span = span(counts)?;
    let ratio = bound.as_secs_f64() / span.as_secs_f64();
    println!("  refused {}, most in any window {} of {}", seen.refused, seen.peak, limit.count);
    println!(
        "  first to last {:.3} s, allowed {:.3} s: {:.1} % of what the limit allows",
        span.as_secs_f64(),
        bound.as_secs_f64(),
        100.0 * ratio
    );
    println!("  at least {:.0} %: {}", 100.0 * LEAST, verdict(ratio >= LEAST));
    Ok(())
}
