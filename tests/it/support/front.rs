//! A proxy in front of a registry: logs requests, responds to some itself, changes other responses, and
//! breaks connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// A request in the log.
#[derive(Debug, Clone)]
pub(crate) struct FrontSeen {
    /// Request line with the query, such as `HEAD /v2/app/manifests/1`.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl FrontSeen {
    /// Returns the `Authorization` header, or an empty text.
    pub(crate) fn authorization(&self) -> &str {
        self.headers.get("authorization").map_or("", |value| value.to_str().unwrap())
    }
}

/// Returns a response in place of the registry's, if any.
type Instead = Box<dyn FnMut(&FrontSeen) -> Option<Response> + Send>;

/// Changes a response of the registry.
type Afterwards = Box<dyn Fn(&FrontSeen, Response) -> Response + Send>;

struct Shared {
    /// Address of the registry, such as `127.0.0.1:40123`.
    behind: String,
    client: reqwest::Client,
    instead: Mutex<Instead>,
    afterwards: Mutex<Afterwards>,
    seen: Mutex<Vec<FrontSeen>>,
    /// Number of connections to break.
    breaks: AtomicUsize,
}

/// A proxy in front of a registry.
pub(crate) struct Front {
    /// Address of the proxy, such as `127.0.0.1:40124`.
    pub(crate) address: String,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl Front {
    /// Starts a proxy that passes on every request.
    pub(crate) fn of(behind: &str) -> Self {
        let runtime = super::runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            behind: behind.to_owned(),
            client: super::http_client(),
            instead: Mutex::new(Box::new(|_| None)),
            afterwards: Mutex::new(Box::new(|_, answer| answer)),
            seen: Mutex::default(),
            breaks: AtomicUsize::new(0),
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let door = Door { listener, shared: Arc::clone(&shared) };
        runtime.spawn(async move { axum::serve(door, router).await });
        Self { address, shared, runtime: Some(runtime) }
    }

    /// Responds with the result of `instead` if it returns one.
    pub(crate) fn instead(
        self,
        instead: impl FnMut(&FrontSeen) -> Option<Response> + Send + 'static,
    ) -> Self {
        *self.shared.instead.lock().unwrap() = Box::new(instead);
        self
    }

    /// Changes the registry's responses.
    pub(crate) fn afterwards(
        self,
        afterwards: impl Fn(&FrontSeen, Response) -> Response + Send + 'static,
    ) -> Self {
        *self.shared.afterwards.lock().unwrap() = Box::new(afterwards);
        self
    }

    /// Breaks the next connections before their first byte.
    pub(crate) fn breaking(self, connections: usize) -> Self {
        self.shared.breaks.store(connections, Ordering::Relaxed);
        self
    }

    /// Returns and clears the log.
    pub(crate) fn seen(&self) -> Vec<FrontSeen> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap())
    }

    /// Returns the request lines of the log, and clears it.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }

    /// Returns the number of connections still to break.
    pub(crate) fn unbroken(&self) -> usize {
        self.shared.breaks.load(Ordering::Relaxed)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Accepts connections, and drops some.
struct Door {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl axum::serve::Listener for Door {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let Ok(connection) = self.listener.accept().await else { continue };
            let less = |left: usize| left.checked_sub(1);
            let breaks = &self.shared.breaks;
            if breaks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
                return connection;
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn pass(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path_and_query().unwrap().as_str();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let seen = FrontSeen { line: format!("{method} {path}"), headers, body };
    shared.seen.lock().unwrap().push(seen.clone());
    let instead = shared.instead.lock().unwrap()(&seen);
    if let Some(answer) = instead {
        return answer;
    }
    let url = format!("http://{}{path}", shared.behind);
    let mut request = shared.client.request(method, url);
    for accepted in seen.headers.get_all("accept") {
        request = request.header("accept", accepted.clone());
    }
    let answer = request.send().await.unwrap();
    let mut passed = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        passed = passed.header(name, value);
    }
    let body = answer.bytes().await.unwrap();
    let passed = passed.body(Body::from(body)).unwrap();
    shared.afterwards.lock().unwrap()(&seen, passed)
}

/// Returns a response.
pub(crate) fn answer(
    status: u16,
    headers: &[(&'static str, &str)],
    body: impl AsRef<[u8]>,
) -> Response {
    let mut answer = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(Body::from(body.as_ref().to_owned())).unwrap()
}
