//! The loop around the dispatcher: it alone owns the tasks, the clock, the store and the signals.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use miette::Diagnostic;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::base_paths::BasePaths;
use super::dispatch::{Dispatcher, Done, Effect, Input, StepFailure};
use super::poll::Poller;
use super::pools::{lanes, owner_of};
use super::step::{self, BasePath, Content, Job, Links, MakeJob, StepMessage, Work};
use super::transfers::Transfers;
use super::updates::Updates;
use crate::api::Client;
use crate::base::name::Owner;
use crate::event::{RunEvent, Signal, Summary};
use crate::manifest::Workspace;
use crate::manifest::workspace::{Origin, UnitId};
use crate::plan::{Action, Create, Facts, Plan, StepId, pins};
use crate::state::{Record, State, StateError, Store};

/// What a run works on.
pub struct Run<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// What it is done to.
    pub workspace: &'a Workspace,
    /// The files of the contexts.
    pub facts: &'a Facts,
    /// The way to the service.
    pub client: Client,
    /// How.
    pub options: Options,
}

/// How a run goes about it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Builds in flight.
    pub builds: usize,
    /// Transfers in flight, for each owner of images.
    pub transfers: usize,
    /// Who owns a new unit of which the manifest does not say.
    pub owner: Owner,
    /// How long the run may take; what is not done then stays pending.
    pub timeout: Option<Duration>,
}

/// Why a run could not go on at all. What units met is in the [`Summary`].
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum RunError {
    /// What happened could not be kept.
    #[error("what happened cannot be kept, so the run was left{}", accepted(builds))]
    #[diagnostic(help("make room or give write access to the folder .imgplan, then apply again"))]
    NotRecorded {
        /// Builds that the service accepted and that are on no record.
        builds: Vec<String>,
        /// What units met until then.
        summary: Box<Summary>,
        /// Why.
        #[source]
        source: StateError,
    },
}

fn accepted(builds: &[String]) -> String {
    match builds {
        [] => String::new(),
        builds => format!("; the service accepted {}", builds.join(", ")),
    }
}

/// The least time between two writings of the lockfile while a run goes on.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// The least time between two of them, in times of what one takes: no more than a fiftieth of a run
/// goes into them.
const CHECKPOINT_SHARE: u32 = 50;

/// Contexts packed at once, at most: each is packed on all cores, and only the reading is one thread's.
const PACKERS: usize = 4;

/// Uploads at once: more share one uplink.
const UPLOADS: usize = 8;

/// Carries out a plan. `tell` hears of everything; `signals` may ask to stop: once to begin nothing
/// new, twice to leave at once.
pub async fn execute(
    run: Run<'_>,
    store: &mut Store,
    tell: &mut dyn FnMut(&RunEvent),
    signals: &mut mpsc::UnboundedReceiver<Signal>,
) -> Result<Summary, RunError> {
    let (messages, mut inbox) = mpsc::unbounded_channel();
    let links = links(&run, store.state(), messages);
    let (lanes, limits) = lanes(&run, store.state());
    let mut driver = Driver {
        dispatcher: Dispatcher::new(run.plan, &lanes, &limits, run.options.timeout),
        run: &run,
        store,
        tell,
        links,
        tasks: JoinSet::new(),
        step_of: HashMap::new(),
        began: Instant::now(),
        next_commit: Instant::now() + CHECKPOINT,
        uncommitted: false,
        broken: None,
        leave: false,
    };
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    driver.take(vec![(Input::Begin, None)]);
    while !driver.leave && !driver.dispatcher.is_done() {
        let inputs = tokio::select! {
            Some(message) = inbox.recv() => {
                // What has gathered is kept with one sync.
                let mut inputs = input_of(message);
                inputs.extend(rest(&mut inbox));
                inputs
            }
            Some(joined) = driver.tasks.join_next_with_id() => {
                // What a step said comes before its end.
                let mut inputs = rest(&mut inbox);
                inputs.push((driver.ended(joined), None));
                inputs
            }
            Some(signal) = signals.recv() => vec![(Input::Signal(signal), None)],
            _ = tick.tick() => vec![(Input::Tick, None)],
        };
        driver.take(inputs);
    }
    // What came with the last moment is kept like all else.
    driver.take(rest(&mut inbox));
    let summary = driver.dispatcher.into_summary();
    match driver.broken {
        Some(broken) => Err(broken.after(summary)),
        None => Ok(summary),
    }
}

