//! `imgplan status`: what is under way, by what is on record and by the service. Changes nothing.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::args::StatusArgs;
use super::env::env;
use super::failure::{Exit, Failure};
use super::service::Target;
use super::settings::Settings;
use super::signals;
use super::ui::Ui;
use super::writer::BackgroundWriter;
use crate::api::poll::{PollState, poll_builds};
use crate::api::{BuildProgress, Client, RemoteBuild};
use crate::base::name::BuildId;
use crate::event::Signal;
use crate::manifest::Workspace;
use crate::report::status::{StatusView, UnitProgress, UnitStatus};
use crate::state::{BuildStage, Entry, State, StateSnapshot, Store};

/// The time between two looks of somebody who watches, for each request that one takes.
const PACE: Duration = Duration::from_secs(2);

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(30);

const ON_RECORD: &str = "this is what is on record";

/// Lines that are drawn over again and again.
const A_SCREEN: usize = 18;

pub(super) async fn run(
    ui: &mut Ui,
    settings: &Settings,
    args: StatusArgs,
) -> Result<Exit, Failure> {
    let workspace = Workspace::load(&settings.manifest, &env)?;
    let target = Target::find(&settings.root(), &workspace, &args.service)?;
    let client = if args.offline { None } else { target.client_to_ask() };
    let max_lines = if args.watch { A_SCREEN } else { usize::MAX };
    let mut signals = signals::listen();
    let writer = BackgroundWriter::start(ui)?;
    let watch = async {
        let mut listing = PollState::quick();
        let mut lines = 0;
        loop {
            let state = StateSnapshot::read(&target.paths)?.for_service(&target.name)?.state;
            let (mut units, notes) = units(&state, client.as_ref(), &mut listing).await;
            // What runs longest first; what is over last.
            units.sort_by_key(|unit| (unit.progress.has_ended(), std::cmp::Reverse(unit.age)));
            let holder = Store::holder(&target.paths);
            // A run that works here may have more to come.
            let more = holder.is_some() || units.iter().any(|unit| !unit.progress.has_ended());
            let show = move |ui: &mut Ui| {
                let holder = holder.as_deref();
                ui.status(&StatusView { units: &units, max_lines, holder, notes: &notes }, lines)
            };
            lines = writer.write(show).await?;
            if !args.watch || !more {
                return Ok(Exit::Success);
            }
            tokio::time::sleep(pace(listing.cost())).await;
        }
    };
    tokio::select! {
        ended = watch => ended,
        signal = signals.recv() => Ok(match signal {
            Some(Signal::Terminate) => Exit::Terminated,
            Some(Signal::Interrupt) | None => Exit::Interrupted,
        }),
    }
}

/// The time until the next look, after one that took so many requests: beside a run that needs the
/// same budget, a small part of it.
fn pace(cost: u32) -> Duration {
    PACE * cost.max(1)
}

/// Every unit with something under way, and what the service could not be asked.
async fn units(
    state: &State,
    client: Option<&Client>,
    listing: &mut PollState,
) -> (Vec<UnitStatus>, Vec<String>) {
    let pending = state.entries.values().filter_map(|entry| entry.pending.as_ref());
    let builds: Vec<BuildId> = pending.map(|pending| pending.build.clone()).collect();
    let (mut views, mut notes) = (HashMap::new(), Vec::new());
    if let Some(client) = client {
        match tokio::time::timeout(PATIENCE, poll_builds(client, &builds, listing)).await {
            Ok(looks) => {
                for (build, answer) in looks {
                    match answer {
                        Ok(view) => drop(views.insert(build, view)),
                        Err(error) if notes.is_empty() => notes.push(error.to_string()),
                        Err(_) => {}
                    }
                }
            }
            Err(_) => notes.push(format!("the service does not answer; {ON_RECORD}")),
        }
    } else if !builds.is_empty() {
        notes.push(format!("the service was not asked; {ON_RECORD}"));
    }
    let status = |(unit, entry): (_, &Entry)| {
        let (build, progress, age) = status(entry, &views)?;
        Some(UnitStatus { unit: Clone::clone(unit), build, progress, age })
    };
    (state.entries.iter().filter_map(status).collect(), notes)
}

type Status = (Option<BuildId>, UnitProgress, Option<Duration>);

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
        BuildProgress::Running(word) => UnitProgress::Running(Some(word.clone())),
        BuildProgress::Completed => UnitProgress::Completed,
        BuildProgress::Failed(why) => UnitProgress::Failed(why.clone()),
        BuildProgress::Cancelled => UnitProgress::Failed("it was cancelled".to_owned()),
    };
    Some((build, progress, view.started.or(view.created).and_then(since)))
}

/// The service's clock may be ahead of ours.
fn since(time: Timestamp) -> Option<Duration> {
    Duration::try_from(Timestamp::now().duration_since(time)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fake::{FakeServer, Reply};

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_answer_is_not_waited_for() {
        let state = State::with_one_pending_build();
        let client = Client::fake(&FakeServer::script([Reply::Silence]));
        let (began, mut listing) = (tokio::time::Instant::now(), PollState::quick());
        let (units, notes) = units(&state, Some(&client), &mut listing).await;
        assert_eq!(began.elapsed(), PATIENCE);
        assert_eq!(units[0].progress, UnitProgress::Running(None));
        assert_eq!(notes, ["the service does not answer; this is what is on record"]);
        assert_eq!((pace(listing.cost()), pace(0), pace(20)), (PACE, PACE, PACE * 20));
    }
}
