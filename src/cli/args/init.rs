//! Arguments of `imgplan init`.

use clap::Args;

#[derive(Debug, Args)]
pub(in crate::cli) struct InitArgs {
    /// Write the manifest without a prompt
    ///
    /// A manifest that exists is never overwritten.
    #[arg(short, long, env = "IMGPLAN_YES", help_heading = "Output")]
    pub(in crate::cli) yes: bool,
}
