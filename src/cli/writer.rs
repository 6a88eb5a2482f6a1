//! Writes output on a thread of its own, so that a reader who stops reading does not stop a run.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::ui::Ui;
use crate::event::{RunEvent, Signal};

/// Maximum length of the queue; beyond it, events that only show progress are dropped.
const MAX_QUEUED_JOBS: usize = 4000;

/// Time without progress after which the reader counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// Handle to the writing thread, which writes in order. Cheap to clone; the thread ends with the
/// last handle.
#[derive(Clone)]
pub(super) struct BackgroundWriter {
    jobs: mpsc::Sender<WriteJob>,
    queued: Arc<AtomicUsize>,
    written: Arc<AtomicUsize>,
}

type WriteJob = Box<dyn FnOnce(&mut Ui) + Send>;

impl BackgroundWriter {
    /// Starts the thread. Until [`flush`](Self::flush) returns, nothing else should write.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot start a thread.
    pub(super) fn start(ui: &Ui) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<WriteJob>();
        let (queued, written) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        let (mut ui, count) = (ui.clone(), Arc::clone(&written));
        let write = move || {
            for job in queue {
                job(&mut ui);
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::Builder::new().name("writer".to_owned()).spawn(write)?;
        Ok(Self { jobs, queued, written })
    }

    /// Writes an event. Write errors are ignored: a closed stream must not stop the run.
    pub(super) fn event(&self, event: RunEvent) {
        let is_progress = matches!(event, RunEvent::Heartbeat { .. } | RunEvent::Progress(_));
        if !(is_progress && self.queue_length() > MAX_QUEUED_JOBS) {
            self.push(move |ui| drop(ui.event(&event)));
        }
    }

    /// Writes a line for people.
    pub(super) fn message(&self, line: String) {
        self.push(move |ui| drop(ui.message(line)));
    }

    /// Writes after everything queued before, and returns the result once it is written.
    ///
    /// # Errors
    ///
    /// Fails as `write` does, or if the writing thread panicked.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Ui) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (sender, result) = oneshot::channel();
        // The caller may have been cancelled.
        self.push(move |ui| drop(sender.send(write(ui))));
        result.await.unwrap_or_else(|_| Err(io::Error::other("the writing thread has ended")))
    }

    /// Waits until everything queued is written.
    ///
    /// # Errors
    ///
    /// Fails if the writing thread panicked.
    pub(super) async fn flush(&self) -> io::Result<()> {
        self.write(|_| Ok(())).await
    }

    /// Writes the last output of a run. If the reader is stuck, the wait ends as soon as a signal
    /// arrives; `stopped` is true if one has arrived before.
    ///
    /// # Errors
    ///
    /// Fails as `write` does, or if the writing thread panicked.
    pub(super) async fn finish(
        &self,
        write: impl FnOnce(&mut Ui) -> io::Result<()> + Send + 'static,
        mut stopped: bool,
        signals: &mut UnboundedReceiver<Signal>,
    ) -> io::Result<()> {
        let mut result = std::pin::pin!(self.write(write));
        let mut before = self.written.load(Ordering::Relaxed);
        loop {
            if let Ok(result) = tokio::time::timeout(STUCK_AFTER, &mut result).await {
                return result;
            }
            stopped |= signals.try_recv().is_ok();
            let now = self.written.load(Ordering::Relaxed);
            if stopped && now == before {
                return Ok(());
            }
            before = now;
        }
    }

    fn push(&self, job: impl FnOnce(&mut Ui) + Send + 'static) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        // Sending fails only if the thread panicked, and then no output is possible.
        let _ = self.jobs.send(Box::new(job));
    }

    fn queue_length(&self) -> usize {
        let queued = self.queued.load(Ordering::Relaxed);
        queued.saturating_sub(self.written.load(Ordering::Relaxed))
    }
}
