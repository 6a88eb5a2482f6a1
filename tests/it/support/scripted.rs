//! A service with scripted responses, for responses that the local server never gives.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// One scripted response.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    /// A response with any text.
    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.to_owned() }
    }

    /// A response in JSON.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, &body.to_string()).header("content-type", "application/json")
    }

    /// An error response of the service.
    pub(crate) fn detail(status: u16, detail: &str) -> Self {
        Self::json(status, &json!({ "detail": detail }))
    }

    /// A response without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self::text(status, "")
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// A request in the log.
#[derive(Debug, Clone)]
pub(crate) struct ScriptedRequest {
    pub(crate) method: String,
    /// Path without the API's prefix and without the query.
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

struct Rule {
    method: String,
    path: String,
    answers: Answers,
}

/// Returns the response for a request's body.
type ByBody = Box<dyn Fn(&[u8]) -> Answer + Send>;

enum Answers {
    InTurn(VecDeque<Answer>),
    By(ByBody),
}

impl Answers {
    fn next(&mut self, body: &[u8]) -> Option<Answer> {
        match self {
            Self::InTurn(answers) if answers.len() > 1 => answers.pop_front(),
            Self::InTurn(answers) => answers.front().cloned(),
            Self::By(answer) => Some(answer(body)),
        }
    }
}

#[derive(Default)]
struct Script {
    rules: Vec<Rule>,
    requests: Vec<ScriptedRequest>,
}

/// A service that follows a script. A request without a rule gets 404.
pub(crate) struct Scripted {
    url: String,
    script: Arc<Mutex<Script>>,
    runtime: Option<Runtime>,
}

impl Scripted {
    /// Starts a service without rules.
    pub(crate) fn start() -> Self {
        let runtime = super::runtime();
        let script = Arc::new(Mutex::new(Script::default()));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url, script, runtime: Some(runtime) }
    }

    /// Starts a service that accepts builds as `b-1` and reports them as complete.
    pub(crate) fn accepting() -> Self {
        let scripted = Self::start();
        scripted
            .on("POST", "/images/build", [Answer::json(201, &scripted.accepted("b-1"))])
            .on("PUT", "/upload/*", [Answer::empty(200)])
            .on("POST", "/images/build/*/start", [Answer::json(200, &json!({ "ok": true }))])
            .on("GET", "/images/build/*", [Answer::json(200, &completed("b-1"))]);
        scripted
    }

    /// Returns the response for an accepted build.
    pub(crate) fn accepted(&self, build: &str) -> Value {
        json!({
            "build_id": build,
            "upload_url": format!("{}/upload/{build}?signature=s3cr3t", self.url),
            "expires_in": 3600,
            "fullImagePath": "prime/local/app:v1",
            "visibility": "PRIVATE",
        })
    }

    /// Adds a rule. A `*` in the path matches one segment. A later rule overrides an earlier one. The
    /// responses are sent in order, and the last one is repeated.
    pub(crate) fn on(
        &self,
        method: &str,
        path: &str,
        answers: impl IntoIterator<Item = Answer>,
    ) -> &Self {
        self.rule(method, path, Answers::InTurn(answers.into_iter().collect()))
    }

    /// Adds a rule whose response depends on the body of the request.
    pub(crate) fn by_body(
        &self,
        method: &str,
        path: &str,
        answer: impl Fn(&[u8]) -> Answer + Send + 'static,
    ) -> &Self {
        self.rule(method, path, Answers::By(Box::new(answer)))
    }

    fn rule(&self, method: &str, path: &str, answers: Answers) -> &Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        self.script.lock().unwrap().rules.insert(0, Rule { method, path, answers });
        self
    }

    /// Returns the URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns all requests so far, in order.
    pub(crate) fn requests(&self) -> Vec<ScriptedRequest> {
        self.script.lock().unwrap().requests.clone()
    }

    /// Returns the number of requests to a path, in which a `*` matches one segment.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        let requests = self.requests();
        requests.iter().filter(|a| a.method == method && matches(path, &a.path)).count()
    }
}

/// Returns the status of a complete build.
pub(crate) fn completed(build: &str) -> Value {
    json!({ "id": build, "status": "COMPLETED", "fullImagePath": "prime/local/app:v1" })
}

fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (pattern.split('/'), path.split('/'));
    pattern.clone().count() == path.clone().count()
        && pattern.zip(path).all(|(pattern, part)| pattern == "*" || pattern == part)
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let path = uri.path().strip_prefix("/api/v1").unwrap_or(uri.path()).to_owned();
    let mut script = script.lock().unwrap();
    let method = method.to_string();
    let rule = script.rules.iter_mut().find(|r| r.method == method && matches(&r.path, &path));
    let answer = rule.and_then(|rule| rule.answers.next(&body));
    script.requests.push(ScriptedRequest { method, path, body: body.into() });
    let answer = answer.unwrap_or_else(|| Answer::detail(404, "the script has no such rule"));
    let mut response = (StatusCode::from_u16(answer.status).unwrap(), answer.body).into_response();
    for (name, value) in answer.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
