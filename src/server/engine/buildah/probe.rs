//! Finds out what Buildah can do on this machine, with a small build.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio_util::sync::CancellationToken;

use super::failure;
use super::launch::{Launcher, is_installed};
use super::slot::Slot;
use super::steps::{BuildSteps, EMULATOR_COMMAND, native_platform};
use super::sweep::sweep;
use crate::base::name::{BuildId, Platform};
use crate::base::size;
use crate::base::text::exact_duration;
use crate::server::engine::cgroup::Cgroups;
use crate::server::engine::config::{EngineConfig, PushRegistry};
use crate::server::engine::kernel_file;
use crate::server::engine::{BaseImage, BaseImages, BuildJob, Capabilities, LogTail};
use crate::server::error::ServerError;

/// The programs that the engine runs.
const PROGRAMS: [&str; 5] = ["buildah", "runc", "skopeo", "unshare", "setpriv"];

/// A program that does not exist. An OCI runtime that says so has made the container.
const MISSING_PROGRAM: &str = "/imgplan-probe";

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
pub(super) fn check_programs() -> Result<(), ServerError> {
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let help = "install the programs, on Debian with `apt install buildah runc skopeo util-linux`";
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
    registry: &PushRegistry,
    slots: &mut [Slot],
) -> Result<Probed, ServerError> {
    let mut gaps = Vec::new();
    let mut cgroups = Cgroups::probe(config.memory, config.max_processes)
        .map_err(|reason| gaps.push(format!("memory and processes are not limited: {reason}")))
        .ok();
    let mut result = ProbeBuild::Fails("there is no slot".to_owned());
    let slot = slots.first_mut();
    if let Some(slot) = slot {
        result = probe_build(launcher, config, registry, slot, cgroups.as_ref()).await?;
        if let (ProbeBuild::CopiesOnly(reason), true) = (&result, cgroups.is_some()) {
            let without = probe_build(launcher, config, registry, slot, None).await?;
            if without == ProbeBuild::Runs {
                gaps.push(format!("memory and processes are not limited: {reason}"));
                (result, cgroups) = (without, None);
            }
        }
        if let ProbeBuild::Fails(reason) = &result {
            gaps.push(format!("storage is slow (vfs, because overlay does not work: {reason})"));
            launcher.driver = "vfs";
            result = probe_build(launcher, config, registry, slot, cgroups.as_ref()).await?;
        }
        sweep(slot, launcher).await;
    }
    if let ProbeBuild::Fails(message) = result {
        let help = "try `buildah bud` with a Dockerfile of one line, `FROM scratch`".to_owned();
        return Err(ServerError::Engine { engine: "buildah", message, help });
    }
    let architectures = architectures(&result, &mut gaps);
    let enforced = enforced(config, cgroups.as_ref());
    let registry = Some(registry.address.clone());
    let isolation = if launcher.rootless { "runc in a user namespace (rootless)" } else { "runc" };
    let isolation = format!("{isolation}, network {}", config.network.as_str());
    let capabilities =
        Capabilities { engine: "buildah", registry, architectures, isolation, enforced, gaps };
    Ok(Probed { capabilities, cgroups })
}

/// Returns the platforms whose programs run, and adds the others to the gaps.
fn architectures(result: &ProbeBuild, gaps: &mut Vec<String>) -> Vec<Platform> {
    let mut runnable = Vec::new();
    if let ProbeBuild::CopiesOnly(reason) = result {
        gaps.push(format!("RUN does not work: {reason}"));
        return runnable;
    }
    for platform in Platform::ALL {
        if platform == native_platform() || has_emulator(platform) {
            runnable.push(platform);
        } else {
            gaps.push(format!(
                "RUN for {platform} needs an emulator ({EMULATOR_COMMAND}); COPY works without"
            ));
        }
    }
    runnable
}

/// True if the kernel starts an emulator for programs of a platform. It must have been opened when it was
/// registered (flag `F`), because no container has it.
fn has_emulator(platform: Platform) -> bool {
    let arch = match platform {
        Platform::Amd64 => "x86_64",
        Platform::Arm64 => "aarch64",
    };
    let file = Path::new("/proc/sys/fs/binfmt_misc").join(format!("qemu-{arch}"));
    kernel_file::read(&file).is_some_and(|text| is_usable_emulator(&text))
}

