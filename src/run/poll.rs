//! Waits for builds to end: one task asks for all of them, by the listing where there are many.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::api::client::BUILDS_PER_PAGE;
use crate::api::{ApiError, BuildView, Client, Progress};
use crate::base::name::BuildId;

/// Up to this many builds are asked for one by one; more, by the listing.
const FEW: usize = 3;

/// Pages of a listing read in one look. A build that is on none of them is asked for by itself.
const PAGES: u64 = 20;

/// Looks in a row that may fail before all who wait are told.
const PATIENCE: u32 = 8;

/// Asks for builds on behalf of all steps.
#[derive(Clone)]
pub(super) struct Poller {
    watches: mpsc::UnboundedSender<Watch>,
}

struct Watch {
    build: BuildId,
    since: Instant,
    reply: oneshot::Sender<Result<BuildView, ApiError>>,
    /// The service's word for it, told on when it changes.
    word: mpsc::UnboundedSender<String>,
}

impl Poller {
    /// Starts the task; it ends when the last `Poller` is gone.
    pub(super) fn start(client: Client) -> Self {
        let (watches, receiver) = mpsc::unbounded_channel();
        tokio::spawn(poll(client, receiver));
        Self { watches }
    }

    /// Waits until a build has ended; tells `word` how the service says it is meanwhile.
    pub(super) async fn ended(
        &self,
        build: &BuildId,
        word: mpsc::UnboundedSender<String>,
    ) -> Result<BuildView, ApiError> {
        let (reply, answer) = oneshot::channel();
        let watch = Watch { build: build.clone(), since: Instant::now(), reply, word };
        let gone = || {
            let kind = crate::api::ErrorKind::Lost;
            ApiError::new("wait for the build", kind, "the poller is gone")
        };
        self.watches.send(watch).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn poll(client: Client, mut receiver: mpsc::UnboundedReceiver<Watch>) {
    let mut pending: HashMap<BuildId, Watch> = HashMap::new();
    let mut failures = 0;
    let mut last_look = None;
    loop {
        if pending.is_empty() {
            match receiver.recv().await {
                Some(watch) => pending.insert(watch.build.clone(), watch),
                None => return,
            };
        }
        while let Ok(watch) = receiver.try_recv() {
            pending.insert(watch.build.clone(), watch);
        }
        // Whoever gave up waiting is not asked for any more.
        pending.retain(|_, watch| !watch.reply.is_closed());
        let Some(next) = next_look(&pending, last_look, failures) else { continue };
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            watch = receiver.recv() => {
                match watch {
                    Some(watch) => { pending.insert(watch.build.clone(), watch); }
                    None if pending.is_empty() => return,
                    None => tokio::time::sleep_until(next).await,
                }
                continue;
            }
        }
        last_look = Some(Instant::now());
        match look(&client, &mut pending).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                if error.stops_run() || failures >= PATIENCE {
                    for (_, watch) in pending.drain() {
                        let _ = watch.reply.send(Err(error.clone()));
                    }
                }
            }
        }
    }
}

/// When to look next: soon where the youngest build is young, later as they age.
fn next_look(
    pending: &HashMap<BuildId, Watch>,
    last_look: Option<Instant>,
    failures: u32,
) -> Option<Instant> {
    let youngest = pending.values().map(|watch| watch.since).max()?;
    let from = last_look.unwrap_or(youngest);
    let gap = spacing(from.saturating_duration_since(youngest)) * (1 << failures.min(5));
    Some(from.max(youngest) + gap)
}

/// The time between two looks at builds of this age: a quarter second for the first moments, and
/// an eighth of the age up to five seconds.
fn spacing(age: Duration) -> Duration {
    (age / 8).clamp(Duration::from_millis(250), Duration::from_secs(5))
}

async fn look(client: &Client, pending: &mut HashMap<BuildId, Watch>) -> Result<(), ApiError> {
    let mut unseen: Vec<BuildId> = pending.keys().cloned().collect();
    if unseen.len() > FEW {
        let mut offset = 0;
        for _ in 0..PAGES {
            let page = client.builds(offset).await?;
            for view in page.builds {
                if let Some(build) = view.build.clone() {
                    unseen.retain(|other| *other != build);
                    settle(pending, &build, view);
                }
            }
            offset += BUILDS_PER_PAGE;
            let last = match page.total {
                Some(total) => offset >= total,
                None => (page.rows as u64) < BUILDS_PER_PAGE,
            };
            if last || unseen.is_empty() || page.rows == 0 {
                break;
            }
        }
    }
    for build in unseen {
        match client.status(&build).await {
            Ok(view) => settle(pending, &build, view),
            Err(error) if error.kind == crate::api::ErrorKind::NotFound => {
                if let Some(watch) = pending.remove(&build) {
                    let _ = watch.reply.send(Err(error));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn settle(pending: &mut HashMap<BuildId, Watch>, build: &BuildId, view: BuildView) {
    match &view.progress {
        Progress::Running(word) => {
            if let Some(watch) = pending.get(build) {
                // Whoever waits may have left; then nobody needs the word.
                let _ = watch.word.send(word.clone());
            }
        }
        Progress::Completed | Progress::Failed(_) | Progress::Cancelled => {
            if let Some(watch) = pending.remove(build) {
                let _ = watch.reply.send(Ok(view));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_get_rarer_as_builds_age() {
        let secs = |secs| spacing(Duration::from_secs(secs)).as_millis();
        assert_eq!([secs(0), secs(2), secs(8), secs(40), secs(3600)], [250, 250, 1000, 5000, 5000]);
    }
}
