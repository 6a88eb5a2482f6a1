//! Turns a Dockerfile's text into facts: its stages, the images that it uses, and the files that
//! it copies. Pure.
//!
//! Follows the rules of BuildKit's `dockerfile.v0` frontend. Positions are byte ranges of the
//! original text, so that a reference can be replaced while everything else stays as it is.
//!
//! Written by hand, because no crate keeps byte ranges, here-documents and stage scopes.

mod executed;
mod heredoc;
mod instruction;
mod lines;
pub(crate) mod lower;
pub(crate) mod model;
mod needed;
mod order;
mod parse;
pub(crate) mod plain;
pub(crate) mod platform;
pub(crate) mod reach;
pub(crate) mod reached;
mod read;
mod resolve;
mod shell;
mod shell_pattern;
mod stage_names;
mod variables;
mod walk;
mod words;

#[cfg(test)]
mod tests;

pub(crate) use self::lower::{LowerError, LowerSubject};
pub(crate) use self::model::{Dockerfile, DockerfileError, Reference};
pub(crate) use self::plain::PlainInstruction;
pub(crate) use self::platform::ReferencePlatform;
pub(crate) use self::reach::ReachRequest;
