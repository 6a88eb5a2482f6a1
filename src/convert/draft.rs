//! The manifest that a conversion writes: only the keys that a conversion needs. Pure.

use std::collections::HashMap;

use crate::base::input::InputKind;
use crate::base::name::Platform;

/// A manifest.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// Comments at its beginning.
    pub(super) comments: Vec<String>,
    pub(super) images: Vec<DraftImage>,
    /// Comments at its end: entries that a person may want to add.
    pub(super) suggestions: Vec<String>,
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
    pub(super) needs: Vec<String>,
    pub(super) published_as: Vec<String>,
    pub(super) groups: Vec<String>,
}

/// Origin of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DraftOrigin {
    /// A build from a folder. The Dockerfile is relative to it; `None` is the default.
    Context { path: String, dockerfile: Option<String> },
    /// A mirror of a reference.
    Source(String),
    /// The images that a pattern finds, with the key of `discover` that has it: `glob` or `dockerfiles`.
    Discover {
        key: &'static str,
        pattern: String,
        dockerfile: Option<String>,
        context: Option<String>,
    },
    /// The Harbor tasks in a folder.
    Harbor { path: String, prefer_image: bool },
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
            needs: Vec::new(),
            published_as: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// Returns the approximate size of its texts in bytes.
    fn bytes(&self) -> u64 {
        let args = self.args.iter().map(|(name, value)| name.len() + value.len());
        let lists = [&self.comments, &self.needs, &self.published_as, &self.groups];
        args.chain(lists.into_iter().flatten().map(String::len)).sum::<usize>() as u64
    }

    /// Returns true if another entry would make the same image.
    pub(super) fn has_content_of(&self, other: &Self) -> bool {
        self.origin == other.origin
            && self.platforms == other.platforms
            && self.target == other.target
            && self.args == other.args
    }
}

impl Draft {
    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.images.len()
    }

    /// Adds an image with its `name:tag`, unless the same image is there already. Fails with the
    /// reason if another image has this `name:tag`, or if the manifest would be larger than one that is
    /// read: an image with many tags is there many times.
    pub(super) fn add(&mut self, key: &str, image: DraftImage) -> Result<(), String> {
        self.bytes += image.bytes();
        if self.bytes > InputKind::Manifest.max_bytes() {
            return Err("the manifest is as large as it may be".to_owned());
        }
        let Some(&index) = self.by_key.get(key) else {
            self.by_key.insert(key.to_owned(), self.images.len());
            self.images.push(image);
            return Ok(());
        };
        let known = &mut self.images[index];
        if !known.has_content_of(&image) {
            return Err(format!("another image is {key} too"));
        }
        for (own, new) in [
            (&mut known.groups, image.groups),
            (&mut known.needs, image.needs),
            (&mut known.published_as, image.published_as),
        ] {
            add_each_once(own, new);
        }
        Ok(())
    }
}

/// Adds texts to a list, except for those that it has.
pub(super) fn add_each_once(list: &mut Vec<String>, texts: impl IntoIterator<Item = String>) {
    for text in texts {
        if !list.contains(&text) {
            list.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_added_once() {
        let image = |source: &str, group: &str| DraftImage {
            groups: vec![group.to_owned()],
            ..DraftImage::new(DraftOrigin::Source(source.to_owned()))
        };
        let mut draft = Draft::default();
        draft.add("a:1", image("x/a:1", "one")).unwrap();
        draft.add("a:1", image("x/a:1", "two")).unwrap();
        assert_eq!((draft.len(), &draft.images[0].groups), (1, &vec!["one".into(), "two".into()]));
        let error = draft.add("a:1", image("y/a:1", "one")).unwrap_err();
        assert_eq!(error, "another image is a:1 too");
    }
}
