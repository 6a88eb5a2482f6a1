//! The local server for a run, and its counts.

use std::time::{Duration, Instant};

use imgplan::test_support::base::limit::{Class, ClassLimit, Limit};
use imgplan::test_support::server::{LoggedRequest, RequestCounts, Server, ServerConfig};
use tokio::runtime::Runtime;

use crate::program::{Done, Failed};

/// A server in this process, on its own threads.
pub(crate) struct Service {
    runtime: Runtime,
    server: Server,
    started: Instant,
    limits: Vec<ClassLimit>,
}

impl Service {
    pub(crate) fn start(config: ServerConfig) -> Result<Self, Failed> {
        let limits = config.limits.clone();
        let runtime = Runtime::new()?;
        let started = Instant::now();
        let server = runtime.block_on(imgplan::test_support::server::start(config))?;
        Ok(Self { runtime, server, started, limits })
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// Returns the time since its start, by the clock of its log.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Stops the server and returns its counts.
    ///
    /// # Errors
    /// Fails if a rate limit was exceeded.
    pub(crate) fn stop(self) -> Result<RequestCounts, Failed> {
        let counts = self.server.counts();
        self.runtime.block_on(self.server.stop())?;
        for (class, counted) in &counts.classes {
            let limit = limit_of(&self.limits, *class);
            if counted.refused > 0 || counted.peak > limit.count {
                let (refused, peak) = (counted.refused, counted.peak);
                let error = format!("{class}={limit} was exceeded: {refused} refused, peak {peak}");
                return Err(error.into());
            }
        }
        Ok(counts)
    }
}

fn limit_of(limits: &[ClassLimit], class: Class) -> Limit {
    let configured = limits.iter().rev().find(|limit| limit.class == class);
    configured.map_or_else(|| class.default_limit(), |limit| limit.limit)
}

/// Returns the accepted requests for builds or transfers, in order of arrival.
pub(crate) fn accepted(counts: &RequestCounts) -> impl DoubleEndedIterator<Item = &LoggedRequest> {
    counts
        .log
        .iter()
        .filter(|logged| logged.class == Some(Class::Initiate) && logged.image.is_some())
}

/// Returns the time from the first of those requests to the last.
pub(crate) fn span(counts: &RequestCounts) -> Result<Duration, Failed> {
    let mut times = accepted(counts).map(|logged| logged.at);
    let first = times.next().ok_or("no build was accepted")?;
    Ok(times.next_back().unwrap_or(first).saturating_sub(first))
}

/// Returns the number of requests without uploads, and a text with the number of each class.
pub(crate) fn requests(counts: &RequestCounts) -> (u64, String) {
    // `images` counts images and not requests.
    let classes = counts.classes.iter().filter(|(class, _)| **class != Class::Images);
    let classes: Vec<(Class, u64)> = classes
        .map(|(class, counted)| (*class, counted.accepted + counted.refused))
        .filter(|(_, requests)| *requests > 0)
        .collect();
    let words: Vec<String> =
        classes.iter().map(|(class, requests)| format!("{requests} {class}")).collect();
    (classes.iter().map(|(_, requests)| requests).sum(), words.join(", "))
}

/// Checks that the server accepted the expected number.
pub(crate) fn check_accepted(accepted: u64, expected: u64) -> Done {
    if accepted == expected {
        return Ok(());
    }
    Err(format!("the server accepted {accepted} instead of {expected}").into())
}
