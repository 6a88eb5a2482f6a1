//! Finds which references of a Dockerfile name an image of the same manifest, and what each image
//! needs. Pure.

use std::collections::{HashMap, HashSet};

use super::diagnostics::Notes;
use super::expand::Scope;
use super::graph::Edge;
use super::image::{Content, Draft};
use super::workspace::{BaseUse, ExternalBase, Unit, UnitId};
use crate::base::name::Platform;
use crate::base::nearest::nearest;
use crate::base::reference::{RegistryRef, full_form};
use crate::base::span::{Problem, Span};
use crate::dockerfile::{Reference, ReferenceKind, ReferencePlatform, UnresolvedArg};

/// The images that the Dockerfile of one unit names.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) bases: Vec<BaseUse>,
    pub(super) externals: Vec<ExternalBase>,
}

/// For every unit the images that its Dockerfile names, and all edges.
pub(super) fn find(
    scopes: &[Scope],
    drafts: &[Draft<'_>],
    units: &[Unit],
    told: &mut Told<'_>,
) -> (Vec<Named>, Vec<Edge>) {
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        by_name.entry(draft.name.as_str()).or_default().push(index);
    }
    let images = scopes.iter().flat_map(Scope::images);
    let written = images.filter_map(|(image, _)| Some(image.name.as_ref()?.0.value.0.as_str()));
    let written: HashSet<&str> = written.chain(by_name.keys().copied()).collect();
    let finder = Finder { drafts, units, by_name, written };
    let mut found = Found {
        named: units.iter().map(|_| Named::default()).collect(),
        edges: Vec::new(),
        problems: &mut *told.problems,
        warnings: &mut *told.warnings,
    };
    for (index, draft) in drafts.iter().enumerate() {
        let mark = Notes::mark(found.problems, found.warnings);
        let needs = finder.needs(index, &mut found);
        finder.references(index, &needs, &mut found);
        told.notes.since(mark, found.problems, found.warnings, draft.note);
    }
    (found.named, found.edges)
}

/// Where problems are told, each with the note of its image.
pub(super) struct Told<'t> {
    pub(super) problems: &'t mut Vec<Problem>,
    pub(super) warnings: &'t mut Vec<Problem>,
    pub(super) notes: &'t mut Notes,
}

struct Found<'p> {
    named: Vec<Named>,
    edges: Vec<Edge>,
    problems: &'p mut Vec<Problem>,
    warnings: &'p mut Vec<Problem>,
}

struct Finder<'a> {
    drafts: &'a [Draft<'a>],
    units: &'a [Unit],
    by_name: HashMap<&'a str, Vec<usize>>,
    /// Every name in the manifest, also of images that are wrong in some other way.
    written: HashSet<&'a str>,
}

