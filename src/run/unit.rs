//! Offers the operations of one unit's task: report a phase, write a record, wait for a build,
//! update, delete. Each change is on disk before the next operation relies on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::base_paths::BasePaths;
use super::job::Mirror;
use super::link::{KnownBuilds, StepMessage, record_all};
use super::outcome::{StepError, StepFailure, StepOutput};
use super::poll::{Poller, UnknownEnd};
use super::transfers::TransferBatcher;
use super::updates::UpdateBatcher;
use crate::api::{BuildProgress, Client, ErrorKind, RemoteBuild, UpdatedImage, name_without_owner};
use crate::base::name::{BuildId, ImageRef, Owner};
use crate::base::source_ref::SourceRef;
use crate::base::text::exact_duration;
use crate::event::Phase;
use crate::plan::{Change, StepId};
use crate::state::{BuildOutcome, Record};

/// Handles that all tasks of a run share.
#[derive(Clone)]
pub(super) struct Links {
    pub(super) client: Client,
    pub(super) poller: Poller,
    pub(super) transfers: TransferBatcher,
    pub(super) known: KnownBuilds,
    pub(super) updates: UpdateBatcher,
    pub(super) base_paths: BasePaths,
    pub(super) messages: mpsc::UnboundedSender<StepMessage>,
    /// Cancelled when the run may send nothing new.
    pub(super) stopping: CancellationToken,
    /// Permits to pack a context.
    pub(super) packers: Arc<Semaphore>,
    /// Permits to keep a packed context on disk, which has no room for all of them at once.
    pub(super) archives: Arc<Semaphore>,
    /// Permits to upload a context.
    pub(super) uploads: Arc<Semaphore>,
}

/// One unit, and the handles to work on it.
pub(super) struct UnitRun {
    pub(super) step: StepId,
    pub(super) key: ImageRef,
    /// Name of the recorded image in the service; the key if there is none.
    pub(super) image: ImageRef,
    pub(super) mirror: Option<Mirror>,
    pub(super) links: Links,
}

/// Reporting of the phases of a build that a unit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reporting {
    /// The build is that of the unit.
    On,
    /// The unit waits until an earlier build has ended.
    Off,
}

/// Image that a build makes.
enum MadeImage {
    /// The image of the unit.
    Own,
    /// An image with another name, which the service derives from the source of the mirror.
    Derived(ImageRef),
    /// The image of another unit.
    Other(String),
}

impl UnitRun {
    pub(super) fn phase(&self, phase: Phase, build: Option<&BuildId>) {
        self.phase_since(phase, build, Duration::ZERO);
    }

    /// Reports a phase that began `ago`.
    fn phase_since(&self, phase: Phase, build: Option<&BuildId>, ago: Duration) {
        let message = StepMessage::Phase { step: self.step, phase, build: build.cloned(), ago };
        // Fails only if the driver is gone; nobody listens then.
        let _ = self.links.messages.send(message);
    }

    /// Returns once the record is on disk.
    ///
    /// # Errors
    /// Fails if the driver is gone or could not write it: the caller must not go on.
    pub(super) async fn record(&self, record: Record) -> Result<(), StepFailure> {
        record_all(&self.links.messages, vec![record]).await
    }

    /// Runs a future unless the run is stopping.
    pub(super) async fn unless_stopping<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, StepFailure> {
        let result = self.links.stopping.run_until_cancelled(work).await;
        result.ok_or(StepFailure::NotStarted)
    }

    /// Waits for a build to end, and records how it ended.
    pub(super) async fn wait(
        &self,
        build: &BuildId,
        timeout: Option<Duration>,
    ) -> Result<StepOutput, StepFailure> {
        let view = self.wait_for_end(build, timeout, Reporting::On).await?;
        // A short build ends before a poll has seen it run. Without the service's times, all of the
        // time since its start counts.
        self.phase_since(Phase::Building, Some(build), view.duration().unwrap_or(Duration::MAX));
        self.record_ended(build, view).await
    }

