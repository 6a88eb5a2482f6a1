//! Updates images without building them: many with one request, with one result each.
//!
//! A rename or a move must not be sent twice: the image is no longer found under its old name. If
//! no response tells the result of one, a dry run looks up the image under both names.

use reqwest::Method;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::call::{Call, CallResponse};
use super::client::Client;
use super::error::{ApiError, ErrorKind, NO_REASON, is_quota};
use super::inventory::name_without_owner;
use super::retry::{Attempts, Repeat};
use super::wire::{ImageUpdate, UpdateImagesRequest, UpdateSet, UpdateSource, WireOwner};
use crate::base::limit::Class;
use crate::base::name::Visibility;

/// Maximum number of updates in one request (API contract, section 1).
pub(crate) const UPDATES_PER_REQUEST: usize = 100;

const ACTION: &str = "update the image";

/// The result of a successful update.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdatedImage {
    /// Visibility after the update, if it is known.
    pub visibility: Option<Visibility>,
}

type UpdateOutcome = Result<UpdatedImage, ApiError>;

/// Location of an image that an update renames or moves, as found by a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MoveState {
    /// At the new name, and not at the old one.
    Moved,
    /// At the old name.
    NotMoved,
    /// At neither name.
    Missing,
    Unknown,
}

impl Client {
    /// `PATCH /images`: updates images, up to 100 per request. Returns one result per update, in
    /// order. An update that is refused does not affect the others; an error of a whole request is
    /// the result of each of its updates. `stop` ends the wait for the rate limit, never a request
    /// that was sent.
    ///
    /// If a response is lost or incomplete, a dry run looks up each rename and move before it is
    /// sent again. The same is done for a refused one, which an earlier run may have made: it
    /// counts as done if the image is at the new name and not at the old one. Nothing is ever
    /// overwritten.
    ///
    /// # Errors
    ///
    /// An update fails with [`ErrorKind::NameTaken`] if another image has the new name, and with
    /// [`ErrorKind::ResponseLost`] if its result cannot be found out.
    pub async fn update_images(
        &self,
        updates: &[ImageUpdate],
        stop: &CancellationToken,
    ) -> Vec<Result<UpdatedImage, ApiError>> {
        let mut updates = updates.to_vec();
        let mut results: Vec<Option<UpdateOutcome>> = updates.iter().map(|_| None).collect();
        let all: Vec<usize> = (0..updates.len()).collect();
        let batches = all.chunks(UPDATES_PER_REQUEST).rev();
        let mut pending: Vec<Vec<usize>> = batches.map(<[usize]>::to_vec).collect();
        while let Some(batch) = pending.pop() {
            let mut refused = self.update_batch(batch, &mut updates, &mut results, stop).await;
            // One update is at fault. Halve the batch until it stands alone.
            let second = refused.split_off(refused.len() / 2);
            pending.extend([second, refused].into_iter().filter(|half| !half.is_empty()));
        }
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(no_result()))).collect()
    }

    /// Sends one batch until each of its updates has a result. Returns the updates that were
    /// refused together, if there is more than one.
    async fn update_batch(
        &self,
        mut open: Vec<usize>,
        updates: &mut [ImageUpdate],
        results: &mut [Option<UpdateOutcome>],
        stop: &CancellationToken,
    ) -> Vec<usize> {
        let mut attempts = Attempts::new(Repeat::LookUpFirst);
        while !open.is_empty() {
            let batch = open.iter().map(|&index| updates[index].clone()).collect();
            let mut in_doubt = Vec::new();
            let delay = match self.patch(batch, false, &mut attempts, Some(stop)).await {
                Ok(batch_results) => {
                    let mut is_incomplete = false;
                    for (index, result) in open.into_iter().zip(batch_results) {
                        match result {
                            Some(Err(error)) if is_move(&updates[index]) => {
                                in_doubt.push((index, error));
                            }
                            None => {
                                is_incomplete = true;
                                in_doubt.push((index, no_result()));
                            }
                            result => results[index] = result,
                        }
                    }
                    if is_incomplete {
                        let class = Some(Class::Update);
                        self.caller.decide(class, &no_result(), &mut attempts, None, true).delay()
                    } else {
                        None
                    }
                }
                Err(error) if open.len() > 1 && may_be_of_one(&error) => return open,
                Err(error) => {
                    in_doubt.extend(open.into_iter().map(|index| (index, error.clone())));
                    error.look_up_after
                }
            };
            // A stopped run does not wait, but still looks up the results.
            stop.run_until_cancelled(tokio::time::sleep(delay.unwrap_or_default())).await;
            open = self.resolve_in_doubt(in_doubt, delay.is_some(), updates, results).await;
        }
        Vec::new()
    }

    /// Finds out the results of updates with an error. Returns the updates to send (again):
    /// those that had no effect, or that may be repeated. If an earlier run has made a move that
    /// also sets a visibility, the visibility is set at the new name.
    async fn resolve_in_doubt(
        &self,
        in_doubt: Vec<(usize, ApiError)>,
        can_retry: bool,
        updates: &mut [ImageUpdate],
        results: &mut [Option<UpdateOutcome>],
    ) -> Vec<usize> {
        let (moves, others): (Vec<_>, Vec<_>) = in_doubt
            .into_iter()
            .partition(|(index, error)| is_move(&updates[*index]) && may_be_moved(error));
        let move_updates: Vec<&ImageUpdate> =
            moves.iter().map(|(index, _)| &updates[*index]).collect();
        let states = self.move_states(&move_updates).await;
        let others = others.into_iter().map(|other| (other, MoveState::NotMoved));
        let mut open = Vec::new();
        for ((index, error), state) in moves.into_iter().zip(states).chain(others) {
            let in_doubt = is_in_doubt(&error);
            results[index] = Some(match state {
                MoveState::Moved if updates[index].set.visibility.is_some() => {
                    updates[index] = probe_new(&updates[index]);
                    open.push(index);
                    continue;
                }
                MoveState::Moved => Ok(UpdatedImage::default()),
                MoveState::NotMoved if in_doubt && can_retry => {
                    open.push(index);
                    continue;
                }
                MoveState::Missing if in_doubt => {
                    let message = "the image is neither at its old name nor at its new one";
                    Err(ApiError::new(ACTION, ErrorKind::NotFound, message))
                }
                _ => Err(error),
            });
        }
        open
    }

    /// Finds out whether images have been renamed or moved, without changing anything.
    async fn move_states(&self, updates: &[&ImageUpdate]) -> Vec<MoveState> {
        let probes: Vec<ImageUpdate> =
            updates.iter().flat_map(|update| [probe_old(update), probe_new(update)]).collect();
        let mut exists = Vec::with_capacity(probes.len());
        for probes in probes.chunks(UPDATES_PER_REQUEST) {
            let mut attempts = Attempts::new(Repeat::Safe);
            let results = self.patch(probes.to_vec(), true, &mut attempts, None).await;
            let results = results.unwrap_or_else(|_| vec![None; probes.len()]);
            exists.extend(results.into_iter().map(|result| match result? {
                Ok(_) => Some(true),
                Err(error) => (error.kind == ErrorKind::NotFound).then_some(false),
            }));
        }
        let state = |old_and_new: &[Option<bool>]| match old_and_new {
            [Some(true), _] => MoveState::NotMoved,
            [Some(false), Some(true)] => MoveState::Moved,
            [Some(false), Some(false)] => MoveState::Missing,
            _ => MoveState::Unknown,
        };
        exists.chunks(2).map(state).collect()
    }

    /// Sends one request. Returns the result of each update, or `None` where the response has none.
    async fn patch(
        &self,
        updates: Vec<ImageUpdate>,
        dry_run: bool,
        attempts: &mut Attempts,
        stop: Option<&CancellationToken>,
    ) -> Result<Vec<Option<UpdateOutcome>>, ApiError> {
        let request = UpdateImagesRequest { mode: "explicit".to_owned(), dry_run, updates };
        let call = Call::new(Class::Update, ACTION, Method::PATCH, "/images".to_owned());
        let call = call.with_body(&request)?.until(stop).with_look_up();
        let read = |response: &CallResponse<'_>| {
            let body = response.json()?;
            let results = body.get("results").and_then(Value::as_array);
            let results = results.ok_or_else(|| response.bad("the response has no `results`"))?;
            let assigned = assign_results(&request.updates, results);
            Ok(assigned.into_iter().map(|result| self.read_result(result?)).collect())
        };
        self.caller.call(&call, attempts, None, read).await
    }

    fn read_result(&self, result: &Value) -> Option<UpdateOutcome> {
        let error = result.get("error").filter(|error| !error.is_null());
        match (result.get("success").and_then(Value::as_bool), error) {
            (Some(true), _) => {
                let text = result.get("after").and_then(|after| after.get("visibility")?.as_str());
                Some(Ok(UpdatedImage { visibility: text.and_then(|text| text.parse().ok()) }))
            }
            (None, None) => None,
            (_, error) => {
                let text = |key| error.and_then(|error| error.get(key)?.as_str());
                let code = text("code").unwrap_or_default();
                let message = text("message").or(error.and_then(Value::as_str));
                let message = message.or(text("code")).unwrap_or(NO_REASON);
                let message_without_secrets = self.caller.clean(message);
                Some(Err(ApiError::new(ACTION, kind(code, message), message_without_secrets)))
            }
        }
    }
}

