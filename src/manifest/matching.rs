//! Matches references with images of the manifest. References are compared in full: `core`,
//! `library/core` and `docker.io/library/core` are one. Pure.

use std::collections::HashMap;

use super::image::{ImageContent, ResolvedImage};
use super::workspace::Unit;
use crate::base::name::Tag;
use crate::base::official_images::is_official;
use crate::base::reference::RegistryRef;

/// Index of the references that mean images of the manifest.
pub(super) struct ReferenceIndex<'a> {
    images: &'a [ResolvedImage<'a>],
    units: &'a [Unit],
    by_name: HashMap<&'a str, Vec<usize>>,
    /// Images by registry and path, without a tag: [`full_path`].
    by_path: HashMap<String, Vec<KnownImage<'a>>>,
}

/// An image that is known under a path.
struct KnownImage<'a> {
    image: usize,
    kind: PathKind<'a>,
}

/// Origin of a path.
enum PathKind<'a> {
    /// The name of the image.
    Name,
    /// A reference of `published_as`, with its tag.
    Published(Option<&'a Tag>),
}

impl<'a> ReferenceIndex<'a> {
    pub(super) fn new(images: &'a [ResolvedImage<'a>], units: &'a [Unit]) -> Self {
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut by_path: HashMap<String, Vec<KnownImage<'_>>> = HashMap::new();
        for (index, image) in images.iter().enumerate() {
            by_name.entry(image.name.as_str()).or_default().push(index);
            let mut add = |path: String, kind| {
                by_path.entry(path).or_default().push(KnownImage { image: index, kind });
            };
            add(full_path(image.name.as_str()), PathKind::Name);
            for reference in image.published_as.iter().flatten() {
                add(reference.name(), PathKind::Published(reference.tag()));
            }
        }
        Self { images, units, by_name, by_path }
    }

    /// Returns the names of all images.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.by_name.keys().copied()
    }

    /// Returns the images with this name.
    pub(super) fn named(&self, name: &str) -> &[usize] {
        self.by_name.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the images with this name and tag. The tag may be the one of a single platform.
    pub(super) fn with_tag(&self, name: &str, tag: Option<&str>) -> Vec<usize> {
        let same_name = self.named(name).iter().copied();
        same_name.filter(|&image| self.has_tag(image, tag)).collect()
    }

    fn has_tag(&self, image: usize, tag: Option<&str>) -> bool {
        let image = &self.images[image];
        // A tag with a fingerprint is not known yet, so such an image has only its name.
        tag.is_none_or(|tag| {
            !image.tag.has_fingerprint()
                && (image.tag.as_str() == tag
                    || image.units.iter().any(|&unit| self.units[unit].key.tag.as_str() == tag))
        })
    }

    /// Returns the images that a reference in the Dockerfile of the image `own` may mean, each once.
    /// `needs` are the images that `own` lists. A reference means an image in three ways:
    ///
    /// - It is the name of the image. The name of a mirror, or an official image of Docker Hub that
    ///   gave a folder its name, counts only if `needs` has the image.
    /// - It is one of the references of `published_as`.
    /// - Its path ends with the name of an image of `needs`.
    ///
    /// A reference with a digest never means an image of the manifest.
    pub(super) fn candidates(&self, own: usize, needs: &[usize], reference: &str) -> Vec<usize> {
        let (path, tag) = split_reference(reference);
        if reference.contains('@') {
            return Vec::new();
        }
        let is_meant = |known: &&KnownImage<'_>| match known.kind {
            PathKind::Name => {
                let by_name = !self.is_mirror(known.image) && !self.is_shadowed(known.image);
                self.has_tag(known.image, tag) && (by_name || needs.contains(&known.image))
            }
            PathKind::Published(None) => self.has_tag(known.image, tag),
            // A reference without a tag means `latest`.
            PathKind::Published(Some(published)) => published.as_str() == tag.unwrap_or("latest"),
        };
        let known = self.by_path.get(&full_path(path)).into_iter().flatten();
        let is_needed = |&need: &usize| {
            let name = self.images[need].name.as_str();
            path_ends(path).any(|end| end == name) && self.has_tag(need, tag)
        };
        let needed = needs.iter().copied().filter(is_needed);
        let mut candidates: Vec<usize> =
            known.filter(is_meant).map(|known| known.image).chain(needed).collect();
        candidates.retain(|&image| image != own);
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }

    /// Returns an image of the manifest that a reference does not mean only because a folder gave
    /// the image the name of an official image.
    pub(super) fn shadowed(&self, own: usize, reference: &str) -> Option<usize> {
        let known = self.by_path.get(&full_path(split_reference(reference).0))?;
        let is_shadowed = |known: &&KnownImage<'_>| {
            matches!(known.kind, PathKind::Name)
                && known.image != own
                && self.is_shadowed(known.image)
        };
        known.iter().find(is_shadowed).map(|known| known.image)
    }

    /// Returns the images that have the path of a reference as their name or in `published_as`.
    pub(super) fn with_path(&self, path: &str) -> impl Iterator<Item = usize> {
        self.by_path.get(&full_path(path)).into_iter().flatten().map(|known| known.image)
    }

    pub(super) fn is_mirror(&self, image: usize) -> bool {
        matches!(self.images[image].content, ImageContent::Mirror(_))
    }

    /// Returns true if an official image of Docker Hub has the name of the image, which is that of a
    /// folder. Nobody has decided that references to the official image mean this one.
    fn is_shadowed(&self, image: usize) -> bool {
        let image = &self.images[image];
        image.named_by_folder && is_official(image.name.as_str())
    }
}

/// Returns the registry and path of a reference without a tag, which are the same for all spellings
/// of one image. Text that Docker rejects is returned unchanged.
fn full_path(path: &str) -> String {
    let reference: Result<RegistryRef, _> = path.parse();
    reference.map_or_else(|_| path.to_owned(), |reference| reference.name())
}

/// Returns the path and every end of it that begins after a `/`, the longest first.
pub(super) fn path_ends(path: &str) -> impl Iterator<Item = &str> {
    std::iter::once(path).chain(path.match_indices('/').map(|(slash, _)| &path[slash + 1..]))
}

/// Splits a reference into path and tag. A `:` before a `/` belongs to the port of a registry. A
/// reference with a digest never refers to an image of the manifest.
pub(super) fn split_reference(image: &str) -> (&str, Option<&str>) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (image, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_in_full() {
        for (path, expected) in [
            ("core", "docker.io/library/core"),
            ("library/core", "docker.io/library/core"),
            ("Docker.io/core", "docker.io/library/core"),
            ("index.docker.io/library/core", "docker.io/library/core"),
            ("ns/core", "docker.io/ns/core"),
            ("QUAY.io/org/core", "quay.io/org/core"),
            ("localhost:5000/core", "localhost:5000/core"),
            // Docker rejects these.
            ("a..b", "a..b"),
            ("Core", "Core"),
            ("", ""),
        ] {
            assert_eq!(full_path(path), expected);
        }
    }

    #[test]
    fn references_are_split() {
        for (reference, path, tag) in [
            ("base", "base", None),
            ("base:3.12", "base", Some("3.12")),
            ("localhost:5000/x", "localhost:5000/x", None),
            ("localhost:5000/x:1", "localhost:5000/x", Some("1")),
        ] {
            assert_eq!(split_reference(reference), (path, tag));
        }
        let ends: Vec<&str> = path_ends("quay.io/org/base").collect();
        assert_eq!(ends, ["quay.io/org/base", "org/base", "base"]);
    }
}
