//! The server's clock: the wall's time when the server started, and tokio's from there on.
//!
//! So stamps and the ends of upload URLs never jump, agree with the limits, and follow a test that
//! pauses tokio's clock and lets hours pass at once.

use tokio::time::Instant;

use super::model::UnixMillis;

/// Tells the time. All of one server's times come from one clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerClock {
    wall: UnixMillis,
    started: Instant,
}

impl ServerClock {
    /// A clock that starts now.
    pub(super) fn start() -> Self {
        let wall = UnixMillis::from_millis(jiff::Timestamp::now().as_millisecond());
        Self { wall, started: Instant::now() }
    }

    /// What time it is.
    pub(super) fn now(&self) -> UnixMillis {
        self.wall.after(self.started.elapsed())
    }
}
