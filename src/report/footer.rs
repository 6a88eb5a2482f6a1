//! The live footer of a run on a terminal: a bar, the counts, and the targets that take longest. Pure.

use std::cmp::Reverse;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::fit::{cut, wrap};
use super::human::{DIM, paint};
use super::timeline::{TargetTimeline, Timeline};
use super::words::{phase_word, waiting_words, whole_seconds};
use crate::base::size::bytes;
use crate::base::text::columns;
use crate::event::Phase;

/// Maximum number of lines.
const MAX_LINES: usize = 6;

/// Maximum number of targets with a line of their own.
const MAX_TARGETS: usize = 3;

/// Maximum number of lines of the counts.
const MAX_COUNT_LINES: usize = 2;

/// Maximum width of the bar.
const MAX_BAR_COLUMNS: usize = 40;

/// Columns of a target's line beside its name: blanks, phase and time.
const FIXED_COLUMNS: usize = 2 + 2 + 10 + 2 + 6;

/// Minimum columns of a name, at the cost of the phase.
const MIN_NAME_COLUMNS: usize = 8;

/// Lines of the terminal that the footer leaves free.
const MIN_LINES_ABOVE: usize = 2;

/// A run at one moment.
#[derive(Debug)]
pub(crate) struct FooterView<'a> {
    /// History of the run until now.
    pub timeline: &'a Timeline,
    /// Number of targets of the run.
    pub total: usize,
    /// Time since the start of the run.
    pub now: Duration,
    /// Bytes uploaded in a second.
    pub upload_rate: u64,
    /// Estimated time until the end.
    pub left: Option<Duration>,
}

/// Size and colours of a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// Number of columns.
    pub columns: usize,
    /// Number of lines.
    pub lines: usize,
    /// True if styles may be used.
    pub color: bool,
}

impl FooterView<'_> {
    /// Returns the lines of the footer, none wider than the screen.
    pub(crate) fn lines(&self, screen: Screen) -> Vec<String> {
        // A terminal may wrap a line that fills it.
        let width = screen.columns.saturating_sub(1).max(1);
        let mut lines = vec![self.head(width, screen.color)];
        let counts = wrap(&self.counts().join(" · "), Some(width.saturating_sub(2)), 0);
        let counts = counts.lines().filter(|line| !line.is_empty()).take(MAX_COUNT_LINES);
        let counts = counts.map(|line| line.replace('\u{a0}', " "));
        lines.extend(counts.map(|line| cut(&format!("  {line}"), width)));
        lines.extend(self.longest(width, screen.color));
        lines.truncate(MAX_LINES.min(screen.lines.saturating_sub(MIN_LINES_ABOVE)));
        lines
    }

    /// Returns the bar with the number of targets that have ended.
    fn head(&self, width: usize, color: bool) -> String {
        let Self { timeline, total, left, .. } = self;
        let done = timeline.done();
        let failed = match timeline.failed() {
            0 => String::new(),
            failed => format!(" · {failed} failed"),
        };
        let left = left.map(|time| format!(" · {}", about(time))).unwrap_or_default();
        let time = whole_seconds(self.now);
        let text = format!("{done}/{total} done after {time}{failed}{left}");
        let room = width.saturating_sub(columns(&text) + 2).min(MAX_BAR_COLUMNS);
        if room < 4 {
            return cut(&text, width);
        }
        let filled = room * done / (*total).max(1);
        let (filled, rest) = ("━".repeat(filled), "─".repeat(room.saturating_sub(filled)));
        let style = Style::new().fg_color(Some(AnsiColor::Green.into()));
        format!("{}{}  {text}", paint(color, style, &filled), paint(color, DIM, &rest))
    }

    /// Returns the number of targets in each phase, the most interesting first.
    fn counts(&self) -> Vec<String> {
        let of = |phase| self.timeline.active().filter(|it| it.phase() == phase).count();
        let count = |phase| {
            let count = of(phase);
            let rate = match phase {
                Phase::Upload if self.upload_rate > 0 => format!(" {}/s", bytes(self.upload_rate)),
                _ => String::new(),
            };
            (count > 0).then(|| unbroken(&format!("{count} {}{rate}", phase_word(phase))))
        };
        let mut counts: Vec<String> = Vec::new();
        counts.extend(count(Phase::Building));
        let waiting = waiting_words(of(Phase::Wait), self.timeline.limited_for(self.now));
        counts.extend(waiting.map(|words| unbroken(&words)));
        let others = [
            Phase::Upload,
            Phase::Package,
            Phase::Submit,
            Phase::Queued,
            Phase::Update,
            Phase::Delete,
        ];
        counts.extend(others.into_iter().filter_map(count));
        let begun = self.timeline.done() + self.timeline.active().count();
        if let later @ 1.. = self.total.saturating_sub(begun) {
            counts.push(unbroken(&format!("{later} not started")));
        }
        counts
    }

    /// Returns a line for each of the targets that were worked on longest.
    fn longest(&self, width: usize, color: bool) -> Vec<String> {
        let active = self.timeline.active().filter(|it| it.phase() != Phase::Wait);
        let mut active: Vec<(Duration, &TargetTimeline)> =
            active.map(|target| (target.worked_until(self.now), target)).collect();
        active.sort_by_key(|(time, target)| (Reverse(*time), &target.unit));
        active.truncate(MAX_TARGETS);
        let names: Vec<String> = active.iter().map(|(_, target)| target.unit.to_string()).collect();
        let room = width.saturating_sub(FIXED_COLUMNS).max(MIN_NAME_COLUMNS);
        let names: Vec<String> = names.iter().map(|name| cut(name, room)).collect();
        let name_width = names.iter().map(|name| columns(name)).max().unwrap_or(0);
        let line = |((time, target), name): (&(Duration, &TargetTimeline), &String)| {
            let (phase, time) = (phase_word(target.phase()), whole_seconds(*time));
            let padding = " ".repeat(name_width - columns(name));
            let line = cut(&format!("  {name}{padding}  {phase:<10}  {time:>6}"), width);
            paint(color, DIM, &line)
        };
        active.iter().zip(&names).map(line).collect()
    }
}

