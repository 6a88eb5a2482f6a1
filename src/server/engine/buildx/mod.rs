//! The engine that gives builds to a builder of docker buildx, which may be on another machine or in a
//! cluster. The builder pushes the images to the registry.
//!
//! The archive goes to buildx as it is. Every base is looked up first (`bases`), because `BuildKit` does
//! not check its platform: from a base for another one it makes an image that claims to be for the
//! requested one.

mod bases;
mod builder;
mod client;
mod output;

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::bases::BaseLookup;
use self::builder::Builder;
use self::client::{BuildxClient, BuildxTarget};
use super::check::{CheckEngine, CheckedDockerfile};
use super::config::{BuildNetwork, EngineConfig, PushRegistry, RegistryTrust};
use super::folder::EngineFolder;
use super::pushed::PushedImages;
use super::{
    BuildJob, BuiltImage, Capabilities, Engine, EngineFailure, LogSink, too_long, unless_cancelled,
    wait_for_slot,
};
use crate::base::name::BuildId;
use crate::base::reference::{OciDigest, RegistryRef};
use crate::base::text::exact_duration;
use crate::server::error::ServerError;
use crate::server::registry_client::reason;

/// Default number of builds at the same time.
const DEFAULT_SLOTS: usize = 8;

/// Command that installs the emulators of foreign platforms for a builder.
const EMULATOR_COMMAND: &str = "docker run --privileged --rm tonistiigi/binfmt --install all";

/// The engine that builds with docker buildx.
pub(super) struct BuildxEngine {
    capabilities: Capabilities,
    config: EngineConfig,
    builder: Builder,
    client: BuildxClient,
    check: CheckEngine,
    pushed: PushedImages,
    bases: BaseLookup,
    /// A permit for each further build at the same time.
    free: Semaphore,
    _folder: EngineFolder,
}

/// Checks the settings and the programs, and returns the registry. Runs no program.
///
/// # Errors
/// Fails if a program is missing, or if a setting is only for another engine.
pub(super) fn check_buildx(config: &EngineConfig) -> Result<&PushRegistry, ServerError> {
    let Some(registry) = &config.registry else {
        let help = "add --registry HOST:PORT, with an address that the builder reaches too";
        return Err(client::unusable("it needs a registry", help));
    };
    if config.cache.is_some() {
        let help = "leave out --cache: a builder keeps the layers of its builds itself";
        return Err(client::unusable("it does not share layers by a repository", help));
    }
    client::check_programs()?;
    Ok(registry)
}

