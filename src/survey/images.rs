//! Asks the service which images it has, to see what became of those on record.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::note;
use crate::api::{self, ApiError, Client, Inventory, RemoteImageState, list_images};
use crate::base::name::{ImageRef, Owner};
use crate::manifest::Workspace;
use crate::plan::Facts;
use crate::plan::facts::{Remote, RemoteState};
use crate::state::State;

/// Images that are looked for by name before a listing that does not show them is believed.
const CONFIRMED: usize = 5;

/// Images that are searched for one by one; for more than that, all are listed.
const SEARCHED: usize = 10;

/// So many images that are gone at once are worth a word.
const MANY: usize = 3;

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
            Ok(Some(Listed { images, whole })) => {
                let keys = owned.get(owner).map_or(&[][..], |of| &of.keys);
                if whole {
                    if let Some(words) = alarm(keys, &images) {
                        note(facts, words);
                    }
                } else {
                    let why = "the service's listing does not show all images that it counts";
                    note(facts, format!("{why}; of {}, those missing {AS_BEFORE}", whose(owner)));
                    facts.partly.insert(owner.clone());
                }
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

/// What to say where so many images are gone that it may be the service, or who asks it, that is not
/// what it was.
fn alarm(keys: &[&ImageRef], images: &HashMap<ImageRef, Remote>) -> Option<String> {
    let missing = keys.iter().filter(|key| !images.contains_key(**key)).count();
    (missing >= MANY && missing > keys.len() / 2).then(|| {
        format!(
            "{missing} of {} images on record are not in the service's listing: if that cannot be, \
             do not apply; --refresh=false goes by the lockfile",
            keys.len()
        )
    })
}

/// What is made of not knowing.
const AS_BEFORE: &str = "are taken to be as the lockfile says";

fn believed(owner: &Owner) -> String {
    format!("{} {AS_BEFORE}", whose(owner))
}

fn whose(owner: &Owner) -> String {
    match owner {
        Owner::Personal => "the personal images".to_owned(),
        Owner::Team(_) => format!("the images of {owner}"),
        Owner::Platform => "the platform's images".to_owned(),
    }
}

/// What the service shows of an owner.
#[derive(Default)]
struct Listed {
    images: HashMap<ImageRef, Remote>,
    whole: bool,
}

impl Listed {
    fn of(inventory: Inventory, owner: &Owner, keys: &[&ImageRef]) -> Self {
        let whole = inventory.complete;
        let images = inventory.by_key(owner, keys.iter().copied());
        Self {
            images: images.into_iter().map(|(key, image)| (key, remote(image))).collect(),
            whole,
        }
    }
}

/// The images of an owner; `None` where the listing leaves out what is there.
async fn of_owner(
    client: &Client,
    owner: &Owner,
    of: &Owned<'_>,
    few: bool,
) -> Result<Option<Listed>, ApiError> {
    let Owned { keys, places } = of;
    let wanted: Vec<&ImageRef> = keys.iter().chain(places).copied().collect();
    let listed = async |search: Option<&str>| {
        let inventory = list_images(client, owner, search).await?;
        Ok::<Listed, ApiError>(Listed::of(inventory, owner, &wanted))
    };
    let names: BTreeSet<&str> = wanted.iter().map(|key| key.name.as_str()).collect();
    if few && names.len() <= SEARCHED {
        let mut all = Listed { whole: true, ..Listed::default() };
        for name in names {
            let Listed { images, whole } = listed(Some(name)).await?;
            all.images.extend(images);
            all.whole &= whole;
        }
        return Ok(Some(all));
    }
    let mut all = listed(None).await?;
    if !all.whole {
        return Ok(Some(all));
    }
    let missing: Vec<&ImageRef> =
        keys.iter().copied().filter(|key| !all.images.contains_key(*key)).collect();
    for &key in missing.iter().take(CONFIRMED) {
        let found = listed(Some(key.name.as_str())).await?;
        if found.images.contains_key(key) {
            return Ok(None);
        }
        all.whole &= found.whole;
    }
    Ok(Some(all))
}

fn remote(image: api::RemoteImage) -> Remote {
    let state = match image.state {
        RemoteImageState::Available => RemoteState::Complete,
        RemoteImageState::Building => RemoteState::UnderWay,
        RemoteImageState::Failed => RemoteState::Failed,
    };
    let api::RemoteImage { visibility, changed, ended, path, .. } = image;
    Remote { state, visibility, changed, ended, path }
}
