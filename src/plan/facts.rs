//! Facts that a plan is made from, gathered by the survey. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::base::digest::Digest;
use crate::base::image_path::ImagePath;
use crate::base::name::{BuildId, ImageRef, Owner, Visibility};
use crate::base::reference::pin_key;
use crate::base::span::Problem;
use crate::context::{FileChange, Tree};
use crate::manifest::workspace::{Unit, UnitId};
use crate::state::{BuildStage, Built, Entry, Pending, Pin, State};

/// Results of a survey: of the contexts, the service and the registries. Complete once it is made;
/// nothing changes it afterwards.
#[derive(Debug, Default)]
pub struct Facts {
    /// Context of each unit; `None` for mirrors.
    pub contexts: Vec<Option<Context>>,
    /// Files of a unit's context that changed since its last build. Missing for a unit whose
    /// context did not change, or whose earlier files are not known.
    pub changes: HashMap<UnitId, Arc<[FileChange]>>,
    /// State of pending builds in the service. A build that was not queried is missing.
    pub builds: HashMap<BuildId, PendingBuild>,
    /// Errors of the pending builds that failed, as the service reports them.
    pub build_errors: HashMap<BuildId, String>,
    /// Requests in doubt: the build that the service has for one, or `None` if it has none. A
    /// request that could not be looked up is missing.
    pub recovered: HashMap<ImageRef, Option<RecoveredBuild>>,
    /// Images of each owner whose images were listed.
    pub images: HashMap<Owner, HashMap<ImageRef, Remote>>,
    /// Owners whose listing is incomplete: its entries count, but absent entries are not taken as
    /// deleted.
    pub incomplete: HashSet<Owner>,
    /// Owners whose images the API key may not list. Their recorded images are taken as unchanged.
    pub refused: HashSet<Owner>,
    /// True if a request was sent to the service.
    pub asked: bool,
    /// Flag or reason for which the service is not asked to list images.
    pub unasked: Option<&'static str>,
    /// Images that were refreshed, if not all were. Nothing is known about other images.
    pub refreshed: Option<HashSet<ImageRef>>,
    /// Owner of a new image for which the manifest names none; `None` if the service was not
    /// queried.
    pub default_owner: Option<Owner>,
    /// Digests that registries gave, by the full form of the reference. They win over the pins of
    /// the lockfile.
    pub pins: BTreeMap<String, Pin>,
    /// Registry lookups of an upgrade that were answered from the cache.
    pub cached_lookups: Option<CachedLookups>,
    /// Current time; without it, no image is too old.
    pub now: Option<Timestamp>,
    /// Warnings about contexts and pins.
    pub warnings: Vec<Problem>,
    /// Notes about what could not be queried.
    pub notes: Vec<String>,
}

/// Registry lookups that were answered from the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CachedLookups {
    /// Number of lookups.
    pub count: usize,
    /// Age of the oldest.
    pub oldest: Duration,
}

/// Files that a unit is built from.
#[derive(Debug, Clone)]
pub struct Context {
    /// The files; units with the same context share them.
    pub tree: Arc<Tree>,
    /// Digest of the files, except the content of the unit's own Dockerfile: that is an input of
    /// its own, and one change must not be reported twice.
    pub digest: Digest,
    /// Digest of the instructions that the build runs; `None` if the whole context and the whole
    /// Dockerfile count.
    pub instructions: Option<Digest>,
    /// Digest of all files of the context, if the lockfile recorded that of all files.
    pub whole: Option<Digest>,
}

impl Context {
    /// Returns the context as earlier versions recorded it, with all of its files; `None` if their
    /// digest is not known.
    pub(super) fn as_whole(&self) -> Option<Self> {
        Some(Self { digest: self.whole?, instructions: None, ..self.clone() })
    }
}

/// State of a pending build in the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingBuild {
    /// The build may still complete, or has.
    Running {
        /// Time since the build was started, or since it was created if that is all that is known.
        age: Option<Duration>,
    },
    /// The context is uploaded, and the build waits for its start.
    NotStarted,
    /// Nothing will come of the build: it failed, was cancelled, does not exist, or waits for a
    /// context that nobody will upload.
    Ended,
}

/// An image as the service lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// State of the image.
    pub state: RemoteState,
    /// Visibility, if listed.
    pub visibility: Option<Visibility>,
    /// Time of the last push, if listed.
    pub changed: Option<Timestamp>,
    /// Time at which the image's build completed or failed, if listed.
    pub ended: Option<Timestamp>,
    /// Full path of the image, if listed.
    pub path: Option<ImagePath>,
}

