//! What was typed after `imgplan context`. The comments are the help.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(in crate::cli) struct ContextArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: ContextCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ContextCommand {
    /// Print the digest of everything that decides what the image contains, and the fingerprint
    Digest {
        /// `name` or `name:tag`
        #[arg(value_name = "IMAGE")]
        image: String,
    },
    /// Print the Dockerfile that is sent: with build arguments, the target, the paths of bases and
    /// pinned digests put in
    Dockerfile {
        /// `name` or `name:tag`
        #[arg(value_name = "IMAGE")]
        image: String,
        /// Take the paths of bases from the lockfile that `--local` keeps
        #[arg(long, env = "IMGPLAN_LOCAL")]
        local: bool,
    },
    /// List the files that are sent, one a line
    List {
        /// `name` or `name:tag`
        #[arg(value_name = "IMAGE")]
        image: String,
        /// List the folders instead, those that weigh most first
        #[arg(long)]
        by_size: bool,
    },
    /// Tell whether a path is sent, and the pattern of .dockerignore that decided it
    Why {
        /// `name` or `name:tag`
        #[arg(value_name = "IMAGE")]
        image: String,
        /// Relative to the context, as `context list` prints it, or from here into the context; it
        /// need not exist
        #[arg(value_name = "PATH")]
        path: PathBuf,
    },
    /// Write the archive that is sent
    Pack {
        /// `name` or `name:tag`
        #[arg(value_name = "IMAGE")]
        image: String,
        /// Where to; `-` is standard output
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Take the paths of bases from the lockfile that `--local` keeps
        #[arg(long, env = "IMGPLAN_LOCAL")]
        local: bool,
    },
}
