//! A plan and its steps. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::reason::Reason;
use crate::base::digest::Fingerprint;
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Owner, Visibility};
use crate::manifest::workspace::UnitId;
use crate::state::Inputs;

/// Ordered steps. A unit that needs no change has no step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps; each comes after the steps that it needs.
    pub steps: Vec<Step>,
    /// Kinds of the unchanged units.
    pub unchanged: Vec<ImageKind>,
    /// Number of units in the manifest.
    pub units: usize,
    /// Orphans that are kept because they are protected.
    pub protected: Vec<ImageRef>,
    /// Images that become protected.
    pub protects: Vec<ImageRef>,
    /// Images that lose their protection.
    pub unprotects: Vec<ImageRef>,
    /// Images that seem to have been renamed without a `moved:` entry.
    pub renamed: Vec<Renamed>,
    /// Number of images with another visibility than the lockfile records, where the manifest
    /// declares none: the plan changes nothing, and the lockfile records it.
    pub visibility_drift: usize,
    /// Size of the selection, if there is one.
    pub partial: Option<PartialPlan>,
    /// Units of a partition that have no step because their base is not up to date, in the order of the
    /// workspace.
    pub blocked: Vec<Blocked>,
}

/// A unit of a partition that waits for a base of another part.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Blocked {
    /// The unit.
    #[serde(rename = "image")]
    pub unit: ImageRef,
    /// The base, which has a step in the plan of all units.
    pub base: ImageRef,
}

/// A new unit with the content of an orphan.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Renamed {
    /// The orphan.
    pub from: ImageRef,
    /// The new unit.
    pub to: ImageRef,
}

/// Size of a plan that covers only selected units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct PartialPlan {
    /// Number of selected units.
    pub selected: usize,
    /// Number of steps that the selection leaves out.
    pub left: usize,
}

/// Index of a step in [`Plan::steps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub usize);

/// One action on one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Key of the unit.
    pub key: ImageRef,
    /// Kind of the unit: built or mirrored.
    pub kind: ImageKind,
    /// The action.
    pub action: Action,
    /// Reasons for the action, the most important first. Only reports read them.
    pub reasons: Vec<Reason>,
    /// Steps that must succeed first.
    pub needs: Vec<StepId>,
    /// True if the unit is not selected itself, but a selected unit needs it.
    pub added: bool,
}

/// An action on a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Build the unit from its context, or mirror it from its source.
    Create(Create),
    /// Wait for a pending build.
    Adopt {
        /// The unit.
        unit: UnitId,
        /// The build.
        build: BuildId,
        /// True if the context is uploaded and the build may not have been started.
        start: bool,
        /// Change to make once the build completes, if the manifest has changed since.
        then: Option<Change>,
    },
    /// Change the image without a build.
    Update {
        /// The unit.
        unit: UnitId,
        /// The change.
        change: Change,
    },
    /// Drop the unit from the lockfile and keep its image.
    Forget {
        /// Pending build of the unit: its ID is kept until it has ended.
        after: Option<BuildId>,
    },
    /// Delete the image.
    Delete {
        /// Owner of the image.
        owner: Owner,
        /// Pending build of the unit: it must end first, or it would push the image again.
        after: Option<BuildId>,
        /// Time of the image's last push, if listed: an image with another time is another image.
        changed: Option<Timestamp>,
    },
}

/// A unit to build or mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// The unit.
    pub unit: UnitId,
    /// Kind of the unit: built or mirrored.
    pub kind: ImageKind,
    /// Owner; `None` for the default owner of the credentials.
    pub owner: Option<Owner>,
    /// Visibility; `None` to keep it as it is.
    pub visibility: Option<Visibility>,
    /// True if an image with this `name:tag` exists and will be replaced.
    pub replaces: bool,
    /// Digest of the inputs.
    pub fingerprint: Fingerprint,
    /// Everything that decides the content.
    pub inputs: Inputs,
    /// Pending build of other inputs for the same tag: it must end first.
    pub after: Option<BuildId>,
    /// Request in doubt, to be recovered first.
    pub in_doubt: Option<RequestInDoubt>,
}

