//! Finds builds that the service accepted though its answer was lost: by name, tag and time.

use std::cmp::Reverse;
use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::client::Client;
use super::error::ApiError;
use super::poll::most_pages;
use super::response::{BuildProgress, RemoteBuild};
use crate::base::name::{BuildId, Owner};

/// How much older than the request a build may seem, by a service that tells its time to the second:
/// its machines have clocks of their own. It need not be narrow: a build of ours that is older is
/// known, and what is not newer than every known build of its image is no match.
const MARGIN: SignedDuration = SignedDuration::from_mins(2);

/// The same where the service did not tell its time: then it is our own clock that is compared.
const MARGIN_WITHOUT_DATE: SignedDuration = SignedDuration::from_mins(10);

/// How much older than the next a row may be in a listing that has the newest first: builds that
/// come at once are not dated and put in line in the same moment.
const DISORDER: SignedDuration = SignedDuration::from_secs(5);

/// A build that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostRequest {
    /// The image's name.
    pub name: String,
    /// Its tag.
    pub tag: String,
    /// Whose it will be. The listing is of the user's own builds, and whether those of a team are
    /// in it, nobody says (`api.md` §8).
    pub owner: Owner,
    /// When it was asked for first, by our clock.
    pub since: Timestamp,
}

/// What the listing says of a build that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveryResult {
    /// It was accepted: this is it.
    Accepted(RemoteBuild),
    /// It was not accepted: the listing would show it.
    NotAccepted,
    /// It is not in what was read, and may be there all the same.
    Unknown,
}

/// Looks in the listing for builds of these names and tags which nobody knows yet and which are no
/// older than the request for them, by the service's clock, nor than any that is known. Answers in
/// the order of `wanted`. Fails where the listing cannot be read: then nothing is known of any.
#[expect(clippy::implicit_hasher, reason = "there is one kind of set in the program")]
pub async fn recover_builds(
    client: &Client,
    wanted: &[LostRequest],
    known: &HashSet<BuildId>,
) -> Result<Vec<RecoveryResult>, ApiError> {
    let mut seen = Seen::default();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut offset = 0;
    for _ in 0..most_pages(wanted.len()) {
        let page = client.builds(offset).await?;
        if let Some(now) = page.now {
            seen.clock = Clock { skew: now.duration_since(Timestamp::now()), margin: MARGIN };
        }
        seen.rows.extend(page.builds);
        seen.whole = page.next.is_none();
        let open = seen.lookups(wanted, known).into_iter().zip(wanted);
        let mut open = open.filter(|(lookup, _)| !matches!(lookup, RecoveryResult::Accepted(_)));
        match page.next {
            Some(next) if open.any(|(_, wanted)| !seen.is_past(wanted.since)) => offset = next,
            _ => break,
        }
    }
    Ok(seen.lookups(wanted, known))
}

/// How the service's clock differs from ours, and how far that is to be trusted.
#[derive(Debug, Clone, Copy)]
struct Clock {
    skew: SignedDuration,
    margin: SignedDuration,
}

impl Default for Clock {
    fn default() -> Self {
        Self { skew: SignedDuration::ZERO, margin: MARGIN_WITHOUT_DATE }
    }
}

impl Clock {
    /// Whether what was created then cannot be what was asked for since.
    fn is_before(self, created: Timestamp, since: Timestamp) -> bool {
        created.duration_since(since) < self.skew - self.margin
    }
}

/// What was read of the listing.
#[derive(Debug, Default)]
struct Seen {
    rows: Vec<RemoteBuild>,
    clock: Clock,
    /// There is no more of it.
    whole: bool,
}

