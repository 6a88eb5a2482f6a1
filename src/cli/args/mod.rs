//! Arguments of all commands. The doc comments are the help texts: the first line is shown by `-h`,
//! all of it by `--help`.

mod apply;
mod completions;
mod context;
mod convert;
mod doctor;
mod engine;
mod foreign_flags;
mod format;
mod init;
mod logs;
mod manifest;
mod plan;
mod run_files;
mod selection;
mod serve;
mod service;
mod show;
mod state;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{
    Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand,
    ValueEnum, ValueHint,
};

pub(super) use self::apply::{ApplyArgs, DEFAULT_RETRIES, ProgressChoice};
pub(super) use self::completions::{CompletionsArgs, ManArgs, ShellKind};
pub(super) use self::context::{ContextArgs, ContextCommand};
pub(super) use self::convert::{ConvertArgs, ForeignFormat};
pub(super) use self::doctor::DoctorArgs;
pub(super) use self::engine::EngineArgs;
use self::format::ProblemFormatArgs;
pub(super) use self::format::{OutputFormat, ProblemFormat};
pub(super) use self::init::InitArgs;
pub(super) use self::logs::LogsArgs;
pub(super) use self::manifest::{CommonArgs, FileArgs, ManifestArgs, StrictArgs};
pub(super) use self::plan::{PlanArgs, WhyArgs};
pub(super) use self::run_files::{JsonIntoArgs, ReportFile, ReportFormat, RunFileArgs};
pub(super) use self::selection::{LookupArgs, SelectionArgs};
pub(super) use self::serve::ServeArgs;
pub(super) use self::service::ServiceArgs;
pub(super) use self::show::{GraphArgs, GraphFormat, ShowArgs};
pub(super) use self::state::{LeaseArgs, StateArgs, StateCommand, StateCommandArgs};
use self::values::{duration, named};
use super::failure::Exit;
use crate::base::name::ImageRef;
use crate::plan::Pattern;

/// Commands in which the flags of the engine need `--local`.
const WITH_LOCAL_ENGINE: [&str; 2] = ["apply", "doctor"];

/// Help heading of the flags of the engine.
const ENGINE_HEADING: &str = "Engine";

/// Terraform for container images: declare images in a manifest, see what would change, apply it
#[derive(Debug, Parser)]
#[command(name = "imgplan", version, max_term_width = 100)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(after_long_help = Exit::table())]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: GlobalArgs,
    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, display_order = 105,
          help_heading = "Global")]
    version: Option<bool>,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global")]
