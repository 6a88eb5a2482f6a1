//! Polls builds: a few by single status requests, more by the listing, which costs one request for
//! up to a hundred builds.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use super::client::{BUILDS_PER_PAGE, Client};
use super::error::{ApiError, ErrorKind};
use super::response::RemoteBuild;
use super::retry::{Attempts, Repeat};
use crate::base::name::BuildId;

/// Maximum number of builds that are polled by single requests at first.
const MAX_SINGLE_POLLS: usize = 3;

/// Minimum for the maximum number of pages of one poll. A build on none of them is polled by a
/// single request.
pub(super) const MIN_PAGE_LIMIT: usize = 20;

/// Number of polled builds for each page of the maximum. If no page shows them, the pages beyond the minimum
/// cost at most a quarter of the single requests that follow. With many runs on one account, thousands of
/// builds of other runs may precede them.
const BUILDS_PER_ALLOWED_PAGE: usize = 4;

/// Number of pages in a row without a polled build after which no further page is read: listings
/// probably have the newest builds first (unknown, API contract, section 6). If more builds than
/// this are missing, their number applies instead: each would cost a single request, and many newer
/// builds of other users may precede them.
const MIN_BARREN_PAGES: usize = 2;

/// Rows of the first page in addition to the polled builds.
const EXTRA_ROWS: u64 = 20;

/// Number of polls in a row without a polled build after which the listing is suspended: it may
/// leave out the builds of teams (unknown, API contract, section 6).
const MAX_USELESS_POLLS: u32 = 2;

/// First time for which a useless listing is suspended. Short, because a single bad response means
/// little; it doubles until the listing was useful.
const FIRST_SUSPENSION: Duration = Duration::from_secs(5);

/// Maximum time for which a useless listing is suspended.
const MAX_SUSPENSION: Duration = Duration::from_secs(600);

/// Maximum number of concurrent status requests.
const MAX_CONCURRENT_REQUESTS: usize = 8;

/// Maximum number of attempts per request if the builds are polled again soon anyway.
const QUICK_ATTEMPTS: u32 = 3;

/// State of the polling across polls: the usefulness of the service's listing, and costs.
#[derive(Debug, Default)]
pub(crate) struct PollState {
    quick: bool,
    suspended_until: Option<Instant>,
    /// Number of suspensions since the listing was useful.
    suspensions: u32,
    /// Number of polls since the listing was useful.
    useless_polls: u32,
    cost: u32,
}

impl PollState {
    /// Creates a state for requests with at most three attempts: for callers that poll again soon,
    /// so that one failing build does not delay the others.
    pub(crate) fn quick() -> Self {
        Self { quick: true, ..Self::default() }
    }

    /// Returns the number of requests of the last poll, without retries.
    pub(crate) fn cost(&self) -> u32 {
        self.cost
    }

    fn attempts(&self) -> Attempts {
        let attempts = Attempts::new(Repeat::Safe);
        if self.quick { attempts.at_most(QUICK_ATTEMPTS) } else { attempts }
    }

    fn can_list(&self, now: Instant) -> bool {
        self.suspended_until.is_none_or(|until| until <= now)
    }

    /// Records whether the listing contained a polled build.
    fn record_listing(&mut self, was_useful: bool, now: Instant) {
        if was_useful {
            (self.useless_polls, self.suspensions) = (0, 0);
            return;
        }
        self.useless_polls = self.useless_polls.saturating_add(1);
        if self.useless_polls >= MAX_USELESS_POLLS {
            self.suspend(now);
        }
    }

    fn suspend(&mut self, now: Instant) {
        let length = (FIRST_SUSPENSION * (1 << self.suspensions.min(16))).min(MAX_SUSPENSION);
        self.suspended_until = Some(now + length);
        self.suspensions += 1;
    }
}

/// Returns the maximum number of pages of one poll of this number of builds.
fn max_pages(builds: usize) -> usize {
    MIN_PAGE_LIMIT.max(builds / BUILDS_PER_ALLOWED_PAGE)
}

/// Returns the status of each build, in order.
///
/// # Errors
///
/// Each build has its own result. If the listing fails with a transient error, or because of the
/// key, this error is the result of all builds.
pub(crate) async fn poll_builds(
    client: &Client,
    builds: &[BuildId],
    state: &mut PollState,
) -> Vec<(BuildId, Result<RemoteBuild, ApiError>)> {
    state.cost = 0;
    let mut found = HashMap::new();
    if builds.len() > MAX_SINGLE_POLLS && state.can_list(Instant::now()) {
        match list(client, builds, state).await {
            Ok(listed) => {
                state.record_listing(!listed.is_empty(), Instant::now());
                found = listed.into_iter().map(|(id, build)| (id, Ok(build))).collect();
            }
            Err(error) if affects_all(&error) => {
                return builds.iter().map(|build| (build.clone(), Err(error.clone()))).collect();
            }
            // The service has no such endpoint, or one that differs.
            Err(_) => state.suspend(Instant::now()),
        }
    }
    let missing: Vec<BuildId> =
        builds.iter().filter(|build| !found.contains_key(*build)).cloned().collect();
    state.cost += u32::try_from(missing.len()).unwrap_or(u32::MAX);
    let status = |build: BuildId| {
        let attempts = state.attempts();
        async move {
            let status = client.status_within(&build, attempts).await;
            (build, status)
        }
    };
    let statuses: Vec<_> =
        stream::iter(missing).map(status).buffer_unordered(MAX_CONCURRENT_REQUESTS).collect().await;
    found.extend(statuses);
    builds.iter().filter_map(|build| found.remove_entry(build)).collect()
}

/// Returns the builds that the listing contains.
async fn list(
    client: &Client,
    builds: &[BuildId],
    state: &mut PollState,
) -> Result<HashMap<BuildId, RemoteBuild>, ApiError> {
    let requested: HashSet<&BuildId> = builds.iter().collect();
    let mut found = HashMap::new();
    let (mut offset, mut barren_pages) = (0, 0);
    // Listings probably have the newest builds first: a short page is enough for a few builds.
    let mut limit =
        (builds.len() as u64 + EXTRA_ROWS).next_multiple_of(EXTRA_ROWS).min(BUILDS_PER_PAGE);
    for _ in 0..max_pages(builds.len()) {
        state.cost += 1;
        let page = client.builds_within(offset, limit, state.attempts()).await?;
        let before = found.len();
        for build in page.builds {
            if let Some(id) = build.build.clone().filter(|id| requested.contains(id)) {
                // A build that moves to a later page meanwhile was seen in its newer state before.
                found.entry(id).or_insert(build);
            }
        }
        barren_pages = if found.len() > before { 0 } else { barren_pages + 1 };
        let missing = requested.len() - found.len();
        match page.next {
            Some(next) if missing > 0 && barren_pages < missing.max(MIN_BARREN_PAGES) => {
                (offset, limit) = (next, BUILDS_PER_PAGE);
            }
            _ => break,
        }
    }
    Ok(found)
}

/// Returns true if every status request would meet the same error.
fn affects_all(error: &ApiError) -> bool {
    error.is_transient()
        || matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::PaymentRequired)
}

#[cfg(test)]
mod tests;
