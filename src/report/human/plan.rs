//! The plan as a table: a line for each step, or for each group of steps that have one cause; what
//! is deleted in a block of its own; and below it what it costs and all counts.

use std::collections::BTreeSet;

use anstyle::AnsiColor;

use super::super::cost::Cost;
use super::super::fit::{columns, cut, printable, wrap};
use super::super::group::{Group, MANY, groups};
use super::super::words::{count, names, part, plan_line, tail};
use super::super::{PlanView, Verbosity};
use super::protection::kept;
use super::{BOLD, DIM, Human, color};
use crate::base::name::{ImageRef, Owner};
use crate::plan::{Action, PartialPlan, Reason, Renamed, Step};

/// Names that stand for all of a group.
pub(super) const FEW: usize = 3;

/// Protected images that are named where others take their place.
pub(super) const MOST_NAMES: usize = 10;

/// Columns of names beyond which a line that is not cut takes what it needs.
const WIDE: usize = 50;

/// Columns before the name: the mark, and a blank on either side.
const MARGIN: usize = 6;

/// What stands before a step, as Terraform has it, and what it means.
pub(in super::super) struct Symbol {
    pub(in super::super) text: &'static str,
    pub(in super::super) color: AnsiColor,
    meaning: &'static str,
}

/// The symbol of a step.
pub(in super::super) fn symbol(step: &Step) -> Symbol {
    let (text, color, meaning) = match &step.action {
        Action::Create(make) if make.replaces => {
            ("-/+", AnsiColor::Yellow, "rebuild, over the existing tag")
        }
        Action::Create(_) => ("  +", AnsiColor::Green, "create"),
        Action::Adopt { .. } => (" <=", AnsiColor::Cyan, "wait for a build under way"),
        Action::Update { .. } => ("  ~", AnsiColor::Yellow, "change, without a build"),
        Action::Forget { .. } => ("  .", AnsiColor::Red, "forget, the image stays"),
        Action::Delete { .. } => ("  -", AnsiColor::Red, "delete"),
    };
    Symbol { text, color, meaning }
}

/// One line of the table.
struct Row {
    mark: Symbol,
    name: String,
    verb: &'static str,
    why: String,
    /// The same in fewer words, where there is no room for all.
    brief: Option<String>,
    /// What is said at the end of the line, however long the reasons are.
    end: String,
    /// The first names of a group, for a line of their own: some, or fewer where there is no room.
    below: Vec<String>,
}

impl Row {
    fn of(step: &Step) -> Self {
        let reasons: Vec<String> = step.reasons.iter().map(ToString::to_string).collect();
        let mut end = match &step.action {
            Action::Adopt { build, .. } => tail(Some(build)),
            Action::Delete { owner, .. } if *owner != Owner::Personal => format!(" ({owner})"),
            _ => String::new(),
        };
        if let Action::Forget { after: Some(build) } | Action::Delete { after: Some(build), .. } =
            &step.action
        {
            end = format!("{end} (once build {build} has ended)");
        }
        if step.added {
            end.push_str(" (needed by what was asked for)");
        }
        Self {
            mark: symbol(step),
            name: step.key.to_string(),
            verb: step.verb(),
            why: printable(&reasons.join("; ")),
            brief: brief(&step.reasons).map(|text| printable(&text)),
            end,
            below: Vec::new(),
        }
    }

    fn of_group(group: &Group<'_>, noun: &str) -> Option<Self> {
        let (first, more) = group.steps.split_first()?;
        if more.is_empty() {
            return Some(Self::of(first));
        }
        let keys: Vec<&ImageRef> = group.steps.iter().map(|step| &step.key).collect();
        let end = match group.steps.iter().filter(|step| step.added).count() {
            0 => String::new(),
            added => format!(" ({added} needed by what was asked for)"),
        };
        Some(Self {
            mark: symbol(first),
            name: count(keys.len(), noun),
            verb: first.verb(),
            why: printable(&group.cause),
            brief: None,
            end,
            below: (1..=FEW).rev().map(|most| names(&keys, most)).collect(),
        })
    }
}

