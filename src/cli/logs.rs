//! `imgplan logs`: prints the log of a build.

use std::time::Duration;

use super::args::LogsArgs;
use super::failure::{Exit, Failure};
use super::service::ServiceProfile;
use super::session::Session;
use super::settings::Settings;
use super::signals;
use super::ui::Ui;
use super::writer::BackgroundWriter;
use crate::api::logs::{BuildLogPart, LogAnswer};
use crate::api::{BuildProgress, Client, ErrorKind, RemoteBuild};
use crate::base::name::{BuildId, ImageRef};
use crate::base::text::list;
use crate::event::Signal;
use crate::manifest::Workspace;
use crate::server;
use crate::state::{Entry, State};

/// Time between two requests with `--follow`.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of targets that an error names.
const MAX_NAMES_SHOWN: usize = 5;

pub(super) async fn run(ui: &mut Ui, settings: &Settings, args: LogsArgs) -> Result<Exit, Failure> {
    let Session { workspace, service, state } = Session::read(settings, &args.service).await?;
    let build = build(&state.state, &workspace, &args.build)?;
    if let Some(warning) = service.warning() {
        ui.message(warning)?;
    }
    let Some(client) = service.running()? else {
        let log = server::stored_log(&service.local_state(), &build)?;
        let Some(log) = log else { return Err(unknown_build(&service, &build)) };
        ui.document(&log)?;
        return Ok(Exit::Success);
    };
    let mut signals = signals::listen();
    let writer = BackgroundWriter::start(ui)?;
    let log = LogPrinter { service: &service, client, build, writer };
    tokio::select! {
        result = log.print(args.follow) => result.map(|()| Exit::Success),
        signal = signals.recv() => Ok(match signal {
            Some(Signal::Terminate) => Exit::Terminated,
            Some(Signal::Interrupt) | None => Exit::Interrupted,
        }),
    }
}

/// Returns the build that a text names: the last one of an image, else the one with this ID.
fn build(state: &State, workspace: &Workspace, text: &str) -> Result<BuildId, Failure> {
    let entries = state.entries.iter().filter(|(key, entry)| is_named(key, entry, text));
    let entries: Vec<(&ImageRef, &Entry)> = entries.collect();
    match entries[..] {
        [(key, entry)] => last_build(entry).cloned().ok_or_else(|| no_build(key.to_string())),
        [] if workspace.units.iter().any(|unit| unit.is_named(text)) => Err(no_build(text)),
        [] => BuildId::new(text).ok_or_else(|| {
            let message = format!("`{text}` is neither an image nor a build ID");
            Failure::usage(message, "`imgplan show` lists images and builds")
        }),
        _ => {
            let names = list(entries.iter().map(|(key, _)| key), MAX_NAMES_SHOWN);
            let message = format!("`{text}` has {} targets: {names}", entries.len());
            Err(Failure::usage(message, "name one of them"))
        }
    }
}

/// True if a text names an entry: as `name` or `name:tag`.
fn is_named(key: &ImageRef, entry: &Entry, text: &str) -> bool {
    let full = key.to_string();
    let suffix = format!("-{}", entry.platform.arch());
    key.name.as_str() == text || full == text || full.strip_suffix(&suffix) == Some(text)
}

/// Returns the build in progress, else the last one that failed since the image was built, else the
/// one that made the image.
fn last_build(entry: &Entry) -> Option<&BuildId> {
    let pending = entry.pending.as_ref().map(|pending| &pending.build);
    let failed = || entry.failed.as_ref().map(|failed| &failed.build);
    pending.or_else(failed).or_else(|| entry.built.as_ref().map(|built| &built.build))
}

fn no_build(image: impl std::fmt::Display) -> Failure {
    let help = "`imgplan apply` builds it; `imgplan status` shows builds in progress";
    Failure::with_help(format!("the lockfile has no build of `{image}`"), help)
}

fn unknown_build(service: &ServiceProfile, build: &BuildId) -> Failure {
    let message = format!("there is no log of a build {build} in the service {}", service.name);
    Failure::with_help(message, "`imgplan show` lists images and builds")
}

/// Prints one log.
struct LogPrinter<'a> {
    service: &'a ServiceProfile,
    client: Client,
    build: BuildId,
    writer: BackgroundWriter,
}

impl LogPrinter<'_> {
    /// Prints the log so far, or with `follow` until the build ends.
    async fn print(&self, follow: bool) -> Result<(), Failure> {
        let mut offset = 0;
        loop {
            let BuildLogPart { text, next, ended } = match self.read(offset).await? {
                LogAnswer::Part(part) => part,
                LogAnswer::Missing(build) => return Err(self.without_log(&build)),
            };
            let has_more = next > offset;
            offset = next;
            self.writer.write(move |ui| ui.document(&text)).await?;
            if let Some(status) = ended {
                let line = format!("Build {} has ended: {status}.", self.build);
                return Ok(self.writer.write(move |ui| ui.message(line)).await?);
            }
            if has_more {
                continue;
            }
            if !follow {
                let line = format!("Build {} is in progress; --follow waits for more.", self.build);
                return Ok(self.writer.write(move |ui| ui.message(line)).await?);
            }
            tokio::time::sleep(FOLLOW_INTERVAL).await;
        }
    }

    async fn read(&self, offset: u64) -> Result<LogAnswer, Failure> {
        self.client.build_log(&self.build, offset).await.map_err(|error| {
            if error.kind == ErrorKind::NotFound {
                unknown_build(self.service, &self.build)
            } else {
                error.into()
            }
        })
    }

    /// Returns the error for a service without logs, with everything that it says about the build.
    fn without_log(&self, build: &RemoteBuild) -> Failure {
        let (status, lines) = match &build.progress {
            BuildProgress::Failed(error) => {
                ("failed:".to_owned(), error.lines().map(str::to_owned).collect())
            }
            BuildProgress::Completed => ("is complete".to_owned(), Vec::new()),
            BuildProgress::Cancelled => ("was cancelled".to_owned(), Vec::new()),
            BuildProgress::Running(status) => (format!("is {status}"), Vec::new()),
        };
        let message = format!(
            "this service does not offer the logs of builds; build {} {status}",
            self.build
        );
        Failure::with_lines(message, lines, format!("the service is {}", self.service.name))
    }
}
