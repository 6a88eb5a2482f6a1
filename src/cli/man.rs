//! `imgplan man`: writes the manual pages, one for each command, for those who make packages.

use clap_mangen::Man;
use jiff::Timestamp;

use super::args::{Cli, ManArgs};
use super::env::env;
use super::failure::{Exit, Failure};
use super::ui::Ui;
use crate::base::file::{self, AtPath};
use crate::base::text::plural;

/// Name of the manual, in the first line of a page.
const MANUAL: &str = "User Commands";

/// Variable with the time of a reproducible build, in seconds since 1970.
const DATE_VARIABLE: &str = "SOURCE_DATE_EPOCH";

pub(super) fn run(ui: &mut Ui, args: ManArgs) -> Result<Exit, Failure> {
    std::fs::create_dir_all(&args.output).at("create", &args.output)?;
    // `help` is a command of clap, which has no options.
    let mut command = Cli::documented().disable_help_subcommand(true);
    command.build();
    let time = env(DATE_VARIABLE).and_then(|text| Timestamp::from_second(text.parse().ok()?).ok());
    let date = time.unwrap_or_else(Timestamp::now).strftime("%Y-%m-%d").to_string();
    let pages = pages(&command, &date)?;
    for (name, text) in &pages {
        file::replace(&args.output.join(name), text.as_bytes())?;
    }
    let pages = plural(pages.len(), "page");
    ui.message(format_args!("wrote {pages} to {}", args.output.display()))?;
    Ok(Exit::Success)
}

/// Returns the page of a command and of all commands in it, each with its file name.
fn pages(command: &clap::Command, date: &str) -> std::io::Result<Vec<(String, String)>> {
    let source = concat!("imgplan ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual(MANUAL).date(date);
    let mut text = Vec::new();
    man.render(&mut text)?;
    let mut all = vec![(man.get_filename(), corrected(&String::from_utf8_lossy(&text)))];
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        all.extend(pages(inner, date)?);
    }
    Ok(all)
}

/// Gives the exit codes the usual heading, and removes the line breaks beside empty lines, of which
/// mandoc warns.
fn corrected(page: &str) -> String {
    let lines: Vec<&str> = page.lines().collect();
    let is_space = |index: Option<usize>| index.and_then(|at| lines.get(at)) == Some(&"");
    let is_kept = |at: &usize| {
        lines[*at] != ".br" || !(is_space(at.checked_sub(1)) || is_space(Some(at + 1)))
    };
    let kept: Vec<&str> = (0..lines.len()).filter(is_kept).map(|at| lines[at]).collect();
    (kept.join("\n") + "\n").replace(".SH EXTRA\nExit codes:\n", ".SH \"EXIT STATUS\"\n")
}
