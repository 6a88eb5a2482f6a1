//! The store of the state: changes it, and writes the changes to disk.
//!
//! A commit is appended to the log of [`StateFiles`] before it is applied, and is on disk only after a
//! sync. One sync covers all commits before it, however many: [`durable`](super::durable) waits for it
//! before a response is sent. If a sync fails, a new snapshot takes the place of the log; until that
//! succeeds, commits are refused. After every [`MAX_LOG_COMMITS`] commits, the log is folded into a
//! snapshot.

use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use super::disk::{LogFile, OpenLog, StateFiles};
use super::error::{STORE_RETRY_DELAY, ServerError, StoreError};
use super::state::{ServerState, StateChange};
use crate::base::file::{AtPath, PathError};
use crate::base::work_dir::WorkDir;

/// Maximum number of commits in the log before it is folded into the snapshot.
const MAX_LOG_COMMITS: usize = 50_000;

/// The state, and its files if it is stored on disk.
pub(super) struct ServerStore {
    state: ServerState,
    key: [u8; 32],
    files: Option<StateFiles>,
    syncs: bool,
    /// Number of commits since the start.
    committed: u64,
    /// Number of commits that are on disk, the first ones.
    durable: u64,
    /// The last failed write of a snapshot.
    failure: Option<(Instant, StoreError)>,
}

/// A sync of the log that covers all commits up to one.
pub(super) struct PendingSync {
    log: Arc<dyn LogFile>,
    covered: u64,
}

impl PendingSync {
    /// Writes the log to disk. Blocks.
    pub(super) fn run(&self) -> std::io::Result<()> {
        self.log.sync()
    }
}

impl ServerStore {
    /// Creates a state that is not stored on disk.
    ///
    /// # Errors
    /// Fails if the operating system provides no random numbers.
    pub(super) fn in_memory() -> Result<Self, ServerError> {
        Ok(Self::new(ServerState::default(), new_key()?, None))
    }

    /// Opens the state in a folder, which is created if it does not exist. `url` is that of the server.
    /// Without `sync`, commits count as durable at once.
    ///
    /// # Errors
    /// Fails if another server uses the folder, if a file cannot be read or written, or if its content
    /// is invalid or of a newer version.
    pub(super) fn open(path: &Path, url: &str, sync: bool) -> Result<Self, ServerError> {
        let store = Self::open_with(path, url, |file| Arc::new(file))?;
        Ok(Self { syncs: sync, ..store })
    }

    fn open_with(path: &Path, url: &str, open_log: OpenLog) -> Result<Self, ServerError> {
        let (files, stored) = StateFiles::open(path, url, open_log)?;
        let key = stored.key.map_or_else(new_key, Ok)?;
        let mut store = Self::new(stored.state, key, Some(files));
        if stored.needs_snapshot {
            store.fold()?;
        }
        Ok(store)
    }

    fn new(state: ServerState, key: [u8; 32], files: Option<StateFiles>) -> Self {
        Self { state, key, files, syncs: true, committed: 0, durable: 0, failure: None }
    }

    /// Returns the folder of the state. `None` without a state on disk.
    pub(super) fn folder(&self) -> Option<&WorkDir> {
        self.files.as_ref().map(StateFiles::folder)
    }

    pub(super) fn state(&self) -> &ServerState {
        &self.state
    }

    /// Forgets the images that the registry of an engine does not have: those that were only checked, and
    /// all if the registry is new.
    ///
    /// # Errors
    /// Fails if the state cannot be written.
    pub(super) fn forget_missing(&mut self, registry_is_new: bool) -> Result<(), PathError> {
        let changes = self.state.forget_missing(registry_is_new);
        if changes.is_empty() {
            return Ok(());
        }
        for change in changes {
            self.state.apply(change);
        }
        self.fold()
    }

