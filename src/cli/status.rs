//! `imgplan status`: shows builds in progress, from the recorded state and the service.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::args::StatusArgs;
use super::failure::{Exit, Failure};
use super::session::Session;
use super::settings::Settings;
use super::signals;
use super::ui::Ui;
use super::writer::BackgroundWriter;
use crate::api::poll::{PollState, poll_builds};
use crate::api::{BuildProgress, Client, RemoteBuild};
use crate::base::name::BuildId;
use crate::event::Signal;
use crate::report::status::{StatusView, UnitProgress, UnitStatus};
use crate::state::{BuildStage, Entry, State, Store};

/// Time between two polls of `--watch`, for each request that a poll takes.
const POLL_INTERVAL_PER_REQUEST: Duration = Duration::from_secs(2);

/// Maximum duration of a poll.
const POLL_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum number of targets that `--watch` shows: a screen of 24 lines holds them and the notes.
const MAX_TARGETS_WATCHED: usize = 16;

pub(super) async fn run(
    ui: &mut Ui,
    settings: &Settings,
    args: StatusArgs,
) -> Result<Exit, Failure> {
    let Session { service, state: mut snapshot, workspace } =
        Session::read(settings, &args.service).await?;
    let client = if args.offline { None } else { service.reader()? };
    if let Some(warning) = client.as_ref().and_then(|_| service.warning()) {
        ui.message(warning)?;
    }
    let root = settings.root();
    let max_lines = args.watch.then_some(MAX_TARGETS_WATCHED);
    let mut signals = signals::listen();
    let writer = BackgroundWriter::start(ui)?;
    let watch = async {
        let mut listing = PollState::quick();
        let mut lines = 0;
        loop {
            let (mut units, notes) = units(&snapshot.state, client.as_ref(), &mut listing).await;
            // The longest running come first, those that have ended last.
            units.sort_by_key(|unit| (unit.progress.has_ended(), Reverse(unit.age)));
            let holder = Store::holder(&service.paths);
            // A run in this directory may start more builds.
            let goes_on = holder.is_some() || units.iter().any(|unit| !unit.progress.has_ended());
            let show = move |ui: &mut Ui| {
                let holder = holder.as_deref();
                ui.status(&StatusView { units: &units, max_lines, holder, notes: &notes }, lines)
            };
            lines = writer.write(show).await?;
            if !args.watch || !goes_on {
                return Ok(Exit::Success);
            }
            tokio::time::sleep(poll_interval(listing.cost())).await;
            let name = Some(service.name.as_str());
            let read = args.service.read_state(&root, &workspace.settings, name);
            snapshot = read.await?;
        }
    };
    tokio::select! {
        result = watch => result,
        signal = signals.recv() => Ok(match signal {
            Some(Signal::Terminate) => Exit::Terminated,
            Some(Signal::Interrupt) | None => Exit::Interrupted,
        }),
    }
}

/// Returns the time until the next poll, after one of `requests`: a run may need the same rate
/// limit.
fn poll_interval(requests: u32) -> Duration {
    POLL_INTERVAL_PER_REQUEST * requests.max(1)
}

/// Returns the targets with a build in progress, and notes if the service does not tell.
async fn units(
    state: &State,
    client: Option<&Client>,
    listing: &mut PollState,
) -> (Vec<UnitStatus>, Vec<String>) {
    let pending = state.entries.values().filter_map(|entry| entry.pending.as_ref());
    let builds: Vec<BuildId> = pending.map(|pending| pending.build.clone()).collect();
    let (mut views, mut notes) = (HashMap::new(), Vec::new());
    if let Some(client) = client {
        match tokio::time::timeout(POLL_TIMEOUT, poll_builds(client, &builds, listing)).await {
            Ok(results) => {
                for (build, result) in results {
                    match result {
                        Ok(view) => drop(views.insert(build, view)),
                        Err(error) if notes.is_empty() => notes.push(error.to_string()),
                        Err(_) => {}
                    }
                }
            }
            Err(_) => {
                notes.push("the service does not respond; this is the recorded state".to_owned());
            }
        }
    } else if !builds.is_empty() {
        notes.push("the service was not asked; this is the recorded state".to_owned());
    }
    let units = state.entries.iter().filter_map(|(unit, entry)| {
        let (build, progress, age) = status(entry, &views)?;
        Some(UnitStatus { unit: unit.clone(), build, progress, age })
    });
    (units.collect(), notes)
}

type Status = (Option<BuildId>, UnitProgress, Option<Duration>);

/// Returns the status of an entry, if it has a build in progress.
fn status(entry: &Entry, views: &HashMap<BuildId, RemoteBuild>) -> Option<Status> {
    if let Some(submitted) = &entry.submitted {
        return Some((None, UnitProgress::InDoubt, since(submitted.at)));
    }
    let pending = entry.pending.as_ref()?;
    let build = Some(pending.build.clone());
    let Some(view) = views.get(&pending.build) else {
        let progress = match pending.stage {
            BuildStage::Created => UnitProgress::Uploading,
            BuildStage::Uploaded | BuildStage::Started => UnitProgress::Running(None),
        };
        return Some((build, progress, None));
    };
    let progress = match &view.progress {
        BuildProgress::Running(_)
            if view.waits_for_start() && pending.stage == BuildStage::Created =>
        {
            UnitProgress::Uploading
        }
        BuildProgress::Running(status) => UnitProgress::Running(Some(status.clone())),
        BuildProgress::Completed => UnitProgress::Completed,
        BuildProgress::Failed(reason) => UnitProgress::Failed(reason.clone()),
        BuildProgress::Cancelled => UnitProgress::Failed("it was cancelled".to_owned()),
    };
    Some((build, progress, view.started.or(view.created).and_then(since)))
}

/// Returns the time since a timestamp of the service; `None` if its clock is ahead of ours.
fn since(time: Timestamp) -> Option<Duration> {
    Duration::try_from(Timestamp::now().duration_since(time)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fake::{FakeServer, Reply};

    #[tokio::test(start_paused = true)]
    async fn a_poll_of_a_service_that_does_not_respond_times_out() {
        let state = State::with_one_pending_build();
        let client = Client::fake(&FakeServer::script([Reply::Silence]));
        let (started, mut listing) = (tokio::time::Instant::now(), PollState::quick());
        let (units, notes) = units(&state, Some(&client), &mut listing).await;
        assert_eq!(started.elapsed(), POLL_TIMEOUT);
        assert_eq!(units[0].progress, UnitProgress::Running(None));
        assert_eq!(notes, ["the service does not respond; this is the recorded state"]);
        let (interval, requests) = (POLL_INTERVAL_PER_REQUEST, listing.cost());
        assert_eq!(poll_interval(requests), interval);
        assert_eq!((poll_interval(0), poll_interval(20)), (interval, interval * 20));
    }
}
