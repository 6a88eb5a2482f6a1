//! Combines flags and environment into the settings of all commands.

use std::io::IsTerminal;
use std::path::PathBuf;

use super::args::{ColorChoice, CommonArgs, GlobalArgs, ManifestArgs, ProgressChoice};
use super::background::Background;
use super::env::env;
use crate::manifest::{Allowed, Invocation, root_of};
use crate::report::{Progress, ReportOptions, Verbosity};
use crate::state::StatePaths;

/// Settings of all commands.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) manifest: Invocation,
    pub(super) chdir: Option<PathBuf>,
    pub(super) json: bool,
    pub(super) report: ReportOptions,
    pub(super) background: Background,
}

impl Settings {
    /// Combines flags and environment. The patterns have no `..`, so that no flag is forgotten.
    pub(super) fn resolve(global: GlobalArgs, common: CommonArgs) -> Self {
        let GlobalArgs { chdir, color, verbose, quiet, help: _ } = global;
        let CommonArgs { json, manifest } = common;
        let ManifestArgs { file, vars, sets, allow_outside, allow_env } = manifest;
        let vars = vars.into_iter().flat_map(|lines| lines.0);
        let has_color = |terminal: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && env("NO_COLOR").is_none_or(|text| text.is_empty()),
        };
        let verbosity = match (verbose, quiet) {
            (true, _) => Verbosity::Verbose,
            (false, true) => Verbosity::Quiet,
            (false, false) => Verbosity::Normal,
        };
        let columns = env("COLUMNS").and_then(|text| text.parse().ok());
        let out = std::io::stdout();
        let size = || Some(usize::from(terminal_size::terminal_size_of(&out)?.0.0));
        Self {
            manifest: Invocation {
                files: file.files,
                text: None,
                // The API key must not reach a manifest, from which it could reach an image.
                vars: vars.filter(|var| !var.is_secret()).collect(),
                sets: sets.into_iter().flat_map(|lines| lines.0).collect(),
                allowed: Allowed { folders: allow_outside, variables: allow_env },
            },
            chdir,
            json: json.json,
            report: ReportOptions {
                color_stdout: has_color(out.is_terminal()),
                color_stderr: has_color(std::io::stderr().is_terminal()),
                width: columns.unwrap_or(100),
                // Lines are cut for a screen only.
                columns: columns.or_else(size).filter(|_| out.is_terminal()),
                verbosity,
                hints: env("IMGPLAN_IN_AUTOMATION").is_none(),
                progress: Progress::Lines,
            },
            background: Background::default(),
        }
    }

    /// Returns the form of the progress of a run. A footer needs a terminal that can be redrawn; a CI
    /// system shows each frame as a line.
    pub(super) fn progress(&self, choice: ProgressChoice) -> Progress {
        // A terminal without a size shows no footer.
        let is_terminal = terminal_size::terminal_size_of(std::io::stderr()).is_some();
        let is_set = |name| env(name).is_some_and(|value| !value.is_empty() && value != "false");
        let is_dumb = env("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let is_quiet = self.report.verbosity == Verbosity::Quiet;
        match choice {
            ProgressChoice::None => Progress::None,
            _ if !is_terminal || self.json || is_quiet => Progress::Lines,
            ProgressChoice::Tty => Progress::Footer,
            ProgressChoice::Auto if !is_dumb && !is_set("CI") => Progress::Footer,
            ProgressChoice::Auto | ProgressChoice::Plain => Progress::Lines,
        }
    }

    /// Returns the directory of files that are not committed. All services share its stat cache.
    pub(super) fn work_dir(&self) -> PathBuf {
        StatePaths::beside(&self.root()).work
    }

    /// Returns the directory of the first manifest, in which the lockfile is.
    pub(super) fn root(&self) -> PathBuf {
        root_of(self.manifest.first())
    }
}
