//! The place of the recorded state: the lockfile beside the manifest, or a shared state.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::args::{LeaseArgs, ServiceArgs, StateArgs};
use super::env::env;
use super::failure::Failure;
use super::service::{LOCAL, ServiceProfile};
use super::settings::Settings;
use super::ui::Ui;
use crate::base::input::{self, InputKind};
use crate::base::reach::repository;
use crate::base::state_url::StateUrl;
use crate::base::text::exact_duration;
use crate::manifest::Workspace;
use crate::manifest::workspace::{ServiceSettings, UnitId};
use crate::plan::{self, Partition, PlanOptions, Selection};
use crate::shared::{
    Holder, Lease, LockRequest, ShardId, SharedLease, SharedState, random_id, time,
};
use crate::state::{LockedJournal, State, StateError, StatePaths, StateSnapshot, Store, on_host};

/// Default of `--lock-timeout` in CI. Elsewhere, a person decides.
const CI_LOCK_TIMEOUT: Duration = Duration::from_secs(600);

/// Wait between two tries at a lock of this machine.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Variables with the page of the CI job, in the order in which they are looked up.
const JOB_URL_VARIABLES: [&str; 4] =
    ["CI_JOB_URL", "BUILDKITE_BUILD_URL", "CIRCLE_BUILD_URL", "BUILD_URL"];

/// The state of a command that writes: a store, and the lease of a shared state.
pub(super) struct OpenState {
    pub(super) store: Store,
    pub(super) lease: Option<SharedLease>,
}

impl OpenState {
    /// Writes the state, gives the lease back, and removes the journal.
    ///
    /// # Errors
    ///
    /// Fails if the state cannot be written. The journal then has all records.
    pub(super) async fn close(&mut self) -> Result<(), StateError> {
        if let Some(mut lease) = self.lease.take() {
            lease.release().await?;
        }
        self.store.finish()
    }
}

impl ServiceArgs {
    /// Returns the URL of the shared state. `None` for a lockfile. The flag and its variable win over
    /// the manifest.
    ///
    /// # Errors
    ///
    /// Fails if the manifest names a folder outside of its repository: a checkout must not choose which
    /// files of the machine are written.
    pub(super) fn state_url(
        &self,
        root: &Path,
        settings: &ServiceSettings,
    ) -> Result<Option<StateUrl>, Failure> {
        if self.local {
            return Ok(None);
        }
        if let Some(url) = &self.state.state {
            return Ok(Some(url.clone()));
        }
        let Some(url) = settings.state.clone() else { return Ok(None) };
        let url = url.resolved(root);
        if let Some(folder) = url.folder()
            && !is_inside(root, folder)
        {
            let message = format!("the manifest names the state {url}, outside of the repository");
            let help = format!("if you trust it, set IMGPLAN_STATE={url}, or use --state {url}");
            return Err(Failure::with_help(message, help));
        }
        Ok(Some(url))
    }

    /// Reads the state without locking or writing anything.
    ///
    /// # Errors
    ///
    /// Fails if the state cannot be read, or belongs to another service than `service`.
    pub(super) async fn read_state(
        &self,
        root: &Path,
        settings: &ServiceSettings,
        service: Option<&str>,
    ) -> Result<StateSnapshot, Failure> {
        if let Some(url) = self.state_url(root, settings)? {
            let shared = SharedState::find(&url, service).await?;
            return Ok(StateSnapshot::of_shared(shared.read().await?.into_state()));
        }
        let snapshot = StateSnapshot::read(&self.paths(root))?;
        Ok(match service {
            Some(service) => snapshot.for_service(service)?,
            None => snapshot,
        })
    }
}

/// True if a folder lies in the repository of the manifest's folder `root`, wherever links lead.
fn is_inside(root: &Path, folder: &Path) -> bool {
    let (Ok(repository), Ok(absolute)) = (repository(root), std::path::absolute(folder)) else {
        return false;
    };
    // The folder itself need not exist yet.
    let existing = absolute.ancestors().find_map(|folder| folder.canonicalize().ok());
    let has_parents = folder.components().any(|part| part == std::path::Component::ParentDir);
    existing.is_some_and(|folder| folder.starts_with(&repository)) && !has_parents
}

