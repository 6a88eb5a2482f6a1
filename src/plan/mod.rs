//! What would be done, and why: [`build()`] compares what should exist (the [`Workspace`] and the
//! [`Facts`]) with what is known to exist (the [`State`]). Pure: no async, no file, no clock.
//!
//! [`Workspace`]: crate::manifest::Workspace
//! [`State`]: crate::state::State

mod bookkeeping;
mod build;
mod decide;
mod differences;
pub mod facts;
mod identify;
mod inputs;
pub mod options;
mod orphans;
pub mod pins;
mod previous;
pub mod reason;
mod refresh;
pub mod saved;
mod select;
#[cfg(test)]
mod tests;
pub mod unpinned;

pub use bookkeeping::{reconciled, refresh_records};
pub use build::build;
pub use decide::{Decision, changing, decide};
pub use facts::Facts;
pub use identify::identities;
pub use options::{Pattern, PlanOptions, Selection};
pub use previous::PreviousLookup;
pub use reason::Reason;
pub use saved::SavedPlan;

pub use crate::context::FileChange;

use jiff::Timestamp;

use crate::base::digest::Fingerprint;
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Owner, Visibility};
use crate::manifest::workspace::UnitId;
use crate::state::Inputs;

/// Ordered steps; what stays as it is has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps; those that others need come first.
    pub steps: Vec<Step>,
    /// The kinds of the units that stay as they are.
    pub unchanged: Vec<ImageKind>,
    /// How many units the manifest has.
    pub units: usize,
    /// Images that the manifest no longer has, and that are kept because they are protected.
    pub protected: Vec<ImageRef>,
    /// Images that are protected from now on and were not.
    pub protects: Vec<ImageRef>,
    /// Images that were protected and are not from now on.
    pub unprotects: Vec<ImageRef>,
    /// Images that seem to have been renamed.
    pub renamed: Vec<Renamed>,
    /// How many images the service shows otherwise than the lockfile, where that changes nothing.
    pub drift: usize,
    /// What of the whole it is, where it is a part.
    pub partial: Option<PartialPlan>,
}

/// A new unit with the content of one that is gone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Renamed {
    /// What is gone.
    pub from: ImageRef,
    /// What is new.
    pub to: ImageRef,
}

/// A plan of some units only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct PartialPlan {
    /// How many units were asked for.
    pub selected: usize,
    /// How many steps were left out.
    pub left: usize,
}

/// The place of a step in [`Plan::steps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub usize);

/// One thing to do to one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The unit's key.
    pub key: ImageRef,
    /// Built or mirrored.
    pub kind: ImageKind,
    /// What to do.
    pub action: Action,
    /// Why; the first is the headline. For telling, never for deciding.
    pub reasons: Vec<Reason>,
    /// The steps that must have succeeded first.
    pub needs: Vec<StepId>,
    /// Whether it was not asked for, but what was asked for needs it.
    pub added: bool,
}

/// What to do to a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Build it from its context, or mirror it from its source.
    Create(Create),
    /// Wait for a build that is under way already.
    Adopt {
        /// The unit.
        unit: UnitId,
        /// The build.
        build: BuildId,
        /// Its context is there, and whether it was told to start is not known.
        start: bool,
        /// What to change once it is complete, where the manifest changed since.
        then: Option<Change>,
    },
    /// Change it without a build.
    Update {
        /// The unit.
        unit: UnitId,
        /// What to change.
        change: Change,
    },
    /// Stop looking after it; the image stays.
    Forget {
        /// A build of it that is under way: its ID is kept until it has ended.
        after: Option<BuildId>,
    },
    /// Delete it.
    Delete {
        /// Whose it is.
        owner: Owner,
        /// A build of it that is under way: it has to end first, or it would come back.
        after: Option<BuildId>,
        /// When what is there came to be there, where the service says so: another time is of another
        /// image.
        changed: Option<Timestamp>,
    },
}

