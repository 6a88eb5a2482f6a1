//! The store: holds the lock, appends to the journal, and writes the lockfile.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use tokio::sync::oneshot;

use super::State;
use super::error::StateError;
use super::journal::{self, Header, Record};
use super::lockfile_place::LockfilePlace;
use super::lockfile_text;
use super::merge;
use super::paths::StatePaths;
use super::process::describe_process;
use super::replica::Replica;
use super::snapshot::{StateSnapshot, read_journal};
use crate::base::digest::Digest;
use crate::base::file::{AtPath, FileLock, LockError};
use crate::base::name::ImageRef;
use crate::base::work_dir::{FileMode, WorkDir, WorkName};

/// The state on disk, locked by this process.
#[derive(Debug)]
pub struct Store {
    paths: StatePaths,
    work: WorkDir,
    service: String,
    state: State,
    place: Destination,
    on_disk: Option<String>,
    /// True if this process wrote `on_disk`.
    is_own_text: bool,
    journal: Option<File>,
    _lock: FileLock,
}

/// The place that the state is written to.
#[derive(Debug)]
enum Destination {
    Lockfile(LockfilePlace),
    Replica(Box<dyn Replica>),
}

/// The lock of a work folder, with the records of a journal that an earlier run left.
#[derive(Debug)]
pub(crate) struct LockedJournal {
    paths: StatePaths,
    work: WorkDir,
    service: String,
    records: Vec<Record>,
    lock: FileLock,
}

impl LockedJournal {
    /// Acquires the lock, and reads the journal.
    ///
    /// # Errors
    ///
    /// Fails if another process holds the lock, and if the journal cannot be read or belongs to another
    /// service.
    pub(crate) fn open(paths: StatePaths, service: &str) -> Result<Self, StateError> {
        let (work, lock) = lock_folder(&paths)?;
        let records = match StateSnapshot::read_journal(&paths)? {
            Some((header, _)) if header.service != service => {
                return Err(StateError::OtherService {
                    path: paths.journal(),
                    theirs: header.service,
                    ours: service.to_owned(),
                });
            }
            Some((_, records)) => records,
            None => Vec::new(),
        };
        Ok(Self { paths, work, service: service.to_owned(), records, lock })
    }

    /// Returns the units of the records.
    pub(crate) fn units(&self) -> BTreeSet<ImageRef> {
        self.records.iter().flat_map(Record::units).cloned().collect()
    }

    /// Opens the store of a replica with this state, and adds what only the journal of an earlier run on
    /// this machine knows.
    pub(crate) fn into_store(self, mut state: State, mut replica: Box<dyn Replica>) -> Store {
        let units = self.units();
        let before: Vec<_> = units.iter().map(|unit| state.entries.get(unit).cloned()).collect();
        state.replay_on_shared(&self.records);
        for (unit, before) in units.into_iter().zip(before) {
            let entry = state.entries.get(&unit);
            if entry != before.as_ref() {
                let entry = entry.cloned();
                replica.set_entry(unit, entry);
            }
        }
        let Self { paths, work, service, records: _, lock } = self;
        Store {
            paths,
            work,
            service,
            state,
            place: Destination::Replica(replica),
            on_disk: None,
            is_own_text: false,
            journal: None,
            _lock: lock,
        }
    }
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
    #[cfg(any(test, feature = "test-support"))]
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
        let place = Destination::Lockfile(LockfilePlace::find(&paths)?);
        let (work, lock) = lock_folder(&paths)?;
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
        self.apply(records);
        // What belongs to the shard of another run is in memory only: that run records it.
        let records: Vec<&Record> = records.iter().filter(|record| self.may(record)).collect();
        if records.is_empty() {
            return Ok(());
        }
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

    /// Tells steps that the records until now are kept: on disk, and in a replica as well, which
    /// takes a moment. After a failure the senders are dropped.
    pub(crate) fn confirm(&mut self, steps: Vec<oneshot::Sender<()>>) {
        match &mut self.place {
            // Fails only if the step is gone.
            Destination::Lockfile(_) => steps.into_iter().for_each(|step| _ = step.send(())),
            Destination::Replica(replica) => replica.confirm(steps),
        }
    }

    /// True if this run may record a change: with a replica, if it holds all that is changed.
    pub(crate) fn may(&self, record: &Record) -> bool {
        match (&self.place, record) {
            (Destination::Lockfile(_), _) => true,
            (Destination::Replica(replica), Record::Pinned { .. }) => replica.holds_pins(),
            (Destination::Replica(replica), record) => {
                record.units().all(|unit| replica.holds(unit))
            }
        }
    }