    /// Returns the key that signs upload URLs.
    pub(super) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Appends changes to the log, then applies them: all or none. They are on disk after
    /// [`durable::wait`](super::durable::wait), which every response waits for.
    pub(super) fn commit(&mut self, changes: Vec<StateChange>) -> Result<(), StoreError> {
        if let Some(files) = &mut self.files {
            let Some(log) = files.log().map(Arc::clone) else {
                self.recover()?;
                return self.commit(changes);
            };
            files.append(&*log, &changes)?;
        }
        for change in changes {
            self.state.apply(change);
        }
        self.committed += 1;
        Ok(())
    }

    /// Returns the number of the last commit, if it is not known to be on disk.
    pub(super) fn unsynced(&self) -> Option<u64> {
        let waits = self.syncs && self.files.is_some() && self.durable < self.committed;
        waits.then_some(self.committed)
    }

    /// True if the first `commits` commits are on disk.
    pub(super) fn is_durable(&self, commits: u64) -> bool {
        self.durable >= commits
    }

    /// Returns the sync that makes all commits durable. `None` if they are durable already, or by a
    /// snapshot that this has written.
    pub(super) fn begin_sync(&mut self) -> Result<Option<PendingSync>, StoreError> {
        if self.unsynced().is_none() {
            return Ok(None);
        }
        let log = self.files.as_ref().and_then(StateFiles::log);
        if let Some(log) = log {
            let log = Arc::clone(log);
            return Ok(Some(PendingSync { log, covered: self.committed }));
        }
        self.recover()?;
        Ok(None)
    }

    /// Records the result of a sync. If it failed, writes a snapshot instead.
    pub(super) fn end_sync(
        &mut self,
        sync: &PendingSync,
        result: std::io::Result<()>,
    ) -> Result<(), StoreError> {
        let Some(files) = &mut self.files else { return Ok(()) };
        let is_current = files.log().is_some_and(|log| Arc::ptr_eq(log, &sync.log));
        match result {
            // A snapshot has all of its commits.
            _ if !is_current => self.begin_sync().map(drop),
            Ok(()) => {
                self.durable = self.durable.max(sync.covered);
                if files.commits() >= MAX_LOG_COMMITS {
                    // The next commit reports an error.
                    let _ = self.recover();
                }
                Ok(())
            }
            Err(error) => {
                files.close_log();
                let error: Result<(), PathError> = Err(error).at("sync", &files.log_path());
                error.or_else(|error| self.recover().map_err(|later| later.after(&error)))
            }
        }
    }

    /// Writes a snapshot, unless the last one failed a moment ago.
    fn recover(&mut self) -> Result<(), StoreError> {
        if let Some((at, error)) = &self.failure
            && at.elapsed() < STORE_RETRY_DELAY
        {
            return Err(error.clone());
        }
        let result = self.fold().map_err(StoreError::from);
        self.failure = result.as_ref().err().map(|error| (Instant::now(), error.clone()));
        result
    }

    /// Writes a new snapshot and begins a new log.
    fn fold(&mut self) -> Result<(), PathError> {
        if let Some(files) = &mut self.files {
            files.write_snapshot(&self.state, &self.key)?;
        }
        self.durable = self.committed;
        Ok(())
    }

    /// Writes everything to disk at the end.
    pub(super) fn close(&mut self) -> Result<(), PathError> {
        let files = self.files.as_ref();
        let is_folded = files.is_none_or(|files| files.log().is_some() && files.commits() == 0);
        if is_folded { Ok(()) } else { self.fold() }
    }
}

