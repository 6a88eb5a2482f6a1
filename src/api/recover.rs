//! Recovers builds whose response was lost: finds them in the listing by name, tag and time.

use std::cmp::Reverse;
use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::client::{BUILDS_PER_PAGE, Client};
use super::error::ApiError;
use super::poll::MIN_PAGE_LIMIT;
use super::response::{BuildProgress, RemoteBuild};
use crate::base::name::{BuildId, ImageRef, Owner};
use crate::base::source_ref::{RegistryKind, SourceRef};

/// Tolerated time by which a build may seem older than its request, if the service states its time:
/// its machines have their own clocks. It may be wide, because the builds that this run has recorded
/// are known, and a build that is older than a known one of the same image never matches.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(2);

/// The same if the service does not state its time, so that the local clock is compared.
const LOCAL_CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

/// Tolerated timestamp disorder between neighbouring rows of a newest-first listing: builds that
/// are created at once do not get their time and their position in the same moment.
const DISORDER_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// Pages in addition to those that the builds of the lost requests fill: other users build as well.
const EXTRA_PAGES: usize = 10;

/// A build request whose response was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LostRequest {
    /// Names that the service may have given the image, the likeliest first.
    pub images: Vec<ImageRef>,
    /// Owner of the image. The listing has the user's own builds; whether it has those of a team is
    /// unknown (API contract, section 6).
    pub owner: Owner,
    /// Time of the first request, by the local clock.
    pub since: Timestamp,
}

/// Returns the names that the service may give a unit: that of the unit and, for a mirror of Docker
/// Hub, those that it derives from the source. For other registries it uses the name of the request.
pub(crate) fn possible_images(unit: &ImageRef, source: Option<&SourceRef>) -> Vec<ImageRef> {
    let source = source.filter(|source| source.registry_kind() == RegistryKind::DockerHub);
    let derived = source.map(SourceRef::destinations).unwrap_or_default();
    let others = derived.iter().filter(|image| *image != unit);
    [unit].into_iter().chain(others).cloned().collect()
}

/// Result of the search for the build of a lost request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecoveryResult {
    /// The request was accepted and created this build.
    Accepted(RemoteBuild),
    /// The request was not accepted: the listing would contain its build.
    NotAccepted,
    /// The build was not found and may exist nevertheless.
    Unknown,
}

/// Searches the listing for the builds of lost requests. Returns one result per request, in order.
///
/// A build matches if it has the name and tag, is not in `known`, and is neither older than the
/// request, by the service's clock, nor older than a known build of the image.
///
/// # Errors
///
/// Fails if the listing cannot be read.
pub(crate) async fn recover_builds(
    client: &Client,
    requests: &[LostRequest],
    known: &HashSet<BuildId>,
) -> Result<Vec<RecoveryResult>, ApiError> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let mut listed = ListedBuilds::default();
    let mut offset = 0;
    let full_pages =
        requests.len().div_ceil(usize::try_from(BUILDS_PER_PAGE).unwrap_or(usize::MAX));
    for _ in 0..MIN_PAGE_LIMIT.max(full_pages + EXTRA_PAGES) {
        let page = client.builds(offset).await?;
        if let Some(date) = page.date {
            let offset = date.duration_since(Timestamp::now());
            listed.clock = ServiceClock { offset, tolerance: CLOCK_TOLERANCE };
        }
        listed.rows.extend(page.builds);
        listed.complete = page.next.is_none();
        let mut open = listed
            .results(requests, known)
            .into_iter()
            .zip(requests)
            .filter(|(result, _)| !matches!(result, RecoveryResult::Accepted(_)));
        match page.next {
            Some(next) if open.any(|(_, request)| !listed.reaches_back_to(request.since)) => {
                offset = next;
            }
            _ => break,
        }
    }
    Ok(listed.results(requests, known))
}

/// The service's clock, compared with the local one.
#[derive(Debug, Clone, Copy)]
struct ServiceClock {
    /// Service time minus local time.
    offset: SignedDuration,
    tolerance: SignedDuration,
}

impl Default for ServiceClock {
    fn default() -> Self {
        Self { offset: SignedDuration::ZERO, tolerance: LOCAL_CLOCK_TOLERANCE }
    }
}

impl ServiceClock {
    /// Returns true if a build that was created then is older than a request of `since`.
    fn is_before(self, created: Timestamp, since: Timestamp) -> bool {
        created.duration_since(since) < self.offset - self.tolerance
    }
}

/// The part of the listing that was read.
#[derive(Debug, Default)]
struct ListedBuilds {
    rows: Vec<RemoteBuild>,
    clock: ServiceClock,
    /// True if the last page was read.
    complete: bool,
}

