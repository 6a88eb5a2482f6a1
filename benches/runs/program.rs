//! Runs the program as a process, and writes manifests for it.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) type Failed = Box<dyn Error + Send + Sync>;
pub(crate) type Done = Result<(), Failed>;

/// The release build of the program.
pub(crate) const IMGPLAN: &str = env!("CARGO_BIN_EXE_imgplan");

/// Returns a command with the service at `url` and no other environment of the user.
pub(crate) fn command(program: &str, dir: &Path, url: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env_clear().env("HOME", dir).stdin(Stdio::null());
    command.env("PRIME_API_BASE_URL", url).env("PRIME_API_KEY", "bench");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// Applies the manifest in a folder, and returns the duration.
pub(crate) fn apply(dir: &Path, url: &str, args: &[&str]) -> Result<Duration, Failed> {
    let mut command = command(IMGPLAN, dir, url);
    command.args(["apply", "--auto-approve", "--quiet"]).args(args).stdout(Stdio::null());
    let began = Instant::now();
    let status = command.status()?;
    if status.success() { Ok(began.elapsed()) } else { Err(format!("apply: {status}").into()) }
}

/// The measurements of a command of which one stream was read.
pub(crate) struct Measured {
    pub(crate) wall: Duration,
    pub(crate) bytes: u64,
    /// Longest time without output.
    pub(crate) silence: Duration,
}

/// The stream to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Runs a command and measures its output.
///
/// # Errors
/// Fails if the command does.
pub(crate) fn measure(command: &mut Command, stream: Stream) -> Result<Measured, Failed> {
    let (stdout, stderr) = match stream {
        Stream::Stdout => (Stdio::piped(), Stdio::inherit()),
        Stream::Stderr => (Stdio::null(), Stdio::piped()),
    };
    let began = Instant::now();
    let mut child = command.stdout(stdout).stderr(stderr).spawn()?;
    let mut pipe: Box<dyn Read> = match (child.stdout.take(), child.stderr.take()) {
        (Some(stdout), None) => Box::new(stdout),
        (None, Some(stderr)) => Box::new(stderr),
        _ => return Err("neither stream is a pipe, or both are".into()),
    };
    let (mut bytes, mut silence, mut last) = (0, Duration::ZERO, began);
    let mut part = vec![0; 1 << 16];
    loop {
        let read = pipe.read(&mut part)?;
        let now = Instant::now();
        silence = silence.max(now - last);
        last = now;
        if read == 0 {
            break;
        }
        bytes += read as u64;
    }
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(Measured { wall: began.elapsed(), bytes, silence })
}

/// Returns the text for a goal that holds or not.
pub(crate) fn verdict(holds: bool) -> &'static str {
    if holds { "holds" } else { "does not hold" }
}

/// A manifest that is written line by line.
pub(crate) struct Manifest(String);

impl Manifest {
    pub(crate) fn new() -> Self {
        Self("version: 1\nimages:\n".to_owned())
    }

    /// Adds an image built from its own folder with one file and a Dockerfile.
    pub(crate) fn build(&mut self, dir: &Path, name: &str, from: &str) -> Done {
        let context = dir.join(name);
        fs::create_dir(&context)?;
        fs::write(context.join("Dockerfile"), format!("FROM {from}\nCOPY file /\n"))?;
        fs::write(context.join("file"), name)?;
        writeln!(self.0, "  - {{ name: {name}, context: {name} }}")?;
        Ok(())
    }

    /// Adds a mirror with a source of realistic length.
    pub(crate) fn mirror(&mut self, number: u32) -> Done {
        let source = format!("docker.io/library/mirror-{number:04}:1.{}", number % 50);
        writeln!(self.0, "  - source: {source}")?;
        Ok(())
    }

    pub(crate) fn write(self, dir: &Path) -> Done {
        Ok(fs::write(dir.join("imgplan.yaml"), self.0)?)
    }
}
