//! The files of the state: a snapshot `state.json`, and a log `changes.jsonl` of later changes.
//!
//! A commit is one line of the log. The log begins with a line that has its number; the snapshot has
//! the number of the log that continues it, so that a log from before the snapshot is not replayed.
//! Each snapshot begins a new log, in a new file.
//!
//! A log whose sync failed is not used again: Linux may drop the pages that it could not write, and a
//! second sync of the same file then succeeds without them. A new snapshot has them.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::ServerError;
use super::state::{ServerState, StateChange};
use super::state_folder::shared_token;
use crate::base::file::{AtPath, FileLock, LockError, PathError};
use crate::base::input::InputKind;
use crate::base::secret::ApiKey;
use crate::base::work_dir::{FileMode, WorkDir, WorkName};

/// Version of the files. The logs of version 1 have no number.
const VERSION: u64 = 2;

/// Words before the URL of a server, in the lock of its folder.
const ON: &str = " on ";

/// The log as an open file. Tests have one that fails.
pub(super) trait LogFile: Send + Sync {
    /// Appends a line.
    fn append(&self, line: &[u8]) -> io::Result<()>;
    /// Cuts the file off after `length` bytes.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Writes everything that was appended to disk.
    fn sync(&self) -> io::Result<()>;
}

impl LogFile for File {
    fn append(&self, line: &[u8]) -> io::Result<()> {
        (&*self).write_all(line)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        // Includes the length of the file.
        self.sync_data()
    }
}

/// Turns the file of a log into a [`LogFile`].
pub(super) type OpenLog = fn(File) -> Arc<dyn LogFile>;

/// The files of the state. The folder is locked until they are dropped.
pub(super) struct StateFiles {
    dir: WorkDir,
    open_log: OpenLog,
    /// `None` once a sync or the start of a new log failed: only a new snapshot leads on.
    log: Option<Arc<dyn LogFile>>,
    /// Number of the log.
    number: u64,
    /// Length of the log, in bytes.
    length: u64,
    /// Number of commits in the log.
    commits: usize,
    _lock: FileLock,
}

/// The content of the files at the start.
pub(super) struct StoredState {
    pub(super) state: ServerState,
    /// Key that signs upload URLs; `None` without a snapshot.
    pub(super) key: Option<[u8; 32]>,
    /// True if a new snapshot is needed before the first commit.
    pub(super) needs_snapshot: bool,
}

#[derive(Serialize, Deserialize)]
struct SnapshotFile {
    version: u64,
    /// Key that signs upload URLs, in hex.
    key: String,
    /// Number of the log that continues the snapshot; 0 for a log without a number.
    #[serde(default)]
    log: u64,
    changes: Vec<StateChange>,
}

#[derive(Deserialize)]
struct SnapshotVersion {
    version: u64,
}

/// The first line of a log.
#[derive(Serialize, Deserialize)]
struct LogHeader {
    log: u64,
}

impl StateFiles {
    /// Opens the files in a folder, which is created if it does not exist, and reads them. `url` is
    /// that of the server, for other processes.
    ///
    /// # Errors
    /// Fails if another server uses the folder, if a file cannot be read or written, or if its content
    /// is invalid or of a newer version.
    pub(super) fn open(
        path: &Path,
        url: &str,
        open_log: OpenLog,
    ) -> Result<(Self, StoredState), ServerError> {
        let dir = WorkDir::create_private(path)?;
        let holder = format!("the server with process ID {}{ON}{url}", std::process::id());
        let lock = dir.lock(&WorkName::LOCK, &holder).map_err(|error| match error {
            LockError::Held(holder) => ServerError::Held { dir: path.to_owned(), holder },
            LockError::Path(error) => ServerError::State(error),
        })?;
        let (mut state, key, number) = match read_snapshot(&dir)? {
            Some((state, key, number)) => (state, Some(key), number),
            None => (ServerState::default(), None, 0),
        };
        let length = replay(&dir, &mut state, number)?;
        let mut files =
            Self { dir, open_log, log: None, number, length: 0, commits: 0, _lock: lock };
        if let (Some(length), Some(_)) = (length, key) {
            files.length = length;
            files.log = Some(open_log(files.dir.append(&WorkName::SERVER_LOG, FileMode::Private)?));
        }
        let needs_snapshot = files.log.is_none();
        Ok((files, StoredState { state, key, needs_snapshot }))
    }

    /// Returns the folder, which other files of the server are in, too.
    pub(super) fn folder(&self) -> &WorkDir {
        &self.dir
    }

    /// Returns the path of the log, for messages.
    pub(super) fn log_path(&self) -> PathBuf {
        self.dir.path_of(WorkName::SERVER_LOG)
    }

    /// Returns the log. `None` if only a new snapshot leads on.
    pub(super) fn log(&self) -> Option<&Arc<dyn LogFile>> {
        self.log.as_ref()
    }

