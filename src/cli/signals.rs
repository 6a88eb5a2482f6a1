//! Hears Ctrl-C and SIGTERM, as often as they come.

use tokio::sync::mpsc;

use crate::event::Signal;

/// Listens from here on; until then the signals do what they always do.
pub(super) fn listen() -> mpsc::UnboundedReceiver<Signal> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let interrupts = sender.clone();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && interrupts.send(Signal::Interrupt).is_ok() {}
    });
    #[cfg(unix)]
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
        while terminate.recv().await.is_some() && sender.send(Signal::Terminate).is_ok() {}
    });
    receiver
}
