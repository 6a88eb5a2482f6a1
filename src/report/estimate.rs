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

/// What an estimate knows of a run.
#[derive(Debug)]
pub(crate) struct Estimator {
    steps: Vec<ExpectedStep>,
    /// Number of targets at the same time.
    concurrency: usize,
    /// Rate limits of builds and of transfers.
    limits: [Option<Limit>; 2],
}

/// A step, and how long it should take.
#[derive(Debug)]
struct ExpectedStep {
    unit: ImageRef,
    /// Built or mirrored; `None` for a step that takes a moment.
    kind: Option<ImageKind>,
    /// Duration of the last build, if it is recorded.
    last: Option<Duration>,
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
        self.sum += time;
        self.count += 1;
    }

    fn get(self) -> Option<Duration> {
        self.sum.checked_div(self.count)
    }
}

impl Estimator {
    /// Creates the estimator of a run. A limit is `None` if there is none.
    pub(crate) fn new(
        plan: &Plan,
        state: &State,
        concurrency: usize,
        (builds, transfers): (Option<Limit>, Option<Limit>),
    ) -> Self {
        let step = |step: &Step| {
            let built = state.entries.get(&step.key).and_then(|entry| entry.built.as_ref());
            ExpectedStep {
                unit: step.key.clone(),
                kind: match step.action {
                    Action::Create(_) | Action::Adopt { .. } => Some(step.kind),
                    _ => None,
                },
                last: built.and_then(|built| built.seconds).map(Duration::from_secs),
                needs: step.needs.iter().map(|need| need.0).collect(),
            }
        };
        Self {
            steps: plan.steps.iter().map(step).collect(),
            concurrency: concurrency.max(1),
            limits: [builds, transfers],
        }
    }

    /// Returns the number of targets.
    pub(crate) fn targets(&self) -> usize {
        self.steps.len()
    }

    /// Returns the time until the end: the largest of the times that the rate limits, the concurrency
    /// and the longest chain of targets need. `None` while nothing is known about a kind of target.
    pub(crate) fn remaining(&self, timeline: &Timeline, now: Duration) -> Option<Duration> {
        let means = self.means(timeline);
        let mut chains = vec![Duration::ZERO; self.steps.len()];
        let (mut work, mut longest) = (Duration::ZERO, Duration::ZERO);
        let mut unsent = [0u32; 2];
        for (index, step) in self.steps.iter().enumerate().rev() {
            let target = timeline.target_of(&step.unit);
            if target.is_some_and(|target| target.end.is_some()) {
                continue;
            }
            let Some(kind) = step.kind else { continue };
            let kind = usize::from(kind == ImageKind::Mirror);
            let expected = step.last.or(means[kind])?;
            let left = expected.saturating_sub(target.map_or(Duration::ZERO, |it| worked(it, now)));
            unsent[kind] += u32::from(target.is_none_or(|it| !it.is_sent()));
            work += left;
            chains[index] += left;
            longest = longest.max(chains[index]);
            let chain = chains[index];
            for &need in &step.needs {
                chains[need] = chain.max(chains[need]);
            }
        }
        let slots = u32::try_from(self.concurrency).unwrap_or(u32::MAX);
        let first = timeline.limited_for(now).unwrap_or_default();
        let by_rate = self.limits.iter().zip(unsent).zip(means).filter_map(|((limit, n), mean)| {
            let limit = limit.as_ref()?;
            // The last one is sent this many windows after the first one.
            let windows = n.checked_sub(1)? / limit.count.max(1);
            Some(first + limit.window * windows + mean.unwrap_or_default())
        });
        by_rate.chain([work / slots, longest]).max()
    }

    /// Returns the typical durations of a build and of a mirror: of those that ended in this run, or
    /// else of the last builds.
    fn means(&self, timeline: &Timeline) -> [Option<Duration>; 2] {
        [ImageKind::Build, ImageKind::Mirror].map(|kind| {
            let (mut of_run, mut recorded) = (Mean::default(), Mean::default());
            for step in self.steps.iter().filter(|step| step.kind == Some(kind)) {
                step.last.into_iter().for_each(|time| recorded.add(time));
                let target = timeline.target_of(&step.unit);
                let target = target.filter(|it| matches!(it.end, Some(TargetEnd::Completed)));
                target.into_iter().for_each(|target| of_run.add(target.worked()));
            }
            of_run.get().or(recorded.get())
        })
    }
}

/// Returns the time for which an active target has been worked on.
pub(super) fn worked(target: &TargetTimeline, now: Duration) -> Duration {
    let current = target.spans.last().filter(|span| !span.phase.is_wait());
    target.worked() + current.map_or(Duration::ZERO, |span| now.saturating_sub(span.to))
}

impl TargetTimeline {
    /// True if the rate limit has admitted the request of the target.
    fn is_sent(&self) -> bool {
        let sent = [Phase::Submit, Phase::Upload, Phase::Queued, Phase::Building];
        self.spans.iter().any(|span| sent.contains(&span.phase))
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
            needs: needs.to_vec(),
        };
        let steps = steps.iter().enumerate().map(step).collect();
        let limit = Limit { count: 2, window: secs(60) };
        Estimator { steps, concurrency, limits: [Some(limit), None] }
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
        completed(&mut timeline, 2, 310);
        assert_eq!(estimator.remaining(&timeline, secs(310)), Some(secs(0)));
    }
}
