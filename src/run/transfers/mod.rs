//! Requests transfers: many in one request where possible, each with a result of its own.
//!
//! There is a task for each owner, because each owner has a transfer limit of its own. The task waits
//! until the limit has room, takes as many transfers as fit, and sends them in a task of their own.

mod batch;
mod form;
mod recover;
mod request;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::batch::TransferQueue;
use self::form::{ServiceTraits, TransferForm};
use self::recover::Recovery;
pub(super) use self::request::TransferRequest;
use self::request::{BatchOutcome, TransferOutcome};
use super::link::{KnownBuilds, StepMessage, record_all};
use super::outcome::StepFailure;
use crate::api::{
    AcceptedBuild, ApiError, Attempts, Client, ErrorKind, Permit, Repeat, TransferRefusal,
};
use crate::base::kind::ImageKind;
use crate::base::name::Owner;
use crate::base::source_ref::RegistryKind;
use crate::event::Phase;
use crate::state::Record;

/// Time that the first transfer of a batch waits for others to join it.
const BATCH_DELAY: Duration = Duration::from_millis(20);

/// The handle to the tasks that send transfers.
#[derive(Clone)]
pub(super) struct TransferBatcher {
    sender: BatchSender,
    queues: Arc<Mutex<HashMap<Owner, mpsc::UnboundedSender<TransferRequest>>>>,
}

/// Sends batches, and settles their transfers.
#[derive(Clone)]
struct BatchSender {
    client: Client,
    messages: mpsc::UnboundedSender<StepMessage>,
    stopping: CancellationToken,
    /// Builds that belong to a unit: a lost response cannot have been about one of them.
    known: KnownBuilds,
    traits: Arc<Mutex<ServiceTraits>>,
}

impl TransferBatcher {
    /// `known` are the builds that units already have; builds of contexts are added during the run.
    pub(super) fn new(
        client: Client,
        messages: mpsc::UnboundedSender<StepMessage>,
        stopping: CancellationToken,
        known: KnownBuilds,
    ) -> Self {
        let traits = Arc::default();
        let sender = BatchSender { client, messages, stopping, known, traits };
        Self { sender, queues: Arc::default() }
    }

    /// Returns once the transfer is accepted and its build is on record.
    ///
    /// # Errors
    /// Fails if the service refuses the transfer, if it remains in doubt, or if the run is stopping.
    pub(super) async fn request(&self, mut transfer: TransferRequest) -> TransferOutcome {
        let (result, outcome) = oneshot::channel();
        transfer.result = Some(result);
        transfer.max_tries = self.sender.client.max_attempts();
        let owner = transfer.form.owner.clone();
        let queue = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            let start = || {
                let (queue, receiver) = mpsc::unbounded_channel();
                tokio::spawn(serve(self.sender.clone(), receiver, queue.downgrade()));
                queue
            };
            queues.entry(owner).or_insert_with(start).clone()
        };
        // Fails only if the task is gone, which drops the sender of the result.
        let _ = queue.send(transfer);
        drop(queue);
        outcome
            .await
            .unwrap_or_else(|_| Err(StepFailure::bug("the transfer was dropped without a result")))
    }
}

/// Sends the transfers of one owner until the last sender is dropped.
async fn serve(
    sender: BatchSender,
    mut requests: mpsc::UnboundedReceiver<TransferRequest>,
    retries: mpsc::WeakUnboundedSender<TransferRequest>,
) {
    let mut queue = TransferQueue::default();
    loop {
        if queue.is_empty() {
            let Some(transfer) = requests.recv().await else { return };
            queue.push(transfer);
            tokio::time::sleep(BATCH_DELAY).await;
        }
        while let Ok(transfer) = requests.try_recv() {
            queue.push(transfer);
        }
        let Some(first) = queue.first() else { continue };
        let (payer, max) = sender.traits().limits(&first.form, queue.next_size());
        let permit = sender.client.transfer_permit(&payer, max, &sender.stopping).await;
        let Ok((max, permit)) = permit else {
            queue.drain().for_each(|transfer| transfer.finish(Err(StepFailure::NotStarted)));
            continue;
        };
        let batch = queue.take(max);
        sender.enter(Phase::Submit, &batch);
        let (sender, retries) = (sender.clone(), retries.clone());
        tokio::spawn(async move {
            // A retry goes to the end of the queue.
            let batch = sender.send_and_settle(batch, permit).await;
            sender.enter(Phase::Wait, &batch);
            for transfer in batch {
                match retries.upgrade() {
                    Some(queue) => drop(queue.send(transfer)),
                    None => transfer.finish(Err(StepFailure::NotStarted)),
                }
            }
        });
    }
}

