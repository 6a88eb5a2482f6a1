//! What was typed, and what the environment says, made into what it means.

use std::io::IsTerminal;
use std::path::PathBuf;

use super::args::{ColorChoice, CommonArgs, GlobalArgs, ManifestArgs};
use super::env::env;
use crate::manifest::Invocation;
use crate::report::{self, Verbosity};
use crate::state::StatePaths;

/// Builds in flight where nothing is said. The pending ones share a listing, so that many cost no
/// more requests than few.
pub(super) const DEFAULT_BUILDS: u32 = 64;

/// Transfers in flight, for each owner, where nothing is said: more than a budget of 60 in a minute
/// ever has, even if each takes a quarter of an hour. The service does them without us.
pub(super) const DEFAULT_TRANSFERS: u32 = 1000;

/// What holds for every command.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) manifest: Invocation,
    pub(super) chdir: Option<PathBuf>,
    pub(super) json: bool,
    pub(super) report: report::ReportOptions,
}

impl Settings {
    /// Nothing that was typed may be forgotten here: the pattern has no `..`.
    pub(super) fn resolve(global: GlobalArgs, common: CommonArgs) -> Self {
        let GlobalArgs { chdir, color, verbose, quiet, help: _ } = global;
        let CommonArgs { json, manifest: ManifestArgs { file, vars, sets } } = common;
        // The key has its own door; a manifest that asks for it is refused.
        let vars = vars.into_iter().flat_map(|lines| lines.0);
        let wanted = |terminal: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && env("NO_COLOR").is_none_or(|text| text.is_empty()),
        };
        let talk = match (verbose, quiet) {
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
                vars: vars.filter(|var| !var.is_secret()).collect(),
                sets: sets.into_iter().flat_map(|lines| lines.0).collect(),
            },
            chdir,
            json: json.json,
            report: report::ReportOptions {
                color: wanted(std::io::stdout().is_terminal()),
                color_talk: wanted(std::io::stderr().is_terminal()),
                width: columns.unwrap_or(100),
                // What is piped is read by other means than a screen.
                columns: columns.or_else(size).filter(|_| out.is_terminal()),
                talk,
                hints: env("IMGPLAN_IN_AUTOMATION").is_none(),
            },
        }
    }

    /// The folder of what is not committed; the stat cache in it is one for all services.
    pub(super) fn work(&self) -> PathBuf {
        StatePaths::beside(&self.root()).work
    }

    /// The folder of the first manifest, where the lockfile lies.
    pub(super) fn root(&self) -> PathBuf {
        crate::manifest::root_of(self.manifest.first())
    }
}
