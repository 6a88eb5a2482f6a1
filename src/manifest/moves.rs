//! Resolves `moved` and `removed`: follows chains of names to their ends, and checks that the old
//! names are no longer in use. Pure.

use std::collections::{HashMap, HashSet};

use super::bases::{MAX_NAMES_SHOWN, near_name};
use super::diagnostics::Diagnostics;
use super::expand::Scope;
use super::image::ResolvedImage;
use super::pattern::UnitPattern;
use super::spanned::Spanned;
use super::workspace::{Moved, Removed, Unit};
use crate::base::span::{Problem, Span};
use crate::base::text::list;

/// Resolves `moved` and `removed` of all files.
pub(super) fn resolve(
    scopes: &[Scope],
    images: &[ResolvedImage<'_>],
    units: &[Unit],
    diagnostics: &mut Diagnostics,
) -> (Vec<Moved>, Vec<Removed>) {
    let manifests = || scopes.iter().map(|scope| &scope.manifest);
    if manifests().all(|manifest| manifest.moved.is_none() && manifest.removed.is_none()) {
        return (Vec::new(), Vec::new());
    }
    let mut by_name: HashMap<&str, Vec<&Unit>> = HashMap::new();
    for unit in units {
        by_name.entry(unit.key.name.as_str()).or_default().push(unit);
    }
    let intact = images.iter().filter(|image| !image.damaged);
    let intact: HashSet<&str> = intact.map(|image| image.name.as_str()).collect();
    let written = scopes.iter().flat_map(Scope::image_names);
    let damaged = written.filter(|name| !intact.contains(name)).collect();
    let mut resolver = MoveResolver {
        moves: Vec::new(),
        by_from: HashMap::new(),
        units: by_name,
        damaged,
        diagnostics,
    };
    resolver.read_moves(scopes);
    (resolver.moved(), resolver.removed(scopes))
}

/// Adds to each unit the names that it had before its moves.
pub(super) fn add_old_names(units: &mut [Unit], moved: &[Moved]) {
    let mut by_name: HashMap<&str, Vec<&Moved>> = HashMap::new();
    for moved in moved {
        by_name.entry(moved.to.name.as_str()).or_default().push(moved);
    }
    if by_name.is_empty() {
        return;
    }
    for unit in units {
        let moves = by_name.get(unit.key.name.as_str()).into_iter().flatten();
        let fits = |moved: &&&Moved| match (&moved.to.tag, &unit.content_tag) {
            (Some(tag), Some(template)) => template.matches(tag),
            _ => moved.to.matches(&unit.key),
        };
        unit.old_names = moves.filter(fits).map(|moved| moved.from.clone()).collect();
    }
}

/// A complete entry of `moved`.
#[derive(Clone, Copy)]
struct Move<'a> {
    from: &'a Spanned<UnitPattern>,
    to: &'a Spanned<UnitPattern>,
}

struct MoveResolver<'a, 'd> {
    moves: Vec<Move<'a>>,
    /// Index of the first move of each `from`.
    by_from: HashMap<&'a UnitPattern, usize>,
    units: HashMap<&'a str, Vec<&'a Unit>>,
    /// Names of images with problems: their tags may not be the intended ones.
    damaged: HashSet<&'a str>,
    diagnostics: &'d mut Diagnostics,
}