    /// Returns the number of commits in the log.
    pub(super) fn commits(&self) -> usize {
        self.commits
    }

    /// Appends a commit to the log, without a sync. Fails if it cannot be written, and then leaves the
    /// log unchanged.
    pub(super) fn append(
        &mut self,
        log: &dyn LogFile,
        changes: &[StateChange],
    ) -> Result<(), PathError> {
        let path = self.log_path();
        let mut line = serde_json::to_vec(changes).map_err(Into::into).at("write", &path)?;
        line.push(b'\n');
        if let Err(error) = log.append(&line) {
            // A partial line would swallow the next commit.
            if log.truncate(self.length).is_err() {
                self.log = None;
            }
            return Err(error).at("write", &path);
        }
        self.length += line.len() as u64;
        self.commits += 1;
        Ok(())
    }

    /// Gives the log up: it is not known which of its pages are on disk.
    pub(super) fn close_log(&mut self) {
        self.log = None;
    }

    /// Writes a snapshot and begins a new log. All of it is on disk afterwards. If it fails, it is not
    /// known which snapshot the next start would find, so that the log is given up.
    pub(super) fn write_snapshot(
        &mut self,
        state: &ServerState,
        key: &[u8; 32],
    ) -> Result<(), PathError> {
        self.log = None;
        self.number += 1;
        let snapshot = SnapshotFile {
            version: VERSION,
            key: blake3::Hash::from_bytes(*key).to_hex().to_string(),
            log: self.number,
            changes: state.changes().collect(),
        };
        let text = serde_json::to_vec(&snapshot).map_err(Into::into);
        let text = text.at("write", &self.dir.path_of(WorkName::SERVER_STATE))?;
        self.dir.replace(&WorkName::SERVER_STATE, &text, FileMode::Private)?;
        let header = header(self.number).at("write", &self.log_path())?;
        self.dir.replace(&WorkName::SERVER_LOG, &header, FileMode::Private)?;
        let log = self.dir.append(&WorkName::SERVER_LOG, FileMode::Private)?;
        self.log = Some((self.open_log)(log));
        (self.length, self.commits) = (header.len() as u64, 0);
        Ok(())
    }
}

/// Returns the URL of the server that uses a folder, if it runs on this machine, and the token that it
/// shares.
pub(crate) fn running(path: &Path) -> Option<(String, Option<ApiKey>)> {
    let dir = WorkDir::open(path).ok()??;
    let holder = dir.lock_holder(&WorkName::LOCK)?;
    let (_, url) = holder.trim().rsplit_once(ON)?;
    let port = url.strip_prefix("http://127.0.0.1:")?;
    port.parse::<u16>().ok().map(|_| (url.to_owned(), shared_token(&dir)))
}

fn header(number: u64) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&LogHeader { log: number })?;
    line.push(b'\n');
    Ok(line)
}

/// Returns the state and the key of the snapshot, and the number of the log that continues it.
fn read_snapshot(dir: &WorkDir) -> Result<Option<(ServerState, [u8; 32], u64)>, ServerError> {
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
    Ok(Some((state, *key.as_bytes(), snapshot.log)))
}

/// Applies the log that continues the snapshot. Returns the length of the log if it can be continued:
/// it has no commit.
fn replay(
    dir: &WorkDir,
    state: &mut ServerState,
    expected: u64,
) -> Result<Option<u64>, ServerError> {
    let Some(bytes) = dir.read(&WorkName::SERVER_LOG, InputKind::ServerState)? else {
        return Ok(None);
    };
    let corrupt = |index: usize, message: String| ServerError::Corrupt {
        path: dir.path_of(WorkName::SERVER_LOG),
        line: index + 1,
        message,
    };
    // After a power failure, a file may end in zeros in the place of what was not synced.
    let written = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    // A line without its end was not synced, and nothing after it.
    let lines = written.split_inclusive(|byte| *byte == b'\n');
    let mut lines = lines.map_while(|line| line.strip_suffix(b"\n")).enumerate().peekable();
    let header = lines.peek().and_then(|(_, line)| serde_json::from_slice::<LogHeader>(line).ok());
    let number = header.as_ref().map_or(0, |header| header.log);
    if number < expected {
        return Ok(None);
    }
    if number > expected {
        let message = format!("this is log {number}, and the snapshot is continued by {expected}");
        return Err(corrupt(0, message));
    }
    let (mut commits, headers) = (0, usize::from(header.is_some()));
    for (index, line) in lines.skip(headers) {
        let changes: Vec<StateChange> =
            serde_json::from_slice(line).map_err(|error| corrupt(index, error.to_string()))?;
        for change in changes {
            state.apply(change);
        }
        commits += 1;
    }
    let is_whole = bytes.ends_with(b"\n") && written.len() == bytes.len();
    Ok((commits == 0 && headers == 1 && is_whole).then_some(bytes.len() as u64))
}