impl Seen {
    fn lookups(&self, wanted: &[LostRequest], known: &HashSet<BuildId>) -> Vec<RecoveryResult> {
        let rows = matching(wanted, known, &self.rows, self.clock);
        // One of ours in it shows that what belongs to others than the user is listed too.
        let shows_known = self.rows.iter().any(|row| is_known(row, known));
        let found = wanted.iter().zip(&rows).filter(|(_, row)| row.is_some());
        let shown: HashSet<&Owner> = found.map(|(wanted, _)| &wanted.owner).collect();
        let is_listed =
            |owner: &Owner| *owner == Owner::Personal || shows_known || shown.contains(owner);
        let lookup = |(wanted, row): (&LostRequest, &Option<usize>)| match row {
            Some(row) => RecoveryResult::Accepted(self.rows[*row].clone()),
            None if !is_listed(&wanted.owner) => RecoveryResult::Unknown,
            None if self.whole || self.is_past(wanted.since) => RecoveryResult::NotAccepted,
            None => RecoveryResult::Unknown,
        };
        wanted.iter().zip(&rows).map(lookup).collect()
    }

    /// Whether all that was not read is older than that: true where the rows come newest first and
    /// the last of them is.
    fn is_past(&self, since: Timestamp) -> bool {
        let mut dates = self.rows.iter().filter_map(|row| row.created);
        let Some(first) = dates.next() else { return false };
        let mut last = first;
        for date in dates {
            if date.duration_since(last) > DISORDER {
                return false;
            }
            last = last.min(date);
        }
        // Where all are of one moment, nobody knows which way it goes on.
        last < first && self.clock.is_before(last, since)
    }
}

fn is_known(row: &RemoteBuild, known: &HashSet<BuildId>) -> bool {
    row.build.as_ref().is_some_and(|id| known.contains(id))
}

