//! The settings of a server.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use regex::Regex;

use super::engine::config::EngineConfig;
use super::fault::Fault;
use super::registry_client::ServerRegistryConfig;
use crate::base::limit::ClassLimit;
use crate::base::name::NameError;
use crate::base::secret::ApiKey;
use crate::registry::Credentials;

/// The settings of a server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address to listen on; port 0 takes any free port. `None` listens nowhere: requests come through
    /// `Server::call`, which only tests have.
    pub listen: Option<SocketAddr>,
    /// Only accepted token; `None` accepts any.
    pub token: Option<ApiKey>,
    /// Folder of the state; `None` keeps it in memory, and uploads in a temporary folder.
    pub state: Option<PathBuf>,
    /// True if responses wait until the state is on disk. False for tests in which processes die, and
    /// never the machine.
    pub sync: bool,
    /// Origin of the state folder.
    pub origin: StateOrigin,
    /// Rate limits that differ from the published ones. One for `images` also applies to teams.
    pub limits: Vec<ClassLimit>,
    /// Duration of a build or a transfer.
    pub build_time: Duration,
    /// Maximum number of images of the account and of each team.
    pub quota: Option<u32>,
    /// Version of the API.
    pub api: ApiVersion,
    /// Shape of the response to a list of transfers; `None` for that of the version.
    pub bulk: Option<BulkShape>,
    /// Treatment of a request for a Docker Hub source that the rule for such sources forbids. Without
    /// effect before [`ApiVersion::November2026`], which has the rule.
    pub docker_hub: DockerHub,
    /// True if the account is an admin of the platform.
    pub admin: bool,
    /// True if builds and rows show storage paths, `vm/<name>:<tag>`, as their `fullImagePath`.
    pub vm_paths: bool,
    /// Lifetime of an upload URL.
    pub upload_ttl: Duration,
    /// Maximum size of an uploaded context, in bytes.
    pub max_upload: u64,
    /// Faults to inject. The rates of a class add up to at most 1.
    pub faults: Vec<Fault>,
    /// Seed for the choice of the requests that get a fault. The same seed chooses the same ones, by
    /// their number within their class.
    pub seed: u64,
    /// Pattern of `name:tag`; matching builds and transfers fail.
    pub fail: Option<Regex>,
    /// Registry that holds the images. `None` keeps only their names: a transfer then copies nothing.
    pub registry: Option<ServerRegistryConfig>,
    /// Locations of the credentials for the sources of transfers to a registry that the server starts.
    pub upstream: Credentials,
    /// The engine that makes the images.
    pub engine: EngineConfig,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            token: None,
            state: None,
            sync: true,
            origin: StateOrigin::Operator,
            limits: Vec::new(),
            build_time: Duration::ZERO,
            quota: None,
            api: ApiVersion::default(),
            bulk: None,
            docker_hub: DockerHub::Override,
            admin: true,
            vm_paths: false,
            upload_ttl: Duration::from_secs(3600),
            max_upload: 10 << 30,
            faults: Vec::new(),
            seed: 0,
            fail: None,
            registry: None,
            upstream: Credentials::none(),
            engine: EngineConfig::default(),
        }
    }
}

/// The origin of a state folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateOrigin {
    /// The person who runs the server has chosen it.
    Operator,
    /// It is inside of a checkout: an engine uses it only if this machine has made it, and other commands
    /// of the user find the server's token in it.
    Checkout,
}

/// A version of the images API (API contract, "Versions").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ApiVersion {
    /// Container images; a mirror belongs to the owner that its request names.
    #[value(name = "2026-08")]
    August2026,
    /// VM images; a mirror of Docker Hub is a public image of the platform, and few other registries
    /// are supported.
    #[default]
    #[value(name = "2026-11")]
    November2026,
}

impl ApiVersion {
    /// Returns the `artifactType` of builds and rows.
    pub(super) fn artifact_type(self) -> &'static str {
        match self {
            Self::August2026 => "CONTAINER_IMAGE",
            Self::November2026 => "VM_SANDBOX",
        }
    }

    /// Returns the shape of the response to a list of transfers.
    pub(super) fn bulk_shape(self) -> BulkShape {
        match self {
            Self::August2026 => BulkShape::BuildIds,
            Self::November2026 => BulkShape::Builds,
        }
    }

    /// Returns the text of the refusal of a transfer over the rate limit of an account: of `limit`
    /// images, `used` are used.
    pub(super) fn transfer_limit_text(self, used: u32, limit: u32) -> String {
        let subject = match self {
            Self::August2026 => "Image transfer rate limit exceeded",
            Self::November2026 => "Source image build rate limit exceeded",
        };
        format!("{subject}: {used}/{limit} images")
    }
}

/// The treatment of a name, a tag, a team or `PRIVATE` in a request for a Docker Hub source. The
/// provider's client never sends such a request, so either may be the service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DockerHub {
    /// Ignore those fields
    Override,
    /// Refuse the request
    Strict,
}

/// The shape of the response to a list of transfers. The service has used three (API contract,
/// section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkShape {
    /// Shape a: one object with `buildIds`. All sources are accepted or none.
    BuildIds,
    /// Shape b: flat `results`, and `failed`. Each source is accepted or refused by itself.
    Results,
    /// Shape c: `results` with a `build` inside. Each source is accepted or refused by itself.
    Builds,
}

impl FromStr for BulkShape {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "build-ids" => Ok(Self::BuildIds),
            "results" => Ok(Self::Results),
            "builds" => Ok(Self::Builds),
            _ => {
                let help = "the shapes are build-ids, results, builds";
                Err(NameError::new(format!("unknown response shape `{text}`"), help))
            }
        }
    }
}
