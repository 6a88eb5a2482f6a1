//! Asks the service whether the key may use the owners of the manifest.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::findings::{MAX_REQUEST_TIME, OwnerFinding, OwnerOutcome};
use crate::api::Client;
use crate::base::name::Owner;
use crate::base::owner::DefaultOwner;
use crate::manifest::Workspace;
use crate::report::checks::Check;

/// Text of a search for images, which finds none: the rows do not matter.
const SEARCH: &str = "imgplan-doctor";

/// Maximum number of owners that are checked.
const MAX_OWNERS: usize = 8;

/// Checks the default owner and those of the manifest. Without a client, nobody is asked.
pub(super) async fn checks(
    default: &DefaultOwner,
    workspace: Option<&Workspace>,
    client: Option<&Client>,
) -> Vec<Check> {
    let units = workspace.iter().flat_map(|workspace| &workspace.units);
    let declared: BTreeSet<&Owner> = units.filter_map(|unit| unit.owner.as_ref()).collect();
    let others = declared.into_iter().filter(|owner| **owner != default.owner);
    let others = others.map(|owner| (owner, format!("{} (manifest)", owner.words())));
    let owners = std::iter::once((&default.owner, default.to_string())).chain(others);
    let checks = owners.take(MAX_OWNERS).map(async |(owner, words)| {
        let outcome = outcome(owner, client).await;
        OwnerFinding { words, outcome }.check()
    });
    join_all(checks).await
}

async fn outcome(owner: &Owner, client: Option<&Client>) -> OwnerOutcome {
    let client = match (owner, client) {
        // Only its members may use a team.
        (Owner::Personal | Owner::Platform, _) => return OwnerOutcome::Own,
        (Owner::Team(_), None) => return OwnerOutcome::NotAsked,
        (Owner::Team(_), Some(client)) => client,
    };
    let request = client.images(owner, Some(SEARCH), 0);
    match tokio::time::timeout(MAX_REQUEST_TIME, request).await {
        Err(_) => OwnerOutcome::TimedOut(MAX_REQUEST_TIME),
        Ok(response) => OwnerOutcome::Asked(response.map(drop)),
    }
}
