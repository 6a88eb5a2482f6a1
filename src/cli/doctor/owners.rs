//! Asks the service whether the key may use the owners of the manifest.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::request::{ask, not_checked};
use crate::api::Client;
use crate::base::name::Owner;
use crate::base::owner::DefaultOwner;
use crate::manifest::Workspace;
use crate::report::checks::{Check, Verdict};

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
    let owners: Vec<_> =
        std::iter::once((&default.owner, default.to_string())).chain(others).collect();
    let more = not_checked("owner", "more owner", owners.len().saturating_sub(MAX_OWNERS));
    let owners = owners.into_iter().take(MAX_OWNERS);
    let mut checks = join_all(owners.map(|(owner, words)| check(owner, words, client))).await;
    checks.extend(more);
    checks
}

async fn check(owner: &Owner, words: String, client: Option<&Client>) -> Check {
    let name = "owner";
    match (owner, client) {
        // Only its members may use a team.
        (Owner::Personal | Owner::Platform, _) => Check::new(name, Verdict::Ok, words),
        (Owner::Team(_), None) => {
            Check::new(name, Verdict::Skipped, format!("{words}: the service was not asked"))
        }
        (Owner::Team(_), Some(client)) => match ask(client.images(owner, Some(SEARCH), 0)).await {
            Ok(_) => Check::new(name, Verdict::Ok, format!("{words}: the key may read its images")),
            Err(failure) => failure.check(name, &words),
        },
    }
}