/// State of an image in the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteState {
    /// The image can be pulled.
    Complete,
    /// A build is running and there is no image yet.
    Pending,
    /// The build failed and there is no image.
    Failed,
}

/// Difference between a recorded image and the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drift {
    /// The image is missing from the service.
    Gone,
    /// The image was replaced outside of imgplan.
    Replaced,
}

/// Ends of two builds that are closer than this belong to the same build.
const BUILD_END_TOLERANCE: SignedDuration = SignedDuration::from_mins(1);

/// Tolerance if the service lists only the time of the push, which may follow long after the build.
const PUSH_TOLERANCE: SignedDuration = SignedDuration::from_mins(15);

/// A build of a request in doubt, found by its name and tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredBuild {
    /// The build.
    pub build: BuildId,
    /// Full path of the image, if listed.
    pub path: Option<ImagePath>,
}

impl Facts {
    /// Adds a note, unless the facts have the same one already.
    pub fn add_note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// True if the service told the state of an image or a build.
    pub fn has_answers(&self) -> bool {
        !(self.images.is_empty() && self.builds.is_empty() && self.recovered.is_empty())
    }

    /// Returns an image as the service lists it. The outer `None` means that nothing is known: it
    /// was not refreshed, or its owner's listing is incomplete.
    #[allow(clippy::option_option, reason = "unknown, missing and present are three cases")]
    pub fn remote(&self, owner: &Owner, key: &ImageRef) -> Option<Option<&Remote>> {
        self.listed(owner, key, key)
    }

    /// Returns the image of a recorded build, as [`Facts::remote`] does: under the name that it has
    /// in the service.
    #[allow(clippy::option_option, reason = "unknown, missing and present are three cases")]
    pub fn recorded(&self, key: &ImageRef, built: &Built) -> Option<Option<&Remote>> {
        self.listed(&built.owner, key, built.image(key))
    }

    #[allow(clippy::option_option, reason = "unknown, missing and present are three cases")]
    fn listed(&self, owner: &Owner, key: &ImageRef, image: &ImageRef) -> Option<Option<&Remote>> {
        let refreshed = self.refreshed.as_ref().is_none_or(|keys| keys.contains(key));
        let image = self.images.get(owner).filter(|_| refreshed)?.get(image);
        (image.is_some() || !self.incomplete.contains(owner)).then_some(image)
    }

    /// Returns the drift of a recorded image, if any is known. A shared image that somebody else
    /// replaced is a copy of the same source, and no drift.
    pub fn drift(&self, key: &ImageRef, built: &Built) -> Option<Drift> {
        self.difference(key, built).filter(|drift| *drift == Drift::Gone || !built.is_shared())
    }

    /// Returns the difference of a recorded image, shared or not, from what imgplan made.
    pub(super) fn difference(&self, key: &ImageRef, built: &Built) -> Option<Drift> {
        let Some(remote) = self.recorded(key, built)? else { return Some(Drift::Gone) };
        let (at, tolerance, drift) = match remote.state {
            // A running build may be about to replace our image, which still exists.
            RemoteState::Pending => return None,
            // A failure from before our build may stay listed (API contract, section 2).
            RemoteState::Failed => (remote.ended, SignedDuration::ZERO, Drift::Gone),
            // Every build has its own end; a later push may be that of our own build.
            RemoteState::Complete if remote.ended.is_some() => {
                (remote.ended, BUILD_END_TOLERANCE, Drift::Replaced)
            }
            RemoteState::Complete => (remote.changed, PUSH_TOLERANCE, Drift::Replaced),
        };
        (at?.duration_since(built.completed?) > tolerance).then_some(drift)
    }

    /// True if a rename or a change of owner has taken effect already: an image of the time of our
    /// build exists under the new name. An image of another time, or of none, may be somebody
    /// else's.
    pub fn arrived(&self, owner: &Owner, key: &ImageRef, built: &Built) -> bool {
        let remote = self.remote(owner, key).flatten();
        let remote = remote.filter(|remote| remote.state == RemoteState::Complete);
        let at = remote.and_then(|remote| match remote.ended {
            Some(ended) => Some((ended, BUILD_END_TOLERANCE)),
            None => Some((remote.changed?, PUSH_TOLERANCE)),
        });
        let (Some((at, tolerance)), Some(completed)) = (at, built.completed) else { return false };
        at.duration_since(completed).abs() <= tolerance
    }

