//! Describes a run: its plan, and its settings. Pure.

use std::time::Duration;

use crate::api::Client;
use crate::base::name::Owner;
use crate::manifest::Workspace;
use crate::plan::{Facts, Plan};

/// Everything that a run needs.
pub struct Run<'a> {
    /// The steps to carry out.
    pub plan: &'a Plan,
    /// The manifest's images, which the plan refers to.
    pub workspace: &'a Workspace,
    /// The files of the contexts.
    pub facts: &'a Facts,
    /// The client of the service.
    pub client: Client,
    /// Limits and defaults.
    pub options: RunOptions,
}

/// Limits and defaults of a run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Maximum number of concurrent builds.
    pub builds: usize,
    /// Maximum number of concurrent transfers for each owner of images.
    pub transfers: usize,
    /// Owner of a new unit for which the manifest names none.
    pub owner: Owner,
    /// Time limit of the run. Steps that have not ended by then stay pending.
    pub timeout: Option<Duration>,
}