impl BatchSender {
    /// Sends one batch, settles its transfers, and returns those to request again.
    async fn send_and_settle(
        &self,
        mut batch: Vec<TransferRequest>,
        mut permit: Option<Permit>,
    ) -> Vec<TransferRequest> {
        if batch.iter().any(|transfer| transfer.in_doubt.is_some()) {
            let outcome = self.recovery().recover_earlier_run(batch).await;
            self.settle(outcome.accepted, outcome.failed, &[]).await;
            batch = outcome.retry;
        }
        if batch.is_empty() {
            return batch;
        }
        if let Err(failure) = self.record_submitting(&mut batch).await {
            for transfer in batch {
                transfer.finish(Err(failure.clone()));
            }
            return Vec::new();
        }
        // Recorded before the turn, because a turn is short.
        if let Some(permit) = permit.as_ref().filter(|permit| !permit.is_in_turn()) {
            self.enter(Phase::Wait, &batch);
            if self.client.transfer_turn(permit, &self.stopping).await {
                self.enter(Phase::Submit, &batch);
            }
        }
        let outcome = self.send(batch, permit.as_mut()).await;
        drop(permit);
        let BatchOutcome { mut accepted, mut failed, retry, unreported, unassigned } = outcome;
        if !unreported.is_empty() {
            let recovered = self.recovery().recover_unreported(unreported, unassigned).await;
            accepted.extend(recovered.accepted);
            failed.extend(recovered.failed);
        }
        self.settle(accepted, failed, &retry).await;
        let delay = retry.iter().map(TransferRequest::backoff).max().unwrap_or_default();
        // If the run stops meanwhile, the queue finishes them.
        self.stopping.run_until_cancelled(tokio::time::sleep(delay)).await;
        retry
    }

    /// Tells the driver that these transfers enter a phase.
    fn enter(&self, phase: Phase, batch: &[TransferRequest]) {
        for transfer in batch {
            // Fails only if the driver is gone; nobody listens then.
            let _ = self.messages.send(StepMessage::enters(transfer.step, phase));
        }
    }

    /// Records that a request is about to be sent.
    async fn record_submitting(&self, batch: &mut [TransferRequest]) -> Result<(), StepFailure> {
        let at = Timestamp::now();
        let record = |transfer: &mut TransferRequest| {
            transfer.submission.at = at;
            Record::Submitting {
                unit: transfer.form.unit.clone(),
                kind: ImageKind::Mirror,
                platform: transfer.form.platform,
                submission: transfer.submission.clone(),
            }
        };
        record_all(&self.messages, batch.iter_mut().map(record).collect()).await
    }

