//! Hears Ctrl-C and SIGTERM, as often as they come.

use tokio::sync::mpsc;

use crate::event::Signal;

/// Listens from here on; until then the signals do what they always do.
#[cfg(unix)]
pub(super) fn listen() -> mpsc::UnboundedReceiver<Signal> {
    use tokio::signal::unix::{SignalKind, signal};

    let (sender, receiver) = mpsc::unbounded_channel();
    let kinds = [
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::terminate(), Signal::Terminate),
    ];
    for (kind, meaning) in kinds {
        // One stream for all that come: a new one for each could miss what comes between.
        let Ok(mut signals) = signal(kind) else { continue };
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() && sender.send(meaning).is_ok() {}
        });
    }
    receiver
}

/// Listens from here on; until then the signals do what they always do.
#[cfg(not(unix))]
pub(super) fn listen() -> mpsc::UnboundedReceiver<Signal> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && sender.send(Signal::Interrupt).is_ok() {}
    });
    receiver
}
