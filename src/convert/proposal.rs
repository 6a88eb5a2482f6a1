//! Proposes a manifest for the Dockerfiles and Harbor tasks of a folder: one entry for each image, or
//! one with `discover` for many of one shape. Pure: the caller reads the files.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{Draft, DraftImage, DraftOrigin};
use super::found::{FoundDockerfile, split};
use super::naming::{self, ChosenName, NameParts};
use super::references::{self, OutsideNames};
use super::shape::{self, Shape};
use crate::base::name::image_name_of;
use crate::base::text::list;

/// Maximum number of paths or references in a comment.
const MAX_SHOWN: usize = 3;

/// A folder of Harbor tasks.
#[derive(Debug)]
pub(crate) struct FoundTasks {
    /// The entry that discovers them, as `imgplan convert --from harbor` writes it.
    pub(crate) entry: Draft,
    /// The folder that has the folders of the tasks.
    pub(crate) parent: String,
    /// Names of their folders.
    pub(crate) folders: Vec<String>,
    /// The `name:tag` of each image.
    pub(crate) keys: Vec<String>,
}

/// Files that were found in a folder.
#[derive(Debug)]
pub(crate) struct FoundFiles {
    /// Name of the folder.
    pub(crate) root: String,
    /// Sorted by their paths.
    pub(crate) dockerfiles: Vec<FoundDockerfile>,
    pub(crate) tasks: Vec<FoundTasks>,
    /// Folders in which a pattern would find more than was found.
    pub(crate) irregular: BTreeSet<String>,
    /// True for the name of an official image of Docker Hub.
    pub(crate) is_official: fn(&str) -> bool,
}

/// Proposes a manifest.
///
/// # Errors
///
/// Fails with the reason if it would be larger than a manifest may be.
pub(crate) fn propose(found: &FoundFiles) -> Result<Draft, String> {
    let clusters = shape::cluster(&found.dockerfiles, &found.irregular);
    let (has_long_names, task_keys) = task_keys(found);
    let names = names(found, &clusters.of, &task_keys);
    let texts: Vec<&str> = names.iter().map(|name| &*name.name).collect();
    let outside = references::outside_names(&found.dockerfiles, &texts);
    let groups = groups(&found.dockerfiles);
    let proposal = Proposal { found, names, outside, groups };
    let mut draft = Draft::default();
    for (cluster, shape) in clusters.shapes.iter().enumerate() {
        let members = (0..clusters.of.len()).filter(|&index| clusters.of[index] == cluster);
        let members: Vec<usize> = members.collect();
        match shape.as_ref().and_then(|shape| proposal.discovered(shape, &members)) {
            Some(entry) => draft.add(&format!("discover {cluster}"), entry)?,
            None => {
                for index in members {
                    draft.add(&proposal.names[index].name, proposal.image(index))?;
                }
            }
        }
    }
    for (index, tasks) in found.tasks.iter().enumerate() {
        for entry in &tasks.entry.images {
            let mut entry = entry.clone();
            if has_long_names[index] {
                entry.name = Some("{parent}-{dir}".to_owned());
                entry.comments.push("Named by two folders: other tasks have the names.".to_owned());
            }
            draft.add(&format!("tasks {index}"), entry)?;
        }
    }
    Ok(draft)
}

/// Returns which entries of tasks name their images by two folders, because an earlier entry has one of
/// the names, and the `name:tag` of all tasks.
fn task_keys(found: &FoundFiles) -> (Vec<bool>, BTreeSet<String>) {
    let (mut has_long_names, mut taken) = (Vec::new(), BTreeSet::new());
    for tasks in &found.tasks {
        let is_taken = tasks.keys.iter().any(|key| taken.contains(key));
        has_long_names.push(is_taken);
        if is_taken {
            let parent = if tasks.parent == "." { &*found.root } else { split(&tasks.parent).1 };
            let parent = image_name_of(parent);
            let key = |folder: &String| format!("{parent}-{}:latest", image_name_of(folder));
            taken.extend(tasks.folders.iter().map(key));
        } else {
            taken.extend(tasks.keys.iter().cloned());
        }
    }
    (has_long_names, taken)
}

