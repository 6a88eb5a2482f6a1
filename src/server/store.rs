//! Stores the state on disk: a snapshot `state.json`, and a log `changes.jsonl` of later changes.
//!
//! A change is written to the log before it is applied, one line for each commit, so that a build
//! whose ID was returned to a client survives a crash of the process. The log is not synced to disk:
//! the server is for development and tests, and a power failure may lose its last changes. At the
//! next start, and after every [`MAX_LOG_LINES`] commits, the log is folded into the snapshot. A
//! crash between the two writes is harmless, because the log contains complete values.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::ServerError;
use super::state::{ServerState, StateChange};
use crate::base::file::{AtPath, FileLock, LockError, PathError};
use crate::base::input::InputKind;
use crate::base::work_dir::{FileMode, WorkDir, WorkName};

const VERSION: u64 = 1;

/// Maximum number of commits in the log before it is folded into the snapshot.
const MAX_LOG_LINES: usize = 50_000;

/// The state, and its files if it is stored on disk.
pub(super) struct ServerStore {
    state: ServerState,
    key: [u8; 32],
    disk: Option<Disk>,
}

struct Disk {
    dir: WorkDir,
    log: File,
    length: u64,
    lines: usize,
    _lock: FileLock,
}

#[derive(Serialize, Deserialize)]
struct SnapshotFile {
    version: u64,
    /// Key that signs upload URLs, in hex.
    key: String,
    changes: Vec<StateChange>,
}

#[derive(Deserialize)]
struct SnapshotVersion {
    version: u64,
}

impl ServerStore {
    /// Creates a state that is not stored on disk.
    ///
    /// # Errors
    /// Fails if the operating system provides no random numbers.
    pub(super) fn in_memory() -> Result<Self, ServerError> {
        Ok(Self { state: ServerState::default(), key: new_key()?, disk: None })
    }

    /// Returns the folder of the uploads. `None` without a state on disk. Fails if it cannot be created.
    pub(super) fn uploads(&self) -> Result<Option<WorkDir>, PathError> {
        let disk = self.disk.as_ref();
        disk.map(|disk| disk.dir.create_child(&WorkName::UPLOADS, FileMode::Private)).transpose()
    }

    /// Opens the state in a folder, which is created if it does not exist.
    ///
    /// # Errors
    /// Fails if another server uses the folder, if a file cannot be read or written, or if its content
    /// is invalid or of a newer version.
    pub(super) fn open(path: &Path) -> Result<Self, ServerError> {
        let dir = WorkDir::create_private(path)?;
        let holder = format!("the server with process ID {}", std::process::id());
        let lock = dir.lock(&WorkName::LOCK, &holder).map_err(|error| match error {
            LockError::Held(holder) => ServerError::Held { dir: path.to_owned(), holder },
            LockError::Path(error) => ServerError::State(error),
        })?;
        let (mut state, key) = match read_snapshot(&dir)? {
            Some(snapshot) => snapshot,
            None => (ServerState::default(), new_key()?),
        };
        replay(&dir, &mut state)?;
        let log = dir.append(&WorkName::SERVER_LOG, FileMode::Private)?;
        let disk = Disk { dir, log, length: 0, lines: 0, _lock: lock };
        let mut store = Self { state, key, disk: Some(disk) };
        store.fold()?;
        Ok(store)
    }

    pub(super) fn state(&self) -> &ServerState {
        &self.state
    }

    /// Returns the key that signs upload URLs.
    pub(super) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Writes changes to the log, then applies them: all or none.
    pub(super) fn commit(&mut self, changes: Vec<StateChange>) -> Result<(), PathError> {
        if let Some(disk) = &mut self.disk {
            disk.append(&changes)?;
        }
        for change in changes {
            self.state.apply(change);
        }
        if let Some(disk) = &mut self.disk
            && disk.lines >= MAX_LOG_LINES
        {
            disk.lines = 0;
            // An error is no loss: the log still has all changes, and the next fold tries again.
            let _ = self.fold();
        }
        Ok(())
    }

    /// Writes a new snapshot and empties the log.
    pub(super) fn fold(&mut self) -> Result<(), PathError> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let key = blake3::Hash::from_bytes(self.key).to_hex().to_string();
        let snapshot =
            SnapshotFile { version: VERSION, key, changes: self.state.changes().collect() };
        let text = serde_json::to_vec(&snapshot).map_err(Into::into);
        let text = text.at("write", &disk.dir.path_of(WorkName::SERVER_STATE))?;
        disk.dir.replace(&WorkName::SERVER_STATE, &text, FileMode::Private)?;
        disk.log.set_len(0).at("empty", &disk.dir.path_of(WorkName::SERVER_LOG))?;
        (disk.length, disk.lines) = (0, 0);
        Ok(())
    }
}

impl Disk {
    fn append(&mut self, changes: &[StateChange]) -> Result<(), PathError> {
        let path = self.dir.path_of(WorkName::SERVER_LOG);
        let mut line = serde_json::to_vec(changes).map_err(Into::into).at("write", &path)?;
        line.push(b'\n');
        if let Err(error) = self.log.write_all(&line) {
            // Remove a partial line, or the next commit would be appended to it. If this fails too,
            // the next start reports the damaged line.
            let _ = self.log.set_len(self.length);
            return Err(error).at("write", &path);
        }
        self.length += line.len() as u64;
        self.lines += 1;
        Ok(())
    }
}

fn new_key() -> Result<[u8; 32], ServerError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(ServerError::Random)?;
    Ok(key)
}

