//! Waits for builds to end. One task polls the service on behalf of all steps.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::pace::Pace;
use crate::api::poll::{PollState, poll_builds};
use crate::api::{ApiError, BuildProgress, Client, ErrorKind, RemoteBuild};
use crate::base::limit::Class;
use crate::base::name::BuildId;

/// Minimum number of failed polls of one build in a row before its step fails.
const MIN_FAILED_POLLS: u32 = 3;

/// Maximum time from the first of those failed polls until the step fails. It is long, because the
/// first polls come within a second, and one part of the service may not know for a while what another
/// has accepted.
const MAX_FAILING_TIME: Duration = Duration::from_secs(60);

/// The handle to the polling task.
#[derive(Clone)]
pub(super) struct Poller {
    watches: mpsc::UnboundedSender<Watch>,
}

/// A reason for which the end of a build is not known.
#[derive(Debug, Clone)]
pub(super) enum UnknownEnd {
    /// The service does not know the build.
    NoSuchBuild(ApiError),
    /// The service gave no usable response; the build may continue.
    NoAnswer(ApiError),
}

type Ended = Result<RemoteBuild, UnknownEnd>;

struct Watch {
    build: BuildId,
    since: Instant,
    /// Failed polls in a row.
    failures: u32,
    /// Time of the first of them.
    failing_since: Option<Instant>,
    ended: oneshot::Sender<Ended>,
    /// Receives the service's word for the status: `BUILDING`.
    status: mpsc::UnboundedSender<String>,
    /// Other steps that wait for the same build: the service may answer two requests with one build.
    also: Vec<Watch>,
}

impl Watch {
    /// True if no step waits any more.
    fn is_abandoned(&self) -> bool {
        self.ended.is_closed() && self.also.iter().all(Watch::is_abandoned)
    }

    fn send_status(&self, status: &str) {
        // Fails only if the step no longer waits.
        let _ = self.status.send(status.to_owned());
        self.also.iter().for_each(|also| also.send_status(status));
    }

    fn finish(self, ended: Ended) {
        for also in self.also {
            also.finish(ended.clone());
        }
        // Fails only if the step no longer waits.
        let _ = self.ended.send(ended);
    }
}

impl Poller {
    /// Starts the task. It ends when the last `Poller` is dropped.
    pub(super) fn start(client: Client) -> Self {
        let (watches, receiver) = mpsc::unbounded_channel();
        tokio::spawn(run(client, receiver));
        Self { watches }
    }

    /// Waits until a build has ended, and sends its status to `status` meanwhile.
    ///
    /// # Errors
    /// Fails if the service does not know the build, or gives no usable response for a while.
    pub(super) async fn ended(
        &self,
        build: &BuildId,
        status: mpsc::UnboundedSender<String>,
    ) -> Ended {
        let (ended, result) = oneshot::channel();
        let (build, since) = (build.clone(), Instant::now());
        let (failures, failing_since, also) = (0, None, Vec::new());
        let watch = Watch { build, since, failures, failing_since, ended, status, also };
        // Both fail only if the task is gone, which drops the sender of the result.
        let _ = self.watches.send(watch);
        result.await.unwrap_or_else(|_| {
            let message = "the run was aborted";
            let error = ApiError::new("wait for the build", ErrorKind::Stopped, message);
            Err(UnknownEnd::NoAnswer(error))
        })
    }
}

