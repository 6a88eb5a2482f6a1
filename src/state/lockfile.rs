//! The types of the lockfile: one entry per unit. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text_map::TextMap;
use crate::base::digest::{Digest, FieldHasher, Fingerprint};
use crate::base::image_path::ImagePath;
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Owner, Platform, Visibility};
use crate::base::reference::OciDigest;
use crate::base::safe_text::one_line;
use crate::base::source_ref::SourceRef;

/// Highest version of the lockfile that this imgplan reads.
pub(super) const MAX_LOCKFILE_VERSION: u64 = 2;

/// Version of the rules of [`Inputs`]. Raising it changes every fingerprint, and so rebuilds every
/// image.
///
/// Version 3: sources are in their full form, and inputs that only explain changes are not part of the
/// fingerprint.
pub(crate) const FINGERPRINT_FORMAT: u32 = 3;

/// Number of inputs that most builds have at most.
const USUAL_INPUTS: usize = 6;

/// Maximum length of a recorded error.
const MAX_ERROR_CHARS: usize = 300;

/// The recorded state of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// Built or mirrored.
    pub kind: ImageKind,
    /// The platform.
    pub platform: Platform,
    /// The last completed build.
    pub built: Option<Built>,
    /// A transfer in doubt: it was requested, and its response is not known.
    pub submitted: Option<Submission>,
    /// A build that was accepted, and has not ended as far as is recorded.
    pub pending: Option<Pending>,
    /// The last build, if it failed.
    pub failed: Option<Failed>,
    /// True if the image is protected from deletion. It is recorded here so that removing the image
    /// from the manifest does not remove its protection.
    #[serde(default)]
    pub protect: bool,
}

impl Entry {
    /// Creates an entry without builds.
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

    /// True if the entry has no build and no protection, and so needs no place in the lockfile.
    pub fn is_empty(&self) -> bool {
        let Self { built, submitted, pending, failed, protect, .. } = self;
        built.is_none() && submitted.is_none() && pending.is_none() && failed.is_none() && !protect
    }

    /// Returns the inputs of the image, the pending build and the request in doubt.
    pub fn inputs(&self) -> impl Iterator<Item = &Inputs> {
        let built = self.built.as_ref().map(|built| &built.inputs);
        let pending = self.pending.as_ref().map(|pending| &pending.inputs);
        let submitted = self.submitted.as_ref().map(|submitted| &submitted.inputs);
        built.into_iter().chain(pending).chain(submitted)
    }

    /// Returns the IDs of all builds in the entry.
    pub fn builds(&self) -> impl Iterator<Item = &BuildId> {
        let built = self.built.as_ref().map(|built| &built.build);
        let pending = self.pending.as_ref().map(|pending| &pending.build);
        let failed = self.failed.as_ref().map(|failed| &failed.build);
        built.into_iter().chain(pending).chain(failed)
    }
}

/// A completed build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// Fingerprint of the inputs.
    pub fingerprint: Fingerprint,
    /// The inputs of the image.
    pub inputs: Inputs,
    /// ID of the build.
    pub build: BuildId,
    /// Path of the image in the service. Opaque.
    pub path: ImagePath,
    /// Owner of the image, as the service answered.
    pub owner: Owner,
    /// Visibility of the image.
    pub visibility: Visibility,
    /// Name of the image in the service, if the service chose another one than that of the unit.
    #[serde(default)]
    pub image: Option<ImageRef>,
    /// End time of the build by the service's clock. Lockfiles of earlier versions do not have it.
    #[serde(default)]
    pub completed: Option<Timestamp>,
    /// Duration of the build in seconds, by the service's clock.
    #[serde(default)]
    pub seconds: Option<u64>,
}

impl Built {
    /// True for a mirror of Docker Hub on the platform. Every account has the same one, so that
    /// anybody may replace it with another copy of the same source.
    pub fn is_shared(&self) -> bool {
        self.owner == Owner::Platform && self.inputs.platform_path().is_some()
    }

    /// Returns the name of the image in the service. `key` is that of the unit.
    pub fn image<'a>(&'a self, key: &'a ImageRef) -> &'a ImageRef {
        self.image.as_ref().unwrap_or(key)
    }
}

/// The pin of a reference: the digest that it had when it was pinned. Plans use the pin, so that they
/// do not change when the registry moves the tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Digest of the manifest or index that the reference names.
    pub digest: OciDigest,
    /// Digest of the manifest for each platform. Empty if the platforms are not known.
    #[serde(default)]
    pub platforms: BTreeMap<Platform, OciDigest>,
}

impl Pin {
    /// Returns the digest of the image for a platform. `None` if the reference has images for other
    /// platforms only. If its platforms are not known, returns the digest of the reference itself.
    pub fn for_platform(&self, platform: Platform) -> Option<OciDigest> {
        let is_known = !self.platforms.is_empty();
        if is_known { self.platforms.get(&platform).copied() } else { Some(self.digest) }
    }

