//! Reads what a registry says of an image: what kind of thing a tag names, and which manifest an
//! index has for each platform. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::base::name::Platform;
use crate::base::reference::OciDigest;

/// All that is accepted: indexes first, so that a registry which has one gives it and not the
/// manifest of one platform out of it.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
                                 application/vnd.docker.distribution.manifest.list.v2+json, \
                                 application/vnd.oci.image.manifest.v1+json, \
                                 application/vnd.docker.distribution.manifest.v2+json";

/// What a tag names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A manifest for each platform.
    Index,
    /// One manifest.
    Manifest,
    /// The registry does not say: it is to be seen in the thing itself.
    Unsaid,
}

/// What a registry says with the header `Content-Type`.
pub(super) fn kind(content_type: Option<&str>) -> Kind {
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
    match essence.trim().to_ascii_lowercase().as_str() {
        "application/vnd.oci.image.index.v1+json"
        | "application/vnd.docker.distribution.manifest.list.v2+json" => Kind::Index,
        // The last three are Docker's first schema, whose digest is not that of its bytes.
        "application/vnd.oci.image.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v2+json"
        | "application/vnd.docker.distribution.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v1+prettyjws" => Kind::Manifest,
        _ => Kind::Unsaid,
    }
}

/// The parts of an index, or of a manifest, that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    schema_version: Option<u32>,
    /// Only an index has these.
    #[serde(default)]
    manifests: Option<Vec<Entry>>,
    /// Only a manifest has this.
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Entry {
    digest: String,
    #[serde(default)]
    platform: Option<EntryPlatform>,
}

#[derive(Deserialize)]
struct EntryPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

/// The digests that a body has for the service's platforms: none where it is one manifest, or an
/// index that has neither. An error says what is wrong with it.
///
/// Entries that are no image, as attestations are (`unknown/unknown`), are of neither platform.
pub(super) fn platforms(body: &[u8]) -> Result<BTreeMap<Platform, OciDigest>, &'static str> {
    let body: Body =
        serde_json::from_slice(body).map_err(|_| "what the registry sent is not a manifest")?;
    // By what it says of itself, which the digest covers, and not by what a header says.
    let said = kind(body.media_type.as_deref());
    let entries = match (said, body.manifests) {
        (Kind::Manifest, _) => return Ok(BTreeMap::new()),
        (Kind::Index | Kind::Unsaid, Some(entries)) => entries,
        (Kind::Unsaid, None) if body.config.is_some() || body.schema_version == Some(1) => {
            return Ok(BTreeMap::new());
        }
        _ => return Err("what the registry sent is neither an index nor a manifest"),
    };
    let mut found: BTreeMap<Platform, (u8, OciDigest)> = BTreeMap::new();
    for entry in entries {
        let Some((platform, rank)) = entry.platform.as_ref().and_then(rank) else { continue };
        let digest = entry.digest.parse().map_err(|_| "the index has a digest that is none")?;
        // Of equals the first counts, as for Docker.
        if found.get(&platform).is_none_or(|(best, _)| rank < *best) {
            found.insert(platform, (rank, digest));
        }
    }
    Ok(found.into_iter().map(|(platform, (_, digest))| (platform, digest)).collect())
}

/// Whether a body is an index that says platforms, of which none is ours.
pub(super) fn is_foreign(body: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<Body>(body) else { return false };
    let said = kind(body.media_type.as_deref());
    let entries = body.manifests.filter(|_| said != Kind::Manifest).unwrap_or_default();
    let mut platforms = entries.iter().filter_map(|entry| entry.platform.as_ref());
    // Attestations are for no platform.
    let real = |platform: &EntryPlatform| !matches!(platform.os.as_str(), "" | "unknown");
    platforms.clone().any(real) && platforms.all(|platform| rank(platform).is_none())
}

/// The digest of the configuration of one manifest.
pub(super) fn config(body: &[u8]) -> Option<OciDigest> {
    #[derive(Deserialize)]
    struct Manifest {
        config: Descriptor,
    }
    #[derive(Deserialize)]
    struct Descriptor {
        digest: String,
    }
    let Manifest { config } = serde_json::from_slice(body).ok()?;
    config.digest.parse().ok()
}

/// The platform that an image's configuration says it is for, where it is one of the service's.
pub(super) fn platform(config: &[u8]) -> Option<Platform> {
    rank(&serde_json::from_slice(config).ok()?).map(|(platform, _)| platform)
}

