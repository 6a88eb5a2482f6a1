//! Why the server does not start, and why it refuses a request.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::base::file::PathError;
use crate::base::name::NameError;

/// Why the local server does not start, or cannot save its state.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}")]
    #[diagnostic(
        code(imgplan::server::listen),
        help("choose another address, or port 0 for any free one")
    )]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another server works in the state's folder.
    #[error("the state in {} is in use by {holder}", dir.display())]
    #[diagnostic(
        code(imgplan::server::held),
        help("stop that server, or give this one a folder of its own")
    )]
    Held {
        /// The state's folder.
        dir: PathBuf,
        /// What the other server wrote about itself.
        holder: String,
    },
    /// The state cannot be read or written.
    #[error("the server's state is out of reach")]
    #[diagnostic(
        code(imgplan::server::state),
        help(
            "check that the state's folder exists and may be written, and that the disk has room"
        )
    )]
    State(#[from] PathError),
    /// The state was read and makes no sense.
    #[error("the server's state is damaged: {} line {line}: {message}", path.display())]
    #[diagnostic(
        code(imgplan::server::corrupt),
        help("restore the file from a backup, or move the folder away to start empty")
    )]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Which line of it.
        line: usize,
        /// What does not fit.
        message: String,
    },
    /// The state was written by a newer version of the program.
    #[error("{} has version {found}, and this imgplan knows versions up to {known}", path.display())]
    #[diagnostic(
        code(imgplan::server::newer),
        help("update imgplan, or move the folder away to start empty")
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest version that is known.
        known: u64,
    },
    /// The faults asked for add up to more than all requests of a class.
    #[error("{0}")]
    #[diagnostic(code(imgplan::server::faults), help("{}", .0.help))]
    Faults(NameError),
    /// The system gave no random numbers for keys and IDs.
    #[error("the system gives no random numbers: {0}")]
    #[diagnostic(code(imgplan::server::random))]
    Random(getrandom::Error),
}

/// An answer that is not the one asked for: a status and a body in a shape of `api.md` §1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// `None`: no body at all, as with 401.
    pub(super) body: Option<Value>,
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    /// `{"detail": "..."}` with a status of choice.
    pub(super) fn detail(status: StatusCode, detail: impl Into<String>) -> Self {
        let body = Some(json!({ "detail": detail.into() }));
        Self { status, body, retry_after: None }
    }

    /// 400: well-formed, and not possible.
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::detail(StatusCode::BAD_REQUEST, detail)
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

    /// 422 in its documented shape: which parameter, and what is wrong with it.
    pub(super) fn invalid(param: &str, details: impl Into<String>) -> Self {
        let body = json!({ "errors": [{ "param": param, "details": details.into() }] });
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, body: Some(body), retry_after: None }
    }

    /// 429 for a rate, which passes.
    pub(super) fn too_many(detail: impl Into<String>, retry_after: Duration) -> Self {
        let refusal = Self::detail(StatusCode::TOO_MANY_REQUESTS, detail);
        Self { retry_after: Some(retry_after), ..refusal }
    }

    /// 429 for a quota, which does not pass by waiting.
    pub(super) fn quota(detail: impl Into<String>) -> Self {
        Self::detail(StatusCode::TOO_MANY_REQUESTS, detail)
    }

    /// 500: ours to mend.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::detail(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// The sentence inside, where another answer has to carry it.
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
        // The path and the cause are for whoever runs the server, who is also who asks.
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        Self::internal(format!("{error}: {}", cause.unwrap_or_default()))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Some(body) => (self.status, axum::Json(body)).into_response(),
            None => self.status.into_response(),
        };
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up: a client that obeys is never refused twice.
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
