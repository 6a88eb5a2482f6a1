//! The engine that gives builds to a builder of docker buildx, which may be on another machine or a
//! cluster. The builder pushes the images to the registry.
//!
//! The archive goes to buildx as it is. Every base is looked up first, to check its platform, and is
//! named by its digest: of a base for another platform, BuildKit would build an image that claims to be
//! for the requested one.

mod builder;
mod client;
mod output;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::builder::Builder;
use self::client::{BuildxClient, BuildxTarget};
use super::check::{CheckEngine, CheckedDockerfile, FoundBase};
use super::config::{BuildNetwork, EngineConfig, PushRegistry};
use super::folder::EngineFolder;
use super::pushed::PushedImages;
use super::{
    BuildJob, BuiltImage, Capabilities, Engine, EngineFailure, LogSink, too_long, unless_cancelled,
    wait_for_slot,
};
use crate::base::name::BuildId;
use crate::base::reference::{OciDigest, RegistryRef};
use crate::base::safe_text::one_line;
use crate::base::text::exact_duration;
use crate::registry::Registries;
use crate::server::error::ServerError;
use crate::server::registry_client::{credentials, other_registries, reason};

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
    /// The registries of bases that are not the server's.
    others: Registries,
    /// A permit for each further build at the same time.
    free: Semaphore,
    _folder: EngineFolder,
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
        client::check_programs()?;
        let Some(registry) = &config.registry else {
            let help = "add --registry HOST:PORT, with an address that the builder reaches too";
            return Err(client::unusable("it needs a registry", help));
        };
        if config.cache.is_some() {
            let help = "leave out --cache: a builder keeps the layers of its builds itself";
            return Err(client::unusable("it does not share layers by a repository", help));
        }
        let folder = EngineFolder::open(state)?;
        let client = BuildxClient::create(&folder.path, config, registry)?;
        let builder = client.inspect().await?;
        let slots = config.slots.unwrap_or(DEFAULT_SLOTS).max(1);
        Ok(Self {
            capabilities: capabilities(config, registry, &builder),
            config: config.clone(),
            builder,
            client,
            check: CheckEngine::new(None),
            pushed: PushedImages::open(&folder.path, registry)?,
            others: other_registries(credentials(registry.auth.as_deref()))?,
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
        if let Some(image) = earlier {
            return Ok(image);
        }
        self.check_run(job, checked)?;
        let bases = unless_cancelled(cancel, self.bases(job, checked)).await??;
        let target = BuildxTarget { destination: &destination, bases: &bases };
        let digest = self.client.build(job, &target, log, cancel).await?;
        unless_cancelled(cancel, self.check_result(job, &destination, digest)).await??;
        unless_cancelled(cancel, self.pushed.add(&job.id, &destination, digest)).await?
    }

    /// Checks that the builder runs the programs of every stage that runs one.
    fn check_run(&self, job: &BuildJob, checked: &CheckedDockerfile) -> Result<(), EngineFailure> {
        let builder = self.builder.native;
        let runnable = &self.capabilities.architectures;
        let Some(missing) = checked.missing_platform(job.platform, builder, runnable) else {
            return Ok(());
        };
        Err(EngineFailure::Failed(format!(
            "{}: RUN needs a builder that runs {missing} programs, and this one does not: install an \
             emulator on its machine ({EMULATOR_COMMAND}) and restart the server",
            job.dockerfile
        )))
    }

    /// Returns the pinned reference of each base, by its text in the Dockerfile.
    ///
    /// # Errors
    /// Fails if a base cannot be looked up, or is for another platform.
    async fn bases(
        &self,
        job: &BuildJob,
        checked: &CheckedDockerfile,
    ) -> Result<BTreeMap<String, String>, EngineFailure> {
        let mut bases = BTreeMap::new();
        for base in &checked.bases {
            let reference = base.full_reference()?;
            let digest = self.base_digest(job, base, &reference).await.map_err(|reason| {
                let (dockerfile, line) = (&job.dockerfile, base.line);
                let shown = one_line(&base.reference, 300);
                format!("{dockerfile}: line {line}: the base image `{shown}` {reason}")
            })?;
            bases.insert(base.reference.clone(), format!("{}@{digest}", reference.name()));
        }
        Ok(bases)
    }

    async fn base_digest(
        &self,
        job: &BuildJob,
        base: &FoundBase,
        reference: &RegistryRef,
    ) -> Result<OciDigest, String> {
        // BuildKit itself refuses other platforms.
        let wanted = base.platform.on_builder(job.platform, self.builder.native);
        let wanted = wanted.unwrap_or(job.platform);
        let is_own = self.capabilities.registry.as_deref() == Some(reference.registry());
        let registry = if is_own { self.pushed.registry() } else { &self.others };
        let lookup = registry.resolve_all(&[(reference.clone(), None)], &|_| ()).await;
        let Some(lookup) = lookup.into_iter().next() else { return Err("is unknown".to_owned()) };
        let cannot = |error| format!("cannot be looked up: {}", reason(&error));
        let found = lookup.map_err(cannot)?;
        let others = if found.platforms.is_empty() {
            let platform = registry.image_platform(reference, found.digest, &|_| ()).await;
            platform.map_err(cannot)?.filter(|platform| *platform != wanted)
        } else {
            let other = found.platforms.keys().next().copied();
            other.filter(|_| !found.platforms.contains_key(&wanted))
        };
        match others {
            None => Ok(found.digest),
            Some(actual) => Err(format!(
                "is for {actual}, and this build needs it for {wanted}: use a base that has {wanted}"
            )),
        }
    }

    /// Checks that the pushed image is for the requested platform.
    async fn check_result(
        &self,
        job: &BuildJob,
        destination: &RegistryRef,
        digest: OciDigest,
    ) -> Result<(), EngineFailure> {
        let registry = self.pushed.registry();
        let actual = registry.image_platform(destination, digest, &|_| ()).await;
        match actual.map_err(|error| reason(&error))? {
            Some(actual) if actual != job.platform => Err(EngineFailure::Failed(format!(
                "the image is for {actual}, and {} was requested: check `--platform`",
                job.platform
            ))),
            _ => Ok(()),
        }
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

fn capabilities(config: &EngineConfig, registry: &PushRegistry, builder: &Builder) -> Capabilities {
    let name = config.builder.as_deref().unwrap_or("the current one");
    let network = match config.network {
        BuildNetwork::Private => "that of the builder",
        BuildNetwork::None | BuildNetwork::Host => config.network.as_str(),
    };
    let driver = &builder.driver;
    let mut gaps = vec![
        "memory, processes and disk space are limited by the builder alone".to_owned(),
        "ADD of a URL and `# syntax=` download from the network of the builder".to_owned(),
    ];
    if driver == "docker" {
        gaps.push("two builds of the same files have different digests (driver docker)".to_owned());
    }
    Capabilities {
        engine: "buildx",
        registry: Some(registry.address.clone()),
        architectures: builder.platforms.clone(),
        isolation: format!("BuildKit, builder {name} (driver {driver}), network {network}"),
        enforced: vec![format!("time {}", exact_duration(config.build_timeout))],
        gaps,
    }
}
