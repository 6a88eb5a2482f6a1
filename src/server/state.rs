//! All builds and images, and the one way to change them: [`State::apply`], which serves a running
//! server and the replay of its log alike. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::model::{Build, Image, Stamp, Status, Visibility};
use super::place::Place;
use crate::api::wire::ImageResponse;
use crate::base::name::Owner;

/// A change of the state: always the whole new value, so that applying it twice is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    Build(Build),
    Image(Image),
    ForgetBuild { seq: u64 },
    ForgetImage(Place),
}

/// All builds and images.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    builds: BTreeMap<u64, Build>,
    ids: HashMap<String, u64>,
    images: HashMap<Place, Image>,
    next: u64,
}

impl State {
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Build(build) => {
                self.next = self.next.max(build.seq + 1);
                self.ids.insert(build.id.clone(), build.seq);
                self.builds.insert(build.seq, build);
            }
            Change::Image(image) => {
                self.images.insert(image.place.clone(), image);
            }
            Change::ForgetBuild { seq } => {
                if let Some(build) = self.builds.remove(&seq) {
                    self.ids.remove(&build.id);
                }
            }
            Change::ForgetImage(place) => {
                self.images.remove(&place);
            }
        }
    }

    /// The changes that make this state out of an empty one.
    pub(super) fn changes(&self) -> impl Iterator<Item = Change> + '_ {
        let builds = self.builds.values().cloned().map(Change::Build);
        builds.chain(self.images.values().cloned().map(Change::Image))
    }

    /// The number of the next build.
    pub(super) fn next_seq(&self) -> u64 {
        self.next
    }

    pub(super) fn build(&self, id: &str) -> Option<&Build> {
        self.builds.get(self.ids.get(id)?)
    }

    /// All builds, the newest first.
    pub(super) fn builds(&self) -> impl ExactSizeIterator<Item = &Build> {
        self.builds.values().rev()
    }

    /// The builds at one place, the newest first.
    pub(super) fn builds_at(&self, place: &Place) -> impl Iterator<Item = &Build> {
        self.builds().filter(move |build| build.place == *place)
    }

    pub(super) fn image(&self, place: &Place) -> Option<&Image> {
        self.images.get(place)
    }

    /// Whether something is at a place or will be.
    pub(super) fn is_taken(&self, place: &Place) -> bool {
        self.images.contains_key(place)
            || self.builds_at(place).any(|build| build.status.is_active())
    }

    /// How many images an owner has, those that are being built among them.
    pub(super) fn owned(&self, owner: &Owner) -> usize {
        let building = self.builds().filter(|build| build.status.is_active());
        let places = self.images.keys().chain(building.map(|build| &build.place));
        let theirs = places.filter(|place| place.owner == *owner);
        theirs.collect::<std::collections::HashSet<_>>().len()
    }

    /// The teams that own something, sorted.
    pub(super) fn teams(&self) -> Vec<String> {
        let places = self.images.keys().chain(self.builds.values().map(|build| &build.place));
        let teams = places.filter_map(|place| match &place.owner {
            Owner::Team(id) => Some(id.clone()),
            Owner::Personal | Owner::Platform => None,
        });
        teams.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// The visibility that a build's image will have: what was asked for, else what the image has,
    /// else private. Platform images are public whatever was asked.
    pub(super) fn effective(&self, place: &Place, asked: Option<Visibility>) -> Visibility {
        if place.owner == Owner::Platform {
            return Visibility::Public;
        }
        let current = || self.image(place).map(|image| image.visibility);
        asked.or_else(current).unwrap_or(Visibility::Private)
    }

    /// What the end of a build changes: the build itself and, where it went well, its image.
    pub(super) fn finish(
        &self,
        build: &Build,
        verdict: Result<Option<u64>, String>,
        now: Stamp,
    ) -> Vec<Change> {
        let mut build = Build { completed_at: Some(now), ..build.clone() };
        match verdict {
            Ok(size) => {
                build.status = Status::Completed;
                let image = Image {
                    place: build.place.clone(),
                    build: build.id.clone(),
                    visibility: self.effective(&build.place, build.visibility),
                    pushed_at: now,
                    size,
                };
                vec![Change::Build(build), Change::Image(image)]
            }
            Err(message) => {
                build.status = Status::Failed;
                build.error = Some(message);
                vec![Change::Build(build)]
            }
        }
    }

    /// The logical images of an owner that a search finds, the newest first, each with the builds
    /// to show: what can be pulled, what is under way, and the last failure if nothing went well
    /// since.
    pub(super) fn listing(&self, owner: &Owner, search: Option<&str>) -> Vec<Vec<&Build>> {
        let search = search.unwrap_or_default().to_lowercase();
        let found =
            |place: &Place| search.is_empty() || place.full_path().to_lowercase().contains(&search);
        let mut groups: Vec<Vec<&Build>> = Vec::new();
        let mut index: HashMap<&Place, usize> = HashMap::new();
        for build in self.builds().filter(|build| build.place.owner == *owner) {
            let image = self.image(&build.place);
            let group = index.get(&build.place).copied();
            let newest_failure = build.status == Status::Failed
                && group.is_none_or(|at| groups[at].iter().all(|b| b.status.is_active()))
                && image.is_none_or(|image| self.ids.get(&image.build) < Some(&build.seq));
            let listed = build.status.is_active()
                || image.is_some_and(|image| image.build == build.id)
                || newest_failure;
            if !listed {
                continue;
            }
            match group {
                Some(at) => groups[at].push(build),
                None if found(&build.place) => {
                    index.insert(&build.place, groups.len());
                    groups.push(vec![build]);
                }
                None => {}
            }
        }
        groups
    }

    /// The rows of `GET /images` for builds of one image.
    pub(super) fn rows(&self, builds: &[&Build]) -> Vec<ImageResponse> {
        let row = |build: &&Build| {
            let image = self.image(&build.place).filter(|image| image.build == build.id);
            let effective = || self.effective(&build.place, build.visibility);
            build.to_row(image.map_or_else(effective, |image| image.visibility), image)
        };
        builds.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::name::Platform;
    use crate::server::model::Origin;

    const NOW: Stamp = Stamp::from_millis(0);

    fn build(seq: u64, name: &str, status: Status) -> Build {
        Build {
            seq,
            id: format!("b{seq}"),
            artifact: format!("a{seq}"),
            place: Place {
                owner: Owner::Personal,
                name: name.parse().unwrap(),
                tag: "v1".parse().unwrap(),
            },
            platform: Platform::Amd64,
            origin: Origin::Transfer { source: name.to_owned() },
            visibility: None,
            status,
            created_at: NOW,
            started_at: None,
            completed_at: None,
            error: None,
        }
    }

    fn statuses(state: &State, search: Option<&str>) -> Vec<Vec<String>> {
        let listing = state.listing(&Owner::Personal, search);
        let status = |row: ImageResponse| format!("{} {}", row.image_name, row.status);
        let rows = |builds: &Vec<&Build>| state.rows(builds).into_iter().map(status).collect();
        listing.iter().map(rows).collect()
    }

    #[test]
    fn a_page_counts_logical_images() {
        let mut state = State::default();
        let first = build(0, "app", Status::Building);
        state.apply(Change::Build(first.clone()));
        for change in state.finish(&first, Ok(Some(7)), NOW) {
            state.apply(change);
        }
        state.apply(Change::Build(build(1, "other", Status::Failed)));
        state.apply(Change::Build(build(2, "app", Status::Building)));
        let expected = vec![vec!["app BUILDING", "app COMPLETED"], vec!["other FAILED"]];
        assert_eq!(statuses(&state, None), expected);
        assert_eq!(statuses(&state, Some("OTH")), vec![vec!["other FAILED"]]);
        assert_eq!(statuses(&state, Some(":v1")).len(), 2);
        assert!(statuses(&state, Some("none")).is_empty());
    }

    #[test]
    fn a_failure_is_listed_until_something_goes_well() {
        let mut state = State::default();
        for seq in 0..2 {
            let next = build(seq, "app", Status::Building);
            for change in state.finish(&next, Err("no".to_owned()), NOW) {
                state.apply(change);
            }
        }
        assert_eq!(statuses(&state, None), vec![vec!["app FAILED"]]);
        let good = build(2, "app", Status::Building);
        for change in state.finish(&good, Ok(None), NOW) {
            state.apply(change);
        }
        assert_eq!(statuses(&state, None), vec![vec!["app COMPLETED"]]);
    }

    #[test]
    fn visibility_is_inherited() {
        let mut state = State::default();
        let mut first = build(0, "app", Status::Building);
        assert_eq!(state.effective(&first.place, None), Visibility::Private);
        first.visibility = Some(Visibility::Public);
        for change in state.finish(&first, Ok(None), NOW) {
            state.apply(change);
        }
        assert_eq!(state.effective(&first.place, None), Visibility::Public);
        assert_eq!(state.effective(&first.place, Some(Visibility::Private)), Visibility::Private);
    }

    #[test]
    fn changes_rebuild_the_state() {
        let mut state = State::default();
        for seq in 0..3 {
            let next = build(seq, "app", Status::Building);
            for change in state.finish(&next, Ok(None), NOW) {
                state.apply(change);
            }
        }
        state.apply(Change::ForgetBuild { seq: 0 });
        let mut copy = State::default();
        state.changes().for_each(|change| copy.apply(change));
        assert_eq!(statuses(&copy, None), statuses(&state, None));
        assert_eq!((copy.next_seq(), copy.build("b0")), (3, None));
    }
}
