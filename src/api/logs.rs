//! Reads the logs of builds. Only the local server has them: an extension of the API.

use super::call::{Call, CallResponse};
use super::client::Client;
use super::error::{ApiError, ErrorKind};
use super::response::RemoteBuild;
use super::retry::{Attempts, Repeat};
use super::wire::BuildLogResponse;
use crate::base::limit::Class;
use crate::base::name::BuildId;
use crate::base::secret::scrub;

/// Maximum number of attempts at a request for a log. A service without logs may answer in any way.
const MAX_LOG_ATTEMPTS: u32 = 3;

/// A part of a build's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLogPart {
    /// Lines of the log, as the service sent them.
    pub text: String,
    /// Offset of the next part.
    pub next: u64,
    /// Status of the build once it has ended and this is the last part.
    pub ended: Option<String>,
}

/// The answer of a service to a request for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogAnswer {
    /// A part of the log.
    Part(BuildLogPart),
    /// The service has no logs. All that it says about the build is its status.
    Missing(Box<RemoteBuild>),
}

impl Client {
    /// `GET /images/build/{id}/logs`: returns the part of a build's log at an offset.
    ///
    /// # Errors
    ///
    /// Fails if the request fails for good; with [`ErrorKind::NotFound`] if the build is unknown.
    pub async fn build_log(&self, build: &BuildId, offset: u64) -> Result<LogAnswer, ApiError> {
        let path = format!("/images/build/{build}/logs?offset={offset}");
        let call = Call::get(Class::Status, "read the build's log", path);
        let read = |response: &CallResponse<'_>| {
            let part: BuildLogResponse = serde_json::from_value(response.json()?)
                .map_err(|_| response.bad("the response has no log"))?;
            let text = scrub(&part.text, Some(self.caller.connection.key.expose()));
            let ended = part.has_ended.then(|| self.caller.clean(&part.status));
            Ok(BuildLogPart { text, next: part.next_offset, ended })
        };
        let mut attempts = Attempts::new(Repeat::Safe).at_most(MAX_LOG_ATTEMPTS);
        match self.caller.call(&call, &mut attempts, None, read).await {
            Ok(part) => Ok(LogAnswer::Part(part)),
            Err(error) if is_missing(&error) => {
                Ok(LogAnswer::Missing(Box::new(self.status(build).await?)))
            }
            Err(error) => Err(error),
        }
    }
}

/// True if a service without logs may answer so.
fn is_missing(error: &ApiError) -> bool {
    matches!(error.status, Some(404 | 405)) || error.kind == ErrorKind::BadResponse
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::BuildProgress;
    use crate::http::fake::{FakeServer, Reply};

    async fn ask(replies: Vec<Reply>) -> Result<LogAnswer, ApiError> {
        let client = Client::fake(&FakeServer::script(replies));
        client.build_log(&BuildId::new("b-1").unwrap(), 0).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_is_read_in_parts() {
        let part =
            json!({"text": "a\nk-123\n", "nextOffset": 9, "status": "FAILED", "ended": true});
        let Ok(LogAnswer::Part(part)) = ask(vec![Reply::json(200, &part)]).await else { panic!() };
        assert_eq!((part.next, part.ended.as_deref()), (9, Some("FAILED")));
        assert!(!part.text.contains("k-123"), "{}", part.text);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_without_logs_is_asked_for_the_status() {
        let status = json!({"id": "b-1", "status": "FAILED", "errorMessage": "no disk"});
        for reply in [
            Reply::json(404, &json!({"detail": "Not Found"})),
            Reply::json(405, &json!({"detail": "Method Not Allowed"})),
        ] {
            let log = ask(vec![reply, Reply::json(200, &status)]).await.unwrap();
            let LogAnswer::Missing(build) = log else { panic!() };
            assert_eq!(build.progress, BuildProgress::Failed("no disk".to_owned()));
        }
        let unknown = || Reply::json(404, &json!({"detail": "Build b-1 not found"}));
        let error = ask(vec![unknown(), unknown()]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }
}