/// Returns the recorded state for a command that needs no valid manifest.
///
/// # Errors
///
/// Fails if the state cannot be read.
pub(super) async fn read_any(
    settings: &Settings,
    state: &StateArgs,
    local: bool,
) -> Result<State, Failure> {
    let root = settings.root();
    let paths = if local { StatePaths::local(&root) } else { StatePaths::beside(&root) };
    if local {
        return Ok(Store::read(&paths, LOCAL)?);
    }
    // A manifest of many images takes a while to load, and may be invalid.
    let may_name = |text: String| text.contains("state:") || text.contains("include:");
    let needs_manifest = state.state.is_none()
        && input::read_text(settings.manifest.first(), InputKind::Manifest).is_ok_and(may_name);
    let workspace =
        if needs_manifest { Workspace::load(&settings.manifest, &env).ok() } else { None };
    let from_manifest = workspace.map(|workspace| workspace.settings).unwrap_or_default();
    let args = ServiceArgs { local, limits: Vec::new(), budget_share: None, state: state.clone() };
    Ok(args.read_state(&root, &from_manifest, None).await?.state)
}

/// The targets that a run may change.
pub(super) struct StateScope<'a> {
    /// True if it may change all of them.
    pub(super) is_whole: bool,
    /// Returns the options of the plan.
    pub(super) options: &'a dyn Fn(&State) -> Result<PlanOptions, Failure>,
    /// Shards that are needed besides those of the selected targets.
    pub(super) more: BTreeSet<ShardId>,
}

/// Opens the state for writing, with the lock of a lockfile, or all leases of a shared state.
///
/// # Errors
///
/// Fails if the state cannot be read, belongs to another service, or is locked by another run.
pub(super) async fn open(
    (ui, settings): (&mut Ui, &Settings),
    service: &ServiceProfile,
    args: &LeaseArgs,
) -> Result<OpenState, Failure> {
    let Some(url) = &service.state else {
        let open = || Store::open(service.paths.clone(), &service.name);
        let store = waiting_for_lock(ui, args.timeout(), open).await?;
        return Ok(OpenState { store, lease: None });
    };
    let shared = SharedState::find(url, Some(&service.name)).await?;
    lock((ui, settings), &shared, service, args, ShardId::all().collect()).await
}

/// Opens something that another process on this machine may have locked, again until the time has
/// passed.
async fn waiting_for_lock<T>(
    ui: &mut Ui,
    limit: Duration,
    open: impl Fn() -> Result<T, StateError>,
) -> Result<T, Failure> {
    let (began, mut is_reported) = (Instant::now(), false);
    loop {
        match open() {
            Err(StateError::Locked { holder }) if began.elapsed() < limit => {
                if !is_reported {
                    ui.message(format!("Waiting up to {} for {holder}", exact_duration(limit)))?;
                    is_reported = true;
                }
                sleep(LOCK_POLL_INTERVAL).await;
            }
            result => return Ok(result?),
        }
    }
}

/// Opens the state for a run, with the lock of a lockfile, or the leases of a shared state that the run
/// needs. Returns the options of its plan too.
///
/// # Errors
///
/// Fails as [`open`] does, and if the options are invalid.
pub(super) async fn open_for(
    (ui, settings): (&mut Ui, &Settings),
    workspace: &Workspace,
    service: &ServiceProfile,
    args: &LeaseArgs,
    scope: &StateScope<'_>,
) -> Result<(OpenState, PlanOptions), Failure> {
    let mut open = match &service.state {
        Some(url) if !scope.is_whole => {
            let shared = SharedState::find(url, Some(&service.name)).await?;
            let state = shared.read().await?.into_state();
            let options = (scope.options)(&state)?;
            check_whole_shards(options.selection.partition)?;
            let mut shards = selected_shards(workspace, &state, &options.selection);
            shards.extend(&scope.more);
            lock((ui, settings), &shared, service, args, shards).await?
        }
        _ => open((ui, settings), service, args).await?,
    };
    carry_over(workspace, &mut open.store)?;
    let options = (scope.options)(open.store.state())?;
    Ok((open, options))
}

