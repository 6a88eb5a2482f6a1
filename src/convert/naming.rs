//! Names the images of found Dockerfiles. Pure.
//!
//! An image is named after its folder, or after the part of the Dockerfile's name that is its own. If
//! several would have one name, the image nearest to the root keeps it, and the others get the names of
//! further folders in front: `api` of `services/api`, and `tools-api`.

use std::collections::{BTreeMap, BTreeSet};

use super::found::{DockerfileName, split};
use crate::base::name::image_name_of;

/// Maximum length of a proposed name, which leaves room for a number behind it.
const MAX_NAME_BYTES: usize = 200;

/// Parts of the name of one image.
#[derive(Debug)]
pub(super) struct NameParts {
    /// Names of the folders, from the root's own to the nearest, and the variant, if there is one.
    parts: Vec<String>,
    /// Number of parts that the name has at least.
    min: usize,
    /// Images with one cluster have equally many parts: one entry may discover them.
    pub(super) cluster: usize,
}

impl NameParts {
    /// Returns the parts for a Dockerfile. `has_plain_sibling` says that its folder has a Dockerfile
    /// without a name of its own: `Dockerfile.dev` beside it is then `api-dev`, and not `dev`.
    pub(super) fn new(root: &str, path: &str, has_plain_sibling: bool, cluster: usize) -> Self {
        let (folder, file) = split(path);
        let variant = DockerfileName::parse(file).and_then(|name| name.variant);
        let folders = folder.split('/').filter(|part| *part != ".");
        let parts = std::iter::once(root).chain(folders).chain(variant).map(image_name_of);
        let min = if variant.is_some() && has_plain_sibling { 2 } else { 1 };
        Self { parts: parts.collect(), min, cluster }
    }

    /// Returns the name that an entry with `discover` gives, of this many parts. `None` if a part would be
    /// empty.
    pub(super) fn discovered_name(&self, count: usize) -> Option<String> {
        let parts = &self.parts[self.parts.len().checked_sub(count)?..];
        parts.iter().all(|part| !part.is_empty()).then(|| parts.join("-"))
    }

    /// Returns the name of this many parts.
    fn name(&self, count: usize) -> String {
        let parts = &self.parts[self.parts.len().saturating_sub(count)..];
        let parts: Vec<&str> =
            parts.iter().map(|part| &**part).filter(|it| !it.is_empty()).collect();
        let name = parts.join("-");
        image_name_of(name.get(..MAX_NAME_BYTES).unwrap_or(&name))
    }
}

/// The name of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChosenName {
    pub(super) name: String,
    /// Number of parts.
    pub(super) parts: usize,
    /// The name that is not its own, if another one was taken.
    pub(super) instead_of: Option<String>,
}

/// Returns a name for each image, all different. `is_free` says whether a name may be used by the image
/// with an index at all.
pub(super) fn choose(
    images: &[NameParts],
    is_free: &dyn Fn(usize, &str) -> bool,
) -> Vec<ChosenName> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for image in images {
        let count = counts.entry(image.cluster).or_default();
        *count = image.min.max(*count);
    }
    loop {
        let longer = too_short(images, &counts, is_free);
        if longer.is_empty() {
            break;
        }
        for cluster in longer {
            *counts.entry(cluster).or_default() += 1;
        }
    }
    let mut used = BTreeSet::new();
    let choose = |(index, image): (usize, &NameParts)| {
        let parts = counts[&image.cluster];
        let mut name = image.name(parts);
        if name.is_empty() {
            "image".clone_into(&mut name);
        }
        let (stem, mut number) = (name.clone(), 2);
        while !is_free(index, &name) || used.contains(&name) {
            name = format!("{stem}-{number}");
            number += 1;
        }
        used.insert(name.clone());
        let first = image.name(image.min);
        ChosenName { instead_of: (first != name).then_some(first), name, parts }
    };
    images.iter().enumerate().map(choose).collect()
}

