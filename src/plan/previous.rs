//! Finds the lockfile entry that a unit continues: its own, that of an earlier name, or that of an
//! earlier content whose fingerprint is in the tag. Pure.

use std::collections::{HashMap, HashSet};

use crate::base::name::{ImageName, ImageRef};
use crate::manifest::workspace::{Moved, Unit, Workspace};
use crate::state::{BuildStage, Entry, Inputs, State};

/// Lockfile entry that a unit continues.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Previous<'s> {
    /// Key of the entry.
    pub key: &'s ImageRef,
    /// The entry.
    pub entry: &'s Entry,
    /// Relation of the entry to the unit.
    pub kind: PreviousKind,
}

/// Relation of a lockfile entry to the unit that continues it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PreviousKind {
    /// The entry has the unit's `name:tag`.
    Own,
    /// The manifest's `moved:` names the entry.
    Moved,
    /// The entry's tag has the fingerprint of another content.
    Content,
}

type KeyedEntry<'s> = (&'s ImageRef, &'s Entry);

/// Index of the entries that units may continue.
pub(crate) struct PreviousLookup<'s> {
    state: &'s State,
    /// Entries by name, without those that a unit with a fixed tag owns.
    by_name: HashMap<&'s ImageName, Vec<KeyedEntry<'s>>>,
    moves: Moves,
}

impl<'s> PreviousLookup<'s> {
    /// Indexes the entries of a state. Manifests without moves and fingerprint tags need no index.
    pub(crate) fn new(workspace: &Workspace, state: &'s State) -> Self {
        let moves = Moves::new(workspace);
        let mut by_name: HashMap<&ImageName, Vec<_>> = HashMap::new();
        let has_content_tags = workspace.units.iter().any(|unit| unit.content_tag.is_some());
        if has_content_tags || !workspace.moved.is_empty() {
            let fixed = workspace.units.iter().filter(|unit| unit.content_tag.is_none());
            let fixed: HashSet<&ImageRef> = fixed.map(|unit| &unit.key).collect();
            for (key, entry) in state.entries.iter().filter(|(key, _)| !fixed.contains(key)) {
                by_name.entry(&key.name).or_default().push((key, entry));
            }
        }
        Self { state, by_name, moves }
    }

