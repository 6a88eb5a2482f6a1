//! Waits for builds to end: one task asks for all of them.

use std::collections::HashMap;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::pace::Pace;
use crate::api::look::{self, Listing};
use crate::api::{ApiError, BuildView, Client, ErrorKind, Progress};
use crate::base::name::BuildId;

/// Looks in a row at one build that may fail before whoever waits is told. What passes by itself
/// was already tried again, for minutes, by the client.
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
            let message = "the run was left";
            Lost::Unknown(ApiError::new("wait for the build", ErrorKind::Stopped, message))
        };
        if self.watches.send(watch).is_err() {
            return Err(left(()));
        }
        answer.await.unwrap_or_else(|_| Err(left(())))
    }
}

async fn poll(client: Client, mut receiver: mpsc::UnboundedReceiver<Watch>) {
    let mut pending = Pending { watches: HashMap::new() };
    let mut listing = Listing::quick();
    let mut pace = Pace::new(Instant::now());
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
        let Some(next) = pending.next_look(&mut pace, last_look) else { continue };
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            Some(watch) = receiver.recv() => {
                pending.add(watch);
                continue;
            }
        }
        last_look = Some(Instant::now());
        let builds: Vec<BuildId> = pending.watches.keys().cloned().collect();
        for (build, answer) in look::look(&client, &builds, &mut listing).await {
            match answer {
                Ok(view) => pending.seen(&build, view),
                Err(error) => pending.failed(&build, &error),
            }
        }
        pace.spent(listing.cost());
    }
}

/// Builds that someone waits for. What an answer means for whom is decided here, without waiting.
struct Pending {
    watches: HashMap<BuildId, Watch>,
}

impl Pending {
    fn add(&mut self, watch: Watch) {
        self.watches.insert(watch.build.clone(), watch);
    }

    fn next_look(&self, pace: &mut Pace, last_look: Option<Instant>) -> Option<Instant> {
        let youngest = self.watches.values().map(|watch| watch.since).max()?;
        let failures = self.watches.values().map(|watch| watch.failures).min().unwrap_or(0);
        Some(pace.next(self.watches.len(), youngest, last_look, failures, Instant::now()))
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
        let hopeless = matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::PaymentRequired);
        if !hopeless && watch.failures < DOUBT {
            return;
        }
        self.reply(
            build,
            Err(match error.kind {
                ErrorKind::NotFound => Lost::Gone(error.clone()),
                _ => Lost::Unknown(error.clone()),
            }),
        );
    }

    fn reply(&mut self, build: &BuildId, ended: Ended) {
        if let Some(watch) = self.watches.remove(build) {
            // Whoever waited may have left.
            let _ = watch.reply.send(ended);
        }
    }
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
    fn one_build_in_trouble_is_no_trouble_for_the_others() {
        let mut pending = Pending { watches: HashMap::new() };
        let start = Instant::now();
        let mut odd = watch(&mut pending, "odd", start);
        let mut gone = watch(&mut pending, "gone", start);
        let mut good = watch(&mut pending, "good", start);
        for _ in 1..DOUBT {
            pending.failed(&id("odd"), &error(ErrorKind::BadAnswer));
            // A build that was just accepted may not be known everywhere yet.
            pending.failed(&id("gone"), &error(ErrorKind::NotFound));
        }
        assert!(odd.try_recv().is_err() && gone.try_recv().is_err(), "patience is not at its end");
        pending.failed(&id("odd"), &error(ErrorKind::BadAnswer));
        pending.failed(&id("gone"), &error(ErrorKind::NotFound));
        assert!(matches!(odd.try_recv(), Ok(Err(Lost::Unknown(_)))));
        assert!(matches!(gone.try_recv(), Ok(Err(Lost::Gone(_)))));
        pending.seen(&id("good"), view(Progress::Running("QUANTUM".to_owned())));
        assert!(good.try_recv().is_err());
        pending.seen(&id("good"), view(Progress::Completed));
        assert!(matches!(good.try_recv(), Ok(Ok(_))));
        assert!(pending.watches.is_empty());
    }

    #[test]
    fn an_answer_renews_the_patience() {
        let mut pending = Pending { watches: HashMap::new() };
        let mut answer = watch(&mut pending, "a", Instant::now());
        for _ in 0..2 {
            for _ in 1..DOUBT {
                pending.failed(&id("a"), &error(ErrorKind::Unreachable));
            }
            pending.seen(&id("a"), view(Progress::Running(String::new())));
        }
        assert!(answer.try_recv().is_err());
        pending.failed(&id("a"), &error(ErrorKind::Unauthorized));
        assert!(matches!(answer.try_recv(), Ok(Err(Lost::Unknown(_)))), "it would stay so");
    }
}
