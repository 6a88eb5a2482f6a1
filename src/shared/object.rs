//! An object of a shared state: its version, and the errors of reading and writing it.

use object_store::{Error, UpdateVersion};

use crate::base::file::PathError;
use crate::base::safe_text::{error_chain, one_line};

/// Maximum length of the text of an error of a store, in characters.
const MAX_ERROR_CHARS: usize = 400;

/// The version of an object, which changes with each write. Opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version(pub(super) UpdateVersion);

/// A failed request of a store.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ObjectError(pub(super) String);

/// An error of [`Objects::put_if`](super::objects::Objects::put_if).
#[derive(Debug, thiserror::Error)]
pub(super) enum PutError {
    /// The object has another version than expected.
    #[error("the object was changed meanwhile")]
    Conflict,
    /// The request failed.
    #[error(transparent)]
    Failed(#[from] ObjectError),
}

impl From<Error> for ObjectError {
    fn from(error: Error) -> Self {
        Self(one_line(&error_chain(&error), MAX_ERROR_CHARS))
    }
}

impl From<PathError> for ObjectError {
    fn from(error: PathError) -> Self {
        Self(error_chain(&error))
    }
}

impl From<PathError> for PutError {
    fn from(error: PathError) -> Self {
        Self::Failed(error.into())
    }
}
