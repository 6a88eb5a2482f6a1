//! Structure-aware targets: each reads its input as choices, generates a document that is mostly
//! valid, changes it in a few places, and checks a property. Each returns true if imgplan accepted
//! the document, so that the tests notice a generator whose documents are all refused.

mod dockerfile;
mod ignore_file;
mod manifest;
mod registry;
mod saved_plan;
mod service;
mod state;
mod updates;
mod world;

pub use dockerfile::dockerfile;
pub use ignore_file::ignore_file;
pub use manifest::manifest;
pub use registry::registry_answers;
pub use saved_plan::saved_plan;
pub use service::{initiate_answers, listing_answers};
pub use state::{journal, lockfile, merge_conflict};
pub use updates::update_answers;
