//! Connects the tasks of a run with the driver and with the service: messages, records, requests.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::outcome::StepFailure;
use crate::api::Client;
use crate::api::wire::BuildImageRequest;
use crate::base::name::{BuildId, ImageRef, Owner, Platform, Visibility};
use crate::event::Phase;
use crate::http::Notice;
use crate::plan::StepId;
use crate::state::Record;

/// A message from a task to the driver.
pub(super) enum StepMessage {
    /// Write these records to the journal, then confirm through `written`.
    Records { records: Vec<Record>, written: oneshot::Sender<()> },
    /// Progress or delay of a request; `step` is `None` if it was made for several steps.
    Notice { step: Option<StepId>, notice: Notice },
    /// The step entered a phase, this long ago.
    Phase { step: StepId, phase: Phase, build: Option<BuildId>, ago: Duration },
}

impl StepMessage {
    /// The step entered a phase just now, without a build.
    pub(super) fn enters(step: StepId, phase: Phase) -> Self {
        Self::Phase { step, phase, build: None, ago: Duration::ZERO }
    }
}

/// The builds that belong to a unit: a lost response of another unit cannot have been about one of
/// them.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownBuilds(Arc<Mutex<HashSet<BuildId>>>);

impl KnownBuilds {
    pub(super) fn add(&self, builds: impl IntoIterator<Item = BuildId>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(builds);
    }

    pub(super) fn all(&self) -> HashSet<BuildId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Returns once the records are on disk.
///
/// # Errors
/// Fails if the driver is gone or could not write them: the caller must not go on.
pub(super) async fn record_all(
    messages: &mpsc::UnboundedSender<StepMessage>,
    records: Vec<Record>,
) -> Result<(), StepFailure> {
    let (written, confirmation) = oneshot::channel();
    let sent = messages.send(StepMessage::Records { records, written });
    match (sent, confirmation.await) {
        (Ok(()), Ok(())) => Ok(()),
        _ => Err(StepFailure::new("the run was aborted")),
    }
}

/// Returns a client that reports the progress of its requests to the driver, for a step.
pub(super) fn observed(
    client: &Client,
    messages: mpsc::UnboundedSender<StepMessage>,
    step: Option<StepId>,
) -> Client {
    client.with_observer(Arc::new(move |notice| {
        // Fails only if the driver is gone; nobody listens then.
        let _ = messages.send(StepMessage::Notice { step, notice });
    }))
}

/// Returns a request for a build or a transfer, without its Dockerfile or source.
pub(super) fn request(
    name: Option<&ImageRef>,
    platform: Platform,
    owner: &Owner,
    visibility: Option<Visibility>,
) -> BuildImageRequest {
    BuildImageRequest {
        image_name: name.map(|name| name.name.to_string()),
        image_tag: name.map(|name| name.tag.to_string()),
        platform: Some(platform.to_string()),
        team_id: match owner {
            Owner::Team(id) => Some(id.clone()),
            Owner::Personal | Owner::Platform => None,
        },
        visibility: Some(visibility.map_or_else(|| "INHERIT".to_owned(), wire_visibility)),
        owner_scope: (*owner == Owner::Platform).then(|| "platform".to_owned()),
        ..BuildImageRequest::default()
    }
}

/// Returns a visibility as the service writes it.
pub(super) fn wire_visibility(visibility: Visibility) -> String {
    visibility.to_string().to_uppercase()
}
