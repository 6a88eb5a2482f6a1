//! One unit, top to bottom: pack, initiate, upload, start, wait. Each thing that must survive is
//! on record before the next leans on it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::dispatch::{Done, StepFailure};
use super::poll::Poller;
use crate::api::retry::{self, Repeat};
use crate::api::wire::{
    BuildImageRequest, ImageUpdate, UpdateImagesRequest, UpdateSet, UpdateSource, WireOwner,
};
use crate::api::{Accepted, ApiError, BuildView, Client, ErrorKind, Progress};
use crate::base::name::{BuildId, ImageRef, Owner, Platform, Visibility};
use crate::base::upstream::SourceRef;
use crate::context::{self, PlacedDockerfile, RelPath, Spool, Tree};
use crate::dockerfile::Dockerfile;
use crate::event::Phase;
use crate::plan::{Change, Make, StepId};
use crate::state::{Outcome, Pending, Record};

/// Everything that a step needs to know, for itself.
pub(super) struct Job {
    pub(super) step: StepId,
    pub(super) key: ImageRef,
    pub(super) work: Work,
}

/// What a step does.
pub(super) enum Work {
    Make(Box<MakeJob>),
    Adopt { build: BuildId, timeout: Option<Duration>, then: Option<Change> },
    Update(Change),
    Forget,
}

/// A unit to build or mirror.
pub(super) struct MakeJob {
    pub(super) make: Make,
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
        bases: Vec<(Range<usize>, String)>,
    },
    Mirror(SourceRef),
}

/// What steps share.
#[derive(Clone)]
pub(super) struct Links {
    pub(super) client: Client,
    pub(super) poller: Poller,
    pub(super) messages: mpsc::UnboundedSender<StepMessage>,
    /// Cancelled when nothing new may be sent.
    pub(super) stopping: CancellationToken,
    pub(super) packers: Arc<Semaphore>,
    pub(super) uploads: Arc<Semaphore>,
}

/// What a step says to the driver.
pub(super) enum StepMessage {
    /// Keep this, and say when it is safe.
    Record { record: Record, safe: oneshot::Sender<()> },
    /// The step came to another phase.
    Phase { step: StepId, phase: Phase, build: Option<BuildId> },
}

/// Carries out one step.
pub(super) async fn run(job: Job, links: Links) -> Result<Done, StepFailure> {
    let Job { step, key, work } = job;
    let unit = UnitRun { step, key, links };
    match work {
        Work::Make(job) => unit.make(*job).await,
        Work::Adopt { build, timeout, then } => {
            unit.phase(Phase::Building, Some(&build));
            let done = unit.wait(&build, timeout).await?;
            if let Some(change) = then {
                unit.update(&change).await?;
            }
            Ok(done)
        }
        Work::Update(change) => unit.update(&change).await,
        Work::Forget => {
            unit.record(Record::Forgotten { unit: unit.key.clone() }).await?;
            Ok(Done { build: None, path: None })
        }
    }
}

struct UnitRun {
    step: StepId,
    key: ImageRef,
    links: Links,
}

impl UnitRun {
    fn phase(&self, phase: Phase, build: Option<&BuildId>) {
        let message = StepMessage::Phase { step: self.step, phase, build: build.cloned() };
        // The driver is only gone when the run is left at once.
        let _ = self.links.messages.send(message);
    }

    /// Returns once the record is on disk. A driver that is gone means: stop here.
    async fn record(&self, record: Record) -> Result<(), StepFailure> {
        let (safe, answer) = oneshot::channel();
        let sent = self.links.messages.send(StepMessage::Record { record, safe });
        match (sent, answer.await) {
            (Ok(()), Ok(())) => Ok(()),
            _ => Err(failure("the run was left", None, None)),
        }
    }

    async fn make(&self, job: MakeJob) -> Result<Done, StepFailure> {
        let spool = match &job.content {
            Content::Build { .. } => Some(self.pack(&job).await?),
            Content::Mirror(_) => None,
        };
        self.phase(Phase::Submit, None);
        let request = self.request(&job, spool.as_ref().map(|(path, _)| path.as_str()));
        let accepted = self.initiate(&job, &request).await?;
        let build = accepted.build;
        if let Some((_, spool)) = spool {
            let Some(url) = accepted.upload else {
                let message = "the service gave no URL to upload the context to";
                return Err(failure(message, None, Some(&build)));
            };
            self.phase(Phase::Upload, Some(&build));
            self.upload(&url, spool, &build).await?;
            self.record(Record::Uploaded { unit: self.key.clone(), build: build.clone() }).await?;
            self.links.client.start(&build).await.map_err(|e| api_failure(&e, Some(&build)))?;
            self.record(Record::Started { unit: self.key.clone(), build: build.clone() }).await?;
        }
        self.phase(Phase::Queued, Some(&build));
        let done = self.wait(&build, job.timeout).await?;
        Ok(Done { path: done.path.or(accepted.path), ..done })
    }