/// What steps share.
fn links(run: &Run<'_>, state: &State, messages: mpsc::UnboundedSender<StepMessage>) -> Links {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let packers = cores.min(PACKERS);
    let stopping = CancellationToken::new();
    let client = step::observed(&run.client, messages.clone(), None);
    let known = state.entries.values().flat_map(|entry| entry.builds().cloned()).collect();
    Links {
        poller: Poller::start(client.clone()),
        updates: Updates::start(client.clone(), stopping.clone()),
        paths: BasePaths::new(client.clone()),
        transfers: Transfers::new(client, messages.clone(), stopping.clone(), known),
        client: run.client.clone(),
        messages,
        stopping,
        packers: Arc::new(Semaphore::new(packers)),
        archives: Arc::new(Semaphore::new(packers + UPLOADS)),
        uploads: Arc::new(Semaphore::new(UPLOADS)),
    }
}

type Safe = Option<oneshot::Sender<()>>;

fn input_of(message: StepMessage) -> Vec<(Input, Safe)> {
    match message {
        StepMessage::Records { records, safe } => {
            let mut inputs: Vec<(Input, Safe)> =
                records.into_iter().map(|record| (Input::Record(record), None)).collect();
            // All of them are kept with one sync, or none.
            if let Some((_, last)) = inputs.last_mut() {
                *last = Some(safe);
            }
            inputs
        }
        StepMessage::Begun { step } => vec![(Input::Begun { step }, None)],
        StepMessage::Phase { step, phase, build } => {
            vec![(Input::Phase { step, phase, build }, None)]
        }
        StepMessage::Notice { unit, notice } => vec![(Input::Notice { unit, notice }, None)],
    }
}

/// What has gathered meanwhile.
fn rest(inbox: &mut mpsc::UnboundedReceiver<StepMessage>) -> Vec<(Input, Safe)> {
    std::iter::from_fn(|| inbox.try_recv().ok()).flat_map(input_of).collect()
}

struct Driver<'a> {
    dispatcher: Dispatcher,
    run: &'a Run<'a>,
    store: &'a mut Store,
    tell: &'a mut dyn FnMut(&RunEvent),
    links: Links,
    tasks: JoinSet<Result<Done, StepFailure>>,
    step_of: HashMap<Id, StepId>,
    began: Instant,
    next_commit: Instant,
    /// Whether something is on record that is not in the lockfile.
    uncommitted: bool,
    broken: Option<JournalFailure>,
    leave: bool,
}

/// What happened cannot be kept any more.
struct JournalFailure {
    /// Builds that were accepted and are on no record.
    builds: Vec<String>,
    source: StateError,
}

impl JournalFailure {
    fn after(self, summary: Summary) -> RunError {
        let Self { builds, source } = self;
        RunError::NotRecorded { builds, summary: Box::new(summary), source }
    }
}

