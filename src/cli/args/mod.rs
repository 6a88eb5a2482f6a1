//! What was typed. The comments are the help; nothing here does anything.

mod context;
mod selection;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use regex::Regex;

pub(super) use self::context::{ContextArgs, ContextCommand};
pub(super) use self::selection::{LookupArgs, SelectionArgs};
use self::values::{Lines, duration, lines, named};
use crate::base::limit::ClassLimit;
use crate::base::name::ImageRef;
use crate::manifest::{Override, Variable};
use crate::plan::Pattern;
use crate::server::{BulkShape, Fault};

/// How often a request is sent again where nothing is said.
pub(in crate::cli) const DEFAULT_RETRY_TIMES: u32 = 9;

/// Terraform for container images: say in a manifest which images should exist, see what would
/// change, and apply it
#[derive(Debug, Parser)]
#[command(name = "imgplan", version, max_term_width = 100)]
pub(in crate::cli) struct Cli {
    #[command(flatten)]
    pub(in crate::cli) global: GlobalArgs,
    #[command(subcommand)]
    pub(in crate::cli) command: Command,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct GlobalArgs {
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
    pub(in crate::cli) files: Vec<PathBuf>,
    /// A variable for `${NAME}` in the manifest, over all others; may be repeated. In the
    /// environment one a line
    #[arg(long = "var", global = true, value_name = "NAME=VALUE", env = "IMGPLAN_VAR",
          hide_env_values = true, value_parser = lines::<Variable>)]
    pub(in crate::cli) vars: Vec<Lines<Variable>>,
    /// Let images whose name matches say something else, as '*.visibility=public' or
    /// 'api*.args.PY=3.13'; `+=` adds to a list. May be repeated; in the environment one a line
    #[arg(long = "set", global = true, value_name = "PATTERN.FIELD[+]=V", env = "IMGPLAN_SET",
          hide_env_values = true, value_parser = lines::<Override>)]
    pub(in crate::cli) sets: Vec<Lines<Override>>,
    /// Run as if started in this folder
    #[arg(short = 'C', long, global = true, value_name = "DIR", env = "IMGPLAN_CHDIR")]
    pub(in crate::cli) chdir: Option<PathBuf>,
    /// Write JSON lines to standard output, and nothing else there
    #[arg(long, global = true, env = "IMGPLAN_JSON")]
    pub(in crate::cli) json: bool,
    /// When to colour; `auto` does on a terminal, unless `NO_COLOR` is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", env = "IMGPLAN_COLOR")]
    pub(in crate::cli) color: When,
    /// Tell more: each phase of each image
    #[arg(short, long, global = true, env = "IMGPLAN_VERBOSE", conflicts_with = "quiet")]
    pub(in crate::cli) verbose: bool,
    /// Tell less: failures and the end
    #[arg(short, long, global = true, env = "IMGPLAN_QUIET")]
    pub(in crate::cli) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
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
pub(in crate::cli) struct ServiceArgs {
    /// Use a server inside this process, with its state and a lockfile of its own under
    /// `.imgplan/local/`; needs no account
    #[arg(long, env = "IMGPLAN_LOCAL")]
    pub(in crate::cli) local: bool,
    /// The budget of a class of requests, as initiate=150/60s; may be repeated. Classes: initiate,
    /// start, status, list, images (transfers, counted in images), update, delete
    #[arg(long = "limit", value_name = "CLASS=N/Ds", env = "IMGPLAN_LIMIT", value_delimiter = ',')]
    pub(in crate::cli) limits: Vec<ClassLimit>,
}

