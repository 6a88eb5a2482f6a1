//! The way a request takes: over the network, or in a test to whatever answers inside the process.

use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::{Client, Request, Response};

use super::error::shorten;
use crate::base::loopback::is_loopback;
use crate::base::one_line::chain;
use crate::base::secret::scrub;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// Carries requests, and follows nothing by itself. All timeouts but the connection's are the
/// asker's own, so that they hold whatever carries them.
pub trait Transport: Send + Sync {
    /// Carries a request to wherever its URL says.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Broken>>;
}

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Broken {
    /// Whether any of it may have left; `false` where no connection came about.
    pub sent: bool,
    /// What happened, without the URL.
    pub message: String,
}

impl Broken {
    pub(super) fn of(error: reqwest::Error) -> Self {
        let sent = !error.is_connect() && !error.is_builder();
        Self { sent, message: shorten(&scrub(&chain(&error.without_url()), None)) }
    }
}

/// The network.
pub(super) struct Network {
    world: Client,
    /// A proxy is for the world outside: it could not reach this machine's loopback.
    here: Client,
}

impl Network {
    /// Fails where no connection can be made secure.
    pub(super) fn new(user_agent: &str) -> Result<Self, Broken> {
        let builder = || {
            // What is followed, and what is taken along, is for `wire` to judge.
            let nothing = reqwest::redirect::Policy::none();
            Client::builder().user_agent(user_agent).redirect(nothing).connect_timeout(CONNECT)
        };
        let failed = |error: reqwest::Error| {
            let why = chain(&error);
            let help =
                "the system's CA certificates are needed (ca-certificates, or SSL_CERT_FILE)";
            Broken { sent: false, message: format!("{why}; {help}") }
        };
        let world = builder().build().map_err(failed)?;
        let here = builder().no_proxy().build().map_err(failed)?;
        Ok(Self { world, here })
    }
}

impl Transport for Network {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Broken>> {
        let client = if is_loopback(request.url()) { &self.here } else { &self.world };
        Box::pin(async { client.execute(request).await.map_err(Broken::of) })
    }
}
