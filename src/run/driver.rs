//! Drives a run: the loop around the dispatcher, which alone owns the tasks, the clock, the store and
//! the signals.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::base_paths::BasePaths;
use super::dispatch::{Dispatcher, Effect, Input};
use super::error::RunError;
use super::job::{AdoptJob, BasePath, CreateJob, JobContent, Mirror, StepJob, Work, pending_path};
use super::link::{KnownBuilds, StepMessage, observed};
use super::options::Run;
use super::outcome::{StepFailure, StepOutput};
use super::poll::Poller;
use super::pools::{owner_of, pools};
use super::step;
use super::transfers::TransferBatcher;
use super::unit::Links;
use super::updates::UpdateBatcher;
use crate::base::name::{ImageRef, Owner};
use crate::event::{RunEvent, Signal, Summary};
use crate::manifest::workspace::{Origin, UnitId};
use crate::plan::{Action, Create, Step, StepId, pins};
use crate::shared::{SharedError, SharedLease};
use crate::state::{Record, State, StateError, Store};

/// Minimum time between two writes of the lockfile during a run.
const MIN_COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// Minimum time between two writes of the lockfile, in multiples of the duration of one, so that they
/// take at most 2 % of the run.
const COMMIT_INTERVAL_FACTOR: u32 = 50;

/// Maximum number of contexts packed at once. Compression uses all cores; only reading is
/// single-threaded.
const MAX_PACKERS: usize = 4;

/// Maximum number of concurrent uploads. More would share the same uplink.
const MAX_UPLOADS: usize = 8;

/// The reason to stop after a failed write of the journal.
const JOURNAL_FAILED: &str = "the journal cannot be written";

/// The reason to stop once another run may have a shard of this one.
const STATE_LOST: &str = "the shared state is no longer held";

/// Carries out a plan and returns the results. The store has a `lease` if its state is shared. `report`
/// receives every event. The first signal stops new work, the second ends the run at once.
///
/// # Errors
/// Fails if the journal cannot be written, or the lease is lost.
pub async fn execute(
    run: Run<'_>,
    (store, lease): (&mut Store, Option<&SharedLease>),
    report: &mut dyn FnMut(&RunEvent),
    signals: &mut mpsc::UnboundedReceiver<Signal>,
) -> Result<Summary, RunError> {
    let (messages, mut inbox) = mpsc::unbounded_channel();
    let links = links(&run, store.state(), messages);
    let (pools, limits) = pools(&run, store.state());
    let mut driver = Driver {
        dispatcher: Dispatcher::new(run.plan, &pools, &limits, run.options.timeout),
        run: &run,
        store,
        report,
        links,
        tasks: JoinSet::new(),
        step_of: HashMap::new(),
        began: Instant::now(),
        next_commit: Instant::now() + MIN_COMMIT_INTERVAL,
        uncommitted: false,
        journal_failure: None,
        lost: None,
        aborted: false,
    };
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    driver.handle(vec![(Input::Begin, None)]);
    while !driver.aborted && !driver.dispatcher.is_done() {
        let inputs = tokio::select! {
            Some(message) = inbox.recv() => {
                // Everything in the inbox is written with one sync.
                let mut inputs = inputs_of(message);
                inputs.extend(drain(&mut inbox));
                inputs
            }
            Some(joined) = driver.tasks.join_next_with_id() => {
                // The messages of a step come before its end.
                let mut inputs = drain(&mut inbox);
                inputs.push((driver.ended(joined), None));
                inputs
            }
            Some(signal) = signals.recv() => vec![(Input::Signal(signal), None)],
            error = lost(lease), if driver.lost.is_none() => {
                driver.lost = Some(error.into());
                vec![(Input::NotRecorded(STATE_LOST), None)]
            }
            _ = tick.tick() => vec![(Input::Tick, None)],
        };
        driver.handle(inputs);
    }
    // Messages that arrived meanwhile still have to be recorded.
    driver.handle(drain(&mut inbox));
    let summary = driver.dispatcher.into_summary();
    let lost = driver.lost.map(|source| JournalFailure { builds: Vec::new(), source });
    match driver.journal_failure.or(lost) {
        Some(failure) => Err(failure.into_error(summary)),
        None => Ok(summary),
    }
}

/// Waits until a lease of a shared state is lost. Without a shared state, waits forever.
async fn lost(lease: Option<&SharedLease>) -> SharedError {
    match lease {
        Some(lease) => lease.lost().await,
        None => std::future::pending().await,
    }
}

