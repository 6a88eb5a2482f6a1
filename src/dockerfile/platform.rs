//! Says for which platform a `FROM` takes its image. Pure.

use crate::base::name::Platform;

/// The platform for which the image of a reference is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferencePlatform {
    /// That of the unit which is built, whether `--platform` says so or nothing.
    Unit,
    /// Another one that is written, or that variables lead to.
    Fixed(Platform),
    /// That of the machine which builds, as `$BUILDPLATFORM` is: nobody else knows it.
    Builder,
    /// One for which the service builds nothing, or a text that is no platform.
    Other(String),
}

impl ReferencePlatform {
    /// Reads an expanded `--platform` by the rules of containerd's `platforms.Parse`: names of one
    /// architecture agree, in any case, and a system alone is that of the builder.
    pub(super) fn read(text: &str, unit: Platform) -> Self {
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
