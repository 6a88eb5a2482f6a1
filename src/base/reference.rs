//! Reads references to images in registries as Docker does, and the digests that registries give
//! their contents. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::name::{NameError, Platform, Tag, deserialize_text, text_value};

/// The registry that a reference means which names none.
pub const DOCKER_HUB: &str = "docker.io";

/// Other names of the same registry: of its old API, and of the host that serves it.
const DOCKER_HUB_TOO: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// Most characters of a registry and a repository together, as Docker has it.
const LONGEST: usize = 255;

/// The SHA-256 digest by which registries name what they hold: `sha256:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OciDigest([u8; 32]);

impl OciDigest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl FromStr for OciDigest {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let read = || {
            let hex = text.strip_prefix("sha256:")?.as_bytes();
            let digit = |c: u8| match c {
                b'0'..=b'9' => Some(c - b'0'),
                b'a'..=b'f' => Some(c - b'a' + 10),
                _ => None,
            };
            let mut bytes = [0; 32];
            let (pairs, rest) = hex.as_chunks::<2>();
            if pairs.len() != bytes.len() || !rest.is_empty() {
                return None;
            }
            for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
                *byte = digit(*high)? << 4 | digit(*low)?;
            }
            Some(Self(bytes))
        };
        read().ok_or_else(|| {
            NameError::new(
                format!("`{}` is not a digest", shown(text)),
                "write `sha256:` and 64 digits 0-9a-f",
            )
        })
    }
}

impl fmt::Display for OciDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for OciDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a platform gets of a reference: the image that it has for it, or, where it is not known for
/// which it has one, what it names itself. `None` where it has images for others only.
pub fn digest_for_platform(
    itself: OciDigest,
    platforms: &BTreeMap<Platform, OciDigest>,
    platform: Platform,
) -> Option<OciDigest> {
    if platforms.is_empty() { Some(itself) } else { platforms.get(&platform).copied() }
}

/// A reference in its full form, so that two ways of writing one image agree; as it is written where
/// Docker would not take it, which the service might.
pub fn full_form(text: &str) -> String {
    let reference: Result<RegistryRef, _> = text.parse();
    reference.map_or_else(|_| text.to_owned(), |reference| reference.to_string())
}

/// Returns the key of the lockfile's pin for a reference: its full form. `None` if the text is not a
/// reference, or has a digest and so needs no pin.
pub fn pin_key(text: &str) -> Option<String> {
    Some(pinnable(text)?.to_string())
}

/// Parses a reference that can be pinned. `None` if the text is not a reference, or has a digest.
pub fn pinnable(text: &str) -> Option<RegistryRef> {
    let reference: RegistryRef = text.parse().ok()?;
    reference.digest().is_none().then_some(reference)
}

/// A reference to an image in a registry, complete: `docker.io/library/redis:7`.
///
/// Read by the rules of Docker's `distribution/reference`, but for two things. The registry's name
/// is in lower case, since all ways to write a host mean one. And a first part in upper case without
/// a dot or a port, which Docker takes for a host, is refused: it is a slip.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryRef {
    registry: String,
    repository: String,
    tag: Option<Tag>,
    digest: Option<OciDigest>,
}

impl RegistryRef {
    /// The registry, with its port where it has one: `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path inside the registry: `library/redis`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. Without one, and without a digest, `latest` is meant.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, which counts for more than the tag.
    pub fn digest(&self) -> Option<OciDigest> {
        self.digest
    }

    /// The reference without tag and digest: `docker.io/library/redis`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same image, held to a digest: `docker.io/library/redis:7@sha256:...`, or without the tag
    /// where none is written.
    pub fn with_digest(&self, digest: OciDigest) -> String {
        Self { digest: Some(digest), ..self.clone() }.to_string()
    }
}

impl fmt::Display for RegistryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match (&self.tag, &self.digest) {
            (None, None) => f.write_str(":latest"),
            (Some(tag), None) => write!(f, ":{tag}"),
            (None, Some(digest)) => write!(f, "@{digest}"),
            (Some(tag), Some(digest)) => write!(f, ":{tag}@{digest}"),
        }
    }
}

