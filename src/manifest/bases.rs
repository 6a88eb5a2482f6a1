//! Matches the references of Dockerfiles with images of the manifest, and collects the dependencies
//! between units. Pure.

use std::collections::{HashMap, HashSet};

use super::base_errors::not_built;
use super::diagnostics::Diagnostics;
use super::expand::Scope;
use super::files::DockerfileSource;
use super::graph::Dependency;
use super::image::{ImageContent, ResolvedImage};
use super::workspace::{BaseUse, ExternalBase, Unit, UnitId};
use crate::base::name::{ImageName, NameError, Platform};
use crate::base::nearest::did_you_mean;
use crate::base::reference::{RegistryRef, full_form};
use crate::base::span::Span;
use crate::base::text::list;
use crate::dockerfile::{Reference, ReferencePlatform};

/// Maximum number of names in a message.
pub(super) const MAX_NAMES_SHOWN: usize = 8;

/// Maximum number of names that the warning about a near miss suggests.
const MAX_NEAR_NAMES_SHOWN: usize = 3;

/// References of the Dockerfile of one unit.
#[derive(Debug, Default)]
pub(super) struct UnitReferences {
    pub(super) bases: Vec<BaseUse>,
    pub(super) externals: Vec<ExternalBase>,
}

/// Returns the references of each unit, and all dependencies.
pub(super) fn find(
    scopes: &[Scope],
    images: &[ResolvedImage<'_>],
    units: &[Unit],
    diagnostics: &mut Diagnostics,
) -> (Vec<UnitReferences>, Vec<Dependency>) {
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, image) in images.iter().enumerate() {
        by_name.entry(image.name.as_str()).or_default().push(index);
    }
    let names = scopes.iter().flat_map(Scope::image_names);
    let names: HashSet<&str> = names.chain(by_name.keys().copied()).collect();
    let mut finder = BaseFinder {
        images,
        units,
        by_name,
        names,
        references: units.iter().map(|_| UnitReferences::default()).collect(),
        dependencies: Vec::new(),
        diagnostics,
    };
    for (index, image) in images.iter().enumerate() {
        let outer = finder.diagnostics.enter(image.note);
        let needs = finder.read_needs(index);
        finder.read_references(index, &needs);
        finder.read_triggers(index, &needs);
        finder.diagnostics.leave(outer);
    }
    (finder.references, finder.dependencies)
}

struct BaseFinder<'a, 'd> {
    images: &'a [ResolvedImage<'a>],
    units: &'a [Unit],
    by_name: HashMap<&'a str, Vec<usize>>,
    /// All names in the manifest, including names of images that are left out because of a problem.
    names: HashSet<&'a str>,
    references: Vec<UnitReferences>,
    dependencies: Vec<Dependency>,
    diagnostics: &'d mut Diagnostics,
}

impl BaseFinder<'_, '_> {
    /// Returns the images with this name and tag. The tag may be the one of a single platform.
    fn find_images(&self, name: &str, tag: Option<&str>) -> Vec<usize> {
        let same_name = self.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        let has_tag = |index: &&usize| {
            let image = &self.images[**index];
            // A tag with a fingerprint is not known yet, so such an image has only its name.
            tag.is_none_or(|tag| {
                !image.tag.has_fingerprint()
                    && (image.tag.as_str() == tag
                        || image.units.iter().any(|&unit| self.units[unit].key.tag.as_str() == tag))
            })
        };
        same_name.iter().filter(has_tag).copied().collect()
    }

