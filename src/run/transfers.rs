//! Asks for transfers: many with one request where that can be, each answered for itself.
//!
//! One task an owner, since each owner has a budget of its own. It waits for a part of the budget,
//! takes as many transfers as that has room for, and leaves the request to a task of its own.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::ask::{Answer, Ask, Sorted};
use super::booking::{self, Queue};
use super::dispatch::StepFailure;
use super::make::request;
use super::step::{StepMessage, api_failure, failure, keep, not_begun};
use crate::api::look::{self, Listing, Lookup, Wanted};
use crate::api::{
    Accepted, ApiError, BuildView, Client, ErrorKind, Permit, Refused, Repeat, Tries,
};
use crate::base::name::{BuildId, ImageRef, Owner};
use crate::state::{Kind, Record};

/// How long the first transfer waits for others to go with it.
const GATHER: Duration = Duration::from_millis(20);

/// Takes what is asked for, from any step.
#[derive(Clone)]
pub(super) struct Transfers {
    desk: Desk,
    owners: Arc<Mutex<HashMap<Owner, mpsc::UnboundedSender<Ask>>>>,
}

/// What the requests share.
#[derive(Clone)]
struct Desk {
    client: Client,
    messages: mpsc::UnboundedSender<StepMessage>,
    stopping: CancellationToken,
    /// Builds that are somebody's: one that is found is another.
    known: Arc<Mutex<HashSet<BuildId>>>,
}

impl Transfers {
    /// `known` are the builds that units have.
    pub(super) fn new(
        client: Client,
        messages: mpsc::UnboundedSender<StepMessage>,
        stopping: CancellationToken,
        known: HashSet<BuildId>,
    ) -> Self {
        let known = Arc::new(Mutex::new(known));
        Self { desk: Desk { client, messages, stopping, known }, owners: Arc::default() }
    }

    /// Returns once the transfer was accepted and that is on record.
    pub(super) async fn ask(&self, mut ask: Ask) -> Answer {
        let (reply, answer) = oneshot::channel();
        ask.reply = Some(reply);
        ask.left = self.desk.client.most_tries().saturating_sub(1);
        let owner = ask.submission.owner.clone();
        let queue = {
            let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
            let serve = || {
                let (asks, receiver) = mpsc::unbounded_channel();
                let again = asks.downgrade();
                tokio::spawn(serve(self.desk.clone(), owner.clone(), receiver, again));
                asks
            };
            owners.entry(owner.clone()).or_insert_with(serve).clone()
        };
        // An answer that never comes tells that nobody is there.
        let _ = queue.send(ask);
        drop(queue);
        answer.await.unwrap_or_else(|_| Err(failure("the run was left", None, None)))
    }
}

/// Serves one owner until nobody can ask any more.
async fn serve(
    desk: Desk,
    owner: Owner,
    mut asks: mpsc::UnboundedReceiver<Ask>,
    again: mpsc::WeakUnboundedSender<Ask>,
) {
    let mut queue = Queue::default();
    loop {
        if queue.is_empty() {
            let Some(ask) = asks.recv().await else { return };
            queue.push(ask);
            tokio::time::sleep(GATHER).await;
        }
        while let Ok(ask) = asks.try_recv() {
            queue.push(ask);
        }
        let turn = desk.client.transfer_turn(&owner, queue.next_size(), &desk.stopping).await;
        let Ok((most, permit)) = turn else {
            queue.drain().for_each(|ask| ask.answer(Err(not_begun())));
            continue;
        };
        let batch = queue.take(most);
        for ask in &batch {
            // The driver is only gone when the run is left at once.
            let _ = desk.messages.send(StepMessage::Begun { step: ask.step });
        }
        let (desk, owner, again) = (desk.clone(), owner.clone(), again.clone());
        tokio::spawn(async move {
            // Whoever has to ask again waits in line like all others.
            for ask in desk.carry(&owner, batch, permit).await {
                match again.upgrade() {
                    Some(queue) => drop(queue.send(ask)),
                    None => ask.answer(Err(not_begun())),
                }
            }
        });
    }
}