/// The platform of an entry, and how well it fits: 0 is best.
fn rank(entry: &EntryPlatform) -> Option<(Platform, u8)> {
    if entry.os != "linux" {
        return None;
    }
    let variant = entry.variant.as_deref().filter(|variant| !variant.is_empty());
    match (entry.architecture.as_str(), variant) {
        ("amd64", None) => Some((Platform::Amd64, 0)),
        // What every such machine can do.
        ("amd64", Some("v1")) => Some((Platform::Amd64, 1)),
        ("amd64", Some(_)) => Some((Platform::Amd64, 2)),
        ("arm64", None | Some("v8")) => Some((Platform::Arm64, 0)),
        ("arm64", Some(_)) => Some((Platform::Arm64, 1)),
        _ => None,
    }
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

    fn pick(entries: &[(&str, &str)]) -> String {
        let manifests: Vec<_> =
            entries.iter().map(|(name, platform)| entry(name, platform)).collect();
        let body = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        let found = platforms(body.as_bytes()).unwrap();
        let name = |wanted| entries.iter().find(|(name, _)| digest(name) == wanted).unwrap().0;
        let found: Vec<_> = found
            .into_iter()
            .map(|(platform, digest)| format!("{platform}={}", name(digest)))
            .collect();
        found.join(" ")
    }

    #[test]
    fn an_index_has_one_manifest_for_each_platform() {
        let table: &[(&[(&str, &str)], &str)] = &[
            (&[("a", "linux/amd64"), ("b", "linux/arm64")], "linux/amd64=a linux/arm64=b"),
            (&[("b", "linux/arm64/v8"), ("a", "linux/amd64")], "linux/amd64=a linux/arm64=b"),
            (&[("9", "linux/arm64/v9"), ("8", "linux/arm64/v8")], "linux/arm64=8"),
            (&[("8", "linux/arm64/v8"), ("9", "linux/arm64/v9")], "linux/arm64=8"),
            (&[("9", "linux/arm64/v9")], "linux/arm64=9"),
            (
                &[("3", "linux/amd64/v3"), ("1", "linux/amd64/v1"), ("0", "linux/amd64/")],
                "linux/amd64=0",
            ),
            (&[("3", "linux/amd64/v3"), ("1", "linux/amd64/v1")], "linux/amd64=1"),
            (&[("a", "linux/amd64"), ("b", "linux/amd64")], "linux/amd64=a"),
            (&[("w", "windows/amd64"), ("x", "unknown/unknown"), ("y", "linux/arm/v7")], ""),
            (&[("a", "linux/amd64"), ("x", "unknown/unknown")], "linux/amd64=a"),
            (&[], ""),
        ];
        for (entries, expected) in table {
            assert_eq!(pick(entries), *expected, "{entries:?}");
        }
    }

    #[test]
    fn one_image_says_its_platform_in_its_configuration() {
        let manifest = json!({"config": {"digest": digest("c").to_string()}}).to_string();
        assert_eq!(config(manifest.as_bytes()), Some(digest("c")));
        for none in ["{}", "[]", "", "{\"config\":{}}", "{\"config\":{\"digest\":\"sha512:0\"}}"] {
            assert_eq!(config(none.as_bytes()), None, "{none}");
        }
        let of = |os, architecture| json!({"os": os, "architecture": architecture}).to_string();
        assert_eq!(platform(of("linux", "arm64").as_bytes()), Some(Platform::Arm64));
        for other in [of("windows", "amd64"), of("linux", "s390x"), "{}".to_owned(), "x".to_owned()]
        {
            assert_eq!(platform(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn an_index_for_others_is_told_from_one_that_does_not_say() {
        let index = |platforms: &[&str]| {
            let entries: Vec<_> = platforms.iter().map(|platform| entry("x", platform)).collect();
            is_foreign(json!({"manifests": entries}).to_string().as_bytes())
        };
        assert!(index(&["linux/arm/v7", "unknown/unknown"]) && index(&["windows/amd64"]));
        assert!(!index(&["linux/arm/v7", "linux/arm64"]));
        assert!(!index(&["unknown/unknown"]) && !index(&[]));
        let silent = json!({"manifests": [{"digest": digest("a").to_string()}]}).to_string();
        assert!(!is_foreign(silent.as_bytes()) && !is_foreign(b"x"));
    }

    #[test]
    fn bodies() {
        let none = json!({"digest": digest("a").to_string()});
        let bad =
            json!({"digest": "sha256:0", "platform": {"os": "linux", "architecture": "amd64"}});
        let foreign =
            json!({"digest": "sha512:0", "platform": {"os": "plan9", "architecture": "x"}});
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        let table = [
            (json!({"schemaVersion": 2, "config": {}, "layers": []}), true),
            (json!({"mediaType": manifest, "config": {}}), true),
            // Not to be taken for the other kind by whoever reads it another way.
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
            let read = platforms(body.to_string().as_bytes());
            assert_eq!(read.is_ok_and(|found| found.is_empty()), ok, "{body}");
        }
        assert!(platforms(b"<html>").is_err());
    }

    #[test]
    fn kinds() {
        let table = [
            ("application/vnd.oci.image.index.v1+json", Kind::Index),
            (
                "Application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8",
                Kind::Index,
            ),
            ("application/vnd.docker.distribution.manifest.v2+json", Kind::Manifest),
            ("application/vnd.docker.distribution.manifest.v1+prettyjws", Kind::Manifest),
            ("application/json", Kind::Unsaid),
            ("", Kind::Unsaid),
        ];
        for (text, expected) in table {
            assert_eq!(kind(Some(text)), expected, "{text}");
        }
        assert_eq!(kind(None), Kind::Unsaid);
        assert!(ACCEPT.split(", ").all(|accepted| kind(Some(accepted)) != Kind::Unsaid));
    }
}
