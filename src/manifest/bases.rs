//! Matches the references of Dockerfiles with images of the manifest, and collects the dependencies
//! between units. Pure.

use std::collections::HashSet;

use rayon::prelude::*;

use super::base_errors::not_built;
use super::base_warnings::{self, OutsideReference, ShadowedNames};
use super::diagnostics::Diagnostics;
use super::expand::Scope;
use super::graph::Dependency;
use super::image::{ImageContent, ResolvedImage};
use super::lower::PlatformBuild;
use super::matching::{ReferenceIndex, split_reference};
use super::scalars::OnError;
use super::workspace::{BaseUse, ExternalBase, Unit, UnitId};
use crate::base::name::{ImageName, NameError, Platform};
use crate::base::nearest::did_you_mean;
use crate::base::reference::{RegistryRef, full_form};
use crate::base::span::Span;
use crate::base::text::list;
use crate::dockerfile::{Reference, ReferencePlatform};

/// Number of images whose references are in memory at once.
const IMAGES_PER_CHUNK: usize = 4096;

/// Maximum number of names in a message.
pub(super) const MAX_NAMES_SHOWN: usize = 8;

/// References of the Dockerfile of one unit.
#[derive(Debug, Default)]
pub(super) struct UnitReferences {
    pub(super) bases: Vec<BaseUse>,
    pub(super) externals: Vec<ExternalBase>,
}

/// Result of matching the references of all Dockerfiles.
pub(super) struct FoundBases {
    /// References of each unit.
    pub(super) references: Vec<UnitReferences>,
    pub(super) dependencies: Vec<Dependency>,
    /// Images that are skipped because a reference cannot be resolved, with the reason.
    pub(super) broken: Vec<(usize, String)>,
}

/// Returns the references of each unit, and all dependencies.
pub(super) fn find(
    scopes: &[Scope],
    images: &[ResolvedImage<'_>],
    units: &[Unit],
    diagnostics: &mut Diagnostics,
) -> FoundBases {
    let index = ReferenceIndex::new(images, units);
    let names = scopes.iter().flat_map(Scope::image_names);
    let names: HashSet<&str> = names.chain(index.names()).collect();
    let mut finder = BaseFinder {
        images,
        units,
        index,
        names,
        needs: Vec::with_capacity(images.len()),
        shadowed: ShadowedNames::default(),
        references: units.iter().map(|_| UnitReferences::default()).collect(),
        dependencies: Vec::new(),
        broken: Vec::new(),
        valid: HashSet::new(),
        diagnostics,
    };
    for (index, image) in images.iter().enumerate() {
        let outer = finder.diagnostics.enter(image.note);
        let needs = finder.read_needs(index);
        finder.needs.push(needs);
        finder.diagnostics.leave(outer);
    }
    let indexes: Vec<usize> = (0..images.len()).collect();
    for chunk in indexes.chunks(IMAGES_PER_CHUNK) {
        let references = |&index: &usize| references_by_unit(&images[index], units);
        let references: Vec<_> = chunk.par_iter().map(references).collect();
        for (&index, references) in chunk.iter().zip(references) {
            let outer = finder.diagnostics.enter(images[index].note);
            for (unit, reference) in references {
                finder.read_reference(index, unit, reference);
            }
            finder.read_triggers(index);
            finder.diagnostics.leave(outer);
        }
    }
    finder.shadowed.warn(finder.diagnostics);
    let BaseFinder { references, dependencies, broken, .. } = finder;
    FoundBases { references, dependencies, broken }
}

/// Returns the references of the Dockerfiles of an image, with the unit of each.
fn references_by_unit(image: &ResolvedImage<'_>, units: &[Unit]) -> Vec<(usize, Reference)> {
    let references = |&unit: &usize| {
        let platform = units[unit].platform;
        let build = image.build_on(platform);
        let references = build.map(|build| build.dockerfile.references(platform));
        references.into_iter().flatten().map(move |reference| (unit, reference))
    };
    image.units.iter().filter(|_| image.infers_bases()).flat_map(references).collect()
}

struct BaseFinder<'a, 'd> {
    images: &'a [ResolvedImage<'a>],
    units: &'a [Unit],
    index: ReferenceIndex<'a>,
    /// All names in the manifest, including names of images that are left out because of a problem.
    names: HashSet<&'a str>,
    /// Images that each image lists under `needs`.
    needs: Vec<Vec<usize>>,
    shadowed: ShadowedNames<'a>,
    references: Vec<UnitReferences>,
    dependencies: Vec<Dependency>,
    /// Images that are skipped because a reference cannot be resolved, with the reason.
    broken: Vec<(usize, String)>,
    /// References that a registry can have.
    valid: HashSet<String>,
    diagnostics: &'d mut Diagnostics,
}

