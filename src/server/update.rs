//! `PATCH /images`: renames, moves and visibility of images.

use std::panic::resume_unwind;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::app::App;
use super::body::{object, reply, typed};
use super::durable;
use super::error::Refusal;
use super::location::{Location, from_wire, resolve_reference, to_wire};
use super::model::{StoredBuild, StoredImage, StoredVisibility};
use super::state::{ServerState, StateChange};
use super::transfer::quota_text;
use super::unpublish;
use crate::api::wire::{
    ImageSnapshot, ImageUpdate, UpdateError, UpdateImagesRequest, UpdateImagesResponse,
    UpdateResult, UpdateSet, UpdateSource,
};
use crate::base::name::{ImageName, NameError, Owner};
use crate::base::reference::OciDigest;

/// Maximum number of updates in one request.
const MAX_UPDATES: usize = 100;

/// The effect of an update on an image.
struct PlannedUpdate {
    before: StoredImage,
    after: StoredImage,
    changes: Vec<StateChange>,
}

impl PlannedUpdate {
    /// Returns the digest of an image that moves to another location, if the registry has it.
    fn moved_digest(&self) -> Option<OciDigest> {
        let moves = self.before.location != self.after.location;
        self.before.content.digest.filter(|_| moves)
    }
}

/// `PATCH /images`. Each update is made or refused by itself, in order, so that an image may move to a
/// location that an earlier update has left. A dry run does the same on a copy of the state.
pub(super) async fn update(app: &Arc<App>, payload: &[u8]) -> Result<Response, Refusal> {
    let map = object(payload)?;
    check_shape(map.get("updates"))?;
    let request: UpdateImagesRequest = typed(map, &[("dryRun", "dry_run")])?;
    if request.mode != "explicit" {
        return Err(Refusal::invalid("mode", "must be `explicit`"));
    }
    let mut copy = request.dry_run.then(|| app.store().state().clone());
    let mut results = Vec::new();
    for update in request.updates {
        let source = update.source.clone();
        let update = without_registry(app, update);
        let planned = if let Some(copy) = &mut copy {
            plan(app, copy, &update).inspect(|planned| {
                planned.changes.iter().cloned().for_each(|change| copy.apply(change));
            })
        } else {
            make_in_task(app, update).await?
        };
        let result = match planned {
            Ok(PlannedUpdate { before, after, .. }) => {
                let (before, after) = (Some(shown(&before)), Some(shown(&after)));
                UpdateResult { source: Some(source), success: true, before, after, error: None }
            }
            Err(error) => UpdateResult {
                source: Some(source),
                success: false,
                before: None,
                after: None,
                error: Some(error),
            },
        };
        results.push(result);
    }
    let success = results.iter().all(|result| result.success);
    let answer = UpdateImagesResponse { success, dry_run: request.dry_run, results };
    reply(StatusCode::OK, &answer)
}