/// Names the images. No image gets the `name:tag` of a task, or the name of an official image that
/// another Dockerfile means.
fn names(found: &FoundFiles, clusters: &[usize], task_keys: &BTreeSet<String>) -> Vec<ChosenName> {
    let mut official: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (index, dockerfile) in found.dockerfiles.iter().enumerate() {
        let names = dockerfile.references.iter().filter_map(|it| references::official_name(it));
        for name in names.filter(|name| (found.is_official)(name)) {
            official.entry(name).or_default().insert(index);
        }
    }
    let files = || found.dockerfiles.iter().map(|found| split(&found.path));
    let plain = files().filter(|(_, file)| matches!(*file, "Dockerfile" | "Containerfile"));
    let plain: BTreeSet<&str> = plain.map(|(folder, _)| folder).collect();
    let parts = found.dockerfiles.iter().zip(clusters).map(|(dockerfile, &cluster)| {
        let has_plain_sibling = plain.contains(split(&dockerfile.path).0);
        NameParts::new(&found.root, &dockerfile.path, has_plain_sibling, cluster)
    });
    let is_free = |index: usize, name: &str| {
        let is_meant = |users: &BTreeSet<usize>| users.iter().any(|&user| user != index);
        !task_keys.contains(&format!("{name}:latest")) && !official.get(name).is_some_and(is_meant)
    };
    naming::choose(&parts.collect::<Vec<_>>(), &is_free)
}

/// Returns the first folders of paths that several images share, which become groups.
fn groups(dockerfiles: &[FoundDockerfile]) -> BTreeSet<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (first, _) in dockerfiles.iter().filter_map(|found| found.path.split_once('/')) {
        *counts.entry(first).or_default() += 1;
    }
    let is_group = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
            && name.len() <= 128
    };
    let shared = counts.into_iter().filter(|(name, count)| *count > 1 && is_group(name));
    shared.map(|(name, _)| name.to_owned()).collect()
}

/// The parts of a proposal, by the index of each Dockerfile.
struct Proposal<'a> {
    found: &'a FoundFiles,
    names: Vec<ChosenName>,
    outside: BTreeMap<usize, OutsideNames>,
    groups: BTreeSet<String>,
}

