//! An apply of builds that all take equally long, compared with the duration of one.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::Bench;
use crate::measure::{Done, Failed, median, run, verdict};
use crate::service::{Service, remove};
use crate::support::contexts;

const BUILDS: usize = 100;
const BUILD_SECONDS: f64 = 5.0;
/// Maximum duration, relative to that of one build.
const MAX_RELATIVE_TIME: f64 = 1.3;
/// Maximum number of runs, each of which takes 5 s or more.
const MAX_RUNS: usize = 3;

/// 100 builds of 5 s with the default concurrency and the published limits. The floor is 5 s.
pub(crate) fn builds(bench: &Bench) -> Done {
    let dir = bench.dir.join("builds");
    contexts(&dir, BUILDS, 3)?;
    let runs = (0..bench.runs.min(MAX_RUNS)).map(|_| seconds(&dir));
    let runs = runs.collect::<Result<Vec<f64>, Failed>>()?;
    fs::remove_dir_all(&dir)?;
    let (seconds, relative) = (median(&runs), median(&runs) / BUILD_SECONDS);
    println!("  {BUILDS} builds of {BUILD_SECONDS} s: {seconds:.2} s, {relative:.2} of the floor");
    let holds = relative <= MAX_RELATIVE_TIME;
    println!("  at most {MAX_RELATIVE_TIME}: {}", verdict(holds));
    Ok(())
}

/// Applies everything to a new server, and returns the duration.
fn seconds(dir: &Path) -> Result<f64, Failed> {
    remove(&dir.join("imgplan.lock"))?;
    let time = format!("{BUILD_SECONDS}s");
    let service = Service::start(dir, "127.0.0.1:0", &["--build-time", &time])?;
    let mut apply = service.apply();
    let began = Instant::now();
    run(&mut apply)?;
    Ok(began.elapsed().as_secs_f64())
}
