//! Parses manifests, indexes and image configurations. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::base::name::Platform;
use crate::base::platform::PlatformName;
use crate::base::reference::OciDigest;

/// The `Accept` headers. Indexes come first, so that a registry returns the index and not the manifest of
/// one of its platforms. One header for each media type, as Docker sends them: some servers do not split
/// a header at its commas.
pub(super) const ACCEPT: &[&str] = &[
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// The kind of a media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaKind {
    /// An index: one manifest per platform.
    Index,
    /// A manifest of one image.
    Manifest,
    /// Missing or generic: only the body tells.
    Unknown,
}

/// Returns the kind of a media type.
pub(super) fn media_kind(content_type: Option<&str>) -> MediaKind {
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
    match essence.trim().to_ascii_lowercase().as_str() {
        "application/vnd.oci.image.index.v1+json"
        | "application/vnd.docker.distribution.manifest.list.v2+json" => MediaKind::Index,
        // The last two are Docker's schema 1, whose digest is not the digest of its bytes.
        "application/vnd.oci.image.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v2+json"
        | "application/vnd.docker.distribution.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v1+prettyjws" => MediaKind::Manifest,
        _ => MediaKind::Unknown,
    }
}

/// The fields of an index or a manifest that are used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestBody {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    schema_version: Option<u32>,
    /// Present in an index.
    #[serde(default)]
    manifests: Option<Vec<IndexEntry>>,
    /// Present in a manifest.
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct IndexEntry {
    digest: String,
    #[serde(default)]
    platform: Option<OciPlatform>,
}

/// A platform in an index or an image configuration. `null` is the same as nothing.
#[derive(Deserialize)]
struct OciPlatform {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

impl OciPlatform {
    fn name(&self) -> PlatformName {
        let [os, arch, variant] = [&self.os, &self.architecture, &self.variant]
            .map(|text| text.as_deref().unwrap_or_default());
        PlatformName::normalize(os, arch, variant)
    }
}

/// Returns the digests of an index for the service's platforms. Empty for a manifest, and for an index
/// without such an entry. Entries that are not images, such as attestations (`unknown/unknown`), are
/// ignored.
///
/// # Errors
///
/// Fails with a message if the body is neither an index nor a manifest, or has an invalid digest.
pub(super) fn platforms(body: &[u8]) -> Result<BTreeMap<Platform, OciDigest>, &'static str> {
    let body: ManifestBody =
        serde_json::from_slice(body).map_err(|_| "the response is not a manifest")?;
    // The media type in the body counts, because the digest covers it; the header does not.
    let kind = media_kind(body.media_type.as_deref());
    let entries = match (kind, body.manifests) {
        (MediaKind::Manifest, _) => return Ok(BTreeMap::new()),
        (MediaKind::Index | MediaKind::Unknown, Some(entries)) => entries,
        (MediaKind::Unknown, None) if body.config.is_some() || body.schema_version == Some(1) => {
            return Ok(BTreeMap::new());
        }
        _ => return Err("the response is neither an index nor a manifest"),
    };
    let mut best: BTreeMap<Platform, (bool, OciDigest)> = BTreeMap::new();
    for entry in entries {
        let Some(name) = entry.platform.as_ref().map(OciPlatform::name) else { continue };
        let Some(platform) = name.service_platform() else { continue };
        let digest = entry.digest.parse().map_err(|_| "the index has an invalid digest")?;
        // The first of equal entries wins, as in Docker.
        if best.get(&platform).is_none_or(|(has_variant, _)| *has_variant && !name.has_variant()) {
            best.insert(platform, (name.has_variant(), digest));
        }
    }
    Ok(best.into_iter().map(|(platform, (_, digest))| (platform, digest)).collect())
}

/// Returns the platforms of the images in an index.
pub(super) fn image_platforms(body: &[u8]) -> BTreeSet<PlatformName> {
    let Ok(body) = serde_json::from_slice::<ManifestBody>(body) else { return BTreeSet::new() };
    let kind = media_kind(body.media_type.as_deref());
    let entries = body.manifests.filter(|_| kind != MediaKind::Manifest).unwrap_or_default();
    let platforms = entries.iter().filter_map(|entry| entry.platform.as_ref());
    platforms.map(OciPlatform::name).filter(PlatformName::is_image).collect()
}

