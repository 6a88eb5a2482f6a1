//! What was typed. The comments are the help; nothing here does anything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use regex::Regex;

use super::choice::{ChoiceArgs, LookArgs};
use super::context::ContextArgs;
use crate::base::limit::{ClassLimit, parse_duration};
use crate::base::name::{ImageRef, NameError};
use crate::manifest::{Override, Variable};
use crate::plan::Pattern;
use crate::server::{BulkShape, Fault};

/// How often a request is sent again where nothing is said.
pub(super) const DEFAULT_RETRY_TIMES: u32 = 9;

/// Terraform for container images: say in a manifest which images should exist, see what would
/// change, and apply it
#[derive(Debug, Parser)]
#[command(name = "imgplan", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: GlobalArgs,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Args)]
pub(super) struct GlobalArgs {
    /// The manifest; its paths are relative to its own folder. `-` reads standard input. May be
    /// repeated: the first is read as if it included the others
    #[arg(
        short,
        long = "file",
        global = true,
        value_name = "FILE",
        default_value = "imgplan.yaml",
        env = "IMGPLAN_FILE",
        value_delimiter = '\n'
    )]
    pub(super) files: Vec<PathBuf>,
    /// A variable for `${NAME}` in the manifest, over all others; may be repeated. In the
    /// environment one a line
    #[arg(long = "var", global = true, value_name = "NAME=VALUE", env = "IMGPLAN_VAR",
          hide_env_values = true, value_parser = lines::<Variable>)]
    pub(super) vars: Vec<Lines<Variable>>,
    /// Let images whose name matches say something else, as '*.visibility=public' or
    /// 'api*.args.PY=3.13'; `+=` adds to a list. May be repeated; in the environment one a line
    #[arg(long = "set", global = true, value_name = "PATTERN.FIELD[+]=V", env = "IMGPLAN_SET",
          hide_env_values = true, value_parser = lines::<Override>)]
    pub(super) sets: Vec<Lines<Override>>,
    /// Run as if started in this folder
    #[arg(short = 'C', long, global = true, value_name = "DIR", env = "IMGPLAN_CHDIR")]
    pub(super) chdir: Option<PathBuf>,
    /// Write JSON lines to standard output, and nothing else there
    #[arg(long, global = true, env = "IMGPLAN_JSON")]
    pub(super) json: bool,
    /// When to colour; `auto` does on a terminal, unless `NO_COLOR` is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", env = "IMGPLAN_COLOR")]
    pub(super) color: When,
    /// Tell more: each phase of each image
    #[arg(short, long, global = true, env = "IMGPLAN_VERBOSE", conflicts_with = "quiet")]
    pub(super) verbose: bool,
    /// Tell less: failures and the end
    #[arg(short, long, global = true, env = "IMGPLAN_QUIET")]
    pub(super) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check the manifest and the Dockerfiles that it names, without asking anyone
    Validate(ValidateArgs),
    /// Show what would be done, and why; changes nothing
    Plan(PlanArgs),
    /// Explain one image in full: every reason and file, and its bases down to the cause
    Why(WhyArgs),
    /// Do what the plan says, after asking
    Apply(ApplyArgs),
    /// Pin what sources and bases stand for, in the lockfile; builds nothing
    Lock(LockArgs),
    /// Take an image that exists into the lockfile, as what the manifest says it is
    Import(ImportArgs),
    /// Show the builds that are under way, by the lockfile, the journal and the service
    Status(StatusArgs),
    /// Show what the lockfile knows
    Show(ShowArgs),
    /// Draw what needs what, from the manifest alone
    Graph(GraphArgs),
    /// Show, explain or pack the files that an image is built from
    Context(ContextArgs),
    /// Print the JSON Schema of the manifest, for editors
    Schema(SchemaArgs),
    /// Serve the images API on this machine, to try and test against
    Serve(ServeArgs),
}

/// Which service, and how fast.
#[derive(Debug, Args)]
pub(super) struct ServiceArgs {
    /// Use a server inside this process, with its state and a lockfile of its own under
    /// `.imgplan/local/`; needs no account
    #[arg(long, env = "IMGPLAN_LOCAL")]
    pub(super) local: bool,
    /// The budget of a class of requests, as initiate=150/60s; may be repeated. Classes: initiate,
    /// start, status, list, images (transfers, counted in images), update, delete
    #[arg(long = "limit", value_name = "CLASS=N/Ds", env = "IMGPLAN_LIMIT", value_delimiter = ',')]
    pub(super) limits: Vec<ClassLimit>,
}

