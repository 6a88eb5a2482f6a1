//! One unit, top to bottom: pack, initiate, upload, start, wait. Each thing that must survive is
//! on record before the next leans on it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::base_paths::BasePaths;
use super::dispatch::{Done, StepFailure};
use super::poll::{Lost, Poller};
use super::transfers::Transfers;
use super::updates::{Changed, Updates};
use crate::api::{ApiError, BuildView, Client, ErrorKind, Progress, bare};
use crate::base::name::{BuildId, ImageRef, Owner, Platform, Visibility};
use crate::base::source_ref::SourceRef;
use crate::context::Tree;
use crate::dockerfile::Dockerfile;
use crate::event::Phase;
use crate::http::Notice;
use crate::plan::{Change, Create, StepId};
use crate::state::{BuildOutcome, Record, Submission};

/// Everything that a step needs to know, for itself.
pub(super) struct Job {
    pub(super) step: StepId,
    pub(super) key: ImageRef,
    pub(super) work: Work,
}

/// What a step does.
pub(super) enum Work {
    Make(Box<MakeJob>),
    Adopt { build: BuildId, start: bool, timeout: Option<Duration>, then: Option<Change> },
    Update(Change),
    Forget(Option<BuildId>),
    Remove { owner: Owner, after: Option<BuildId> },
}

/// A unit to build or mirror.
pub(super) struct MakeJob {
    pub(super) make: Create,
    pub(super) platform: Platform,
    pub(super) owner: Owner,
    pub(super) visibility: Option<Visibility>,
    pub(super) timeout: Option<Duration>,
    pub(super) content: Content,
}

/// What the unit is made of.
pub(super) enum Content {
    Build {
        tree: Arc<Tree>,
        dockerfile: Arc<Dockerfile>,
        inside: Option<String>,
        bases: Vec<(Range<usize>, BasePath)>,
    },
    Mirror(SourceRef),
}

/// The full path of a base.
pub(super) enum BasePath {
    /// It is on record.
    Known(String),
    /// The base was moved, and nobody said where to.
    Sought { base: ImageRef, owner: Owner },
}

impl MakeJob {
    /// What is asked for, at this moment.
    pub(super) fn submission(&self) -> Submission {
        Submission {
            at: jiff::Timestamp::now(),
            fingerprint: self.make.fingerprint,
            inputs: self.make.inputs.clone(),
            owner: self.owner.clone(),
            visibility: self.visibility,
        }
    }
}

/// What steps share.
#[derive(Clone)]
pub(super) struct Links {
    pub(super) client: Client,
    pub(super) poller: Poller,
    pub(super) transfers: Transfers,
    pub(super) updates: Updates,
    pub(super) paths: BasePaths,
    pub(super) messages: mpsc::UnboundedSender<StepMessage>,
    /// Cancelled when nothing new may be sent.
    pub(super) stopping: CancellationToken,
    pub(super) packers: Arc<Semaphore>,
    /// Archives that exist at once: the disk has not room for all.
    pub(super) archives: Arc<Semaphore>,
    pub(super) uploads: Arc<Semaphore>,
}

/// What a step says to the driver.
pub(super) enum StepMessage {
    /// Keep these, and say when they are safe.
    Records { records: Vec<Record>, safe: oneshot::Sender<()> },
    /// A client has something to say, for one unit or for all.
    Notice { unit: Option<ImageRef>, notice: Notice },
    /// The step has its turn.
    Begun { step: StepId },
    /// The step came to another phase.
    Phase { step: StepId, phase: Phase, build: Option<BuildId> },
}

