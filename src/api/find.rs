//! Finds builds that the service accepted though its answer was lost: by name, tag and time.

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
/// older than the request for them, by the service's clock. Says for which of `wanted` there is
/// one. Fails where the listing cannot be read: then nothing is known of any.
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
    let last = dates.last().unwrap_or(first);
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
    for (index, wanted) in wanted.iter().enumerate() {
        let fits = |row: &BuildView| {
            let Some((name, tag)) = &row.image else { return false };
            let new =
                row.build.as_ref().is_some_and(|id| !known.contains(id) && !used.contains(id));
            let recent = match row.created {
                Some(created) => !is_before(created, wanted.since, skew),
                None => matches!(row.progress, Progress::Running(_)),
            };
            new && recent && *name == wanted.name && *tag == wanted.tag
        };
        let fitting = rows.iter().enumerate().filter(|(_, row)| fits(row));
        // Of two without a date, or of one, the first: the newest come first in all likelihood.
        let newest = fitting.max_by_key(|(at, row)| (row.created, std::cmp::Reverse(*at)));
        if let Some((at, row)) = newest {
            used.extend(row.build.as_ref());
            found.push((index, at));
        }
    }
    found
}

#[cfg(test)]
mod tests {}