impl ListedBuilds {
    fn results(&self, requests: &[LostRequest], known: &HashSet<BuildId>) -> Vec<RecoveryResult> {
        let matches = match_rows(requests, known, &self.rows, self.clock);
        // A known build shows that the listing includes the builds of other owners too.
        let lists_known = self.rows.iter().any(|row| is_known(row, known));
        let found = requests.iter().zip(&matches).filter(|(_, row)| row.is_some());
        let found_owners: HashSet<&Owner> = found.map(|(request, _)| &request.owner).collect();
        let is_listed = |owner: &Owner| {
            *owner == Owner::Personal || lists_known || found_owners.contains(owner)
        };
        let result = |(request, row): (&LostRequest, &Option<usize>)| match row {
            Some(row) => RecoveryResult::Accepted(self.rows[*row].clone()),
            None if !is_listed(&request.owner) => RecoveryResult::Unknown,
            None if self.complete || self.reaches_back_to(request.since) => {
                RecoveryResult::NotAccepted
            }
            None => RecoveryResult::Unknown,
        };
        requests.iter().zip(&matches).map(result).collect()
    }

    /// Returns true if all unread rows are older than a request of `since`: the rows come newest
    /// first, and the last one is older.
    fn reaches_back_to(&self, since: Timestamp) -> bool {
        let mut times = self.rows.iter().filter_map(|row| row.created);
        let Some(first) = times.next() else { return false };
        let mut oldest = first;
        for time in times {
            if time.duration_since(oldest) > DISORDER_TOLERANCE {
                return false;
            }
            oldest = oldest.min(time);
        }
        // Rows of a single moment do not show the order.
        oldest < first && self.clock.is_before(oldest, since)
    }
}

fn is_known(row: &RemoteBuild, known: &HashSet<BuildId>) -> bool {
    row.build.as_ref().is_some_and(|id| known.contains(id))
}

/// Returns the index of the newest matching row of each request. No row is used twice, and a row of a
/// likelier name comes before one of another name.
fn match_rows(
    requests: &[LostRequest],
    known: &HashSet<BuildId>,
    rows: &[RemoteBuild],
    clock: ServiceClock,
) -> Vec<Option<usize>> {
    let mut used: HashSet<&BuildId> = HashSet::new();
    let mut matches: Vec<Option<usize>> = requests.iter().map(|_| None).collect();
    let names = requests.iter().map(|request| request.images.len()).max().unwrap_or(0);
    for name in 0..names {
        for (request, found) in requests.iter().zip(&mut matches).filter(|(_, row)| row.is_none()) {
            let Some(image) = request.images.get(name) else { continue };
            let row = newest_row(image, request.since, (known, &used), rows, clock);
            used.extend(row.and_then(|row| rows[row].build.as_ref()));
            *found = row;
        }
    }
    matches
}

