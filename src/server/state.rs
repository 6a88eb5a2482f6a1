//! The state of the server: all builds and images. It changes only through [`ServerState::apply`], both
//! in a running server and in the replay of its log. Pure.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::index::{LocationEntry, LocationIndex};
use super::location::Location;
use super::model::{
    ArtifactForm, BuildStatus, StoredBuild, StoredContent, StoredImage, StoredVisibility,
    UnixMillis,
};
use crate::api::wire::ImageResponse;
use crate::base::name::{BuildId, Owner};
use crate::base::reference::OciDigest;

/// A change of the state. It contains the complete new value, so that applying it twice is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StateChange {
    Build(StoredBuild),
    Image(StoredImage),
    ForgetBuild {
        seq: u64,
    },
    ForgetImage(Location),
    /// The tag of a location is to be removed from the registry.
    Unpublish(Location),
    /// The tag of a location was removed from the registry, or is in use again.
    Unpublished(Location),
}

/// All builds and images.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerState {
    /// Sorted by `seq`, so that a page is found without a scan.
    builds: Vec<StoredBuild>,
    ids: HashMap<BuildId, u64>,
    index: LocationIndex,
    /// Locations whose tags are to be removed from the registry.
    unpublished: HashSet<Location>,
    next: u64,
}

impl ServerState {
    pub(super) fn apply(&mut self, change: StateChange) {
        match change {
            StateChange::Build(build) => self.put_build(build),
            StateChange::Image(image) => {
                let made_by = self.ids.get(&image.build).copied();
                self.index.put_image(image, made_by);
            }
            StateChange::ForgetBuild { seq } => {
                if let Ok(at) = self.position(seq) {
                    let build = self.builds.remove(at);
                    self.ids.remove(&build.id);
                    self.index.remove_build(&build.location, seq);
                }
            }
            StateChange::ForgetImage(location) => self.index.remove_image(&location),
            StateChange::Unpublish(location) => _ = self.unpublished.insert(location),
            StateChange::Unpublished(location) => _ = self.unpublished.remove(&location),
        }
    }

    fn put_build(&mut self, build: StoredBuild) {
        self.next = self.next.max(build.seq.saturating_add(1));
        self.ids.insert(build.id.clone(), build.seq);
        let known = self.position(build.seq);
        if let Ok(at) = known
            && self.builds[at].location != build.location
        {
            self.index.remove_build(&self.builds[at].location, build.seq);
        }
        self.index.put_build(&build.location, build.seq, build.status);
        match known {
            Ok(at) => self.builds[at] = build,
            Err(at) => self.builds.insert(at, build),
        }
    }

    /// Returns the index of a build, or the index at which to insert it.
    fn position(&self, seq: u64) -> Result<usize, usize> {
        self.builds.binary_search_by_key(&seq, |build| build.seq)
    }

    fn numbered(&self, seq: u64) -> Option<&StoredBuild> {
        self.builds.get(self.position(seq).ok()?)
    }

