//! Collects the fields of an input that a manifest cannot express. Pure.

use std::collections::HashMap;
use std::fmt;

/// An item of an input: a target, a service, a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ItemPlace {
    /// The place with a `*` for the item, the same for all items of a list.
    pattern: String,
    place: String,
}

impl ItemPlace {
    /// Returns the place of an item with a name: `target.app`.
    pub(super) fn named(list: &str, name: &str) -> Self {
        Self { pattern: format!("{list}.*"), place: format!("{list}.{name}") }
    }

    /// Returns the place of a key of the file.
    pub(super) fn key(name: &str) -> Self {
        Self { pattern: "*".to_owned(), place: name.to_owned() }
    }

    /// Returns the place of an item of a list, by its index: `sync[3]`.
    pub(super) fn indexed(list: &str, index: usize) -> Self {
        Self { pattern: format!("{list}[*]"), place: format!("{list}[{index}]") }
    }

    /// Returns the place of a line, by its number: `line 3`.
    pub(super) fn line(number: usize) -> Self {
        Self { pattern: "line *".to_owned(), place: format!("line {number}") }
    }

    /// Returns the place of a part that occurs once.
    pub(super) fn once(place: &str) -> Self {
        Self { pattern: place.to_owned(), place: place.to_owned() }
    }

    /// Returns the place of a field of the item.
    pub(super) fn field(&self, field: &str) -> Self {
        let of = |item: &str| match field {
            "" => item.to_owned(),
            field => format!("{item}.{field}"),
        };
        Self { pattern: of(&self.pattern), place: of(&self.place) }
    }
}

impl fmt::Display for ItemPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

/// A field that was dropped for the same reason in one item or many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// The first place.
    at: ItemPlace,
    reason: String,
    count: usize,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at: ItemPlace { pattern, place }, reason, count } = self;
        match count {
            1 => write!(f, "{place}: {reason}"),
            count => write!(f, "{pattern} ({count} times, first {place}): {reason}"),
        }
    }
}

/// The fields that were dropped, in the order of the input, equal ones together.
#[derive(Debug, Default)]
pub(crate) struct DropList {
    dropped: Vec<Dropped>,
    /// Indexes of `dropped`, by pattern and reason.
    known: HashMap<(String, String), usize>,
    /// Number of fields that are not about images, and the first of them.
    not_about_images: Option<(usize, ItemPlace)>,
}

impl DropList {
    /// Adds a field of an item; an empty field is the item itself.
    pub(super) fn add(&mut self, item: &ItemPlace, field: &str, reason: impl Into<String>) {
        let (at, reason) = (item.field(field), reason.into());
        let key = (at.pattern.clone(), reason.clone());
        let index = *self.known.entry(key).or_insert(self.dropped.len());
        match self.dropped.get_mut(index) {
            Some(same) => same.count += 1,
            None => self.dropped.push(Dropped { at, reason, count: 1 }),
        }
    }

    /// Adds a field that says how containers run. It has no place in a manifest, and none is missing.
    pub(super) fn add_not_about_images(&mut self, item: &ItemPlace, field: &str) {
        self.not_about_images.get_or_insert_with(|| (0, item.field(field))).0 += 1;
    }

    /// Returns the number of dropped fields.
    pub(crate) fn count(&self) -> usize {
        self.dropped.iter().map(|dropped| dropped.count).sum()
    }

    /// Returns a line for each group of equal fields.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.dropped.iter().map(|dropped| format!("dropped {dropped}")).collect();
        if let Some((count, first)) = &self.not_about_images {
            let which = if *count == 1 { "" } else { "such as " };
            lines.push(format!(
                "not about images, and left out: {} ({which}{first})",
                crate::base::text::plural(*count, "field")
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_fields_are_one_line() {
        let mut list = DropList::default();
        for index in 0..500 {
            list.add(&ItemPlace::indexed("sync", index), "hooks", "no hooks");
        }
        list.add(&ItemPlace::named("target", "a"), "labels", "no labels");
        list.add(&ItemPlace::line(7), "", "no source");
        list.add_not_about_images(&ItemPlace::named("services", "web"), "ports");
        assert_eq!(list.count(), 502);
        let expected = [
            "dropped sync[*].hooks (500 times, first sync[0].hooks): no hooks",
            "dropped target.a.labels: no labels",
            "dropped line 7: no source",
            "not about images, and left out: 1 field (services.web.ports)",
        ];
        assert_eq!(list.lines(), expected);
        list.add_not_about_images(&ItemPlace::once("volumes"), "");
        let last = "not about images, and left out: 2 fields (such as services.web.ports)";
        assert_eq!(list.lines().last().unwrap(), last);
    }
}
