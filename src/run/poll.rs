//! Waits for builds to end: one task asks for all of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::pace::Pace;
use crate::api::poll::{self, Listing};
use crate::api::{ApiError, BuildView, Client, ErrorKind, Progress};
use crate::base::name::BuildId;

/// Looks in a row at one build that fail at least before whoever waits is told.
const DOUBT: u32 = 3;

/// The time since the first of them that passes at least: the first looks come within a second, and
/// one part of the service may not know for a while what another took.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks for builds on behalf of all steps.
#[derive(Clone)]
pub(super) struct Poller {
    watches: mpsc::UnboundedSender<Watch>,
}

/// Why a build's end is not known.
#[derive(Debug, Clone)]
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
    /// Looks in a row that failed, and when the first of them did.
    failures: u32,
    failing_since: Option<Instant>,
    reply: oneshot::Sender<Ended>,
    /// The service's word for how it is.
    word: mpsc::UnboundedSender<String>,
    /// Others who wait for the same build: a service may make one of two requests.
    also: Vec<Watch>,
}

impl Watch {
    fn is_over(&self) -> bool {
        self.reply.is_closed() && self.also.iter().all(Watch::is_over)
    }

    fn tell(&self, word: &str) {
        // Whoever waits may have left; then nobody needs the word.
        let _ = self.word.send(word.to_owned());
        self.also.iter().for_each(|also| also.tell(word));
    }

    fn answer(self, ended: Ended) {
        for also in self.also {
            also.answer(ended.clone());
        }
        // Whoever waited may have left.
        let _ = self.reply.send(ended);
    }
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
        let build = build.clone();
        let (failures, failing_since, also) = (0, None, Vec::new());
        let watch = Watch { build, since, failures, failing_since, reply, word, also };
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
    let mut pending = Pending::new(patience(client.most_tries()));
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
        pending.watches.retain(|_, watch| !watch.is_over());
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
        for (build, answer) in poll::look(&client, &builds, &mut listing).await {
            match answer {
                Ok(view) => pending.seen(&build, view),
                Err(error) => pending.failed(&build, &error, Instant::now()),
            }
        }
        pace.spent(listing.cost(), Instant::now());
    }
}

/// How long failing looks are borne with. Who wants things tried less often than others do has less
/// patience too: as much as so many tries take, each wait twice as long as the one before.
fn patience(most_tries: u32) -> Duration {
    (Duration::from_millis(250) * (1 << most_tries.min(16))).min(PATIENCE)
}

/// Builds that someone waits for. What an answer means for whom is decided here, without waiting.
struct Pending {
    watches: HashMap<BuildId, Watch>,
    patience: Duration,
}

impl Pending {
    fn new(patience: Duration) -> Self {
        Self { watches: HashMap::new(), patience }
    }

    fn add(&mut self, watch: Watch) {
        match self.watches.entry(watch.build.clone()) {
            Entry::Occupied(mut first) => first.get_mut().also.push(watch),
            Entry::Vacant(free) => drop(free.insert(watch)),
        }
    }

    fn next_look(&self, pace: &mut Pace, last_look: Option<Instant>) -> Option<Instant> {
        let youngest = self.watches.values().map(|watch| watch.since).max()?;
        let failures = self.watches.values().map(|watch| watch.failures).min().unwrap_or(0);
        Some(pace.next(self.watches.len(), youngest, last_look, failures, Instant::now()))
    }

    /// Takes in what the service says of a build.
    fn seen(&mut self, build: &BuildId, view: BuildView) {
        let Some(watch) = self.watches.get_mut(build) else { return };
        (watch.failures, watch.failing_since) = (0, None);
        if let Progress::Running(word) = view.progress {
            watch.tell(&word);
        } else {
            self.reply(build, Ok(view));
        }
    }

    /// Takes in that the service could not be asked for a build.
    fn failed(&mut self, build: &BuildId, error: &ApiError, now: Instant) {
        let Some(watch) = self.watches.get_mut(build) else { return };
        watch.failures += 1;
        let first = *watch.failing_since.get_or_insert(now);
        let borne = now.saturating_duration_since(first) < self.patience;
        let hopeless = matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::PaymentRequired);
        if !hopeless && (watch.failures < DOUBT || borne) {
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
            watch.answer(ended);
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
        let build = id(build);
        let (failures, failing_since, also) = (0, None, Vec::new());
        pending.add(Watch { build, since, failures, failing_since, reply, word, also });
        answer
    }

