//! `POST /images/build`: accepts a build of a context, or transfers.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::app::App;
use super::body::{object, reply, typed};
use super::config::BulkShape;
use super::error::Refusal;
use super::location::Location;
use super::model::{BuildStatus, StoredOrigin};
use super::order::Order;
use super::state::StateChange;
use super::traffic::Ticket;
use super::transfer::{all_or_none, check_quota, one_by_one, response};
use super::upload;

/// Documented field names, and the names that the provider's own client sends.
const ALIASES: [(&str, &str); 6] = [
    ("image_name", "imageName"),
    ("image_tag", "imageTag"),
    ("dockerfile_path", "dockerfilePath"),
    ("sourceImage", "source_image"),
    ("teamId", "team_id"),
    ("ownerScope", "owner_scope"),
];

pub(super) fn initiate(
    app: &Arc<App>,
    headers: &HeaderMap,
    payload: &[u8],
    ticket: Ticket,
) -> Result<Response, Refusal> {
    let order = Order::read(typed(object(payload)?, &ALIASES)?, app.rules, app.clock.now())?;
    match (order.sources.as_deref(), app.bulk) {
        (None, _) => context_build(app, &order, headers, ticket),
        (Some([]), _) => Err(Refusal::bad("Invalid transfer source: no image is named")),
        (Some(sources @ [_]), _) | (Some(sources), BulkShape::BuildIds) => {
            all_or_none(app, &order, sources, ticket)
        }
        (Some(sources), shape) => one_by_one(app, &order, sources, shape, ticket),
    }
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
    let mut answer = response(app, &build, store.state());
    let ttl = app.upload_ttl.as_secs().cast_signed();
    let expires = order.at.seconds().saturating_add(ttl);
    let path = upload::signed_path(store.key(), build.id.as_str(), expires);
    answer.upload_url = Some(format!("{}{path}", app.url_for(headers)));
    answer.expires_in = Some(ttl);
    let short = build.location.short();
    store.commit(vec![StateChange::Build(build)])?;
    drop(store);
    app.traffic().initiated(ticket, short);
    reply(StatusCode::CREATED, &answer)
}