    /// Records how a build ended.
    async fn record_ended(
        &self,
        build: &BuildId,
        view: RemoteBuild,
    ) -> Result<StepOutput, StepFailure> {
        let derived = match self.made_image(&view) {
            MadeImage::Own => None,
            MadeImage::Derived(image) => Some(image),
            MadeImage::Other(other) => {
                let message = format!("the service built {other} instead");
                self.record_end(build, BuildOutcome::Failed, Some(&message), None, None).await?;
                return Err(StepFailure::new(message).with_build(build));
            }
        };
        let (outcome, error, message) = match &view.progress {
            BuildProgress::Completed => (BuildOutcome::Completed, None, None),
            BuildProgress::Failed(cause) => {
                (BuildOutcome::Failed, Some(&**cause), Some(format!("the build failed: {cause}")))
            }
            BuildProgress::Cancelled => {
                (BuildOutcome::Cancelled, None, Some("the build was cancelled".to_owned()))
            }
            BuildProgress::Running(_) => {
                return Err(StepFailure::new("the build has not ended").with_build(build));
            }
        };
        self.record_end(build, outcome, error, Some(&view), derived.as_ref()).await?;
        match (message, derived.filter(|_| self.has_custom_name())) {
            (Some(message), _) => Err(StepFailure::new(message).with_build(build)),
            (None, Some(image)) => Err(self.renamed(&image).with_build(build)),
            (None, None) => Ok(StepOutput {
                build: Some(build.clone()),
                path: view.path,
                ..StepOutput::default()
            }),
        }
    }

    /// True if the name of a mirror is not the one that the service derives from its source.
    fn has_custom_name(&self) -> bool {
        let mirror = self.mirror.as_ref();
        mirror.is_some_and(|mirror| !mirror.source.derives(&self.key, mirror.keep_namespace))
    }

    /// Returns the source of a mirror.
    pub(super) fn source(&self) -> Option<&SourceRef> {
        self.mirror.as_ref().map(|mirror| &mirror.source)
    }

    /// Creates the failure of a mirror that the service made under another name than the manifest's.
    /// The image is on record, so that the next plan does not transfer it again.
    fn renamed(&self, image: &ImageRef) -> StepFailure {
        let source = self.source().map(ToString::to_string).unwrap_or_default();
        let message = format!("the service made {image} of {source}, and not {}", self.key);
        StepFailure::new(message).with_help(
            "the service names this mirror itself: remove `name:`, `tag:` and all but one of \
             `platforms:`; the image is recorded under its name in the service, and is not \
             transferred again",
        )
    }

    /// Records the end of a build, with its error and the path and time that the service shows.
    /// `derived` is the name of the image, if it is not that of the unit.
    pub(super) async fn record_end(
        &self,
        build: &BuildId,
        outcome: BuildOutcome,
        error: Option<&str>,
        view: Option<&RemoteBuild>,
        derived: Option<&ImageRef>,
    ) -> Result<(), StepFailure> {
        self.record(Record::Ended {
            unit: self.key.clone(),
            build: build.clone(),
            outcome,
            error: error.map(str::to_owned),
            path: view.and_then(|view| view.path.clone()),
            image: derived.cloned(),
            at: view.and_then(|view| view.completed),
            seconds: view.and_then(RemoteBuild::duration).map(|time| time.as_secs()),
        })
        .await
    }

    /// Returns the image that a build makes.
    fn made_image(&self, view: &RemoteBuild) -> MadeImage {
        let Some((name, tag)) = &view.image else { return MadeImage::Own };
        let is = |image: &ImageRef| *name == image.name.as_str() && *tag == image.tag.as_str();
        if is(&self.key) {
            return MadeImage::Own;
        }
        let derived = self.source().into_iter().flat_map(SourceRef::destinations).find(is);
        // The service may put an owner before the name, and may change its case.
        let same = name_without_owner(name) == name_without_owner(self.key.name.as_str())
            && *tag == self.key.tag.as_str();
        match derived {
            Some(image) => MadeImage::Derived(image),
            None if same => MadeImage::Own,
            None => MadeImage::Other(format!("{name}:{tag}")),
        }
    }

