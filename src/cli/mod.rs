//! The command line: what was typed (`args`), what it means (`settings`), where output goes
//! (`ui`), how it ends (`failure`), and one file a command.

mod apply;
mod args;
mod context;
mod diagnostic;
mod env;
mod failure;
mod graph;
mod history;
mod import;
mod lock;
mod memory;
mod plan;
mod refresh;
mod registries;
mod rerun;
mod saved_plan;
mod schema;
mod selection;
mod serve;
mod service;
mod session;
mod settings;
mod show;
mod signals;
mod status;
mod ui;
mod validate;
mod why;
mod writer;

use std::process::ExitCode;

use self::args::{Cli, Command};
use self::failure::{Exit, Failure};
use self::settings::Settings;
use self::ui::Ui;

/// Runs the program and says how it ended (the table of exit codes is at `failure::Exit`).
pub fn main() -> ExitCode {
    let mut cli = match Cli::parse_args() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap itself would end bad usage with 2, which here
            // means that a plan found changes.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            // A closed stream leaves nobody to tell.
            let _ = error.print();
            return exit.into();
        }
    };
    let settings = Settings::resolve(cli.global, cli.command.take_common());
    let mut ui = Ui::new(&settings);
    let result = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let result = runtime.block_on(run(&mut ui, &settings, cli.command));
            // Nothing that still runs is worth waiting for: what matters is on disk.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Failure::new(format!("cannot start the runtime: {error}"))),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => ui.failure(&failure).into(),
    }
}

async fn run(ui: &mut Ui, settings: &Settings, command: Command) -> Result<Exit, Failure> {
    if let Some(dir) = &settings.chdir {
        std::env::set_current_dir(dir)
            .map_err(|error| Failure::new(format!("cannot enter {}: {error}", dir.display())))?;
    }
    match command {
        Command::Validate(args) => validate::run(ui, settings, args),
        Command::Plan(args) => plan::run(ui, settings, args).await,
        Command::Why(args) => why::run(ui, settings, args).await,
        Command::Apply(args) => apply::run(ui, settings, args).await,
        Command::Lock(args) => lock::run(ui, settings, args).await,
        Command::Import(args) => import::run(ui, settings, args).await,
        Command::Status(args) => status::run(ui, settings, args).await,
        Command::Show(args) => show::run(ui, settings, args),
        Command::Graph(args) => graph::run(ui, settings, args),
        Command::Context(args) => context::run(ui, settings, args),
        Command::Schema(args) => schema::run(ui, args),
        Command::Serve(args) => serve::run(ui, args).await,
    }
}
