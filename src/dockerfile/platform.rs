//! The platform for which a Dockerfile uses an image. Pure.

use crate::base::name::Platform;
use crate::base::platform::PlatformName;

/// The operating systems that containerd knows.
const SYSTEMS: &str = "aix android darwin dragonfly freebsd hurd illumos ios js linux macos nacl \
                       netbsd openbsd plan9 solaris windows zos";

/// The architectures that containerd knows.
const ARCHITECTURES: &str = "386 aarch64 amd64 amd64p32 arm arm64 arm64be armbe armel armhf i386 \
                             loong64 mips mips64 mips64le mips64p32 mips64p32le mipsle ppc \
                             ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm x86-64 \
                             x86_64";

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
    /// Returns the platform that a Dockerfile means, on a builder whose own platform is `builder`. `None`
    /// for one that the service does not build for.
    pub fn on_builder(&self, unit: Platform, builder: Platform) -> Option<Platform> {
        match self {
            Self::Unit => Some(unit),
            Self::Fixed(platform) => Some(*platform),
            Self::Builder => Some(builder),
            Self::Other(_) => None,
        }
    }

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

/// Returns true if containerd's `platforms.Parse` accepts the text: up to three parts, and a part
/// alone is a system or an architecture that it knows.
pub(super) fn is_platform(text: &str) -> bool {
    let is_word = |part: &str| {
        let is_ours = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        !part.is_empty() && part.chars().all(is_ours)
    };
    let parts: Vec<&str> = text.split('/').collect();
    let (system, version) = match parts[0].split_once('(') {
        Some((system, rest)) => (system, rest.strip_suffix(')')),
        None => (parts[0], Some("")),
    };
    if !is_word(system) || version.is_none() || !parts[1..].iter().all(|part| is_word(part)) {
        return false;
    }
    let lower = system.to_ascii_lowercase();
    match parts.len() {
        1 => SYSTEMS.split(' ').chain(ARCHITECTURES.split(' ')).any(|known| known == lower),
        count => count <= 3,
    }
}