/// Returns the kind of a refusal. The set of codes is open (API contract, section 1).
fn kind(code: &str, message: &str) -> ErrorKind {
    match code {
        "image_not_found" | "not_found" => ErrorKind::NotFound,
        "destination_exists" => ErrorKind::NameTaken,
        "forbidden" | "permission_denied" => ErrorKind::Forbidden,
        _ if code == "quota_exceeded" || is_quota(message) => ErrorKind::QuotaExceeded,
        _ => ErrorKind::Rejected,
    }
}

/// Creates the error for an update that has no result in the response.
fn no_result() -> ApiError {
    let message = "the response does not say whether the image was updated";
    ApiError::new(ACTION, ErrorKind::ResponseLost, message)
}

/// Returns true if an update renames or moves an image, so that it must not be sent twice.
fn is_move(update: &ImageUpdate) -> bool {
    let UpdateSet { name, tag, owner, visibility: _ } = &update.set;
    name.is_some() || tag.is_some() || owner.is_some()
}

/// Returns true if an update with this error may have taken effect.
fn is_in_doubt(error: &ApiError) -> bool {
    use ErrorKind::{BadResponse, ResponseLost, ServerError};
    matches!(error.kind, ResponseLost | ServerError | BadResponse)
}

/// Returns true if the image may be at its new name, moved by this request or by an earlier run.
fn may_be_moved(error: &ApiError) -> bool {
    let refused =
        matches!(error.kind, ErrorKind::NotFound | ErrorKind::NameTaken | ErrorKind::Rejected);
    refused || is_in_doubt(error)
}

