//! Names the builds of an input and connects them: one entry for each tag, with the images that it is
//! built on. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::Converted;
use super::draft::DraftImage;
use super::dropped::{DropList, ItemPlace};
use super::mirror::has_password;
use crate::base::name::{ImageName, NameError, Tag, image_name_of};
use crate::base::official_images::is_official;
use crate::base::reference::RegistryRef;

/// A build, before it has its names.
#[derive(Debug)]
pub(super) struct ForeignBuild {
    /// Name by which other builds refer to it.
    pub(super) id: String,
    pub(super) place: ItemPlace,
    /// References under which it is pushed, with the fields that list them.
    pub(super) references: Vec<(&'static str, String)>,
    pub(super) bases: Vec<NamedContext>,
    /// Its entry; `None` if the image was dropped.
    pub(super) image: Option<DraftImage>,
}

/// A name in a Dockerfile that means another build.
#[derive(Debug)]
pub(super) struct NamedContext {
    /// Field that lists it.
    pub(super) field: &'static str,
    pub(super) alias: String,
    /// ID of the other build.
    pub(super) id: String,
}

/// The name of an image in the service.
#[derive(Debug)]
struct ServiceName {
    /// Field that gives it this name.
    field: &'static str,
    name: String,
    tag: String,
    /// `name:tag`.
    key: String,
    /// References without a tag under which the image is known outside.
    published_as: BTreeSet<String>,
    /// True if a reference is only the name, as that of an official image of Docker Hub.
    is_of_library: bool,
}

impl ServiceName {
    fn new(field: &'static str, name: &ImageName, tag: &str) -> Self {
        let (name, tag) = (name.as_str().to_owned(), tag.to_owned());
        let (key, published_as) = (format!("{name}:{tag}"), BTreeSet::new());
        Self { field, name, tag, key, published_as, is_of_library: false }
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
    builds.drop_clashes(dropped);
    builds.drop_official_names(dropped);
    builds.drop_nameless(dropped);
    let aliases = builds.connect(dropped);
    builds.drop_dependents(dropped);
    for (index, aliases) in aliases.into_iter().enumerate() {
        builds.add(index, aliases, converted);
    }
}

/// Returns the names of a build in the service, each once.
fn service_names(build: &ForeignBuild, dropped: &mut DropList) -> Vec<ServiceName> {
    if build.image.is_none() {
        return Vec::new();
    }
    let mut names: Vec<ServiceName> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for (field, reference) in &build.references {
        match service_name(field, reference) {
            Ok(name) => {
                let index = *known.entry(name.key.clone()).or_insert(names.len());
                match names.get_mut(index) {
                    Some(same) => {
                        same.published_as.extend(name.published_as);
                        same.is_of_library |= name.is_of_library;
                    }
                    None => names.push(name),
                }
            }
            Err(reason) => dropped.add(&build.place, field, reason),
        }
    }
    if build.references.is_empty() {
        let name = image_name_of(&build.id).parse::<ImageName>();
        names.extend(name.into_iter().map(|name| ServiceName::new("", &name, "latest")));
    }
    names
}

/// Returns the name that an image has in the service: the last segment of its path, and its tag. Fails
/// with the reason why there is none.
fn service_name(field: &'static str, reference: &str) -> Result<ServiceName, String> {
    if has_password(reference) {
        return Err("no name for the service: it has a user or a password".to_owned());
    }
    let reference: RegistryRef = reference
        .parse()
        .map_err(|error: NameError| format!("no name for the service: {}", error.message))?;
    if reference.digest().is_some() {
        return Err("no name for the service: it has a digest".to_owned());
    }
    let last = reference.repository().rsplit('/').next().unwrap_or_default();
    let name: ImageName =
        last.parse().map_err(|_| format!("`{last}` is no name for the service"))?;
    let mut named = ServiceName::new(field, &name, reference.tag().map_or("latest", Tag::as_str));
    named.is_of_library = is_of_library(&reference);
    if !named.is_of_library {
        named.published_as.insert(reference.name());
    }
    Ok(named)
}

/// True for a reference that is only a name.
fn is_of_library(reference: &RegistryRef) -> bool {
    let name = reference.name();
    name.strip_prefix("docker.io/library/").is_some_and(|name| !name.contains('/'))
}

impl Builds {
    /// Drops each name that an earlier build of another image has.
    fn drop_clashes(&mut self, dropped: &mut DropList) {
        let (mut contents, mut owners) = (HashMap::new(), HashMap::new());
        for (index, names) in self.names.iter_mut().enumerate() {
            let Some(image) = &self.all[index].image else { continue };
            // The first build of the same image.
            let content = *contents.entry(image.content()).or_insert(index);
            names.retain(|name| {
                let (owner, first) = *owners.entry(name.key.clone()).or_insert((content, index));
                if owner != content {
                    let owner = &self.all[first].place;
                    let reason = format!("{} is the image of {owner} already", name.key);
                    dropped.add(&self.all[index].place, name.field, reason);
                }
                owner == content
            });
        }
    }

