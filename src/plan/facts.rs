//! What was found out about the world before planning. Plain values.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::base::digest::Digest;
use crate::base::name::{BuildId, ImageRef, Owner, Visibility};
use crate::base::reference::pin_key;
use crate::base::span::Problem;
use crate::context::{FileChange, Tree};
use crate::manifest::workspace::{Unit, UnitId};
use crate::state::{Built, Entry, Pin, State};

/// What the survey found, by unit and by build.
#[derive(Debug, Default)]
pub struct Facts {
    /// The context of each unit; `None` for mirrors.
    pub contexts: Vec<Option<Context>>,
    /// The files in which a unit's context differs from what its last build was sent. A unit of
    /// which that is not known any more is missing, as is one that has nothing new.
    pub changes: HashMap<UnitId, Arc<[FileChange]>>,
    /// How the service says pending builds are. A build that it was not asked about is missing.
    pub builds: HashMap<BuildId, PendingBuild>,
    /// What was asked for and never answered: the build that the service has of it, or `None` where
    /// it has none. A unit that the service could not be asked about is missing.
    pub submissions: HashMap<ImageRef, Option<RecoveredBuild>>,
    /// The images of each owner that the service was asked about.
    pub images: HashMap<Owner, HashMap<ImageRef, Remote>>,
    /// Those of them that it did not show all images of: of one that is missing nothing is known.
    pub partly: HashSet<Owner>,
    /// Whose a new image is where the manifest does not say: by that its place is known.
    pub owner: Option<Owner>,
    /// The units on record that it was asked about, where not about all: of others nothing is known.
    pub only: Option<HashSet<ImageRef>>,
    /// What public references stand for now, where registries were asked; these win over the pins of
    /// the lockfile.
    pub pins: BTreeMap<String, Pin>,
    /// How many of these were remembered and not asked for, and how old the oldest is.
    pub remembered: Option<(usize, Duration)>,
    /// What time it is; without it nothing is too old.
    pub now: Option<Timestamp>,
    /// What of the contexts is worth a look but stops nothing, for people.
    pub warnings: Vec<Problem>,
    /// What could not be asked, for people.
    pub notes: Vec<String>,
}

/// What a unit is built from.
#[derive(Debug, Clone)]
pub struct Context {
    /// The files; units that are sent the same share them.
    pub tree: Arc<Tree>,
    /// The digest of the files, but for the content of the unit's own Dockerfile, which is an input
    /// of its own: a change of it should not look like two.
    pub digest: Digest,
}

/// What the service says of a pending build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingBuild {
    /// It may still succeed, or has.
    Running {
        /// Since it was started, or created where that is all that is known.
        age: Option<Duration>,
    },
    /// Its context is there, and it waits to be started: until then nothing comes of it.
    NotStarted,
    /// Nothing will come of it: it failed, was cancelled, does not exist, or waits for a context
    /// that nobody will send.
    Ended,
}

/// An image as the service lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Whether it can be pulled.
    pub state: RemoteState,
    /// Who may pull it.
    pub visibility: Option<Visibility>,
    /// When what is there now came to be there.
    pub changed: Option<Timestamp>,
    /// When the build ended that it is of, or that failed, where the service says.
    pub ended: Option<Timestamp>,
    /// Where it is.
    pub path: Option<String>,
}

/// What the service says of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteState {
    /// It is there.
    Complete,
    /// It is being made, and nothing of it is there yet.
    UnderWay,
    /// Nothing of it is there, for its build failed.
    Failed,
}

/// What became of an image that was built, as the service shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drift {
    /// It is not there any more.
    Gone,
    /// Somebody else put another one in its place.
    Replaced,
}

/// How much later than our own build another one must have ended.
const SLACK: SignedDuration = SignedDuration::from_mins(1);

/// The same where the service says only when the image was pushed: that may take long after a build
/// ended.
const PUSH_SLACK: SignedDuration = SignedDuration::from_mins(15);

/// A build that was found by its name and tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredBuild {
    /// The build.
    pub build: BuildId,
    /// Where the image is or will be, where the service says so.
    pub path: Option<String>,
}

impl Facts {
    /// The image of a unit as the service lists it; the outer `None` where it was not asked, or did
    /// not show all.
    pub fn remote(&self, owner: &Owner, unit: &ImageRef) -> Option<Option<&Remote>> {
        let asked = self.only.as_ref().is_none_or(|only| only.contains(unit));
        let image = self.images.get(owner).filter(|_| asked)?.get(unit);
        (image.is_some() || !self.partly.contains(owner)).then_some(image)
    }