    /// Returns the changes that turn an empty state into this one.
    pub(super) fn changes(&self) -> impl Iterator<Item = StateChange> + '_ {
        let builds = self.builds.iter().cloned().map(StateChange::Build);
        let images = self.index.images().cloned().map(StateChange::Image);
        builds.chain(images).chain(self.unpublished().cloned().map(StateChange::Unpublish))
    }

    /// Returns the `seq` of the next build.
    pub(super) fn next_seq(&self) -> u64 {
        self.next
    }

    pub(super) fn build(&self, id: &str) -> Option<&StoredBuild> {
        self.numbered(*self.ids.get(id)?)
    }

    /// Returns all builds, the newest first.
    pub(super) fn builds(
        &self,
    ) -> impl DoubleEndedIterator<Item = &StoredBuild> + ExactSizeIterator {
        self.builds.iter().rev()
    }

    /// Returns the builds at one location, the newest first.
    pub(super) fn builds_at(&self, location: &Location) -> impl Iterator<Item = &StoredBuild> {
        let entry = self.index.at(location);
        entry.into_iter().flat_map(LocationEntry::builds).filter_map(|seq| self.numbered(seq))
    }

    pub(super) fn image(&self, location: &Location) -> Option<&StoredImage> {
        self.index.at(location)?.image.as_ref()
    }

    /// Returns the locations whose tags are to be removed from the registry.
    pub(super) fn unpublished(&self) -> impl Iterator<Item = &Location> {
        self.unpublished.iter()
    }

    /// True if another image in the repository of a location has this digest, or an index that names it.
    pub(super) fn has_digest_beside(&self, location: &Location, digest: OciDigest) -> bool {
        self.index.images().any(|image| {
            let content = &image.content;
            (content.digest == Some(digest) || content.children.contains(&digest))
                && image.location != *location
                && image.location.repository() == location.repository()
        })
    }

    /// True if a location has an image or an active build.
    pub(super) fn is_taken(&self, location: &Location) -> bool {
        self.index.at(location).is_some_and(LocationEntry::is_taken)
    }

    /// Returns the number of images of an owner, including those that are being built.
    pub(super) fn owned(&self, owner: &Owner) -> usize {
        self.index.taken(owner)
    }

    /// Returns the teams that own a build or an image, sorted.
    pub(super) fn teams(&self) -> Vec<String> {
        let teams = self.index.owners().filter_map(|owner| match owner {
            Owner::Team(id) => Some(id.clone()),
            Owner::Personal | Owner::Platform => None,
        });
        teams.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// Returns the visibility of a build's image: the requested one, else that of the current image,
    /// else private. Platform images are always public.
    pub(super) fn effective(
        &self,
        location: &Location,
        requested: Option<StoredVisibility>,
    ) -> StoredVisibility {
        if location.owner == Owner::Platform {
            return StoredVisibility::Public;
        }
        let current = || self.image(location).map(|image| image.visibility);
        requested.or_else(current).unwrap_or(StoredVisibility::Private)
    }

    /// Returns the changes at the end of a build: the build itself and, if it succeeded, its image.
    pub(super) fn finish(
        &self,
        build: &StoredBuild,
        result: Result<StoredContent, String>,
        now: UnixMillis,
    ) -> Vec<StateChange> {
        let mut build = StoredBuild { completed_at: Some(now), ..build.clone() };
        match result {
            Ok(content) => {
                build.status = BuildStatus::Completed;
                let image = StoredImage {
                    location: build.location.clone(),
                    build: build.id.clone(),
                    visibility: self.effective(&build.location, build.visibility),
                    pushed_at: now,
                    content,
                };
                vec![StateChange::Build(build), StateChange::Image(image)]
            }
            Err(message) => {
                build.status = BuildStatus::Failed;
                build.error = Some(message);
                vec![StateChange::Build(build)]
            }
        }
    }

    /// Returns the changes that forget the images that no registry has, and their builds: those without
    /// content, and all if the registry is new.
    pub(super) fn forget_missing(&self, registry_is_new: bool) -> Vec<StateChange> {
        let is_missing = |image: &&StoredImage| registry_is_new || image.content.digest.is_none();
        let changes = self.index.images().filter(is_missing).flat_map(|image| {
            let build = self.build(image.build.as_str()).map(|build| build.seq);
            let build = build.map(|seq| StateChange::ForgetBuild { seq });
            [Some(StateChange::ForgetImage(image.location.clone())), build]
        });
        changes.flatten().collect()
    }

    /// Returns the locations of an owner that match a search, the newest first. [`ServerState::rows`]
    /// returns the rows of each.
    pub(super) fn listing(&self, owner: &Owner, search: Option<&str>) -> Vec<&Location> {
        let search = search.unwrap_or_default().to_lowercase();
        let matches = |location: &&Location| {
            search.is_empty() || location.full_path().to_lowercase().contains(&search)
        };
        let newest = self.index.listed(owner).filter_map(|seq| self.numbered(seq));
        newest.map(|build| &build.location).filter(matches).collect()
    }

    /// Returns the rows of `GET /images` for one location, the newest first: the image, active builds,
    /// and the last failed build if it is newer than the image.
    pub(super) fn rows(&self, location: &Location, form: &ArtifactForm) -> Vec<ImageResponse> {
        let image = self.image(location);
        let row = |build: &StoredBuild| {
            let image = image.filter(|image| image.build == build.id);
            let effective = || self.effective(location, build.visibility);
            build.to_row(image.map_or_else(effective, |image| image.visibility), image, form)
        };
        let shown = self.index.at(location).map(LocationEntry::shown).unwrap_or_default();
        shown.into_iter().filter_map(|seq| self.numbered(seq)).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::name::Platform;
    use crate::server::model::StoredOrigin;

    const NOW: UnixMillis = UnixMillis::from_millis(0);

    fn build(seq: u64, name: &str, status: BuildStatus) -> StoredBuild {
        StoredBuild {
            seq,
            id: BuildId::new(format!("b{seq}")).unwrap(),
            artifact: BuildId::new(format!("a{seq}")).unwrap(),
            location: Location {
                owner: Owner::Personal,
                name: name.parse().unwrap(),
                tag: "v1".parse().unwrap(),
            },
            platform: Platform::Amd64,
            origin: StoredOrigin::Transfer { source: name.to_owned() },
            visibility: None,
            status,
            created_at: NOW,
            started_at: None,
            completed_at: None,
            error: None,
        }
    }

    fn statuses(state: &ServerState, search: Option<&str>) -> Vec<Vec<String>> {
        let listing = state.listing(&Owner::Personal, search);
        let status = |row: ImageResponse| format!("{} {}", row.image_name, row.status);
        let form = &ArtifactForm { artifact_type: "VM_SANDBOX", vm_paths: false, registry: None };
        let rows =
            |location: &&Location| state.rows(location, form).into_iter().map(status).collect();
        listing.iter().map(rows).collect()
    }

    #[test]
    fn a_page_counts_logical_images() {
        let mut state = ServerState::default();
        let first = build(0, "app", BuildStatus::Building);
        state.apply(StateChange::Build(first.clone()));
        for change in state.finish(
            &first,
            Ok(StoredContent { size: Some(7), ..StoredContent::default() }),
            NOW,
        ) {
            state.apply(change);
        }
        state.apply(StateChange::Build(build(1, "other", BuildStatus::Failed)));
        state.apply(StateChange::Build(build(2, "app", BuildStatus::Building)));
        let expected = vec![vec!["app BUILDING", "app COMPLETED"], vec!["other FAILED"]];
        assert_eq!(statuses(&state, None), expected);
        assert_eq!(statuses(&state, Some("OTH")), vec![vec!["other FAILED"]]);
        assert_eq!(statuses(&state, Some(":v1")).len(), 2);
        assert!(statuses(&state, Some("none")).is_empty());
    }

    #[test]
    fn a_failed_build_is_listed_until_a_later_one_succeeds() {
        let mut state = ServerState::default();
        for seq in 0..2 {
            let next = build(seq, "app", BuildStatus::Building);
            for change in state.finish(&next, Err("no".to_owned()), NOW) {
                state.apply(change);
            }
        }
        assert_eq!(statuses(&state, None), vec![vec!["app FAILED"]]);
        let good = build(2, "app", BuildStatus::Building);
        for change in state.finish(&good, Ok(StoredContent::default()), NOW) {
            state.apply(change);
        }
        assert_eq!(statuses(&state, None), vec![vec!["app COMPLETED"]]);
    }

    #[test]
    fn visibility_is_inherited() {
        let mut state = ServerState::default();
        let mut first = build(0, "app", BuildStatus::Building);
        assert_eq!(state.effective(&first.location, None), StoredVisibility::Private);
        first.visibility = Some(StoredVisibility::Public);
        for change in state.finish(&first, Ok(StoredContent::default()), NOW) {
            state.apply(change);
        }
        assert_eq!(state.effective(&first.location, None), StoredVisibility::Public);
        assert_eq!(
            state.effective(&first.location, Some(StoredVisibility::Private)),
            StoredVisibility::Private
        );
    }

    #[test]
    fn a_digest_is_shared_within_a_repository_only() {
        let digest = |text: &str| OciDigest::of(text.as_bytes());
        let location = |name: &str, tag: &str| Location {
            owner: Owner::Personal,
            name: name.parse().unwrap(),
            tag: tag.parse().unwrap(),
        };
        let mut state = ServerState::default();
        for (name, tag, own, child) in
            [("app", "1", "a", "x"), ("app", "2", "a", "y"), ("b", "1", "b", "x")]
        {
            state.apply(StateChange::Image(StoredImage {
                location: location(name, tag),
                build: BuildId::new("b0").unwrap(),
                visibility: StoredVisibility::Private,
                pushed_at: NOW,
                content: StoredContent {
                    digest: Some(digest(own)),
                    children: vec![digest(child)],
                    size: None,
                },
            }));
        }
        for (name, tag, text, expected) in [
            ("app", "1", "a", true),
            ("app", "1", "y", true),
            ("app", "1", "x", false),
            ("b", "1", "x", false),
            ("b", "2", "b", true),
            ("b", "2", "x", true),
            ("c", "1", "a", false),
        ] {
            let is_shared = state.has_digest_beside(&location(name, tag), digest(text));
            assert_eq!(is_shared, expected, "{name}:{tag} {text}");
        }
    }

    #[test]
    fn a_removal_is_noted_until_it_is_made() {
        let mut state = ServerState::default();
        let location = build(0, "app", BuildStatus::Building).location;
        state.apply(StateChange::Unpublish(location.clone()));
        let mut copy = ServerState::default();
        state.changes().for_each(|change| copy.apply(change));
        assert_eq!(copy.unpublished().collect::<Vec<_>>(), [&location]);
        copy.apply(StateChange::Unpublished(location));
        assert_eq!(copy.unpublished().count(), 0);
    }

    #[test]
    fn changes_rebuild_the_state() {
        let mut state = ServerState::default();
        for seq in 0..3 {
            let next = build(seq, "app", BuildStatus::Building);
            for change in state.finish(&next, Ok(StoredContent::default()), NOW) {
                state.apply(change);
            }
        }
        state.apply(StateChange::ForgetBuild { seq: 0 });
        let mut copy = ServerState::default();
        state.changes().for_each(|change| copy.apply(change));
        assert_eq!(statuses(&copy, None), statuses(&state, None));
        assert_eq!((copy.next_seq(), copy.build("b0")), (3, None));
    }

    /// Computes the taken locations and the rows by scanning all builds.
    fn by_scan(state: &ServerState) -> (usize, Vec<String>) {
        let image =
            |location: &Location| state.index.images().find(|image| image.location == *location);
        let seq = |id: &BuildId| state.builds.iter().find(|build| build.id == *id).map(|b| b.seq);
        let mut taken: Vec<String> =
            state.index.images().map(|image| image.location.short()).collect();
        let active = state.builds.iter().filter(|build| build.status.is_active());
        taken.extend(active.map(|build| build.location.short()));
        taken.sort();
        taken.dedup();
        let mut rows: Vec<(String, Vec<&StoredBuild>)> = Vec::new();
        for build in state.builds.iter().rev() {
            let group = rows.iter().position(|(location, _)| *location == build.location.short());
            let newer = group.map_or(&[][..], |at| &rows[at].1);
            let image = image(&build.location);
            let failure = build.status == BuildStatus::Failed
                && newer.iter().all(|newer| newer.status.is_active())
                && image.is_none_or(|image| seq(&image.build) < Some(build.seq));
            let made = image.is_some_and(|image| image.build == build.id);
            if build.status.is_active() || made || failure {
                match group {
                    Some(at) => rows[at].1.push(build),
                    None => rows.push((build.location.short(), vec![build])),
                }
            }
        }
        let text = |(_, builds): (String, Vec<&StoredBuild>)| {
            let rows = builds.iter().map(|b| format!("{} {}", b.location.name, b.status.as_str()));
            rows.collect::<Vec<_>>().join(", ")
        };
        (taken.len(), rows.into_iter().map(text).collect())
    }

    proptest! {
        /// After any sequence of changes, the index agrees with a scan of all builds.
        #[test]
        fn the_index_agrees_with_a_scan(
            steps in prop::collection::vec((0u8..6, 0u64..12, 0u8..3), 1..60),
        ) {
            let mut state = ServerState::default();
            for (step, number, name) in steps {
                let known = state.numbered(number).cloned();
                let changes = match (step, known) {
                    (0 | 1, _) => {
                        let name = format!("i{name}");
                        vec![StateChange::Build(build(state.next_seq(), &name, BuildStatus::Building))]
                    }
                    (2, Some(b)) if b.status.is_active() => state.finish(&b, Ok(StoredContent::default()), NOW),
                    (3, Some(b)) if b.status.is_active() => {
                        state.finish(&b, Err(String::new()), NOW)
                    }
                    (4, Some(b)) => {
                        vec![StateChange::ForgetImage(b.location.clone()), StateChange::ForgetBuild { seq: b.seq }]
                    }
                    (5, Some(b)) => match state.image(&b.location).cloned() {
                        Some(mut image) => {
                            image.location.name = "moved".parse().unwrap();
                            let done = state.builds_at(&b.location).filter(|b| !b.status.is_active());
                            let moved =
                                done.map(|b| StoredBuild { location: image.location.clone(), ..b.clone() });
                            let moved: Vec<_> = moved.map(StateChange::Build).collect();
                            [vec![StateChange::ForgetImage(b.location)], moved, vec![StateChange::Image(image)]]
                                .concat()
                        }
                        None => Vec::new(),
                    },
                    _ => Vec::new(),
                };
                for change in changes {
                    state.apply(change);
                }
                let (taken, rows) = by_scan(&state);
                prop_assert_eq!(state.owned(&Owner::Personal), taken);
                let listed: Vec<_> =
                    statuses(&state, None).into_iter().map(|rows| rows.join(", ")).collect();
                prop_assert_eq!(listed, rows);
                let at = |name: u8| Location { owner: Owner::Personal, name: format!("i{name}").parse().unwrap(), tag: "v1".parse().unwrap() };
                for location in (0..3).map(at) {
                    let indexed: Vec<_> = state.builds_at(&location).map(|b| b.seq).collect();
                    let all = state.builds().filter(|b| b.location == location).map(|b| b.seq);
                    prop_assert_eq!(indexed, all.collect::<Vec<_>>());
                }
                let mut copy = ServerState::default();
                state.changes().for_each(|change| copy.apply(change));
                prop_assert_eq!(statuses(&copy, None), statuses(&state, None));
                prop_assert_eq!(copy.owned(&Owner::Personal), taken);
            }
        }
    }
}
