//! Compares imgplan with programs that do a part of its work: git, b3sum, tar with pigz, and the
//! minimum of system calls.
//!
//! Every measurement is a whole process, run alternately with its peer over the same files, which the
//! bench creates in the temporary folder. Targets are printed for a person to judge, because a busy
//! machine is not a failure. Exits with 1 only if a command fails.

#![allow(clippy::disallowed_methods, reason = "it reads what it wrote")]
#![allow(clippy::print_stdout, reason = "what it measured is what it is for")]
#![allow(clippy::unwrap_used, reason = "a bench that panics says where")]

mod builds;
mod costs;
mod floor;
mod measure;
mod mirrors;
mod own;
mod pack;
mod plans;
mod registry;
mod service;
#[path = "../support/mod.rs"]
mod support;
mod tasks;

use std::cell::Cell;
use std::env;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use self::measure::{Done, Failed};

const USAGE: &str = "\
Usage: cargo bench --bench peers -- [OPTIONS] [COMPARISON]...

Comparisons, all of them by default:
  plan    a plan with nothing to do, 1,000 contexts of 100 files, against git status
  floor   the same against reading all names and asking the system about all files
  cold    the same without the stat cache, against b3sum
  pack    a folder of source packed, against tar and pigz
  memory  peak memory while a context of 4 GB is packed
  many    processor time for a plan of 10,000 images
  expand  the same for 5,000 mirrors of a list and 1,000 folders that were found
  tasks   time and memory of a plan with nothing to do, 45,857 found folders of 4 files
  builds  an apply of 100 builds of 5 s
  own     an apply of 12 builds to an own service, against a loop of buildah bud and buildah push
  mirrors an image of 500 MB from one registry to another, against skopeo copy and skopeo sync

Options:
  --runs N      runs of each, after one that is not counted [default: 9]
  --source DIR  what to pack [env: IMGPLAN_BENCH_SOURCE] [default: what languages bring along]
  -h, --help    this

TMPDIR says where the files go: about 2 GB, and 6 GB for `memory`.";

/// The name, description and function of a comparison.
type Comparison = (&'static str, &'static str, fn(&Bench) -> Done);

const COMPARISONS: [Comparison; 11] = [
    ("plan", "a plan with nothing to do, against git status", plans::plan),
    ("floor", "a plan with nothing to do, against the floor", plans::floor),
    ("cold", "a plan without the stat cache, against b3sum", plans::cold),
    ("pack", "packing source, against tar and pigz", pack::pack),
    ("memory", "packing 4 GB", costs::memory),
    ("many", "planning 10,000 images", costs::many),
    ("expand", "planning what a list and a pattern stand for", costs::expanded),
    ("tasks", "a plan with nothing to do of 45,857 small contexts", tasks::tasks),
    ("builds", "100 builds of 5 s, against the duration of one", builds::builds),
    ("own", "12 builds of one RUN each, against a loop of buildah", own::own),
    ("mirrors", "copying 500 MB between registries, against skopeo", mirrors::mirrors),
];

/// The requested comparisons and settings.
pub(crate) struct Bench {
    /// Folder for the files of the bench.
    pub(crate) dir: PathBuf,
    pub(crate) runs: usize,
    pub(crate) source: Option<PathBuf>,
    /// True once the repository for the plans exists.
    pub(crate) applied: Cell<bool>,
    wanted: Vec<Comparison>,
}

fn main() -> ExitCode {
    match start() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns true if every command succeeded.
fn start() -> Result<bool, Failed> {
    let mut args: Vec<String> = env::args().skip(1).collect();
    // Cargo's own.
    args.retain(|arg| arg != "--bench");
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}");
        return Ok(true);
    }
    // The bench runs itself as the floor, so that the floor is a process too.
    if let [flag, dir] = &args[..]
        && flag == "--floor"
    {
        println!("{}", floor::count(dir.as_ref())?);
        return Ok(true);
    }
    if let [flag, source, destination] = &args[..]
        && flag == mirrors::FLAG
    {
        mirrors::copy(source, destination)?;
        return Ok(true);
    }
    let dir = tempfile::Builder::new().prefix("imgplan-peers-").tempdir()?;
    let bench = parse(args, dir.path().to_owned())?;
    let mut succeeded = true;
    for (name, what, comparison) in &bench.wanted {
        println!("{name}: {what}");
        if let Err(error) = comparison(&bench) {
            println!("  failed: {error}");
            succeeded = false;
        }
        println!();
    }
    dir.close()?;
    Ok(succeeded)
}

fn parse(args: Vec<String>, dir: PathBuf) -> Result<Bench, Failed> {
    let source = env::var_os("IMGPLAN_BENCH_SOURCE").map(PathBuf::from);
    let applied = Cell::new(false);
    let mut bench = Bench { dir, runs: 9, source, applied, wanted: Vec::new() };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--runs" => bench.runs = value()?.parse::<NonZeroUsize>()?.get(),
            "--source" => bench.source = Some(value()?.into()),
            name => {
                let found = COMPARISONS.iter().find(|(known, ..)| *known == name);
                bench.wanted.push(*found.ok_or(format!("no comparison `{name}`\n\n{USAGE}"))?);
            }
        }
    }
    if bench.wanted.is_empty() {
        bench.wanted = COMPARISONS.to_vec();
    }
    Ok(bench)
}
