//! Creates one unit. A mirror: transfer, wait. A build: pack, initiate, upload, start, wait.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::job::{BasePath, CreateJob, JobContent, Mirror, placement};
use super::link::request;
use super::outcome::{StepFailure, StepOutput};
use super::transfers::TransferRequest;
use super::unit::{Links, UnitRun};
use crate::api::wire::BuildImageRequest;
use crate::api::{AcceptedBuild, ApiError, Attempts, ErrorKind, Repeat};
use crate::base::image_path::ImagePath;
use crate::base::name::BuildId;
use crate::context::{self, Spool};
use crate::event::Phase;
use crate::state::{BuildOutcome, BuildStage, Record};

/// A packed context.
struct Packed {
    /// Path of the Dockerfile in the archive.
    dockerfile: String,
    spool: Spool,
}

/// Maximum number of upload URLs requested for one unit. Each after the first replaces a URL that
/// was refused or has expired.
const MAX_UPLOAD_URLS: u32 = 6;

/// Delay before the next upload URL is requested, so that a storage that refuses every upload does
/// not cause a burst of builds.
const NEXT_URL_DELAY: Duration = Duration::from_secs(1);

/// An upload URL is not used in the last seconds of its lifetime.
const UPLOAD_URL_MARGIN: Duration = Duration::from_secs(5);

impl UnitRun {
    /// Creates the unit. A request that must not be sent twice is on disk before it is sent.
    pub(super) async fn create(&self, job: CreateJob) -> Result<StepOutput, StepFailure> {
        if let Some(build) = &job.create.after {
            self.wait_for_earlier(build, job.timeout).await?;
        }
        let accepted = match &job.content {
            JobContent::Mirror(source) => {
                let transfer = TransferRequest::new(self.step, &self.key, &job, source);
                let accepted = self.links.transfers.request(transfer).await?;
                self.phase(Phase::Queued, Some(&accepted.build));
                accepted
            }
            // Boxed, because this future is large and thousands of mirrors do not need it.
            JobContent::Build { .. } => Box::pin(self.build(&job)).await?,
        };
        self.wait_for_own(&accepted.build, accepted.path, job.timeout).await
    }

    /// Waits for a build that the manifest wants. `path` is that of the image, if it is known.
    ///
    /// # Errors
    /// Fails if the build fails, or if the service made a private mirror public.
    pub(super) async fn wait_for_own(
        &self,
        build: &BuildId,
        path: Option<ImagePath>,
        timeout: Option<Duration>,
    ) -> Result<StepOutput, StepFailure> {
        let output = self.wait(build, timeout).await?;
        if let Some(Mirror { source, is_private: true, .. }) = &self.mirror {
            let made = path.as_ref().or(output.path.as_ref());
            let public = source.platform_image().map(|image| ImagePath::from(&image));
            if public.is_some() && public.as_ref() == made {
                return Err(self.made_public().with_build(build));
            }
        }
        Ok(StepOutput { path: output.path.or(path), ..output })
    }

    /// Creates the failure of a private mirror that the service made public. The image is on record as
    /// public, so that the next plan does not transfer it again.
    fn made_public(&self) -> StepFailure {
        let message = format!("the service made {} a public image of the platform", self.key);
        StepFailure::new(message).with_help(
            "mirrors of Docker Hub cannot be private: remove `visibility: private`; the image is \
             recorded as public, and is not transferred again",
        )
    }

    async fn build(&self, job: &CreateJob) -> Result<AcceptedBuild, StepFailure> {
        let archive_permit = self.unless_stopping(self.links.archives.acquire()).await?;
        let packed = self.pack(job).await?;
        self.phase(Phase::Wait, None);
        // Acquired before the upload URL is requested, which expires.
        let upload_permit = self.unless_stopping(self.links.uploads.acquire()).await?;
        let accepted = self.send_context(job, &packed).await?;
        drop((packed, upload_permit, archive_permit));
        let (unit, build) = (self.key.clone(), accepted.build.clone());
        self.record(Record::Uploaded { unit, build }).await?;
        self.start(&accepted.build, false).await?;
        let (unit, build) = (self.key.clone(), accepted.build.clone());
        self.record(Record::Started { unit, build }).await?;
        self.phase(Phase::Queued, Some(&accepted.build));
        Ok(accepted)
    }

