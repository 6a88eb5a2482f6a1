//! The table of a plan: a row for each step, or for each group of steps with one cause.

use super::super::fit::{cut, wrap};
use super::super::group::StepGroup;
use super::super::sentences::step_suffix;
use super::super::symbol::{Symbol, symbol};
use super::{DIM, HumanReporter, MAX_NAMES_SHOWN, color};
use crate::base::name::ImageRef;
use crate::base::safe_text::escaped;
use crate::base::text::{columns, list, plural};
use crate::plan::{Reason, Step};

/// Widest column of names in output that is not cut. A longer name shifts the rest of its row.
const MAX_NAME_COLUMNS: usize = 50;

/// Columns before the name: the symbol, with blanks around it.
const MARGIN_COLUMNS: usize = 6;

/// Columns of the verb and the blanks after it.
const VERB_COLUMNS: usize = 8;

/// Narrowest column of reasons. On a narrower terminal, the terminal breaks the line.
const MIN_REASON_COLUMNS: usize = 12;

/// One row of the table.
pub(super) struct Row {
    symbol: Symbol,
    name: String,
    verb: &'static str,
    reasons: String,
    /// The reasons in fewer words, for a narrow terminal.
    brief: Option<String>,
    /// Text after the reasons that is never cut.
    suffix: String,
    /// Names of a group for a line of their own: some, or fewer for a narrow terminal.
    names: Vec<String>,
}

impl Row {
    pub(super) fn of(step: &Step) -> Self {
        let reasons: Vec<String> = step.reasons.iter().map(ToString::to_string).collect();
        Self {
            symbol: symbol(step),
            name: step.key.to_string(),
            verb: step.verb(),
            reasons: escaped(&reasons.join("; ")),
            brief: brief(&step.reasons).map(|text| escaped(&text)),
            suffix: escaped(&step_suffix(step)),
            names: Vec::new(),
        }
    }

    pub(super) fn of_group(group: &StepGroup<'_>) -> Option<Self> {
        let (first, others) = group.steps.split_first()?;
        if others.is_empty() {
            return Some(Self::of(first));
        }
        let keys: Vec<&ImageRef> = group.steps.iter().map(|step| &step.key).collect();
        let suffix = match group.steps.iter().filter(|step| step.added).count() {
            0 => String::new(),
            added => format!(" ({added} needed by the selection)"),
        };
        Some(Self {
            symbol: symbol(first),
            name: plural(keys.len(), "target"),
            verb: first.verb(),
            reasons: escaped(&group.cause),
            brief: None,
            suffix,
            names: (1..=MAX_NAMES_SHOWN).rev().map(|max| list(&keys, max)).collect(),
        })
    }
}

impl HumanReporter<'_> {
    /// Returns rows with aligned columns.
    pub(super) fn rows(&self, rows: &[Row]) -> String {
        let names = || rows.iter().map(|row| columns(&row.name));
        let up_to = |max| names().filter(move |&name| name <= max);
        let name_width = match self.options.columns {
            // A name that is too long gets a line of its own. A few long names should not take the
            // room for reasons from all rows.
            Some(width) if up_to(width / 3).count() * 4 >= rows.len() * 3 => {
                up_to(width / 3).max().unwrap_or(0)
            }
            Some(width) => up_to(width / 2).max().unwrap_or(0),
            None => names().max().unwrap_or(0).min(MAX_NAME_COLUMNS),
        };
        let rows: Vec<String> = rows.iter().map(|row| self.row(row, name_width)).collect();
        rows.join("\n")
    }

    fn row(&self, row: &Row, name_width: usize) -> String {
        let Row { symbol, name, verb, reasons, brief, suffix, names } = row;
        let style = color(symbol.color);
        let blanks = " ".repeat((VERB_COLUMNS - 2).saturating_sub(verb.len()));
        let verb = format!("{}{blanks}", self.paint(style, verb));
        let symbol = self.paint(style, symbol.text);
        let mut text = match self.options.columns {
            None => format!("  {symbol} {name:name_width$}  {verb}  {reasons}{suffix}"),
            Some(width) => {
                let start = MARGIN_COLUMNS + name_width + 2;
                let name = if columns(name) <= name_width {
                    format!("{name:name_width$}  ")
                } else {
                    format!("{name}\n{}", " ".repeat(start))
                };
                let reasons = match names[..] {
                    [] => {
                        fit_reasons(reasons, brief.as_deref(), suffix, start + VERB_COLUMNS, width)
                    }
                    // The cause of a whole group is not cut.
                    _ => wrap_column(&format!("{reasons}{suffix}"), start + VERB_COLUMNS, width),
                };
                format!("  {symbol} {name}{verb}  {reasons}")
            }
        };
        let indent = MARGIN_COLUMNS + 2;
        let room = self.options.columns.map_or(usize::MAX, |width| width.saturating_sub(indent));
        if let Some(names) = names.iter().find(|names| columns(names) <= room).or(names.last()) {
            text = format!("{text}\n{}{}", " ".repeat(indent), self.paint(DIM, names));
        }
        text
    }
}

/// Wraps a text that starts in a column.
fn wrap_column(text: &str, start: usize, width: usize) -> String {
    let lines = wrap(text, Some(width.saturating_sub(start).max(MIN_REASON_COLUMNS)), 0);
    lines.replace('\n', &format!("\n{}", " ".repeat(start)))
}

/// Fits reasons that start in a column: in full, or briefly, or cut. If the suffix has no room
/// beside them, it gets a line of its own.
fn fit_reasons(
    reasons: &str,
    brief: Option<&str>,
    suffix: &str,
    start: usize,
    width: usize,
) -> String {
    let room = width.saturating_sub(start).max(MIN_REASON_COLUMNS);
    let mut forms = [Some(reasons), brief].into_iter().flatten();
    if let Some(form) = forms.find(|form| columns(form) + columns(suffix) <= room) {
        return format!("{form}{suffix}");
    }
    let reasons = match brief {
        Some(brief) if columns(reasons) > room && columns(brief) <= room => brief.to_owned(),
        _ => cut(reasons, room),
    };
    let suffix = suffix.trim_start();
    if suffix.is_empty() {
        return reasons;
    }
    let indent = start.min(width.saturating_sub(columns(suffix)));
    format!("{reasons}\n{}{suffix}", " ".repeat(indent))
}

/// Returns several reasons with changed files counted instead of named: names of files should not
/// hide the other reasons.
fn brief(reasons: &[Reason]) -> Option<String> {
    let brief = |reason: &Reason| match reason {
        Reason::ContextChanged { files: Some(files) } if !files.is_empty() => {
            format!("context: {}", plural(files.len(), "file"))
        }
        reason => reason.to_string(),
    };
    let all: Vec<String> = reasons.iter().map(brief).collect();
    (all.len() > 1).then(|| all.join("; "))
}
