//! Reads Buildah's description of an image of a store. Pure.

use crate::base::platform::PlatformName;

/// The template of the description, for `buildah inspect --format`: the platform, the format that keeps
/// everything, and a line for each trigger.
pub(super) const DESCRIPTION: &str = "{{.OCIv1.OS}}/{{.OCIv1.Architecture}}\n\
     {{with .Docker.Config}}{{if or .OnBuild .Healthcheck .Shell}}docker{{else}}oci{{end}}\n\
     {{range .OnBuild}}{{.}}\n{{end}}{{end}}";

/// The format in which Buildah stores an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ImageFormat {
    /// That of OCI, in which the same build gives the same digest.
    Oci,
    /// That of Docker, for images with a `SHELL`, a `HEALTHCHECK` or a trigger. Its configuration names
    /// the container of the build, so that the digest of an image differs from build to build.
    Docker,
}

impl ImageFormat {
    /// Returns the name that Buildah knows.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::Docker => "docker",
        }
    }
}

/// An image of a store, as Buildah describes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ImageDescription {
    pub(super) platform: PlatformName,
    /// The format that keeps everything that an image built on this one inherits.
    pub(super) format: ImageFormat,
    /// Its `ONBUILD` triggers.
    pub(super) triggers: Vec<String>,
}

impl ImageDescription {
    /// Reads a description; `None` if it has no platform.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (os, arch) = lines.next()?.split_once('/')?;
        let format = match lines.next() {
            Some("docker") => ImageFormat::Docker,
            _ => ImageFormat::Oci,
        };
        let platform = PlatformName::normalize(os, arch, "");
        Some(Self { platform, format, triggers: lines.map(str::to_owned).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read() {
        let platform = PlatformName::normalize("linux", "arm64", "");
        let image = |format, triggers: &[&str]| {
            let triggers = triggers.iter().map(|&trigger| trigger.to_owned()).collect();
            Some(ImageDescription { platform: platform.clone(), format, triggers })
        };
        let docker = image(ImageFormat::Docker, &["RUN a", "COPY b /"]);
        assert_eq!(ImageDescription::parse("linux/arm64\ndocker\nRUN a\nCOPY b /\n"), docker);
        assert_eq!(ImageDescription::parse("linux/arm64\noci\n"), image(ImageFormat::Oci, &[]));
        assert_eq!(ImageDescription::parse("linux/arm64\n"), image(ImageFormat::Oci, &[]));
        assert_eq!(ImageDescription::parse(""), None);
    }
}
