//! The cost of one apply of 10,000 targets: memory, processor time, and the longest silence.

use std::fs;
use std::path::Path;
use std::time::Duration;

use imgplan::test_support::base::limit::{Class, ClassLimit};
use imgplan::test_support::server::ServerConfig;

use crate::program::{Done, Failed, IMGPLAN, Manifest, Stream, command, measure, verdict};
use crate::service::{Service, check_accepted, requests};

const MIRRORS: u32 = 9000;
const BUILDS: u32 = 1000;
/// Builds that are bases. Every second one of the other builds has a base.
const BASES: u32 = 20;
const BUILD_TIME: Duration = Duration::from_secs(1);
/// Raised limits, because the run would take hours otherwise. Polling has the published limits.
const LIMITS: &str = "images=1000/5s,initiate=500/5s,start=500/5s";

/// Maximum resident memory, in bytes.
const MAX_MEMORY_BYTES: f64 = 150e6;
/// Maximum processor time, in seconds.
const MAX_PROCESSOR_SECONDS: f64 = 20.0;
/// Maximum time without output. A run reports a heartbeat every 10 s.
const MAX_SILENCE: Duration = Duration::from_secs(11);

/// Measures one run with `--json`, and one with the output for people.
pub(crate) fn many() -> Done {
    one("events of --json", Stream::Stdout, &["--json"])?;
    one("the screen", Stream::Stderr, &[])
}

fn one(description: &str, stream: Stream, args: &[&str]) -> Done {
    let dir = tempfile::tempdir()?;
    manifest(dir.path())?;
    let limits: Vec<ClassLimit> = LIMITS.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let service =
        Service::start(ServerConfig { limits, build_time: BUILD_TIME, ..ServerConfig::default() })?;
    let used = dir.path().join("used");
    // Measured by GNU time: for a direct child, the memory of this process would count too.
    let mut time = command("time", dir.path(), &service.url());
    time.args(["-f", "%M %U %S", "-o"]).arg(&used).arg(IMGPLAN);
    time.args(["apply", "--auto-approve", "--limit", LIMITS]).args(args);
    let measured = measure(&mut time, stream)
        .map_err(|error| format!("{error} (it needs GNU time: apt install time)"))?;
    let counts = service.stop()?;
    check_accepted(counts.of(Class::Images).accepted, MIRRORS.into())?;
    check_accepted(counts.of(Class::Start).accepted, BUILDS.into())?;
    let used = fs::read_to_string(&used)?;
    let (peak, processor) = read(&used).ok_or_else(|| format!("GNU time wrote: {used}"))?;

    let (wall, bytes) = (measured.wall.as_secs_f64(), measured.bytes);
    println!("  {MIRRORS} mirrors and {BUILDS} builds, {LIMITS}");
    println!("  {description}: {bytes} bytes in {wall:.1} s");
    println!("  peak resident memory {:.1} MB", peak / 1e6);
    println!("  under {:.0} MB: {}", MAX_MEMORY_BYTES / 1e6, verdict(peak < MAX_MEMORY_BYTES));
    println!("  processor time {processor:.2} s");
    println!("  under {MAX_PROCESSOR_SECONDS} s: {}", verdict(processor < MAX_PROCESSOR_SECONDS));
    println!("  longest silence {:.2} s", measured.silence.as_secs_f64());
    println!("  at most {MAX_SILENCE:?}: {}", verdict(measured.silence <= MAX_SILENCE));
    let (sent, words) = requests(&counts);
    println!("  {sent} requests: {words}");
    Ok(())
}

fn manifest(dir: &Path) -> Result<(), Failed> {
    let mut manifest = Manifest::new();
    (0..MIRRORS).try_for_each(|number| manifest.mirror(number))?;
    for number in 0..BUILDS {
        if number < BASES {
            manifest.build(dir, &format!("base-{number}"), "scratch")?;
        } else {
            let base = format!("base-{}", number % BASES);
            let from = if number % 2 == 0 { base.as_str() } else { "scratch" };
            manifest.build(dir, &format!("image-{number}"), from)?;
        }
    }
    manifest.write(dir)
}

/// Parses bytes of memory and seconds of processor time from the output of GNU time.
pub(crate) fn read(used: &str) -> Option<(f64, f64)> {
    let numbers: Vec<f64> = used.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [kilobytes, user, system] = numbers[..] else { return None };
    Some((kilobytes * 1024.0, user + system))
}