/// Keeps the words of a count on one line.
fn unbroken(text: &str) -> String {
    text.replace(' ', "\u{a0}")
}

/// Returns an estimated time in words, no more exact than it is.
fn about(time: Duration) -> String {
    match time.as_secs() {
        0..10 => "a few seconds left".to_owned(),
        seconds @ 10..90 => format!("about {} s left", seconds.next_multiple_of(10)),
        seconds @ 90..5_400 => format!("about {} min left", seconds.div_ceil(60)),
        seconds => format!("about {} h left", (seconds + 1_800) / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::key;
    use super::*;
    use crate::base::limit::{Class, Limit};
    use crate::event::{ActiveTarget, RunEvent, SkipReason};
    use crate::http::Notice;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Returns a run of 60 targets after 40 seconds.
    fn timeline(names: impl Fn(usize) -> String) -> Timeline {
        let mut timeline = Timeline::default();
        let mut enter = |unit: usize, phase, at| {
            let progress = RunEvent::Progress(ActiveTarget {
                unit: key(&names(unit)),
                action: "build",
                phase,
                build: None,
                elapsed: Duration::ZERO,
                in_phase: Duration::ZERO,
            });
            timeline.observe(&progress, at);
        };
        for unit in 0..60 {
            enter(unit, Phase::Wait, secs(0));
        }
        for unit in 0..40 {
            enter(unit, Phase::Building, Duration::from_millis(100 + 10 * unit as u64));
        }
        enter(40, Phase::Upload, secs(1));
        enter(41, Phase::Upload, secs(1));
        for unit in 28..40 {
            let reason = SkipReason::Stopped;
            let skipped = RunEvent::Skipped { unit: key(&names(unit)), reason };
            timeline.observe(&skipped, secs(40));
        }
        let limit = Limit { count: 40, window: secs(60) };
        let notice = Notice::RateWait { class: Class::Initiate, limit, wait: secs(59) };
        timeline.observe(&RunEvent::Notice { unit: None, notice }, secs(0));
        timeline
    }

    fn lines(timeline: &Timeline, columns: usize, lines: usize, color: bool) -> Vec<String> {
        let (upload_rate, left) = (41_000_000, Some(secs(58)));
        let view = FooterView { timeline, total: 64, now: secs(40), upload_rate, left };
        view.lines(Screen { columns, lines, color })
    }

    #[test]
    fn counts_a_bar_and_the_longest_targets_are_shown() {
        let timeline = timeline(|unit| format!("service-{unit:02}:latest"));
        insta::assert_snapshot!(lines(&timeline, 80, 24, false).join("\n"), @"
        ━━━━━━━────────────────────────────────  12/64 done after 40s · about 60 s left
          28 building · 18 waiting for the rate limit (19s) · 2 uploading 41 MB/s ·
          4 not started
          service-00:latest  building       39s
          service-01:latest  building       39s
          service-02:latest  building       39s
        ");
        insta::assert_snapshot!(lines(&timeline, 34, 24, false).join("\n"), @"
        12/64 done after 40s · about 60 …
          28 building ·
          18 waiting for the rate limit …
          service-00…  building       39s
          service-01…  building       39s
          service-02…  building       39s
        ");
        assert_eq!(lines(&timeline, 80, 5, false).len(), 3);
        assert_eq!(lines(&timeline, 80, 2, false).len(), 0);
    }

    #[test]
    fn an_estimate_is_no_more_exact_than_it_is() {
        for (seconds, text) in [
            (0, "a few seconds left"),
            (9, "a few seconds left"),
            (11, "about 20 s left"),
            (89, "about 90 s left"),
            (90, "about 2 min left"),
            (3600, "about 60 min left"),
            (6000, "about 2 h left"),
            (36_000, "about 10 h left"),
        ] {
            assert_eq!(about(secs(seconds)), text);
        }
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_screen(
            name in "[a-z]{1,60}", columns in 1usize..120, rows in 0usize..12, color: bool
        ) {
            let timeline = timeline(|unit| format!("{name}{unit}:1"));
            let lines = lines(&timeline, columns, rows, color);
            prop_assert!(lines.len() <= MAX_LINES);
            for line in lines {
                prop_assert!(super::columns(&line) <= columns, "{:?}", line);
                prop_assert!(color || !line.contains('\x1b'));
            }
        }
    }
}
