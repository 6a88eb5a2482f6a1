//! Changes images without building them: what waits goes together with one request, each answered
//! for itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::dispatch::StepFailure;
use super::step::{api_failure, failure, wire_visibility};
use crate::api::wire::{ImageUpdate, UpdateSet, UpdateSource, WireOwner};
use crate::api::{ApiError, Client, ErrorKind, UPDATES_PER_REQUEST, Updated};
use crate::base::name::{ImageRef, Owner, Visibility};
use crate::plan::Change;

/// How long the first update waits for others to go with it.
const GATHER: Duration = Duration::from_millis(20);

/// Requests at once. While these are on their way, or wait for their turn, others gather.
const AT_ONCE: usize = 4;

/// Takes what is asked for, from any step.
#[derive(Clone)]
pub(super) struct Updates {
    asks: mpsc::UnboundedSender<Ask>,
}

/// What an image is after its update.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// Who can pull it, where that is known.
    pub(super) visibility: Option<Visibility>,
}

type Answer = Result<Changed, StepFailure>;

/// One update that is asked for: `unit` is what the image is called after it.
struct Ask {
    unit: ImageRef,
    change: Change,
    reply: oneshot::Sender<Answer>,
}

impl Updates {
    /// Starts the task that serves all; it ends when the last `Updates` is gone.
    pub(super) fn start(client: Client, stopping: CancellationToken) -> Self {
        let (asks, receiver) = mpsc::unbounded_channel();
        tokio::spawn(serve(client, stopping, receiver));
        Self { asks }
    }

    /// Returns once the service has made the change.
    pub(super) async fn ask(&self, unit: &ImageRef, change: &Change) -> Answer {
        if update(unit, change).set == UpdateSet::default() {
            return Ok(Changed::default());
        }
        let (reply, answer) = oneshot::channel();
        let ask = Ask { unit: unit.clone(), change: change.clone(), reply };
        // An answer that never comes tells that nobody is there.
        let _ = self.asks.send(ask);
        answer.await.unwrap_or_else(|_| {
            let message = "a bug in imgplan: nobody said what became of the update";
            Err(failure(message, Some("please report it".to_owned()), None))
        })
    }
}

async fn serve(
    client: Client,
    stopping: CancellationToken,
    mut asks: mpsc::UnboundedReceiver<Ask>,
) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(first) = asks.recv().await {
        tokio::time::sleep(GATHER).await;
        // It is never closed.
        let turn = Arc::clone(&turns).acquire_owned().await;
        let mut batch = vec![first];
        while batch.len() < UPDATES_PER_REQUEST
            && let Ok(ask) = asks.try_recv()
        {
            batch.push(ask);
        }
        let (client, stopping) = (client.clone(), stopping.clone());
        tokio::spawn(async move {
            carry(&client, &stopping, batch).await;
            drop(turn);
        });
    }
}

/// Sends one batch, and tells whoever asked.
async fn carry(client: &Client, stopping: &CancellationToken, batch: Vec<Ask>) {
    let updates: Vec<ImageUpdate> =
        batch.iter().map(|ask| update(&ask.unit, &ask.change)).collect();
    let results = client.update_all(&updates, stopping).await;
    for (ask, result) in batch.into_iter().zip(results) {
        let answer = match result {
            Ok(Updated { visibility }) => Ok(Changed { visibility }),
            Err(error) => Err(why(&error)),
        };
        // Whoever asked may have left; the next plan asks again.
        let _ = ask.reply.send(answer);
    }
}

/// The update as it is sent.
fn update(unit: &ImageRef, change: &Change) -> ImageUpdate {
    let Change { of, from, visibility, owner } = change;
    let old = from.as_ref().unwrap_or(unit);
    let source = UpdateSource {
        owner: Some(wire_owner(of)),
        name: Some(old.name.to_string()),
        tag: Some(old.tag.to_string()),
        reference: None,
    };
    let set = UpdateSet {
        name: (old.name != unit.name).then(|| unit.name.to_string()),
        tag: (old.tag != unit.tag).then(|| unit.tag.to_string()),
        owner: owner.as_ref().map(wire_owner),
        visibility: visibility.map(wire_visibility),
    };
    ImageUpdate { source, set }
}

/// Why an update was not made. A quota is that of one owner, and no reason to stop the others.
fn why(error: &ApiError) -> StepFailure {
    let failure = api_failure(error, None);
    match error.kind {
        ErrorKind::Quota => StepFailure { stops_run: false, ..failure },
        ErrorKind::Lost => {
            let help = "whether it was changed is not known: the next apply finds out";
            StepFailure { help: Some(help.to_owned()), ..failure }
        }
        // Not where the service has no such endpoint.
        ErrorKind::NotFound if error.status.is_none() => {
            let help = "see whether somebody has deleted, renamed or moved the image; building it \
                        again makes a new one";
            StepFailure { help: Some(help.to_owned()), ..failure }
        }
        _ => failure,
    }
}

fn wire_owner(owner: &Owner) -> WireOwner {
    match owner {
        Owner::Personal => WireOwner::Personal,
        Owner::Team(id) => WireOwner::Team { team_id: id.clone() },
        Owner::Platform => WireOwner::Platform,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(from: Option<&str>, owner: Option<Owner>) -> Change {
        let from = from.map(|from| from.parse().unwrap());
        Change { of: Owner::Personal, from, visibility: None, owner }
    }

    #[test]
    fn only_what_differs_is_set() {
        let unit: ImageRef = "app:v2".parse().unwrap();
        for (from, name, tag) in [
            (None, None, None),
            (Some("app:v1"), None, Some("v2")),
            (Some("api:v2"), Some("app"), None),
            (Some("api:v1"), Some("app"), Some("v2")),
        ] {
            let ImageUpdate { source, set } = update(&unit, &change(from, None));
            assert_eq!((set.name.as_deref(), set.tag.as_deref()), (name, tag), "{from:?}");
            let called = format!("{}:{}", source.name.unwrap(), source.tag.unwrap());
            assert_eq!(called, from.unwrap_or("app:v2"));
        }
        let team = Owner::Team("t".to_owned());
        let public = Some(Visibility::Public);
        let change = Change { visibility: public, ..change(None, Some(team)) };
        let set = update(&unit, &change).set;
        assert_eq!(set.owner, Some(WireOwner::Team { team_id: "t".to_owned() }));
        assert_eq!(set.visibility.as_deref(), Some("PUBLIC"));
    }

    #[test]
    fn what_one_image_meets_stops_no_other() {
        for kind in [ErrorKind::Taken, ErrorKind::NotFound, ErrorKind::Lost, ErrorKind::Quota] {
            let failure = why(&ApiError::new("update the image", kind, "no"));
            assert!(!failure.stops_run && failure.help.is_some(), "{kind:?}");
        }
        let body = br#"{"detail": "Not Found"}"#;
        let none = why(&ApiError::from_answer("update the image", 404, None, body, "key-123"));
        assert!(none.help.unwrap().contains("this service has no such endpoint"));
        assert!(why(&ApiError::new("update the image", ErrorKind::Unauthorized, "no")).stops_run);
        assert!(why(&ApiError::new("update the image", ErrorKind::Stopped, "no")).not_begun);
    }
}
