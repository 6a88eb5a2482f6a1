//! Finds out what Buildah can do on this machine, with a small build.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use super::description::ImageFormat;
use super::failure;
use super::launch::Launcher;
use super::probe_program::program;
use super::slot::Slot;
use super::steps::{BuildSteps, EMULATOR_COMMAND, native_platform};
use super::sweep::sweep;
use crate::base::file::{AtPath, replace_private};
use crate::base::name::{BuildId, Platform};
use crate::base::safe_text::one_line;
use crate::base::size;
use crate::base::text::{exact_duration, plural};
use crate::server::engine::cgroup::Cgroups;
use crate::server::engine::config::EngineConfig;
use crate::server::engine::programs::is_installed;
use crate::server::engine::{BaseImage, BaseImages, BuildJob, Capabilities, LogTail};
use crate::server::error::ServerError;

/// The programs that the engine runs.
const PROGRAMS: [&str; 4] = ["buildah", "runc", "unshare", "setpriv"];

/// The Dockerfile of a small build.
const DOCKERFILE: &str = "FROM scratch\nCOPY probe /probe\nRUN [\"/probe\"]\n";

/// Maximum time of a small build.
const MAX_PROBE: Duration = Duration::from_secs(120);

/// The result of a probe.
pub(super) struct Probed {
    pub(super) capabilities: Capabilities,
    /// `None` where cgroups cannot be used.
    pub(super) cgroups: Option<Cgroups>,
}

/// The result of a small build.
#[derive(Debug, PartialEq, Eq)]
enum ProbeBuild {
    /// Everything works.
    Runs,
    /// Files can be copied, and no command can be run, for this reason.
    CopiesOnly(String),
    /// Nothing works, for this reason.
    Fails(String),
}

/// Checks that all programs are installed.
///
/// # Errors
/// Fails with the command that installs them.
pub(in crate::server::engine) fn check_programs() -> Result<(), ServerError> {
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let help = "install the programs, on Debian with `apt install buildah runc util-linux`";
    let message = format!("{} is not in PATH", missing.join(", "));
    Err(ServerError::Engine { engine: "buildah", message, help: help.to_owned() })
}

/// Probes the machine with builds in the first slot, and sets the storage driver that works.
///
/// # Errors
/// Fails if no build works.
pub(super) async fn probe(
    launcher: &mut Launcher,
    config: &EngineConfig,
    registry: &str,
    slots: &mut [Slot],
) -> Result<Probed, ServerError> {
    let mut gaps = Vec::new();
    let mut cgroups = Cgroups::probe(config.memory, config.max_processes)
        .map_err(|reason| gaps.push(format!("memory and processes are not limited: {reason}")))
        .ok();
    let Some(slot) = slots.first_mut() else { return Err(unusable("there is no slot")) };
    let native = native_platform();
    let build = async |launcher: &Launcher, cgroups: Option<&Cgroups>, platform| {
        probe_build(&Probe { launcher, config, slot: &*slot, cgroups }, platform).await
    };
    let mut result = build(launcher, cgroups.as_ref(), native).await?;
    if let (ProbeBuild::CopiesOnly(reason), true) = (&result, cgroups.is_some()) {
        let without = build(launcher, None, native).await?;
        if without == ProbeBuild::Runs {
            gaps.push(format!("memory and processes are not limited: {reason}"));
            (result, cgroups) = (without, None);
        }
    }
    if let ProbeBuild::Fails(reason) = &result {
        gaps.push(format!("storage is slow (vfs, because overlay does not work: {reason})"));
        launcher.driver = "vfs";
        result = build(launcher, cgroups.as_ref(), native).await?;
    }
    let mut architectures = Vec::new();
    match result {
        ProbeBuild::Fails(message) => return Err(unusable(&message)),
        ProbeBuild::CopiesOnly(reason) => gaps.push(format!("RUN does not work: {reason}")),
        ProbeBuild::Runs => {
            for platform in Platform::ALL {
                let runs = platform == native
                    || build(launcher, cgroups.as_ref(), platform).await? == ProbeBuild::Runs;
                if runs {
                    architectures.push(platform);
                } else {
                    gaps.push(format!(
                        "RUN for {platform} needs an emulator ({EMULATOR_COMMAND}); COPY works \
                         without"
                    ));
                }
            }
        }
    }
    sweep(slot, launcher).await;
    let enforced = enforced(config, cgroups.as_ref(), slots.len());
    let registry = Some(registry.to_owned());
    let isolation = if launcher.rootless { "runc in a user namespace (rootless)" } else { "runc" };
    let isolation = format!("{isolation}, network {}", config.network.as_str());
    let capabilities =
        Capabilities { engine: "buildah", registry, architectures, isolation, enforced, gaps };
    Ok(Probed { capabilities, cgroups })
}

