//! Arguments of `imgplan doctor`. The doc comments are the help texts.

use clap::Args;

use super::engine::EngineArgs;
use super::manifest::CommonArgs;
use super::service::ServiceArgs;

#[derive(Debug, Args)]
pub(in crate::cli) struct DoctorArgs {
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
    #[command(flatten)]
    pub(in crate::cli) engine: EngineArgs,
    #[command(flatten)]
    pub(in crate::cli) common: CommonArgs,
}
