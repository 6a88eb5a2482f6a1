//! The choice of the engine that makes the images of a local server.

/// A choice of an engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineKind {
    /// Check builds, and build nothing
    #[default]
    Check,
    /// Build with Buildah and runc
    Buildah,
    /// Build with a builder of docker buildx
    Buildx,
    /// Use Buildah if it works here and there is a registry, else check
    Auto,
}

impl EngineKind {
    /// All engines.
    pub const ALL: [Self; 4] = [Self::Check, Self::Buildah, Self::Buildx, Self::Auto];

    /// Returns the value as flags and manifests have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Buildah => "buildah",
            Self::Buildx => "buildx",
            Self::Auto => "auto",
        }
    }
}
