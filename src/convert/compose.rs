//! Converts a Compose file: the services that have a `build`. Pure.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::bake::reason;
use super::build::{self, BuildFields};
use super::builds::{ForeignBuild, assemble};
use super::dropped::{DropList, ItemPlace};
use super::folders::Folders;
use super::read::{self, NamedValues, OtherKeys, Texts};
use super::{ConvertError, Converted};
use crate::base::source_ref::SourceRef;

/// Reason to drop a part that only Compose can resolve.
const RESOLVE: &str = "Compose must resolve it; convert the output of `docker compose config`";

/// Keys of a service that are about its image.
const IMAGE_KEYS: [&str; 3] = ["build", "image", "platform"];

#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
struct ComposeFile {
    #[serde(default)]
    services: Map<String, Value>,
    #[serde(flatten)]
    other: OtherKeys,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
struct ComposeService {
    build: Option<Value>,
    image: Option<String>,
    platform: Option<String>,
    #[serde(flatten)]
    other: OtherKeys,
}

#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "a mapping")]
struct ComposeBuild {
    context: Option<String>,
    dockerfile: Option<String>,
    dockerfile_inline: Option<String>,
    #[serde(default)]
    args: NamedValues,
    target: Option<String>,
    #[serde(default)]
    platforms: Texts,
    #[serde(default)]
    tags: Texts,
    #[serde(default)]
    additional_contexts: NamedValues,
    #[serde(rename = "x-bake")]
    bake: Option<ComposeBake>,
    #[serde(flatten)]
    other: OtherKeys,
}

/// The fields of `x-bake`, which Bake adds to those of the build.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "a mapping")]
struct ComposeBake {
    #[serde(default)]
    tags: Texts,
    #[serde(default)]
    platforms: Texts,
    #[serde(default)]
    contexts: NamedValues,
    #[serde(flatten)]
    other: OtherKeys,
}

/// Converts a Compose file.
///
/// # Errors
///
/// Fails if the text is not a Compose file.
pub(crate) fn convert(text: &str, folders: &Folders) -> Result<Converted, ConvertError> {
    let file: ComposeFile = read::yaml(text)?;
    let mut converted = Converted::default();
    for (key, _) in read::said(file.other) {
        let place = ItemPlace::once(&key);
        if key == "include" {
            converted.dropped.add(&place, "", RESOLVE);
        } else if !is_extension(&key) && !["version", "name"].contains(&&*key) {
            converted.dropped.add_not_about_images(&place, "");
        }
    }
    let mut builds = Vec::new();
    for (id, mut value) in file.services {
        let place = ItemPlace::named("services", &id);
        let is_resolved = IMAGE_KEYS.iter().all(|key| value.get_mut(key).is_none_or(unescape));
        let mut service: ComposeService = read::item(&place, value)?;
        let is_complete = is_resolved && !service.other.contains_key("extends");
        for (key, _) in read::said(std::mem::take(&mut service.other)) {
            if key != "extends" && !is_extension(&key) {
                converted.dropped.add_not_about_images(&place, &key);
            }
        }
        if !is_complete {
            converted.dropped.add(&place, "", format!("the image is left out: {RESOLVE}"));
            let (references, bases, image) = (Vec::new(), Vec::new(), None);
            builds.push(ForeignBuild { id, place, references, bases, image });
            continue;
        }
        let build = match service.build.take() {
            Some(Value::String(context)) => {
                ComposeBuild { context: Some(context), ..ComposeBuild::default() }
            }
            Some(build) => read::item(place.field("build"), build)?,
            None => {
                suggest_mirror(&place, service.image.as_deref(), &mut converted);
                continue;
            }
        };
        builds.push(foreign_build((id, place), service, build, folders, &mut converted.dropped));
    }
    assemble(builds, &mut converted);
    Ok(converted)
}

fn is_extension(key: &str) -> bool {
    key.starts_with("x-")
}

/// Replaces `$$` by a dollar sign in all texts. Returns false if one of them has a variable.
fn unescape(value: &mut Value) -> bool {
    match value {
        Value::String(text) => {
            let is_resolved = !text.replace("$$", "").contains('$');
            *text = text.replace("$$", "$");
            is_resolved
        }
        Value::Array(items) => items.iter_mut().all(unescape),
        Value::Object(keys) => keys.values_mut().all(unescape),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Adds a comment with the mirror of a service that is not built.
fn suggest_mirror(place: &ItemPlace, image: Option<&str>, converted: &mut Converted) {
    converted.dropped.add_not_about_images(place, "image");
    if let Some(source) = image.and_then(|image| image.parse::<SourceRef>().ok()) {
        let suggestion = format!("- source: \"{source}\"   # {place} is not built: a mirror of it");
        converted.draft.suggestions.push(suggestion);
    }
}

fn foreign_build(
    (id, place): (String, ItemPlace),
    service: ComposeService,
    build: ComposeBuild,
    folders: &Folders,
    dropped: &mut DropList,
) -> ForeignBuild {
    let place_of_build = place.field("build");
    let bake = build.bake.unwrap_or_default();
    for (key, _) in read::said(build.other).filter(|(key, _)| !is_extension(key)) {
        dropped.add(&place_of_build, &key, reason(&key));
    }
    for (key, _) in read::said(bake.other) {
        dropped.add(&place_of_build.field("x-bake"), &key, reason(&key));
    }
    let platforms = [build.platforms.0, bake.platforms.0].concat();
    let platforms = if platforms.is_empty() { Vec::from_iter(service.platform) } else { platforms };
    let fields = BuildFields {
        context: build.context,
        dockerfile: build.dockerfile,
        is_inline: build.dockerfile_inline.is_some(),
        args: build.args,
        target: build.target,
        platforms,
    };
    let mut image = build::image(fields, folders, (&place_of_build, dropped));
    let mut bases = Vec::new();
    for (alias, context) in build.additional_contexts.0.into_iter().chain(bake.contexts.0) {
        let context = context.unwrap_or_default();
        let id = context.strip_prefix("service:").or_else(|| context.strip_prefix("target:"));
        if let Some(id) = id {
            bases.push((alias, id.to_owned()));
        } else if image.take().is_some() {
            let reason = "the image is left out: a named context is a service of this file, or a \
                          stage of the Dockerfile";
            dropped.add(&place_of_build, &format!("additional_contexts.{alias}"), reason);
        }
    }
    let references = service.image.into_iter().chain(build.tags.0).chain(bake.tags.0).collect();
    ForeignBuild { id, place, references, bases, image }
}