impl FromStr for RegistryRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const HELP: &str = "write it as docker pull takes it: docker.io/library/ubuntu:22.04";
        if text.is_empty() {
            return Err(NameError::new("a reference to an image cannot be empty", HELP));
        }
        if text.contains("://") {
            let message = format!("`{}` is a URL, not a reference to an image", shown(text));
            return Err(NameError::new(message, "leave out `https://`"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A `:` before a `/` belongs to a registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.parse().map_err(safe)?)),
            _ => (rest, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
                (registry(first)?, path)
            }
            _ => (DOCKER_HUB.to_owned(), name),
        };
        let repository = repository(path, &registry)?;
        if registry.len() + 1 + repository.len() > LONGEST {
            let message = format!("`{}` is too long", shown(name));
            let help = format!("a registry and a path have at most {LONGEST} characters");
            return Err(NameError::new(message, help));
        }
        Ok(Self { registry, repository, tag, digest })
    }
}

/// A registry's host and port, in their one form.
fn registry(text: &str) -> Result<String, NameError> {
    let bad =
        |help: &str| Err(NameError::new(format!("`{}` is not a registry", shown(text)), help));
    let lower = text.to_ascii_lowercase();
    // The port comes after the `]` of an IPv6 address.
    let (host, port) = match lower.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (lower.as_str(), None),
    };
    if port.is_some_and(|port| !is_port(port)) {
        return bad("after the `:` comes a port, from 1 to 65535");
    }
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(inner)
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let ok = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(label),
    };
    if !ok {
        return bad("write a host, and its port where it has one: registry.example:5000");
    }
    if DOCKER_HUB_TOO.contains(&lower.as_str()) {
        return Ok(DOCKER_HUB.to_owned());
    }
    Ok(lower)
}

