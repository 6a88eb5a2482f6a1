//! `imgplan man`: writes the manual pages, one for each command, for those who make packages.

use clap::CommandFactory;
use clap_mangen::Man;

use super::args::{Cli, ManArgs};
use super::failure::{Exit, Failure};
use super::ui::Ui;
use crate::base::file::{self, AtPath};
use crate::base::text::plural;

/// Name of the manual, in the first line of a page.
const MANUAL: &str = "User Commands";

pub(super) fn run(ui: &mut Ui, args: ManArgs) -> Result<Exit, Failure> {
    std::fs::create_dir_all(&args.output).at("create", &args.output)?;
    // `help` is a command of clap, which has no options.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let pages = pages(&command)?;
    for (name, text) in &pages {
        file::replace(&args.output.join(name), text)?;
    }
    let pages = plural(pages.len(), "page");
    ui.message(format_args!("wrote {pages} to {}", args.output.display()))?;
    Ok(Exit::Success)
}

/// Returns the page of a command and of all commands in it, each with its file name.
fn pages(command: &clap::Command) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let source = concat!("imgplan ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual(MANUAL);
    let mut text = Vec::new();
    man.render(&mut text)?;
    let mut all = vec![(man.get_filename(), text)];
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        all.extend(pages(inner)?);
    }
    Ok(all)
}
