//! Asks the service which images it has, to see what became of those on record.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::note;
use crate::api::{self, ApiError, Client, ImageState, inventory};
use crate::base::name::{ImageRef, Owner};
use crate::manifest::Workspace;
use crate::plan::Facts;
use crate::plan::facts::{Remote, RemoteState};
use crate::state::State;

/// Images that are looked for by name before a listing that does not show them is believed.
const CONFIRMED: usize = 5;

/// Images that are searched for one by one; for more than that, all are listed.
const SEARCHED: usize = 10;

/// What an owner is asked about.
#[derive(Default)]
struct Owned<'a> {
    /// Images on record.
    keys: Vec<&'a ImageRef>,
    /// Units that have none there on record.
    places: Vec<&'a ImageRef>,
}

/// Asks for the images of everyone who owns one on record, or whose image a unit is to be; or only for
/// some of them.
pub(super) async fn images(
    workspace: &Workspace,
    state: &State,
    client: &Client,
    only: Option<HashSet<ImageRef>>,
    facts: &mut Facts,
) {
    facts.only = only;
    let wanted = |key| facts.only.as_ref().is_none_or(|only| only.contains(key));
    let mut owned: HashMap<Owner, Owned<'_>> = HashMap::new();
    // Those whose tag is not settled yet can only be found in a list of all.
    for unit in &workspace.units {
        let owner = facts.unrecorded(unit, state.entries.get(&unit.key));
        if let Some(owner) = owner.filter(|_| wanted(&unit.key)) {
            owned.entry(owner.clone()).or_default().places.push(&unit.key);
        }
    }
    for (key, entry) in &state.entries {
        if let Some(built) = entry.built.as_ref().filter(|_| wanted(key)) {
            owned.entry(built.owner.clone()).or_default().keys.push(key);
        }
    }
    let few = facts.only.is_some();
    let asked =
        owned.iter().map(async |(owner, of)| (owner, of_owner(client, owner, of, few).await));
    for (owner, answer) in futures::future::join_all(asked).await {
        match answer {
            Ok(Some(images)) => {
                facts.images.insert(owner.clone(), images);
            }
            Ok(None) => {
                let why = "the service's listing does not show images that it has";
                note(facts, format!("{why}; {}", believed(owner)));
            }
            Err(error) => note(facts, format!("{error}; {}", believed(owner))),
        }
    }
}

/// What is made of not knowing.
fn believed(owner: &Owner) -> String {
    let whose = match owner {
        Owner::Personal => "the personal images".to_owned(),
        Owner::Team(_) => format!("the images of {owner}"),
        Owner::Platform => "the platform's images".to_owned(),
    };
    format!("{whose} are taken to be as the lockfile says")
}

/// The images of an owner; `None` where the listing leaves out what is there.
async fn of_owner(
    client: &Client,
    owner: &Owner,
    of: &Owned<'_>,
    few: bool,
) -> Result<Option<HashMap<ImageRef, Remote>>, ApiError> {
    let Owned { keys, places } = of;
    let names: BTreeSet<&str> = keys.iter().chain(places).map(|key| key.name.as_str()).collect();
    if few && names.len() <= SEARCHED {
        let mut images = HashMap::new();
        for name in names {
            images.extend(remotes(inventory(client, owner, Some(name)).await?));
        }
        return Ok(Some(images));
    }
    let images = remotes(inventory(client, owner, None).await?);
    for &key in keys.iter().filter(|key| !images.contains_key(**key)).take(CONFIRMED) {
        let found = remotes(inventory(client, owner, Some(key.name.as_str())).await?);
        if found.contains_key(key) {
            return Ok(None);
        }
    }
    Ok(Some(images))
}

fn remotes(images: Vec<api::Image>) -> HashMap<ImageRef, Remote> {
    let remote = |image: api::Image| {
        let state = match image.state {
            ImageState::Complete => RemoteState::Complete,
            ImageState::UnderWay => RemoteState::UnderWay,
            ImageState::Failed => RemoteState::Failed,
        };
        let (visibility, changed) = (image.visibility, image.changed);
        Some((image.key()?, Remote { state, visibility, changed, path: image.path }))
    };
    images.into_iter().filter_map(remote).collect()
}
