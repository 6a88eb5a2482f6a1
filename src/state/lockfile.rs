//! The types of the lockfile: a block a unit, and what is known of it. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::digest::{Digest, FieldHasher, Fingerprint};
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, Owner, Platform, Visibility};
use crate::base::reference::OciDigest;

/// The version of what enters a fingerprint. A change of it makes every fingerprint new, so it
/// only moves with the rules of [`Inputs`].
///
/// 3: sources are in full, and what only tells what changed is not in the fingerprint.
pub const FINGERPRINT_FORMAT: u32 = 3;

/// What is known of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Built or mirrored.
    pub kind: ImageKind,
    /// The platform that it is made for.
    pub platform: Platform,
    /// The last build that completed.
    pub built: Option<Built>,
    /// A transfer that was asked for and whose answer is not known.
    pub submitted: Option<Submission>,
    /// A build that was accepted and whose end is not known.
    pub pending: Option<Pending>,
    /// The last build, where it failed.
    pub failed: Option<Failed>,
    /// Whether it is protected from deletion. Kept here, so that to take it out of the manifest does
    /// not lift the protection.
    pub protect: bool,
}

impl Entry {
    /// A unit of which nothing is known yet.
    pub fn new(kind: ImageKind, platform: Platform) -> Self {
        Self {
            kind,
            platform,
            built: None,
            submitted: None,
            pending: None,
            failed: None,
            protect: false,
        }
    }

    /// Whether nothing is known of it.
    pub fn is_empty(&self) -> bool {
        let Self { built, submitted, pending, failed, protect, .. } = self;
        built.is_none() && submitted.is_none() && pending.is_none() && failed.is_none() && !protect
    }

    /// The builds that it has, or had last.
    pub fn builds(&self) -> impl Iterator<Item = &BuildId> {
        let built = self.built.as_ref().map(|built| &built.build);
        let pending = self.pending.as_ref().map(|pending| &pending.build);
        let failed = self.failed.as_ref().map(|failed| &failed.build);
        built.into_iter().chain(pending).chain(failed)
    }
}

/// A build that completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// Of everything that decided its content.
    pub fingerprint: Fingerprint,
    /// What the fingerprint is made of.
    pub inputs: Inputs,
    /// The service's ID of it.
    pub build: BuildId,
    /// Where the service put it. Opaque.
    pub path: String,
    /// Whose it is.
    pub owner: Owner,
    /// Who may pull it.
    pub visibility: Visibility,
    /// When it was complete; a lockfile of an earlier imgplan does not say.
    #[serde(default)]
    pub completed: Option<Timestamp>,
}

/// What a public reference stands for, until it is moved: so a plan is the same tomorrow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The digest of what the reference names: an image, or an index of images.
    pub digest: OciDigest,
    /// The digest of the image for each platform that it has; empty where that is not known.
    #[serde(default)]
    pub platforms: BTreeMap<Platform, OciDigest>,
}

impl Pin {
    /// The digest of the image for a platform; `None` where it has only others.
    pub fn for_platform(&self, platform: Platform) -> Option<OciDigest> {
        let is_known = !self.platforms.is_empty();
        if is_known { self.platforms.get(&platform).copied() } else { Some(self.digest) }
    }

    /// The digest for a place that takes the image for one platform; without one, of all that the
    /// reference names.
    pub fn digest_for(&self, platform: Option<Platform>) -> Option<OciDigest> {
        platform.map_or(Some(self.digest), |platform| self.for_platform(platform))
    }
}

/// Something that was asked for. Until the answer is on record, whether the service took it is not
/// known: it has no key by which a request that came twice is told from two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// When, by the clock of whoever asked.
    pub at: Timestamp,
    /// Of everything that decides its content.
    pub fingerprint: Fingerprint,
    /// What the fingerprint is made of.
    pub inputs: Inputs,
    /// Whose it will be.
    pub owner: Owner,
    /// Who may pull it once it is complete, where that was said.
    pub visibility: Option<Visibility>,
}

