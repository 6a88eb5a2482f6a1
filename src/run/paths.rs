//! Looks up where images are that were renamed or moved: the answer to that does not say it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::dispatch::StepFailure;
use super::step::{api_failure, failure};
use crate::api::{ApiError, Client, Image, inventory};
use crate::base::name::{ImageRef, Owner};

/// Up to this many names are searched for one by one; of more, all images of the owner are listed.
const FEW: usize = 20;

/// Where images of one owner are, as far as the service says.
pub(super) async fn find(
    client: &Client,
    owner: &Owner,
    units: &[ImageRef],
) -> Result<HashMap<ImageRef, String>, ApiError> {
    let names: BTreeSet<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
    let mut images: HashMap<ImageRef, Image> = HashMap::new();
    if names.len() > FEW {
        images = inventory(client, owner, None).await?.by_key(owner, units);
    } else {
        for name in names {
            images.extend(inventory(client, owner, Some(name)).await?.by_key(owner, units));
        }
    }
    let path = |(key, image): (ImageRef, Image)| Some((key, image.path?));
    let mut paths: HashMap<ImageRef, String> = images.into_iter().filter_map(path).collect();
    paths.retain(|key, _| units.contains(key));
    Ok(paths)
}

/// The paths of bases that were moved, each looked up once.
#[derive(Clone)]
pub(super) struct Paths {
    client: Client,
    known: Arc<Mutex<HashMap<(Owner, ImageRef), String>>>,
}

impl Paths {
    pub(super) fn new(client: Client) -> Self {
        Self { client, known: Arc::default() }
    }

    /// Where a base is, and whether that is news.
    pub(super) async fn of(
        &self,
        owner: &Owner,
        base: &ImageRef,
    ) -> Result<(String, bool), StepFailure> {
        // Held all the while: whoever needs the same base waits for the one answer.
        let mut known = self.known.lock().await;
        let key = (owner.clone(), base.clone());
        if let Some(path) = known.get(&key) {
            return Ok((path.clone(), false));
        }
        let found = find(&self.client, owner, std::slice::from_ref(base)).await;
        let mut found = found.map_err(|error| api_failure(&error, None))?;
        let path = found.remove(base).ok_or_else(|| {
            let message = format!("the service does not say where its base {base} is");
            let help = format!(
                "{base} was renamed or moved, and the listing of the images of `{owner}` does not \
                 show it: see whether it is still there; building it again gives it a new place"
            );
            failure(&message, Some(help), None)
        })?;
        known.insert(key, path.clone());
        Ok((path, true))
    }
}
