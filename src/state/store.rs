//! Keeps the lockfile and the journal on disk: opens them, appends, and writes them anew.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use miette::Diagnostic;

use super::State;
use super::encode::{self, LockfileError};
use super::journal::{self, Header, JournalError, Record};
use super::merge;
use super::snapshot::{StateSnapshot, read_whole_lines};
use crate::base::digest::Digest;
use crate::base::file::{
    AtPath, FileLock, LockError, PathError, create_work_dir, replace, sync_dir,
};

/// Where state lies on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePaths {
    /// The lockfile.
    pub lockfile: PathBuf,
    /// The folder of everything that is not committed.
    pub work: PathBuf,
}

impl StatePaths {
    /// Beside a manifest in `root`.
    pub fn beside(root: &Path) -> Self {
        let root = shown(root);
        Self { lockfile: root.join("imgplan.lock"), work: root.join(".imgplan") }
    }

    /// For the local server: a lockfile of its own, under `.imgplan/local/`.
    pub fn local(root: &Path) -> Self {
        let work = shown(root).join(".imgplan").join("local");
        Self { lockfile: work.join("imgplan.lock"), work }
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.work.join("journal.jsonl")
    }
}

/// The current folder needs no `./` before what lies in it.
fn shown(root: &Path) -> &Path {
    root.strip_prefix(".").unwrap_or(root)
}

/// Why state cannot be read or written.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum StateError {
    /// The lockfile is not one that this imgplan reads.
    #[error("cannot read {}: {error}", path.display())]
    Lockfile {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: LockfileError,
        /// What to do.
        #[help]
        help: &'static str,
    },
    /// The journal is not one that this imgplan reads.
    #[error("cannot read {}: {error}", path.display())]
    Journal {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: JournalError,
        /// What to do.
        #[help]
        help: &'static str,
    },
    /// The state speaks of another service.
    #[error("{} belongs to {theirs}, and this run goes to {ours}", path.display())]
    #[diagnostic(help(
        "set PRIME_API_BASE_URL or `settings.url` to {theirs}; or, to begin anew with {ours}, move \
         the file away"
    ))]
    OtherService {
        /// The lockfile or journal.
        path: PathBuf,
        /// The service that it speaks of.
        theirs: String,
        /// The service of this run.
        ours: String,
    },
    /// Another run works here.
    #[error("another run works here: {holder}")]
    #[diagnostic(help("wait for it to end; the lock is freed when its process is gone"))]
    Locked {
        /// What it said of itself.
        holder: String,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The lockfile could not be written; the journal has all of it.
    #[error("cannot write the lockfile; nothing is lost: {} has what happened", journal.display())]
    #[diagnostic(help("make {} writable and run `imgplan apply` again", lockfile.display()))]
    NotCommitted {
        /// The lockfile.
        lockfile: PathBuf,
        /// The journal.
        journal: PathBuf,
        /// Why.
        #[source]
        source: PathError,
    },
}

/// The state on disk, held by one run at a time.
#[derive(Debug)]
pub struct Store {
    paths: StatePaths,
    service: String,
    state: State,
    on_disk: Option<String>,
    journal: Option<File>,
    _lock: FileLock,
}

impl Store {
    /// Reads the state without taking the lock and without writing anything.
    pub fn read(paths: &StatePaths, service: &str) -> Result<State, StateError> {
        Ok(StateSnapshot::read(paths)?.of(service)?.state)
    }

    /// Reads the state of whatever service it speaks of.
    pub fn read_any(paths: &StatePaths) -> Result<State, StateError> {
        Ok(StateSnapshot::read(paths)?.state)
    }

    /// Who works here now, by what they wrote about themselves.
    pub fn holder(paths: &StatePaths) -> Option<String> {
        FileLock::holder(&paths.work.join("lock"))
    }

    /// Takes the lock, reads the lockfile and replays the journal.
    pub fn open(paths: StatePaths, service: &str) -> Result<Self, StateError> {
        create_work_dir(&paths.work)?;
        let lock = FileLock::acquire(&paths.work.join("lock"), &holder()).map_err(|e| match e {
            LockError::Held(holder) => StateError::Locked { holder },
            LockError::Path(error) => StateError::Path(error),
        })?;
        let StateSnapshot { state, lockfile: on_disk, .. } =
            StateSnapshot::read(&paths)?.of(service)?;
        let service = service.to_owned();
        Ok(Self { paths, service, state, on_disk, journal: None, _lock: lock })
    }

    /// What is known.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether git left the marks of a merge in the lockfile.
    pub fn has_conflict_markers(&self) -> bool {
        self.on_disk.as_deref().and_then(merge::first_mark).is_some()
    }

