//! Makes one unit: pack, initiate, upload, start, wait.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::dispatch::{Done, StepFailure};
use super::step::{
    BasePath, Content, Links, MakeJob, UnitRun, api_failure, failure, not_begun, wire_visibility,
};
use super::transfers::Ask;
use crate::api::wire::BuildImageRequest;
use crate::api::{Accepted, ApiError, ErrorKind, Repeat, Tries};
use crate::base::name::{BuildId, ImageRef, Owner, Platform, Visibility};
use crate::base::source_ref::SourceRef;
use crate::context::{self, Placement, Spool, Tree};
use crate::dockerfile::Dockerfile;
use crate::event::Phase;
use crate::state::{BuildOutcome, BuildStage, Record};

/// A context that is ready to be sent.
struct Packed {
    /// The Dockerfile's place in the archive.
    path: String,
    spool: Spool,
}

/// Upload URLs that a unit asks for at most: each but the first takes the place of one that was
/// refused or came too late.
const URLS: u32 = 6;

/// How long to wait before another one is asked for.
const BREATH: Duration = Duration::from_secs(1);

/// What is left of an upload URL's time when it is no longer begun with.
const LAST_MOMENT: Duration = Duration::from_secs(5);

impl UnitRun {
    /// Makes a unit. What must not be sent twice is on record before the next thing is sent.
    pub(super) async fn make(&self, job: MakeJob) -> Result<Done, StepFailure> {
        if let Some(build) = &job.make.after {
            self.outlive(build, job.timeout).await?;
        }
        let accepted = match &job.content {
            Content::Mirror(source) => {
                let accepted = self.links.transfers.ask(self.transfer(&job, source)).await?;
                self.phase(Phase::Queued, Some(&accepted.build));
                accepted
            }
            // Large, and rare beside thousands of mirrors.
            Content::Build { .. } => Box::pin(self.build(&job)).await?,
        };
        let done = self.wait(&accepted.build, job.timeout).await?;
        Ok(Done { path: done.path.or(accepted.path), ..done })
    }

    fn transfer(&self, job: &MakeJob, source: &SourceRef) -> Ask {
        let derived = source.destination(job.owner == Owner::Platform);
        let own_name =
            !derived.is_ok_and(|(name, tag)| name == self.key.name && tag == self.key.tag);
        Ask::new(self.step, &self.key, job, source.to_string(), own_name)
    }

    async fn build(&self, job: &MakeJob) -> Result<Accepted, StepFailure> {
        let room = self.links.stopping.run_until_cancelled(self.links.archives.acquire()).await;
        let room = room.ok_or_else(not_begun)?;
        let packed = self.pack(job).await?;
        // Before the URL is asked for: it is only good for a while.
        let turn = self.links.stopping.run_until_cancelled(self.links.uploads.acquire()).await;
        let turn = turn.ok_or_else(not_begun)?;
        let accepted = self.send(job, &packed).await?;
        drop((packed, turn, room));
        let (unit, build) = (self.key.clone(), accepted.build.clone());
        self.record(Record::Uploaded { unit, build }).await?;
        self.start(&accepted.build, false).await?;
        let (unit, build) = (self.key.clone(), accepted.build.clone());
        self.record(Record::Started { unit, build }).await?;
        self.phase(Phase::Queued, Some(&accepted.build));
        Ok(accepted)
    }

    /// Asks for a build and sends its context. Where the upload's URL is no good any more, another
    /// build is asked for: the one without a context never begins (`api.md` §2).
    async fn send(&self, job: &MakeJob, packed: &Packed) -> Result<Accepted, StepFailure> {
        let mut urls = 0;
        loop {
            urls += 1;
            let accepted = self.initiate(job, &packed.path).await?;
            let began = Instant::now();
            self.phase(Phase::Upload, Some(&accepted.build));
            let error = match self.upload(&accepted, &packed.spool, began).await? {
                Ok(()) => return Ok(accepted),
                Err(error) => error,
            };
            // What is too large stays so, and an outage, or a stranger that answers in the storage's
            // place, is told as one.
            let odd = error.kind == ErrorKind::BadAnswer;
            let fresh = error.status != Some(413) && !error.is_passing() && !odd;
            if !fresh || urls == URLS {
                // A refused upload says nothing about the account's key.
                let failure = api_failure(&error, Some(&accepted.build));
                return Err(StepFailure { stops_run: false, help: None, ..failure });
            }
            // A storage that refuses all should not have a build asked for with every breath.
            tokio::time::sleep(BREATH).await;
        }
    }

