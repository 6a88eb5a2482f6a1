//! Waits for builds to end: one task asks for all of them, by the listing where there are many.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::api::client::BUILDS_PER_PAGE;
use crate::api::look;
use crate::api::{ApiError, BuildView, Client, ErrorKind, Listing, Progress};
use crate::base::name::BuildId;

/// Looks in a row at one build that may fail for trouble that passes, before whoever waits is told:
/// more than a minute.
const PATIENCE: u32 = 8;

/// The same for answers that make no sense, or refuse.
const DOUBT: u32 = 3;

/// Asks for builds on behalf of all steps.
#[derive(Clone)]
pub(super) struct Poller {
    watches: mpsc::UnboundedSender<Watch>,
}

/// Why a build's end is not known.
#[derive(Debug)]
pub(super) enum Lost {
    /// The service does not know the build.
    Gone(ApiError),
    /// The service could not be asked; the build may go on.
    Unknown(ApiError),
}

type Ended = Result<BuildView, Lost>;

struct Watch {
    build: BuildId,
    since: Instant,
    failures: u32,
    reply: oneshot::Sender<Ended>,
    /// The service's word for how it is.
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
    ) -> Ended {
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        let watch = Watch { build: build.clone(), since, failures: 0, reply, word };
        let left = |()| {
            Lost::Unknown(ApiError::new(
                "wait for the build",
                ErrorKind::Stopped,
                "the run was left",
            ))
        };
        if self.watches.send(watch).is_err() {
            return Err(left(()));
        }
        answer.await.unwrap_or_else(|_| Err(left(())))
    }
}

async fn poll(client: Client, mut receiver: mpsc::UnboundedReceiver<Watch>) {
    let mut pending = Pending { watches: HashMap::new(), listing: Listing::quick() };
    let mut last_look = None;
    loop {
        if pending.watches.is_empty() {
            match receiver.recv().await {
                Some(watch) => pending.add(watch),
                None => return,
            }
        }
        while let Ok(watch) = receiver.try_recv() {
            pending.add(watch);
        }
        // Whoever gave up waiting is not asked for any more.
        pending.watches.retain(|_, watch| !watch.reply.is_closed());
        let Some(next) = pending.next_look(last_look) else { continue };
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            Some(watch) = receiver.recv() => {
                pending.add(watch);
                continue;
            }
        }
        last_look = Some(Instant::now());
        look(&client, &mut pending).await;
    }
}

/// One look at all pending builds.
async fn look(client: &Client, pending: &mut Pending) {
    let builds: Vec<BuildId> = pending.watches.keys().cloned().collect();
    for (build, answer) in look::look(client, &builds, &mut pending.listing).await {
        match answer {
            Ok(view) => pending.seen(&build, view),
            Err(error) => pending.failed(&build, &error),
        }
    }
}

/// Builds that someone waits for. What an answer means for whom is decided here, without waiting.
struct Pending {
    watches: HashMap<BuildId, Watch>,
    listing: Listing,
}

impl Pending {
    fn add(&mut self, watch: Watch) {
        self.watches.insert(watch.build.clone(), watch);
    }

    /// When to look next: soon where the youngest build is young, later as they age, or where
    /// looking fails; rarer where one look takes many requests.
    fn next_look(&self, last_look: Option<Instant>) -> Option<Instant> {
        let youngest = self.watches.values().map(|watch| watch.since).max()?;
        let failures = self.watches.values().map(|watch| watch.failures).min().unwrap_or(0);
        // From the last look and not from the youngest build: those that keep coming must not put
        // off the look at those that are there.
        let from = last_look.unwrap_or(youngest);
        let pages = u32::try_from(self.watches.len() as u64 / BUILDS_PER_PAGE + 1).unwrap_or(1);
        let gap = spacing(from.saturating_duration_since(youngest)) * pages;
        Some(from + gap.min(Duration::from_secs(30)) * (1 << failures.min(5)))
    }

    /// Takes in what the service says of a build.
    fn seen(&mut self, build: &BuildId, view: BuildView) {
        let Some(watch) = self.watches.get_mut(build) else { return };
        watch.failures = 0;
        if let Progress::Running(word) = view.progress {
            // Whoever waits may have left; then nobody needs the word.
            let _ = watch.word.send(word);
        } else {
            self.reply(build, Ok(view));
        }
    }

