//! The engine that checks a build for the errors that a real one would have, and builds nothing.
//!
//! The archive must unpack; it must contain the Dockerfile, which must parse; the copied files must
//! exist; and base images of this server must exist.

mod archive;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::{
    BaseImage, BaseImages, BuildJob, BuiltImage, Capabilities, Engine, EngineFailure, LogSink,
};
use crate::base::name::{NameError, Platform};
use crate::base::reference::RegistryRef;
use crate::base::size::bytes;
use crate::base::text::plural;
use crate::dockerfile::reached::ReadBy;
use crate::dockerfile::{Dockerfile, ReachRequest, ReferencePlatform};

/// A line of the Dockerfile, and an error in it.
type AtLine = (usize, String);

/// The engine that only checks builds.
pub(in crate::server) struct CheckEngine {
    capabilities: Capabilities,
    /// Permits to read an archive, which keeps a core busy.
    cores: Semaphore,
}

/// A Dockerfile without errors that a check can find.
#[derive(Debug)]
pub(super) struct CheckedDockerfile {
    /// The checked file.
    pub(super) dockerfile: Dockerfile,
    /// The indexes of the stages that the build needs.
    pub(super) stages: BTreeSet<usize>,
    /// The images that the build uses, in order.
    pub(super) bases: Vec<FoundBase>,
    /// The platforms of the stages that run a command.
    pub(super) run_platforms: Vec<ReferencePlatform>,
    /// The lines with an `ADD` that downloads, or that may, because its source is a variable.
    pub(super) downloads: Vec<usize>,
}

impl CheckedDockerfile {
    /// Returns the first platform of a stage that runs a command, of which the builder runs no programs.
    /// `unit` is the platform of the build, `builder` that of the builder.
    pub(super) fn missing_platform(
        &self,
        unit: Platform,
        builder: Platform,
        runnable: &[Platform],
    ) -> Option<Platform> {
        let platforms = self.run_platforms.iter();
        let mut platforms = platforms.filter_map(|platform| platform.on_builder(unit, builder));
        platforms.find(|platform| !runnable.contains(platform))
    }
}

/// An image that a Dockerfile uses.
#[derive(Debug)]
pub(super) struct FoundBase {
    /// The reference, with variables expanded.
    pub(super) reference: String,
    pub(super) line: usize,
    /// The platform for which the Dockerfile uses it.
    pub(super) platform: ReferencePlatform,
    pub(super) image: BaseImage,
}

impl FoundBase {
    /// Returns the reference with its registry.
    ///
    /// # Errors
    /// Fails if it is not a reference.
    pub(super) fn full_reference(&self) -> Result<RegistryRef, EngineFailure> {
        let text = match &self.image {
            BaseImage::Own(reference) => reference,
            BaseImage::External => &self.reference,
        };
        text.parse().map_err(|error: NameError| {
            let Self { line, .. } = self;
            EngineFailure::Failed(format!("line {line}: {}: {}", error.message, error.help))
        })
    }
}

impl CheckEngine {
    /// Creates the engine. `gap` is the reason for which no other engine is used.
    pub(in crate::server) fn new(gap: Option<String>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let gaps = gap.into_iter().collect();
        let capabilities = Capabilities { engine: "check", gaps, ..Capabilities::default() };
        Self { capabilities, cores: Semaphore::new(cores) }
    }

    /// Checks a build once a core is free.
    ///
    /// # Errors
    /// Fails with the errors of the build, in the words of a build log.
    pub(super) async fn check(
        &self,
        job: &BuildJob,
        log: &dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<CheckedDockerfile, EngineFailure> {
        let _core = self.core(cancel).await?;
        read(job, log, cancel).await
    }

    /// Waits for a free core.
    async fn core(&self, cancel: &CancellationToken) -> Result<SemaphorePermit<'_>, EngineFailure> {
        let core = cancel.run_until_cancelled(self.cores.acquire()).await;
        core.and_then(Result::ok).ok_or(EngineFailure::Cancelled)
    }
}

