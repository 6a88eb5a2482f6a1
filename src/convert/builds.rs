//! Names the builds of an input and connects them: one entry for each tag, with the images that it is
//! built on. Pure.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::Converted;
use super::draft::{DraftImage, add_each_once};
use super::dropped::{DropList, ItemPlace};
use crate::base::name::{ImageName, NameError, Platform, Tag, image_name_of};
use crate::base::reference::RegistryRef;

/// A build, before it has its names.
#[derive(Debug)]
pub(super) struct ForeignBuild {
    /// Name by which other builds refer to it.
    pub(super) id: String,
    pub(super) place: ItemPlace,
    /// References under which it is pushed.
    pub(super) references: Vec<String>,
    /// Names in its Dockerfile that mean other builds, by their IDs.
    pub(super) bases: Vec<(String, String)>,
    /// Its entry; `None` if the image was dropped.
    pub(super) image: Option<DraftImage>,
}

/// The name of an image in the service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ServiceName {
    name: String,
    tag: String,
    /// References without a tag under which the image is known outside.
    published_as: Vec<String>,
}

impl ServiceName {
    fn key(&self) -> String {
        format!("{}:{}", self.name, self.tag)
    }
}

/// Builds by their IDs, while they are named and connected.
struct Builds {
    all: Vec<ForeignBuild>,
    /// Names of each build; none if the image is dropped.
    names: Vec<Vec<ServiceName>>,
    by_id: HashMap<String, usize>,
}

/// Adds the entries of all builds.
pub(super) fn assemble(builds: Vec<ForeignBuild>, converted: &mut Converted) {
    let dropped = &mut converted.dropped;
    let names = builds.iter().map(|build| service_names(build, dropped)).collect();
    let by_id = builds.iter().enumerate().map(|(index, build)| (build.id.clone(), index)).collect();
    let mut builds = Builds { all: builds, names, by_id };
    builds.widen_bases();
    builds.drop_clashes(dropped);
    let aliases = builds.connect(dropped);
    builds.drop_dependents(dropped);
    for (index, aliases) in aliases.iter().enumerate() {
        builds.add(index, aliases, converted);
    }
}

/// Returns the names of a build in the service, each once.
fn service_names(build: &ForeignBuild, dropped: &mut DropList) -> Vec<ServiceName> {
    if build.image.is_none() {
        return Vec::new();
    }
    let mut names: Vec<ServiceName> = Vec::new();
    for reference in &build.references {
        match service_name(reference) {
            Ok(name) => match names.iter_mut().find(|known| known.key() == name.key()) {
                Some(known) => add_each_once(&mut known.published_as, name.published_as),
                None => names.push(name),
            },
            Err(reason) => dropped.add(&build.place, "tags", reason),
        }
    }
    if build.references.is_empty() {
        let name = image_name_of(&build.id).parse::<ImageName>();
        names.extend(name.into_iter().map(|name| ServiceName {
            name: name.as_str().to_owned(),
            tag: "latest".to_owned(),
            published_as: Vec::new(),
        }));
    }
    names
}

/// Returns the name that an image has in the service: the last segment of its path, and its tag. Fails
/// with the reason why there is none.
fn service_name(reference: &str) -> Result<ServiceName, String> {
    let reference: RegistryRef = reference
        .parse()
        .map_err(|error: NameError| format!("no name for the service: {}", error.message))?;
    if reference.digest().is_some() {
        return Err("no name for the service: it has a digest".to_owned());
    }
    let last = reference.repository().rsplit('/').next().unwrap_or_default();
    let name: ImageName =
        last.parse().map_err(|_| format!("`{last}` is no name for the service"))?;
    let is_only_a_name = reference.name() == format!("docker.io/library/{name}");
    let published_as = if is_only_a_name { Vec::new() } else { vec![reference.name()] };
    let tag = reference.tag().map_or("latest", Tag::as_str);
    Ok(ServiceName { name: name.as_str().to_owned(), tag: tag.to_owned(), published_as })
}

impl Builds {
    /// Gives each base without platforms those of the images that are built on it: they need it on each.
    fn widen_bases(&mut self) {
        let has_platforms = |build: &ForeignBuild| {
            build.image.as_ref().is_some_and(|image| !image.platforms.is_empty())
        };
        let is_fixed: Vec<bool> = self.all.iter().map(has_platforms).collect();
        let mut queue: Vec<usize> = (0..self.all.len()).filter(|&index| is_fixed[index]).collect();
        while let Some(index) = queue.pop() {
            let Some(image) = &self.all[index].image else { continue };
            let platforms = image.platforms.clone();
            for (_, id) in self.all[index].bases.clone() {
                let base = self.by_id.get(&id).copied().filter(|&base| !is_fixed[base]);
                let Some(image) = base.and_then(|base| self.all[base].image.as_mut()) else {
                    continue;
                };
                let before = image.platforms.len();
                // Others may be built on it for the default platform.
                for platform in std::iter::once(&Platform::Amd64).chain(&platforms) {
                    if !image.platforms.contains(platform) {
                        image.platforms.push(*platform);
                    }
                }
                if image.platforms.len() > before {
                    queue.extend(base);
                }
            }
        }
    }

