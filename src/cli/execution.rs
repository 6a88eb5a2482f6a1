//! Carries out a plan: prints progress, saves the state and chooses the exit code.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::UnboundedReceiver;

use super::args::ApplyArgs;
use super::failure::{Exit, Failure};
use super::footer::Footer;
use super::service::{ServiceConnection, ServiceProfile};
use super::settings::Settings;
use super::state_place::OpenState;
use super::ui::Ui;
use super::writer::BackgroundWriter;
use super::{rerun, signals};
use crate::base::limit::{Class, Limit};
use crate::base::open_files::max_open_files;
use crate::context::StatCache;
use crate::event::{Phase, RunEvent, Signal, StopReason, Summary};
use crate::manifest::Workspace;
use crate::plan::Plan;
use crate::report::SummaryView;
use crate::report::estimate::{Estimator, KindLimits};
use crate::report::run_report::RunView;
use crate::report::timeline::Timeline;
use crate::run::{self, Run, RunError, RunOptions};
use crate::state::State;

/// Minimum of the default number of builds in flight. A limit of 10 requests in 1 s must not mean that
/// 10 builds of an hour run at the same time.
const MIN_DEFAULT_BUILDS: u32 = 64;

/// Maximum number of builds in flight, as for `--concurrency`.
const MAX_BUILDS: u32 = 1000;

/// File descriptors for each build in flight: its connection, and with the local server the other end
/// and the file that the server writes.
const FILES_PER_BUILD: u64 = 4;

/// Default number of transfers in flight for each owner. The rate limit of transfers, 60 images per
/// minute, is reached before this even if each transfer takes a quarter of an hour.
const DEFAULT_TRANSFERS: u32 = 1000;

/// Returns the options of a run. Flags win over the manifest.
pub(super) fn options(
    args: &ApplyArgs,
    workspace: &Workspace,
    service: &ServiceProfile,
) -> RunOptions {
    let concurrency = args.concurrency.or(workspace.settings.concurrency);
    RunOptions {
        builds: concurrency.map_or_else(
            || default_builds(service.limit(Class::Initiate), max_open_files()),
            |concurrency| concurrency as usize,
        ),
        transfers: concurrency.unwrap_or(DEFAULT_TRANSFERS) as usize,
        owner: service.owner.owner.clone(),
        timeout: args.timeout,
    }
}

/// Returns the default number of builds in flight: all that may be initiated in one window, so that no
/// build waits for the end of another one, as far as there are file descriptors.
pub(super) fn default_builds(initiate: Limit, max_open_files: Option<u64>) -> usize {
    let window = initiate.count.clamp(MIN_DEFAULT_BUILDS, MAX_BUILDS) as usize;
    let files = max_open_files.and_then(|files| usize::try_from(files / FILES_PER_BUILD).ok());
    files.map_or(window, |files| window.min(files)).max(1)
}

/// The run of an apply.
pub(super) struct Execution<'a> {
    pub(super) ui: &'a Ui,
    pub(super) settings: &'a Settings,
    pub(super) args: &'a ApplyArgs,
    pub(super) service: &'a ServiceProfile,
    /// Owners of the targets, in words.
    pub(super) owners: String,
}

/// The end of a run, for its reports.
struct RunEnd<'a> {
    timeline: &'a Timeline,
    result: SummaryView<'a>,
    /// True if builds were only checked.
    only_checks: bool,
    /// The error because of which the command fails.
    failure: Option<&'a Failure>,
}

