//! Finds the references by which Dockerfiles mean other found images. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::found::FoundDockerfile;
use crate::base::name::Tag;
use crate::base::reference::RegistryRef;

/// References to one found image from outside, with the indexes of the Dockerfiles that have them.
pub(super) type OutsideNames = BTreeMap<String, BTreeSet<usize>>;

/// Returns the name of a reference to Docker Hub's official images: `alpine` of `alpine:3.20`.
pub(super) fn official_name(reference: &str) -> Option<String> {
    let reference: RegistryRef = reference.parse().ok()?;
    let name = reference.repository().strip_prefix("library/")?;
    (reference.registry() == "docker.io" && !name.contains('/')).then(|| name.to_owned())
}

/// Returns the references under which each image is known outside, by its index. A reference counts if
/// its last segment is the name of an image, unless that image would then depend on itself.
pub(super) fn outside_names(
    dockerfiles: &[FoundDockerfile],
    names: &[&str],
) -> BTreeMap<usize, OutsideNames> {
    let by_name: BTreeMap<&str, usize> =
        names.iter().enumerate().map(|(index, name)| (*name, index)).collect();
    let mut outside: BTreeMap<usize, OutsideNames> = BTreeMap::new();
    let mut bases: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); dockerfiles.len()];
    for (index, found) in dockerfiles.iter().enumerate() {
        for reference in &found.references {
            let Ok(parsed) = reference.parse::<RegistryRef>() else { continue };
            let last = parsed.repository().rsplit('/').next().unwrap_or_default();
            let Some(&base) = by_name.get(last).filter(|base| **base != index) else { continue };
            if parsed.digest().is_some() {
                continue;
            }
            let tag = parsed.tag().map(Tag::as_str).filter(|tag| *tag != "latest");
            let is_library = official_name(reference).is_some();
            let name = if is_library { last.to_owned() } else { parsed.name() };
            match tag {
                // The name of the image itself.
                None if is_library => {
                    bases[index].insert(base);
                    continue;
                }
                None => outside.entry(base).or_default().entry(name),
                Some(tag) => outside.entry(base).or_default().entry(format!("{name}:{tag}")),
            }
            .or_default()
            .insert(index);
        }
    }
    outside.retain(|&base, references| {
        let dependents: BTreeSet<usize> = references.values().flatten().copied().collect();
        let is_acyclic = !reaches(base, &dependents, &bases);
        if is_acyclic {
            for dependent in dependents {
                bases[dependent].insert(base);
            }
        }
        is_acyclic
    });
    outside
}

/// Returns true if an image is built on one of the others, directly or not.
fn reaches(from: usize, others: &BTreeSet<usize>, bases: &[BTreeSet<usize>]) -> bool {
    let (mut queue, mut seen) = (vec![from], BTreeSet::from([from]));
    while let Some(image) = queue.pop() {
        if others.contains(&image) {
            return true;
        }
        queue.extend(bases[image].iter().copied().filter(|&base| seen.insert(base)));
    }
    false
}