    async fn send(
        &self,
        mut batch: Vec<TransferRequest>,
        mut permit: Option<&mut Permit>,
    ) -> BatchOutcome {
        let sources: Vec<String> = batch.iter().map(|transfer| transfer.source.clone()).collect();
        let Some(first) = batch.first() else { return BatchOutcome::default() };
        let request = self.traits().request(&first.form, &sources);
        let mut tries = Attempts::new(Repeat::LookUpFirst);
        let turn = permit.as_deref_mut();
        let response = self.client.initiate(&request, &mut tries, turn, &self.stopping).await;
        if let Some(refusal) = TransferRefusal::of(sources.len(), &response) {
            self.rate_limited(&first.form, &refusal, permit);
        }
        match response {
            Ok(response) => {
                let assigned = batch::assign(&sources, response);
                BatchOutcome::new(batch, assigned, &self.traits())
            }
            // The next requests have as many transfers as the limit was found to allow.
            Err(error) if error.kind == ErrorKind::RateLimited => {
                BatchOutcome { retry: batch, ..BatchOutcome::default() }
            }
            Err(error) if self.changes_form(&mut batch, &error) => {
                BatchOutcome { retry: batch, ..BatchOutcome::default() }
            }
            Err(error) => self.recovery().recover_failed_request(batch, &error).await,
        }
    }

    /// Changes the form of the requests after a refusal. Returns false if another form would not
    /// help.
    fn changes_form(&self, batch: &mut [TransferRequest], error: &ApiError) -> bool {
        let failure = || StepFailure::of(error);
        let traits = self.traits();
        let change = |transfer: &mut TransferRequest| {
            transfer.in_another_form(&traits, &error.message, failure)
        };
        matches!(error.status, Some(400 | 422))
            && batch.iter_mut().map(change).fold(false, std::ops::BitOr::bitor)
    }

    /// Adapts the limit that counts these transfers to a refusal. A limit that is lower than that of
    /// their owner is that of the personal account: nobody documents who pays for the mirrors of
    /// Docker Hub that others than the personal account ask for.
    fn rate_limited(
        &self,
        first: &TransferForm,
        refusal: &TransferRefusal,
        permit: Option<&mut Permit>,
    ) {
        let mut traits = self.traits();
        let stated = refusal.usage().map(|usage| usage.limit);
        let may_be_other =
            first.registry == RegistryKind::DockerHub && *traits.payer(first) != Owner::Personal;
        match permit {
            Some(permit)
                if !may_be_other || stated.is_none_or(|stated| stated >= permit.limit()) =>
            {
                self.client.transfers_refused(refusal, Some(permit));
            }
            permit => {
                traits.counts_as_personal(first);
                if let Some(permit) = permit {
                    permit.shrink_to(refusal.accepted);
                }
                self.client.transfers_refused(refusal, None);
            }
        }
    }

    /// Records the outcomes of transfers, then sends them to the steps. Transfers in `retry` are
    /// recorded as not accepted.
    async fn settle(
        &self,
        mut accepted: Vec<(TransferRequest, AcceptedBuild)>,
        failed: Vec<(TransferRequest, StepFailure)>,
        retry: &[TransferRequest],
    ) {
        self.recovery().check_names(&mut accepted).await;
        let mut forms: Vec<_> =
            accepted.iter_mut().map(|(transfer, accepted)| (&transfer.form, accepted)).collect();
        self.traits().learn(&mut forms);
        self.known.add(accepted.iter().map(|(_, accepted)| accepted.build.clone()));
        let created = accepted.iter().map(|(transfer, accepted)| transfer.created(accepted));
        // A transfer in doubt stays on record as submitted, so that the next run looks for it.
        let refused = failed.iter().filter(|(_, failure)| !failure.is_pending());
        let refused = refused.map(|(transfer, _)| transfer).chain(retry);
        let refused =
            refused.map(|transfer| Record::NotAccepted { unit: transfer.form.unit.clone() });
        let records: Vec<Record> = created.chain(refused).collect();
        let recorded =
            if records.is_empty() { Ok(()) } else { record_all(&self.messages, records).await };
        for (transfer, accepted) in accepted {
            transfer.finish(recorded.clone().map(|()| accepted));
        }
        for (transfer, failure) in failed {
            transfer.finish(Err(failure));
        }
    }

    fn traits(&self) -> MutexGuard<'_, ServiceTraits> {
        self.traits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recovery(&self) -> Recovery<'_> {
        Recovery { client: &self.client, known: &self.known }
    }
}