/// Reads an entry of `binfmt_misc`.
fn is_usable_emulator(entry: &str) -> bool {
    let has_fixed_binary =
        entry.lines().any(|line| line.strip_prefix("flags: ").is_some_and(|f| f.contains('F')));
    entry.starts_with("enabled") && has_fixed_binary
}

/// Returns the limits that are enforced, in words.
fn enforced(config: &EngineConfig, cgroups: Option<&Cgroups>) -> Vec<String> {
    let mut limits = Vec::new();
    if cgroups.is_some() {
        limits.push(format!("memory {}", size::bytes(config.memory)));
        limits.push(format!("{} processes", config.max_processes));
    }
    limits.push(format!("time {}", exact_duration(config.build_timeout)));
    limits.push(format!("disk {} for all builds, measured each second", size::bytes(config.disk)));
    limits
}

/// Builds an image with a command that does not exist.
async fn probe_build(
    launcher: &Launcher,
    config: &EngineConfig,
    registry: &PushRegistry,
    slot: &Slot,
    cgroups: Option<&Cgroups>,
) -> Result<ProbeBuild, ServerError> {
    let unusable = |message: String| {
        let help = "check that the disk has free space".to_owned();
        ServerError::Engine { engine: "buildah", message, help }
    };
    let cannot_write = |error: io::Error| unusable(format!("cannot write a context: {error}"));
    let job = BuildJob {
        id: BuildId::of_number(0),
        archive: archive().map_err(cannot_write)?,
        dockerfile: "Dockerfile".to_owned(),
        platform: native_platform(),
        destination: None,
        bases: Arc::new(NoImages),
    };
    let cgroup = cgroups.and_then(|cgroups| cgroups.create(&slot.name).ok());
    let (log, cancel) = (LogTail::default(), CancellationToken::new());
    let steps = BuildSteps {
        launcher,
        slot,
        config,
        registry,
        job: &job,
        log: &log,
        cancel: &cancel,
        cgroup: cgroup.as_ref(),
    };
    // It fails, because the command does not exist; the log says how far it came.
    let _ = steps.build(&[]).await;
    if let Some(cgroup) = cgroup {
        cgroup.remove().await;
    }
    Ok(outcome(&log.lines()))
}

/// Returns what the output of the small build means.
fn outcome(lines: &[String]) -> ProbeBuild {
    let missing = format!("{MISSING_PROGRAM}: no such file or directory");
    if lines.iter().any(|line| line.contains(&missing)) {
        return ProbeBuild::Runs;
    }
    let reason = failure::last_error(lines);
    if lines.iter().any(|line| line.starts_with("STEP 3/3: ")) {
        // The runtime's own message is more exact than Buildah's.
        let own = lines.iter().rev().find(|line| line.contains("runc"));
        let own = own.map(|line| crate::base::safe_text::one_line(line, 300));
        return ProbeBuild::CopiesOnly(own.unwrap_or(reason));
    }
    ProbeBuild::Fails(reason)
}

/// Returns a context for the small build.
fn archive() -> io::Result<File> {
    let text = format!("FROM scratch\nCOPY Dockerfile /\nRUN [\"{MISSING_PROGRAM}\"]\n");
    let mut tar = tar::Builder::new(GzEncoder::new(tempfile::tempfile()?, Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "Dockerfile", text.as_bytes())?;
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

    fn outcome_of(text: &str) -> ProbeBuild {
        outcome(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_missing_program_shows_that_containers_work() {
        let runs = "STEP 3/3: RUN [\"/imgplan-probe\"]\nexec: \\\"/imgplan-probe\\\": stat \
                    /imgplan-probe: no such file or directory\nError: building at STEP\n";
        assert_eq!(outcome_of(runs), ProbeBuild::Runs);
        let copies = "STEP 3/3: RUN [\"/imgplan-probe\"]\nrunc create failed: cgroup\nError: x\n";
        let reason = "runc create failed: cgroup".to_owned();
        assert_eq!(outcome_of(copies), ProbeBuild::CopiesOnly(reason));
        let fails = "Error: overlay is not supported\n";
        assert_eq!(outcome_of(fails), ProbeBuild::Fails("overlay is not supported".to_owned()));
    }

    #[test]
    fn an_emulator_must_be_open() {
        let entry = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n";
        assert!(is_usable_emulator(entry));
        assert!(!is_usable_emulator(&entry.replace("OCF", "OC")));
        assert!(!is_usable_emulator(&entry.replace("enabled", "disabled")));
    }
}
