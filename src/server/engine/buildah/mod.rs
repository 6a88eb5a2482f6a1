//! The engine that builds with Buildah and runc, and pushes to a registry.
//!
//! A build has a slot to itself: a folder with a store for each platform. Its processes are in a
//! namespace that ends with the server, and in a cgroup where that is possible.

mod description;
mod failure;
mod launch;
mod plain_file;
mod probe;
mod probe_program;
mod slot;
mod steps;
mod sweep;
mod triggers;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use self::launch::Launcher;
pub(super) use self::probe::check_programs;
use self::slot::Slot;
use self::steps::BuildSteps;
use super::cgroup::Cgroups;
use super::check::{CheckEngine, CheckedDockerfile};
use super::config::{EngineConfig, PushRegistry};
use super::folder::EngineFolder;
use super::pushed::PushedImages;
use super::{
    BuildJob, BuiltImage, Capabilities, Engine, EngineFailure, LogSink, too_long, unless_cancelled,
    wait_for_slot,
};
use crate::base::file::AtPath;
use crate::base::input::{self, InputKind};
use crate::base::name::BuildId;
use crate::base::size;
use crate::server::error::ServerError;

/// Minimum time between two measurements of a slot's disk space.
const DISK_INTERVAL: Duration = Duration::from_secs(1);

/// The engine that builds with Buildah.
pub(super) struct BuildahEngine {
    capabilities: Capabilities,
    config: EngineConfig,
    launcher: Launcher,
    check: CheckEngine,
    /// `None` where cgroups cannot be used.
    cgroups: Option<Cgroups>,
    pushed: PushedImages,
    /// Slots without a build.
    slots: Mutex<Vec<Slot>>,
    /// A permit for each slot without a build.
    free: Semaphore,
    /// Maximum disk space of a slot in bytes.
    slot_bytes: u64,
    _folder: EngineFolder,
}

/// A slot in use, which is given back when dropped.
struct SlotLease<'e> {
    engine: &'e BuildahEngine,
    /// `None` once it is given back.
    slot: Option<Slot>,
    _permit: SemaphorePermit<'e>,
}

impl BuildahEngine {
    /// Starts the engine: sweeps the slots of an earlier server, and finds out what this machine can do.
    ///
    /// # Errors
    /// Fails if a program is missing or cannot build here, or if the folder of the slots cannot be
    /// written.
    pub(super) async fn start(
        config: &EngineConfig,
        registry: &PushRegistry,
        state: Option<&Path>,
    ) -> Result<Self, ServerError> {
        let folder = EngineFolder::open(state)?;
        let credentials = registry
            .auth
            .as_deref()
            .map(|path| input::read_text(path, InputKind::DockerConfig).at("read", path));
        let credentials = credentials.transpose()?;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let count = config.slots.unwrap_or(cores).max(1);
        let mut launcher = Launcher::new();
        let mut slots = Vec::with_capacity(count);
        for index in 0..count {
            let mut slot = Slot::create(&folder.path, index, registry, credentials.as_deref())?;
            sweep::sweep(&mut slot, &launcher).await;
            slots.push(slot);
        }
        let pushed = PushedImages::open(&folder.path, registry)?;
        let probed = probe::probe(&mut launcher, config, &registry.address, &mut slots).await?;
        Ok(Self {
            capabilities: probed.capabilities,
            config: config.clone(),
            launcher,
            check: CheckEngine::new(None),
            cgroups: probed.cgroups,
            pushed,
            free: Semaphore::new(slots.len()),
            slot_bytes: config.slot_bytes(slots.len()),
            slots: Mutex::new(slots),
            _folder: folder,
        })
    }

