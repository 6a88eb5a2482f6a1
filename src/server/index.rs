//! What is at one place, by number: kept so that no question about a place, or about an owner, has
//! to look through all builds. Pure.

use std::collections::{BTreeSet, HashMap};

use super::location::Place;
use super::model::{Image, Status};
use crate::base::name::Owner;

/// The builds and the image at one place.
#[derive(Debug, Clone, Default)]
pub(super) struct Site {
    pub(super) image: Option<Image>,
    /// The build that made the image, while it is remembered.
    made_by: Option<u64>,
    builds: BTreeSet<u64>,
    active: BTreeSet<u64>,
    failed: BTreeSet<u64>,
}

impl Site {
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
    fn put(&mut self, seq: u64, status: Status) {
        self.take(seq);
        self.builds.insert(seq);
        if status.is_active() {
            self.active.insert(seq);
        } else if status == Status::Failed {
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
pub(super) struct Sites {
    sites: HashMap<Place, Site>,
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

impl Sites {
    pub(super) fn at(&self, place: &Place) -> Option<&Site> {
        self.sites.get(place)
    }

    pub(super) fn images(&self) -> impl Iterator<Item = &Image> {
        self.sites.values().filter_map(|site| site.image.as_ref())
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.sites.keys().map(|place| &place.owner)
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
    pub(super) fn put_build(&mut self, place: &Place, seq: u64, status: Status) {
        self.change(place, |site| site.put(seq, status));
    }

    /// Forgets that a build is at a place.
    pub(super) fn take_build(&mut self, place: &Place, seq: u64) {
        self.change(place, |site| {
            site.take(seq);
            site.made_by = site.made_by.filter(|made_by| *made_by != seq);
        });
    }

    /// Takes an image in, and which build made it.
    pub(super) fn put_image(&mut self, image: Image, made_by: Option<u64>) {
        let place = image.place.clone();
        self.change(&place, |site| {
            site.made_by = made_by.filter(|seq| site.builds.contains(seq));
            site.image = Some(image);
        });
    }

    /// Forgets an image.
    pub(super) fn take_image(&mut self, place: &Place) {
        self.change(place, |site| (site.image, site.made_by) = (None, None));
    }

    /// Changes what is at a place, and what is known of its owner with it.
    fn change(&mut self, place: &Place, change: impl FnOnce(&mut Site)) {
        let site = self.sites.entry(place.clone()).or_default();
        let before = (site.is_taken(), site.newest_shown());
        change(site);
        let after = (site.is_taken(), site.newest_shown());
        if site.builds.is_empty() && site.image.is_none() {
            self.sites.remove(place);
        }
        if before == after {
            return;
        }
        let holdings = self.owners.entry(place.owner.clone()).or_default();
        holdings.taken = holdings.taken + usize::from(after.0) - usize::from(before.0);
        if let Some(seq) = before.1 {
            holdings.listed.remove(&seq);
        }
        holdings.listed.extend(after.1);
    }
}
