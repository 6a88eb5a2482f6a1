//! Decides what follows from an input: which records to write, what to report, which steps to start.
//! Pure: the caller passes the time and carries out the effects.

use std::collections::HashSet;
use std::time::Duration;

use super::outcome::{StepError, StepFailure, StepOutput};
use super::progress::{self, Activity, StepProgress};
use super::schedule::Schedule;
use crate::base::kind::ImageKind;
use crate::base::limit::Class;
use crate::base::name::{BuildId, ImageRef};
use crate::base::text::exact_duration;
use crate::event::{
    Phase, RateWait, RunEvent, Signal, SkipReason, StopReason, Summary, TargetFailure,
};
use crate::http::Notice;
use crate::plan::{Plan, StepId};
use crate::state::Record;

/// An input of the dispatcher.
#[derive(Debug)]
pub(super) enum Input {
    /// The run begins.
    Begin,
    /// A step wants a record to be written.
    Record(Record),
    /// A step entered a phase, this long ago.
    Phase { step: StepId, phase: Phase, build: Option<BuildId>, ago: Duration },
    /// A step ended.
    Ended { step: StepId, result: Result<StepOutput, StepFailure> },
    /// About a second has passed.
    Tick,
    /// Progress or delay of a request; `step` is `None` if it was made for several steps.
    Notice { step: Option<StepId>, notice: Notice },
    /// The user wants to stop.
    Signal(Signal),
    /// Records cannot be kept, for this reason.
    NotRecorded(&'static str),
}

/// An effect for the driver to carry out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Write this record.
    Persist(Record),
    /// Report this event.
    Report(RunEvent),
    /// Start this step.
    Start(StepId),
    /// Let no step send a new request.
    StopSubmitting,
    /// End the run now, even with active steps.
    Abort,
}

/// The state of a run.
pub(super) struct Dispatcher {
    steps: Vec<StepProgress>,
    schedule: Schedule,
    summary: Summary,
    last_heartbeat: Duration,
    /// The last wait for a rate limit.
    rate_wait: Option<RateWait>,
    /// Units whose request was sent and whose response has not arrived.
    submitting: HashSet<ImageRef>,
    /// Time since when the run only waits for those responses.
    leaving: Option<Duration>,
    /// Time limit of the run.
    timeout: Option<Duration>,
}

/// Time that an aborted run waits for outstanding responses. Without it, a build that the service has
/// accepted but whose ID is not recorded would be lost.
const RESPONSE_GRACE: Duration = Duration::from_secs(3);

/// Minimum time between two heartbeats. They come with every tenth tick of a second; a tick may be a
/// moment early.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(9_500);

impl Dispatcher {
    /// `pools[i]` is the pool of the plan's step `i`, and `limits[p]` the number of steps of pool `p`
    /// that may run at once.
    pub(super) fn new(
        plan: &Plan,
        pools: &[usize],
        limits: &[usize],
        timeout: Option<Duration>,
    ) -> Self {
        let needs: Vec<&[StepId]> = plan.steps.iter().map(|step| step.needs.as_slice()).collect();
        Self {
            steps: plan.steps.iter().map(StepProgress::of).collect(),
            schedule: Schedule::new(&needs, pools, limits),
            summary: Summary { partial: plan.partial, ..Summary::default() },
            last_heartbeat: Duration::ZERO,
            rate_wait: None,
            submitting: HashSet::new(),
            leaving: None,
            timeout,
        }
    }

