//! A transport for tests that answers requests inside the process.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http;
use futures::future::BoxFuture;
use futures::stream;
use reqwest::{Body, Request, Response};
use serde_json::Value;
use tokio::time::Instant;

use super::notice::{Notice, Observer};
use super::transport::{Transport, TransportError};

/// Base URL of a fake service. Request lines leave it out.
pub(crate) const BASE_URL: &str = "https://fake/api/v1";

/// Reply to one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A whole response.
    Response { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// No response; `sent` is true if a part of the request left.
    Broken { sent: bool },
    /// No response, ever.
    Silence,
    /// Response headers, then an endless body of one byte per interval.
    Trickle(Duration),
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Response { status, headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, body.to_string())
    }

    /// A response with an error text, as the service writes it.
    pub(crate) fn detail(status: u16, detail: &str) -> Self {
        Self::json(status, &serde_json::json!({ "detail": detail }))
    }

    /// A success that is a web page.
    pub(crate) fn html() -> Self {
        Self::new(200, "<html>Welcome</html>")
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Response { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

/// A request that the fake server received.
#[derive(Debug, Clone)]
pub(crate) struct FakeRequest {
    /// Method and URL; below [`BASE_URL`], method and path: `GET /images/builds?offset=0`.
    pub(crate) line: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) at: Instant,
}

impl FakeRequest {
    pub(crate) fn authorization(&self) -> Option<&str> {
        self.headers.get("authorization")?.to_str().ok()
    }
}

type Responder = Box<dyn FnMut(&FakeRequest) -> Reply + Send>;

/// A server inside the process, made of a function from requests to replies.
pub(crate) struct FakeServer {
    responder: Mutex<Responder>,
    latency: Duration,
    requests: Mutex<Vec<FakeRequest>>,
    notices: Mutex<Vec<Notice>>,
    in_flight: AtomicUsize,
    max_in_flight: AtomicUsize,
}

impl FakeServer {
    pub(crate) fn new(responder: impl FnMut(&FakeRequest) -> Reply + Send + 'static) -> Arc<Self> {
        Self::with_latency(Duration::ZERO, responder)
    }

    /// Creates a server whose every response takes `latency`.
    pub(crate) fn with_latency(
        latency: Duration,
        responder: impl FnMut(&FakeRequest) -> Reply + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            responder: Mutex::new(Box::new(responder)),
            latency,
            requests: Mutex::default(),
            notices: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            max_in_flight: AtomicUsize::new(0),
        })
    }

    /// Creates a server that sends these replies in turn, and then repeats the last one.
    pub(crate) fn script(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        let mut replies: VecDeque<Reply> = replies.into_iter().collect();
        Self::new(move |_| match replies.len() {
            1 => replies[0].clone(),
            _ => replies.pop_front().unwrap(),
        })
    }

    /// Returns an observer whose notices [`FakeServer::notices`] returns.
    pub(crate) fn observer(self: &Arc<Self>) -> Observer {
        let this = Arc::clone(self);
        Arc::new(move |notice| this.notices.lock().unwrap().push(notice))
    }

    /// Returns the notices of delays and retries. Those of admitted requests say what the requests do.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        let notices = self.notices.lock().unwrap().clone();
        notices.into_iter().filter(|it| !matches!(it, Notice::Admitted { .. })).collect()
    }

    pub(crate) fn requests(&self) -> Vec<FakeRequest> {
        self.requests.lock().unwrap().clone()
    }

    /// Lines of all requests.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }

    /// Seconds from the first request to each one.
    pub(crate) fn times(&self) -> Vec<u64> {
        let requests = self.requests();
        requests.iter().map(|request| (request.at - requests[0].at).as_secs()).collect()
    }

    /// Maximum number of requests that were in flight at once.
    pub(crate) fn max_in_flight(&self) -> usize {
        self.max_in_flight.load(Ordering::Relaxed)
    }
}

impl Transport for FakeServer {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        let url = request.url().as_str();
        let request = FakeRequest {
            line: format!("{} {}", request.method(), url.strip_prefix(BASE_URL).unwrap_or(url)),
            headers: request.headers().clone(),
            body: request.body().and_then(Body::as_bytes).unwrap_or_default().to_vec(),
            at: Instant::now(),
        };
        let is_head = request.line.starts_with("HEAD ");
        let reply = self.responder.lock().unwrap()(&request);
        self.requests.lock().unwrap().push(request);
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.max_in_flight.fetch_max(in_flight, Ordering::Relaxed);
        Box::pin(async move {
            if !self.latency.is_zero() {
                tokio::time::sleep(self.latency).await;
            }
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            match reply {
                Reply::Response { status, headers, body } => {
                    let mut response = http::Response::builder().status(status);
                    for (name, value) in headers {
                        response = response.header(name, value);
                    }
                    let body = if is_head { Vec::new() } else { body };
                    Ok(response.body(body).unwrap().into())
                }
                Reply::Broken { sent } => {
                    Err(TransportError { sent, message: "cut off".to_owned() })
                }
                Reply::Silence => std::future::pending().await,
                Reply::Trickle(interval) => {
                    let body = stream::unfold((), move |()| async move {
                        tokio::time::sleep(interval).await;
                        Some((Ok::<_, std::io::Error>("x"), ()))
                    });
                    Ok(http::Response::new(Body::wrap_stream(body)).into())
                }
            }
        })
    }
}
