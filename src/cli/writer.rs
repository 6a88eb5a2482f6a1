//! Writes on a thread of its own what is told meanwhile: a reader who stops reading holds up nobody
//! but that thread.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::ui::Ui;
use crate::event::{RunEvent, Signal};

/// So much may wait to be written before what only says that a run goes on is left out.
const MOST: usize = 4000;

/// A writer that has written nothing for so long does not get on.
const STUCK: Duration = Duration::from_secs(1);

/// Hands what is told to the thread that writes it, in order. Cheap to clone; the thread ends with
/// the last of them.
#[derive(Clone)]
pub(super) struct EventWriter {
    jobs: mpsc::Sender<Job>,
    told: Arc<AtomicUsize>,
    written: Arc<AtomicUsize>,
}

type Job = Box<dyn FnOnce(&mut Ui) + Send>;

impl EventWriter {
    /// Starts the thread. Until it is through, nobody else should write.
    pub(super) fn start(ui: &Ui) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (told, written) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        let (mut ui, count) = (ui.clone(), Arc::clone(&written));
        let write = move || {
            for job in queue {
                job(&mut ui);
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::Builder::new().name("writer".to_owned()).spawn(write)?;
        Ok(Self { jobs, told, written })
    }

    /// Tells of something that happened. A closed stream must not stop what is under way: what is
    /// told is lost, nothing else.
    pub(super) fn event(&self, event: RunEvent) {
        let passing = matches!(event, RunEvent::Heartbeat { .. } | RunEvent::Progress(_));
        if !(passing && self.waiting() > MOST) {
            self.tell(move |ui| drop(ui.event(&event)));
        }
    }

    /// Tells people something.
    pub(super) fn say(&self, line: String) {
        self.tell(move |ui| drop(ui.talk(line)));
    }

    /// Writes this after all that was told before; returns once it is written.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Ui) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, written) = oneshot::channel();
        // Whoever waited for it may have left.
        self.tell(move |ui| drop(answer.send(write(ui))));
        written.await.unwrap_or_else(|_| Err(io::Error::other("the writer is gone")))
    }

    /// The same, for the last that is told. It is waited for as long as the writer gets on; where it
    /// does not, since nobody reads, as long as nobody asks to stop, or has.
    pub(super) async fn end(
        &self,
        write: impl FnOnce(&mut Ui) -> io::Result<()> + Send + 'static,
        mut stopped: bool,
        signals: &mut UnboundedReceiver<Signal>,
    ) -> io::Result<()> {
        let mut written = std::pin::pin!(self.write(write));
        let mut before = self.written.load(Ordering::Relaxed);
        loop {
            if let Ok(result) = tokio::time::timeout(STUCK, &mut written).await {
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

    fn tell(&self, job: impl FnOnce(&mut Ui) + Send + 'static) {
        self.told.fetch_add(1, Ordering::Relaxed);
        // The thread is only gone where writing panicked: then there is nothing to tell with.
        let _ = self.jobs.send(Box::new(job));
    }

    fn waiting(&self) -> usize {
        let told = self.told.load(Ordering::Relaxed);
        told.saturating_sub(self.written.load(Ordering::Relaxed))
    }
}
