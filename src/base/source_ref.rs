//! Derives the name and tag of a mirror from its source, as the service does for a transfer without
//! a name (API contract, section 2). Pure.
//!
//! The service's rules differ from Docker's: it accepts upper case, and the tag takes precedence over
//! the digest. [`RegistryRef`] follows Docker's rules, and says which image a registry returns.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::name::{ImageName, ImageRef, NameError, Tag};
use super::reference::{DOCKER_HUB, DOCKER_HUB_ALIASES, RegistryRef};

/// Registries besides Docker Hub from which the service copies images (API contract, section 2).
pub(crate) const SUPPORTED_REGISTRIES: [&str; 5] =
    ["ghcr.io", "quay.io", "public.ecr.aws", "registry.k8s.io", "mcr.microsoft.com"];

/// The source of a mirror, kept as the manifest writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceRef(String);

impl SourceRef {
    /// Returns the reference as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the reference with registry and path in lower case. `None` if the text is a valid
    /// reference already. The service accepts upper case, but no registry has such a repository.
    pub fn corrected_case(&self) -> Option<String> {
        if self.0.parse::<RegistryRef>().is_ok() { None } else { Some(lower_case(&self.0)) }
    }

    /// Splits the reference by the service's rules.
    pub fn parts(&self) -> SourceParts<'_> {
        let (tagged, digest) = match self.0.rsplit_once('@') {
            Some((tagged, digest)) => (tagged, Some(digest)),
            None => (self.0.as_str(), None),
        };
        let (registry, path) = match tagged.split_once('/') {
            Some((first, path)) if is_registry(first) => (Some(first), path),
            _ => (None, tagged),
        };
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        SourceParts { registry, path: path.trim_matches('/'), tag, digest }
    }

    /// Returns the kind of the registry that the image comes from.
    pub fn registry_kind(&self) -> RegistryKind {
        let host = self.0.split_once('/').map_or("", |(first, _)| first).to_ascii_lowercase();
        let known = |hosts: &[&str]| hosts.contains(&host.as_str());
        if known(&[DOCKER_HUB]) || known(&DOCKER_HUB_ALIASES) || !is_registry(&host) {
            RegistryKind::DockerHub
        } else if known(&SUPPORTED_REGISTRIES) {
            RegistryKind::Supported
        } else {
            RegistryKind::Other
        }
    }

    /// Returns true for a registry on this machine, which only a service on this machine can reach.
    pub fn is_loopback(&self) -> bool {
        let host = self.parts().registry.unwrap_or_default().to_ascii_lowercase();
        let without_port = match host.rsplit_once(':') {
            // In `[::1]`, the last part belongs to the address.
            Some((before, _)) if !host.ends_with(']') => before,
            _ => host.as_str(),
        };
        let address = without_port.trim_matches(['[', ']']).parse::<IpAddr>();
        without_port == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Returns the name and tag that the service derives. The name is the last segment of the path in
    /// lower case, or the whole path with `keep_namespace` (platform images). A source of Docker Hub
    /// keeps its path without `library/`, whoever asks: its mirror is an image of the platform. For the
    /// tag, see [`SourceParts::tag_or_digest`].
    ///
    /// # Errors
    ///
    /// Fails if the result is not a valid name or tag.
    pub fn destination(&self, keep_namespace: bool) -> Result<(ImageName, Tag), NameError> {
        let path = self.parts().path.to_lowercase();
        match self.registry_kind() {
            RegistryKind::DockerHub => self.named(path.strip_prefix("library/").unwrap_or(&path)),
            RegistryKind::Supported | RegistryKind::Other if keep_namespace => self.named(&path),
            RegistryKind::Supported | RegistryKind::Other => self.named(last_segment(&path)),
        }
    }

    /// Returns the name and tag that the service of August 2026 derives, for which Docker Hub was a
    /// registry like any other.
    ///
    /// # Errors
    ///
    /// Fails if the result is not a valid name or tag.
    pub fn earlier_destination(&self, keep_namespace: bool) -> Result<(ImageName, Tag), NameError> {
        let path = self.parts().path.to_lowercase();
        self.named(if keep_namespace { &path } else { last_segment(&path) })
    }

    /// True if `image` is the name that [`SourceRef::destination`] derives.
    pub fn derives(&self, image: &ImageRef, keep_namespace: bool) -> bool {
        let derived = self.destination(keep_namespace);
        derived.is_ok_and(|(name, tag)| name == image.name && tag == image.tag)
    }

    /// Returns all names that the service may derive, whichever version it is and whoever the owner
    /// is; those of today's service first.
    pub fn destinations(&self) -> Vec<ImageRef> {
        let derived = [false, true].map(|keep| self.destination(keep));
        let earlier = [false, true].map(|keep| self.earlier_destination(keep));
        let mut all: Vec<ImageRef> = Vec::new();
        for (name, tag) in derived.into_iter().chain(earlier).flatten() {
            let image = ImageRef { name, tag };
            if !all.contains(&image) {
                all.push(image);
            }
        }
        all
    }

    /// Returns the image of the platform that the service makes of a source of Docker Hub. `None` for
    /// other registries.
    pub fn platform_image(&self) -> Option<ImageRef> {
        let (name, tag) = self.destination(true).ok()?;
        (self.registry_kind() == RegistryKind::DockerHub).then_some(ImageRef { name, tag })
    }

    fn named(&self, name: &str) -> Result<(ImageName, Tag), NameError> {
        let explain = |error: NameError| {
            NameError::new(
                format!("cannot derive a name and a tag from `{self}`: {error}"),
                "write `name:` and `tag:` for this mirror",
            )
        };
        let tag = self.parts().tag_or_digest();
        Ok((name.parse().map_err(explain)?, tag.parse().map_err(explain)?))
    }
}