fn is_port(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// A path inside a registry, in its one form.
fn repository(path: &str, registry: &str) -> Result<String, NameError> {
    const HELP: &str = "use lower case letters and digits, with `.`, `_`, `__` or `-` between them, \
                        and `/` between the parts";
    let bad = |help: String| {
        let message = format!("`{}` is not the path of an image", shown(path));
        Err(NameError::new(message, help))
    };
    let ok = |path: &str| !path.is_empty() && path.split('/').all(is_component);
    if !ok(path) {
        let lower = path.to_ascii_lowercase();
        return bad(if ok(&lower) { format!("write `{lower}`") } else { HELP.to_owned() });
    }
    // Docker keeps these for the IDs of images.
    if path.len() == 64 && path.chars().all(|c| c.is_ascii_hexdigit()) {
        return bad("64 hex digits are the ID of an image: name its repository".to_owned());
    }
    let official = registry == DOCKER_HUB && !path.contains('/');
    Ok(if official { format!("library/{path}") } else { path.to_owned() })
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separates = |between: &str| {
        matches!(between, "" | "." | "_" | "__") || between.bytes().all(|c| c == b'-')
    };
    text.starts_with(alnum) && text.ends_with(alnum) && text.split(alnum).all(separates)
}

/// A text for an error: printable, and not endless.
fn shown(text: &str) -> String {
    let shown: String = text.escape_debug().take(LONGEST).collect();
    if shown.len() < text.len() { format!("{shown}...") } else { shown }
}

/// A [`Tag`]'s own error shows the text as it is.
fn safe(error: NameError) -> NameError {
    NameError { message: shown(&error.message), ..error }
}

text_value!(OciDigest, RegistryRef);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn references_have_one_full_form() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        let held = |text: &str| format!("{text}@{digest}");
        let table = [
            ("redis", "docker.io/library/redis:latest"),
            ("redis:7", "docker.io/library/redis:7"),
            ("scratch", "docker.io/library/scratch:latest"),
            ("localhost", "docker.io/library/localhost:latest"),
            ("ns/app", "docker.io/ns/app:latest"),
            ("docker.io/redis", "docker.io/library/redis:latest"),
            ("index.docker.io/library/redis:7", "docker.io/library/redis:7"),
            ("registry-1.docker.io/ns/app:V_1.x-y", "docker.io/ns/app:V_1.x-y"),
            ("Docker.IO/redis", "docker.io/library/redis:latest"),
            ("ghcr.io/a", "ghcr.io/a:latest"),
            ("ghcr.io/a/b/c:1", "ghcr.io/a/b/c:1"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:1", "localhost:5000/app:1"),
            ("registry:5000/app", "registry:5000/app:latest"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("[2001:db8::1]/app:2", "[2001:db8::1]/app:2"),
            ("my-registry.example/a__b/c--d/e.f_g", "my-registry.example/a__b/c--d/e.f_g:latest"),
            (&held("redis"), &held("docker.io/library/redis")),
            (&held("redis:7"), &held("docker.io/library/redis:7")),
            (&held("localhost:5000/x"), &held("localhost:5000/x")),
        ];
        for (text, full) in table {
            let read: RegistryRef = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(read.to_string(), full, "{text}");
        }
    }

    const REFUSED: &[&str] = &[
        "",
        " ",
        "a b",
        " a",
        "a ",
        "a\n",
        "UPPER",
        "UPPER/x",
        "Ns/app:1",
        "a/B",
        "a:",
        ":1",
        "/a",
        "a/",
        "a//b",
        "a..b",
        "a___b",
        "a._b",
        "-a",
        "a-",
        "_a",
        "a:.x",
        "a:x/y",
        "a:1:2",
        "a@",
        "@",
        "é",
        "a@sha256:",
        "https://a/b",
        "a.b/",
        "ghcr.io/",
        "ghcr.io:/a",
        "ghcr.io:0/a",
        "ghcr.io:99999/a",
        "ghcr.io:+1/a",
        "-x.io/a",
        "x-.io/a",
        "x..io/a",
        ".x/a",
        "[::1/a",
        "[zz]:1/a",
        "::1/a",
        "[]/a",
        "u:p@h.io/a",
        "h.io/a?b",
        "h.io/a#b",
        "h.io/../a",
        "h.io/%2e/a",
        "x_y.io/a",
    ];

    #[test]
    fn what_docker_refuses_is_refused() {
        let long = "a".repeat(256);
        let id = "0".repeat(64);
        let short = format!("a@sha256:{}", "0".repeat(63));
        let upper = format!("a@sha256:{}", "A".repeat(64));
        let other = format!("a@sha512:{}", "0".repeat(128));
        let twice = format!("a@sha256:{id}@sha256:{id}");
        let tag = format!("a:{}", "x".repeat(129));
        let made = [&*long, &id, &short, &upper, &other, &twice, &tag];
        for text in REFUSED.iter().copied().chain(made) {
            let error = text.parse::<RegistryRef>().expect_err(text);
            let odd = error.message.chars().any(char::is_control);
            assert!(!odd && error.message.len() < 700 && !error.help.is_empty(), "{error:?}");
        }
        let slip = "Ns/App:1".parse::<RegistryRef>().unwrap_err();
        assert_eq!(slip.help, "write `ns/app`");
    }

    #[test]
    fn a_digest_holds_it() {
        let digest = OciDigest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        let with = |text: &str| text.parse::<RegistryRef>().unwrap().with_digest(digest);
        assert_eq!(with("redis:7"), format!("docker.io/library/redis:7@{text}"));
        assert_eq!(with("redis"), format!("docker.io/library/redis@{text}"));
        let other = format!("ghcr.io/a:1@sha256:{}", "0".repeat(64));
        assert_eq!(with(&other), format!("ghcr.io/a:1@{text}"));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<OciDigest>(&json).unwrap(), digest);
        assert!(serde_json::from_str::<OciDigest>("\"sha256:00\"").is_err());
    }

    proptest! {
        /// What is read is written in its full form, which reads as the same.
        #[test]
        fn text_and_back(
            registry in prop::option::of("[a-z0-9]{1,8}(\\.[a-zA-Z0-9]{1,8}){1,2}(:[1-9][0-9]{0,3})?"),
            path in prop::collection::vec("[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}", 1..4),
            tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
            bytes in prop::option::of(any::<[u8; 32]>()),
        ) {
            // A first part with a dot is a registry.
            let ns = if registry.is_none() && path.len() > 1 { "ns/" } else { "" };
            let path = format!("{ns}{}", path.join("/"));
            let mut text = registry.map_or(path.clone(), |registry| format!("{registry}/{path}"));
            if let Some(tag) = &tag {
                text = format!("{text}:{tag}");
            }
            if let Some(bytes) = bytes {
                text = format!("{text}@{}", OciDigest(bytes));
            }
            let read: RegistryRef = text.parse().unwrap();
            prop_assert_eq!(read.tag().map(Tag::as_str), tag.as_deref());
            prop_assert_eq!(read.digest(), bytes.map(OciDigest));
            let full = read.to_string();
            let again: RegistryRef = full.parse().unwrap();
            prop_assert_eq!(again.to_string(), full);
            prop_assert_eq!((again.registry(), again.repository()), (read.registry(), read.repository()));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,40}|[a-z:/@.\\[\\]-]{0,20}") {
            if let Ok(read) = text.parse::<RegistryRef>() {
                prop_assert!(read.to_string().parse::<RegistryRef>().is_ok(), "{}", read);
            }
        }
    }
}
