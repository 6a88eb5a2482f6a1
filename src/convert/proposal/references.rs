//! Finds the namespaces of registries in which the images of the found Dockerfiles are published.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::found::FoundDockerfile;
use super::naming::ProposedName;
use crate::base::name::Tag;
use crate::base::official_images::is_official;
use crate::base::reference::{DOCKER_HUB, RegistryRef};

/// Minimum number of found images in a namespace. A single one may be a vendor's, such as
/// `gcr.io/distroless/base`; `imgplan plan` names it with the line to add.
const MIN_IMAGES: usize = 2;

/// Returns the name of a reference to Docker Hub's official images: `alpine` of `alpine:3.20`.
pub(super) fn official_name(reference: &str) -> Option<String> {
    let reference: RegistryRef = reference.parse().ok()?;
    let name = reference.repository().strip_prefix("library/")?;
    (reference.registry() == DOCKER_HUB && is_official(name)).then(|| name.to_owned())
}

/// Returns the namespaces, such as `quay.io/org`, in which Dockerfiles refer to at least two found
/// images by their names and tags. A namespace is foreign if the Dockerfile of `x` uses
/// `namespace/x`. Names of official images are no evidence: `bitnami/nginx` beside a folder `nginx`
/// is a vendor's image.
pub(super) fn own_namespaces(
    dockerfiles: &[FoundDockerfile],
    names: &[ProposedName],
) -> BTreeSet<String> {
    let by_name: BTreeMap<(&str, Option<&str>), usize> = names
        .iter()
        .enumerate()
        .map(|(index, name)| ((&*name.name, name.tag.as_deref()), index))
        .collect();
    let mut found: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    let mut foreign: BTreeSet<String> = BTreeSet::from([format!("{DOCKER_HUB}/library")]);
    let all = dockerfiles.iter().enumerate();
    for (index, text) in
        all.flat_map(|(index, found)| found.references.iter().map(move |it| (index, it)))
    {
        let Ok(reference) = text.parse::<RegistryRef>() else { continue };
        let path = reference.name();
        let Some((namespace, name)) = path.rsplit_once('/') else { continue };
        let tag = reference.tag().map(Tag::as_str).filter(|tag| *tag != "latest");
        match by_name.get(&(name, tag)) {
            _ if reference.digest().is_some() || is_official(name) => {}
            Some(image) if *image == index => {
                foreign.insert(namespace.to_owned());
            }
            Some(image) => {
                found.entry(namespace.to_owned()).or_default().insert(*image);
            }
            None => {}
        }
    }
    found.retain(|namespace, images| images.len() >= MIN_IMAGES && !foreign.contains(namespace));
    found.into_keys().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_two_images() {
        for (references, expected) in [
            // References of the images a, b and c:1.
            ([&["q.io/o/b"][..], &[], &["q.io/o/a:latest"]], &["q.io/o"][..]),
            ([&["o/b", "o/c:1", "o/other"], &["p/a"], &[]], &["docker.io/o"]),
            ([&["q.io/o/b"], &[], &["q.io/o/b"]], &[]),
            ([&["q.io/o/b", "q.io/o/c:2", "q.io/p/c:1"], &[], &[]], &[]),
            ([&["q.io/o/b", "q.io/o/c:1", "q.io/o/a"], &[], &[]], &[]),
            ([&["bitnami/nginx", "bitnami/redis"], &[], &["bitnami/b"]], &[]),
            ([&["b", "library/c:1", "${X}"], &[], &[]], &[]),
            ([&[&*format!("o/b@sha256:{}", "a".repeat(64)), "o/c:1"], &[], &[]], &[]),
        ] {
            let dockerfile = |references: &[&str]| FoundDockerfile {
                references: references.iter().map(|&text| text.to_owned()).collect(),
                ..FoundDockerfile::default()
            };
            let names = [("a", None), ("b", None), ("c", Some("1"))];
            let names =
                names.into_iter().chain([("nginx", None), ("redis", None)]).map(|(name, tag)| {
                    ProposedName { name: name.to_owned(), tag: tag.map(str::to_owned) }
                });
            let names: Vec<ProposedName> = names.collect();
            let namespaces = own_namespaces(&references.map(dockerfile), &names);
            assert_eq!(namespaces.into_iter().collect::<Vec<_>>(), expected, "{references:?}");
        }
    }
}