/// Carries out one step.
pub(super) async fn run(job: Job, links: Links) -> Result<Done, StepFailure> {
    let Job { step, key, work } = job;
    let client = observed(&links.client, links.messages.clone(), Some(key.clone()));
    let unit = UnitRun { step, key, links: Links { client, ..links } };
    match work {
        Work::Make(job) => unit.make(*job).await,
        Work::Adopt { build, start, timeout, then } => {
            // It is built, and on record, by the name that it had when it was asked for.
            let old = then.as_ref().and_then(|change| change.from.clone());
            let key = old.unwrap_or_else(|| unit.key.clone());
            let before = UnitRun { step, key, links: unit.links.clone() };
            if start {
                before.start_if_it_waits(&build).await?;
                let started = Record::Started { unit: before.key.clone(), build: build.clone() };
                before.record(started).await?;
            }
            before.phase(Phase::Building, Some(&build));
            let done = before.wait(&build, timeout).await?;
            let Some(change) = then else { return Ok(done) };
            unit.update(&change).await?;
            Ok(Done { path: done.path.filter(|_| !change.moves()), ..done })
        }
        Work::Update(change) => unit.update(&change).await,
        Work::Remove { owner, after } => unit.remove(&owner, after.as_ref()).await,
        Work::Forget(after) => {
            if let Some(build) = after {
                unit.outlive(&build, None).await?;
            }
            unit.record(Record::Forgotten { unit: unit.key.clone() }).await?;
            Ok(Done { build: None, path: None })
        }
    }
}

pub(super) struct UnitRun {
    pub(super) step: StepId,
    pub(super) key: ImageRef,
    pub(super) links: Links,
}

impl UnitRun {
    pub(super) fn phase(&self, phase: Phase, build: Option<&BuildId>) {
        let message = StepMessage::Phase { step: self.step, phase, build: build.cloned() };
        // The driver is only gone when the run is left at once.
        let _ = self.links.messages.send(message);
    }

    /// Returns once the record is on disk. A driver that is gone means: stop here.
    pub(super) async fn record(&self, record: Record) -> Result<(), StepFailure> {
        keep(&self.links.messages, vec![record]).await
    }

    /// Waits for a build's end, and keeps it.
    pub(super) async fn wait(
        &self,
        build: &BuildId,
        timeout: Option<Duration>,
    ) -> Result<Done, StepFailure> {
        let view = self.ended(build, timeout).await?;
        if let Some(other) = self.other_image(&view) {
            let (unit, outcome) = (self.key.clone(), BuildOutcome::Failed);
            let gone = build.clone();
            let ended = Record::Ended { unit, build: gone, outcome, path: None, at: None };
            self.record(ended).await?;
            let message = format!("the service made {other} of what was asked for");
            return Err(failure(&message, None, Some(build)));
        }
        if !matches!(view.progress, Progress::Completed) {
            // A short build ends before anyone has seen it run.
            self.phase(Phase::Building, Some(build));
        }
        let (outcome, message) = match view.progress {
            Progress::Completed => (BuildOutcome::Completed, None),
            Progress::Failed(why) => {
                (BuildOutcome::Failed, Some(format!("the build failed: {why}")))
            }
            Progress::Cancelled => {
                (BuildOutcome::Cancelled, Some("the build was cancelled".to_owned()))
            }
            Progress::Running(_) => {
                return Err(failure("the build has not ended", None, Some(build)));
            }
        };
        let (unit, path) = (self.key.clone(), view.path.clone());
        let at = view.completed;
        self.record(Record::Ended { unit, build: build.clone(), outcome, path, at }).await?;
        match message {
            None => Ok(Done { build: Some(build.clone()), path: view.path }),
            Some(message) => Err(failure(&message, None, Some(build))),
        }
    }

    /// What the service made, where that is not what it was asked for.
    fn other_image(&self, view: &BuildView) -> Option<String> {
        let (name, tag) = view.image.as_ref()?;
        // Whether it writes an owner before the name, and in which case, is the service's to choose.
        let same = bare(name) == bare(self.key.name.as_str()) && *tag == self.key.tag.as_str();
        (!same).then(|| format!("{name}:{tag}"))
    }

