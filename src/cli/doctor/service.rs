//! Asks the service once, with the client of all commands.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::findings::{CheckProblem, MAX_REQUEST_TIME, ServiceFinding, ServiceOutcome};
use crate::api::Client;
use crate::cli::service::ServiceProfile;

/// Lists builds with the user's key. Returns the client if the service answered.
pub(super) async fn probe(service: &ServiceProfile) -> (ServiceFinding, Option<Client>) {
    let (outcome, client) = ask(service).await;
    let finding = ServiceFinding {
        url: service.name.clone(),
        key_from: service.key_from(),
        is_unencrypted: service.warning().is_some(),
        outcome,
    };
    (finding, client)
}

async fn ask(service: &ServiceProfile) -> (ServiceOutcome, Option<Client>) {
    if service.is_local() {
        return (ServiceOutcome::Local, None);
    }
    match service.reader() {
        Ok(Some(client)) => request(client.with_max_attempts(1)).await,
        Ok(None) => (ServiceOutcome::NoKey, None),
        Err(failure) if service.withholds_key() => {
            (ServiceOutcome::Withheld(CheckProblem::from(failure)), None)
        }
        Err(failure) => (ServiceOutcome::NoClient(CheckProblem::from(failure)), None),
    }
}

async fn request(client: Client) -> (ServiceOutcome, Option<Client>) {
    let (sent_at, began) = (Timestamp::now(), Instant::now());
    let response = tokio::time::timeout(MAX_REQUEST_TIME, client.builds(0)).await;
    let elapsed = began.elapsed();
    match response {
        Err(_) => (ServiceOutcome::TimedOut(MAX_REQUEST_TIME), None),
        Ok(Err(error)) => (ServiceOutcome::Failed(error), None),
        Ok(Ok(page)) => {
            // The response was made about in the middle.
            let half = SignedDuration::try_from(elapsed / 2).unwrap_or_default();
            let skew = page.date.map(|date| sent_at.duration_since(date).saturating_add(half));
            (ServiceOutcome::Answered { elapsed, skew }, Some(client))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fake::{FakeServer, Reply};

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_respond_is_given_up() {
        let began = tokio::time::Instant::now();
        let client = Client::fake(&FakeServer::script([Reply::Silence]));
        let (outcome, client) = request(client.with_max_attempts(1)).await;
        assert!(matches!(outcome, ServiceOutcome::TimedOut(MAX_REQUEST_TIME)), "{outcome:?}");
        assert!(client.is_none());
        assert_eq!(began.elapsed(), MAX_REQUEST_TIME);
    }
}
