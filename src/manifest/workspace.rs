//! The resolved manifest: every unit with its context, Dockerfile, bases and order. Plain values,
//! built once by `resolve` and then only read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::engine_kind::EngineKind;
use crate::base::kind::ImageKind;
use crate::base::limit::{Class, Limit};
use crate::base::name::{ImageName, ImageRef, Owner, Platform, Tag, TagTemplate, Visibility};
use crate::base::source_ref::{RegistryKind, SourceRef};
use crate::base::span::{Problem, SourceMap, Span};
use crate::base::state_url::StateUrl;
use crate::dockerfile::Dockerfile;

pub(crate) use super::pattern::UnitPattern;

/// Index of a unit in [`Workspace::units`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitId(pub usize);

/// A manifest with all files, defaults and dependencies resolved.
#[derive(Debug)]
pub struct Workspace {
    /// All units: bases before their dependents, then by `name:tag`.
    pub units: Vec<Unit>,
    /// Number of images of the manifest.
    pub images: usize,
    /// Connection to the service, and limits.
    pub settings: ServiceSettings,
    /// Renamed images.
    pub moved: Vec<Moved>,
    /// Images to forget or to delete.
    pub removed: Vec<Removed>,
    /// Warnings.
    pub warnings: Vec<Problem>,
    /// Units that are left as they are, because their Dockerfile or that of a base is broken.
    pub held: BTreeSet<ImageName>,
    /// Folders that `discover` found but did not turn into images, in order.
    pub skipped: Vec<Skipped>,
    /// Clean paths of the manifest and of the files that it includes.
    pub files: Vec<PathBuf>,
    /// Source files, for problems that are found later.
    pub sources: Arc<SourceMap>,
}

/// A folder that `discover` found but did not turn into an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// The folder.
    pub path: PathBuf,
    /// Reason, for messages.
    pub reason: String,
}

/// Connection to the service, and limits. Flags and environment variables override them.
#[derive(Debug, Clone, Default)]
pub struct ServiceSettings {
    /// URL of the service.
    pub url: Option<String>,
    /// URL of a shared state.
    pub state: Option<StateUrl>,
    /// Maximum number of builds, and of transfers of each owner, at the same time.
    pub concurrency: Option<u32>,
    /// Rate limits by request class.
    pub limits: Vec<(Class, Limit)>,
    /// Size of a context above which a warning is shown, in bytes.
    pub context_warn: Option<u64>,
    /// Maximum size of a context, in bytes.
    pub context_max: Option<u64>,
    /// The part of the context that counts, for images that do not set it.
    pub inputs: InputScope,
    /// Engine of the local server.
    pub local: LocalEngine,
}

/// Engine of the local server, as far as a manifest may choose it. The registry, its credentials and the
/// network of builds are not here: a checkout must not choose where images and passwords go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LocalEngine {
    /// The engine.
    pub kind: Option<EngineKind>,
    /// Maximum disk space of all builds, in bytes.
    pub disk: Option<u64>,
    /// Maximum memory of a build, in bytes.
    pub memory: Option<u64>,
    /// Maximum number of builds at the same time.
    pub slots: Option<usize>,
    /// Maximum time of a build.
    pub build_timeout: Option<Duration>,
}

/// A renamed image: its lockfile entries get a new name, and nothing is built again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Old name. No image of the manifest has it.
    pub from: UnitPattern,
    /// New name; after several renames, the last one.
    pub to: UnitPattern,
    /// Span in the manifest.
    pub span: Span,
}

/// An image that was removed from the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Old name. No image of the manifest has it.
    pub from: UnitPattern,
    /// True to delete the image in the service; otherwise it is only forgotten.
    pub destroy: bool,
    /// Span in the manifest.
    pub span: Span,
}

/// One image on one platform, called a "target" in messages. Plan, lockfile and run work on units.
#[derive(Debug)]
pub struct Unit {
    /// Destination `name:tag`, which identifies the unit. If [`content_tag`](Self::content_tag) is
    /// set, its tag has zeros in place of the fingerprint.
    pub key: ImageRef,
    /// Template of the tag if it contains `{fingerprint}`, which is filled in when the content is
    /// known.
    pub content_tag: Option<TagTemplate>,
    /// Name of the image in the manifest.
    pub image: ImageName,
    /// Tag of the image in the manifest, if the unit's own tag differs by the suffix of its platform.
    pub image_tag: Option<Tag>,
    /// Earlier names of the unit, from `moved:`.
    pub old_names: Vec<UnitPattern>,
    /// Platform of the unit.
    pub platform: Platform,
    /// Owner; `None` for the owner of the credentials.
    pub owner: Option<Owner>,
    /// Visibility; `None` keeps the visibility that the image has.
    pub visibility: Option<Visibility>,
    /// Maximum time to wait for the build.
    pub timeout: Option<Duration>,
    /// Age after which the unit is rebuilt.
    pub max_age: Option<Duration>,
    /// True if the unit must not be deleted; `None` if the manifest does not set it.
    pub protect: Option<bool>,
    /// Groups of the unit.
    pub groups: BTreeSet<String>,
    /// Labels of the unit.
    pub labels: BTreeMap<String, String>,
    /// Origin of the content.
    pub origin: Origin,
    /// Units that must exist first, sorted and without duplicates.
    pub needs: Vec<UnitId>,
    /// Length of the longest dependency chain below the unit.
    pub depth: usize,
    /// Span in the manifest.
    pub span: Span,
}

