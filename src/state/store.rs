//! The store: holds the lock, appends to the journal, and writes the lockfile.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::State;
use super::error::StateError;
use super::journal::{self, Header, Record};
use super::lockfile_place::LockfilePlace;
use super::lockfile_text;
use super::merge;
use super::paths::StatePaths;
use super::snapshot::{StateSnapshot, read_journal};
use crate::base::digest::Digest;
use crate::base::file::{AtPath, FileLock, LockError};
use crate::base::work_dir::{FileMode, WorkDir, WorkName};

/// The state on disk, locked by this process.
#[derive(Debug)]
pub struct Store {
    paths: StatePaths,
    work: WorkDir,
    service: String,
    state: State,
    place: LockfilePlace,
    on_disk: Option<String>,
    /// True if this process wrote `on_disk`.
    is_own_text: bool,
    journal: Option<File>,
    _lock: FileLock,
}

impl Store {
    /// Reads the state without locking or writing anything.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read, or belongs to another service.
    pub fn read(paths: &StatePaths, service: &str) -> Result<State, StateError> {
        Ok(StateSnapshot::read(paths)?.for_service(service)?.state)
    }

    /// Reads the state without locking or writing anything, of any service.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read.
    pub fn read_any(paths: &StatePaths) -> Result<State, StateError> {
        Ok(StateSnapshot::read(paths)?.state)
    }

    /// Returns the process that holds the lock, as it described itself. `None` if it is free.
    pub fn holder(paths: &StatePaths) -> Option<String> {
        WorkDir::open(&paths.work).ok()??.lock_holder(&WorkName::LOCK)
    }

    /// Returns the folders that an apply writes to: the work folder, and that of the lockfile, which may
    /// be a link to another one.
    ///
    /// # Errors
    ///
    /// Fails if the lockfile is a link that is not followed.
    pub fn folders(paths: &StatePaths) -> Result<Vec<PathBuf>, StateError> {
        let place = LockfilePlace::find(paths)?;
        let lockfile = place.folder().map(Path::to_owned);
        Ok([paths.work.clone()].into_iter().chain(lockfile).collect())
    }

    /// Acquires the lock, reads the lockfile and replays the journal.
    ///
    /// # Errors
    ///
    /// Fails if another process holds the lock, if a file cannot be read, and if a file belongs to
    /// another service.
    pub fn open(paths: StatePaths, service: &str) -> Result<Self, StateError> {
        let place = LockfilePlace::find(&paths)?;
        let work = WorkDir::create(&paths.work)?;
        let lock =
            work.lock(&WorkName::LOCK, &describe_process()).map_err(|error| match error {
                LockError::Held(holder) => StateError::Locked { holder },
                LockError::Path(error) => StateError::Path(error),
            })?;
        let StateSnapshot { state, lockfile: on_disk, .. } =
            StateSnapshot::read(&paths)?.for_service(service)?;
        // The lockfile is valid, so that an old copy of it must not be recommended later. If the copy
        // cannot be removed, the next write in place replaces it.
        let _ = work.remove(&WorkName::LOCKFILE_COPY);
        let service = service.to_owned();
        Ok(Self {
            paths,
            work,
            service,
            state,
            place,
            on_disk,
            is_own_text: false,
            journal: None,
            _lock: lock,
        })
    }

    /// Returns the current state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// True if the lockfile on disk has conflict markers of git.
    pub fn has_conflict_markers(&self) -> bool {
        self.on_disk.as_deref().and_then(merge::first_conflict_marker).is_some()
    }

