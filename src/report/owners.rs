//! Texts for the heading of a plan: the owners of its targets, and the listings of the service that
//! it compares them with. Pure.

use std::collections::BTreeMap;

use super::PlanView;
use crate::base::name::Owner;
use crate::base::text::plural;

/// Maximum number of owners named in a heading.
const MAX_OWNERS_NAMED: usize = 3;

impl PlanView<'_> {
    /// Returns the owners of all targets and where each comes from: `team t1 (PRIME_TEAM_ID)`.
    pub(crate) fn owners(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for unit in &self.workspace.units {
            let built = self.state.entries.get(&unit.key).and_then(|entry| entry.built.as_ref());
            let recorded = built.map(|built| &built.owner).filter(|of| **of != self.owner.owner);
            let name = match (&unit.owner, recorded) {
                (Some(owner), _) => format!("{} (manifest)", owner.words()),
                (None, Some(owner)) => format!("{} (lockfile)", owner.words()),
                (None, None) => self.owner.to_string(),
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        match names.split_last() {
            None => self.owner.to_string(),
            Some((name, [])) => name.clone(),
            Some((last, others)) if others.len() < MAX_OWNERS_NAMED => {
                format!("{} and {last}", others.join(", "))
            }
            Some(_) => format!("{} owners", names.len()),
        }
    }

    /// Returns what the service told: `the service (3 images listed)`. `None` if it told nothing.
    pub(super) fn answers(&self) -> Option<String> {
        let listed: BTreeMap<&Owner, usize> =
            self.facts.images.iter().map(|(owner, images)| (owner, images.len())).collect();
        match listed.len() {
            0 => self.facts.has_answers().then(|| "the service's builds in progress".to_owned()),
            1 => {
                let total = listed.values().sum();
                Some(format!("the service ({} listed)", plural(total, "image")))
            }
            _ => {
                let of = |(owner, count): (&&Owner, &usize)| match owner {
                    Owner::Personal => format!("{count} personal"),
                    Owner::Team(id) => format!("{count} of team {id}"),
                    Owner::Platform => format!("{count} of the platform"),
                };
                let counts: Vec<String> = listed.iter().map(of).collect();
                Some(format!("the service (images listed: {})", counts.join(", ")))
            }
        }
    }

    /// Returns the reason for which the service told nothing.
    pub(super) fn silence(&self) -> String {
        match self.facts.unasked {
            _ if self.facts.asked => "the service did not list the images".to_owned(),
            Some(reason) => format!("the service was not asked ({reason})"),
            None => "the service was not asked".to_owned(),
        }
    }
}
