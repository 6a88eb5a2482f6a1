//! `imgplan import`: records an existing image in the lockfile as up to date.

use jiff::Timestamp;

use super::args::ImportArgs;
use super::failure::{Exit, Failure};
use super::lockfile::check_resolved;
use super::session::{PendingCache, Session};
use super::settings::Settings;
use super::ui::Ui;
use crate::api::{Client, ErrorKind, RemoteImage, RemoteImageState, list_images};
use crate::base::name::{BuildId, ImageRef, Owner, Visibility};
use crate::base::text::list;
use crate::manifest::Workspace;
use crate::manifest::workspace::{Unit, UnitId};
use crate::plan::{self, Identity, PlanOptions};
use crate::server::EngineConfig;
use crate::state::{Built, Record, State};
use crate::survey::{self, Query};

/// Maximum number of targets named if a name is ambiguous.
const MAX_NAMES_SHOWN: usize = 10;

pub(super) async fn run(
    ui: &mut Ui,
    settings: &Settings,
    args: ImportArgs,
) -> Result<Exit, Failure> {
    let cache = PendingCache::start(settings);
    let session = Session::write(ui, settings, (&args.service, &args.lease)).await?;
    session.print_warnings(ui)?;
    let Session { workspace, service, state: mut open } = session;
    check_resolved(open.store.state(), true, &service.paths.lockfile)?;
    let facts =
        survey::facts(Query::offline(&workspace, open.store.state(), cache.load(&service).await))
            .await?;
    let (state, options) = (open.store.state(), PlanOptions::default());
    let identities = plan::identify(&workspace, &facts, state, &options);
    let workspace = plan::resolve_tags(workspace, &identities);
    let id = find_unit(&workspace, &args.image)?;
    let unit = workspace.unit(id);
    if state.entries.get(&unit.key).is_some_and(|entry| !entry.is_empty()) {
        let message = format!("{} is already in the lockfile", unit.key);
        return Err(Failure::with_help(message, "see `imgplan show` and `imgplan plan`"));
    }
    let remote = args.remote.unwrap_or_else(|| unit.key.clone());
    check_remote(&remote, unit, &workspace, state)?;
    let Some(Identity { inputs, fingerprint, .. }) = identities.into_iter().nth(id.0) else {
        return Err(Failure::new(format!("{} has no fingerprint", unit.key)));
    };
    if let Some(warning) = service.warning() {
        ui.message(warning)?;
    }
    let connection = service.connect(ui, EngineConfig::default()).await?;
    let owners = possible_owners(unit, &service.owner.owner);
    let (owner, image) = find_image(&connection.client, &owners, &remote).await?;
    connection.close().await?;
    let built = Built {
        fingerprint,
        inputs: inputs.into_owned(),
        build: build_id(&image)?,
        path: image.path.clone().unwrap_or_default(),
        owner,
        visibility: image.visibility.unwrap_or(Visibility::Private),
        image: None,
        completed: Some(image.changed.unwrap_or_else(Timestamp::now)),
        seconds: None,
    };
    let (kind, platform) = (unit.kind(), unit.platform);
    let record = Record::Known { unit: remote.clone(), kind, platform, built: Some(built) };
    open.store.record(&[record])?;
    open.close().await?;
    if !ui.is_json() {
        ui.data(format_args!("Imported {remote}; it is recorded as up to date."))?;
    }
    if remote != unit.key {
        let moved = moved_entry(&remote, unit);
        ui.message(format_args!("To rename it to {}, add `{moved}` to the manifest.", unit.key))?;
    }
    Ok(Exit::Success)
}

fn moved_entry(remote: &ImageRef, unit: &Unit) -> String {
    format!("moved: [{{from: \"{remote}\", to: \"{}\"}}]", unit.key)
}

/// Fails if the name in the service belongs to another target, whose entry would be lost.
fn check_remote(
    remote: &ImageRef,
    unit: &Unit,
    workspace: &Workspace,
    state: &State,
) -> Result<(), Failure> {
    if *remote == unit.key {
        return Ok(());
    }
    if workspace.units.iter().any(|other| other.key == *remote) {
        let message = format!("{remote} is an image of the manifest, other than {}", unit.key);
        return Err(Failure::with_help(message, format!("run `imgplan import {remote}`")));
    }
    let entry = state.entries.get(remote).filter(|entry| !entry.is_empty());
    let Some(entry) = entry else { return Ok(()) };
    let owner = entry.built.as_ref().map(|built| format!(" of {}", built.owner));
    let message = format!(
        "{remote} is already in the lockfile, as a {}{}",
        entry.kind.as_str(),
        owner.unwrap_or_default(),
    );
    let moved = moved_entry(remote, unit);
    let help = format!("to rename it to {}, add `{moved}` to the manifest", unit.key);
    Err(Failure::with_help(message, help))
}

/// Returns the only target called `name` or `name:tag`.
fn find_unit(workspace: &Workspace, image: &str) -> Result<UnitId, Failure> {
    let units = workspace.units.iter().enumerate();
    let matches: Vec<(usize, &Unit)> = units.filter(|(_, unit)| unit.is_named(image)).collect();
    match matches[..] {
        [(index, _)] => Ok(UnitId(index)),
        [] => {
            let message = format!("the manifest has no image `{image}`");
            Err(Failure::with_help(message, "add it to the manifest first"))
        }
        _ => {
            let keys = list(matches.iter().map(|(_, unit)| &unit.key), MAX_NAMES_SHOWN);
            let message = format!("`{image}` has several targets: {keys}");
            Err(Failure::with_help(message, "add the tag"))
        }
    }
}

/// Returns the owners that the image of a unit may have. The service gives mirrors of Docker Hub to
/// the platform, and earlier versions of it did not.
fn possible_owners(unit: &Unit, default: &Owner) -> Vec<Owner> {
    let own = unit.owner.as_ref().unwrap_or(default).clone();
    if unit.mirrors_docker_hub() { vec![Owner::Platform, own] } else { vec![own] }
}

/// Returns the first image of these owners, if it is complete.
async fn find_image(
    client: &Client,
    owners: &[Owner],
    remote: &ImageRef,
) -> Result<(Owner, RemoteImage), Failure> {
    let mut refused = None;
    for owner in owners {
        let inventory = match list_images(client, owner, Some(remote.name.as_str())).await {
            Err(error) if *owner == Owner::Platform && error.kind == ErrorKind::Forbidden => {
                refused = Some(error);
                continue;
            }
            inventory => inventory?,
        };
        match inventory.by_key(owner, [remote]).remove(remote) {
            Some(image) if image.state == RemoteImageState::Available => {
                return Ok((owner.clone(), image));
            }
            Some(_) => {
                let message = format!("{remote} is not complete in the service");
                let help = "wait until its build has completed, or build it with `imgplan apply`";
                return Err(Failure::with_help(message, help));
            }
            None => {}
        }
    }
    if let Some(error) = refused {
        let message = format!("the API key may not list the platform's images: {error}");
        let help = "`imgplan apply` mirrors it again; the image is the same for everybody";
        return Err(Failure::with_help(message, help));
    }
    let owners: Vec<String> = owners.iter().map(Owner::words).collect();
    let message = format!("the service has no image {remote} of {}", owners.join(" or "));
    Err(Failure::with_help(message, "check its name, its tag and its owner"))
}

/// Returns the ID of the image's row, because the service does not list the build of an image.
fn build_id(image: &RemoteImage) -> Result<BuildId, Failure> {
    let id = image.id.as_deref().and_then(BuildId::new);
    id.ok_or_else(|| Failure::new("the service lists the image without an ID"))
}
