//! Routes requests: admission (log, token, rate limits), then fault injection, then the endpoint.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};

use super::app::App;
use super::endpoint::ServerEndpoint;
use super::error::Refusal;
use super::traffic::Ticket;
use super::{account, body, builds, durable, images, initiate, inject, page, update, upload};

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
        (Ok(endpoint), Err(refusal)) if !endpoint.is_open() => {
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

/// Serves a request. Its response is sent once all that it may show is on disk.
async fn serve(
    State(app): State<Arc<App>>,
    Extension(endpoint): Extension<ServerEndpoint>,
    Extension(ticket): Extension<Ticket>,
    request: Request,
) -> Result<Response, Refusal> {
    let changes_nothing = request.method() == Method::GET;
    let response = carry_out(&app, endpoint, ticket, request).await;
    let response = durable::wait(&app).await.map_err(Refusal::from).and(response);
    let problem = match &response {
        Ok(_) if changes_nothing => return response,
        Ok(_) => None,
        Err(refusal) if refusal.is_of_the_store() => Some(refusal.message()),
        Err(_) => return response,
    };
    app.problem.send_if_modified(|before| std::mem::replace(before, problem) != *before);
    response
}

async fn carry_out(
    app: &Arc<App>,
    endpoint: ServerEndpoint,
    ticket: Ticket,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, payload) = request.into_parts();
    if let ServerEndpoint::Upload { id } = endpoint {
        return upload::store(app, &id, &parts, payload).await;
    }
    let payload = &body::read(payload).await?;
    match endpoint {
        ServerEndpoint::Initiate => initiate::initiate(app, &parts.headers, payload, ticket),
        ServerEndpoint::Start { id } => builds::start(app, &id, payload),
        ServerEndpoint::Status { id } => builds::status(app, &id),
        ServerEndpoint::Logs { id } => builds::logs(app, &id, &parts.uri).await,
        ServerEndpoint::Cancel { id } => builds::cancel(app, &id).await,
        ServerEndpoint::Builds => builds::list(app, &parts.uri),
        ServerEndpoint::Images => images::list(app, &parts.uri),
        ServerEndpoint::Delete { name, tag } => images::delete(app, &name, &tag, &parts.uri).await,
        ServerEndpoint::Update => update::update(app, payload).await,
        ServerEndpoint::VmBuild { name, tag } => builds::vm_build(app, &name, &tag, payload),
        ServerEndpoint::Whoami => account::whoami(app),
        ServerEndpoint::Teams => account::teams(app, &parts.uri),
        ServerEndpoint::Members { team } => account::members(&team),
        ServerEndpoint::Page => Ok(page::page()),
        ServerEndpoint::Upload { .. } => Err(Refusal::internal("an upload was not received")),
    }
}
