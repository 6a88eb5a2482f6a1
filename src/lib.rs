//! imgplan: Terraform for container images.
//!
//! A YAML manifest declares which images should exist in a remote image service: built from a folder,
//! or mirrored from a public registry. imgplan compares it with a lockfile, shows what would change and
//! why, and carries it out: bases first, many at once, within the service's rate limits, with every
//! build ID recorded before anything depends on it.
//!
//! # The way through the program
//!
//! ```text
//!  manifest files  ──Workspace::load──► Workspace ─┐
//!  contexts, registries, service ──survey──► Facts ─┼─ plan::decide ─► Plan ─ run::execute ─► Records ─► Store ─► lockfile
//!  lockfile + journal ──Store::open──► State ──────┘                             └► RunEvents ─► reporters
//! ```
//!
//! `cli/apply.rs` shows this line. Each value is built once by one stage and then only read.
//!
//! # Floors
//!
//! A module imports only from lower floors, and no files import each other in a circle;
//! `tests/it/layers.rs` checks both.
//!
//! | floor | modules | role |
//! |---|---|---|
//! | 0 | `base` | names, references, digests, spans, limits, secrets, text |
//! | 1 | `http` | transport, body reader, retry headers, sliding window, fake server for tests |
//! | 2 | `dockerfile`, `manifest`, `context`, `state`, `api`, `registry` | readers and stores |
//! | 3 | `shared` | the state in a store that many runners share |
//! | 3 | `plan` | decision: pure, no async, no file, no clock |
//! | 4 | `survey`, `event` | gathering facts; the event schema |
//! | 5 | `run`, `report` | doing and telling; they never import each other |
//! | 6 | `server` | the local server; shares only `api::wire` with the client |
//! | 6 | `convert` | files of other tools to a manifest; one file per format |
//! | 7 | `cli` | arguments, session, one file per command; imported by nothing |
//!
//! # Files on disk
//!
//! Files are opened at three doors, and clippy rejects others: `base::input` reads what a user or a
//! checkout hands in, `base::work_dir` keeps `.imgplan/`, and `context::dir` reads the files of a context.
//! `base::file` replaces files at other paths.
//!
//! | file | owner | content |
//! |---|---|---|
//! | `imgplan.yaml` | `manifest` | the manifest |
//! | `imgplan.lock` | `state::encode` | the lockfile, committed to git |
//! | `.imgplan/journal.jsonl` | `state::journal` | changes since the lockfile was last written |
//! | `.imgplan/lock` | `state::Store` | held by a run; the kernel releases it |
//! | `.imgplan/stat-cache` | `context::StatCache` | digests of files that have not changed |
//! | `.imgplan/contexts/` | `context::History` | the files of built images, so that a plan can name changes |
//! | `.imgplan/registry-cache` | `registry::cache` | recent lookups of external references |
//! | `.imgplan/shared/` | `state` | journal and lock of a run with a shared state |
//! | `.imgplan/local/` | `server` | state and lockfile of `--local` |
//! | `schema/imgplan.schema.json` | `manifest::schema` | JSON Schema of the manifest |
//! | `schema/plan.schema.json` | `report::json` | JSON Schema of a line of `--json` |
//! | `schema/show.schema.json` | `cli::show` | JSON Schema of `show --json` |

// Items for tests are `pub` and re-exported by `test_support`; without it they are unreachable.
#![cfg_attr(not(feature = "test-support"), allow(unreachable_pub))]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests read what they wrote"))]

pub(crate) mod api;
pub(crate) mod base;
pub(crate) mod cli;
pub(crate) mod context;
pub(crate) mod convert;
pub(crate) mod dockerfile;
pub(crate) mod event;
pub(crate) mod http;
pub(crate) mod manifest;
pub(crate) mod plan;
pub(crate) mod registry;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod server;
pub(crate) mod shared;
pub(crate) mod state;
pub(crate) mod survey;
#[cfg(feature = "test-support")]
pub mod test_support;

pub use cli::main;
