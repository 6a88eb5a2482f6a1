//! Files that a run writes about itself. The doc comments are the help texts.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use super::values::{Lines, lines};
use crate::base::name::NameError;

/// A file for JSON lines.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(in crate::cli) struct JsonIntoArgs {
    /// Write JSON lines to a file, and text to the terminal
    ///
    /// The lines are those of `--json`. The file is replaced, and can be read while the command runs.
    #[arg(long, value_name = "FILE", env = "IMGPLAN_JSON_INTO", hide_short_help = true)]
    pub(in crate::cli) json_into: Option<PathBuf>,
}

/// Reports of a run.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub(in crate::cli) struct RunFileArgs {
    /// Write a report of the run: FILE.html or FILE.md
    ///
    /// The page has a timeline of all targets and loads nothing. May be repeated; the environment
    /// variable holds one path per line. The reports of a run are written once the plan is approved and
    /// the run has ended, however it ended. Whether the files can be written is checked before anything
    /// is sent. If a report cannot be written after the run, a run that succeeded exits with 1.
    #[arg(
        long = "report",
        value_name = "FILE",
        env = "IMGPLAN_REPORT",
        value_parser = lines::<ReportFile>,
        conflicts_with = "refresh_only",
        hide_short_help = true
    )]
    pub(in crate::cli) reports: Vec<Lines<ReportFile>>,
    /// Write a JUnit report of the run, with a test case for each target
    #[arg(
        long,
        value_name = "FILE",
        env = "IMGPLAN_JUNIT",
        conflicts_with = "refresh_only",
        hide_short_help = true
    )]
    pub(in crate::cli) junit: Option<PathBuf>,
    /// Write the path, build and result of each target as JSON
    ///
    /// The shape is that of `docker buildx bake --metadata-file`.
    #[arg(
        long,
        value_name = "FILE",
        env = "IMGPLAN_METADATA_FILE",
        conflicts_with = "refresh_only",
        hide_short_help = true
    )]
    pub(in crate::cli) metadata_file: Option<PathBuf>,
}

/// A report for people.
#[derive(Debug, Clone)]
pub(in crate::cli) struct ReportFile {
    pub(in crate::cli) path: PathBuf,
    pub(in crate::cli) format: ReportFormat,
}

/// The format of a report for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum ReportFormat {
    Html,
    Markdown,
}

impl FromStr for ReportFile {
    type Err = NameError;

    /// Parses the path of a report, whose extension names the format.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let path = Path::new(text);
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("html") => ReportFormat::Html,
            Some("md") => ReportFormat::Markdown,
            _ => {
                let message = "a report is an HTML page or Markdown";
                return Err(NameError::new(message, "write FILE.html or FILE.md"));
            }
        };
        Ok(Self { path: path.to_owned(), format })
    }
}