impl Execution<'_> {
    /// Carries out a plan, and prints its summary. A plan without steps only saves the state.
    ///
    /// # Errors
    ///
    /// Fails if the output cannot be written, or the state of a plan without steps. Every other error
    /// is part of the printed summary and of the exit code.
    pub(super) async fn run(
        &self,
        run: Run<'_>,
        open: &mut OpenState,
        connection: ServiceConnection,
    ) -> Result<Exit, Failure> {
        let only_checks = connection.only_checks();
        if !run.plan.is_noop() {
            return self.run_steps(run, open, connection, only_checks).await;
        }
        let (summary, timeline) = (Summary::default(), Timeline::default());
        let (elapsed, owners) = (Duration::ZERO, self.owners.as_str());
        let result = SummaryView { summary: &summary, elapsed, next: None, owners };
        let committed = open.close().await;
        let note = connection.registry_note();
        let closed = connection.close().await;
        let failure = committed.err().map(Failure::from).or(closed.err());
        let end = RunEnd { timeline: &timeline, result, only_checks, failure: failure.as_ref() };
        let unwritten = self.write_files(run.plan, run.workspace, open.store.state(), &end);
        if let Some(failure) = failure.or(unwritten) {
            return Err(failure);
        }
        self.ui.clone().hint(note.as_deref())?;
        let has_changes = self.args.detailed_exitcode && run.plan.has_changes();
        Ok(if has_changes { Exit::Changes } else { Exit::Success })
    }

    fn estimator(&self, run: &Run<'_>, state: &State) -> Estimator {
        let limits = self.service.run_limits();
        let limits = |class, concurrency| {
            let rate = limits.iter().find(|(limited, _)| *limited == class);
            KindLimits { concurrency, rate: rate.map(|(_, limit)| *limit) }
        };
        let builds = limits(Class::Initiate, run.options.builds);
        let mirrors = limits(Class::Images, run.options.transfers);
        Estimator::new(run.plan, state, (builds, mirrors))
    }

    /// Writes the reports of a run that has ended. Returns the error if some could not be written.
    fn write_files(
        &self,
        plan: &Plan,
        workspace: &Workspace,
        state: &State,
        end: &RunEnd<'_>,
    ) -> Option<Failure> {
        let RunEnd { timeline, result, only_checks, failure } = *end;
        let elapsed = SignedDuration::try_from(result.elapsed).unwrap_or_default();
        let error = failure.map(|failure| failure.report.to_string());
        let (service, limits) = (self.service.name.as_str(), self.service.run_limits());
        self.args.files.write(&RunView {
            plan,
            workspace,
            state,
            timeline,
            result,
            service,
            limits: &limits,
            began: Timestamp::now() - elapsed,
            only_checks,
            error: error.as_deref().and_then(|error| error.lines().next()),
        })
    }

    async fn run_steps(
        &self,
        run: Run<'_>,
        open: &mut OpenState,
        connection: ServiceConnection,
        only_checks: bool,
    ) -> Result<Exit, Failure> {
        let (plan, workspace) = (run.plan, run.workspace);
        let (started, mut signals) = (Instant::now(), signals::listen());
        self.settings.background.leave_signals();
        let timeline = Arc::new(Mutex::new(Timeline::of_run(started)));
        let footer = self.ui.has_footer().then(|| {
            let estimator = self.estimator(&run, open.store.state());
            Footer::new(Arc::clone(&timeline), estimator, run.client.clone(), started)
        });
        let writer = BackgroundWriter::start_with_footer(self.ui, footer)?;
        let mut report = |event: &RunEvent| {
            let event = event.clone();
            let event = if only_checks { event.of_check() } else { event };
            let mut timeline = timeline.lock().unwrap_or_else(PoisonError::into_inner);
            timeline.observe(&event, started.elapsed());
            writer.event(event);
        };
        let (summary, error) = execute(run, open, &mut report, &mut signals).await;
        // Also after an error: the disk may have free space again.
        let committed = tokio::select! {
            biased;
            committed = open.close() => committed.map_err(Failure::from),
            // The shards are still written for some seconds, and the journal has all records.
            Some(_) = signals.recv() => Err(Failure::new("interrupted while the state was written")),
        };
        if summary.failures.iter().any(|failure| failure.phase == Phase::Package) {
            // A cached digest may be wrong: the next plan reads all files again.
            StatCache::forget(&self.settings.work_dir());
        }
        let note = connection.registry_note();
        let closed = connection.close().await;
        let failure = error.or(committed.err()).or(closed.err());
        let detailed = self.args.detailed_exitcode;
        let exit = failure.as_ref().map_or_else(|| exit(&summary, detailed), |f| f.exit);
        let stopped = matches!(summary.stopped, Some(StopReason::Interrupted(_)));
        let next = (!summary.is_complete()).then(|| {
            let replace = rerun::remaining_replacements(plan, workspace, &summary);
            rerun::command(self.settings, self.args, &replace)
        });
        let (elapsed, owners) = (started.elapsed(), self.owners.clone());
        let summary = if only_checks { summary.of_check() } else { summary };
        let unwritten = {
            let timeline = timeline.lock().unwrap_or_else(PoisonError::into_inner);
            let next = next.as_deref();
            let result = SummaryView { summary: &summary, elapsed, next, owners: &owners };
            let end =
                RunEnd { timeline: &timeline, result, only_checks, failure: failure.as_ref() };
            self.write_files(plan, workspace, open.store.state(), &end)
        };
        let exit = unwritten.as_ref().map_or(exit, |failure| exit.or_error(failure.exit));
        let finish = move |ui: &mut Ui| {
            // Printed even if the lockfile could not be written: the journal has the results.
            let next = next.as_deref();
            ui.summary(&SummaryView { summary: &summary, elapsed, next, owners: &owners })?;
            ui.hint(note.as_deref())?;
            for failure in failure.iter().chain(&unwritten) {
                ui.failure(failure);
            }
            Ok(())
        };
        writer.finish(finish, stopped, &mut signals).await?;
        Ok(exit)
    }
}

/// Carries out the steps, with the lease of a shared state if there is one. Returns the results, and the
/// error if the state could not be recorded.
async fn execute(
    run: Run<'_>,
    open: &mut OpenState,
    report: &mut dyn FnMut(&RunEvent),
    signals: &mut UnboundedReceiver<Signal>,
) -> (Summary, Option<Failure>) {
    let state = (&mut open.store, open.lease.as_ref());
    match run::execute(run, state, report, signals).await {
        Ok(summary) => (summary, None),
        Err(error) => {
            let RunError::NotRecorded { summary, .. } = &error;
            (Summary::clone(summary), Some(Failure::from(error)))
        }
    }
}

fn exit(summary: &Summary, detailed: bool) -> Exit {
    match &summary.stopped {
        Some(StopReason::Interrupted(Signal::Interrupt)) => return Exit::Interrupted,
        Some(StopReason::Interrupted(Signal::Terminate)) => return Exit::Terminated,
        Some(StopReason::Error(_) | StopReason::TimedOut(_)) | None => {}
    }
    match (summary.is_complete(), detailed) {
        (true, true) => Exit::Changes,
        (true, false) => Exit::Success,
        (false, true) if summary.done() > 0 => Exit::Partial,
        (false, _) => Exit::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_builds_run_as_may_be_initiated_and_files_may_be_open() {
        for (limit, files, expected) in [
            ("150/60s", None, 150),
            ("150/60s", Some(1 << 20), 150),
            ("150/60s", Some(256), 64),
            ("150/60s", Some(3), 1),
            ("10/1s", None, 64),
            ("500/60s", Some(1024), 256),
            ("1000000/60s", None, 1000),
        ] {
            let builds = default_builds(limit.parse().unwrap(), files);
            assert_eq!(builds, expected, "{limit} {files:?}");
        }
    }
}
