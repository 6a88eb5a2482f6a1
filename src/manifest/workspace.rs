//! The manifest made complete: every unit with its context, Dockerfile, bases and order. Plain
//! values, built once by `resolve` and only read after.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::limit::{Class, Limit};
use crate::base::name::{ImageName, ImageRef, Owner, Platform, Visibility};
use crate::base::source::{Problem, SourceSet, Span};
use crate::base::upstream::SourceRef;
use crate::dockerfile::Dockerfile;

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
    /// What is worth a look but stops nothing.
    pub warnings: Vec<Problem>,
    /// What `discover` found and left out, in order.
    pub skipped: Vec<Skipped>,
    /// All texts, for errors that are found later.
    pub sources: Arc<SourceSet>,
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

/// One image on one platform: what plans, locks and runs are made of.
#[derive(Debug)]
pub struct Unit {
    /// Where it lands; its key everywhere.
    pub key: ImageRef,
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
    /// The Dockerfile; units of one image share it.
    pub dockerfile: Arc<Dockerfile>,
    /// Where the Dockerfile names other units.
    pub bases: Vec<BaseUse>,
}

/// A place in a Dockerfile that names a unit of this manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUse {
    /// The bytes of the reference in the Dockerfile's text.
    pub range: Range<usize>,
    /// The unit that it names.
    pub unit: UnitId,
}

impl Workspace {
    /// The unit of an ID that this workspace gave.
    pub fn unit(&self, id: UnitId) -> &Unit {
        &self.units[id.0]
    }
}
