//! Asks how builds are, for whoever waits for some or wants to know: few one by one, more by the
//! listing, which costs one request for a hundred.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use super::client::{BUILDS_PER_PAGE, Client};
use super::error::{ApiError, ErrorKind};
use super::response::RemoteBuild;
use super::retry::{Attempts, Repeat};
use crate::base::name::BuildId;

/// Up to this many builds are asked for one by one; more, by the listing.
const FEW: usize = 3;

/// Pages of a listing read in one look, if not more are needed. A build that is on none of them is
/// asked for by itself.
const PAGES: usize = 20;

/// Pages beside those that the builds fill that are looked for: somebody else builds as well.
const SPARE_PAGES: usize = 10;

/// Pages in a row that show none of ours, after which no more are read: the newest come first in
/// all likelihood (`api.md` §8 does not know). Where more builds than these are still looked for, as
/// many pages as builds: each would be asked for by itself instead, and somebody's thousand newer
/// ones may stand before them.
const BARREN: usize = 2;

/// Rows of a first page beside those that are looked for: somebody else builds as well.
const SPARE: u64 = 20;

/// Looks in a row in which the listing showed none of ours, before it is no longer asked: it may
/// leave the builds of teams out (`api.md` §8).
const VAIN: u32 = 2;

/// After so long a listing that was of no use is asked again: one odd answer says little.
const FIRST_REST: Duration = Duration::from_secs(5);

/// After so long at last: each rest is twice as long as the one before, until it was of use.
const LONGEST_REST: Duration = Duration::from_secs(600);

/// Status requests at once.
const AT_ONCE: usize = 8;

/// Attempts at one request for whoever looks again soon anyway.
const QUICK: u32 = 3;

/// What is known of the service's listing of builds, from look to look.
#[derive(Debug, Clone, Default)]
pub struct PollState {
    quick: bool,
    /// Of no use, until then.
    resting: Option<Instant>,
    /// Rests since it was of use.
    rests: u32,
    /// Looks since it was of use.
    vain: u32,
    cost: u32,
}

impl PollState {
    /// Nothing is known, and each request is tried as often as the rules allow.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing is known, and a request is tried three times at most: for whoever looks again soon,
    /// so that one build in trouble does not hold up the look at the others.
    pub fn quick() -> Self {
        Self { quick: true, ..Self::default() }
    }

    /// How many requests the last look took, without those that were repeated.
    pub fn cost(&self) -> u32 {
        self.cost
    }

    fn tries(&self) -> Attempts {
        let tries = Attempts::new(Repeat::Safe);
        if self.quick { tries.at_most(QUICK) } else { tries }
    }

    fn is_worth_asking(&self, now: Instant) -> bool {
        self.resting.is_none_or(|until| until <= now)
    }

    /// Takes in whether it showed any of the builds that were looked for.
    fn showed(&mut self, some: bool, now: Instant) {
        if some {
            (self.vain, self.rests) = (0, 0);
            return;
        }
        self.vain = self.vain.saturating_add(1);
        if self.vain >= VAIN {
            self.rest(now);
        }
    }

    fn rest(&mut self, now: Instant) {
        self.resting = Some(now + (FIRST_REST * (1 << self.rests.min(16))).min(LONGEST_REST));
        self.rests += 1;
    }
}

/// Pages of a listing that are read at most to find so many builds.
pub(super) fn most_pages(builds: usize) -> usize {
    let full = builds.div_ceil(usize::try_from(BUILDS_PER_PAGE).unwrap_or(usize::MAX));
    PAGES.max(full + SPARE_PAGES)
}

/// Asks how builds are; the answers are in the order of `builds`. Where the listing fails for
/// trouble that passes, or for the key, that is the answer for all: it is not about any of them.
pub async fn poll_builds(
    client: &Client,
    builds: &[BuildId],
    listing: &mut PollState,
) -> Vec<(BuildId, Result<RemoteBuild, ApiError>)> {
    listing.cost = 0;
    let mut seen = HashMap::new();
    if builds.len() > FEW && listing.is_worth_asking(Instant::now()) {
        match list(client, builds, listing).await {
            Ok(shown) => {
                listing.showed(!shown.is_empty(), Instant::now());
                seen = shown.into_iter().map(|(build, view)| (build, Ok(view))).collect();
            }
            Err(error) if concerns_all(&error) => {
                return builds.iter().map(|build| (build.clone(), Err(error.clone()))).collect();
            }
            // A service without this endpoint, or with another idea of it: do without.
            Err(_) => listing.rest(Instant::now()),
        }
    }
    let unseen: Vec<&BuildId> = builds.iter().filter(|build| !seen.contains_key(*build)).collect();
    listing.cost += u32::try_from(unseen.len()).unwrap_or(u32::MAX);
    let ask = |build: BuildId| {
        let tries = listing.tries();
        async move {
            let answer = client.status_within(&build, tries).await;
            (build, answer)
        }
    };
    let asked: Vec<_> = stream::iter(unseen.into_iter().cloned())
        .map(ask)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    seen.extend(asked);
    builds.iter().filter_map(|build| seen.remove_entry(build)).collect()
}

/// What the listing shows of some builds.
async fn list(
    client: &Client,
    builds: &[BuildId],
    listing: &mut PollState,
) -> Result<HashMap<BuildId, RemoteBuild>, ApiError> {
    let wanted: HashSet<&BuildId> = builds.iter().collect();
    let mut seen = HashMap::new();
    let (mut offset, mut barren) = (0, 0);
    // The newest come first, in all likelihood: a page of a few is enough for a few.
    let mut limit = (builds.len() as u64 + SPARE).next_multiple_of(SPARE).min(BUILDS_PER_PAGE);
    for _ in 0..most_pages(builds.len()) {
        listing.cost += 1;
        let page = client.builds_within(offset, limit, listing.tries()).await?;
        let before = seen.len();
        for view in page.builds {
            if let Some(build) = view.build.clone().filter(|build| wanted.contains(build)) {
                // What moves to a later page while it is read was there in its newer form.
                seen.entry(build).or_insert(view);
            }
        }
        barren = if seen.len() > before { 0 } else { barren + 1 };
        let unseen = wanted.len() - seen.len();
        match page.next {
            Some(next) if unseen > 0 && barren < unseen.max(BARREN) => {
                (offset, limit) = (next, BUILDS_PER_PAGE);
            }
            _ => break,
        }
    }
    Ok(seen)
}

/// Whether each single build would meet the same.
fn concerns_all(error: &ApiError) -> bool {
    error.is_transient()
        || matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::PaymentRequired)
}

#[cfg(test)]
mod tests;
