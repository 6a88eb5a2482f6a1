//! What was found out about the world before planning. Plain values.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::digest::Digest;
use crate::base::name::{BuildId, ImageRef};
use crate::base::source::Problem;
use crate::context::{FileChange, Tree};
use crate::manifest::workspace::UnitId;

/// What the survey found, by unit and by build.
#[derive(Debug, Default)]
pub struct Facts {
    /// The context of each unit; `None` for mirrors.
    pub contexts: Vec<Option<Context>>,
    /// The files in which a unit's context differs from what its last build was sent. A unit of
    /// which that is not known any more is missing, as is one that has nothing new.
    pub changes: HashMap<UnitId, Arc<[FileChange]>>,
    /// How the service says pending builds are. A build that it was not asked about is missing.
    pub builds: HashMap<BuildId, Known>,
    /// What was asked for and never answered: the build that the service has of it, or `None` where
    /// it has none. A unit that the service could not be asked about is missing.
    pub submissions: HashMap<ImageRef, Option<Found>>,
    /// What of the contexts is worth a look but stops nothing, for people.
    pub warnings: Vec<Problem>,
    /// What could not be asked, for people.
    pub notes: Vec<String>,
}

/// What a unit is built from.
#[derive(Debug, Clone)]
pub struct Context {
    /// The files; units that are sent the same share them.
    pub tree: Arc<Tree>,
    /// The digest of the files, but for the content of the unit's own Dockerfile, which is an input
    /// of its own: a change of it should not look like two.
    pub digest: Digest,
}

/// What the service says of a pending build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It may still succeed, or has.
    Alive {
        /// Since it was started, or created where that is all that is known.
        age: Option<Duration>,
    },
    /// Its context is there, and it waits to be started: until then nothing comes of it.
    Unstarted,
    /// Nothing will come of it: it failed, was cancelled, does not exist, or waits for a context
    /// that nobody will send.
    Dead,
}

/// A build that was found by its name and tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The build.
    pub build: BuildId,
    /// Where the image is or will be, where the service says so.
    pub path: Option<String>,
}

impl Facts {
    /// The context of a unit.
    pub fn context(&self, unit: UnitId) -> Option<&Context> {
        self.contexts.get(unit.0)?.as_ref()
    }
}