    /// What became of an image since it was built, where that is known and not as it should be.
    pub fn drift(&self, unit: &ImageRef, built: &Built) -> Option<Drift> {
        let Some(remote) = self.remote(&built.owner, unit)? else { return Some(Drift::Gone) };
        let (at, slack, drift) = match remote.state {
            // What is being made may be a new one over it, of which the old is still there.
            RemoteState::UnderWay => return None,
            // A failure from before our build may stay in the listing (`api.md` §2).
            RemoteState::Failed => (remote.ended, SignedDuration::ZERO, Drift::Gone),
            // Every build has an end of its own; a push of ours is no other image.
            RemoteState::Complete if remote.ended.is_some() => {
                (remote.ended, SLACK, Drift::Replaced)
            }
            RemoteState::Complete => (remote.changed, PUSH_SLACK, Drift::Replaced),
        };
        (at?.duration_since(built.completed?) > slack).then_some(drift)
    }

    /// Whether an image that was to be called or owned otherwise is so already: it is there, of the
    /// time of our own build. One of another time, or of none, may be somebody else's.
    pub fn arrived(&self, owner: &Owner, unit: &ImageRef, built: &Built) -> bool {
        let there = self.remote(owner, unit).flatten();
        let there = there.filter(|remote| remote.state == RemoteState::Complete);
        let at = there.and_then(|remote| match remote.ended {
            Some(ended) => Some((ended, SLACK)),
            None => Some((remote.changed?, PUSH_SLACK)),
        });
        let (Some((at, slack)), Some(completed)) = (at, built.completed) else { return false };
        at.duration_since(completed).abs() <= slack
    }

    /// Where the image of a unit is to be looked for, though the lockfile has none there: that of a
    /// unit that is new, or is to have another name or owner. `None` where the place is on record or
    /// not known, or where something is under way to it.
    pub fn unrecorded<'a>(&'a self, unit: &'a Unit, entry: Option<&Entry>) -> Option<&'a Owner> {
        let owner = unit.owner.as_ref();
        let Some(entry) = entry else { return owner.or(self.owner.as_ref()) };
        if entry.pending.is_some() || entry.submitted.is_some() {
            return None;
        }
        match &entry.built {
            None => owner.or(self.owner.as_ref()),
            Some(built) => owner.filter(|owner| **owner != built.owner),
        }
    }

    /// Who may pull an image now: as the service says, else as is on record.
    pub fn visibility(&self, unit: &ImageRef, built: &Built) -> Visibility {
        let remote = self.remote(&built.owner, unit).flatten();
        remote.and_then(|remote| remote.visibility).unwrap_or(built.visibility)
    }

    /// What a public reference is pinned to.
    pub fn pin_in<'a>(&'a self, state: &'a State, reference: &str) -> Option<&'a Pin> {
        if self.pins.is_empty() && state.pins.is_empty() {
            return None;
        }
        let key = pin_key(reference)?;
        self.pins.get(&key).or_else(|| state.pins.get(&key))
    }

    /// The context of a unit.
    pub fn context(&self, unit: UnitId) -> Option<&Context> {
        self.contexts.get(unit.0)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Inputs;

    #[test]
    fn drift_is_told_by_the_end_of_a_build() {
        use RemoteState::{Complete, Failed, UnderWay};
        let completed: Timestamp = "2026-08-01T10:00:00Z".parse().unwrap();
        let unit: ImageRef = "a:1".parse().unwrap();
        let built = Built {
            fingerprint: Inputs::default().fingerprint(),
            inputs: Inputs::default(),
            build: BuildId::new("b-1").unwrap(),
            path: String::new(),
            owner: Owner::Personal,
            visibility: Visibility::Private,
            completed: Some(completed),
        };
        let at = |seconds: Option<i64>| {
            seconds.map(|seconds| completed + SignedDuration::from_secs(seconds))
        };
        let (gone, replaced) = (Some(Drift::Gone), Some(Drift::Replaced));
        for (state, ended, changed, expected) in [
            (Complete, None, None, None),
            // It says when its build ended: a push takes as long as it takes.
            (Complete, Some(0), Some(36_000), None),
            (Complete, Some(60), Some(60), None),
            (Complete, Some(61), Some(61), replaced),
            (Complete, Some(-36_000), Some(36_000), None),
            (Complete, None, Some(900), None),
            (Complete, None, Some(901), replaced),
            (UnderWay, Some(36_000), None, None),
            // A failure of hours ago is not that of our image.
            (Failed, Some(-36_000), None, None),
            (Failed, None, None, None),
            (Failed, Some(1), None, gone),
        ] {
            let (ended, changed) = (at(ended), at(changed));
            let remote = Remote { state, visibility: None, changed, ended, path: None };
            let images = [(unit.clone(), remote)].into();
            let facts = Facts { images: [(Owner::Personal, images)].into(), ..Facts::default() };
            assert_eq!(facts.drift(&unit, &built), expected, "{state:?} {ended:?} {changed:?}");
            // Without an end of ours there is nothing to go by.
            let endless = Built { completed: None, ..built.clone() };
            assert_eq!(facts.drift(&unit, &endless), None);
        }
        let images = HashMap::from([(Owner::Personal, HashMap::new())]);
        let facts = Facts { images, ..Facts::default() };
        assert_eq!(facts.drift(&unit, &built), gone);
        let facts = Facts { partly: [Owner::Personal].into(), ..facts };
        assert_eq!(facts.drift(&unit, &built), None);
    }
}
