//! What is told of a run: a line for each unit that starts and ends, and at the end what someone
//! needs who reads nothing else.

use std::io;
use std::time::Duration;

use anstyle::AnsiColor;

use super::super::words::{
    count, doing, done, going_on, part, phase_word, stopping, tail, waiting,
};
use super::super::{Verbosity, elapsed};
use super::{BOLD, Human, color};
use crate::event::{ActiveTarget, Phase, RunEvent, SkipReason, Summary, TargetFailure};
use crate::http::Notice;

impl Human<'_> {
    /// Tells one thing that happened.
    pub(super) fn tell(&mut self, event: &RunEvent) -> io::Result<()> {
        let talk = self.options.talk;
        match event {
            RunEvent::Started { unit, action } if talk >= Verbosity::Normal => {
                writeln!(self.err, "{unit}: {}...", doing(action))
            }
            RunEvent::Progress(ActiveTarget { unit, phase, build, .. })
                if talk >= Verbosity::Verbose =>
            {
                writeln!(self.err, "{unit}: {}{}", phase_word(*phase), tail(build.as_ref()))
            }
            RunEvent::Heartbeat { units, phases, waiting, done, total }
                if talk >= Verbosity::Normal =>
            {
                self.heartbeat(units, phases, *waiting, (*done, *total))
            }
            RunEvent::Completed { unit, action, build, elapsed: time, .. }
                if talk >= Verbosity::Normal =>
            {
                let word = self.paint_talk(color(AnsiColor::Green), done(action));
                writeln!(
                    self.err,
                    "{unit}: {word} after {}{}",
                    elapsed(*time),
                    tail(build.as_ref())
                )
            }
            RunEvent::Failed { failure, elapsed: time, .. } => {
                let word = if failure.pending {
                    self.paint_talk(color(AnsiColor::Yellow), "Left pending")
                } else {
                    self.paint_talk(color(AnsiColor::Red), "Failed")
                };
                let build = tail(failure.build.as_ref());
                writeln!(self.err, "{}: {word} after {}{build}", failure.unit, elapsed(*time))
            }
            RunEvent::Skipped { unit, reason: SkipReason::DependencyFailed { failed } }
                if talk >= Verbosity::Normal =>
            {
                writeln!(self.err, "{unit}: Skipped, for it needs {failed}")
            }
            RunEvent::Notice { unit, notice: Notice::Retry { action, why, wait, .. } }
                if talk >= Verbosity::Verbose =>
            {
                let unit = unit.as_ref().map(|unit| format!("{unit}: ")).unwrap_or_default();
                writeln!(self.err, "{unit}cannot {action}: {why}; again in {}", elapsed(*wait))
            }
            RunEvent::Notice { notice: Notice::RateWait { class, limit, wait }, .. }
                if talk >= Verbosity::Normal =>
            {
                writeln!(self.err, "{}", waiting(*class, *limit, *wait))
            }
            RunEvent::Stopping { reason, active } => {
                writeln!(self.err, "{}", self.paint_talk(BOLD, &stopping(reason, *active)))
            }
            _ => Ok(()),
        }
    }

    /// Tells how a run ended.
    pub(super) fn tell_end(
        &mut self,
        summary: &Summary,
        time: Duration,
        next: Option<&str>,
    ) -> io::Result<()> {
        if !summary.failures.is_empty() {
            writeln!(self.out)?;
        }
        for group in alike(&summary.failures) {
            self.failures(&group)?;
        }
        self.skipped(summary)?;
        if summary.retries > 0 && self.options.talk >= Verbosity::Normal {
            let again = count(summary.retries, "request");
            writeln!(self.err, "{again} had to be sent again; --verbose and --json say which")?;
        }
        let pending = summary.failures.iter().filter(|failure| failure.pending).count();
        let failed = summary.failures.len() - pending;
        let mut line = format!(
            "Apply: {} built, {} mirrored, {} updated, {} forgotten, {} deleted, {failed} failed, \
             {} skipped",
            summary.built + summary.adopted,
            summary.mirrored,
            summary.updated,
            summary.forgotten,
            summary.deleted,
            summary.skipped.len()
        );
        if pending > 0 {
            line = format!("{line}, {pending} pending");
        }
        line = format!("{line}, in {}.", elapsed(time));
        let style = if summary.is_complete() { AnsiColor::Green } else { AnsiColor::Red };
        writeln!(self.out, "{}", self.paint(color(style).bold(), &line))?;
        if let Some(partial) = summary.partial {
            writeln!(self.out, "{} this was {}", self.note(), part(partial, "were"))?;
        }
        match next {
            Some(command) if self.options.hints && self.options.talk >= Verbosity::Normal => {
                writeln!(self.err, "{}", going_on(command, failed > 0))
            }
            _ => Ok(()),
        }
    }

    /// A line each for a few units; one line for many.
    fn heartbeat(
        &mut self,
        units: &[ActiveTarget],
        phases: &[(Phase, usize)],
        waiting: usize,
        (done, total): (usize, usize),
    ) -> io::Result<()> {
        let at_work: usize = phases.iter().map(|(_, count)| count).sum();
        if waiting == 0 && at_work == units.len() && at_work <= FEW {
            for ActiveTarget { unit, phase, build, elapsed: time, .. } in units {
                let (word, time) = (phase_word(*phase), elapsed(*time));
                writeln!(self.err, "{unit}: still {word} after {time}{}", tail(build.as_ref()))?;
            }
            return Ok(());
        }
        let mut parts: Vec<String> =
            phases.iter().map(|(phase, count)| format!("{count} {}", phase_word(*phase))).collect();
        if waiting > 0 {
            parts.push(format!("{waiting} waiting for a turn"));
        }
        let longest = units
            .first()
            .map_or_else(String::new, |ActiveTarget { unit, elapsed: time, .. }| {
                format!("; {unit} for {}", elapsed(*time))
            });
        writeln!(self.err, "{done}/{total} done; {}{longest}", parts.join(", "))
    }

    /// Failures of one kind, told once with the names of all.
    fn failures(&mut self, group: &[&TargetFailure]) -> io::Result<()> {
        let [failure, ..] = group else { return Ok(()) };
        let (word, style) = if failure.pending {
            ("pending", AnsiColor::Yellow)
        } else {
            ("failed", AnsiColor::Red)
        };
        let word = self.paint(color(style).bold(), word);
        let named =
            |failure: &&TargetFailure| format!("{}{}", failure.unit, tail(failure.build.as_ref()));
        let mut names: Vec<String> = group.iter().take(MOST_NAMES).map(named).collect();
        if let more @ 1.. = group.len() - names.len() {
            names.push(format!("and {more} more"));
        }
        writeln!(self.out, "{word} while {}: {}", phase_word(failure.phase), names.join(", "))?;
        writeln!(self.out, "  {}", failure.message)?;
        if let Some(help) = &failure.help {
            writeln!(self.out, "  {} {help}", self.paint(color(AnsiColor::Cyan), "help:"))?;
        }
        Ok(())
    }

    fn skipped(&mut self, summary: &Summary) -> io::Result<()> {
        let word = self.paint(color(AnsiColor::Yellow).bold(), "skipped");
        let mut stopped = 0;
        for (unit, reason) in &summary.skipped {
            match reason {
                SkipReason::DependencyFailed { failed } => {
                    writeln!(self.out, "{word}: {unit}, for it needs {failed}")?;
                }
                SkipReason::Interrupted | SkipReason::Stopped => stopped += 1,
            }
        }
        if stopped > 0 {
            writeln!(
                self.out,
                "{word}: {} not begun, for the run was stopped",
                count(stopped, "unit")
            )?;
        }
        if !summary.skipped.is_empty() || !summary.failures.is_empty() {
            writeln!(self.out)?;
        }
        Ok(())
    }
}

/// Units that get a line each when the run tells that it lives.
const FEW: usize = 4;

/// Names told of one kind of failure; each was told when it happened.
const MOST_NAMES: usize = 12;

/// Failures with one message, phase and outcome, in the order of the first of each.
fn alike(failures: &[TargetFailure]) -> Vec<Vec<&TargetFailure>> {
    let mut groups: Vec<Vec<&TargetFailure>> = Vec::new();
    for failure in failures {
        let same = |group: &&mut Vec<&TargetFailure>| {
            let first = group[0];
            first.message == failure.message
                && first.phase == failure.phase
                && first.pending == failure.pending
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(failure),
            None => groups.push(vec![failure]),
        }
    }
    groups
}
