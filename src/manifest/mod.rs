//! From `imgplan.yaml` and what it includes to a [`Workspace`]: what was written, with variables put
//! in, entries for many images made into them, and every value's place known ([`model`]); then what
//! is meant ([`workspace`]), with units, bases and order.
//!
//! All problems of all files are found before anything else happens.

mod bases;
mod decode;
mod draft;
mod expand;
mod fields;
mod files;
mod given;
mod graph;
mod groups;
mod interpolate;
mod load;
mod lower;
pub mod model;
mod moves;
mod node;
mod pairs;
mod pattern;
mod resolve;
mod schema;
mod settings;
mod sp;
mod texts;
pub mod workspace;

pub use given::{Given, Override, Variable};
pub use load::{ManifestError, root_of};
pub use schema::schema;
pub use sp::Sp;
pub use workspace::Workspace;
