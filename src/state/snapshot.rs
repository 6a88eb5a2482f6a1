//! Reads the lockfile and the journal as they are at one time, changing neither.

use std::fs;
use std::path::{Path, PathBuf};

use super::State;
use super::encode::{self, LockfileError};
use super::journal::{self, JournalError};
use super::merge;
use super::store::{StateError, StatePaths};
use crate::base::file::{AtPath, PathError, read_if_exists};

/// What the files of a state say, of whatever service.
#[derive(Debug)]
pub struct StateSnapshot {
    /// What is known.
    pub state: State,
    /// The text of the lockfile; `None` where there is none.
    pub(super) lockfile: Option<String>,
    /// The files there are, and the service that each speaks of.
    services: Vec<(PathBuf, String)>,
}

impl StateSnapshot {
    /// Reads both files.
    pub fn read(paths: &StatePaths) -> Result<Self, StateError> {
        let (lockfile, journal) = read_both(paths)?;
        let mut state = State::default();
        let mut services = Vec::new();
        if let Some(text) = &lockfile {
            let decoded = encode::decode(text).map_err(|error| unread_lockfile(paths, error))?;
            services.push((paths.lockfile.clone(), decoded.service));
            state = decoded.state;
        }
        if let Some(journal) = journal {
            let decoded = journal::decode(&String::from_utf8_lossy(&journal))
                .map_err(|error| unread_journal(paths, error))?;
            if let Some((header, records)) = decoded {
                state.replay(lockfile.as_deref(), header.lockfile, &records);
                services.push((paths.journal(), header.service));
            }
        }
        Ok(Self { state, lockfile, services })
    }

    /// Whether git left the marks of a merge in the lockfile.
    pub fn has_conflict_markers(&self) -> bool {
        self.lockfile.as_deref().and_then(merge::first_mark).is_some()
    }

    /// The same, if it speaks of this service and no other.
    pub fn of(self, service: &str) -> Result<Self, StateError> {
        match self.services.iter().find(|(_, theirs)| theirs != service) {
            None => Ok(self),
            Some((path, theirs)) => Err(StateError::OtherService {
                path: path.clone(),
                theirs: theirs.clone(),
                ours: service.to_owned(),
            }),
        }
    }
}

fn unread_lockfile(paths: &StatePaths, error: LockfileError) -> StateError {
    let help = match error {
        LockfileError::Newer(_) => "use a newer imgplan",
        LockfileError::Conflict(_) => "finish the merge: keep for each unit the block of one side",
        LockfileError::Malformed(_) => {
            "restore it from git; without it, imgplan would build everything again"
        }
    };
    StateError::Lockfile { path: paths.lockfile.clone(), error, help }
}

fn unread_journal(paths: &StatePaths, error: JournalError) -> StateError {
    let help = match error {
        JournalError::Newer(_) => "use a newer imgplan",
        JournalError::Damaged(_) => {
            "the lines above are good: remove this line, and see by `imgplan plan` what is left to do"
        }
    };
    StateError::Journal { path: paths.journal(), error, help }
}

/// The lockfile and the journal as they were at one time: a run beside this one may just write the
/// first and drop the second.
fn read_both(paths: &StatePaths) -> Result<(Option<String>, Option<Vec<u8>>), StateError> {
    let mut text = read_if_exists(&paths.lockfile)?;
    loop {
        let journal = read_whole_lines(&paths.journal())?;
        let again = read_if_exists(&paths.lockfile)?;
        if again == text {
            return Ok((text, journal));
        }
        text = again;
    }
}

/// The lines of a file up to the last that is whole; the rest may end within a character.
pub(super) fn read_whole_lines(path: &Path) -> Result<Option<Vec<u8>>, PathError> {
    match fs::read(path) {
        Ok(mut bytes) => {
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            bytes.truncate(whole);
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path),
    }
}
