//! Looks up where bases are that were renamed or moved: the answer to that does not say it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dispatch::StepFailure;
use super::step::{api_failure, failure};
use crate::api::{ApiError, Client, inventory};
use crate::base::name::{ImageRef, Owner};

/// So many bases of one owner are searched for one by one; for more, all its images are listed, once.
const FEW: usize = 20;

/// The paths of bases that were moved, each looked up once.
#[derive(Clone)]
pub(super) struct BasePaths {
    client: Client,
    known: Arc<tokio::sync::Mutex<HashMap<Owner, Known>>>,
    /// What this run has moved since the images of its owner were listed.
    moved: Arc<Mutex<HashSet<(Owner, ImageRef)>>>,
}

/// What was found out of one owner.
#[derive(Default)]
struct Known {
    bases: HashMap<ImageRef, String>,
    searches: usize,
    listing: Option<HashMap<ImageRef, String>>,
}

impl BasePaths {
    pub(super) fn new(client: Client) -> Self {
        Self { client, known: Arc::default(), moved: Arc::default() }
    }

    /// Says that an image is where it was not before: what was listed says nothing of it.
    pub(super) fn has_moved(&self, owner: &Owner, unit: &ImageRef) {
        self.moved().insert((owner.clone(), unit.clone()));
    }

    /// Where a base is, and whether that is news.
    pub(super) async fn of(
        &self,
        owner: &Owner,
        base: &ImageRef,
    ) -> Result<(String, bool), StepFailure> {
        // Held all the while: whoever needs the same base waits for the one answer.
        let mut known = self.known.lock().await;
        let known = known.entry(owner.clone()).or_default();
        if let Some(path) = known.bases.get(base) {
            return Ok((path.clone(), false));
        }
        let found = self.look(known, owner, base).await;
        let path = found.map_err(|error| api_failure(&error, None))?.ok_or_else(|| {
            let message = format!("the service does not say where its base {base} is");
            let help = format!(
                "{base} was renamed or moved, and the listing of the images of `{owner}` does not \
                 show it: see whether it is still there; building it again gives it a new place"
            );
            failure(&message, Some(help), None)
        })?;
        known.bases.insert(base.clone(), path.clone());
        Ok((path, true))
    }

    async fn look(
        &self,
        known: &mut Known,
        owner: &Owner,
        base: &ImageRef,
    ) -> Result<Option<String>, ApiError> {
        if known.listing.is_none() && known.searches >= FEW {
            // What was moved until now is listed at its new place.
            self.moved().retain(|(of, _)| of != owner);
            let images = inventory(&self.client, owner, None).await?.by_key(owner, []);
            let path = |(key, image): (ImageRef, crate::api::Image)| Some((key, image.path?));
            known.listing = Some(images.into_iter().filter_map(path).collect());
        }
        let moved = self.moved().contains(&(owner.clone(), base.clone()));
        let listed = known.listing.as_ref().filter(|_| !moved).and_then(|all| all.get(base));
        if listed.is_some() {
            return Ok(listed.cloned());
        }
        known.searches += 1;
        let found = inventory(&self.client, owner, Some(base.name.as_str())).await?;
        Ok(found.by_key(owner, [base]).remove(base).and_then(|image| image.path))
    }

    fn moved(&self) -> MutexGuard<'_, HashSet<(Owner, ImageRef)>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