impl BaseFinder<'_, '_> {
    /// Reads the `needs` of an image, adds their dependencies and returns the images.
    fn read_needs(&mut self, index: usize) -> Vec<usize> {
        let image = &self.images[index];
        let mut needs = Vec::new();
        for need in image.entry.needs.iter().flatten() {
            let (name, tag) = match need.rsplit_once(':') {
                Some((name, tag)) => (name, Some(tag)),
                None => (need.as_str(), None),
            };
            let bases = self.index.with_tag(name, tag);
            let is_left_out = self.names.contains(name) && self.index.named(name).is_empty();
            if bases.is_empty() && !is_left_out {
                let help = match self.index.named(name) {
                    [] => near_name(name, self.names.iter().copied()),
                    same if same.iter().any(|&other| self.has_content_tag(other)) => {
                        format!("write `{name}` without a tag: its tag changes with its content")
                    }
                    same => {
                        let tags = same.iter().map(|&other| &self.images[other].tag);
                        format!("`{name}` has the tag {}", list(tags, MAX_NAMES_SHOWN))
                    }
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

    /// Reads a reference of the Dockerfile of an image on the platform of `unit`.
    fn read_reference(&mut self, index: usize, unit: usize, reference: Reference) {
        let image = &self.images[index];
        let platform = self.units[unit].platform;
        let Some(PlatformBuild { dockerfile, .. }) = image.build_on(platform) else { return };
        let span = Span::new(dockerfile.start + reference.span.start, reference.span.len());
        let name = match &reference.image {
            Ok(name) => name.clone(),
            // The rejected value may be that of an argument.
            Err(_) if image.args_damaged => return,
            Err(error) => {
                let message = format!("cannot resolve `{}`: {error}", reference.text);
                let alternative = "set `infer_bases: false` and list its bases under `needs:`";
                let help = format!("{}; or {alternative}", error.help);
                self.reference_error(index, message, span, help);
                return;
            }
        };
        if !reference.needed {
            self.warn_about_invalid(&name, span);
            return;
        }
        match self.find_base(index, &name, (platform, &reference.platform)) {
            Ok(Some(base)) => {
                self.dependencies.push(Dependency { dependent: unit, base, span });
                let base = BaseUse { range: reference.span, unit: UnitId(base) };
                self.references[unit].bases.push(base);
            }
            Ok(None) => {
                self.warn_outside(index, &reference.text, &name, span);
                self.warn_about_invalid(&name, span);
                let platform = match reference.platform {
                    ReferencePlatform::Unit => Some(platform),
                    ReferencePlatform::Fixed(platform) => Some(platform),
                    ReferencePlatform::Builder | ReferencePlatform::Other(_) => None,
                };
                let range = reference.span.clone();
                let external = ExternalBase { range, image: name, platform, span };
                self.references[unit].externals.push(external);
            }
            Err(error) => self.reference_error(index, error.message, span, error.help),
        }
    }

    /// Reports an error of a reference. If the image may be skipped, it is a warning.
    fn reference_error(&mut self, index: usize, message: String, span: Span, help: String) {
        self.diagnostics.set_lenient(self.images[index].on_error == OnError::Skip);
        self.diagnostics.error(message, span, help);
        let broken = self.diagnostics.set_lenient(false);
        self.broken.extend(broken.map(|message| (index, message)));
    }

    /// Warns if a reference to an image outside of the manifest may be meant for one of its images.
    fn warn_outside(&mut self, own: usize, text: &str, image: &str, span: Span) {
        let outside = OutsideReference { own, needs: &self.needs[own], text, image, span };
        let (index, shadowed) = (&self.index, &mut self.shadowed);
        base_warnings::check(&outside, index, self.images, shadowed, self.diagnostics);
    }

    /// Returns the unit that a reference of the image `own` refers to, or `None` for an image
    /// outside of the manifest. Fails if the reference is ambiguous, or if the image has no unit on
    /// the platform.
    fn find_base(
        &self,
        own: usize,
        reference: &str,
        (platform, requested): (Platform, &ReferencePlatform),
    ) -> Result<Option<usize>, NameError> {
        let tag = split_reference(reference).1;
        let needs = &self.needs[own];
        let candidates = self.index.candidates(own, needs, reference);
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
            // Without `needs`, a name means `latest`, as in Docker.
            _ => match only(&candidates, needs).or_else(|| candidates.iter().find(is_latest)) {
                Some(&image) => image,
                None => return Err(self.ambiguous(reference, &candidates)),
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
                let (own, name) = (&self.images[own].name, &self.images[image].name);
                Err(not_built(own, name.as_str(), reference, (platform, requested)))
            }
        }
    }

    /// Describes a reference that several images match, usually for want of a tag.
    fn ambiguous(&self, reference: &str, candidates: &[usize]) -> NameError {
        let key = |&other: &usize| {
            let ResolvedImage { name, tag, .. } = &self.images[other];
            format!("{name}:{tag}")
        };
        let keys = list(candidates.iter().map(key), MAX_NAMES_SHOWN);
        let help = if candidates.iter().any(|&other| self.has_content_tag(other)) {
            "give each of them its own name: their tags change with their content"
        } else if split_reference(reference).1.is_some() {
            "give each of them its own `published_as`"
        } else {
            "add the tag"
        };
        NameError::new(format!("`{reference}` could be any of {keys}"), help)
    }

    /// Adds the images that the triggers of an image use. A build that is based on the image runs
    /// the triggers, and so needs these images under the paths that are sent with the triggers.
    fn read_triggers(&mut self, index: usize) {
        let image = &self.images[index];
        for &unit in image.units.iter().filter(|_| image.infers_bases()) {
            let platform = self.units[unit].platform;
            let Some(PlatformBuild { dockerfile, .. }) = image.build_on(platform) else { continue };
            for reference in dockerfile.parsed.trigger_references() {
                let Ok(name) = &reference.image else { continue };
                let span = Span::new(dockerfile.start + reference.span.start, reference.span.len());
                let base = self.find_base(index, name, (platform, &reference.platform));
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
        let uses_own = |index: usize, reference: Reference| {
            let candidates = |name: &str| self.index.candidates(index, &self.needs[index], name);
            reference.image.is_ok_and(|name| candidates(&name).contains(&own))
        };
        let is_dependent = |(index, image): &(usize, &ResolvedImage<'_>)| {
            let Some(build) = image.build_on(platform) else { return false };
            let dockerfile = &build.dockerfile;
            *index != own
                && dockerfile.parsed.has_stage(stage) == has_stage
                && dockerfile.references(platform).into_iter().any(|other| uses_own(*index, other))
        };
        self.images.iter().enumerate().find(is_dependent).map(|(_, image)| &image.name)
    }

    /// Warns about a reference that Docker rejects, in any stage.
    fn warn_about_invalid(&mut self, name: &str, span: Span) {
        // Many Dockerfiles refer to the same images.
        if self.valid.contains(name) {
            return;
        }
        if let Err(error) = name.parse::<RegistryRef>() {
            let message = format!("no registry can have `{name}`: {error}");
            self.diagnostics.warn(message, span, error.help);
        } else {
            self.valid.insert(name.to_owned());
        }
    }
}

/// Returns the candidate that `needs` lists, if it lists one of them.
fn only<'c>(candidates: &'c [usize], needs: &[usize]) -> Option<&'c usize> {
    let mut needed = candidates.iter().filter(|image| needs.contains(image));
    needed.next().filter(|_| needed.next().is_none())
}

/// Returns the help for a name that no image has.
pub(super) fn near_name<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    did_you_mean(name, &known).unwrap_or_else(|| "name an image of this manifest".to_owned())
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
    }
}