/// Kind of a registry, by what the service does with its images (API contract, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RegistryKind {
    /// Docker Hub: its images become public images of the platform.
    DockerHub,
    /// A registry that the service lists as supported.
    Supported,
    /// Any other registry. The service may refuse it.
    Other,
}

/// The parts of a [`SourceRef`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceParts<'a> {
    /// The registry, if the reference has one.
    pub registry: Option<&'a str>,
    /// The path after the registry, without the tag.
    pub path: &'a str,
    /// The tag, if the reference has one.
    pub tag: Option<&'a str>,
    /// The digest with its `sha256:`, if the reference has one.
    pub digest: Option<&'a str>,
}

impl<'a> SourceParts<'a> {
    /// Returns the 64 hex digits of the digest.
    pub fn hex(&self) -> Option<&'a str> {
        self.digest.and_then(|digest| digest.strip_prefix("sha256:"))
    }

    /// Returns the tag, else `sha256-` and 16 digits of the digest, else `latest`.
    pub fn tag_or_digest(&self) -> String {
        match (self.tag, self.hex().and_then(|hex| hex.get(..16))) {
            (Some(tag), _) => tag.to_owned(),
            (None, Some(digits)) => format!("sha256-{digits}"),
            (None, None) => "latest".to_owned(),
        }
    }
}

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_registry(segment: &str) -> bool {
    segment.contains(['.', ':']) || segment == "localhost"
}

impl FromStr for SourceRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NameError::new(
                "a source cannot be empty",
                "write an image reference: docker.io/library/ubuntu:22.04",
            ));
        }
        if text.contains(',') {
            return Err(NameError::new(
                "a source is one reference and has no comma",
                "write one entry per image",
            ));
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) || text.contains("://") {
            return Err(NameError::new(
                format!("`{}` is not an image reference", text.escape_debug()),
                "write it as docker pull takes it: docker.io/library/ubuntu:22.04",
            ));
        }
        if let Some((_, digest)) = text.rsplit_once('@') {
            let hex = digest.strip_prefix("sha256:").unwrap_or_default();
            let is_digit = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
            if hex.len() != 64 || !hex.chars().all(is_digit) {
                return Err(NameError::new(
                    format!("`{digest}` is not a digest"),
                    "write `@sha256:` and 64 digits 0-9a-f",
                ));
            }
        }
        match lower_case(text).parse::<RegistryRef>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => {
                let message = format!("`{}` is not an image reference", text.escape_debug());
                Err(NameError::new(format!("{message}: {}", error.message), error.help))
            }
        }
    }
}

