//! Receives Ctrl-C, SIGTERM and SIGHUP.

use tokio::sync::mpsc;

use crate::event::Signal;

/// Starts to listen for signals. Before this call, a signal ends the process.
#[cfg(unix)]
pub(super) fn listen() -> mpsc::UnboundedReceiver<Signal> {
    use tokio::signal::unix::{SignalKind, signal};

    let (sender, receiver) = mpsc::unbounded_channel();
    let mut kinds = vec![
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::terminate(), Signal::Terminate),
    ];
    // The terminal or the connection to it was closed; nohup ignores that.
    if !ignores_hangup() {
        kinds.push((SignalKind::hangup(), Signal::Terminate));
    }
    for (kind, meaning) in kinds {
        // One stream for all signals of a kind: a new stream per signal could miss one in between.
        let Ok(mut signals) = signal(kind) else { continue };
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() && sender.send(meaning).is_ok() {}
        });
    }
    receiver
}

/// Returns true if the process was started with SIGHUP ignored, or if that is not known.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    #[expect(clippy::disallowed_methods, reason = "the file is the kernel's own")]
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return true };
    // A mask in hexadecimal, whose lowest bit is signal 1 (proc(5)).
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.is_none_or(|mask| mask.trim().ends_with(|digit: char| "13579bdf".contains(digit)))
}

/// Starts to listen for Ctrl-C. Before this call, it ends the process.
#[cfg(not(unix))]
pub(super) fn listen() -> mpsc::UnboundedReceiver<Signal> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && sender.send(Signal::Interrupt).is_ok() {}
    });
    receiver
}
