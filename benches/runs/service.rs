//! The server that a run talks to, and what it counted.

use std::time::{Duration, Instant};

use imgplan::base::limit::{Class, ClassLimit, Limit};
use imgplan::server::{LoggedRequest, RequestCounts, Server, ServerConfig};
use tokio::runtime::Runtime;

use crate::program::{Done, Failed};

/// A server in this process, on threads of its own.
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
        let server = runtime.block_on(imgplan::server::start(config))?;
        Ok(Self { runtime, server, started, limits })
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// How long it runs, by the clock of its log.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Stops it, and returns what it counted. An error where a limit was not kept.
    pub(crate) fn stop(self) -> Result<RequestCounts, Failed> {
        let counts = self.server.counts();
        self.runtime.block_on(self.server.stop())?;
        for (class, counted) in &counts.classes {
            let limit = limit_of(&self.limits, *class);
            if counted.refused > 0 || counted.peak > limit.count {
                let (refused, peak) = (counted.refused, counted.peak);
                let error = format!("{class}={limit} was not kept: {refused} refused, peak {peak}");
                return Err(error.into());
            }
        }
        Ok(counts)
    }
}

fn limit_of(limits: &[ClassLimit], class: Class) -> Limit {
    let given = limits.iter().rev().find(|given| given.class == class);
    given.map_or_else(|| class.default_limit(), |given| given.limit)
}

/// The requests that were let through as builds or transfers, in the order in which they came.
pub(crate) fn accepted(counts: &RequestCounts) -> impl DoubleEndedIterator<Item = &LoggedRequest> {
    counts.log.iter().filter(|seen| seen.class == Some(Class::Initiate) && seen.image.is_some())
}

/// From the first of those requests to the last.
pub(crate) fn span(counts: &RequestCounts) -> Result<Duration, Failed> {
    let mut times = accepted(counts).map(|seen| seen.at);
    let first = times.next().ok_or("nothing was asked for")?;
    Ok(times.next_back().unwrap_or(first).saturating_sub(first))
}

/// All requests, without the uploads, and how many there were of each class.
pub(crate) fn requests(counts: &RequestCounts) -> (u64, String) {
    // Images are what some of the others were for.
    let classes = counts.classes.iter().filter(|(class, _)| **class != Class::Images);
    let classes: Vec<(Class, u64)> = classes
        .map(|(class, counted)| (*class, counted.accepted + counted.refused))
        .filter(|(_, requests)| *requests > 0)
        .collect();
    let words: Vec<String> =
        classes.iter().map(|(class, requests)| format!("{requests} {class}")).collect();
    (classes.iter().map(|(_, requests)| requests).sum(), words.join(", "))
}

/// An error where not all of so many were made.
pub(crate) fn all_made(server_saw: u64, wanted: u64) -> Done {
    if server_saw == wanted {
        return Ok(());
    }
    Err(format!("the server let {server_saw} through instead of {wanted}").into())
}
