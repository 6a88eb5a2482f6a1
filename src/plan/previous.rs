//! Finds what a unit goes on from: its own entry in the lockfile, that of the name it had before, or
//! of the tag that its last content gave it. Pure.

use std::collections::{HashMap, HashSet};

use crate::base::name::{ImageName, ImageRef};
use crate::manifest::workspace::{Moved, Unit, Workspace};
use crate::state::{BuildStage, Entry, Inputs, State};

/// The entry that a unit goes on from.
#[derive(Debug, Clone, Copy)]
pub struct Previous<'s> {
    /// What the lockfile calls it.
    pub key: &'s ImageRef,
    /// What is known of it.
    pub entry: &'s Entry,
    /// How it came to be another than the unit's own.
    pub link: PreviousKind,
}

/// How an entry belongs to a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviousKind {
    /// It has the unit's `name:tag`.
    Own,
    /// `moved:` says so.
    Moved,
    /// Its tag is that of another content.
    Content,
}

type Named<'s> = (&'s ImageRef, &'s Entry);

/// The entries of a state, by what units may look for.
pub struct PreviousLookup<'s> {
    state: &'s State,
    /// But for those that a unit with a fixed tag goes by: these are nobody else's.
    by_name: HashMap<&'s ImageName, Vec<Named<'s>>>,
    moves: Moves,
}

impl<'s> PreviousLookup<'s> {
    /// Over all entries of a state. What only few manifests need is gathered for those alone.
    pub fn new(workspace: &Workspace, state: &'s State) -> Self {
        let moves = Moves::of(workspace);
        let mut by_name: HashMap<&ImageName, Vec<_>> = HashMap::new();
        let open = workspace.units.iter().any(|unit| unit.content_tag.is_some());
        if open || !workspace.moved.is_empty() {
            let fixed = workspace.units.iter().filter(|unit| unit.content_tag.is_none());
            let fixed: HashSet<&ImageRef> = fixed.map(|unit| &unit.key).collect();
            for (key, entry) in state.entries.iter().filter(|(key, _)| !fixed.contains(key)) {
                by_name.entry(&key.name).or_default().push((key, entry));
            }
        }
        Self { state, by_name, moves }
    }