impl Proposal<'_> {
    /// Returns the entry of one image.
    fn image(&self, index: usize) -> DraftImage {
        let FoundDockerfile { path, context, .. } = &self.found.dockerfiles[index];
        let relative = match &**context {
            "." => path,
            context => {
                path.strip_prefix(context).map_or(&**path, |rest| rest.trim_start_matches('/'))
            }
        };
        let dockerfile = Some(relative.to_owned()).filter(|file| file != "Dockerfile");
        let mut image = DraftImage::new(DraftOrigin::Context { path: context.clone(), dockerfile });
        image.name = Some(self.names[index].name.clone());
        image.groups = self.group(path);
        image.comments = self.comments(index);
        let names = self.outside.get(&index).filter(|names| names.len() == 1);
        image.published_as = names.into_iter().flat_map(OutsideNames::keys).cloned().collect();
        image
    }

    /// Returns the entry that discovers images, or `None` if it cannot give all of them their names.
    fn discovered(&self, shape: &Shape, members: &[usize]) -> Option<DraftImage> {
        let parts = self.names[members[0]].parts;
        let has_default_name = |&index: &usize| {
            let path = &self.found.dockerfiles[index].path;
            let own = NameParts::new(&self.found.root, path, false, 0).discovered_name(parts);
            own.as_ref() == Some(&self.names[index].name)
        };
        if parts > 2 || !members.iter().all(has_default_name) {
            return None;
        }
        let mut image = DraftImage::new(shape.origin());
        image.name = shape.name_template(parts).map(str::to_owned);
        let mut published: BTreeSet<String> = BTreeSet::new();
        for &index in members {
            for reference in self.outside.get(&index).into_iter().flat_map(OutsideNames::keys) {
                let stem = reference.strip_suffix(&*self.names[index].name)?;
                published.insert(format!("{stem}{{name}}"));
            }
            image.comments.extend(self.unresolved(index));
        }
        // Several references are for a person to choose from, one image at a time.
        (published.len() <= 1).then(|| {
            image.published_as = published.into_iter().collect();
            image.groups = self.group(&self.found.dockerfiles[members[0]].path);
            image
        })
    }

    fn group(&self, path: &str) -> Vec<String> {
        let first = path.split_once('/').map(|(first, _)| first.to_owned());
        first.filter(|first| self.groups.contains(first)).into_iter().collect()
    }

    /// Returns the comments of one image: why it has its name, and what a person has to decide.
    fn comments(&self, index: usize) -> Vec<String> {
        let mut comments = Vec::new();
        if let Some(other) = self.names[index].instead_of.as_deref().filter(|it| !it.is_empty()) {
            comments.push(format!("Named by its path: `{other}` means another image."));
        }
        if let Some(names) = self.outside.get(&index) {
            let users: BTreeSet<usize> = names.values().flatten().copied().collect();
            let path = |&user: &usize| &self.found.dockerfiles[user].path;
            let users = list(users.iter().map(path), MAX_SHOWN);
            comments.push(if names.len() == 1 {
                format!("published_as: the reference of {users}.")
            } else {
                let names = list(names.keys(), MAX_SHOWN);
                format!("{users} use {names}: if that is this image, add `published_as:`.")
            });
        }
        comments.extend(self.unresolved(index));
        comments
    }

    fn unresolved(&self, index: usize) -> Option<String> {
        let FoundDockerfile { path, unresolved, .. } = &self.found.dockerfiles[index];
        let names = list(unresolved.iter().map(|text| format!("`{text}`")), MAX_SHOWN);
        (!unresolved.is_empty())
            .then(|| format!("{path} uses {names}: give its variables values under `args:`."))
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    /// Path, context and references of a Dockerfile.
    type Row<'a> = (&'a str, &'a str, &'a [&'a str]);

    fn found(rows: &[Row<'_>], irregular: &[&str]) -> FoundFiles {
        let dockerfile = |(path, context, references): &Row<'_>| FoundDockerfile {
            path: (*path).to_owned(),
            context: (*context).to_owned(),
            references: references.iter().map(|&text| text.to_owned()).collect(),
            unresolved: Vec::new(),
        };
        FoundFiles {
            root: "Shop".to_owned(),
            dockerfiles: rows.iter().map(dockerfile).collect(),
            tasks: Vec::new(),
            irregular: irregular.iter().map(|&text| text.to_owned()).collect(),
            is_official: |name| name == "alpine",
        }
    }

    /// Returns the entries of the proposal as YAML, without their indentation.
    fn entries(found: &FoundFiles) -> String {
        let text = yaml::write(&propose(found).unwrap(), "");
        let (_, entries) = text.split_once("images:\n").unwrap();
        let lines: Vec<&str> =
            entries.lines().map(|line| line.strip_prefix("  ").unwrap()).collect();
        lines.join("\n")
    }

    #[test]
    fn each_image_has_an_entry() {
        let rows: &[Row<'_>] = &[
            ("Dockerfile", ".", &[]),
            ("images/base/Dockerfile", "images/base", &["python:3.12"]),
            ("services/api/Dockerfile", ".", &["quay.io/acme/base:v1"]),
            ("services/api/Dockerfile.dev", "services/api", &["base"]),
            ("services/web.Dockerfile", "services", &[]),
        ];
        insta::assert_snapshot!(entries(&found(rows, &[])), @r#"
        - name: shop
          context: "."
        # published_as: the reference of services/api/Dockerfile.
        - name: base
          context: images/base
          published_as: ["quay.io/acme/base:v1"]
        - name: api
          context: "."
          dockerfile: services/api/Dockerfile
          groups: [services]
        - name: api-dev
          context: services/api
          dockerfile: Dockerfile.dev
          groups: [services]
        - name: web
          context: services
          dockerfile: web.Dockerfile
          groups: [services]
        "#);
        assert_eq!(propose(&found(&[], &[])).unwrap().len(), 0);
    }

    #[test]
    fn many_images_of_one_shape_are_discovered() {
        let own: &[Row<'_>] = &[
            ("s/a/Dockerfile", "s/a", &["quay.io/o/b"]),
            ("s/b/Dockerfile", "s/b", &[]),
            ("s/c/Dockerfile", "s/c", &["quay.io/o/a:latest"]),
            ("s/d/Dockerfile", "s/d", &[]),
        ];
        insta::assert_snapshot!(entries(&found(own, &[])), @r#"
        - discover:
            glob: "s/*"
          published_as: ["quay.io/o/{name}"]
          groups: [s]
        "#);
        assert!(!entries(&found(own, &["s"])).contains("discover"));
        assert!(!entries(&found(&own[1..], &[])).contains("discover"));
        // Another one in the same place would be found too, with another context.
        let mixed = [own, &[("s/e/Dockerfile", ".", &[])]].concat();
        assert!(!entries(&found(&mixed, &[])).contains("discover"));
        // One of them is known by a tag, which the others do not share.
        let tagged = [own, &[("t/Dockerfile", "t", &["quay.io/o/d:1"])]].concat();
        assert!(!entries(&found(&tagged, &[])).contains("discover"));
    }

    #[test]
    fn discovered_images_get_longer_names_together() {
        let rows: &[Row<'_>] = &[
            ("a/Dockerfile", "a", &[]),
            ("s/a/Containerfile", ".", &[]),
            ("s/b/Containerfile", ".", &[]),
            ("s/c/Containerfile", ".", &[]),
            ("s/d/Containerfile", ".", &[]),
            ("s/w.Dockerfile", "s", &[]),
            ("s/x.Dockerfile", "s", &[]),
            ("s/y.Dockerfile", "s", &[]),
            ("s/z.Dockerfile", "s", &[]),
        ];
        insta::assert_snapshot!(entries(&found(rows, &[])), @r#"
        - name: a
          context: a
        - name: "{parent}-{dir}"
          discover:
            glob: "s/*"
          dockerfile: Containerfile
          context: "."
          groups: [s]
        - discover:
            dockerfiles: "s/*.Dockerfile"
          groups: [s]
        "#);
    }

    #[test]
    fn references_mean_images_only_where_that_is_clear() {
        let rows: &[Row<'_>] = &[
            ("a/Dockerfile", "a", &["q/b", "alpine:3"]),
            ("b/Dockerfile", "b", &["q/a"]),
            ("base/Dockerfile", "base", &["base", "quay.io/o/base"]),
            ("c/Dockerfile", "c", &["quay.io/o/base:1", "alpine"]),
            ("d/Dockerfile", "d", &["quay.io/o/base:2", "core:7"]),
            ("x/alpine/Dockerfile", "x/alpine", &[]),
            ("x/core/Dockerfile", "x/core", &[]),
        ];
        let text = entries(&found(rows, &["."]));
        insta::assert_snapshot!(text, @r#"
        # published_as: the reference of b/Dockerfile.
        - name: a
          context: a
          published_as: [docker.io/q/a]
        - name: b
          context: b
        # c/Dockerfile, d/Dockerfile use quay.io/o/base:1, quay.io/o/base:2: if that is this image, add `published_as:`.
        - name: base
          context: base
        - name: c
          context: c
        - name: d
          context: d
        # Named by its path: `alpine` means another image.
        - name: x-alpine
          context: x/alpine
          groups: [x]
        # published_as: the reference of d/Dockerfile.
        - name: core
          context: x/core
          published_as: ["core:7"]
          groups: [x]
        "#);
    }
}
