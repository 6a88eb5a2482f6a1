//! `imgplan state`: the recorded state as such, in the lockfile or in a shared state.

use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::args::{LeaseArgs, ServiceArgs, StateArgs, StateCommand};
use super::env::env;
use super::failure::{Exit, Failure};
use super::lockfile::check_resolved;
use super::service::ServiceProfile;
use super::settings::Settings;
use super::state_place;
use super::ui::Ui;
use crate::base::file;
use crate::base::input::{self, InputKind};
use crate::base::name::ImageRef;
use crate::base::text::{exact_duration, list, plural};
use crate::manifest::Workspace;
use crate::shared::{Lease, ShardId, SharedState, Unlock, time};
use crate::state::encode::encode;
use crate::state::{State, StatePaths, StateSnapshot, Store};

/// Maximum number of targets named in an error.
const MAX_NAMES_SHOWN: usize = 5;

pub(super) async fn run(
    ui: &mut Ui,
    settings: &Settings,
    mut command: StateCommand,
) -> Result<Exit, Failure> {
    let args = std::mem::take(&mut command.flags().state);
    let place = ManifestState::find(settings, args)?;
    match command {
        StateCommand::Init(_) => place.init(ui).await,
        StateCommand::Pull { output, .. } => place.pull(ui, output.as_deref()).await,
        StateCommand::Push { lockfile, force, lease, .. } => {
            place.push((ui, settings), &lease, &lockfile, force).await
        }
        StateCommand::Show(_) => place.show(ui).await,
        StateCommand::Mv { from, to, lease, .. } => {
            place.rename((ui, settings), &lease, &from, to).await
        }
        StateCommand::Rm { targets, lease, .. } => {
            place.remove((ui, settings), &lease, &targets).await
        }
        StateCommand::Locks(_) => place.locks(ui).await,
        StateCommand::Unlock { shard, force, .. } => place.unlock(ui, shard, force).await,
        StateCommand::Migrate { to_lockfile: true, lease, .. } => {
            place.migrate_back((ui, settings), &lease).await
        }
        StateCommand::Migrate { to_lockfile: false, lease, .. } => {
            place.migrate((ui, settings), &lease).await
        }
        StateCommand::History(_) => place.history(ui).await,
    }
}

/// The state of a manifest.
struct ManifestState {
    service: ServiceProfile,
    /// The lockfile beside the manifest, whether it is used or not.
    lockfile: StatePaths,
}

impl ManifestState {
    fn find(settings: &Settings, state: StateArgs) -> Result<Self, Failure> {
        let workspace = Workspace::load(&settings.manifest, &env)?;
        let root = settings.root();
        let args = ServiceArgs { local: false, limits: Vec::new(), budget_share: None, state };
        let service = ServiceProfile::resolve(&root, &workspace.settings, &args)?;
        Ok(Self { service, lockfile: StatePaths::beside(&root) })
    }

    /// Returns the shared state.
    async fn shared(&self) -> Result<SharedState, Failure> {
        Ok(SharedState::find(self.url()?, Some(&self.service.name)).await?)
    }

    fn url(&self) -> Result<&crate::base::state_url::StateUrl, Failure> {
        self.service.state.as_ref().ok_or_else(|| {
            let help = "set `settings.state` in the manifest, or use --state s3://BUCKET/PATH";
            Failure::usage("there is no shared state: the state is in the lockfile", help)
        })
    }

    async fn init(&self, ui: &mut Ui) -> Result<Exit, Failure> {
        let url = self.url()?;
        SharedState::init(url, &self.service.name).await?;
        if ui.is_json() {
            ui.json_data(&json!({ "url": url.to_string(), "service": self.service.name }))?;
            return Ok(Exit::Success);
        }
        ui.data(format_args!("Created the state {url} for {}.", self.service.name))?;
        ui.message("The store enforces conditional writes, as a test with 16 writers showed.")?;
        if self.lockfile.lockfile.exists() {
            ui.message("`imgplan state migrate` copies the lockfile to it.")?;
        }
        Ok(Exit::Success)
    }

    /// Reads the state without locking it.
    async fn read(&self) -> Result<State, Failure> {
        if self.service.state.is_none() {
            let snapshot = StateSnapshot::read(&self.lockfile)?;
            return Ok(snapshot.for_service(&self.service.name)?.state);
        }
        Ok(self.shared().await?.read().await?.into_state())
    }

    /// Opens the lockfile for writing.
    fn open_lockfile(&self) -> Result<Store, Failure> {
        Ok(Store::open(self.lockfile.clone(), &self.service.name)?)
    }

    async fn pull(&self, ui: &mut Ui, output: Option<&Path>) -> Result<Exit, Failure> {
        let text = encode(&self.service.name, &self.read().await?);
        match output {
            Some(path) => file::replace(path, text.as_bytes())?,
            None => ui.document(&text)?,
        }
        Ok(Exit::Success)
    }

