//! Decides which transfers go into one request, and assigns the results in the response to them. Pure.

use std::collections::{HashMap, VecDeque};

use super::form::FormChanges;
use crate::api::{AcceptedBuild, RefusedSource};
use crate::base::name::{BuildId, ImageRef, Platform, Visibility};
use crate::base::source_ref::RegistryKind;

/// Maximum length of a list of sources, in characters. A gateway may limit bodies to the size of a
/// URL, and an error that quotes the list should stay readable.
const MAX_LIST_CHARS: usize = 4000;

/// The settings that all transfers of a batch share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BatchKey {
    pub(super) platform: Platform,
    pub(super) visibility: Option<Visibility>,
    /// Kind of the registry: the service takes no list that mixes Docker Hub with others, and refuses
    /// a whole list for one unsupported registry.
    pub(super) registry: RegistryKind,
    /// True if the manifest sets the owner, so that it must not be left out.
    pub(super) owner_is_set: bool,
    /// Differences from the first form of the request.
    pub(super) changes: FormChanges,
}

/// A transfer as the queue sees it.
pub(super) trait Batchable {
    /// Returns the settings it shares with the rest of its batch, or `None` if it is sent alone.
    fn batch_key(&self) -> Option<BatchKey>;
    /// Returns the length of its source, in characters.
    fn source_len(&self) -> usize;
}

/// Waiting transfers, in order of arrival.
#[derive(Debug)]
pub(super) struct TransferQueue<T> {
    waiting: VecDeque<T>,
}

impl<T> Default for TransferQueue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new() }
    }
}

impl<T: Batchable> TransferQueue<T> {
    pub(super) fn push(&mut self, transfer: T) {
        self.waiting.push_back(transfer);
    }

    /// Returns the first waiting transfer.
    pub(super) fn first(&self) -> Option<&T> {
        self.waiting.front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.waiting.drain(..)
    }

    /// Returns the maximum size of the next batch.
    pub(super) fn next_size(&self) -> u32 {
        let Some(first) = self.waiting.front() else { return 0 };
        let Some(key) = first.batch_key() else { return 1 };
        let alike = self.waiting.iter().filter(|transfer| transfer.batch_key() == Some(key));
        let mut length = 0;
        let fits = alike.take_while(|transfer| {
            length += transfer.source_len() + 1;
            length <= MAX_LIST_CHARS
        });
        u32::try_from(fits.count()).unwrap_or(u32::MAX).max(1)
    }

    /// Removes and returns the first transfer and those that can go with it, at most `max`.
    pub(super) fn take(&mut self, max: u32) -> Vec<T> {
        let size = self.next_size().min(max.max(1)) as usize;
        let key = self.waiting.front().and_then(Batchable::batch_key);
        let mut batch = Vec::with_capacity(size);
        let mut remaining = VecDeque::with_capacity(self.waiting.len());
        for transfer in self.waiting.drain(..) {
            let fits = batch.is_empty() || (key.is_some() && transfer.batch_key() == key);
            if batch.len() < size && fits {
                batch.push(transfer);
            } else {
                remaining.push_back(transfer);
            }
        }
        self.waiting = remaining;
        batch
    }
}

/// The result for one source: a build, or the reason for which there is none.
pub(super) type SourceResult = Result<AcceptedBuild, RefusedSource>;

/// The results of a response, assigned to the sources of its request.
#[derive(Debug, Default)]
pub(super) struct Assigned {
    /// In the order of the sources; `None` if the response has no result for a source.
    pub(super) results: Vec<Option<SourceResult>>,
    /// Builds that could not be assigned to a source.
    pub(super) unassigned: Vec<BuildId>,
}

/// Assigns the results of a response to sources: by the source that a result names, and the others
/// by their order, if there are as many of them as remaining sources. `AcceptedBuild::source` of a result
/// assigned by its order is cleared.
pub(super) fn assign(sources: &[String], response: Vec<SourceResult>) -> Assigned {
    let mut results: Vec<Option<SourceResult>> = sources.iter().map(|_| None).collect();
    let mut others = Vec::new();
    for result in response {
        let named = match &result {
            Ok(accepted) => accepted.source.as_ref(),
            Err(refused) => refused.source.as_ref(),
        };
        let index = sources.iter().position(|source| Some(source) == named);
        match index.filter(|index| results[*index].is_none()) {
            Some(index) => results[index] = Some(result),
            None => others.push(result),
        }
    }
    let open: Vec<usize> = (0..results.len()).filter(|index| results[*index].is_none()).collect();
    // With one source, every result belongs to it. A second build makes the image for another use.
    if others.len() == open.len() || (sources.len() == 1 && !others.is_empty()) {
        for (index, result) in open.into_iter().zip(others.drain(..)) {
            results[index] =
                Some(result.map(|accepted| AcceptedBuild { source: None, ..accepted }));
        }
    }
    let unassigned = others.into_iter().filter_map(|result| Some(result.ok()?.build)).collect();
    Assigned { results, unassigned }
}