    /// Returns the digest of the image for a platform; without a platform, that of the reference.
    pub fn digest_for(&self, platform: Option<Platform>) -> Option<OciDigest> {
        platform.map_or(Some(self.digest), |platform| self.for_platform(platform))
    }
}

/// A request for a build. Until its response is recorded the request is in doubt: the API has no
/// idempotency key, so it cannot be repeated safely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Time of the request by the local clock.
    pub at: Timestamp,
    /// Fingerprint of the inputs.
    pub fingerprint: Fingerprint,
    /// The inputs of the image.
    pub inputs: Inputs,
    /// Requested owner.
    pub owner: Owner,
    /// Requested visibility. `None` leaves it to the service.
    pub visibility: Option<Visibility>,
}

impl Submission {
    /// Returns the pending build of an accepted request. Properties that the response does not have
    /// are taken from the request.
    ///
    /// A path without an owner is that of an image of the platform: the service makes one of a source
    /// of Docker Hub, whoever asks (API contract, section 2).
    pub fn into_pending(
        self,
        build: BuildId,
        path: Option<ImagePath>,
        visibility: Option<Visibility>,
        stage: BuildStage,
    ) -> Pending {
        let path = path.unwrap_or_default();
        let (owner, default) = if self.inputs.is_on_platform(&path) {
            (Owner::Platform, Visibility::Public)
        } else {
            (self.owner, self.visibility.unwrap_or(Visibility::Private))
        };
        let visibility = visibility.unwrap_or(default);
        let Self { fingerprint, inputs, .. } = self;
        Pending { fingerprint, inputs, build, path, owner, visibility, stage }
    }
}

/// A build that the service accepted, and that has not ended as far as is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Fingerprint of the inputs.
    pub fingerprint: Fingerprint,
    /// The inputs of the image.
    pub inputs: Inputs,
    /// ID of the build.
    pub build: BuildId,
    /// Path of the image in the service; empty if the service has not reported it. Opaque.
    pub path: ImagePath,
    /// Owner of the image, as the service answered.
    pub owner: Owner,
    /// Visibility of the image.
    pub visibility: Visibility,
    /// Last recorded stage.
    pub stage: BuildStage,
}

/// Progress of a build's submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildStage {
    /// Accepted; the context is not uploaded. Only the process that created the build can upload it,
    /// because the upload URL is not stored.
    Created,
    /// The context is uploaded; it is not recorded that the build was started.
    Uploaded,
    /// Started.
    Started,
}

impl BuildStage {
    /// Returns the stage as the lockfile writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Uploaded => "uploaded",
            Self::Started => "started",
        }
    }
}

/// A build that failed or was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Failed {
    /// Fingerprint of the inputs.
    pub fingerprint: Fingerprint,
    /// ID of the build.
    pub build: BuildId,
    /// Error of the service. Lockfiles of earlier versions do not have it.
    #[serde(default)]
    pub error: Option<String>,
}

impl Failed {
    /// Returns the failure of a pending build, with the beginning of the service's error.
    pub fn of(pending: Pending, error: Option<&str>) -> Self {
        let error = error.map(|error| one_line(error, MAX_ERROR_CHARS));
        let error = error.filter(|error| !error.is_empty());
        Self { fingerprint: pending.fingerprint, build: pending.build, error }
    }
}

/// Everything that decides what a unit contains, as one text or digest per input. Since inputs are
/// recorded one by one, a plan can name the one that changed.
///
/// | key | value |
/// |---|---|
/// | `format` | [`FINGERPRINT_FORMAT`] |
/// | `context` | digest of the files that are sent: path, kind, mode and content, without the Dockerfile's content |
/// | `dockerfile` | digest of the instructions that the build runs, before references to bases are replaced; without `inputs`, or if the build copies the Dockerfile, of its text |
/// | `inputs` | `reached`: `context` and `dockerfile` cover what the instructions reach; absent if they cover everything; not in the fingerprint |
/// | `dockerfile_path` | path of the Dockerfile in the context; absent if it lies outside, and with `inputs` |
/// | `platform` | the platform |
/// | `base NAME:TAG` | fingerprint of a base in the manifest |
/// | `arg NAME` | two digits of the digest of a build argument's value; not in the fingerprint |
/// | `target` | the target stage, if the manifest sets one; not in the fingerprint |
/// | `from REFERENCE` | pinned digest of an external reference; absent if it is not pinned |
/// | `from REFERENCE on PLATFORM` | the same for `FROM --platform` with another platform than the unit's; `on any` if only the builder knows the platform: then the digest is that of the index |
/// | `source` | source of a mirror, in its full form |
/// | `digest` | pinned digest of a mirror's source; absent if it is not pinned |
/// | `again` | number of forced rebuilds (`--replace`); absent if there was none |
///
/// Arguments and the target stage are part of the Dockerfile that is sent, and so of its digest. Their
/// own keys only explain what changed. For that two digits are enough, and too few to find a short
/// secret by trial.
///
/// Not part of the inputs: times, owners, the image's name, tag and visibility, the archive, the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inputs(pub TextMap);

