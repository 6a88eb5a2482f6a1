//! imgplan: Terraform for container images.
//!
//! A YAML manifest says which images should exist in a remote image service: built from a folder,
//! or mirrored from a public registry. imgplan compares it with a lockfile, says what would be done
//! and why, and does it: bases first, many at once, within the service's rate limits, every build
//! ID on record before anything leans on it.
//!
//! # The way through the program
//!
//! ```text
//!  imgplan.yaml ─────────────────────Workspace::load──► Workspace ─┐
//!  contexts, service, registries ─────survey::facts──► Facts ──────┼─ plan::decide ─► Plan ─ run::execute ─► Records ─ Store ─► imgplan.lock
//!  imgplan.lock + journal ──────────────Store::open──► State ──────┘                              └► RunEvents ─► report
//! ```
//!
//! [`cli`]'s `apply.rs` reads like this line. Each value is built once and then only read; but for the
//! tags of the workspace that hold a fingerprint, which [`plan::decide()`] settles once.
//!
//! # The floors
//!
//! A module imports only from floors below its own; `tests/it/layers.rs` checks it.
//!
//! | floor | modules | what they are |
//! |---|---|---|
//! | 0 | [`base`] | words: names, digests, places in texts, secrets, limits |
//! | 1 | [`dockerfile`], [`manifest`], [`context`], [`state`], [`api`], [`registry`] | readers and stores |
//! | 2 | [`plan`] | decision: pure, no async, no file, no clock |
//! | 3 | [`survey`], [`event`] | finding out; what is told |
//! | 4 | [`run`], [`report`] | doing and telling, which never import each other |
//! | 5 | [`server`] | the local server: shares only [`api::wire`] with the client |
//! | 6 | [`cli`] | what was typed; imports all, imported by none |
//!
//! # Files on disk
//!
//! | file | owner | what it is |
//! |---|---|---|
//! | `imgplan.yaml` | [`manifest`] | the manifest: what should exist |
//! | `imgplan.lock` | [`state::encode`] | the lockfile: what is known to exist; committed to git |
//! | `.imgplan/journal.jsonl` | [`state::journal`] | what happened since the lockfile was written |
//! | `.imgplan/lock` | [`base::file`] | held by a run; the kernel frees it |
//! | `.imgplan/stat-cache` | [`context::StatCache`] | digests of files, for as long as the file system says that they are as they were |
//! | `.imgplan/contexts/` | [`context::History`] | the files of what was built, so that a plan can name those that changed |
//! | `.imgplan/registry-cache` | [`registry::cache`] | what references pointed to when registries were asked last |
//! | `.imgplan/local/` | [`server`] | the state and the lockfile of `--local` |
//! | `schema/imgplan.schema.json` | [`manifest::schema()`] | the manifest's JSON Schema |
//! | `schema/plan.schema.json` | [`report::json`] | the JSON Schema of a line of `--json` |
//! | `schema/show.schema.json` | [`cli`] | the JSON Schema of `show --json` |

// Items for tests are `pub` and re-exported by `test_support`; without it they are unreachable.
#![cfg_attr(not(feature = "test-support"), allow(unreachable_pub))]

pub(crate) mod api;
pub(crate) mod base;
pub(crate) mod cli;
pub(crate) mod context;
pub(crate) mod dockerfile;
pub(crate) mod event;
pub(crate) mod http;
pub(crate) mod manifest;
pub(crate) mod plan;
pub(crate) mod registry;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod server;
pub(crate) mod state;
pub(crate) mod survey;
#[cfg(feature = "test-support")]
pub mod test_support;

pub use cli::main;
