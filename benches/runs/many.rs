//! What one apply of 10,000 units takes: memory, the processor, and the patience of whoever watches.

use std::fs;
use std::path::Path;
use std::time::Duration;

use imgplan::base::limit::{Class, ClassLimit};
use imgplan::server::ServerConfig;

use crate::program::{Done, Failed, IMGPLAN, Manifest, Stream, command, listen, verdict};
use crate::service::{Service, all_made, requests};

const MIRRORS: u32 = 9000;
const BUILDS: u32 = 1000;
/// So many of the builds are what every second of the others is built on.
const BASES: u32 = 20;
const BUILD_TIME: Duration = Duration::from_secs(1);
/// Raised, or it would take hours; what asks how builds are keeps to the published limits.
const LIMITS: &str = "images=1000/5s,initiate=500/5s,start=500/5s";

/// Bytes.
const MEMORY: f64 = 150e6;
/// Seconds.
const PROCESSOR: f64 = 20.0;
/// A run that has nothing else to say says so every 10 s.
const SILENCE: Duration = Duration::from_secs(11);

/// Once for programs, by the stream of events, and once for people, by what is told on the way.
pub(crate) fn many() -> Done {
    one("events of --json", Stream::Output, &["--json"])?;
    one("the screen", Stream::Talk, &[])
}

fn one(what: &str, stream: Stream, args: &[&str]) -> Done {
    let dir = tempfile::tempdir()?;
    manifest(dir.path())?;
    let limits: Vec<ClassLimit> = LIMITS.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let service =
        Service::start(ServerConfig { limits, build_time: BUILD_TIME, ..ServerConfig::default() })?;
    let used = dir.path().join("used");
    // Not this process's own child: what it had resident would count as the child's.
    let mut time = command("time", dir.path(), &service.url());
    time.args(["-f", "%M %U %S", "-o"]).arg(&used).arg(IMGPLAN);
    time.args(["apply", "--auto-approve", "--limit", LIMITS]).args(args);
    let heard = listen(&mut time, stream)
        .map_err(|error| format!("{error} (it takes GNU time: apt install time)"))?;
    let counts = service.stop()?;
    all_made(counts.of(Class::Images).accepted, MIRRORS.into())?;
    all_made(counts.of(Class::Start).accepted, BUILDS.into())?;
    let used = fs::read_to_string(&used)?;
    let (peak, processor) = read(&used).ok_or_else(|| format!("GNU time wrote: {used}"))?;

    let (wall, bytes) = (heard.wall.as_secs_f64(), heard.bytes);
    println!("  {MIRRORS} mirrors and {BUILDS} builds, {LIMITS}");
    println!("  {what}: {bytes} bytes in {wall:.1} s");
    println!("  peak resident memory {:.1} MB", peak / 1e6);
    println!("  under {:.0} MB: {}", MEMORY / 1e6, verdict(peak < MEMORY));
    println!("  processor time {processor:.2} s");
    println!("  under {PROCESSOR} s: {}", verdict(processor < PROCESSOR));
    println!("  longest silence {:.2} s", heard.silence.as_secs_f64());
    println!("  at most {SILENCE:?}: {}", verdict(heard.silence <= SILENCE));
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

/// Bytes of memory and seconds of all cores together, as GNU time writes them.
fn read(used: &str) -> Option<(f64, f64)> {
    let numbers: Vec<f64> = used.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [kilobytes, user, system] = numbers[..] else { return None };
    Some((kilobytes * 1024.0, user + system))
}