async fn run(client: Client, mut receiver: mpsc::UnboundedReceiver<Watch>) {
    let mut watches = Watches::new(patience(client.max_attempts()));
    let mut listing = PollState::quick();
    let mut pace = Pace::new(client.relative_limit(Class::Status), Instant::now());
    let mut last_poll = None;
    loop {
        if watches.by_build.is_empty() {
            match receiver.recv().await {
                Some(watch) => watches.add(watch),
                None => return,
            }
        }
        while let Ok(watch) = receiver.try_recv() {
            watches.add(watch);
        }
        watches.by_build.retain(|_, watch| !watch.is_abandoned());
        let Some(next) = watches.next_poll(&mut pace, last_poll) else { continue };
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            Some(watch) = receiver.recv() => {
                watches.add(watch);
                continue;
            }
        }
        last_poll = Some(Instant::now());
        let builds: Vec<BuildId> = watches.by_build.keys().cloned().collect();
        for (build, result) in poll_builds(&client, &builds, &mut listing).await {
            match result {
                Ok(view) => watches.succeeded(&build, view),
                Err(error) => watches.failed(&build, &error, Instant::now()),
            }
        }
        pace.spent(listing.cost(), Instant::now());
    }
}

/// Returns how long polls of a build may fail. Fewer retries mean less patience: as long as that
/// many tries take, with a delay that doubles each time.
fn patience(max_tries: u32) -> Duration {
    (Duration::from_millis(250) * (1 << max_tries.min(16))).min(MAX_FAILING_TIME)
}

/// The builds that steps wait for. Decides what a poll means for them, without waiting.
struct Watches {
    by_build: HashMap<BuildId, Watch>,
    patience: Duration,
}

impl Watches {
    fn new(patience: Duration) -> Self {
        Self { by_build: HashMap::new(), patience }
    }

    fn add(&mut self, watch: Watch) {
        match self.by_build.entry(watch.build.clone()) {
            Entry::Occupied(mut first) => first.get_mut().also.push(watch),
            Entry::Vacant(free) => drop(free.insert(watch)),
        }
    }

    /// Returns the time of the next poll, or `None` without builds.
    fn next_poll(&self, pace: &mut Pace, last_poll: Option<Instant>) -> Option<Instant> {
        let youngest = self.by_build.values().map(|watch| watch.since).max()?;
        let failures = self.by_build.values().map(|watch| watch.failures).min().unwrap_or(0);
        Some(pace.next(self.by_build.len(), youngest, last_poll, failures, Instant::now()))
    }

    fn succeeded(&mut self, build: &BuildId, view: RemoteBuild) {
        let Some(watch) = self.by_build.get_mut(build) else { return };
        (watch.failures, watch.failing_since) = (0, None);
        if let BuildProgress::Running(status) = view.progress {
            watch.send_status(&status);
        } else {
            self.finish(build, Ok(view));
        }
    }