    /// Packs the context with the Dockerfile as it is sent, whose bases are now known by their
    /// full paths. Returns the Dockerfile's place in the archive, and the archive.
    async fn pack(&self, job: &MakeJob) -> Result<(String, Spool), StepFailure> {
        let Content::Build { tree, dockerfile, inside, bases } = &job.content else {
            return Err(failure("a mirror has no context", None, None));
        };
        let turn = self.links.stopping.run_until_cancelled(self.links.packers.acquire()).await;
        let _permit = turn.ok_or_else(not_begun)?;
        self.phase(Phase::Package, None);
        let placed = place(tree, dockerfile, inside.as_deref(), bases)
            .ok_or_else(|| failure("its Dockerfile has no path in the archive", None, None))?;
        let path = placed.path.to_string();
        let tree = Arc::clone(tree);
        let packed = tokio::task::spawn_blocking(move || context::spool(&tree, &placed)).await;
        match packed {
            Ok(Ok(spool)) => Ok((path, spool)),
            Ok(Err(error)) => {
                let help = miette::Diagnostic::help(&error).map(|help| help.to_string());
                Err(failure(&error.to_string(), help, None))
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    fn request(&self, job: &MakeJob, dockerfile: Option<&str>) -> BuildImageRequest {
        BuildImageRequest {
            image_name: Some(self.key.name.to_string()),
            image_tag: Some(self.key.tag.to_string()),
            dockerfile_path: dockerfile.map(str::to_owned),
            source_image: match &job.content {
                Content::Mirror(source) => Some(source.to_string()),
                Content::Build { .. } => None,
            },
            platform: Some(job.platform.to_string()),
            team_id: match &job.owner {
                Owner::Team(id) => Some(id.clone()),
                Owner::Personal | Owner::Platform => None,
            },
            visibility: Some(match job.visibility {
                None => "INHERIT".to_owned(),
                Some(visibility) => visibility.to_string().to_uppercase(),
            }),
            owner_scope: (job.owner == Owner::Platform).then(|| "platform".to_owned()),
        }
    }

    async fn initiate(
        &self,
        job: &MakeJob,
        request: &BuildImageRequest,
    ) -> Result<Accepted, StepFailure> {
        let fingerprint = job.make.fingerprint;
        self.record(Record::Submitting { unit: self.key.clone(), fingerprint }).await?;
        let answer = self.links.client.initiate(request, &job.owner, &self.links.stopping).await;
        let results = answer.map_err(|error| api_failure(&error, None))?;
        let mut results = results.into_iter();
        let accepted = match results.next() {
            Some(Ok(accepted)) => accepted,
            Some(Err(refused)) => {
                let kind = if refused.is_quota() { ErrorKind::Quota } else { ErrorKind::Rejected };
                let error = ApiError::new("initiate the build", kind, refused.message);
                return Err(api_failure(&error, None));
            }
            None => return Err(failure("the service answered with nothing", None, None)),
        };
        let pending = Pending {
            fingerprint,
            inputs: job.make.inputs.clone(),
            build: accepted.build.clone(),
            path: accepted.path.clone().unwrap_or_default(),
            visibility: accepted.visibility.or(job.visibility).unwrap_or(Visibility::Private),
            // A transfer has all that it needs.
            started: matches!(job.content, Content::Mirror(_)),
        };
        self.record(Record::Created {
            unit: self.key.clone(),
            kind: job.make.kind,
            platform: job.platform,
            owner: job.owner.clone(),
            pending,
        })
        .await?;
        Ok(accepted)
    }

    async fn upload(
        &self,
        url: &crate::base::secret::SignedUrl,
        spool: Spool,
        build: &BuildId,
    ) -> Result<(), StepFailure> {
        let _permit = self.links.uploads.acquire().await;
        let mut tries = 0;
        loop {
            let rewound = spool.reader().map_err(|error| {
                failure(&format!("cannot read the packed context: {error}"), None, Some(build))
            })?;
            let error = match self.links.client.upload(url, rewound, spool.len).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            tries += 1;
            // The same bytes to the same place: sending them again changes nothing.
            let Some(wait) = retry::after(&error, tries, Repeat::Safe) else {
                // A refused upload says nothing about the account's key.
                let failure = api_failure(&error, Some(build));
                return Err(StepFailure { stops_run: false, help: None, ..failure });
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Waits for a build's end, and keeps it.
    async fn wait(&self, build: &BuildId, timeout: Option<Duration>) -> Result<Done, StepFailure> {
        let view = self.ended(build, timeout).await?;
        if !matches!(view.progress, Progress::Completed) {
            // A short build ends before anyone has seen it run.
            self.phase(Phase::Building, Some(build));
        }
        let (outcome, message) = match view.progress {
            Progress::Completed => (Outcome::Completed, None),
            Progress::Failed(why) => (Outcome::Failed, Some(format!("the build failed: {why}"))),
            Progress::Cancelled => (Outcome::Cancelled, Some("the build was cancelled".to_owned())),
            Progress::Running(_) => {
                return Err(failure("the build has not ended", None, Some(build)));
            }
        };
        let (unit, path) = (self.key.clone(), view.path.clone());
        self.record(Record::Ended { unit, build: build.clone(), outcome, path }).await?;
        match message {
            None => Ok(Done { build: Some(build.clone()), path: view.path }),
            Some(message) => Err(failure(&message, None, Some(build))),
        }
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
                    return ended.map_err(|error| StepFailure {
                        pending: error.kind != ErrorKind::NotFound,
                        ..api_failure(&error, Some(build))
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

    async fn update(&self, change: &Change) -> Result<Done, StepFailure> {
        self.phase(Phase::Update, None);
        let source = UpdateSource {
            owner: Some(wire_owner(&change.of)),
            name: Some(self.key.name.to_string()),
            tag: Some(self.key.tag.to_string()),
            reference: None,
        };
        let set = UpdateSet {
            owner: change.owner.as_ref().map(wire_owner),
            visibility: change.visibility.map(|visibility| visibility.to_string().to_uppercase()),
            ..UpdateSet::default()
        };
        let request = UpdateImagesRequest {
            mode: "explicit".to_owned(),
            dry_run: false,
            updates: vec![ImageUpdate { source, set }],
        };
        let updated = self.links.client.update(&request, &self.links.stopping).await;
        updated.map_err(|error| api_failure(&error, None))?;
        self.record(Record::Updated {
            unit: self.key.clone(),
            visibility: change.visibility,
            owner: change.owner.clone(),
        })
        .await?;
        Ok(Done { build: None, path: None })
    }
}

/// The Dockerfile as it is sent, and where. One that was not changed stays where it lies; any other
/// gets a name that the context does not have.
pub(crate) fn place(
    tree: &Tree,
    dockerfile: &Dockerfile,
    inside: Option<&str>,
    bases: &[(Range<usize>, String)],
) -> Option<PlacedDockerfile> {
    let path = match inside {
        Some(inside) if bases.is_empty() => inside.to_owned(),
        _ => context::lowered_path(tree),
    };
    let text = dockerfile.with_replaced(bases);
    Some(PlacedDockerfile { path: RelPath::new(path)?, text })
}

fn wire_owner(owner: &Owner) -> WireOwner {
    match owner {
        Owner::Personal => WireOwner::Personal,
        Owner::Team(id) => WireOwner::Team { team_id: id.clone() },
        Owner::Platform => WireOwner::Platform,
    }
}

fn failure(message: &str, help: Option<String>, build: Option<&BuildId>) -> StepFailure {
    StepFailure {
        message: message.to_owned(),
        help,
        build: build.cloned(),
        ..StepFailure::default()
    }
}

fn api_failure(error: &ApiError, build: Option<&BuildId>) -> StepFailure {
    if error.kind == ErrorKind::Stopped {
        return not_begun();
    }
    let help = error.help().map(str::to_owned);
    StepFailure { stops_run: error.stops_run(), ..failure(&error.to_string(), help, build) }
}

fn not_begun() -> StepFailure {
    StepFailure { not_begun: true, ..failure("the run was stopped", None, None) }
}
