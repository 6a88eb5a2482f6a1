//! The work beside a command that holds a shared state: the tasks that hold it, which give it back when
//! the command ends early, and the signals that end it early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::failure::{Exit, Failure};
use super::signals;
use crate::event::Signal;

/// Maximum time that the program waits at its end until a shared state is given back.
const MAX_END_TIME: Duration = Duration::from_secs(10);

/// Tasks and signals of one command.
#[derive(Debug, Default)]
pub(super) struct Background {
    tasks: TaskTracker,
    /// The first signal before a run began.
    signal: watch::Sender<Option<Signal>>,
    /// True once signals are caught.
    is_listening: AtomicBool,
    /// True once a run receives the signals itself.
    is_running: Arc<AtomicBool>,
}

impl Background {
    /// Returns the tracker of the tasks that the program waits for at its end.
    pub(super) fn tasks(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Lets the next signal end the command, and not the process, which would leave the state held.
    pub(super) fn catch_signals(&self) {
        if self.is_listening.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut signals = signals::listen();
        let (first, is_running) = (self.signal.clone(), Arc::clone(&self.is_running));
        tokio::spawn(async move {
            while let Some(signal) = signals.recv().await {
                if !is_running.load(Ordering::Relaxed) {
                    first.send_replace(Some(signal));
                }
            }
        });
    }

    /// Leaves signals to a run, which listens itself.
    pub(super) fn leave_signals(&self) {
        self.is_running.store(true, Ordering::Relaxed);
    }

    /// Waits for a signal that ends the command. Returns the error of the command.
    pub(super) async fn interrupted(&self) -> Failure {
        let mut signals = self.signal.subscribe();
        // Never fails: the sender is part of this.
        let signal = signals.wait_for(Option::is_some).await.ok().and_then(|signal| *signal);
        let exit = match signal {
            Some(Signal::Terminate) => Exit::Terminated,
            Some(Signal::Interrupt) | None => Exit::Interrupted,
        };
        Failure { exit, ..Failure::new("interrupted; nothing was sent to the service") }
    }

    /// Waits until the tasks have ended.
    pub(super) async fn end(&self) {
        self.tasks.close();
        // After this time, the leases end by themselves.
        let _ = tokio::time::timeout(MAX_END_TIME, self.tasks.wait()).await;
    }
}
