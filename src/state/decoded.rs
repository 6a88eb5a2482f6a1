//! The content of a lockfile. Pure.

use super::State;

/// The content of a lockfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// URL of the service that the state belongs to, or `local`.
    pub service: String,
    /// The recorded state.
    pub state: State,
}