impl Human<'_> {
    /// All of a plan, as paragraphs.
    pub(super) fn plan_text(&self, view: &PlanView<'_>) -> String {
        let (gone, steps): (Vec<&Step>, Vec<&Step>) =
            view.plan.steps.iter().partition(|step| matches!(step.action, Action::Delete { .. }));
        let partial = view.plan.partial.map(|partial| {
            let note = format!("Note: this is {}", part(partial, "are"));
            self.prose(&note).replacen("Note:", &self.note(), 1)
        });
        let paragraphs = if view.plan.is_noop() {
            let said = [Some(self.no_changes(view)), partial].into_iter().flatten();
            let said = said.chain(self.protection(view));
            vec![said.chain(self.asides(view)).collect::<Vec<_>>().join("\n")]
        } else {
            let mut last = vec![self.legend(view)];
            last.extend(self.order(view));
            last.extend(Cost::of(view).words(view.limits).map(|cost| self.prose(&cost)));
            last.push(self.paint(BOLD, &self.prose(&plan_line(&view.plan.counts(None)))));
            vec![
                self.prose(&head(view)),
                partial.unwrap_or_default(),
                self.table(&steps, view.noun()),
                self.deletions(&gone),
                self.overwritten(view),
                self.protection(view).join("\n"),
                self.asides(view).join("\n"),
                last.join("\n"),
            ]
        };
        let told: Vec<String> = paragraphs.into_iter().filter(|text| !text.is_empty()).collect();
        format!("{}\n", told.join("\n\n"))
    }

    /// A sentence, in lines that fit.
    pub(super) fn prose(&self, text: &str) -> String {
        wrap(&printable(text), self.options.columns, 2)
    }

    fn no_changes(&self, view: &PlanView<'_>) -> String {
        let listed: usize = view.facts.images.values().map(std::collections::HashMap::len).sum();
        let with = match (view.asked, view.facts.images.is_empty()) {
            (false, _) => "the lockfile; the service was not asked".to_owned(),
            (true, true) => "the lockfile and the service's pending builds".to_owned(),
            (true, false) => {
                format!("the lockfile and the service ({} listed)", count(listed, "image"))
            }
        };
        let all = match (view.plan.partial, view.plan.units) {
            (Some(PartialPlan { selected: 1, .. }), _) => {
                "The unit that was asked for is".to_owned()
            }
            (Some(partial), _) => format!("All {} units that were asked for are", partial.selected),
            (None, 1) => "The only unit is".to_owned(),
            (None, units) => format!("All {units} units are"),
        };
        // Whether an image is protected is told below.
        let head = if view.plan.has_changes() { "No image changes." } else { "No changes." };
        let text = format!("{head} {all} as the manifest says. Compared with {with}.");
        self.prose(&text).replacen(head, &self.paint(BOLD, head), 1)
    }

    /// The steps, in groups where they are many.
    fn table(&self, steps: &[&Step], noun: &str) -> String {
        if steps.len() <= MANY || self.options.talk >= Verbosity::Verbose {
            return self.rows(&steps.iter().map(|step| Row::of(step)).collect::<Vec<_>>());
        }
        let groups = groups(steps);
        let rows: Vec<Row> = groups.iter().filter_map(|it| Row::of_group(it, noun)).collect();
        let mut text = self.rows(&rows);
        if self.options.hints && groups.len() < steps.len() {
            let hint = "`imgplan why NAME` explains one; `--verbose` lists all of them.";
            text = format!("{text}\n\n{}", self.paint(DIM, &self.prose(hint)));
        }
        text
    }

    fn deletions(&self, gone: &[&Step]) -> String {
        if gone.is_empty() {
            return String::new();
        }
        let head = self.paint(
            color(AnsiColor::Red).bold(),
            &format!("Deletes {}:", count(gone.len(), "image")),
        );
        let rows: Vec<Row> = gone.iter().map(|step| Row::of(step)).collect();
        format!("{head}\n{}", self.rows(&rows))
    }

    fn overwritten(&self, view: &PlanView<'_>) -> String {
        let over = view.overwritten();
        if over.is_empty() {
            return String::new();
        }
        let head = format!("Replaces {}:", count(over.len(), "protected image"));
        let most = if self.options.talk >= Verbosity::Verbose { usize::MAX } else { MOST_NAMES };
        let text = self.prose(&format!("{head} {}", names(&over, most)));
        text.replacen(&head, &self.paint(color(AnsiColor::Yellow).bold(), &head), 1)
    }

    /// What is worth knowing and is no step. It is about the whole, and not told of a part.
    fn asides(&self, view: &PlanView<'_>) -> Vec<String> {
        if view.plan.partial.is_some() {
            return Vec::new();
        }
        let mut lines = kept(view);
        let renamed = &view.plan.renamed;
        lines.extend(renamed.iter().take(FEW).map(|Renamed { from, to }| {
            format!(
                "`{to}` has just the content of `{from}`, which is gone: if it was renamed, add \
                 `moved: [{{from: {from}, to: {to}}}]`"
            )
        }));
        if let more @ 1.. = renamed.len().saturating_sub(FEW) {
            let seem = if more == 1 { "seems" } else { "seem" };
            lines.push(format!("{more} more {seem} to be renamed; `--json` names all of them"));
        }
        if let drift @ 1.. = view.plan.drift {
            let have = if drift == 1 { "has" } else { "have" };
            lines.push(format!(
                "{} {have} another visibility in the service than the lockfile says; nothing \
                 follows from it.",
                count(drift, "image")
            ));
        }
        lines.iter().map(|line| self.prose(line)).collect()
    }

    fn legend(&self, view: &PlanView<'_>) -> String {
        let marks: BTreeSet<(&str, &str)> = view
            .plan
            .steps
            .iter()
            .map(|step| (symbol(step).text.trim(), symbol(step).meaning))
            .collect();
        // What belongs together is not torn apart where a line ends.
        let whole = |(text, meaning): (&str, &str)| format!("{text} {meaning}").replace(' ', "\0");
        let marks: Vec<String> = marks.into_iter().map(whole).collect();
        let text = wrap(&marks.join("   "), self.options.columns, 0).replace('\0', " ");
        self.paint(DIM, &text)
    }

    fn order(&self, view: &PlanView<'_>) -> Option<String> {
        let steps = &view.plan.steps;
        // What goes waits for what has its place: that is no order that anybody has to know.
        let made = || steps.iter().filter(|step| step.unit().is_some());
        let bases: BTreeSet<_> = made().flat_map(|step| &step.needs).collect();
        let keys: Vec<&ImageRef> =
            bases.iter().filter_map(|step| Some(&steps.get(step.0)?.key)).collect();
        if keys.is_empty() {
            return None;
        }
        let wait = made().filter(|step| !step.needs.is_empty()).count();
        Some(self.prose(&format!(
            "Order: {} first, then what needs them ({}). Longest chain {}.",
            names(&keys, FEW),
            count(wait, view.noun()),
            view.plan.longest_chain()
        )))
    }

    /// Rows, with their columns aligned.
    fn rows(&self, rows: &[Row]) -> String {
        let names = || rows.iter().map(|row| columns(&row.name));
        let fitting = |most| names().filter(move |&name| name <= most);
        let wide = match self.options.columns {
            // A name that has a line of its own needs no place in the column. A few long ones should
            // not take it from the reasons of all.
            Some(width) if fitting(width / 3).count() * 4 >= rows.len() * 3 => fitting(width / 3),
            Some(width) => fitting(width / 2),
            None => return self.lines(rows, names().max().unwrap_or(0).min(WIDE)),
        };
        self.lines(rows, wide.max().unwrap_or(0))
    }

    fn lines(&self, rows: &[Row], wide: usize) -> String {
        let lines: Vec<String> = rows.iter().map(|row| self.row(row, wide)).collect();
        lines.join("\n")
    }

    fn row(&self, row: &Row, wide: usize) -> String {
        let Row { mark, name, verb, why, brief, end, below } = row;
        let mark = self.paint(color(mark.color), mark.text);
        let mut text = match self.options.columns {
            None => format!("  {mark} {name:wide$}  {verb:<6}  {why}{end}"),
            Some(width) => {
                let start = MARGIN + wide + 2;
                let name = if columns(name) <= wide {
                    format!("{name:wide$}  ")
                } else {
                    format!("{name}\n{}", " ".repeat(start))
                };
                let why = match below[..] {
                    [] => reason(why, brief.as_deref(), end, start + 8, width),
                    // What all of a group have in common is not cut.
                    _ => in_lines(&format!("{why}{end}"), start + 8, width),
                };
                format!("  {mark} {name}{verb:<6}  {why}")
            }
        };
        let room = self.options.columns.map_or(usize::MAX, |it| it.saturating_sub(MARGIN + 2));
        if let Some(below) = below.iter().find(|it| columns(it) <= room).or(below.last()) {
            text = format!("{text}\n{}{}", " ".repeat(MARGIN + 2), self.paint(DIM, below));
        }
        text
    }
}

