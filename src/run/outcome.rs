//! Describes how a step ended, and what its failure means for the rest of the run. Pure.

use crate::api::{ApiError, ErrorKind};
use crate::base::image_path::ImagePath;
use crate::base::name::{BuildId, Owner};

/// The result of a step that succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StepOutput {
    pub(super) build: Option<BuildId>,
    pub(super) path: Option<ImagePath>,
    /// True if the image to delete did not exist.
    pub(super) was_missing: bool,
}

/// The failure of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StepFailure {
    /// The run is stopping, and the step has sent nothing. Reported as skipped.
    NotStarted,
    /// The step failed for good.
    Failed(StepError),
    /// The step ended without a result: its build continues, or its request is in doubt. The next
    /// run resolves it.
    Pending(StepError),
}

/// The text of a failure and its reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StepError {
    pub(super) message: String,
    pub(super) help: Option<String>,
    pub(super) build: Option<BuildId>,
    /// True if every other unit would meet the same error, such as a refused key.
    pub(super) stops_run: bool,
}

impl StepFailure {
    /// A failure of this one step.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self::Failed(StepError { message: message.into(), ..StepError::default() })
    }

    /// A failure that only a bug in imgplan explains.
    pub(super) fn bug(message: &str) -> Self {
        Self::new(format!("internal error: {message}")).with_help("please report this as a bug")
    }

    /// A failure of a request to the service.
    pub(super) fn of(error: &ApiError) -> Self {
        if error.kind == ErrorKind::Stopped {
            return Self::NotStarted;
        }
        Self::Failed(StepError {
            message: error.to_string(),
            help: error.help().map(str::to_owned),
            build: None,
            stops_run: error.stops_run(),
        })
    }

    /// A failure of a request that changes or deletes an image of `owner`.
    pub(super) fn of_change(error: &ApiError, owner: &Owner) -> Self {
        let failure = Self::of(error);
        if error.kind == ErrorKind::Forbidden && *owner == Owner::Platform {
            return failure.of_one_unit().with_help(
                "platform images are not yours to change; to drop one from the lockfile, remove it \
                 from the manifest and list it under `removed:` without `destroy`",
            );
        }
        failure
    }

    pub(super) fn with_help(self, help: impl Into<String>) -> Self {
        self.map(|error| StepError { help: Some(help.into()), ..error })
    }

    pub(super) fn without_help(self) -> Self {
        self.map(|error| StepError { help: None, ..error })
    }

    pub(super) fn with_build(self, build: &BuildId) -> Self {
        self.map(|error| StepError { build: Some(build.clone()), ..error })
    }

    /// The same failure, which says nothing about other units.
    pub(super) fn of_one_unit(self) -> Self {
        self.map(|error| StepError { stops_run: false, ..error })
    }

    /// The same failure, left for the next run to resolve.
    pub(super) fn pending(self) -> Self {
        match self {
            Self::Failed(error) | Self::Pending(error) => Self::Pending(error),
            Self::NotStarted => {
                let message = "the run was stopped".to_owned();
                Self::Pending(StepError { message, ..StepError::default() })
            }
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        matches!(self, Self::Pending(_))
    }

    fn map(self, change: impl FnOnce(StepError) -> StepError) -> Self {
        match self {
            Self::NotStarted => Self::NotStarted,
            Self::Failed(error) => Self::Failed(change(error)),
            Self::Pending(error) => Self::Pending(change(error)),
        }
    }
}