    /// Initiates a build and uploads its context. If the upload URL is no longer valid, initiates
    /// another build: one without a context never starts (API contract, section 2).
    async fn send_context(
        &self,
        job: &CreateJob,
        packed: &Packed,
    ) -> Result<AcceptedBuild, StepFailure> {
        let mut urls = 0;
        loop {
            urls += 1;
            let accepted = self.initiate(job, &packed.dockerfile).await?;
            let initiated_at = Instant::now();
            self.phase(Phase::Upload, Some(&accepted.build));
            let error = match self.upload(&accepted, &packed.spool, initiated_at).await? {
                Ok(()) => return Ok(accepted),
                Err(error) => error,
            };
            // A new URL does not help if the context is too large (413), if the storage is down,
            // if something other than the storage responded, or if the URL leads astray.
            let may_help = error.status != Some(413)
                && !error.is_transient()
                && !matches!(error.kind, ErrorKind::BadResponse | ErrorKind::Misdirected);
            if !may_help || urls == MAX_UPLOAD_URLS {
                let failure = StepFailure::of(&error).with_build(&accepted.build);
                return Err(match error.kind {
                    ErrorKind::Misdirected => failure,
                    // The storage's refusal says nothing about the service's API key.
                    _ => failure.of_one_unit().without_help(),
                });
            }
            self.phase(Phase::Wait, None);
            tokio::time::sleep(NEXT_URL_DELAY).await;
        }
    }

    /// Starts a build. After a lost response, checks the build's status before starting it again.
    /// `maybe_started` is true if an earlier run may have started it already.
    async fn start(&self, build: &BuildId, mut maybe_started: bool) -> Result<(), StepFailure> {
        self.phase(Phase::Wait, Some(build));
        let client = &self.links.client;
        let mut tries = Attempts::new(Repeat::LookUpFirst);
        loop {
            let error = match client.start(build, &mut tries).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let failure = || StepFailure::of(&error).with_build(build);
            maybe_started |= error.look_up_after.is_some();
            tokio::time::sleep(error.look_up_after.unwrap_or_default()).await;
            let Ok(view) = client.status(build).await else {
                // The next apply checks whether it runs.
                return Err(failure().pending());
            };
            // A build is PENDING both before its start and while it is queued after it. If the
            // service refuses a second start of a PENDING build, the first one took effect.
            let queued =
                maybe_started && error.look_up_after.is_none() && !view.waits_for_context();
            if queued || !view.waits_for_start() {
                return Ok(());
            }
            if matches!(error.kind, ErrorKind::Rejected | ErrorKind::NotFound) {
                // It will never start, so the next plan creates the unit again.
                let why = error.to_string();
                self.record_end(build, BuildOutcome::Failed, Some(&why), None, None).await?;
                return Err(failure());
            }
            if error.look_up_after.is_none() {
                // The context is uploaded, so the next apply can start the build.
                return Err(failure().pending());
            }
        }
    }

    /// Starts a build whose context was uploaded by an earlier run, unless it is started already.
    pub(super) async fn start_if_not_started(&self, build: &BuildId) -> Result<(), StepFailure> {
        match self.links.client.status(build).await {
            Ok(view) if !view.waits_for_start() => Ok(()),
            // The earlier run may have ended right after it had started the build.
            Ok(_) | Err(_) => self.start(build, true).await,
        }
    }