fn unusable(message: &str) -> ServerError {
    let help = "try `buildah bud` with a Dockerfile of one line, `FROM scratch`".to_owned();
    ServerError::Engine { engine: "buildah", message: message.to_owned(), help }
}

/// Returns the limits that are enforced, in words.
fn enforced(config: &EngineConfig, cgroups: Option<&Cgroups>, slots: usize) -> Vec<String> {
    let mut limits = Vec::new();
    if cgroups.is_some() {
        limits.push(format!("memory {}", size::bytes(config.memory)));
        limits.push(format!("{} processes", config.max_processes));
    }
    limits.push(format!("time {}", exact_duration(config.build_timeout)));
    let (share, all) = (size::bytes(config.slot_bytes(slots)), size::bytes(config.disk));
    let slots = plural(slots, "slot");
    limits.push(format!("disk {share} ({all} for {slots}), measured each second"));
    limits
}

/// The parts that a small build needs.
struct Probe<'p> {
    launcher: &'p Launcher,
    config: &'p EngineConfig,
    slot: &'p Slot,
    cgroups: Option<&'p Cgroups>,
}

/// Builds an image of one program, and runs the program.
async fn probe_build(probe: &Probe<'_>, platform: Platform) -> Result<ProbeBuild, ServerError> {
    let &Probe { launcher, config, slot, cgroups } = probe;
    let cannot_write = |error: io::Error| unusable(&format!("cannot write a context: {error}"));
    let archive = archive(platform).map_err(cannot_write)?;
    let job = BuildJob {
        id: BuildId::of_number(0),
        archive: Box::new(move || archive.reopen().at("open", archive.path())),
        dockerfile: "Dockerfile".to_owned(),
        platform,
        destination: None,
        bases: Arc::new(NoImages),
    };
    replace_private(&slot.dockerfile(), DOCKERFILE.as_bytes())?;
    let cgroup = cgroups.and_then(|cgroups| cgroups.create(&slot.name).ok());
    let log = LogTail::default();
    let steps = BuildSteps {
        launcher,
        slot,
        config,
        job: &job,
        log: &log,
        cancel: CancellationToken::new(),
        cgroup: cgroup.as_ref(),
    };
    let result = tokio::time::timeout(MAX_PROBE, steps.build(&[], ImageFormat::Oci)).await;
    if let Some(cgroup) = cgroup {
        cgroup.remove().await;
    }
    Ok(match result {
        Ok(Ok(())) => ProbeBuild::Runs,
        Ok(Err(_)) => failed(&log.lines()),
        Err(_) => ProbeBuild::Fails(format!("a small build takes over {MAX_PROBE:?}")),
    })
}

/// Returns what the output of a failed small build means.
fn failed(lines: &[String]) -> ProbeBuild {
    let reason = failure::last_error(lines);
    if lines.iter().any(|line| line.starts_with("STEP 3/3: ")) {
        // The runtime's own message is more exact than Buildah's.
        let own = lines.iter().rev().find(|line| line.contains("runc"));
        return ProbeBuild::CopiesOnly(own.map_or(reason, |line| one_line(line, 300)));
    }
    ProbeBuild::Fails(reason)
}

/// Returns the context of a small build. It differs each time, so that no result comes from a cache.
fn archive(platform: Platform) -> io::Result<NamedTempFile> {
    let mut program = program(platform);
    let mut unique = [0; 16];
    getrandom::fill(&mut unique).map_err(|error| io::Error::other(error.to_string()))?;
    program.extend_from_slice(&unique);
    let mut tar = tar::Builder::new(GzEncoder::new(NamedTempFile::new()?, Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "probe", &*program)?;
    tar.into_inner()?.finish()
}

/// No images: the small build uses none.
struct NoImages;

impl BaseImages for NoImages {
    fn find(&self, _reference: &str) -> Result<BaseImage, String> {
        Ok(BaseImage::External)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_says_what_works() {
        let failed = |text: &str| failed(&text.lines().map(str::to_owned).collect::<Vec<_>>());
        let copies = "STEP 3/3: RUN [\"/probe\"]\nrunc create failed: cgroup\nError: x\n";
        let reason = "runc create failed: cgroup".to_owned();
        assert_eq!(failed(copies), ProbeBuild::CopiesOnly(reason));
        let fails = "Error: overlay is not supported\n";
        assert_eq!(failed(fails), ProbeBuild::Fails("overlay is not supported".to_owned()));
    }
}