/// Starts the tasks that the steps share.
fn links(run: &Run<'_>, state: &State, messages: mpsc::UnboundedSender<StepMessage>) -> Links {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let packers = cores.min(MAX_PACKERS);
    let stopping = CancellationToken::new();
    let client = observed(&run.client, messages.clone(), None);
    let known = KnownBuilds::default();
    known.add(state.entries.values().flat_map(|entry| entry.builds().cloned()));
    Links {
        poller: Poller::start(client.clone()),
        updates: UpdateBatcher::start(client.clone(), stopping.clone()),
        base_paths: BasePaths::new(client.clone()),
        transfers: TransferBatcher::new(client, messages.clone(), stopping.clone(), known.clone()),
        known,
        client: run.client.clone(),
        messages,
        stopping,
        packers: Arc::new(Semaphore::new(packers)),
        archives: Arc::new(Semaphore::new(packers + MAX_UPLOADS)),
        uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
    }
}

/// Confirms to a step that its records are on disk.
type Confirmation = Option<oneshot::Sender<()>>;

fn inputs_of(message: StepMessage) -> Vec<(Input, Confirmation)> {
    match message {
        StepMessage::Records { records, written } => {
            let mut inputs: Vec<(Input, Confirmation)> =
                records.into_iter().map(|record| (Input::Record(record), None)).collect();
            // All of them are written with one sync, or none, so the last one confirms all.
            if let Some((_, last)) = inputs.last_mut() {
                *last = Some(written);
            }
            inputs
        }
        StepMessage::Phase { step, phase, build, ago } => {
            vec![(Input::Phase { step, phase, build, ago }, None)]
        }
        StepMessage::Notice { step, notice } => vec![(Input::Notice { step, notice }, None)],
    }
}

/// Returns the inputs of all messages in the inbox.
fn drain(inbox: &mut mpsc::UnboundedReceiver<StepMessage>) -> Vec<(Input, Confirmation)> {
    std::iter::from_fn(|| inbox.try_recv().ok()).flat_map(inputs_of).collect()
}

struct Driver<'a> {
    dispatcher: Dispatcher,
    run: &'a Run<'a>,
    store: &'a mut Store,
    report: &'a mut dyn FnMut(&RunEvent),
    links: Links,
    tasks: JoinSet<Result<StepOutput, StepFailure>>,
    step_of: HashMap<Id, StepId>,
    began: Instant,
    next_commit: Instant,
    /// True if the journal has records that are not in the lockfile.
    uncommitted: bool,
    journal_failure: Option<JournalFailure>,
    /// The error of a shared state of which another run has a shard. The journal is still written: it
    /// tells the next run on this machine of the transfers that were accepted.
    lost: Option<StateError>,
    aborted: bool,
}

/// A failed write of the journal. Nothing is written after it.
struct JournalFailure {
    /// Builds that were accepted and are not recorded.
    builds: Vec<String>,
    source: StateError,
}

impl JournalFailure {
    fn into_error(self, summary: Summary) -> RunError {
        let Self { builds, source } = self;
        RunError::NotRecorded { builds, summary: Box::new(summary), source }
    }
}

