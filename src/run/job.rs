//! Describes the work of one step, complete in itself: a task needs nothing else of the plan.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::options::Run;
use super::pools::owner_of;
use crate::base::image_path::ImagePath;
use crate::base::name::{BuildId, ImageRef, Owner, Platform, Visibility};
use crate::base::source_ref::SourceRef;
use crate::context::{DockerfileToSend, Placement, Tree};
use crate::dockerfile::Dockerfile;
use crate::manifest::workspace::UnitId;
use crate::plan::{Change, Create, StepId};
use crate::state::{State, Submission};

/// One step of the plan, ready to be carried out.
pub(super) struct StepJob {
    pub(super) step: StepId,
    pub(super) key: ImageRef,
    /// Name of the recorded image in the service; the key if there is none.
    pub(super) image: ImageRef,
    pub(super) mirror: Option<Mirror>,
    pub(super) work: Work,
}

/// Properties of a unit that is a mirror.
#[derive(Clone)]
pub(super) struct Mirror {
    pub(super) source: SourceRef,
    /// True if the name that the service derives from the source has its namespace: that of an image of
    /// the platform.
    pub(super) keep_namespace: bool,
    /// True if the manifest sets private visibility.
    pub(super) is_private: bool,
}

impl Mirror {
    /// Returns the properties of a unit; `None` if it is built from a context.
    pub(super) fn of(run: &Run<'_>, id: UnitId, state: &State) -> Option<Self> {
        let unit = run.workspace.unit(id);
        let source = unit.source()?.clone();
        let keep_namespace = owner_of(run, id, state) == Owner::Platform;
        let is_private = unit.visibility == Some(Visibility::Private);
        Some(Self { source, keep_namespace, is_private })
    }
}

/// Returns the recorded path of the image of a pending build.
pub(super) fn pending_path(state: &State, build: &BuildId) -> Option<ImagePath> {
    let mut pending = state.entries.values().filter_map(|entry| entry.pending.as_ref());
    let pending = pending.find(|pending| pending.build == *build)?;
    Some(pending.path.clone()).filter(|path| !path.is_empty())
}

/// The action of a step.
pub(super) enum Work {
    Create(Box<CreateJob>),
    Adopt(AdoptJob),
    Update(Change),
    Forget(Option<BuildId>),
    Delete { owner: Owner, after: Option<BuildId> },
}

/// A pending build to wait for.
pub(super) struct AdoptJob {
    pub(super) build: BuildId,
    /// Recorded path of the image, if there is one.
    pub(super) path: Option<ImagePath>,
    /// True if the build may not have been started.
    pub(super) start: bool,
    pub(super) timeout: Option<Duration>,
    /// Change to make once the build completes.
    pub(super) then: Option<Change>,
}

/// A unit to build or mirror.
pub(super) struct CreateJob {
    pub(super) create: Create,
    pub(super) platform: Platform,
    pub(super) owner: Owner,
    pub(super) visibility: Option<Visibility>,
    pub(super) timeout: Option<Duration>,
    pub(super) content: JobContent,
}

/// The files or the source of a unit.
pub(super) enum JobContent {
    Build {
        tree: Arc<Tree>,
        dockerfile: Arc<Dockerfile>,
        /// Path of the Dockerfile in the context, if it lies there.
        inside: Option<String>,
        /// True if arguments or the target are lowered into the Dockerfile.
        is_lowered: bool,
        bases: Vec<(Range<usize>, BasePath)>,
    },
    Mirror(SourceRef),
}

/// The full path of a base, or the key to look it up by.
pub(super) enum BasePath {
    /// The path is in the lockfile.
    Known(String),
    /// The base was renamed or moved, and the service did not return its new path.
    /// `image` is its name in the service.
    Moved { base: ImageRef, image: ImageRef, owner: Owner },
}

impl CreateJob {
    /// Returns the record of a request that is sent now.
    pub(super) fn submission(&self) -> Submission {
        Submission {
            at: jiff::Timestamp::now(),
            fingerprint: self.create.fingerprint,
            inputs: self.create.inputs.clone(),
            owner: self.owner.clone(),
            visibility: self.visibility,
        }
    }
}

/// Returns the Dockerfile as it is sent, with the full paths of its bases, and its path in the
/// archive. `inside` is its path in the context.
pub(crate) fn placement(
    tree: &Tree,
    dockerfile: &Dockerfile,
    (inside, is_lowered): (Option<&str>, bool),
    bases: &[(Range<usize>, String)],
) -> Placement {
    let is_changed = is_lowered || !bases.is_empty();
    let text = dockerfile.with_replaced(bases);
    Placement::new(tree, DockerfileToSend { inside, is_changed, text })
}