    /// Waits until a build of something else has ended: it would land on the same tag, and
    /// whichever lands last stays.
    pub(super) async fn outlive(
        &self,
        build: &BuildId,
        timeout: Option<Duration>,
    ) -> Result<(), StepFailure> {
        self.phase(Phase::Queued, None);
        // It is on record already: a run that stops need not wait for it.
        let ended = self.links.stopping.run_until_cancelled(self.wait(build, timeout)).await;
        match ended.ok_or_else(not_begun)? {
            // It is over, and that is enough.
            Ok(_) | Err(StepFailure { pending: false, stops_run: false, .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Starts a build. Where the answer is lost, the service is asked before it is told again.
    /// `doubt`: it may have been started before.
    async fn start(&self, build: &BuildId, mut doubt: bool) -> Result<(), StepFailure> {
        let client = &self.links.client;
        let mut tries = Tries::new(Repeat::LookFirst);
        loop {
            let error = match client.start(build, &mut tries).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            doubt |= error.look_after.is_some();
            tokio::time::sleep(error.look_after.unwrap_or_default()).await;
            let Ok(view) = client.status(build).await else {
                // Whether it runs is not known: the next apply asks.
                let failure = api_failure(&error, Some(build));
                return Err(StepFailure { pending: true, ..failure });
            };
            // Pending is what waits for a start, and what waits in a queue after it. A service that
            // refuses a second start, and has the build pending, has had the first.
            let queued = doubt && error.look_after.is_none() && !view.waits_for_context();
            if queued || !view.waits_for_start() {
                return Ok(());
            }
            if matches!(error.kind, ErrorKind::Rejected | ErrorKind::NotFound) {
                // It will not begin any more: the next plan has it made again.
                let (unit, outcome) = (self.key.clone(), BuildOutcome::Failed);
                let gone = build.clone();
                let ended = Record::Ended { unit, build: gone, outcome, path: None, at: None };
                self.record(ended).await?;
                return Err(api_failure(&error, Some(build)));
            }
            if error.look_after.is_none() {
                // Its context is there: the next apply starts it.
                let failure = api_failure(&error, Some(build));
                return Err(StepFailure { pending: true, ..failure });
            }
        }
    }

    /// Starts a build whose context is there, unless that was done already.
    pub(super) async fn start_if_it_waits(&self, build: &BuildId) -> Result<(), StepFailure> {
        match self.links.client.status(build).await {
            // How it is, whoever waits for it is told.
            Ok(view) if !view.waits_for_start() => Ok(()),
            // The run that sent its context may have died right after the start.
            Ok(_) | Err(_) => self.start(build, true).await,
        }
    }

    /// Packs the context with the Dockerfile as it is sent, whose bases are now known by their
    /// full paths.
    async fn pack(&self, job: &MakeJob) -> Result<Packed, StepFailure> {
        let Content::Build { tree, dockerfile, inside, bases } = &job.content else {
            return Err(failure("a mirror has no context", None, None));
        };
        let bases = self.bases(bases).await?;
        let turn = self.links.stopping.run_until_cancelled(self.links.packers.acquire()).await;
        let _permit = turn.ok_or_else(not_begun)?;
        self.phase(Phase::Package, None);
        let placement = place(tree, dockerfile, inside.as_deref(), &bases);
        let path = placement.dockerfile.to_string();
        let tree = Arc::clone(tree);
        let packed = tokio::task::spawn_blocking(move || context::spool(&tree, &placement)).await;
        match packed {
            Ok(Ok(spool)) => Ok(Packed { path, spool }),
            Ok(Err(error)) => {
                let help = miette::Diagnostic::help(&error).map(|help| help.to_string());
                Err(failure(&error.to_string(), help, None))
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// The bases by their full paths. One that was looked for is on record from then on.
    async fn bases(
        &self,
        bases: &[(Range<usize>, BasePath)],
    ) -> Result<Vec<(Range<usize>, String)>, StepFailure> {
        let mut known = Vec::with_capacity(bases.len());
        for (range, base) in bases {
            let path = match base {
                BasePath::Known(path) => path.clone(),
                BasePath::Sought { base, owner } => {
                    let (path, is_news) = self.links.paths.of(owner, base).await?;
                    if is_news {
                        self.record(Record::Updated {
                            unit: base.clone(),
                            to: None,
                            visibility: None,
                            owner: Some(owner.clone()),
                            path: Some(path.clone()),
                        })
                        .await?;
                    }
                    path
                }
            };
            known.push((range.clone(), path));
        }
        Ok(known)
    }

    async fn initiate(&self, job: &MakeJob, dockerfile: &str) -> Result<Accepted, StepFailure> {
        self.phase(Phase::Submit, None);
        let request = BuildImageRequest {
            dockerfile_path: Some(dockerfile.to_owned()),
            ..request(Some(&self.key), job.platform, &job.owner, job.visibility)
        };
        let (unit, kind, platform) = (self.key.clone(), job.make.kind, job.platform);
        let submission = job.submission();
        let submitting = Record::Submitting {
            unit: unit.clone(),
            kind,
            platform,
            submission: submission.clone(),
        };
        self.record(submitting).await?;
        // One that comes twice leaves a build that nobody sends a context to: it never begins.
        let mut tries = Tries::new(Repeat::Safe);
        let Links { client, stopping, .. } = &self.links;
        let answer = client.initiate(&request, &mut tries, None, stopping).await;
        let first = answer.map(|parts| parts.into_iter().next());
        let error = match first {
            Ok(Some(Ok(accepted))) => {
                let (build, path) = (accepted.build.clone(), accepted.path.clone());
                let pending =
                    submission.into_pending(build, path, accepted.visibility, BuildStage::Created);
                self.record(Record::Created { unit, kind, platform, pending }).await?;
                return Ok(accepted);
            }
            Ok(Some(Err(refused))) => {
                let kind = if refused.is_quota() { ErrorKind::Quota } else { ErrorKind::Rejected };
                ApiError::new("initiate the build", kind, refused.message)
            }
            Ok(None) => {
                let message = "the service answered with nothing";
                ApiError::new("initiate the build", ErrorKind::BadAnswer, message)
            }
            Err(error) => error,
        };
        self.record(Record::NotAccepted { unit }).await?;
        Err(api_failure(&error, None))
    }

    /// Sends the context. The inner error is the service's last word on it.
    async fn upload(
        &self,
        accepted: &Accepted,
        spool: &Spool,
        began: Instant,
    ) -> Result<Result<(), ApiError>, StepFailure> {
        let build = Some(&accepted.build);
        let Some(url) = &accepted.upload else {
            let message = "the service gave no URL to upload the context to";
            return Err(failure(message, None, build));
        };
        let good_for = accepted.expires_in.map(|time| time.saturating_sub(LAST_MOMENT));
        let mut tries = Tries::new(Repeat::Safe);
        loop {
            let rewound = spool.reader().map_err(|error| {
                failure(&format!("cannot read the packed context: {error}"), None, build)
            })?;
            let error = match self.links.client.upload(url, rewound, spool.len).await {
                Ok(()) => return Ok(Ok(())),
                Err(error) => error,
            };
            if good_for.is_some_and(|time| began.elapsed() >= time) {
                let message = format!("its URL has expired; before that, {}", error.reason());
                return Ok(Err(ApiError::new(error.action, ErrorKind::Rejected, message)));
            }
            // The same bytes to the same place: sending them again changes nothing.
            let again = self.links.client.upload_again(&error, &mut tries);
            let Some(wait) = again else { return Ok(Err(error)) };
            tokio::time::sleep(wait).await;
        }
    }
}

/// A request for a build or a transfer, but for what it is made from.
pub(super) fn request(
    name: Option<&ImageRef>,
    platform: Platform,
    owner: &Owner,
    visibility: Option<Visibility>,
) -> BuildImageRequest {
    BuildImageRequest {
        image_name: name.map(|name| name.name.to_string()),
        image_tag: name.map(|name| name.tag.to_string()),
        platform: Some(platform.to_string()),
        team_id: match owner {
            Owner::Team(id) => Some(id.clone()),
            Owner::Personal | Owner::Platform => None,
        },
        visibility: Some(match visibility {
            None => "INHERIT".to_owned(),
            Some(visibility) => wire_visibility(visibility),
        }),
        owner_scope: (*owner == Owner::Platform).then(|| "platform".to_owned()),
        ..BuildImageRequest::default()
    }
}

/// The Dockerfile as it is sent, and where: see [`Placement`].
pub(crate) fn place(
    tree: &Tree,
    dockerfile: &Dockerfile,
    inside: Option<&str>,
    bases: &[(Range<usize>, String)],
) -> Placement {
    let as_written = inside.filter(|_| bases.is_empty());
    Placement::of(tree, as_written, dockerfile.with_replaced(bases))
}
