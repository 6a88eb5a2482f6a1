//! Answers the requests that a fault strikes: instead of serving them, or after that, or before.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::Value;

use super::app::App;
use super::error::Refusal;
use super::fault::{FaultKind, InjectedFault};
use super::model::UnixMillis;
use super::traffic::{IMAGE_LIMIT, TOKEN_LIMIT};
use super::worker;

/// For how long a fault's 429 or 503 asks a client to stay away.
const STAY_AWAY: Duration = Duration::from_secs(1);

/// What a gateway shows in front of an application that is up, and behind one that is not.
const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head>\
    <body><h1>Checking your browser</h1></body></html>\n";
const BAD_GATEWAY: &str = "<html>\n<head><title>502 Bad Gateway</title></head>\n\
    <body><center><h1>502 Bad Gateway</h1></center></body>\n</html>\n";
const GATEWAY_TIMEOUT: &str = "<html>\n<head><title>504 Gateway Time-out</title></head>\n\
    <body><center><h1>504 Gateway Time-out</h1></center></body>\n</html>\n";
/// What a storage says of an upload that ended before its `Content-Length`.
const INCOMPLETE: &str = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>IncompleteBody</Code>\
    <Message>You did not provide the number of bytes specified by the Content-Length HTTP header.\
    </Message></Error>";

/// Why a request got no answer: a fault closed its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection was closed without an answer")]
pub struct ConnectionCut;

/// The answer to a request that a fault keeps from having an effect. `None` where it has its effect
/// first. `payload` is an initiate's body.
pub(super) fn instead(fault: InjectedFault, now: UnixMillis, payload: &[u8]) -> Option<Response> {
    let refusal = |status, detail: &str| Refusal::detail(status, detail);
    let response = match fault.kind {
        FaultKind::InternalError => Refusal::internal("Internal Server Error").into_response(),
        FaultKind::Unavailable => {
            let refusal = refusal(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
            Refusal { retry_after: Some(STAY_AWAY), ..refusal }.into_response()
        }
        FaultKind::RateLimit => {
            let refusal = refusal(StatusCode::TOO_MANY_REQUESTS, rate_text(payload));
            let retry_after = fault.alternate.then_some(STAY_AWAY);
            Refusal { retry_after, ..refusal }.into_response()
        }
        FaultKind::RateLimitDate => {
            let refusal = refusal(StatusCode::TOO_MANY_REQUESTS, rate_text(payload));
            dated(refusal.into_response(), now)
        }
        FaultKind::CutBefore => cut(),
        FaultKind::Html => Html(PAGE).into_response(),
        FaultKind::Length => {
            let xml = [(header::CONTENT_TYPE, "application/xml; charset=UTF-8")];
            (StatusCode::BAD_REQUEST, xml, INCOMPLETE).into_response()
        }
        FaultKind::CutAfter
        | FaultKind::HtmlAfter
        | FaultKind::Slow(_)
        | FaultKind::Late(_)
        | FaultKind::Expired => return None,
    };
    Some(response)
}

/// What becomes of the answer to a request that was served.
pub(super) async fn afterwards(app: &App, fault: InjectedFault, response: Response) -> Response {
    match fault.kind {
        FaultKind::CutAfter => cut(),
        FaultKind::HtmlAfter => (StatusCode::BAD_GATEWAY, Html(BAD_GATEWAY)).into_response(),
        FaultKind::Slow(time) => {
            // A server that stops waits for nobody.
            app.stopping.run_until_cancelled(tokio::time::sleep(time)).await;
            response
        }
        _ => response,
    }
}

/// How long after its answer a request is to be served, where that is its fault.
pub(super) fn lateness(fault: Option<InjectedFault>) -> Option<Duration> {
    match fault?.kind {
        FaultKind::Late(time) => Some(time),
        _ => None,
    }
}

/// Lets a request take effect later, and answers it at once. A server that stops keeps nothing back.
pub(super) fn serve_later(
    app: &Arc<App>,
    fault: Option<InjectedFault>,
    time: Duration,
    serve: impl FnOnce(&Arc<App>) + Send + 'static,
) -> Response {
    let running = worker::Counted::new(app);
    let late = Arc::clone(app);
    app.tasks.spawn(async move {
        late.stopping.run_until_cancelled(tokio::time::sleep(time)).await;
        serve(&late);
        drop(running);
    });
    if fault.is_some_and(|fault| fault.alternate) {
        (StatusCode::GATEWAY_TIMEOUT, Html(GATEWAY_TIMEOUT)).into_response()
    } else {
        cut()
    }
}

/// Whether a response is none: its connection closes before a byte of it is written.
pub(super) fn is_cut(response: &Response) -> bool {
    response.extensions().get::<ConnectionCut>().is_some()
}

/// The body fails before hyper has sent the head, and hyper then closes the connection.
fn cut() -> Response {
    let body = futures::stream::iter([Err::<Bytes, _>(ConnectionCut)]);
    let mut response = Response::new(Body::from_stream(body));
    response.extensions_mut().insert(ConnectionCut);
    response
}

/// The service has two limits of a rate, and a text for each.
fn rate_text(payload: &[u8]) -> &'static str {
    let request: Value = serde_json::from_slice(payload).unwrap_or_default();
    let transfer = ["sourceImage", "source_image"].iter().any(|key| request[*key].is_string());
    if transfer { IMAGE_LIMIT } else { TOKEN_LIMIT }
}

/// Asks for another try at a date, and says what date it is: the clocks may differ.
fn dated(mut response: Response, now: UnixMillis) -> Response {
    // A date has whole seconds: of one that is cut off, most of the time may be gone already.
    let then = now.after(STAY_AWAY * 2);
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

    fn struck(kind: FaultKind, alternate: bool, payload: &str) -> Response {
        let now = UnixMillis::from_millis(1_700_000_000_120);
        instead(InjectedFault { kind, alternate }, now, payload.as_bytes()).unwrap()
    }

    #[test]
    fn retry_after_in_all_its_forms() {
        let after = |kind, alternate| {
            let response = struck(kind, alternate, "");
            response.headers().get(header::RETRY_AFTER).map(|v| v.to_str().unwrap().to_owned())
        };
        assert_eq!(after(FaultKind::RateLimit, true).as_deref(), Some("1"));
        assert_eq!(after(FaultKind::RateLimit, false), None);
        assert_eq!(after(FaultKind::Unavailable, false).as_deref(), Some("1"));
        let date = after(FaultKind::RateLimitDate, false);
        assert_eq!(date.as_deref(), Some("Tue, 14 Nov 2023 22:13:22 GMT"));
    }

    #[test]
    fn each_limit_has_its_text() {
        assert_eq!(rate_text(b"{\"sourceImage\": \"a\"}"), IMAGE_LIMIT);
        assert_eq!(rate_text(b"{\"sourceImage\": null}"), TOKEN_LIMIT);
        assert_eq!(rate_text(b""), TOKEN_LIMIT);
    }
}