/// Returns the platforms of an index that has images, but none for a platform of the service.
pub(super) fn unsupported_platforms(body: &[u8]) -> BTreeSet<PlatformName> {
    let images = image_platforms(body);
    let has_ours = images.iter().any(|name| name.service_platform().is_some());
    if has_ours { BTreeSet::new() } else { images }
}

/// Returns the digest of a manifest's configuration.
pub(super) fn config_digest(manifest: &[u8]) -> Option<OciDigest> {
    #[derive(Deserialize)]
    struct WithConfig {
        config: Descriptor,
    }
    #[derive(Deserialize)]
    struct Descriptor {
        digest: String,
    }
    let WithConfig { config } = serde_json::from_slice(manifest).ok()?;
    config.digest.parse().ok()
}

/// Returns the platform in an image configuration. `None` if it names no platform.
pub(super) fn config_platform(config: &[u8]) -> Option<PlatformName> {
    let platform: OciPlatform = serde_json::from_slice(config).ok()?;
    Some(platform.name()).filter(PlatformName::is_image)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(text: &str) -> OciDigest {
        OciDigest::of(text.as_bytes())
    }

    fn entry(name: &str, platform: &str) -> serde_json::Value {
        let mut parts = platform.split('/');
        let mut platform = json!({"os": parts.next(), "architecture": parts.next()});
        if let Some(variant) = parts.next() {
            platform["variant"] = variant.into();
        }
        json!({"digest": digest(name).to_string(), "platform": platform})
    }

    fn chosen(entries: &[(&str, &str)]) -> String {
        let manifests: Vec<_> =
            entries.iter().map(|(name, platform)| entry(name, platform)).collect();
        let body = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        let platforms = platforms(body.as_bytes()).unwrap();
        let name = |chosen| entries.iter().find(|(name, _)| digest(name) == chosen).unwrap().0;
        let texts: Vec<_> = platforms
            .into_iter()
            .map(|(platform, digest)| format!("{platform}={}", name(digest)))
            .collect();
        texts.join(" ")
    }

    #[test]
    fn the_best_variant_is_chosen_for_each_platform() {
        let table: &[(&[(&str, &str)], &str)] = &[
            (&[("a", "linux/amd64"), ("b", "linux/arm64")], "linux/amd64=a linux/arm64=b"),
            (&[("b", "linux/arm64/v8"), ("a", "linux/amd64")], "linux/amd64=a linux/arm64=b"),
            (&[("9", "linux/arm64/v9"), ("8", "linux/arm64/v8")], "linux/arm64=8"),
            (&[("8", "linux/arm64/v8"), ("9", "linux/arm64/v9")], "linux/arm64=8"),
            (&[("9", "linux/arm64/v9")], "linux/arm64=9"),
            (
                &[("3", "linux/amd64/v3"), ("1", "linux/amd64/v1"), ("0", "linux/amd64/")],
                "linux/amd64=1",
            ),
            (&[("x", "linux/x86_64"), ("a", "Linux/AArch64")], "linux/amd64=x linux/arm64=a"),
            (&[("x", "/AMD64"), ("a", "linux/arm64/8")], "linux/amd64=x linux/arm64=a"),
            (&[("3", "linux/amd64/v3"), ("1", "linux/amd64/v1")], "linux/amd64=1"),
            (&[("a", "linux/amd64"), ("b", "linux/amd64")], "linux/amd64=a"),
            (&[("w", "windows/amd64"), ("x", "unknown/unknown"), ("y", "linux/arm/v7")], ""),
            (&[("a", "linux/amd64"), ("x", "unknown/unknown")], "linux/amd64=a"),
            (&[], ""),
        ];
        for (entries, expected) in table {
            assert_eq!(chosen(entries), *expected, "{entries:?}");
        }
    }

    #[test]
    fn the_platform_is_read_from_the_configuration() {
        let manifest = json!({"config": {"digest": digest("c").to_string()}}).to_string();
        assert_eq!(config_digest(manifest.as_bytes()), Some(digest("c")));
        for none in ["{}", "[]", "", "{\"config\":{}}", "{\"config\":{\"digest\":\"sha512:0\"}}"] {
            assert_eq!(config_digest(none.as_bytes()), None, "{none}");
        }
        let config = |os, architecture| json!({"os": os, "architecture": architecture}).to_string();
        let platform = |config: &str| Some(config_platform(config.as_bytes())?.to_string());
        for (os, arch, expected) in [
            ("linux", "aarch64", "linux/arm64"),
            ("windows", "amd64", "windows/amd64"),
            ("linux", "s390x", "linux/s390x"),
            ("", "x86_64", "linux/amd64"),
        ] {
            assert_eq!(platform(&config(os, arch)).as_deref(), Some(expected));
        }
        assert_eq!(platform(r#"{"architecture":"arm64"}"#).as_deref(), Some("linux/arm64"));
        // An artifact, an attestation, and no JSON.
        for none in ["{}", "{\"os\":null}", &config("unknown", "unknown"), "x"] {
            assert_eq!(platform(none), None, "{none}");
        }
    }

    #[test]
    fn an_index_for_other_platforms_only_is_recognized() {
        let unsupported = |platforms: &[&str]| {
            let entries: Vec<_> = platforms.iter().map(|platform| entry("x", platform)).collect();
            let body = json!({"manifests": entries}).to_string();
            crate::base::text::list(unsupported_platforms(body.as_bytes()), 9)
        };
        let table: &[(&[&str], &str)] = &[
            (&["linux/arm/v7", "unknown/unknown"], "linux/arm/v7"),
            (&["linux/armhf", "linux/arm/7", "linux/riscv64"], "linux/arm/v7, linux/riscv64"),
            (&["windows/amd64", "Windows/ARM64"], "windows/amd64, windows/arm64"),
            (&["linux/arm/v7", "linux/arm64"], ""),
            (&["linux/s390x", "Linux/AArch64"], ""),
            (&["unknown/unknown"], ""),
            (&[], ""),
        ];
        for (platforms, expected) in table {
            assert_eq!(unsupported(platforms), *expected, "{platforms:?}");
        }
        let unspecified = json!({"manifests": [{"digest": digest("a").to_string()}]}).to_string();
        assert!(unsupported_platforms(unspecified.as_bytes()).is_empty());
        assert!(unsupported_platforms(b"x").is_empty());
    }

    #[test]
    fn only_manifests_and_indexes_are_accepted() {
        let none = json!({"digest": digest("a").to_string()});
        let bad =
            json!({"digest": "sha256:0", "platform": {"os": "linux", "architecture": "amd64"}});
        let foreign =
            json!({"digest": "sha512:0", "platform": {"os": "plan9", "architecture": "x"}});
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        let table = [
            (json!({"schemaVersion": 2, "config": {}, "layers": []}), true),
            (json!({"mediaType": manifest, "config": {}}), true),
            // The media type wins over the fields, so that all readers agree on the kind.
            (json!({"mediaType": manifest, "manifests": [bad]}), true),
            (json!({"schemaVersion": 1, "fsLayers": []}), true),
            (json!({"manifests": [none]}), true),
            (json!({"manifests": [foreign]}), true),
            (json!({"manifests": [bad]}), false),
            (json!({"mediaType": "application/vnd.oci.image.index.v1+json"}), false),
            (json!({"manifests": 1}), false),
            (json!({"errors": []}), false),
            (json!({}), false),
            (json!([]), false),
            (json!("x"), false),
        ];
        for (body, ok) in table {
            let result = platforms(body.to_string().as_bytes());
            assert_eq!(result.is_ok_and(|platforms| platforms.is_empty()), ok, "{body}");
        }
        assert!(platforms(b"<html>").is_err());
    }

    #[test]
    fn media_types_have_a_kind() {
        let table = [
            ("application/vnd.oci.image.index.v1+json", MediaKind::Index),
            (
                "Application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8",
                MediaKind::Index,
            ),
            ("application/vnd.docker.distribution.manifest.v2+json", MediaKind::Manifest),
            ("application/vnd.docker.distribution.manifest.v1+prettyjws", MediaKind::Manifest),
            ("application/json", MediaKind::Unknown),
            ("", MediaKind::Unknown),
        ];
        for (text, expected) in table {
            assert_eq!(media_kind(Some(text)), expected, "{text}");
        }
        assert_eq!(media_kind(None), MediaKind::Unknown);
        assert!(ACCEPT.iter().all(|accepted| media_kind(Some(accepted)) != MediaKind::Unknown));
    }
}
