//! Proposes a manifest for the Dockerfiles and Harbor tasks of a folder: one entry for each image, or
//! one with `discover` for many of one shape. Pure: the caller reads the files.

pub(crate) mod discovery;
pub(crate) mod found;
mod naming;
mod references;

use std::collections::{BTreeMap, BTreeSet};

use self::discovery::FindPaths;
use self::found::{FoundDockerfile, FoundFiles, split};
use self::naming::{NameParts, ProposedName};
use super::draft::{Discovery, Draft, DraftImage, DraftOrigin};
use super::yaml::scalar;
use crate::base::name::{Tag, image_name_of};

/// A manifest with the targets that it is meant to have.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) draft: Draft,
    /// Paths of Dockerfiles by the `name:tag` of their images, without those of Harbor tasks.
    pub(crate) targets: BTreeMap<String, String>,
}

/// Proposes a manifest.
///
/// # Errors
///
/// Fails with the reason if it would be larger than a manifest may be.
pub(crate) fn propose(found: &FoundFiles, find: FindPaths<'_>) -> Result<Proposal, String> {
    let (tasks, task_names) = tasks(&found.tasks);
    let names = names(found, &task_names);
    let groups = groups(&found.dockerfiles);
    let mut images = Vec::new();
    let mut alone: BTreeSet<usize> = (0..names.len()).collect();
    for (origin, members) in discovery::discovered(&found.dockerfiles, &names, find) {
        alone.retain(|index| members.binary_search(index).is_err());
        images.push((members[0], DraftImage::new(origin)));
    }
    images.extend(alone.into_iter().map(|index| {
        let ProposedName { name, tag } = names[index].clone();
        let (path, dockerfile) = context_and_dockerfile(&found.dockerfiles[index]);
        let image = DraftImage::new(DraftOrigin::Context { path, dockerfile });
        (index, DraftImage { name: Some(name), tag, ..image })
    }));
    images.sort_by_key(|(index, _)| *index);
    let mut draft = Draft::default();
    let namespaces = references::own_namespaces(&found.dockerfiles, &names);
    draft.published_as = namespaces.iter().map(|it| format!("{it}/{{name}}")).collect();
    let too_large =
        "the proposal is larger than a manifest may be (64 MiB); run init in a subfolder";
    for (index, mut image) in images {
        let first = found.dockerfiles[index].path.split_once('/').map(|(first, _)| first);
        image.groups.extend(first.filter(|it| groups.contains(it)).map(str::to_owned));
        draft.push(image).map_err(|_| too_large)?;
    }
    for image in tasks {
        draft.push(image).map_err(|_| too_large)?;
    }
    let key = |ProposedName { name, tag }: &ProposedName| {
        format!("{name}:{}", tag.as_deref().unwrap_or("latest"))
    };
    let paths = found.dockerfiles.iter().map(|found| found.path.clone());
    Ok(Proposal { draft, targets: names.iter().map(key).zip(paths).collect() })
}

/// Returns the entry, in one line, for a Dockerfile that needs the value of an argument. `root` is the
/// name of the folder.
pub(crate) fn entry_with_arg(root: &str, found: &FoundDockerfile, arg: &str) -> String {
    let ProposedName { name, tag } = NameParts::new(root, &found.path).name(1);
    let (context, dockerfile) = context_and_dockerfile(found);
    let fields = [("tag", tag), ("context", Some(context)), ("dockerfile", dockerfile)];
    let fields = fields.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let fields: Vec<String> =
        fields.map(|(key, value)| format!("{key}: {}, ", scalar(&value))).collect();
    format!("{{name: {}, {}args: {{{}: ...}}}}", scalar(&name), fields.concat(), scalar(arg))
}

