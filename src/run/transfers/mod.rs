//! Asks for transfers: many with one request where that can be, each answered for itself.
//!
//! One task an owner, since each owner has a budget of its own. It waits for a part of the budget,
//! takes as many transfers as that has room for, and leaves the request to a task of its own.

mod batch;
mod recover;
mod request;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::batch::Queue;
pub(in crate::run) use self::request::Ask;
use self::request::{Answer, Sorted};
use crate::api::{Accepted, Client, Permit, Refused, Repeat, Tries};
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, Owner};
use crate::run::dispatch::StepFailure;
use crate::run::make::request;
use crate::run::step::{StepMessage, failure, keep, not_begun};
use crate::state::Record;

/// How long the first transfer waits for others to go with it.
const GATHER: Duration = Duration::from_millis(20);

/// Takes what is asked for, from any step.
#[derive(Clone)]
pub(in crate::run) struct Transfers {
    desk: Desk,
    owners: Arc<Mutex<HashMap<Owner, mpsc::UnboundedSender<Ask>>>>,
}

/// What the requests share.
#[derive(Clone)]
pub(in crate::run) struct Desk {
    pub(in crate::run) client: Client,
    messages: mpsc::UnboundedSender<StepMessage>,
    stopping: CancellationToken,
    /// Builds that are somebody's: one that is found is another.
    known: Arc<Mutex<HashSet<BuildId>>>,
}

impl Transfers {
    /// `known` are the builds that units have.
    pub(in crate::run) fn new(
        client: Client,
        messages: mpsc::UnboundedSender<StepMessage>,
        stopping: CancellationToken,
        known: HashSet<BuildId>,
    ) -> Self {
        let known = Arc::new(Mutex::new(known));
        Self { desk: Desk { client, messages, stopping, known }, owners: Arc::default() }
    }

    /// Returns once the transfer was accepted and that is on record.
    pub(in crate::run) async fn ask(&self, mut ask: Ask) -> Answer {
        let (reply, answer) = oneshot::channel();
        ask.reply = Some(reply);
        ask.most = self.desk.client.most_tries();
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
        // Whoever serves answers everybody, unless it is at its end itself.
        answer.await.unwrap_or_else(|_| {
            let message = "a bug in imgplan: nobody said what became of the transfer";
            Err(failure(message, Some("please report it".to_owned()), None))
        })
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
        if batch.iter().any(|ask| ask.unanswered.is_some()) {
            let Sorted { accepted, failed, again, .. } = self.of_earlier(batch).await;
            self.settle(accepted, failed, &[]).await;
            batch = again;
        }
        if batch.is_empty() {
            return batch;
        }
        if let Err(left) = self.submitting(&mut batch).await {
            for ask in batch {
                ask.answer(Err(left.clone()));
            }
            return Vec::new();
        }
        let sorted = self.send(owner, batch, permit.as_mut()).await;
        drop(permit);
        let Sorted { mut accepted, mut failed, again, unsaid, spare } = sorted;
        if !unsaid.is_empty() {
            let found = self.unsaid(unsaid, spare).await;
            accepted.extend(found.accepted);
            failed.extend(found.failed);
        }
        self.settle(accepted, failed, &again).await;
        let wait = again.iter().map(Ask::backoff).max().unwrap_or_default();
        // Whoever stops the run tells them so.
        self.stopping.run_until_cancelled(tokio::time::sleep(wait)).await;
        again
    }

    /// Keeps that a request is about to leave.
    async fn submitting(&self, batch: &mut [Ask]) -> Result<(), StepFailure> {
        let at = Timestamp::now();
        let record = |ask: &mut Ask| {
            ask.submission.at = at;
            Record::Submitting {
                unit: ask.unit.clone(),
                kind: ImageKind::Mirror,
                platform: ask.platform,
                submission: ask.submission.clone(),
            }
        };
        keep(&self.messages, batch.iter_mut().map(record).collect()).await
    }

    async fn send(
        &self,
        owner: &Owner,
        batch: Vec<Ask>,
        mut permit: Option<&mut Permit>,
    ) -> Sorted {
        let sources: Vec<String> = batch.iter().map(|ask| ask.source.clone()).collect();
        let [first, ..] = &batch[..] else { return Sorted::default() };
        // A name is for one source alone.
        let name = (batch.len() == 1).then_some(&first.unit);
        let mut request = request(name, first.platform, owner, first.visibility);
        request.source_image = Some(sources.join(","));
        let mut tries = Tries::new(Repeat::LookFirst);
        let turn = permit.as_deref_mut();
        match self.client.initiate(&request, &mut tries, turn, &self.stopping).await {
            Ok(answer) => {
                let mut refused = answer.iter().filter_map(|part| part.as_ref().err());
                if let (Some(permit), true) = (permit, refused.any(Refused::is_rate)) {
                    permit.refused(None);
                }
                Sorted::of(batch, batch::book(&sources, answer))
            }
            Err(error) => self.not_answered(batch, &error).await,
        }
    }

    /// Keeps what became of transfers, and tells whoever asked. Those that are asked for `again` were
    /// not taken.
    async fn settle(
        &self,
        mut accepted: Vec<(Ask, Accepted)>,
        failed: Vec<(Ask, StepFailure)>,
        again: &[Ask],
    ) {
        self.by_name(&mut accepted).await;
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.extend(accepted.iter().map(|(_, accepted)| accepted.build.clone()));
        }
        let created = accepted.iter().map(|(ask, accepted)| ask.created(accepted));
        // What may have been taken stays on record as asked for.
        let refused = failed.iter().filter(|(_, failure)| !failure.pending).map(|(ask, _)| ask);
        let refused = refused.chain(again);
        let refused = refused.map(|ask| Record::NotAccepted { unit: ask.unit.clone() });
        let records: Vec<Record> = created.chain(refused).collect();
        let kept = if records.is_empty() { Ok(()) } else { keep(&self.messages, records).await };
        for (ask, accepted) in accepted {
            ask.answer(kept.clone().map(|()| accepted));
        }
        for (ask, failure) in failed {
            ask.answer(Err(failure));
        }
    }

    /// The builds that are somebody's.
    pub(in crate::run) fn known(&self) -> HashSet<BuildId> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
