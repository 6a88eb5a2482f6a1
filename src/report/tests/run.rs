//! The text of events and summaries.

use std::time::Duration;

use super::super::human::HumanReporter;
use super::super::{Reporter, SummaryView, Verbosity};
use super::{build_id, key, options};
use crate::base::limit::{Class, Limit};
use crate::event::{
    ActiveTarget, Phase, RunEvent, Signal, SkipReason, StopReason, Summary, TargetFailure,
};
use crate::http::Notice;
use crate::plan::PartialPlan;

const SECOND: Duration = Duration::from_secs(1);

fn failure(unit: &str, message: &str) -> TargetFailure {
    TargetFailure {
        unit: key(unit),
        phase: Phase::Building,
        message: message.to_owned(),
        help: None,
        build: Some(build_id("b-1")),
        pending: false,
    }
}

fn skip_reason() -> SkipReason {
    SkipReason::DependencyFailed { failed: key("base:v1") }
}

fn view<'a>(summary: &'a Summary, next: Option<&'a str>) -> SummaryView<'a> {
    SummaryView { summary, elapsed: SECOND * 65, next, owners: "team t1 (PRIME_TEAM_ID)" }
}

/// Returns standard output and standard error.
fn text(write: impl FnOnce(&mut HumanReporter<'_>) -> std::io::Result<()>) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    write(&mut HumanReporter::new(&mut out, &mut err, options(None, false, Verbosity::Verbose)))
        .unwrap();
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
#[expect(clippy::too_many_lines, reason = "most of it is the list of events")]
fn every_event_has_its_line() {
    let active = |unit: &str, phase, secs| ActiveTarget {
        unit: key(unit),
        action: "build",
        phase,
        build: Some(build_id("b-1")),
        elapsed: SECOND * secs,
        in_phase: SECOND,
    };
    let heartbeat = |count, waiting| RunEvent::Heartbeat {
        units: vec![active("api:v1", Phase::Building, 185)],
        phases: vec![(Phase::Building, count)],
        waiting,
        limited_for: (waiting > 0).then_some(SECOND * 19),
        done: 44,
        total: 60,
    };
    let (unit, action) = (key("api:v1"), "build");
    let events = [
        RunEvent::Started { unit: unit.clone(), action },
        RunEvent::Progress(active("api:v1", Phase::Upload, 3)),
        heartbeat(1, 0),
        heartbeat(7, 4),
        RunEvent::Completed {
            unit: unit.clone(),
            action,
            build: None,
            path: None,
            elapsed: SECOND * 190,
            waited: SECOND * 21,
        },
        RunEvent::Failed {
            failure: failure("base:v1", "no disk"),
            action,
            elapsed: SECOND,
            waited: SECOND / 2,
        },
        RunEvent::Skipped { unit: key("web:v1"), reason: skip_reason() },
        RunEvent::Notice {
            unit: Some(unit),
            notice: Notice::Retry {
                registry: None,
                action: "start the build",
                class: Some(Class::Start),
                attempt: 1,
                status: Some(503),
                why: "HTTP 503".to_owned(),
                wait: SECOND * 2,
            },
        },
        RunEvent::Notice {
            unit: None,
            notice: Notice::RateWait {
                class: Class::Images,
                limit: Limit { count: 10, window: SECOND * 60 },
                wait: SECOND * 12,
            },
        },
        RunEvent::Stopping { reason: StopReason::Interrupted(Signal::Interrupt), active: 3 },
        RunEvent::Stopping { reason: StopReason::Interrupted(Signal::Terminate), active: 0 },
        RunEvent::Stopping { reason: StopReason::Error("no key".to_owned()), active: 1 },
        RunEvent::Stopping { reason: StopReason::TimedOut(SECOND * 1800), active: 1 },
    ];
    let (out, err) = text(|reporter| events.iter().try_for_each(|event| reporter.event(event)));
    assert_eq!(out, "");
    insta::assert_snapshot!(err, @"
    api:v1: Building...
    api:v1: uploading [build b-1]
    api:v1: still building after 3m05s [build b-1]
    44/60 done; 7 building, 4 waiting for the rate limit (19s); longest: api:v1 (3m05s)
    api:v1: Built in 2m49s, waited 21s
    base:v1: Failed after 1.0s [build b-1]
    web:v1: skipped: depends on base:v1, which failed
    api:v1: cannot start the build: HTTP 503; retrying in 2.0s
    Waiting 12s for the rate limit of transfers (10/60s)
    Stopping: no new work starts; waiting for 3 targets in progress. Press Ctrl-C again to exit at once.
    Stopping on SIGTERM: no new work starts
    Stopping: every other target would fail with the same error; waiting for 1 target in progress
    Stopping: the timeout of 30m is over
    ");
}

#[test]
fn a_summary_groups_equal_failures() {
    let mut pending = failure("c:v1", "timed out");
    pending.pending = true;
    pending.help = Some("apply again".to_owned());
    let summary = Summary {
        built: 2,
        failures: vec![failure("a:v1", "no disk"), failure("b:v1", "no disk"), pending],
        skipped: vec![
            (key("web:v1"), skip_reason()),
            (key("x:v1"), SkipReason::Interrupted),
            (key("y:v1"), SkipReason::Stopped),
        ],
        retries: 3,
        ..Summary::default()
    };
    let (out, err) = text(|reporter| reporter.summary(&view(&summary, Some("imgplan apply"))));
    insta::assert_snapshot!(format!("{out}--- stderr\n{err}"), @"

    skipped: 2 targets not started because the run stopped
    skipped: web:v1 depends on base:v1, which failed
    pending while building: c:v1 [build b-1]
      timed out
      help: apply again
    failed while building: a:v1 [build b-1], b:v1 [build b-1]
      no disk

    Owner: team t1 (PRIME_TEAM_ID)
    Apply: 2 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 2 failed, 3 skipped, 1 pending, in 1m05s.
    --- stderr
    Retried 3 requests; --verbose and --json show details
    Next: fix the failures, then run `imgplan apply` to continue
    ");
}

#[test]
fn skipped_targets_are_grouped_by_cause_and_the_cause_comes_last() {
    let depends = |failed: &str| SkipReason::DependencyFailed { failed: key(failed) };
    let dependents = (1..=56).map(|n| (key(&format!("svc-{n}:v1")), depends("base:v1")));
    let others = [("x:v1", "tools:v1"), ("y:v1", "tools:v1"), ("z:v1", "lib:v1")];
    let others = others.map(|(unit, failed)| (key(unit), depends(failed)));
    let summary = Summary {
        failures: vec![
            failure("base:v1", "no disk"),
            failure("tools:v1", "exit code 1"),
            failure("alone:v1", "exit code 2"),
            failure("lib:v1", "exit code 1"),
        ],
        skipped: dependents.chain(others).collect(),
        ..Summary::default()
    };
    let (out, _) = text(|reporter| reporter.summary(&view(&summary, None)));
    insta::assert_snapshot!(out, @"

    56 skipped: depend on base:v1, which failed (svc-1:v1, svc-2:v1, svc-3:v1 and 53 more)
    2 skipped: depend on tools:v1, which failed (x:v1, y:v1)
    skipped: z:v1 depends on lib:v1, which failed
    failed while building: alone:v1 [build b-1]
      exit code 2
    failed while building: base:v1 [build b-1]
      no disk
    failed while building: tools:v1 [build b-1], lib:v1 [build b-1]
      exit code 1

    Owner: team t1 (PRIME_TEAM_ID)
    Apply: 0 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 4 failed, 59 skipped, in 1m05s.
    ");
}

#[test]
fn the_summary_of_a_partial_run_says_so() {
    let partial = Some(PartialPlan { selected: 3, left: 1 });
    let summary = Summary { built: 2, partial, ..Summary::default() };
    let (out, _) = text(|reporter| reporter.summary(&view(&summary, None)));
    insta::assert_snapshot!(out, @"
    Owner: team t1 (PRIME_TEAM_ID)
    Apply: 2 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 0 failed, 0 skipped, in 1m05s.
    Note: this was a partial run: 3 targets selected, 1 step left out.
    ");
}
