//! Arguments of `imgplan logs`. The doc comments are the help texts.

use clap::Args;

use super::manifest::ManifestArgs;
use super::service::ServiceArgs;

#[derive(Debug, Args)]
pub(in crate::cli) struct LogsArgs {
    /// Image: `name` or `name:tag`, for its last build; or the ID of a build
    #[arg(value_name = "IMAGE|BUILD")]
    pub(in crate::cli) build: String,
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
    /// Print more as it comes, until the build ends
    #[arg(long, env = "IMGPLAN_FOLLOW", help_heading = "Output")]
    pub(in crate::cli) follow: bool,
    #[command(flatten)]
    pub(in crate::cli) manifest: ManifestArgs,
}
