//! Warnings about references that resemble an image of the manifest and do not mean it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostics::Diagnostics;
use super::image::ResolvedImage;
use super::matching::{ReferenceIndex, path_ends, split_reference};
use super::published::NAME_PLACEHOLDER;
use crate::base::reference::RegistryRef;
use crate::base::span::{Problem, Span};
use crate::base::text::{list, plural};

/// Maximum number of names that the warning about a near miss suggests.
const MAX_NEAR_NAMES_SHOWN: usize = 3;

/// A reference to an image outside of the manifest.
pub(super) struct OutsideReference<'r> {
    /// Index of the image whose Dockerfile has the reference.
    pub(super) own: usize,
    /// Images that this image lists under `needs`.
    pub(super) needs: &'r [usize],
    /// The reference as it is written.
    pub(super) text: &'r str,
    /// The reference, with variables expanded.
    pub(super) image: &'r str,
    pub(super) span: Span,
}

/// Official images of Docker Hub that Dockerfiles refer to although a folder has the name, by name.
#[derive(Default)]
pub(super) struct ShadowedNames<'a>(BTreeMap<&'a str, Shadowed>);

struct Shadowed {
    /// The first reference.
    reference: Span,
    /// Span of the entry that found the folder.
    entry: Span,
    /// Images whose Dockerfiles refer to the official image.
    dependents: BTreeSet<usize>,
}

impl<'a> ShadowedNames<'a> {
    /// Records a reference to an official image of Docker Hub. `image` has its name from a folder.
    fn add(&mut self, reference: &OutsideReference<'_>, image: &ResolvedImage<'a>, name: &'a str) {
        let new = || Shadowed {
            reference: reference.span,
            entry: image.span,
            dependents: BTreeSet::new(),
        };
        self.0.entry(name).or_insert_with(new).dependents.insert(reference.own);
    }

    /// Warns once about each name.
    pub(super) fn warn(self, diagnostics: &mut Diagnostics) {
        for (name, Shadowed { reference, entry, dependents }) in self.0 {
            let message =
                format!("`{name}` is Docker Hub's official image, not the folder's image `{name}`");
            let label = format!("in {}", plural(dependents.len(), "image"));
            let help = format!(
                "to build on the folder's image, write `needs: [{name}]`, or `name: \"{{dir}}\"` in \
                 the entry of the folder; `published_as: []` there keeps Docker Hub's without this \
                 warning"
            );
            let problem = Problem::new(message, reference, label)
                .and(entry, "takes names from folders")
                .help(help);
            diagnostics.push(problem.warning());
        }
    }
}

/// Warns about a reference that resembles an image of the manifest: most likely a mistake. An
/// official image that a folder has the name of is recorded in `shadowed`.
pub(super) fn check<'a>(
    reference: &OutsideReference<'_>,
    index: &ReferenceIndex<'_>,
    images: &'a [ResolvedImage<'a>],
    shadowed: &mut ShadowedNames<'a>,
    diagnostics: &mut Diagnostics,
) {
    if reference.image.contains('@') {
        return;
    }
    if let Some(shadow) = index.shadowed(reference.own, reference.image)
        && !reference.needs.contains(&shadow)
    {
        let image = &images[shadow];
        // Otherwise the manifest says which references mean the image.
        if image.published_as.is_none() {
            shadowed.add(reference, image, image.name.as_str());
        }
        return;
    }
    let (path, tag) = split_reference(reference.image);
    let is_candidate = |&image: &usize| image != reference.own && !index.is_mirror(image);
    let own = &images[reference.own].name;
    // An image that adds to a public image of the same name uses that one, as its path says.
    let is_other = |&image: &usize| path == own.as_str() || images[image].name != *own;
    let same_path = index.with_path(path).filter(is_candidate).filter(is_other);
    let mut same_path: Vec<usize> = same_path.collect();
    same_path.sort_unstable();
    same_path.dedup();
    let message = format!("`{}` is not an image of this manifest", reference.text);
    if index.with_path(path).next().is_some() {
        if !same_path.is_empty() && tag.is_some() {
            let names = near_names(images, &same_path, tag);
            let help = format!("this manifest has {names}");
            diagnostics.warn(message, reference.span, help);
        }
        return;
    }
    let Some(same_name) = path_ends(path).map(|end| index.named(end)).find(|all| !all.is_empty())
    else {
        return;
    };
    // An image with an empty `published_as` is known nowhere else.
    let is_near = |&image: &usize| {
        let is_known_nowhere = images[image].published_as.as_ref().is_some_and(Vec::is_empty);
        is_other(&image) && !is_known_nowhere
    };
    let near: Vec<usize> = same_name.iter().copied().filter(is_candidate).filter(is_near).collect();
    // No registry can have the other paths, so `published_as` cannot list them.
    if !near.is_empty() && reference.image.parse::<RegistryRef>().is_ok() {
        let names = near_names(images, &near, tag);
        let help =
            format!("this manifest has {names}; {}", line_to_add(images, &near, (path, tag)));
        diagnostics.warn(message, reference.span, help);
    }
}

/// Lists the images, those with the most similar tag first.
fn near_names(images: &[ResolvedImage<'_>], near: &[usize], tag: Option<&str>) -> String {
    let wanted = tag.unwrap_or("latest");
    let name = |&image: &usize| {
        let ResolvedImage { name, tag, .. } = &images[image];
        if tag.has_fingerprint() {
            (0, format!("`{name}`, which is referred to without a tag"))
        } else {
            (strsim::damerau_levenshtein(wanted, tag.as_str()), format!("{name}:{tag}"))
        }
    };
    let mut names: Vec<(usize, String)> = near.iter().map(name).collect();
    names.sort();
    names.dedup();
    list(names.iter().map(|(_, name)| name), MAX_NEAR_NAMES_SHOWN)
}

/// Describes the `published_as` with which a reference would mean one of these images, which have
/// one name.
fn line_to_add(
    images: &[ResolvedImage<'_>],
    near: &[usize],
    (path, tag): (&str, Option<&str>),
) -> String {
    let has_tag = |&image: &usize| {
        let own = &images[image].tag;
        !own.has_fingerprint() && Some(own.as_str()) == tag
    };
    let name = near.first().map_or("", |&image| images[image].name.as_str());
    // With the placeholder, the line is right for an entry of several images too.
    let parent = path.strip_suffix(name).unwrap_or(path);
    let add = format!("if this is that image, add `published_as: \"{parent}{NAME_PLACEHOLDER}");
    match tag {
        // Without a tag, the line stands for the tag of the image.
        Some(tag) if !near.iter().any(has_tag) => format!("{add}:{tag}\"` to its entry"),
        _ => format!("{add}\"` to its entry or to `defaults`"),
    }
}