    /// Returns the owner whose listing may hold an unrecorded image for this unit, which is new,
    /// renamed or moved. `None` if the image is recorded, its owner is not known, or a build is
    /// running.
    pub fn owner_of_unrecorded<'a>(
        &'a self,
        unit: &'a Unit,
        entry: Option<&Entry>,
    ) -> Option<&'a Owner> {
        let owner = unit.owner.as_ref();
        let Some(entry) = entry else { return owner.or(self.default_owner.as_ref()) };
        if entry.pending.is_some() || entry.submitted.is_some() {
            return None;
        }
        match &entry.built {
            None => owner.or(self.default_owner.as_ref()),
            Some(built) => owner.filter(|owner| **owner != built.owner),
        }
    }

    /// Returns the visibility of an image: as listed, or else as recorded.
    pub fn visibility(&self, key: &ImageRef, built: &Built) -> Visibility {
        let remote = self.recorded(key, built).flatten();
        remote.and_then(|remote| remote.visibility).unwrap_or(built.visibility)
    }

    /// Returns the pin of an external reference.
    pub fn pin_in<'a>(&'a self, state: &'a State, reference: &str) -> Option<&'a Pin> {
        if self.pins.is_empty() && state.pins.is_empty() {
            return None;
        }
        let key = pin_key(reference)?;
        self.pins.get(&key).or_else(|| state.pins.get(&key))
    }

    /// Returns the context of a unit; `None` for mirrors.
    pub fn context(&self, unit: UnitId) -> Option<&Context> {
        self.contexts.get(unit.0)?.as_ref()
    }

    /// Returns the entry's pending build if it can still complete. It may have to be started first.
    pub(super) fn adoptable<'s>(&self, entry: &'s Entry) -> Option<&'s Pending> {
        entry.pending.as_ref().filter(|pending| match self.builds.get(&pending.build) {
            Some(state) => *state != PendingBuild::Ended,
            None => pending.stage > BuildStage::Created,
        })
    }

    /// Returns the entry's pending build if it may still write its tag. A build that ended, or was
    /// never started, writes none.
    pub(super) fn running<'s>(&self, entry: &'s Entry) -> Option<&'s Pending> {
        let not_started =
            |pending: &&Pending| self.builds.get(&pending.build) == Some(&PendingBuild::NotStarted);
        self.adoptable(entry).filter(|pending| !not_started(pending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Inputs;

    #[test]
    fn drift_is_detected_by_the_end_of_a_build() {
        use RemoteState::{Complete, Failed, Pending};
        let completed: Timestamp = "2026-08-01T10:00:00Z".parse().unwrap();
        let unit: ImageRef = "a:1".parse().unwrap();
        let built = Built {
            fingerprint: Inputs::default().fingerprint(),
            inputs: Inputs::default(),
            build: BuildId::new("b-1").unwrap(),
            path: ImagePath::default(),
            owner: Owner::Personal,
            visibility: Visibility::Private,
            image: None,
            completed: Some(completed),
            seconds: None,
        };
        let at = |seconds: Option<i64>| {
            seconds.map(|seconds| completed + SignedDuration::from_secs(seconds))
        };
        let (gone, replaced) = (Some(Drift::Gone), Some(Drift::Replaced));
        for (state, ended, changed, expected) in [
            (Complete, None, None, None),
            // With the end of the build known, the time of the push does not count.
            (Complete, Some(0), Some(36_000), None),
            (Complete, Some(60), Some(60), None),
            (Complete, Some(61), Some(61), replaced),
            (Complete, Some(-36_000), Some(36_000), None),
            (Complete, None, Some(900), None),
            (Complete, None, Some(901), replaced),
            (Pending, Some(36_000), None, None),
            // A failure from before our build.
            (Failed, Some(-36_000), None, None),
            (Failed, None, None, None),
            (Failed, Some(1), None, gone),
        ] {
            let (ended, changed) = (at(ended), at(changed));
            let remote = Remote { state, visibility: None, changed, ended, path: None };
            let images = [(unit.clone(), remote)].into();
            let facts = Facts { images: [(Owner::Personal, images)].into(), ..Facts::default() };
            assert_eq!(facts.drift(&unit, &built), expected, "{state:?} {ended:?} {changed:?}");
            // Without the end of our build, nothing can be compared.
            let endless = Built { completed: None, ..built.clone() };
            assert_eq!(facts.drift(&unit, &endless), None);
        }
        let images = HashMap::from([(Owner::Personal, HashMap::new())]);
        let facts = Facts { images, ..Facts::default() };
        assert_eq!(facts.drift(&unit, &built), gone);
        let facts = Facts { incomplete: [Owner::Personal].into(), ..facts };
        assert_eq!(facts.drift(&unit, &built), None);
    }
}