/// A unit to build or mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// The unit.
    pub unit: UnitId,
    /// Built or mirrored.
    pub kind: ImageKind,
    /// Who is to own it; `None` leaves it to the credentials.
    pub owner: Option<Owner>,
    /// Who may pull it; `None` keeps what it has.
    pub visibility: Option<Visibility>,
    /// Whether an image of that `name:tag` exists and will be replaced.
    pub replaces: bool,
    /// Of everything that decides its content.
    pub fingerprint: Fingerprint,
    /// What the fingerprint is made of.
    pub inputs: Inputs,
    /// A build of something else that is under way for the same tag: it has to end first.
    pub after: Option<BuildId>,
    /// There may be a build of it that nobody knows: it has to be looked for first.
    pub in_doubt: Option<RequestInDoubt>,
}

/// A request for a unit that was never answered, and that the service could not be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestInDoubt {
    /// When it was made.
    pub at: Timestamp,
    /// Whether it was for what the unit is to contain now.
    pub same: bool,
}

/// A change to an image that needs no build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose the image is now.
    pub of: Owner,
    /// What it is called now, where it gets another name or tag: that of the step.
    pub from: Option<ImageRef>,
    /// Its new visibility.
    pub visibility: Option<Visibility>,
    /// Its new owner.
    pub owner: Option<Owner>,
}

impl Change {
    /// Whether the image is elsewhere after it.
    pub fn moves(&self) -> bool {
        self.from.is_some() || self.owner.is_some()
    }
}

impl Step {
    /// The word for the action, as the plan and the events write it.
    pub fn verb(&self) -> &'static str {
        match &self.action {
            Action::Create(make) => make.kind.as_str(),
            Action::Adopt { .. } => "adopt",
            Action::Update { .. } => "update",
            Action::Forget { .. } => "forget",
            Action::Delete { .. } => "delete",
        }
    }

    /// The unit, where the manifest still has it.
    pub fn unit(&self) -> Option<UnitId> {
        match &self.action {
            Action::Create(make) => Some(make.unit),
            Action::Adopt { unit, .. } | Action::Update { unit, .. } => Some(*unit),
            Action::Forget { .. } | Action::Delete { .. } => None,
        }
    }
}

/// How many steps of each kind a plan has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ActionCounts {
    /// First builds and first mirrors.
    pub create: usize,
    /// Builds and mirrors over an existing tag.
    pub rebuild: usize,
    /// Builds under way that are waited for.
    pub adopt: usize,
    /// Changes without a build.
    pub update: usize,
    /// Images deleted.
    pub delete: usize,
    /// Units no longer looked after.
    pub forget: usize,
    /// Units that stay as they are.
    pub unchanged: usize,
}

impl Plan {
    /// Whether there is nothing to do to any image.
    pub fn is_noop(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether it changes anything: an image, or whether one is protected.
    pub fn has_changes(&self) -> bool {
        !(self.is_noop() && self.protects.is_empty() && self.unprotects.is_empty())
    }

    /// How many steps of each kind there are; of one kind of content only, if one is given.
    pub fn counts(&self, kind: Option<ImageKind>) -> ActionCounts {
        let wanted = |of: ImageKind| kind.is_none_or(|kind| kind == of);
        let unchanged = self.unchanged.iter().filter(|&&of| wanted(of)).count();
        let mut counts = ActionCounts { unchanged, ..ActionCounts::default() };
        for step in self.steps.iter().filter(|step| wanted(step.kind)) {
            match &step.action {
                Action::Create(make) if make.replaces => counts.rebuild += 1,
                Action::Create(_) => counts.create += 1,
                Action::Adopt { .. } => counts.adopt += 1,
                Action::Update { .. } => counts.update += 1,
                Action::Forget { .. } => counts.forget += 1,
                Action::Delete { .. } => counts.delete += 1,
            }
        }
        counts
    }

    /// The steps of units in the longest chain of needs.
    pub fn longest_chain(&self) -> usize {
        let mut lengths: Vec<usize> = Vec::with_capacity(self.steps.len());
        for step in self.steps.iter().take_while(|step| step.unit().is_some()) {
            let below = step.needs.iter().filter_map(|need| lengths.get(need.0)).max();
            lengths.push(below.map_or(1, |below| below + 1));
        }
        lengths.into_iter().max().unwrap_or(0)
    }
}