/// Returns the index of the newest row of an image that a request of `since` may have created.
fn newest_row(
    image: &ImageRef,
    since: Timestamp,
    (known, used): (&HashSet<BuildId>, &HashSet<&BuildId>),
    rows: &[RemoteBuild],
    clock: ServiceClock,
) -> Option<usize> {
    // Rows of the same time, or without one, are probably listed newest first.
    let age = |index: usize, row: &RemoteBuild| (row.created, Reverse(index));
    let is_of_image = |row: &RemoteBuild| {
        let named = row.image.as_ref();
        named.is_some_and(|(name, tag)| name == image.name.as_str() && tag == image.tag.as_str())
    };
    // The lost request came after all known builds of the image.
    let dated = rows.iter().enumerate().filter(|(_, row)| row.created.is_some());
    let known_rows = dated.filter(|(_, row)| is_of_image(row) && is_known(row, known));
    let newest_known = known_rows.map(|(index, row)| age(index, row)).max();
    let is_match = |index: usize, row: &RemoteBuild| {
        let is_unused = row.build.as_ref().is_some_and(|id| !used.contains(id));
        let is_recent = match row.created {
            Some(created) => {
                let is_superseded = newest_known.is_some_and(|newest| age(index, row) < newest);
                !is_superseded && !clock.is_before(created, since)
            }
            None => matches!(row.progress, BuildProgress::Running(_)),
        };
        is_unused && !is_known(row, known) && is_recent && is_of_image(row)
    };
    let matches = rows.iter().enumerate().filter(|(index, row)| is_match(*index, row));
    matches.max_by_key(|(index, row)| age(*index, row)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::fake::{FakeServer, Reply};

    fn time(minute: i64) -> Timestamp {
        Timestamp::from_second(1_785_000_000 + 60 * minute).unwrap()
    }

    /// Creates a row from `id name:tag minute`. A `!` before the ID marks a completed build.
    fn row(text: &str) -> RemoteBuild {
        let mut words = text.split(' ');
        let (id, image) = (words.next().unwrap(), words.next().unwrap());
        let is_completed = id.starts_with('!');
        RemoteBuild {
            build: BuildId::new(id.trim_start_matches('!')),
            progress: if is_completed {
                BuildProgress::Completed
            } else {
                BuildProgress::Running("PENDING".to_owned())
            },
            path: None,
            image: image.split_once(':').map(|(name, tag)| (name.to_owned(), tag.to_owned())),
            created: words.next().map(|minute| time(minute.parse().unwrap())),
            started: None,
            completed: None,
        }
    }

    /// Creates a request from names, the likeliest first: `a:1 b/a:1`.
    fn request(images: &str, owner: Owner) -> LostRequest {
        let images = images.split(' ').map(|image| image.parse().unwrap()).collect();
        LostRequest { images, owner, since: time(10) }
    }

    /// Recovers requests of minute 10 from a listing with these rows, at a service that states its
    /// time. Returns the ID of each build, `-` if it was not accepted, and `?` if that is unknown.
    fn recover(images: &[&str], owner: &Owner, rows: &[&str], complete: bool) -> Vec<String> {
        let known = HashSet::from([BuildId::new("known").unwrap()]);
        let requests: Vec<LostRequest> =
            images.iter().map(|image| request(image, owner.clone())).collect();
        let clock = ServiceClock { tolerance: CLOCK_TOLERANCE, ..ServiceClock::default() };
        let rows = rows.iter().map(|text| row(text)).collect();
        let results = ListedBuilds { rows, clock, complete }.results(&requests, &known);
        let word = |result| match result {
            RecoveryResult::Accepted(build) => build.build.unwrap().to_string(),
            RecoveryResult::NotAccepted => "-".to_owned(),
            RecoveryResult::Unknown => "?".to_owned(),
        };
        results.into_iter().map(word).collect()
    }

    #[test]
    fn only_mirrors_of_docker_hub_may_get_a_derived_name() {
        for (unit, source, expected) in [
            ("up:v1", Some("ghcr.io/x/api:v1"), "up:v1"),
            ("app:v1", None, "app:v1"),
            ("redis:7", Some("docker.io/library/redis:7"), "redis:7 library/redis:7"),
            ("up:10", Some("grafana/grafana:10"), "up:10 grafana/grafana:10 grafana:10"),
        ] {
            let source = source.map(|source| source.parse().unwrap());
            let images = possible_images(&unit.parse().unwrap(), source.as_ref());
            let images: Vec<String> = images.iter().map(ToString::to_string).collect();
            assert_eq!(images.join(" "), expected);
        }
    }

    #[test]
    fn builds_are_matched_by_name_tag_and_time() {
        type Texts = &'static [&'static str];
        let cases: &[(&str, Texts, Texts, Texts)] = &[
            ("same image", &["a:1"], &["x a:1 10"], &["x"]),
            ("a clock that is behind", &["a:1"], &["x a:1 8"], &["x"]),
            ("too old", &["a:1"], &["x a:1 7"], &["-"]),
            ("another name, another tag", &["a:1"], &["x b:1 11", "y a:2 11"], &["-"]),
            ("known", &["a:1"], &["known a:1 11"], &["-"]),
            ("newer than a known one", &["a:1"], &["x a:1 12", "known a:1 11"], &["x"]),
            ("superseded", &["a:1"], &["known a:1 12", "x a:1 11"], &["-"]),
            ("superseded at the same time", &["a:1"], &["known a:1 11", "x a:1 11"], &["-"]),
            ("newer at the same time", &["a:1"], &["x a:1 11", "known a:1 11"], &["x"]),
            ("known one of another image", &["a:1"], &["known b:1 12", "x a:1 11"], &["x"]),
            ("the newest", &["a:1"], &["x a:1 11", "y a:1 13", "z a:1 12"], &["y"]),
            ("completed since", &["a:1"], &["!x a:1 11"], &["x"]),
            ("no time, running", &["a:1"], &["x a:1", "y a:1"], &["x"]),
            ("no time, completed", &["a:1"], &["!x a:1"], &["-"]),
            ("a time before none", &["a:1"], &["x a:1", "y a:1 11"], &["y"]),
            ("no image", &["a:1"], &["x none 11"], &["-"]),
            ("each row once", &["a:1", "a:1", "a:1"], &["x a:1 11", "y a:1 12"], &["y", "x", "-"]),
            ("another name of the source", &["b/a:1 a:1"], &["x a:1 11"], &["x"]),
            ("the likelier name", &["b/a:1 a:1"], &["x a:1 12", "y b/a:1 11"], &["y"]),
            (
                "the name of another request",
                &["b/a:1 a:1", "a:1 c/a:1"],
                &["x a:1 11", "y b/a:1 11"],
                &["y", "x"],
            ),
            ("only the other's", &["b/a:1 a:1", "a:1"], &["x a:1 11"], &["-", "x"]),
            ("each request its own", &["a:1", "b:1"], &["x b:1 11", "y a:1 11"], &["y", "x"]),
        ];
        for (case, images, rows, expected) in cases {
            assert_eq!(&recover(images, &Owner::Personal, rows, true), expected, "{case}");
        }
    }

    #[test]
    fn a_missing_build_may_exist() {
        type Texts = &'static [&'static str];
        let team = Owner::Team("t".to_owned());
        // Expected for the user and then a team: of the whole listing, and of its first pages.
        let cases: &[(&str, Texts, [&str; 4])] = &[
            ("nothing", &[], ["-", "?", "?", "?"]),
            ("newer ones", &["x b:1 12", "y b:1 11"], ["-", "?", "?", "?"]),
            ("older ones too", &["x b:1 12", "y b:1 7"], ["-", "-", "?", "?"]),
            ("older ones, oldest first", &["x b:1 1", "y b:1 7"], ["-", "?", "?", "?"]),
            ("of the same time", &["x b:1 7", "y b:1 7"], ["-", "?", "?", "?"]),
            ("in no order", &["x b:1 12", "y b:1 7", "z b:1 9", "w b:1 6"], ["-", "?", "?", "?"]),
            ("some without a time", &["x b:1 9", "y b:1", "z b:1 7"], ["-", "-", "?", "?"]),
            ("a known one, newer", &["x b:1 12", "known b:1 11"], ["-", "?", "-", "?"]),
            ("a known one, older", &["x b:1 12", "known b:1 7"], ["-", "-", "-", "-"]),
        ];
        for (case, rows, expected) in cases {
            let result =
                |owner: &Owner, complete| recover(&["a:1"], owner, rows, complete).remove(0);
            let both = |owner: &Owner| [result(owner, true), result(owner, false)];
            let all = [both(&Owner::Personal), both(&team)].concat();
            assert_eq!(all, expected, "{case}");
        }
        let platform = recover(&["a:1"], &Owner::Platform, &[], true);
        assert_eq!(platform, ["?"], "not an image of the user");
        let of_batch = recover(&["a:1", "b:1"], &team, &["x b:1 11"], true);
        assert_eq!(of_batch, ["-", "x"], "a found build shows that the team's builds are listed");
    }

    #[test]
    fn clocks_may_differ() {
        let secs = SignedDuration::from_secs;
        let service = ServiceClock { offset: secs(-3600), tolerance: CLOCK_TOLERANCE };
        let before = |clock: ServiceClock, after| clock.is_before(time(10) + secs(after), time(10));
        for (after, expected) in [(-3600, false), (-3720, false), (-3721, true), (0, false)] {
            assert_eq!(before(service, after), expected, "{after}");
        }
        for (after, expected) in [(-600, false), (-601, true)] {
            assert_eq!(before(ServiceClock::default(), after), expected, "{after}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lost_builds_are_found_by_the_services_clock() {
        let now = Timestamp::now();
        // The clock of the service is an hour behind.
        let service_time = |ago: i64| (now - SignedDuration::from_secs(3600 + ago)).to_string();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new();
        let date = date.timestamp_to_rfc9110_string(&(now - SignedDuration::from_secs(3600)));
        let row = |id: &str, status: &str, name: &str, ago: i64| {
            let created = service_time(ago);
            json!({ "id": id, "status": status, "imageName": name, "imageTag": "1",
                    "createdAt": created })
        };
        let rows = [
            row("other", "PENDING", "x", 1),
            row("new", "BUILDING", "api", 30),
            row("old", "COMPLETED", "api", 182),
        ];
        let page = json!({ "data": rows, "total_count": 300 });
        let fake = FakeServer::script([Reply::json(200, &page).header("date", &date.unwrap())]);
        let client = Client::fake(&fake);
        let request = |tag: &str| LostRequest {
            images: vec![format!("api:{tag}").parse().unwrap()],
            owner: Owner::Personal,
            since: now - SignedDuration::from_secs(60),
        };
        let results =
            recover_builds(&client, &[request("2"), request("1")], &HashSet::new()).await.unwrap();
        assert_eq!(results[0], RecoveryResult::NotAccepted);
        let RecoveryResult::Accepted(build) = &results[1] else { panic!("{results:?}") };
        assert_eq!(build.build, BuildId::new("new"));
        // All further rows are older.
        assert_eq!(fake.lines(), ["GET /images/builds?offset=0&limit=100"]);
        assert_eq!(recover_builds(&client, &[], &HashSet::new()).await, Ok(Vec::new()));
        assert_eq!(fake.lines().len(), 1, "no request, no lookup");
        let fake = FakeServer::script([Reply::detail(404, "no")]);
        assert!(
            recover_builds(&Client::fake(&fake), &[request("1")], &HashSet::new()).await.is_err()
        );
    }
}