impl BuildxEngine {
    /// Starts the engine, and the builder if it does not run.
    ///
    /// # Errors
    /// Fails if a program is missing, if there is no such builder, or if a setting is only for another
    /// engine.
    pub(super) async fn start(
        config: &EngineConfig,
        state: Option<&Path>,
    ) -> Result<Self, ServerError> {
        let registry = check_buildx(config)?;
        let folder = EngineFolder::open(state)?;
        let client = BuildxClient::create(&folder.path, config, registry)?;
        let builder = client.start_builder().await?;
        let pushed = PushedImages::open(&folder.path, registry)?;
        let slots = config.slots.unwrap_or(DEFAULT_SLOTS).max(1);
        Ok(Self {
            capabilities: capabilities(config, registry, &builder),
            config: config.clone(),
            builder,
            client,
            check: CheckEngine::new(None),
            bases: BaseLookup::new(registry, pushed.registry())?,
            pushed,
            free: Semaphore::new(slots),
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
        let _slot = wait_for_slot(&self.free, log, cancel).await?;
        let limited = cancel.child_token();
        let mut work = Box::pin(self.work(job, &checked, log, &limited));
        tokio::select! {
            result = &mut work => return result,
            () = tokio::time::sleep(self.config.build_timeout) => limited.cancel(),
        }
        match work.await {
            Err(EngineFailure::Cancelled) if !cancel.is_cancelled() => {
                let reason = too_long(self.config.build_timeout);
                Err(EngineFailure::Failed(format!("{}: {reason}", job.dockerfile)))
            }
            result => result,
        }
    }

    async fn work(
        &self,
        job: &BuildJob,
        checked: &CheckedDockerfile,
        log: &dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage, EngineFailure> {
        let destination = job.destination()?;
        let earlier = unless_cancelled(cancel, self.pushed.find(&job.id, &destination)).await?;
        let digest = if let Some(digest) = earlier {
            digest
        } else {
            self.check_run(job, checked)?;
            let native = self.builder.native(job.platform);
            let contexts = self.bases.contexts(job, checked, native);
            let contexts = unless_cancelled(cancel, contexts).await??;
            let target = BuildxTarget {
                destination: &destination,
                contexts: &contexts,
                rewrites_times: self.builder.rewrites_times(),
            };
            let digest = self.client.build(job, &target, log, cancel).await?;
            self.pushed.add(&job.id, &destination, digest);
            digest
        };
        unless_cancelled(cancel, self.check_result(job, &destination, digest)).await??;
        unless_cancelled(cancel, self.pushed.image(&destination, digest)).await
    }

    /// Checks that the builder runs the programs of every stage that runs one.
    fn check_run(&self, job: &BuildJob, checked: &CheckedDockerfile) -> Result<(), EngineFailure> {
        let native = self.builder.native(job.platform);
        let runnable = &self.capabilities.architectures;
        let Some(missing) = checked.missing_platform(job.platform, native, runnable) else {
            return Ok(());
        };
        Err(EngineFailure::Failed(format!(
            "{}: RUN needs a builder that runs {missing} programs, and this one does not: install an \
             emulator on its machine ({EMULATOR_COMMAND}) and restart the server",
            job.dockerfile
        )))
    }

    /// Checks that the pushed image is for the requested platform. A frontend of a `# syntax=` line may
    /// make another one.
    async fn check_result(
        &self,
        job: &BuildJob,
        destination: &RegistryRef,
        digest: OciDigest,
    ) -> Result<(), EngineFailure> {
        let registry = self.pushed.registry();
        let actual = registry.image_platform(destination, digest, &|_| ()).await;
        let wanted = job.platform;
        let actual = match actual.map_err(|error| reason(&error))? {
            Some(actual) if actual == wanted => return Ok(()),
            Some(actual) => format!("for {actual}"),
            None => "without a platform".to_owned(),
        };
        Err(EngineFailure::Failed(format!("the image is {actual}, and {wanted} was requested")))
    }
}

impl Engine for BuildxEngine {
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

/// Returns the abilities of the engine with a builder.
fn capabilities(config: &EngineConfig, registry: &PushRegistry, builder: &Builder) -> Capabilities {
    let name = config.builder.as_deref().unwrap_or("the current one");
    let network = match config.network {
        BuildNetwork::Private => "that of the builder",
        BuildNetwork::None => "none",
        BuildNetwork::Host => "that of the builder's machine",
    };
    let driver = &builder.driver;
    let mut gaps = vec![
        "memory, processes and disk space are limited by the builder alone".to_owned(),
        "ADD of a URL and `# syntax=` download from the network of the builder".to_owned(),
        "caches of RUN --mount=type=cache are shared by all builds of the builder".to_owned(),
    ];
    if !builder.rewrites_times() {
        gaps.push("two builds of the same files have different digests (driver docker)".to_owned());
    }
    if matches!(registry.trust, RegistryTrust::Ca(_)) {
        gaps.push("the builder must trust the registry's authority by its own settings".to_owned());
    }
    Capabilities {
        engine: "buildx",
        registry: Some(registry.address.clone()),
        architectures: builder.platforms(),
        isolation: format!("BuildKit, builder {name} (driver {driver}), network {network}"),
        enforced: vec![format!("time {}", exact_duration(config.build_timeout))],
        gaps,
    }
}
