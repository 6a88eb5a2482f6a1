//! Lists the service's images, for [`Facts`] to compare the recorded images with.

use std::collections::{BTreeSet, HashMap};

use super::error::SurveyError;
use crate::api::{self, ApiError, Client, ErrorKind, Inventory, RemoteImageState, list_images};
use crate::base::name::{ImageRef, Owner};
use crate::manifest::Workspace;
use crate::plan::Facts;
use crate::plan::facts::{Remote, RemoteState};
use crate::state::State;

/// Maximum number of missing images that are searched by name to confirm that a listing is
/// complete.
const MAX_CONFIRMED_IMAGES: usize = 5;

/// Maximum number of images that are searched by name; for more, all are listed.
const MAX_SEARCHED_IMAGES: usize = 10;

/// Minimum number of missing images for a warning that the service or the API key may be wrong.
const MIN_MISSING_FOR_ALARM: usize = 3;

/// End of a note on images that could not be listed.
const ASSUMED_UNCHANGED: &str = "are assumed to match the lockfile";

/// Images to look for in the listing of one owner.
#[derive(Default)]
struct OwnedImages<'a> {
    /// Recorded images.
    recorded: Vec<&'a ImageRef>,
    /// Units without a recorded image.
    unrecorded: Vec<&'a ImageRef>,
}

/// Adds the images of every owner of a recorded image or of a unit to the facts; only those of
/// [`Facts::refreshed`] if the facts name some.
///
/// # Errors
///
/// Fails if the service refuses the API key or cannot be reached. Most API keys may not list the
/// platform's images, so a refusal of that listing is a note.
pub(super) async fn query(
    workspace: &Workspace,
    state: &State,
    client: &Client,
    facts: &mut Facts,
) -> Result<(), SurveyError> {
    let selected = |key| facts.refreshed.as_ref().is_none_or(|keys| keys.contains(key));
    let mut owned: HashMap<Owner, OwnedImages<'_>> = HashMap::new();
    // Units whose tag is not resolved yet are only found in a listing of all images.
    for unit in &workspace.units {
        let owner = facts.owner_of_unrecorded(unit, state.entries.get(&unit.key));
        if let Some(owner) = owner.filter(|_| selected(&unit.key)) {
            owned.entry(owner.clone()).or_default().unrecorded.push(&unit.key);
        }
    }
    for (key, entry) in &state.entries {
        if let Some(built) = entry.built.as_ref().filter(|_| selected(key)) {
            owned.entry(built.owner.clone()).or_default().recorded.push(built.image(key));
        }
    }
    facts.asked |= !owned.is_empty();
    let search = facts.refreshed.is_some();
    let listings =
        owned.iter().map(async |(owner, of)| (owner, list(client, owner, of, search).await));
    for (owner, listing) in futures::future::join_all(listings).await {
        let images_of = images_of(owner);
        match listing {
            Ok(Some(OwnerListing { images, complete })) => {
                let recorded = owned.get(owner).map_or(&[][..], |of| &of.recorded);
                if complete {
                    if let Some(alarm) = alarm(recorded, &images) {
                        facts.add_note(alarm);
                    }
                } else {
                    let cause = format!("the service's listing of {images_of} is incomplete");
                    facts.add_note(format!("{cause}; images missing from it {ASSUMED_UNCHANGED}"));
                    facts.incomplete.insert(owner.clone());
                }
                facts.images.insert(owner.clone(), images);
            }
            Ok(None) => {
                let cause = "the service's listing leaves out existing images";
                facts.add_note(format!("{cause}; {images_of} {ASSUMED_UNCHANGED}"));
            }
            Err(error) if *owner == Owner::Platform && error.kind == ErrorKind::Forbidden => {
                let count = owned.get(owner).map_or(0, |of| of.recorded.len());
                facts.add_note(platform_refusal(&error, count));
                facts.refused.insert(owner.clone());
            }
            Err(error) if error.affects_all_requests() => {
                return Err(SurveyError::refresh(&images_of, error));
            }
            Err(error) => facts.add_note(format!("{error}; {images_of} {ASSUMED_UNCHANGED}")),
        }
    }
    Ok(())
}

