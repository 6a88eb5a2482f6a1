//! Changes images without building them: many with one request, each answered for itself.
//!
//! A rename or a move cannot be sent twice: the image is not found any more where it was. What
//! became of one of which no answer tells is found out by a dry run, under both names.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::call::{Answer, Call};
use super::client::Client;
use super::error::{ApiError, ErrorKind, is_quota};
use super::inventory::name_without_owner;
use super::retry::{Attempts, Repeat, RetryDecision};
use super::wire::{ImageUpdate, UpdateImagesRequest, UpdateSet, UpdateSource, WireOwner};
use crate::base::limit::Class;
use crate::base::name::Visibility;

/// Updates that one request may hold (`api.md` §1).
pub(crate) const UPDATES_PER_REQUEST: usize = 100;

const ACTION: &str = "update the image";

/// An image that was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdatedImage {
    /// Who can pull it now, where that is known.
    pub visibility: Option<Visibility>,
}

/// What became of one update.
type Outcome = Result<UpdatedImage, ApiError>;

/// What a dry run finds of an update that renames or moves an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// The image is where it was to go, and not where it was.
    Done,
    /// The image is where it was.
    NotDone,
    /// It is at neither place.
    Gone,
    Unknown,
}

impl Client {
    /// `PATCH /images`: changes images without building them, a hundred with a request. One result
    /// for each update, in their order: what one is refused for says nothing of the others, but an
    /// error that all of a request meet is the result of each. `stop` ends the wait for a turn,
    /// never a request that has left.
    ///
    /// Where an answer is lost, or does not speak of all, each rename and move is looked up by a dry
    /// run before it is asked for again; so is one that is refused, which may have been done by an
    /// earlier run: it is, where the image has gone from its old place and is at its new one. What
    /// cannot be found out is [`ErrorKind::ResponseLost`]. Nothing is ever overwritten: see
    /// [`ErrorKind::NameTaken`].
    pub async fn update_images(
        &self,
        updates: &[ImageUpdate],
        stop: &CancellationToken,
    ) -> Vec<Result<UpdatedImage, ApiError>> {
        let mut updates = updates.to_vec();
        let mut results: Vec<Option<Outcome>> = updates.iter().map(|_| None).collect();
        let all: Vec<usize> = (0..updates.len()).collect();
        let batches = all.chunks(UPDATES_PER_REQUEST).rev();
        let mut left: Vec<Vec<usize>> = batches.map(<[usize]>::to_vec).collect();
        while let Some(batch) = left.pop() {
            let mut refused = self.carry(batch, &mut updates, &mut results, stop).await;
            // One of them is at fault, and the others should not stand in for it.
            let second = refused.split_off(refused.len() / 2);
            left.extend([second, refused].into_iter().filter(|half| !half.is_empty()));
        }
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(unsaid()))).collect()
    }

    /// Sends one batch until each of its updates has its result. Returns those that were refused
    /// together, if there are more than one.
    async fn carry(
        &self,
        mut open: Vec<usize>,
        updates: &mut [ImageUpdate],
        results: &mut [Option<Outcome>],
        stop: &CancellationToken,
    ) -> Vec<usize> {
        let mut tries = Attempts::new(Repeat::LookUpFirst);
        while !open.is_empty() {
            let asked = open.iter().map(|&at| updates[at].clone()).collect();
            let mut doubt = Vec::new();
            let again = match self.patch(asked, false, &mut tries, Some(stop)).await {
                Ok(outcomes) => {
                    let mut silent = false;
                    for (at, outcome) in open.into_iter().zip(outcomes) {
                        match outcome {
                            Some(Err(error)) if moves(&updates[at]) => doubt.push((at, error)),
                            None => {
                                silent = true;
                                doubt.push((at, unsaid()));
                            }
                            told => results[at] = told,
                        }
                    }
                    if silent { self.after_silence(&mut tries) } else { None }
                }
                Err(error) if open.len() > 1 && is_of_one(&error) => return open,
                Err(error) => {
                    doubt.extend(open.into_iter().map(|at| (at, error.clone())));
                    error.look_up_after
                }
            };
            // Whoever stops the run waits for nothing, but wants to know.
            stop.run_until_cancelled(tokio::time::sleep(again.unwrap_or_default())).await;
            open = self.find_out(doubt, again.is_some(), updates, results).await;
        }
        Vec::new()
    }

    /// How long to wait after an answer that does not speak of all; `None` where it is the last.
    fn after_silence(&self, tries: &mut Attempts) -> Option<Duration> {
        match self.judge(Some(Class::Update), &unsaid(), tries, None, true) {
            RetryDecision::Again(wait) | RetryDecision::Look(wait) => Some(wait),
            RetryDecision::GiveUp => None,
        }
    }

    /// Finds out what became of updates that have met an error. Returns those that are to be asked for
    /// again: they were not done, or do no harm if they were. Of a move that an earlier run has made,
    /// what is left to do is asked for: it may have had another visibility.
    async fn find_out(
        &self,
        doubt: Vec<(usize, ApiError)>,
        again: bool,
        updates: &mut [ImageUpdate],
        results: &mut [Option<Outcome>],
    ) -> Vec<usize> {
        let (looked, rest): (Vec<_>, Vec<_>) = doubt
            .into_iter()
            .partition(|(at, error)| moves(&updates[*at]) && is_worth_a_look(error));
        let which: Vec<&ImageUpdate> = looked.iter().map(|(at, _)| &updates[*at]).collect();
        let effects = self.effects(&which).await;
        let rest = rest.into_iter().map(|open| (open, Effect::NotDone));
        let mut open = Vec::new();
        for ((at, error), effect) in looked.into_iter().zip(effects).chain(rest) {
            let passes = is_in_doubt(&error);
            results[at] = Some(match effect {
                Effect::Done if updates[at].set.visibility.is_some() => {
                    updates[at] = after(&updates[at]);
                    open.push(at);
                    continue;
                }
                Effect::Done => Ok(UpdatedImage { visibility: None }),
                Effect::NotDone if passes && again => {
                    open.push(at);
                    continue;
                }
                Effect::Gone if passes => {
                    let message = "the image is neither where it was nor where it was to go";
                    Err(ApiError::new(ACTION, ErrorKind::NotFound, message))
                }
                _ => Err(error),
            });
        }
        open
    }

    /// Where images are that were to be renamed or moved. Changes nothing.
    async fn effects(&self, updates: &[&ImageUpdate]) -> Vec<Effect> {
        let probes: Vec<ImageUpdate> =
            updates.iter().flat_map(|update| [before(update), after(update)]).collect();
        let mut there = Vec::with_capacity(probes.len());
        for probes in probes.chunks(UPDATES_PER_REQUEST) {
            let mut tries = Attempts::new(Repeat::Safe);
            let answer = self.patch(probes.to_vec(), true, &mut tries, None).await;
            let unknown = |_| vec![None; probes.len()];
            there.extend(answer.unwrap_or_else(unknown).into_iter().map(
                |outcome| match outcome? {
                    Ok(_) => Some(true),
                    Err(error) => (error.kind == ErrorKind::NotFound).then_some(false),
                },
            ));
        }
        let effect = |places: &[Option<bool>]| match places {
            [Some(true), _] => Effect::NotDone,
            [Some(false), Some(true)] => Effect::Done,
            [Some(false), Some(false)] => Effect::Gone,
            _ => Effect::Unknown,
        };
        there.chunks(2).map(effect).collect()
    }

    /// Sends one request: what its answer says of each update.
    async fn patch(
        &self,
        updates: Vec<ImageUpdate>,
        dry_run: bool,
        tries: &mut Attempts,
        stop: Option<&CancellationToken>,
    ) -> Result<Vec<Option<Outcome>>, ApiError> {
        let request = UpdateImagesRequest { mode: "explicit".to_owned(), dry_run, updates };
        let path = "/images".to_owned();
        let call = Call::send(Class::Update, ACTION, Method::PATCH, path, &request)?;
        let call = Call { stop, looks: true, ..call };
        let read = |answer: &Answer<'_>| {
            let value = answer.json()?;
            let results = value.get("results").and_then(Value::as_array);
            let results = results.ok_or_else(|| answer.odd("the answer has no `results`"))?;
            let matched = matched(&request.updates, results);
            Ok(matched.into_iter().map(|result| self.outcome(result?)).collect())
        };
        self.call(&call, tries, None, read).await
    }

    fn outcome(&self, result: &Value) -> Option<Outcome> {
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
                let message = message.or(text("code")).unwrap_or("the service gave no reason");
                Some(Err(ApiError::new(ACTION, kind(code, message), self.clean(message))))
            }
        }
    }
}

