//! Draws the live footer of a run below the lines that scroll.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ui::Ui;
use crate::api::Client;
use crate::report::estimate::Estimator;
use crate::report::footer::{FooterView, Screen};
use crate::report::timeline::Timeline;

/// Time between two frames: ten in a second.
pub(super) const FRAME_INTERVAL: Duration = Duration::from_millis(100);

/// Time between two estimates, which take longer than a frame if there are many targets.
const ESTIMATE_INTERVAL: Duration = Duration::from_secs(1);

/// Time over which the rate of uploads is measured.
const UPLOAD_WINDOW: Duration = Duration::from_secs(5);

/// The footer of a run.
pub(super) struct Footer {
    timeline: Arc<Mutex<Timeline>>,
    estimator: Estimator,
    client: Client,
    started: Instant,
    estimate: Estimate,
    /// Times of the last frames, with the bytes uploaded until then.
    uploads: VecDeque<(Instant, u64)>,
    /// The footer that is drawn.
    drawn: String,
}

/// An estimate of the time that is left, and the time of the next one.
struct Estimate {
    left: Option<Duration>,
    next: Instant,
}

impl Footer {
    /// Creates the footer of a run that began at `started`.
    pub(super) fn new(
        timeline: Arc<Mutex<Timeline>>,
        estimator: Estimator,
        client: Client,
        started: Instant,
    ) -> Self {
        let estimate = Estimate { left: None, next: started };
        let (uploads, drawn) = (VecDeque::new(), String::new());
        Self { timeline, estimator, client, started, estimate, uploads, drawn }
    }

    /// Writes lines above the footer, and draws it. In the background of the shell, writes the lines
    /// alone: the cursor is where the user types.
    ///
    /// # Errors
    ///
    /// Fails if the terminal cannot be written to.
    pub(super) fn draw(&mut self, ui: &mut Ui, above: &str) -> io::Result<()> {
        let screen = ui.screen().filter(|_| is_in_foreground());
        let footer = screen.map(|screen| self.lines(screen).join("\n")).unwrap_or_default();
        if above.is_empty() && footer == self.drawn {
            return Ok(());
        }
        self.drawn = footer;
        ui.draw_footer(above, &self.drawn)
    }

    /// Writes lines in place of the footer.
    ///
    /// # Errors
    ///
    /// Fails if the terminal cannot be written to.
    pub(super) fn erase(&mut self, ui: &mut Ui, above: &str) -> io::Result<()> {
        self.drawn.clear();
        ui.draw_footer(above, "")
    }

    fn lines(&mut self, screen: Screen) -> Vec<String> {
        let (now, at) = (self.started.elapsed(), Instant::now());
        let upload_rate = self.upload_rate(at);
        let timeline = self.timeline.lock().unwrap_or_else(PoisonError::into_inner);
        if self.estimate.next <= at {
            let left = self.estimator.remaining(&timeline, now);
            self.estimate = Estimate { left, next: at + ESTIMATE_INTERVAL };
        }
        let (total, left) = (self.estimator.targets(), self.estimate.left);
        FooterView { timeline: &timeline, total, now, upload_rate, left }.lines(screen)
    }

    /// Returns the bytes uploaded in a second, over the last frames.
    fn upload_rate(&mut self, now: Instant) -> u64 {
        self.uploads.push_back((now, self.client.uploaded_bytes()));
        while self.uploads.front().is_some_and(|(at, _)| now - *at > UPLOAD_WINDOW) {
            self.uploads.pop_front();
        }
        let (Some((from, before)), Some((_, after))) = (self.uploads.front(), self.uploads.back())
        else {
            return 0;
        };
        let millis = u64::try_from((now - *from).as_millis()).unwrap_or(u64::MAX);
        (after - before).saturating_mul(1000).checked_div(millis).unwrap_or_default()
    }
}

/// True unless the process runs in the background of its terminal.
#[cfg(unix)]
fn is_in_foreground() -> bool {
    let foreground = rustix::termios::tcgetpgrp(io::stderr());
    foreground.map_or(true, |group| group == rustix::process::getpgrp())
}

/// True: Windows has no background of a terminal.
#[cfg(not(unix))]
fn is_in_foreground() -> bool {
    true
}
