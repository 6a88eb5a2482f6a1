//! Names and tags the images of found Dockerfiles. Pure.
//!
//! An image is named after its folder, or after its Dockerfile: `api.Dockerfile`. `Dockerfile.dev` is
//! a variant of its folder. A version at the end of the path begins the tag: `runtime/8.0/noble` is
//! `runtime:8.0-noble`. If several images
//! would have one name and tag, the one nearest to the root keeps it, and the others get the names of
//! further folders in front: `api` of `services/api`, and `tools-api`.

use std::collections::{BTreeMap, BTreeSet};

use super::found::{DockerfileName, split};
use crate::base::name::{Tag, image_name_of};

/// Maximum length of a proposed name, which leaves room for a number behind it.
const MAX_NAME_BYTES: usize = 200;

/// Generic folder names; an image takes the name of the folder above.
const GENERIC_FOLDERS: [&str; 5] = ["build", "container", "docker", "image", "src"];

/// Words for the system or the architecture of an image, which may follow a version.
const VARIANTS: &str = "alpine amd64 arm32 arm64 azurelinux bookworm bullseye buster debian distroless \
    focal fpm jammy nanoserver noble slim trixie ubuntu windowsservercore x86";

/// The name and the tag of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProposedName {
    pub(super) name: String,
    /// `None` for `latest`.
    pub(super) tag: Option<String>,
}

/// Parts of which the name of an image can be made.
pub(super) struct NameParts {
    /// Names of the folders, from the root's own to the nearest, and of the Dockerfile. Not empty.
    parts: Vec<String>,
    tag: Option<String>,
}

impl NameParts {
    /// Returns the parts for a Dockerfile.
    pub(super) fn new(root: &str, path: &str) -> Self {
        let (folder, file) = split(path);
        let mut parts: Vec<String> = vec![root.to_owned()];
        parts.extend(folder.split('/').filter(|part| *part != ".").map(str::to_owned));
        while parts.len() > 1 && parts.last().is_some_and(|last| GENERIC_FOLDERS.contains(&&**last))
        {
            parts.pop();
        }
        if let Some(DockerfileName { variant: Some(variant), suffix }) = DockerfileName::parse(file)
        {
            match parts.last_mut() {
                Some(last) if suffix.is_none() && !is_version(variant) => {
                    last.push('-');
                    last.push_str(variant);
                }
                _ => parts.push(variant.to_owned()),
            }
        }
        let tag = take_tag(&mut parts);
        let parts = parts.iter().map(|part| image_name_of(&in_kebab_case(part)));
        let mut parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            parts.push("image".to_owned());
        }
        Self { parts, tag }
    }

    /// Returns the name of this many parts.
    pub(super) fn name(&self, count: usize) -> ProposedName {
        let name = self.parts[self.parts.len().saturating_sub(count)..].join("-");
        let name = image_name_of(name.get(..MAX_NAME_BYTES).unwrap_or(&name));
        ProposedName { name, tag: self.tag.clone() }
    }
}

/// Splits the path at its first version after the root's own name that has only variants behind it.
/// Returns the version with the variants as a tag, if it is a valid one.
fn take_tag(parts: &mut Vec<String>) -> Option<String> {
    let (at, start) = parts.iter().enumerate().skip(1).find_map(|(at, part)| {
        let starts = part.match_indices(['_', '-']).map(|(at, _)| at + 1);
        let is_version = |start: &usize| match start {
            0 => is_version(part) || is_major_version(part),
            start => is_version(&part[*start..]),
        };
        let start = std::iter::once(0).chain(starts).find(is_version)?;
        parts[at + 1..].iter().all(|part| is_variant(part)).then_some((at, start))
    })?;
    let rest = std::iter::once(&parts[at][start..]).chain(parts[at + 1..].iter().map(|it| &**it));
    let tag = rest.collect::<Vec<_>>().join("-");
    tag.parse::<Tag>().ok()?;
    parts[at].truncate(start.saturating_sub(1));
    parts.truncate(at + 1);
    Some(tag)
}

/// Returns true for `8.0`, `v1.2` and `3.20-slim`. A number without dots, as in `tasks/001`, is none.
fn is_version(text: &str) -> bool {
    let number = text.split(['-', '_']).next().unwrap_or_default();
    let digits = number.strip_prefix('v').unwrap_or(number);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    digits.split('.').all(is_number) && digits.contains('.')
}

/// Returns true for `16` and `20-alpine`, but not for `001`.
fn is_major_version(text: &str) -> bool {
    let mut parts = text.split(['-', '_']);
    let number = parts.next().unwrap_or_default();
    let is_number = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
    matches!(number.len(), 1 | 2) && is_number && parts.all(is_variant)
}

/// Returns true for `slim`, `alpine3.20` and `noble-arm64v8`.
fn is_variant(text: &str) -> bool {
    text.split(['-', '_']).all(|word| {
        VARIANTS.split(' ').filter_map(|variant| word.strip_prefix(variant)).any(|version| {
            let version = version.strip_prefix('v').unwrap_or(version);
            version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        })
    })
}

/// Writes `NodeBase` as `Node-Base`.
fn in_kebab_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut previous = ' ';
    for c in text.chars() {
        if c.is_ascii_uppercase() && previous.is_ascii_lowercase() {
            out.push('-');
        }
        out.push(c);
        previous = c;
    }
    out
}

