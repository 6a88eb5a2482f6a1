//! Sends HTTP requests: over the network, or in tests to a fake server inside the process.

use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, Request, Response};

use super::loopback::is_loopback;
use crate::base::safe_text::error_chain;

/// Time limit for establishing a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time for which sent data may stay unacknowledged. Callers have shorter timeouts of their
/// own, except for an upload to a storage that stops reading for a while.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(180);

/// Sends requests. Follows no redirects; timeouts, other than for connecting, are up to the caller.
pub trait Transport: Send + Sync {
    /// Sends a request to the host in its URL.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>>;

    /// Uploads a context to the service's object storage.
    fn upload(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        self.send(request)
    }
}

/// A request that got no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    /// True if a part of the request may have been sent; false if no connection was established.
    pub sent: bool,
    /// The cause, without the URL.
    pub message: String,
}

impl From<reqwest::Error> for TransportError {
    fn from(error: reqwest::Error) -> Self {
        // Without a connection nothing was sent; a request that could not be built was not sent
        // either.
        let sent = !error.is_connect() && !error.is_builder();
        Self { sent, message: error_chain(&error.without_url()) }
    }
}

/// Chooses the cryptography of TLS for all clients of the process. Without a choice, a client cannot be
/// created.
pub fn install_tls_provider() {
    // Fails if it was chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The transport over the network.
pub(crate) struct Network {
    remote: Client,
    /// Ignores proxy settings: a proxy cannot reach this machine's loopback interface.
    loopback: Client,
}

impl Network {
    /// Creates the transport; `user_agent` is sent with every request.
    ///
    /// # Errors
    ///
    /// Fails if TLS cannot be set up, for example without CA certificates.
    pub(crate) fn new(user_agent: &str) -> Result<Self, TransportError> {
        Self::trusting(user_agent, &[])
    }

    /// Creates a transport that also trusts the CA certificates in `pem`, which may be empty.
    ///
    /// # Errors
    ///
    /// Fails as [`Network::new`] does, and if `pem` is no PEM text of certificates.
    pub(crate) fn trusting(user_agent: &str, pem: &[u8]) -> Result<Self, TransportError> {
        let invalid = |why: &str| {
            let message = format!("the CA file is not a PEM file of certificates: {why}");
            TransportError { sent: false, message }
        };
        let authorities = Certificate::from_pem_bundle(pem);
        let authorities = authorities.map_err(|error| invalid(&error_chain(&error)))?;
        if authorities.is_empty() && !pem.is_empty() {
            return Err(invalid("it has none"));
        }
        install_tls_provider();
        let builder = || {
            // Without this header, a server may compress as it likes (RFC 9110, section 12.5.3).
            let identity = HeaderValue::from_static("identity");
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, identity)]);
            // The clients decide about redirects: each has its own rules for secrets.
            let none = reqwest::redirect::Policy::none();
            let client = Client::builder().user_agent(user_agent).default_headers(headers);
            let client = client.redirect(none).connect_timeout(CONNECT_TIMEOUT);
            let client = client.tls_certs_merge(authorities.clone());
            #[cfg(target_os = "linux")]
            let client = client.tcp_user_timeout(UNACKNOWLEDGED_TIMEOUT);
            client
        };
        let failed = |error: reqwest::Error| {
            let why = error_chain(&error);
            let help =
                "install the system's CA certificates (ca-certificates) or set SSL_CERT_FILE";
            TransportError { sent: false, message: format!("{why}; {help}") }
        };
        let remote = builder().build().map_err(failed)?;
        let loopback = builder().no_proxy().build().map_err(failed)?;
        Ok(Self { remote, loopback })
    }
}

impl Transport for Network {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        let client = if is_loopback(request.url()) { &self.loopback } else { &self.remote };
        Box::pin(async { client.execute(request).await.map_err(TransportError::from) })
    }
}

#[cfg(test)]
mod tests {
    use reqwest::{Method, Url};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn redirects_are_not_followed_and_no_coding_is_accepted() {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let server = tokio::spawn(async move {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let length = socket.read(&mut request).await.unwrap();
                let response = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n";
                socket.write_all(response).await.unwrap();
                String::from_utf8_lossy(&request[..length]).to_ascii_lowercase()
            });
            let request = Request::new(method, Url::parse(&url).unwrap());
            let response = Network::new("test").unwrap().send(request).await.unwrap();
            assert_eq!(response.status(), 302);
            let request = server.await.unwrap();
            assert!(request.contains("\r\naccept-encoding: identity\r\n"), "{request}");
        }
    }
}
