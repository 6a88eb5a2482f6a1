//! Finds builds that the service accepted though its answer was lost: by name, tag and time.

use std::cmp::Reverse;
use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::answer::{BuildView, Progress};
use super::client::Client;
use super::error::ApiError;
use super::look::PAGES;
use crate::base::name::BuildId;

/// Clocks that are compared to the second, over a network.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// A build that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The image's name.
    pub name: String,
    /// Its tag.
    pub tag: String,
    /// When it was asked for first, by our clock.
    pub since: Timestamp,
}

/// Looks in the listing for builds of these names and tags which nobody knows yet and which are no
/// older than the request for them, by the service's clock, nor than any that is known. Says for
/// which of `wanted` there is one. Fails where the listing cannot be read: then nothing is known of
/// any.
#[expect(clippy::implicit_hasher, reason = "there is one kind of set in the program")]
pub async fn find(
    client: &Client,
    wanted: &[Wanted],
    known: &HashSet<BuildId>,
) -> Result<Vec<(usize, BuildView)>, ApiError> {
    let Some(oldest) = wanted.iter().map(|wanted| wanted.since).min() else {
        return Ok(Vec::new());
    };
    let (mut rows, mut skew) = (Vec::new(), SignedDuration::ZERO);
    let mut offset = 0;
    for _ in 0..PAGES {
        let page = client.builds(offset).await?;
        if let Some(now) = page.now {
            skew = now.duration_since(Timestamp::now());
        }
        let past = is_past(&page.builds, oldest, skew);
        rows.extend(page.builds);
        match page.next {
            Some(next) if !past && matching(wanted, known, &rows, skew).len() < wanted.len() => {
                offset = next;
            }
            _ => break,
        }
    }
    let found = matching(wanted, known, &rows, skew);
    Ok(found.into_iter().map(|(index, row)| (index, rows[row].clone())).collect())
}

/// Whether what follows this page is older than all that is looked for: true where its rows come
/// newest first and the last of them is.
fn is_past(rows: &[BuildView], oldest: Timestamp, skew: SignedDuration) -> bool {
    let mut dates = rows.iter().filter_map(|row| row.created);
    let Some(first) = dates.next() else { return false };
    let last = dates.next_back().unwrap_or(first);
    last <= first && is_before(last, oldest, skew)
}

fn is_before(created: Timestamp, since: Timestamp, skew: SignedDuration) -> bool {
    created.duration_since(since) < skew - MARGIN
}

/// For each of `wanted` that has one, its row: the newest. No row is given twice.
fn matching(
    wanted: &[Wanted],
    known: &HashSet<BuildId>,
    rows: &[BuildView],
    skew: SignedDuration,
) -> Vec<(usize, usize)> {
    let mut used: HashSet<&BuildId> = HashSet::new();
    let mut found = Vec::new();
    // The newest come first in all likelihood: so the first of two without a date, or of one.
    let age = |at: usize, row: &BuildView| (row.created, Reverse(at));
    let is_known = |row: &BuildView| row.build.as_ref().is_some_and(|id| known.contains(id));
    for (index, wanted) in wanted.iter().enumerate() {
        let is_of = |row: &BuildView| {
            row.image.as_ref().is_some_and(|(name, tag)| *name == wanted.name && *tag == wanted.tag)
        };
        // What was asked for last is newer than all that is known of the image.
        let dated = rows.iter().enumerate().filter(|(_, row)| row.created.is_some());
        let newest = dated.filter(|(_, row)| is_of(row) && is_known(row));
        let newest = newest.map(|(at, row)| age(at, row)).max();
        let fits = |at: usize, row: &BuildView| {
            let new = row.build.as_ref().is_some_and(|id| !used.contains(id)) && !is_known(row);
            let recent = match row.created {
                Some(created) => {
                    let superseded = newest.is_some_and(|newest| age(at, row) < newest);
                    !superseded && !is_before(created, wanted.since, skew)
                }
                None => matches!(row.progress, Progress::Running(_)),
            };
            new && recent && is_of(row)
        };
        let fitting = rows.iter().enumerate().filter(|(at, row)| fits(*at, row));
        let newest = fitting.max_by_key(|(at, row)| age(*at, row));
        if let Some((at, row)) = newest {
            used.extend(row.build.as_ref());
            found.push((index, at));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(minute: i64) -> Timestamp {
        Timestamp::from_second(1_785_000_000 + 60 * minute).unwrap()
    }

    /// `id name:tag created`, where a `!` before the ID says that it has ended.
    fn row(text: &str) -> BuildView {
        let mut words = text.split(' ');
        let (id, image) = (words.next().unwrap(), words.next().unwrap());
        let ended = id.starts_with('!');
        BuildView {
            build: BuildId::new(id.trim_start_matches('!')),
            progress: if ended {
                Progress::Completed
            } else {
                Progress::Running("PENDING".to_owned())
            },
            path: None,
            image: image.split_once(':').map(|(name, tag)| (name.to_owned(), tag.to_owned())),
            created: words.next().map(|minute| time(minute.parse().unwrap())),
            started: None,
        }
    }

    #[test]
    fn a_build_is_found_by_name_tag_and_time() {
        type Texts = &'static [&'static str];
        let cases: &[(&str, Texts, Texts, Texts)] = &[
            ("the one", &["a:1"], &["x a:1 10"], &["x"]),
            ("too old", &["a:1"], &["x a:1 9"], &["-"]),
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
        let known = HashSet::from([BuildId::new("known").unwrap()]);
        for (case, wanted, rows, expected) in cases {
            let wanted: Vec<Wanted> = wanted
                .iter()
                .filter_map(|image| image.split_once(':'))
                .map(|(name, tag)| (name.to_owned(), tag.to_owned()))
                .map(|(name, tag)| Wanted { name, tag, since: time(10) })
                .collect();
            let rows: Vec<BuildView> = rows.iter().map(|text| row(text)).collect();
            let found = matching(&wanted, &known, &rows, SignedDuration::ZERO);
            let of = |index: usize| {
                let row = found.iter().find(|(at, _)| *at == index)?.1;
                rows[row].build.as_ref().map(BuildId::as_str)
            };
            let found: Vec<&str> = (0..wanted.len()).map(|at| of(at).unwrap_or("-")).collect();
            assert_eq!(&found, expected, "{case}");
        }
    }

    #[test]
    fn clocks_differ() {
        let secs = SignedDuration::from_secs;
        let (since, skew) = (time(10), secs(-3600));
        for (after, before) in [(-3600, false), (-3605, false), (-3606, true), (0, false)] {
            assert_eq!(is_before(since + secs(after), since, skew), before, "{after}");
        }
    }

    #[test]
    fn pages_end_where_all_is_older_and_the_newest_come_first() {
        let past = |rows: &[&str]| {
            let rows: Vec<BuildView> = rows.iter().map(|text| row(text)).collect();
            is_past(&rows, time(10), SignedDuration::ZERO)
        };
        assert!(past(&["x a:1 12", "y a:1 9"]));
        assert!(past(&["x a:1 9", "y a:1", "z a:1 8"]));
        assert!(!past(&["x a:1 12", "y a:1 11"]));
        assert!(!past(&["x a:1 1", "y a:1 9"]), "oldest first: what is new comes later");
        assert!(!past(&["x a:1"]) && !past(&[]));
    }
}
