//! The way a request takes: over the network, or in a test to whatever answers inside the process.

use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::{Request, Response};

use super::endpoint::Endpoint;
use super::error::chain;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// Carries requests. All timeouts but the connection's are the client's own, so that they hold
/// whatever carries them.
pub trait Transport: Send + Sync {
    /// Carries a request to the API.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Broken>>;

    /// Carries a context to the service's storage.
    fn store(&self, request: Request) -> BoxFuture<'_, Result<Response, Broken>> {
        self.send(request)
    }
}

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Whether any of it may have left; `false` where nothing can have.
    pub sent: bool,
    /// What happened, without the URL.
    pub message: String,
}

impl Broken {
    pub(super) fn of(error: reqwest::Error) -> Self {
        // A connection that was never made sent nothing; a request that could not be built neither.
        let sent = !error.is_connect() && !error.is_builder();
        Self { sent, message: chain(&error.without_url()) }
    }
}

/// The network.
pub(super) struct Network {
    api: reqwest::Client,
    storage: reqwest::Client,
}

impl Network {
    /// Fails where no connection can be made secure.
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self, Broken> {
        let builder = || {
            let builder = reqwest::Client::builder()
                .user_agent(concat!("imgplan/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT);
            // A proxy is for the world outside: it could not reach this machine's loopback.
            if endpoint.is_loopback() { builder.no_proxy() } else { builder }
        };
        // A presigned URL is for this one request: wherever it redirects to was not signed.
        let storage = builder().redirect(reqwest::redirect::Policy::none()).build();
        let fail = |error: reqwest::Error| {
            let why = chain(&error);
            let help =
                "the system's CA certificates are needed (ca-certificates, or SSL_CERT_FILE)";
            Broken { sent: false, message: format!("{why}; {help}") }
        };
        Ok(Self { api: builder().build().map_err(fail)?, storage: storage.map_err(fail)? })
    }
}

impl Transport for Network {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Broken>> {
        Box::pin(async { self.api.execute(request).await.map_err(Broken::of) })
    }

    fn store(&self, request: Request) -> BoxFuture<'_, Result<Response, Broken>> {
        Box::pin(async { self.storage.execute(request).await.map_err(Broken::of) })
    }
}
