//! The blobs and manifests that a manifest or an index names, for copying. Pure.

use serde::Deserialize;

use super::manifest::{ACCEPT, MediaKind, media_kind};
use crate::base::reference::OciDigest;

/// Media types of layers whose licence forbids to distribute them. Registries do not have them, and
/// clients fetch them from the URLs in the manifest.
const FOREIGN_LAYERS: [&str; 4] = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
];

/// Maximum number of manifests in an index, and of layers in a manifest. Real ones have up to some
/// dozens, and 127 layers are the most that Docker runs.
const MAX_ENTRIES: usize = 1000;

/// A blob or a manifest, with the size that its content must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlobDescriptor {
    pub(super) digest: OciDigest,
    /// Size in bytes.
    pub(super) size: u64,
}

/// The content of a manifest or an index.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ManifestContent {
    /// The configuration of an image and its layers, each blob once. Layers that must not be distributed
    /// are left out: a copy has only their descriptors, with the URLs from which clients fetch them.
    Image(Vec<BlobDescriptor>),
    /// An index of manifests; each once.
    Index(Vec<BlobDescriptor>),
}

/// A parsed manifest or index.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParsedManifest {
    /// One of the four media types of OCI and Docker.
    pub(super) media_type: &'static str,
    pub(super) content: ManifestContent,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContentBody {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<DescriptorBody>,
    #[serde(default)]
    layers: Vec<DescriptorBody>,
    #[serde(default)]
    manifests: Option<Vec<DescriptorBody>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescriptorBody {
    #[serde(default)]
    media_type: Option<String>,
    digest: String,
    size: u64,
}

/// Parses a manifest or an index, which the registry sent as `content_type`.
///
/// # Errors
///
/// Fails with a message if it is neither, is of Docker's schema 1, whose digest does not survive a copy, or
/// has a digest other than SHA-256.
pub(super) fn parse(
    body: &[u8],
    content_type: Option<&str>,
) -> Result<ParsedManifest, &'static str> {
    let body: ContentBody =
        serde_json::from_slice(body).map_err(|_| "the response is not a manifest")?;
    let media_type = media_type(&body, content_type)?;
    let content = match (media_kind(Some(media_type)), body.manifests, body.config) {
        (MediaKind::Index, Some(manifests), _) => {
            let entries = manifests.iter().map(DescriptorBody::descriptor);
            ManifestContent::Index(distinct(entries)?)
        }
        (MediaKind::Manifest, _, Some(config)) => {
            let layers = body.layers.iter().filter(|layer| !layer.is_foreign());
            let blobs = std::iter::once(&config).chain(layers).map(DescriptorBody::descriptor);
            ManifestContent::Image(distinct(blobs)?)
        }
        _ => return Err("the response is neither an index nor a manifest"),
    };
    Ok(ParsedManifest { media_type, content })
}

/// Returns the media type: that in the body, which the digest covers, else that of the header, else that
/// of the body's form.
fn media_type(
    body: &ContentBody,
    content_type: Option<&str>,
) -> Result<&'static str, &'static str> {
    let [oci_index, _, oci_manifest, _] = *ACCEPT else {
        return Err("no media type is accepted");
    };
    let essence = |text: &str| text.split(';').next().unwrap_or_default().trim().to_lowercase();
    let known = |text: &str| ACCEPT.iter().copied().find(|known| *known == essence(text));
    let by_form = if body.manifests.is_some() { oci_index } else { oci_manifest };
    match (body.media_type.as_deref(), content_type) {
        (Some(text), _) => known(text).ok_or("it is an image of a kind that is not copied"),
        (None, Some(text)) if media_kind(Some(text)) != MediaKind::Unknown => {
            known(text).ok_or("it is an image of Docker's schema 1, which is not copied")
        }
        (None, _) => Ok(by_form),
    }
}

impl DescriptorBody {
    fn is_foreign(&self) -> bool {
        self.media_type.as_deref().is_some_and(|kind| FOREIGN_LAYERS.contains(&kind))
    }

    fn descriptor(&self) -> Result<BlobDescriptor, &'static str> {
        let digest = self.digest.parse();
        let digest = digest.map_err(|_| "the manifest has a digest that is not of SHA-256")?;
        Ok(BlobDescriptor { digest, size: self.size })
    }
}

