//! Loads `imgplan.yaml` and the files that it includes into a [`Workspace`]. First the files are
//! parsed, variables are substituted, generated images are expanded, and the result is decoded into
//! the types of [`model`], each value with its span. Then defaults, units, bases and their order
//! are resolved ([`workspace`]).
//!
//! All problems of all files are reported at once.

mod base_errors;
mod base_warnings;
mod bases;
mod build_args;
mod decode;
mod diagnostics;
mod elsewhere;
mod expand;
mod fields;
mod files;
mod foreign_keys;
mod graph;
mod groups;
mod header;
mod held;
mod image;
mod interpolate;
pub(crate) mod invocation;
pub(crate) mod load;
mod lower;
mod matching;
mod mirrors;
#[expect(dead_code, reason = "some fields are read before decoding, and declared for the schema")]
pub(crate) mod model;
mod model_changes;
mod model_discover;
mod model_local;
mod model_matrix;
mod moves;
mod names;
mod node;
mod pairs;
mod pattern;
mod published;
mod resolve;
mod scalars;
pub(crate) mod schema;
mod settings;
mod spanned;
mod stream;
mod syntax;
mod units;
mod unused;
pub(crate) mod workspace;

pub(crate) use elsewhere::{NAMES, existing, help_for_missing, in_parent};
pub(crate) use expand::{DEFAULT_MAX_IMAGES, discovered};
pub(crate) use header::root_of;
pub(crate) use invocation::{Allowed, Invocation, Override, Variable};
pub(crate) use load::ManifestError;
pub(crate) use names::DeclaredNames;
pub(crate) use schema::schema;
pub(crate) use workspace::Workspace;
