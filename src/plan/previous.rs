//! Finds what a unit goes on from: its own entry in the lockfile, that of the name it had before, or
//! of the tag that its last content gave it. Pure.

use std::collections::HashMap;

use crate::base::name::{ImageName, ImageRef};
use crate::manifest::workspace::{Unit, Workspace};
use crate::state::{Entry, State};

/// The entry that a unit goes on from.
#[derive(Debug, Clone, Copy)]
pub struct Previous<'s> {
    /// What the lockfile calls it.
    pub key: &'s ImageRef,
    /// What is known of it.
    pub entry: &'s Entry,
    /// How it came to be another than the unit's own.
    pub link: Link,
}

/// How an entry belongs to a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It has the unit's `name:tag`.
    Own,
    /// `moved:` says so.
    Moved,
    /// Its tag is that of another content.
    Content,
}

/// The entries of a state, by what units may look for.
pub struct Lookup<'s> {
    state: &'s State,
    by_name: HashMap<&'s ImageName, Vec<(&'s ImageRef, &'s Entry)>>,
}

impl<'s> Lookup<'s> {
    /// Over all entries of a state. What only few manifests need is gathered for those alone.
    pub fn new(workspace: &Workspace, state: &'s State) -> Self {
        let mut by_name: HashMap<&ImageName, Vec<_>> = HashMap::new();
        let wanted = !workspace.moved.is_empty()
            || workspace.units.iter().any(|unit| unit.content_tag.is_some());
        for (key, entry) in state.entries.iter().filter(|_| wanted) {
            by_name.entry(&key.name).or_default().push((key, entry));
        }
        Self { state, by_name }
    }

    /// What a unit goes on from.
    pub fn of(&self, workspace: &Workspace, unit: &Unit) -> Option<Previous<'s>> {
        let own = self.state.entries.get_key_value(&unit.key);
        let own = own.map(|(key, entry)| Previous { key, entry, link: Link::Own });
        // That it is to be protected, or that it failed, goes on record before there is anything of it:
        // what it was to go on from it still goes on from.
        let bare = |entry: &Entry| {
            entry.built.is_none() && entry.pending.is_none() && entry.submitted.is_none()
        };
        match own {
            Some(own) if bare(own.entry) => {
                self.moved(workspace, unit).or_else(|| self.other_content(unit)).or(Some(own))
            }
            Some(own) => Some(own),
            None => self.moved(workspace, unit).or_else(|| self.other_content(unit)),
        }
    }

    /// What the lockfile has under the unit's own name.
    pub fn own(&self, unit: &Unit) -> Option<&'s Entry> {
        self.state.entries.get(&unit.key)
    }

    fn moved(&self, workspace: &Workspace, unit: &Unit) -> Option<Previous<'s>> {
        for moved in workspace.moved.iter().filter(|moved| moved.to.matches(&unit.key)) {
            let named = self.by_name.get(&moved.from.name).map(Vec::as_slice).unwrap_or_default();
            // With several platforms, each unit goes on from the one of its own.
            let fits = |(key, entry): &&(&ImageRef, &Entry)| {
                moved.from.matches(key)
                    && entry.platform == unit.platform
                    && entry.built.is_some()
                    && entry.pending.is_none()
                    && entry.submitted.is_none()
                    && (moved.from.tag.is_some() || key.tag == unit.key.tag)
            };
            if let Some(&(key, entry)) = named.iter().find(fits) {
                return Some(Previous { key, entry, link: Link::Moved });
            }
        }
        None
    }

    /// The newest entry whose tag could be one of the unit's.
    fn other_content(&self, unit: &Unit) -> Option<Previous<'s>> {
        let template = unit.content_tag.as_ref()?;
        let named = self.by_name.get(&unit.key.name)?;
        let fits = |(key, entry): &&(&ImageRef, &Entry)| {
            template.matches(&key.tag) && entry.platform == unit.platform && **key != unit.key
        };
        let newest = named.iter().filter(fits).max_by_key(|(key, entry)| {
            let built = entry.built.as_ref();
            (entry.pending.is_some(), built.and_then(|built| built.completed), *key)
        });
        newest.map(|&(key, entry)| Previous { key, entry, link: Link::Content })
    }
}
