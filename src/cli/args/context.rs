//! Arguments of `imgplan context`. The doc comments are the help texts.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::manifest::{CommonArgs, ManifestArgs};

#[derive(Debug, Args)]
pub(in crate::cli) struct ContextArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: ContextCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ContextCommand {
    /// Print the fingerprint of an image and everything that it covers
    Digest {
        /// `name` or `name:tag`
        #[arg(value_name = "IMAGE")]
        image: String,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Print the Dockerfile that is sent
    ///
    /// Build arguments, the target stage, the full paths of bases and pinned digests are filled in.
    Dockerfile {
        /// `name` or `name:tag`
        #[arg(value_name = "IMAGE")]
        image: String,
        /// Take the paths of bases from the lockfile of `--local`
        #[arg(long, env = "IMGPLAN_LOCAL", help_heading = "Service")]
        local: bool,
        #[command(flatten)]
        manifest: ManifestArgs,
    },
    /// List the files that are sent, one per line
    List {
        /// `name` or `name:tag`
        #[arg(value_name = "IMAGE")]
        image: String,
        /// List directories instead, the largest first
        #[arg(long, help_heading = "Output")]
        by_size: bool,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Explain why a path is sent or ignored
    ///
    /// Names the instruction that reads it, or the line of the ignore file that decides.
    Why {
        /// `name` or `name:tag`
        #[arg(value_name = "IMAGE")]
        image: String,
        /// Path relative to the context or to the current directory
        ///
        /// The path need not exist.
        #[arg(value_name = "PATH")]
        path: PathBuf,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Write the archive that is sent
    Pack {
        /// `name` or `name:tag`
        #[arg(value_name = "IMAGE")]
        image: String,
        /// Take the paths of bases from the lockfile of `--local`
        #[arg(long, env = "IMGPLAN_LOCAL", help_heading = "Service")]
        local: bool,
        /// File to write; `-` is standard output
        #[arg(short, long, value_name = "FILE", help_heading = "Output")]
        output: PathBuf,
        #[command(flatten)]
        manifest: ManifestArgs,
    },
}
