//! An index of builds and images by location and by owner, so that no request has to scan all builds.
//! Builds are named by their `seq`. Pure.

use std::collections::{BTreeSet, HashMap};

use super::location::Location;
use super::model::{BuildStatus, StoredImage};
use crate::base::name::Owner;

/// The builds and the image at one location.
#[derive(Debug, Clone, Default)]
pub(super) struct LocationEntry {
    pub(super) image: Option<StoredImage>,
    /// Build that made the image, unless it was forgotten.
    made_by: Option<u64>,
    builds: BTreeSet<u64>,
    active: BTreeSet<u64>,
    failed: BTreeSet<u64>,
}

impl LocationEntry {
    /// True if there is an image or an active build.
    pub(super) fn is_taken(&self) -> bool {
        self.image.is_some() || !self.active.is_empty()
    }

    /// Returns all builds, the newest first.
    pub(super) fn builds(&self) -> impl Iterator<Item = u64> + '_ {
        self.builds.iter().rev().copied()
    }

    /// Returns the builds to list, the newest first: active ones, the one that made the image, and the
    /// last failed one if it is newer than the image.
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

    /// Adds a build, or changes its status.
    fn put(&mut self, seq: u64, status: BuildStatus) {
        self.remove(seq);
        self.builds.insert(seq);
        if status.is_active() {
            self.active.insert(seq);
        } else if status == BuildStatus::Failed {
            self.failed.insert(seq);
        }
    }

    fn remove(&mut self, seq: u64) {
        for set in [&mut self.builds, &mut self.active, &mut self.failed] {
            set.remove(&seq);
        }
    }
}

/// The builds and images of all locations, and the counts of each owner.
#[derive(Debug, Clone, Default)]
pub(super) struct LocationIndex {
    entries: HashMap<Location, LocationEntry>,
    owners: HashMap<Owner, OwnerIndex>,
}

/// The locations of one owner.
#[derive(Debug, Clone, Default)]
struct OwnerIndex {
    /// Number of taken locations.
    taken: usize,
    /// The newest build to list of each location.
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

    /// Returns the number of locations that an owner has taken.
    pub(super) fn taken(&self, owner: &Owner) -> usize {
        self.owners.get(owner).map_or(0, |counts| counts.taken)
    }

    /// Returns the newest build to list of each location of an owner, the newest first.
    pub(super) fn listed(&self, owner: &Owner) -> impl Iterator<Item = u64> + '_ {
        self.owners.get(owner).into_iter().flat_map(|h| h.listed.iter().rev().copied())
    }

    /// Adds a build, or changes its status.
    pub(super) fn put_build(&mut self, location: &Location, seq: u64, status: BuildStatus) {
        self.change(location, |entry| entry.put(seq, status));
    }

    /// Removes a build from a location.
    pub(super) fn remove_build(&mut self, location: &Location, seq: u64) {
        self.change(location, |entry| {
            entry.remove(seq);
            entry.made_by = entry.made_by.filter(|made_by| *made_by != seq);
        });
    }

    /// Adds or replaces an image that the build `made_by` has made.
    pub(super) fn put_image(&mut self, image: StoredImage, made_by: Option<u64>) {
        let location = image.location.clone();
        self.change(&location, |entry| {
            entry.made_by = made_by.filter(|seq| entry.builds.contains(seq));
            entry.image = Some(image);
        });
    }

    /// Removes an image.
    pub(super) fn remove_image(&mut self, location: &Location) {
        self.change(location, |entry| (entry.image, entry.made_by) = (None, None));
    }

    /// Changes the entry of a location, and updates the counts of its owner.
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
        let counts = self.owners.entry(location.owner.clone()).or_default();
        counts.taken = counts.taken + usize::from(after.0) - usize::from(before.0);
        if let Some(seq) = before.1 {
            counts.listed.remove(&seq);
        }
        counts.listed.extend(after.1);
    }
}
