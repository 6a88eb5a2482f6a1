//! Estimates the time until the end of a run: from the rate limits, the number of targets at the same
//! time, and the durations of the last builds. Pure.

use std::time::Duration;

use super::timeline::{TargetEnd, TargetTimeline, Timeline};
use crate::base::kind::ImageKind;
use crate::base::limit::Limit;
use crate::base::name::ImageRef;
use crate::event::Phase;
use crate::plan::{Action, Plan, Step};
use crate::state::State;

/// Longest duration of a build that is believed: a lockfile is edited, too.
const MAX_BUILD_TIME: Duration = Duration::from_secs(7 * 86_400);

/// Estimates the remaining time of a run.
#[derive(Debug)]
pub(crate) struct Estimator {
    steps: Vec<ExpectedStep>,
    builds: KindLimits,
    mirrors: KindLimits,
}

/// Limits on the targets of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KindLimits {
    /// Maximum number at the same time.
    pub concurrency: usize,
    /// The rate limit on their requests; `None` if there is none.
    pub rate: Option<Limit>,
}

/// A step, and how long it should take.
#[derive(Debug)]
struct ExpectedStep {
    unit: ImageRef,
    /// Built or mirrored; `None` for updates, deletions and forgets, which count as instantaneous.
    kind: Option<ImageKind>,
    /// Duration of the last build, if it is recorded.
    last: Option<Duration>,
    /// True if the step sends a request that the rate limit counts.
    is_sent: bool,
    /// Indexes of the steps that must succeed first.
    needs: Vec<usize>,
}

/// The mean of some durations.
#[derive(Debug, Default, Clone, Copy)]
struct Mean {
    sum: Duration,
    count: u32,
}

impl Mean {
    fn add(&mut self, time: Duration) {
        self.sum = self.sum.saturating_add(time);
        self.count += 1;
    }

    fn get(self) -> Option<Duration> {
        self.sum.checked_div(self.count)
    }
}

/// The remaining work on the targets of one kind.
#[derive(Debug, Default)]
struct Remaining {
    /// Sum of the remaining build times.
    work: Duration,
    /// Number of requests that are not sent.
    unsent: u32,
}

impl Estimator {
    /// Creates the estimator of a run with these limits on builds and on mirrors.
    pub(crate) fn new(plan: &Plan, state: &State, limits: (KindLimits, KindLimits)) -> Self {
        let step = |step: &Step| {
            let built = state.entries.get(&step.key).and_then(|entry| entry.built.as_ref());
            let last = built.and_then(|built| built.seconds).map(Duration::from_secs);
            ExpectedStep {
                unit: step.key.clone(),
                kind: match step.action {
                    Action::Create(_) | Action::Adopt { .. } => Some(step.kind),
                    _ => None,
                },
                last: last.map(|time| time.min(MAX_BUILD_TIME)),
                is_sent: matches!(step.action, Action::Create(_)),
                needs: step.needs.iter().map(|need| need.0).collect(),
            }
        };
        let (builds, mirrors) = limits;
        Self { steps: plan.steps.iter().map(step).collect(), builds, mirrors }
    }

    /// Returns the number of targets.
    pub(crate) fn targets(&self) -> usize {
        self.steps.len()
    }

    /// Returns the time until the end: the largest of the times that the rate limits, the concurrency
    /// and the longest chain of targets need. `None` while nothing is known about a kind of target, and
    /// once all targets take longer than expected.
    pub(crate) fn remaining(&self, timeline: &Timeline, now: Duration) -> Option<Duration> {
        let means = [ImageKind::Build, ImageKind::Mirror].map(|kind| self.mean(kind, timeline));
        let mut chains = vec![Duration::ZERO; self.steps.len()];
        let mut longest = Duration::ZERO;
        let mut remaining = [Remaining::default(), Remaining::default()];
        for (index, step) in self.steps.iter().enumerate().rev() {
            let target = timeline.target_of(&step.unit);
            if target.is_some_and(|target| target.end.is_some()) {
                continue;
            }
            let Some(kind) = step.kind else { continue };
            let kind = usize::from(kind == ImageKind::Mirror);
            let built = target.map_or(Duration::ZERO, |target| build_time(target, now));
            let left = step.last.or(means[kind])?.saturating_sub(built);
            let is_unsent = step.is_sent && target.is_none_or(|target| !target.is_sent());
            remaining[kind].unsent += u32::from(is_unsent);
            remaining[kind].work = remaining[kind].work.saturating_add(left);
            let chain = chains[index].saturating_add(left);
            longest = longest.max(chain);
            for &need in &step.needs {
                chains[need] = chain.max(chains[need]);
            }
        }
        let [builds, mirrors] = remaining;
        let bound = |kind, limits: KindLimits, remaining: &Remaining, mean: Option<Duration>| {
            let slots = u32::try_from(limits.concurrency.max(1)).unwrap_or(u32::MAX);
            let wait = timeline.rate_wait(kind);
            // While requests wait, the limit in force may be lower than the documented one.
            let first = wait.and_then(|wait| wait.remaining(now));
            let rate = first.and(wait.map(|wait| wait.limit)).or(limits.rate);
            let by_rate = rate.filter(|_| remaining.unsent > 0).map(|rate| {
                // The last one is sent this many windows after the first one.
                let windows = (remaining.unsent - 1) / rate.count.max(1);
                let last = first.unwrap_or_default() + rate.window.saturating_mul(windows);
                last.saturating_add(mean.unwrap_or_default())
            });
            by_rate.unwrap_or_default().max(remaining.work / slots)
        };
        let left = longest.max(bound(ImageKind::Build, self.builds, &builds, means[0])).max(bound(
            ImageKind::Mirror,
            self.mirrors,
            &mirrors,
            means[1],
        ));
        (!left.is_zero()).then_some(left)
    }

