//! A service inside the process, for tests of the client: a function from requests to replies.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http;
use futures::future::BoxFuture;
use futures::stream;
use reqwest::{Body, Request, Response};
use serde_json::Value;
use tokio::time::Instant;

use super::{Client, Endpoint, Gate, Transport, TransportError};
use crate::base::name::Owner;
use crate::base::secret::ApiKey;
use crate::http::Notice;

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Answer(u16, Vec<(&'static str, String)>, String),
    /// No answer, and whether any of the request left.
    Broken(bool),
    /// No answer, ever.
    Silence,
    /// A head, and then a byte each so often.
    Trickle(Duration),
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::Answer(status, Vec::new(), body.to_string())
    }

    pub(super) fn detail(status: u16, detail: &str) -> Self {
        Self::json(status, &serde_json::json!({ "detail": detail }))
    }

    pub(super) fn html() -> Self {
        Self::Answer(200, Vec::new(), "<html>Welcome</html>".to_owned())
    }

    pub(super) fn header(self, name: &'static str, value: &str) -> Self {
        match self {
            Self::Answer(status, mut headers, body) => {
                headers.push((name, value.to_owned()));
                Self::Answer(status, headers, body)
            }
            other => other,
        }
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Method and path with query: `GET /images/builds?offset=0&limit=100`.
    pub(super) line: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) at: Instant,
}

type Answering = Box<dyn FnMut(&Asked) -> Reply + Send>;

/// The service.
pub(super) struct Fake {
    answering: Mutex<Answering>,
    asked: Mutex<Vec<Asked>>,
    notices: Mutex<Vec<Notice>>,
}

impl Fake {
    pub(super) fn new(answering: impl FnMut(&Asked) -> Reply + Send + 'static) -> Arc<Self> {
        let answering: Mutex<Answering> = Mutex::new(Box::new(answering));
        Arc::new(Self { answering, asked: Mutex::default(), notices: Mutex::default() })
    }

    /// Gives replies in turn, and the last one ever after.
    pub(super) fn script(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        let mut replies: VecDeque<Reply> = replies.into_iter().collect();
        Self::new(move |_| match replies.len() {
            1 => replies[0].clone(),
            _ => replies.pop_front().unwrap(),
        })
    }

    /// A client for it; what that tells is kept.
    pub(super) fn client(self: &Arc<Self>, gate: Gate) -> Client {
        let transport: Arc<dyn Transport> = Arc::<Self>::clone(self);
        let ear = Arc::clone(self);
        let client = Client::over(&endpoint(), gate, transport).unwrap();
        client.observed(Arc::new(move |notice| ear.notices.lock().unwrap().push(notice)))
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }

    /// The seconds between each request and the first.
    pub(super) fn times(&self) -> Vec<u64> {
        let asked = self.asked();
        asked.iter().map(|one| (one.at - asked[0].at).as_secs()).collect()
    }

    pub(super) fn notices(&self) -> Vec<Notice> {
        self.notices.lock().unwrap().clone()
    }
}

impl Transport for Fake {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        let request: http::Request<Body> = request.try_into().unwrap();
        let path = request.uri().path_and_query().unwrap().as_str();
        let path = path.strip_prefix("/api/v1").unwrap_or(path);
        let asked = Asked {
            line: format!("{} {path}", request.method()),
            headers: request.headers().clone(),
            body: request.body().as_bytes().unwrap_or_default().to_vec(),
            at: Instant::now(),
        };
        let reply = self.answering.lock().unwrap()(&asked);
        self.asked.lock().unwrap().push(asked);
        Box::pin(async move {
            match reply {
                Reply::Answer(status, headers, body) => {
                    let mut answer = http::Response::builder().status(status);
                    for (name, value) in headers {
                        answer = answer.header(name, value);
                    }
                    Ok(answer.body(body).unwrap().into())
                }
                Reply::Broken(sent) => Err(TransportError { sent, message: "cut off".to_owned() }),
                Reply::Silence => std::future::pending().await,
                Reply::Trickle(gap) => {
                    let body = stream::unfold((), move |()| async move {
                        tokio::time::sleep(gap).await;
                        Some((Ok::<_, std::io::Error>("x"), ()))
                    });
                    Ok(http::Response::new(Body::wrap_stream(body)).into())
                }
            }
        })
    }
}

fn endpoint() -> Endpoint {
    let key = ApiKey::new("k-123");
    Endpoint { url: "https://fake".to_owned(), key, owner: Owner::Personal }
}

impl Client {
    /// A client whose requests this carries.
    pub(crate) fn carried_by(transport: impl Transport + 'static) -> Self {
        Self::over(&endpoint(), Gate::new(&[]), Arc::new(transport)).unwrap()
    }
}
