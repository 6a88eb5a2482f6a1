//! Asks the service once, with the client of all commands.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::findings::{ServiceFinding, ServiceOutcome};
use super::request::ask;
use crate::api::Client;
use crate::cli::service::ServiceProfile;

/// Lists builds with the user's key, unless `offline`. Returns the client if the service answered.
pub(super) async fn probe(
    service: &ServiceProfile,
    offline: bool,
) -> (ServiceFinding, Option<Client>) {
    let (outcome, client) = match service.reader() {
        Ok(Some(_)) if offline => (ServiceOutcome::Offline, None),
        Ok(Some(client)) => request(client.with_one_attempt()).await,
        Ok(None) => (ServiceOutcome::NoKey, None),
        Err(failure) if service.withholds_key() => (ServiceOutcome::Withheld(failure), None),
        Err(failure) => (ServiceOutcome::NoClient(failure), None),
    };
    let finding = ServiceFinding {
        url: service.name.clone(),
        key_from: service.key_from(),
        is_unencrypted: service.warning().is_some(),
        outcome,
    };
    (finding, client)
}

async fn request(client: Client) -> (ServiceOutcome, Option<Client>) {
    let (sent_at, began) = (Timestamp::now(), Instant::now());
    let response = ask(client.builds(0)).await;
    let elapsed = began.elapsed();
    match response {
        Err(failure) => (ServiceOutcome::Failed(failure), None),
        Ok(page) => {
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
    use crate::api::ErrorKind;
    use crate::cli::doctor::request::{MAX_REQUEST_TIME, RequestFailure};
    use crate::http::fake::{FakeServer, Reply};

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_respond_is_given_up() {
        let began = tokio::time::Instant::now();
        let client = Client::fake(&FakeServer::script([Reply::Silence]));
        let (outcome, client) = request(client.with_one_attempt()).await;
        assert!(matches!(outcome, ServiceOutcome::Failed(RequestFailure::TimedOut)), "{outcome:?}");
        assert!(client.is_none());
        assert_eq!(began.elapsed(), MAX_REQUEST_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_is_not_waited_for() {
        let began = tokio::time::Instant::now();
        let fake = FakeServer::script([Reply::detail(429, "Rate limit exceeded")]);
        let (outcome, _) = request(Client::fake(&fake).with_one_attempt()).await;
        let is_rate_limit = matches!(
            &outcome,
            ServiceOutcome::Failed(RequestFailure::Failed(error)) if error.kind == ErrorKind::RateLimited
        );
        assert!(is_rate_limit, "{outcome:?}");
        assert_eq!((fake.lines().len(), began.elapsed().as_secs()), (1, 0));
    }
}
