//! Flags of commands that read the manifest.

use std::path::PathBuf;

use clap::Args;

use super::values::{Lines, lines};
use crate::manifest::{Override, Variable};

/// Location of the manifest, which is also that of the lockfile.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Global")]
pub(in crate::cli) struct FileArgs {
    /// Manifest; `-` is standard input
    ///
    /// Paths in a manifest are relative to its own directory. May be repeated: the first file is
    /// read as if it included the others. The environment variable holds one path per line.
    #[arg(
        short,
        long = "file",
        value_name = "FILE",
        default_value = "imgplan.yaml",
        env = "IMGPLAN_FILE",
        value_delimiter = '\n'
    )]
    pub(in crate::cli) files: Vec<PathBuf>,
}

/// The manifest and values that override it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Global")]
pub(in crate::cli) struct ManifestArgs {
    #[command(flatten)]
    pub(in crate::cli) file: FileArgs,
    /// Set the variable `${NAME}` of the manifest
    ///
    /// Wins over variables of the manifest and of the environment. May be repeated. The
    /// environment variable holds one per line.
    #[arg(long = "var", value_name = "NAME=VALUE", env = "IMGPLAN_VAR", hide_env_values = true,
          value_parser = lines::<Variable>)]
    pub(in crate::cli) vars: Vec<Lines<Variable>>,
    /// Override a field of matching images
    ///
    /// For example '*.visibility=public' or 'api*.args.PY=3.13'; `+=` adds to a list. May be
    /// repeated. The environment variable holds one per line.
    #[arg(long = "set", value_name = "PATTERN.FIELD[+]=V", env = "IMGPLAN_SET",
          hide_env_values = true, value_parser = lines::<Override>,
          hide_short_help = true)]
    pub(in crate::cli) sets: Vec<Lines<Override>>,
    /// Let the manifest name files in this folder outside of its repository
    ///
    /// Without it, includes, lists of sources, Dockerfiles and contexts lie in the repository of the
    /// manifest, wherever links lead. May be repeated, or separated by commas.
    #[arg(
        long,
        value_name = "DIR",
        env = "IMGPLAN_ALLOW_OUTSIDE",
        value_delimiter = ',',
        hide_short_help = true
    )]
    pub(in crate::cli) allow_outside: Vec<PathBuf>,
    /// Let the manifest use this environment variable although its name looks like a secret
    ///
    /// Such names are *_KEY, *SECRET*, *PASSW*, *PASSPHRASE*, *CREDENTIAL*, *WEBHOOK*, and names with the
    /// word TOKEN, PAT, PASS, PWD, DSN or AUTH. May be repeated, or separated by commas.
    #[arg(
        long,
        value_name = "NAME",
        env = "IMGPLAN_ALLOW_ENV",
        value_delimiter = ',',
        hide_short_help = true
    )]
    pub(in crate::cli) allow_env: Vec<String>,
}

/// Output for programs.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Output")]
pub(in crate::cli) struct JsonArgs {
    /// Write JSON lines to standard output
    ///
    /// Nothing else is written there.
    #[arg(long, env = "IMGPLAN_JSON")]
    pub(in crate::cli) json: bool,
}

/// Flags of a command that reads the manifest and can write JSON.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct CommonArgs {
    #[command(flatten)]
    pub(in crate::cli) json: JsonArgs,
    #[command(flatten)]
    pub(in crate::cli) manifest: ManifestArgs,
}

/// Warnings as errors.
#[derive(Debug, Args)]
#[command(next_help_heading = "Planning")]
pub(in crate::cli) struct StrictArgs {
    /// Treat warnings as errors
    ///
    /// Applies to warnings of the manifest and of contexts. Nothing is sent or written then.
    #[arg(long, env = "IMGPLAN_DENY_WARNINGS")]
    pub(in crate::cli) deny_warnings: bool,
}
