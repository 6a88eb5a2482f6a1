//! Updates images without a build. Updates that wait are sent in one request, each with a result of
//! its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::link::wire_visibility;
use super::outcome::StepFailure;
use crate::api::wire::{ImageUpdate, UpdateSet, UpdateSource, WireOwner};
use crate::api::{ApiError, Client, ErrorKind, UPDATES_PER_REQUEST, UpdatedImage};
use crate::base::name::{ImageRef, Owner};
use crate::plan::Change;

/// Time that the first update of a batch waits for others to join it.
const BATCH_DELAY: Duration = Duration::from_millis(20);

/// Maximum number of concurrent requests. While they are under way, further updates gather.
const MAX_CONCURRENT_REQUESTS: usize = 4;

/// The handle to the task that sends updates.
#[derive(Clone)]
pub(super) struct UpdateBatcher {
    requests: mpsc::UnboundedSender<UpdateRequest>,
}

/// One requested update. `unit` is the image's name and tag after the update.
struct UpdateRequest {
    unit: ImageRef,
    change: Change,
    result: oneshot::Sender<Result<UpdatedImage, StepFailure>>,
}

impl UpdateBatcher {
    /// Starts the task. It ends when the last `UpdateBatcher` is dropped.
    pub(super) fn start(client: Client, stopping: CancellationToken) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        tokio::spawn(run(client, stopping, receiver));
        Self { requests }
    }

    /// Returns once the service has made the change.
    ///
    /// # Errors
    /// Fails if the service refuses the change, if its response was lost, or if the run is stopping.
    pub(super) async fn request(
        &self,
        unit: &ImageRef,
        change: &Change,
    ) -> Result<UpdatedImage, StepFailure> {
        if update(unit, change).set == UpdateSet::default() {
            return Ok(UpdatedImage::default());
        }
        let (result, response) = oneshot::channel();
        let request = UpdateRequest { unit: unit.clone(), change: change.clone(), result };
        // Fails only if the task is gone, which drops the sender of the result.
        let _ = self.requests.send(request);
        response
            .await
            .unwrap_or_else(|_| Err(StepFailure::bug("the update was dropped without a result")))
    }
}

async fn run(
    client: Client,
    stopping: CancellationToken,
    mut requests: mpsc::UnboundedReceiver<UpdateRequest>,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS));
    while let Some(first) = requests.recv().await {
        tokio::time::sleep(BATCH_DELAY).await;
        // The semaphore is never closed, so this does not fail.
        let permit = Arc::clone(&permits).acquire_owned().await;
        let mut batch = vec![first];
        while batch.len() < UPDATES_PER_REQUEST
            && let Ok(request) = requests.try_recv()
        {
            batch.push(request);
        }
        let (client, stopping) = (client.clone(), stopping.clone());
        tokio::spawn(async move {
            send(&client, &stopping, batch).await;
            drop(permit);
        });
    }
}

/// Sends one batch and distributes the results.
async fn send(client: &Client, stopping: &CancellationToken, batch: Vec<UpdateRequest>) {
    let updates: Vec<ImageUpdate> =
        batch.iter().map(|request| update(&request.unit, &request.change)).collect();
    let results = client.update_images(&updates, stopping).await;
    for (request, result) in batch.into_iter().zip(results) {
        // Fails only if the step is gone; the next plan compares with the service again.
        let _ = request.result.send(result.map_err(|error| failure(&error, &request.change)));
    }
}

/// Returns the update as it is sent.
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

fn failure(error: &ApiError, change: &Change) -> StepFailure {
    let failure = StepFailure::of_change(error, &change.of);
    let moves_to_platform = change.of != Owner::Platform && change.owner == Some(Owner::Platform);
    match error.kind {
        ErrorKind::Forbidden if moves_to_platform => failure.of_one_unit().with_help(
            "only platform admins can move an image to the platform; to keep the image where it is, \
             remove `owner: platform`",
        ),
        // The quota is that of one owner, so the updates of other owners continue.
        ErrorKind::QuotaExceeded => failure.of_one_unit(),
        ErrorKind::ResponseLost => {
            failure.with_help("it is not known whether the change was made; the next apply checks")
        }
        // With a status, the endpoint is missing and not the image.
        ErrorKind::NotFound if error.status.is_none() => failure.with_help(
            "check whether the image was deleted, renamed or moved; a rebuild creates a new one",
        ),
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
    use crate::base::name::Visibility;

    fn change(from: Option<&str>, owner: Option<Owner>) -> Change {
        let from = from.map(|from| from.parse().unwrap());
        Change { of: Owner::Personal, from, visibility: None, owner }
    }

    #[test]
    fn only_the_differences_are_set() {
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
    fn errors_of_one_image_do_not_stop_the_run() {
        let change = change(None, None);
        let error = |kind| match failure(&ApiError::new("update the image", kind, "no"), &change) {
            StepFailure::Failed(error) => error,
            other => panic!("{other:?}"),
        };
        for kind in [
            ErrorKind::NameTaken,
            ErrorKind::NotFound,
            ErrorKind::ResponseLost,
            ErrorKind::QuotaExceeded,
        ] {
            assert!(!error(kind).stops_run && error(kind).help.is_some(), "{kind:?}");
        }
        let body = br#"{"detail": "Not Found"}"#;
        let missing = ApiError::from_response("update the image", 404, None, body, "key-123");
        assert!(
            format!("{:?}", failure(&missing, &change))
                .contains("this service has no such endpoint")
        );
        assert!(error(ErrorKind::Unauthorized).stops_run);
        let stopped = ApiError::new("update the image", ErrorKind::Stopped, "no");
        assert_eq!(failure(&stopped, &change), StepFailure::NotStarted);
    }

    #[test]
    fn a_refused_change_of_the_platform_has_help() {
        let error = ApiError::from_response("update the image", 403, None, b"{}", "key-123");
        for (of, owner, help) in [
            (Owner::Platform, None, "platform images are not yours to change"),
            (Owner::Platform, Some(Owner::Personal), "platform images are not yours to change"),
            (Owner::Personal, Some(Owner::Platform), "remove `owner: platform`"),
        ] {
            let StepFailure::Failed(failure) =
                failure(&error, &Change { of, ..change(None, owner) })
            else {
                panic!("no failure")
            };
            assert!(!failure.stops_run, "{help}");
            assert!(failure.help.as_ref().unwrap().contains(help), "{:?}", failure.help);
        }
    }
}
