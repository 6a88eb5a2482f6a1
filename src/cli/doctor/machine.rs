//! Checks this machine: programs of the engine, free space, the recorded state and limits.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::findings::{
    CheckProblem, EngineFinding, FilesFinding, StateFinding, TempFinding, machine_problem,
};
use crate::base::free_space::{free_bytes, free_bytes_at};
use crate::base::limit::{Class, Limit};
use crate::base::open_files::max_open_files;
use crate::base::text::duration;
use crate::cli::execution::default_builds;
use crate::cli::failure::Failure;
use crate::report::checks::Check;
use crate::server::{EngineConfig, check_installed};
use crate::state::{StatePaths, StateSnapshot, Store};

/// The parts of this machine that an apply would use.
pub(super) struct Machine {
    pub(super) engine: EngineConfig,
    /// True with `--local`.
    pub(super) is_local: bool,
    pub(super) paths: StatePaths,
    /// Name of the service in the lockfile, if it is known.
    pub(super) service: Option<String>,
    /// Rate limit of builds.
    pub(super) initiate: Option<Limit>,
}

impl Machine {
    /// Checks everything. May block, for example on a network file system.
    pub(super) fn checks(&self) -> Vec<Check> {
        vec![
            self.engine().check(),
            temp().check(),
            self.state().check(),
            files(self.initiate.unwrap_or_else(|| Class::Initiate.default_limit())).check(),
        ]
    }

    fn engine(&self) -> EngineFinding {
        let buildah = check_installed(&self.engine);
        let buildah = buildah.map_err(|error| CheckProblem::from(Failure::from(error)));
        EngineFinding { kind: self.engine.kind, is_used: self.is_local, buildah }
    }

    fn state(&self) -> StateFinding {
        let work = &self.paths.work;
        let folder = work.ancestors().find(|folder| folder.is_dir());
        // The last ancestor of a relative path is empty.
        let folder = folder.filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let read = StateSnapshot::read(&self.paths);
        let read = read.and_then(|state| match &self.service {
            Some(service) => state.for_service(service).map(drop),
            None => Ok(()),
        });
        let problem = match read {
            Ok(()) => unwritable(folder),
            Err(error) => Some(CheckProblem::from(Failure::from(error))),
        };
        let holder = Store::holder(&self.paths);
        StateFinding { path: work.clone(), problem, holder, free: free_bytes_at(folder) }
    }
}

/// Returns the problem if the user may not write to a folder.
#[cfg(unix)]
fn unwritable(folder: &Path) -> Option<CheckProblem> {
    let error = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).err()?;
    let message = format!("cannot write to {}: {}", folder.display(), std::io::Error::from(error));
    let help = "the lockfile and the journal are written there: change the permissions";
    Some(CheckProblem { message, help: Some(help.to_owned()) })
}

#[cfg(not(unix))]
fn unwritable(_: &Path) -> Option<CheckProblem> {
    None
}

fn temp() -> TempFinding {
    let path: PathBuf = std::env::temp_dir();
    let free = tempfile::tempfile_in(&path).map(|file| free_bytes(&file));
    TempFinding { path, free: free.map_err(|error| error.to_string()) }
}

fn files(initiate: Limit) -> FilesFinding {
    let limit = max_open_files();
    let builds = (default_builds(initiate, limit), default_builds(initiate, None));
    FilesFinding { limit, builds }
}

/// Returns the check for a machine that did not respond.
pub(super) fn no_response(limit: Duration) -> Check {
    let message = format!("the file system did not respond within {}", duration(limit));
    machine_problem(&CheckProblem { message, help: None })
}
