//! Runs two commands alternately as whole processes and compares their wall-clock times.

use std::env;
use std::error::Error;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

pub(crate) type Failed = Box<dyn Error + Send + Sync>;
pub(crate) type Done = Result<(), Failed>;

/// A command to run repeatedly.
pub(crate) struct Job<'a> {
    name: &'a str,
    command: Command,
    before: Option<&'a dyn Fn() -> Done>,
}

impl<'a> Job<'a> {
    pub(crate) fn new(name: &'a str, command: Command) -> Self {
        Self { name, command, before: None }
    }

    /// Preparation before each run, which is not measured.
    pub(crate) fn before(self, before: &'a dyn Fn() -> Done) -> Self {
        Self { before: Some(before), ..self }
    }

    fn run(&mut self) -> Result<f64, Failed> {
        if let Some(before) = self.before {
            before()?;
        }
        let began = Instant::now();
        run(&mut self.command)?;
        Ok(began.elapsed().as_secs_f64())
    }
}

/// Measures a peer and imgplan alternately, so that other load affects both, and prints the result.
/// `most` is the target for the ratio of imgplan to the peer.
pub(crate) fn compare(peer: Job<'_>, ours: Job<'_>, runs: usize, most: Option<f64>) -> Done {
    let mut jobs = [peer, ours];
    // The first run of each is not counted: it fills the caches.
    for job in &mut jobs {
        job.run()?;
    }
    let (mut theirs, mut mine) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        theirs.push(jobs[0].run()?);
        mine.push(jobs[1].run()?);
    }
    println!("  {:<36} {:>10} {:>10} {:>10}", "", "median", "min", "max");
    print_times(jobs[0].name, &theirs);
    print_times(jobs[1].name, &mine);
    let of_medians = median(&mine) / median(&theirs);
    let pairs: Vec<f64> = mine.iter().zip(&theirs).map(|(mine, theirs)| mine / theirs).collect();
    let of_pairs = median(&pairs);
    println!("  ratio of the medians {of_medians:.3}, median of the ratios {of_pairs:.3}");
    if let Some(most) = most {
        println!("  at most {most}: {}", verdict(of_medians <= most && of_pairs <= most));
    }
    Ok(())
}

/// Words for whether a target holds.
pub(crate) fn verdict(holds: bool) -> &'static str {
    if holds { "holds" } else { "does not hold" }
}

fn print_times(name: &str, seconds: &[f64]) {
    let min = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let max = seconds.iter().copied().fold(0.0, f64::max);
    let [median, min, max] = [median(seconds), min, max].map(shown);
    println!("  {name:<36} {median:>10} {min:>10} {max:>10}");
}

fn shown(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.3} s") }
}

/// The median.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

/// A command whose environment holds only `PATH` and `TMPDIR`, so that no user settings matter.
pub(crate) fn command(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env_clear().env("HOME", dir).env("TMPDIR", env::temp_dir());
    if let Some(path) = env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The program, built with the release profile.
pub(crate) const IMGPLAN: &str = env!("CARGO_BIN_EXE_imgplan");

/// imgplan, run in a folder with these arguments.
pub(crate) fn imgplan(dir: &Path, args: &[&str]) -> Command {
    let mut command = command(IMGPLAN, dir);
    command.args(args);
    command
}

/// A shell command; further arguments are `$1` and so on.
pub(crate) fn shell(dir: &Path, line: &str, args: &[&str]) -> Command {
    let mut command = command("sh", dir);
    command.args(["-c", line, "sh"]).args(args);
    command
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Done {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// Standard output of a command that must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String, Failed> {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// True if a peer is installed; otherwise prints how to install it.
pub(crate) fn is_here(program: &str, install: &str) -> bool {
    let asked = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let version = asked.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    if let Some(version) = &version {
        let version = String::from_utf8_lossy(version);
        println!("  with {}", version.lines().next().unwrap_or(program));
    } else {
        println!("  left out: {program} is missing; {install}");
    }
    version.is_some()
}

/// Announces a slow preparation and its duration.
pub(crate) fn timed<T>(what: &str, work: impl FnOnce() -> Result<T, Failed>) -> Result<T, Failed> {
    let began = Instant::now();
    let value = work()?;
    println!("  {what} ({:.1} s)", began.elapsed().as_secs_f64());
    Ok(value)
}