pub(in crate::cli) struct GlobalArgs {
    /// Run in this directory
    #[arg(
        short = 'C',
        long,
        global = true,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        env = "IMGPLAN_CHDIR",
        display_order = 100
    )]
    pub(in crate::cli) chdir: Option<PathBuf>,
    /// When to use colors: auto, always or never
    ///
    /// `auto` uses colors on a terminal, unless `NO_COLOR` is set.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        env = "IMGPLAN_COLOR",
        display_order = 101,
        hide_short_help = true,
        hide_possible_values = true
    )]
    pub(in crate::cli) color: ColorChoice,
    /// Verbose output: every phase of every target
    #[arg(
        short,
        long,
        global = true,
        env = "IMGPLAN_VERBOSE",
        conflicts_with = "quiet",
        display_order = 102
    )]
    pub(in crate::cli) verbose: bool,
    /// Print only failures and the summary
    #[arg(short, long, global = true, env = "IMGPLAN_QUIET", display_order = 103)]
    pub(in crate::cli) quiet: bool,
    /// Print help; `--help` shows more than `-h`
    #[arg(short, long, global = true, action = ArgAction::Help, display_order = 104)]
    pub(in crate::cli) help: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ColorChoice {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Propose a manifest for the Dockerfiles and Harbor tasks of a folder
    Init(InitArgs),
    /// Check the manifest, its Dockerfiles and contexts without network access
    Validate(ValidateArgs),
    /// Show what would change, and why
    Plan(PlanArgs),
    /// Explain the plan for one image
    Why(WhyArgs),
    /// Carry out the plan after confirmation
    Apply(Box<ApplyArgs>),
    /// Pin sources and bases to digests in the lockfile
    Lock(LockArgs),
    /// Record an existing image in the lockfile
    Import(ImportArgs),
    /// Show builds in progress
    Status(StatusArgs),
    /// Print the log of a build
    ///
    /// Only a service with logs can: the local server. Others say why a build failed.
    Logs(LogsArgs),
    /// Show the lockfile
    Show(ShowArgs),
    /// Create, inspect and change the recorded state, also one that many runners share
    State(Box<StateCommandArgs>),
    /// Print the dependency graph of the manifest
    Graph(GraphArgs),
    /// Inspect or pack the files that an image is built from
    Context(ContextArgs),
    /// Print the JSON Schema of the manifest
    Schema(SchemaArgs),
    /// Write a manifest from a file of another tool
    Convert(ConvertArgs),
    /// Run a local server with the images API
    Serve(ServeArgs),
    /// Check what an apply needs: service, key, clock, registries, engine, disk
    ///
    /// Prints a line for each check, with what to do. Exits with 1 if an apply would stop. Without a
    /// manifest, what a manifest sets is not checked.
    Doctor(DoctorArgs),
    /// Print the script that completes commands in a shell
    ///
    /// In ~/.bashrc: eval "$(imgplan completions bash)"; in ~/.zshrc, after compinit: source
    /// <(imgplan completions zsh); for fish, write the script to
    /// ~/.config/fish/completions/imgplan.fish. Images, groups and labels are those of the manifest.
    Completions(CompletionsArgs),
    /// Write the manual pages
    #[command(hide = true)]
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ValidateArgs {
    #[command(flatten)]
    pub(in crate::cli) strict: StrictArgs,
    #[command(flatten)]
    pub(in crate::cli) format: ProblemFormatArgs,
    #[command(flatten)]
    pub(in crate::cli) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LockArgs {
    /// Only check that the pins in the lockfile are up to date
    ///
    /// Works without network access and fails if a pin is missing or unused.
    #[arg(long, help_heading = "Planning")]
    pub(in crate::cli) check: bool,
    /// Show what would be pinned, and write nothing
    #[arg(long, help_heading = "Planning")]
    pub(in crate::cli) dry_run: bool,
    /// Move existing pins to the current digests
    #[arg(long, env = "IMGPLAN_UPGRADE", help_heading = "Registry")]
    pub(in crate::cli) upgrade: bool,
    /// Move only the pins of matching images
    ///
    /// May be repeated.
    #[arg(long, value_name = "PATTERN", env = "IMGPLAN_UPGRADE_IMAGE", value_delimiter = ',',
          value_parser = named::<Pattern>, help_heading = "Registry")]
    pub(in crate::cli) upgrade_image: Vec<Pattern>,
    /// Maximum age of cached registry lookups
    ///
    /// A number and a unit: 0s, 5m, 1h.
    #[arg(long, value_name = "D", default_value = "0s", env = "IMGPLAN_MAX_AGE",
          value_parser = duration, help_heading = "Registry")]
    pub(in crate::cli) max_age: Duration,
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
    #[command(flatten)]
    pub(in crate::cli) lease: LeaseArgs,
    #[command(flatten)]
    pub(in crate::cli) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// Image of the manifest: `name:tag`, or `name` if it has one target
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) image: String,
    /// `name:tag` in the service, if it differs
    #[arg(value_name = "REMOTE")]
    pub(in crate::cli) remote: Option<ImageRef>,
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
    #[command(flatten)]
    pub(in crate::cli) lease: LeaseArgs,
    #[command(flatten)]
    pub(in crate::cli) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArgs {
    /// Show the recorded state without network access
    #[arg(long, env = "IMGPLAN_OFFLINE", conflicts_with = "watch", help_heading = "Planning")]
    pub(in crate::cli) offline: bool,
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
    /// Repeat until no build is in progress
    #[arg(short, long, env = "IMGPLAN_WATCH", help_heading = "Output")]
    pub(in crate::cli) watch: bool,
    #[command(flatten)]
    pub(in crate::cli) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SchemaArgs {
    /// Write the schema to a file
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(in crate::cli) output: Option<PathBuf>,
}

impl Cli {
    /// Returns the commands with their long help texts, which name the environment variables.
    pub(super) fn documented() -> clap::Command {
        help_with_env(Self::command())
    }

    /// Parses the command line and the environment.
    ///
    /// # Errors
    ///
    /// Fails on bad usage, and for `--help` and `--version`, whose output is the error's text.
    pub(super) fn parse_args() -> Result<Self, clap::Error> {
        let hide_engine = |command: clap::Command| {
            let is_engine = |arg: &Arg| arg.get_help_heading() == Some(ENGINE_HEADING);
            // Most do not need them, and a screen has no room.
            command.mut_args(|arg| if is_engine(&arg) { arg.hide_short_help(true) } else { arg })
        };
        let command = WITH_LOCAL_ENGINE
            .iter()
            .fold(Self::documented(), |all, name| all.mut_subcommand(name, hide_engine));
        let matches = command.try_get_matches().map_err(|error| {
            let args = std::env::args_os().skip(1);
            let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
            foreign_flags::add_tip(error, &args, &Self::command())
        })?;
        for name in WITH_LOCAL_ENGINE {
            matches.subcommand_matches(name).map_or(Ok(()), check_engine_flags)?;
        }
        let cli = Self::from_arg_matches(&matches)?;
        match &cli.command {
            Command::Plan(PlanArgs { format, common, .. })
            | Command::Why(WhyArgs { format, common, .. }) => format.check(common.json)?,
            Command::Validate(ValidateArgs { format, common, .. }) => format.check(common.json)?,
            _ => {}
        }
        Ok(cli)
    }
}

/// Fails if a flag of the engine was given without `--local`: the service has no such choice. A variable
/// of the environment may be for other commands.
fn check_engine_flags(matches: &ArgMatches) -> Result<(), clap::Error> {
    let command = EngineArgs::augment_args(clap::Command::new("imgplan"));
    let is_given =
        |arg: &&Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    match command.get_arguments().find(is_given).and_then(Arg::get_long) {
        Some(flag) if !matches.get_flag("local") => {
            let message = format!("--{flag} is for the server inside of imgplan: add --local\n");
            Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, message))
        }
        _ => Ok(()),
    }
}