    /// Returns the effects of an input at `now`, counted from the start of the run.
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
                self.abort_if_ready(&mut effects);
            }
            Input::Phase { step, phase, build, ago } => {
                self.phase(step, (phase, ago), build, now, &mut effects);
            }
            Input::Ended { step, result } => {
                self.submitting.remove(&self.steps[step.0].key);
                self.ended(step, result, now, &mut effects);
                self.start(now, &mut effects);
                self.abort_if_ready(&mut effects);
            }
            Input::Tick => self.tick(now, &mut effects),
            Input::Notice { step, notice } => self.notice(step, notice, now, &mut effects),
            Input::NotRecorded(reason) => {
                if self.leaving.is_none() {
                    self.leaving = Some(now);
                    self.stop(StopReason::Error(reason.to_owned()), &mut effects);
                }
                self.abort_if_ready(&mut effects);
            }
            Input::Signal(signal) => match &self.summary.stopped {
                Some(StopReason::Interrupted(_)) => {
                    self.leaving.get_or_insert(now);
                    self.abort_if_ready(&mut effects);
                }
                _ => self.stop(StopReason::Interrupted(signal), &mut effects),
            },
        }
        effects
    }

    /// True if no step is active and none will start.
    pub(super) fn is_done(&self) -> bool {
        self.schedule.active() == 0
    }

    /// Returns the results of the run.
    pub(super) fn into_summary(mut self) -> Summary {
        let message = match &self.summary.stopped {
            Some(StopReason::TimedOut(timeout)) => {
                format!("not done when the time limit of {} ended", exact_duration(*timeout))
            }
            _ => "the run was aborted before it ended".to_owned(),
        };
        let reason = self.stop_reason();
        // Steps that were still active stay pending if the service may know of them, and are skipped
        // otherwise.
        for step in self.steps.into_iter().filter(|step| step.activity != Activity::Idle) {
            let in_doubt = self.submitting.contains(&step.key);
            if step.build.is_none() && !in_doubt {
                self.summary.skipped.push((step.key, reason.clone()));
                continue;
            }
            let help = in_doubt
                .then_some("the service had not responded; the next apply checks for the build");
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

    fn abort_if_ready(&self, effects: &mut Vec<Effect>) {
        if self.leaving.is_some() && self.submitting.is_empty() {
            effects.push(Effect::Abort);
        }
    }

    fn start(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        for step in self.schedule.start() {
            let progress = &mut self.steps[step.0];
            progress.since = now;
            progress.activity = Activity::Waiting;
            if progress.kind.is_some() {
                // With a thousand transfers, an hour may pass until the limit has room for this one.
                self.phase(step, (Phase::Wait, Duration::ZERO), None, now, effects);
            } else {
                self.begin(step, effects);
            }
            effects.push(Effect::Start(step));
        }
    }

    /// Reports that a step has begun, if that was not reported before.
    fn begin(&mut self, step: StepId, effects: &mut Vec<Effect>) {
        let progress = &mut self.steps[step.0];
        progress.activity = Activity::Active;
        if !progress.is_reported {
            progress.is_reported = true;
            let (unit, action) = (progress.key.clone(), progress.verb);
            effects.push(Effect::Report(RunEvent::Started { unit, action }));
        }
    }

    /// A build waits until the rate limit has admitted its request, and again after a refusal.
    fn notice(
        &mut self,
        step: Option<StepId>,
        notice: Notice,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) {
        self.summary.retries += usize::from(matches!(notice, Notice::Retry { .. }));
        self.rate_wait = RateWait::of(&notice, now).or(self.rate_wait);
        let unit = step.map(|step| self.steps[step.0].key.clone());
        let entered = step.and_then(|step| match (&notice, self.steps[step.0].phase) {
            (Notice::Admitted { class: Class::Initiate | Class::Start, .. }, Phase::Wait) => {
                Some((step, Phase::Submit))
            }
            (Notice::Retry { .. }, Phase::Submit) => Some((step, Phase::Wait)),
            _ => None,
        });
        effects.push(Effect::Report(RunEvent::Notice { unit, notice }));
        if let Some((step, phase)) = entered {
            self.phase(step, (phase, Duration::ZERO), None, now, effects);
        }
    }

    fn phase(
        &mut self,
        step: StepId,
        (phase, ago): (Phase, Duration),
        build: Option<BuildId>,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) {
        match phase {
            Phase::Wait => {}
            // No build yet: its request may still have to wait.
            Phase::Package => self.steps[step.0].activity = Activity::Active,
            _ => self.begin(step, effects),
        }
        let progress = &mut self.steps[step.0];
        let before = (progress.phase, progress.build.clone());
        progress.enter(phase, now.saturating_sub(ago));
        progress.build = build.or(progress.build.take());
        // A target waits from the beginning on.
        if (progress.phase, &progress.build) != (before.0, &before.1) || phase == Phase::Wait {
            effects.push(Effect::Report(RunEvent::Progress(progress.active_at(now))));
        }
    }

    fn ended(
        &mut self,
        step: StepId,
        result: Result<StepOutput, StepFailure>,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let progress = &mut self.steps[step.0];
        progress.activity = Activity::Idle;
        let (unit, action) = (progress.key.clone(), progress.verb);
        let (elapsed, waited) = (now.saturating_sub(progress.since), progress.waited(now));
        match result {
            Ok(StepOutput { build, path, was_missing }) => {
                let action = if was_missing { "forget" } else { action };
                match (progress.kind, action) {
                    (Some(ImageKind::Build), _) => self.summary.built += 1,
                    (Some(ImageKind::Mirror), _) => self.summary.mirrored += 1,
                    (None, "adopt") => self.summary.adopted += 1,
                    (None, "update") => self.summary.updated += 1,
                    (None, "delete") => self.summary.deleted += 1,
                    (None, _) => self.summary.forgotten += 1,
                }
                effects.push(Effect::Report(RunEvent::Completed {
                    unit,
                    action,
                    build,
                    path,
                    elapsed,
                    waited,
                }));
                self.schedule.finish(step, true);
            }
            Err(StepFailure::NotStarted) => {
                let reason = self.stop_reason();
                self.skip(unit, reason.clone(), effects);
                // If the run has stopped, its dependents were skipped then.
                for skipped in self.schedule.finish(step, false) {
                    let unit = self.steps[skipped.0].key.clone();
                    self.skip(unit, reason.clone(), effects);
                }
            }
            Err(StepFailure::Failed(error)) => self.failed(step, error, false, now, effects),
            Err(StepFailure::Pending(error)) => self.failed(step, error, true, now, effects),
        }
    }

    fn failed(
        &mut self,
        step: StepId,
        error: StepError,
        pending: bool,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let StepError { message, help, build, stops_run } = error;
        let progress = &self.steps[step.0];
        let (unit, action, phase) = (progress.key.clone(), progress.verb, progress.phase);
        let (elapsed, waited) = (now.saturating_sub(progress.since), progress.waited(now));
        let failed = unit.clone();
        let failure = TargetFailure { unit, phase, message: message.clone(), help, build, pending };
        self.summary.failures.push(failure.clone());
        effects.push(Effect::Report(RunEvent::Failed { failure, action, elapsed, waited }));
        for skipped in self.schedule.finish(step, false) {
            let reason = SkipReason::DependencyFailed { failed: failed.clone() };
            let unit = self.steps[skipped.0].key.clone();
            self.skip(unit, reason, effects);
        }
        if stops_run && self.summary.stopped.is_none() {
            self.stop(StopReason::Error(message), effects);
        }
    }

    fn stop(&mut self, reason: StopReason, effects: &mut Vec<Effect>) {
        self.summary.stopped = Some(reason.clone());
        let active = self.schedule.active();
        effects.push(Effect::Report(RunEvent::Stopping { reason, active }));
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
        effects.push(Effect::Report(RunEvent::Skipped { unit, reason }));
    }

    fn tick(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if let Some(timeout) = self.timeout.filter(|timeout| now >= *timeout)
            && self.leaving.is_none()
        {
            self.leaving = Some(now);
            if self.summary.stopped.is_none() {
                self.stop(StopReason::TimedOut(timeout), effects);
            }
            self.abort_if_ready(effects);
        }
        if self.leaving.is_some_and(|since| now.saturating_sub(since) >= RESPONSE_GRACE) {
            effects.push(Effect::Abort);
        }
        if self.schedule.active() == 0
            || now.saturating_sub(self.last_heartbeat) < HEARTBEAT_INTERVAL
        {
            return;
        }
        self.last_heartbeat = now;
        let summary = &self.summary;
        let ended = summary.done() + summary.failures.len() + summary.skipped.len();
        effects.push(Effect::Report(progress::heartbeat(&self.steps, ended, self.rate_wait, now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Fingerprint;
    use crate::base::limit::Limit;
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

    /// A dispatcher for a plan that builds units. The numbers are the dependencies of each.
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
            Effect::Report(RunEvent::Skipped { unit, reason }) => {
                Some((unit.to_string(), reason.clone()))
            }
            _ => None,
        });
        skips.collect()
    }

    fn done(step: usize) -> Input {
        Input::Ended { step: StepId(step), result: Ok(StepOutput::default()) }
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
    fn a_failure_skips_its_dependents_and_is_named_as_the_cause() {
        let mut dispatcher = dispatcher(CHAIN, 8);
        assert_eq!(begin(&mut dispatcher), [0, 3]);
        let effects = dispatcher.handle(failed(0, StepFailure::new("")), secs(1));
        let reason = || SkipReason::DependencyFailed { failed: key("base") };
        assert_eq!(
            skipped(&effects),
            [("api:v1".to_owned(), reason()), ("on-api:v1".to_owned(), reason())]
        );
        assert!(!dispatcher.is_done(), "the other unit continues");
        dispatcher.handle(done(3), secs(2));
        assert!(dispatcher.is_done());
        let summary = dispatcher.into_summary();
        assert_eq!((summary.built, summary.failures.len(), summary.skipped.len()), (1, 1, 2));
        assert_eq!(summary.stopped, None);
    }

    #[test]
    fn ready_steps_start_as_soon_as_the_pool_has_room() {
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
    fn an_error_that_affects_all_units_stops_the_run() {
        let mut dispatcher = dispatcher(&[("a", &[]), ("b", &[]), ("c", &[])], 2);
        assert_eq!(begin(&mut dispatcher), [0, 1]);
        let failure = StepFailure::Failed(StepError { stops_run: true, ..StepError::default() });
        let effects = dispatcher.handle(failed(0, failure), secs(1));
        assert!(effects.contains(&Effect::StopSubmitting));
        assert_eq!(skipped(&effects), [("c:v1".to_owned(), SkipReason::Stopped)]);
        assert_eq!(started(&effects), [0; 0]);
        // A step that has sent nothing is skipped and does not fail.
        let effects = dispatcher.handle(failed(1, StepFailure::NotStarted), secs(1));
        assert_eq!(skipped(&effects), [("b:v1".to_owned(), SkipReason::Stopped)]);
        assert!(dispatcher.is_done());
        assert_eq!(dispatcher.into_summary().failures.len(), 1);
    }

    #[test]
    fn the_first_signal_stops_and_the_second_aborts() {
        let mut dispatcher = dispatcher(CHAIN, 8);
        begin(&mut dispatcher);
        let effects = dispatcher.handle(Input::Signal(Signal::Interrupt), secs(1));
        assert!(effects.contains(&Effect::StopSubmitting) && !effects.contains(&Effect::Abort));
        assert_eq!(skipped(&effects).len(), 2);
        assert!(!dispatcher.is_done(), "the run waits for active steps");
        let build = BuildId::new("b-1");
        let phase = Input::Phase { step: StepId(0), phase: Phase::Building, build, ago: secs(0) };
        dispatcher.handle(phase, secs(1));
        dispatcher.handle(done(3), secs(2));
        let effects = dispatcher.handle(Input::Signal(Signal::Interrupt), secs(3));
        assert_eq!(effects, [Effect::Abort]);
        let summary = dispatcher.into_summary();
        assert_eq!(summary.stopped, Some(StopReason::Interrupted(Signal::Interrupt)));
        assert_eq!(summary.failures.len(), 1);
        assert!(summary.failures[0].pending, "its build continues");
    }

    #[test]
    fn an_aborted_run_waits_a_moment_for_responses() {
        let aborted = || {
            let mut dispatcher = dispatcher(&[("a", &[])], 1);
            begin(&mut dispatcher);
            dispatcher.handle(submitting("a"), secs(0));
            dispatcher.handle(Input::Signal(Signal::Terminate), secs(1));
            let effects = dispatcher.handle(Input::Signal(Signal::Terminate), secs(1));
            assert!(!effects.contains(&Effect::Abort), "the response holds the build ID");
            dispatcher
        };
        let mut answered = aborted();
        let effects = answered.handle(done(0), secs(2));
        assert!(effects.contains(&Effect::Abort));
        let mut silent = aborted();
        assert_eq!(silent.handle(Input::Tick, secs(2)), []);
        assert_eq!(silent.handle(Input::Tick, secs(4)), [Effect::Abort]);
        let summary = silent.into_summary();
        assert!(summary.failures[0].help.is_some(), "the request is in doubt");
    }

    #[test]
    fn waits_are_told_from_work() {
        let mut dispatcher = dispatcher(&[("a", &[])], 1);
        begin(&mut dispatcher);
        let step = StepId(0);
        let phase = |phase, ago| Input::Phase { step, phase, build: None, ago: secs(ago) };
        let limit = Limit { count: 1, window: secs(60) };
        let notice = |notice| Input::Notice { step: Some(step), notice };
        let at = std::time::Instant::now();
        let admitted = || notice(Notice::Admitted { class: Class::Initiate, count: 1, at });
        for (at, input) in [
            (2, phase(Phase::Package, 0)),
            (3, phase(Phase::Wait, 0)),
            (3, notice(Notice::RateWait { class: Class::Initiate, limit, wait: secs(20) })),
        ] {
            dispatcher.handle(input, secs(at));
        }
        let effects = dispatcher.handle(Input::Tick, secs(11));
        let [Effect::Report(RunEvent::Heartbeat { waiting: 1, limited_for, phases, .. })] =
            &effects[..]
        else {
            panic!("{effects:?}");
        };
        assert_eq!((*limited_for, phases.len()), (Some(secs(12)), 0));
        for (at, input) in [
            (23, admitted()),
            (24, phase(Phase::Upload, 0)),
            (26, phase(Phase::Wait, 0)),
            (27, admitted()),
            (28, phase(Phase::Queued, 0)),
            // The build had run for 10 seconds when the poll saw its end.
            (60, phase(Phase::Building, 10)),
        ] {
            dispatcher.handle(input, secs(at));
        }
        let effects = dispatcher.handle(done(0), secs(60));
        let [Effect::Report(RunEvent::Completed { elapsed, waited, .. })] = &effects[..] else {
            panic!("{effects:?}");
        };
        assert_eq!((*elapsed, *waited), (secs(60), secs(2 + 20 + 1 + 22)));
    }

    #[test]
    fn a_running_run_reports_a_heartbeat() {
        let mut dispatcher = dispatcher(&[("a", &[]), ("b", &[])], 2);
        begin(&mut dispatcher);
        let (step, phase) = (StepId(1), Phase::Building);
        dispatcher.handle(Input::Phase { step, phase, build: None, ago: secs(0) }, secs(0));
        assert_eq!(dispatcher.handle(Input::Tick, secs(9)), []);
        dispatcher.handle(done(0), secs(9));
        let effects = dispatcher.handle(Input::Tick, secs(10));
        let [Effect::Report(RunEvent::Heartbeat { units, done: 1, total: 2, .. })] = &effects[..]
        else {
            panic!("{effects:?}");
        };
        assert_eq!((units.len(), units[0].elapsed), (1, secs(10)));
        assert_eq!(dispatcher.handle(Input::Tick, secs(15)), [], "no more than one in ten seconds");
        assert_eq!(dispatcher.handle(Input::Tick, secs(20)).len(), 1);
    }

    #[test]
    fn a_journal_that_cannot_be_written_ends_the_run() {
        let mut dispatcher = dispatcher(CHAIN, 8);
        begin(&mut dispatcher);
        let effects =
            dispatcher.handle(Input::NotRecorded("the journal cannot be written"), secs(1));
        assert!(effects.contains(&Effect::StopSubmitting) && effects.contains(&Effect::Abort));
        assert!(matches!(dispatcher.into_summary().stopped, Some(StopReason::Error(_))));
    }
}
