//! From `imgplan.yaml` and what it includes to a [`Workspace`]: what was written, with variables put
//! in, entries for many images made into them, and every value's place known ([`model`]); then what
//! is meant ([`workspace`]), with units, bases and order.
//!
//! All problems of all files are found before anything else happens.

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
mod sp;
pub mod workspace;

pub use header::root_of;
pub use invocation::{Invocation, Override, Variable};
pub use load::ManifestError;
pub use schema::schema;
pub use sp::Sp;
pub use workspace::Workspace;
