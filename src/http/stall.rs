//! Notices an upload that makes no progress.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Interval at which progress is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Returns once `count`, such as a number of sent bytes, has not changed for `max_stall`.
pub(crate) async fn stall(count: &AtomicU64, max_stall: Duration) {
    let (mut last, mut last_change) = (count.load(Ordering::Relaxed), Instant::now());
    while last_change.elapsed() < max_stall {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let now = count.load(Ordering::Relaxed);
        if now != last {
            (last, last_change) = (now, Instant::now());
        }
    }
}
