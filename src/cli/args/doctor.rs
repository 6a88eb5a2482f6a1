//! Arguments of `imgplan doctor`. The doc comments are the help texts.

use clap::Args;

use super::engine::EngineArgs;
use super::manifest::CommonArgs;
use super::service::ServiceArgs;

#[derive(Debug, Args)]
pub(in crate::cli) struct DoctorArgs {
    /// Check without network access
    #[arg(long, env = "IMGPLAN_OFFLINE", help_heading = "Planning")]
    pub(in crate::cli) offline: bool,
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
    #[command(flatten)]
    pub(in crate::cli) engine: EngineArgs,
    #[command(flatten)]
    pub(in crate::cli) common: CommonArgs,
}
