//! Turns a mirror's source into the name and tag under which it lands, as the service does when a
//! transfer names none (`api.md` §2). Pure.
//!
//! Its rules are the service's own, and not Docker's: it takes `app:v1:v2` and upper case, and a tag
//! counts for more than a digest. Which image a reference means in its registry is Docker's to say:
//! that is [`RegistryRef`].

use std::fmt;
use std::str::FromStr;

use super::name::{ImageName, NameError, Tag};
use super::reference::RegistryRef;

/// A public image to mirror, kept as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceRef(String);

impl SourceRef {
    /// The reference as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The reference as a registry could know it, where it is not as it was written: the service puts
    /// names into lower case, and registries know no others.
    pub fn in_lower_case(&self) -> Option<String> {
        if self.0.parse::<RegistryRef>().is_ok() { None } else { Some(lower_case(&self.0)) }
    }

    /// The parts that the service takes the reference apart into.
    pub fn parts(&self) -> SourceParts<'_> {
        let (rest, digest) = match self.0.rsplit_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (self.0.as_str(), None),
        };
        let (registry, path) = match rest.split_once('/') {
            Some((first, path)) if is_registry(first) => (Some(first), path),
            _ => (None, rest),
        };
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        SourceParts { registry, path: path.trim_matches('/'), tag, digest }
    }

    /// The name and tag that the service derives: the last segment of the path (or, with
    /// `keep_namespace`, the whole path, as for platform images) in lower case; the tag, else
    /// `sha256-` and sixteen digits of the digest, else `latest`.
    pub fn destination(&self, keep_namespace: bool) -> Result<(ImageName, Tag), NameError> {
        let parts = self.parts();
        let path = parts.path.to_lowercase();
        let name = match path.rsplit_once('/') {
            Some((_, last)) if !keep_namespace => last.to_owned(),
            _ => path,
        };
        let tag = parts.tag_or_digest();
        let explain = |error: NameError| {
            NameError::new(
                format!("`{self}` does not give a name and a tag: {error}"),
                "write `name:` and `tag:` for this mirror",
            )
        };
        Ok((name.parse().map_err(explain)?, tag.parse().map_err(explain)?))
    }
}

/// What a reference is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceParts<'a> {
    /// The registry, where one is written.
    pub registry: Option<&'a str>,
    /// All segments after the registry, without the tag.
    pub path: &'a str,
    /// The tag, where one is written.
    pub tag: Option<&'a str>,
    /// The digest with `sha256:`, where one is written.
    pub digest: Option<&'a str>,
}

impl<'a> SourceParts<'a> {
    /// The sixty-four digits of the digest.
    pub fn hex(&self) -> Option<&'a str> {
        self.digest.and_then(|digest| digest.strip_prefix("sha256:"))
    }

    /// The tag, else `sha256-` and sixteen digits of the digest, else `latest`.
    pub fn tag_or_digest(&self) -> String {
        match (self.tag, self.hex().and_then(|hex| hex.get(..16))) {
            (Some(tag), _) => tag.to_owned(),
            (None, Some(digits)) => format!("sha256-{digits}"),
            (None, None) => "latest".to_owned(),
        }
    }
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
                "write a public image: docker.io/library/ubuntu:22.04",
            ));
        }
        if text.contains(',') {
            return Err(NameError::new(
                "a source is one reference, without a comma",
                "write an entry for each image",
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
            let digit = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
            if hex.len() != 64 || !hex.chars().all(digit) {
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

/// A reference with its registry and path in lower case; tag and digest keep theirs.
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

    /// The table of `api.md` §2, row by row.
    #[test]
    fn destinations() {
        let a = "a".repeat(64);
        let digest = format!("quay.io/org/app@sha256:{a}");
        let both = format!("quay.io/org/app:v2@sha256:{a}");
        let short = format!("sha256-{}", "a".repeat(16));
        let table = [
            ("ubuntu", "ubuntu:latest", "ubuntu:latest"),
            ("docker.io/library/ubuntu:22.04", "ubuntu:22.04", "library/ubuntu:22.04"),
            ("ns/app", "app:latest", "ns/app:latest"),
            ("ghcr.io/Org/My-App:v1", "my-app:v1", "org/my-app:v1"),
            ("localhost:5000/app", "app:latest", "app:latest"),
            ("localhost/app", "app:latest", "app:latest"),
            ("LOCALHOST/app", "app:latest", "localhost/app:latest"),
            ("myregistry:5000/a/b/c:1.2", "c:1.2", "a/b/c:1.2"),
            (&digest, &format!("app:{short}"), &format!("org/app:{short}")),
            (&both, "app:v2", "org/app:v2"),
            ("a/b/c/App_X:T", "app_x:T", "a/b/c/app_x:T"),
            ("prime/alice/app:v1", "app:v1", "prime/alice/app:v1"),
            ("team-abc/app:v1", "app:v1", "team-abc/app:v1"),
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
    fn refused() {
        for text in ["", " ", "a,b", "a b", "https://x/y", "ubuntu@sha512:00", "ubuntu@sha256:AA"] {
            assert!(text.parse::<SourceRef>().is_err(), "{text}");
        }
        for text in ["ubuntu:", "ghcr.io/", "app:v1:v2", "a//b", "a:.x", "-a/b", "h.io:0/a"] {
            assert!(text.parse::<SourceRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn upper_case_is_known_for_a_slip() {
        for (text, lower) in [
            ("ghcr.io/Org/My-App:V1", Some("ghcr.io/org/my-app:V1")),
            ("localhost:5000/library/Redis:1", Some("localhost:5000/library/redis:1")),
            ("LOCALHOST/app", Some("localhost/app")),
            ("GHCR.io/org/app", None),
            ("org/app:V1", None),
        ] {
            let source: SourceRef = text.parse().unwrap();
            assert_eq!(source.in_lower_case().as_deref(), lower, "{text}");
            assert_eq!(source.as_str(), text);
        }
    }
}