/// What is an error.
#[derive(Debug, Args)]
pub(super) struct StrictArgs {
    /// Take a warning, of the manifest or of a context, for an error: nothing is sent or written
    #[arg(long, env = "IMGPLAN_DENY_WARNINGS")]
    pub(super) deny_warnings: bool,
}

#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    #[command(flatten)]
    pub(super) strict: StrictArgs,
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub(super) service: ServiceArgs,
    #[command(flatten)]
    pub(super) strict: StrictArgs,
    #[command(flatten)]
    pub(super) choice: ChoiceArgs,
    #[command(flatten)]
    pub(super) look: LookArgs,
    /// Ask nobody: plan from the lockfile alone
    #[arg(long, env = "IMGPLAN_OFFLINE")]
    pub(super) offline: bool,
    /// Show only how the service differs from the lockfile
    #[arg(long, env = "IMGPLAN_REFRESH_ONLY")]
    pub(super) refresh_only: bool,
    /// Save the plan, for `imgplan apply FILE` to do just this
    #[arg(long, value_name = "FILE", env = "IMGPLAN_OUT", conflicts_with = "refresh_only")]
    pub(super) out: Option<PathBuf>,
    /// Exit with 2 if there are changes
    #[arg(long, env = "IMGPLAN_DETAILED_EXITCODE")]
    pub(super) detailed_exitcode: bool,
}

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// `name:tag`, or `name` for all that the image is made as
    #[arg(value_name = "IMAGE")]
    pub(super) image: String,
    #[command(flatten)]
    pub(super) service: ServiceArgs,
    #[command(flatten)]
    pub(super) look: LookArgs,
    /// Ask nobody: explain from the lockfile alone
    #[arg(long, env = "IMGPLAN_OFFLINE")]
    pub(super) offline: bool,
}

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// A plan that `imgplan plan --out` saved: just that is done, without asking
    #[arg(value_name = "PLAN")]
    pub(super) saved: Option<PathBuf>,
    #[command(flatten)]
    pub(super) service: ServiceArgs,
    #[command(flatten)]
    pub(super) choice: ChoiceArgs,
    #[command(flatten)]
    pub(super) look: LookArgs,
    /// Only bring the lockfile in line with the service: images that are gone, and who may pull them
    #[arg(long, env = "IMGPLAN_REFRESH_ONLY", conflicts_with = "saved")]
    pub(super) refresh_only: bool,
    /// How many images may be deleted at most [default: any number that was agreed to; 0 with
    /// --auto-approve]
    #[arg(long, value_name = "N", env = "IMGPLAN_MAX_DESTROY")]
    pub(super) max_destroy: Option<usize>,
    #[command(flatten)]
    pub(super) strict: StrictArgs,
    /// Do not ask
    #[arg(long, env = "IMGPLAN_AUTO_APPROVE")]
    pub(super) auto_approve: bool,
    /// Exit with 2 if something was changed, and with 3 if only a part of it could be
    #[arg(long, env = "IMGPLAN_DETAILED_EXITCODE")]
    pub(super) detailed_exitcode: bool,
    /// Builds in flight at once, and transfers of each owner; the request budget is apart from it
    /// [default: 64 builds, and as many transfers as their budget allows]
    #[arg(long, alias = "parallelism", value_name = "N", env = "IMGPLAN_CONCURRENCY",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) concurrency: Option<u32>,
    /// How often a request that met trouble that passes is sent again; a limit of the service is
    /// waited for however often
    #[arg(long, value_name = "N", default_value_t = DEFAULT_RETRY_TIMES, env = "IMGPLAN_RETRY_TIMES",
          value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(super) retry_times: u32,
    /// End after this long: 45m, 2h. What is not done then stays pending, and the next apply goes on
    #[arg(long, value_name = "D", env = "IMGPLAN_TIMEOUT", value_parser = duration)]
    pub(super) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct LockArgs {
    #[command(flatten)]
    pub(super) service: ServiceArgs,
    /// Ask again for what is pinned already
    #[arg(long, env = "IMGPLAN_UPGRADE")]
    pub(super) upgrade: bool,
    /// The same for some images only; may be repeated
    #[arg(long, value_name = "PATTERN", env = "IMGPLAN_UPGRADE_IMAGE", value_delimiter = ',',
          value_parser = named::<Pattern>)]
    pub(super) upgrade_image: Vec<Pattern>,
    /// How old an answer of a registry may be: 1h, 0s
    #[arg(long, value_name = "D", default_value = "0s", env = "IMGPLAN_MAX_AGE",
          value_parser = duration)]
    pub(super) max_age: Duration,
    /// Only see whether each reference is pinned, and nothing besides; asks nobody
    #[arg(long)]
    pub(super) check: bool,
    /// Show what would be pinned, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The image of the manifest: `name:tag`, or `name` where there is one of that name
    #[arg(value_name = "IMAGE")]
    pub(super) image: String,
    /// What it is called in the service, where that is something else: `name:tag`
    #[arg(value_name = "REMOTE")]
    pub(super) remote: Option<ImageRef>,
    #[command(flatten)]
    pub(super) service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    pub(super) service: ServiceArgs,
    /// Look again and again until nothing is under way
    #[arg(short, long, env = "IMGPLAN_WATCH")]
    pub(super) watch: bool,
    /// Ask nobody: show what is on record
    #[arg(long, env = "IMGPLAN_OFFLINE", conflicts_with = "watch")]
    pub(super) offline: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Only these: `name` or `name:tag`
    #[arg(value_name = "IMAGE")]
    pub(super) images: Vec<String>,
    /// Of the lockfile that `--local` keeps
    #[arg(long, env = "IMGPLAN_LOCAL")]
    pub(super) local: bool,
}