    /// What a unit goes on from. An entry of its own of which nothing is there, nor under way, does
    /// not keep it from taking over what has another name.
    pub fn of(&self, workspace: &Workspace, unit: &Unit) -> Option<Previous<'s>> {
        let own = self.own(&unit.key);
        own.filter(|own| is_known(own.entry))
            .or_else(|| self.newest(unit))
            .or_else(|| self.moved(workspace, unit))
            .or(own)
    }

    /// All that a unit may go on from: of an open tag, each content that it had.
    pub(super) fn all(&self, workspace: &Workspace, unit: &Unit) -> Vec<Previous<'s>> {
        let mut all: Vec<Previous<'s>> = self.of(workspace, unit).into_iter().collect();
        if unit.content_tag.is_some() {
            let named = self.by_name.get(&unit.key.name).into_iter().flatten();
            let fits =
                named.filter(|(key, entry)| same_tag(unit, key) && entry.platform == unit.platform);
            all.extend(fits.map(|&(key, entry)| Previous {
                key,
                entry,
                link: PreviousKind::Content,
            }));
        }
        all
    }

    /// The entry with this `name:tag`.
    pub(super) fn own(&self, key: &ImageRef) -> Option<Previous<'s>> {
        let (key, entry) = self.state.entries.get_key_value(key)?;
        Some(Previous { key, entry, link: PreviousKind::Own })
    }

    /// The newest entry of just this content, however often it was made: by that a unit with an open
    /// tag knows how often. It does not depend on the tag, which is settled by it.
    pub(super) fn of_content(
        &self,
        workspace: &Workspace,
        unit: &Unit,
        content: &Inputs,
    ) -> Option<Previous<'s>> {
        let rules = self.moves.to(&unit.key.name).iter();
        let rules = rules.filter_map(|index| workspace.moved.get(*index));
        let before = rules.filter(|moved| moved.to.tag.is_none()).map(|moved| &moved.from.name);
        let names = [&unit.key.name].into_iter().chain(before);
        let named = names.filter_map(|name| self.by_name.get(name)).flatten();
        let found = named.filter(|(key, entry)| {
            let last = entry.built.as_ref().map(|built| &built.inputs);
            let asked = entry.submitted.as_ref().map(|submitted| &submitted.inputs);
            let begun = entry.pending.as_ref().map(|pending| &pending.inputs);
            let inputs = last.into_iter().chain(asked).chain(begun);
            same_tag(unit, key)
                && inputs.into_iter().any(|inputs| inputs.equals_ignoring_replace_count(content))
        });
        let newest = found.max_by_key(|(key, entry)| age(key, entry));
        newest.map(|&(key, entry)| Previous { key, entry, link: PreviousKind::Content })
    }

    /// The entry of the name that a unit had before, where that can be renamed.
    fn moved(&self, workspace: &Workspace, unit: &Unit) -> Option<Previous<'s>> {
        for index in self.moves.to(&unit.key.name) {
            let Some(moved) = workspace.moved.get(*index) else { continue };
            if !moved.to.matches(&unit.key) {
                continue;
            }
            let named = self.by_name.get(&moved.from.name).map(Vec::as_slice).unwrap_or_default();
            // With several platforms, each unit goes on from the one of its own; and of two rules
            // that speak of an entry, the first is meant.
            let fits = |(key, entry): &&Named<'s>| {
                entry.platform == unit.platform
                    && entry.built.is_some()
                    && entry.pending.is_none()
                    && entry.submitted.is_none()
                    && (moved.from.tag.is_some() || same_tag(unit, key))
                    && self.moves.rule(workspace, key) == Some(moved)
            };
            let best = |(key, entry): &&Named<'s>| (key.tag == unit.key.tag, age(key, entry));
            if let Some(&(key, entry)) = named.iter().filter(fits).max_by_key(best) {
                return Some(Previous { key, entry, link: PreviousKind::Moved });
            }
        }
        None
    }

    /// The newest image whose tag could be one of the unit's.
    fn newest(&self, unit: &Unit) -> Option<Previous<'s>> {
        let template = unit.content_tag.as_ref()?;
        let named = self.by_name.get(&unit.key.name)?;
        let fits = |(key, entry): &&Named<'s>| {
            let alike = template.matches(&key.tag) && entry.platform == unit.platform;
            alike && entry.built.is_some()
        };
        let newest = named.iter().filter(fits).max_by_key(|(key, entry)| age(key, entry));
        newest.map(|&(key, entry)| Previous { key, entry, link: PreviousKind::Content })
    }
}

/// By what of two entries the newer one is the greater: what is under way is newer than what is there,
/// and that is newer than what came to nothing.
fn age<'s>(key: &'s ImageRef, entry: &Entry) -> impl Ord + use<'s> {
    let begun = entry.pending.as_ref().is_some_and(|pending| pending.stage > BuildStage::Created);
    let built = entry.built.as_ref();
    (begun, built.is_some(), built.and_then(|built| built.completed), key)
}

/// Whether an image is there by this entry, or may yet come of it.
fn is_known(entry: &Entry) -> bool {
    entry.built.is_some() || entry.pending.is_some() || entry.submitted.is_some()
}

/// Whether an entry of another name has the tag of a unit, or could have it for some content.
pub(super) fn same_tag(unit: &Unit, key: &ImageRef) -> bool {
    match &unit.content_tag {
        Some(template) => template.matches(&key.tag),
        None => unit.key.tag == key.tag,
    }
}

/// The places in [`Workspace::moved`], by both names.
pub(super) struct Moves {
    from: HashMap<ImageName, Vec<usize>>,
    to: HashMap<ImageName, Vec<usize>>,
}

impl Moves {
    pub(super) fn of(workspace: &Workspace) -> Self {
        let (mut from, mut to) = (HashMap::new(), HashMap::new());
        for (index, moved) in workspace.moved.iter().enumerate() {
            from.entry(moved.from.name.clone()).or_insert_with(Vec::new).push(index);
            to.entry(moved.to.name.clone()).or_insert_with(Vec::new).push(index);
        }
        Self { from, to }
    }

    fn to(&self, name: &ImageName) -> &[usize] {
        self.to.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// What the manifest says of an entry. What names one tag comes before what names them all.
    pub(super) fn rule<'w>(&self, workspace: &'w Workspace, key: &ImageRef) -> Option<&'w Moved> {
        let rules = self.from.get(&key.name)?.iter();
        rules.filter_map(|index| workspace.moved.get(*index)).find(|rule| rule.from.matches(key))
    }
}
