//! The files of a manifest, before and after they are decoded. Pure.

use std::path::PathBuf;

use super::entry::ImageEntry;
use crate::base::span::{Problem, Span};
use crate::manifest::diagnostics::Note;
use crate::manifest::model::{Image, Manifest};
use crate::manifest::node::YamlNode;
use crate::manifest::scalars::OnError;
use crate::manifest::spanned::Spanned;

/// Maximum number of generated images of a manifest that sets no `max_images`.
pub(crate) const DEFAULT_MAX_IMAGES: usize = 200_000;

/// Maximum of `max_images`. A few lines of a matrix can generate any number of images.
pub(crate) const LARGEST_MAX_IMAGES: usize = 10_000_000;

/// A decoded file. Its defaults and owner include those of the files that include it.
#[derive(Debug)]
pub(crate) struct Scope {
    /// Folder that the paths of the file are relative to.
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Manifest,
    /// Origin of each image of the manifest.
    pub(crate) origins: Vec<ImageOrigin>,
    /// True if a problem of the defaults was reported.
    pub(crate) damaged: bool,
}

impl Scope {
    /// Returns the images with their origins.
    pub(crate) fn images(&self) -> impl Iterator<Item = (&Spanned<Image>, &ImageOrigin)> {
        self.manifest.images.iter().flat_map(|images| images.iter()).zip(&self.origins)
    }

    /// Returns all names that images have in the file.
    pub(crate) fn image_names(&self) -> impl Iterator<Item = &str> {
        self.images().filter_map(|(image, _)| image.name.as_ref().map(|name| name.as_str()))
    }
}

/// Origin of an image.
#[derive(Debug)]
pub(crate) struct ImageOrigin {
    /// Note of a generated image.
    pub(crate) note: Option<Note>,
    /// True if a problem of the entry was reported: what is missing now may be what was wrong.
    pub(crate) damaged: bool,
    /// True if the image has the name of its folder because the entry has no `name`.
    pub(crate) named_by_folder: bool,
    /// Consequence of a broken Dockerfile.
    pub(crate) on_error: OnError,
}

/// A file before it is decoded.
pub(super) struct RawScope {
    /// Folder that the paths of the file are relative to.
    pub(super) dir: PathBuf,
    /// Everything except the images.
    pub(super) root: YamlNode,
    /// Span of the list of images, if there is one.
    pub(super) images: Option<Span>,
    pub(super) entries: Vec<ImageEntry>,
}

/// Describes a manifest with more images than `max`.
pub(super) fn too_many_images(max: usize, span: Span) -> Problem {
    let message =
        format!("the manifest has more than {max} images, the maximum of `settings.max_images`");
    let others = "exclude some, or split the manifest into two, each with its own lockfile";
    let help = if max < LARGEST_MAX_IMAGES {
        format!("raise `settings.max_images` (at most {LARGEST_MAX_IMAGES}), or {others}")
    } else {
        others.to_owned()
    };
    Problem::new(message, span, "").help(help)
}