/// Columns that a reason has at least: less is not worth a column, and the terminal breaks the line.
const LEAST: usize = 12;

/// A text that begins in some column, and goes on there below.
fn in_lines(text: &str, start: usize, width: usize) -> String {
    let lines = wrap(text, Some(width.saturating_sub(start).max(LEAST)), 0);
    lines.replace('\n', &format!("\n{}", " ".repeat(start)))
}

/// Reasons that begin in some column, and what is said at their end: on a line of its own where there
/// is no room for both.
fn reason(why: &str, brief: Option<&str>, end: &str, start: usize, width: usize) -> String {
    let room = width.saturating_sub(start).max(LEAST);
    let whole = [Some(why), brief].into_iter().flatten();
    if let Some(why) = whole.into_iter().find(|why| columns(why) + columns(end) <= room) {
        return format!("{why}{end}");
    }
    let why = match brief {
        Some(brief) if columns(why) > room && columns(brief) <= room => brief.to_owned(),
        _ => cut(why, room),
    };
    let end = end.trim_start();
    if end.is_empty() {
        return why;
    }
    let indent = start.min(width.saturating_sub(columns(end)));
    format!("{why}\n{}{end}", " ".repeat(indent))
}

/// Several reasons, with the files that changed counted: their names should not hide that there is
/// more than one reason.
fn brief(reasons: &[Reason]) -> Option<String> {
    let brief = |reason: &Reason| match reason {
        Reason::ContextChanged { files: Some(files) } if !files.is_empty() => {
            format!("context: {}", count(files.len(), "file"))
        }
        reason => reason.to_string(),
    };
    let all: Vec<String> = reasons.iter().map(brief).collect();
    (all.len() > 1).then(|| all.join("; "))
}

fn head(view: &PlanView<'_>) -> String {
    let what = match (view.workspace.images, view.plan.units) {
        (images, units) if images == units => count(images, "image"),
        (images, units) => format!("{}, {}", count(images, "image"), count(units, "unit")),
    };
    let (lockfile, service) = (view.lockfile.display(), view.service);
    format!("imgplan: {what}, lockfile {lockfile}, service {service}")
}