/// Reads the archive of a build, and checks its Dockerfile.
///
/// # Errors
/// Fails with the errors of the build, in the words of a build log.
async fn read(
    job: &BuildJob,
    log: &dyn LogSink,
    cancel: &CancellationToken,
) -> Result<CheckedDockerfile, EngineFailure> {
    let file = job.open_archive().await?;
    let (platform, path, stop) = (job.platform, job.dockerfile.clone(), cancel.clone());
    let bases = Arc::clone(&job.bases);
    let read = tokio::task::spawn_blocking(move || {
        let (contents, text) = archive::read(&file, &path, &stop)?;
        let checked = check_dockerfile(&text, platform, &contents, &*bases)
            .map_err(|problems| report(&path, problems));
        Ok::<_, String>((contents.files, contents.bytes, checked))
    });
    let read = read.await.map_err(|_| "the server could not read the context".to_owned())?;
    let (files, size, checked) = read?;
    log.line(&format!("context: {}, {}", plural(files, "file"), bytes(size)));
    if let Ok(checked) = &checked {
        log.line(&format!("{}: {}", job.dockerfile, plural(checked.bases.len(), "base image")));
        for base in &checked.bases {
            log.line(&format!("  line {}: {}", base.line, base.reference));
        }
    }
    if cancel.is_cancelled() {
        return Err(EngineFailure::Cancelled);
    }
    Ok(checked?)
}

impl Engine for CheckEngine {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn build(
        &self,
        job: BuildJob,
        log: Arc<dyn LogSink>,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<BuiltImage, EngineFailure>> {
        Box::pin(async move {
            let _core = self.core(&cancel).await?;
            log.line("Nothing is built: this server checks what a build needs.");
            read(&job, &*log, &cancel).await?;
            Ok(BuiltImage::default())
        })
    }
}

/// Checks a Dockerfile, and fails with its errors.
fn check_dockerfile(
    text: &str,
    platform: Platform,
    contents: &archive::Contents,
    images: &dyn BaseImages,
) -> Result<CheckedDockerfile, Vec<AtLine>> {
    let line = |at: usize| 1 + text.get(..at).unwrap_or(text).matches('\n').count();
    let dockerfile = Dockerfile::parse(text).map_err(|errors| {
        let errors = errors.into_iter().map(|error| (line(error.span.start), error.to_string()));
        errors.collect::<Vec<_>>()
    })?;
    let reach = dockerfile.reach(&ReachRequest::new(platform));
    let reach = reach.map_err(|error| vec![(1, error.to_string())])?;
    let run_platforms = dockerfile.run_platforms(&reach, platform);
    let mut bases = Vec::new();
    let errors = reach.errors.into_iter();
    let mut problems: Vec<AtLine> =
        errors.map(|error| (line(error.span.start), error.to_string())).collect();
    for reference in reach.references {
        let line = line(reference.span.start);
        let found = reference.image.map_err(|unresolved| unresolved.to_string());
        let found = found.and_then(|image| Ok((images.find(&image)?, image)));
        match found {
            Ok((image, text)) => {
                let platform = reference.platform;
                bases.push(FoundBase { reference: text, line, platform, image });
            }
            Err(problem) => problems.push((line, problem)),
        }
    }
    let mut downloads: Vec<usize> = reach.downloads.iter().map(|span| line(span.start)).collect();
    for source in reach.paths {
        if source.read_by == ReadBy::Add && !source.resolved && source.path.contains('$') {
            downloads.extend(source.span.as_ref().map(|span| line(span.start)));
        }
        let is_known = source.certain && source.resolved;
        let (true, Some(span)) = (is_known, source.span) else { continue };
        if source.read_by != ReadBy::Mount && !contents.has(&source.path) {
            let line = line(span.start);
            problems.push((line, format!("`{}` is not in the build context", source.path)));
        }
    }
    if problems.is_empty() {
        Ok(CheckedDockerfile { dockerfile, stages: reach.stages, bases, run_platforms, downloads })
    } else {
        Err(problems)
    }
}

/// Returns the errors as one text, in the order of the Dockerfile's lines.
fn report(dockerfile: &str, mut problems: Vec<AtLine>) -> String {
    problems.sort_by_key(|(line, _)| *line);
    let lines = problems.iter().map(|(line, problem)| format!("line {line}: {problem}"));
    format!("{dockerfile}: {}", lines.collect::<Vec<_>>().join("; "))
}
