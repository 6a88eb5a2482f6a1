//! Writes output on a thread of its own, so that a reader who stops reading does not stop a run.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::footer::{FRAME_INTERVAL, Footer};
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

/// Something to write.
enum WriteJob {
    Event(RunEvent),
    Other(Box<dyn FnOnce(&mut Ui) + Send>),
    /// Removes the footer for good.
    RemoveFooter,
}

impl BackgroundWriter {
    /// Starts the thread. Until [`flush`](Self::flush) returns, nothing else should write.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot start a thread.
    pub(super) fn start(ui: &Ui) -> io::Result<Self> {
        Self::start_with_footer(ui, None)
    }

    /// Starts the thread, which draws a footer below all output.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot start a thread.
    pub(super) fn start_with_footer(ui: &Ui, footer: Option<Footer>) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<WriteJob>();
        let (queued, written) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        let (mut ui, count) = (ui.clone(), Arc::clone(&written));
        let write = move || {
            if let Some(footer) = footer {
                write_above(footer, &mut ui, &queue, &count);
            }
            for job in queue {
                // A closed stream must not stop the run.
                match job {
                    WriteJob::Event(event) => drop(ui.event(&event)),
                    WriteJob::Other(write) => write(&mut ui),
                    WriteJob::RemoveFooter => {}
                }
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
            self.push(WriteJob::Event(event));
        }
    }

    /// Writes a line for people.
    pub(super) fn message(&self, line: String) {
        self.push(WriteJob::Other(Box::new(move |ui| drop(ui.message(line)))));
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
        self.push(WriteJob::Other(Box::new(move |ui| drop(sender.send(write(ui))))));
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

    /// Writes the last output of a run, without the footer. If the reader is stuck, the wait ends as soon
    /// as a signal arrives; `stopped` is true if one has arrived before.
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
        self.push(WriteJob::RemoveFooter);
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

    fn push(&self, job: WriteJob) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        // Sending fails only if the thread panicked, and then no output is possible.
        let _ = self.jobs.send(job);
    }

    fn queue_length(&self) -> usize {
        let queued = self.queued.load(Ordering::Relaxed);
        queued.saturating_sub(self.written.load(Ordering::Relaxed))
    }
}

/// Writes jobs above a footer, frame by frame, until the footer is removed or all handles are dropped.
/// Errors are ignored: a closed stream must not stop the run.
fn write_above(
    mut footer: Footer,
    ui: &mut Ui,
    queue: &mpsc::Receiver<WriteJob>,
    written: &AtomicUsize,
) {
    let mut next_frame = Instant::now();
    let mut above = String::new();
    loop {
        let wait = next_frame.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            let _ = footer.draw(ui, &std::mem::take(&mut above));
            next_frame = Instant::now() + FRAME_INTERVAL;
            continue;
        }
        let job = match queue.recv_timeout(wait) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => WriteJob::RemoveFooter,
        };
        written.fetch_add(1, Ordering::Relaxed);
        if let WriteJob::Event(event) = job {
            above.push_str(&ui.event_text(&event).unwrap_or_default());
            continue;
        }
        let _ = footer.erase(ui, &std::mem::take(&mut above));
        match job {
            WriteJob::Other(write) => write(ui),
            WriteJob::Event(_) | WriteJob::RemoveFooter => return,
        }
    }
}
