//! Arguments of `imgplan plan` and `imgplan why`. The doc comments are the help texts.

use std::path::PathBuf;

use clap::Args;

use super::format::FormatArgs;
use super::manifest::{CommonArgs, StrictArgs};
use super::run_files::JsonIntoArgs;
use super::selection::{LookupArgs, SelectionArgs};
use super::service::ServiceArgs;

#[derive(Debug, Args)]
pub(in crate::cli) struct PlanArgs {
    #[command(flatten)]
    pub(in crate::cli) selection: SelectionArgs,
    #[command(flatten)]
    pub(in crate::cli) lookup: LookupArgs,
    /// Plan without network access
    #[arg(long, env = "IMGPLAN_OFFLINE", help_heading = "Planning")]
    pub(in crate::cli) offline: bool,
    /// Show only drift between the lockfile and the service
    #[arg(long, env = "IMGPLAN_REFRESH_ONLY", help_heading = "Planning")]
    pub(in crate::cli) refresh_only: bool,
    #[command(flatten)]
    pub(in crate::cli) strict: StrictArgs,
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
    /// Save the plan for `imgplan apply FILE`
    #[arg(
        long,
        value_name = "FILE",
        env = "IMGPLAN_OUT",
        conflicts_with = "refresh_only",
        help_heading = "Output"
    )]
    pub(in crate::cli) out: Option<PathBuf>,
    /// Exit with 2 if there are changes
    #[arg(long, env = "IMGPLAN_DETAILED_EXITCODE", help_heading = "Output")]
    pub(in crate::cli) detailed_exitcode: bool,
    #[command(flatten)]
    pub(in crate::cli) json_into: JsonIntoArgs,
    #[command(flatten)]
    pub(in crate::cli) format: FormatArgs,
    #[command(flatten)]
    pub(in crate::cli) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WhyArgs {
    /// `name:tag`, or `name` for all targets of the image
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) image: String,
    #[command(flatten)]
    pub(in crate::cli) lookup: LookupArgs,
    /// Explain without network access
    #[arg(long, env = "IMGPLAN_OFFLINE", help_heading = "Planning")]
    pub(in crate::cli) offline: bool,
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
    #[command(flatten)]
    pub(in crate::cli) format: FormatArgs,
    #[command(flatten)]
    pub(in crate::cli) common: CommonArgs,
}