/// Returns the descriptors, each once.
fn distinct(
    descriptors: impl Iterator<Item = Result<BlobDescriptor, &'static str>>,
) -> Result<Vec<BlobDescriptor>, &'static str> {
    let mut distinct: Vec<BlobDescriptor> = Vec::new();
    for descriptor in descriptors {
        let descriptor = descriptor?;
        match distinct.iter().find(|known| known.digest == descriptor.digest) {
            Some(known) if known.size != descriptor.size => {
                return Err("the manifest has two sizes for one digest");
            }
            Some(_) => {}
            None if distinct.len() == MAX_ENTRIES => {
                return Err("the manifest has more than 1000 entries");
            }
            None => distinct.push(descriptor),
        }
    }
    Ok(distinct)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn descriptor(name: &str, size: u64, kind: &str) -> Value {
        json!({"mediaType": kind, "digest": OciDigest::of(name.as_bytes()), "size": size})
    }

    fn of(name: &str, size: u64) -> BlobDescriptor {
        BlobDescriptor { digest: OciDigest::of(name.as_bytes()), size }
    }

    fn parsed(body: &Value, content_type: Option<&str>) -> Result<ParsedManifest, &'static str> {
        parse(body.to_string().as_bytes(), content_type)
    }

    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    #[test]
    fn each_blob_is_named_once_and_foreign_layers_are_left_out() {
        let body = json!({
            "schemaVersion": 2, "mediaType": ACCEPT[3], "config": descriptor("c", 1, "x"),
            "layers": [
                descriptor("l", 2, LAYER), descriptor("m", 0, LAYER), descriptor("l", 2, LAYER),
                descriptor("f", 9, FOREIGN_LAYERS[1]),
            ],
        });
        let expected = ParsedManifest {
            media_type: ACCEPT[3],
            content: ManifestContent::Image(vec![of("c", 1), of("l", 2), of("m", 0)]),
        };
        assert_eq!(parsed(&body, Some("application/json")), Ok(expected));
    }

    #[test]
    fn the_media_type_is_that_of_the_body_then_that_of_the_header() {
        let image = json!({"config": descriptor("c", 1, "x")});
        let index = json!({"manifests": []});
        let with = |body: &Value, kind: &str| {
            let mut body = body.clone();
            body["mediaType"] = kind.into();
            body
        };
        for (body, content_type, expected) in [
            (with(&image, ACCEPT[2]), Some(ACCEPT[3]), ACCEPT[2]),
            (image.clone(), Some(ACCEPT[3]), ACCEPT[3]),
            (image.clone(), Some("application/json"), ACCEPT[2]),
            (image.clone(), None, ACCEPT[2]),
            (with(&index, ACCEPT[1]), None, ACCEPT[1]),
            (index.clone(), None, ACCEPT[0]),
            (index.clone(), Some("Application/VND.oci.image.index.v1+json; x=1"), ACCEPT[0]),
        ] {
            let result = parsed(&body, content_type);
            assert_eq!(result.map(|parsed| parsed.media_type), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_cannot_be_copied_is_refused() {
        let schema_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        let image = json!({"config": descriptor("c", 1, "x")});
        let sha_512 =
            json!({"config": {"digest": format!("sha512:{}", "0".repeat(128)), "size": 1}});
        let two_sizes =
            json!({"config": descriptor("c", 1, "x"), "layers": [descriptor("c", 2, LAYER)]});
        let negative = json!({"config": {"digest": OciDigest::of(b""), "size": -1}});
        let many: Vec<_> =
            (0..=MAX_ENTRIES).map(|n| descriptor(&n.to_string(), 1, LAYER)).collect();
        for (body, content_type, expected) in [
            (image.clone(), Some(schema_1), "schema 1"),
            (json!({"mediaType": schema_1}), None, "a kind that is not copied"),
            (json!({"mediaType": ACCEPT[0], "config": image["config"]}), None, "neither"),
            (json!({"mediaType": ACCEPT[2], "manifests": []}), None, "neither"),
            (json!({}), None, "neither"),
            (sha_512, None, "SHA-256"),
            (two_sizes, None, "two sizes"),
            (negative, None, "not a manifest"),
            (json!({"config": image["config"], "layers": many}), None, "more than 1000"),
            (json!([]), None, "neither"),
            (json!("x"), None, "not a manifest"),
        ] {
            let error = parsed(&body, content_type).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