    async fn push(
        &self,
        (ui, settings): (&mut Ui, &Settings),
        lease: &LeaseArgs,
        path: &Path,
        force: bool,
    ) -> Result<Exit, Failure> {
        let text = input::read_text_argument(path, InputKind::Lockfile)
            .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
        let new = StateSnapshot::of_text(path, &text)?.for_service(&self.service.name)?.state;
        check_resolved(&new, true, path)?;
        let mut open = state_place::open((ui, settings), &self.service, lease).await?;
        let missing = missing(open.store.state(), &new);
        if !force && !missing.is_empty() {
            let count = plural(missing.len(), "target");
            let names = list(missing.iter().map(ToString::to_string), MAX_NAMES_SHOWN);
            let message =
                format!("{} lacks builds of {count} of the state: {names}", path.display());
            let help = "pull the state again and change that; --force replaces it all the same";
            return Err(Failure::with_help(message, help));
        }
        let count = plural(new.entries.len(), "target");
        open.store.replace(new);
        open.close().await?;
        ui.message(format_args!("Replaced the state: it has {count} now."))?;
        Ok(Exit::Success)
    }

    async fn show(&self, ui: &mut Ui) -> Result<Exit, Failure> {
        let Some(url) = &self.service.state else {
            let state = self.read().await?;
            return show(ui, &self.lockfile.lockfile.display().to_string(), &state, None);
        };
        let shards = self.shared().await?.read().await?;
        let (bytes, leases) = (shards.bytes(), shards.leases().count());
        show(ui, &url.to_string(), &shards.into_state(), Some((bytes, leases)))
    }

    async fn rename(
        &self,
        (ui, settings): (&mut Ui, &Settings),
        lease: &LeaseArgs,
        from: &ImageRef,
        to: ImageRef,
    ) -> Result<Exit, Failure> {
        let mut open = state_place::open((ui, settings), &self.service, lease).await?;
        let mut state = open.store.state().clone();
        let entry = state.entries.remove(from);
        let problem = match &entry {
            None => Some(format!("the state has no {from}")),
            Some(_) if state.entries.contains_key(&to) => {
                Some(format!("the state has {to} already"))
            }
            Some(entry) if entry.pending.is_some() || entry.submitted.is_some() => {
                Some(format!("{from} has a build in progress"))
            }
            Some(_) => None,
        };
        if let Some(problem) = problem {
            return Err(Failure::with_help(problem, "`imgplan show` lists the targets"));
        }
        state.entries.extend(entry.map(|entry| (to.clone(), entry)));
        open.store.replace(state);
        open.close().await?;
        ui.message(format_args!("{from} is {to} in the state now; the service was not changed."))?;
        Ok(Exit::Success)
    }

    async fn remove(
        &self,
        (ui, settings): (&mut Ui, &Settings),
        lease: &LeaseArgs,
        targets: &[ImageRef],
    ) -> Result<Exit, Failure> {
        let mut open = state_place::open((ui, settings), &self.service, lease).await?;
        let mut state = open.store.state().clone();
        let unknown: Vec<String> = targets
            .iter()
            .filter(|target| state.entries.remove(target).is_none())
            .map(ToString::to_string)
            .collect();
        if !unknown.is_empty() {
            let message = format!("the state has no {}", list(unknown, MAX_NAMES_SHOWN));
            return Err(Failure::with_help(message, "`imgplan show` lists the targets"));
        }
        open.store.replace(state);
        open.close().await?;
        let count = plural(targets.len(), "target");
        ui.message(format_args!(
            "Dropped {count} from the state; the images stay in the service."
        ))?;
        Ok(Exit::Success)
    }

    async fn locks(&self, ui: &mut Ui) -> Result<Exit, Failure> {
        let shards = self.shared().await?.read().await?;
        let now = Timestamp::now();
        let mut count = 0;
        for (shard, lease) in shards.leases() {
            count += 1;
            if ui.is_json() {
                ui.json_data(&lease_json(shard, lease))?;
            } else {
                ui.data(format_args!("{shard:>4}  {}  {}", lease.holder, ends(lease, now)))?;
            }
        }
        if count == 0 {
            ui.message("No run holds a shard of the state.")?;
        }
        Ok(Exit::Success)
    }

    async fn unlock(&self, ui: &mut Ui, shard: ShardId, force: bool) -> Result<Exit, Failure> {
        match self.shared().await?.unlock(shard, force).await? {
            Unlock::Free => ui.message(format_args!("Shard {shard} is free."))?,
            Unlock::Taken(lease) => {
                ui.message(format_args!("Took shard {shard} away from {}.", lease.holder))?;
            }
            Unlock::Held(lease) => {
                let message = format!("shard {shard} is held by {}", lease.holder);
                let help = format!(
                    "its lease ends {}, unless the run renews it; if you are sure that the run is \
                     dead, use --force",
                    time(lease.until)
                );
                return Err(Failure::with_help(message, help));
            }
        }
        Ok(Exit::Success)
    }

