//! Resolves one image: fills in defaults, finds its context and reads its Dockerfile.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::diagnostics::{Diagnostics, Note};
use super::expand::Scope;
use super::fields::{self, Fields};
use super::files::Files;
use super::lower::{self, Lowering, PlatformBuild};
use super::model::{Defaults, Image};
use super::scalars::OnError;
use super::spanned::Spanned;
use super::unused::UnusedParts;
use super::workspace::InputScope;
use crate::base::name::{ImageName, Owner, Platform, Tag, TagTemplate, Visibility};
use crate::base::reach::Reach;
use crate::base::reference::RegistryRef;
use crate::base::source_ref::SourceRef;
use crate::base::span::{Problem, SourceMap, Span};

/// One image with its defaults, before it is split into units.
pub(super) struct ResolvedImage<'a> {
    pub(super) entry: &'a Image,
    /// Note of a generated image.
    pub(super) note: Option<&'a Note>,
    pub(super) span: Span,
    pub(super) name: ImageName,
    pub(super) tag: TagTemplate,
    pub(super) platforms: Vec<Platform>,
    pub(super) owner: Option<Owner>,
    pub(super) visibility: Option<Visibility>,
    pub(super) fields: Fields,
    pub(super) content: ImageContent,
    /// References under which the image is known outside; `None` if the manifest does not say so.
    pub(super) published_as: Option<Vec<RegistryRef>>,
    /// True if the image has the name of its folder because its entry has no `name`.
    pub(super) named_by_folder: bool,
    /// Indexes of its units.
    pub(super) units: Vec<usize>,
    /// True if a problem of the image was reported: its tag may not be the intended one.
    pub(super) damaged: bool,
    /// True if an argument may be missing because its value was rejected.
    pub(super) args_damaged: bool,
    /// Consequence of a broken Dockerfile.
    pub(super) on_error: OnError,
    /// The first error of its Dockerfile, if the image is skipped for it.
    pub(super) broken: Option<String>,
}

/// Origin of an image.
pub(super) enum ImageContent {
    Build {
        context: Arc<Path>,
        /// The build on each platform of the image.
        builds: Vec<PlatformBuild>,
        target: Option<String>,
        /// The part of the context that counts; `None` for the manifest's setting.
        inputs: Option<InputScope>,
        /// True if references of the Dockerfile are matched with images of the manifest.
        infer_bases: bool,
    },
    Mirror(SourceRef),
}

impl ResolvedImage<'_> {
    /// Returns the build on a platform, or else the first one; `None` for a mirror.
    pub(super) fn build_on(&self, platform: Platform) -> Option<&PlatformBuild> {
        match &self.content {
            ImageContent::Build { builds, .. } => {
                builds.iter().find(|build| build.platform == platform).or(builds.first())
            }
            ImageContent::Mirror(_) => None,
        }
    }

    /// Returns true if references of the Dockerfile are matched with images of the manifest.
    pub(super) fn infers_bases(&self) -> bool {
        matches!(self.content, ImageContent::Build { infer_bases: true, .. })
    }
}

/// Resolves all images. An image without a usable name, tag or origin is left out, and the reason
/// is reported.
pub(super) fn resolve<'a>(
    scopes: &'a [Scope],
    reach: &Reach,
    sources: &mut SourceMap,
    diagnostics: &mut Diagnostics,
) -> Vec<ResolvedImage<'a>> {
    // If there are errors, one of them may be a misspelt `images`.
    if let Some(Scope { manifest, .. }) = scopes.first()
        && manifest.images.is_none()
        && diagnostics.errors() == 0
    {
        let span = manifest.version.as_ref().map_or(Span::new(0, 0), Spanned::span);
        diagnostics.error("the manifest has no images", span, "list them under `images:`");
    }
    let mut files = Files::new(sources, reach);
    files.read_ahead(&dockerfiles(scopes));
    let images = scopes.iter().map(|scope| scope.origins.len()).sum();
    let (mut images, mut unused) = (Vec::with_capacity(images), UnusedParts::default());
    for scope in scopes {
        files.enter(&scope.dir);
        for (entry, origin) in scope.images() {
            let outer = diagnostics.enter(origin.note.as_ref());
            let defaults = scope.manifest.defaults.as_ref();
            let owner = entry.owner.as_ref().or(scope.manifest.owner.as_ref());
            let mut resolver = ImageResolver {
                entry,
                defaults,
                owner,
                damaged: origin.damaged,
                on_error: origin.on_error,
                broken: None,
                files: &mut files,
                unused: &mut unused,
                diagnostics,
            };
            if let Some(image) = resolver.resolve() {
                // An image without a tag uses the default, which may be the bad one.
                let damaged = image.damaged || scope.damaged && entry.tag.is_none();
                let has_default_args = defaults.is_some_and(|defaults| defaults.args.is_some());
                let args_damaged =
                    image.damaged && entry.args.is_some() || scope.damaged && has_default_args;
                images.push(ResolvedImage {
                    note: origin.note.as_ref(),
                    named_by_folder: origin.named_by_folder,
                    damaged,
                    args_damaged,
                    ..image
                });
            }
            diagnostics.leave(outer);
        }
    }
    unused.warn(diagnostics);
    images
}