    async fn wait_for_end(
        &self,
        build: &BuildId,
        timeout: Option<Duration>,
        reporting: Reporting,
    ) -> Result<RemoteBuild, StepFailure> {
        let (status, mut statuses) = mpsc::unbounded_channel();
        let ended = self.links.poller.ended(build, status);
        let deadline = async {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(ended, deadline);
        let mut building = reporting == Reporting::Off;
        loop {
            tokio::select! {
                ended = &mut ended => {
                    return ended.map_err(|unknown| match unknown {
                        UnknownEnd::NoSuchBuild(error) => StepFailure::of(&error).with_build(build),
                        UnknownEnd::NoAnswer(error) => {
                            let failure = StepFailure::of(&error).with_build(build).pending();
                            // An unreadable response about one build says nothing about others.
                            let one = error.kind == ErrorKind::BadResponse;
                            if one { failure.of_one_unit() } else { failure }
                        }
                    });
                }
                () = &mut deadline => {
                    let limit = exact_duration(timeout.unwrap_or_default());
                    return Err(StepFailure::new(format!("not done within {limit}"))
                        .with_help("the build continues, and the next apply waits for it")
                        .with_build(build)
                        .pending());
                }
                Some(status) = statuses.recv(), if !building => {
                    if status == "BUILDING" {
                        building = true;
                        self.phase(Phase::Building, Some(build));
                    }
                }
            }
        }
    }

    /// Waits until a build of other content has ended. Both would push to the same tag, and the
    /// last one to push would win. Returns true unless the build made an image with another name.
    pub(super) async fn wait_for_earlier(
        &self,
        build: &BuildId,
        timeout: Option<Duration>,
    ) -> Result<bool, StepFailure> {
        self.phase(Phase::Wait, None);
        let mut is_own = true;
        let ended = async {
            let view = self.wait_for_end(build, timeout, Reporting::Off).await?;
            is_own = matches!(self.made_image(&view), MadeImage::Own);
            self.record_ended(build, view).await
        };
        // The build is on record already, so a run that stops need not wait for it.
        match self.unless_stopping(ended).await? {
            // The build is over; how it ended does not matter.
            Ok(_) | Err(StepFailure::Failed(StepError { stops_run: false, .. })) => Ok(is_own),
            Err(failure) => Err(failure),
        }
    }

    /// Changes the image without a build. The record is of its old name. Its new path is looked up
    /// when a dependent needs it.
    pub(super) async fn update(&self, change: &Change) -> Result<StepOutput, StepFailure> {
        self.phase(Phase::Update, None);
        let name = if change.from.is_some() { &self.key } else { &self.image };
        let from = Some(self.image.clone()).filter(|image| image != name);
        let request = Change { from, ..change.clone() };
        let UpdatedImage { visibility } = self.links.updates.request(name, &request).await?;
        if change.moves() {
            let owner = change.owner.as_ref().unwrap_or(&change.of);
            self.links.base_paths.note_move(owner, name);
        }
        self.record(Record::Updated {
            unit: change.from.clone().unwrap_or_else(|| self.key.clone()),
            to: change.from.is_some().then(|| self.key.clone()),
            visibility: visibility.or(change.visibility),
            owner: change.owner.clone(),
            path: None,
        })
        .await?;
        Ok(StepOutput::default())
    }

    /// Deletes the image. First waits for a build of it, which would bring the image back. An image
    /// that does not exist, or to which the service gave another name, is only forgotten.
    pub(super) async fn delete(
        &self,
        owner: &Owner,
        after: Option<&BuildId>,
    ) -> Result<StepOutput, StepFailure> {
        if let Some(build) = after
            && !self.wait_for_earlier(build, None).await?
        {
            let forgotten = self.forget().await?;
            return Ok(StepOutput { was_missing: true, ..forgotten });
        }
        self.phase(Phase::Delete, None);
        let Links { client, stopping, .. } = &self.links;
        let deleted = client.delete(owner, &self.image, stopping).await;
        let deleted = deleted.map_err(|error| StepFailure::of_change(&error, owner))?;
        Ok(StepOutput { was_missing: !deleted, ..self.forget().await? })
    }

    /// Removes the unit from the lockfile.
    pub(super) async fn forget(&self) -> Result<StepOutput, StepFailure> {
        self.record(Record::Forgotten { unit: self.key.clone() }).await?;
        Ok(StepOutput::default())
    }
}