impl Finder<'_> {
    /// The images named by `name` or `name:tag`, where the tag may be that of one platform.
    fn named(&self, name: &str, tag: Option<&str>) -> Vec<usize> {
        let all = self.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        let has_tag = |index: &&usize| {
            let draft = &self.drafts[**index];
            // A tag that holds the fingerprint is not known yet: there is only the name.
            tag.is_none_or(|tag| {
                !draft.tag.has_fingerprint()
                    && (draft.tag.as_str() == tag
                        || draft.units.iter().any(|&unit| self.units[unit].key.tag.as_str() == tag))
            })
        };
        all.iter().filter(has_tag).copied().collect()
    }

    /// Reads an image's `needs`, adds their edges and returns the images that they name.
    fn needs(&self, index: usize, found: &mut Found<'_>) -> Vec<usize> {
        let draft = &self.drafts[index];
        let mut all = Vec::new();
        for need in draft.image.needs.iter().flatten() {
            let (name, tag) = match need.rsplit_once(':') {
                Some((name, tag)) => (name, Some(tag)),
                None => (need.as_str(), None),
            };
            let named = self.named(name, tag);
            let lost = self.written.contains(name) && !self.by_name.contains_key(name);
            if named.is_empty() && !lost {
                let help = match self.by_name.get(name) {
                    Some(same) if same.iter().any(|&other| self.is_open(other)) => {
                        format!("name it without its tag, which changes with its content: `{name}`")
                    }
                    Some(same) => {
                        let tags: Vec<String> =
                            same.iter().map(|&other| self.drafts[other].tag.to_string()).collect();
                        format!("`{name}` has the tag {}", tags.join(", "))
                    }
                    None => near_name(name, self.written.iter().copied()),
                };
                let message = format!("no image of this manifest is called `{}`", need.as_str());
                found.problems.push(Problem::new(message, need.span(), "needed here").help(help));
            }
            for &base in &named {
                for &unit in &draft.units {
                    let platform = self.units[unit].platform;
                    for other in self.on_platform(base, platform) {
                        found.edges.push(Edge { dependent: unit, base: other, span: need.span() });
                    }
                }
            }
            all.extend(named);
        }
        all
    }

    /// Whether the image's tag changes with its content.
    fn is_open(&self, draft: usize) -> bool {
        self.drafts[draft].tag.has_fingerprint()
    }

    /// The unit of an image on one platform, or all of them where it has none on that.
    fn on_platform(&self, draft: usize, platform: Platform) -> Vec<usize> {
        let units = &self.drafts[draft].units;
        match units.iter().find(|&&unit| self.units[unit].platform == platform) {
            Some(&unit) => vec![unit],
            None => units.clone(),
        }
    }

    fn references(&self, index: usize, needs: &[usize], found: &mut Found<'_>) {
        let draft = &self.drafts[index];
        let Content::Build { dockerfile, infer_bases: true, .. } = &draft.content else { return };
        for &unit in &draft.units {
            let platform = self.units[unit].platform;
            for reference in dockerfile.parsed.references(platform) {
                let span = Span::new(dockerfile.start + reference.span.start, reference.span.len());
                let image = match &reference.image {
                    Ok(image) => image,
                    // The argument may be the one that was wrong.
                    Err(_) if draft.damaged && draft.image.args.is_some() => continue,
                    Err(error) => {
                        let message = format!("`{}` cannot be known: {error}", reference.text);
                        let problem = Problem::new(message, span, "here");
                        found.problems.push(problem.help(way_out(&reference, error)));
                        continue;
                    }
                };
                match self.base(index, needs, image, (platform, &reference.platform)) {
                    Ok(Some(base)) => {
                        found.edges.push(Edge { dependent: unit, base, span });
                        let base = BaseUse { range: reference.span, unit: UnitId(base) };
                        found.named[unit].bases.push(base);
                    }
                    Ok(None) => {
                        self.warn_of_near_miss(index, &reference, image, span, found);
                        if let Err(error) = image.parse::<RegistryRef>() {
                            let message =
                                format!("no registry could have `{image}`: {}", error.message);
                            let problem = Problem::new(message, span, "here").help(error.help);
                            found.warnings.push(problem.warning());
                        }
                        let (range, image) = (reference.span.clone(), image.clone());
                        let platform = match reference.platform {
                            ReferencePlatform::Unit => Some(platform),
                            ReferencePlatform::Fixed(platform) => Some(platform),
                            ReferencePlatform::Builder | ReferencePlatform::Other(_) => None,
                        };
                        let base = ExternalBase { range, image, platform, span };
                        found.named[unit].externals.push(base);
                    }
                    Err(Miss { message, help }) => {
                        found.problems.push(Problem::new(message, span, "here").help(help));
                    }
                }
            }
        }
    }

    /// The unit that a reference names, if it names one of this manifest.
    fn base(
        &self,
        own: usize,
        needs: &[usize],
        image: &str,
        (platform, wanted): (Platform, &ReferencePlatform),
    ) -> Result<Option<usize>, Miss> {
        let (name, tag) = split_reference(image);
        let is_base = |&other: &usize| {
            let mirror = matches!(self.drafts[other].content, Content::Mirror(_));
            other != own && (!mirror || needs.contains(&other))
        };
        let named: Vec<usize> = self.named(name, tag).into_iter().filter(is_base).collect();
        let by_source = || {
            needs.iter().copied().find(|&other| match &self.drafts[other].content {
                Content::Mirror(source) => full_form(source.as_str()) == full_form(image),
                Content::Build { .. } => false,
            })
        };
        let draft = match named[..] {
            [] => match by_source() {
                Some(draft) => draft,
                None => return Ok(None),
            },
            [one] => one,
            // A name without a tag means `latest`, as everywhere in Docker.
            _ => {
                if let Some(&latest) =
                    named.iter().find(|&&other| self.drafts[other].tag.as_str() == "latest")
                {
                    latest
                } else {
                    let refs: Vec<String> = named
                        .iter()
                        .map(|&other| format!("{name}:{}", self.drafts[other].tag))
                        .collect();
                    let help = if named.iter().any(|&other| self.is_open(other)) {
                        "give them names of their own: their tags change with their content"
                    } else {
                        "say which, with its tag"
                    };
                    return Err(Miss {
                        message: format!("`{image}` could be any of {}", refs.join(", ")),
                        help: help.to_owned(),
                    });
                }
            }
        };
        let units = &self.drafts[draft].units;
        let exact = units.iter().find(|&&unit| {
            self.drafts[draft].tag.as_str() != tag.unwrap_or_default()
                && Some(self.units[unit].key.tag.as_str()) == tag
        });
        let on = |platform| units.iter().find(|&&unit| self.units[unit].platform == platform);
        let same = match wanted {
            ReferencePlatform::Unit => on(platform),
            ReferencePlatform::Fixed(fixed) => on(*fixed),
            // Where the build will run is not known here. What runs there needs no emulation, but
            // what does not is slow at worst: one on the unit's platform is as good as any.
            ReferencePlatform::Builder => on(platform).or(units.first()),
            ReferencePlatform::Other(_) => None,
        };
        match exact.or(same) {
            Some(&unit) => Ok(Some(unit)),
            None if units.is_empty() => Ok(None),
            None => Err(self.not_built(own, name, image, (platform, wanted))),
        }
    }

    /// Words for a base that is not built for the platform on which it is wanted.
    fn not_built(
        &self,
        own: usize,
        name: &str,
        image: &str,
        (platform, wanted): (Platform, &ReferencePlatform),
    ) -> Miss {
        let without = "leave out `--platform`";
        let (message, help) = match wanted {
            ReferencePlatform::Other(other) => (
                format!("`{image}` is not built for `{}`", other.escape_debug()),
                format!("the service builds for linux/amd64 and linux/arm64: {without}"),
            ),
            ReferencePlatform::Fixed(fixed) => (
                format!("`{image}` is not built for {fixed}, which `--platform` asks for"),
                format!("add {fixed} to the platforms of `{name}`, or {without}"),
            ),
            ReferencePlatform::Unit | ReferencePlatform::Builder => (
                format!(
                    "`{image}` is not built for {platform}, for which {} is",
                    self.drafts[own].name
                ),
                format!("add {platform} to the platforms of `{name}`"),
            ),
        };
        Miss { message, help }
    }

    /// `FROM base:3.11` where the manifest has `base:3.12` is most likely a slip.
    fn warn_of_near_miss(
        &self,
        own: usize,
        reference: &Reference,
        image: &str,
        span: Span,
        found: &mut Found<'_>,
    ) {
        let (name, Some(_)) = split_reference(image) else { return };
        let others = self.by_name.get(name).into_iter().flatten();
        let tags: Vec<String> = others
            .filter(|&&other| other != own)
            .filter(|&&other| matches!(self.drafts[other].content, Content::Build { .. }))
            .map(|&other| {
                if self.is_open(other) {
                    format!("`{name}`, which is named without a tag")
                } else {
                    format!("{name}:{}", self.drafts[other].tag)
                }
            })
            .collect();
        if !tags.is_empty() {
            let message = format!("`{}` is taken from outside of this manifest", reference.text);
            let help = format!("this manifest has {}", tags.join(", "));
            found.warnings.push(Problem::new(message, span, "here").help(help).warning());
        }
    }
}

