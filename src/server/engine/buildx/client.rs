//! The calls of docker buildx.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tempfile::NamedTempFile;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::builder::Builder;
use super::output::BuildxOutput;
use crate::base::file::{AtPath, replace_private};
use crate::base::input::{self, InputKind};
use crate::base::reference::{OciDigest, RegistryRef};
use crate::base::safe_text::one_line;
use crate::server::engine::config::{BuildNetwork, EngineConfig, PushRegistry, RegistryTrust};
use crate::server::engine::programs::is_installed;
use crate::server::engine::{BuildJob, EngineFailure, LogSink, LogTail, process};
use crate::server::error::ServerError;

/// Maximum time to start a builder: one in a cluster is scheduled first.
const MAX_START: Duration = Duration::from_secs(180);

/// The programs that the engine runs.
const PROGRAMS: [&str; 2] = ["docker", "setpriv"];

/// The client of a builder.
#[derive(Debug)]
pub(super) struct BuildxClient {
    /// Folder with Docker's configuration for builds.
    config_dir: PathBuf,
    /// Folder with the user's builders.
    builders: PathBuf,
    /// `None` for the builder that the user has chosen with `docker buildx use`.
    builder: Option<String>,
    network: BuildNetwork,
    /// True if the registry is reached without TLS.
    plain_http: bool,
}

/// The image that a build makes.
pub(super) struct BuildxTarget<'b> {
    pub(super) destination: &'b RegistryRef,
    /// The pinned references of the bases, by their texts in the Dockerfile.
    pub(super) bases: &'b BTreeMap<String, String>,
}

/// The result of a build, in the file of `--metadata-file`.
#[derive(Deserialize)]
struct BuildMetadata {
    #[serde(rename = "containerimage.digest")]
    digest: OciDigest,
}

impl BuildxClient {
    /// Creates a client whose credentials are those of the registry, and not those of the user: a build
    /// reaches only what the server was given. `engine` is the folder of the engine.
    ///
    /// # Errors
    /// Fails if the credentials cannot be read, or if the configuration cannot be written.
    pub(super) fn create(
        engine: &Path,
        config: &EngineConfig,
        registry: &PushRegistry,
    ) -> Result<Self, ServerError> {
        let credentials = registry.auth.as_deref();
        let credentials = credentials
            .map(|path| input::read_text(path, InputKind::DockerConfig).at("read", path))
            .transpose()?;
        let config_dir = engine.join("docker");
        std::fs::create_dir_all(&config_dir).at("create the folder", &config_dir)?;
        let text = credentials.as_deref().unwrap_or("{}");
        replace_private(&config_dir.join("config.json"), text.as_bytes())?;
        let users = users_config();
        // Where the user has installed buildx, and the machines of builders that are Docker contexts.
        for name in ["cli-plugins", "contexts"] {
            let link = config_dir.join(name);
            let _ = std::fs::remove_file(&link);
            if users.join(name).is_dir() {
                symlink(users.join(name), &link).at("create a link in", &config_dir)?;
            }
        }
        let builders = std::env::var_os("BUILDX_CONFIG").map(PathBuf::from);
        Ok(Self {
            config_dir,
            builders: builders.unwrap_or_else(|| users.join("buildx")),
            builder: config.builder.clone(),
            network: config.network,
            plain_http: registry.trust == RegistryTrust::PlainHttp,
        })
    }