impl Inputs {
    /// Creates inputs that have only the `format`.
    pub fn new() -> Self {
        let mut inputs = Self(TextMap::with_capacity(USUAL_INPUTS));
        inputs.set("format", FINGERPRINT_FORMAT);
        inputs
    }

    /// Returns the digest of all inputs, without those that only explain changes.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = FieldHasher::new("imgplan unit");
        for (key, value) in self.0.iter().filter(|(key, _)| is_in_fingerprint(key)) {
            hasher.field(key.as_bytes()).field(value.as_bytes());
        }
        Fingerprint(hasher.finish())
    }

    /// Sets an input.
    pub fn set(&mut self, key: impl Into<String>, value: impl ToString) {
        self.0.insert(key.into(), value.to_string());
    }

    /// Returns the digest of the files that were sent. `None` for a mirror.
    pub fn context(&self) -> Option<Digest> {
        self.get("context")?.parse().ok()
    }

    /// Returns true if the inputs cover a whole context, as those of earlier versions do.
    pub fn has_whole_context(&self) -> bool {
        self.get("context").is_some() && self.get("inputs").is_none()
    }

    /// Returns the source of a mirror.
    pub fn source(&self) -> Option<SourceRef> {
        self.get("source")?.parse().ok()
    }

    /// Returns the path of the platform's image that the service makes of a source of Docker Hub.
    /// `None` for other sources and for builds.
    pub fn platform_path(&self) -> Option<ImagePath> {
        Some(ImagePath::from(&self.source()?.platform_image()?))
    }

    /// True for the path of the platform's image that the service makes of a source of Docker Hub.
    pub fn is_on_platform(&self, path: &ImagePath) -> bool {
        self.platform_path().is_some_and(|platform| platform == *path)
    }

    /// True if both have the same fingerprint apart from the number of forced rebuilds.
    pub fn equals_ignoring_replace_count(&self, other: &Self) -> bool {
        let counts = |(key, _): &(&str, &str)| *key != "again" && is_in_fingerprint(key);
        self.0.iter().filter(counts).eq(other.0.iter().filter(counts))
    }

    /// Returns an input.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)
    }
}

/// False for an input that only explains changes.
fn is_in_fingerprint(key: &str) -> bool {
    key != "target" && key != "inputs" && !key.starts_with("arg ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the pending build of an accepted transfer.
    fn accepted(
        source: &str,
        owner: Owner,
        path: Option<&str>,
        answered: Option<Visibility>,
    ) -> Pending {
        let mut inputs = Inputs::new();
        inputs.set("source", source);
        let (at, fingerprint) = (Timestamp::UNIX_EPOCH, inputs.fingerprint());
        let submission = Submission { at, fingerprint, inputs, owner, visibility: None };
        let (build, path) = (BuildId::new("b-1").unwrap(), path.and_then(ImagePath::new));
        submission.into_pending(build, path, answered, BuildStage::Started)
    }

    /// The visibility of a list is that of all its transfers, also of personal ones.
    #[test]
    fn a_visibility_does_not_tell_the_owner() {
        let (source, public) = ("docker.io/library/redis:7", Some(Visibility::Public));
        let pending = accepted(source, Owner::Personal, None, public);
        assert_eq!((pending.owner, pending.visibility), (Owner::Personal, Visibility::Public));
    }

    #[test]
    fn the_owner_is_the_one_that_the_service_answers() {
        let team = || Owner::Team("t".to_owned());
        let private = Some(Visibility::Private);
        for (source, asked, path, answered, expected) in [
            (
                "docker.io/library/redis:7",
                Owner::Personal,
                Some("redis:7"),
                None,
                "platform public",
            ),
            ("docker.io/library/redis:7", team(), Some("redis:7"), private, "platform private"),
            (
                "docker.io/grafana/grafana:10",
                team(),
                Some("grafana/grafana:10"),
                None,
                "platform public",
            ),
            (
                "docker.io/grafana/grafana:10",
                team(),
                Some("prime/team-t/grafana:10"),
                None,
                "team:t private",
            ),
            (
                "docker.io/library/redis:7",
                Owner::Personal,
                Some("prime/me/redis:7"),
                None,
                "personal private",
            ),
            (
                "docker.io/library/redis:7",
                Owner::Personal,
                Some("me/redis:7"),
                None,
                "personal private",
            ),
            ("docker.io/library/redis:7", Owner::Personal, None, None, "personal private"),
            ("ghcr.io/org/app:1", Owner::Personal, Some("app:1"), None, "personal private"),
            ("ghcr.io/org/app:1", Owner::Platform, Some("org/app:1"), None, "platform private"),
        ] {
            let pending = accepted(source, asked, path, answered);
            let found = format!("{} {}", pending.owner, pending.visibility);
            assert_eq!(found, expected, "{source} at {:?}", pending.path);
        }
    }
}
