//! The platform for which a Dockerfile uses an image. Pure.

use crate::base::name::Platform;
use crate::base::platform::PlatformName;

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
        let (os, rest) = match text.split_once('/') {
            Some(("", _)) => return Self::Other(text.to_owned()),
            Some(parts) => parts,
            None if text.eq_ignore_ascii_case("linux") => return Self::Builder,
            None => ("", text),
        };
        let (arch, variant) = rest.split_once('/').unwrap_or((rest, ""));
        let name = PlatformName::normalize(os, arch, variant);
        let platform = match name.service_platform() {
            Some(platform) if !name.has_variant() => platform,
            _ => return Self::Other(text.to_owned()),
        };
        if platform == unit { Self::Unit } else { Self::Fixed(platform) }
    }
}