    /// Copies the lockfile to the shared state.
    async fn migrate(
        &self,
        (ui, settings): (&mut Ui, &Settings),
        lease: &LeaseArgs,
    ) -> Result<Exit, Failure> {
        let url = self.url()?;
        let lockfile = self.open_lockfile()?;
        let path = &self.lockfile.lockfile;
        check_resolved(lockfile.state(), true, path)?;
        let mut open = state_place::open((ui, settings), &self.service, lease).await?;
        check_empty(open.store.state(), &url.to_string())?;
        let count = plural(lockfile.state().entries.len(), "target");
        open.store.replace(lockfile.state().clone());
        open.close().await?;
        let path = path.display();
        ui.message(format_args!("Copied {count} from {path} to {url}."))?;
        ui.message(format_args!("Remove {path} from git: with the shared state, it is not used."))?;
        Ok(Exit::Success)
    }

    /// Copies the shared state to the lockfile, while no run can change it.
    async fn migrate_back(
        &self,
        (ui, settings): (&mut Ui, &Settings),
        lease: &LeaseArgs,
    ) -> Result<Exit, Failure> {
        let url = self.url()?;
        let mut lockfile = self.open_lockfile()?;
        let path = self.lockfile.lockfile.display();
        check_empty(lockfile.state(), &path.to_string())?;
        let mut open = state_place::open((ui, settings), &self.service, lease).await?;
        let count = plural(open.store.state().entries.len(), "target");
        lockfile.replace(open.store.state().clone());
        lockfile.finish()?;
        open.close().await?;
        ui.message(format_args!("Copied {count} from {url} to {path}."))?;
        ui.message("Remove `settings.state` from the manifest, and IMGPLAN_STATE from CI.")?;
        Ok(Exit::Success)
    }

    async fn history(&self, ui: &mut Ui) -> Result<Exit, Failure> {
        let runs = self.shared().await?.history().await?;
        for run in &runs {
            if ui.is_json() {
                ui.json_data(&json!({ "run": run.holder, "shards": run.shards }))?;
            } else {
                let shards = plural(run.shards.len(), "shard");
                ui.data(format_args!("{}  {}  {shards}", time(run.holder.since), run.holder))?;
            }
        }
        if runs.is_empty() {
            ui.message("No run has changed the state.")?;
        }
        Ok(Exit::Success)
    }
}

/// Fails unless a state, the destination of a migration, is empty.
fn check_empty(state: &State, place: &str) -> Result<(), Failure> {
    if *state == State::default() {
        return Ok(());
    }
    let message = format!("{place} has {} already", plural(state.entries.len(), "target"));
    let help = "a migration needs an empty state; `imgplan state push` replaces one";
    Err(Failure::with_help(message, help))
}

/// Returns the targets of `old` that `new` lacks, or of which it lacks a build.
fn missing(old: &State, new: &State) -> Vec<ImageRef> {
    let lacks = |(unit, entry): &(&ImageRef, &crate::state::Entry)| {
        new.entries.get(unit).is_none_or(|new| {
            let has = |build| new.builds().any(|known| known == build);
            !entry.builds().all(has) || (entry.submitted.is_some() && new.submitted.is_none())
        })
    };
    old.entries.iter().filter(lacks).map(|(unit, _)| unit.clone()).collect()
}

fn show(
    ui: &mut Ui,
    place: &str,
    state: &State,
    shared: Option<(usize, usize)>,
) -> Result<Exit, Failure> {
    let pending = state.entries.values().filter(|entry| entry.pending.is_some()).count();
    let (targets, pins) = (state.entries.len(), state.pins.len());
    let (bytes, held) = shared.unzip();
    if ui.is_json() {
        ui.json_data(&json!({
            "place": place, "targets": targets, "in_progress": pending, "pins": pins, "bytes": bytes,
            "held_shards": held,
        }))?;
        return Ok(Exit::Success);
    }
    ui.data(format_args!("State: {place}"))?;
    ui.data(format_args!("Targets: {targets}, of which {pending} in progress; pins: {pins}"))?;
    if let Some((bytes, held)) = shared {
        let held = plural(held, "shard");
        ui.data(format_args!("Size: {bytes} bytes in the store; {held} held by runs"))?;
    }
    Ok(Exit::Success)
}

fn lease_json(shard: ShardId, lease: &Lease) -> serde_json::Value {
    json!({ "shard": shard.to_string(), "holder": lease.holder, "until": lease.until.to_string() })
}

/// Says when a lease ends, or ended.
fn ends(lease: &Lease, now: Timestamp) -> String {
    let seconds = |from: Timestamp, to: Timestamp| {
        let seconds = to.duration_since(from).as_secs().unsigned_abs();
        exact_duration(std::time::Duration::from_secs(seconds))
    };
    if lease.until > now {
        format!("ends in {} unless renewed", seconds(now, lease.until))
    } else {
        format!("ended {} ago", seconds(lease.until, now))
    }
}