/// Makes an update in a task of its own, which does not end with the request: half of a move must not wait
/// for the next start.
async fn make_in_task(
    app: &Arc<App>,
    update: ImageUpdate,
) -> Result<Result<PlannedUpdate, UpdateError>, Refusal> {
    let task = app.tasks.spawn({
        let app = Arc::clone(app);
        async move {
            let made = app.stopping.run_until_cancelled(make(&app, &update)).await;
            let stops = "the server stops; send the update again";
            made.ok_or_else(|| Refusal::detail(StatusCode::SERVICE_UNAVAILABLE, stops))?
        }
    });
    task.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

/// Makes an update.
///
/// If the image moves in the registry, its new tag is written first, then the state changes, then the old
/// tag is removed. A note in the state says from the start that the new tag is to be removed, and the
/// commit of the move replaces it by one for the old tag. So after a crash at any point the next
/// start removes the tag that no image has (`unpublish`).
async fn make(
    app: &Arc<App>,
    update: &ImageUpdate,
) -> Result<Result<PlannedUpdate, UpdateError>, Refusal> {
    let planned = plan(app, app.store().state(), update);
    let moves = planned.as_ref().is_ok_and(|planned| planned.moved_digest().is_some());
    let (Some(registry), Ok(PlannedUpdate { after, .. }), true) = (&app.registry, &planned, moves)
    else {
        return commit(app, update, None);
    };
    let _lock = registry.lock_tag(&after.location).await;
    let (from, digest, to) = {
        let mut store = app.store();
        let planned = match plan(app, store.state(), update) {
            Ok(planned) => planned,
            Err(error) => return Ok(Err(error)),
        };
        let to = planned.after.location.clone();
        let Some(digest) = planned.moved_digest().filter(|_| to == after.location) else {
            return Ok(Err(changed()));
        };
        store.commit(vec![StateChange::Unpublish(to.clone())])?;
        (planned.before.location, digest, to)
    };
    durable::wait(app).await?;
    let result = match registry.retag(&from, digest, &to).await {
        Ok(()) => commit(app, update, Some((digest, &to))),
        Err(message) => Ok(Err(UpdateError { code: "registry_error".to_owned(), message })),
    };
    durable::wait(app).await?;
    let obsolete = if matches!(result, Ok(Ok(_))) { from } else { to };
    unpublish::spawn(app, obsolete);
    result
}

/// Plans an update and commits it. `moved` are the digest and the new location of an image that was moved
/// in the registry.
fn commit(
    app: &App,
    update: &ImageUpdate,
    moved: Option<(OciDigest, &Location)>,
) -> Result<Result<PlannedUpdate, UpdateError>, Refusal> {
    let mut store = app.store();
    let planned = match plan(app, store.state(), update) {
        Ok(planned) => planned,
        Err(error) => return Ok(Err(error)),
    };
    let expected = if app.registry.is_some() { planned.moved_digest() } else { None };
    if expected != moved.map(|(digest, _)| digest) {
        return Ok(Err(changed()));
    }
    let mut changes = planned.changes.clone();
    if let Some((_, to)) = moved {
        changes.push(StateChange::Unpublished(to.clone()));
        changes.push(StateChange::Unpublish(planned.before.location.clone()));
    }
    store.commit(changes)?;
    Ok(Ok(planned))
}

/// Returns the error for an image that changed while it was moved.
fn changed() -> UpdateError {
    let message = "The image has changed meanwhile. Repeat the update.".to_owned();
    UpdateError { code: "conflict".to_owned(), message }
}

/// Returns an update whose source is without the host of this server's registry.
fn without_registry(app: &App, update: ImageUpdate) -> ImageUpdate {
    let reference = update.source.reference.as_deref();
    let reference = reference.map(|reference| app.form.stripped(reference).to_owned());
    ImageUpdate { source: UpdateSource { reference, ..update.source }, ..update }
}

/// Checks the errors for which a request is refused as a whole.
fn check_shape(updates: Option<&Value>) -> Result<(), Refusal> {
    let invalid = |details: &str| Err(Refusal::invalid("updates", details));
    let Some(Value::Array(updates)) = updates else {
        return invalid("must be a list of updates");
    };
    if updates.is_empty() || updates.len() > MAX_UPDATES {
        return invalid("must hold 1 to 100 updates");
    }
    for (index, update) in updates.iter().enumerate() {
        let has = |part: &str, key: &str| update[part].get(key).is_some_and(|v| !v.is_null());
        let coordinates = ["owner", "name", "tag"].map(|key| has("source", key));
        let by_reference = has("source", "reference");
        let by_coordinates = coordinates == [true; 3];
        let one_form = if by_reference { coordinates == [false; 3] } else { by_coordinates };
        if !one_form {
            let param = format!("updates.{index}.source");
            return Err(Refusal::invalid(&param, "must be owner, name and tag, or a reference"));
        }
        let param = format!("updates.{index}.set");
        if !["name", "tag", "owner", "visibility"].iter().any(|key| has("set", key)) {
            return Err(Refusal::invalid(&param, "must change at least one field"));
        }
        let set = &update["set"];
        if set["owner"]["type"] == "platform" && set["visibility"] == "PRIVATE" {
            return Err(Refusal::invalid(&param, "platform images are always PUBLIC"));
        }
    }
    Ok(())
}

fn plan(
    app: &App,
    state: &ServerState,
    ImageUpdate { source, set }: &ImageUpdate,
) -> Result<PlannedUpdate, UpdateError> {
    let planned = plan_as_admin(state, app.quota(), source, set)?;
    check_admin(app.rules.admin, planned)
}

fn plan_as_admin(
    state: &ServerState,
    quota: Option<u32>,
    source: &UpdateSource,
    set: &UpdateSet,
) -> Result<PlannedUpdate, UpdateError> {
    let location = source_location(source)?;
    let before = state.image(&location).ok_or_else(|| missing(source))?.clone();
    let mut after = before.clone();
    if let Some(name) = &set.name {
        after.location.name = name.parse().map_err(|error: NameError| invalid(&error.message))?;
    }
    if let Some(tag) = &set.tag {
        after.location.tag = tag.parse().map_err(|error: NameError| invalid(&error.message))?;
    }
    if let Some(owner) = &set.owner {
        after.location.owner = from_wire(owner).ok_or_else(|| invalid("malformed teamId"))?;
    }
    if after.location.owner != Owner::Platform && ImageName::has_namespace(&after.location.name) {
        return Err(invalid("only a platform image may have a `/` in its name"));
    }
    if let Some(visibility) = &set.visibility {
        after.visibility = parse_visibility(visibility)
            .ok_or_else(|| invalid("visibility must be PRIVATE or PUBLIC"))?;
    }
    if after.location.owner == Owner::Platform {
        if set.visibility.as_deref() == Some("PRIVATE") {
            return Err(invalid("platform images are always PUBLIC"));
        }
        after.visibility = StoredVisibility::Public;
    }
    if after.location != before.location {
        check_room(state, quota, &before.location, &after.location)?;
    }
    let changes = changes(state, &before, &after);
    Ok(PlannedUpdate { before, after, changes })
}

/// Checks that the account may change images of the platform, if the update does.
fn check_admin(admin: bool, planned: PlannedUpdate) -> Result<PlannedUpdate, UpdateError> {
    let owners = [&planned.before.location.owner, &planned.after.location.owner];
    if admin || !owners.contains(&&Owner::Platform) {
        return Ok(planned);
    }
    let message = "Only platform admins can change platform images".to_owned();
    Err(UpdateError { code: "forbidden".to_owned(), message })
}

/// Checks that an image may move to a location.
fn check_room(
    state: &ServerState,
    quota: Option<u32>,
    from: &Location,
    to: &Location,
) -> Result<(), UpdateError> {
    if state.is_taken(to) {
        let message = format!("Image {} already exists", to.short());
        return Err(UpdateError { code: "destination_exists".to_owned(), message });
    }
    let owned = state.owned(&to.owner);
    match quota {
        Some(quota)
            if to.owner != from.owner && to.owner != Owner::Platform && owned >= quota as usize =>
        {
            let message = quota_text(&to.owner, owned, quota);
            Err(UpdateError { code: "quota_exceeded".to_owned(), message })
        }
        _ => Ok(()),
    }
}

/// Returns the changes that move an image and its ended builds. An active build keeps its location.
fn changes(state: &ServerState, before: &StoredImage, after: &StoredImage) -> Vec<StateChange> {
    let mut changes = Vec::new();
    if before.location != after.location {
        changes.push(StateChange::ForgetImage(before.location.clone()));
        let finished = state.builds_at(&before.location).filter(|build| !build.status.is_active());
        changes.extend(finished.map(|b| {
            StateChange::Build(StoredBuild { location: after.location.clone(), ..b.clone() })
        }));
    }
    changes.push(StateChange::Image(after.clone()));
    changes
}

fn source_location(source: &UpdateSource) -> Result<Location, UpdateError> {
    let location = match (&source.reference, &source.owner, &source.name, &source.tag) {
        (Some(reference), ..) => resolve_reference(reference, &Owner::Personal),
        (None, Some(owner), Some(name), Some(tag)) => {
            let owner = from_wire(owner).ok_or_else(|| invalid("malformed teamId"))?;
            let parse = || Some((name.parse().ok()?, tag.parse().ok()?));
            let (name, tag) = parse().ok_or_else(|| missing(source))?;
            Ok(Location { owner, name, tag })
        }
        _ => return Err(invalid("source must be owner, name and tag, or a reference")),
    };
    location.map_err(|_| missing(source))
}

fn missing(source: &UpdateSource) -> UpdateError {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let coordinates = || format!("{}:{}", text(&source.name), text(&source.tag));
    let image = source.reference.clone().unwrap_or_else(coordinates);
    UpdateError { code: "image_not_found".to_owned(), message: format!("Image {image} not found") }
}

fn invalid(message: &str) -> UpdateError {
    UpdateError { code: "invalid_update".to_owned(), message: message.to_owned() }
}

fn parse_visibility(text: &str) -> Option<StoredVisibility> {
    match text {
        "PRIVATE" => Some(StoredVisibility::Private),
        "PUBLIC" => Some(StoredVisibility::Public),
        _ => None,
    }
}

fn shown(image: &StoredImage) -> ImageSnapshot {
    ImageSnapshot {
        owner: to_wire(&image.location.owner),
        name: image.location.name.to_string(),
        tag: image.location.tag.to_string(),
        visibility: image.visibility.as_str().to_owned(),
    }
}