    /// Applies records, and appends them to the journal. They are on disk when this returns.
    ///
    /// # Errors
    ///
    /// Fails if the journal cannot be written. The state then has the records, but they are not on
    /// disk until the next [`Store::commit`].
    pub fn record(&mut self, records: &[Record]) -> Result<(), StateError> {
        if records.is_empty() {
            return Ok(());
        }
        self.apply(records);
        let mut text = String::new();
        // After a failed write the journal stays closed. The next call opens it again, and so cuts off
        // the incomplete line.
        let mut file = match self.journal.take() {
            Some(file) => file,
            None => self.open_journal(&mut text)?,
        };
        text.extend(records.iter().map(journal::line));
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        written.at("write", &self.paths.journal())?;
        self.journal = Some(file);
        Ok(())
    }

    /// Applies records without the journal, after [`Store::record`] has failed. The next
    /// [`Store::commit`] writes them.
    pub fn apply(&mut self, records: &[Record]) {
        for record in records {
            self.state.apply(record);
        }
    }

    fn open_journal(&self, text: &mut String) -> Result<File, StateError> {
        // Cut off an incomplete last line: the next record would become a part of it.
        let len = read_journal(&self.work)?.map_or(0, |lines| lines.len());
        let file = self.work.append(&WorkName::JOURNAL, FileMode::Shared)?;
        file.set_len(len as u64).at("write", &self.paths.journal())?;
        if len == 0 {
            let header = Header {
                journal: journal::JOURNAL_VERSION,
                service: self.service.clone(),
                lockfile: self.on_disk.as_deref().map(|text| Digest::of(text.as_bytes())),
            };
            text.push_str(&journal::line(&header));
            self.work.sync()?;
        }
        Ok(file)
    }

    /// Writes the lockfile if its content changed, and removes the journal.
    ///
    /// A crash at any moment leaves a consistent state: before the lockfile is replaced, a record of
    /// its digest in the journal says that the journal's other records are contained in it.
    ///
    /// # Errors
    ///
    /// Fails if the lockfile or the journal cannot be written. No record is lost then.
    pub fn commit(&mut self) -> Result<(), StateError> {
        let (service, state) = (&*self.service, &self.state);
        let text = lockfile_text::encode_like(self.on_disk.as_deref(), service, state);
        let is_current = match &self.on_disk {
            None => *state == State::default(),
            Some(on_disk) if *on_disk == text => true,
            // A text that this process wrote has no other form.
            Some(on_disk) => {
                !self.is_own_text && lockfile_text::has_content(on_disk, service, state)
            }
        };
        if !is_current {
            // The journal may be one of an earlier process.
            if self.work.open_file(&WorkName::JOURNAL).is_ok() {
                self.record(&[Record::Committed { lockfile: Digest::of(text.as_bytes()) }])?;
            }
            let written = self.place.replace(&self.work, text.as_bytes());
            written.map_err(|source| StateError::NotCommitted {
                lockfile: self.paths.lockfile.clone(),
                journal: self.paths.journal(),
                source,
            })?;
            (self.on_disk, self.is_own_text) = (Some(text), true);
        }
        self.journal = None;
        Ok(self.work.remove(&WorkName::JOURNAL)?)
    }
}

/// Describes this process for the error message of another one.
fn describe_process() -> String {
    let since = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ");
    format!("PID {}{}, since {since}", std::process::id(), on_host())
}

#[cfg(unix)]
fn on_host() -> String {
    format!(" on host {}", rustix::system::uname().nodename().to_string_lossy())
}

