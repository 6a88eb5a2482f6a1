//! Finds out what `moved` and `removed` mean: chains of names are followed to their ends, and both
//! name only what the manifest does not have any more. Pure.

use std::collections::{HashMap, HashSet};

use super::Sp;
use super::bases::near_name;
use super::expand::Scope;
use super::image::Draft;
use super::model::{MovedEntry, PatternText, RemovedEntry};
use super::pattern::UnitPattern;
use super::resolve::Resolver;
use super::workspace::{Moved, Removed, Unit};
use crate::base::span::{Problem, Span};

/// The images that there are, by their names.
struct Present<'a> {
    units: HashMap<&'a str, Vec<&'a Unit>>,
    /// Names of images that are wrong in some other way: their tags may not be as meant.
    lost: HashSet<&'a str>,
}

/// One entry of `moved`.
#[derive(Clone, Copy)]
struct Entry<'m> {
    from: &'m Sp<PatternText>,
    to: &'m Sp<PatternText>,
}

impl<'m> Entry<'m> {
    fn from(&self) -> &'m UnitPattern {
        &self.from.0.value.0
    }

    fn to(&self) -> &'m UnitPattern {
        &self.to.0.value.0
    }
}

/// All entries of `moved`, and the first of each `from`.
struct Entries<'m> {
    all: Vec<Entry<'m>>,
    by_from: HashMap<&'m UnitPattern, usize>,
}

impl Entries<'_> {
    /// The entry by which a name moves, and what it becomes.
    fn next(&self, name: &UnitPattern) -> Option<(usize, UnitPattern)> {
        let to = |at: usize| self.all.get(at).map(|entry| entry.to().clone());
        if let Some(&at) = self.by_from.get(name) {
            return Some((at, to(at)?));
        }
        // A tag of an image that moves as a whole goes along.
        let whole = UnitPattern { name: name.name.clone(), tag: None };
        let at = *self.by_from.get(&whole)?;
        Some((at, UnitPattern { tag: name.tag.clone(), ..to(at)? }))
    }
}

impl<'a> Resolver<'a> {
    /// What moved and what is removed.
    pub(super) fn moves(
        &mut self,
        drafts: &[Draft<'_>],
        units: &[Unit],
    ) -> (Vec<Moved>, Vec<Removed>) {
        let says =
            |scope: &Scope| scope.manifest.moved.is_some() || scope.manifest.removed.is_some();
        if !self.scopes.iter().any(says) {
            return (Vec::new(), Vec::new());
        }
        let mut by_name: HashMap<&str, Vec<&Unit>> = HashMap::new();
        for unit in units {
            by_name.entry(unit.key.name.as_str()).or_default().push(unit);
        }
        let whole = drafts.iter().filter(|draft| !draft.damaged);
        let found: HashSet<&str> = whole.map(|draft| draft.name.as_str()).collect();
        let images = self.scopes.iter().flat_map(Scope::images);
        let written = images.filter_map(|(image, _)| Some(image.name.as_ref()?.0.value.0.as_str()));
        let lost = written.filter(|name| !found.contains(name)).collect();
        let present = Present { units: by_name, lost };
        let entries = self.entries();
        (self.moved(&entries, &present), self.removed(&entries, &present))
    }

    /// The entries of `moved` that are whole.
    fn entries(&mut self) -> Entries<'a> {
        let moved = self.scopes.iter().flat_map(|scope| scope.manifest.moved.iter().flatten());
        let all: Vec<&'a Sp<MovedEntry>> = moved.collect();
        let mut entries = Entries { all: Vec::new(), by_from: HashMap::new() };
        for (index, entry) in all.iter().enumerate() {
            let next = all.get(index + 1).map(|next| next.span());
            let (key, add) = match (&entry.from, &entry.to) {
                (Some(from), Some(to)) => {
                    entries.by_from.entry(&from.0.value.0).or_insert(entries.all.len());
                    entries.all.push(Entry { from, to });
                    continue;
                }
                (None, _) => ("`from`", "`from:` with what it was called"),
                (_, None) => ("`to`", "`to:` with what it is called now"),
            };
            self.missing(key, add, entry.span(), next);
        }
        entries
    }

    /// Reports that an entry lacks a key, unless something else is wrong in it: that may be why.
    fn missing(&mut self, key: &str, add: &str, entry: Span, next: Option<Span>) {
        let end = next.map_or(usize::MAX, |next| next.start);
        let inside = |at: Span| (entry.start..end).contains(&at.start);
        let told = self.problems.iter().filter_map(|problem| problem.labels.first());
        if !told.map(|label| label.0).any(inside) {
            self.report(format!("this entry has no {key}"), entry, format!("add {add}"));
        }
    }

    fn moved(&mut self, entries: &Entries<'a>, present: &Present<'_>) -> Vec<Moved> {
        let mut moved = Vec::new();
        let mut targets: HashMap<&UnitPattern, Span> = HashMap::new();
        for (index, entry) in entries.all.iter().enumerate() {
            if let Some(&first) = entries.by_from.get(entry.from()).filter(|first| **first != index)
            {
                let first = entries.all.get(first).map_or(entry.from.span(), |e| e.from.span());
                self.twice(format!("`{}` moves twice", entry.from()), first, entry.from.span());
                continue;
            }
            if let Some(&first) = targets.get(entry.to()) {
                let message = format!("two images move to `{}`", entry.to());
                self.twice(message, first, entry.to.span());
                continue;
            }
            targets.insert(entry.to(), entry.to.span());
            if entry.from().tag.is_some() != entry.to().tag.is_some() {
                let message =
                    format!("`{}` and `{}` differ in having a tag", entry.from(), entry.to());
                let problem = Problem::new(message, entry.to.span(), "to this");
                let problem = problem.and(entry.from.span(), "from this");
                let help = "write a tag on both sides, or on neither to move every tag";
                self.problems.push(problem.help(help));
                continue;
            }
            let Some((last, to)) = self.end_of(index, entries) else { continue };
            let left = self.still_there(entry.from, present);
            if left && self.is_there(last.to, &to, present) {
                let (from, span) = (entry.from().clone(), entry.from.span());
                moved.push(Moved { from, to, span });
            }
        }
        // What names one tag is meant before what names them all.
        moved.sort_by_key(|moved| moved.from.tag.is_none());
        moved
    }

