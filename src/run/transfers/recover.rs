//! Finds the builds of transfers whose response was lost or does not mention them.
//!
//! The service has no idempotency key, so a transfer that may have been accepted is looked for by name
//! and time before it is requested again.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::batch;
use super::request::{BatchOutcome, TransferRequest};
use crate::api::poll::{PollState, poll_builds};
use crate::api::recover::{LostRequest, RecoveryResult, possible_images, recover_builds};
use crate::api::{AcceptedBuild, ApiError, Client, ErrorKind, RemoteBuild};
use crate::base::image_path::ImagePath;
use crate::base::name::{BuildId, ImageRef};
use crate::run::link::KnownBuilds;
use crate::run::outcome::StepFailure;

/// Delays before further lookups if a gateway responded instead of the service, or nothing did: a
/// request that a gateway gave up on may still take effect.
const LOOKUP_DELAYS: [Duration; 3] =
    [Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(12)];

/// Age after which a request of an earlier run counts as lost if the service lists no builds to
/// compare with. A transfer that is then made twice pushes the same image to its tag twice.
const LOST_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// Looks for transfers at the service.
pub(super) struct Recovery<'a> {
    pub(super) client: &'a Client,
    /// Builds that belong to a unit already.
    pub(super) known: &'a KnownBuilds,
}

/// The result of a lookup.
#[derive(Default)]
struct LookupOutcome {
    found: Vec<(TransferRequest, AcceptedBuild)>,
    not_there: Vec<TransferRequest>,
    /// Transfers that remain in doubt.
    in_doubt: Vec<(TransferRequest, StepFailure)>,
}

