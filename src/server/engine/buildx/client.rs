//! The calls of docker buildx.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
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

/// The keys of Docker's configuration that have credentials. Others, such as `proxies` and
/// `HttpHeaders`, would reach builds.
const CREDENTIAL_KEYS: [&str; 3] = ["auths", "credHelpers", "credsStore"];

/// The variable with which Docker's command line replaces the credentials of its configuration.
const CREDENTIALS_VARIABLE: &str = "DOCKER_AUTH_CONFIG";

/// Name of the folder with Docker's configuration for builds.
const CONFIG_FOLDER: &str = "docker";

/// The client of a builder.
#[derive(Debug)]
pub(super) struct BuildxClient {
    /// Folder of the engine's files.
    engine: PathBuf,
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
    /// The images that take the place of names in the Dockerfile.
    pub(super) contexts: &'b BTreeMap<String, String>,
    /// True if the files of its layers have the time 0.
    pub(super) rewrites_times: bool,
}

/// The result of a build, in the file of `--metadata-file`.
#[derive(Deserialize)]
struct BuildMetadata {
    #[serde(rename = "containerimage.digest")]
    digest: OciDigest,
}

/// Checks that all programs are installed. Docker's plugin is no program in `PATH`.
///
/// # Errors
/// Fails with the package that is missing.
pub(super) fn check_programs() -> Result<(), ServerError> {
    for (program, package) in [("setpriv", "util-linux"), ("docker", "docker")] {
        if !is_installed(program) {
            let help = format!("install {package}");
            return Err(unusable(&format!("{program} is not in PATH"), &help));
        }
    }
    Ok(())
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
        let users = users_config().at("find", Path::new(".docker"))?;
        let mut settings = Map::new();
        if let Some(path) = &registry.auth {
            let text = input::read_text(path, InputKind::DockerConfig).at("read", path)?;
            // Without the text of the error, which may have a part of the file.
            let given: Map<String, Value> = serde_json::from_str(&text).map_err(|_| {
                let message = format!("{} is not a Docker configuration", path.display());
                unusable(&message, "check the file of --registry-auth: it is not a JSON object")
            })?;
            settings.extend(given.into_iter().filter(|(key, _)| CREDENTIAL_KEYS.contains(&&**key)));
        }
        let context = current_context(&users);
        settings.extend(context.map(|context| ("currentContext".to_owned(), context)));
        let config_dir = engine.join(CONFIG_FOLDER);
        std::fs::create_dir_all(&config_dir).at("create the folder", &config_dir)?;
        let text = Value::Object(settings).to_string();
        replace_private(&config_dir.join("config.json"), text.as_bytes())?;
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
            engine: engine.to_owned(),
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
    pub(super) async fn start_builder(&self) -> Result<Builder, ServerError> {
        let (log, never) = (LogTail::default(), CancellationToken::new());
        // Without the plugin, Docker's command line prints its help.
        let version = process::capture(self.buildx("version"), &log, &never).await;
        if !version.is_ok_and(|(status, _)| status.success()) {
            let help = "install the plugin: https://docs.docker.com/go/buildx/";
            return Err(unusable("`docker buildx` does not work", help));
        }
        let help = "try `docker buildx inspect --bootstrap` with the name of the builder";
        let mut command = self.with_builder("inspect");
        command.arg("--bootstrap");
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
        let metadata = NamedTempFile::new_in(&self.engine);
        let metadata =
            metadata.map_err(|error| format!("the server cannot create a file: {error}"))?;
        let mut command = self.with_builder("build");
        command.args(["--progress", "plain", "--provenance=false", "--sbom=false", "--pull"]);
        command.args(["--platform", job.platform.as_str()]);
        command.arg("--metadata-file").arg(metadata.path());
        match self.network {
            BuildNetwork::Private => &mut command,
            BuildNetwork::None => command.args(["--network", "none"]),
            BuildNetwork::Host => command.args(["--network", "host", "--allow", "network.host"]),
        };
        for (name, image) in target.contexts {
            command.arg("--build-context").arg(format!("{name}=docker-image://{image}"));
        }
        let rewrite = if target.rewrites_times { ",rewrite-timestamp=true" } else { "" };
        let insecure = if self.plain_http { ",registry.insecure=true" } else { "" };
        let output = format!("type=image,name={},push=true", target.destination);
        command.arg("--output").arg(format!("{output}{rewrite}{insecure}"));
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

    /// Returns a call of a buildx command with the builder.
    fn with_builder(&self, name: &str) -> Command {
        let mut command = self.buildx(name);
        if let Some(builder) = &self.builder {
            command.args(["--builder", builder]);
        }
        command
    }

    /// Returns a call of a buildx command. It ends with the server, and sees neither the server's own
    /// settings nor the credentials of the user.
    fn buildx(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "docker", "buildx", name]);
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            let is_hidden = text.starts_with("IMGPLAN_") || text.starts_with("PRIME_");
            if is_hidden || text == CREDENTIALS_VARIABLE {
                command.env_remove(&variable);
            }
        }
        command.env("DOCKER_CONFIG", self.engine.join(CONFIG_FOLDER));
        command.env("BUILDX_CONFIG", &self.builders);
        command
    }
}

/// Returns the error of an engine that cannot be used.
pub(super) fn unusable(message: &str, help: &str) -> ServerError {
    ServerError::Engine { engine: "buildx", message: message.to_owned(), help: help.to_owned() }
}

/// Returns the absolute path of the user's Docker configuration. Fails if the current folder is gone.
fn users_config() -> std::io::Result<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
    let named = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    std::path::absolute(named.or_else(home).unwrap_or_else(|| PathBuf::from(".docker")))
}

/// Returns the Docker context that the user has chosen, to which the current builder belongs.
fn current_context(users: &Path) -> Option<Value> {
    let text = input::read_text(&users.join("config.json"), InputKind::DockerConfig).ok()?;
    let mut settings: Map<String, Value> = serde_json::from_str(&text).ok()?;
    settings.remove("currentContext")
}
