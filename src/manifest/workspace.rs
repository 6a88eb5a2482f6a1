//! The manifest made complete: every unit with its context, Dockerfile, bases and order. Plain
//! values, built once by `resolve` and only read after.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::kind::ImageKind;
use crate::base::limit::{Class, Limit};
use crate::base::name::{ImageName, ImageRef, Owner, Platform, TagTemplate, Visibility};
use crate::base::source_ref::SourceRef;
use crate::base::span::{Problem, SourceMap, Span};
use crate::dockerfile::Dockerfile;

pub use super::pattern::UnitPattern;

/// The place of a unit in [`Workspace::units`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitId(pub usize);

/// Everything that a manifest says, complete.
#[derive(Debug)]
pub struct Workspace {
    /// The folder of the manifest: the lockfile lies here.
    pub root: PathBuf,
    /// Every unit; bases before what is built on them, and by `name:tag` among equals.
    pub units: Vec<Unit>,
    /// How many images the manifest lists.
    pub images: usize,
    /// What the manifest says about reaching the service, and what it may be sent.
    pub settings: ServiceSettings,
    /// Names that changed: what was known under the first is now known under the second.
    pub moved: Vec<Moved>,
    /// Images that are no longer managed.
    pub removed: Vec<Removed>,
    /// What is worth a look but stops nothing.
    pub warnings: Vec<Problem>,
    /// What `discover` found and left out, in order.
    pub skipped: Vec<Skipped>,
    /// All texts, for errors that are found later.
    pub sources: Arc<SourceMap>,
}

/// A folder that was found and made into no image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// The folder.
    pub path: PathBuf,
    /// Why, in words.
    pub reason: String,
}

/// What the manifest says about reaching the service, and what it may be sent; flags and
/// environment win over it.
#[derive(Debug, Clone, Default)]
pub struct ServiceSettings {
    /// The service's URL.
    pub url: Option<String>,
    /// Builds in flight, and transfers of each owner.
    pub concurrency: Option<u32>,
    /// Request budgets.
    pub limits: Vec<(Class, Limit)>,
    /// The bytes above which a context is worth a warning.
    pub context_warn: Option<u64>,
    /// The bytes above which a context is an error.
    pub context_max: Option<u64>,
}

/// A new name for what is in the lockfile already, so that nothing is built again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// What the manifest called it before. It names nothing that the manifest still has.
    pub from: UnitPattern,
    /// What the manifest calls it now; where names changed more than once, the last of them.
    pub to: UnitPattern,
    /// Where the manifest says it.
    pub span: Span,
}

/// An image that the manifest had, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// What the manifest called it. It names nothing that the manifest still has.
    pub from: UnitPattern,
    /// Whether the service is to delete it; else it is only forgotten.
    pub destroy: bool,
    /// Where the manifest says it.
    pub span: Span,
}

/// One image on one platform: what plans, locks and runs are made of.
#[derive(Debug)]
pub struct Unit {
    /// Where it lands; its key everywhere. Where [`content_tag`](Self::content_tag) is set, its tag
    /// has zeros in the place of the fingerprint.
    pub key: ImageRef,
    /// The tag where it holds the fingerprint of the content: open until that is known.
    pub content_tag: Option<TagTemplate>,
    /// The image's name in the manifest.
    pub image: ImageName,
    /// The platform that it is built for.
    pub platform: Platform,
    /// Who owns it; `None` leaves it to the credentials.
    pub owner: Option<Owner>,
    /// Who may pull it; `None` keeps what it has.
    pub visibility: Option<Visibility>,
    /// How long to wait for its build.
    pub timeout: Option<Duration>,
    /// How old it may become before it is made again.
    pub max_age: Option<Duration>,
    /// Whether it is safe from being deleted; `None` where the manifest says nothing.
    pub protect: Option<bool>,
    /// The groups that it belongs to.
    pub groups: BTreeSet<String>,
    /// What the manifest notes of it.
    pub labels: BTreeMap<String, String>,
    /// Where its content comes from.
    pub origin: Origin,
    /// The units that must exist before it, in order and without repetition.
    pub needs: Vec<UnitId>,
    /// How many units the longest chain of needs below it has.
    pub depth: usize,
    /// Where the manifest says it.
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

    /// Its `name:tag` for people: with `{fingerprint}` where its tag is open.
    pub fn shown(&self) -> String {
        match &self.content_tag {
            Some(open) => format!("{}:{open}", self.key.name),
            None => self.key.to_string(),
        }
    }

    /// The path of its Dockerfile in its context; empty where it has none there.
    pub fn dockerfile_inside(&self) -> &str {
        match &self.origin {
            Origin::Build(build) => build.dockerfile_inside.as_deref().unwrap_or_default(),
            Origin::Mirror(_) => "",
        }
    }
}

/// Where a unit's content comes from.
#[derive(Debug)]
pub enum Origin {
    /// A build.
    Build(BuildOrigin),
    /// A transfer of a public image.
    Mirror(SourceRef),
}

/// What a unit is built from.
#[derive(Debug)]
pub struct BuildOrigin {
    /// The context: a folder.
    pub context: PathBuf,
    /// The Dockerfile's own path, which may lie outside the context.
    pub dockerfile_path: PathBuf,
    /// The Dockerfile's path inside the context, with `/`; `None` where it lies outside.
    pub dockerfile_inside: Option<String>,
    /// The values of build arguments.
    pub args: BTreeMap<String, String>,
    /// The stage that is built, where it is not the last.
    pub target: Option<String>,
    /// The Dockerfile with `args` and `target` lowered into it: without these, as it was read.
    /// Units of one image share it.
    pub dockerfile: Arc<Dockerfile>,
    /// Where the Dockerfile names other units.
    pub bases: Vec<BaseUse>,
    /// Where the Dockerfile names images that are not of this manifest.
    pub externals: Vec<ExternalBase>,
}

impl BuildOrigin {
    /// The Dockerfile's path inside the context, where it lies there and is sent as it was written
    /// but for the paths of bases.
    pub fn as_written(&self) -> Option<&str> {
        let lowered = !self.args.is_empty() || self.target.is_some();
        self.dockerfile_inside.as_deref().filter(|_| !lowered)
    }
}

/// A place in a Dockerfile that names a unit of this manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUse {
    /// The bytes of the reference in the Dockerfile's text.
    pub range: Range<usize>,
    /// The unit that it names.
    pub unit: UnitId,
}

/// A place in a Dockerfile that names an image which is not of this manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalBase {
    /// The bytes of the reference in the Dockerfile's text.
    pub range: Range<usize>,
    /// The reference, with its variables expanded for the unit's platform.
    pub image: String,
    /// The platform for which it is taken, where one is known that the service builds for: the
    /// unit's, but for `FROM --platform`. `None` leaves it to the builder.
    pub platform: Option<Platform>,
    /// The same place among all texts.
    pub span: Span,
}

impl Workspace {
    /// The unit of an ID that this workspace gave.
    pub fn unit(&self, id: UnitId) -> &Unit {
        &self.units[id.0]
    }
}
