//! Verdicts about this machine: engine, disks, recorded state and limits. Pure.

use std::path::PathBuf;

use super::{CheckProblem, check, problem, with_help};
use crate::base::engine_kind::EngineKind;
use crate::base::size;
use crate::base::text::plural;
use crate::report::checks::{Check, Verdict};

/// Free space of the folder for temporary files below which uploads end: archives leave as much free.
const MIN_TEMP_BYTES: u64 = 16 << 20;

/// Free space of the work folder without which the state cannot be recorded.
const MIN_STATE_BYTES: u64 = 1 << 20;

/// Free space below which there is a warning.
const LOW_BYTES: u64 = 1 << 30;

/// The engine of the local server.
#[derive(Debug)]
pub(in crate::cli::doctor) struct EngineFinding {
    pub(in crate::cli::doctor) kind: EngineKind,
    /// True if an apply with the same flags would use it.
    pub(in crate::cli::doctor) is_used: bool,
    /// The problem for which Buildah cannot build here.
    pub(in crate::cli::doctor) buildah: Result<(), CheckProblem>,
}

/// The folder for temporary files.
#[derive(Debug)]
pub(in crate::cli::doctor) struct TempFinding {
    pub(in crate::cli::doctor) path: PathBuf,
    /// Free bytes, if they are known; or the error of creating a file.
    pub(in crate::cli::doctor) free: Result<Option<u64>, String>,
}

/// The lockfile and the work folder.
#[derive(Debug)]
pub(in crate::cli::doctor) struct StateFinding {
    pub(in crate::cli::doctor) path: PathBuf,
    /// A problem of the recorded state, or of its folder.
    pub(in crate::cli::doctor) problem: Option<CheckProblem>,
    /// Another run that holds the lock.
    pub(in crate::cli::doctor) holder: Option<String>,
    pub(in crate::cli::doctor) free: Option<u64>,
}

/// The limit of open files.
#[derive(Debug)]
pub(in crate::cli::doctor) struct FilesFinding {
    pub(in crate::cli::doctor) limit: Option<u64>,
    /// Default number of builds at the same time, and the one without the limit.
    pub(in crate::cli::doctor) builds: (usize, usize),
}

/// Returns the check of a machine that cannot be checked.
pub(in crate::cli::doctor) fn machine_problem(found: &CheckProblem) -> Check {
    problem("machine", Verdict::Error, found)
}

impl EngineFinding {
    pub(in crate::cli::doctor) fn check(&self) -> Check {
        let name = "engine";
        let kind = self.kind.as_str();
        match (&self.buildah, self.kind, self.is_used) {
            (_, EngineKind::Check, true) => {
                check(name, Verdict::Ok, "check: images are checked, not built")
            }
            (Ok(()), _, true) => {
                check(name, Verdict::Ok, format!("{kind}: the programs of buildah are installed"))
            }
            (Err(found), EngineKind::Auto, true) => {
                let message = format!("auto: images are checked, not built: {}", found.message);
                problem(name, Verdict::Warning, &CheckProblem { message, help: found.help.clone() })
            }
            (Err(found), _, true) => {
                let message = format!("{kind}: {}", found.message);
                problem(name, Verdict::Error, &CheckProblem { message, help: found.help.clone() })
            }
            (Ok(()), _, false) => check(
                name,
                Verdict::Ok,
                "the service builds; `--local --engine buildah` can build here too",
            ),
            (Err(found), _, false) => {
                let finding = format!("the service builds; not here: {}", found.message);
                check(name, Verdict::Skipped, finding)
            }
        }
    }
}

/// Returns the verdict of free space, and the text after the path.
fn space(free: Option<u64>, minimum: u64) -> (Verdict, String) {
    let Some(free) = free else { return (Verdict::Ok, "free space is not known".to_owned()) };
    let verdict = match free {
        free if free < minimum => Verdict::Error,
        free if free < LOW_BYTES => Verdict::Warning,
        _ => Verdict::Ok,
    };
    (verdict, format!("{} free", size::bytes(free)))
}

fn with_space_help(check: Check, help: &str) -> Check {
    if check.verdict == Verdict::Ok { check } else { with_help(check, help) }
}

impl TempFinding {
    pub(in crate::cli::doctor) fn check(&self) -> Check {
        let (name, path) = ("temp", self.path.display());
        match &self.free {
            Ok(free) => {
                let (verdict, text) = space(*free, MIN_TEMP_BYTES);
                let help = "free some space, or set TMPDIR to another folder";
                with_space_help(check(name, verdict, format!("{path}: {text}")), help)
            }
            Err(error) => with_help(
                check(name, Verdict::Error, format!("{path}: cannot create a file: {error}")),
                "create the folder, or set TMPDIR to another one: contexts are packed there",
            ),
        }
    }
}

impl StateFinding {
    pub(in crate::cli::doctor) fn check(&self) -> Check {
        let (name, path) = ("state", self.path.display());
        if let Some(found) = &self.problem {
            return problem(name, Verdict::Error, found);
        }
        if let Some(holder) = &self.holder {
            let finding = format!("another apply is running in this directory: {holder}");
            return with_help(check(name, Verdict::Error, finding), "wait for its end");
        }
        let (verdict, text) = space(self.free, MIN_STATE_BYTES);
        with_space_help(check(name, verdict, format!("{path}: {text}")), "free some space")
    }
}

impl FilesFinding {
    pub(in crate::cli::doctor) fn check(&self) -> Check {
        let (name, (builds, most)) = ("files", self.builds);
        let Some(limit) = self.limit else {
            return check(name, Verdict::Ok, "no limit of open files");
        };
        if builds >= most {
            return check(name, Verdict::Ok, format!("at most {limit} may be open"));
        }
        let finding = format!(
            "at most {limit} may be open: {} run at the same time instead of {most}",
            plural(builds, "build")
        );
        with_help(check(name, Verdict::Warning, finding), "raise the limit (ulimit -n)")
    }
}
