//! Use of the rate limits: of requests by builds, and of images by mirrors.

use std::time::Duration;

use imgplan::test_support::base::limit::{Class, ClassLimit, Limit};
use imgplan::test_support::server::{BulkShape, RequestCounts, ServerConfig};

use crate::program::{Done, Failed, Manifest, apply, verdict};
use crate::service::{Service, check_accepted, requests, span};

/// Builds take a moment, so that the run is as concurrent as a real one.
const BUILD_TIME: Duration = Duration::from_millis(500);

/// Minimum share of the limit that a run should use.
const MIN_USE: f64 = 0.95;

/// Runs builds, all concurrent, so that they only wait for the limit.
pub(crate) fn window() -> Done {
    const BUILDS: u32 = 300;
    const LIMIT: &str = "initiate=50/2s";
    let dir = tempfile::tempdir()?;
    let mut manifest = Manifest::new();
    for number in 0..BUILDS {
        manifest.build(dir.path(), &format!("image-{number}"), "scratch")?;
    }
    manifest.write(dir.path())?;
    let configured: ClassLimit = LIMIT.parse()?;
    let config = ServerConfig {
        limits: vec![configured],
        build_time: BUILD_TIME,
        ..ServerConfig::default()
    };
    let service = Service::start(config)?;
    let args = ["--limit", LIMIT, "--concurrency", &BUILDS.to_string()];
    let wall = apply(dir.path(), &service.url(), &args)?;
    let counts = service.stop()?;
    println!("  {BUILDS} builds, {LIMIT}; the whole apply {:.3} s", wall.as_secs_f64());
    of_the_limit(&counts, configured.limit, Class::Initiate, BUILDS)
}

/// Runs mirrors, with each shape of response to a list. All other limits are the published ones.
pub(crate) fn mirrors() -> Done {
    const MIRRORS: u32 = 2000;
    const LIMIT: &str = "images=500/3s";
    /// Maximum number of requests per image.
    const MAX_REQUESTS_PER_IMAGE: f64 = 0.05;
    let configured: ClassLimit = LIMIT.parse()?;
    for bulk in [BulkShape::BuildIds, BulkShape::Results, BulkShape::Builds] {
        let dir = tempfile::tempdir()?;
        let mut manifest = Manifest::new();
        (0..MIRRORS).try_for_each(|number| manifest.mirror(number))?;
        manifest.write(dir.path())?;
        let limits = vec![configured];
        let config = ServerConfig {
            limits,
            build_time: BUILD_TIME,
            bulk: Some(bulk),
            ..ServerConfig::default()
        };
        let service = Service::start(config)?;
        let wall = apply(dir.path(), &service.url(), &["--limit", LIMIT])?;
        let counts = service.stop()?;
        let wall = wall.as_secs_f64();
        println!(
            "  {MIRRORS} mirrors, {LIMIT}, responses as {bulk:?}; the whole apply {wall:.3} s"
        );
        of_the_limit(&counts, configured.limit, Class::Images, MIRRORS)?;
        let (sent, words) = requests(&counts);
        #[expect(clippy::cast_precision_loss, reason = "thousands")]
        let part = sent as f64 / f64::from(MIRRORS);
        println!("  {sent} requests, {:.1} % of the images: {words}", 100.0 * part);
        println!(
            "  at most {:.0} %: {}",
            100.0 * MAX_REQUESTS_PER_IMAGE,
            verdict(part <= MAX_REQUESTS_PER_IMAGE)
        );
    }
    Ok(())
}

/// Prints the used share of a limit. All requests could have been sent at once otherwise.
fn of_the_limit(
    counts: &RequestCounts,
    limit: Limit,
    class: Class,
    expected: u32,
) -> Result<(), Failed> {
    let counted = counts.of(class);
    check_accepted(counted.accepted, expected.into())?;
    // With 50 in 2 s, the last 50 of 300 may be sent 10 s after the first.
    let bound = limit.window * ((expected - 1) / limit.count);
    let span = span(counts)?;
    let ratio = bound.as_secs_f64() / span.as_secs_f64();
    println!(
        "  refused {}, most in any window {} of {}",
        counted.refused, counted.peak, limit.count
    );
    println!(
        "  first to last {:.3} s, allowed {:.3} s: {:.1} % of what the limit allows",
        span.as_secs_f64(),
        bound.as_secs_f64(),
        100.0 * ratio
    );
    println!("  at least {:.0} %: {}", 100.0 * MIN_USE, verdict(ratio >= MIN_USE));
    Ok(())
}
