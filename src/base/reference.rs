//! References to images in registries, parsed by Docker's rules, and OCI digests. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::name::{NameError, Tag, deserialize_text, text_value};

/// The default registry: that of a reference without a registry.
pub(crate) const DOCKER_HUB: &str = "docker.io";

/// Other names of Docker Hub: its old API, and the host of its registry.
pub(super) const DOCKER_HUB_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// Maximum length of registry and repository together, as in Docker.
const MAX_NAME_CHARS: usize = 255;

/// The SHA-256 digest of a manifest or blob in a registry: `sha256:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OciDigest([u8; 32]);

impl OciDigest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Returns the digest whose SHA-256 hash was computed elsewhere.
    pub(crate) const fn of_hash(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

impl FromStr for OciDigest {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let parse = || {
            let hex = text.strip_prefix("sha256:")?.as_bytes();
            let value = |c: u8| match c {
                b'0'..=b'9' => Some(c - b'0'),
                b'a'..=b'f' => Some(c - b'a' + 10),
                _ => None,
            };
            let mut bytes = [0; 32];
            let (pairs, remainder) = hex.as_chunks::<2>();
            if pairs.len() != bytes.len() || !remainder.is_empty() {
                return None;
            }
            for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
                *byte = value(*high)? << 4 | value(*low)?;
            }
            Some(Self(bytes))
        };
        parse().ok_or_else(|| {
            NameError::new(
                format!("`{}` is not a digest", printable(text)),
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

/// Returns the full form of a reference, which is the same for all spellings of one image. Text that
/// Docker rejects is returned unchanged: the service may accept it.
pub(crate) fn full_form(text: &str) -> String {
    let reference: Result<RegistryRef, _> = text.parse();
    reference.map_or_else(|_| text.to_owned(), |reference| reference.to_string())
}

/// Returns the key of the lockfile's pin for a reference: its full form. `None` if the text is not a
/// reference, or has a digest and so needs no pin.
pub(crate) fn pin_key(text: &str) -> Option<String> {
    Some(pinnable(text)?.to_string())
}

/// Parses a reference that can be pinned. `None` if the text is not a reference, or has a digest.
pub(crate) fn pinnable(text: &str) -> Option<RegistryRef> {
    let reference: RegistryRef = text.parse().ok()?;
    reference.digest().is_none().then_some(reference)
}

/// A reference to an image in a registry. Its `Display` is the full form:
/// `docker.io/library/redis:7`.
///
/// Parsed by the rules of Docker's `distribution/reference`, with two differences. The registry is
/// converted to lower case, since host names are case-insensitive. And a first segment in upper case
/// without a dot or port, which Docker reads as a host, is rejected as a typing error.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryRef {
    registry: String,
    repository: String,
    tag: Option<Tag>,
    digest: Option<OciDigest>,
}

impl RegistryRef {
    /// Returns the registry, with its port if it has one: `docker.io`, `localhost:5000`,
    /// `[::1]:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the path inside the registry: `library/redis`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag, if the reference has one. A reference without tag and digest means `latest`.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// Returns the digest, if the reference has one. It takes precedence over the tag.
    pub fn digest(&self) -> Option<OciDigest> {
        self.digest
    }

    /// Returns the name of the image within its repository: its digest, else its tag, else `latest`.
    pub(crate) fn manifest_name(&self) -> String {
        match (self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_string(),
            (None, None) => Tag::latest().to_string(),
        }
    }

    /// Returns the reference without tag and digest: `docker.io/library/redis`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
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
            return Err(NameError::new("an image reference cannot be empty", HELP));
        }
        if text.contains("://") {
            let message = format!("`{}` is a URL, not an image reference", printable(text));
            return Err(NameError::new(message, "remove `https://`"));
        }
        let (tagged, digest) = match text.split_once('@') {
            Some((tagged, digest)) => (tagged, Some(digest.parse()?)),
            None => (text, None),
        };
        // A `:` before a `/` begins the port of the registry.
        let (name, tag) = match tagged.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => {
                (name, Some(tag.parse().map_err(printable_error)?))
            }
            _ => (tagged, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
                (registry(first)?, path)
            }
            _ => (DOCKER_HUB.to_owned(), name),
        };
        let repository = repository(path, &registry)?;
        if registry.len() + 1 + repository.len() > MAX_NAME_CHARS {
            let message = format!("`{}` is too long", printable(name));
            let help = format!("registry and path have at most {MAX_NAME_CHARS} characters");
            return Err(NameError::new(message, help));
        }
        Ok(Self { registry, repository, tag, digest })
    }
}

/// Parses the host and port of a registry. Returns them in lower case, with [`DOCKER_HUB`] for its
/// aliases.
fn registry(text: &str) -> Result<String, NameError> {
    let error =
        |help: &str| Err(NameError::new(format!("`{}` is not a registry", printable(text)), help));
    let lower = text.to_ascii_lowercase();
    // The port comes after the `]` of an IPv6 address.
    let (host, port) = match lower.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (lower.as_str(), None),
    };
    if port.is_some_and(|port| !is_port(port)) {
        return error("write a port from 1 to 65535 after the `:`");
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    if !is_host {
        return error("write a host, with its port if it has one: registry.example:5000");
    }
    if DOCKER_HUB_ALIASES.contains(&lower.as_str()) {
        return Ok(DOCKER_HUB.to_owned());
    }
    Ok(lower)
}