impl<'a> MoveResolver<'a, '_> {
    /// Collects the complete entries of `moved`, and reports the others.
    fn read_moves(&mut self, scopes: &'a [Scope]) {
        let entries = scopes.iter().flat_map(|scope| scope.manifest.moved.iter().flatten());
        let mut entries = entries.peekable();
        while let Some(entry) = entries.next() {
            let (key, help) = match (&entry.from, &entry.to) {
                (Some(from), Some(to)) => {
                    self.by_from.entry(from).or_insert(self.moves.len());
                    self.moves.push(Move { from, to });
                    continue;
                }
                (None, _) => ("from", "add `from:` with the old name"),
                (_, None) => ("to", "add `to:` with the new name"),
            };
            self.reject_incomplete(key, help, entry.span(), entries.peek().map(|next| next.span()));
        }
    }

    /// Reports a missing key, unless the entry has another problem: then the key may be misspelt.
    fn reject_incomplete(&mut self, key: &str, help: &str, entry: Span, next: Option<Span>) {
        let end = next.map_or(usize::MAX, |next| next.start);
        if !self.diagnostics.has_error_in(&(entry.start..end)) {
            self.diagnostics.error(format!("this entry has no `{key}`"), entry, help);
        }
    }

    fn moved(&mut self) -> Vec<Moved> {
        let mut moved = Vec::new();
        let mut targets: HashMap<&UnitPattern, Span> = HashMap::new();
        for (index, entry) in self.moves.clone().into_iter().enumerate() {
            let Move { from, to } = entry;
            let first = self.by_from.get(&**from).copied().unwrap_or(index);
            if first != index {
                let first = self.moves[first].from.span();
                self.reject_duplicate(format!("`{}` is moved twice", **from), first, from.span());
                continue;
            }
            if let Some(first) = targets.insert(to, to.span()) {
                let message = format!("two images are moved to `{}`", **to);
                self.reject_duplicate(message, first, to.span());
                continue;
            }
            if from.tag.is_some() != to.tag.is_some() {
                let message = format!("only one of `{}` and `{}` has a tag", **from, **to);
                let problem = Problem::new(message, to.span(), "new name")
                    .and(from.span(), "old name")
                    .help("write a tag in both, or in neither to move all tags");
                self.diagnostics.push(problem);
                continue;
            }
            let Some((last, end)) = self.end_of_chain(index) else { continue };
            if self.is_unused(from) && self.exists(&end, last.to.span()) {
                moved.push(Moved { from: (**from).clone(), to: end, span: from.span() });
            }
        }
        // A move of one tag takes precedence over a move of all tags.
        moved.sort_by_key(|moved| moved.from.tag.is_none());
        moved
    }

    /// Returns the move that applies to a name, and the new name.
    fn next(&self, name: &UnitPattern) -> Option<(usize, UnitPattern)> {
        if let Some(&index) = self.by_from.get(name) {
            return Some((index, (**self.moves[index].to).clone()));
        }
        // A move of all tags of an image also moves each tag.
        let all_tags = UnitPattern { name: name.name.clone(), tag: None };
        let index = *self.by_from.get(&all_tags)?;
        Some((index, UnitPattern { tag: name.tag.clone(), ..(**self.moves[index].to).clone() }))
    }

    /// Follows a chain of moves. Returns its last move and the final name. A cycle is reported for
    /// the first of its moves only.
    fn end_of_chain(&mut self, first: usize) -> Option<(Move<'a>, UnitPattern)> {
        let mut path = vec![first];
        let mut last = self.moves[first];
        let mut name = (**last.to).clone();
        while let Some((index, next)) = self.next(&name) {
            if let Some(start) = path.iter().position(|step| *step == index) {
                let cycle = &path[start..];
                if cycle.iter().min() == Some(&first) {
                    let cycle: Vec<Move<'a>> = cycle.iter().map(|at| self.moves[*at]).collect();
                    self.reject_cycle(&cycle);
                }
                return None;
            }
            path.push(index);
            last = self.moves[index];
            name = next;
        }
        Some((last, name))
    }

    fn reject_cycle(&mut self, cycle: &[Move<'a>]) {
        let mut names: Vec<String> = cycle.iter().map(|entry| entry.from.to_string()).collect();
        names.extend(names.first().cloned());
        let problem = Problem {
            message: format!("cycle of moves: {}", names.join(" -> ")),
            help: Some("move the last name to an image of the manifest".to_owned()),
            labels: cycle
                .iter()
                .map(|Move { from, to }| (to.span(), format!("{} moves to {}", ***from, ***to)))
                .collect(),
            warning: false,
        };
        self.diagnostics.push(problem);
    }

    fn reject_duplicate(&mut self, message: String, first: Span, second: Span) {
        let problem = Problem::new(message, second, "second").and(first, "first");
        self.diagnostics.push(problem.help("remove one of the two"));
    }

    /// Returns a unit that a pattern matches.
    fn find(&self, pattern: &UnitPattern) -> Option<&'a Unit> {
        let units = self.units.get(pattern.name.as_str())?;
        let has_tag = |unit: &&&Unit| match (&pattern.tag, &unit.content_tag) {
            (None, _) => true,
            (Some(tag), Some(template)) => template.matches(tag),
            (Some(tag), None) => *tag == unit.key.tag,
        };
        units.iter().find(has_tag).copied()
    }

    /// Returns true if no image of the manifest has this old name; otherwise reports it.
    fn is_unused(&mut self, from: &Spanned<UnitPattern>) -> bool {
        let may_change = from.tag.is_some() && self.damaged.contains(from.name.as_str());
        let Some(unit) = self.find(from).filter(|_| !may_change) else { return true };
        let message = format!("`{}` is still in the manifest", **from);
        let problem = Problem::new(message, from.span(), "moved or removed")
            .and(unit.span, "still listed")
            .help("remove the image from `images`, or remove this entry");
        self.diagnostics.push(problem);
        false
    }

    /// Returns true if the manifest has an image of this new name; otherwise reports it.
    fn exists(&mut self, to: &UnitPattern, span: Span) -> bool {
        let name = to.name.as_str();
        if self.find(to).is_some() || self.damaged.contains(name) {
            return true;
        }
        let help = match self.units.get(name) {
            Some(units) => {
                let keys = units.iter().map(|unit| unit.shown());
                format!("the manifest has {}", list(keys, MAX_NAMES_SHOWN))
            }
            None => near_name(name, self.units.keys().copied()),
        };
        self.diagnostics.error(format!("no image of this manifest is named `{to}`"), span, help);
        false
    }

    fn removed(&mut self, scopes: &'a [Scope]) -> Vec<Removed> {
        let entries = scopes.iter().flat_map(|scope| scope.manifest.removed.iter().flatten());
        let mut entries = entries.peekable();
        let mut seen: HashMap<&UnitPattern, Span> = HashMap::new();
        let mut removed = Vec::new();
        while let Some(entry) = entries.next() {
            let Some(name) = &entry.name else {
                let next = entries.peek().map(|next| next.span());
                self.reject_incomplete("name", "add `name:` with the old name", entry.span(), next);
                continue;
            };
            if let Some(&first) = seen.get(&**name) {
                self.reject_duplicate(format!("`{}` is removed twice", **name), first, name.span());
                continue;
            }
            seen.insert(name, name.span());
            if let Some(&index) = self.by_from.get(&**name) {
                let message = format!("`{}` is both moved and removed", **name);
                let problem = Problem::new(message, name.span(), "removed")
                    .and(self.moves[index].from.span(), "moved")
                    .help("remove one of the two entries");
                self.diagnostics.push(problem);
                continue;
            }
            if self.is_unused(name) {
                let destroy = entry.destroy.unwrap_or_default();
                removed.push(Removed { from: (**name).clone(), destroy, span: name.span() });
            }
        }
        removed
    }
}
