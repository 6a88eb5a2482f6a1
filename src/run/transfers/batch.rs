//! Which transfers go into one request, and which part of the answer is whose. Pure.

use std::collections::{HashMap, VecDeque};

use crate::api::{Accepted, Refused};
use crate::base::name::{BuildId, ImageRef, Platform, Visibility};

/// The most characters that a list of sources has: what stands between may take a body for a URL's
/// size, and an error that names the list should be readable.
const LONGEST_LIST: usize = 4000;

/// What transfers have in common that go into one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::run) struct Group {
    pub(in crate::run) platform: Platform,
    pub(in crate::run) visibility: Option<Visibility>,
}

/// What the queue has to know of a transfer.
pub(in crate::run) trait Queued {
    /// What it has in common with others; `None` where it has to go alone.
    fn group(&self) -> Option<Group>;
    /// How long its source is.
    fn length(&self) -> usize;
}

/// Transfers that wait, in the order in which they came.
#[derive(Debug)]
pub(in crate::run) struct Queue<T> {
    waiting: VecDeque<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new() }
    }
}

impl<T: Queued> Queue<T> {
    pub(in crate::run) fn push(&mut self, transfer: T) {
        self.waiting.push_back(transfer);
    }

    pub(in crate::run) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(in crate::run) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.waiting.drain(..)
    }

    /// How many the next request could have at most.
    pub(in crate::run) fn next_size(&self) -> u32 {
        let Some(first) = self.waiting.front() else { return 0 };
        let Some(group) = first.group() else { return 1 };
        let alike = self.waiting.iter().filter(|transfer| transfer.group() == Some(group));
        let mut length = 0;
        let fits = alike.take_while(|transfer| {
            length += transfer.length() + 1;
            length <= LONGEST_LIST
        });
        u32::try_from(fits.count()).unwrap_or(u32::MAX).max(1)
    }

    /// Takes the first and what can go with it, at most `most`.
    pub(in crate::run) fn take(&mut self, most: u32) -> Vec<T> {
        let size = self.next_size().min(most.max(1)) as usize;
        let group = self.waiting.front().and_then(Queued::group);
        let mut taken = Vec::with_capacity(size);
        let mut left = VecDeque::with_capacity(self.waiting.len());
        for transfer in self.waiting.drain(..) {
            let fits = taken.is_empty() || (group.is_some() && transfer.group() == group);
            if taken.len() < size && fits {
                taken.push(transfer);
            } else {
                left.push_back(transfer);
            }
        }
        self.waiting = left;
        taken
    }
}

/// A part of an answer: a build, or why there is none.
pub(in crate::run) type Part = Result<Accepted, Refused>;

/// Whose the parts of an answer are.
#[derive(Debug, Default)]
pub(in crate::run) struct Booked {
    /// In the order of the sources; `None` where the answer says nothing of one.
    pub(in crate::run) parts: Vec<Option<Part>>,
    /// Builds that are nobody's by what the answer says.
    pub(in crate::run) spare: Vec<BuildId>,
}

/// Books the parts of an answer: by the sources that they name, and those that name another, or
/// none, by their order, which is only believed where there are as many parts as sources. A part
/// that was booked by its order names no source any more.
pub(in crate::run) fn book(sources: &[String], answer: Vec<Part>) -> Booked {
    let mut parts: Vec<Option<Part>> = sources.iter().map(|_| None).collect();
    let mut rest = Vec::new();
    for part in answer {
        let named = match &part {
            Ok(accepted) => accepted.source.as_ref(),
            Err(refused) => refused.source.as_ref(),
        };
        let place = sources.iter().position(|source| Some(source) == named);
        match place.filter(|place| parts[*place].is_none()) {
            Some(place) => parts[place] = Some(part),
            None => rest.push(part),
        }
    }
    let open: Vec<usize> = (0..parts.len()).filter(|place| parts[*place].is_none()).collect();
    // Of one source, all that comes is its own: a second build makes the image for another use.
    if rest.len() == open.len() || (sources.len() == 1 && !rest.is_empty()) {
        for (place, part) in open.into_iter().zip(rest.drain(..)) {
            let part = part.map(|accepted| Accepted { source: None, ..accepted });
            parts[place] = Some(part);
        }
    }
    let spare = rest.into_iter().filter_map(|part| Some(part.ok()?.build)).collect();
    Booked { parts, spare }
}

