//! The engines that build images, behind one trait.
//!
//! `check` reads the archive and the Dockerfile, and builds nothing. `buildah` builds on this machine and
//! pushes to a registry. `buildx` gives builds to a builder of docker buildx, which pushes. Engines do not
//! know the server: a job has everything that they need.
//!
//! ```text
//! worker ─► Engine::build(job, log, cancel) ─► check ── archive, Dockerfile, bases
//!                                              buildah ─ check, then slot ─ process ─ cgroup
//!                                              buildx ── check, then process ─ a builder elsewhere
//! ```

#[cfg(target_os = "linux")]
mod buildah;
#[cfg(target_os = "linux")]
mod buildx;
#[cfg(target_os = "linux")]
mod cgroup;
mod check;
pub(super) mod choose;
pub(crate) mod config;
#[cfg(target_os = "linux")]
mod folder;
#[cfg(target_os = "linux")]
mod kernel_file;
#[cfg(target_os = "linux")]
mod own_registry;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod programs;
#[cfg(target_os = "linux")]
mod pushed;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::descriptors::open_patiently;
use crate::base::file::PathError;
use crate::base::name::{BuildId, Platform};
use crate::base::reference::{OciDigest, RegistryRef};
use crate::base::text::exact_duration;

/// Maximum number of lines that a [`LogTail`] keeps.
const MAX_TAIL_LINES: usize = 20;

/// A program that makes an image of an uploaded context.
pub(super) trait Engine: Send + Sync {
    /// Returns the engine's abilities, which do not change while the server runs.
    fn capabilities(&self) -> &Capabilities;

    /// Builds an image and, if the engine pushes, pushes it to the destination of the job. Writes the
    /// output to the log. If `cancel` is cancelled, ends everything that it has started, and fails
    /// with [`EngineFailure::Cancelled`].
    ///
    /// # Errors
    /// Fails with a text for the `errorMessage` of the build.
    fn build(
        &self,
        job: BuildJob,
        log: Arc<dyn LogSink>,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<BuiltImage, EngineFailure>>;

    /// Forgets a build whose result is stored. Until then, another call of [`Engine::build`] for the same
    /// build, after a crash of the server, may return the image that the first one pushed.
    fn forget(&self, _id: &BuildId) {}
}

/// The abilities of an engine on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Name of the engine, as in `--engine`.
    pub engine: &'static str,
    /// Registry that images are pushed to, with its port; `None` if the engine builds nothing.
    pub registry: Option<String>,
    /// Platforms whose programs a `RUN` can start.
    pub architectures: Vec<Platform>,
    /// Isolation of a `RUN` from the machine.
    pub isolation: String,
    /// The limits that are enforced.
    pub enforced: Vec<String>,
    /// Everything that cannot be enforced or built on this machine, with its reason.
    pub gaps: Vec<String>,
}

/// A function that opens an archive.
pub(super) type OpenArchive = Box<dyn Fn() -> Result<File, PathError> + Send + Sync>;

/// A build, as an engine sees it.
pub(super) struct BuildJob {
    /// ID of the build.
    pub(super) id: BuildId,
    /// Opens the uploaded archive, a `tar.gz`. A build that waits for its turn has no open file.
    pub(super) archive: OpenArchive,
    /// Path of the Dockerfile inside the archive.
    pub(super) dockerfile: String,
    pub(super) platform: Platform,
    /// Full reference to push to; `None` if the server has no registry.
    pub(super) destination: Option<String>,
    /// The images of this server.
    pub(super) bases: Arc<dyn BaseImages>,
}

impl BuildJob {
    /// Returns the reference to push to.
    ///
    /// # Errors
    /// Fails if the server has no registry, or if no registry takes the name: a team's ID may have
    /// letters that are not allowed in one.
    fn destination(&self) -> Result<RegistryRef, String> {
        let text = self.destination.as_deref().ok_or("the build has no destination")?;
        text.parse().map_err(|error| format!("no registry takes the image: {error}"))
    }

    /// Opens the archive. Waits while there are no free file descriptors.
    ///
    /// # Errors
    /// Fails with a message for the build.
    pub(super) async fn open_archive(&self) -> Result<File, String> {
        open_patiently(&self.archive).await.map_err(|error| {
            format!("the server cannot read the uploaded context: {}", error.source)
        })
    }
}

/// Returns the message for a build that takes longer than the limit.
fn too_long(limit: Duration) -> String {
    let limit = exact_duration(limit);
    format!("the build took longer than {limit}, the limit of this server")
}

/// Waits for a permit to build, and says so in the log.
///
/// # Errors
/// Fails if the build is cancelled meanwhile.
async fn wait_for_slot<'s>(
    free: &'s Semaphore,
    log: &dyn LogSink,
    cancel: &CancellationToken,
) -> Result<SemaphorePermit<'s>, EngineFailure> {
    if let Ok(permit) = free.try_acquire() {
        return Ok(permit);
    }
    log.line("waiting until another build has ended");
    unless_cancelled(cancel, free.acquire()).await?.map_err(|_| EngineFailure::Cancelled)
}

/// Runs a part of a build.
///
/// # Errors
/// Fails once the build is cancelled.
async fn unless_cancelled<T>(
    cancel: &CancellationToken,
    part: impl Future<Output = T>,
) -> Result<T, EngineFailure> {
    cancel.run_until_cancelled(part).await.ok_or(EngineFailure::Cancelled)
}

/// The images of the server, which a Dockerfile may use.
pub(super) trait BaseImages: Send + Sync {
    /// Finds the image of a reference in a Dockerfile.
    ///
    /// # Errors
    /// Fails with the reason for which the image cannot be used.
    fn find(&self, reference: &str) -> Result<BaseImage, String>;
}

/// The origin of an image that a Dockerfile uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BaseImage {
    /// An image of another registry. A reference without a registry means Docker Hub.
    External,
    /// An image of this server: its full reference in the registry, or the one of the Dockerfile if
    /// the server has no registry.
    Own(String),
}

/// An image that was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct BuiltImage {
    /// Digest of its manifest in the registry; `None` if nothing was pushed.
    pub(super) digest: Option<OciDigest>,
    /// Size in the registry, its configuration and layers together, in bytes; `None` if nothing was
    /// pushed.
    pub(super) size: Option<u64>,
}

/// The reason for which there is no image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EngineFailure {
    /// The build was cancelled, or the server stops.
    Cancelled,
    /// The build failed, in the words of a build log. May have several lines.
    Failed(String),
}

impl From<String> for EngineFailure {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

/// The log of a build.
pub(super) trait LogSink: Send + Sync {
    /// Adds a line, without its newline. The text is untrusted and bounded in length.
    fn line(&self, text: &str);
}

/// A log that keeps the last lines in memory.
#[derive(Default)]
pub(super) struct LogTail(Mutex<VecDeque<String>>);

impl LogTail {
    /// Returns the lines, the oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.locked().iter().cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogSink for LogTail {
    fn line(&self, text: &str) {
        let mut lines = self.locked();
        if lines.len() == MAX_TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(text.to_owned());
    }
}

/// The log of a step: that of the build, with the last lines for a message.
struct TailedLog<'b> {
    log: &'b dyn LogSink,
    tail: LogTail,
}

impl<'b> TailedLog<'b> {
    fn new(log: &'b dyn LogSink) -> Self {
        Self { log, tail: LogTail::default() }
    }
}

impl LogSink for TailedLog<'_> {
    fn line(&self, text: &str) {
        self.log.line(text);
        self.tail.line(text);
    }
}

impl fmt::Debug for BuildJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildJob").field("id", &self.id).finish_non_exhaustive()
    }
}