    /// Returns the entry that a unit continues.
    pub(crate) fn of(&self, workspace: &Workspace, unit: &Unit) -> Option<Previous<'s>> {
        self.of_key(workspace, unit, &unit.key)
    }

    /// Returns the entry that a unit with this resolved key continues. Its own entry comes first,
    /// unless it has neither an image nor a build.
    pub(super) fn of_key(
        &self,
        workspace: &Workspace,
        unit: &Unit,
        key: &ImageRef,
    ) -> Option<Previous<'s>> {
        let own = self.own(key);
        own.filter(|own| has_image_or_build(own.entry))
            .or_else(|| self.newest(unit))
            .or_else(|| self.moved(workspace, unit, key))
            .or(own)
    }

    /// Returns all entries that a unit may continue. With the fingerprint in the tag, that is every
    /// recorded content.
    pub(crate) fn all(&self, workspace: &Workspace, unit: &Unit) -> Vec<Previous<'s>> {
        let mut all: Vec<Previous<'s>> = self.of(workspace, unit).into_iter().collect();
        if unit.content_tag.is_some() {
            let named = self.by_name.get(&unit.key.name).into_iter().flatten();
            let fits =
                named.filter(|(key, entry)| same_tag(unit, key) && entry.platform == unit.platform);
            let kind = PreviousKind::Content;
            all.extend(fits.map(|&(key, entry)| Previous { key, entry, kind }));
        }
        all
    }

    fn own(&self, key: &ImageRef) -> Option<Previous<'s>> {
        let (key, entry) = self.state.entries.get_key_value(key)?;
        Some(Previous { key, entry, kind: PreviousKind::Own })
    }

    /// Returns the newest entry with this content, however often it was replaced. Does not depend
    /// on the tag, which is resolved from it.
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
        let same_content = named.filter(|(key, entry)| {
            let built = entry.built.as_ref().map(|built| &built.inputs);
            let submitted = entry.submitted.as_ref().map(|submitted| &submitted.inputs);
            let pending = entry.pending.as_ref().map(|pending| &pending.inputs);
            let mut inputs = built.into_iter().chain(submitted).chain(pending);
            same_tag(unit, key)
                && inputs.any(|inputs| inputs.equals_ignoring_replace_count(content))
        });
        let newest = same_content.max_by_key(|(key, entry)| age_order(key, entry));
        newest.map(|&(key, entry)| Previous { key, entry, kind: PreviousKind::Content })
    }

    /// Returns the entry of an earlier name that can be renamed.
    fn moved(&self, workspace: &Workspace, unit: &Unit, key: &ImageRef) -> Option<Previous<'s>> {
        for index in self.moves.to(&key.name) {
            let Some(moved) = workspace.moved.get(*index) else { continue };
            if !moved.to.matches(key) {
                continue;
            }
            let named = self.by_name.get(&moved.from.name).map(Vec::as_slice).unwrap_or_default();
            // With several platforms, each unit continues the entry of its own platform. If two
            // rules match an entry, the first counts.
            let fits = |(from, entry): &&KeyedEntry<'s>| {
                entry.platform == unit.platform
                    && entry.built.is_some()
                    && entry.pending.is_none()
                    && entry.submitted.is_none()
                    && (moved.from.tag.is_some() || same_tag(unit, from))
                    && self.moves.rule(workspace, from) == Some(moved)
            };
            let order =
                |(from, entry): &&KeyedEntry<'s>| (from.tag == key.tag, age_order(from, entry));
            if let Some(&(key, entry)) = named.iter().filter(fits).max_by_key(order) {
                return Some(Previous { key, entry, kind: PreviousKind::Moved });
            }
        }
        None
    }

    /// Returns the newest image whose tag fits the unit's template.
    fn newest(&self, unit: &Unit) -> Option<Previous<'s>> {
        let template = unit.content_tag.as_ref()?;
        let named = self.by_name.get(&unit.key.name)?;
        let fits = |(key, entry): &&KeyedEntry<'s>| {
            let matches = template.matches(&key.tag) && entry.platform == unit.platform;
            matches && entry.built.is_some()
        };
        let newest = named.iter().filter(fits).max_by_key(|(key, entry)| age_order(key, entry));
        newest.map(|&(key, entry)| Previous { key, entry, kind: PreviousKind::Content })
    }
}

/// Returns a value that is greater for a newer entry: a pending build is newer than an image, and
/// an image is newer than an entry without one.
fn age_order<'s>(key: &'s ImageRef, entry: &Entry) -> impl Ord + use<'s> {
    let pending = entry.pending.as_ref().is_some_and(|pending| pending.stage > BuildStage::Created);
    let built = entry.built.as_ref();
    (pending, built.is_some(), built.and_then(|built| built.completed), key)
}

fn has_image_or_build(entry: &Entry) -> bool {
    entry.built.is_some() || entry.pending.is_some() || entry.submitted.is_some()
}

/// True if an entry of another name has the tag of a unit, or could have it for some content.
pub(super) fn same_tag(unit: &Unit, key: &ImageRef) -> bool {
    match &unit.content_tag {
        Some(template) => template.matches(&key.tag),
        None => unit.key.tag == key.tag,
    }
}

/// Indices into [`Workspace::moved`], by both names.
pub(super) struct Moves {
    from: HashMap<ImageName, Vec<usize>>,
    to: HashMap<ImageName, Vec<usize>>,
}

impl Moves {
    pub(super) fn new(workspace: &Workspace) -> Self {
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

    /// Returns the rule for an entry. A rule for one tag comes before a rule for all tags of a
    /// name.
    pub(super) fn rule<'w>(&self, workspace: &'w Workspace, key: &ImageRef) -> Option<&'w Moved> {
        let rules = self.from.get(&key.name)?.iter();
        rules.filter_map(|index| workspace.moved.get(*index)).find(|rule| rule.from.matches(key))
    }
}
