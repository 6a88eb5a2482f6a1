//! Measures whole runs of `imgplan apply` against the local server: use of the rate limits, polling, and
//! the cost of 10,000 and of 100,000 targets.
//!
//! The program runs in its own process, the server in this one. The results are read from the server's
//! counts and log, which share no code with the client. Exits with 1 if a request exceeded a rate limit
//! or a target failed. Whether a goal is met is only printed, because a busy machine is not a failure.

#![allow(clippy::disallowed_methods, reason = "it reads what it wrote")]
#![allow(clippy::print_stdout, reason = "prints its measurements")]

mod limits;
mod many;
mod parts;
mod polling;
mod program;
mod service;

use std::env;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use self::program::{Done, Failed};

const USAGE: &str = "\
Usage: cargo bench --bench runs -- [OPTIONS] [PART]...

Parts, all of them by default:
  window   300 builds at 50 in 2 s: used share of the limit (11 s)
  mirrors  2,000 mirrors at 500 in 3 s, with each shape of response: the same for images (35 s)
  polling  500 builds of 20 s at the published limits, compared to an ideal schedule (210 s)
  many     10,000 targets: memory, processor time and longest silence (2 min)
  parts    100,000 mirrors in 16 runs side by side, against 10,000 (5 min)

Options:
  --runs N    Runs of each part [default: 1]
  -h, --help  Print help";

/// The name, description and function of a part.
type Part = (&'static str, &'static str, fn() -> Done);

const PARTS: [Part; 5] = [
    ("window", "builds, as fast as the rate limit of requests allows", limits::window),
    ("mirrors", "mirrors, as fast as the rate limit of images allows", limits::mirrors),
    ("polling", "long builds, at the published limits", polling::polling),
    ("many", "one apply of 10,000 targets", many::many),
    ("parts", "100,000 mirrors in 16 runs side by side", parts::parts),
];

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

/// Runs the selected parts. Returns true if all succeeded.
fn start() -> Result<bool, Failed> {
    let (mut runs, mut selected) = (1, Vec::new());
    // The first argument is the program, and cargo adds `--bench`.
    let mut args = env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(true);
            }
            "--runs" => {
                let value = args.next().ok_or("--runs needs a value")?;
                runs = value.parse::<NonZeroUsize>()?.get();
            }
            name => {
                let part = PARTS.iter().find(|(known, ..)| *known == name);
                selected.push(*part.ok_or_else(|| format!("no part `{name}`\n\n{USAGE}"))?);
            }
        }
    }
    if selected.is_empty() {
        selected = PARTS.to_vec();
    }
    let mut succeeded = true;
    for (name, description, part) in selected {
        for run in 1..=runs {
            println!("{name}: {description}, run {run} of {runs}");
            if let Err(error) = part() {
                println!("  failed: {error}");
                succeeded = false;
            }
            println!();
        }
    }
    Ok(succeeded)
}