impl Driver<'_> {
    /// Hands inputs to the dispatcher and does what it says: first keep, then answer, then tell
    /// and start.
    fn take(&mut self, inputs: Vec<(Input, Safe)>) {
        let now = self.began.elapsed();
        let mut records = Vec::new();
        let mut rest = Vec::new();
        let mut waiting = Vec::new();
        for (input, safe) in inputs {
            for effect in self.dispatcher.handle(input, now) {
                match effect {
                    Effect::Persist(record) => records.push(record),
                    other => rest.push(other),
                }
            }
            waiting.extend(safe);
        }
        if self.keep(&records) {
            for safe in waiting {
                // A step that is gone needs no answer.
                let _ = safe.send(());
            }
        } else {
            // Who is not answered goes no further.
            drop(waiting);
            rest.extend(self.dispatcher.handle(Input::NotKept, now));
        }
        for effect in rest {
            match effect {
                Effect::Persist(_) => {}
                Effect::Tell(event) => (self.tell)(&event),
                Effect::Start(step) => self.start(step),
                Effect::StopSubmitting => {
                    self.links.stopping.cancel();
                    // Whoever stops a run may kill it soon after.
                    self.next_commit = Instant::now();
                }
                Effect::Leave => self.leave = true,
            }
        }
        self.checkpoint();
    }

    /// Makes records survive, or takes note of what could not be kept.
    fn keep(&mut self, records: &[Record]) -> bool {
        if self.broken.is_none() {
            match self.store.record(records) {
                Ok(()) => {
                    self.uncommitted |= !records.is_empty();
                    return true;
                }
                Err(source) => self.broken = Some(JournalFailure { builds: Vec::new(), source }),
            }
        }
        let lost = records.iter().filter_map(|record| match record {
            Record::Created { unit, pending, .. } => Some(format!("{unit}: {}", pending.build)),
            _ => None,
        });
        if let Some(broken) = &mut self.broken {
            broken.builds.extend(lost);
        }
        false
    }

    /// Writes the lockfile now and then: where a run dies together with its checkout, what was
    /// committed of it is all that is left.
    fn checkpoint(&mut self) {
        let began = Instant::now();
        if self.broken.is_none() && self.uncommitted && began >= self.next_commit {
            self.uncommitted = false;
            // The journal has all of it; the end of the run will say what is wrong.
            let _ = self.store.commit();
            self.next_commit = began + (began.elapsed() * CHECKPOINT_SHARE).max(CHECKPOINT);
        }
    }

    fn ended(&mut self, joined: Result<(Id, Result<Done, StepFailure>), JoinError>) -> Input {
        let (id, result) = match joined {
            Ok((id, result)) => (id, result),
            Err(error) => {
                let message = format!("a bug in imgplan: {error}");
                let help = Some("please report it with what is above".to_owned());
                let failure = StepFailure { message, help, ..StepFailure::default() };
                (error.id(), Err(failure))
            }
        };
        match self.step_of.remove(&id) {
            Some(step) => Input::Ended { step, result },
            None => Input::Tick,
        }
    }

    fn start(&mut self, step: StepId) {
        let planned = &self.run.plan.steps[step.0];
        let work = match &planned.action {
            Action::Create(make) => self.make(make),
            Action::Adopt { unit, build, start, then } => Ok(Work::Adopt {
                build: build.clone(),
                start: *start,
                timeout: self.run.workspace.unit(*unit).timeout,
                then: then.clone(),
            }),
            Action::Update { change, .. } => Ok(Work::Update(change.clone())),
            Action::Forget { after } => Ok(Work::Forget(after.clone())),
            Action::Delete { owner, after, .. } => {
                Ok(Work::Remove { owner: owner.clone(), after: after.clone() })
            }
        };
        let links = self.links.clone();
        let key = planned.key.clone();
        let task =
            self.tasks.spawn(async move { step::run(Job { step, key, work: work? }, links).await });
        self.step_of.insert(task.id(), step);
    }

    fn make(&self, make: &Create) -> Result<Work, StepFailure> {
        let unit = self.run.workspace.unit(make.unit);
        let content = match &unit.origin {
            Origin::Mirror(source) => Content::Mirror(pins::held_source(source, &make.inputs)),
            Origin::Build(build) => {
                let context = self.run.facts.context(make.unit);
                let tree = context.map(|context| Arc::clone(&context.tree));
                let mut bases = build
                    .bases
                    .iter()
                    .map(|base| Ok((base.range.clone(), self.path_of(base.unit)?)))
                    .collect::<Result<Vec<_>, StepFailure>>()?;
                let held = pins::held_bases(build, unit.platform, &make.inputs).into_iter();
                bases.extend(held.map(|(range, held)| (range, BasePath::Known(held))));
                Content::Build {
                    tree: tree.ok_or_else(|| fault("its context was not read".to_owned()))?,
                    dockerfile: Arc::clone(&build.dockerfile),
                    inside: build.as_written().map(str::to_owned),
                    bases,
                }
            }
        };
        let owner = owner_of(self.run, make.unit, self.store.state());
        Ok(Work::Make(Box::new(MakeJob {
            make: make.clone(),
            platform: unit.platform,
            owner,
            visibility: unit.visibility,
            timeout: unit.timeout,
            content,
        })))
    }

    /// The full path that the service gave a base, which is complete by now. Where it was moved and
    /// the service did not say where to, it is looked for.
    fn path_of(&self, unit: UnitId) -> Result<BasePath, StepFailure> {
        let key = &self.run.workspace.unit(unit).key;
        let built = self.store.state().entries.get(key).and_then(|entry| entry.built.as_ref());
        match built {
            Some(built) if built.path.is_empty() => {
                Ok(BasePath::Sought { base: key.clone(), owner: built.owner.clone() })
            }
            Some(built) => Ok(BasePath::Known(built.path.clone())),
            None => Err(fault(format!("its base {key} is not built"))),
        }
    }
}

fn fault(message: String) -> StepFailure {
    StepFailure { message, ..StepFailure::default() }
}
