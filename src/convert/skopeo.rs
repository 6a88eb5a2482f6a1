//! Converts the YAML of `skopeo sync --src yaml`. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::dropped::ItemPlace;
use super::mirror::{self, ForeignMirror};
use super::read::{self, LiteralTexts, OtherKeys};
use super::{ConvertError, Converted};

#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
struct SkopeoRegistry {
    #[serde(default)]
    images: Option<BTreeMap<String, LiteralTexts>>,
    #[serde(flatten)]
    other: OtherKeys,
}

/// Converts the images of registries. Patterns over tags are dropped.
///
/// # Errors
///
/// Fails if the text is not that YAML.
pub(crate) fn convert(text: &str) -> Result<Converted, ConvertError> {
    let registries: BTreeMap<String, SkopeoRegistry> = read::yaml(text)?;
    let mut converted = Converted::default();
    converted.draft.comments.push(mirror::ONE_PLATFORM.to_owned());
    for (host, registry) in registries {
        if mirror::has_password(&host) {
            let reason = "its mirrors are left out: it has a user or a password";
            converted.dropped.add(&ItemPlace::once("a registry"), "", reason);
            continue;
        }
        let place = ItemPlace::key(&host);
        for (key, value) in read::said(registry.other) {
            drop_key(&place, &host, (&key, &value), &mut converted);
        }
        for (repository, tags) in registry.images.unwrap_or_default() {
            let LiteralTexts(tags) = tags;
            let place = place.field("images").field(&repository);
            if tags.is_empty() {
                let reason = "all tags are meant: list those to mirror";
                converted.dropped.add(&place, "", reason);
            }
            for tag in tags {
                let separator = if tag.starts_with("sha256:") { '@' } else { ':' };
                let source = format!("{host}/{repository}{separator}{tag}");
                let mirror =
                    ForeignMirror { source: &source, destination: None, platforms: Vec::new() };
                mirror::add(mirror, &place, &mut converted);
            }
        }
    }
    Ok(converted)
}

fn drop_key(
    place: &ItemPlace,
    host: &str,
    (key, value): (&str, &Value),
    converted: &mut Converted,
) {
    if let ("images-by-tag-regex" | "images-by-semver", Value::Object(repositories)) = (key, value)
    {
        for repository in repositories.keys() {
            let place = place.field(key).field(repository);
            converted.dropped.add(&place, "", "a pattern over tags: list the tags to mirror");
        }
        return;
    }
    let reason = match key {
        "credentials" => {
            format!("no password is copied; the service pulls public images of {host}")
        }
        "tls-verify" | "cert-dir" => "the service makes the connection".to_owned(),
        _ => "skopeo has no such key".to_owned(),
    };
    converted.dropped.add(place, key, reason);
}