    /// Takes in that the service could not be asked for a build.
    fn failed(&mut self, build: &BuildId, error: &ApiError) {
        let Some(watch) = self.watches.get_mut(build) else { return };
        watch.failures += 1;
        match error.kind {
            ErrorKind::NotFound => self.reply(build, Err(Lost::Gone(error.clone()))),
            // Without a valid key there is nothing to wait for.
            ErrorKind::Unauthorized | ErrorKind::PaymentRequired => {
                self.reply(build, Err(Lost::Unknown(error.clone())));
            }
            _ => {
                let patience = if error.is_passing() { PATIENCE } else { DOUBT };
                if watch.failures >= patience {
                    self.reply(build, Err(Lost::Unknown(error.clone())));
                }
            }
        }
    }

    fn reply(&mut self, build: &BuildId, ended: Ended) {
        if let Some(watch) = self.watches.remove(build) {
            // Whoever waited may have left.
            let _ = watch.reply.send(ended);
        }
    }
}

/// The time between two looks at builds of this age: a quarter second for the first moments, and
/// an eighth of the age up to five seconds.
fn spacing(age: Duration) -> Duration {
    (age / 8).clamp(Duration::from_millis(250), Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> BuildId {
        BuildId::new(text).unwrap()
    }

    fn watch(pending: &mut Pending, build: &str, since: Instant) -> oneshot::Receiver<Ended> {
        let (reply, answer) = oneshot::channel();
        let (word, _) = mpsc::unbounded_channel();
        pending.add(Watch { build: id(build), since, failures: 0, reply, word });
        answer
    }

    fn view(progress: Progress) -> BuildView {
        BuildView { build: None, progress, path: None, image: None, created: None, started: None }
    }

    fn error(kind: ErrorKind) -> ApiError {
        ApiError::new("ask", kind, "")
    }

    #[test]
    fn looks_get_rarer_as_builds_age() {
        let secs = |secs| spacing(Duration::from_secs(secs)).as_millis();
        assert_eq!([secs(0), secs(2), secs(8), secs(40), secs(3600)], [250, 250, 1000, 5000, 5000]);
    }

    #[test]
    fn builds_that_keep_coming_do_not_put_off_the_look() {
        let mut pending = Pending { watches: HashMap::new(), listing: Listing::quick() };
        let start = Instant::now();
        let mut answers = vec![watch(&mut pending, "a", start)];
        let due = pending.next_look(Some(start)).unwrap();
        for (index, name) in ["b", "c", "d"].into_iter().enumerate() {
            let later = start + Duration::from_millis(100 * (index as u64 + 1));
            answers.push(watch(&mut pending, name, later));
            assert_eq!(pending.next_look(Some(start)), Some(due));
        }
    }

    #[test]
    fn one_build_in_trouble_is_no_trouble_for_the_others() {
        let mut pending = Pending { watches: HashMap::new(), listing: Listing::quick() };
        let start = Instant::now();
        let mut odd = watch(&mut pending, "odd", start);
        let mut gone = watch(&mut pending, "gone", start);
        let mut good = watch(&mut pending, "good", start);
        for _ in 1..DOUBT {
            pending.failed(&id("odd"), &error(ErrorKind::BadAnswer));
        }
        assert!(odd.try_recv().is_err(), "patience is not at its end");
        pending.failed(&id("odd"), &error(ErrorKind::BadAnswer));
        assert!(matches!(odd.try_recv(), Ok(Err(Lost::Unknown(_)))));
        pending.failed(&id("gone"), &error(ErrorKind::NotFound));
        assert!(matches!(gone.try_recv(), Ok(Err(Lost::Gone(_)))));
        pending.seen(&id("good"), view(Progress::Running("QUANTUM".to_owned())));
        assert!(good.try_recv().is_err());
        pending.seen(&id("good"), view(Progress::Completed));
        assert!(matches!(good.try_recv(), Ok(Ok(_))));
        assert!(pending.watches.is_empty());
    }

    #[test]
    fn an_outage_is_waited_out() {
        let mut pending = Pending { watches: HashMap::new(), listing: Listing::quick() };
        let start = Instant::now();
        let mut answer = watch(&mut pending, "a", start);
        for _ in 1..PATIENCE {
            pending.failed(&id("a"), &error(ErrorKind::Unreachable));
        }
        assert!(pending.next_look(Some(start)).unwrap() >= start + Duration::from_secs(8));
        pending.seen(&id("a"), view(Progress::Running(String::new())));
        pending.failed(&id("a"), &error(ErrorKind::Unreachable));
        assert!(answer.try_recv().is_err(), "an answer renews the patience");
    }
}
