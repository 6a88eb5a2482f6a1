//! The steps of one build: pull the bases, build, check the result, push.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::description::{DESCRIPTION, ImageDescription, ImageFormat};
use super::failure;
use super::launch::Launcher;
use super::plain_file::{NO_DOWNLOADS, needs_docker_format, plain_file};
use super::slot::Slot;
use super::triggers;
use crate::base::file::replace_private;
use crate::base::name::Platform;
use crate::base::reference::{OciDigest, RegistryRef};
use crate::base::safe_text::one_line;
use crate::base::size;
use crate::server::engine::cgroup::BuildCgroup;
use crate::server::engine::check::{CheckedDockerfile, FoundBase};
use crate::server::engine::config::{BuildNetwork, EngineConfig};
use crate::server::engine::{BuildJob, EngineFailure, LogSink, TailedLog, process};
use tokio_util::sync::CancellationToken;

/// Name of the result in the slot's store. Not the destination, so that no build uses an image that was
/// not pushed.
const RESULT: &str = "localhost/imgplan-result:latest";

/// Command that installs the emulators of foreign platforms.
pub(super) const EMULATOR_COMMAND: &str = "apt install qemu-user-static";

/// One build in a slot.
pub(super) struct BuildSteps<'b> {
    pub(super) launcher: &'b Launcher,
    pub(super) slot: &'b Slot,
    pub(super) config: &'b EngineConfig,
    pub(super) job: &'b BuildJob,
    pub(super) log: &'b dyn LogSink,
    pub(super) cancel: CancellationToken,
    pub(super) cgroup: Option<&'b BuildCgroup>,
}

