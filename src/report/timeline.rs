//! The history of a run, from its events. Pure.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::base::kind::ImageKind;
use crate::base::limit::Class;
use crate::base::name::{BuildId, ImageRef};
use crate::event::{ActiveTarget, Phase, RateWait, RunEvent};
use crate::http::Notice;

/// History of a run. All times are since its start.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// Start of the run.
    started: Option<Instant>,
    targets: Vec<TargetTimeline>,
    index: HashMap<ImageRef, usize>,
    /// Indexes of the targets that have not ended.
    active: HashSet<usize>,
    /// Number of targets that have ended.
    done: usize,
    /// Number of targets that have failed.
    failed: usize,
    /// The last waits for the limits of builds and of transfers.
    rate_waits: [Option<RateWait>; 2],
    /// Requests that a rate limit admitted, in order: time, class, and number of requests or images.
    admitted: Vec<(Duration, Class, u32)>,
}

/// History of a target.
#[derive(Debug)]
pub(crate) struct TargetTimeline {
    /// The target.
    pub unit: ImageRef,
    /// The plan's verb for its step; empty for a target that was skipped.
    pub action: &'static str,
    /// The build, once the service has accepted one.
    pub build: Option<BuildId>,
    /// The phases in order, each from the end of the one before. The last one of an active target ends
    /// where it began.
    pub spans: Vec<PhaseSpan>,
    /// The end; `None` for an active target.
    pub end: Option<TargetEnd>,
}

/// The time of a target in one phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PhaseSpan {
    /// The phase.
    pub phase: Phase,
    /// Start of the phase.
    pub from: Duration,
    /// End of the phase.
    pub to: Duration,
}

/// Outcome of a target.
#[derive(Debug)]
pub(crate) enum TargetEnd {
    /// Its step is done.
    Completed,
    /// Its step failed, or its build continues.
    Failed,
    /// Its step was not started.
    Skipped,
}

