//! Reads the lockfile and the journal consistently, without changing them.

use std::path::PathBuf;

use super::State;
use super::decode::decode;
use super::error::StateError;
use super::journal::{Header, Record};
use super::lockfile_place::LockfilePlace;
use super::paths::StatePaths;
use super::{journal, merge};
use crate::base::file::PathError;
use crate::base::input::InputKind;
use crate::base::work_dir::{WorkDir, WorkName};

/// The state on disk at one moment, of any service.
#[derive(Debug)]
pub(crate) struct StateSnapshot {
    /// The state.
    pub state: State,
    /// True if the lockfile has conflict markers of git.
    pub(crate) has_conflict_markers: bool,
    /// Text of the lockfile. `None` if it does not exist.
    pub(super) lockfile: Option<String>,
    /// The files that exist, with the service of each.
    services: Vec<(PathBuf, String)>,
}

impl StateSnapshot {
    /// Reads the lockfile and replays the journal.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read, is damaged, or was written by a later imgplan.
    pub(crate) fn read(paths: &StatePaths) -> Result<Self, StateError> {
        let (lockfile, journal) = read_both(paths)?;
        let mut state = State::default();
        let mut services = Vec::new();
        let conflict_marker = lockfile.as_deref().and_then(merge::first_conflict_marker);
        let has_conflict_markers = conflict_marker.is_some();
        if let Some(text) = &lockfile {
            let decoded = decode(text).map_err(|error| StateError::lockfile(paths, text, error))?;
            services.push((paths.lockfile.clone(), decoded.service));
            state = decoded.state;
        }
        if let Some((header, records)) =
            journal.map(|text| decode_journal(paths, &text)).transpose()?.flatten()
        {
            state.replay(lockfile.as_deref(), header.lockfile, &records);
            services.push((paths.journal(), header.service));
        }
        Ok(Self { state, has_conflict_markers, lockfile, services })
    }

    /// Reads the text of a lockfile, without a journal.
    ///
    /// # Errors
    ///
    /// Fails if it is damaged, or was written by a later imgplan.
    pub(crate) fn of_text(path: &std::path::Path, text: &str) -> Result<Self, StateError> {
        let paths = StatePaths { lockfile: path.to_owned(), work: PathBuf::new() };
        let decoded = decode(text).map_err(|error| StateError::lockfile(&paths, text, error))?;
        let services = vec![(path.to_owned(), decoded.service)];
        let has_conflict_markers = merge::first_conflict_marker(text).is_some();
        Ok(Self { state: decoded.state, has_conflict_markers, lockfile: None, services })
    }

    /// Creates a snapshot of a shared state, whose service was compared when it was found.
    pub(crate) fn of_shared(state: State) -> Self {
        Self { state, has_conflict_markers: false, lockfile: None, services: Vec::new() }
    }

    /// Reads the journal alone. `None` if there is none.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read, is damaged, or was written by a later imgplan.
    pub(super) fn read_journal(
        paths: &StatePaths,
    ) -> Result<Option<(Header, Vec<Record>)>, StateError> {
        let Some(work) = WorkDir::open(&paths.work)? else { return Ok(None) };
        let text = read_journal(&work)?;
        Ok(text.map(|text| decode_journal(paths, &text)).transpose()?.flatten())
    }

    /// Drops the text of the lockfile, which only a store needs: 30 MB for 50,000 units.
    pub(crate) fn without_text(self) -> Self {
        Self { lockfile: None, ..self }
    }

    /// Returns the snapshot if all its files belong to `service`.
    ///
    /// # Errors
    ///
    /// Fails with [`StateError::OtherService`] otherwise.
    pub(crate) fn for_service(self, service: &str) -> Result<Self, StateError> {
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

fn decode_journal(
    paths: &StatePaths,
    text: &[u8],
) -> Result<Option<(Header, Vec<Record>)>, StateError> {
    journal::decode(&String::from_utf8_lossy(text))
        .map_err(|error| StateError::journal(paths, error))
}

/// Reads the lockfile and the journal as of one moment. Another run may be replacing the lockfile and
/// removing the journal: if the lockfile changed in between, both are read again.
fn read_both(paths: &StatePaths) -> Result<(Option<String>, Option<Vec<u8>>), StateError> {
    let place = LockfilePlace::find(paths)?;
    let work = WorkDir::open(&paths.work)?;
    let mut text = place.read(work.as_ref())?;
    loop {
        let journal = work.as_ref().map(read_journal).transpose()?.flatten();
        let again = place.read(work.as_ref())?;
        if again == text {
            return Ok((text, journal));
        }
        text = again;
    }
}

/// Reads the complete lines of the journal. An incomplete last line, which may end inside a character,
/// is left out. Fails if the journal is not a regular file, is too large, or cannot be read.
pub(super) fn read_journal(work: &WorkDir) -> Result<Option<Vec<u8>>, PathError> {
    let Some(mut bytes) = work.read(&WorkName::JOURNAL, InputKind::Journal)? else {
        return Ok(None);
    };
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    bytes.truncate(end);
    Ok(Some(bytes))
}