    /// Reads the `needs` of an image, adds their dependencies and returns the images.
    fn read_needs(&mut self, index: usize) -> Vec<usize> {
        let image = &self.images[index];
        let mut needs = Vec::new();
        for need in image.entry.needs.iter().flatten() {
            let (name, tag) = match need.rsplit_once(':') {
                Some((name, tag)) => (name, Some(tag)),
                None => (need.as_str(), None),
            };
            let bases = self.find_images(name, tag);
            let is_left_out = self.names.contains(name) && !self.by_name.contains_key(name);
            if bases.is_empty() && !is_left_out {
                let help = match self.by_name.get(name) {
                    Some(same) if same.iter().any(|&other| self.has_content_tag(other)) => {
                        format!("write `{name}` without a tag: its tag changes with its content")
                    }
                    Some(same) => {
                        let tags = same.iter().map(|&other| &self.images[other].tag);
                        format!("`{name}` has the tag {}", list(tags, MAX_NAMES_SHOWN))
                    }
                    None => near_name(name, self.names.iter().copied()),
                };
                let message = format!("no image of this manifest is named `{}`", need.as_str());
                self.diagnostics.error(message, need.span(), help);
            }
            for &base in &bases {
                for &dependent in &image.units {
                    for base in self.on_platform(base, self.units[dependent].platform) {
                        let span = need.span();
                        self.dependencies.push(Dependency { dependent, base, span });
                    }
                }
            }
            needs.extend(bases);
        }
        needs
    }

    /// Returns true if the tag of the image changes with its content.
    fn has_content_tag(&self, image: usize) -> bool {
        self.images[image].tag.has_fingerprint()
    }

    /// Returns the unit of an image on a platform, or all its units if there is none.
    fn on_platform(&self, image: usize, platform: Platform) -> Vec<usize> {
        let units = &self.images[image].units;
        match units.iter().find(|&&unit| self.units[unit].platform == platform) {
            Some(&unit) => vec![unit],
            None => units.clone(),
        }
    }

    /// Reads the references of the Dockerfile of an image.
    fn read_references(&mut self, index: usize, needs: &[usize]) {
        let image = &self.images[index];
        let ImageContent::Build { dockerfile, infer_bases: true, .. } = &image.content else {
            return;
        };
        for &unit in &image.units {
            let platform = self.units[unit].platform;
            for reference in dockerfile.parsed.references(platform) {
                let span = Span::new(dockerfile.start + reference.span.start, reference.span.len());
                let name = match &reference.image {
                    Ok(name) => name.clone(),
                    // The rejected value may be the one of this argument.
                    Err(_) if image.damaged && image.entry.args.is_some() => continue,
                    Err(error) => {
                        let message = format!("cannot resolve `{}`: {error}", reference.text);
                        let alternative =
                            "set `infer_bases: false` and list its bases under `needs:`";
                        let help = format!("{}; or {alternative}", error.help);
                        self.diagnostics.error(message, span, help);
                        continue;
                    }
                };
                match self.find_base(index, needs, &name, (platform, &reference.platform)) {
                    Ok(Some(base)) => {
                        self.dependencies.push(Dependency { dependent: unit, base, span });
                        let base = BaseUse { range: reference.span, unit: UnitId(base) };
                        self.references[unit].bases.push(base);
                    }
                    Ok(None) => {
                        self.warn_about_near_miss(index, &reference, &name, span);
                        if let Err(error) = name.parse::<RegistryRef>() {
                            let message = format!("no registry can have `{name}`: {error}");
                            self.diagnostics.warn(message, span, error.help);
                        }
                        let platform = match reference.platform {
                            ReferencePlatform::Unit => Some(platform),
                            ReferencePlatform::Fixed(platform) => Some(platform),
                            ReferencePlatform::Builder | ReferencePlatform::Other(_) => None,
                        };
                        let range = reference.span.clone();
                        let external = ExternalBase { range, image: name, platform, span };
                        self.references[unit].externals.push(external);
                    }
                    Err(error) => self.diagnostics.error(error.message, span, error.help),
                }
            }
        }
    }

