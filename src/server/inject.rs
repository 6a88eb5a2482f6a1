//! Injects faults into requests: a middleware, so that the endpoints do not know of it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::app::App;
use super::body;
use super::config::ApiVersion;
use super::endpoint::ServerEndpoint;
use super::error::Refusal;
use super::fault::{FaultKind, InjectedFault};
use super::model::UnixMillis;
use super::traffic::TOKEN_LIMIT;
use super::{upload, worker};
use crate::api::wire::BuildImageResponse;

/// `Retry-After` of an injected 429 or 503.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A page that a gateway serves instead of the application.
const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head>\
    <body><h1>Checking your browser</h1></body></html>\n";
/// A gateway's page for an application that fails.
const BAD_GATEWAY: &str = "<html>\n<head><title>502 Bad Gateway</title></head>\n\
    <body><center><h1>502 Bad Gateway</h1></center></body>\n</html>\n";
/// A gateway's page for an application that does not respond in time.
const GATEWAY_TIMEOUT: &str = "<html>\n<head><title>504 Gateway Time-out</title></head>\n\
    <body><center><h1>504 Gateway Time-out</h1></center></body>\n</html>\n";
/// A storage's response to an upload that ends before its `Content-Length`.
const INCOMPLETE: &str = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>IncompleteBody</Code>\
    <Message>You did not provide the number of bytes specified by the Content-Length HTTP header.\
    </Message></Error>";

/// An injected fault that closes the connection without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection was closed without an answer")]
pub struct ConnectionCut;

/// Serves a request with its fault, if it has one.
pub(super) async fn inject(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Some(fault) = request.extensions().get::<InjectedFault>().copied() else {
        return next.run(request).await;
    };
    match fault.kind {
        FaultKind::CutAfter => {
            next.run(request).await;
            cut()
        }
        FaultKind::HtmlAfter => {
            next.run(request).await;
            (StatusCode::BAD_GATEWAY, Html(BAD_GATEWAY)).into_response()
        }
        FaultKind::Slow(time) => {
            let response = next.run(request).await;
            // A stopping server does not wait.
            app.stopping.run_until_cancelled(tokio::time::sleep(time)).await;
            response
        }
        FaultKind::Late(time) => {
            let served = serve_later(&app, fault, time, request, next).await;
            served.unwrap_or_else(IntoResponse::into_response)
        }
        FaultKind::Expired => expire(&app, fault, next.run(request).await).await,
        FaultKind::CutBefore if is_upload(&request) => cut(),
        FaultKind::InternalError
        | FaultKind::Unavailable
        | FaultKind::RateLimit
        | FaultKind::RateLimitDate
        | FaultKind::CutBefore
        | FaultKind::Html
        | FaultKind::Length => {
            let payload = body::drain(request.into_body()).await;
            let text = rate_text(app.rules.api, &payload);
            response_without_effect(fault, app.clock.now(), &text)
        }
    }
}

fn is_upload(request: &Request) -> bool {
    matches!(request.extensions().get(), Some(ServerEndpoint::Upload { .. }))
}

