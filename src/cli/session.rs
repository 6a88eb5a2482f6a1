//! Opens what commands share: the manifest, the service and the recorded state.

use std::panic::resume_unwind;

use tokio::task::{JoinHandle, spawn_blocking};

use super::args::ServiceArgs;
use super::env::env;
use super::failure::Failure;
use super::service::ServiceProfile;
use super::settings::Settings;
use super::ui::Ui;
use crate::context::{History, StatCache};
use crate::manifest::Workspace;
use crate::state::{StateSnapshot, Store};
use crate::survey::Caches;

/// Manifest, service and recorded state of one command. `S` is a [`StateSnapshot`] for commands
/// that only read, and a [`Store`], which holds the lock, for those that write.
pub(super) struct Session<S> {
    pub(super) workspace: Workspace,
    pub(super) service: ServiceProfile,
    pub(super) state: S,
    pub(super) caches: PendingCaches,
}

/// Caches of a survey, while they are read.
pub(super) struct PendingCaches {
    stat: JoinHandle<StatCache>,
    history: History,
}

impl Session<StateSnapshot> {
    /// Opens a session that only reads. Files are read in parallel with the manifest.
    ///
    /// # Errors
    ///
    /// Fails if the manifest is invalid, the state cannot be read, or it belongs to another service.
    pub(super) async fn read(
        ui: &mut Ui,
        settings: &Settings,
        args: &ServiceArgs,
    ) -> Result<Self, Failure> {
        let stat = start_reading_cache(settings);
        let paths = args.paths(&settings.root());
        let snapshot = spawn_blocking(move || StateSnapshot::read(&paths));
        let (workspace, service) = load(ui, settings, args)?;
        let state = join(snapshot).await?.for_service(&service.name)?;
        let caches = PendingCaches { stat, history: service.history() };
        Ok(Self { workspace, service, state, caches })
    }
}

impl Session<Store> {
    /// Opens a session that may write, and takes the lock.
    ///
    /// # Errors
    ///
    /// Fails as [`Session::read`] does, and if another run holds the lock.
    pub(super) fn write(
        ui: &mut Ui,
        settings: &Settings,
        args: &ServiceArgs,
    ) -> Result<Self, Failure> {
        let stat = start_reading_cache(settings);
        let (workspace, service) = load(ui, settings, args)?;
        let state = Store::open(service.paths.clone(), &service.name)?;
        let caches = PendingCaches { stat, history: service.history() };
        Ok(Self { workspace, service, state, caches })
    }
}

impl PendingCaches {
    /// Waits until the caches are read.
    pub(super) async fn load(self) -> Caches {
        Caches { stat: join(self.stat).await, history: self.history }
    }
}

/// Loads the manifest, prints its warnings, and resolves the service.
fn load(
    ui: &mut Ui,
    settings: &Settings,
    args: &ServiceArgs,
) -> Result<(Workspace, ServiceProfile), Failure> {
    let workspace = Workspace::load(&settings.manifest, &env)?;
    ui.warnings(&workspace.warnings, &workspace.sources)?;
    let service = ServiceProfile::resolve(&settings.root(), &workspace, args)?;
    if let Some(warning) = service.warning() {
        ui.message(warning)?;
    }
    Ok((workspace, service))
}

fn start_reading_cache(settings: &Settings) -> JoinHandle<StatCache> {
    let dir = settings.work_dir();
    spawn_blocking(move || StatCache::read(&dir))
}

/// Waits for a task; a panic in the task goes on in the caller.
async fn join<T>(task: JoinHandle<T>) -> T {
    task.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}