/// Returns an entry for each folder with Harbor tasks, and the names of the tasks that are built.
/// Tasks of several folders have the names of these in front.
fn tasks(folders: &BTreeSet<String>) -> (Vec<DraftImage>, BTreeSet<String>) {
    let mut by_parent: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in folders {
        let (parent, name) = split(path);
        by_parent.entry(parent).or_default().push(name);
    }
    let has_prefix = by_parent.len() > 1;
    let (mut images, mut names) = (Vec::new(), BTreeSet::new());
    for (parent, tasks) in by_parent {
        let prefix = Some(image_name_of(parent)).filter(|it| has_prefix && !it.is_empty());
        let name = |dir: &str| prefix.as_ref().map(|prefix| format!("{prefix}-{dir}"));
        names.extend(tasks.into_iter().map(image_name_of).map(|dir| name(&dir).unwrap_or(dir)));
        let discovery =
            Discovery { key: "harbor", pattern: parent.to_owned(), ..Discovery::default() };
        let image = DraftImage::new(DraftOrigin::Discover(discovery));
        images.push(DraftImage { name: name("{dir}"), ..image });
    }
    (images, names)
}

/// Names the images. No image gets the name of a task, or the name of an official image of Docker Hub
/// that another Dockerfile means.
fn names(found: &FoundFiles, tasks: &BTreeSet<String>) -> Vec<ProposedName> {
    let mut official: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (index, dockerfile) in found.dockerfiles.iter().enumerate() {
        for name in dockerfile.references.iter().filter_map(|it| references::official_name(it)) {
            official.entry(name).or_default().insert(index);
        }
    }
    let parts = found.dockerfiles.iter().map(|file| NameParts::new(&found.root, &file.path));
    let is_free = |index: usize, ProposedName { name, .. }: &ProposedName| {
        let users = official.get(name);
        !tasks.contains(name) && users.is_none_or(|users| users.iter().all(|&user| user == index))
    };
    naming::choose(&parts.collect::<Vec<_>>(), &is_free)
}

/// Returns the first folders of paths that several images share, which become groups.
fn groups(dockerfiles: &[FoundDockerfile]) -> BTreeSet<&str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (first, _) in dockerfiles.iter().filter_map(|found| found.path.split_once('/')) {
        *counts.entry(first).or_default() += 1;
    }
    // The names of groups have the characters of tags.
    let is_group = |name: &str| name.parse::<Tag>().is_ok();
    counts.into_iter().filter(|(name, count)| *count > 1 && is_group(name)).map(|it| it.0).collect()
}

