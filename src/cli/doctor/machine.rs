//! Checks this machine: programs of the engine, free space, the recorded state and limits.

use std::path::{Path, PathBuf};

use super::findings::problem;
use crate::base::engine_kind::EngineKind;
use crate::base::free_space::{free_bytes, free_bytes_at};
use crate::base::limit::{Class, Limit};
use crate::base::open_files::max_open_files;
use crate::base::size;
use crate::base::text::plural;
use crate::cli::execution::default_builds;
use crate::cli::failure::Failure;
use crate::report::checks::{Check, Verdict};
use crate::server::{EngineConfig, check_installed};
use crate::state::{StateError, StatePaths, StateSnapshot, Store};

/// Free space of the folder for temporary files below which uploads end: archives leave as much free.
const MIN_TEMP_BYTES: u64 = 16 << 20;

/// Free space of a folder without which the state cannot be recorded.
const MIN_STATE_BYTES: u64 = 1 << 20;

/// Free space below which there is a warning.
const LOW_BYTES: u64 = 1 << 30;

/// The parts of this machine that an apply would use.
pub(super) struct Machine {
    /// The engine, if builds are made on this machine.
    pub(super) engine: Option<EngineConfig>,
    pub(super) paths: StatePaths,
    /// Name of the service in the lockfile, if it is known.
    pub(super) service: Option<String>,
    /// Rate limit of builds.
    pub(super) initiate: Option<Limit>,
}

impl Machine {
    /// Checks everything. May block, for example on a network file system.
    /// `shared` is the check of a shared state, in the place of that of the lockfile.
    pub(super) fn checks(
        &self,
        state: Result<StateSnapshot, StateError>,
        shared: Option<Check>,
    ) -> Vec<Check> {
        let initiate = self.initiate.unwrap_or_else(|| Class::Initiate.default_limit());
        let engine = self.engine.as_ref().map(engine);
        let local = || {
            self.state(state)
                .unwrap_or_else(|error| problem("state", Verdict::Error, &Failure::from(error)))
        };
        let state = shared.unwrap_or_else(local);
        engine.into_iter().chain([temp(), state, files(max_open_files(), initiate)]).collect()
    }

    fn state(&self, state: Result<StateSnapshot, StateError>) -> Result<Check, StateError> {
        let state = state?;
        if let Some(service) = &self.service {
            state.for_service(service)?;
        }
        if let Some(holder) = Store::holder(&self.paths) {
            return Err(StateError::Locked { holder });
        }
        let folders = Store::folders(&self.paths)?;
        let existing: Vec<&Path> = folders.iter().map(|folder| existing(folder)).collect();
        if let Some(check) = existing.iter().find_map(|folder| unwritable(folder)) {
            return Ok(check);
        }
        let free = existing.into_iter().filter_map(free_bytes_at).min();
        Ok(space("state", &self.paths.work, free, MIN_STATE_BYTES, "free some space"))
    }
}

/// Returns a folder, or the closest one above it that exists.
fn existing(folder: &Path) -> &Path {
    let found = folder.ancestors().find(|folder| folder.is_dir());
    // The last ancestor of a relative path is empty.
    found.filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// Returns the check if the user may not write to a folder.
#[cfg(unix)]
fn unwritable(folder: &Path) -> Option<Check> {
    let error = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).err()?;
    let error = std::io::Error::from(error);
    let finding = format!("cannot write to {}: {error}", folder.display());
    let help = "the lockfile and the journal are written there: change the permissions";
    Some(Check::new("state", Verdict::Error, finding).with_help(help))
}

#[cfg(not(unix))]
fn unwritable(_: &Path) -> Option<Check> {
    None
}

fn engine(config: &EngineConfig) -> Check {
    let (name, kind) = ("engine", config.kind.as_str());
    let Err(error) = check_installed(config) else {
        let finding = match config.kind {
            EngineKind::Check => "check: images are checked, not built".to_owned(),
            _ => format!("{kind}: its programs are installed"),
        };
        return Check::new(name, Verdict::Ok, finding);
    };
    let (verdict, found) = match config.kind {
        EngineKind::Auto => (Verdict::Warning, "auto: images are checked, not built"),
        _ => (Verdict::Error, kind),
    };
    let check = problem(name, verdict, &Failure::from(error));
    Check { finding: format!("{found}: {}", check.finding), ..check }
}

fn temp() -> Check {
    let path: PathBuf = std::env::temp_dir();
    match tempfile::tempfile_in(&path) {
        Ok(file) => {
            let help = "free some space, or set TMPDIR to another folder";
            space("temp", &path, free_bytes(&file), MIN_TEMP_BYTES, help)
        }
        Err(error) => {
            let finding = format!("{}: cannot create a file: {error}", path.display());
            let help = "create the folder, or set TMPDIR to another one: contexts are packed there";
            Check::new("temp", Verdict::Error, finding).with_help(help)
        }
    }
}

/// Returns the check of the free space of a folder.
fn space(name: &'static str, path: &Path, free: Option<u64>, minimum: u64, help: &str) -> Check {
    let path = path.display();
    let Some(free) = free else {
        return Check::new(name, Verdict::Ok, format!("{path}: free space is not known"));
    };
    let finding = format!("{path}: {} free", size::bytes(free));
    match free {
        free if free < minimum => Check::new(name, Verdict::Error, finding).with_help(help),
        free if free < LOW_BYTES => Check::new(name, Verdict::Warning, finding).with_help(help),
        _ => Check::new(name, Verdict::Ok, finding),
    }
}

/// Returns the check of the maximum number of open files.
fn files(limit: Option<u64>, initiate: Limit) -> Check {
    let (builds, most) = (default_builds(initiate, limit), default_builds(initiate, None));
    match limit {
        None => Check::new("files", Verdict::Ok, "no limit of open files"),
        Some(limit) if builds >= most => {
            Check::new("files", Verdict::Ok, format!("at most {limit} may be open"))
        }
        Some(limit) => {
            let builds = plural(builds, "build");
            let finding = format!(
                "at most {limit} may be open: {builds} run at the same time instead of {most}"
            );
            Check::new("files", Verdict::Warning, finding).with_help("raise the limit (ulimit -n)")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_space_is_a_warning_and_none_is_an_error() {
        for (free, verdict, finding, has_help) in [
            (Some(2 << 30), Verdict::Ok, "/tmp: 2.1 GB free", false),
            (None, Verdict::Ok, "/tmp: free space is not known", false),
            (Some(500 << 20), Verdict::Warning, "/tmp: 524 MB free", true),
            (Some(0), Verdict::Error, "/tmp: 0 B free", true),
        ] {
            let check = space("temp", Path::new("/tmp"), free, MIN_TEMP_BYTES, "help");
            assert_eq!((check.verdict, &*check.finding), (verdict, finding));
            assert_eq!(check.help.is_some(), has_help, "{finding}");
        }
    }

    #[test]
    fn a_limit_of_open_files_matters_if_it_limits_builds() {
        let limit = Class::Initiate.default_limit();
        let found = |files_limit| files(files_limit, limit);
        assert_eq!(found(None).finding, "no limit of open files");
        assert_eq!(
            (found(Some(1 << 20)).verdict, found(Some(64)).verdict),
            (Verdict::Ok, Verdict::Warning)
        );
    }
}
