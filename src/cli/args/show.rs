//! Arguments of `imgplan show` and `imgplan graph`. The doc comments are the help texts.

use clap::{Args, ValueEnum};

use super::manifest::{CommonArgs, FileArgs, JsonArgs};
use super::state::StateArgs;

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// Only these images: `name` or `name:tag`
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) images: Vec<String>,
    /// Show the lockfile of `--local`
    #[arg(long, env = "IMGPLAN_LOCAL", help_heading = "Service")]
    pub(in crate::cli) local: bool,
    #[command(flatten)]
    pub(in crate::cli) state: StateArgs,
    #[command(flatten)]
    pub(super) json: JsonArgs,
    #[command(flatten)]
    pub(super) file: FileArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct GraphArgs {
    /// Only these images and their bases: `name`, `name:tag` or a pattern
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) images: Vec<String>,
    /// Output format: dot, mermaid or json
    ///
    /// An edge leads from an image to its base. `dot` is for Graphviz (`imgplan graph | dot
    /// -Tsvg`), `mermaid` for Markdown on most code hosts.
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "dot",
        env = "IMGPLAN_GRAPH_FORMAT",
        help_heading = "Output",
        hide_possible_values = true
    )]
    pub(in crate::cli) format: GraphFormat,
    #[command(flatten)]
    pub(in crate::cli) common: CommonArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum GraphFormat {
    Dot,
    Mermaid,
    Json,
}