/// Records what earlier versions of imgplan recorded in another form. A run of a part of the targets leaves
/// that to one of all.
pub(super) fn carry_over(workspace: &Workspace, store: &mut Store) -> Result<(), StateError> {
    let records = plan::carry_over(workspace, store.state());
    if records.iter().all(|record| store.may(record)) {
        return store.record(&records);
    }
    store.assume(&records);
    Ok(())
}

/// Takes the leases of shards, and of those that an earlier run on this machine changed and did not
/// write.
async fn lock(
    (ui, settings): (&mut Ui, &Settings),
    shared: &SharedState,
    service: &ServiceProfile,
    args: &LeaseArgs,
    mut shards: BTreeSet<ShardId>,
) -> Result<OpenState, Failure> {
    let open = || LockedJournal::open(service.paths.clone(), &service.name);
    let journal = waiting_for_lock(ui, args.timeout(), open).await?;
    settings.background.catch_signals();
    let (lease, timeout) = (args.lease, args.timeout());
    let request =
        LockRequest { holder: holder(), lease, timeout, tasks: settings.background.tasks() };
    let limit = exact_duration(request.timeout);
    let mut waits = |shard: ShardId, lease: &Lease| {
        let (holder, until) = (&lease.holder, time(lease.until));
        let message =
            format!("Waiting up to {limit} for shard {shard}, held until {until} by {holder}");
        // A closed stream ends the run later.
        let _ = ui.message(message);
    };
    shards.extend(journal.units().iter().map(ShardId::of));
    let (lease, writer, state) = shared.lock(&shards, &request, &mut waits).await?;
    let store = journal.into_store(state, Box::new(writer));
    Ok(OpenState { store, lease: Some(lease) })
}

/// Fails if a partition cannot be used with a shared state.
///
/// # Errors
///
/// Fails for `slice`, whose parts do not have whole shards.
pub(super) fn check_whole_shards(partition: Option<Partition>) -> Result<(), Failure> {
    let Some(Partition::Slice(share)) = partition else { return Ok(()) };
    let message = format!(
        "--partition slice:{share} cannot be used with a shared state: its parts have targets in the \
         same shards, so that their runs would wait for each other"
    );
    let help = format!("use `hash:{share}`, whose parts have whole shards");
    Err(Failure::usage(message, help))
}

/// Returns the shards of the selected targets, and of those that the manifest no longer has; without a
/// partition also of the bases that they may need.
fn selected_shards(
    workspace: &Workspace,
    state: &State,
    selection: &Selection,
) -> BTreeSet<ShardId> {
    let (mut todo, orphans) = plan::selected_units(workspace, state, selection);
    let mut seen: BTreeSet<UnitId> = BTreeSet::new();
    while let Some(unit) = todo.pop() {
        if seen.insert(unit) && selection.partition.is_none() {
            todo.extend(workspace.unit(unit).needs.iter().copied());
        }
    }
    // A tag with a fingerprint is not known before the survey.
    let units = seen.into_iter().map(|unit| workspace.unit(unit));
    let known =
        units.filter(|unit| unit.content_tag.is_none() || state.entries.contains_key(&unit.key));
    let mut shards: BTreeSet<ShardId> = known.map(|unit| ShardId::of(&unit.key)).collect();
    shards.extend(orphans.iter().map(ShardId::of));
    shards
}

impl LeaseArgs {
    /// Returns the maximum wait for other runs.
    pub(super) fn timeout(&self) -> Duration {
        let is_ci = env("CI").is_some_and(|value| !value.is_empty() && value != "false");
        let default = if is_ci { CI_LOCK_TIMEOUT } else { Duration::ZERO };
        self.lock_timeout.unwrap_or(default)
    }
}

/// Describes this run for others.
fn holder() -> Holder {
    let host = format!("PID {}{}", std::process::id(), on_host());
    Holder { run: random_id(), host, url: job_url().unwrap_or_default(), since: Timestamp::now() }
}

/// Returns the page of the CI job that runs this.
fn job_url() -> Option<String> {
    let set = |name| env(name).filter(|value| !value.is_empty());
    let github = || {
        let [server, repository, run] =
            ["GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"].map(set);
        Some(format!("{}/{}/actions/runs/{}", server?, repository?, run?))
    };
    let url = github().or_else(|| JOB_URL_VARIABLES.into_iter().find_map(set));
    url.map(|url| crate::base::safe_text::one_line(&url, 300))
}
