//! Registries inside the process, for tests: a function from requests to replies.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http;
use futures::future::BoxFuture;
use reqwest::{Body, Request, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Registries, RegistryConfig, Transport, TransportError};
use crate::base::reference::OciDigest;

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// No answer, and whether any of the request left.
    Broken(bool),
    /// No answer, ever.
    Silence,
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::Answer(status, Vec::new(), body.to_string().into())
    }

    /// A manifest as a registry answers with it.
    pub(super) fn manifest(kind: &str, body: &Value) -> Self {
        let digest = OciDigest::of(body.to_string().as_bytes());
        Self::json(200, body)
            .header("content-type", kind)
            .header("docker-content-digest", &digest.to_string())
    }

    /// One whose content is nothing but its name.
    pub(super) fn image(name: &str) -> Self {
        Self::manifest(MANIFEST, &json!({"schemaVersion": 2, "config": {}, "name": name}))
    }

    pub(super) fn error(status: u16, code: &str) -> Self {
        Self::json(status, &json!({"errors": [{"code": code, "message": "so it is"}]}))
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer(_, headers, _) = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// `HEAD https://ghcr.io/v2/a/manifests/latest`.
    pub(super) line: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: String,
    pub(super) at: Instant,
}

impl Asked {
    pub(super) fn authorization(&self) -> Option<&str> {
        self.headers.get("authorization")?.to_str().ok()
    }
}

type Answering = Box<dyn FnMut(&Asked) -> Reply + Send>;

/// All registries that there are.
pub(super) struct Fake {
    answering: Mutex<Answering>,
    asked: Mutex<Vec<Asked>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

/// How long each answer takes.
pub(super) const LATENCY: Duration = Duration::from_millis(100);

impl Fake {
    pub(super) fn new(answering: impl FnMut(&Asked) -> Reply + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            answering: Mutex::new(Box::new(answering)),
            asked: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        })
    }

    /// Whoever asks it.
    pub(super) fn registries(self: &Arc<Self>, config: RegistryConfig) -> Registries {
        let transport: Arc<dyn Transport> = Arc::<Self>::clone(self);
        Registries::new(RegistryConfig { transport: Some(transport), ..config }).unwrap()
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }

    pub(super) fn most_under_way(&self) -> usize {
        self.most_under_way.load(Ordering::Relaxed)
    }
}

impl Transport for Fake {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        let body = request.body().and_then(Body::as_bytes).unwrap_or_default();
        let asked = Asked {
            line: format!("{} {}", request.method(), request.url()),
            headers: request.headers().clone(),
            body: String::from_utf8(body.to_vec()).unwrap(),
            at: Instant::now(),
        };
        let reply = self.answering.lock().unwrap()(&asked);
        let head = asked.line.starts_with("HEAD ");
        self.asked.lock().unwrap().push(asked);
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::Relaxed);
        Box::pin(async move {
            tokio::time::sleep(LATENCY).await;
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            match reply {
                Reply::Answer(status, headers, body) => {
                    let mut answer = http::Response::builder().status(status);
                    for (name, value) in headers {
                        answer = answer.header(name, value);
                    }
                    let body = if head { Vec::new() } else { body };
                    Ok(answer.body(body).unwrap().into())
                }
                Reply::Broken(sent) => Err(TransportError { sent, message: "cut off".to_owned() }),
                Reply::Silence => std::future::pending().await,
            }
        })
    }
}
