//! Turns what was written into what is meant: defaults filled in, a unit for each platform, paths
//! found, bases matched, units in order. Everything that is wrong is gathered on the way.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Sp;
use super::bases;
use super::expand::{Note, Notes, Scope};
use super::files::{self, DockerfileSource, Files};
use super::graph;
use super::model::{Image, Manifest, OwnerSetting};
use super::workspace::{BuildOrigin, Origin, Unit, Workspace};
use crate::base::name::{ImageName, ImageRef, NameError, Owner, Platform, Tag, Visibility};
use crate::base::source::{Problem, SourceSet, Span};
use crate::base::upstream::SourceRef;

/// What resolving works on, and what it finds.
pub(super) struct Resolver<'a> {
    /// The folder that paths are relative to.
    pub(super) root: PathBuf,
    /// What was written in the file at hand; the first file's at the start.
    pub(super) manifest: &'a Manifest,
    /// All files with their images.
    pub(super) scopes: &'a [Scope],
    /// Whether something was reported of the image at hand already.
    pub(super) damaged: bool,
    /// Whether images are missing for a reason that was reported.
    pub(super) incomplete: bool,
    /// All texts; Dockerfiles are added.
    pub(super) sources: &'a mut SourceSet,
    /// What was found so far.
    pub(super) problems: Vec<Problem>,
    /// What is worth a look.
    pub(super) warnings: Vec<Problem>,
    /// In which row or for which match it was found.
    pub(super) notes: &'a mut Notes,
}

/// One image with its defaults, before it is split into units.
pub(super) struct Draft<'a> {
    pub(super) image: &'a Image,
    /// The file that says it.
    manifest: &'a Manifest,
    pub(super) note: Option<&'a Note>,
    pub(super) span: Span,
    pub(super) name: ImageName,
    pub(super) tag: Tag,
    pub(super) platforms: Vec<Platform>,
    owner: Option<Owner>,
    visibility: Option<Visibility>,
    pub(super) content: Content,
    /// The units made of it.
    pub(super) units: Vec<usize>,
    /// Whether something was reported of it already: its tag may not be the one that was meant.
    damaged: bool,
}

/// What a draft is made of.
pub(super) enum Content {
    Build { context: PathBuf, dockerfile: DockerfileSource },
    Mirror(SourceRef),
}

pub(super) fn resolve(mut resolver: Resolver<'_>) -> Result<Workspace, Vec<Problem>> {
    let settings = resolver.settings();
    let mut drafts = resolver.drafts();
    let mut units = resolver.units(&mut drafts);
    if resolver.incomplete {
        // Who needs what cannot be judged where some are missing.
        return Err(resolver.problems);
    }
    let (scopes, notes) = (resolver.scopes, &mut *resolver.notes);
    let (problems, warnings) = (&mut resolver.problems, &mut resolver.warnings);
    let (base_uses, edges) =
        bases::find(scopes, &drafts, &units, &mut bases::Told { problems, warnings, notes });
    let depths = match graph::depths(units.len(), &edges) {
        Ok(depths) => depths,
        Err(cycles) => {
            let name = |unit: usize| units[unit].key.to_string();
            let shown = cycles.iter().map(|cycle| graph::cycle_problem(cycle, &name));
            resolver.problems.extend(shown);
            Vec::new()
        }
    };
    if !resolver.problems.is_empty() {
        return Err(resolver.problems);
    }
    for (unit, bases) in units.iter_mut().zip(base_uses) {
        if let Origin::Build(build) = &mut unit.origin {
            build.bases = bases;
        }
    }
    Ok(Workspace {
        root: resolver.root,
        units: graph::in_order(units, &edges, &depths),
        images: drafts.len(),
        settings,
        warnings: resolver.warnings,
        skipped: Vec::new(),
        sources: Arc::default(),
    })
}

impl<'a> Resolver<'a> {
    pub(super) fn report(
        &mut self,
        message: impl Into<String>,
        span: Span,
        help: impl Into<String>,
    ) {
        // What is wrong with `defaults` is told once in the end, and not once an image.
        self.problems.push(Problem::new(message, span, "here").help(help));
    }

    fn report_name(&mut self, error: NameError, span: Span) {
        self.report(error.message, span, error.help);
    }