/// Returns the clusters whose names need one more part.
fn too_short(
    images: &[NameParts],
    counts: &BTreeMap<usize, usize>,
    is_free: &dyn Fn(usize, &str) -> bool,
) -> BTreeSet<usize> {
    let mut owners: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, image) in images.iter().enumerate() {
        owners.entry(image.name(counts[&image.cluster])).or_default().push(index);
    }
    let mut longer = BTreeSet::new();
    for (name, mut owners) in owners {
        owners.sort_by_key(|&owner| images[owner].parts.len());
        let depth = |at: usize| owners.get(at).map(|&owner| images[owner].parts.len());
        let has_nearest = depth(0) != depth(1);
        let keeps = !name.is_empty() && has_nearest && is_free(owners[0], &name);
        longer.extend(owners.iter().skip(usize::from(keeps)).map(|&owner| images[owner].cluster));
    }
    let has_more = |image: &NameParts| counts[&image.cluster] < image.parts.len();
    let mut all: BTreeMap<usize, bool> = BTreeMap::new();
    for image in images {
        *all.entry(image.cluster).or_insert(true) &= has_more(image);
    }
    longer.retain(|cluster| all[cluster]);
    longer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the names of Dockerfiles, each in a cluster of its own.
    fn names(paths: &[&str]) -> Vec<String> {
        let parts = paths.iter().enumerate().map(|(index, path)| {
            let (folder, _) = split(path);
            let plain =
                paths.iter().any(|other| *other == super::super::found::join(folder, "Dockerfile"));
            NameParts::new("Shop", path, plain, index)
        });
        let parts: Vec<NameParts> = parts.collect();
        let chosen = choose(&parts, &|_, name| name != "taken");
        chosen.into_iter().map(|chosen| chosen.name).collect()
    }

    #[test]
    fn images_are_named_after_folders() {
        for (paths, expected) in [
            (&["Dockerfile"][..], &["shop"][..]),
            (&["My App/Dockerfile", "x/y/Containerfile"], &["my-app", "y"]),
            (&["docker/api.Dockerfile", "Dockerfile.web"], &["api", "web"]),
            (&["Dockerfile", "Dockerfile.dev"], &["shop", "shop-dev"]),
            (&["a/Dockerfile", "a/Dockerfile.dev"], &["a", "a-dev"]),
            // The nearest one keeps the name.
            (&["api/Dockerfile", "x/api/Dockerfile"], &["api", "x-api"]),
            (&["x/api/Dockerfile", "y/api/Dockerfile"], &["x-api", "y-api"]),
            (&["a/x/p/Dockerfile", "b/x/p/Dockerfile"], &["a-x-p", "b-x-p"]),
            (&["shop/Dockerfile", "Dockerfile"], &["shop-shop", "shop"]),
            (&["taken/Dockerfile"], &["shop-taken"]),
            (&["taken/x/taken/Dockerfile"], &["x-taken"]),
            // Names that are one in lower case, and a name without any letter of names.
            (&["A/Dockerfile", "a/Dockerfile"], &["shop-a", "shop-a-2"]),
            (&["図/Dockerfile", "x/図/Dockerfile"], &["shop", "x"]),
        ] {
            assert_eq!(names(paths), expected, "{paths:?}");
        }
        let deep = format!("{}/Dockerfile", "x".repeat(300));
        assert_eq!(names(&[&deep])[0].len(), MAX_NAME_BYTES);
    }

    #[test]
    fn images_of_a_cluster_get_longer_together() {
        let parts = [("s/a", 0), ("s/b", 0), ("b", 1)].map(|(folder, cluster)| {
            NameParts::new("r", &format!("{folder}/Dockerfile"), false, cluster)
        });
        let names = choose(&parts, &|_, _| true);
        let chosen = |name: &str, parts, instead: Option<&str>| ChosenName {
            name: name.to_owned(),
            parts,
            instead_of: instead.map(str::to_owned),
        };
        let expected =
            [chosen("s-a", 2, Some("a")), chosen("s-b", 2, Some("b")), chosen("b", 1, None)];
        assert_eq!(names, expected);
    }
}
