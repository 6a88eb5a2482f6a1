//! Decides what follows from what happened: which records to keep, what to tell, which steps to
//! start. A plain function of its inputs: time is given, nothing is done. Pure.

use std::collections::HashSet;
use std::time::Duration;

use super::progress::{self, Progress, Working};
use super::schedule::Schedule;
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef};
use crate::event::{Phase, RunEvent, Signal, SkipReason, StopReason, Summary, TargetFailure};
use crate::http::Notice;
use crate::plan::{Plan, StepId};
use crate::state::Record;

/// Something that happened.
#[derive(Debug)]
pub(super) enum Input {
    /// The run begins.
    Begin,
    /// A step asks for something to be kept.
    Record(Record),
    /// A step that waited for its turn has it.
    Begun { step: StepId },
    /// A step came to another phase.
    Phase { step: StepId, phase: Phase, build: Option<BuildId> },
    /// A step ended.
    Ended { step: StepId, result: Result<Done, StepFailure> },
    /// Some time has passed.
    Tick,
    /// A client has something to say of its requests; for one unit, or for all.
    Notice { unit: Option<ImageRef>, notice: Notice },
    /// The user asks to stop.
    Signal(Signal),
    /// What happened could not be kept.
    NotKept,
}

/// What a step that succeeded leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) build: Option<BuildId>,
    pub(super) path: Option<String>,
}

/// Why a step did not succeed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StepFailure {
    pub(super) message: String,
    pub(super) help: Option<String>,
    pub(super) build: Option<BuildId>,
    /// Its build goes on.
    pub(super) pending: bool,
    /// It ended before anything was sent, because the run stops.
    pub(super) not_begun: bool,
    /// Every other unit would meet the same.
    pub(super) stops_run: bool,
}

/// Something to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Keep this.
    Persist(Record),
    /// Tell this.
    Tell(RunEvent),
    /// Work on this step.
    Start(StepId),
    /// Let no step send anything new.
    StopSubmitting,
    /// Leave now, whatever still runs.
    Leave,
}

/// The state of a run.
pub(super) struct Dispatcher {
    steps: Vec<Progress>,
    schedule: Schedule,
    summary: Summary,
    told: Duration,
    /// Units whose build was asked for and whose answer is not here.
    submitting: HashSet<ImageRef>,
    /// Since when the run only waits for those answers.
    leaving: Option<Duration>,
    /// How long the run may take.
    timeout: Option<Duration>,
}

/// What is told of a client's notice; for one unit, or for all.
pub(crate) fn told(unit: Option<ImageRef>, notice: Notice) -> Option<RunEvent> {
    Some(match notice {
        Notice::Retry { action, class, attempt, status, why, wait, registry: _ } => {
            RunEvent::Retry { unit, action, class, attempt, status, error: why, wait }
        }
        Notice::RateWait { class, limit, wait } => RunEvent::RateWait { class, limit, wait },
        // A run queries no registry.
        Notice::RegistryPaused { .. } | Notice::LookupDone { .. } => return None,
    })
}

/// How long a run that is left waits for the answers that are under way: an accepted build whose
/// ID is not on record would be lost.
const GRACE: Duration = Duration::from_secs(3);

/// How often a run that goes on is told of: with every tenth tick of a second, which may come a
/// moment early.
const HEARTBEAT: Duration = Duration::from_millis(9_500);

impl Dispatcher {
    /// `lanes[i]` is the lane of the plan's step `i`, and `limits[l]` how many steps of lane `l` are
    /// worked on at once.
    pub(super) fn new(
        plan: &Plan,
        lanes: &[usize],
        limits: &[usize],
        timeout: Option<Duration>,
    ) -> Self {
        let needs: Vec<&[StepId]> = plan.steps.iter().map(|step| step.needs.as_slice()).collect();
        Self {
            steps: plan.steps.iter().map(Progress::of).collect(),
            schedule: Schedule::new(&needs, lanes, limits),
            summary: Summary { partial: plan.partial, ..Summary::default() },
            told: Duration::ZERO,
            submitting: HashSet::new(),
            leaving: None,
            timeout,
        }
    }

