//! Arguments of `imgplan apply`. The doc comments are the help texts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::engine::EngineArgs;
use super::manifest::{CommonArgs, StrictArgs};
use super::run_files::{JsonIntoArgs, RunFileArgs};
use super::selection::{LookupArgs, SelectionArgs};
use super::service::ServiceArgs;
use super::state::LeaseArgs;
use super::values::duration;

/// Default of `--retry-times`.
pub(in crate::cli) const DEFAULT_RETRIES: u32 = 9;

#[derive(Debug, Args)]
pub(in crate::cli) struct ApplyArgs {
    /// Plan saved by `imgplan plan --out`; applied without a prompt
    #[arg(value_name = "PLAN")]
    pub(in crate::cli) saved: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) selection: SelectionArgs,
    #[command(flatten)]
    pub(in crate::cli) lookup: LookupArgs,
    /// Only update the lockfile to match the service
    ///
    /// Records which images are missing and who may pull them.
    #[arg(long, env = "IMGPLAN_REFRESH_ONLY", conflicts_with = "saved", help_heading = "Planning")]
    pub(in crate::cli) refresh_only: bool,
    #[command(flatten)]
    pub(in crate::cli) strict: StrictArgs,
    /// Skip the prompt
    ///
    /// Deletes nothing unless `--max-destroy N` allows it.
    #[arg(long, env = "IMGPLAN_AUTO_APPROVE", help_heading = "Planning")]
    pub(in crate::cli) auto_approve: bool,
    /// Maximum number of images to delete
    ///
    /// The default is no limit with a prompt or a saved plan, and 0 with `--auto-approve`.
    #[arg(long, value_name = "N", env = "IMGPLAN_MAX_DESTROY", help_heading = "Planning")]
    pub(in crate::cli) max_destroy: Option<usize>,
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
    #[command(flatten)]
    pub(in crate::cli) lease: LeaseArgs,
    /// Builds, and transfers of each owner, at the same time
    ///
    /// The default is as many builds as may be initiated in one window of the rate limit (150), at
    /// least 64 and fewer if few files may be open, and as many transfers as their rate limit allows.
    #[arg(long, alias = "parallelism", value_name = "N", env = "IMGPLAN_CONCURRENCY",
          value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "Service")]
    pub(in crate::cli) concurrency: Option<u32>,
    /// Retries for a request that fails with a transient error
    ///
    /// Waiting for a rate limit of the service does not count as a retry.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_RETRIES, env = "IMGPLAN_RETRY_TIMES",
          value_parser = clap::value_parser!(u32).range(0..=100), help_heading = "Service",
          hide_short_help = true)]
    pub(in crate::cli) retry_times: u32,
    /// Stop waiting after this time: 45m, 2h
    ///
    /// Unfinished builds stay recorded as pending, and the next apply continues with them.
    #[arg(long, value_name = "D", env = "IMGPLAN_TIMEOUT", value_parser = duration,
          help_heading = "Service", hide_short_help = true)]
    pub(in crate::cli) timeout: Option<Duration>,
    #[command(flatten)]
    pub(in crate::cli) engine: EngineArgs,
    /// Form of the progress: auto, tty, plain or none
    ///
    /// `auto` draws a live footer on a terminal, and writes lines elsewhere, in CI (`CI` is set) and
    /// with TERM=dumb. `plain` writes lines on a terminal too, for a screen reader for example; `tty`
    /// draws the footer on every terminal; `none` prints only failures and the summary.
    #[arg(
        long,
        value_name = "FORM",
        default_value = "auto",
        env = "IMGPLAN_PROGRESS",
        help_heading = "Output",
        hide_short_help = true,
        hide_possible_values = true
    )]
    pub(in crate::cli) progress: ProgressChoice,
    /// Exit with 2 if there were changes, 3 if some failed
    #[arg(long, env = "IMGPLAN_DETAILED_EXITCODE", help_heading = "Output")]
    pub(in crate::cli) detailed_exitcode: bool,
    #[command(flatten)]
    pub(in crate::cli) files: RunFileArgs,
    #[command(flatten)]
    pub(in crate::cli) json_into: JsonIntoArgs,
    #[command(flatten)]
    pub(in crate::cli) common: CommonArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ProgressChoice {
    Auto,
    Tty,
    Plain,
    None,
}
