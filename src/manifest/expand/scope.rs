//! The files of a manifest, before and after their values are read. Pure.

use std::path::PathBuf;

use super::entry::Entry;
use crate::base::span::{Problem, Span};
use crate::manifest::Sp;
use crate::manifest::diagnostics::{Note, Notes};
use crate::manifest::model::{Image, Manifest};
use crate::manifest::node::Node;
use crate::manifest::workspace::Skipped;

/// The images that all expansions of a manifest may make together.
pub(super) const MOST_IMAGES: usize = 50_000;

/// What one file says, of which its images are told from the others': its defaults and owner (with
/// those of the files that include it), and the folder that its paths are relative to.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Manifest,
    /// Where each of the manifest's images comes from.
    pub(crate) origins: Vec<ImageOrigin>,
    /// Whether something was reported of the defaults already.
    pub(crate) damaged: bool,
}

impl Scope {
    /// The images with their origins.
    pub(crate) fn images(&self) -> impl Iterator<Item = (&Sp<Image>, &ImageOrigin)> {
        self.manifest.images.iter().flat_map(|images| images.iter()).zip(&self.origins)
    }
}

/// Where an image comes from.
#[derive(Debug)]
pub(crate) struct ImageOrigin {
    /// In words, where it was not written as one image.
    pub(crate) note: Option<Note>,
    /// Whether something was reported of it already: what it lacks may be just that.
    pub(crate) damaged: bool,
}

/// What was found out on the way.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) notes: Notes,
    /// What an expansion found and left out.
    pub(crate) skipped: Vec<Skipped>,
    /// Whether images are missing for a reason that was reported.
    pub(crate) incomplete: bool,
}

/// One file before its values are read.
pub(super) struct Raw {
    pub(super) dir: PathBuf,
    /// All but the images.
    pub(super) root: Node,
    /// Where the images are listed, if they are.
    pub(super) images: Option<Span>,
    pub(super) entries: Vec<Entry>,
}

pub(super) fn too_many(span: Span) -> Problem {
    let message = format!("this manifest would have more than {MOST_IMAGES} images");
    Problem::new(message, span, "too many here")
        .help("exclude some of them, or split the manifest in two, each with a lockfile of its own")
}