    async fn ended(
        &self,
        build: &BuildId,
        timeout: Option<Duration>,
    ) -> Result<BuildView, StepFailure> {
        let (word, mut words) = mpsc::unbounded_channel();
        let ended = self.links.poller.ended(build, word);
        let deadline = async {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(ended, deadline);
        let mut building = false;
        loop {
            tokio::select! {
                ended = &mut ended => {
                    return ended.map_err(|lost| match lost {
                        Lost::Gone(error) => api_failure(&error, Some(build)),
                        Lost::Unknown(error) => StepFailure {
                            pending: true,
                            // That one build cannot be asked for says nothing of the others.
                            stops_run: error.stops_run() && error.kind != ErrorKind::BadAnswer,
                            ..api_failure(&error, Some(build))
                        },
                    });
                }
                () = &mut deadline => {
                    let message = format!("not done within {:?}", timeout.unwrap_or_default());
                    let help = "its build goes on, and the next apply waits for it".to_owned();
                    let failure = failure(&message, Some(help), Some(build));
                    return Err(StepFailure { pending: true, ..failure });
                }
                Some(word) = words.recv(), if !building => {
                    if word == "BUILDING" {
                        building = true;
                        self.phase(Phase::Building, Some(build));
                    }
                }
            }
        }
    }

    /// Changes the image without a build. What it was called before is what the record is of. Where
    /// it is then is looked up when somebody needs it.
    async fn update(&self, change: &Change) -> Result<Done, StepFailure> {
        self.phase(Phase::Update, None);
        let Changed { visibility } = self.links.updates.ask(&self.key, change).await?;
        if change.moves() {
            self.links.paths.has_moved(change.owner.as_ref().unwrap_or(&change.of), &self.key);
        }
        self.record(Record::Updated {
            unit: change.from.clone().unwrap_or_else(|| self.key.clone()),
            to: change.from.is_some().then(|| self.key.clone()),
            visibility: visibility.or(change.visibility),
            owner: change.owner.clone(),
            path: None,
        })
        .await?;
        Ok(Done { build: None, path: None })
    }

    /// Deletes the image, once nothing makes it anew.
    async fn remove(&self, owner: &Owner, after: Option<&BuildId>) -> Result<Done, StepFailure> {
        if let Some(build) = after {
            self.outlive(build, None).await?;
        }
        self.phase(Phase::Delete, None);
        let Links { client, stopping, .. } = &self.links;
        let deleted = client.delete(owner, &self.key, stopping).await;
        deleted.map_err(|error| api_failure(&error, None))?;
        self.record(Record::Forgotten { unit: self.key.clone() }).await?;
        Ok(Done { build: None, path: None })
    }
}

/// A visibility as the service writes it.
pub(super) fn wire_visibility(visibility: Visibility) -> String {
    visibility.to_string().to_uppercase()
}

pub(super) fn failure(message: &str, help: Option<String>, build: Option<&BuildId>) -> StepFailure {
    StepFailure {
        message: message.to_owned(),
        help,
        build: build.cloned(),
        ..StepFailure::default()
    }
}

pub(super) fn api_failure(error: &ApiError, build: Option<&BuildId>) -> StepFailure {
    if error.kind == ErrorKind::Stopped {
        return not_begun();
    }
    let help = error.help().map(str::to_owned);
    StepFailure { stops_run: error.stops_run(), ..failure(&error.to_string(), help, build) }
}

/// Returns once the records are on disk. A driver that is gone means: stop here.
pub(super) async fn keep(
    messages: &mpsc::UnboundedSender<StepMessage>,
    records: Vec<Record>,
) -> Result<(), StepFailure> {
    let (safe, answer) = oneshot::channel();
    let sent = messages.send(StepMessage::Records { records, safe });
    match (sent, answer.await) {
        (Ok(()), Ok(())) => Ok(()),
        _ => Err(failure("the run was left", None, None)),
    }
}

/// A client whose notices are told as those of a unit, or of nobody.
pub(super) fn observed(
    client: &Client,
    messages: mpsc::UnboundedSender<StepMessage>,
    unit: Option<ImageRef>,
) -> Client {
    client.observed(Arc::new(move |notice| {
        // The driver is only gone when the run is left at once.
        let _ = messages.send(StepMessage::Notice { unit: unit.clone(), notice });
    }))
}

pub(super) fn not_begun() -> StepFailure {
    StepFailure { not_begun: true, ..failure("the run was stopped", None, None) }
}