    /// True if this run may change a unit: with a replica, if it holds its shard.
    pub(crate) fn holds(&self, unit: &ImageRef) -> bool {
        match &self.place {
            Destination::Lockfile(_) => true,
            Destination::Replica(replica) => replica.holds(unit),
        }
    }

    /// Applies records without the journal, after [`Store::record`] has failed. The next
    /// [`Store::commit`] writes them.
    pub fn apply(&mut self, records: &[Record]) {
        for record in records {
            let is_replicated = matches!(self.place, Destination::Replica(_)) && self.may(record);
            let entry = |state: &State, unit| state.entries.get(unit).cloned();
            let units = record.units().filter(|_| is_replicated);
            let before: Vec<_> = units.map(|unit| (unit, entry(&self.state, unit))).collect();
            self.state.apply(record);
            let Destination::Replica(replica) = &mut self.place else { continue };
            if !is_replicated {
                continue;
            }
            let mut gone = Vec::new();
            for (unit, before) in before {
                match entry(&self.state, unit) {
                    after if after == before => {}
                    None => gone.push(unit.clone()),
                    after => replica.set_entry(unit.clone(), after),
                }
            }
            if !gone.is_empty() {
                replica.drop_moved(gone);
            }
            if let Record::Pinned { reference, pin } = record {
                replica.set_pin(reference.clone(), pin.clone());
            }
        }
    }

    /// Applies records in memory only: another run records them.
    pub(crate) fn assume(&mut self, records: &[Record]) {
        for record in records {
            self.state.apply(record);
        }
    }

    /// Replaces the state. [`Store::finish`] writes it.
    pub(crate) fn replace(&mut self, state: State) {
        if let Destination::Replica(replica) = &mut self.place {
            let units: BTreeSet<_> =
                self.state.entries.keys().chain(state.entries.keys()).cloned().collect();
            let (kept, gone): (Vec<_>, Vec<_>) =
                units.into_iter().partition(|unit| state.entries.contains_key(unit));
            for unit in kept {
                let entry = state.entries.get(&unit);
                if entry != self.state.entries.get(&unit) {
                    replica.set_entry(unit.clone(), entry.cloned());
                }
            }
            replica.drop_moved(gone);
            let references: BTreeSet<_> =
                self.state.pins.keys().chain(state.pins.keys()).cloned().collect();
            for reference in references {
                let pin = state.pins.get(&reference);
                if pin != self.state.pins.get(&reference) {
                    replica.set_pin(reference.clone(), pin.cloned());
                }
            }
        }
        self.state = state;
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
                lockfile: match &self.place {
                    Destination::Lockfile(_) => {
                        self.on_disk.as_deref().map(|text| Digest::of(text.as_bytes()))
                    }
                    Destination::Replica(_) => None,
                },
            };
            text.push_str(&journal::line(&header));
            self.work.sync()?;
        }
        Ok(file)
    }

    /// Ends a run: writes the lockfile if its content changed, and removes the journal. A replica must
    /// have kept all changes before.
    ///
    /// # Errors
    ///
    /// Fails if the lockfile or the journal cannot be written. No record is lost then.
    pub(crate) fn finish(&mut self) -> Result<(), StateError> {
        match &self.place {
            Destination::Lockfile(_) => self.commit(),
            Destination::Replica(_) => {
                self.journal = None;
                Ok(self.work.remove(&WorkName::JOURNAL)?)
            }
        }
    }

    /// Writes the lockfile if its content changed, and removes the journal. A replica writes by
    /// itself.
    ///
    /// A crash at any moment leaves a consistent state: before the lockfile is replaced, a record of
    /// its digest in the journal says that the journal's other records are contained in it.
    ///
    /// # Errors
    ///
    /// Fails if the lockfile or the journal cannot be written. No record is lost then.
    pub fn commit(&mut self) -> Result<(), StateError> {
        let Destination::Lockfile(_) = &self.place else { return Ok(()) };
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
            let Destination::Lockfile(place) = &self.place else { return Ok(()) };
            let written = place.replace(&self.work, text.as_bytes());
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

fn lock_folder(paths: &StatePaths) -> Result<(WorkDir, FileLock), StateError> {
    let work = WorkDir::create(&paths.work)?;
    let lock = work.lock(&WorkName::LOCK, &describe_process()).map_err(|error| match error {
        LockError::Held(holder) => StateError::Locked { holder },
        LockError::Path(error) => StateError::Path(error),
    })?;
    Ok((work, lock))
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
        let unit: ImageRef = unit.parse().unwrap();
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
                seconds: None,
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
            Record::Ended { unit, build, error, path, image, at, seconds, .. } => {
                let outcome = BuildOutcome::Failed;
                Record::Ended { unit, build, error, path, image, at, seconds, outcome }
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
                seconds: None,
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