/// A request for a unit whose response was lost, and that could not be recovered by the survey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestInDoubt {
    /// Time of the request.
    pub at: Timestamp,
    /// True if the request had the inputs that the unit has now.
    pub same: bool,
}

/// A change to an image without a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Current owner.
    pub of: Owner,
    /// Current `name:tag`, if the image is renamed to that of the step.
    pub from: Option<ImageRef>,
    /// New visibility.
    pub visibility: Option<Visibility>,
    /// New owner.
    pub owner: Option<Owner>,
}

impl Change {
    /// True if the image gets another name, tag or owner.
    pub fn moves(&self) -> bool {
        self.from.is_some() || self.owner.is_some()
    }
}

impl Step {
    /// Returns the verb of the action, as plans and events write it.
    pub fn verb(&self) -> &'static str {
        match &self.action {
            Action::Create(create) => create.kind.as_str(),
            Action::Adopt { .. } => "adopt",
            Action::Update { .. } => "update",
            Action::Forget { .. } => "forget",
            Action::Delete { .. } => "delete",
        }
    }

    /// Returns the keys of the entries that the step changes: that of the unit, and that of its old name.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &ImageRef> {
        let change = match &self.action {
            Action::Update { change, .. } | Action::Adopt { then: Some(change), .. } => {
                Some(change)
            }
            _ => None,
        };
        [&self.key].into_iter().chain(change.and_then(|change| change.from.as_ref()))
    }

    /// Returns the unit; `None` for an orphan.
    pub fn unit(&self) -> Option<UnitId> {
        match &self.action {
            Action::Create(create) => Some(create.unit),
            Action::Adopt { unit, .. } | Action::Update { unit, .. } => Some(*unit),
            Action::Forget { .. } | Action::Delete { .. } => None,
        }
    }
}

/// Number of steps by action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ActionCounts {
    /// First builds and mirrors.
    pub create: usize,
    /// Builds and mirrors that replace an existing image.
    pub rebuild: usize,
    /// Pending builds to wait for.
    pub adopt: usize,
    /// Changes without a build.
    pub update: usize,
    /// Images to delete.
    pub delete: usize,
    /// Units to drop from the lockfile.
    pub forget: usize,
    /// Units without a step.
    pub unchanged: usize,
}

impl Plan {
    /// True if no image changes.
    pub fn is_noop(&self) -> bool {
        self.steps.is_empty()
    }

    /// True if an image or the protection of an image changes, or waits for a base to do so.
    pub fn has_changes(&self) -> bool {
        let is_protection_kept = self.protects.is_empty() && self.unprotects.is_empty();
        !(self.is_noop() && self.blocked.is_empty() && is_protection_kept)
    }

    /// Returns the number of steps by action, of one kind of unit or of all.
    pub fn counts(&self, kind: Option<ImageKind>) -> ActionCounts {
        let counted = |other: ImageKind| kind.is_none_or(|kind| kind == other);
        let unchanged = self.unchanged.iter().filter(|&&kind| counted(kind)).count();
        let mut counts = ActionCounts { unchanged, ..ActionCounts::default() };
        for step in self.steps.iter().filter(|step| counted(step.kind)) {
            match &step.action {
                Action::Create(create) if create.replaces => counts.rebuild += 1,
                Action::Create(_) => counts.create += 1,
                Action::Adopt { .. } => counts.adopt += 1,
                Action::Update { .. } => counts.update += 1,
                Action::Forget { .. } => counts.forget += 1,
                Action::Delete { .. } => counts.delete += 1,
            }
        }
        counts
    }

    /// Returns the length of the longest dependency chain among the steps of units.
    pub fn longest_chain(&self) -> usize {
        let mut lengths: Vec<usize> = Vec::with_capacity(self.steps.len());
        for step in self.steps.iter().take_while(|step| step.unit().is_some()) {
            let below = step.needs.iter().filter_map(|need| lengths.get(need.0)).max();
            lengths.push(below.map_or(1, |below| below + 1));
        }
        lengths.into_iter().max().unwrap_or(0)
    }
}