/// The codes that are known; there may be others (`api.md` §1).
fn kind(code: &str, message: &str) -> ErrorKind {
    match code {
        "image_not_found" | "not_found" => ErrorKind::NotFound,
        "destination_exists" => ErrorKind::NameTaken,
        _ if code == "quota_exceeded" || is_quota(message) => ErrorKind::QuotaExceeded,
        _ => ErrorKind::Rejected,
    }
}

fn unsaid() -> ApiError {
    let message = "the answer does not say whether it was changed";
    ApiError::new(ACTION, ErrorKind::ResponseLost, message)
}

/// Whether an update cannot be sent twice.
fn moves(update: &ImageUpdate) -> bool {
    let UpdateSet { name, tag, owner, visibility: _ } = &update.set;
    name.is_some() || tag.is_some() || owner.is_some()
}

/// Whether what met the error may have been done all the same.
fn is_in_doubt(error: &ApiError) -> bool {
    matches!(error.kind, ErrorKind::ResponseLost | ErrorKind::ServerError | ErrorKind::BadResponse)
}

/// Whether the image may be at its new place already: this request or an earlier one took it there.
fn is_worth_a_look(error: &ApiError) -> bool {
    let refused =
        matches!(error.kind, ErrorKind::NotFound | ErrorKind::NameTaken | ErrorKind::Rejected);
    refused || is_in_doubt(error)
}

