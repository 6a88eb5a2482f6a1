//! `POST /images/build`: accepts a build of a context, or transfers.

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::app::App;
use super::body::{object, reply, typed};
use super::config::BulkShape;
use super::error::{Refusal, ServerError};
use super::location::{Location, scope};
use super::model::{BuildStatus, StoredBuild, StoredOrigin, StoredVisibility, UnixMillis, new_id};
use super::state::{ServerState, StateChange};
use super::traffic::{RateLimitKey, Ticket};
use super::{upload, worker};
use crate::api::wire::{BuildImageRequest, BuildImageResponse, TransferResult, TransferResults};
use crate::base::name::{ImageName, NameError, Owner, Platform, Tag};
use crate::base::source_ref::SourceRef;

/// Documented field names, and the names that the provider's own client sends.
const ALIASES: [(&str, &str); 6] = [
    ("image_name", "imageName"),
    ("image_tag", "imageTag"),
    ("dockerfile_path", "dockerfilePath"),
    ("sourceImage", "source_image"),
    ("teamId", "team_id"),
    ("ownerScope", "owner_scope"),
];

/// A validated request.
struct Order {
    at: UnixMillis,
    owner: Owner,
    name: Option<ImageName>,
    tag: Option<Tag>,
    platform: Platform,
    visibility: Option<StoredVisibility>,
    dockerfile_path: String,
    source: Option<String>,
}

pub(super) fn initiate(
    app: &std::sync::Arc<App>,
    headers: &HeaderMap,
    payload: &[u8],
    ticket: Ticket,
) -> Result<Response, Refusal> {
    let mut order = Order::read(typed(object(payload)?, &ALIASES)?, app.clock.now())?;
    let Some(list) = order.source.take() else {
        return context_build(app, &order, headers, ticket);
    };
    let sources: Vec<&str> = list.split(',').map(str::trim).filter(|s| !s.is_empty()).collect();
    match (sources.as_slice(), app.bulk) {
        ([], _) => Err(Refusal::bad("Invalid transfer source: no image is named")),
        ([_], _) | (_, BulkShape::BuildIds) => all_or_none(app, &order, &sources, ticket),
        (_, shape) => one_by_one(app, &order, &sources, shape, ticket),
    }
}

impl Order {
    fn read(wire: BuildImageRequest, at: UnixMillis) -> Result<Self, Refusal> {
        let named = |param| move |error: NameError| Refusal::invalid(param, explain(&error));
        let platform_scope = match wire.owner_scope.as_deref() {
            None => false,
            Some("platform") => true,
            Some(_) => return Err(Refusal::invalid("ownerScope", "must be `platform`")),
        };
        let owner = scope(wire.team_id.as_deref(), platform_scope)?;
        let visibility = match wire.visibility.as_deref() {
            None | Some("INHERIT") => None,
            Some("PRIVATE") => Some(StoredVisibility::Private),
            Some("PUBLIC") => Some(StoredVisibility::Public),
            Some(_) => {
                let details = "must be INHERIT, PRIVATE or PUBLIC";
                return Err(Refusal::invalid("visibility", details));
            }
        };
        if owner == Owner::Platform && visibility != Some(StoredVisibility::Public) {
            return Err(Refusal::bad("Platform images must set visibility to PUBLIC"));
        }
        let name: Option<ImageName> =
            wire.image_name.map(|text| text.parse()).transpose().map_err(named("image_name"))?;
        if owner != Owner::Platform && name.as_ref().is_some_and(ImageName::has_namespace) {
            let details = "only a platform image may have a `/` in its name";
            return Err(Refusal::invalid("image_name", details));
        }
        let tag = wire.image_tag.map(|text| text.parse()).transpose();
        let platform = wire.platform.map(|text| text.parse()).transpose();
        Ok(Self {
            at,
            owner,
            name,
            tag: tag.map_err(named("image_tag"))?,
            platform: platform.map_err(named("platform"))?.unwrap_or_default(),
            visibility,
            dockerfile_path: dockerfile_path(wire.dockerfile_path)?,
            source: wire.source_image,
        })
    }

    /// Returns the location of a source's image: the requested name and tag, else those of the
    /// reference.
    fn destination(&self, source: &str) -> Result<Location, Refusal> {
        let invalid =
            |error: NameError| Refusal::bad(format!("Invalid transfer source: {}", error.message));
        let source: SourceRef = source.parse().map_err(invalid)?;
        let (name, tag) = match (&self.name, &self.tag) {
            (Some(name), Some(tag)) => (name.clone(), tag.clone()),
            (name, tag) => {
                let derived = source.earlier_destination(self.owner == Owner::Platform);
                let derived = derived.map_err(invalid)?;
                (name.clone().unwrap_or(derived.0), tag.clone().unwrap_or(derived.1))
            }
        };
        Ok(Location { owner: self.owner.clone(), name, tag })
    }