fn read_snapshot(dir: &WorkDir) -> Result<Option<(ServerState, [u8; 32])>, ServerError> {
    let Some(text) = dir.read(&WorkName::SERVER_STATE, InputKind::ServerState)? else {
        return Ok(None);
    };
    let path = dir.path_of(WorkName::SERVER_STATE);
    let corrupt =
        |line: usize, message: String| ServerError::Corrupt { path: path.clone(), line, message };
    let json = |error: serde_json::Error| corrupt(error.line(), error.to_string());
    // The version is checked first: a file of a newer version is not corrupt.
    let SnapshotVersion { version } = serde_json::from_slice(&text).map_err(json)?;
    if version > VERSION {
        return Err(ServerError::Newer { path, found: version, known: VERSION });
    }
    let snapshot: SnapshotFile = serde_json::from_slice(&text).map_err(json)?;
    let key = blake3::Hash::from_hex(&snapshot.key)
        .map_err(|_| corrupt(1, "the key is not 64 hex digits".to_owned()))?;
    let mut state = ServerState::default();
    snapshot.changes.into_iter().for_each(|change| state.apply(change));
    Ok(Some((state, *key.as_bytes())))
}

fn replay(dir: &WorkDir, state: &mut ServerState) -> Result<(), ServerError> {
    let Some(bytes) = dir.read(&WorkName::SERVER_LOG, InputKind::ServerState)? else {
        return Ok(());
    };
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        // A line without its end was cut off by a crash, before the response to its request.
        let Some(line) = line.strip_suffix(b"\n") else { break };
        let changes: Vec<StateChange> = serde_json::from_slice(line).map_err(|error| {
            let path = dir.path_of(WorkName::SERVER_LOG);
            ServerError::Corrupt { path, line: index + 1, message: error.to_string() }
        })?;
        for change in changes {
            state.apply(change);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn forget(seq: u64) -> Vec<StateChange> {
        vec![StateChange::ForgetBuild { seq }]
    }

    #[test]
    fn a_partial_last_line_is_ignored_and_an_invalid_line_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = ServerStore::open(dir.path()).unwrap();
        let key = *store.key();
        store.commit(forget(1)).unwrap();
        drop(store);
        let log = dir.path().join("changes.jsonl");
        let intact = fs::read_to_string(&log).unwrap();
        fs::write(&log, format!("{intact}[{{\"forget")).unwrap();
        assert_eq!(*ServerStore::open(dir.path()).unwrap().key(), key);
        assert_eq!(fs::read_to_string(&log).unwrap(), "");

        fs::write(&log, format!("{intact}nonsense\n{intact}")).unwrap();
        let Err(ServerError::Corrupt { line, .. }) = ServerStore::open(dir.path()) else {
            panic!()
        };
        assert_eq!(line, 2);
    }

    #[test]
    fn an_id_that_is_a_path_is_an_error() {
        let location = r#"{"owner": "personal", "name": "app", "tag": "v1"}"#;
        let build = |id: &str, artifact: &str| {
            format!(
                r#"{{"build": {{"seq": 18446744073709551615, "id": "{id}", "artifact": "{artifact}",
                "place": {location}, "platform": "linux/amd64", "visibility": null,
                "origin": {{"context": {{"dockerfile_path": "Dockerfile", "uploaded": 1}}}},
                "status": "BUILDING", "created_at": 0}}}}"#
            )
        };
        let image = |id: &str| {
            format!(
                r#"{{"image": {{"place": {location}, "build": "{id}", "visibility": "PRIVATE",
                "pushed_at": 0}}}}"#
            )
        };
        let open = |change: &str| {
            let dir = tempfile::tempdir().unwrap();
            let key = "0".repeat(64);
            let snapshot = format!(r#"{{"version": 1, "key": "{key}", "changes": [{change}]}}"#);
            fs::write(dir.path().join("state.json"), snapshot).unwrap();
            let of_snapshot = ServerStore::open(dir.path()).map(|_| ());
            fs::remove_file(dir.path().join("state.json")).unwrap();
            let line = format!("[{}]\n", change.replace('\n', " "));
            fs::write(dir.path().join("changes.jsonl"), line).unwrap();
            [of_snapshot, ServerStore::open(dir.path()).map(|_| ())]
        };
        assert!(open(&build("b-1", "a-1")).iter().all(Result::is_ok));
        assert!(open(&image("b-1")).iter().all(Result::is_ok));
        for change in [build("../../x", "a-1"), build("b-1", "../../x"), image("../../x")] {
            for result in open(&change) {
                let error = result.unwrap_err().to_string();
                assert!(error.contains("`../../x` is not a build ID"), "{error}");
            }
        }
    }

    #[test]
    fn a_folder_is_used_by_one_server() {
        let dir = tempfile::tempdir().unwrap();
        let _store = ServerStore::open(dir.path()).unwrap();
        assert!(matches!(ServerStore::open(dir.path()), Err(ServerError::Held { .. })));
    }

    #[test]
    fn a_state_of_a_newer_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("state.json"), r#"{"version": 9, "other": "field"}"#).unwrap();
        let error = ServerStore::open(dir.path()).map(|_| ()).unwrap_err();
        assert!(matches!(error, ServerError::Newer { found: 9, .. }), "{error}");
        fs::write(dir.path().join("state.json"), "{").unwrap();
        assert!(matches!(ServerStore::open(dir.path()), Err(ServerError::Corrupt { .. })));
    }
}
