//! The command line: arguments (`args`), their meaning (`settings`, `selection`, `service`), what
//! commands share (`session`, `survey`, `planned`), output (`ui`, `writer`), errors and exit codes
//! (`failure`), and one file for each command.

mod apply;
mod approval;
mod args;
mod background;
mod base_wait;
mod code_quality;
mod completions;
mod context;
mod convert;
mod decision;
mod diagnostic;
mod doctor;
mod door;
mod engine;
mod env;
mod execution;
mod failure;
mod footer;
mod github;
mod graph;
mod history;
mod import;
mod init;
mod json_file;
mod lock;
mod lockfile;
mod logs;
mod man;
mod memory;
mod owner_change;
mod plan;
mod planned;
mod refresh;
mod registries;
mod repository_path;
mod rerun;
mod run_files;
mod safe_diagnostic;
mod saved_plan;
mod schema;
mod search;
mod selection;
mod serve;
mod service;
mod session;
mod settings;
mod show;
mod signals;
mod state;
mod state_place;
mod status;
mod survey;
mod threads;
mod ui;
mod validate;
mod why;
mod writer;

use std::process::ExitCode;

use self::args::{Cli, Command};
use self::failure::{Exit, Failure};
use self::settings::Settings;
use self::ui::Ui;

/// Runs the program and returns its exit code, one of `failure::Exit`.
pub fn main() -> ExitCode {
    if completions::answer() {
        return Exit::Success.into();
    }
    let mut cli = match Cli::parse_args() {
        Ok(cli) => cli,
        Err(error) => {
            // clap would exit with 2 on bad usage, which here means that a plan has changes.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            // If the stream is closed, nobody reads the text.
            let _ = ui::usage(&error);
            return exit.into();
        }
    };
    let settings = Settings::resolve(cli.global, cli.command.take_common());
    let mut ui = Ui::new(&settings);
    let runtime = threads::check()
        .and_then(|()| tokio::runtime::Builder::new_multi_thread().enable_all().build());
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(async {
                let result = tokio::select! {
                    biased;
                    result = run(&mut ui, &settings, cli.command) => result,
                    failure = settings.background.interrupted() => Err(failure),
                };
                settings.background.end().await;
                result
            });
            // Tasks that still run are not needed: all results are on disk.
            runtime.shutdown_background();
            result
        }
        Err(error) => {
            let message = format!("cannot start the threads of the program: {error}");
            Err(Failure::with_help(message, "allow this user more processes (ulimit -u)"))
        }
    };
    let exit = result.unwrap_or_else(|failure| ui.failure(&failure));
    ui.close_json_file(exit).into()
}

async fn run(ui: &mut Ui, settings: &Settings, command: Command) -> Result<Exit, Failure> {
    if let Some(dir) = &settings.chdir {
        std::env::set_current_dir(dir).map_err(|error| {
            Failure::new(format!("cannot change to {}: {error}", dir.display()))
        })?;
    }
    match command {
        Command::Init(args) => init::run(ui, settings, &args).await,
        Command::Validate(args) => validate::run(ui, settings, args).await,
        Command::Plan(args) => plan::run(ui, settings, args).await,
        Command::Why(args) => why::run(ui, settings, args).await,
        Command::Apply(args) => apply::run(ui, settings, *args).await,
        Command::Lock(args) => lock::run(ui, settings, args).await,
        Command::Import(args) => import::run(ui, settings, args).await,
        Command::Status(args) => status::run(ui, settings, args).await,
        Command::Logs(args) => logs::run(ui, settings, args).await,
        Command::Show(args) => show::run(ui, settings, args).await,
        Command::State(args) => state::run(ui, settings, args.command).await,
        Command::Graph(args) => graph::run(ui, settings, args),
        Command::Context(args) => context::run(ui, settings, args).await,
        Command::Schema(args) => schema::run(ui, args),
        Command::Convert(args) => convert::run(ui, args),
        Command::Serve(args) => serve::run(ui, args).await,
        Command::Doctor(args) => doctor::run(ui, settings, args).await,
        Command::Completions(args) => completions::run(ui, args),
        Command::Man(args) => man::run(ui, args),
    }
}
