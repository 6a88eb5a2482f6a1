//! Flags of commands that use the image service.

use clap::Args;

use super::state::StateArgs;
use super::values::named;
use crate::base::limit::ClassLimit;
use crate::base::share::Share;

/// The image service and its rate limits.
#[derive(Debug, Args)]
#[command(next_help_heading = "Service")]
pub(in crate::cli) struct ServiceArgs {
    /// Use a server inside this process; needs no account
    ///
    /// It keeps its state, and a lockfile of its own, in `.imgplan/local/`. It checks images and
    /// builds nothing, unless `imgplan apply` has an `--engine`.
    #[arg(long, env = "IMGPLAN_LOCAL")]
    pub(in crate::cli) local: bool,
    /// Rate limit of a class of requests, as initiate=150/60s
    ///
    /// May be repeated. Classes: initiate, start, status, list, images (transfers, counted in
    /// images), update, delete.
    #[arg(
        long = "limit",
        value_name = "CLASS=N/Ds",
        env = "IMGPLAN_LIMIT",
        value_delimiter = ',',
        value_parser = named::<ClassLimit>,
        hide_short_help = true
    )]
    pub(in crate::cli) limits: Vec<ClassLimit>,
    /// Part of the rate limits that this run may use, as 1/16
    ///
    /// For runs that use one API key at the same time. The default is 1/N with `--partition hash:K/N`
    /// or `slice:K/N`, and the whole otherwise.
    #[arg(long, value_name = "K/N", env = "IMGPLAN_BUDGET_SHARE", value_parser = named::<Share>,
          hide_short_help = true)]
    pub(in crate::cli) budget_share: Option<Share>,
    #[command(flatten)]
    pub(in crate::cli) state: StateArgs,
}