/// Returns the response to a request that is not served. `rate_text` is the text of a 429.
fn response_without_effect(fault: InjectedFault, now: UnixMillis, rate_text: &str) -> Response {
    let refusal = |status, detail: &str| Refusal::detail(status, detail);
    match fault.kind {
        FaultKind::Unavailable => {
            let refusal = refusal(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
            Refusal { retry_after: Some(RETRY_AFTER), ..refusal }.into_response()
        }
        FaultKind::RateLimit => {
            let refusal = refusal(StatusCode::TOO_MANY_REQUESTS, rate_text);
            let retry_after = fault.alternate.then_some(RETRY_AFTER);
            Refusal { retry_after, ..refusal }.into_response()
        }
        FaultKind::RateLimitDate => {
            let refusal = refusal(StatusCode::TOO_MANY_REQUESTS, rate_text);
            with_dates(refusal.into_response(), now)
        }
        FaultKind::CutBefore => cut(),
        FaultKind::Html => Html(PAGE).into_response(),
        FaultKind::Length => {
            let xml = [(header::CONTENT_TYPE, "application/xml; charset=UTF-8")];
            (StatusCode::BAD_REQUEST, xml, INCOMPLETE).into_response()
        }
        _ => Refusal::internal("Internal Server Error").into_response(),
    }
}

/// Responds at once, and serves the request after `time` or when the server stops.
async fn serve_later(
    app: &Arc<App>,
    fault: InjectedFault,
    time: Duration,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    // The body is read now, because the connection does not live that long.
    let (parts, payload) = request.into_parts();
    let mut request = Request::from_parts(parts, Body::empty());
    let mut spool = None;
    if is_upload(&request) {
        let (temp, file) = upload::spool(app, payload).await?;
        *request.body_mut() = Body::from_stream(ReaderStream::new(file));
        spool = Some(temp);
    } else {
        *request.body_mut() = body::read(payload).await?.into();
    }
    let running = worker::RunningGuard::new(app);
    let stopping = app.stopping.clone();
    app.tasks.spawn(async move {
        stopping.run_until_cancelled(tokio::time::sleep(time)).await;
        next.run(request).await;
        drop((running, spool));
    });
    if fault.alternate {
        Ok((StatusCode::GATEWAY_TIMEOUT, Html(GATEWAY_TIMEOUT)).into_response())
    } else {
        Ok(cut())
    }
}

/// Replaces the upload URL in the response to an initiate with one that has expired.
async fn expire(app: &App, fault: InjectedFault, response: Response) -> Response {
    let (parts, payload) = response.into_parts();
    let payload = body::drain(payload).await;
    let build = serde_json::from_slice::<BuildImageResponse>(&payload).ok();
    let url = build.as_ref().and_then(|build| build.upload_url.as_ref()?.split_once("/uploads/"));
    let (Some(mut build), Some((server, _))) = (build.clone(), url) else {
        return Response::from_parts(parts, payload.into());
    };
    let now = app.clock.now().seconds();
    let path = upload::signed_path(app.store().key(), &build.build_id, now);
    build.upload_url = Some(format!("{server}{path}"));
    if fault.alternate {
        build.expires_in = Some(0);
    }
    body::reply(parts.status, &build).unwrap_or_else(IntoResponse::into_response)
}

/// True if the connection is closed instead of sending this response.
pub(super) fn is_cut(response: &Response) -> bool {
    response.extensions().get::<ConnectionCut>().is_some()
}

/// Returns a response whose body fails before hyper has sent the head, so that hyper closes the
/// connection.
fn cut() -> Response {
    let body = futures::stream::iter([Err::<Bytes, _>(ConnectionCut)]);
    let mut response = Response::new(Body::from_stream(body));
    response.extensions_mut().insert(ConnectionCut);
    response
}

/// Returns the text of a 429 to a request with this body. The service has a text for transfers and one
/// for other requests.
fn rate_text(api: ApiVersion, payload: &[u8]) -> String {
    let request: Value = serde_json::from_slice(payload).unwrap_or_default();
    let transfer = ["sourceImage", "source_image"].iter().any(|key| request[*key].is_string());
    if transfer { api.transfer_limit_text(10, 10) } else { TOKEN_LIMIT.to_owned() }
}

/// Adds `Retry-After` as a date, and `Date` for clients whose clock differs.
fn with_dates(mut response: Response, now: UnixMillis) -> Response {
    // Dates have whole seconds, so that up to a second is cut off.
    let then = now.after(RETRY_AFTER * 2);
    for (name, stamp) in [(header::DATE, now), (header::RETRY_AFTER, then)] {
        let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&stamp.timestamp());
        if let Some(value) = text.ok().and_then(|text| HeaderValue::try_from(text).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injected(kind: FaultKind, alternate: bool) -> Response {
        let now = UnixMillis::from_millis(1_700_000_000_120);
        response_without_effect(InjectedFault { kind, alternate }, now, TOKEN_LIMIT)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_or_missing() {
        let after = |kind, alternate| {
            let response = injected(kind, alternate);
            response.headers().get(header::RETRY_AFTER).map(|v| v.to_str().unwrap().to_owned())
        };
        assert_eq!(after(FaultKind::RateLimit, true).as_deref(), Some("1"));
        assert_eq!(after(FaultKind::RateLimit, false), None);
        assert_eq!(after(FaultKind::Unavailable, false).as_deref(), Some("1"));
        let date = after(FaultKind::RateLimitDate, false);
        assert_eq!(date.as_deref(), Some("Tue, 14 Nov 2023 22:13:22 GMT"));
    }

    #[test]
    fn each_rate_limit_has_its_text() {
        let (august, november) = (ApiVersion::August2026, ApiVersion::November2026);
        for (api, body, expected) in [
            (august, r#"{"sourceImage": "a"}"#, "Image transfer rate limit exceeded: 10/10 images"),
            (
                november,
                r#"{"source_image": "a"}"#,
                "Source image build rate limit exceeded: 10/10 images",
            ),
            (november, r#"{"sourceImage": null}"#, TOKEN_LIMIT),
            (november, "", TOKEN_LIMIT),
        ] {
            assert_eq!(rate_text(api, body.as_bytes()), expected, "{body}");
        }
    }
}