/// Returns a name for each image, all different. `is_free` says whether a name may be used by the
/// image with an index at all.
pub(super) fn choose(
    images: &[NameParts],
    is_free: &dyn Fn(usize, &ProposedName) -> bool,
) -> Vec<ProposedName> {
    let mut counts = vec![1; images.len()];
    loop {
        let longer = too_short(images, &counts, is_free);
        if longer.is_empty() {
            break;
        }
        for index in longer {
            counts[index] += 1;
        }
    }
    let (mut used, mut numbers) = (BTreeSet::new(), BTreeMap::new());
    let choose = |(index, image): (usize, &NameParts)| {
        let mut name = image.name(counts[index]);
        let stem = name.clone();
        while !is_free(index, &name) || used.contains(&name) {
            let number = numbers.entry(stem.clone()).or_insert(1);
            *number += 1;
            name.name = format!("{}-{number}", stem.name);
        }
        used.insert(name.clone());
        name
    };
    images.iter().enumerate().map(choose).collect()
}

/// Returns the images whose names need one more part, and have one.
fn too_short(
    images: &[NameParts],
    counts: &[usize],
    is_free: &dyn Fn(usize, &ProposedName) -> bool,
) -> Vec<usize> {
    let mut owners: BTreeMap<ProposedName, Vec<usize>> = BTreeMap::new();
    for (index, image) in images.iter().enumerate() {
        owners.entry(image.name(counts[index])).or_default().push(index);
    }
    let mut longer: Vec<usize> = Vec::new();
    for (name, mut owners) in owners {
        owners.sort_by_key(|&owner| images[owner].parts.len());
        let depth = |at: usize| owners.get(at).map(|&owner| images[owner].parts.len());
        let keeps = depth(0) != depth(1) && is_free(owners[0], &name);
        longer.extend(owners.iter().skip(usize::from(keeps)));
    }
    longer.retain(|&index| counts[index] < images[index].parts.len());
    longer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str]) -> Vec<String> {
        let parts: Vec<NameParts> = paths.iter().map(|path| NameParts::new("Shop", path)).collect();
        let chosen = choose(&parts, &|_, name| name.name != "taken").into_iter();
        chosen
            .map(|name| {
                [Some(name.name), name.tag].into_iter().flatten().collect::<Vec<_>>().join(":")
            })
            .collect()
    }

    #[test]
    fn images_are_named_after_folders() {
        for (paths, expected) in [
            (&["Dockerfile"][..], &["shop"][..]),
            (&["My App/Dockerfile", "x/y/Containerfile"], &["my-app", "y"]),
            (&["docker/api.Dockerfile", "Dockerfile.web"], &["api", "shop-web"]),
            (&["api/Dockerfile-prod", "api/web.Containerfile"], &["api-prod", "web"]),
            (&["Dockerfile", "Dockerfile.dev"], &["shop", "shop-dev"]),
            (&["a/Dockerfile", "a/Dockerfile.dev"], &["a", "a-dev"]),
            (&["docker/Dockerfile", "docker/Dockerfile.dev"], &["shop", "shop-dev"]),
            (&["x/src/docker/Dockerfile", "docker/api.Dockerfile"], &["x", "api"]),
            (&["NodeBase/Dockerfile", "API/Dockerfile"], &["node-base", "api"]),
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
        // Many equal names without a letter of names.
        let paths: Vec<String> =
            (0..5000).map(|index| format!("図{}/図/Dockerfile", "図".repeat(index % 50))).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert_eq!(names(&paths).iter().collect::<BTreeSet<_>>().len(), 5000);
        let deep = format!("{}/Dockerfile", "x".repeat(300));
        assert_eq!(names(&[&deep])[0].len(), MAX_NAME_BYTES);
    }

    #[test]
    fn versions_are_tags() {
        for (path, expected) in [
            ("src/runtime/8.0/noble/amd64/Dockerfile", "runtime:8.0-noble-amd64"),
            ("python/3.12/slim-bookworm/Dockerfile", "python:3.12-slim-bookworm"),
            ("1.0/python/3.12/Dockerfile", "python:3.12"),
            ("3.12/Dockerfile.dev", "shop:3.12-dev"),
            ("d/r-ver_4.3.Dockerfile", "r-ver:4.3"),
            ("Dockerfile.v1.2", "shop:v1.2"),
            ("python-3.12-slim/Dockerfile", "python:3.12-slim"),
            ("postgres/16/Dockerfile", "postgres:16"),
            ("node/20-alpine/Dockerfile", "node:20-alpine"),
            // Numbered images, a version of an interface, and what is no tag.
            ("tasks/sort-01/Dockerfile", "sort-01"),
            ("01-intro/Dockerfile", "01-intro"),
            ("tasks/001/Dockerfile", "001"),
            ("8.0/app/Dockerfile", "app"),
            ("v2/api/Dockerfile", "api"),
            ("7zip/Dockerfile", "7zip"),
            ("3.12/a b/Dockerfile", "a-b"),
        ] {
            assert_eq!(names(&[path]), [expected], "{path}");
        }
    }
}
