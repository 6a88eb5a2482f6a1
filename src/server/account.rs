//! The account's endpoints: whoami, teams and their members. The only account is a member of every
//! team.

use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::json;

use super::app::App;
use super::body::{page, paging, query, reply};
use super::error::Refusal;
use super::location::{USER_ID, USER_SLUG};

const NAME: &str = "Local user";
const EMAIL: &str = "local@localhost";
/// Creation date of every team and membership: fixed, so that responses are the same in every run.
const CREATED_AT: &str = "2026-01-01T00:00:00.000Z";

pub(super) fn whoami(app: &App) -> Result<Response, Refusal> {
    let full = json!({ "read": true, "write": true });
    let account = json!({
        "id": USER_ID,
        "slug": USER_SLUG,
        "name": NAME,
        "email": EMAIL,
        "role": if app.rules.admin { "ADMIN" } else { "USER" },
        "scope": { "images": full, "sandboxes": full },
    });
    reply(StatusCode::OK, &json!({ "data": account, "status": "success" }))
}

/// Lists the teams that own an image. A team exists as soon as it is used.
pub(super) fn teams(app: &App, uri: &Uri) -> Result<Response, Refusal> {
    let paging = paging(&query(uri)?)?;
    let teams = app.store().state().teams();
    let row = |id: String| {
        json!({
            "teamId": id, "name": id, "slug": null, "role": "ADMIN", "createdAt": CREATED_AT,
        })
    };
    reply(StatusCode::OK, &page(teams.into_iter(), paging, row))
}

pub(super) fn members(_team: &str) -> Result<Response, Refusal> {
    let member = json!({
        "userId": USER_ID,
        "userName": NAME,
        "userEmail": EMAIL,
        "role": "ADMIN",
        "joinedAt": CREATED_AT,
    });
    reply(StatusCode::OK, &page([member].into_iter(), (0, 100), |row| row))
}