/// For each of `wanted` its row, if it has one: the newest. No row is given twice.
fn matching(
    wanted: &[LostRequest],
    known: &HashSet<BuildId>,
    rows: &[RemoteBuild],
    clock: Clock,
) -> Vec<Option<usize>> {
    let mut used: HashSet<&BuildId> = HashSet::new();
    // The newest come first in all likelihood: so the first of two without a date, or of one.
    let age = |at: usize, row: &RemoteBuild| (row.created, Reverse(at));
    let find = |wanted: &LostRequest| {
        let is_of = |row: &RemoteBuild| {
            row.image.as_ref().is_some_and(|(name, tag)| *name == wanted.name && *tag == wanted.tag)
        };
        // What was asked for last is newer than all that is known of the image.
        let dated = rows.iter().enumerate().filter(|(_, row)| row.created.is_some());
        let newest = dated.filter(|(_, row)| is_of(row) && is_known(row, known));
        let newest = newest.map(|(at, row)| age(at, row)).max();
        let fits = |at: usize, row: &RemoteBuild| {
            let unused = row.build.as_ref().is_some_and(|id| !used.contains(id));
            let recent = match row.created {
                Some(created) => {
                    let superseded = newest.is_some_and(|newest| age(at, row) < newest);
                    !superseded && !clock.is_before(created, wanted.since)
                }
                None => matches!(row.progress, BuildProgress::Running(_)),
            };
            unused && !is_known(row, known) && recent && is_of(row)
        };
        let fitting = rows.iter().enumerate().filter(|(at, row)| fits(*at, row));
        let (at, row) = fitting.max_by_key(|(at, row)| age(*at, row))?;
        used.extend(row.build.as_ref());
        Some(at)
    };
    wanted.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::fake::{FakeServer, Reply};

    fn time(minute: i64) -> Timestamp {
        Timestamp::from_second(1_785_000_000 + 60 * minute).unwrap()
    }

    /// `id name:tag created`, where a `!` before the ID says that it has ended.
    fn row(text: &str) -> RemoteBuild {
        let mut words = text.split(' ');
        let (id, image) = (words.next().unwrap(), words.next().unwrap());
        let ended = id.starts_with('!');
        RemoteBuild {
            build: BuildId::new(id.trim_start_matches('!')),
            progress: if ended {
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

    fn wanted(image: &str, owner: Owner) -> LostRequest {
        let (name, tag) = image.split_once(':').unwrap();
        LostRequest { name: name.to_owned(), tag: tag.to_owned(), owner, since: time(10) }
    }

    /// What a listing of these rows says of images that were asked for in minute 10: an ID, `-` for
    /// what is not there, `?` for what is not known. The service tells its time.
    fn look(images: &[&str], owner: &Owner, rows: &[&str], whole: bool) -> Vec<String> {
        let known = HashSet::from([BuildId::new("known").unwrap()]);
        let wanted: Vec<LostRequest> =
            images.iter().map(|one| wanted(one, owner.clone())).collect();
        let clock = Clock { margin: MARGIN, ..Clock::default() };
        let seen = Seen { rows: rows.iter().map(|text| row(text)).collect(), clock, whole };
        let lookups = seen.lookups(&wanted, &known).into_iter();
        let word = |lookup| match lookup {
            RecoveryResult::Accepted(view) => view.build.unwrap().to_string(),
            RecoveryResult::NotAccepted => "-".to_owned(),
            RecoveryResult::Unknown => "?".to_owned(),
        };
        lookups.map(word).collect()
    }

    #[test]
    fn a_build_is_found_by_name_tag_and_time() {
        type Texts = &'static [&'static str];
        let cases: &[(&str, Texts, Texts, Texts)] = &[
            ("the one", &["a:1"], &["x a:1 10"], &["x"]),
            ("by a clock that is behind", &["a:1"], &["x a:1 8"], &["x"]),
            ("too old", &["a:1"], &["x a:1 7"], &["-"]),
            ("another name, another tag", &["a:1"], &["x b:1 11", "y a:2 11"], &["-"]),
            ("known already", &["a:1"], &["known a:1 11"], &["-"]),
            ("known and new", &["a:1"], &["x a:1 12", "known a:1 11"], &["x"]),
            ("superseded", &["a:1"], &["known a:1 12", "x a:1 11"], &["-"]),
            ("superseded at once", &["a:1"], &["known a:1 11", "x a:1 11"], &["-"]),
            ("new at once", &["a:1"], &["x a:1 11", "known a:1 11"], &["x"]),
            ("another is known", &["a:1"], &["known b:1 12", "x a:1 11"], &["x"]),
            ("the newest", &["a:1"], &["x a:1 11", "y a:1 13", "z a:1 12"], &["y"]),
            ("ended since", &["a:1"], &["!x a:1 11"], &["x"]),
            ("no date, under way", &["a:1"], &["x a:1", "y a:1"], &["x"]),
            ("no date, ended", &["a:1"], &["!x a:1"], &["-"]),
            ("a date before none", &["a:1"], &["x a:1", "y a:1 11"], &["y"]),
            ("no image", &["a:1"], &["x none 11"], &["-"]),
            ("each once", &["a:1", "a:1", "a:1"], &["x a:1 11", "y a:1 12"], &["y", "x", "-"]),
            ("each its own", &["a:1", "b:1"], &["x b:1 11", "y a:1 11"], &["y", "x"]),
        ];
        for (case, wanted, rows, expected) in cases {
            assert_eq!(&look(wanted, &Owner::Personal, rows, true), expected, "{case}");
        }
    }

    #[test]
    fn what_is_not_in_it_may_be_there() {
        type Texts = &'static [&'static str];
        let team = Owner::Team("t".to_owned());
        // What all of a listing says, and what its first pages say: of the user, of a team.
        let cases: &[(&str, Texts, [&str; 4])] = &[
            ("nothing", &[], ["-", "?", "?", "?"]),
            ("newer ones", &["x b:1 12", "y b:1 11"], ["-", "?", "?", "?"]),
            ("older ones too", &["x b:1 12", "y b:1 7"], ["-", "-", "?", "?"]),
            ("older ones, oldest first", &["x b:1 1", "y b:1 7"], ["-", "?", "?", "?"]),
            ("of one moment", &["x b:1 7", "y b:1 7"], ["-", "?", "?", "?"]),
            ("in no order", &["x b:1 12", "y b:1 7", "z b:1 9", "w b:1 6"], ["-", "?", "?", "?"]),
            ("a date here and there", &["x b:1 9", "y b:1", "z b:1 7"], ["-", "-", "?", "?"]),
            ("one of ours, newer", &["x b:1 12", "known b:1 11"], ["-", "?", "-", "?"]),
            ("one of ours, older", &["x b:1 12", "known b:1 7"], ["-", "-", "-", "-"]),
        ];
        for (case, rows, expected) in cases {
            let said = |owner: &Owner, whole| look(&["a:1"], owner, rows, whole).remove(0);
            let of = |owner: &Owner| [said(owner, true), said(owner, false)];
            let all = [of(&Owner::Personal), of(&team)].concat();
            assert_eq!(all, expected, "{case}");
        }
        let platform = look(&["a:1"], &Owner::Platform, &[], true);
        assert_eq!(platform, ["?"], "nor is that the user's");
        let of_batch = look(&["a:1", "b:1"], &team, &["x b:1 11"], true);
        assert_eq!(of_batch, ["-", "x"], "one that is found shows that the team's are listed");
    }

    #[test]
    fn clocks_differ() {
        let secs = SignedDuration::from_secs;
        let told = Clock { skew: secs(-3600), margin: MARGIN };
        let before = |clock: Clock, after| clock.is_before(time(10) + secs(after), time(10));
        for (after, expected) in [(-3600, false), (-3720, false), (-3721, true), (0, false)] {
            assert_eq!(before(told, after), expected, "{after}");
        }
        for (after, expected) in [(-600, false), (-601, true)] {
            assert_eq!(before(Clock::default(), after), expected, "{after}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn builds_whose_answer_was_lost_are_found_by_the_services_clock() {
        let now = Timestamp::now();
        // The service is an hour behind us.
        let theirs = |ago: i64| (now - SignedDuration::from_secs(3600 + ago)).to_string();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new();
        let date = date.timestamp_to_rfc9110_string(&(now - SignedDuration::from_secs(3600)));
        let page = json!({ "data": [
            { "id": "other", "status": "PENDING", "imageName": "x", "imageTag": "1", "createdAt": theirs(1) },
            { "id": "new", "status": "BUILDING", "imageName": "api", "imageTag": "1", "createdAt": theirs(30) },
            { "id": "old", "status": "COMPLETED", "imageName": "api", "imageTag": "1", "createdAt": theirs(182) },
        ], "total_count": 300 });
        let fake = FakeServer::script([Reply::json(200, &page).header("date", &date.unwrap())]);
        let client = Client::fake(&fake);
        let wanted = |tag: &str| LostRequest {
            name: "api".to_owned(),
            tag: tag.to_owned(),
            owner: Owner::Personal,
            since: now - SignedDuration::from_secs(60),
        };
        let found =
            recover_builds(&client, &[wanted("2"), wanted("1")], &HashSet::new()).await.unwrap();
        assert_eq!(found[0], RecoveryResult::NotAccepted);
        assert!(
            matches!(&found[1], RecoveryResult::Accepted(view) if view.build == BuildId::new("new"))
        );
        // All that follows is older.
        assert_eq!(fake.lines(), ["GET /images/builds?offset=0&limit=100"]);
        assert_eq!(recover_builds(&client, &[], &HashSet::new()).await, Ok(Vec::new()));
        assert_eq!(fake.lines().len(), 1, "nothing to look for");
        let fake = FakeServer::script([Reply::detail(404, "no")]);
        assert!(
            recover_builds(&Client::fake(&fake), &[wanted("1")], &HashSet::new()).await.is_err()
        );
    }
}
