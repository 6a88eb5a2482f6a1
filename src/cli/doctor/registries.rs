//! Looks up a reference of each registry that the manifest needs, with the user's credentials.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::findings::problem;
use super::request::{MAX_REQUEST_TIME, no_response, not_checked};
use crate::base::reference::RegistryRef;
use crate::cli::registries::connect;
use crate::manifest::Workspace;
use crate::plan::pins;
use crate::registry::{Registries, RegistryError};
use crate::report::checks::{Check, Verdict};

/// Name of these checks.
const NAME: &str = "registry";

/// Maximum number of registries that are checked.
const MAX_REGISTRIES: usize = 8;

/// Checks the registries of a manifest, in the order of their names; none for the given reason.
pub(super) async fn checks(
    workspace: Option<&Workspace>,
    unasked: Option<&'static str>,
) -> Vec<Check> {
    let units = workspace.iter().flat_map(|workspace| &workspace.units);
    let references = pins::references(units);
    let mut by_registry: BTreeMap<&str, &RegistryRef> = BTreeMap::new();
    for reference in references.values() {
        by_registry.entry(reference.registry()).or_insert(reference);
    }
    if by_registry.is_empty() {
        return Vec::new();
    }
    if let Some(reason) = unasked {
        return vec![Check::new(NAME, Verdict::Skipped, format!("none was asked: {reason}"))];
    }
    let registries = match connect() {
        Ok(registries) => registries,
        Err(failure) => return vec![problem(NAME, Verdict::Warning, &failure)],
    };
    let more = not_checked(NAME, "more registry", by_registry.len().saturating_sub(MAX_REGISTRIES));
    let checked = by_registry.into_values().take(MAX_REGISTRIES);
    let mut checks = join_all(checked.map(|reference| check(&registries, reference))).await;
    checks.extend(more);
    checks
}

async fn check(registries: &Registries, reference: &RegistryRef) -> Check {
    let lookup = async {
        let credentials = registries.credential_source(reference).await;
        let references = [(reference.clone(), None)];
        (credentials, registries.resolve_all(&references, &|_| {}).await.pop())
    };
    let Ok((credentials, result)) = tokio::time::timeout(MAX_REQUEST_TIME, lookup).await else {
        return Check::new(NAME, Verdict::Warning, format!("{reference}: {}", no_response()))
            .with_help("check the network connection");
    };
    let credentials = match credentials {
        Ok(Some(from)) => format!("credentials of {from}"),
        Ok(None) => "no credentials".to_owned(),
        Err(problem) => problem,
    };
    if let Some(Err(RegistryError { message, help, .. })) = result {
        let finding = format!("{reference}: {message} ({credentials})");
        return Check::new(NAME, Verdict::Warning, finding).with_help(help);
    }
    let registry = reference.registry();
    let finding = format!("{registry}: {reference} can be read ({credentials})");
    Check::new(NAME, Verdict::Ok, finding)
}
