//! What was found out about the world before planning. Plain values.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::name::BuildId;
use crate::context::Tree;
use crate::manifest::workspace::UnitId;

/// What the survey found, by unit and by build.
#[derive(Debug, Default)]
pub struct Facts {
    /// The files of each unit's context; `None` for mirrors.
    pub trees: Vec<Option<Arc<Tree>>>,
    /// How the service says pending builds are. A build that it was not asked about is missing.
    pub builds: HashMap<BuildId, Known>,
    /// What could not be asked, for people.
    pub notes: Vec<String>,
}

/// What the service says of a pending build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It may still succeed, or has.
    Alive,
    /// Nothing will come of it: it failed, was cancelled, does not exist, or waits for a context
    /// that nobody will send.
    Dead,
}

impl Facts {
    /// The files of a unit's context.
    pub fn tree(&self, unit: UnitId) -> Option<&Arc<Tree>> {
        self.trees.get(unit.0)?.as_ref()
    }
}
