//! Platforms in the names that registries, image configurations and Dockerfiles use. Pure.

use std::fmt;

use super::name::Platform;

/// A platform in the normal form of containerd's `platforms.Normalize`: lower case, one name for each
/// architecture, and no variant where it is the default of the architecture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlatformName {
    os: String,
    arch: String,
    variant: String,
}

impl PlatformName {
    /// Normalizes a platform. An empty `os` is Linux, which runs all images of the service.
    pub(crate) fn normalize(os: &str, arch: &str, variant: &str) -> Self {
        let [os, arch, variant] = [os, arch, variant].map(|text| text.trim().to_ascii_lowercase());
        let os = if os.is_empty() { "linux" } else { &os };
        let (arch, variant) = match (&*arch, &*variant) {
            ("i386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
            ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            other => other,
        };
        Self { os: os.to_owned(), arch: arch.to_owned(), variant: variant.to_owned() }
    }

    /// Returns the service's platform that runs images of this platform. Images of a variant may need a
    /// newer CPU.
    pub(crate) fn service_platform(&self) -> Option<Platform> {
        let is_ours = |platform: &Platform| self.os == "linux" && self.arch == platform.arch();
        Platform::ALL.into_iter().find(is_ours)
    }

    /// True if the platform has a variant that is not the default of its architecture.
    pub(crate) fn has_variant(&self) -> bool {
        !self.variant.is_empty()
    }

    /// True if the platform is that of an image. Attestations have `unknown/unknown`, and artifacts
    /// often have no platform.
    pub(crate) fn is_image(&self) -> bool {
        self.os != "unknown" && !matches!(&*self.arch, "" | "unknown")
    }
}

impl fmt::Display for PlatformName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        if self.has_variant() { write!(f, "/{}", self.variant) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_normalized_as_in_containerd() {
        let table = [
            ("linux/amd64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/X86-64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm64/v8.0", "linux/arm64"),
            ("linux/arm64/9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/arm/8", "linux/arm/v8"),
            ("linux/i386", "linux/386"),
            ("linux/riscv64", "linux/riscv64"),
            ("Windows/AMD64", "windows/amd64"),
        ];
        for (text, expected) in table {
            let mut parts = text.split('/').chain(std::iter::repeat(""));
            let [os, arch, variant] = [(); 3].map(|()| parts.next().unwrap());
            let name = PlatformName::normalize(os, arch, variant);
            assert_eq!(name.to_string(), expected, "{text}");
            let is_linux = expected.starts_with("linux/");
            let expected = Platform::ALL
                .into_iter()
                .find(|platform| is_linux && expected.split('/').nth(1) == Some(platform.arch()));
            assert_eq!(name.service_platform(), expected, "{text}");
        }
    }

    #[test]
    fn attestations_and_artifacts_are_no_images() {
        for (os, arch, expected) in [
            ("linux", "s390x", true),
            ("", "amd64", true),
            ("unknown", "unknown", false),
            ("Unknown", "amd64", false),
            ("", "", false),
        ] {
            assert_eq!(PlatformName::normalize(os, arch, "").is_image(), expected, "{os}/{arch}");
        }
    }
}