/// A reference that names this manifest's images, but not one that can be used.
struct Miss {
    message: String,
    help: String,
}

/// What to write instead of a name that no image has.
pub(super) fn near_name<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    match nearest(name, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "name an image of this manifest".to_owned(),
    }
}

/// What to do about a variable that leaves a reference without meaning.
fn way_out(reference: &Reference, error: &UnresolvedArg) -> String {
    let otherwise = "set `infer_bases: false` and name its bases under `needs:`";
    match reference.kind {
        ReferenceKind::From => format!(
            "give `{}` a value under `args:`, or a default in the Dockerfile before the first FROM; \
             or {otherwise}",
            error.name
        ),
        // No value would help here.
        ReferenceKind::CopyFrom | ReferenceKind::MountFrom => {
            format!("{}; or {otherwise}", error.help)
        }
    }
}

/// A reference's name and tag; a `:` before a `/` belongs to a registry's port, and one with a
/// digest never names an image of a manifest.
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
    fn one_image_has_one_canonical_form() {
        for (a, b) in [
            ("ubuntu", "docker.io/library/ubuntu:latest"),
            ("ns/app:1", "index.docker.io/ns/app:1"),
            ("ghcr.io/x/y:1", "ghcr.io/x/y:1"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("Ghcr.io/x", "ghcr.io/x:latest"),
            // None that Docker takes.
            ("app:v1:v2", "app:v1:v2"),
        ] {
            assert_eq!(full_form(a), full_form(b));
        }
        assert_ne!(full_form("app:v1:v2"), full_form("app:v1:v3"));
        assert_eq!(split_reference("localhost:5000/x"), ("localhost:5000/x", None));
        assert_eq!(split_reference("base:3.12"), ("base", Some("3.12")));
    }
}
