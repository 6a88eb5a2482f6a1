//! The two kinds of images. Pure.

use serde::{Deserialize, Serialize};

/// Origin of an image: built from a context, or copied from a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageKind {
    /// Built from a context.
    Build,
    /// Copied from a public registry.
    Mirror,
}

impl ImageKind {
    /// Returns the kind as the lockfile and the plan write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Mirror => "mirror",
        }
    }
}