    /// Follows an entry through those that begin where it ends: the last of them, and what the name
    /// is there. Reports a circle at the first of its entries.
    fn end_of(&mut self, first: usize, entries: &Entries<'a>) -> Option<(Entry<'a>, UnitPattern)> {
        let mut way = vec![first];
        let mut seen = HashSet::from([first]);
        let mut last = *entries.all.get(first)?;
        let mut to = last.to().clone();
        while let Some((at, next)) = entries.next(&to) {
            if !seen.insert(at) {
                let circle = way.iter().skip_while(|step| **step != at);
                if circle.clone().min() == Some(&first) {
                    self.circle(circle.filter_map(|at| entries.all.get(*at)));
                }
                return None;
            }
            way.push(at);
            last = *entries.all.get(at)?;
            to = next;
        }
        Some((last, to))
    }

    fn circle<'e>(&mut self, entries: impl Iterator<Item = &'e Entry<'a>>)
    where
        'a: 'e,
    {
        let entries: Vec<&Entry<'a>> = entries.collect();
        let mut names: Vec<String> = entries.iter().map(|entry| entry.from().to_string()).collect();
        names.extend(names.first().cloned());
        let mut labels = entries
            .iter()
            .map(|entry| (entry.to.span(), format!("{} moves to {}", entry.from(), entry.to())));
        let Some((span, label)) = labels.next() else { return };
        let message = format!("these names move in a circle: {}", names.join(" -> "));
        let problem = Problem::new(message, span, label).help("let the last move to an image");
        let problem = labels.fold(problem, |problem, (span, label)| problem.and(span, label));
        self.problems.push(problem);
    }

    fn twice(&mut self, message: String, first: Span, second: Span) {
        let problem = Problem::new(message, second, "and here").and(first, "here");
        self.problems.push(problem.help("remove one of the two"));
    }

    /// Whether nothing of the manifest has this name any more; reports what has.
    fn still_there(&mut self, from: &Sp<PatternText>, present: &Present<'_>) -> bool {
        let name = &from.0.value.0;
        let lost = name.tag.is_some() && present.lost.contains(name.name.as_str());
        let Some(unit) = present.of(name).filter(|_| !lost) else { return true };
        let message = format!("the manifest still has `{name}`");
        let problem = Problem::new(message, from.span(), "here it is gone");
        let help = "take the image out of `images`, or this entry out of here";
        self.problems.push(problem.and(unit.span, "here it is").help(help));
        false
    }

    /// Whether the manifest has what something moves to; reports it where it does not.
    fn is_there(
        &mut self,
        said: &Sp<PatternText>,
        to: &UnitPattern,
        present: &Present<'_>,
    ) -> bool {
        let name = to.name.as_str();
        if present.of(to).is_some() || present.lost.contains(name) {
            return true;
        }
        let help = if let Some(same) = present.units.get(name) {
            let keys: Vec<String> = same.iter().map(|unit| unit.shown()).collect();
            format!("there is {}", keys.join(", "))
        } else {
            near_name(name, present.units.keys().copied())
        };
        self.report(format!("no image of this manifest is called `{to}`"), said.span(), help);
        false
    }

    fn removed(&mut self, moved: &Entries<'a>, present: &Present<'_>) -> Vec<Removed> {
        let said = self.scopes.iter().flat_map(|scope| scope.manifest.removed.iter().flatten());
        let all: Vec<&'a Sp<RemovedEntry>> = said.collect();
        let mut seen: HashMap<&UnitPattern, Span> = HashMap::new();
        let mut removed = Vec::new();
        for (index, entry) in all.iter().enumerate() {
            let Some(name) = &entry.name else {
                let next = all.get(index + 1).map(|next| next.span());
                self.missing("`name`", "`name:` with what it was called", entry.span(), next);
                continue;
            };
            let from = &name.0.value.0;
            if let Some(&first) = seen.get(from) {
                self.twice(format!("`{from}` is removed twice"), first, name.span());
                continue;
            }
            seen.insert(from, name.span());
            if let Some(entry) = moved.by_from.get(from).and_then(|at| moved.all.get(*at)) {
                let message = format!("`{from}` is both moved and removed");
                let problem = Problem::new(message, name.span(), "removed");
                let problem = problem.and(entry.from.span(), "moved");
                self.problems.push(problem.help("remove one of the two entries"));
                continue;
            }
            if self.still_there(name, present) {
                let destroy = entry.destroy.unwrap_or_default();
                removed.push(Removed { from: from.clone(), destroy, span: name.span() });
            }
        }
        removed
    }
}

impl<'a> Present<'a> {
    /// A unit that a name means.
    fn of(&self, name: &UnitPattern) -> Option<&'a Unit> {
        let units = self.units.get(name.name.as_str())?;
        let tagged = |unit: &&&Unit| match (&name.tag, &unit.content_tag) {
            (None, _) => true,
            (Some(tag), Some(open)) => open.matches(tag),
            (Some(tag), None) => *tag == unit.key.tag,
        };
        units.iter().find(tagged).copied()
    }
}
