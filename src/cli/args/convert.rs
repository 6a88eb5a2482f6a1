//! Arguments of `imgplan convert`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(in crate::cli) struct ConvertArgs {
    /// File to convert; `-` is standard input
    ///
    /// The paths in a file are relative to its folder, those of bake to the working directory.
    #[arg(value_name = "IN")]
    pub(in crate::cli) input: PathBuf,
    /// Format: bake, compose, prime, regsync or skopeo
    ///
    /// `bake` is the output of `docker buildx bake --print`, `prime` the JSON lines of `prime images
    /// push-bulk`, `skopeo` the YAML of `skopeo sync`.
    #[arg(long, value_name = "FORMAT", hide_possible_values = true, help_heading = "Input")]
    pub(in crate::cli) from: ForeignFormat,
    /// Manifest to write, which must not exist; `-` is standard output
    #[arg(short, long, value_name = "OUT", help_heading = "Output")]
    pub(in crate::cli) output: PathBuf,
    /// Write nothing and fail if a field is dropped
    #[arg(long, env = "IMGPLAN_STRICT", help_heading = "Output")]
    pub(in crate::cli) strict: bool,
}

/// A format of another tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ForeignFormat {
    Bake,
    Compose,
    Prime,
    Regsync,
    Skopeo,
    /// Harbor tasks, which need no conversion: an error says so.
    Harbor,
}