    /// Returns the unit that a reference of the image `own` refers to, or `None` for an image
    /// outside of the manifest. Fails if the reference is ambiguous, or if the image has no unit on
    /// the platform.
    fn find_base(
        &self,
        own: usize,
        needs: &[usize],
        reference: &str,
        (platform, requested): (Platform, &ReferencePlatform),
    ) -> Result<Option<usize>, NameError> {
        let (name, tag) = split_reference(reference);
        let is_base = |&other: &usize| {
            let is_mirror = matches!(self.images[other].content, ImageContent::Mirror(_));
            other != own && (!is_mirror || needs.contains(&other))
        };
        let candidates: Vec<usize> =
            self.find_images(name, tag).into_iter().filter(is_base).collect();
        // A mirror that is listed under `needs` also matches by its source.
        let by_source = || {
            needs.iter().copied().find(|&other| match &self.images[other].content {
                ImageContent::Mirror(source) => full_form(source.as_str()) == full_form(reference),
                ImageContent::Build { .. } => false,
            })
        };
        let is_latest = |&&other: &&usize| self.images[other].tag.as_str() == "latest";
        let image = match candidates[..] {
            [] => match by_source() {
                Some(image) => image,
                None => return Ok(None),
            },
            [image] => image,
            // As in Docker, a name without a tag means `latest`.
            _ => match candidates.iter().find(is_latest) {
                Some(&latest) => latest,
                None => return Err(self.ambiguous(name, reference, &candidates)),
            },
        };
        let units = &self.images[image].units;
        // The tag may be the one of a single platform: `base:v1-arm64`.
        let with_tag = units.iter().find(|&&unit| {
            self.images[image].tag.as_str() != tag.unwrap_or_default()
                && Some(self.units[unit].key.tag.as_str()) == tag
        });
        let on = |platform| units.iter().find(|&&unit| self.units[unit].platform == platform);
        let on_requested = match requested {
            ReferencePlatform::Unit => on(platform),
            ReferencePlatform::Fixed(fixed) => on(*fixed),
            // The platform of the builder is not known. The unit's platform works anywhere: at
            // worst it is emulated, which is slow.
            ReferencePlatform::Builder => on(platform).or(units.first()),
            ReferencePlatform::Other(_) => None,
        };
        match with_tag.or(on_requested) {
            Some(&unit) => Ok(Some(unit)),
            None if units.is_empty() => Ok(None),
            None => {
                let own = &self.images[own].name;
                Err(not_built(own, name, reference, (platform, requested)))
            }
        }
    }

    /// Describes a reference without a tag to an image with several tags.
    fn ambiguous(&self, name: &str, reference: &str, candidates: &[usize]) -> NameError {
        let keys = candidates.iter().map(|&other| format!("{name}:{}", self.images[other].tag));
        let keys = list(keys, MAX_NAMES_SHOWN);
        let help = if candidates.iter().any(|&other| self.has_content_tag(other)) {
            "give each of them its own name: their tags change with their content"
        } else {
            "add the tag"
        };
        NameError::new(format!("`{reference}` could be any of {keys}"), help)
    }

    /// Adds the images that the triggers of an image use. A build that is based on the image runs
    /// the triggers, and so needs these images under the paths that are sent with the triggers.
    fn read_triggers(&mut self, index: usize, needs: &[usize]) {
        let image = &self.images[index];
        let ImageContent::Build { dockerfile, infer_bases: true, .. } = &image.content else {
            return;
        };
        for reference in dockerfile.parsed.trigger_references() {
            let Ok(name) = &reference.image else { continue };
            let span = Span::new(dockerfile.start + reference.span.start, reference.span.len());
            for &unit in &image.units {
                let platform = self.units[unit].platform;
                let base = self.find_base(index, needs, name, (platform, &reference.platform));
                let Some(base) = base.transpose() else { continue };
                if let Some(dependent) = self.dependent(index, name, true, platform) {
                    if let Some(other) = self.dependent(index, name, false, platform) {
                        let message =
                            format!("`{name}` is a stage of {dependent}, but not of {other}");
                        let help = format!(
                            "rename the stage in {dependent}: because of it, the trigger is sent as \
                             written, and in {other} `{name}` is not the image of this manifest"
                        );
                        self.diagnostics.warn(message, span, help);
                    }
                    continue;
                }
                match base {
                    Ok(base) => {
                        self.dependencies.push(Dependency { dependent: unit, base, span });
                        let base = BaseUse { range: reference.span.clone(), unit: UnitId(base) };
                        self.references[unit].bases.push(base);
                    }
                    Err(error) => self.diagnostics.error(error.message, span, error.help),
                }
            }
        }
    }