/// Moves the names of environment variables from `-h` to `--help`, so that `-h` fits a screen.
fn help_with_env(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let Some(variable) = arg.get_env().map(|name| name.to_string_lossy().into_owned()) else {
            return arg;
        };
        let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string);
        let help = help.unwrap_or_default();
        arg.hide_env(true).long_help(format!("{help}\n\n[env: {variable}]"))
    });
    command.mut_subcommands(help_with_env)
}

impl Command {
    /// Takes the manifest flags and `--json` out of the command; defaults where it has none.
    pub(super) fn take_common(&mut self) -> CommonArgs {
        let common = match self {
            Self::Validate(ValidateArgs { format, common, .. }) => {
                common.json.json |= format.format() == ProblemFormat::Json;
                common
            }
            Self::Plan(PlanArgs { format, common, .. })
            | Self::Why(WhyArgs { format, common, .. }) => {
                common.json.json |= format.format() == OutputFormat::Json;
                common
            }
            Self::Apply(args) => &mut args.common,
            Self::Lock(args) => &mut args.common,
            Self::Import(args) => &mut args.common,
            Self::Status(args) => &mut args.common,
            Self::Graph(args) => &mut args.common,
            Self::Doctor(args) => &mut args.common,
            Self::State(args) => &mut args.command.flags().common,
            Self::Context(ContextArgs { command }) => match command {
                ContextCommand::Digest { common, .. }
                | ContextCommand::List { common, .. }
                | ContextCommand::Why { common, .. } => common,
                ContextCommand::Dockerfile { manifest, .. }
                | ContextCommand::Pack { manifest, .. } => {
                    let manifest = std::mem::take(manifest);
                    return CommonArgs { manifest, ..CommonArgs::default() };
                }
            },
            Self::Show(ShowArgs { json, file, .. }) => {
                let file = std::mem::take(file);
                let manifest = ManifestArgs { file, ..ManifestArgs::default() };
                return CommonArgs { json: *json, manifest };
            }
            Self::Logs(LogsArgs { manifest, .. }) => {
                let manifest = std::mem::take(manifest);
                return CommonArgs { manifest, ..CommonArgs::default() };
            }
            Self::Init(_)
            | Self::Schema(_)
            | Self::Convert(_)
            | Self::Serve(_)
            | Self::Completions(_)
            | Self::Man(_) => return CommonArgs::default(),
        };
        std::mem::take(common)
    }
}
