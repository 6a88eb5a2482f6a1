//! One image with its defaults filled in and its files found, before it is split into units.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::Sp;
use super::diagnostics::{Note, Notes};
use super::fields::Fields;
use super::files::{DockerfileSource, Files};
use super::model::{Image, OwnerSetting, SourceText};
use super::resolve::Resolver;
use crate::base::name::{ImageName, Owner, Platform, Tag, TagTemplate, Visibility};
use crate::base::source_ref::SourceRef;
use crate::base::span::{Problem, Span};

/// One image with its defaults, before it is split into units.
pub(super) struct Draft<'a> {
    pub(super) image: &'a Image,
    /// The row or match that it comes from.
    pub(super) note: Option<&'a Note>,
    pub(super) span: Span,
    pub(super) name: ImageName,
    pub(super) tag: TagTemplate,
    pub(super) platforms: Vec<Platform>,
    pub(super) owner: Option<Owner>,
    pub(super) visibility: Option<Visibility>,
    pub(super) fields: Fields,
    pub(super) content: Content,
    /// The units made of it.
    pub(super) units: Vec<usize>,
    /// Whether something was reported of it already: its tag may not be the one that was meant.
    pub(super) damaged: bool,
}

/// What a draft is made of.
pub(super) enum Content {
    Build {
        context: PathBuf,
        /// With `args` and `target` lowered into it.
        dockerfile: DockerfileSource,
        args: BTreeMap<String, String>,
        target: Option<String>,
        /// Whether its references are looked at.
        infer_bases: bool,
    },
    Mirror(SourceRef),
}

impl<'a> Resolver<'a> {
    /// Every image that can be understood.
    pub(super) fn drafts(&mut self) -> Vec<Draft<'a>> {
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
                let note = origin.note.as_ref();
                self.notes.since(mark, &self.problems, &self.warnings, note);
                drafts.extend(draft.map(|draft| {
                    // The tag may be the one that was wrong.
                    let damaged = draft.damaged || scope.damaged && image.tag.is_none();
                    Draft { note, damaged, ..draft }
                }));
            }
        }
        self.manifest = manifest;
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
        let fields = self.fields(image);
        let content = self.content(entry, files);
        let (name, tag) = self.name_and_tag(entry, owner)?;
        Some(Draft {
            image,
            note: None,
            span: image.name.as_ref().map_or(entry.span(), Sp::span),
            name,
            tag,
            platforms,
            owner: owner.map(|owner| owner.0.value.0.clone()),
            visibility,
            fields,
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

    fn content(&mut self, entry: &'a Sp<Image>, files: &mut Files) -> Option<Content> {
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
                self.refuse_of_mirror(entry);
                self.warn_of_upper_case(source);
                Some(Content::Mirror(source.0.value.0.clone()))
            }
        }
    }

    /// The service takes such a source and puts its name into lower case: it may arrive, but nobody
    /// else finds it.
    fn warn_of_upper_case(&mut self, source: &Sp<SourceText>) {
        let Some(lower) = source.0.value.0.corrected_case() else { return };
        let message = "registries know only lower-case names, so this cannot be pinned";
        let problem = Problem::new(message, source.span(), "here");
        self.warnings.push(problem.help(format!("write {lower}")).warning());
    }

    fn build(
        &mut self,
        image: &'a Image,
        context: &Sp<String>,
        files: &mut Files,
    ) -> Option<Content> {
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
        let lowering = self.lowering(image);
        let read = files.dockerfile(&folder, name, span, self.sources);
        let read = read.map_err(|problems| self.problems.extend(problems)).ok()?;
        let lowering = lowering?;
        let dockerfile = self.lower(read, image, &lowering, span, files)?;
        let defaults = self.manifest.defaults.as_ref();
        let infer_bases = image.infer_bases.as_deref().copied();
        Some(Content::Build {
            context: folder,
            dockerfile,
            args: lowering.args,
            target: lowering.target.map(|target| target.0.value.clone()),
            infer_bases: infer_bases.or_else(|| defaults?.infer_bases).unwrap_or(true),
        })
    }

    fn name_and_tag(
        &mut self,
        entry: &Sp<Image>,
        owner: Option<&Sp<OwnerSetting>>,
    ) -> Option<(ImageName, TagTemplate)> {
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
            said.map_or_else(|| Tag::latest().into(), |tag| tag.0.value.0.clone())
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
                    Some((name.unwrap_or(derived), tag.unwrap_or_else(|| derived_tag.into())))
                }
                Err(error) => {
                    self.report_name(error, source.span());
                    None
                }
            },
        }
    }
}

fn dockerfile_name(said: Option<&Sp<String>>) -> &str {
    said.map_or("Dockerfile", |said| said.as_str())
}
