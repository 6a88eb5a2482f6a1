//! Arguments of `imgplan completions` and `imgplan man`. The doc comments are the help texts.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(in crate::cli) struct CompletionsArgs {
    /// Shell: bash, zsh, fish or elvish
    ///
    /// PowerShell is left out: the usual script for it would execute the line that is typed.
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    pub(in crate::cli) shell: ShellKind,
}

/// A shell that has completions.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum ShellKind {
    Bash,
    Zsh,
    Fish,
    Elvish,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ManArgs {
    /// Folder for the pages, which is created if it does not exist
    #[arg(short, long, value_name = "DIR", help_heading = "Output")]
    pub(in crate::cli) output: PathBuf,
}
