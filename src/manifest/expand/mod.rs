//! Turns the files of a manifest into one list of images: included files are read, variables put
//! in, and each entry that stands for many images is made into them.
//!
//! All of this happens on [`Node`]s, before anything is decoded: what comes after knows only
//! images, each with the place that said it, and a note where it was not written as one.

mod discover;
mod entry;
mod folders;
mod glob;
mod harbor;
mod images;
mod include;
mod lines;
mod matrix;
mod memory;
mod notes;
mod overrides;
mod sources;
mod template;

use std::path::PathBuf;

pub(super) use self::notes::{Note, Notes};

use self::entry::Entry;
use self::include::Loader;
use super::Sp;
use super::decode::{decode, is_damaged};
use super::given::Given;
use super::model::{Image, Manifest};
use super::node::{Node, Value};
use super::workspace::Skipped;
use crate::base::span::{Problem, SourceSet, Span, Spanned};

/// The images that all expansions of a manifest may make together.
const MOST_IMAGES: usize = 50_000;

/// What one file says, of which its images are told from the others': its defaults and owner (with
/// those of the files that include it), and the folder that its paths are relative to.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) dir: PathBuf,
    pub(super) manifest: Manifest,
    /// Where each of the manifest's images comes from.
    pub(super) origins: Vec<ImageOrigin>,
    /// Whether something was reported of the defaults already.
    pub(super) damaged: bool,
}

impl Scope {
    /// The images with their origins.
    pub(super) fn images(&self) -> impl Iterator<Item = (&Sp<Image>, &ImageOrigin)> {
        self.manifest.images.iter().flat_map(|images| images.iter()).zip(&self.origins)
    }
}

/// Where an image comes from.
#[derive(Debug)]
pub(super) struct ImageOrigin {
    /// In words, where it was not written as one image.
    pub(super) note: Option<Note>,
    /// Whether something was reported of it already: what it lacks may be just that.
    pub(super) damaged: bool,
}

/// What was found out on the way.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) notes: Notes,
    /// What an expansion found and left out.
    pub(super) skipped: Vec<Skipped>,
    /// Whether images are missing for a reason that was reported.
    pub(super) incomplete: bool,
}

/// One file before its values are read.
struct Raw {
    dir: PathBuf,
    /// All but the images.
    root: Node,
    /// Where the images are listed, if they are.
    images: Option<Span>,
    entries: Vec<Entry>,
}

/// Reads the files of a manifest, the first one first. Where that one cannot be read, nothing else
/// is known, and there is no scope.
pub(super) fn expand(
    given: &Given,
    env: &dyn Fn(&str) -> Option<String>,
    sources: &mut SourceSet,
) -> (Vec<Scope>, Found) {
    let (mut raws, mut found) = Loader::new(given, env, sources).load();
    overrides::apply(&given.sets, &mut raws, sources, &mut found);
    let scopes = raws.into_iter().filter_map(|raw| raw.decode(&mut found)).collect();
    (scopes, found)
}

impl Raw {
    fn decode(mut self, found: &mut Found) -> Option<Scope> {
        let mut manifest = decode::<Manifest>(&mut self.root, &mut found.problems)?;
        let damaged = entry::get(&self.root, "defaults").is_some_and(is_damaged);
        let (mut images, mut origins) = (Vec::new(), Vec::new());
        for Entry { mut node, note } in self.entries {
            let mark = Notes::mark(&found.problems, &found.warnings);
            // Each alone: one that is wrong does not make all others be read again.
            let image = match node.value {
                Value::Bad => None,
                _ => decode::<Sp<Image>>(&mut node, &mut found.problems),
            };
            found.notes.since(mark, &found.problems, &found.warnings, note.as_ref());
            let Some(image) = image else {
                found.incomplete = true;
                continue;
            };
            images.push(image);
            origins.push(ImageOrigin { note, damaged: is_damaged(&node) });
        }
        if let Some(span) = self.images {
            manifest.images = Some(Sp(Spanned::new(images, span)));
        }
        Some(Scope { dir: self.dir, manifest, origins, damaged })
    }
}

fn too_many(span: Span) -> Problem {
    let message = format!("this manifest would have more than {MOST_IMAGES} images");
    Problem::new(message, span, "too many here")
        .help("exclude some of them, or split the manifest in two, each with a lockfile of its own")
}
