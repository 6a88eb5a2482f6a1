//! For people: the plan as a table, a line for each unit that starts and ends, and at the end what
//! someone needs who reads nothing else.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::words::{count, doing, done, going_on, phase_word, plan_line, stopping, tail, waiting};
use super::{Options, PlanView, Reporter, Talk, elapsed};
use crate::base::size::bytes;
use crate::event::{Active, Because, Failure, Phase, RunEvent, Summary};
use crate::plan::{Action, Step};
use crate::state::Kind;

/// Writes data to one stream and talk to another.
pub struct Human<'w> {
    pub(super) out: &'w mut dyn Write,
    err: &'w mut dyn Write,
    options: Options,
}

impl<'w> Human<'w> {
    /// `out` takes plans and summaries, `err` what is told on the way.
    pub fn new(out: &'w mut dyn Write, err: &'w mut dyn Write, options: Options) -> Self {
        Self { out, err, options }
    }

    /// What could not be asked.
    pub(super) fn notes(&mut self, view: &PlanView<'_>) -> io::Result<()> {
        let word = self.paint_talk(color(AnsiColor::Yellow), "note:");
        view.facts.notes.iter().try_for_each(|note| writeln!(self.err, "{word} {note}"))
    }

    pub(super) fn paint(&self, style: Style, text: &str) -> String {
        paint(self.options.color, style, text)
    }

    fn paint_talk(&self, style: Style, text: &str) -> String {
        paint(self.options.color_talk, style, text)
    }
}

fn paint(color: bool, style: Style, text: &str) -> String {
    if color { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

pub(super) fn color(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(color.into()))
}

pub(super) const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// What stands before a step, as Terraform has it, and what it means.
pub(super) struct Symbol {
    pub(super) text: &'static str,
    pub(super) color: AnsiColor,
    meaning: &'static str,
}

pub(super) fn symbol(step: &Step) -> Symbol {
    let (text, color, meaning) = match &step.action {
        Action::Make(make) if make.replaces => {
            ("-/+", AnsiColor::Yellow, "rebuild, over the existing tag")
        }
        Action::Make(_) => ("  +", AnsiColor::Green, "create"),
        Action::Adopt { .. } => (" <=", AnsiColor::Cyan, "wait for a build under way"),
        Action::Update { .. } => ("  ~", AnsiColor::Yellow, "change, without a build"),
        Action::Forget { .. } => ("  .", AnsiColor::Red, "forget, the image stays"),
        Action::Remove { .. } => ("  -", AnsiColor::Red, "delete"),
    };
    Symbol { text, color, meaning }
}

impl Reporter for Human<'_> {
    fn plan(&mut self, view: &PlanView<'_>) -> io::Result<()> {
        self.notes(view)?;
        if view.plan.is_noop() {
            let head = self.paint(BOLD, "No changes.");
            let with = if view.asked {
                "the lockfile and the service's pending builds"
            } else {
                "the lockfile; the service was not asked"
            };
            return writeln!(
                self.out,
                "{head} All {} are as the manifest says. Compared with {with}.",
                count(view.plan.units, "unit")
            );
        }
        writeln!(
            self.out,
            "imgplan: {}, lockfile {}, service {}\n",
            match (view.workspace.images, view.plan.units) {
                (images, units) if images == units => count(images, "image"),
                (images, units) => format!("{}, {}", count(images, "image"), count(units, "unit")),
            },
            view.lockfile.display(),
            view.service
        )?;
        self.steps(view)?;
        writeln!(self.out)?;
        self.legend(view)?;
        self.order_and_cost(view)?;
        writeln!(self.out, "{}", self.paint(BOLD, &plan_line(&view.plan.counts(None))))
    }

    fn event(&mut self, event: &RunEvent) -> io::Result<()> {
        let talk = self.options.talk;
        match event {
            RunEvent::Started { unit, action } if talk >= Talk::Normal => {
                writeln!(self.err, "{unit}: {}...", doing(action))
            }
            RunEvent::Progress(Active { unit, phase, build, .. }) if talk >= Talk::Verbose => {
                writeln!(self.err, "{unit}: {}{}", phase_word(*phase), tail(build.as_ref()))
            }
            RunEvent::Alive { units, phases, waiting, ended, total } if talk >= Talk::Normal => {
                self.alive(units, phases, *waiting, (*ended, *total))
            }
            RunEvent::Completed { unit, action, build, elapsed: time, .. }
                if talk >= Talk::Normal =>
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
            RunEvent::Skipped { unit, because: Because::DependencyFailed { failed } }
                if talk >= Talk::Normal =>
            {
                writeln!(self.err, "{unit}: Skipped, for it needs {failed}")
            }
            RunEvent::Retry { unit, action, why, wait, .. } if talk >= Talk::Verbose => {
                let unit = unit.as_ref().map(|unit| format!("{unit}: ")).unwrap_or_default();
                writeln!(self.err, "{unit}cannot {action}: {why}; again in {}", elapsed(*wait))
            }
            RunEvent::RateWait { class, limit, wait } if talk >= Talk::Normal => {
                writeln!(self.err, "{}", waiting(*class, *limit, *wait))
            }
            RunEvent::Stopping { because, active } => {
                writeln!(self.err, "{}", self.paint_talk(BOLD, &stopping(because, *active)))
            }
            _ => Ok(()),
        }
    }

    fn summary(&mut self, summary: &Summary, time: Duration, next: Option<&str>) -> io::Result<()> {
        if !summary.failures.is_empty() {
            writeln!(self.out)?;
        }
        for group in alike(&summary.failures) {
            self.failures(&group)?;
        }
        self.skipped(summary)?;
        if summary.retries > 0 && self.options.talk >= Talk::Normal {
            let again = count(summary.retries, "request");
            writeln!(self.err, "{again} had to be sent again; --verbose and --json say which")?;
        }
        let pending = summary.failures.iter().filter(|failure| failure.pending).count();
        let failed = summary.failures.len() - pending;
        let mut line = format!(
            "Apply: {} built, {} mirrored, {} updated, {} forgotten, {failed} failed, {} skipped",
            summary.built + summary.adopted,
            summary.mirrored,
            summary.updated,
            summary.forgotten,
            summary.skipped.len()
        );
        if pending > 0 {
            line = format!("{line}, {pending} pending");
        }
        line = format!("{line}, in {}.", elapsed(time));
        let style = if summary.is_complete() { AnsiColor::Green } else { AnsiColor::Red };
        writeln!(self.out, "{}", self.paint(color(style).bold(), &line))?;
        match next {
            Some(command) if self.options.hints && self.options.talk >= Talk::Normal => {
                writeln!(self.err, "{}", going_on(command, failed > 0))
            }
            _ => Ok(()),
        }
    }
}

