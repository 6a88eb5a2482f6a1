//! How much of a limit a run uses: 300 builds against our server, which lets 50 through in any 2 s.
//!
//! The program is a process of its own, as users run it, and is told the same limit. What it did
//! is read from the server's log, whose counting shares no code with the client's. Exits with 1
//! where the server refused a request or saw more than the limit in some window. How fast it was
//! is printed, and for a person to judge: a busy machine is no failure.

#![allow(clippy::print_stdout, reason = "what it measured is what it is for")]
#![allow(clippy::unwrap_used, reason = "a bench that panics says where")]

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use imgplan::base::limit::{Class, ClassLimit};
use imgplan::server::{Config, Counts};

const BUILDS: u32 = 300;
const LIMIT: &str = "initiate=50/2s";
/// A build takes a moment, so that the run is as concurrent as a real one.
const BUILD_TIME: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(measure())
}

async fn measure() -> ExitCode {
    let limit: ClassLimit = LIMIT.parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    contexts(dir.path());
    let config = Config { limits: vec![limit], build_time: BUILD_TIME, ..Config::default() };
    let server = imgplan::server::start(config).await.unwrap();
    let (folder, url) = (dir.path().to_owned(), server.url());
    let apply = move || apply(&folder, &url);
    let (succeeded, wall) = tokio::task::spawn_blocking(apply).await.unwrap();
    let counts = server.counts();
    let initiates = counts.of(Class::Initiate);

    // Of 300 at 50 in 2 s, the first of the sixth 50 may leave 10 s after the very first.
    let rounds = (BUILDS - 1) / limit.limit.count;
    let bound = limit.limit.window * rounds;
    let span = span(&counts);
    println!("{BUILDS} builds, {LIMIT}");
    println!("accepted by the server    {}", initiates.accepted);
    println!("refused by the server     {}", initiates.refused);
    println!("most in any window        {} of {}", initiates.peak, limit.limit.count);
    println!("first to last initiate    {:.3} s", span.as_secs_f64());
    println!("what the limit allows     {:.3} s", bound.as_secs_f64());
    let ratio = bound.as_secs_f64() / span.as_secs_f64();
    println!("of what the limit allows  {:.1} %", 100.0 * ratio);
    println!("the whole apply           {:.3} s", wall.as_secs_f64());
    server.stop().await.unwrap();

    let all = succeeded && initiates.accepted == u64::from(BUILDS);
    let kept = initiates.refused == 0 && initiates.peak <= limit.limit.count;
    if all && kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A manifest of builds, each from a folder of its own with one file and a Dockerfile.
fn contexts(dir: &Path) {
    let mut manifest = "version: 1\nimages:\n".to_owned();
    for number in 0..BUILDS {
        let context = dir.join(format!("c{number}"));
        std::fs::create_dir(&context).unwrap();
        std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY file /\n").unwrap();
        std::fs::write(context.join("file"), number.to_string()).unwrap();
        writeln!(manifest, "  - {{ name: image-{number}, context: c{number} }}").unwrap();
    }
    std::fs::write(dir.join("imgplan.yaml"), manifest).unwrap();
}

/// Applies all of it, and says whether it succeeded and how long it took.
fn apply(dir: &Path, url: &str) -> (bool, Duration) {
    let concurrency = BUILDS.to_string();
    let began = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_imgplan"))
        .args(["apply", "--auto-approve", "--quiet", "--limit", LIMIT])
        .args(["--concurrency", &concurrency])
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir)
        .env("PRIME_API_BASE_URL", url)
        .env("PRIME_API_KEY", "bench")
        .stdout(Stdio::null())
        .status()
        .unwrap();
    (status.success(), began.elapsed())
}

/// From the first request that asked for a build to the last, as they came to the server.
fn span(counts: &Counts) -> Duration {
    let mut times =
        counts.log.iter().filter(|seen| seen.class == Some(Class::Initiate)).map(|seen| seen.at);
    let first = times.next().unwrap_or_default();
    times.next_back().unwrap_or(first).saturating_sub(first)
}