    /// Drops each name of an official image of Docker Hub, unless the build is pushed as that image: in
    /// the Dockerfile of another entry, `FROM nginx` would mean the build instead of the official image.
    fn drop_official_names(&mut self, dropped: &mut DropList) {
        let is_only_entry = self.names.iter().map(Vec::len).sum::<usize>() == 1;
        for (build, names) in self.all.iter().zip(&mut self.names) {
            names.retain(|name| {
                if name.is_of_library || !is_official(&name.name) {
                    return true;
                }
                let reason = if is_only_entry {
                    format!(
                        "in later entries, `FROM {}` is this image, not Docker Hub's",
                        name.name
                    )
                } else {
                    format!(
                        "the name is left out: in other Dockerfiles, `FROM {}` is Docker Hub's \
                         image; give this one another name",
                        name.name
                    )
                };
                dropped.add(&build.place, name.field, reason);
                is_only_entry
            });
        }
    }

    fn drop_nameless(&self, dropped: &mut DropList) {
        for (build, names) in self.all.iter().zip(&self.names) {
            if names.is_empty() && build.image.is_some() {
                let reason = "the image is left out: it has no name of its own";
                dropped.add(&build.place, "", reason);
            }
        }
    }

    /// Returns, for each build, the further names by which Dockerfiles refer to it. Drops a build with
    /// a named context that would mean something else in another Dockerfile.
    fn connect(&mut self, dropped: &mut DropList) -> Vec<BTreeSet<String>> {
        let mut aliases = vec![BTreeSet::new(); self.all.len()];
        let bindings = bindings(&self.all);
        let image_names: HashSet<String> =
            self.names.iter().flatten().map(|name| name.name.clone()).collect();
        for (index, build) in self.all.iter().enumerate() {
            for NamedContext { field, alias, id } in &build.bases {
                let Some(&base) = self.by_id.get(id) else { continue };
                let Some(name) = self.names[base].first() else { continue };
                let reason = match alias.parse::<RegistryRef>() {
                    _ if base == index => "the image is its own base",
                    Err(_) => "no Dockerfile can refer to it",
                    Ok(reference) if reference.digest().is_some() => "it has a digest",
                    Ok(reference) if is_name_of(&reference, name) => continue,
                    Ok(reference) => match reference.name().strip_prefix("docker.io/library/") {
                        None => "in other Dockerfiles it is an image of a registry",
                        Some(name) if is_official(name) => {
                            "in other Dockerfiles it is Docker Hub's image"
                        }
                        Some(name) if image_names.contains(name) => "it is another image's name",
                        Some(_) if bindings.get(&full_form(&reference)) == Some(&None) => {
                            "elsewhere it means another image"
                        }
                        Some(_) => {
                            aliases[base].insert(alias.clone());
                            continue;
                        }
                    },
                };
                let reason = format!("the image is left out: {reason}");
                dropped.add(&build.place, &format!("{field}.{alias}"), reason);
                self.names[index].clear();
            }
        }
        aliases
    }

    /// Drops the builds whose bases are dropped: they would be built on something else.
    fn drop_dependents(&mut self, dropped: &mut DropList) {
        let mut dependents: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, build) in self.all.iter().enumerate() {
            for base in &build.bases {
                dependents.entry(&base.id).or_default().push(index);
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
    fn add(&self, index: usize, mut aliases: BTreeSet<String>, converted: &mut Converted) {
        let build = &self.all[index];
        let names = &self.names[index];
        let base_of = |base: &NamedContext| self.by_id.get(&base.id).copied();
        let bases = build.bases.iter().filter_map(base_of);
        let bases = bases.filter_map(|base| self.names[base].first());
        let needs: BTreeSet<String> = bases.map(|base| base.key.clone()).collect();
        for (number, name) in names.iter().enumerate() {
            let Some(image) = build.image.as_ref().filter(|_| !converted.draft.is_full()) else {
                converted.dropped.add(&build.place, name.field, super::draft::FULL);
                continue;
            };
            let mut image = image.clone();
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
            image.published_as.append(&mut aliases);
            image.needs.clone_from(&needs);
            image.needs.remove(&name.key);
            image.name = Some(name.name.clone());
            image.tag = Some(name.tag.clone()).filter(|tag| tag != "latest");
            if let Err(reason) = converted.draft.add(&name.key, image) {
                converted.dropped.add(&build.place, name.field, reason);
            }
        }
    }
}

/// Returns the ID of the build that each name in Dockerfiles means; `None` if there are several.
fn bindings(builds: &[ForeignBuild]) -> HashMap<String, Option<&str>> {
    let mut bindings = HashMap::new();
    for NamedContext { alias, id, .. } in builds.iter().flat_map(|build| &build.bases) {
        let Ok(reference) = alias.parse::<RegistryRef>() else { continue };
        let bound = bindings.entry(full_form(&reference)).or_insert(Some(&**id));
        if *bound != Some(&**id) {
            *bound = None;
        }
    }
    bindings
}

/// True if a reference already means an image of `needs` with this name.
fn is_name_of(reference: &RegistryRef, name: &ServiceName) -> bool {
    let ends = reference.repository().rsplit('/').next() == Some(&name.name);
    ends && reference.tag().is_none_or(|tag| tag.as_str() == name.tag)
}

/// Returns a reference without a digest in full.
fn full_form(reference: &RegistryRef) -> String {
    format!("{}:{}", reference.name(), reference.tag().map_or("latest", Tag::as_str))
}