    /// Takes in what happened at `now`, counted from the start of the run.
    pub(super) fn handle(&mut self, input: Input, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Begin => self.start(now, &mut effects),
            Input::Record(record) => {
                match &record {
                    Record::Submitting { unit, .. } => {
                        self.submitting.insert(unit.clone());
                    }
                    Record::Created { unit, .. } | Record::NotAccepted { unit } => {
                        self.submitting.remove(unit);
                    }
                    _ => {}
                }
                effects.push(Effect::Persist(record));
                self.leave_if_ready(&mut effects);
            }
            Input::Begun { step } => self.begun(step, now, &mut effects),
            Input::Phase { step, phase, build } => {
                self.phase(step, phase, build, now, &mut effects);
            }
            Input::Ended { step, result } => {
                self.submitting.remove(&self.steps[step.0].key);
                self.ended(step, result, now, &mut effects);
                self.start(now, &mut effects);
                self.leave_if_ready(&mut effects);
            }
            Input::Tick => self.tick(now, &mut effects),
            Input::Notice { unit, notice } => {
                effects.extend(self.notice(unit, notice).map(Effect::Tell))
            }
            Input::NotKept => {
                if self.leaving.is_none() {
                    self.leaving = Some(now);
                    let why = "what happened cannot be kept".to_owned();
                    self.stop(StopReason::Error(why), &mut effects);
                }
                self.leave_if_ready(&mut effects);
            }
            Input::Signal(signal) => match &self.summary.stopped {
                Some(StopReason::Interrupted(_)) => {
                    self.leaving.get_or_insert(now);
                    self.leave_if_ready(&mut effects);
                }
                _ => self.stop(StopReason::Interrupted(signal), &mut effects),
            },
        }
        effects
    }

    /// Whether nothing is being worked on and nothing will be.
    pub(super) fn is_done(&self) -> bool {
        self.schedule.active() == 0
    }

    /// How it ended.
    pub(super) fn into_summary(mut self) -> Summary {
        let message = match &self.summary.stopped {
            Some(StopReason::TimedOut(timeout)) => {
                format!("not done when the run's {timeout:?} were over")
            }
            _ => "left before its end".to_owned(),
        };
        let reason = self.stop_reason();
        // Those that were left in the middle are neither done nor failed: they stay pending. What
        // the service knows nothing of was not begun.
        for step in self.steps.into_iter().filter(|step| step.state != Working::No) {
            let asked = self.submitting.contains(&step.key);
            if step.build.is_none() && !asked {
                self.summary.skipped.push((step.key, reason.clone()));
                continue;
            }
            let help = asked.then_some("the service had not answered; the next apply asks for it");
            self.summary.failures.push(TargetFailure {
                unit: step.key,
                phase: step.phase,
                message: message.clone(),
                help: help.map(str::to_owned),
                build: step.build,
                pending: true,
            });
        }
        self.summary
    }

    fn leave_if_ready(&self, effects: &mut Vec<Effect>) {
        if self.leaving.is_some() && self.submitting.is_empty() {
            effects.push(Effect::Leave);
        }
    }

    fn start(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        for step in self.schedule.start() {
            if self.steps[step.0].kind == Some(ImageKind::Mirror) {
                // There may be a thousand of them, and an hour until it is asked for.
                self.steps[step.0].state = Working::Waiting;
                self.steps[step.0].since = now;
            } else {
                self.begun(step, now, effects);
            }
            effects.push(Effect::Start(step));
        }
    }

    fn begun(&mut self, step: StepId, now: Duration, effects: &mut Vec<Effect>) {
        let progress = &mut self.steps[step.0];
        if progress.state == Working::Yes {
            return;
        }
        progress.state = Working::Yes;
        progress.since = now;
        let (unit, action) = (progress.key.clone(), progress.verb);
        effects.push(Effect::Tell(RunEvent::Started { unit, action }));
    }

    fn phase(
        &mut self,
        step: StepId,
        phase: Phase,
        build: Option<BuildId>,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let progress = &mut self.steps[step.0];
        progress.phase = phase;
        progress.build = build.or(progress.build.take());
        effects.push(Effect::Tell(RunEvent::Progress(progress.active_at(now))));
    }

    fn ended(
        &mut self,
        step: StepId,
        result: Result<Done, StepFailure>,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let progress = &mut self.steps[step.0];
        progress.state = Working::No;
        let (unit, action, elapsed) =
            (progress.key.clone(), progress.verb, now.saturating_sub(progress.since));
        match result {
            Ok(Done { build, path }) => {
                match (progress.kind, action) {
                    (Some(ImageKind::Build), _) => self.summary.built += 1,
                    (Some(ImageKind::Mirror), _) => self.summary.mirrored += 1,
                    (None, "adopt") => self.summary.adopted += 1,
                    (None, "update") => self.summary.updated += 1,
                    (None, "delete") => self.summary.deleted += 1,
                    (None, _) => self.summary.forgotten += 1,
                }
                effects.push(Effect::Tell(RunEvent::Completed {
                    unit,
                    action,
                    build,
                    path,
                    elapsed,
                }));
                self.schedule.finish(step, true);
            }
            Err(failure) if failure.not_begun => {
                let reason = self.stop_reason();
                self.skip(unit, reason, effects);
                // What stands above it was skipped when the run stopped.
                self.schedule.finish(step, false);
            }
            Err(failure) => {
                let StepFailure { message, help, build, pending, stops_run, .. } = failure;
                let phase = progress.phase;
                let root = unit.clone();
                let told = message.clone();
                let failure = TargetFailure { unit, phase, message, help, build, pending };
                self.summary.failures.push(failure.clone());
                effects.push(Effect::Tell(RunEvent::Failed { failure, action, elapsed }));
                for skipped in self.schedule.finish(step, false) {
                    let reason = SkipReason::DependencyFailed { failed: root.clone() };
                    let unit = self.steps[skipped.0].key.clone();
                    self.skip(unit, reason, effects);
                }
                if stops_run && self.summary.stopped.is_none() {
                    self.stop(StopReason::Error(told), effects);
                }
            }
        }
    }

    fn stop(&mut self, reason: StopReason, effects: &mut Vec<Effect>) {
        self.summary.stopped = Some(reason.clone());
        let active = self.schedule.active();
        effects.push(Effect::Tell(RunEvent::Stopping { reason, active }));
        effects.push(Effect::StopSubmitting);
        for step in self.schedule.stop() {
            let reason = self.stop_reason();
            let unit = self.steps[step.0].key.clone();
            self.skip(unit, reason, effects);
        }
    }

    fn stop_reason(&self) -> SkipReason {
        match &self.summary.stopped {
            Some(StopReason::Interrupted(_)) => SkipReason::Interrupted,
            Some(StopReason::Error(_) | StopReason::TimedOut(_)) | None => SkipReason::Stopped,
        }
    }

    fn skip(&mut self, unit: ImageRef, reason: SkipReason, effects: &mut Vec<Effect>) {
        self.summary.skipped.push((unit.clone(), reason.clone()));
        effects.push(Effect::Tell(RunEvent::Skipped { unit, reason }));
    }

    fn notice(&mut self, unit: Option<ImageRef>, notice: Notice) -> Option<RunEvent> {
        self.summary.retries += usize::from(matches!(notice, Notice::Retry { .. }));
        told(unit, notice)
    }

    fn tick(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if let Some(timeout) = self.timeout.filter(|timeout| now >= *timeout)
            && self.leaving.is_none()
        {
            self.leaving = Some(now);
            if self.summary.stopped.is_none() {
                self.stop(StopReason::TimedOut(timeout), effects);
            }
            self.leave_if_ready(effects);
        }
        if self.leaving.is_some_and(|since| now.saturating_sub(since) >= GRACE) {
            effects.push(Effect::Leave);
        }
        if self.schedule.active() == 0 || now.saturating_sub(self.told) < HEARTBEAT {
            return;
        }
        self.told = now;
        let summary = &self.summary;
        let ended = summary.done() + summary.failures.len() + summary.skipped.len();
        effects.push(Effect::Tell(progress::alive(&self.steps, ended, now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Fingerprint;
    use crate::base::name::{Owner, Platform};
    use crate::manifest::workspace::UnitId;
    use crate::plan::{Action, Create, Step};
    use crate::state::{Inputs, Submission};

    fn key(name: &str) -> ImageRef {
        format!("{name}:v1").parse().unwrap()
    }

    fn fingerprint() -> Fingerprint {
        Inputs::default().fingerprint()
    }

    /// A plan that builds units, each of which may need some before it.
    fn dispatcher(units: &[(&str, &[usize])], concurrency: usize) -> Dispatcher {
        let steps = units.iter().enumerate().map(|(index, (name, needs))| Step {
            key: key(name),
            kind: ImageKind::Build,
            action: Action::Create(Create {
                unit: UnitId(index),
                kind: ImageKind::Build,
                owner: None,
                visibility: None,
                replaces: false,
                fingerprint: fingerprint(),
                inputs: Inputs::default(),
                after: None,
                in_doubt: None,
            }),
            reasons: Vec::new(),
            needs: needs.iter().map(|&need| StepId(need)).collect(),
            added: false,
        });
        let plan = Plan { steps: steps.collect(), units: units.len(), ..Plan::default() };
        Dispatcher::new(&plan, &vec![0; units.len()], &[concurrency], None)
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn begin(dispatcher: &mut Dispatcher) -> Vec<usize> {
        started(&dispatcher.handle(Input::Begin, secs(0)))
    }

    fn started(effects: &[Effect]) -> Vec<usize> {
        let starts = effects.iter().filter_map(|effect| match effect {
            Effect::Start(step) => Some(step.0),
            _ => None,
        });
        starts.collect()
    }

    fn skipped(effects: &[Effect]) -> Vec<(String, SkipReason)> {
        let skips = effects.iter().filter_map(|effect| match effect {
            Effect::Tell(RunEvent::Skipped { unit, reason }) => {
                Some((unit.to_string(), reason.clone()))
            }
            _ => None,
        });
        skips.collect()
    }

    fn done(step: usize) -> Input {
        Input::Ended { step: StepId(step), result: Ok(Done { build: None, path: None }) }
    }

    fn failed(step: usize, failure: StepFailure) -> Input {
        Input::Ended { step: StepId(step), result: Err(failure) }
    }

    fn submitting(name: &str) -> Input {
        let (kind, platform) = (ImageKind::Build, Platform::Amd64);
        let submission = Submission {
            at: jiff::Timestamp::UNIX_EPOCH,
            fingerprint: fingerprint(),
            inputs: Inputs::default(),
            owner: Owner::Personal,
            visibility: None,
        };
        Input::Record(Record::Submitting { unit: key(name), kind, platform, submission })
    }

    const CHAIN: &[(&str, &[usize])] =
        &[("base", &[]), ("api", &[0]), ("on-api", &[1]), ("other", &[])];

    #[test]
    fn a_failure_skips_all_above_it_and_names_itself() {
        let mut dispatcher = dispatcher(CHAIN, 8);
        assert_eq!(begin(&mut dispatcher), [0, 3]);
        let effects = dispatcher.handle(failed(0, StepFailure::default()), secs(1));
        let reason = || SkipReason::DependencyFailed { failed: key("base") };
        assert_eq!(
            skipped(&effects),
            [("api:v1".to_owned(), reason()), ("on-api:v1".to_owned(), reason())]
        );
        assert!(!dispatcher.is_done(), "the other goes on");
        dispatcher.handle(done(3), secs(2));
        assert!(dispatcher.is_done());
        let summary = dispatcher.into_summary();
        assert_eq!((summary.built, summary.failures.len(), summary.skipped.len()), (1, 1, 2));
        assert_eq!(summary.stopped, None);
    }

    #[test]
    fn what_is_free_starts_as_soon_as_there_is_room() {
        let mut dispatcher = dispatcher(CHAIN, 1);
        assert_eq!(begin(&mut dispatcher), [0]);
        assert_eq!(started(&dispatcher.handle(done(0), secs(1))), [1]);
        assert_eq!(started(&dispatcher.handle(done(1), secs(2))), [2]);
        assert_eq!(started(&dispatcher.handle(done(2), secs(3))), [3]);
        dispatcher.handle(done(3), secs(4));
        assert!(dispatcher.is_done());
        assert!(dispatcher.into_summary().is_complete());
    }

    #[test]
    fn an_error_that_all_would_meet_stops_the_run() {
        let mut dispatcher = dispatcher(&[("a", &[]), ("b", &[]), ("c", &[])], 2);
        assert_eq!(begin(&mut dispatcher), [0, 1]);
        let failure = StepFailure { stops_run: true, ..StepFailure::default() };
        let effects = dispatcher.handle(failed(0, failure), secs(1));
        assert!(effects.contains(&Effect::StopSubmitting));
        assert_eq!(skipped(&effects), [("c:v1".to_owned(), SkipReason::Stopped)]);
        assert_eq!(started(&effects), [0; 0]);
        // What had not sent anything yet is skipped, not failed.
        let failure = StepFailure { not_begun: true, ..StepFailure::default() };
        let effects = dispatcher.handle(failed(1, failure), secs(1));
        assert_eq!(skipped(&effects), [("b:v1".to_owned(), SkipReason::Stopped)]);
        assert!(dispatcher.is_done());
        assert_eq!(dispatcher.into_summary().failures.len(), 1);
    }

    #[test]
    fn a_first_signal_stops_and_a_second_one_leaves() {
        let mut dispatcher = dispatcher(CHAIN, 8);
        begin(&mut dispatcher);
        let effects = dispatcher.handle(Input::Signal(Signal::Interrupt), secs(1));
        assert!(effects.contains(&Effect::StopSubmitting) && !effects.contains(&Effect::Leave));
        assert_eq!(skipped(&effects).len(), 2);
        assert!(!dispatcher.is_done(), "what runs is waited for");
        let build = BuildId::new("b-1");
        let phase = Input::Phase { step: StepId(0), phase: Phase::Building, build };
        dispatcher.handle(phase, secs(1));
        dispatcher.handle(done(3), secs(2));
        let effects = dispatcher.handle(Input::Signal(Signal::Interrupt), secs(3));
        assert_eq!(effects, [Effect::Leave]);
        let summary = dispatcher.into_summary();
        assert_eq!(summary.stopped, Some(StopReason::Interrupted(Signal::Interrupt)));
        assert_eq!(summary.failures.len(), 1);
        assert!(summary.failures[0].pending, "its build goes on");
    }

    #[test]
    fn an_answer_under_way_is_waited_for_but_not_for_ever() {
        let left = || {
            let mut dispatcher = dispatcher(&[("a", &[])], 1);
            begin(&mut dispatcher);
            dispatcher.handle(submitting("a"), secs(0));
            dispatcher.handle(Input::Signal(Signal::Terminate), secs(1));
            let effects = dispatcher.handle(Input::Signal(Signal::Terminate), secs(1));
            assert!(!effects.contains(&Effect::Leave), "the answer holds the build's ID");
            dispatcher
        };
        let mut answered = left();
        let effects = answered.handle(done(0), secs(2));
        assert!(effects.contains(&Effect::Leave));
        let mut silent = left();
        assert_eq!(silent.handle(Input::Tick, secs(2)), []);
        assert_eq!(silent.handle(Input::Tick, secs(4)), [Effect::Leave]);
        let summary = silent.into_summary();
        assert!(summary.failures[0].help.is_some(), "nobody knows whether there is a build");
    }

    #[test]
    fn a_run_that_goes_on_tells_so() {
        let mut dispatcher = dispatcher(&[("a", &[]), ("b", &[])], 2);
        begin(&mut dispatcher);
        assert_eq!(dispatcher.handle(Input::Tick, secs(9)), []);
        dispatcher.handle(done(0), secs(9));
        let told = dispatcher.handle(Input::Tick, secs(10));
        let [Effect::Tell(RunEvent::Heartbeat { units, done: 1, total: 2, .. })] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!((units.len(), units[0].elapsed), (1, secs(10)));
        assert_eq!(dispatcher.handle(Input::Tick, secs(15)), [], "not more often than needed");
        assert_eq!(dispatcher.handle(Input::Tick, secs(20)).len(), 1);
    }

    #[test]
    fn what_cannot_be_kept_ends_the_run() {
        let mut dispatcher = dispatcher(CHAIN, 8);
        begin(&mut dispatcher);
        let effects = dispatcher.handle(Input::NotKept, secs(1));
        assert!(effects.contains(&Effect::StopSubmitting) && effects.contains(&Effect::Leave));
        assert!(matches!(dispatcher.into_summary().stopped, Some(StopReason::Error(_))));
    }
}
