//! The verdicts of `imgplan doctor`: each finding becomes a check with its text and its correction. An
//! error is what would stop an apply. Pure.

mod machine;
mod service;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(super) use self::machine::{
    EngineFinding, FilesFinding, StateFinding, TempFinding, machine_problem,
};
pub(super) use self::service::{OwnerFinding, OwnerOutcome, ServiceFinding, ServiceOutcome};
use crate::base::text::plural;
use crate::report::checks::{Check, Verdict};

/// Maximum time of a request.
pub(super) const MAX_REQUEST_TIME: Duration = Duration::from_secs(10);

/// A problem and its correction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckProblem {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// The manifest, with its path as given.
#[derive(Debug)]
pub(super) enum ManifestFinding {
    /// There is no such file.
    Missing(String),
    /// It has problems.
    Invalid(String),
    /// It can be read.
    Valid { path: String, images: usize, targets: usize, warnings: usize },
}

/// A registry that the manifest needs.
#[derive(Debug)]
pub(super) struct RegistryFinding {
    pub(super) registry: String,
    /// The reference that was looked up.
    pub(super) reference: String,
    /// File or program with the user's credentials for it; or the problem for which there are none.
    pub(super) credentials: Result<Option<String>, String>,
    pub(super) result: Result<(), CheckProblem>,
}

fn check(name: &'static str, verdict: Verdict, finding: impl Into<String>) -> Check {
    Check { name, verdict, finding: finding.into(), help: None }
}

fn with_help(check: Check, help: impl Into<String>) -> Check {
    Check { help: Some(help.into()), ..check }
}

fn problem(name: &'static str, verdict: Verdict, problem: &CheckProblem) -> Check {
    Check { help: problem.help.clone(), ..check(name, verdict, &problem.message) }
}

/// Returns the check of registries that nobody can ask.
pub(super) fn registry_problem(found: &CheckProblem) -> Check {
    problem("registry", Verdict::Warning, found)
}

impl ManifestFinding {
    pub(super) fn check(&self) -> Check {
        let name = "manifest";
        match self {
            Self::Missing(path) => with_help(
                check(
                    name,
                    Verdict::Warning,
                    format!("there is no {path}: its registries are not checked"),
                ),
                "name it with -f, or its folder with -C",
            ),
            Self::Invalid(headline) => with_help(
                check(name, Verdict::Error, headline),
                "run `imgplan validate`; its settings and registries are not checked",
            ),
            Self::Valid { path, images, targets, warnings } => {
                let (images, targets) = (plural(*images, "image"), plural(*targets, "target"));
                let warnings = match warnings {
                    0 => String::new(),
                    number => format!(", {}", plural(*number, "warning")),
                };
                check(name, Verdict::Ok, format!("{path}: {images}, {targets}{warnings}"))
            }
        }
    }
}

impl RegistryFinding {
    pub(super) fn check(&self) -> Check {
        let (name, registry, reference) = ("registry", &self.registry, &self.reference);
        let credentials = match &self.credentials {
            Ok(Some(from)) => format!("credentials of {from}"),
            Ok(None) => "no credentials".to_owned(),
            Err(problem) => problem.clone(),
        };
        match &self.result {
            Ok(()) => {
                let finding = format!("{registry}: {reference} can be read ({credentials})");
                check(name, Verdict::Ok, finding)
            }
            Err(CheckProblem { message, help }) => Check {
                help: help.clone(),
                ..check(name, Verdict::Warning, format!("{reference}: {message} ({credentials})"))
            },
        }
    }
}
