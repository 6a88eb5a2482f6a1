//! Flags of commands that use the image service.

use clap::Args;

use super::values::named;
use crate::base::limit::ClassLimit;

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
}
