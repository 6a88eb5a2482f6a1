//! The choice of the engine that makes the images of a local server.

/// A choice of an engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineKind {
    /// Check builds, and build nothing
    #[default]
    Check,
    /// Build with Buildah and runc
    Buildah,
    /// Use Buildah if it works here and there is a registry, else check
    Auto,
}

impl EngineKind {
    /// All engines.
    pub const ALL: [Self; 3] = [Self::Check, Self::Buildah, Self::Auto];

    /// Returns the value as flags and manifests have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Buildah => "buildah",
            Self::Auto => "auto",
        }
    }
}