    fn drafts(&mut self) -> Vec<Draft<'a>> {
        let manifest = self.manifest;
        // What was reported already, a misspelt key say, may be why.
        if manifest.images.is_none() && self.problems.is_empty() {
            let span = manifest.version.as_ref().map_or(Span::new(0, 0), Sp::span);
            self.report("the manifest lists no images", span, "list them under `images:`");
        }
        let mut files = Files::default();
        files.read_ahead(&self.dockerfiles());
        let mut drafts = Vec::new();
        for scope in self.scopes {
            self.manifest = &scope.manifest;
            files.enter(&scope.dir);
            for (image, origin) in scope.images() {
                let mark = Notes::mark(&self.problems, &self.warnings);
                self.damaged = origin.damaged;
                let draft = self.draft(image, &mut files);
                self.notes.since(mark, &self.problems, &self.warnings, origin.note.as_ref());
                drafts.extend(draft.map(|draft| Draft { note: origin.note.as_ref(), ..draft }));
            }
        }
        drafts
    }

    /// The folder, context and Dockerfile of each image that is built, each once.
    fn dockerfiles(&self) -> Vec<(&'a Path, &'a str, &'a str)> {
        let wanted = self.scopes.iter().flat_map(|scope| {
            let default = scope.manifest.defaults.as_ref().and_then(|d| d.dockerfile.as_ref());
            scope.images().filter_map(move |(image, _)| {
                let said = image.dockerfile.as_ref().or(default);
                let context = image.context.as_ref()?.as_str();
                Some((scope.dir.as_path(), context, dockerfile_name(said)))
            })
        });
        wanted.collect::<HashSet<_>>().into_iter().collect()
    }

    fn draft(&mut self, entry: &'a Sp<Image>, files: &mut Files) -> Option<Draft<'a>> {
        let image: &Image = entry;
        let owner = image.owner.as_ref().or(self.manifest.owner.as_ref());
        let visibility = self.visibility(image, owner);
        let platforms = self.platforms(entry);
        let content = self.content(entry, files);
        let (name, tag) = self.name_and_tag(entry, owner)?;
        Some(Draft {
            image,
            manifest: self.manifest,
            note: None,
            span: image.name.as_ref().map_or(entry.span(), Sp::span),
            name,
            tag,
            platforms,
            owner: owner.map(|owner| owner.0.value.0.clone()),
            visibility,
            content: content?,
            units: Vec::new(),
            damaged: self.damaged,
        })
    }

    /// Whether something was reported in there.
    fn is_reported(&self, span: Span) -> bool {
        let within = |at: Span| (span.start..=span.start + span.len).contains(&at.start);
        self.problems.iter().any(|problem| problem.labels.first().is_some_and(|at| within(at.0)))
    }

    fn visibility(
        &mut self,
        image: &Image,
        owner: Option<&Sp<OwnerSetting>>,
    ) -> Option<Visibility> {
        let defaults = self.manifest.defaults.as_ref();
        let said =
            image.visibility.as_ref().or_else(|| defaults.and_then(|d| d.visibility.as_ref()));
        let visibility = said.and_then(|said| said.0.value.0);
        let owner = owner.filter(|owner| owner.0.value.0 == Owner::Platform);
        match (owner, said) {
            (Some(owner), Some(said)) if visibility == Some(Visibility::Private) => {
                let problem = Problem::new(
                    "an image of the platform cannot be private",
                    said.span(),
                    "private here",
                );
                let problem = problem.and(owner.span(), "owned by the platform");
                let help = "write `visibility: public`, or give the image another owner";
                self.problems.push(problem.help(help));
                visibility
            }
            (Some(_), _) => Some(Visibility::Public),
            (None, _) => visibility,
        }
    }

    fn platforms(&mut self, entry: &Sp<Image>) -> Vec<Platform> {
        let defaults = self.manifest.defaults.as_ref().and_then(|d| d.platforms.as_ref());
        let said = entry.platforms.as_ref().or(defaults);
        let Some(said) = said else { return vec![Platform::default()] };
        let mut platforms: Vec<Platform> = Vec::new();
        for platform in said.iter() {
            if platforms.contains(platform) {
                let message = format!("{} is listed twice", **platform);
                self.report(message, platform.span(), "remove one of them");
            } else {
                platforms.push(**platform);
            }
        }
        if said.is_empty() && !self.is_reported(said.span()) {
            let help = "list one, or remove the key to build for linux/amd64";
            self.report("an image needs a platform", said.span(), help);
        }
        platforms
    }

    fn content(&mut self, entry: &Sp<Image>, files: &mut Files) -> Option<Content> {
        match (&entry.context, &entry.source) {
            (Some(context), Some(source)) => {
                let problem = Problem::new(
                    "an image is built from a `context` or mirrored from a `source`, not both",
                    context.span(),
                    "built",
                );
                let problem = problem.and(source.span(), "mirrored");
                self.problems.push(problem.help("remove one of the two"));
                None
            }
            (None, None) if self.damaged => None,
            (None, None) => {
                let help = "add `context:` with the folder to build from, or `source:` with a \
                            public image to mirror";
                self.report("this image has neither a context nor a source", entry.span(), help);
                None
            }
            (Some(context), None) => self.build(entry, context, files),
            (None, Some(source)) => {
                if let Some(dockerfile) = &entry.dockerfile {
                    let help = "remove it, or build from a `context` instead";
                    self.report("a mirror has no Dockerfile", dockerfile.span(), help);
                }
                Some(Content::Mirror(source.0.value.0.clone()))
            }
        }
    }

    fn build(&mut self, image: &Image, context: &Sp<String>, files: &mut Files) -> Option<Content> {
        let defaults = self.manifest.defaults.as_ref().and_then(|d| d.dockerfile.as_ref());
        let said = image.dockerfile.as_ref().or(defaults);
        let folder = match files.context(context) {
            Ok(folder) => folder,
            Err(problem) => {
                self.problems.push(problem);
                return None;
            }
        };
        let name = dockerfile_name(said);
        let span = said.map_or(context.span(), Sp::span);
        match files.dockerfile(&folder, name, span, self.sources) {
            Ok(dockerfile) => Some(Content::Build { context: folder, dockerfile }),
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        }
    }

    fn name_and_tag(
        &mut self,
        entry: &Sp<Image>,
        owner: Option<&Sp<OwnerSetting>>,
    ) -> Option<(ImageName, Tag)> {
        let of_platform = owner.is_some_and(|owner| owner.0.value.0 == Owner::Platform);
        let name = entry.name.as_ref().map(|name| name.0.value.0.clone());
        if let (Some(name), Some(at)) = (&name, &entry.name)
            && name.has_namespace()
            && !of_platform
        {
            let help = "only images of the platform have a namespace: take the `/` out, or write \
                        `owner: platform`";
            self.report(format!("`{name}` has a `/`"), at.span(), help);
        }
        let tag = entry.tag.as_ref().map(|tag| tag.0.value.0.clone());
        let default = || {
            let said = self.manifest.defaults.as_ref().and_then(|d| d.tag.as_ref());
            said.map_or_else(Tag::latest, |tag| tag.0.value.0.clone())
        };
        match (name, tag, &entry.source) {
            (Some(name), Some(tag), _) => Some((name, tag)),
            (Some(name), None, None) => Some((name, default())),
            (None, _, None) => {
                if !self.damaged {
                    self.report("this image has no name", entry.span(), "add `name:`");
                }
                None
            }
            (name, tag, Some(source)) => match source.0.value.0.destination(of_platform) {
                Ok((derived, derived_tag)) => {
                    Some((name.unwrap_or(derived), tag.unwrap_or(derived_tag)))
                }
                Err(error) => {
                    self.report_name(error, source.span());
                    None
                }
            },
        }
    }

    fn units(&mut self, drafts: &mut [Draft<'a>]) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::new();
        let mut taken: HashMap<ImageRef, (Span, Option<&Note>)> = HashMap::new();
        for draft in drafts {
            self.manifest = draft.manifest;
            for &platform in &draft.platforms {
                let tag = match draft.platforms.len() {
                    1 => Ok(draft.tag.clone()),
                    _ => draft.tag.for_platform(platform),
                };
                let tag = match tag {
                    Ok(tag) => tag,
                    Err(error) => {
                        let mark = Notes::mark(&self.problems, &self.warnings);
                        self.report_name(error, draft.span);
                        self.notes.since(mark, &self.problems, &self.warnings, draft.note);
                        continue;
                    }
                };
                let key = ImageRef { name: draft.name.clone(), tag };
                if let Some(&first) = taken.get(&key).filter(|_| !draft.damaged) {
                    self.problems.push(clash(&key, (draft.span, draft.note), first));
                    continue;
                }
                if !draft.damaged {
                    taken.insert(key.clone(), (draft.span, draft.note));
                }
                draft.units.push(units.len());
                units.push(self.unit(draft, key, platform));
            }
        }
        units
    }

    fn unit(&self, draft: &Draft<'_>, key: ImageRef, platform: Platform) -> Unit {
        let defaults = self.manifest.defaults.as_ref();
        let timeout =
            draft.image.timeout.as_ref().or_else(|| defaults.and_then(|d| d.timeout.as_ref()));
        Unit {
            key,
            image: draft.name.clone(),
            platform,
            owner: draft.owner.clone(),
            visibility: draft.visibility,
            timeout: timeout.map(|timeout| timeout.0.value.0),
            origin: match &draft.content {
                Content::Mirror(source) => Origin::Mirror(source.clone()),
                Content::Build { context, dockerfile } => Origin::Build(BuildOrigin {
                    context: context.clone(),
                    dockerfile_path: dockerfile.path.clone(),
                    dockerfile_inside: files::inside(context, &dockerfile.path),
                    dockerfile: Arc::clone(&dockerfile.parsed),
                    bases: Vec::new(),
                }),
            },
            needs: Vec::new(),
            depth: 0,
            span: draft.span,
        }
    }
}

/// Two images that land on one tag, and where both come from.
fn clash(key: &ImageRef, second: (Span, Option<&Note>), first: (Span, Option<&Note>)) -> Problem {
    let label = |word: &str, note: Option<&Note>| match note {
        Some(note) => format!("{word}, {}", note.words),
        None => word.to_owned(),
    };
    let problem =
        Problem::new(format!("two images land on {key}"), second.0, label("and here", second.1));
    let help = "give one of them another `name:` or `tag:`";
    problem.and(first.0, label("here", first.1)).help(help)
}

fn dockerfile_name(said: Option<&Sp<String>>) -> &str {
    said.map_or("Dockerfile", |said| said.as_str())
}