    async fn build_job(
        &self,
        job: &BuildJob,
        log: &dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage, EngineFailure> {
        let checked = self.check.check(job, log, cancel).await?;
        let permit = wait_for_slot(&self.free, log, cancel).await?;
        let slot = self.free_slots().pop().ok_or(EngineFailure::Cancelled)?;
        let mut lease = SlotLease { engine: self, slot: Some(slot), _permit: permit };
        let Some(slot) = &mut lease.slot else { return Err(EngineFailure::Cancelled) };
        if slot.is_dirty {
            sweep::sweep(slot, &self.launcher).await;
        }
        // Caches may take half of the space, so that the build has the other half.
        if slot.disk_bytes().await > self.slot_bytes / 2 {
            sweep::empty(slot, &self.launcher).await;
        }
        let cgroup = self.cgroups.as_ref().map(|cgroups| cgroups.create(&slot.name)).transpose();
        let cgroup = cgroup
            .map_err(|error| format!("the server cannot limit the build: cgroup: {error}"))?;
        slot.is_dirty = true;
        let steps = BuildSteps {
            launcher: &self.launcher,
            slot,
            config: &self.config,
            job,
            log,
            cancel: cancel.child_token(),
            cgroup: cgroup.as_ref(),
        };
        let result = self.supervise(&steps, &checked, cancel).await;
        if let Some(cgroup) = cgroup {
            cgroup.remove().await;
        }
        match &result {
            Ok(_) => slot.is_dirty = false,
            Err(_) => sweep::sweep(slot, &self.launcher).await,
        }
        // Layers of a build that was too large are of no use.
        if result.is_err() && slot.disk_bytes().await > self.slot_bytes {
            sweep::empty(slot, &self.launcher).await;
        }
        result
    }

    /// Runs the steps of a build until they end or exceed a limit of the server.
    async fn supervise(
        &self,
        steps: &BuildSteps<'_>,
        checked: &CheckedDockerfile,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage, EngineFailure> {
        let work = self.work(steps, checked);
        let mut work = std::pin::pin!(work);
        let reason = tokio::select! {
            result = &mut work => return result,
            reason = self.exceeded_limit(steps.slot) => reason,
        };
        steps.cancel.cancel();
        match work.await {
            Err(EngineFailure::Cancelled) if !cancel.is_cancelled() => {
                Err(EngineFailure::Failed(format!("{}: {reason}", steps.job.dockerfile)))
            }
            result => result,
        }
    }

    async fn work(
        &self,
        steps: &BuildSteps<'_>,
        checked: &CheckedDockerfile,
    ) -> Result<BuiltImage, EngineFailure> {
        let id = &steps.job.id;
        let destination = steps.job.destination()?;
        let earlier = unless_cancelled(&steps.cancel, self.pushed.find(id, &destination)).await?;
        if let Some(digest) = earlier {
            return unless_cancelled(&steps.cancel, self.pushed.image(&destination, digest)).await;
        }
        steps.check_downloads(checked)?;
        let own_format = steps.write_dockerfile(checked)?;
        steps.check_run(checked, &self.capabilities.architectures)?;
        let inherited_format = steps.pull_bases(&checked.bases).await?;
        steps.build(&checked.bases, own_format.max(inherited_format)).await?;
        // It may have grown since the last measurement.
        if steps.slot.disk_bytes().await > self.slot_bytes {
            let reason = self.too_large();
            return Err(EngineFailure::Failed(format!("{}: {reason}", steps.job.dockerfile)));
        }
        steps.check_result().await?;
        let digest = steps.push(&destination).await?;
        self.pushed.add(id, &destination, digest);
        unless_cancelled(&steps.cancel, self.pushed.image(&destination, digest)).await
    }

    /// Waits until a build takes too long or too much disk space, and returns the message.
    async fn exceeded_limit(&self, slot: &Slot) -> String {
        let time = tokio::time::sleep(self.config.build_timeout);
        let too_large = async {
            loop {
                let start = Instant::now();
                if slot.disk_bytes().await > self.slot_bytes {
                    break;
                }
                // A large store takes long to measure: at most a fifth of the time.
                tokio::time::sleep(DISK_INTERVAL.max(start.elapsed() * 4)).await;
            }
        };
        tokio::select! {
            () = time => too_long(self.config.build_timeout),
            () = too_large => self.too_large(),
        }
    }

    fn too_large(&self) -> String {
        let limit = size::bytes(self.slot_bytes);
        format!("the build took more than {limit} of disk space, the limit of this server")
    }

    fn free_slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for BuildahEngine {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn build(
        &self,
        job: BuildJob,
        log: Arc<dyn LogSink>,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<BuiltImage, EngineFailure>> {
        Box::pin(async move { self.build_job(&job, &*log, &cancel).await })
    }

    fn forget(&self, id: &BuildId) {
        self.pushed.forget(id);
    }
}

impl Drop for SlotLease<'_> {
    fn drop(&mut self) {
        self.engine.free_slots().extend(self.slot.take());
    }
}

impl Drop for BuildahEngine {
    fn drop(&mut self) {
        if let Some(cgroups) = &self.cgroups {
            cgroups.remove_now();
        }
    }
}
