//! Whole runs of `imgplan apply` against our server: how much of a limit they use, how often they
//! ask how builds are, and what 10,000 units take.
//!
//! The program is a process of its own, as users run it, and the server is in this one. What was
//! sent is read from the server's counts and its log, whose counting shares no code with the
//! client's. Exits with 1 where the server refused something for its rate, saw more than a limit in
//! some window, or a unit failed. Whether a target holds is printed and for a person to judge: a
//! busy machine is no failure.

#![allow(clippy::print_stdout, reason = "what it measured is what it is for")]

mod limits;
mod many;
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
  window   300 builds at 50 in 2 s: how much of the limit is used (11 s)
  mirrors  2,000 mirrors at 500 in 3 s, by each shape of an answer: the same, in images (35 s)
  polling  500 builds of 20 s at the published limits, against an ideal schedule (210 s)
  many     10,000 units: memory, processor time and silence (2 min)

Options:
  --runs N    runs of each [default: 1]
  -h, --help  this";

/// The name of a part, what it is, and how it is done.
type Part = (&'static str, &'static str, fn() -> Done);

const PARTS: [Part; 4] = [
    ("window", "builds, as fast as the limit of requests lets them", limits::window),
    ("mirrors", "mirrors, as fast as the limit of images lets them", limits::mirrors),
    ("polling", "builds that take their time, at the published limits", polling::polling),
    ("many", "one apply of 10,000 units", many::many),
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

/// Says whether every part did what it must.
fn start() -> Result<bool, Failed> {
    let (mut runs, mut wanted) = (1, Vec::new());
    // The first is the bench itself, and `--bench` is cargo's own.
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
                let found = PARTS.iter().find(|(known, ..)| *known == name);
                wanted.push(*found.ok_or_else(|| format!("no part `{name}`\n\n{USAGE}"))?);
            }
        }
    }
    if wanted.is_empty() {
        wanted = PARTS.to_vec();
    }
    let mut succeeded = true;
    for (name, what, part) in wanted {
        for run in 1..=runs {
            println!("{name}: {what}, run {run} of {runs}");
            if let Err(error) = part() {
                println!("  failed: {error}");
                succeeded = false;
            }
            println!();
        }
    }
    Ok(succeeded)
}
