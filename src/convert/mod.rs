//! Turns files of other tools into a manifest: one file per format ([`bake`], [`compose`], [`prime`],
//! [`regsync`], [`skopeo`]), and one writer of the result ([`yaml`]). [`proposal`] makes a
//! manifest of the Dockerfiles of a folder instead. Pure: the caller reads the files.
//!
//! Each field of the input becomes a part of the manifest, or is listed as dropped. A field without
//! which another image would result drops its image: an image is never built from something else than
//! in the other tool. Texts of the input are not trusted; the caller escapes what it shows.

pub(crate) mod bake;
mod build;
mod builds;
pub(crate) mod compose;
pub(crate) mod draft;
pub(crate) mod dropped;
pub(crate) mod folders;
mod mirror;
pub(crate) mod prime;
pub(crate) mod proposal;
mod read;
pub(crate) mod regsync;
pub(crate) mod skopeo;
#[cfg(test)]
mod tests;
pub(crate) mod yaml;

use self::draft::Draft;
use self::dropped::DropList;

/// Result of a conversion.
#[derive(Debug, Default)]
pub(crate) struct Converted {
    /// The manifest.
    pub(crate) draft: Draft,
    /// The fields of the input that the manifest lacks.
    pub(crate) dropped: DropList,
}

/// An error for an input that cannot be converted at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ConvertError {
    /// The problem, as it follows the name of the file and a colon.
    pub(crate) message: String,
    /// The correction, in the imperative.
    pub(crate) help: String,
}

impl ConvertError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}
