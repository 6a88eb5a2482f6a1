//! An apply of builds that all take equally long, compared with the duration of one.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::Bench;
use crate::measure::{Done, Failed, imgplan, median, run, verdict};
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
    for left in ["imgplan.lock", "url"] {
        if dir.join(left).exists() {
            fs::remove_file(dir.join(left))?;
        }
    }
    let time = format!("{BUILD_SECONDS}s");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--url-file", "url", "--build-time", &time];
    let _server = Server(imgplan(dir, &serve).spawn()?);
    let url = url(&dir.join("url"))?;
    let mut apply: Command = imgplan(dir, &["apply", "--auto-approve", "--quiet"]);
    apply.env("PRIME_API_BASE_URL", url.trim()).env("PRIME_API_KEY", "bench");
    let began = Instant::now();
    run(&mut apply)?;
    Ok(began.elapsed().as_secs_f64())
}

/// Waits until the server listens, and returns its URL.
fn url(file: &Path) -> Result<String, Failed> {
    for _ in 0..500 {
        match fs::read_to_string(file) {
            Ok(url) if !url.is_empty() => return Ok(url),
            _ => thread::sleep(Duration::from_millis(20)),
        }
    }
    Err("the server does not listen".into())
}

/// A server, which ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