impl PhaseSpan {
    /// Returns its duration.
    pub(crate) fn time(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

impl TargetTimeline {
    /// Returns the current or last phase.
    pub(crate) fn phase(&self) -> Phase {
        self.spans.last().map_or(Phase::Wait, |span| span.phase)
    }

    /// Returns the time in phases for which `is_counted` is true, without that of the current phase.
    pub(crate) fn time(&self, is_counted: impl Fn(Phase) -> bool) -> Duration {
        let spans = self.spans.iter().filter(|span| is_counted(span.phase));
        spans.map(PhaseSpan::time).sum()
    }

    /// Returns the time of a target that has ended without its waits.
    pub(crate) fn worked(&self) -> Duration {
        self.time(|phase| !phase.is_wait())
    }

    /// Returns the time of an active target without its waits.
    pub(crate) fn worked_until(&self, now: Duration) -> Duration {
        let current = self.spans.last().filter(|span| !span.phase.is_wait());
        self.worked() + current.map_or(Duration::ZERO, |span| now.saturating_sub(span.to))
    }

    fn enter(&mut self, phase: Phase, at: Duration) {
        let at = self.spans.last().map_or(at, |last| at.max(last.from));
        self.close(at);
        self.spans.push(PhaseSpan { phase, from: at, to: at });
    }

    fn close(&mut self, at: Duration) {
        if let Some(last) = self.spans.last_mut() {
            last.to = at.max(last.from);
        }
    }
}

impl Timeline {
    /// Creates the history of a run that begins at `started`.
    pub(crate) fn of_run(started: Instant) -> Self {
        Self { started: Some(started), ..Self::default() }
    }

    /// Adds an event that came at `now`.
    pub(crate) fn observe(&mut self, event: &RunEvent, now: Duration) {
        match event {
            RunEvent::Started { unit, action } => {
                let target = self.target(unit, action);
                if target.spans.is_empty() {
                    target.enter(Phase::Wait, now);
                }
            }
            RunEvent::Progress(ActiveTarget { unit, action, phase, build, in_phase, .. }) => {
                let target = self.target(unit, action);
                target.build = build.clone().or(target.build.take());
                if target.spans.is_empty() || target.phase() != *phase {
                    target.enter(*phase, now.saturating_sub(*in_phase));
                }
            }
            RunEvent::Completed { unit, action, build, .. } => {
                let target = self.target(unit, action);
                // A check calls itself a build until it is done.
                target.action = action;
                target.build = build.clone().or(target.build.take());
                self.end(unit, TargetEnd::Completed, now);
            }
            RunEvent::Failed { failure, action, .. } => {
                let target = self.target(&failure.unit, action);
                target.build = failure.build.clone().or(target.build.take());
                self.end(&failure.unit, TargetEnd::Failed, now);
            }
            RunEvent::Skipped { unit, .. } => {
                self.target(unit, "");
                self.end(unit, TargetEnd::Skipped, now);
            }
            RunEvent::Notice { notice, .. } => {
                if let Some(wait) = RateWait::of(notice, now) {
                    self.rate_waits[usize::from(wait.class == Class::Images)] = Some(wait);
                }
                if let Notice::Admitted { class, count, at } = notice {
                    // The event comes later, and two events may come in another order.
                    let at = self.started.map(|started| at.saturating_duration_since(started));
                    let at = at.unwrap_or(now).min(now);
                    let index = self.admitted.partition_point(|(before, ..)| *before <= at);
                    self.admitted.insert(index, (at, *class, *count));
                }
            }
            RunEvent::Heartbeat { .. } | RunEvent::Stopping { .. } => {}
        }
    }

    fn target(&mut self, unit: &ImageRef, action: &'static str) -> &mut TargetTimeline {
        let index = *self.index.entry(unit.clone()).or_insert_with(|| {
            let (spans, unit) = (Vec::new(), unit.clone());
            self.targets.push(TargetTimeline { unit, action, build: None, spans, end: None });
            self.active.insert(self.targets.len() - 1);
            self.targets.len() - 1
        });
        &mut self.targets[index]
    }

    fn end(&mut self, unit: &ImageRef, end: TargetEnd, now: Duration) {
        let Some(&index) = self.index.get(unit) else { return };
        self.targets[index].close(now);
        self.failed += usize::from(matches!(end, TargetEnd::Failed));
        self.targets[index].end = Some(end);
        self.done += usize::from(self.active.remove(&index));
    }

    /// Returns all targets that have begun or were skipped, in that order.
    pub(crate) fn targets(&self) -> &[TargetTimeline] {
        &self.targets
    }

    /// Returns the targets that have begun and not ended, in any order.
    pub(crate) fn active(&self) -> impl Iterator<Item = &TargetTimeline> {
        self.active.iter().map(|&index| &self.targets[index])
    }

    /// Returns the number of targets that have ended.
    pub(crate) fn done(&self) -> usize {
        self.done
    }

    /// Returns the number of targets that have failed, those with a build that continues included.
    pub(crate) fn failed(&self) -> usize {
        self.failed
    }

    /// Returns what has happened to a target that has begun or was skipped.
    pub(crate) fn target_of(&self, unit: &ImageRef) -> Option<&TargetTimeline> {
        self.index.get(unit).map(|&index| &self.targets[index])
    }

    /// Returns the requests that a rate limit admitted, in order: time, class, and number of requests
    /// or images.
    pub(crate) fn admitted(&self) -> &[(Duration, Class, u32)] {
        &self.admitted
    }

    /// Returns the time until a rate limit admits the next request, if requests wait for one.
    pub(crate) fn limited_for(&self, now: Duration) -> Option<Duration> {
        let waits = self.rate_waits.iter().flatten();
        waits.filter_map(|wait| wait.remaining(now)).max()
    }

    /// Returns the last wait for the limit of a kind of target.
    pub(crate) fn rate_wait(&self, kind: ImageKind) -> Option<RateWait> {
        self.rate_waits[usize::from(kind == ImageKind::Mirror)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::key;
    use super::*;
    use crate::event::SkipReason;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn progress(phase: Phase, in_phase: u64) -> RunEvent {
        let (unit, elapsed) = (key("a:1"), Duration::ZERO);
        let in_phase = secs(in_phase);
        RunEvent::Progress(ActiveTarget {
            unit,
            action: "build",
            phase,
            build: None,
            elapsed,
            in_phase,
        })
    }

    #[test]
    fn each_phase_ends_where_the_next_begins() {
        let mut timeline = Timeline::default();
        for (at, event) in [
            (1, RunEvent::Started { unit: key("a:1"), action: "build" }),
            (3, progress(Phase::Package, 0)),
            (4, progress(Phase::Upload, 0)),
            (4, progress(Phase::Upload, 0)),
            (6, progress(Phase::Queued, 0)),
            // Seen late: it has been building for five seconds.
            (20, progress(Phase::Building, 5)),
        ] {
            timeline.observe(&event, secs(at));
        }
        assert_eq!((timeline.active().count(), timeline.done()), (1, 0));
        timeline.observe(
            &RunEvent::Completed {
                unit: key("a:1"),
                action: "build",
                build: None,
                path: None,
                elapsed: Duration::ZERO,
                waited: Duration::ZERO,
            },
            secs(21),
        );
        let skipped = RunEvent::Skipped { unit: key("b:1"), reason: SkipReason::Interrupted };
        timeline.observe(&skipped, secs(21));
        assert_eq!((timeline.active().count(), timeline.done()), (0, 2));
        let [a, b] = timeline.targets() else { panic!("{timeline:?}") };
        let spans: Vec<_> = a.spans.iter().map(|it| (it.phase, it.from, it.to)).collect();
        assert_eq!(
            spans,
            [
                (Phase::Wait, secs(1), secs(3)),
                (Phase::Package, secs(3), secs(4)),
                (Phase::Upload, secs(4), secs(6)),
                (Phase::Queued, secs(6), secs(15)),
                (Phase::Building, secs(15), secs(21)),
            ]
        );
        assert_eq!((a.worked(), a.time(Phase::is_wait)), (secs(9), secs(11)));
        assert!(b.spans.is_empty() && matches!(b.end, Some(TargetEnd::Skipped)));
    }
}