impl Desk {
    /// Sends one request, and returns the transfers that have to be asked for again.
    async fn carry(
        &self,
        owner: &Owner,
        mut batch: Vec<Ask>,
        mut permit: Option<Permit>,
    ) -> Vec<Ask> {
        if batch.iter().any(|ask| ask.lost.is_some()) {
            // From an earlier run, which could not find out.
            let Sorted { accepted, failed, again, .. } = self.find(batch, None).await;
            self.settle(accepted, failed).await;
            batch = again;
        }
        if batch.is_empty() || self.submitting(&mut batch).await.is_err() {
            return Vec::new();
        }
        let sorted = self.send(owner, batch, permit.as_mut()).await;
        drop(permit);
        let Sorted { mut accepted, mut failed, mut again, lost } = sorted;
        if !lost.is_empty() {
            let found = self.find(lost, None).await;
            accepted.extend(found.accepted);
            failed.extend(found.failed);
            again.extend(found.again);
        }
        self.settle(accepted, failed).await;
        again
    }

    /// Keeps that a request is about to leave.
    async fn submitting(&self, batch: &mut [Ask]) -> Result<(), StepFailure> {
        let at = Timestamp::now();
        let record = |ask: &mut Ask| {
            ask.submission.at = at;
            Record::Submitting {
                unit: ask.unit.clone(),
                kind: Kind::Mirror,
                platform: ask.platform,
                submission: ask.submission.clone(),
            }
        };
        keep(&self.messages, batch.iter_mut().map(record).collect()).await
    }

    async fn send(&self, owner: &Owner, batch: Vec<Ask>, permit: Option<&mut Permit>) -> Sorted {
        let sources: Vec<String> = batch.iter().map(|ask| ask.source.clone()).collect();
        let [first, ..] = &batch[..] else { return Sorted::default() };
        // A name is for one source alone.
        let name = (batch.len() == 1).then_some(&first.unit);
        let mut request = request(name, first.platform, owner, first.visibility);
        request.source_image = Some(sources.join(","));
        let mut tries = Tries::new(Repeat::LookFirst);
        let mut permit = permit;
        let turn = permit.as_deref_mut();
        match self.client.initiate(&request, &mut tries, turn, &self.stopping).await {
            Ok(answer) => {
                let rates = answer.iter().filter_map(|part| part.as_ref().err());
                if let (Some(permit), true) = (permit, rates.into_iter().any(Refused::is_rate)) {
                    permit.refused(None);
                }
                Sorted::of(batch, booking::book(&sources, answer))
            }
            Err(error) => self.not_answered(batch, &error).await,
        }
    }

    /// What an error means for each of a request's transfers.
    async fn not_answered(&self, batch: Vec<Ask>, error: &ApiError) -> Sorted {
        let bulk = batch.len() > 1;
        match error.kind {
            ErrorKind::Lost | ErrorKind::Server | ErrorKind::BadAnswer => {
                tokio::time::sleep(error.look_after.unwrap_or_default()).await;
                let mut sorted = self.find(batch, Some(error)).await;
                // A list may be what the service is in trouble with.
                // The second time in a row it may be the list that is in trouble.
                sorted
                    .again
                    .iter_mut()
                    .for_each(|ask| ask.alone |= std::mem::replace(&mut ask.lost_once, true));
                sorted
            }
            // One may be at fault, or the service takes no lists.
            ErrorKind::Rejected | ErrorKind::NotFound if bulk => {
                let again = batch.into_iter().map(|ask| Ask { alone: true, ..ask }).collect();
                Sorted { again, ..Sorted::default() }
            }
            _ => {
                let failed = batch.into_iter().map(|ask| (ask, api_failure(error, None)));
                Sorted { failed: failed.collect(), ..Sorted::default() }
            }
        }
    }

