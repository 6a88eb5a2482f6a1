//! Opens what commands share: the manifest, the service and the recorded state.

use std::panic::resume_unwind;

use tokio::task::{JoinHandle, spawn_blocking};

use super::args::{LeaseArgs, ServiceArgs};
use super::env::env;
use super::failure::Failure;
use super::service::ServiceProfile;
use super::settings::Settings;
use super::state_place::{self, OpenState};
use super::ui::Ui;
use crate::context::StatCache;
use crate::manifest::Workspace;
use crate::plan;
use crate::shared::SharedState;
use crate::state::StateSnapshot;
use crate::survey::Caches;

/// Manifest, service and recorded state of one command. `S` is a [`StateSnapshot`] for commands
/// that only read, an [`OpenState`], which holds the lock, for those that write, and `()` before the state
/// is opened.
pub(super) struct Session<S> {
    pub(super) workspace: Workspace,
    pub(super) service: ServiceProfile,
    pub(super) state: S,
}

/// Cache of file digests that is still being read.
pub(super) struct PendingCache(JoinHandle<StatCache>);

impl Session<StateSnapshot> {
    /// Opens a session that only reads. Reads the state in parallel with the manifest.
    ///
    /// # Errors
    ///
    /// Fails if the manifest is invalid, the state cannot be read, or it belongs to another service.
    pub(super) async fn read(settings: &Settings, args: &ServiceArgs) -> Result<Self, Failure> {
        let paths = args.paths(&settings.root());
        let snapshot =
            spawn_blocking(move || StateSnapshot::read(&paths).map(StateSnapshot::without_text));
        let (workspace, service) = load(settings, args)?;
        let mut state = match &service.state {
            None => join(snapshot).await?.for_service(&service.name)?,
            Some(url) => {
                let shared = SharedState::find(url, Some(&service.name)).await?;
                StateSnapshot::of_shared(shared.read().await?.into_state())
            }
        };
        for record in plan::carry_over(&workspace, &state.state) {
            state.state.apply(&record);
        }
        Ok(Self { workspace, service, state })
    }
}

impl Session<OpenState> {
    /// Opens a session that may write, and takes the lock.
    ///
    /// # Errors
    ///
    /// Fails as [`Session::read`] does, and if another run holds the lock.
    pub(super) async fn write(
        ui: &mut Ui,
        settings: &Settings,
        (args, lease): (&ServiceArgs, &LeaseArgs),
    ) -> Result<Self, Failure> {
        let (workspace, service) = load(settings, args)?;
        let mut state = state_place::open((ui, settings), &service, lease).await?;
        state_place::carry_over(&workspace, &mut state.store)?;
        Ok(Self { workspace, service, state })
    }
}

impl Session<()> {
    /// Opens a session without the state.
    ///
    /// # Errors
    ///
    /// Fails if the manifest is invalid.
    pub(super) fn without_state(settings: &Settings, args: &ServiceArgs) -> Result<Self, Failure> {
        let (workspace, service) = load(settings, args)?;
        Ok(Self { workspace, service, state: () })
    }
}

impl<S> Session<S> {
    /// Prints the warnings of the manifest.
    ///
    /// # Errors
    ///
    /// Fails if the output cannot be written.
    pub(super) fn print_warnings(&self, ui: &mut Ui) -> Result<(), Failure> {
        Ok(ui.warnings(&self.workspace.warnings, &self.workspace.sources)?)
    }
}

impl PendingCache {
    /// Starts to read the cache of a directory, in parallel with other work.
    pub(super) fn start(settings: &Settings) -> Self {
        let dir = settings.work_dir();
        Self(spawn_blocking(move || StatCache::read(&dir)))
    }

    /// Waits until the cache is read.
    pub(super) async fn load(self, service: &ServiceProfile) -> Caches {
        Caches { stat: join(self.0).await, history: service.history() }
    }
}

fn load(settings: &Settings, args: &ServiceArgs) -> Result<(Workspace, ServiceProfile), Failure> {
    let workspace = Workspace::load(&settings.manifest, &env)?;
    let service = ServiceProfile::resolve(&settings.root(), &workspace.settings, args)?;
    Ok((workspace, service))
}

/// Waits for a task; a panic in the task goes on in the caller.
async fn join<T>(task: JoinHandle<T>) -> T {
    task.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}
