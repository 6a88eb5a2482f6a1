//! Progress of a run, a line per start and end of a target, and the summary, which says everything
//! that a reader of nothing else needs.

use std::io;
use std::time::Duration;

use anstyle::AnsiColor;

use super::super::words::{
    build_tail, doing, done, next_command, partial_note, phase_word, rate_wait, stopping, times,
    waiting_words,
};
use super::super::{Progress, SummaryView, Verbosity};
use super::{BOLD, HumanReporter, MAX_NAMES_SHOWN, color, warning};
use crate::base::name::ImageRef;
use crate::base::safe_text::escaped;
use crate::base::text::{columns, duration, list, plural};
use crate::event::{ActiveTarget, Phase, RunEvent, SkipReason, Summary, TargetFailure};
use crate::http::Notice;

/// Largest number of active targets that get a line each in a heartbeat.
const MAX_HEARTBEAT_LINES: usize = 4;

/// Names shown of one kind of failure; each failure was also reported when it happened.
const MAX_FAILURES_NAMED: usize = 12;

/// Maximum number of lines of an error.
const MAX_ERROR_LINES: usize = 10;

impl HumanReporter<'_> {
    /// Writes one event of a run.
    pub(super) fn write_event(&mut self, event: &RunEvent) -> io::Result<()> {
        let verbosity = self.options.verbosity;
        let progress = self.options.progress;
        let is_normal = verbosity >= Verbosity::Normal && progress != Progress::None;
        let is_verbose = self.is_verbose() && progress != Progress::None;
        // The footer shows the rest.
        let has_lines = is_normal && progress == Progress::Lines;
        match event {
            RunEvent::Started { unit, action } if has_lines || is_verbose => {
                writeln!(self.err, "{unit}: {}...", doing(action))
            }
            RunEvent::Progress(ActiveTarget { unit, phase, build, .. }) if is_verbose => {
                writeln!(self.err, "{unit}: {}{}", phase_word(*phase), build_tail(build.as_ref()))
            }
            RunEvent::Heartbeat { units, phases, waiting, limited_for, done, total }
                if has_lines =>
            {
                let waiting = waiting_words(*waiting, *limited_for);
                self.heartbeat(units, phases, waiting, (*done, *total))
            }
            RunEvent::Completed { unit, action, build, elapsed, waited, .. } if is_normal => {
                let word = self.paint_err(color(AnsiColor::Green), done(action));
                let line = format!("{unit}: {word} {}", times("in", *elapsed, *waited));
                let tail = build_tail(build.as_ref());
                // A build ID is of no use without its end.
                let room = self.options.columns.filter(|_| progress == Progress::Footer);
                let fits = room.is_none_or(|room| columns(&line) + columns(&tail) <= room);
                writeln!(self.err, "{line}{}", if fits { &tail } else { "" })
            }
            RunEvent::Failed { failure, elapsed, waited, .. } => {
                let (word, style) = if failure.pending {
                    ("Left pending", AnsiColor::Yellow)
                } else {
                    ("Failed", AnsiColor::Red)
                };
                let word = self.paint_err(color(style), word);
                let (unit, time) = (&failure.unit, times("after", *elapsed, *waited));
                writeln!(self.err, "{unit}: {word} {time}{}", build_tail(failure.build.as_ref()))
            }
            // The summary groups them: one failed base may have hundreds of dependents.
            RunEvent::Skipped { unit, reason: SkipReason::DependencyFailed { failed } }
                if is_verbose =>
            {
                writeln!(self.err, "{unit}: skipped: depends on {failed}, which failed")
            }
            RunEvent::Notice { unit, notice: Notice::Retry { action, why, wait, .. } }
                if is_verbose =>
            {
                let unit = unit.as_ref().map(|unit| format!("{unit}: ")).unwrap_or_default();
                let wait = duration(*wait);
                writeln!(self.err, "{unit}cannot {action}: {}; retrying in {wait}", escaped(why))
            }
            RunEvent::Notice { notice: Notice::RateWait { class, limit, wait }, .. }
                if has_lines =>
            {
                writeln!(self.err, "{}", rate_wait(*class, *limit, *wait))
            }
            RunEvent::Stopping { reason, active } => {
                writeln!(self.err, "{}", self.paint_err(BOLD, &escaped(&stopping(reason, *active))))
            }
            _ => Ok(()),
        }
    }

    /// Writes a line each for a few active targets, or one line for many.
    fn heartbeat(
        &mut self,
        units: &[ActiveTarget],
        phases: &[(Phase, usize)],
        waiting: Option<String>,
        (done, total): (usize, usize),
    ) -> io::Result<()> {
        let active: usize = phases.iter().map(|(_, count)| count).sum();
        if waiting.is_none() && active == units.len() && active <= MAX_HEARTBEAT_LINES {
            for ActiveTarget { unit, phase, build, elapsed, .. } in units {
                let (word, time) = (phase_word(*phase), duration(*elapsed));
                let build = build_tail(build.as_ref());
                writeln!(self.err, "{unit}: still {word} after {time}{build}")?;
            }
            return Ok(());
        }
        let phases = phases.iter().map(|(phase, count)| format!("{count} {}", phase_word(*phase)));
        let counts: Vec<String> = phases.chain(waiting).collect();
        let longest =
            units.first().map_or_else(String::new, |ActiveTarget { unit, elapsed, .. }| {
                format!("; longest: {unit} ({})", duration(*elapsed))
            });
        writeln!(self.err, "{done}/{total} done; {}{longest}", counts.join(", "))
    }

    /// Writes the summary of a run, and the command that continues it.
    pub(super) fn write_summary(&mut self, view: &SummaryView<'_>) -> io::Result<()> {
        let SummaryView { summary, elapsed, next, owners } = *view;
        let is_normal = self.options.verbosity >= Verbosity::Normal;
        if summary.retries > 0 && is_normal {
            let requests = plural(summary.retries, "request");
            writeln!(self.err, "Retried {requests}; --verbose and --json show details")?;
        }
        if !summary.failures.is_empty() {
            writeln!(self.out)?;
        }
        // People read the end first: the causes come last.
        self.skipped(summary)?;
        for group in group_failures(summary) {
            self.failures(&group)?;
        }
        if !summary.is_complete() {
            writeln!(self.out)?;
        }
        let line = counts_line(summary, elapsed);
        writeln!(self.out, "Owner: {}", escaped(owners))?;
        let style = if summary.is_complete() { AnsiColor::Green } else { AnsiColor::Red };
        writeln!(self.out, "{}", self.paint(color(style).bold(), &self.prose(&line)))?;
        if let Some(partial) = summary.partial {
            let note = self.paint(warning(), "Note:");
            writeln!(self.out, "{note} this was a {}.", partial_note("run", partial))?;
        }
        match next {
            Some(command) if self.options.hints && is_normal => {
                let next = next_command(&format!("`{command}`"), has_failed(summary));
                writeln!(self.err, "{}", escaped(&next))
            }
            _ => Ok(()),
        }
    }

    /// Writes failures of one kind: the error once, with the names of all targets.
    fn failures(&mut self, group: &[&TargetFailure]) -> io::Result<()> {
        let [failure, ..] = group else { return Ok(()) };
        let (word, style) = if failure.pending {
            ("pending", AnsiColor::Yellow)
        } else {
            ("failed", AnsiColor::Red)
        };
        let word = self.paint(color(style).bold(), word);
        let names = group.iter().map(|it| format!("{}{}", it.unit, build_tail(it.build.as_ref())));
        let (phase, names) = (phase_word(failure.phase), list(names, MAX_FAILURES_NAMED));
        writeln!(self.out, "{word} while {phase}: {names}")?;
        for line in message_lines(&failure.message) {
            writeln!(self.out, "  {}", escaped(&line))?;
        }
        if let Some(help) = &failure.help {
            writeln!(
                self.out,
                "  {} {}",
                self.paint(color(AnsiColor::Cyan), "help:"),
                escaped(help)
            )?;
        }
        Ok(())
    }

    /// Writes the skipped targets, in one line for each failed target that they depend on.
    fn skipped(&mut self, summary: &Summary) -> io::Result<()> {
        let word = self.paint(warning(), "skipped");
        let mut not_started = 0;
        let mut dependents: Vec<(&ImageRef, Vec<&ImageRef>)> = Vec::new();
        for (unit, reason) in &summary.skipped {
            match reason {
                SkipReason::DependencyFailed { failed } => {
                    match dependents.iter_mut().find(|(cause, _)| *cause == failed) {
                        Some((_, units)) => units.push(unit),
                        None => dependents.push((failed, vec![unit])),
                    }
                }
                SkipReason::Interrupted | SkipReason::Stopped => not_started += 1,
            }
        }
        if not_started > 0 {
            let targets = plural(not_started, "target");
            writeln!(self.out, "{word}: {targets} not started because the run stopped")?;
        }
        for (failed, units) in dependents {
            match &units[..] {
                [unit] => writeln!(self.out, "{word}: {unit} depends on {failed}, which failed")?,
                units => {
                    let (count, names) = (units.len(), list(units, MAX_NAMES_SHOWN));
                    writeln!(
                        self.out,
                        "{count} {word}: depend on {failed}, which failed ({names})"
                    )?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the lines of an error: all of a few, else the first one and the last ones. Lines after the first
/// are output of a build, and begin with a bar: a CI system would take `::error::` for a command.
fn message_lines(message: &str) -> Vec<String> {
    let shown = |(index, line): (usize, &str)| match index {
        0 => line.trim_end().to_owned(),
        _ => format!("| {}", line.trim_end()),
    };
    let lines: Vec<String> = message.lines().enumerate().map(shown).collect();
    let Some(left_out @ 1..) = lines.len().checked_sub(MAX_ERROR_LINES) else { return lines };
    let (first, last) = (lines.iter().take(1), lines.iter().skip(2 + left_out));
    let gap = format!("[... {} more ...]", plural(1 + left_out, "line"));
    first.cloned().chain([gap]).chain(last.cloned()).collect()
}

/// Returns the last line of a summary, with all counts.
pub(in crate::report) fn counts_line(summary: &Summary, elapsed: Duration) -> String {
    let pending = summary.failures.iter().filter(|failure| failure.pending).count();
    let failed = summary.failures.len() - pending;
    let made = if summary.checked > 0 {
        format!("{} checked and not built", summary.checked)
    } else {
        format!("{} built, {} mirrored", summary.built + summary.adopted, summary.mirrored)
    };
    let mut line = format!(
        "Apply: {made}, {} updated, {} forgotten, {} deleted, {failed} failed, {} skipped",
        summary.updated,
        summary.forgotten,
        summary.deleted,
        summary.skipped.len()
    );
    if pending > 0 {
        line = format!("{line}, {pending} pending");
    }
    format!("{line}, in {}.", duration(elapsed))
}

/// True if a target failed whose build does not continue.
pub(in crate::report) fn has_failed(summary: &Summary) -> bool {
    summary.failures.iter().any(|failure| !failure.pending)
}

/// Groups failures with equal message, phase and outcome. Builds that continue come first, and failures
/// because of which others were skipped last.
pub(in crate::report) fn group_failures(summary: &Summary) -> Vec<Vec<&TargetFailure>> {
    let causes = summary.causes();
    let mut groups: Vec<Vec<&TargetFailure>> = Vec::new();
    for failure in &summary.failures {
        let is_same = |group: &&mut Vec<&TargetFailure>| {
            let first = group[0];
            first.message == failure.message
                && first.phase == failure.phase
                && first.pending == failure.pending
        };
        match groups.iter_mut().find(is_same) {
            Some(group) => group.push(failure),
            None => groups.push(vec![failure]),
        }
    }
    groups.sort_by_key(|group| {
        let is_cause = group.iter().any(|failure| causes.contains(&failure.unit));
        (!group[0].pending, is_cause)
    });
    groups
}
