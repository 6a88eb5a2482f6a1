//! The errors of the server, and its refusals of requests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::base::file::PathError;
use crate::base::name::NameError;
use crate::base::safe_text::error_chain;

/// Time after a failed write of the state until the next one is tried.
pub(super) const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// An error that keeps the local server from starting, or from writing its state.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}")]
    #[diagnostic(
        code(imgplan::server::listen),
        help("choose another address, or port 0 for any free one")
    )]
    Listen {
        /// The requested address.
        addr: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Anyone in the network could use the server.
    #[error("{0} is not an address of this machine alone, and there is no token")]
    #[diagnostic(
        code(imgplan::server::open),
        help(
            "add --token KEY, or listen on 127.0.0.1: without a token, anyone who reaches the server may use it"
        )
    )]
    Open(SocketAddr),
    /// Another server uses the state folder.
    #[error("the state in {} is in use by {holder}", dir.display())]
    #[diagnostic(
        code(imgplan::server::held),
        help("stop that server, or choose another folder for this one")
    )]
    Held {
        /// The state folder.
        dir: PathBuf,
        /// Description that the other server left.
        holder: String,
    },
    /// The state cannot be read or written.
    #[error("cannot read or write the server's state")]
    #[diagnostic(
        code(imgplan::server::state),
        help(
            "check that the state folder exists and is writable, and that the disk has free space"
        )
    )]
    State(#[from] PathError),
    /// A file of the state has invalid content.
    #[error("the server's state is damaged: {} line {line}: {message}", path.display())]
    #[diagnostic(
        code(imgplan::server::corrupt),
        help("restore the file from a backup, or move the folder away to start empty")
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Description of the error.
        message: String,
    },
    /// The state was written by a newer imgplan.
    #[error("{} has version {found}; this imgplan supports versions up to {known}", path.display())]
    #[diagnostic(
        code(imgplan::server::newer),
        help("update imgplan, or move the folder away to start empty")
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of the file.
        found: u64,
        /// The newest supported version.
        known: u64,
    },
    /// The engine cannot build on this machine.
    #[error("the engine `{engine}` cannot be used: {message}")]
    #[diagnostic(code(imgplan::server::engine), help("{help}"))]
    Engine {
        /// Name of the engine.
        engine: &'static str,
        /// The reason.
        message: String,
        /// Advice to the user.
        help: String,
    },
    /// The fault rates of a class add up to more than 1.
    #[error("{0}")]
    #[diagnostic(code(imgplan::server::faults), help("{}", .0.help))]
    Faults(NameError),
    /// The settings of the registry are invalid.
    #[error("{message}")]
    #[diagnostic(code(imgplan::server::registry), help("{help}"))]
    Registry {
        /// The problem.
        message: String,
        /// The correction.
        help: String,
    },
    /// The operating system provided no random numbers for keys and IDs.
    #[error("the operating system provides no random numbers: {0}")]
    #[diagnostic(code(imgplan::server::random))]
    Random(getrandom::Error),
}

/// A commit that cannot be written to disk. It may have been applied, and may be written later.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the server cannot store its state: {0}")]
pub(super) struct StoreError(String);

impl StoreError {
    /// Returns the error with an earlier one that led to it.
    pub(super) fn after(self, earlier: &PathError) -> Self {
        Self(format!("{}; {}", error_chain(earlier), self.0))
    }
}

impl From<PathError> for StoreError {
    fn from(error: PathError) -> Self {
        Self(error_chain(&error))
    }
}

/// A refusal of a request: a status, and a body in a shape of the API contract, section 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// `None` sends no body, as with 401.
    pub(super) body: Option<Value>,
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    /// A body of the form `{"detail": "..."}`.
    pub(super) fn detail(status: StatusCode, detail: impl Into<String>) -> Self {
        let body = Some(json!({ "detail": detail.into() }));
        Self { status, body, retry_after: None }
    }

    /// 400: well-formed but not possible.
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::detail(StatusCode::BAD_REQUEST, detail)
    }

    /// 403.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::detail(StatusCode::FORBIDDEN, detail)
    }

    /// 404.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::detail(StatusCode::NOT_FOUND, detail)
    }

    /// 409.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::detail(StatusCode::CONFLICT, detail)
    }

    /// 401, which has no body.
    pub(super) fn unauthorized() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, body: None, retry_after: None }
    }

    /// 422 in its documented shape, with the parameter and what is wrong with it.
    pub(super) fn invalid(param: &str, details: impl Into<String>) -> Self {
        let body = json!({ "errors": [{ "param": param, "details": details.into() }] });
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, body: Some(body), retry_after: None }
    }

    /// 429 of a rate limit, which passes.
    pub(super) fn too_many(detail: impl Into<String>, retry_after: Duration) -> Self {
        let refusal = Self::detail(StatusCode::TOO_MANY_REQUESTS, detail);
        Self { retry_after: Some(retry_after), ..refusal }
    }

    /// 429 of a quota, which does not pass.
    pub(super) fn quota(detail: impl Into<String>) -> Self {
        Self::detail(StatusCode::TOO_MANY_REQUESTS, detail)
    }

    /// 500: a bug of this server, or a failed write.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::detail(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// True if the request was refused because the state cannot be stored.
    pub(super) fn is_of_the_store(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Returns the text of the refusal, for a response that contains it.
    pub(super) fn message(&self) -> String {
        let body = self.body.as_ref();
        let text = body.and_then(|body| {
            body["detail"].as_str().or_else(|| body["errors"][0]["details"].as_str())
        });
        text.unwrap_or("refused").to_owned()
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        // A client may see the path: client and server run on the same machine.
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        Self::internal(format!("{error}: {}", cause.unwrap_or_default()))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let refusal = Self::detail(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        Self { retry_after: Some(STORE_RETRY_DELAY), ..refusal }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Some(body) => (self.status, axum::Json(body)).into_response(),
            None => self.status.into_response(),
        };
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up, so that a client that waits is not refused again.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}