impl Unit {
    /// Returns the kind of the unit: built or mirrored.
    pub fn kind(&self) -> ImageKind {
        match self.origin {
            Origin::Build(_) => ImageKind::Build,
            Origin::Mirror(_) => ImageKind::Mirror,
        }
    }

    /// Returns `name:tag` for messages, with `{fingerprint}` if the tag contains it.
    pub fn shown(&self) -> String {
        match &self.content_tag {
            Some(open) => format!("{}:{open}", self.key.name),
            None => self.key.to_string(),
        }
    }

    /// Returns the source of a mirror.
    pub fn source(&self) -> Option<&SourceRef> {
        match &self.origin {
            Origin::Build(_) => None,
            Origin::Mirror(source) => Some(source),
        }
    }

    /// True for a mirror of Docker Hub, which the service may make an image of the platform, whatever
    /// the manifest says.
    pub fn mirrors_docker_hub(&self) -> bool {
        let kind = self.source().map(SourceRef::registry_kind);
        kind == Some(RegistryKind::DockerHub)
    }

    /// Returns the names of the unit in a selection besides its key: the `name:tag` of its image,
    /// which names the units of all platforms, and its earlier names.
    pub fn other_names(&self) -> impl Iterator<Item = ImageRef> {
        let current = self
            .image_tag
            .iter()
            .map(|tag| ImageRef { name: self.image.clone(), tag: tag.clone() });
        let old = self.old_names.iter().flat_map(|old| {
            let own = [Some(&self.key.tag), self.image_tag.as_ref()].into_iter().flatten();
            let tags: Vec<&Tag> = old.tag.as_ref().map_or_else(|| own.collect(), |tag| vec![tag]);
            tags.into_iter().map(|tag| ImageRef { name: old.name.clone(), tag: tag.clone() })
        });
        current.chain(old)
    }

    /// True if a text names the unit: by `name` or `name:tag`, of today or before a move.
    pub fn is_named(&self, text: &str) -> bool {
        let is =
            |name: &ImageName, key: &ImageRef| name.as_str() == text || key.to_string() == text;
        is(&self.image, &self.key) || self.other_names().any(|other| is(&other.name, &other))
    }

    /// Returns the path of the Dockerfile inside the context, or an empty string.
    pub fn dockerfile_inside(&self) -> &str {
        match &self.origin {
            Origin::Build(build) => build.dockerfile_inside.as_deref().unwrap_or_default(),
            Origin::Mirror(_) => "",
        }
    }
}

/// Origin of the content of a unit.
#[derive(Debug)]
pub enum Origin {
    /// A build from a context.
    Build(BuildOrigin),
    /// A copy of a public image.
    Mirror(SourceRef),
}

/// The part of a context that counts for the fingerprint and is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InputScope {
    /// The files that the instructions of the build reach.
    #[default]
    Reached,
    /// The whole context.
    Context,
}

/// Inputs of a build.
#[derive(Debug)]
pub struct BuildOrigin {
    /// Folder of the context.
    pub context: Arc<Path>,
    /// Path of the Dockerfile, which may lie outside the context.
    pub dockerfile_path: Arc<Path>,
    /// Path of the Dockerfile inside the context, with `/`; `None` if it lies outside.
    pub dockerfile_inside: Option<String>,
    /// The part of the context that counts and is sent.
    pub inputs: InputScope,
    /// Values of build arguments.
    pub args: BTreeMap<String, String>,
    /// Stage to build; `None` for the last one.
    pub target: Option<String>,
    /// The Dockerfile, with `args` and `target` lowered into it. Units with equal ones share it.
    pub dockerfile: Arc<Dockerfile>,
    /// Offset of the Dockerfile's text in the source map.
    pub dockerfile_start: usize,
    /// References of the Dockerfile to other units.
    pub bases: Vec<BaseUse>,
    /// References of the Dockerfile to images outside of the manifest.
    pub externals: Vec<ExternalBase>,
}

impl BuildOrigin {
    /// True if arguments or the target are lowered into the Dockerfile.
    pub fn is_lowered(&self) -> bool {
        !self.args.is_empty() || self.target.is_some()
    }
}

/// A reference in a Dockerfile to a unit of this manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUse {
    /// Byte range of the reference in the text of the Dockerfile.
    pub range: Range<usize>,
    /// The unit.
    pub unit: UnitId,
}

/// A reference in a Dockerfile to an image outside of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalBase {
    /// Byte range of the reference in the text of the Dockerfile.
    pub range: Range<usize>,
    /// The reference, with variables expanded for the unit's platform.
    pub image: String,
    /// Platform of the image: that of the unit, or of `FROM --platform`. `None` if the builder
    /// chooses, or if the service does not build for it.
    pub platform: Option<Platform>,
    /// Span of the reference in the source map.
    pub span: Span,
}

impl Workspace {
    /// True for a lockfile entry that may be of a unit that is held: its tag may have changed, or its
    /// platform.
    pub fn holds(&self, key: &ImageRef) -> bool {
        self.held.contains(&key.name)
    }

    /// Returns a unit by its ID.
    ///
    /// # Panics
    ///
    /// Panics if the ID is from another workspace with more units.
    pub fn unit(&self, id: UnitId) -> &Unit {
        &self.units[id.0]
    }
}
