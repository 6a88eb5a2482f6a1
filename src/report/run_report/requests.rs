//! The requests of a run in the sliding windows of their rate limits, as a chart for each class. Pure.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use super::RunView;
use super::escape::markup;
use crate::base::limit::{Class, Limit};
use crate::base::text::{duration, exact_duration, plural};

/// Number of points of a chart.
const CHART_POINTS: usize = 240;

/// Width and height of a chart in its own units.
const CHART_WIDTH: usize = CHART_POINTS - 1;
const CHART_HEIGHT: f64 = 60.0;

/// Requests of a class.
struct ClassRequests {
    class: Class,
    /// Window of the limit; of a class without a limit, that of the default.
    window: Duration,
    /// Maximum number of requests in a window.
    limit: Option<u32>,
    total: u64,
    /// Largest number of requests in a window, for each point of the chart.
    windows: Vec<u64>,
}

/// Returns the charts as HTML; empty without requests.
pub(super) fn charts(view: &RunView<'_>) -> String {
    let elapsed = view.result.elapsed.max(Duration::from_millis(1));
    let admitted = |class| {
        let of_class = view.timeline.admitted().iter().filter(move |(_, of, _)| *of == class);
        of_class.map(|(at, _, count)| (*at, u64::from(*count))).collect::<Vec<_>>()
    };
    let requests = |class: Class| {
        let admitted = admitted(class);
        let limit = view.limits.iter().find(|(of, _)| *of == class).map(|(_, limit)| *limit);
        let Limit { window, .. } = limit.unwrap_or_else(|| class.default_limit());
        (!admitted.is_empty()).then(|| ClassRequests {
            class,
            window,
            limit: limit.map(|limit| limit.count),
            total: admitted.iter().map(|(_, count)| count).sum(),
            windows: windows(&admitted, window, elapsed),
        })
    };
    Class::ALL.into_iter().filter_map(requests).map(|it| chart(&it, elapsed)).collect()
}

/// Returns the largest number of requests in a window that ends within each point of a chart.
fn windows(admitted: &[(Duration, u64)], window: Duration, elapsed: Duration) -> Vec<u64> {
    let mut inside: VecDeque<(Duration, u64)> = VecDeque::new();
    let mut coming = admitted.iter().copied().peekable();
    let mut count = 0;
    let points = u32::try_from(CHART_POINTS).unwrap_or(u32::MAX);
    let point = |index: u32| {
        let end = elapsed * (index + 1) / points;
        let mut most = count;
        while let Some((at, more)) = coming.next_if(|(at, _)| *at <= end) {
            count -= leave(&mut inside, at, window);
            inside.push_back((at, more));
            count += more;
            most = most.max(count);
        }
        count -= leave(&mut inside, end, window);
        most
    };
    (0..points).map(point).collect()
}

/// Removes the requests that have left a window which ends at `now`, and returns their number.
fn leave(inside: &mut VecDeque<(Duration, u64)>, now: Duration, window: Duration) -> u64 {
    let mut left = 0;
    while let Some((_, count)) = inside.front().filter(|(at, _)| *at + window <= now) {
        left += count;
        inside.pop_front();
    }
    left
}

#[expect(clippy::cast_precision_loss, reason = "a picture has a few hundred pixels")]
fn chart(requests: &ClassRequests, elapsed: Duration) -> String {
    let ClassRequests { class, window, limit, total, windows } = requests;
    let most = windows.iter().copied().max().unwrap_or(0);
    let top = most.max(limit.map_or(0, u64::from)).max(1) as f64 * 1.1;
    let height = |count: f64| CHART_HEIGHT - count / top * CHART_HEIGHT;
    let mut points = String::new();
    for (x, count) in windows.iter().enumerate() {
        // Writing into a String cannot fail.
        let _ = write!(points, "{x},{:.1} ", height(*count as f64));
    }
    let line = limit.map(|limit| {
        let y = height(f64::from(limit));
        format!("<line class=limit x1=0 x2={CHART_WIDTH} y1={y:.1} y2={y:.1} />")
    });
    let name = if *class == Class::Images { "transfers" } else { class.as_str() };
    let noun = if *class == Class::Images { "image" } else { "request" };
    let (name, window) = (markup(name), exact_duration(*window));
    let limit_text = limit.map_or("no limit".to_owned(), |limit| format!("limit {limit}"));
    let total = plural(usize::try_from(*total).unwrap_or(usize::MAX), noun);
    let text = format!("{total}; at most {most} in {window}, {limit_text}");
    format!(
        "<figure><figcaption><b>{name}</b> {text}</figcaption>\
         <svg viewBox=\"0 0 {CHART_WIDTH} {CHART_HEIGHT}\" preserveAspectRatio=none role=img \
         aria-label=\"{name}: {text}\"><polygon points=\"0,{CHART_HEIGHT} {points}\
         {CHART_WIDTH},{CHART_HEIGHT}\" /><polyline points=\"{points}\" />{}</svg>\
         <div class=axis><span>0s</span><span>{}</span></div></figure>\n",
        line.unwrap_or_default(),
        duration(elapsed),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_has_the_most_requests_of_a_window_that_ends_in_it() {
        let millis = Duration::from_millis;
        let admitted = [(millis(0), 1), (millis(10), 2), (millis(1_005), 1), (millis(2_395), 5)];
        let windows = windows(&admitted, millis(1_000), millis(2_400));
        assert_eq!(windows.len(), CHART_POINTS);
        // A point is 10 ms. The first request leaves after a second, the next two 10 ms later.
        assert_eq!((windows[0], windows[50], windows[99], windows[100]), (3, 3, 3, 3));
        assert_eq!((windows[101], windows[200], windows[201], windows[239]), (1, 1, 0, 5));
    }
}
