//! What a server should be like.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use regex::Regex;

use super::fault::Fault;
use crate::base::limit::ClassLimit;
use crate::base::name::NameError;
use crate::base::secret::ApiKey;

/// What a server should be like.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes any free one. `None` listens nowhere: all requests come by
    /// [`Server::call`](super::Server::call).
    pub listen: Option<SocketAddr>,
    /// The one token that is accepted; `None` accepts any.
    pub token: Option<ApiKey>,
    /// Where the state is kept; `None` keeps it in memory, and uploads in a temporary folder.
    pub state: Option<PathBuf>,
    /// Limits other than the published ones. One for `images` holds for teams too.
    pub limits: Vec<ClassLimit>,
    /// How long a build or a transfer takes.
    pub build_time: Duration,
    /// How many images the account, and each team, may have.
    pub quota: Option<u32>,
    /// How a comma list of transfers is answered.
    pub bulk: BulkShape,
    /// For how long an upload URL is good.
    pub upload_ttl: Duration,
    /// How large an uploaded context may be, in bytes.
    pub max_upload: u64,
    /// What goes wrong on purpose, and how often; for no class above 1 in sum.
    pub faults: Vec<Fault>,
    /// Which requests the faults strike: the same ones for the same seed, counted in the order in
    /// which those of a class arrive.
    pub seed: u64,
    /// Builds and transfers whose `name:tag` matches end as failed.
    pub fail: Option<Regex>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            token: None,
            state: None,
            limits: Vec::new(),
            build_time: Duration::ZERO,
            quota: None,
            bulk: BulkShape::BuildIds,
            upload_ttl: Duration::from_secs(3600),
            max_upload: 10 << 30,
            faults: Vec::new(),
            seed: 0,
            fail: None,
        }
    }
}

/// How a comma list of transfers is answered: three shapes were seen (`api.md` §1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BulkShape {
    /// a: one object with `buildIds`; all sources are taken or none.
    #[default]
    BuildIds,
    /// b: `results`, each flat, and `failed`; each source stands for itself.
    Results,
    /// c: `results`, each with a `build` inside; each source stands for itself.
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
                Err(NameError::new(format!("`{text}` is not a shape of an answer"), help))
            }
        }
    }
}
