//! Routes requests: admission (log, token, rate limits), then fault injection, then the endpoint.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};

use super::app::App;
use super::endpoint::ServerEndpoint;
use super::error::Refusal;
use super::traffic::Ticket;
use super::{account, body, builds, images, initiate, inject, update, upload};

/// Returns the service that answers requests. One handler serves all paths, for the reason that
/// [`ServerEndpoint`] gives.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .fallback(serve)
        .layer(from_fn_with_state(Arc::clone(&app), inject::inject))
        .layer(from_fn_with_state(Arc::clone(&app), admit))
        .with_state(app)
}

/// Logs a request, checks its token and draws on its rate limit.
async fn admit(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let endpoint = ServerEndpoint::of(request.method(), request.uri().path());
    let class = endpoint.as_ref().ok().and_then(ServerEndpoint::class);
    let token = app.authenticate(request.headers());
    let (method, path) = (request.method().as_str(), request.uri().path());
    let (arrival, within_limit) = app.traffic().arrived(class, token.as_ref().ok(), method, path);
    let response = match (endpoint, token.and(within_limit)) {
        (Err(refusal), _) => refusal.into_response(),
        // An upload needs no token: its URL is signed.
        (Ok(endpoint), Err(refusal)) if !matches!(endpoint, ServerEndpoint::Upload { .. }) => {
            body::drain(request.into_body()).await;
            refusal.into_response()
        }
        (Ok(endpoint), _) => {
            let extensions = request.extensions_mut();
            extensions.insert(endpoint);
            extensions.insert(arrival.ticket);
            arrival.fault.map(|fault| extensions.insert(fault));
            next.run(request).await
        }
    };
    if !inject::is_cut(&response) {
        app.traffic().answered(arrival.ticket, response.status().as_u16());
    }
    response
}

async fn serve(
    State(app): State<Arc<App>>,
    Extension(endpoint): Extension<ServerEndpoint>,
    Extension(ticket): Extension<Ticket>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, payload) = request.into_parts();
    if let ServerEndpoint::Upload { id } = endpoint {
        return upload::store(&app, &id, &parts, payload).await;
    }
    let payload = &body::read(payload).await?;
    match endpoint {
        ServerEndpoint::Initiate => initiate::initiate(&app, &parts.headers, payload, ticket),
        ServerEndpoint::Start { id } => builds::start(&app, &id, payload),
        ServerEndpoint::Status { id } => builds::status(&app, &id),
        ServerEndpoint::Builds => builds::list(&app, &parts.uri),
        ServerEndpoint::Images => images::list(&app, &parts.uri),
        ServerEndpoint::Delete { name, tag } => images::delete(&app, &name, &tag, &parts.uri),
        ServerEndpoint::Update => update::update(&app, payload).await,
        ServerEndpoint::VmBuild { name, tag } => builds::vm_build(&app, &name, &tag, payload),
        ServerEndpoint::Whoami => account::whoami(&app),
        ServerEndpoint::Teams => account::teams(&app, &parts.uri),
        ServerEndpoint::Members { team } => account::members(&team),
        ServerEndpoint::Upload { .. } => Err(Refusal::internal("an upload was not received")),
    }
}