#[cfg(not(unix))]
fn on_host() -> String {
    std::env::var("COMPUTERNAME").map(|host| format!(" on host {host}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use super::*;
    use crate::base::kind::ImageKind;
    use crate::base::name::{BuildId, Owner, Platform, Visibility};
    use crate::state::{BuildOutcome, BuildStage, Inputs, Pending};

    fn created(unit: &str) -> [Record; 2] {
        let inputs = Inputs::default();
        let build = BuildId::new(format!("b-{}", unit.replace(':', "-"))).unwrap();
        let unit: crate::base::name::ImageRef = unit.parse().unwrap();
        let pending = Pending {
            fingerprint: inputs.fingerprint(),
            inputs,
            build: build.clone(),
            path: crate::base::image_path::ImagePath::new("p").unwrap(),
            owner: Owner::Personal,
            visibility: Visibility::Private,
            stage: BuildStage::Created,
        };
        let (kind, platform) = (ImageKind::Build, Platform::Amd64);
        let created = Record::Created { unit: unit.clone(), kind, platform, pending };
        [
            created,
            Record::Ended {
                unit,
                build,
                outcome: BuildOutcome::Completed,
                error: None,
                path: None,
                image: None,
                at: None,
            },
        ]
    }

    #[test]
    fn an_interrupted_write_in_place_is_undone_from_its_copy() {
        let dir = tempfile::tempdir().unwrap();
        let paths = StatePaths::beside(dir.path());
        let mut store = Store::open(paths.clone(), "s").unwrap();
        store.record(&created("a:1")).unwrap();
        store.commit().unwrap();
        drop(store);
        let text = fs::read_to_string(&paths.lockfile).unwrap();
        let error = || Store::open(paths.clone(), "s").map(drop).unwrap_err();
        let help = |error: StateError| match error {
            StateError::Lockfile { help, .. } => help,
            other => panic!("{other:?}"),
        };
        // The end of the old text repeats a key, or begins in the middle of a line.
        let (unit, kind) = (text.find("  \"a:1\":").unwrap(), text.find("kind:").unwrap());
        for (tail, without_copy) in [(unit, "finish the merge"), (kind, "restore it from git")] {
            fs::write(&paths.lockfile, format!("{text}{}", &text[tail..])).unwrap();
            assert!(help(error()).starts_with(without_copy));
            fs::write(paths.lockfile_copy(), &text).unwrap();
            assert!(help(error()).starts_with("writing it was interrupted: copy "));
            // Once the lockfile is valid again, the copy is old.
            fs::write(&paths.lockfile, &text).unwrap();
            drop(Store::open(paths.clone(), "s").unwrap());
            assert!(!paths.lockfile_copy().exists());
        }
    }

    #[test]
    fn records_survive_without_a_commit() {
        let dir = tempfile::tempdir().unwrap();
        let paths = StatePaths::beside(dir.path());
        let mut store = Store::open(paths.clone(), "s").unwrap();
        store.record(&created("a:1")[..1]).unwrap();
        let expected = store.state().clone();
        drop(store);
        assert_eq!(Store::read(&paths, "s").unwrap(), expected);
        OpenOptions::new()
            .append(true)
            .open(paths.journal())
            .unwrap()
            .write_all(b"{\"torn\xc3")
            .unwrap();
        let mut store = Store::open(paths.clone(), "s").unwrap();
        store.record(&created("a:1")[1..]).unwrap();
        store.record(&created("b:1")).unwrap();
        let expected = store.state().clone();
        assert!(expected.entries.values().all(|entry| entry.built.is_some()));
        store.commit().unwrap();
        assert!(!paths.journal().exists());
        drop(store);
        assert_eq!(Store::read(&paths, "s").unwrap(), expected);
    }

    /// Run by the next test in a process in which no file can grow beyond 4 KiB (8 KiB in `bash`).
    #[cfg(unix)]
    #[test]
    #[ignore = "needs a limit of the file size; another test runs it"]
    fn with_limited_file_size() {
        let dir = tempfile::tempdir().unwrap();
        let paths = StatePaths::beside(dir.path());
        let mut store = Store::open(paths.clone(), "s").unwrap();
        store.record(&created("a:1")[..1]).unwrap();
        let size = || fs::metadata(paths.journal()).unwrap().len();
        let size_before = size();
        let long = format!("{}:1", "b".repeat(120));
        let many: Vec<Record> = std::iter::repeat_n(created(&long), 9).flatten().collect();
        store.record(&many).unwrap_err();
        assert!(size() > size_before, "the write failed half way");
        store.record(&created("a:1")[1..]).unwrap();
        assert!(Store::read(&paths, "s").unwrap().entries[&"a:1".parse().unwrap()].built.is_some());
        // Records that are missing in the journal are still written to the lockfile.
        let expected = store.state().clone();
        store.commit().unwrap();
        drop(store);
        assert_eq!(Store::read(&paths, "s").unwrap(), expected);
    }

    #[cfg(unix)]
    #[test]
    fn an_incomplete_write_is_cut_off() {
        let test = std::env::current_exe().unwrap();
        let output = std::process::Command::new("sh")
            // Without the trap, SIGXFSZ would end the process.
            .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"])
            .arg(test)
            .args([
                "--exact",
                "state::store::tests::with_limited_file_size",
                "--ignored",
                "--nocapture",
            ])
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
    }

    #[test]
    fn committing_the_journal_of_an_earlier_process_is_recorded_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let paths = StatePaths::beside(dir.path());
        let mut store = Store::open(paths.clone(), "s").unwrap();
        let failed = created("a:1").map(|record| match record {
            Record::Ended { unit, build, error, path, image, at, .. } => {
                Record::Ended { unit, build, error, path, image, at, outcome: BuildOutcome::Failed }
            }
            other => other,
        });
        store.record(&failed).unwrap();
        let [Record::Created { unit, kind, platform, pending }, _] = created("a:1") else {
            panic!()
        };
        let build = BuildId::new("b-2").unwrap();
        let pending = Pending { build: build.clone(), ..pending };
        store.record(&[Record::Created { unit: unit.clone(), kind, platform, pending }]).unwrap();
        let (outcome, path) = (BuildOutcome::Completed, None);
        store
            .record(&[Record::Ended {
                unit,
                build,
                outcome,
                error: None,
                path,
                image: None,
                at: None,
            }])
            .unwrap();
        drop(store);
        // As if the process had died before it removed the journal.
        let kept = File::open(paths.journal()).unwrap();
        let mut store = Store::open(paths.clone(), "s").unwrap();
        store.commit().unwrap();
        let expected = store.state().clone();
        drop(store);
        fs::write(paths.journal(), std::io::read_to_string(kept).unwrap()).unwrap();
        assert_eq!(Store::read(&paths, "s").unwrap(), expected);
    }

    #[test]
    fn records_that_cannot_be_journalled_are_written_by_the_commit() {
        let dir = tempfile::tempdir().unwrap();
        let paths = StatePaths::beside(dir.path());
        let mut store = Store::open(paths.clone(), "s").unwrap();
        fs::create_dir(paths.journal()).unwrap();
        store.record(&created("a:1")).unwrap_err();
        store.apply(&created("b:1"));
        let expected = store.state().clone();
        assert_eq!(expected.entries.len(), 2);
        fs::remove_dir(paths.journal()).unwrap();
        store.commit().unwrap();
        drop(store);
        assert_eq!(Store::read(&paths, "s").unwrap(), expected);
    }

    #[test]
    fn an_unchanged_lockfile_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let paths = StatePaths::beside(dir.path());
        let mut store = Store::open(paths.clone(), "s").unwrap();
        store.commit().unwrap();
        assert!(!paths.lockfile.exists(), "an empty state needs no file");
        store.record(&created("a:1")).unwrap();
        store.commit().unwrap();
        let before = fs::metadata(&paths.lockfile).unwrap().modified().unwrap();
        store.commit().unwrap();
        assert_eq!(fs::metadata(&paths.lockfile).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn another_service_and_a_held_lock_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let paths = StatePaths::beside(dir.path());
        let mut store = Store::open(paths.clone(), "s").unwrap();
        store.record(&created("a:1")).unwrap();
        assert!(matches!(Store::read(&paths, "t"), Err(StateError::OtherService { .. })));
        store.commit().unwrap();
        assert!(matches!(Store::read(&paths, "t"), Err(StateError::OtherService { .. })));
        assert!(matches!(Store::open(paths, "s"), Err(StateError::Locked { .. })));
    }
}
