//! The manifest that a conversion writes: only the keys that a conversion needs. Pure.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use crate::base::input::InputKind;
use crate::base::name::Platform;

/// Reason to drop an image that would make the manifest larger than one that is read.
pub(super) const FULL: &str = "the manifest is as large as it may be";

/// A manifest.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// Comments at its beginning.
    pub(super) comments: Vec<String>,
    /// References under which all images are known outside.
    pub(super) published_as: Vec<String>,
    pub(super) images: Vec<DraftImage>,
    /// Indexes of `images` by `name:tag`.
    by_key: HashMap<String, usize>,
    /// Size of the texts of all images.
    bytes: u64,
}

/// An entry of `images`. Texts are literal: the writer protects what the manifest would replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DraftImage {
    pub(super) comments: Vec<String>,
    /// Name and tag, unless they are those that the manifest derives.
    pub(super) name: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) origin: DraftOrigin,
    pub(super) platforms: Vec<Platform>,
    pub(super) target: Option<String>,
    pub(super) args: Vec<(String, String)>,
    pub(super) needs: BTreeSet<String>,
    pub(super) published_as: BTreeSet<String>,
    pub(super) groups: BTreeSet<String>,
}

/// Origin of an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum DraftOrigin {
    /// A build from a folder. The Dockerfile is relative to it; `None` is the default.
    Context { path: String, dockerfile: Option<String> },
    /// A mirror of a reference.
    Source(String),
    /// Images that are found in folders.
    Discover(Discovery),
}

/// The pattern of `discover`, and what its images share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Discovery {
    /// `glob`, `dockerfiles` or `harbor`.
    pub(super) key: &'static str,
    pub(super) pattern: String,
    pub(super) exclude: Vec<String>,
    pub(super) dockerfile: Option<String>,
    pub(super) context: Option<String>,
}

impl DraftImage {
    pub(super) fn new(origin: DraftOrigin) -> Self {
        Self {
            comments: Vec::new(),
            name: None,
            tag: None,
            origin,
            platforms: Vec::new(),
            target: None,
            args: Vec::new(),
            needs: BTreeSet::new(),
            published_as: BTreeSet::new(),
            groups: BTreeSet::new(),
        }
    }

    /// Returns the approximate size of its texts in bytes.
    fn bytes(&self) -> u64 {
        let origin = match &self.origin {
            DraftOrigin::Context { path, dockerfile } => {
                path.len() + dockerfile.as_ref().map_or(0, String::len)
            }
            DraftOrigin::Source(source) => source.len(),
            DraftOrigin::Discover(Discovery { pattern, exclude, .. }) => {
                pattern.len() + exclude.iter().map(|path| path.len() + 4).sum::<usize>()
            }
        };
        let words = [&self.name, &self.tag, &self.target].into_iter().flatten();
        let args = self.args.iter().flat_map(|(name, value)| [name, value]);
        let lists = [&self.needs, &self.published_as, &self.groups].into_iter().flatten();
        let texts = words.chain(args).chain(&self.comments).chain(lists);
        // A text is followed by a line break and an indent, or by a comma.
        texts.map(|text| text.len() + 4).sum::<usize>().saturating_add(origin) as u64
    }

    /// Returns what the image is made of. Two entries with the same content make the same image.
    pub(super) fn content(&self) -> impl Eq + Hash + '_ {
        (&self.origin, &self.platforms, &self.target, &self.args)
    }
}

impl Draft {
    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.images.len()
    }

    /// True if the manifest would be larger than one that is read: an image with many tags is there
    /// many times.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > InputKind::Manifest.max_bytes()
    }

    /// Adds an image. Fails with the reason if the manifest is full.
    pub(super) fn push(&mut self, image: DraftImage) -> Result<(), &'static str> {
        self.bytes += image.bytes();
        if self.is_full() {
            return Err(FULL);
        }
        self.images.push(image);
        Ok(())
    }

    /// Adds an image with its `name:tag`, unless the same image is there already. Fails with the
    /// reason if another image has this `name:tag`, or if the manifest is full.
    pub(super) fn add(&mut self, key: &str, mut image: DraftImage) -> Result<(), String> {
        let Some(&index) = self.by_key.get(key) else {
            self.push(image)?;
            self.by_key.insert(key.to_owned(), self.images.len() - 1);
            return Ok(());
        };
        self.bytes += image.bytes();
        if self.is_full() {
            return Err(FULL.to_owned());
        }
        let known = &mut self.images[index];
        if known.content() != image.content() {
            return Err(format!("another image is {key} too"));
        }
        known.groups.append(&mut image.groups);
        known.needs.append(&mut image.needs);
        known.published_as.append(&mut image.published_as);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_added_once() {
        let image = |source: &str, group: &str| DraftImage {
            groups: BTreeSet::from([group.to_owned()]),
            ..DraftImage::new(DraftOrigin::Source(source.to_owned()))
        };
        let mut draft = Draft::default();
        draft.add("a:1", image("x/a:1", "one")).unwrap();
        draft.add("a:1", image("x/a:1", "two")).unwrap();
        assert_eq!(
            (draft.len(), &draft.images[0].groups),
            (1, &BTreeSet::from(["one".into(), "two".into()]))
        );
        let error = draft.add("a:1", image("y/a:1", "one")).unwrap_err();
        assert_eq!(error, "another image is a:1 too");
    }
}