/// Returns the manifest's folder, the context and the Dockerfile of each build, each once.
fn dockerfiles(scopes: &[Scope]) -> Vec<(&Path, &str, &str)> {
    let builds = scopes.iter().flat_map(|scope| {
        scope.images().filter_map(move |(entry, _)| {
            let dockerfile = dockerfile_setting(entry, scope.manifest.defaults.as_ref());
            let context = entry.context.as_ref()?.as_str();
            Some((scope.dir.as_path(), context, dockerfile_name(dockerfile)))
        })
    });
    builds.collect::<HashSet<_>>().into_iter().collect()
}

fn dockerfile_setting<'a>(
    entry: &'a Image,
    defaults: Option<&'a Defaults>,
) -> Option<&'a Spanned<String>> {
    entry.dockerfile.as_ref().or_else(|| defaults?.dockerfile.as_ref())
}

fn dockerfile_name(setting: Option<&Spanned<String>>) -> &str {
    setting.map_or("Dockerfile", |name| name.as_str())
}

/// State while one image is resolved.
struct ImageResolver<'a, 'f, 's> {
    entry: &'a Spanned<Image>,
    defaults: Option<&'a Defaults>,
    owner: Option<&'a Spanned<Owner>>,
    /// True if a problem of the entry was reported: what is missing now may be what was wrong.
    damaged: bool,
    on_error: OnError,
    broken: Option<String>,
    files: &'f mut Files<'s>,
    unused: &'f mut UnusedParts,
    diagnostics: &'f mut Diagnostics,
}