impl Human<'_> {
    fn steps(&mut self, view: &PlanView<'_>) -> io::Result<()> {
        let keys = view.plan.steps.iter().map(|step| step.key.to_string().chars().count());
        let wide = keys.max().unwrap_or(0).min(self.options.width / 2);
        for step in &view.plan.steps {
            let mark = symbol(step);
            let reasons: Vec<String> = step.reasons.iter().map(ToString::to_string).collect();
            let mut line = format!(" {:wide$}  {:<6}  ", step.key.to_string(), step.verb());
            line.push_str(&reasons.join("; "));
            if let Action::Adopt { build, .. } = &step.action {
                line.push_str(&tail(Some(build)));
            }
            let mark = self.paint(color(mark.color), mark.text);
            writeln!(self.out, "  {mark}{line}")?;
        }
        Ok(())
    }

    fn legend(&mut self, view: &PlanView<'_>) -> io::Result<()> {
        let marks: BTreeSet<(&str, &str)> = view
            .plan
            .steps
            .iter()
            .map(|step| (symbol(step).text.trim(), symbol(step).meaning))
            .collect();
        let marks: Vec<String> =
            marks.into_iter().map(|(text, meaning)| format!("{text} {meaning}")).collect();
        writeln!(self.out, "{}", self.paint(DIM, &marks.join("   ")))
    }

    fn order_and_cost(&mut self, view: &PlanView<'_>) -> io::Result<()> {
        let steps = &view.plan.steps;
        let bases: BTreeSet<_> = steps.iter().flat_map(|step| &step.needs).collect();
        if !bases.is_empty() {
            let names: Vec<String> =
                bases.iter().take(3).map(|step| steps[step.0].key.to_string()).collect();
            let more = match bases.len() - names.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let wait = steps.iter().filter(|step| !step.needs.is_empty()).count();
            writeln!(
                self.out,
                "Order: {}{more} first, then what needs them ({}). Longest chain {}.",
                names.join(", "),
                count(wait, "unit"),
                view.plan.longest_chain()
            )?;
        }
        let made = steps.iter().filter_map(|step| match &step.action {
            Action::Make(make) => Some(make),
            _ => None,
        });
        let (builds, mirrors): (Vec<_>, Vec<_>) = made.partition(|make| make.kind == Kind::Build);
        let mut costs = Vec::new();
        if !builds.is_empty() {
            let contexts = builds.iter().filter_map(|make| view.facts.context(make.unit));
            let size = bytes(contexts.map(|context| context.tree.size()).sum());
            costs.push(format!("{} with {size} of context to pack", count(builds.len(), "build")));
        }
        if !mirrors.is_empty() {
            costs.push(count(mirrors.len(), "transfer"));
        }
        if !costs.is_empty() {
            writeln!(self.out, "Cost: {}.", costs.join(", "))?;
        }
        Ok(())
    }

    /// A line each for a few units; one line for many.
    fn alive(
        &mut self,
        units: &[Active],
        phases: &[(Phase, usize)],
        waiting: usize,
        (ended, total): (usize, usize),
    ) -> io::Result<()> {
        let at_work: usize = phases.iter().map(|(_, count)| count).sum();
        if waiting == 0 && at_work == units.len() && at_work <= FEW {
            for Active { unit, phase, build, elapsed: time, .. } in units {
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
        let longest =
            units.first().map_or_else(String::new, |Active { unit, elapsed: time, .. }| {
                format!("; {unit} for {}", elapsed(*time))
            });
        writeln!(self.err, "{ended} of {total} ended; {}{longest}", parts.join(", "))
    }

    /// Failures of one kind, told once with the names of all.
    fn failures(&mut self, group: &[&Failure]) -> io::Result<()> {
        let [failure, ..] = group else { return Ok(()) };
        let (word, style) = if failure.pending {
            ("pending", AnsiColor::Yellow)
        } else {
            ("failed", AnsiColor::Red)
        };
        let word = self.paint(color(style).bold(), word);
        let named =
            |failure: &&Failure| format!("{}{}", failure.unit, tail(failure.build.as_ref()));
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
        for (unit, because) in &summary.skipped {
            match because {
                Because::DependencyFailed { failed } => {
                    writeln!(self.out, "{word}: {unit}, for it needs {failed}")?;
                }
                Because::Interrupted | Because::Stopped => stopped += 1,
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
fn alike(failures: &[Failure]) -> Vec<Vec<&Failure>> {
    let mut groups: Vec<Vec<&Failure>> = Vec::new();
    for failure in failures {
        let same = |group: &&mut Vec<&Failure>| {
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