#[derive(Debug, Args)]
pub(super) struct GraphArgs {
    /// Only these and what they need: `name`, `name:tag` or a pattern of them; all by default
    #[arg(value_name = "IMAGE")]
    pub(super) images: Vec<String>,
    /// The language of the drawing; an arrow goes from an image to what it needs
    #[arg(long, value_name = "FORMAT", default_value = "dot", env = "IMGPLAN_GRAPH_FORMAT")]
    pub(super) format: GraphFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum GraphFormat {
    /// For Graphviz: `imgplan graph | dot -Tsvg`
    Dot,
    /// For Mermaid, which Markdown shows as a picture on most code hosts
    Mermaid,
    /// As data
    Json,
}

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Write it to a file
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", env = "IMGPLAN_LISTEN")]
    pub(super) listen: SocketAddr,
    /// Write the URL to this file once the server listens
    #[arg(long, value_name = "FILE")]
    pub(super) url_file: Option<PathBuf>,
    /// The one key that is accepted; without it, any is
    #[arg(long, env = "IMGPLAN_TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
    /// Keep the state in this folder; without it, it is gone with the server
    #[arg(long, value_name = "DIR", env = "IMGPLAN_STATE")]
    pub(super) state: Option<PathBuf>,
    /// The limit of a class of requests, as initiate=150/60s; may be repeated
    #[arg(long = "limit", value_name = "CLASS=N/Ds")]
    pub(super) limits: Vec<ClassLimit>,
    /// How long a build takes: 5s, 200ms
    #[arg(long, value_name = "D", default_value = "0s", value_parser = duration)]
    pub(super) build_time: Duration,
    /// How long an upload URL is good
    #[arg(long, value_name = "D", default_value = "1h", value_parser = duration)]
    pub(super) upload_ttl: Duration,
    /// How many images the account, and each team, may have
    #[arg(long, value_name = "N")]
    pub(super) quota: Option<u32>,
    /// How a comma list of transfers is answered: build-ids, results or builds
    #[arg(long, value_name = "SHAPE", default_value = "build-ids", value_parser = named::<BulkShape>)]
    pub(super) bulk_shape: BulkShape,
    /// Let builds and transfers fail whose `name:tag` matches
    #[arg(long, value_name = "REGEX")]
    pub(super) fail: Option<Regex>,
    /// Let something go wrong with a share of the requests, as initiate:500:0.2 or
    /// all:cut-after:5%; may be repeated. Classes: initiate, start, status, list, update, delete,
    /// upload, all. Kinds: 500, 503, 429, 429-date, cut-before, cut-after, html, html-after, slow
    /// (or slow=3s), late (or late=5s), expired, length
    #[arg(long = "fault", value_name = "CLASS:KIND:RATE", value_parser = named::<Fault>)]
    pub(super) faults: Vec<Fault>,
    /// Which requests the faults strike; the same ones for the same seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,
}

/// What a variable of the environment holds where a flag may be repeated: one a line.
#[derive(Debug, Clone)]
pub(super) struct Lines<T>(pub(super) Vec<T>);

/// Empty lines say nothing.
fn lines<T: FromStr<Err = NameError>>(text: &str) -> Result<Lines<T>, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let all: Vec<T> = lines.map(named).collect::<Result<_, _>>()?;
    if all.is_empty() && !text.is_empty() {
        return Err("there is nothing in it".to_owned());
    }
    Ok(Lines(all))
}

pub(super) fn named<T: FromStr<Err = NameError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|NameError { message, help }| format!("{message}: {help}"))
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a number and a unit: 5s, 200ms, 2m".to_owned())
}