fn platform_refusal(error: &ApiError, recorded: usize) -> String {
    let images = match recorded {
        0 => "whether new ones replace others is not known".to_owned(),
        1 => "the recorded one is assumed to match the lockfile, and is not deleted".to_owned(),
        count => format!("the {count} recorded ones {ASSUMED_UNCHANGED}, and are not deleted"),
    };
    format!("the API key may not list the platform's images ({}); {images}", error.reason())
}

/// Returns a warning if so many images are missing that the service or the API key may be wrong.
fn alarm(recorded: &[&ImageRef], images: &HashMap<ImageRef, Remote>) -> Option<String> {
    let missing = recorded.iter().filter(|key| !images.contains_key(**key)).count();
    (missing >= MIN_MISSING_FOR_ALARM && missing > recorded.len() / 2).then(|| {
        format!(
            "{missing} of {} recorded images are missing from the service's listing; if you did \
             not expect this, do not apply: --refresh=false relies on the lockfile",
            recorded.len()
        )
    })
}

fn images_of(owner: &Owner) -> String {
    match owner {
        Owner::Personal => "the personal images".to_owned(),
        Owner::Team(id) => format!("the images of team {id}"),
        Owner::Platform => "the platform's images".to_owned(),
    }
}

/// Images of one owner, as the service lists them.
#[derive(Default)]
struct OwnerListing {
    images: HashMap<ImageRef, Remote>,
    complete: bool,
}

impl OwnerListing {
    fn new(inventory: Inventory, owner: &Owner, keys: &[&ImageRef]) -> Self {
        let complete = inventory.complete;
        let images = inventory.by_key(owner, keys.iter().copied());
        Self {
            images: images.into_iter().map(|(key, image)| (key, remote(image))).collect(),
            complete,
        }
    }
}

/// Returns the images of an owner; `None` if the listing leaves out an image that a search finds.
async fn list(
    client: &Client,
    owner: &Owner,
    of: &OwnedImages<'_>,
    search: bool,
) -> Result<Option<OwnerListing>, ApiError> {
    let OwnedImages { recorded, unrecorded } = of;
    let keys: Vec<&ImageRef> = recorded.iter().chain(unrecorded).copied().collect();
    let list = async |search: Option<&str>| {
        let inventory = list_images(client, owner, search).await?;
        Ok::<OwnerListing, ApiError>(OwnerListing::new(inventory, owner, &keys))
    };
    let names: BTreeSet<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    if search && names.len() <= MAX_SEARCHED_IMAGES {
        let mut all = OwnerListing { complete: true, ..OwnerListing::default() };
        for name in names {
            let OwnerListing { images, complete } = list(Some(name)).await?;
            all.images.extend(images);
            all.complete &= complete;
        }
        return Ok(Some(all));
    }
    let mut all = list(None).await?;
    if !all.complete {
        return Ok(Some(all));
    }
    let missing: Vec<&ImageRef> =
        recorded.iter().copied().filter(|key| !all.images.contains_key(*key)).collect();
    for &key in missing.iter().take(MAX_CONFIRMED_IMAGES) {
        let search = list(Some(key.name.as_str())).await?;
        if search.images.contains_key(key) {
            return Ok(None);
        }
        all.complete &= search.complete;
    }
    Ok(Some(all))
}

fn remote(image: api::RemoteImage) -> Remote {
    let state = match image.state {
        RemoteImageState::Available => RemoteState::Complete,
        RemoteImageState::Building => RemoteState::Pending,
        RemoteImageState::Failed => RemoteState::Failed,
    };
    let api::RemoteImage { visibility, changed, ended, path, .. } = image;
    Remote { state, visibility, changed, ended, path }
}