/// Returns the context of an image that has an entry of its own, and the path of its Dockerfile unless
/// that is the default.
fn context_and_dockerfile(
    FoundDockerfile { path, context, .. }: &FoundDockerfile,
) -> (String, Option<String>) {
    let inside = path.strip_prefix(&**context).and_then(|rest| rest.strip_prefix('/'));
    let dockerfile = inside.unwrap_or(path);
    (context.clone(), Some(dockerfile.to_owned()).filter(|file| file != "Dockerfile"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::yaml;

    /// Path, context and references of a Dockerfile.
    type Row<'a> = (&'a str, &'a str, &'a [&'a str]);

    fn found(rows: &[Row<'_>], tasks: &[&str]) -> FoundFiles {
        let dockerfile = |(path, context, references): &Row<'_>| FoundDockerfile {
            path: (*path).to_owned(),
            context: (*context).to_owned(),
            references: references.iter().map(|&text| text.to_owned()).collect(),
        };
        FoundFiles {
            root: "Shop".to_owned(),
            dockerfiles: rows.iter().map(dockerfile).collect(),
            tasks: tasks.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    /// Returns the proposal as YAML, without its first lines. Patterns also find the others.
    fn proposed_beside(found: &FoundFiles, others: &[&str]) -> String {
        let find = |pattern: &str, dockerfile: Option<&str>| {
            let (folder, suffix) = pattern.split_once('*').unwrap();
            let paths = found.dockerfiles.iter().map(|found| &*found.path);
            let paths = paths.chain(others.iter().copied()).filter_map(|path| match dockerfile {
                Some(file) => path.strip_suffix(file)?.strip_suffix('/'),
                None => Some(path).filter(|path| path.ends_with(suffix)),
            });
            let has_pattern =
                |path: &&str| path.strip_prefix(folder).is_some_and(|rest| !rest.contains('/'));
            Some(paths.filter(has_pattern).map(str::to_owned).collect())
        };
        let text = yaml::write(&propose(found, &find).unwrap().draft, "");
        text.split_once("version: 1\n\n").unwrap().1.to_owned()
    }

    fn proposed(found: &FoundFiles) -> String {
        proposed_beside(found, &[])
    }

    #[test]
    fn each_image_has_an_entry() {
        let rows: &[Row<'_>] = &[
            ("Dockerfile", ".", &[]),
            ("images/base/Dockerfile", "images/base", &["python:3.12"]),
            ("images/tools/3.1/Dockerfile", "images/tools/3.1", &["quay.io/acme/base"]),
            ("services/api/Dockerfile", ".", &["quay.io/acme/tools:3.1"]),
            ("services/api/Dockerfile.dev", "services/api", &["base"]),
            ("services/web.Dockerfile", "services", &["alpine"]),
            ("x/alpine/Dockerfile", "x/alpine", &["x-alpine"]),
        ];
        insta::assert_snapshot!(proposed(&found(rows, &[])), @r#"
        defaults:
          published_as: ["quay.io/acme/{name}"]

        images:
          - name: shop
            context: "."
          - name: base
            context: images/base
            groups: [images]
          - name: tools
            tag: "3.1"
            context: images/tools/3.1
            groups: [images]
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
          - name: x-alpine
            context: x/alpine
        "#);
        assert_eq!(propose(&found(&[], &[]), &|_, _| None).unwrap().draft.len(), 0);
    }

    #[test]
    fn many_images_of_one_shape_are_discovered() {
        let own: &[Row<'_>] = &[
            ("s/a/Dockerfile", "s/a", &[]),
            ("s/b/Dockerfile", "s/b", &[]),
            ("s/c/Dockerfile", "s/c", &[]),
            ("s/d/Dockerfile", "s/d", &[]),
        ];
        insta::assert_snapshot!(proposed_beside(&found(own, &[]), &["s/broken/Dockerfile"]), @r#"
        images:
          - discover:
              glob: "s/*"
              exclude: [s/broken]
            groups: [s]
        "#);
        assert!(!proposed_beside(&found(own, &[]), &["s/{x}/Dockerfile"]).contains("discover"));
        assert!(!proposed(&found(&own[1..], &[])).contains("discover"));
        // Three others in the same place: another context, another name, and a version.
        let others: &[Row<'_>] = &[
            ("a/Dockerfile", "a", &[]),
            ("s/e/Dockerfile", ".", &[]),
            ("s/7.0/Dockerfile", "s/7.0", &[]),
        ];
        let mut mixed = [own, &[("s/f/Dockerfile", "s/f", &[])], others].concat();
        mixed.sort_unstable();
        insta::assert_snapshot!(proposed(&found(&mixed, &[])), @r#"
        images:
          - name: a
            context: a
          - name: s
            tag: "7.0"
            context: s/7.0
            groups: [s]
          - name: s-a
            context: s/a
            groups: [s]
          - discover:
              glob: "s/*"
              exclude: [s/7.0, s/a, s/e]
            groups: [s]
          - name: e
            context: "."
            dockerfile: s/e/Dockerfile
            groups: [s]
        "#);
    }

    #[test]
    fn dockerfiles_of_one_folder_are_discovered() {
        let rows: &[Row<'_>] = &[
            ("s/a/Containerfile", ".", &[]),
            ("s/b/Containerfile", ".", &[]),
            ("s/c/Containerfile", ".", &[]),
            ("s/d/Containerfile", ".", &[]),
            ("w.Dockerfile", ".", &[]),
            ("x.Dockerfile", ".", &[]),
            ("y.Dockerfile", ".", &[]),
            ("z.Dockerfile", ".", &[]),
        ];
        insta::assert_snapshot!(proposed(&found(rows, &[])), @r#"
        images:
          - discover:
              glob: "s/*"
            context: "."
            dockerfile: Containerfile
            groups: [s]
          - discover:
              dockerfiles: "*.Dockerfile"
        "#);
    }

    #[test]
    fn tasks_are_discovered() {
        let rows: &[Row<'_>] = &[("tools/sort/Dockerfile", "tools/sort", &[])];
        insta::assert_snapshot!(proposed(&found(rows, &["tasks/find", "tasks/sort"])), @r#"
        images:
          - name: tools-sort
            context: tools/sort
          - discover:
              harbor: tasks
        "#);
        insta::assert_snapshot!(proposed(&found(&[], &["a/b/sort", "sort"])), @r#"
        images:
          - discover:
              harbor: "."
          - name: "a-b-{dir}"
            discover:
              harbor: a/b
        "#);
    }
}
