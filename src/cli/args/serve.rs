//! Arguments of `imgplan serve`. The doc comments are the help texts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use regex::Regex;

use super::engine::EngineArgs;
use super::values::{duration, named};
use crate::base::limit::ClassLimit;
use crate::server::{ApiVersion, BulkShape, DockerHub, Fault};

#[derive(Debug, Args)]
#[command(next_help_heading = "Service")]
pub(in crate::cli) struct ServeArgs {
    /// Address to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", env = "IMGPLAN_LISTEN")]
    pub(in crate::cli) listen: SocketAddr,
    /// Write the URL to this file once the server listens
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) url_file: Option<PathBuf>,
    /// The only API key to accept [default: any key]
    #[arg(long, env = "IMGPLAN_TOKEN", hide_env_values = true)]
    pub(in crate::cli) token: Option<String>,
    /// Directory to keep the state in [default: memory only]
    #[arg(long, value_name = "DIR", env = "IMGPLAN_SERVER_STATE")]
    pub(in crate::cli) state: Option<PathBuf>,
    /// Rate limit of a class of requests, as initiate=150/60s
    ///
    /// May be repeated.
    #[arg(long = "limit", value_name = "CLASS=N/Ds")]
    pub(in crate::cli) limits: Vec<ClassLimit>,
    /// Duration of a build: 5s, 200ms
    #[arg(long, value_name = "D", default_value = "0s", value_parser = duration)]
    pub(in crate::cli) build_time: Duration,
    /// Lifetime of an upload URL
    #[arg(long, value_name = "D", default_value = "1h", value_parser = duration)]
    pub(in crate::cli) upload_ttl: Duration,
    /// Maximum number of images of the account and of each team
    #[arg(long, value_name = "N")]
    pub(in crate::cli) quota: Option<u32>,
    /// Version of the images API
    #[arg(long, value_name = "VERSION", value_enum, default_value_t, env = "IMGPLAN_API")]
    pub(in crate::cli) api: ApiVersion,
    /// Treatment of Docker Hub sources with a name, a tag, a team or PRIVATE
    ///
    /// Has no effect with `--api 2026-08`, which makes the image as requested.
    #[arg(long, value_name = "RULE", value_enum, default_value_t = DockerHub::Override)]
    pub(in crate::cli) docker_hub: DockerHub,
    /// Refuse to list, change and delete images of the platform
    #[arg(long)]
    pub(in crate::cli) not_admin: bool,
    /// Show storage paths as the paths of images: vm/app:v1
    #[arg(long)]
    pub(in crate::cli) vm_paths: bool,
    /// Response to a batch of transfers [default: that of the API version]
    ///
    /// One of build-ids, results or builds.
    #[arg(long, value_name = "SHAPE", value_parser = named::<BulkShape>)]
    pub(in crate::cli) bulk_shape: Option<BulkShape>,
    /// Fail builds and transfers of a matching `name:tag`
    #[arg(long, value_name = "REGEX")]
    pub(in crate::cli) fail: Option<Regex>,
    /// Inject a fault into a share of the requests
    ///
    /// For example initiate:500:0.2 or all:cut-after:5%. May be repeated. Classes: initiate,
    /// start, status, list, update, delete, upload, all. Kinds: 500, 503, 429, 429-date,
    /// cut-before, cut-after, html, html-after, slow (or slow=3s), late (or late=5s), expired,
    /// length.
    #[arg(long = "fault", value_name = "CLASS:KIND:RATE", value_parser = named::<Fault>)]
    pub(in crate::cli) faults: Vec<Fault>,
    /// Seed that decides which requests get a fault
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(in crate::cli) seed: u64,
    #[command(flatten)]
    pub(in crate::cli) engine: EngineArgs,
}
