//! Looks up the paths of bases that were renamed or moved. The service's response to a rename does
//! not contain the new path.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::outcome::StepFailure;
use crate::api::{ApiError, Client, RemoteImage, list_images};
use crate::base::image_path::ImagePath;
use crate::base::name::{ImageRef, Owner};

/// Maximum number of searches by name for one owner. After that, the owner's images are listed once.
const MAX_SEARCHES: usize = 20;

/// The paths of moved bases. Each is looked up once.
#[derive(Clone)]
pub(super) struct BasePaths {
    client: Client,
    owners: Arc<tokio::sync::Mutex<HashMap<Owner, OwnerPaths>>>,
    /// Units moved by this run since their owner's images were listed.
    moved: Arc<Mutex<HashSet<(Owner, ImageRef)>>>,
}

/// The paths that are known for one owner.
#[derive(Default)]
struct OwnerPaths {
    bases: HashMap<ImageRef, ImagePath>,
    searches: usize,
    listing: Option<HashMap<ImageRef, ImagePath>>,
}

impl BasePaths {
    pub(super) fn new(client: Client) -> Self {
        Self { client, owners: Arc::default(), moved: Arc::default() }
    }

    /// Notes that a unit was moved, so that an earlier listing is not used for it.
    pub(super) fn note_move(&self, owner: &Owner, unit: &ImageRef) {
        self.moved().insert((owner.clone(), unit.clone()));
    }

    /// Returns the path of a base, and true if this call looked it up.
    ///
    /// # Errors
    /// Fails if a request fails, or if the service does not show the base.
    pub(super) async fn path_of(
        &self,
        owner: &Owner,
        base: &ImageRef,
    ) -> Result<(ImagePath, bool), StepFailure> {
        // Locked during the lookup, so that several dependents of a base share one lookup.
        let mut owners = self.owners.lock().await;
        let known = owners.entry(owner.clone()).or_default();
        if let Some(path) = known.bases.get(base) {
            return Ok((path.clone(), false));
        }
        let path = self.look_up(known, owner, base).await;
        let path = path.map_err(|error| StepFailure::of(&error))?.ok_or_else(|| {
            StepFailure::new(format!("the service does not show the path of its base {base}"))
                .with_help(format!(
                    "{base} was renamed or moved, and the listing of images of `{owner}` does not \
                     show it: check that it still exists; rebuilding it gives it a new path"
                ))
        })?;
        known.bases.insert(base.clone(), path.clone());
        Ok((path, true))
    }

    async fn look_up(
        &self,
        known: &mut OwnerPaths,
        owner: &Owner,
        base: &ImageRef,
    ) -> Result<Option<ImagePath>, ApiError> {
        if known.listing.is_none() && known.searches >= MAX_SEARCHES {
            // The listing shows the new paths of all moves made before it.
            self.moved().retain(|(moved_owner, _)| moved_owner != owner);
            let images = list_images(&self.client, owner, None).await?.by_key(owner, []);
            let path = |(key, image): (ImageRef, RemoteImage)| Some((key, image.path?));
            known.listing = Some(images.into_iter().filter_map(path).collect());
        }
        let moved = self.moved().contains(&(owner.clone(), base.clone()));
        let listed = known.listing.as_ref().filter(|_| !moved).and_then(|paths| paths.get(base));
        if listed.is_some() {
            return Ok(listed.cloned());
        }
        known.searches += 1;
        let images = list_images(&self.client, owner, Some(base.name.as_str())).await?;
        Ok(images.by_key(owner, [base]).remove(base).and_then(|image| image.path))
    }

    fn moved(&self) -> MutexGuard<'_, HashSet<(Owner, ImageRef)>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
