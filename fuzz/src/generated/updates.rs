//! Answers of the service to updates of images.

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use imgplan::test_support::api::wire::{ImageUpdate, UpdateSet, UpdateSource, WireOwner};
use imgplan::test_support::api::{Transport, TransportError};
use reqwest::{Request, Response};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::service::run;
use crate::choices::{Choices, ODD_TEXTS, ShownOnPanic, assert_printable};
use crate::client;

/// Updates images. Every update has one result, in order; unchanged answers of one kind give that
/// kind; and every error is printable.
pub fn update_answers(input: &[u8]) -> bool {
    let choices = &mut Choices::new(input);
    let updates: Vec<ImageUpdate> = (0..1 + choices.below(5)).map(update).collect();
    let succeeds = choices.maybe(70, |choices| choices.percent(60));
    let error = choices.pick(&ODD_TEXTS);
    let results: Vec<Value> = updates
        .iter()
        .map(|update| {
            let success = succeeds.unwrap_or_else(|| choices.percent(50));
            let error =
                json!({ "code": choices.pick(&["image_not_found", "x"]), "message": error });
            json!({
                "source": update.source,
                "success": success,
                "after": success.then(|| json!({ "visibility": "PUBLIC" })),
                "error": (!success).then_some(error),
            })
        })
        .collect();
    let mut body = json!({ "success": true, "dryRun": false, "results": results });
    let is_changed = choices.mutate_json(&mut body);
    let mut other = body.clone();
    choices.mutate_json(&mut other);
    let bodies = [body.to_string(), other.to_string()];
    let shown = bodies.join("\n");
    let _shown = ShownOnPanic(&shown);
    let answers = if is_changed { bodies.to_vec() } else { bodies[..1].to_vec() };
    let client = client(Arc::new(Answers { bodies: answers, sent: Mutex::default() }));
    let stop = CancellationToken::new();
    let Some(results) = run(client.update_images(&updates, &stop)) else { return false };
    assert_eq!(results.len(), updates.len());
    for result in &results {
        if let Err(error) = result {
            assert_printable(&error.to_string());
        }
        assert!(is_changed || succeeds.is_none_or(|succeeds| result.is_ok() == succeeds));
    }
    results.iter().all(Result::is_ok)
}

fn update(index: usize) -> ImageUpdate {
    ImageUpdate {
        source: UpdateSource {
            owner: Some(WireOwner::Personal),
            name: Some(format!("app{index}")),
            tag: Some("v1".to_owned()),
            reference: None,
        },
        set: UpdateSet { visibility: Some("PUBLIC".to_owned()), ..UpdateSet::default() },
    }
}

/// Sends the answers in turn, again and again.
struct Answers {
    bodies: Vec<String>,
    sent: Mutex<usize>,
}

impl Transport for Answers {
    fn send(&self, _: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        let mut sent = self.sent.lock().expect("no request panicked");
        let body = self.bodies[*sent % self.bodies.len()].clone();
        *sent += 1;
        let response = http::Response::builder().header("content-type", "application/json");
        let response = response.body(body).expect("the header is valid");
        Box::pin(async { Ok(response.into()) })
    }
}