    fn view(progress: Progress) -> BuildView {
        BuildView {
            build: None,
            progress,
            path: None,
            image: None,
            created: None,
            started: None,
            completed: None,
        }
    }

    fn error(kind: ErrorKind) -> ApiError {
        ApiError::new("ask", kind, "")
    }

    fn pending() -> Pending {
        Pending::new(PATIENCE)
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn all_who_wait_for_one_build_are_answered() {
        let mut pending = Pending::new(PATIENCE);
        let mut answers = ["a", "b", "a"].map(|build| watch(&mut pending, build, Instant::now()));
        pending.seen(&id("a"), view(Progress::Completed));
        let told = answers.each_mut().map(|answer| matches!(answer.try_recv(), Ok(Ok(_))));
        assert_eq!(told, [true, false, true]);
    }

    #[test]
    fn one_build_in_trouble_is_no_trouble_for_the_others() {
        let mut pending = pending();
        let start = Instant::now();
        let mut odd = watch(&mut pending, "odd", start);
        let mut gone = watch(&mut pending, "gone", start);
        let mut good = watch(&mut pending, "good", start);
        // A build that was just accepted may not be known everywhere yet.
        for after in [0, 1, 2, 4, 8, 16, 32, 59] {
            pending.failed(&id("odd"), &error(ErrorKind::BadAnswer), start + secs(after));
            pending.failed(&id("gone"), &error(ErrorKind::NotFound), start + secs(after));
            let told = odd.try_recv().is_ok() || gone.try_recv().is_ok();
            assert!(!told, "patience is not at its end after {after} s");
        }
        pending.failed(&id("odd"), &error(ErrorKind::BadAnswer), start + secs(60));
        pending.failed(&id("gone"), &error(ErrorKind::NotFound), start + secs(60));
        assert!(matches!(odd.try_recv(), Ok(Err(Lost::Unknown(_)))));
        assert!(matches!(gone.try_recv(), Ok(Err(Lost::Gone(_)))));
        pending.seen(&id("good"), view(Progress::Running("QUANTUM".to_owned())));
        assert!(good.try_recv().is_err());
        pending.seen(&id("good"), view(Progress::Completed));
        assert!(matches!(good.try_recv(), Ok(Ok(_))));
        assert!(pending.watches.is_empty());
    }

    #[test]
    fn few_looks_are_no_proof_however_long_they_take() {
        let mut pending = pending();
        let start = Instant::now();
        let mut answer = watch(&mut pending, "a", start);
        for after in [0, 600] {
            pending.failed(&id("a"), &error(ErrorKind::NotFound), start + secs(after));
            assert!(answer.try_recv().is_err(), "{after}");
        }
        pending.failed(&id("a"), &error(ErrorKind::NotFound), start + secs(601));
        assert!(matches!(answer.try_recv(), Ok(Err(Lost::Gone(_)))));
    }

    #[test]
    fn an_answer_renews_the_patience() {
        let mut pending = pending();
        let start = Instant::now();
        let mut answer = watch(&mut pending, "a", start);
        for after in [0, 30, 59] {
            pending.failed(&id("a"), &error(ErrorKind::Unreachable), start + secs(after));
        }
        pending.seen(&id("a"), view(Progress::Running(String::new())));
        for after in [61, 62, 120] {
            pending.failed(&id("a"), &error(ErrorKind::Unreachable), start + secs(after));
        }
        assert!(answer.try_recv().is_err());
        for kind in [ErrorKind::Unauthorized, ErrorKind::PaymentRequired] {
            let mut hopeless = watch(&mut pending, "b", start);
            pending.failed(&id("b"), &error(kind), start);
            assert!(matches!(hopeless.try_recv(), Ok(Err(Lost::Unknown(_)))), "it would stay so");
        }
    }

    #[test]
    fn who_wants_fewer_tries_has_less_patience() {
        let table = [(1, 500), (2, 1000), (6, 16_000), (8, 60_000), (10, 60_000), (99, 60_000)];
        for (tries, expected) in table {
            assert_eq!(patience(tries).as_millis(), expected, "{tries}");
        }
    }
}