    fn transfer(
        &self,
        source: &str,
        state: &ServerState,
        ahead: u64,
    ) -> Result<StoredBuild, Refusal> {
        let location = self.destination(source)?;
        let origin = StoredOrigin::Transfer { source: source.to_owned() };
        self.build(location, origin, BuildStatus::Pending, state.next_seq() + ahead)
    }

    fn build(
        &self,
        location: Location,
        origin: StoredOrigin,
        status: BuildStatus,
        seq: u64,
    ) -> Result<StoredBuild, Refusal> {
        let id = || new_id().map_err(|error: ServerError| Refusal::internal(error.to_string()));
        Ok(StoredBuild {
            seq,
            id: id()?,
            artifact: id()?,
            location,
            platform: self.platform,
            origin,
            visibility: self.visibility,
            status,
            created_at: self.at,
            started_at: None,
            completed_at: None,
            error: None,
        })
    }

    /// Returns the owner of the rate limit of transfers. Platform admins have no limit.
    fn rate_limit_key(&self) -> Option<RateLimitKey> {
        match &self.owner {
            Owner::Personal => Some(RateLimitKey::Personal),
            Owner::Team(id) => Some(RateLimitKey::Team(id.clone())),
            Owner::Platform => None,
        }
    }
}

fn explain(error: &NameError) -> String {
    format!("{}; {}", error.message, error.help)
}

/// Returns a path inside the archive, without a leading `./`.
fn dockerfile_path(path: Option<String>) -> Result<String, Refusal> {
    let path = path.unwrap_or_else(|| "Dockerfile".to_owned());
    let plain = path.trim_start_matches("./");
    let inside = |segment: &str| !segment.is_empty() && segment != "." && segment != "..";
    if plain.len() > 4096 || plain.contains('\0') || !plain.split('/').all(inside) {
        let details = "must be a relative path inside the build context";
        return Err(Refusal::invalid("dockerfile_path", details));
    }
    Ok(plain.to_owned())
}

fn context_build(
    app: &App,
    order: &Order,
    headers: &HeaderMap,
    ticket: Ticket,
) -> Result<Response, Refusal> {
    let required = |param| Refusal::invalid(param, "is required for builds from a context");
    let location = Location {
        owner: order.owner.clone(),
        name: order.name.clone().ok_or_else(|| required("image_name"))?,
        tag: order.tag.clone().ok_or_else(|| required("image_tag"))?,
    };
    let mut store = app.store();
    check_quota(app, store.state(), &[&location])?;
    let origin =
        StoredOrigin::Context { dockerfile_path: order.dockerfile_path.clone(), uploaded: None };
    let build = order.build(location, origin, BuildStatus::Uploading, store.state().next_seq())?;
    let mut answer = response(&build, store.state());
    let ttl = app.upload_ttl.as_secs().cast_signed();
    let expires = order.at.seconds().saturating_add(ttl);
    let path = upload::signed_path(store.key(), &build.id, expires);
    answer.upload_url = Some(format!("{}{path}", app.url_for(headers)));
    answer.expires_in = Some(ttl);
    let short = build.location.short();
    store.commit(vec![StateChange::Build(build)])?;
    drop(store);
    app.traffic().initiated(ticket, short);
    reply(StatusCode::CREATED, &answer)
}

/// Handles one source, or a list whose response has no room for the failure of a single source.
fn all_or_none(
    app: &std::sync::Arc<App>,
    order: &Order,
    sources: &[&str],
    ticket: Ticket,
) -> Result<Response, Refusal> {
    no_shared_destination(order, sources)?;
    let mut store = app.store();
    let transfers = sources.iter().zip(0..);
    let builds: Vec<StoredBuild> = transfers
        .map(|(source, ahead)| order.transfer(source, store.state(), ahead))
        .collect::<Result<_, _>>()?;
    let locations: Vec<&Location> = builds.iter().map(|build| &build.location).collect();
    check_quota(app, store.state(), &locations)?;
    if let Some(key) = order.rate_limit_key() {
        let images = u32::try_from(builds.len()).unwrap_or(u32::MAX);
        let max = app.traffic().max_images(&key);
        if images > max {
            let detail = format!("{images} images at once; at most {max} may be transferred");
            return Err(Refusal::bad(detail));
        }
        app.traffic().draw_images(key, images)?;
    }
    let first = builds.first().ok_or_else(|| Refusal::internal("a transfer without a source"))?;
    let mut answer = response(first, store.state());
    answer.build_ids = Some(builds.iter().map(|build| build.id.clone()).collect());
    let short: Vec<String> = builds.iter().map(|build| build.location.short()).collect();
    store.commit(builds.into_iter().map(StateChange::Build).collect())?;
    drop(store);
    app.traffic().initiated(ticket, short.join(","));
    for id in answer.build_ids.iter().flatten() {
        worker::spawn(app, id);
    }
    reply(StatusCode::CREATED, &answer)
}

