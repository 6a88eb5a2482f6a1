//! Draws the live footer of a run below the lines that scroll.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ui::Ui;
use crate::api::Client;
use crate::report::estimate::Estimator;
use crate::report::footer::FooterView;
use crate::report::timeline::Timeline;

/// Time between two frames: ten in a second.
pub(super) const FRAME: Duration = Duration::from_millis(100);

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
    estimate: (Instant, Option<Duration>),
    /// Times of the last frames, with the bytes uploaded until then.
    uploads: VecDeque<(Instant, u64)>,
}

impl Footer {
    /// Creates the footer of a run that started now.
    pub(super) fn new(
        timeline: Arc<Mutex<Timeline>>,
        estimator: Estimator,
        client: Client,
        started: Instant,
    ) -> Self {
        let (estimate, uploads) = ((started, None), VecDeque::new());
        Self { timeline, estimator, client, started, estimate, uploads }
    }

    /// Writes lines above the footer, and draws it.
    ///
    /// # Errors
    ///
    /// Fails if the terminal cannot be written to.
    pub(super) fn draw(&mut self, ui: &mut Ui, above: &str) -> io::Result<()> {
        let lines = ui.screen().map(|screen| self.view(|view| view.lines(screen)));
        ui.draw_footer(above, &lines.unwrap_or_default().join("\n"))
    }

    fn view<T>(&mut self, show: impl FnOnce(&FooterView<'_>) -> T) -> T {
        let (now, at) = (self.started.elapsed(), Instant::now());
        let upload_rate = self.upload_rate(at);
        let timeline = self.timeline.lock().unwrap_or_else(PoisonError::into_inner);
        if self.estimate.0 <= at {
            let left = self.estimator.remaining(&timeline, now);
            self.estimate = (at + ESTIMATE_INTERVAL, left);
        }
        let (total, left) = (self.estimator.targets(), self.estimate.1);
        show(&FooterView { timeline: &timeline, total, now, upload_rate, left })
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