impl BuildSteps<'_> {
    /// Pulls the bases, so that the build uses their present content, and checks their platforms: of a
    /// base for another platform, Buildah would build an image that claims to be for the requested one.
    /// Returns the format that keeps everything that the image inherits.
    ///
    /// # Errors
    /// Fails if a base cannot be pulled, or is for another platform.
    pub(super) async fn pull_bases(
        &self,
        bases: &[FoundBase],
    ) -> Result<ImageFormat, EngineFailure> {
        let (mut pulled, mut format) = (BTreeSet::new(), ImageFormat::Oci);
        for base in bases {
            let reference = full_reference(base)?;
            // Buildah itself refuses other platforms.
            let wanted = base
                .platform
                .on_builder(self.job.platform, native_platform())
                .unwrap_or(self.job.platform);
            if pulled.insert((reference.clone(), wanted)) {
                format = format.max(self.pull(base, &reference, wanted).await?);
            }
        }
        Ok(format)
    }

    async fn pull(
        &self,
        base: &FoundBase,
        reference: &str,
        wanted: Platform,
    ) -> Result<ImageFormat, EngineFailure> {
        let at = format!("{}: line {}", self.job.dockerfile, base.line);
        let shown = one_line(&base.reference, 300);
        let mut command = self.buildah();
        command.args(["pull", "--policy", "always", "--platform", wanted.as_str()]);
        command.arg("--authfile").arg(self.slot.authfile()).arg(reference);
        let log = self.step_log();
        let status = process::run(command, None, &log, &self.cancel).await?;
        if !status.success() {
            let cause = failure::last_error(&log.tail.lines());
            return failed(format!("{at}: the base image `{shown}` cannot be pulled: {cause}"));
        }
        let ImageDescription { platform: actual, format, triggers } =
            self.inspect(reference).await?;
        if actual.service_platform() == Some(wanted) {
            if let Some((keyword, reason)) = triggers::refused(&triggers, self.config.network) {
                let of = format!("has a trigger `ONBUILD {}`", one_line(&keyword, 40));
                let of = format!("{of} that reaches out of the build");
                return failed(format!("{at}: the base image `{shown}` {of}: {reason}"));
            }
            return Ok(format);
        }
        failed(format!(
            "{at}: the base image `{shown}` is for {actual}, and this build needs it for {wanted}: \
             use a base that has {wanted}"
        ))
    }

    /// Checks that this machine runs the programs of every stage that runs one.
    ///
    /// # Errors
    /// Fails with the command that installs what is missing.
    pub(super) fn check_run(
        &self,
        checked: &CheckedDockerfile,
        runnable: &[Platform],
    ) -> Result<(), EngineFailure> {
        let (unit, builder) = (self.job.platform, native_platform());
        let Some(missing) = checked.missing_platform(unit, builder, runnable) else {
            return Ok(());
        };
        let dockerfile = &self.job.dockerfile;
        failed(if missing == native_platform() {
            format!("{dockerfile}: RUN does not work on this server; its start-up message says why")
        } else {
            format!(
                "{dockerfile}: RUN needs a machine that runs {missing} programs, and this one does \
                 not: install an emulator on the server ({EMULATOR_COMMAND}) and restart it"
            )
        })
    }

    /// Checks that no `ADD` downloads: Buildah would do so from the network of this machine, where it
    /// reaches services that a command of the build does not.
    ///
    /// # Errors
    /// Fails if one does, unless commands have the network of the machine too.
    pub(super) fn check_downloads(&self, checked: &CheckedDockerfile) -> Result<(), EngineFailure> {
        match checked.downloads.first() {
            Some(line) if self.config.network != BuildNetwork::Host => {
                failed(format!("{}: line {line}: {NO_DOWNLOADS}", self.job.dockerfile))
            }
            _ => Ok(()),
        }
    }

    /// Writes the Dockerfile that Buildah executes: the checked one, without what leads out of a build.
    /// Returns the format that keeps everything that it sets.
    ///
    /// # Errors
    /// Fails with the line of an instruction that is refused, or if the file cannot be written.
    pub(super) fn write_dockerfile(
        &self,
        checked: &CheckedDockerfile,
    ) -> Result<ImageFormat, EngineFailure> {
        let plain = plain_file(&checked.dockerfile, &checked.stages, self.config.network);
        let plain = plain.map_err(|(line, reason)| {
            EngineFailure::Failed(format!("{}: line {line}: {reason}", self.job.dockerfile))
        })?;
        let written = replace_private(&self.slot.dockerfile(), plain.as_bytes());
        written.map_err(|error| format!("the server cannot write the Dockerfile: {error}"))?;
        let needs_docker = needs_docker_format(&plain);
        Ok(if needs_docker { ImageFormat::Docker } else { ImageFormat::Oci })
    }

    /// Builds the image.
    ///
    /// # Errors
    /// Fails with the failed instruction and the last lines of its output.
    pub(super) async fn build(
        &self,
        bases: &[FoundBase],
        format: ImageFormat,
    ) -> Result<(), EngineFailure> {
        let (job, config) = (self.job, self.config);
        let mut command = self.buildah();
        command.args(["bud", "--isolation", self.launcher.isolation(), "--runtime", "runc"]);
        command.args(["--network", config.network.as_str()]);
        if let Some(cgroup) = self.cgroup {
            command.arg("--cgroup-parent").arg(cgroup.run_path());
        }
        command.args(["--force-rm", "--layers", "--timestamp", "0", "--pull=missing"]);
        command.args(["--format", format.as_str(), "--platform", job.platform.as_str()]);
        command.arg("--authfile").arg(self.slot.authfile());
        if let Some(cache) = &config.cache {
            // Layers are found by the instruction and its inputs, whatever the platform.
            let repository = format!("{cache}/{}", job.platform.arch());
            command.args(["--cache-from", &repository, "--cache-to", &repository]);
        }
        for base in bases {
            // Every name is replaced, so that none is taken for a path of this machine, as `oci:x` is.
            let context = format!("{}=docker-image://{}", base.reference, full_reference(base)?);
            command.arg("--build-context").arg(context);
        }
        command.args(["-t", RESULT, "-f"]).arg(self.slot.dockerfile()).arg("-");
        let log = self.step_log();
        let archive = job.open_archive().await?;
        let status = process::run(command, Some(archive), &log, &self.cancel).await?;
        if status.success() {
            return Ok(());
        }
        let lines = log.tail.lines();
        let mut message = failure::message(&job.dockerfile, &lines);
        if let Some(reason) = self.limit_reason(status, &lines) {
            message = format!("{reason}\n{message}");
        }
        failed(message)
    }

    /// Returns the limit that made a build fail.
    fn limit_reason(&self, status: ExitStatus, lines: &[String]) -> Option<String> {
        let says = |text: &str| lines.iter().any(|line| line.to_lowercase().contains(text));
        if says("exec format error") {
            return Some(format!(
                "a program of another platform was run: install an emulator on the server \
                 ({EMULATOR_COMMAND})"
            ));
        }
        let cgroup = self.cgroup?;
        let is_killed = status.signal() == Some(9) || says("killed") || says("status 137");
        if is_killed && cgroup.has_reached_memory() {
            let limit = size::bytes(self.config.memory);
            return Some(format!("the build reached its memory limit of {limit}"));
        }
        let limit = self.config.max_processes;
        let reason = format!("the build reached its limit of {limit} processes");
        cgroup.has_reached_processes().then_some(reason)
    }

    /// Checks that the result is for the requested platform.
    ///
    /// # Errors
    /// Fails if it is not.
    pub(super) async fn check_result(&self) -> Result<(), EngineFailure> {
        let (actual, wanted) = (self.inspect(RESULT).await?.platform, self.job.platform);
        if actual.service_platform() == Some(wanted) {
            return Ok(());
        }
        failed(format!("the image is for {actual}, and {wanted} was requested: check `--platform`"))
    }

    /// Pushes the result, and returns its digest.
    ///
    /// # Errors
    /// Fails if the registry does not take it.
    pub(super) async fn push(&self, destination: &RegistryRef) -> Result<OciDigest, EngineFailure> {
        let mut command = self.buildah();
        command.args(["push", "--digestfile", "/dev/stdout"]);
        command.arg("--authfile").arg(self.slot.authfile());
        command.arg(RESULT).arg(format!("docker://{destination}"));
        let log = self.step_log();
        let (status, output) = process::capture(command, &log, &self.cancel).await?;
        let digest = String::from_utf8_lossy(&output).trim().parse();
        match digest {
            Ok(digest) if status.success() => Ok(digest),
            _ => {
                let cause = failure::last_error(&log.tail.lines());
                failed(format!("the image cannot be pushed to `{destination}`: {cause}"))
            }
        }
    }

    /// Describes an image of the slot's store.
    async fn inspect(&self, image: &str) -> Result<ImageDescription, EngineFailure> {
        let mut command = self.buildah();
        command.args(["inspect", "--type", "image", "--format", DESCRIPTION, image]);
        let log = self.step_log();
        let (status, output) = process::capture(command, &log, &self.cancel).await?;
        match ImageDescription::parse(&String::from_utf8_lossy(&output)) {
            Some(image) if status.success() => Ok(image),
            _ => {
                let cause = failure::last_error(&log.tail.lines());
                failed(format!("the platform of `{image}` cannot be read: {cause}"))
            }
        }
    }

    fn buildah(&self) -> tokio::process::Command {
        self.launcher.buildah(self.slot, self.job.platform, self.cgroup)
    }

    fn step_log(&self) -> TailedLog<'_> {
        TailedLog::new(self.log)
    }
}

/// Returns the reference of a base with its registry.
///
/// # Errors
/// Fails if it is not a reference. Buildah also reads other names, such as paths of this machine.
fn full_reference(base: &FoundBase) -> Result<String, EngineFailure> {
    let reference = base.full_reference()?;
    // Buildah does not take a tag and a digest together.
    Ok(match reference.digest() {
        Some(digest) => format!("{}@{digest}", reference.name()),
        None => reference.to_string(),
    })
}

fn failed<T>(message: String) -> Result<T, EngineFailure> {
    Err(EngineFailure::Failed(message))
}

/// Returns the platform of this machine.
pub(super) fn native_platform() -> Platform {
    if cfg!(target_arch = "aarch64") { Platform::Arm64 } else { Platform::Amd64 }
}