    /// Looks whether transfers were accepted whose answer is not here. `error` is why; without one
    /// the answer had no place for them, or an earlier run asked for them.
    async fn find(&self, batch: Vec<Ask>, error: Option<&ApiError>) -> Sorted {
        let wanted: Vec<Wanted> = batch
            .iter()
            .map(|ask| Wanted {
                name: ask.unit.name.to_string(),
                tag: ask.unit.tag.to_string(),
                owner: ask.submission.owner.clone(),
                since: ask.lost.map_or(ask.submission.at, |lost| lost.at),
            })
            .collect();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut sorted = Sorted::default();
        let found = match look::find(&self.client, &wanted, &known).await {
            Ok(found) => found,
            Err(looking) => {
                // It stays on record as asked for: the next apply looks for it first.
                let failed = |ask| {
                    let error = error.unwrap_or(&looking);
                    let help = "whether the service took it is not known: the next apply looks";
                    let help = Some(help.to_owned());
                    (ask, StepFailure { pending: true, help, ..api_failure(error, None) })
                };
                return Sorted { failed: batch.into_iter().map(failed).collect(), ..sorted };
            }
        };
        for (ask, lookup) in batch.into_iter().zip(found) {
            // What is not known is taken for what is not there.
            let view = if let Lookup::Found(view) = lookup { Some(view) } else { None };
            match view.and_then(|view| Some((view.build?, view.path))) {
                Some((build, _)) if ask.lost.is_some_and(|lost| !lost.same) => {
                    // It stays on record as asked for: the next plan finds it.
                    let message = format!("build {build} of what it was before is under way");
                    let help = "the next apply waits for its end, and asks then".to_owned();
                    let failure = failure(&message, Some(help), None);
                    sorted.failed.push((ask, StepFailure { pending: true, ..failure }));
                }
                Some((build, path)) => {
                    let accepted = Accepted {
                        build,
                        path,
                        upload: None,
                        expires_in: None,
                        visibility: None,
                        source: Some(ask.source.clone()),
                    };
                    sorted.accepted.push((ask, accepted));
                }
                None if ask.left > 0 => {
                    sorted.again.push(Ask { left: ask.left - 1, lost: None, ..ask });
                }
                None => {
                    let failure = match error {
                        Some(error) => api_failure(error, None),
                        None => failure("the service's answer had no build of it", None, None),
                    };
                    sorted.failed.push((ask, failure));
                }
            }
        }
        sorted
    }

    /// Keeps what became of transfers, and tells whoever asked.
    async fn settle(&self, mut accepted: Vec<(Ask, Accepted)>, failed: Vec<(Ask, StepFailure)>) {
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.extend(accepted.iter().map(|(_, accepted)| accepted.build.clone()));
        }
        let unknown = |failure: &StepFailure| failure.pending;
        let created = accepted.iter().map(|(ask, accepted)| ask.created(accepted));
        let refused = failed.iter().filter(|(_, failure)| !unknown(failure));
        let refused = refused.map(|(ask, _)| Record::NotAccepted { unit: ask.unit.clone() });
        let records: Vec<Record> = created.chain(refused).collect();
        if !records.is_empty() && keep(&self.messages, records).await.is_err() {
            return;
        }
        if self.by_name(&mut accepted).await.is_err() {
            return;
        }
        for (ask, accepted) in accepted {
            ask.answer(Ok(accepted));
        }
        for (ask, failure) in failed {
            ask.answer(Err(failure));
        }
    }

    /// Checks whose builds those of one list are, where the answer did not say: by the names that
    /// the service gives them. The first and the last tell whether its order is ours; only where it
    /// is not, all are asked for. What cannot be asked is checked when the build has ended.
    async fn by_name(&self, accepted: &mut [(Ask, Accepted)]) -> Result<(), StepFailure> {
        let [(first, one), .., (last, other)] = &accepted[..] else { return Ok(()) };
        if one.source.is_some() {
            return Ok(());
        }
        let named = self.names(&[one.build.clone(), other.build.clone()]).await;
        let is_right = |ask: &Ask, build| named.get(build).is_none_or(|name| *name == ask.unit);
        if is_right(first, &one.build) && is_right(last, &other.build) {
            return Ok(());
        }
        let builds: Vec<BuildId> = accepted.iter().map(|(_, part)| part.build.clone()).collect();
        let named = self.names(&builds).await;
        let units: Vec<(ImageRef, BuildId)> = accepted
            .iter()
            .map(|(ask, accepted)| (ask.unit.clone(), accepted.build.clone()))
            .collect();
        let Some(right) = booking::by_name(&units, &named) else { return Ok(()) };
        let mut records = Vec::new();
        for ((ask, accepted), build) in accepted.iter_mut().zip(right) {
            if accepted.build != build {
                // The one path of such an answer belongs to whichever build came first.
                *accepted = Accepted { build, path: None, ..accepted.clone() };
                records.push(ask.created(accepted));
            }
        }
        keep(&self.messages, records).await
    }

    /// What the service calls the images of some builds.
    async fn names(&self, builds: &[BuildId]) -> HashMap<BuildId, ImageRef> {
        let name = |(build, answer): (BuildId, Result<BuildView, ApiError>)| {
            let (name, tag) = answer.ok()?.image?;
            Some((build, ImageRef { name: name.parse().ok()?, tag: tag.parse().ok()? }))
        };
        let looks = look::look(&self.client, builds, &mut Listing::quick()).await;
        looks.into_iter().filter_map(name).collect()
    }
}