fn new_key() -> Result<[u8; 32], ServerError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(ServerError::Random)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io;
    use std::sync::Mutex;

    use super::*;

    fn open(path: &Path) -> Result<ServerStore, ServerError> {
        ServerStore::open(path, "http://127.0.0.1:1", true)
    }

    fn forget(seq: u64) -> Vec<StateChange> {
        vec![StateChange::ForgetBuild { seq }]
    }

    /// Makes all commits durable, as `durable::wait` does.
    fn sync(store: &mut ServerStore) -> Result<(), StoreError> {
        let Some(sync) = store.begin_sync()? else { return Ok(()) };
        let result = sync.run();
        store.end_sync(&sync, result)
    }

    #[test]
    fn a_partial_last_line_is_ignored_and_an_invalid_line_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path()).unwrap();
        let key = *store.key();
        store.commit(forget(1)).unwrap();
        drop(store);
        let log = dir.path().join("changes.jsonl");
        let intact = fs::read_to_string(&log).unwrap();
        assert_eq!(intact, "{\"log\":1}\n[{\"forget_build\":{\"seq\":1}}]\n");
        for (number, rest) in [(2, "[{\"forget"), (3, "\0\0\0"), (4, "\0\0[]\n")] {
            let text = intact.replace("\"log\":1", &format!("\"log\":{}", number - 1));
            fs::write(&log, format!("{text}{rest}")).unwrap();
            assert_eq!(*open(dir.path()).unwrap().key(), key);
            assert_eq!(fs::read_to_string(&log).unwrap(), format!("{{\"log\":{number}}}\n"));
        }

        fs::write(&log, intact.replace("1}\n[", "4}\nnonsense\n[")).unwrap();
        let Err(ServerError::Corrupt { line, .. }) = open(dir.path()) else { panic!() };
        assert_eq!(line, 2);
    }

    #[test]
    fn a_log_is_replayed_on_its_own_snapshot_only() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let key = *store.key();
        drop(store);
        let log = dir.path().join("changes.jsonl");
        // The log from before the snapshot: the power failed between the two.
        fs::write(&log, "{\"log\":0}\nnonsense\n").unwrap();
        assert_eq!(*open(dir.path()).unwrap().key(), key);
        // The log of version 1 has no number.
        fs::write(&log, "nonsense\n").unwrap();
        assert_eq!(*open(dir.path()).unwrap().key(), key);
        // The snapshot of a backup, and the log of now.
        fs::write(&log, "{\"log\":9}\n").unwrap();
        let error = open(dir.path()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("this is log 9, and the snapshot is continued by 3"), "{error}");
    }

    #[test]
    fn an_unchanged_state_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path()).unwrap();
        store.commit(forget(1)).unwrap();
        assert_eq!(store.unsynced(), Some(1));
        store.close().unwrap();
        assert_eq!(store.unsynced(), None);
        drop(store);
        let snapshot = fs::read(dir.path().join("state.json")).unwrap();
        let mut store = open(dir.path()).unwrap();
        store.close().unwrap();
        assert_eq!(fs::read(dir.path().join("state.json")).unwrap(), snapshot);
        store.commit(forget(2)).unwrap();
        drop(store);
        let log = fs::read_to_string(dir.path().join("changes.jsonl")).unwrap();
        assert_eq!(log, "{\"log\":2}\n[{\"forget_build\":{\"seq\":2}}]\n");
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
        // Files of version 1, whose logs have no number.
        let open_both = |change: &str| {
            let dir = tempfile::tempdir().unwrap();
            let key = "0".repeat(64);
            let snapshot = format!(r#"{{"version": 1, "key": "{key}", "changes": [{change}]}}"#);
            fs::write(dir.path().join("state.json"), snapshot).unwrap();
            let of_snapshot = open(dir.path()).map(|_| ());
            fs::remove_file(dir.path().join("state.json")).unwrap();
            let line = format!("[{}]\n", change.replace('\n', " "));
            fs::write(dir.path().join("changes.jsonl"), line).unwrap();
            [of_snapshot, open(dir.path()).map(|_| ())]
        };
        assert!(open_both(&build("b-1", "a-1")).iter().all(Result::is_ok));
        assert!(open_both(&image("b-1")).iter().all(Result::is_ok));
        for change in [build("../../x", "a-1"), build("b-1", "../../x"), image("../../x")] {
            for result in open_both(&change) {
                let error = result.unwrap_err().to_string();
                assert!(error.contains("`../../x` is not a build ID"), "{error}");
            }
        }
    }

    #[test]
    fn a_folder_is_used_by_one_server() {
        let dir = tempfile::tempdir().unwrap();
        let _store = open(dir.path()).unwrap();
        assert!(matches!(open(dir.path()), Err(ServerError::Held { .. })));
    }

    #[test]
    fn a_state_of_a_newer_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("state.json"), r#"{"version": 9, "other": "field"}"#).unwrap();
        let error = open(dir.path()).map(|_| ()).unwrap_err();
        assert!(matches!(error, ServerError::Newer { found: 9, .. }), "{error}");
        fs::write(dir.path().join("state.json"), "{").unwrap();
        assert!(matches!(open(dir.path()), Err(ServerError::Corrupt { .. })));
    }

    /// A log on a disk that loses what it should sync: the lines are gone, and later syncs succeed.
    struct FailingLog(Mutex<(File, u64)>);

    impl FailingLog {
        fn open(file: File) -> Arc<dyn LogFile> {
            let length = file.metadata().unwrap().len();
            Arc::new(Self(Mutex::new((file, length))))
        }
    }

    impl LogFile for FailingLog {
        fn append(&self, line: &[u8]) -> io::Result<()> {
            LogFile::append(&self.0.lock().unwrap().0, line)
        }

        fn truncate(&self, length: u64) -> io::Result<()> {
            self.0.lock().unwrap().0.set_len(length)
        }

        fn sync(&self) -> io::Result<()> {
            let (file, length) = &*self.0.lock().unwrap();
            if file.metadata()?.len() == *length {
                return Ok(());
            }
            file.set_len(*length)?;
            Err(io::Error::from_raw_os_error(5))
        }
    }

    fn log(dir: &Path) -> String {
        fs::read_to_string(dir.join("changes.jsonl")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_sync_is_followed_by_a_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = ServerStore::open_with(dir.path(), "", FailingLog::open).unwrap();
        store.commit(forget(1)).unwrap();
        sync(&mut store).unwrap();
        assert_eq!((store.unsynced(), log(dir.path())), (None, "{\"log\":2}\n".to_owned()));

        // Without room for a snapshot, nothing is accepted, and the old log is not used again.
        let snapshot = dir.path().join("state.json");
        fs::rename(&snapshot, dir.path().join("moved")).unwrap();
        fs::create_dir(&snapshot).unwrap();
        store.commit(forget(2)).unwrap();
        let error = sync(&mut store).unwrap_err().to_string();
        let expected = [
            "the server cannot store its state: cannot sync ",
            "/changes.jsonl: Input/output error (os error 5); cannot write ",
            "/state.json: Is a directory",
        ];
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
        assert!(store.commit(forget(3)).is_err() && sync(&mut store).is_err());
        fs::remove_dir(&snapshot).unwrap();
        assert!(store.commit(forget(3)).is_err(), "no second try at once");
        assert_eq!((store.unsynced(), log(dir.path())), (Some(2), "{\"log\":2}\n".to_owned()));

        tokio::time::advance(STORE_RETRY_DELAY).await;
        store.commit(forget(3)).unwrap();
        assert_eq!(store.unsynced(), Some(3), "the commit is in the new log");
        assert!(snapshot.is_file(), "the commit before is in the snapshot");
        sync(&mut store).unwrap();
        assert_eq!(store.unsynced(), None);
        drop(store);
        assert_eq!(log(dir.path()), "{\"log\":5}\n");
        open(dir.path()).unwrap();
    }

    #[test]
    fn a_sync_of_an_old_log_does_not_count_for_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path()).unwrap();
        store.commit(forget(1)).unwrap();
        let sync = store.begin_sync().unwrap().unwrap();
        store.fold().unwrap();
        store.commit(forget(2)).unwrap();
        store.end_sync(&sync, Err(io::ErrorKind::Other.into())).unwrap();
        assert_eq!((store.unsynced(), store.is_durable(1)), (Some(2), true));
    }
}
