//! Views of a running server for tests and benches: its counts and builds, and requests that it
//! answers without a network.

use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use tower::ServiceExt;

use super::Server;
use super::builds::ServerBuild;
use super::inject::{self, ConnectionCut};
use super::traffic::{ClassCounts, RequestCounts};
use crate::base::limit::Class;

impl Server {
    /// Answers a request without a network, in the caller's task. Nothing waits for a socket, so that a
    /// paused clock can run ahead. Adds `Content-Length` if the length of the body is known.
    ///
    /// # Errors
    /// Fails if an injected fault closes the connection.
    pub fn call(
        &self,
        mut request: Request,
    ) -> impl Future<Output = Result<Response, ConnectionCut>> + Send + use<> {
        if let Some(length) = request.body().size_hint().exact() {
            let headers = request.headers_mut();
            headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
        }
        let response = self.router.clone().oneshot(request);
        async move {
            let Ok(response) = response.await;
            if inject::is_cut(&response) { Err(ConnectionCut) } else { Ok(response) }
        }
    }

    /// Returns a copy of the server's counts and its log.
    pub fn counts(&self) -> RequestCounts {
        self.app.traffic().counts()
    }

    /// Returns the server's counts of one class, without copying the log.
    pub fn counts_of(&self, class: Class) -> ClassCounts {
        self.app.traffic().counts_of(class)
    }

    /// Returns all accepted builds and transfers that were not deleted, in order of acceptance.
    pub fn builds(&self) -> Vec<ServerBuild> {
        self.app.store().state().builds().rev().map(ServerBuild::from).collect()
    }

    /// Changes the maximum number of images of the account and of each team.
    pub fn set_quota(&self, quota: Option<u32>) {
        self.app.set_quota(quota);
    }

    /// Waits until no build is running and every `late` request has taken effect. A build that waits for
    /// its context is not running.
    pub async fn idle(&self) {
        let mut running = self.app.running.subscribe();
        // Does not fail: the sender is in the app, which this server owns.
        let _ = running.wait_for(|running| *running == 0).await;
    }
}