/// Handles a list whose response has a result for each source.
fn one_by_one(
    app: &std::sync::Arc<App>,
    order: &Order,
    sources: &[&str],
    shape: BulkShape,
    ticket: Ticket,
) -> Result<Response, Refusal> {
    no_shared_destination(order, sources)?;
    let mut results = Vec::new();
    let mut paths = Vec::new();
    for source in sources {
        let outcome = accept_one(app, order, source);
        if let Ok(build) = &outcome {
            worker::spawn(app, &build.build_id);
            paths.extend(build.full_image_path.clone());
        }
        results.push(result(source, outcome, shape));
    }
    app.traffic().initiated(ticket, paths.join(","));
    let failing = |result: &&TransferResult| result.error.is_some();
    let failed = match shape {
        BulkShape::Results => Some(results.iter().filter(failing).cloned().collect()),
        BulkShape::Builds | BulkShape::BuildIds => None,
    };
    reply(StatusCode::CREATED, &TransferResults { results, failed })
}

fn accept_one(app: &App, order: &Order, source: &str) -> Result<BuildImageResponse, Refusal> {
    let mut store = app.store();
    let build = order.transfer(source, store.state(), 0)?;
    check_quota(app, store.state(), &[&build.location])?;
    if let Some(key) = order.rate_limit_key() {
        app.traffic().draw_images(key, 1)?;
    }
    let answer = response(&build, store.state());
    store.commit(vec![StateChange::Build(build)])?;
    Ok(answer)
}

fn result(
    source: &str,
    outcome: Result<BuildImageResponse, Refusal>,
    shape: BulkShape,
) -> TransferResult {
    let flat = shape == BulkShape::Results;
    let mut result = TransferResult {
        source_image: Some(source.to_owned()),
        success: flat.then_some(outcome.is_ok()),
        ..TransferResult::default()
    };
    match outcome {
        Ok(build) if flat => {
            result.build_id = Some(build.build_id);
            result.full_image_path = build.full_image_path;
            result.visibility = build.visibility;
        }
        Ok(build) => result.build = Some(build),
        Err(refusal) => {
            result.error = Some(refusal.message());
            // Only a refusal with Retry-After passes: a quota or a bad reference does not.
            result.retryable = refusal.retry_after.is_some();
        }
    }
    result
}

fn no_shared_destination(order: &Order, sources: &[&str]) -> Result<(), Refusal> {
    if sources.len() > 1 && (order.name.is_some() || order.tag.is_some()) {
        let detail = "image_name and image_tag can only be given for a single source";
        return Err(Refusal::bad(detail));
    }
    Ok(())
}

/// Checks that the owner of `locations` may have images at all of them.
fn check_quota(app: &App, state: &ServerState, locations: &[&Location]) -> Result<(), Refusal> {
    let (Some(quota), Some(first)) = (app.quota(), locations.first()) else { return Ok(()) };
    if first.owner == Owner::Platform {
        return Ok(());
    }
    let new: std::collections::HashSet<_> =
        locations.iter().filter(|location| !state.is_taken(location)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let count = state.owned(&first.owner);
    if count + new.len() > quota as usize {
        return Err(Refusal::quota(quota_text(&first.owner, count, quota)));
    }
    Ok(())
}

/// Returns the service's text for an owner who has reached the quota.
pub(super) fn quota_text(owner: &Owner, count: usize, quota: u32) -> String {
    let kind = if *owner == Owner::Personal { "Personal" } else { "Team" };
    format!("Image limit exceeded. {kind} has {count} images. Maximum allowed is {quota}.")
}

fn response(build: &StoredBuild, state: &ServerState) -> BuildImageResponse {
    let visibility = state.effective(&build.location, build.visibility);
    BuildImageResponse {
        build_id: build.id.clone(),
        full_image_path: Some(build.location.full_path()),
        build_ids: Some(vec![build.id.clone()]),
        upload_url: None,
        expires_in: None,
        visibility: Some(visibility.as_str().to_owned()),
    }
}
