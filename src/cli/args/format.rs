//! The formats of plans, of explanations and of problems. The doc comments are the help texts.

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
        check(json, self.format.is_some_and(|format| format != OutputFormat::Json))
    }
}

/// The format of the problems of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ProblemFormat {
    /// Lines for a terminal.
    Text,
    /// The same as `--json`.
    Json,
    /// The report that GitLab shows in a merge request.
    Codequality,
}

/// The flag for the format of problems.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Output")]
pub(in crate::cli) struct ProblemFormatArgs {
    /// Output format: text, json or codequality
    ///
    /// `codequality` is the report that GitLab shows in a merge request. `json` is the same as `--json`.
    #[arg(
        long,
        value_name = "FORMAT",
        env = "IMGPLAN_VALIDATE_FORMAT",
        hide_possible_values = true
    )]
    format: Option<ProblemFormat>,
}

impl ProblemFormatArgs {
    /// Returns the format; text if none is given.
    pub(in crate::cli) fn format(self) -> ProblemFormat {
        self.format.unwrap_or(ProblemFormat::Text)
    }

    /// Fails if `--json` is given with another format.
    pub(super) fn check(self, json: JsonArgs) -> Result<(), clap::Error> {
        check(json, self.format.is_some_and(|format| format != ProblemFormat::Json))
    }
}

fn check(json: JsonArgs, is_other: bool) -> Result<(), clap::Error> {
    if json.json && is_other {
        let message = "--json cannot be used with another --format: omit one of them\n";
        return Err(clap::Error::raw(ErrorKind::ArgumentConflict, message));
    }
    Ok(())
}