    /// Returns the first image that is built on the image `own` and whose Dockerfile has a stage
    /// called `stage`, or has none if `has_stage` is false. To a trigger of `own`, the name means that
    /// stage.
    fn dependent(
        &self,
        own: usize,
        stage: &str,
        has_stage: bool,
        platform: Platform,
    ) -> Option<&ImageName> {
        let uses_own = |reference: Reference| {
            let name = reference.image.as_deref().map(split_reference);
            name.is_ok_and(|(name, tag)| self.find_images(name, tag).contains(&own))
        };
        let is_dependent = |(index, image): &(usize, &ResolvedImage<'_>)| match &image.content {
            ImageContent::Build { dockerfile: DockerfileSource { parsed, .. }, .. } => {
                *index != own
                    && parsed.has_stage(stage) == has_stage
                    && parsed.references(platform).into_iter().any(uses_own)
            }
            ImageContent::Mirror(_) => false,
        };
        self.images.iter().enumerate().find(is_dependent).map(|(_, image)| &image.name)
    }

    /// Warns about `FROM base:3.11` or `FROM quay.io/org/base` if the manifest has `base:3.12`: most
    /// likely a mistake.
    fn warn_about_near_miss(&mut self, own: usize, reference: &Reference, image: &str, span: Span) {
        let (path, tag) = split_reference(image);
        let ends = path.match_indices('/').map(|(slash, _)| &path[slash + 1..]);
        let Some((name, images)) = std::iter::once(path)
            .chain(ends)
            .find_map(|end| self.by_name.get(end).map(|images| (end, images)))
        else {
            return;
        };
        // An image that adds to a public image of the same name uses that one.
        let is_own = |other: usize| {
            other == own || (name != path && self.images[other].name == self.images[own].name)
        };
        let is_built =
            |other: usize| matches!(self.images[other].content, ImageContent::Build { .. });
        let wanted = tag.unwrap_or("latest");
        let near = |&other: &usize| {
            let tag = self.images[other].tag.as_str();
            if self.has_content_tag(other) {
                (0, format!("`{name}`, which is referred to without a tag"))
            } else {
                (strsim::damerau_levenshtein(wanted, tag), format!("{name}:{tag}"))
            }
        };
        let others = images.iter().filter(|&&other| !is_own(other) && is_built(other));
        let mut near: Vec<(usize, String)> = others.map(near).collect();
        near.sort();
        near.dedup();
        if near.is_empty() || (name == path && tag.is_none()) {
            return;
        }
        let message = format!("`{}` is not an image of this manifest", reference.text);
        let names = list(near.iter().map(|(_, name)| name), MAX_NEAR_NAMES_SHOWN);
        let way_out =
            if name == path { "" } else { "; to build on one, write its name without a path" };
        self.diagnostics.warn(message, span, format!("this manifest has {names}{way_out}"));
    }
}

/// Returns the help for a name that no image has.
pub(super) fn near_name<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    did_you_mean(name, &known).unwrap_or_else(|| "name an image of this manifest".to_owned())
}

/// Splits a reference into name and tag. A `:` before a `/` belongs to the port of a registry. A
/// reference with a digest never refers to an image of the manifest.
fn split_reference(image: &str) -> (&str, Option<&str>) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (image, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_compared_in_full() {
        for (a, b) in [
            ("ubuntu", "docker.io/library/ubuntu:latest"),
            ("ns/app:1", "index.docker.io/ns/app:1"),
            ("ghcr.io/x/y:1", "ghcr.io/x/y:1"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("Ghcr.io/x", "ghcr.io/x:latest"),
            // Docker rejects this one.
            ("app:v1:v2", "app:v1:v2"),
        ] {
            assert_eq!(full_form(a), full_form(b));
        }
        assert_ne!(full_form("app:v1:v2"), full_form("app:v1:v3"));
        assert_eq!(split_reference("localhost:5000/x"), ("localhost:5000/x", None));
        assert_eq!(split_reference("base:3.12"), ("base", Some("3.12")));
    }
}