/// Whether one update may be why a whole request was refused. What has no such endpoint refuses all.
fn is_of_one(error: &ApiError) -> bool {
    match error.status {
        Some(400 | 409 | 413 | 422) => true,
        Some(404) => error.kind == ErrorKind::NotFound && !error.is_of_endpoint(),
        _ => false,
    }
}

/// A dry run that succeeds where the image still is at its old place.
fn before(update: &ImageUpdate) -> ImageUpdate {
    probe(update.source.clone(), &update.set)
}

/// A dry run that succeeds where it is at its new one.
fn after(update: &ImageUpdate) -> ImageUpdate {
    let ImageUpdate { source, set } = update;
    let new = |new: &Option<String>, old: &Option<String>| new.clone().or_else(|| old.clone());
    let place = UpdateSource {
        owner: set.owner.clone().or_else(|| source.owner.clone()),
        name: new(&set.name, &source.name),
        tag: new(&set.tag, &source.tag),
        reference: source.reference.clone(),
    };
    probe(place, set)
}

fn probe(source: UpdateSource, set: &UpdateSet) -> ImageUpdate {
    let visibility = match &source.owner {
        Some(WireOwner::Platform) => "PUBLIC".to_owned(),
        _ => set.visibility.clone().unwrap_or_else(|| "PRIVATE".to_owned()),
    };
    ImageUpdate { source, set: UpdateSet { visibility: Some(visibility), ..UpdateSet::default() } }
}

/// Which result is whose. By the sources that they name; those that name none, or spell one in
/// another way, by their order, which is only believed where there are as many as updates. `None`
/// where the answer says nothing of one. Pure.
fn matched<'a>(updates: &[ImageUpdate], results: &'a [Value]) -> Vec<Option<&'a Value>> {
    let mut of: Vec<Option<&Value>> = updates.iter().map(|_| None).collect();
    let mut rest = Vec::new();
    for result in results {
        let named = named(result);
        let is_it = |update: &ImageUpdate| named.as_ref().is_some_and(|n| same(n, &update.source));
        let mut places = (0..of.len()).filter(|&at| of[at].is_none() && is_it(&updates[at]));
        match places.next() {
            Some(place) => of[place] = Some(result),
            None => rest.push((result, named)),
        }
    }
    let open: Vec<usize> = (0..of.len()).filter(|&at| of[at].is_none()).collect();
    if rest.len() == open.len() {
        for (at, (result, named)) in open.into_iter().zip(rest) {
            if named.is_none_or(|named| alike(&named, &updates[at].source)) {
                of[at] = Some(result);
            }
        }
    }
    of
}

/// The source that a result names, if that can be read.
fn named(result: &Value) -> Option<UpdateSource> {
    let source: UpdateSource = serde_json::from_value(result.get("source")?.clone()).ok()?;
    (source.name.is_some() && source.tag.is_some()).then_some(source)
}

fn same(named: &UpdateSource, asked: &UpdateSource) -> bool {
    let owner = named.owner.is_none() || named.owner == asked.owner;
    owner && named.name == asked.name && named.tag == asked.tag
}

/// Whether both may well be the same: a service may write an owner before the name.
fn alike(named: &UpdateSource, asked: &UpdateSource) -> bool {
    let last =
        |source: &UpdateSource| name_without_owner(source.name.as_deref().unwrap_or_default());
    named.tag == asked.tag && last(named) == last(asked)
}

#[cfg(test)]
mod tests;