    fn failed(&mut self, build: &BuildId, error: &ApiError, now: Instant) {
        let Some(watch) = self.by_build.get_mut(build) else { return };
        watch.failures += 1;
        let first = *watch.failing_since.get_or_insert(now);
        let may_recover = now.saturating_duration_since(first) < self.patience;
        let permanent = matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::PaymentRequired);
        if !permanent && (watch.failures < MIN_FAILED_POLLS || may_recover) {
            return;
        }
        let unknown = match error.kind {
            ErrorKind::NotFound => UnknownEnd::NoSuchBuild(error.clone()),
            _ => UnknownEnd::NoAnswer(error.clone()),
        };
        self.finish(build, Err(unknown));
    }

    fn finish(&mut self, build: &BuildId, ended: Ended) {
        if let Some(watch) = self.by_build.remove(build) {
            watch.finish(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> BuildId {
        BuildId::new(text).unwrap()
    }

    fn watch(watches: &mut Watches, build: &str, since: Instant) -> oneshot::Receiver<Ended> {
        let (ended, result) = oneshot::channel();
        let (status, _) = mpsc::unbounded_channel();
        let build = id(build);
        let (failures, failing_since, also) = (0, None, Vec::new());
        watches.add(Watch { build, since, failures, failing_since, ended, status, also });
        result
    }

    fn view(progress: BuildProgress) -> RemoteBuild {
        RemoteBuild {
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

    fn watches() -> Watches {
        Watches::new(MAX_FAILING_TIME)
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn all_steps_that_wait_for_one_build_are_told() {
        let mut watches = Watches::new(MAX_FAILING_TIME);
        let mut results = ["a", "b", "a"].map(|build| watch(&mut watches, build, Instant::now()));
        watches.succeeded(&id("a"), view(BuildProgress::Completed));
        let told = results.each_mut().map(|result| matches!(result.try_recv(), Ok(Ok(_))));
        assert_eq!(told, [true, false, true]);
    }

    #[test]
    fn failing_polls_of_one_build_leave_the_others_alone() {
        let mut watches = watches();
        let start = Instant::now();
        let mut unreadable = watch(&mut watches, "unreadable", start);
        let mut gone = watch(&mut watches, "gone", start);
        let mut good = watch(&mut watches, "good", start);
        // Not every part of the service knows a new build at once.
        for after in [0, 1, 2, 4, 8, 16, 32, 59] {
            watches.failed(&id("unreadable"), &error(ErrorKind::BadResponse), start + secs(after));
            watches.failed(&id("gone"), &error(ErrorKind::NotFound), start + secs(after));
            let told = unreadable.try_recv().is_ok() || gone.try_recv().is_ok();
            assert!(!told, "told after {after} s, before the patience ended");
        }
        watches.failed(&id("unreadable"), &error(ErrorKind::BadResponse), start + secs(60));
        watches.failed(&id("gone"), &error(ErrorKind::NotFound), start + secs(60));
        assert!(matches!(unreadable.try_recv(), Ok(Err(UnknownEnd::NoAnswer(_)))));
        assert!(matches!(gone.try_recv(), Ok(Err(UnknownEnd::NoSuchBuild(_)))));
        watches.succeeded(&id("good"), view(BuildProgress::Running("QUANTUM".to_owned())));
        assert!(good.try_recv().is_err());
        watches.succeeded(&id("good"), view(BuildProgress::Completed));
        assert!(matches!(good.try_recv(), Ok(Ok(_))));
        assert!(watches.by_build.is_empty());
    }

    #[test]
    fn two_failed_polls_are_not_enough_however_long_they_take() {
        let mut watches = watches();
        let start = Instant::now();
        let mut result = watch(&mut watches, "a", start);
        for after in [0, 600] {
            watches.failed(&id("a"), &error(ErrorKind::NotFound), start + secs(after));
            assert!(result.try_recv().is_err(), "{after}");
        }
        watches.failed(&id("a"), &error(ErrorKind::NotFound), start + secs(601));
        assert!(matches!(result.try_recv(), Ok(Err(UnknownEnd::NoSuchBuild(_)))));
    }

    #[test]
    fn a_response_renews_the_patience() {
        let mut watches = watches();
        let start = Instant::now();
        let mut result = watch(&mut watches, "a", start);
        for after in [0, 30, 59] {
            watches.failed(&id("a"), &error(ErrorKind::Unreachable), start + secs(after));
        }
        watches.succeeded(&id("a"), view(BuildProgress::Running(String::new())));
        for after in [61, 62, 120] {
            watches.failed(&id("a"), &error(ErrorKind::Unreachable), start + secs(after));
        }
        assert!(result.try_recv().is_err());
        for kind in [ErrorKind::Unauthorized, ErrorKind::PaymentRequired] {
            let mut permanent = watch(&mut watches, "b", start);
            watches.failed(&id("b"), &error(kind), start);
            assert!(
                matches!(permanent.try_recv(), Ok(Err(UnknownEnd::NoAnswer(_)))),
                "the error is permanent"
            );
        }
    }

    #[test]
    fn fewer_tries_mean_less_patience() {
        let table = [(1, 500), (2, 1000), (6, 16_000), (8, 60_000), (10, 60_000), (99, 60_000)];
        for (tries, expected) in table {
            assert_eq!(patience(tries).as_millis(), expected, "{tries}");
        }
    }
}
