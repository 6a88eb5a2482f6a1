//! Turns the files of a manifest into one list of images: included files are read, variables put
//! in, and each entry that stands for many images is made into them.
//!
//! All of this happens on [`Node`]s, before anything is decoded: what comes after knows only
//! images, each with the place that said it, and a note where it was not written as one.

mod cache;
mod discover;
mod entry;
mod folders;
mod glob;
mod harbor;
mod images;
mod include;
mod lines;
mod matrix;
mod overrides;
mod scope;
mod sources;
mod template;

pub(super) use self::scope::{Found, Scope};

use self::entry::Entry;
use self::include::Loader;
use self::scope::{ImageOrigin, Raw};
use super::Sp;
use super::decode::{decode, is_damaged};
use super::diagnostics::Notes;
use super::invocation::Invocation;
use super::model::{Image, Manifest};
use super::node::Value;
use crate::base::span::{SourceMap, Spanned};

/// Reads the files of a manifest, the first one first. Where that one cannot be read, nothing else
/// is known, and there is no scope.
pub(super) fn expand(
    given: &Invocation,
    env: &dyn Fn(&str) -> Option<String>,
    sources: &mut SourceMap,
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
