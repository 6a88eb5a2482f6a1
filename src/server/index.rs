//! What is at one place, by number: kept so that no question about a place, or about an owner, has
//! to look through all builds. Pure.

use std::collections::{BTreeSet, HashMap};

use super::location::Location;
use super::model::{BuildStatus, StoredImage};
use crate::base::name::Owner;

/// The builds and the image at one place.
#[derive(Debug, Clone, Default)]
pub(super) struct LocationEntry {
    pub(super) image: Option<StoredImage>,
    /// The build that made the image, while it is remembered.
    made_by: Option<u64>,
    builds: BTreeSet<u64>,
    active: BTreeSet<u64>,
    failed: BTreeSet<u64>,
}

impl LocationEntry {
    /// Whether something is here or will be.
    pub(super) fn is_taken(&self) -> bool {
        self.image.is_some() || !self.active.is_empty()
    }

    /// The numbers of all builds, the newest first.
    pub(super) fn builds(&self) -> impl Iterator<Item = u64> + '_ {
        self.builds.iter().rev().copied()
    }

    /// The numbers of the builds to show, the newest first: what is under way, what made the
    /// image, and the last failure if nothing went well since.
    pub(super) fn shown(&self) -> Vec<u64> {
        let mut shown: Vec<u64> = self.active.iter().copied().collect();
        shown.extend(self.made_by);
        shown.extend(self.failure());
        shown.sort_unstable_by(|one, other| other.cmp(one));
        shown
    }

    fn newest_shown(&self) -> Option<u64> {
        self.active.last().copied().max(self.made_by).max(self.failure())
    }

    fn failure(&self) -> Option<u64> {
        self.failed.last().copied().filter(|failure| Some(*failure) > self.made_by)
    }

    /// Takes a build in, or its new status.
    fn put(&mut self, seq: u64, status: BuildStatus) {
        self.take(seq);
        self.builds.insert(seq);
        if status.is_active() {
            self.active.insert(seq);
        } else if status == BuildStatus::Failed {
            self.failed.insert(seq);
        }
    }

    fn take(&mut self, seq: u64) {
        for set in [&mut self.builds, &mut self.active, &mut self.failed] {
            set.remove(&seq);
        }
    }
}

/// All places where something is, was or will be, and what each owner has.
#[derive(Debug, Clone, Default)]
pub(super) struct LocationIndex {
    entries: HashMap<Location, LocationEntry>,
    owners: HashMap<Owner, Holdings>,
}

/// What one owner has.
#[derive(Debug, Clone, Default)]
struct Holdings {
    /// How many places are taken.
    taken: usize,
    /// The newest build to show of each place that has one.
    listed: BTreeSet<u64>,
}

impl LocationIndex {
    pub(super) fn at(&self, location: &Location) -> Option<&LocationEntry> {
        self.entries.get(location)
    }

    pub(super) fn images(&self) -> impl Iterator<Item = &StoredImage> {
        self.entries.values().filter_map(|entry| entry.image.as_ref())
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.entries.keys().map(|location| &location.owner)
    }

    /// How many places an owner has taken.
    pub(super) fn taken(&self, owner: &Owner) -> usize {
        self.owners.get(owner).map_or(0, |holdings| holdings.taken)
    }

    /// The newest build to show of each of an owner's places, the newest first.
    pub(super) fn listed(&self, owner: &Owner) -> impl Iterator<Item = u64> + '_ {
        self.owners.get(owner).into_iter().flat_map(|h| h.listed.iter().rev().copied())
    }

    /// Takes a build in, or its new status.
    pub(super) fn put_build(&mut self, location: &Location, seq: u64, status: BuildStatus) {
        self.change(location, |entry| entry.put(seq, status));
    }

    /// Forgets that a build is at a place.
    pub(super) fn take_build(&mut self, location: &Location, seq: u64) {
        self.change(location, |entry| {
            entry.take(seq);
            entry.made_by = entry.made_by.filter(|made_by| *made_by != seq);
        });
    }

    /// Takes an image in, and which build made it.
    pub(super) fn put_image(&mut self, image: StoredImage, made_by: Option<u64>) {
        let location = image.location.clone();
        self.change(&location, |entry| {
            entry.made_by = made_by.filter(|seq| entry.builds.contains(seq));
            entry.image = Some(image);
        });
    }

    /// Forgets an image.
    pub(super) fn take_image(&mut self, location: &Location) {
        self.change(location, |entry| (entry.image, entry.made_by) = (None, None));
    }

    /// Changes what is at a place, and what is known of its owner with it.
    fn change(&mut self, location: &Location, change: impl FnOnce(&mut LocationEntry)) {
        let entry = self.entries.entry(location.clone()).or_default();
        let before = (entry.is_taken(), entry.newest_shown());
        change(entry);
        let after = (entry.is_taken(), entry.newest_shown());
        if entry.builds.is_empty() && entry.image.is_none() {
            self.entries.remove(location);
        }
        if before == after {
            return;
        }
        let holdings = self.owners.entry(location.owner.clone()).or_default();
        holdings.taken = holdings.taken + usize::from(after.0) - usize::from(before.0);
        if let Some(seq) = before.1 {
            holdings.listed.remove(&seq);
        }
        holdings.listed.extend(after.1);
    }
}
