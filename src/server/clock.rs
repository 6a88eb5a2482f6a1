//! The server's clock: the system time at the start of the server, plus tokio's clock since then.
//!
//! Timestamps therefore never jump, agree with the rate limits, and follow tests that pause tokio's
//! clock and advance it by hours.

use tokio::time::Instant;

use super::model::UnixMillis;

/// The clock of a server. All times of a server come from it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerClock {
    start: UnixMillis,
    started: Instant,
}

impl ServerClock {
    /// Starts a clock.
    pub(super) fn start() -> Self {
        let start = UnixMillis::from_millis(jiff::Timestamp::now().as_millisecond());
        Self { start, started: Instant::now() }
    }

    /// Returns the time.
    pub(super) fn now(&self) -> UnixMillis {
        self.start.after(self.started.elapsed())
    }
}