fn is_port(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Parses a path inside a registry. On Docker Hub, `redis` becomes `library/redis`.
fn repository(path: &str, registry: &str) -> Result<String, NameError> {
    const HELP: &str = "use lower case letters and digits, with `.`, `_`, `__` or `-` between them, \
                        and `/` between the parts";
    let error = |help: String| {
        let message = format!("`{}` is not an image path", printable(path));
        Err(NameError::new(message, help))
    };
    let is_path = |path: &str| !path.is_empty() && path.split('/').all(is_component);
    if !is_path(path) {
        let lower = path.to_ascii_lowercase();
        return error(if is_path(&lower) { format!("write `{lower}`") } else { HELP.to_owned() });
    }
    // Docker reserves 64 hex digits for image IDs.
    if path.len() == 64 && path.chars().all(|c| c.is_ascii_hexdigit()) {
        return error("64 hex digits are an image ID: write the repository instead".to_owned());
    }
    let is_official = registry == DOCKER_HUB && !path.contains('/');
    Ok(if is_official { format!("library/{path}") } else { path.to_owned() })
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let is_alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator = |between: &str| {
        matches!(between, "" | "." | "_" | "__") || between.bytes().all(|c| c == b'-')
    };
    text.starts_with(is_alnum) && text.ends_with(is_alnum) && text.split(is_alnum).all(is_separator)
}

/// Escapes and shortens a text for an error message.
fn printable(text: &str) -> String {
    let printable: String = text.escape_debug().take(MAX_NAME_CHARS).collect();
    if printable.len() < text.len() { format!("{printable}...") } else { printable }
}

/// Escapes the message of a [`Tag`]'s error, which contains the text unchanged.
fn printable_error(error: NameError) -> NameError {
    NameError { message: printable(&error.message), ..error }
}

text_value!(OciDigest, RegistryRef);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_spellings_of_an_image_have_one_full_form() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        let by_digest = |text: &str| format!("{text}@{digest}");
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
            (&by_digest("redis"), &by_digest("docker.io/library/redis")),
            (&by_digest("redis:7"), &by_digest("docker.io/library/redis:7")),
            (&by_digest("localhost:5000/x"), &by_digest("localhost:5000/x")),
        ];
        for (text, full) in table {
            let reference: RegistryRef = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(reference.to_string(), full, "{text}");
        }
    }

    const INVALID: &[&str] = &[
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
    fn references_that_docker_rejects_are_rejected() {
        let long = "a".repeat(256);
        let id = "0".repeat(64);
        let short = format!("a@sha256:{}", "0".repeat(63));
        let upper = format!("a@sha256:{}", "A".repeat(64));
        let other = format!("a@sha512:{}", "0".repeat(128));
        let twice = format!("a@sha256:{id}@sha256:{id}");
        let tag = format!("a:{}", "x".repeat(129));
        let generated = [&*long, &id, &short, &upper, &other, &twice, &tag];
        for text in INVALID.iter().copied().chain(generated) {
            let error = text.parse::<RegistryRef>().expect_err(text);
            assert!(!error.message.chars().any(char::is_control), "{error:?}");
            assert!(error.message.len() < 700 && !error.help.is_empty(), "{error:?}");
        }
        let upper_case = "Ns/App:1".parse::<RegistryRef>().unwrap_err();
        assert_eq!(upper_case.help, "write `ns/app`");
    }

    #[test]
    fn a_digest_round_trips_through_text_and_json() {
        let digest = OciDigest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));

        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<OciDigest>(&json).unwrap(), digest);
        assert!(serde_json::from_str::<OciDigest>("\"sha256:00\"").is_err());
    }

    proptest! {
        #[test]
        fn the_full_form_parses_to_the_same_reference(
            registry in prop::option::of("[a-z0-9]{1,8}(\\.[a-zA-Z0-9]{1,8}){1,2}(:[1-9][0-9]{0,3})?"),
            path in prop::collection::vec("[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}", 1..4),
            tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
            bytes in prop::option::of(any::<[u8; 32]>()),
        ) {
            // Without a registry, a first segment with a dot would be read as one.
            let ns = if registry.is_none() && path.len() > 1 { "ns/" } else { "" };
            let path = format!("{ns}{}", path.join("/"));
            let mut text = registry.map_or(path.clone(), |registry| format!("{registry}/{path}"));
            if let Some(tag) = &tag {
                text = format!("{text}:{tag}");
            }
            if let Some(bytes) = bytes {
                text = format!("{text}@{}", OciDigest(bytes));
            }
            let reference: RegistryRef = text.parse().unwrap();
            prop_assert_eq!(reference.tag().map(Tag::as_str), tag.as_deref());
            prop_assert_eq!(reference.digest(), bytes.map(OciDigest));
            let full = reference.to_string();
            let reparsed: RegistryRef = full.parse().unwrap();
            prop_assert_eq!(reparsed.to_string(), full);
            prop_assert_eq!(reparsed.registry(), reference.registry());
            prop_assert_eq!(reparsed.repository(), reference.repository());
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}|[a-z:/@.\\[\\]-]{0,20}") {
            if let Ok(reference) = text.parse::<RegistryRef>() {
                let full = reference.to_string();
                prop_assert!(full.parse::<RegistryRef>().is_ok(), "{full}");
            }
        }
    }
}
