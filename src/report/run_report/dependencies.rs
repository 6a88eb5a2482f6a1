//! The dependencies between the targets of a run: a picture of few, and a list. Pure.

use std::fmt::Write as _;

use super::TargetRow;
use super::escape::markup;
use crate::base::text::plural;

/// Maximum number of targets in the picture.
const MAX_TARGETS_DRAWN: usize = 40;

/// Maximum number of bases in the list, and of dependents named for each.
const MAX_BASES_LISTED: usize = 200;
const MAX_DEPENDENTS_NAMED: usize = 30;

/// Maximum number of characters of a name in the picture.
const MAX_NAME_CHARS: usize = 34;

/// Sizes in pixels: a character of the monospaced font, a box, and the gaps between boxes.
const CHAR_WIDTH: usize = 7;
const BOX_HEIGHT: usize = 24;
const ROW_HEIGHT: usize = 34;
const COLUMN_GAP: usize = 56;

/// A target with a base or a dependent.
struct GraphTarget<'a> {
    row: &'a TargetRow<'a>,
    /// Positions of its bases among the targets.
    bases: Vec<usize>,
    /// Length of the longest chain of bases below it.
    depth: usize,
}

/// Returns the dependencies as HTML; empty if there are none.
pub(super) fn dependencies(rows: &[TargetRow<'_>]) -> String {
    let targets = targets(rows);
    if targets.is_empty() {
        return String::new();
    }
    let list = list(&targets);
    if targets.len() > MAX_TARGETS_DRAWN {
        return list;
    }
    format!("{}<details><summary>As a list</summary>{list}</details>", picture(&targets))
}

/// Returns the targets with a base or a dependent, bases first.
fn targets<'a>(rows: &'a [TargetRow<'a>]) -> Vec<GraphTarget<'a>> {
    // Deletions wait for their replacements; that is no dependency.
    let needs = |row: &TargetRow<'_>| match row.step.unit() {
        Some(_) => row.step.needs.iter().map(|need| need.0).collect(),
        None => Vec::new(),
    };
    let mut is_base = vec![false; rows.len()];
    for base in rows.iter().flat_map(needs) {
        is_base.get_mut(base).into_iter().for_each(|it| *it = true);
    }
    let mut targets: Vec<GraphTarget<'a>> = Vec::new();
    let mut position = vec![None; rows.len()];
    for (index, row) in rows.iter().enumerate() {
        let needs = needs(row);
        if needs.is_empty() && !is_base[index] {
            continue;
        }
        // A step comes after those that it needs.
        let bases: Vec<usize> = needs.iter().filter_map(|need| *position.get(*need)?).collect();
        let depth = bases.iter().map(|base| targets[*base].depth + 1).max().unwrap_or(0);
        position[index] = Some(targets.len());
        targets.push(GraphTarget { row, bases, depth });
    }
    targets
}

/// Returns a line for each base, with its dependents.
fn list(targets: &[GraphTarget<'_>]) -> String {
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); targets.len()];
    for (index, target) in targets.iter().enumerate() {
        target.bases.iter().for_each(|base| dependents[*base].push(index));
    }
    let mut bases: Vec<usize> =
        (0..targets.len()).filter(|it| !dependents[*it].is_empty()).collect();
    bases.sort_by_key(|base| std::cmp::Reverse(dependents[*base].len()));
    let name = |index: &usize| markup(&targets[*index].row.step.key.to_string());
    let mut html = "<ul class=bases>".to_owned();
    for base in bases.iter().take(MAX_BASES_LISTED) {
        let all = &dependents[*base];
        let names: Vec<String> = all.iter().take(MAX_DEPENDENTS_NAMED).map(name).collect();
        let more = match all.len().saturating_sub(MAX_DEPENDENTS_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (word, count) = (targets[*base].row.outcome.word(), plural(all.len(), "target"));
        let _ = write!(
            html,
            "<li class={word}><b>{}</b> is the base of {count}: {}{more}</li>",
            name(base),
            names.join(", ")
        );
    }
    let left = bases.len().saturating_sub(MAX_BASES_LISTED);
    let left =
        if left > 0 { format!("<p>And {}.</p>", plural(left, "more base")) } else { String::new() };
    format!("{html}</ul>{left}")
}

/// Returns a picture in columns: each target is to the right of its bases.
fn picture(targets: &[GraphTarget<'_>]) -> String {
    let names: Vec<String> = targets.iter().map(|it| short(&it.row.step.key.to_string())).collect();
    let columns = 1 + targets.iter().map(|target| target.depth).max().unwrap_or(0);
    let width_of = |column: usize| {
        let in_column = targets.iter().zip(&names).filter(|(target, _)| target.depth == column);
        let chars = in_column.map(|(_, name)| name.chars().count()).max().unwrap_or(0);
        chars * CHAR_WIDTH + 20
    };
    let widths: Vec<usize> = (0..columns).map(width_of).collect();
    let left = |column: usize| 1 + widths[..column].iter().map(|it| it + COLUMN_GAP).sum::<usize>();
    let tops = tops(targets, columns);
    let (mut edges, mut boxes) = (String::new(), String::new());
    for (index, target) in targets.iter().enumerate() {
        let (x, y, width) = (left(target.depth), tops[index], widths[target.depth]);
        let middle = |index: usize| tops[index] + BOX_HEIGHT / 2;
        for &base in &target.bases {
            let from = left(targets[base].depth) + widths[targets[base].depth];
            let (a, b) = (from + COLUMN_GAP / 2, x.saturating_sub(COLUMN_GAP / 2));
            let (y1, y2) = (middle(base), middle(index));
            let _ = write!(edges, "<path d=\"M{from} {y1}C{a} {y1} {b} {y2} {x} {y2}\" />");
        }
        let (word, name) = (target.row.outcome.word(), markup(&names[index]));
        let title = markup(&format!("{}: {word}", target.row.step.key));
        let _ = write!(
            boxes,
            "<g class={word}><title>{title}</title><rect x={x} y={y} width={width} \
             height={BOX_HEIGHT} rx=4 /><text x={} y={}>{name}</text></g>",
            x + 10,
            y + 16
        );
    }
    let width = left(columns - 1) + widths[columns - 1] + 1;
    let height = tops.iter().max().unwrap_or(&0) + BOX_HEIGHT + 1;
    format!(
        "<div class=graph><svg width={width} height={height} viewBox=\"0 0 {width} {height}\" \
         role=img aria-label=\"Targets to the right of their bases\">{edges}{boxes}</svg></div>"
    )
}

/// Returns the upper edge of each box. A column is ordered by the places of the bases, so that few edges
/// cross.
fn tops(targets: &[GraphTarget<'_>], columns: usize) -> Vec<usize> {
    let mut tops = vec![1; targets.len()];
    for column in 0..columns {
        let mut inside: Vec<usize> =
            (0..targets.len()).filter(|it| targets[*it].depth == column).collect();
        let place = |it: &usize| {
            let bases = &targets[*it].bases;
            bases.iter().map(|base| tops[*base]).sum::<usize>() / bases.len().max(1)
        };
        inside.sort_by_key(place);
        for (row, index) in inside.into_iter().enumerate() {
            tops[index] = 1 + row * ROW_HEIGHT;
        }
    }
    tops
}

/// Returns a name that fits a box.
fn short(name: &str) -> String {
    match name.char_indices().nth(MAX_NAME_CHARS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}