impl Recovery<'_> {
    /// Sorts a batch whose request failed. Looks for its transfers if the request may have taken
    /// effect.
    pub(super) async fn recover_failed_request(
        &self,
        batch: Vec<TransferRequest>,
        error: &ApiError,
    ) -> BatchOutcome {
        let bulk = batch.len() > 1;
        match error.kind {
            ErrorKind::ResponseLost | ErrorKind::ServerError | ErrorKind::BadResponse => {
                tokio::time::sleep(error.look_up_after.unwrap_or_default()).await;
                self.recover_lost_response(batch, error).await
            }
            // One of them may be at fault, or the service may not support lists.
            ErrorKind::Rejected | ErrorKind::NotFound if bulk => {
                let alone = |transfer| TransferRequest { alone: true, ..transfer };
                let retry = batch.into_iter().map(alone).collect();
                BatchOutcome { retry, ..BatchOutcome::default() }
            }
            _ => {
                let failed = |mut transfer: TransferRequest| {
                    let failure = transfer.refused(error);
                    (transfer, failure)
                };
                let failed = batch.into_iter().map(failed).collect();
                BatchOutcome { failed, ..BatchOutcome::default() }
            }
        }
    }

    /// Looks for transfers whose response was lost. Those that are not there are requested again.
    async fn recover_lost_response(
        &self,
        batch: Vec<TransferRequest>,
        error: &ApiError,
    ) -> BatchOutcome {
        // After an error of the service itself (not of a gateway), nothing takes effect later.
        let by_service =
            error.kind == ErrorKind::ServerError && !matches!(error.status, Some(502 | 504));
        let delays = if by_service { &[][..] } else { &LOOKUP_DELAYS };
        let mut lookup = self.look_up(batch, Some(error)).await;
        let mut outcome = BatchOutcome::default();
        for delay in delays {
            outcome.accepted.append(&mut lookup.found);
            outcome.failed.append(&mut lookup.in_doubt);
            if lookup.not_there.is_empty() {
                break;
            }
            tokio::time::sleep(*delay).await;
            lookup = self.look_up(lookup.not_there, Some(error)).await;
        }
        outcome.accepted.append(&mut lookup.found);
        outcome.failed.append(&mut lookup.in_doubt);
        for transfer in lookup.not_there {
            if !transfer.may_retry() {
                outcome.failed.push((transfer, StepFailure::of(error)));
                continue;
            }
            // A list that is lost twice may be what the service cannot handle.
            let alone = transfer.alone || transfer.failures > 0;
            outcome.retry.push(TransferRequest { alone, ..transfer.failed() });
        }
        outcome
    }

    /// Looks for transfers that an earlier run requested and that are still in doubt.
    pub(super) async fn recover_earlier_run(&self, batch: Vec<TransferRequest>) -> BatchOutcome {
        let lookup = self.look_up(batch, None).await;
        let mut outcome = BatchOutcome::default();
        for (transfer, accepted) in lookup.found {
            if transfer.in_doubt.is_some_and(|earlier| !earlier.same) {
                // It stays on record as submitted, so that the next plan finds it.
                let build = &accepted.build;
                let failure =
                    StepFailure::new(format!("build {build} of earlier content is still running"))
                        .with_help("the next apply waits for its end, then requests the transfer");
                outcome.failed.push((transfer, failure.pending()));
            } else {
                outcome.accepted.push((transfer, accepted));
            }
        }
        outcome.retry.extend(lookup.not_there);
        for (transfer, failure) in lookup.in_doubt {
            let age = transfer.in_doubt.map(|earlier| Timestamp::now().duration_since(earlier.at));
            if age.is_some_and(|age| age > LOST_AFTER) {
                outcome.retry.push(transfer);
            } else {
                outcome.failed.push((transfer, failure));
            }
        }
        outcome.retry.iter_mut().for_each(|transfer| transfer.in_doubt = None);
        outcome
    }

    /// Looks for transfers that a successful response does not mention. `unassigned` are builds of
    /// that response without a transfer. The transfers may exist, so they are not requested again.
    pub(super) async fn recover_unreported(
        &self,
        batch: Vec<TransferRequest>,
        unassigned: Vec<BuildId>,
    ) -> BatchOutcome {
        let names = self.names_of(&unassigned, &batch.iter().collect::<Vec<_>>()).await;
        let build_of: HashMap<&ImageRef, &BuildId> =
            names.iter().map(|(build, unit)| (unit, build)).collect();
        let mut outcome = BatchOutcome::default();
        let mut remaining = Vec::new();
        for transfer in batch {
            match build_of.get(&transfer.form.unit) {
                Some(&build) => {
                    let accepted = accepted(build.clone(), None, &transfer.source);
                    outcome.accepted.push((transfer, accepted));
                }
                None => remaining.push(transfer),
            }
        }
        let lookup = self.look_up(remaining, None).await;
        outcome.accepted.extend(lookup.found);
        outcome.failed.extend(lookup.in_doubt);
        let failure = in_doubt(StepFailure::new("the service's response does not mention it"));
        let failed = lookup.not_there.into_iter().map(|transfer| (transfer, failure.clone()));
        outcome.failed.extend(failed);
        outcome
    }

    /// Looks for transfers once. `error` is the error of their request.
    async fn look_up(
        &self,
        batch: Vec<TransferRequest>,
        error: Option<&ApiError>,
    ) -> LookupOutcome {
        let mut outcome = LookupOutcome::default();
        if batch.is_empty() {
            return outcome;
        }
        let wanted: Vec<LostRequest> = batch
            .iter()
            .map(|transfer| LostRequest {
                images: possible_images(&transfer.form.unit, transfer.source.parse().ok().as_ref()),
                owner: transfer.submission.owner.clone(),
                since: transfer.in_doubt.map_or(transfer.submission.at, |earlier| earlier.at),
            })
            .collect();
        let known = self.known.all();
        let lookups = match recover_builds(self.client, &wanted, &known).await {
            Ok(lookups) => lookups,
            Err(lookup_error) => {
                let failure = in_doubt(StepFailure::of(error.unwrap_or(&lookup_error)));
                let failed = batch.into_iter().map(|transfer| (transfer, failure.clone()));
                outcome.in_doubt = failed.collect();
                return outcome;
            }
        };
        for (transfer, lookup) in batch.into_iter().zip(lookups) {
            match lookup {
                RecoveryResult::Accepted(RemoteBuild { build: Some(build), path, .. }) => {
                    let accepted = accepted(build, path, &transfer.source);
                    outcome.found.push((transfer, accepted));
                }
                RecoveryResult::Accepted(_) | RecoveryResult::Unknown => {
                    let message = "the listing of builds does not show whether it was accepted";
                    let failure = error.map_or_else(|| StepFailure::new(message), StepFailure::of);
                    // One transfer in doubt says nothing about the others.
                    outcome.in_doubt.push((transfer, in_doubt(failure).of_one_unit()));
                }
                RecoveryResult::NotAccepted => outcome.not_there.push(transfer),
            }
        }
        outcome
    }

    /// Checks the builds that were assigned to transfers by their order in the response, against the
    /// names that the service shows. The first and the last are checked; only if one differs, all
    /// are. A build whose name cannot be read is checked when it has ended.
    pub(super) async fn check_names(&self, accepted: &mut [(TransferRequest, AcceptedBuild)]) {
        let by_order = |part: &&(TransferRequest, AcceptedBuild)| part.1.source.is_none();
        let all: Vec<&(TransferRequest, AcceptedBuild)> =
            accepted.iter().filter(by_order).collect();
        let [first, .., last] = all[..] else { return };
        let transfers: Vec<&TransferRequest> = all.iter().map(|(transfer, _)| transfer).collect();
        let ends = [first.1.build.clone(), last.1.build.clone()];
        let names = self.names_of(&ends, &transfers).await;
        let agrees = |(transfer, accepted): &(TransferRequest, AcceptedBuild)| {
            names.get(&accepted.build).is_none_or(|name| *name == transfer.form.unit)
        };
        if agrees(first) && agrees(last) {
            return;
        }
        let units: Vec<(ImageRef, BuildId)> = all
            .iter()
            .map(|(transfer, accepted)| (transfer.form.unit.clone(), accepted.build.clone()))
            .collect();
        let builds: Vec<BuildId> = units.iter().map(|(_, build)| build.clone()).collect();
        let names = self.names_of(&builds, &transfers).await;
        let Some(reassigned) = batch::by_name(&units, &names) else { return };
        let by_order = accepted.iter_mut().filter(|part| part.1.source.is_none());
        for ((_, accepted), build) in by_order.zip(reassigned) {
            if accepted.build != build {
                // The only path in such a response is that of the build that comes first in it.
                *accepted = AcceptedBuild { build, path: None, ..accepted.clone() };
            }
        }
    }

    /// Returns the units of builds, by the image names that the service shows. A name that is not that
    /// of a unit is that of the transfer from whose source the service derives it.
    async fn names_of(
        &self,
        builds: &[BuildId],
        transfers: &[&TransferRequest],
    ) -> HashMap<BuildId, ImageRef> {
        let derived =
            transfers.iter().flat_map(|t| t.form.images.iter().map(|image| (image, &t.form.unit)));
        let own = transfers.iter().map(|transfer| (&transfer.form.unit, &transfer.form.unit));
        // Of two with the same key, the last counts.
        let unit_of: HashMap<&ImageRef, &ImageRef> = derived.chain(own).collect();
        let name = |(build, result): (BuildId, Result<RemoteBuild, ApiError>)| {
            let (name, tag) = result.ok()?.image?;
            let image = ImageRef { name: name.parse().ok()?, tag: tag.parse().ok()? };
            let unit = unit_of.get(&image).map(|&unit| unit.clone());
            Some((build, unit.unwrap_or(image)))
        };
        let views = poll_builds(self.client, builds, &mut PollState::quick()).await;
        views.into_iter().filter_map(name).collect()
    }
}

/// An accepted transfer of which only the build and perhaps the path are known.
fn accepted(build: BuildId, path: Option<ImagePath>, source: &str) -> AcceptedBuild {
    let (upload, expires_in, visibility) = (None, None, None);
    AcceptedBuild { build, path, upload, expires_in, visibility, source: Some(source.to_owned()) }
}

/// A failure that leaves the transfer on record as submitted, so that the next run looks for it.
fn in_doubt(failure: StepFailure) -> StepFailure {
    let help = "it is not known whether the service accepted the transfer: the next apply looks for \
                it, and requests it again after 15 minutes";
    failure.with_help(help).pending()
}