    /// Returns the typical duration of a kind of target: the mean of those that ended in this run, or
    /// else of the last builds.
    fn mean(&self, kind: ImageKind, timeline: &Timeline) -> Option<Duration> {
        let (mut of_run, mut recorded) = (Mean::default(), Mean::default());
        for step in self.steps.iter().filter(|step| step.kind == Some(kind)) {
            if let Some(last) = step.last {
                recorded.add(last);
            }
            let target = timeline.target_of(&step.unit);
            if let Some(target) = target.filter(|it| matches!(it.end, Some(TargetEnd::Completed))) {
                of_run.add(target.time(|phase| phase == Phase::Building));
            }
        }
        of_run.get().or(recorded.get())
    }
}

/// Returns the time for which the service has built an active target.
fn build_time(target: &TargetTimeline, now: Duration) -> Duration {
    let current = target.spans.last().filter(|span| span.phase == Phase::Building);
    let current = current.map_or(Duration::ZERO, |span| now.saturating_sub(span.to));
    target.time(|phase| phase == Phase::Building) + current
}

impl TargetTimeline {
    /// True if the rate limit has admitted the request of the target.
    fn is_sent(&self) -> bool {
        let sent = [Phase::Submit, Phase::Upload, Phase::Queued, Phase::Building];
        sent.contains(&self.phase()) || self.build.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::key;
    use super::*;
    use crate::event::{ActiveTarget, RunEvent};

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Returns an estimator of builds: the duration of the last one, and the steps that each needs.
    fn estimator(steps: &[(Option<u64>, &[usize])], concurrency: usize) -> Estimator {
        let step = |(index, (last, needs)): (usize, &(Option<u64>, &[usize]))| ExpectedStep {
            unit: key(&format!("a{index}:1")),
            kind: Some(ImageKind::Build),
            last: last.map(secs),
            is_sent: true,
            needs: needs.to_vec(),
        };
        let steps = steps.iter().enumerate().map(step).collect();
        let builds = KindLimits { concurrency, rate: Some(Limit { count: 2, window: secs(60) }) };
        let mirrors = KindLimits { concurrency: 1, rate: None };
        Estimator { steps, builds, mirrors }
    }

    fn entered(timeline: &mut Timeline, unit: usize, phase: Phase, at: u64) {
        let progress = RunEvent::Progress(ActiveTarget {
            unit: key(&format!("a{unit}:1")),
            action: "build",
            phase,
            build: None,
            elapsed: Duration::ZERO,
            in_phase: Duration::ZERO,
        });
        timeline.observe(&progress, secs(at));
    }

    fn completed(timeline: &mut Timeline, unit: usize, at: u64) {
        let (elapsed, waited) = (Duration::ZERO, Duration::ZERO);
        let (unit, action, build, path) = (key(&format!("a{unit}:1")), "build", None, None);
        let event = RunEvent::Completed { unit, action, build, path, elapsed, waited };
        timeline.observe(&event, secs(at));
    }

    #[test]
    fn the_tightest_bound_decides() {
        let idle = Timeline::default();
        for (steps, concurrency, expected) in [
            // A chain, although there is room for both.
            (&[(Some(30), &[][..]), (Some(40), &[0])][..], 2, Some(70)),
            (&[(Some(30), &[]), (Some(40), &[])], 2, Some(40)),
            (&[(Some(30), &[]), (Some(40), &[])], 1, Some(70)),
            // The third request has to wait for the next window.
            (&[(Some(30), &[]), (Some(30), &[]), (Some(30), &[])], 9, Some(90)),
            // A build without a record takes as long as the others.
            (&[(Some(30), &[]), (None, &[])], 1, Some(60)),
            (&[(None, &[])], 1, None),
        ] {
            let estimator = estimator(steps, concurrency);
            assert_eq!(estimator.remaining(&idle, secs(0)), expected.map(secs), "{steps:?}");
        }
    }

    #[test]
    fn records_of_any_length_are_added() {
        let forever = (Some(u64::MAX), &[][..]);
        let estimator = estimator(&[forever, (Some(u64::MAX), &[0]), (None, &[1])], 1);
        assert!(estimator.remaining(&Timeline::default(), secs(0)).is_some());
    }

    #[test]
    fn work_that_is_done_counts() {
        let estimator = estimator(&[(Some(30), &[]), (None, &[]), (None, &[])], 1);
        let mut timeline = Timeline::default();
        entered(&mut timeline, 0, Phase::Building, 10);
        assert_eq!(estimator.remaining(&timeline, secs(25)), Some(secs(15 + 30 + 30)));
        // Those of this run are the better guess, and waits do not count.
        completed(&mut timeline, 0, 50);
        entered(&mut timeline, 1, Phase::Wait, 50);
        assert_eq!(estimator.remaining(&timeline, secs(90)), Some(secs(40 + 40)));
        entered(&mut timeline, 1, Phase::Building, 90);
        assert_eq!(estimator.remaining(&timeline, secs(300)), Some(secs(40)));
        completed(&mut timeline, 1, 300);
        entered(&mut timeline, 2, Phase::Building, 300);
        assert_eq!(estimator.remaining(&timeline, secs(900)), None, "longer than expected");
        completed(&mut timeline, 2, 901);
        assert_eq!(estimator.remaining(&timeline, secs(901)), None);
    }
}
