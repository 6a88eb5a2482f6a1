//! Makes one unit: pack, initiate, upload, start, wait.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::dispatch::{Done, StepFailure};
use super::step::{Content, MakeJob, UnitRun, api_failure, failure, not_begun};
use crate::api::wire::BuildImageRequest;
use crate::api::{Accepted, ApiError, ErrorKind, Refused, Repeat, Tries};
use crate::base::name::{BuildId, Owner, Visibility};
use crate::base::secret::SignedUrl;
use crate::context::{self, Placement, Spool, Tree};
use crate::dockerfile::Dockerfile;
use crate::event::Phase;
use crate::state::{Pending, Record};

/// A context that is ready to be sent.
struct Packed {
    /// The Dockerfile's place in the archive.
    path: String,
    spool: Spool,
}

impl UnitRun {
    /// Makes a unit. What must not be sent twice is on record before the next thing is sent.
    pub(super) async fn make(&self, job: MakeJob) -> Result<Done, StepFailure> {
        if let Some(build) = &job.make.after {
            self.outlive(build, job.timeout).await?;
        }
        let Content::Build { .. } = &job.content else {
            let accepted = self.initiate(&job, None).await?;
            return self.finish(&job, accepted).await;
        };
        let room = self.links.stopping.run_until_cancelled(self.links.archives.acquire()).await;
        let room = room.ok_or_else(not_begun)?;
        let packed = self.pack(&job).await?;
        // Before the URL is asked for: it is only good for a while.
        let turn = self.links.stopping.run_until_cancelled(self.links.uploads.acquire()).await;
        let turn = turn.ok_or_else(not_begun)?;
        let accepted = self.initiate(&job, Some(&packed.path)).await?;
        let build = &accepted.build;
        let Some(url) = &accepted.upload else {
            let message = "the service gave no URL to upload the context to";
            return Err(failure(message, None, Some(build)));
        };
        self.phase(Phase::Upload, Some(build));
        self.upload(url, &packed.spool, build).await?;
        drop((packed, turn, room));
        self.record(Record::Uploaded { unit: self.key.clone(), build: build.clone() }).await?;
        self.start(build).await?;
        self.record(Record::Started { unit: self.key.clone(), build: build.clone() }).await?;
        self.finish(&job, accepted).await
    }

    async fn finish(&self, job: &MakeJob, accepted: Accepted) -> Result<Done, StepFailure> {
        self.phase(Phase::Queued, Some(&accepted.build));
        let done = self.wait(&accepted.build, job.timeout).await?;
        Ok(Done { path: done.path.or(accepted.path), ..done })
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
    async fn start(&self, build: &BuildId) -> Result<(), StepFailure> {
        let client = &self.links.client;
        let mut tries = Tries::new(Repeat::LookFirst);
        loop {
            let error = match client.start(build, &mut tries).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let Some(wait) = error.look_after else { return Err(api_failure(&error, Some(build))) };
            tokio::time::sleep(wait).await;
            match client.status(build).await {
                Ok(view) if view.waits_for_start() => {}
                Ok(_) => return Ok(()),
                Err(_) => return Err(api_failure(&error, Some(build))),
            }
        }
    }

    /// Packs the context with the Dockerfile as it is sent, whose bases are now known by their
    /// full paths.
    async fn pack(&self, job: &MakeJob) -> Result<Packed, StepFailure> {
        let Content::Build { tree, dockerfile, inside, bases } = &job.content else {
            return Err(failure("a mirror has no context", None, None));
        };
        let turn = self.links.stopping.run_until_cancelled(self.links.packers.acquire()).await;
        let _permit = turn.ok_or_else(not_begun)?;
        self.phase(Phase::Package, None);
        let placement = place(tree, dockerfile, inside.as_deref(), bases);
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
        dockerfile: Option<&str>,
    ) -> Result<Accepted, StepFailure> {
        self.phase(Phase::Submit, None);
        let request = self.request(job, dockerfile);
        let fingerprint = job.make.fingerprint;
        self.record(Record::Submitting { unit: self.key.clone(), fingerprint }).await?;
        let answer = self.ask(&request, job).await;
        // Whoever answers in the service's place would answer the others alike.
        let results = answer.map_err(|error| StepFailure {
            stops_run: error.stops_run() || error.kind == ErrorKind::BadAnswer,
            ..api_failure(&error, None)
        })?;
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
            owner: job.owner.clone(),
            visibility: accepted.visibility.or(job.visibility).unwrap_or(Visibility::Private),
            // A transfer has all that it needs.
            started: matches!(job.content, Content::Mirror(_)),
        };
        self.record(Record::Created {
            unit: self.key.clone(),
            kind: job.make.kind,
            platform: job.platform,
            pending,
        })
        .await?;
        Ok(accepted)
    }

    async fn ask(
        &self,
        request: &BuildImageRequest,
        job: &MakeJob,
    ) -> Result<Vec<Result<Accepted, Refused>>, ApiError> {
        let (client, stop) = (&self.links.client, &self.links.stopping);
        let (repeat, mut turn) = match job.content {
            Content::Build { .. } => (Repeat::Safe, None),
            Content::Mirror(_) => {
                (Repeat::LookFirst, client.transfer_turn(&job.owner, 1, stop).await?.1)
            }
        };
        client.initiate(request, &mut Tries::new(repeat), turn.as_mut(), stop).await
    }

    async fn upload(
        &self,
        url: &SignedUrl,
        spool: &Spool,
        build: &BuildId,
    ) -> Result<(), StepFailure> {
        let mut tries = Tries::new(Repeat::Safe);
        loop {
            let rewound = spool.reader().map_err(|error| {
                failure(&format!("cannot read the packed context: {error}"), None, Some(build))
            })?;
            let error = match self.links.client.upload(url, rewound, spool.len).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // The same bytes to the same place: sending them again changes nothing.
            let Some(wait) = self.links.client.upload_again(&error, &mut tries) else {
                // A refused upload says nothing about the account's key.
                let failure = api_failure(&error, Some(build));
                return Err(StepFailure { stops_run: false, help: None, ..failure });
            };
            tokio::time::sleep(wait).await;
        }
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