/// Which build is whose, by the names that the service gives the builds of one answer. The answer
/// holds them in an order that nobody promised. `None` where it names none of them otherwise.
pub(in crate::run) fn by_name(
    units: &[(ImageRef, BuildId)],
    named: &HashMap<BuildId, ImageRef>,
) -> Option<Vec<BuildId>> {
    let right = units.iter().all(|(unit, build)| named.get(build).is_none_or(|name| name == unit));
    if right {
        return None;
    }
    let of: HashMap<&ImageRef, &BuildId> =
        units.iter().filter_map(|(_, build)| Some((named.get(build)?, build))).collect();
    // All or nothing: half an exchange would give one build to two units.
    units.iter().map(|(unit, _)| of.get(unit).map(|&build| build.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Transfer(&'static str, Option<Group>);

    impl Queued for Transfer {
        fn group(&self) -> Option<Group> {
            self.1
        }
        fn length(&self) -> usize {
            self.0.len()
        }
    }

    const AMD: Option<Group> = Some(Group { platform: Platform::Amd64, visibility: None });
    const ARM: Option<Group> = Some(Group { platform: Platform::Arm64, visibility: None });

    fn names(taken: &[Transfer]) -> Vec<&str> {
        taken.iter().map(|transfer| transfer.0).collect()
    }

    #[test]
    fn what_is_alike_goes_together_and_nobody_is_left_behind() {
        let mut queue = Queue::default();
        for (name, group) in
            [("a", AMD), ("b", ARM), ("c", AMD), ("own", None), ("d", AMD), ("e", ARM)]
        {
            queue.push(Transfer(name, group));
        }
        assert_eq!(queue.next_size(), 3);
        assert_eq!(names(&queue.take(2)), ["a", "c"]);
        assert_eq!(names(&queue.take(9)), ["b", "e"]);
        assert_eq!(names(&queue.take(9)), ["own"]);
        assert_eq!(names(&queue.take(9)), ["d"]);
        assert!(queue.is_empty() && queue.next_size() == 0);
    }

    #[test]
    fn a_list_does_not_grow_without_end() {
        let mut queue = Queue::default();
        let long: &'static str = "x".repeat(LONGEST_LIST / 3).leak();
        (0..9).for_each(|_| queue.push(Transfer(long, AMD)));
        assert_eq!(queue.take(9).len(), 2);
        let longer: &'static str = "x".repeat(LONGEST_LIST * 2).leak();
        let mut queue = Queue::default();
        queue.push(Transfer(longer, AMD));
        assert_eq!(queue.take(9).len(), 1, "what is too long by itself goes alone");
    }

    fn accepted(build: &str, source: Option<&str>) -> Accepted {
        Accepted {
            build: BuildId::new(build).unwrap(),
            path: None,
            upload: None,
            expires_in: None,
            visibility: None,
            source: source.map(str::to_owned),
        }
    }

    /// The builds of the sources, and those that are nobody's.
    fn booked(sources: &[&str], answer: Vec<Accepted>) -> (Vec<Option<String>>, usize) {
        let answer = answer.into_iter().map(Ok).collect();
        let sources: Vec<String> = sources.iter().map(|&source| source.to_owned()).collect();
        let build = |part: Option<Part>| Some(part?.ok()?.build.to_string());
        let Booked { parts, spare } = book(&sources, answer);
        (parts.into_iter().map(build).collect(), spare.len())
    }

    #[test]
    fn each_part_of_an_answer_goes_to_its_source() {
        let is = |build: &str| Some(build.to_owned());
        let turned = vec![accepted("2", Some("y")), accepted("1", Some("x"))];
        assert_eq!(booked(&["x", "y"], turned), (vec![is("1"), is("2")], 0));
        let short = vec![accepted("2", Some("y"))];
        assert_eq!(booked(&["x", "y"], short), (vec![None, is("2")], 0));
        let unnamed = vec![accepted("1", None), accepted("2", None)];
        assert_eq!(booked(&["x", "y"], unnamed), (vec![is("1"), is("2")], 0));
        let fewer = vec![accepted("1", None)];
        assert_eq!(booked(&["x", "y"], fewer), (vec![None, None], 1), "whose is it?");
        let respelt = vec![accepted("2", Some("y")), accepted("1", Some("docker.io/x"))];
        assert_eq!(booked(&["x", "y"], respelt), (vec![is("1"), is("2")], 0));
        let twice = vec![accepted("1", Some("docker.io/x")), accepted("2", None)];
        assert_eq!(booked(&["x"], twice), (vec![is("1")], 0), "all of it is of the one source");
        assert_eq!(booked(&["x"], Vec::new()), (vec![None], 0));
    }

    #[test]
    fn names_win_over_the_order() {
        let id = |text: &str| BuildId::new(text).unwrap();
        let key = |text: &str| text.parse::<ImageRef>().unwrap();
        let units = [(key("x:1"), id("b1")), (key("y:1"), id("b2")), (key("z:1"), id("b3"))];
        let named = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(build, name)| (id(build), key(name))).collect::<HashMap<_, _>>()
        };
        let right = named(&[("b1", "x:1"), ("b3", "z:1")]);
        assert_eq!(by_name(&units, &right), None);
        let turned = named(&[("b1", "y:1"), ("b2", "x:1"), ("b3", "z:1")]);
        assert_eq!(by_name(&units, &turned), Some(vec![id("b2"), id("b1"), id("b3")]));
        let odd = named(&[("b1", "other:1"), ("b2", "y:1"), ("b3", "z:1")]);
        assert_eq!(by_name(&units, &odd), None, "nobody's: told where it is waited for");
    }
}
