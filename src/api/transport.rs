//! The way a request takes: over the network, or in a test to whatever answers inside the process.

use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::{Request, Response};

use super::endpoint::Endpoint;
use crate::base::one_line::chain;

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
pub(super) struct Network(reqwest::Client);

impl Network {
    /// Fails where no connection can be made secure.
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self, Broken> {
        // Wherever a presigned URL redirects to was not signed, and where the API does is for
        // `redirect` to judge.
        let builder = reqwest::Client::builder()
            .user_agent(concat!("imgplan/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT);
        // A proxy is for the world outside: it could not reach this machine's loopback.
        let builder = if endpoint.is_loopback() { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| {
            let why = chain(&error);
            let help =
                "the system's CA certificates are needed (ca-certificates, or SSL_CERT_FILE)";
            Broken { sent: false, message: format!("{why}; {help}") }
        })?;
        Ok(Self(client))
    }
}

impl Transport for Network {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Broken>> {
        Box::pin(async { self.0.execute(request).await.map_err(Broken::of) })
    }
}

#[cfg(test)]
mod tests {
    use reqwest::{Method, Url};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::base::name::Owner;

    #[tokio::test]
    async fn the_network_follows_nothing_by_itself() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 1024]).await.unwrap();
            let answer = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n";
            socket.write_all(answer).await.unwrap();
        });
        let endpoint = Endpoint { url: url.clone(), key: None, owner: Owner::Personal };
        let request = Request::new(Method::POST, Url::parse(&url).unwrap());
        let answer = Network::new(&endpoint).unwrap().send(request).await.unwrap();
        assert_eq!(answer.status(), 302);
    }
}
