//! The platform for which a Dockerfile uses an image. Pure.

use crate::base::name::Platform;

/// The platform for which a Dockerfile uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferencePlatform {
    /// The platform of the unit that is built. This is the default without `--platform`.
    Unit,
    /// Another platform that the service builds for.
    Fixed(Platform),
    /// The platform of the machine that builds, as with `$BUILDPLATFORM`. Only the builder knows
    /// it.
    Builder,
    /// A platform that the service does not build for, or a text that is not a platform.
    Other(String),
}

impl ReferencePlatform {
    /// Parses the expanded value of `--platform` by the rules of containerd's `platforms.Parse`:
    /// an architecture has several names, their case is ignored, and `linux` alone is the
    /// platform of the builder.
    pub(super) fn parse(text: &str, unit: Platform) -> Self {
        let lower = text.to_ascii_lowercase();
        let arch = match lower.split_once('/') {
            Some(("linux", arch)) => arch,
            None if lower == "linux" => return Self::Builder,
            None => lower.as_str(),
            Some(_) => return Self::Other(text.to_owned()),
        };
        let platform = match arch {
            "amd64" | "amd64/v1" | "x86_64" | "x86_64/v1" | "x86-64" | "x86-64/v1" => {
                Platform::Amd64
            }
            "arm64" | "arm64/v8" | "arm64/8" | "aarch64" | "aarch64/v8" | "aarch64/8" => {
                Platform::Arm64
            }
            _ => return Self::Other(text.to_owned()),
        };
        if platform == unit { Self::Unit } else { Self::Fixed(platform) }
    }
}
