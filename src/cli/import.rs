//! `imgplan import`: takes an image that exists into the lockfile, as what the manifest says it is.

use jiff::Timestamp;

use super::args::ImportArgs;
use super::env::env;
use super::failure::{Exit, Failure};
use super::service::Target;
use super::session::check_settled;
use super::settings::Settings;
use super::ui::Ui;
use crate::api::{Client, RemoteImage, RemoteImageState, list_images};
use crate::base::name::{BuildId, ImageRef, Owner, Visibility};
use crate::context::StatCache;
use crate::manifest::Workspace;
use crate::manifest::workspace::{Unit, UnitId};
use crate::plan::{self, Decision, PlanOptions};
use crate::state::{Built, Record, State, Store};
use crate::survey::{self, Caches, Query};

pub(super) async fn run(
    ui: &mut Ui,
    settings: &Settings,
    args: ImportArgs,
) -> Result<Exit, Failure> {
    let workspace = Workspace::load(&settings.manifest, &env)?;
    ui.warnings(&workspace.warnings, &workspace.sources)?;
    let target = Target::find(&settings.root(), &workspace, &args.service)?;
    let mut store = Store::open(target.paths.clone(), &target.name)?;
    check_settled(store.state(), true, &target.paths.lockfile)?;
    let caches = Caches { stat: StatCache::read(&settings.work_dir()), history: target.history() };
    let facts = survey::facts(Query::offline(&workspace, store.state(), caches)).await?;
    let state = store.state();
    let options = PlanOptions::default();
    let Decision { workspace, .. } = plan::decide(workspace, &facts, state, &options);
    let id = named(&workspace, &args.image)?;
    let unit = workspace.unit(id);
    if let Some(entry) = state.entries.get(&unit.key)
        && !entry.is_empty()
    {
        let help = "`imgplan show` says what; `imgplan plan` what would be done";
        return Err(Failure::with_help(format!("the lockfile has {} already", unit.key), help));
    }
    let remote = args.remote.as_ref().unwrap_or(&unit.key);
    check_free(remote, unit, &workspace, state)?;
    let identities = plan::identities(&workspace, &facts, state, &options);
    let Some((inputs, fingerprint)) = identities.into_iter().nth(id.0) else {
        return Err(Failure::new(format!("{} was not identified", unit.key)));
    };
    let owner = unit.owner.clone().unwrap_or_else(|| target.owner.clone());
    let service = target.connect().await?;
    let image = find(&service.client, &owner, remote).await?;
    service.close().await?;
    let built = Built {
        fingerprint,
        inputs,
        build: build_id(&image)?,
        path: image.path.clone().unwrap_or_default(),
        owner,
        visibility: image.visibility.unwrap_or(Visibility::Private),
        completed: Some(image.changed.unwrap_or_else(Timestamp::now)),
    };
    let kind = unit.kind();
    let (platform, key) = (unit.platform, remote.clone());
    store.record(&[Record::Known { unit: key, kind, platform, built: Some(built) }])?;
    store.commit()?;
    if !ui.is_json() {
        ui.data(format_args!("Imported {remote}: it is taken for what the manifest says now."))?;
    }
    if *remote != unit.key {
        ui.message(format_args!(
            "It has another name: add `moved: [{{from: \"{remote}\", to: \"{}\"}}]` to rename it.",
            unit.key
        ))?;
    }
    Ok(Exit::Success)
}

/// Fails where what the image is called is the name of another: its entry would be lost.
fn check_free(
    remote: &ImageRef,
    unit: &Unit,
    workspace: &Workspace,
    state: &State,
) -> Result<(), Failure> {
    if *remote == unit.key {
        return Ok(());
    }
    if workspace.units.iter().any(|other| other.key == *remote) {
        let help = format!("`imgplan import {remote}` takes it in as that");
        let message = format!("{remote} is an image of the manifest itself, and not {}", unit.key);
        return Err(Failure::with_help(message, help));
    }
    let entry = state.entries.get(remote).filter(|entry| !entry.is_empty());
    let Some(entry) = entry else { return Ok(()) };
    let owner = entry.built.as_ref().map(|built| format!(" of {}", built.owner));
    let message = format!(
        "the lockfile has {remote} already: a {}{} that it made, and not {}",
        entry.kind.as_str(),
        owner.unwrap_or_default(),
        unit.key
    );
    let help = format!(
        "to go on from it, add `moved: [{{from: \"{remote}\", to: \"{}\"}}]` to the manifest",
        unit.key
    );
    Err(Failure::with_help(message, help))
}

/// The one unit that is called so.
fn named(workspace: &Workspace, image: &str) -> Result<UnitId, Failure> {
    let units = workspace.units.iter().enumerate();
    let found: Vec<(usize, &Unit)> = units
        .filter(|(_, unit)| unit.key.to_string() == image || unit.image.as_str() == image)
        .collect();
    match found[..] {
        [(index, _)] => Ok(UnitId(index)),
        [] => {
            let help = "add it to the manifest first: that says what the image is";
            Err(Failure::with_help(format!("the manifest has no image `{image}`"), help))
        }
        _ => {
            let keys: Vec<String> = found.iter().map(|(_, unit)| unit.key.to_string()).collect();
            let message = format!("`{image}` could be any of {}", keys.join(", "));
            Err(Failure::with_help(message, "say which, with its tag"))
        }
    }
}

/// The image in the service, if it can be pulled.
async fn find(client: &Client, owner: &Owner, remote: &ImageRef) -> Result<RemoteImage, Failure> {
    let inventory = list_images(client, owner, Some(remote.name.as_str())).await?;
    match inventory.by_key(owner, [remote]).remove(remote) {
        Some(image) if image.state == RemoteImageState::Available => Ok(image),
        Some(_) => {
            let help = "wait until it is complete, or let `imgplan apply` make it";
            Err(Failure::with_help(format!("{remote} is not complete in the service"), help))
        }
        None => {
            let message = format!("the service has no image {remote} of {owner}");
            Err(Failure::with_help(message, "see its name, its tag and who owns it"))
        }
    }
}

/// The service lists no build of an image: the ID of its row stands for it.
fn build_id(image: &RemoteImage) -> Result<BuildId, Failure> {
    let id = image.id.as_deref().and_then(BuildId::new);
    id.ok_or_else(|| Failure::new("the service gives the image no ID, so that it cannot be kept"))
}