    /// Takes in what happened and makes it survive: all records are on disk when this returns.
    pub fn record(&mut self, records: &[Record]) -> Result<(), StateError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        // Taken out meanwhile: where a write fails, what it left behind is cut off by the next.
        let mut file = match self.journal.take() {
            Some(file) => file,
            None => self.open_journal(&mut text)?,
        };
        for record in records {
            self.state.apply(record);
            text.push_str(&journal::line(record));
        }
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        written.at("write", &self.paths.journal())?;
        self.journal = Some(file);
        Ok(())
    }

    fn open_journal(&self, text: &mut String) -> Result<File, StateError> {
        let path = self.paths.journal();
        // A torn last line is cut off, or the next record would be glued to it.
        let whole = read_whole_lines(&path)?.map_or(0, |lines| lines.len());
        let file = OpenOptions::new().append(true).create(true).open(&path).at("open", &path)?;
        file.set_len(whole as u64).at("write", &path)?;
        if whole == 0 {
            let header = Header {
                journal: journal::VERSION,
                service: self.service.clone(),
                lockfile: self.on_disk.as_deref().map(|text| Digest::of(text.as_bytes())),
            };
            text.push_str(&journal::line(&header));
            sync_dir(&self.paths.work).at("sync", &self.paths.work)?;
        }
        Ok(file)
    }

    /// Writes the lockfile, where that changed, and drops the journal. A death at any moment leaves
    /// files that say the same: the journal says first that the lockfile will hold all of it.
    pub fn commit(&mut self) -> Result<(), StateError> {
        let text = encode::encode(&self.service, &self.state);
        let unwritten = match &self.on_disk {
            Some(on_disk) => *on_disk != text,
            None => self.state != State::default(),
        };
        if unwritten {
            // Of this life or an earlier one.
            if self.paths.journal().exists() {
                self.record(&[Record::Committed { lockfile: Digest::of(text.as_bytes()) }])?;
            }
            replace(&self.paths.lockfile, text.as_bytes()).map_err(|source| {
                StateError::NotCommitted {
                    lockfile: self.paths.lockfile.clone(),
                    journal: self.paths.journal(),
                    source,
                }
            })?;
            self.on_disk = Some(text);
        }
        self.journal = None;
        match fs::remove_file(self.paths.journal()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).at("remove", &self.paths.journal())?
            }
            _ => Ok(()),
        }
    }
}

fn holder() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "someone".to_owned());
    let since = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ");
    format!("{user}, process {}, since {since}", std::process::id())
}

#[cfg(test)]
mod tests {
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
            path: "p".to_owned(),
            owner: Owner::Personal,
            visibility: Visibility::Private,
            stage: BuildStage::Created,
        };
        let (kind, platform) = (ImageKind::Build, Platform::Amd64);
        let created = Record::Created { unit: unit.clone(), kind, platform, pending };
        [
            created,
            Record::Ended { unit, build, outcome: BuildOutcome::Completed, path: None, at: None },
        ]
    }

    #[test]
    fn what_was_recorded_survives_without_a_commit() {
        let dir = tempfile::tempdir().unwrap();
        let paths = StatePaths::beside(dir.path());
        let mut store = Store::open(paths.clone(), "s").unwrap();
        store.record(&created("a:1")[..1]).unwrap();
        let seen = store.state().clone();
        drop(store);
        assert_eq!(Store::read(&paths, "s").unwrap(), seen);
        OpenOptions::new()
            .append(true)
            .open(paths.journal())
            .unwrap()
            .write_all(b"{\"torn\xc3")
            .unwrap();
        let mut store = Store::open(paths.clone(), "s").unwrap();
        store.record(&created("a:1")[1..]).unwrap();
        store.record(&created("b:1")).unwrap();
        let seen = store.state().clone();
        assert!(seen.entries.values().all(|entry| entry.built.is_some()));
        store.commit().unwrap();
        assert!(!paths.journal().exists());
        drop(store);
        assert_eq!(Store::read(&paths, "s").unwrap(), seen);
    }

    /// The part of the test below that runs where no file may grow beyond 4 KiB (8 in `bash`).
    #[cfg(unix)]
    #[test]
    #[ignore = "it needs a limit, and is run by another test"]
    fn in_a_full_disk() {
        let dir = tempfile::tempdir().unwrap();
        let paths = StatePaths::beside(dir.path());
        let mut store = Store::open(paths.clone(), "s").unwrap();
        store.record(&created("a:1")[..1]).unwrap();
        let size = || fs::metadata(paths.journal()).unwrap().len();
        let good = size();
        let long = format!("{}:1", "b".repeat(120));
        let many: Vec<Record> = std::iter::repeat_n(created(&long), 9).flatten().collect();
        store.record(&many).unwrap_err();
        assert!(size() > good, "the write failed half way");
        store.record(&created("a:1")[1..]).unwrap();
        assert!(Store::read(&paths, "s").unwrap().entries[&"a:1".parse().unwrap()].built.is_some());
        // What did not get into the journal gets into the lockfile, as soon as there is room.
        let known = store.state().clone();
        store.commit().unwrap();
        drop(store);
        assert_eq!(Store::read(&paths, "s").unwrap(), known);
    }

    #[cfg(unix)]
    #[test]
    fn a_write_that_failed_half_way_leaves_nothing_to_be_glued_to() {
        let test = std::env::current_exe().unwrap();
        let output = std::process::Command::new("sh")
            // A limit that is met by a signal would end the process.
            .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"])
            .arg(test)
            .args(["--exact", "state::store::tests::in_a_full_disk", "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}{errors}");
    }

    #[test]
    fn a_journal_of_an_earlier_life_says_as_well_that_it_was_committed() {
        let dir = tempfile::tempdir().unwrap();
        let paths = StatePaths::beside(dir.path());
        let mut store = Store::open(paths.clone(), "s").unwrap();
        let failed = created("a:1").map(|record| match record {
            Record::Ended { unit, build, path, at, .. } => {
                Record::Ended { unit, build, path, at, outcome: BuildOutcome::Failed }
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
        store.record(&[Record::Ended { unit, build, outcome, path, at: None }]).unwrap();
        drop(store);
        // As if the process was killed before the journal was removed.
        let kept = dir.path().join("kept");
        fs::hard_link(paths.journal(), &kept).unwrap();
        let mut store = Store::open(paths.clone(), "s").unwrap();
        store.commit().unwrap();
        let seen = store.state().clone();
        drop(store);
        fs::rename(kept, paths.journal()).unwrap();
        assert_eq!(Store::read(&paths, "s").unwrap(), seen);
    }

    #[test]
    fn nothing_is_written_when_nothing_changed() {
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
    fn another_service_and_another_run_are_refused() {
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