impl Submission {
    /// What is pending where the service took it. What it did not say of it is as was asked.
    pub fn into_pending(
        self,
        build: BuildId,
        path: Option<String>,
        visibility: Option<Visibility>,
        stage: BuildStage,
    ) -> Pending {
        Pending {
            fingerprint: self.fingerprint,
            inputs: self.inputs,
            build,
            path: path.unwrap_or_default(),
            owner: self.owner,
            visibility: visibility.or(self.visibility).unwrap_or(Visibility::Private),
            stage,
        }
    }
}

/// A build that was accepted and whose end is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Of everything that decides its content.
    pub fingerprint: Fingerprint,
    /// What the fingerprint is made of.
    pub inputs: Inputs,
    /// The service's ID of it.
    pub build: BuildId,
    /// Where the service will put it. Opaque.
    pub path: String,
    /// Whose it will be.
    pub owner: Owner,
    /// Who may pull it once it is complete.
    pub visibility: Visibility,
    /// How far it was when that was last on record.
    pub stage: BuildStage,
}

/// How far a build is on its way to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildStage {
    /// It was accepted, and waits for its context. Nobody else can send it, for the URL is not kept.
    Created,
    /// Its context is there; whether it was told to start is not known.
    Uploaded,
    /// The service has all that it needs.
    Started,
}

impl BuildStage {
    /// The stage as the lockfile writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Uploaded => "uploaded",
            Self::Started => "started",
        }
    }
}

/// A build that failed or was cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Of what was tried.
    pub fingerprint: Fingerprint,
    /// The service's ID of it.
    pub build: BuildId,
}

/// One digest, or text, for each thing that decides what a unit contains: a plan can name the one
/// that changed.
///
/// | key | value |
/// |---|---|
/// | `format` | [`FINGERPRINT_FORMAT`] |
/// | `context` | digest of the files that are sent: path, kind, executable bit, content; but for the Dockerfile's content |
/// | `dockerfile` | digest of the Dockerfile, before base paths are put in |
/// | `dockerfile_path` | where it lies in the context; absent where it lies outside |
/// | `platform` | the platform |
/// | `base NAME:TAG` | fingerprint of a unit that it needs |
/// | `arg NAME` | two digits of the digest of a build argument's value; not in the fingerprint |
/// | `target` | the stage that is built, where the manifest says one; not in the fingerprint |
/// | `from REFERENCE` | digest of a base outside of the manifest; absent where it is not pinned |
/// | `from REFERENCE on PLATFORM` | likewise, where `FROM --platform` takes it for another platform than the unit's; `on any` where only the builder knows which, and the digest is of all |
/// | `source` | a mirror's source, in full |
/// | `digest` | digest of a mirror's source; absent where it is not pinned |
/// | `again` | how often it was made though nothing had changed; absent where never |
///
/// Arguments and the target are in the Dockerfile that is sent, and so in its digest: they only serve
/// to tell what changed. Two digits do that, and by them nobody finds a short secret by trying.
///
/// Not in it: times, owners, the image's own name, tag and visibility, the archive's bytes, the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inputs(pub BTreeMap<String, String>);

impl Inputs {
    /// Inputs of the format of this imgplan, and nothing else yet.
    pub fn new() -> Self {
        let mut inputs = Self::default();
        inputs.set("format", FINGERPRINT_FORMAT);
        inputs
    }

    /// The digest of all inputs that decide something, which are sorted by key.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = FieldHasher::new("imgplan unit");
        for (key, value) in self.0.iter().filter(|(key, _)| decides(key)) {
            hasher.field(key.as_bytes()).field(value.as_bytes());
        }
        Fingerprint(hasher.finish())
    }

    /// Adds one input.
    pub fn set(&mut self, key: impl Into<String>, value: impl ToString) {
        self.0.insert(key.into(), value.to_string());
    }

    /// The digest of the files that were sent; a mirror has none.
    pub fn context(&self) -> Option<Digest> {
        self.get("context")?.parse().ok()
    }

    /// Whether these decide the same but for how often it was made.
    pub fn equals_ignoring_replace_count(&self, other: &Self) -> bool {
        let counts = |(key, _): &(&String, &String)| *key != "again" && decides(key);
        self.0.iter().filter(counts).eq(other.0.iter().filter(counts))
    }

    /// One input.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

/// Whether an input decides anything, or only tells what changed.
fn decides(key: &str) -> bool {
    key != "target" && !key.starts_with("arg ")
}