/// Reassigns the builds of one response by the image names that the service shows for them, since
/// the order of a response is not documented. Returns `None` if the names agree with the order, or
/// do not cover every unit.
pub(super) fn by_name(
    units: &[(ImageRef, BuildId)],
    names: &HashMap<BuildId, ImageRef>,
) -> Option<Vec<BuildId>> {
    let agree = units.iter().all(|(unit, build)| names.get(build).is_none_or(|name| name == unit));
    if agree {
        return None;
    }
    let build_of: HashMap<&ImageRef, &BuildId> =
        units.iter().filter_map(|(_, build)| Some((names.get(build)?, build))).collect();
    // All or nothing: a partial exchange would assign one build to two units.
    units.iter().map(|(unit, _)| build_of.get(unit).map(|&build| build.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Transfer(&'static str, Option<BatchKey>);

    impl Batchable for Transfer {
        fn batch_key(&self) -> Option<BatchKey> {
            self.1
        }
        fn source_len(&self) -> usize {
            self.0.len()
        }
    }

    fn key(platform: Platform, registry: RegistryKind) -> BatchKey {
        let changes = FormChanges::default();
        BatchKey { platform, visibility: None, registry, owner_is_set: false, changes }
    }

    fn amd() -> BatchKey {
        key(Platform::Amd64, RegistryKind::Supported)
    }

    fn names(batch: &[Transfer]) -> Vec<&str> {
        batch.iter().map(|transfer| transfer.0).collect()
    }

    #[test]
    fn transfers_with_equal_settings_are_batched_in_order_of_arrival() {
        let arm = Some(key(Platform::Arm64, RegistryKind::Supported));
        let hub = Some(key(Platform::Amd64, RegistryKind::DockerHub));
        let mut queue = TransferQueue::default();
        for (name, key) in [
            ("a", Some(amd())),
            ("b", arm),
            ("hub", hub),
            ("c", Some(amd())),
            ("other", Some(key(Platform::Amd64, RegistryKind::Other))),
            ("own", None),
            ("d", Some(amd())),
            ("hub2", hub),
            ("e", arm),
        ] {
            queue.push(Transfer(name, key));
        }
        assert_eq!(queue.next_size(), 3);
        assert_eq!(names(&queue.take(2)), ["a", "c"]);
        assert_eq!(names(&queue.take(9)), ["b", "e"]);
        assert_eq!(names(&queue.take(9)), ["hub", "hub2"], "Docker Hub in a list of its own");
        assert_eq!(names(&queue.take(9)), ["other"]);
        assert_eq!(names(&queue.take(9)), ["own"]);
        assert_eq!(names(&queue.take(9)), ["d"]);
        assert!(queue.is_empty() && queue.next_size() == 0);
    }

    #[test]
    fn the_length_of_a_list_is_limited() {
        let mut queue = TransferQueue::default();
        let long: &'static str = "x".repeat(MAX_LIST_CHARS / 3).leak();
        (0..9).for_each(|_| queue.push(Transfer(long, Some(amd()))));
        assert_eq!(queue.take(9).len(), 2);
        let longer: &'static str = "x".repeat(MAX_LIST_CHARS * 2).leak();
        let mut queue = TransferQueue::default();
        queue.push(Transfer(longer, Some(amd())));
        assert_eq!(queue.take(9).len(), 1, "a source that is too long is sent alone");
    }

    fn accepted(build: &str, source: Option<&str>) -> AcceptedBuild {
        AcceptedBuild {
            build: BuildId::new(build).unwrap(),
            path: None,
            upload: None,
            expires_in: None,
            visibility: None,
            source: source.map(str::to_owned),
        }
    }

    /// The builds assigned to the sources, and the number of unassigned builds.
    fn assigned(sources: &[&str], response: Vec<AcceptedBuild>) -> (Vec<Option<String>>, usize) {
        let response = response.into_iter().map(Ok).collect();
        let sources: Vec<String> = sources.iter().map(|&source| source.to_owned()).collect();
        let build = |result: Option<SourceResult>| Some(result?.ok()?.build.to_string());
        let Assigned { results, unassigned } = assign(&sources, response);
        (results.into_iter().map(build).collect(), unassigned.len())
    }

    #[test]
    fn each_result_is_assigned_to_its_source() {
        let is = |build: &str| Some(build.to_owned());
        let swapped = vec![accepted("2", Some("y")), accepted("1", Some("x"))];
        assert_eq!(assigned(&["x", "y"], swapped), (vec![is("1"), is("2")], 0));
        let short = vec![accepted("2", Some("y"))];
        assert_eq!(assigned(&["x", "y"], short), (vec![None, is("2")], 0));
        let unnamed = vec![accepted("1", None), accepted("2", None)];
        assert_eq!(assigned(&["x", "y"], unnamed), (vec![is("1"), is("2")], 0));
        let fewer = vec![accepted("1", None)];
        assert_eq!(
            assigned(&["x", "y"], fewer),
            (vec![None, None], 1),
            "it may belong to either source"
        );
        let respelled = vec![accepted("2", Some("y")), accepted("1", Some("docker.io/x"))];
        assert_eq!(assigned(&["x", "y"], respelled), (vec![is("1"), is("2")], 0));
        let twice = vec![accepted("1", Some("docker.io/x")), accepted("2", None)];
        assert_eq!(
            assigned(&["x"], twice),
            (vec![is("1")], 0),
            "both builds belong to the one source"
        );
        assert_eq!(assigned(&["x"], Vec::new()), (vec![None], 0));
    }

    #[test]
    fn names_override_the_order() {
        let id = |text: &str| BuildId::new(text).unwrap();
        let key = |text: &str| text.parse::<ImageRef>().unwrap();
        let units = [(key("x:1"), id("b1")), (key("y:1"), id("b2")), (key("z:1"), id("b3"))];
        let names = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(build, name)| (id(build), key(name))).collect::<HashMap<_, _>>()
        };
        let agreeing = names(&[("b1", "x:1"), ("b3", "z:1")]);
        assert_eq!(by_name(&units, &agreeing), None);
        let swapped = names(&[("b1", "y:1"), ("b2", "x:1"), ("b3", "z:1")]);
        assert_eq!(by_name(&units, &swapped), Some(vec![id("b2"), id("b1"), id("b3")]));
        let unknown = names(&[("b1", "other:1"), ("b2", "y:1"), ("b3", "z:1")]);
        assert_eq!(
            by_name(&units, &unknown),
            None,
            "b1 makes none of the units; its step reports that at its end"
        );
    }
}
