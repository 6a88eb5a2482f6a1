//! The cost of 100,000 mirrors against that of 10,000: one plan, an apply in 16 parts side by side with a
//! shared state, and a plan without changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

use imgplan::test_support::base::limit::{Class, ClassLimit};
use imgplan::test_support::server::ServerConfig;

use crate::many::read;
use crate::program::{Done, Failed, IMGPLAN, Manifest, command, verdict};
use crate::service::{Service, check_accepted, requests};

const FEW: u32 = 10_000;
const MANY: u32 = 100_000;
const PARTS: u32 = 16;
/// Raised limits, because the apply would take a week otherwise.
const LIMITS: &str = "images=6000/10s,initiate=600/10s,status=6000/10s,list=6000/10s";
/// Maximum growth of time and memory, over that of the number of mirrors.
const MAX_GROWTH: f64 = 1.15;

/// The cost of one command, or of several side by side.
struct Cost {
    /// Wall-clock time in seconds.
    wall: f64,
    /// Processor time in seconds.
    processor: f64,
    /// Peak resident memory in bytes, of the process with the largest one.
    peak: f64,
}

/// The costs of all commands with a number of mirrors.
struct Costs {
    phases: [(&'static str, Cost); 3],
    /// Bytes of the shared state.
    state: f64,
}

/// Measures both numbers of mirrors.
pub(crate) fn parts() -> Done {
    let (few, many) = (measured(FEW)?, measured(MANY)?);
    let factor = f64::from(MANY) / f64::from(FEW);
    println!("  growth from {FEW} to {MANY}, over {factor}:");
    let print = |what: &str, few: f64, many: f64| {
        let growth = many / few / factor;
        println!("  {what} {growth:.2}, at most {MAX_GROWTH}: {}", verdict(growth <= MAX_GROWTH));
    };
    for ((phase, few), (_, many)) in few.phases.iter().zip(&many.phases) {
        print(&format!("{phase}: processor time"), few.processor, many.processor);
        print(&format!("{phase}: memory"), few.peak, many.peak);
    }
    print("bytes of the state", few.state, many.state);
    Ok(())
}

fn measured(mirrors: u32) -> Result<Costs, Failed> {
    let dir = tempfile::tempdir()?;
    let checkouts: Vec<PathBuf> =
        (0..=PARTS).map(|part| dir.path().join(format!("checkout-{part}"))).collect();
    for checkout in &checkouts {
        fs::create_dir(checkout)?;
        let mut manifest = Manifest::new();
        (0..mirrors).try_for_each(|number| manifest.mirror(number))?;
        manifest.write(checkout)?;
    }
    let store = dir.path().join("store");
    let state = format!("file://{}", store.display());
    let limits: Vec<ClassLimit> = LIMITS.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let service = Service::start(ServerConfig { limits, ..ServerConfig::default() })?;
    let url = service.url();
    let start = |checkout: &Path, args: &[&str]| timed(checkout, &url, &state, args);
    finish(vec![start(&checkouts[0], &["state", "init"])?])?;
    let plan = ["plan", "--quiet", "--limit", LIMITS];
    println!("  {mirrors} mirrors, {LIMITS}");
    let first = finish(vec![start(&checkouts[0], &plan)?])?;
    println!("  plan of new mirrors: {first}");
    let part = |part: u32| {
        let partition = format!("hash:{part}/{PARTS}");
        let apply = ["apply", "--auto-approve", "--quiet", "--limit", LIMITS, "--partition"];
        start(&checkouts[part as usize], &[&apply[..], &[&partition]].concat())
    };
    let apply = finish((1..=PARTS).map(part).collect::<Result<_, _>>()?)?;
    println!("  apply in {PARTS} parts: {apply}");
    let last =
        finish(vec![start(&checkouts[0], &[&plan[..], &["--detailed-exitcode"]].concat())?])?;
    println!("  plan without changes: {last}");
    let counts = service.stop()?;
    check_accepted(counts.of(Class::Images).accepted, mirrors.into())?;
    println!("  no window was exceeded; at most {} images in one", counts.of(Class::Images).peak);
    let (sent, words) = requests(&counts);
    println!("  {sent} requests: {words}");
    let state = shard_bytes(&store)?;
    println!("  {state} bytes of state");
    let phases = [("plan of new mirrors", first), ("apply", apply), ("plan without changes", last)];
    Ok(Costs { phases, state })
}

/// A command under GNU time.
struct Timed {
    began: Instant,
    child: Child,
    used: PathBuf,
}

fn timed(checkout: &Path, url: &str, state: &str, args: &[&str]) -> Result<Timed, Failed> {
    let used = checkout.join("used");
    // For a direct child, the memory of this process would count too.
    let mut time = command("time", checkout, url);
    time.args(["-f", "%M %U %S", "-o"]).arg(&used).arg(IMGPLAN).args(args);
    time.env("IMGPLAN_STATE", state).stdout(Stdio::null());
    let began = Instant::now();
    let child =
        time.spawn().map_err(|error| format!("{error} (it needs GNU time: apt install time)"))?;
    Ok(Timed { began, child, used })
}

/// Waits for commands that run side by side, and adds up their costs.
fn finish(commands: Vec<Timed>) -> Result<Cost, Failed> {
    let mut cost = Cost { wall: 0.0, processor: 0.0, peak: 0.0 };
    for Timed { began, mut child, used } in commands {
        let status = child.wait()?;
        if !status.success() {
            return Err(format!("imgplan: {status}").into());
        }
        let used = fs::read_to_string(&used)?;
        let (peak, processor) = read(&used).ok_or_else(|| format!("GNU time wrote: {used}"))?;
        cost.wall = cost.wall.max(began.elapsed().as_secs_f64());
        cost.processor += processor;
        cost.peak = cost.peak.max(peak);
    }
    Ok(cost)
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { wall, processor, peak } = self;
        write!(f, "{wall:.2} s, {processor:.2} s of processor time, {:.0} MB", peak / 1e6)
    }
}

fn shard_bytes(store: &Path) -> Result<f64, Failed> {
    let mut bytes = 0;
    for shard in fs::read_dir(store.join("shards"))? {
        bytes += shard?.metadata()?.len();
    }
    Ok(f64::from(u32::try_from(bytes)?))
}