impl<'a> ImageResolver<'a, '_, '_> {
    fn resolve(&mut self) -> Option<ResolvedImage<'a>> {
        let entry = self.entry;
        let visibility = self.visibility();
        let platforms = self.platforms();
        let fields = fields::resolve(entry, self.defaults, self.diagnostics);
        let content = self.content(&platforms);
        let (name, tag) = self.name_and_tag()?;
        // The defaults describe what is built here, and a mirror comes from elsewhere.
        let default = self.defaults.filter(|_| entry.source.is_none());
        let published_as = entry.published_as.as_ref().or_else(|| default?.published_as.as_ref());
        Some(ResolvedImage {
            entry,
            note: None,
            span: entry.name.as_ref().map_or(entry.span(), Spanned::span),
            published_as: published_as.map(|published| published.references(&name)),
            name,
            tag,
            platforms,
            owner: self.owner.map(|owner| (**owner).clone()),
            visibility,
            fields,
            content: content?,
            named_by_folder: false,
            units: Vec::new(),
            damaged: self.damaged,
            args_damaged: false,
            on_error: self.on_error,
            broken: self.broken.take(),
        })
    }

    fn is_owned_by_platform(&self) -> bool {
        self.owner.is_some_and(|owner| **owner == Owner::Platform)
    }

    fn visibility(&mut self) -> Option<Visibility> {
        let default = self.defaults.and_then(|defaults| defaults.visibility.as_ref());
        let setting = self.entry.visibility.as_ref().or(default);
        let visibility = setting.and_then(|setting| setting.0);
        let Some(owner) = self.owner.filter(|owner| ***owner == Owner::Platform) else {
            return visibility;
        };
        if let Some(setting) = setting
            && visibility == Some(Visibility::Private)
        {
            let message = "an image of the platform cannot be private";
            let problem = Problem::new(message, setting.span(), "private")
                .and(owner.span(), "owned by the platform")
                .help("write `visibility: public`, or change the owner");
            self.diagnostics.push(problem);
        }
        Some(Visibility::Public)
    }

    fn platforms(&mut self) -> Vec<Platform> {
        let default = self.defaults.and_then(|defaults| defaults.platforms.as_ref());
        let Some(setting) = self.entry.platforms.as_ref().or(default) else {
            return vec![Platform::default()];
        };
        let mut platforms: Vec<Platform> = Vec::new();
        for platform in setting.iter() {
            if platforms.contains(platform) {
                let message = format!("{} is listed twice", **platform);
                self.diagnostics.error(message, platform.span(), "remove one of them");
            } else {
                platforms.push(**platform);
            }
        }
        // The list may be empty because its items were rejected.
        let Span { start, len } = setting.span();
        if setting.is_empty() && !self.diagnostics.has_error_in(&(start..start + len + 1)) {
            let help = "list one, or remove the key to build for linux/amd64";
            self.diagnostics.error("an image needs a platform", setting.span(), help);
        }
        platforms
    }

    fn content(&mut self, platforms: &[Platform]) -> Option<ImageContent> {
        let entry = self.entry;
        match (&entry.context, &entry.source) {
            (Some(context), Some(source)) => {
                let message = "an image has either a `context` or a `source`, not both";
                let problem = Problem::new(message, context.span(), "built from a context")
                    .and(source.span(), "mirrored from a source")
                    .help("remove one of the two");
                self.diagnostics.push(problem);
                None
            }
            (None, None) if self.damaged => None,
            (None, None) => {
                let message = "this image has neither a context nor a source";
                let help = "add `context:` with the folder to build from, or `source:` with a \
                            public image to mirror";
                self.diagnostics.error(message, entry.span(), help);
                None
            }
            (Some(context), None) => self.build(context, platforms),
            (None, Some(source)) => {
                fields::reject_build_fields(entry, self.diagnostics);
                if let Some(lowercase) = source.corrected_case() {
                    // The service accepts the source and changes it to lowercase. It may be copied,
                    // but no registry finds it for a pin.
                    let message = "repositories have lowercase names, so this cannot be pinned";
                    self.diagnostics.warn(message, source.span(), format!("write {lowercase}"));
                }
                Some(ImageContent::Mirror((**source).clone()))
            }
        }
    }

    fn build(&mut self, context: &Spanned<String>, platforms: &[Platform]) -> Option<ImageContent> {
        let setting = dockerfile_setting(self.entry, self.defaults);
        let span = setting.map_or(context.span(), Spanned::span);
        let folder = self.files.context(context, self.diagnostics)?;
        let lowering = lower::lowering(self.entry, self.defaults, self.diagnostics);
        let name = dockerfile_name(setting);
        self.diagnostics.set_lenient(self.on_error == OnError::Skip);
        let builds = self.builds(&folder, (name, span), lowering, platforms);
        self.broken = self.diagnostics.set_lenient(false);
        // A skipped image is still known by its name, so that its dependents are skipped too.
        let placeholder = || lower::placeholders(&folder.join(name), platforms);
        let builds = if self.broken.is_some() { placeholder() } else { builds };
        let default = self.defaults.and_then(|defaults| defaults.infer_bases);
        Some(ImageContent::Build {
            context: folder.into(),
            builds: builds?,
            target: self.entry.target.as_ref().map(|target| target.to_string()),
            inputs: self.entry.inputs.as_deref().copied(),
            infer_bases: self.entry.infer_bases.as_deref().copied().or(default).unwrap_or(true),
        })
    }

    fn builds(
        &mut self,
        folder: &Path,
        (name, span): (&str, Span),
        lowering: Option<Lowering<'_>>,
        platforms: &[Platform],
    ) -> Option<Vec<PlatformBuild>> {
        let source = self.files.dockerfile(folder, name, span, self.diagnostics)?;
        let mut lowering = lowering?;
        lowering.remove_undeclared(&source, self.unused, self.diagnostics);
        lowering.check_platforms(platforms, self.unused, self.diagnostics)?;
        lower::builds(&source, &lowering, (platforms, span), self.files, self.diagnostics)
    }

    fn name_and_tag(&mut self) -> Option<(ImageName, TagTemplate)> {
        let entry = self.entry;
        if let Some(name) = &entry.name
            && name.has_namespace()
            && !self.is_owned_by_platform()
        {
            let message = format!("`{}` contains a `/`", **name);
            let help = "only images of the platform have a namespace: remove the `/`, or write \
                        `owner: platform`";
            self.diagnostics.error(message, name.span(), help);
        }
        let name = entry.name.as_deref().cloned();
        let tag = entry.tag.as_deref().cloned();
        match (name, tag, &entry.source) {
            (Some(name), Some(tag), _) => Some((name, tag)),
            (Some(name), None, None) => {
                let default = self.defaults.and_then(|defaults| defaults.tag.as_deref());
                Some((name, default.cloned().unwrap_or_else(|| Tag::latest().into())))
            }
            (None, _, None) => {
                if !self.damaged {
                    self.diagnostics.error("this image has no name", entry.span(), "add `name:`");
                }
                None
            }
            (name, tag, Some(source)) => match source.destination(self.is_owned_by_platform()) {
                Ok((source_name, source_tag)) => {
                    Some((name.unwrap_or(source_name), tag.unwrap_or_else(|| source_tag.into())))
                }
                Err(error) => {
                    self.diagnostics.error(error.message, source.span(), error.help);
                    None
                }
            },
        }
    }
}