/// What is an error.
#[derive(Debug, Args)]
pub(in crate::cli) struct StrictArgs {
    /// Take a warning, of the manifest or of a context, for an error: nothing is sent or written
    #[arg(long, env = "IMGPLAN_DENY_WARNINGS")]
    pub(in crate::cli) deny_warnings: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ValidateArgs {
    #[command(flatten)]
    pub(in crate::cli) strict: StrictArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PlanArgs {
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
    #[command(flatten)]
    pub(in crate::cli) strict: StrictArgs,
    #[command(flatten)]
    pub(in crate::cli) choice: SelectionArgs,
    #[command(flatten)]
    pub(in crate::cli) look: LookupArgs,
    /// Ask nobody: plan from the lockfile alone
    #[arg(long, env = "IMGPLAN_OFFLINE")]
    pub(in crate::cli) offline: bool,
    /// Show only how the service differs from the lockfile
    #[arg(long, env = "IMGPLAN_REFRESH_ONLY")]
    pub(in crate::cli) refresh_only: bool,
    /// Save the plan, for `imgplan apply FILE` to do just this
    #[arg(long, value_name = "FILE", env = "IMGPLAN_OUT", conflicts_with = "refresh_only")]
    pub(in crate::cli) out: Option<PathBuf>,
    /// Exit with 2 if there are changes
    #[arg(long, env = "IMGPLAN_DETAILED_EXITCODE")]
    pub(in crate::cli) detailed_exitcode: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WhyArgs {
    /// `name:tag`, or `name` for all that the image is made as
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) image: String,
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
    #[command(flatten)]
    pub(in crate::cli) look: LookupArgs,
    /// Ask nobody: explain from the lockfile alone
    #[arg(long, env = "IMGPLAN_OFFLINE")]
    pub(in crate::cli) offline: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ApplyArgs {
    /// A plan that `imgplan plan --out` saved: just that is done, without asking
    #[arg(value_name = "PLAN")]
    pub(in crate::cli) saved: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
    #[command(flatten)]
    pub(in crate::cli) choice: SelectionArgs,
    #[command(flatten)]
    pub(in crate::cli) look: LookupArgs,
    /// Only bring the lockfile in line with the service: images that are gone, and who may pull them
    #[arg(long, env = "IMGPLAN_REFRESH_ONLY", conflicts_with = "saved")]
    pub(in crate::cli) refresh_only: bool,
    /// How many images may be deleted at most [default: any number that was agreed to; 0 with
    /// --auto-approve]
    #[arg(long, value_name = "N", env = "IMGPLAN_MAX_DESTROY")]
    pub(in crate::cli) max_destroy: Option<usize>,
    #[command(flatten)]
    pub(in crate::cli) strict: StrictArgs,
    /// Do not ask
    #[arg(long, env = "IMGPLAN_AUTO_APPROVE")]
    pub(in crate::cli) auto_approve: bool,
    /// Exit with 2 if something was changed, and with 3 if only a part of it could be
    #[arg(long, env = "IMGPLAN_DETAILED_EXITCODE")]
    pub(in crate::cli) detailed_exitcode: bool,
    /// Builds in flight at once, and transfers of each owner; the request budget is apart from it
    /// [default: 64 builds, and as many transfers as their budget allows]
    #[arg(long, alias = "parallelism", value_name = "N", env = "IMGPLAN_CONCURRENCY",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(in crate::cli) concurrency: Option<u32>,
    /// How often a request that met trouble that passes is sent again; a limit of the service is
    /// waited for however often
    #[arg(long, value_name = "N", default_value_t = DEFAULT_RETRY_TIMES, env = "IMGPLAN_RETRY_TIMES",
          value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(in crate::cli) retry_times: u32,
    /// End after this long: 45m, 2h. What is not done then stays pending, and the next apply goes on
    #[arg(long, value_name = "D", env = "IMGPLAN_TIMEOUT", value_parser = duration)]
    pub(in crate::cli) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LockArgs {
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
    /// Ask again for what is pinned already
    #[arg(long, env = "IMGPLAN_UPGRADE")]
    pub(in crate::cli) upgrade: bool,
    /// The same for some images only; may be repeated
    #[arg(long, value_name = "PATTERN", env = "IMGPLAN_UPGRADE_IMAGE", value_delimiter = ',',
          value_parser = named::<Pattern>)]
    pub(in crate::cli) upgrade_image: Vec<Pattern>,
    /// How old an answer of a registry may be: 1h, 0s
    #[arg(long, value_name = "D", default_value = "0s", env = "IMGPLAN_MAX_AGE",
          value_parser = duration)]
    pub(in crate::cli) max_age: Duration,
    /// Only see whether each reference is pinned, and nothing besides; asks nobody
    #[arg(long)]
    pub(in crate::cli) check: bool,
    /// Show what would be pinned, and write nothing
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// The image of the manifest: `name:tag`, or `name` where there is one of that name
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) image: String,
    /// What it is called in the service, where that is something else: `name:tag`
    #[arg(value_name = "REMOTE")]
    pub(in crate::cli) remote: Option<ImageRef>,
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArgs {
    #[command(flatten)]
    pub(in crate::cli) service: ServiceArgs,
    /// Look again and again until nothing is under way
    #[arg(short, long, env = "IMGPLAN_WATCH")]
    pub(in crate::cli) watch: bool,
    /// Ask nobody: show what is on record
    #[arg(long, env = "IMGPLAN_OFFLINE", conflicts_with = "watch")]
    pub(in crate::cli) offline: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// Only these: `name` or `name:tag`
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) images: Vec<String>,
    /// Of the lockfile that `--local` keeps
    #[arg(long, env = "IMGPLAN_LOCAL")]
    pub(in crate::cli) local: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct GraphArgs {
    /// Only these and what they need: `name`, `name:tag` or a pattern of them; all by default
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) images: Vec<String>,
    /// The language of the drawing; an arrow goes from an image to what it needs
    #[arg(long, value_name = "FORMAT", default_value = "dot", env = "IMGPLAN_GRAPH_FORMAT")]
    pub(in crate::cli) format: GraphFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum GraphFormat {
    /// For Graphviz: `imgplan graph | dot -Tsvg`
    Dot,
    /// For Mermaid, which Markdown shows as a picture on most code hosts
    Mermaid,
    /// As data
    Json,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SchemaArgs {
    /// Write it to a file
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::cli) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ServeArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", env = "IMGPLAN_LISTEN")]
    pub(in crate::cli) listen: SocketAddr,
    /// Write the URL to this file once the server listens
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) url_file: Option<PathBuf>,
    /// The one key that is accepted; without it, any is
    #[arg(long, env = "IMGPLAN_TOKEN", hide_env_values = true)]
    pub(in crate::cli) token: Option<String>,
    /// Keep the state in this folder; without it, it is gone with the server
    #[arg(long, value_name = "DIR", env = "IMGPLAN_STATE")]
    pub(in crate::cli) state: Option<PathBuf>,
    /// The limit of a class of requests, as initiate=150/60s; may be repeated
    #[arg(long = "limit", value_name = "CLASS=N/Ds")]
    pub(in crate::cli) limits: Vec<ClassLimit>,
    /// How long a build takes: 5s, 200ms
    #[arg(long, value_name = "D", default_value = "0s", value_parser = duration)]
    pub(in crate::cli) build_time: Duration,
    /// How long an upload URL is good
    #[arg(long, value_name = "D", default_value = "1h", value_parser = duration)]
    pub(in crate::cli) upload_ttl: Duration,
    /// How many images the account, and each team, may have
    #[arg(long, value_name = "N")]
    pub(in crate::cli) quota: Option<u32>,
    /// How a comma list of transfers is answered: build-ids, results or builds
    #[arg(long, value_name = "SHAPE", default_value = "build-ids", value_parser = named::<BulkShape>)]
    pub(in crate::cli) bulk_shape: BulkShape,
    /// Let builds and transfers fail whose `name:tag` matches
    #[arg(long, value_name = "REGEX")]
    pub(in crate::cli) fail: Option<Regex>,
    /// Let something go wrong with a share of the requests, as initiate:500:0.2 or
    /// all:cut-after:5%; may be repeated. Classes: initiate, start, status, list, update, delete,
    /// upload, all. Kinds: 500, 503, 429, 429-date, cut-before, cut-after, html, html-after, slow
    /// (or slow=3s), late (or late=5s), expired, length
    #[arg(long = "fault", value_name = "CLASS:KIND:RATE", value_parser = named::<Fault>)]
    pub(in crate::cli) faults: Vec<Fault>,
    /// Which requests the faults strike; the same ones for the same seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(in crate::cli) seed: u64,
}
