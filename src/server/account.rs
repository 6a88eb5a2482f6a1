//! The account's endpoints: whoami, teams and their members. There is one account, which is in
//! every team.

use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::json;

use super::app::App;
use super::body::{page, paging, query, reply};
use super::error::Refusal;
use super::location::{USER_ID, USER_SLUG};

const NAME: &str = "Local user";
const EMAIL: &str = "local@localhost";
/// The account is as old as any; a fixed date keeps answers the same from run to run.
const SINCE: &str = "2026-01-01T00:00:00.000Z";

pub(super) fn whoami() -> Result<Response, Refusal> {
    let all = json!({ "read": true, "write": true });
    let account = json!({
        "id": USER_ID,
        "slug": USER_SLUG,
        "name": NAME,
        "email": EMAIL,
        "role": "ADMIN",
        "scope": { "images": all, "sandboxes": all },
    });
    reply(StatusCode::OK, &json!({ "data": account, "status": "success" }))
}

/// The teams that own something here: teams are made by using them.
pub(super) fn teams(app: &App, uri: &Uri) -> Result<Response, Refusal> {
    let paging = paging(&query(uri)?)?;
    let teams = app.store().state().teams();
    let row = |id: String| {
        json!({
            "teamId": id, "name": id, "slug": null, "role": "ADMIN", "createdAt": SINCE,
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
        "joinedAt": SINCE,
    });
    reply(StatusCode::OK, &page([member].into_iter(), (0, 100), |row| row))
}
