//! The format of a plan and of its explanation. The doc comments are the help texts.

use clap::error::ErrorKind;
use clap::{Args, ValueEnum};

use super::manifest::JsonArgs;

/// The format of the data that a command writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum OutputFormat {
    /// Lines for a terminal.
    Text,
    /// Markdown, for the comment of a pull request.
    Markdown,
    /// The same as `--json`.
    Json,
}

/// The flag for the format.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Output")]
pub(in crate::cli) struct FormatArgs {
    /// Output format: text, markdown or json
    ///
    /// `markdown` is for the comment of a pull request, and has at most 65,000 characters. `json` is the
    /// same as `--json`.
    #[arg(long, value_name = "FORMAT", env = "IMGPLAN_FORMAT", hide_possible_values = true)]
    format: Option<OutputFormat>,
}

impl FormatArgs {
    /// Returns the format; text if none is given.
    pub(in crate::cli) fn format(self) -> OutputFormat {
        self.format.unwrap_or(OutputFormat::Text)
    }

    /// Fails if `--json` is given with another format.
    pub(super) fn check(self, json: JsonArgs) -> Result<(), clap::Error> {
        match self.format {
            Some(OutputFormat::Text | OutputFormat::Markdown) if json.json => {
                let message = "--json cannot be used with another --format: omit one of them\n";
                Err(clap::Error::raw(ErrorKind::ArgumentConflict, message))
            }
            _ => Ok(()),
        }
    }
}