impl Driver<'_> {
    /// Passes inputs to the dispatcher and carries out its effects: first write the records, then
    /// confirm them to the steps, then report and start steps.
    fn handle(&mut self, inputs: Vec<(Input, Confirmation)>) {
        let now = self.began.elapsed();
        let mut records = Vec::new();
        let mut effects = Vec::new();
        let mut confirmations = Vec::new();
        for (input, confirmation) in inputs {
            for effect in self.dispatcher.handle(input, now) {
                match effect {
                    Effect::Persist(record) => records.push(record),
                    other => effects.push(other),
                }
            }
            confirmations.extend(confirmation);
        }
        if self.write(&records) {
            self.store.confirm(confirmations);
        } else {
            // A step whose records are not confirmed ends.
            drop(confirmations);
            effects.extend(self.dispatcher.handle(Input::NotRecorded(JOURNAL_FAILED), now));
        }
        self.carry_out(effects);
        self.commit_if_due();
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist(_) => {}
                Effect::Report(event) => (self.report)(&event),
                Effect::Start(step) => self.start(step),
                Effect::StopSubmitting => {
                    self.links.stopping.cancel();
                    // A CI system that stops a run may kill it soon after.
                    self.next_commit = Instant::now();
                }
                Effect::Abort => self.aborted = true,
            }
        }
    }

    /// Writes records to the journal. Returns false if that failed, now or before.
    fn write(&mut self, records: &[Record]) -> bool {
        if self.journal_failure.is_some() {
            // A journal with a gap cannot be replayed, but the last commit writes the state.
            self.store.apply(records);
        } else {
            match self.store.record(records) {
                Ok(()) => {
                    self.uncommitted |= !records.is_empty();
                    return true;
                }
                Err(source) => {
                    self.journal_failure = Some(JournalFailure { builds: Vec::new(), source });
                }
            }
        }
        let accepted = records.iter().filter_map(|record| match record {
            Record::Created { unit, pending, .. } => Some(format!("{unit}: {}", pending.build)),
            _ => None,
        });
        if let Some(failure) = &mut self.journal_failure {
            failure.builds.extend(accepted);
        }
        false
    }

    /// Writes the lockfile from time to time. If the machine is lost together with the journal, the
    /// last lockfile that was saved elsewhere is all that remains.
    fn commit_if_due(&mut self) {
        let now = Instant::now();
        if self.journal_failure.is_none() && self.uncommitted && now >= self.next_commit {
            self.uncommitted = false;
            // An error is no loss: the journal has every record, and the last commit reports it.
            let _ = self.store.commit();
            let interval = now.elapsed() * COMMIT_INTERVAL_FACTOR;
            self.next_commit = now + interval.max(MIN_COMMIT_INTERVAL);
        }
    }

    fn ended(&mut self, joined: Result<(Id, Result<StepOutput, StepFailure>), JoinError>) -> Input {
        let (id, result) = match joined {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(StepFailure::bug(&error.to_string()))),
        };
        match self.step_of.remove(&id) {
            Some(step) => Input::Ended { step, result },
            None => Input::Tick,
        }
    }

    fn start(&mut self, step: StepId) {
        let planned = &self.run.plan.steps[step.0];
        let work = match &planned.action {
            Action::Create(create) => self.create(create),
            Action::Adopt { unit, build, start, then } => Ok(Work::Adopt(AdoptJob {
                build: build.clone(),
                path: pending_path(self.store.state(), build),
                start: *start,
                timeout: self.run.workspace.unit(*unit).timeout,
                then: then.clone(),
            })),
            Action::Update { change, .. } => Ok(Work::Update(change.clone())),
            Action::Forget { after } => Ok(Work::Forget(after.clone())),
            Action::Delete { owner, after, .. } => {
                Ok(Work::Delete { owner: owner.clone(), after: after.clone() })
            }
        };
        let links = self.links.clone();
        let (key, image) = (planned.key.clone(), self.recorded_image(planned));
        let mirror = planned.unit().and_then(|id| Mirror::of(self.run, id, self.store.state()));
        let task = self.tasks.spawn(async move {
            step::run(StepJob { step, key, image, mirror, work: work? }, links).await
        });
        self.step_of.insert(task.id(), step);
    }

    /// Returns the name in the service of the image that a step changes or deletes.
    fn recorded_image(&self, step: &Step) -> ImageRef {
        let change = match &step.action {
            Action::Update { change, .. } | Action::Adopt { then: Some(change), .. } => {
                Some(change)
            }
            _ => None,
        };
        let key = change.and_then(|change| change.from.as_ref()).unwrap_or(&step.key);
        let built = self.store.state().entries.get(key).and_then(|entry| entry.built.as_ref());
        built.map_or(key, |built| built.image(key)).clone()
    }

    fn create(&self, create: &Create) -> Result<Work, StepFailure> {
        let unit = self.run.workspace.unit(create.unit);
        let content = match &unit.origin {
            Origin::Mirror(source) => {
                JobContent::Mirror(pins::pinned_source(source, &create.inputs))
            }
            Origin::Build(build) => {
                let context = self.run.facts.context(create.unit);
                let tree = context.map(|context| Arc::clone(&context.tree));
                let mut bases = build
                    .bases
                    .iter()
                    .map(|base| Ok((base.range.clone(), self.path_of(base.unit)?)))
                    .collect::<Result<Vec<_>, StepFailure>>()?;
                let pinned = pins::pinned_bases(build, unit.platform, &create.inputs).into_iter();
                bases.extend(pinned.map(|(range, base)| (range, BasePath::Known(base))));
                JobContent::Build {
                    tree: tree.ok_or_else(|| StepFailure::bug("its context was not read"))?,
                    dockerfile: Arc::clone(&build.dockerfile),
                    inside: build.dockerfile_inside.clone(),
                    is_lowered: build.is_lowered(),
                    bases,
                }
            }
        };
        Ok(Work::Create(Box::new(CreateJob {
            create: create.clone(),
            platform: unit.platform,
            owner: owner_of(self.run, create.unit, self.store.state()),
            visibility: unit.visibility,
            timeout: unit.timeout,
            content,
        })))
    }

    /// Returns the full path of a base, whose step has ended. If the base was moved and the service
    /// did not return its new path, the unit's task looks it up.
    fn path_of(&self, unit: UnitId) -> Result<BasePath, StepFailure> {
        let key = &self.run.workspace.unit(unit).key;
        let built = self.store.state().entries.get(key).and_then(|entry| entry.built.as_ref());
        match built {
            // The path of a platform image is its name.
            Some(built) if built.path.is_empty() && built.owner == Owner::Platform => {
                Ok(BasePath::Known(built.image(key).to_string()))
            }
            Some(built) if built.path.is_empty() => {
                let (image, owner) = (built.image(key).clone(), built.owner.clone());
                Ok(BasePath::Moved { base: key.clone(), image, owner })
            }
            Some(built) => Ok(BasePath::Known(built.path.to_string())),
            None => Err(StepFailure::new(format!("its base {key} has not been built"))),
        }
    }
}
