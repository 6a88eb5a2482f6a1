//! Loads `imgplan.yaml` and the files that it includes into a [`Workspace`]. First the files are
//! parsed, variables are substituted, generated images are expanded, and the result is decoded into
//! the types of [`model`], each value with its span. Then defaults, units, bases and their order
//! are resolved ([`workspace`]).
//!
//! All problems of all files are reported at once.

mod bases;
mod decode;
mod diagnostics;
mod expand;
mod fields;
mod files;
mod graph;
mod groups;
mod header;
mod image;
mod interpolate;
mod invocation;
mod load;
mod lower;
pub mod model;
mod moves;
mod node;
mod pattern;
mod resolve;
mod scalars;
mod schema;
mod settings;
mod spanned;
mod units;
pub mod workspace;

pub use header::root_of;
pub use invocation::{Invocation, Override, Variable};
pub use load::ManifestError;
pub use schema::schema;
pub use spanned::Spanned;
pub use workspace::Workspace;
