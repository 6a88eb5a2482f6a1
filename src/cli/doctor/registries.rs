//! Looks up a reference of each registry that the manifest needs, with the user's credentials.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::findings::{CheckProblem, MAX_REQUEST_TIME, RegistryFinding, registry_problem};
use crate::base::reference::RegistryRef;
use crate::base::text::duration;
use crate::cli::registries::connect;
use crate::manifest::Workspace;
use crate::plan::pins;
use crate::registry::{Registries, RegistryError};
use crate::report::checks::Check;

/// Maximum number of registries that are checked.
const MAX_REGISTRIES: usize = 8;

/// Checks the registries of a manifest, in the order of their names.
pub(super) async fn checks(workspace: Option<&Workspace>) -> Vec<Check> {
    let Some(workspace) = workspace else { return Vec::new() };
    let references = pins::references(workspace.units.iter());
    let mut by_registry: BTreeMap<&str, &RegistryRef> = BTreeMap::new();
    for reference in references.values() {
        by_registry.entry(reference.registry()).or_insert(reference);
    }
    if by_registry.is_empty() {
        return Vec::new();
    }
    let registries = match connect() {
        Ok(registries) => registries,
        Err(failure) => return vec![registry_problem(&CheckProblem::from(failure))],
    };
    let checks = by_registry.into_values().take(MAX_REGISTRIES);
    join_all(checks.map(|reference| check(&registries, reference))).await
}

async fn check(registries: &Registries, reference: &RegistryRef) -> Check {
    let lookup = async {
        let credentials = registries.credential_source(reference).await;
        let references = [(reference.clone(), None)];
        let result = registries.resolve_all(&references, &|_| {}).await.pop();
        (credentials, result.map(|result| result.map_err(problem)))
    };
    let found = tokio::time::timeout(MAX_REQUEST_TIME, lookup).await;
    let (credentials, result) = found.unwrap_or_else(|_| (Ok(None), Some(Err(no_response()))));
    let result = result.transpose().map(drop);
    let registry = reference.registry().to_owned();
    let reference = reference.to_string();
    RegistryFinding { registry, reference, credentials, result }.check()
}

fn problem(error: RegistryError) -> CheckProblem {
    CheckProblem { message: error.message, help: Some(error.help) }
}

fn no_response() -> CheckProblem {
    let message = format!("no response within {}", duration(MAX_REQUEST_TIME));
    CheckProblem { message, help: Some("check the network connection".to_owned()) }
}