    /// Drops each name that an earlier build of another image has, and each image without a name.
    fn drop_clashes(&mut self, dropped: &mut DropList) {
        let mut owners: HashMap<String, usize> = HashMap::new();
        for (index, names) in self.names.iter_mut().enumerate() {
            names.retain(|name| {
                let owner = *owners.entry(name.key()).or_insert(index);
                let is_same = match (&self.all[owner].image, &self.all[index].image) {
                    (Some(a), Some(b)) => a.has_content_of(b),
                    _ => false,
                };
                if !is_same {
                    let owner = &self.all[owner].place;
                    let reason = format!("{} is the image of {owner} already", name.key());
                    dropped.add(&self.all[index].place, "tags", reason);
                }
                is_same
            });
            if names.is_empty() && self.all[index].image.is_some() {
                let reason = "the image is left out: it has no name of its own";
                dropped.add(&self.all[index].place, "", reason);
            }
        }
    }

    /// Returns, for each build, the further names by which Dockerfiles refer to it. Drops a build for
    /// which one of them is taken.
    fn connect(&mut self, dropped: &mut DropList) -> Vec<Vec<String>> {
        let mut aliases = vec![Vec::new(); self.all.len()];
        let mut taken: HashMap<&str, usize> = HashMap::new();
        for index in 0..self.all.len() {
            for (alias, id) in &self.all[index].bases {
                let Some(&base) = self.by_id.get(id) else { continue };
                let Some(name) = self.names[base].first() else { continue };
                let reason = match alias.parse::<RegistryRef>() {
                    Ok(reference) if is_name_of(&reference, name) => continue,
                    Ok(reference) if reference.digest().is_some() => "it has a digest",
                    Ok(_) => match taken.entry(alias) {
                        Entry::Occupied(other) if *other.get() == base => continue,
                        Entry::Occupied(_) => "elsewhere it means another image",
                        Entry::Vacant(free) => {
                            free.insert(base);
                            aliases[base].push(alias.clone());
                            continue;
                        }
                    },
                    Err(_) => "no Dockerfile can refer to it",
                };
                let reason = format!("the image is left out: {reason}");
                dropped.add(&self.all[index].place, &format!("contexts.{alias}"), reason);
                self.names[index].clear();
            }
        }
        aliases
    }

    /// Drops the builds whose bases are dropped: they would be built on something else.
    fn drop_dependents(&mut self, dropped: &mut DropList) {
        let mut dependents: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, build) in self.all.iter().enumerate() {
            for (_, id) in &build.bases {
                dependents.entry(id).or_default().push(index);
            }
        }
        let missing = dependents.keys().filter(|id| !self.by_id.contains_key(**id)).copied();
        let lost = self.all.iter().zip(&self.names).filter(|(_, names)| names.is_empty());
        let mut lost: Vec<&str> = lost.map(|(build, _)| &*build.id).chain(missing).collect();
        lost.sort_unstable();
        while let Some(id) = lost.pop() {
            for &index in dependents.get(id).into_iter().flatten() {
                if !std::mem::take(&mut self.names[index]).is_empty() {
                    let reason = format!("the image is left out, as is its base `{id}`");
                    dropped.add(&self.all[index].place, "", reason);
                    lost.push(&self.all[index].id);
                }
            }
        }
    }

    /// Adds an entry for each name of a build.
    fn add(&self, index: usize, aliases: &[String], converted: &mut Converted) {
        let build = &self.all[index];
        let names = &self.names[index];
        for (number, name) in names.iter().enumerate() {
            let Some(mut image) = build.image.clone() else { continue };
            if number == 0 && names.len() > 1 {
                let count = names.len();
                image.comments.push(format!(
                    "{} has {count} tags: an image has one, so each is an entry and a build",
                    build.place
                ));
            } else if number > 0 {
                image.comments.clear();
            }
            if build.references.is_empty() {
                image.comments.push(format!("{} has no tag: named by its key", build.place));
            }
            image.published_as.clone_from(&name.published_as);
            if number == 0 {
                add_each_once(&mut image.published_as, aliases.iter().cloned());
            }
            for (_, id) in &build.bases {
                let base = self.by_id.get(id).and_then(|&base| self.names[base].first());
                let base = base.map(ServiceName::key).filter(|key| *key != name.key());
                add_each_once(&mut image.needs, base);
            }
            image.name = Some(name.name.clone());
            image.tag = Some(name.tag.clone()).filter(|tag| tag != "latest");
            if let Err(reason) = converted.draft.add(&name.key(), image) {
                converted.dropped.add(&build.place, "tags", reason);
            }
        }
    }
}

/// True if a reference already means an image of `needs` with this name.
fn is_name_of(reference: &RegistryRef, name: &ServiceName) -> bool {
    let ends = reference.repository().rsplit('/').next() == Some(&name.name);
    ends && reference.tag().is_none_or(|tag| tag.as_str() == name.tag)
}