/// Returns true if a single update may be the cause of the error of a whole request. A missing
/// endpoint affects all.
fn may_be_of_one(error: &ApiError) -> bool {
    match error.status {
        Some(400 | 409 | 413 | 422) => true,
        Some(404) => error.kind == ErrorKind::NotFound && !error.is_missing_endpoint(),
        _ => false,
    }
}

/// Returns a dry run that succeeds if the image is at its old name.
fn probe_old(update: &ImageUpdate) -> ImageUpdate {
    probe(update.source.clone(), &update.set)
}

/// Returns a dry run that succeeds if the image is at its new name.
fn probe_new(update: &ImageUpdate) -> ImageUpdate {
    let ImageUpdate { source, set } = update;
    let new_or_old =
        |new: &Option<String>, old: &Option<String>| new.clone().or_else(|| old.clone());
    let new = UpdateSource {
        owner: set.owner.clone().or_else(|| source.owner.clone()),
        name: new_or_old(&set.name, &source.name),
        tag: new_or_old(&set.tag, &source.tag),
        reference: source.reference.clone(),
    };
    probe(new, set)
}

fn probe(source: UpdateSource, set: &UpdateSet) -> ImageUpdate {
    let visibility = match &source.owner {
        Some(WireOwner::Platform) => "PUBLIC".to_owned(),
        _ => set.visibility.clone().unwrap_or_else(|| "PRIVATE".to_owned()),
    };
    ImageUpdate { source, set: UpdateSet { visibility: Some(visibility), ..UpdateSet::default() } }
}

/// Assigns the results of a response to the updates: first by the sources that they name. Results
/// without a source, or with another spelling of it, are assigned in order, but only if as many
/// updates are left. An update without a result gets `None`. Pure.
fn assign_results<'a>(updates: &[ImageUpdate], results: &'a [Value]) -> Vec<Option<&'a Value>> {
    let mut assigned: Vec<Option<&Value>> = updates.iter().map(|_| None).collect();
    let mut unassigned = Vec::new();
    for result in results {
        let source = source(result);
        let is_same = |update: &ImageUpdate| {
            source.as_ref().is_some_and(|source| is_same_image(source, &update.source))
        };
        let mut matches = (0..updates.len())
            .filter(|&index| assigned[index].is_none() && is_same(&updates[index]));
        match matches.next() {
            Some(index) => assigned[index] = Some(result),
            None => unassigned.push((result, source)),
        }
    }
    let open: Vec<usize> = (0..updates.len()).filter(|&index| assigned[index].is_none()).collect();
    if unassigned.len() == open.len() {
        for (index, (result, source)) in open.into_iter().zip(unassigned) {
            if source.is_none_or(|source| may_be_same_image(&source, &updates[index].source)) {
                assigned[index] = Some(result);
            }
        }
    }
    assigned
}

/// Returns the source that a result names, if it can be read.
fn source(result: &Value) -> Option<UpdateSource> {
    let source: UpdateSource = serde_json::from_value(result.get("source")?.clone()).ok()?;
    (source.name.is_some() && source.tag.is_some()).then_some(source)
}

fn is_same_image(named: &UpdateSource, requested: &UpdateSource) -> bool {
    let same_owner = named.owner.is_none() || named.owner == requested.owner;
    same_owner && named.name == requested.name && named.tag == requested.tag
}

/// Compares without the owner that a service may write before the name.
fn may_be_same_image(named: &UpdateSource, requested: &UpdateSource) -> bool {
    let name =
        |source: &UpdateSource| name_without_owner(source.name.as_deref().unwrap_or_default());
    named.tag == requested.tag && name(named) == name(requested)
}

#[cfg(test)]
mod tests;