/// Converts the registry and path of a reference to lower case; tag and digest stay as they are.
fn lower_case(text: &str) -> String {
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    let end = name[path..].find(':').map_or(name.len(), |colon| path + colon);
    format!("{}{}", text[..end].to_ascii_lowercase(), &text[end..])
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_on_this_machine_are_recognized() {
        for (source, expected) in [
            ("localhost/a", true),
            ("LOCALHOST:5000/a", true),
            ("127.0.0.1:5000/a", true),
            ("127.1.2.3/a", true),
            ("[::1]:5000/a", true),
            ("[::1]/a", true),
            ("[fe80::1]/a", false),
            ("127.example.com/a", false),
            ("localhost.example.com/a", false),
            ("10.0.0.1:5000/a", false),
            ("ubuntu", false),
        ] {
            let source: SourceRef = source.parse().unwrap();
            assert_eq!(source.is_loopback(), expected, "{source}");
        }
    }

    /// The table of the API contract, section 2.
    #[test]
    fn names_and_tags_are_derived_as_the_service_does() {
        let a = "a".repeat(64);
        let digest = format!("quay.io/org/app@sha256:{a}");
        let both = format!("quay.io/org/app:v2@sha256:{a}");
        let short = format!("sha256-{}", "a".repeat(16));
        let table = [
            ("ubuntu", "ubuntu:latest", "ubuntu:latest"),
            ("docker.io/library/ubuntu:22.04", "ubuntu:22.04", "ubuntu:22.04"),
            ("Registry-1.Docker.IO/library/redis:7", "redis:7", "redis:7"),
            ("index.docker.io/redis", "redis:latest", "redis:latest"),
            ("library/redis:7", "redis:7", "redis:7"),
            ("ns/app", "ns/app:latest", "ns/app:latest"),
            ("ghcr.io/Org/My-App:v1", "my-app:v1", "org/my-app:v1"),
            ("localhost:5000/app", "app:latest", "app:latest"),
            ("localhost/app", "app:latest", "app:latest"),
            ("LOCALHOST/app", "app:latest", "localhost/app:latest"),
            ("myregistry:5000/a/b/c:1.2", "c:1.2", "a/b/c:1.2"),
            (&digest, &format!("app:{short}"), &format!("org/app:{short}")),
            (&both, "app:v2", "org/app:v2"),
            ("a/b/c/App_X:T", "a/b/c/app_x:T", "a/b/c/app_x:T"),
            ("ghcr.io/library/redis:7", "redis:7", "library/redis:7"),
        ];
        for (source, personal, platform) in table {
            let source: SourceRef = source.parse().unwrap();
            for (keep, expected) in [(false, personal), (true, platform)] {
                let (name, tag) = source.destination(keep).unwrap();
                assert_eq!(format!("{name}:{tag}"), expected, "{source} keep={keep}");
            }
        }
    }

    #[test]
    fn a_name_is_derived_for_one_kind_of_owner() {
        for (source, image, derived) in [
            ("ghcr.io/o/app:1", "app:1", [true, false]),
            ("ghcr.io/o/app:1", "o/app:1", [false, true]),
            ("ghcr.io/o/app:1", "app:2", [false, false]),
            ("docker.io/library/redis:7", "redis:7", [true, true]),
            ("grafana/grafana:10", "grafana:10", [false, false]),
        ] {
            let (source, image): (SourceRef, _) = (source.parse().unwrap(), image.parse().unwrap());
            assert_eq!([false, true].map(|keep| source.derives(&image, keep)), derived, "{image}");
        }
    }

    #[test]
    fn both_versions_of_the_service_are_known() {
        for (source, expected) in [
            ("redis:7", "redis:7"),
            ("docker.io/library/redis:7", "redis:7 library/redis:7"),
            ("grafana/grafana:10", "grafana/grafana:10 grafana:10"),
            ("ghcr.io/org/app:1", "app:1 org/app:1"),
        ] {
            let images = source.parse::<SourceRef>().unwrap().destinations();
            let images: Vec<String> = images.iter().map(ToString::to_string).collect();
            assert_eq!(images.join(" "), expected);
        }
    }

    #[test]
    fn registries_are_classified() {
        use RegistryKind::{DockerHub, Other, Supported};
        for (source, expected) in [
            ("redis", DockerHub),
            ("bitnami/redis:7", DockerHub),
            ("docker.io/library/redis:7", DockerHub),
            ("DOCKER.io/library/redis:7", DockerHub),
            ("Index.Docker.IO/redis", DockerHub),
            ("registry-1.docker.io/library/redis", DockerHub),
            ("localhost/app", Other),
            ("LOCALHOST/app", Other),
            ("localhost:5000/app", Other),
            ("gcr.io/org/app:1", Other),
            ("europe-docker.pkg.dev/org/app/app:1", Other),
            ("mirror.docker.io/library/redis", Other),
            ("ghcr.io/org/app", Supported),
            ("QUAY.io/org/app", Supported),
            ("mcr.microsoft.com/dotnet/sdk:8.0", Supported),
        ] {
            assert_eq!(source.parse::<SourceRef>().unwrap().registry_kind(), expected, "{source}");
        }
    }

    #[test]
    fn invalid_sources_are_rejected() {
        for text in ["", " ", "a,b", "a b", "https://x/y", "ubuntu@sha512:00", "ubuntu@sha256:AA"] {
            assert!(text.parse::<SourceRef>().is_err(), "{text}");
        }
        for text in ["ubuntu:", "ghcr.io/", "app:v1:v2", "a//b", "a:.x", "-a/b", "h.io:0/a"] {
            assert!(text.parse::<SourceRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn upper_case_is_corrected() {
        for (text, lower) in [
            ("ghcr.io/Org/My-App:V1", Some("ghcr.io/org/my-app:V1")),
            ("localhost:5000/library/Redis:1", Some("localhost:5000/library/redis:1")),
            ("LOCALHOST/app", Some("localhost/app")),
            ("GHCR.io/org/app", None),
            ("org/app:V1", None),
        ] {
            let source: SourceRef = text.parse().unwrap();
            assert_eq!(source.corrected_case().as_deref(), lower, "{text}");
            assert_eq!(source.as_str(), text);
        }
    }
}