    /// Packs the context, and the Dockerfile with the full paths of its bases.
    async fn pack(&self, job: &CreateJob) -> Result<Packed, StepFailure> {
        let JobContent::Build { tree, dockerfile, inside, is_lowered, bases } = &job.content else {
            return Err(StepFailure::bug("a mirror has no context"));
        };
        let bases = self.resolve_bases(bases).await?;
        let _permit = self.unless_stopping(self.links.packers.acquire()).await?;
        self.phase(Phase::Package, None);
        let placement = placement(tree, dockerfile, (inside.as_deref(), *is_lowered), &bases);
        let dockerfile = placement.dockerfile.to_string();
        let tree = Arc::clone(tree);
        let packed = tokio::task::spawn_blocking(move || context::spool(&tree, &placement)).await;
        match packed {
            Ok(Ok(spool)) => Ok(Packed { dockerfile, spool }),
            Ok(Err(error)) => {
                let failure = StepFailure::new(error.to_string());
                let help = miette::Diagnostic::help(&error).map(|help| help.to_string());
                Err(help.into_iter().fold(failure, StepFailure::with_help))
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Returns the full paths of the bases. A path that had to be looked up is recorded.
    async fn resolve_bases(
        &self,
        bases: &[(Range<usize>, BasePath)],
    ) -> Result<Vec<(Range<usize>, String)>, StepFailure> {
        let mut resolved = Vec::with_capacity(bases.len());
        for (range, base) in bases {
            let path = match base {
                BasePath::Known(path) => path.clone(),
                BasePath::Moved { base, image, owner } => {
                    let (path, is_new) = self.links.base_paths.path_of(owner, image).await?;
                    if is_new {
                        self.record(Record::Updated {
                            unit: base.clone(),
                            to: None,
                            visibility: None,
                            owner: Some(owner.clone()),
                            path: Some(path.clone()),
                        })
                        .await?;
                    }
                    path.to_string()
                }
            };
            resolved.push((range.clone(), path));
        }
        Ok(resolved)
    }

    async fn initiate(
        &self,
        job: &CreateJob,
        dockerfile: &str,
    ) -> Result<AcceptedBuild, StepFailure> {
        let request = BuildImageRequest {
            dockerfile_path: Some(dockerfile.to_owned()),
            ..request(Some(&self.key), job.platform, &job.owner, job.visibility)
        };
        let (unit, kind, platform) = (self.key.clone(), job.create.kind, job.platform);
        let submission = job.submission();
        let submitting = Record::Submitting {
            unit: unit.clone(),
            kind,
            platform,
            submission: submission.clone(),
        };
        self.record(submitting).await?;
        // Safe to repeat: the extra build gets no context, so it never starts.
        let mut tries = Attempts::new(Repeat::Safe);
        let Links { client, stopping, .. } = &self.links;
        let response = client.initiate(&request, &mut tries, None, stopping).await;
        let error = match response.map(|results| results.into_iter().next()) {
            Ok(Some(Ok(accepted))) => {
                let (build, path) = (accepted.build.clone(), accepted.path.clone());
                // A transfer whose response is lost must not take this build for its own.
                self.links.known.add([build.clone()]);
                let pending =
                    submission.into_pending(build, path, accepted.visibility, BuildStage::Created);
                self.record(Record::Created { unit, kind, platform, pending }).await?;
                return Ok(accepted);
            }
            Ok(Some(Err(refused))) => {
                let kind =
                    if refused.is_quota() { ErrorKind::QuotaExceeded } else { ErrorKind::Rejected };
                ApiError::new("initiate the build", kind, refused.message)
            }
            Ok(None) => {
                let message = "the service's response is empty";
                ApiError::new("initiate the build", ErrorKind::BadResponse, message)
            }
            Err(error) => error,
        };
        self.record(Record::NotAccepted { unit }).await?;
        Err(StepFailure::of(&error))
    }

    /// Uploads the context, with retries. The inner error is the last response of the storage.
    async fn upload(
        &self,
        accepted: &AcceptedBuild,
        spool: &Spool,
        initiated_at: Instant,
    ) -> Result<Result<(), ApiError>, StepFailure> {
        let Some(url) = &accepted.upload else {
            let message = "the service returned no upload URL for the context";
            return Err(StepFailure::new(message).with_build(&accepted.build));
        };
        let usable_for = accepted.expires_in.map(|time| time.saturating_sub(UPLOAD_URL_MARGIN));
        let mut tries = Attempts::new(Repeat::Safe);
        loop {
            let reader = spool.reader().map_err(|error| {
                let message = format!("cannot read the packed context: {error}");
                StepFailure::new(message).with_build(&accepted.build)
            })?;
            let error = match self.links.client.upload(url, reader, spool.len).await {
                Ok(()) => return Ok(Ok(())),
                Err(error) => error,
            };
            if usable_for.is_some_and(|time| initiated_at.elapsed() >= time) {
                let message = format!("its URL has expired; before that, {}", error.reason());
                return Ok(Err(ApiError::new(error.action, ErrorKind::Rejected, message)));
            }
            // Safe to repeat: the same bytes to the same URL.
            let delay = self.links.client.retry_upload_after(&error, &mut tries);
            let Some(delay) = delay else { return Ok(Err(error)) };
            tokio::time::sleep(delay).await;
        }
    }
}
