//! Expands the files of a manifest into one list of images: reads included files, substitutes
//! variables, and generates images from entries with `matrix`, `discover` or `sources`.
//!
//! All of this works on [nodes](super::node::YamlNode), before anything is decoded. Later stages
//! see only images, each with its span, and with a note if it was generated.

mod cache;
mod discover;
mod entry;
mod expander;
mod folders;
mod glob;
mod harbor;
mod images;
mod include;
mod lines;
mod manifest_file;
mod matrix;
mod overrides;
mod scope;
mod sources;
mod template;

pub(crate) use self::folders::discovered;
pub(super) use self::scope::Scope;
pub(crate) use self::scope::{DEFAULT_MAX_IMAGES, LARGEST_MAX_IMAGES};

use self::entry::ImageEntry;
use self::include::Loader;
use self::scope::{ImageOrigin, RawScope};
use super::decode::{decode, is_damaged};
use super::diagnostics::Diagnostics;
use super::invocation::Invocation;
use super::model::{Image, Manifest};
use super::spanned::Spanned;
use super::workspace::Skipped;
use crate::base::reach::Reach;
use crate::base::span::SourceMap;

/// The expanded files of a manifest.
pub(super) struct Expanded {
    /// The files, starting with the first one. Empty if that one cannot be read.
    pub(super) scopes: Vec<Scope>,
    /// Folders that `discover` found but did not turn into images.
    pub(super) skipped: Vec<Skipped>,
}

/// Reads and expands all files of a manifest.
pub(super) fn expand(
    invocation: &Invocation,
    env: &dyn Fn(&str) -> Option<String>,
    reach: &Reach,
    sources: &mut SourceMap,
    diagnostics: &mut Diagnostics,
) -> Expanded {
    let (mut files, skipped) = Loader::new(invocation, env, reach, sources, diagnostics).load();
    overrides::apply(&invocation.sets, &mut files, sources, diagnostics);
    let scopes = files.into_iter().filter_map(|file| file.decode(diagnostics)).collect();
    Expanded { scopes, skipped }
}

impl RawScope {
    fn decode(mut self, diagnostics: &mut Diagnostics) -> Option<Scope> {
        let mut manifest = decode::<Manifest>(&mut self.root, diagnostics)?;
        let damaged = self.root.get("defaults").is_some_and(is_damaged);
        let count = self.entries.len();
        let (mut images, mut origins) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for ImageEntry { mut node, note, named_by_folder, on_error } in self.entries {
            let outer = diagnostics.enter(note.as_ref());
            let image = decode::<Spanned<Image>>(&mut node, diagnostics);
            diagnostics.leave(outer);
            let Some(image) = image else {
                diagnostics.incomplete = true;
                continue;
            };
            images.push(image);
            let damaged = is_damaged(&node);
            origins.push(ImageOrigin { note, damaged, named_by_folder, on_error });
        }
        if let Some(span) = self.images {
            manifest.images = Some(Spanned::new(images, span));
        }
        Some(Scope { dir: self.dir, manifest, origins, damaged })
    }
}