    /// Starts the builder if it does not run, and describes it.
    ///
    /// # Errors
    /// Fails with the message of buildx.
    pub(super) async fn inspect(&self) -> Result<Builder, ServerError> {
        let help = "try `docker buildx inspect --bootstrap` with the name of the builder";
        let mut command = self.buildx("inspect");
        command.arg("--bootstrap");
        let (log, never) = (LogTail::default(), CancellationToken::new());
        let inspected = process::capture(command, &log, &never);
        let inspected = tokio::time::timeout(MAX_START, inspected).await;
        let seconds = MAX_START.as_secs();
        let inspected = inspected
            .map_err(|_| unusable(&format!("the builder did not start in {seconds} s"), help))?;
        match inspected {
            Ok((status, text)) if status.success() => {
                Builder::parse(&String::from_utf8_lossy(&text))
            }
            Ok(_) => {
                let last = log.lines().pop().unwrap_or_default();
                Err(one_line(last.strip_prefix("ERROR: ").unwrap_or(&last), 300))
            }
            Err(EngineFailure::Failed(message)) => Err(message),
            Err(EngineFailure::Cancelled) => Err("it was interrupted".to_owned()),
        }
        .map_err(|message| unusable(&message, help))
    }

    /// Builds and pushes an image, and returns the digest of its manifest.
    ///
    /// # Errors
    /// Fails with the failed instruction and the last lines of its output.
    pub(super) async fn build(
        &self,
        job: &BuildJob,
        target: &BuildxTarget<'_>,
        log: &dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<OciDigest, EngineFailure> {
        let metadata = NamedTempFile::new();
        let metadata =
            metadata.map_err(|error| format!("the server cannot create a file: {error}"))?;
        let mut command = self.buildx("build");
        command.args(["--progress", "plain", "--provenance=false", "--sbom=false", "--pull"]);
        command.args(["--platform", job.platform.as_str()]);
        command.arg("--metadata-file").arg(metadata.path());
        match self.network {
            BuildNetwork::Private => &mut command,
            BuildNetwork::None => command.args(["--network", "none"]),
            BuildNetwork::Host => command.args(["--network", "host", "--allow", "network.host"]),
        };
        for (name, pinned) in target.bases {
            command.arg("--build-context").arg(format!("{name}=docker-image://{pinned}"));
        }
        let insecure = if self.plain_http { ",registry.insecure=true" } else { "" };
        let destination = target.destination;
        command.arg("--output").arg(format!(
            "type=image,name={destination},push=true,rewrite-timestamp=true{insecure}"
        ));
        // Not a URL, which buildx would download.
        command.arg("--file").arg(format!("./{}", job.dockerfile)).arg("-");
        command.env("SOURCE_DATE_EPOCH", "0");
        let output = BuildxOutput::new(log);
        let archive = job.open_archive().await?;
        let status = process::run(command, Some(archive), &output, cancel).await?;
        if !status.success() {
            return Err(EngineFailure::Failed(output.message(&job.dockerfile)));
        }
        let text = input::read(metadata.path(), InputKind::ServerState);
        let metadata = text.ok().and_then(|text| serde_json::from_slice(&text).ok());
        let BuildMetadata { digest } =
            metadata.ok_or_else(|| "buildx did not report the digest of the image".to_owned())?;
        Ok(digest)
    }

    /// Returns a call of a buildx command with the builder. It ends with the server, and does not see the
    /// server's own settings.
    fn buildx(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "docker", "buildx", name]);
        if let Some(builder) = &self.builder {
            command.args(["--builder", builder]);
        }
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if text.starts_with("IMGPLAN_") || text.starts_with("PRIME_") {
                command.env_remove(&variable);
            }
        }
        command.env("DOCKER_CONFIG", &self.config_dir).env("BUILDX_CONFIG", &self.builders);
        command
    }
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
    let help = "install Docker's command line with buildx: https://docs.docker.com/go/buildx/";
    Err(unusable(&format!("{} is not in PATH", missing.join(", ")), help))
}

/// Returns the error of an engine that cannot be used.
pub(super) fn unusable(message: &str, help: &str) -> ServerError {
    ServerError::Engine { engine: "buildx", message: message.to_owned(), help: help.to_owned() }
}

/// Returns the folder of the user's Docker configuration.
fn users_config() -> PathBuf {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
    let named = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    named.or_else(home).unwrap_or_else(|| PathBuf::from(".docker"))
}
