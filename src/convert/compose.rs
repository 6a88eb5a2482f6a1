//! Converts a Compose file: the services that have a `build`. Pure.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::bake::reason;
use super::build::{self, BuildFields};
use super::builds::{ForeignBuild, NamedContext, assemble};
use super::dropped::{DropList, ItemPlace};
use super::folders::Folders;
use super::read::{self, NamedValue, NamedValues, OtherKeys, Texts};
use super::{ConvertError, Converted};

/// Reason to drop a part that only Compose can resolve.
const RESOLVE: &str = "Compose must resolve it; convert the output of `docker compose config`";

/// Fields of a service that are read, as JSON pointers without the first `/`. A `build` that is a text
/// is its context.
const READ_FIELDS: [&str; 12] = [
    "image",
    "platform",
    "build/context",
    "build/dockerfile",
    "build/args",
    "build/target",
    "build/platforms",
    "build/tags",
    "build/additional_contexts",
    "build/x-bake/tags",
    "build/x-bake/platforms",
    "build/x-bake/contexts",
];

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
        let unresolved = unescape_fields(&mut value);
        let mut service: ComposeService = read::item(&place, value)?;
        let extends = service.other.remove("extends").filter(|_| service.build.is_some());
        for (key, _) in read::said(std::mem::take(&mut service.other)) {
            if !is_extension(&key) {
                converted.dropped.add_not_about_images(&place, &key);
            }
        }
        let Some(build) = service.build.take() else {
            for (key, value) in [("image", &service.image), ("platform", &service.platform)] {
                if value.is_some() {
                    converted.dropped.add_not_about_images(&place, key);
                }
            }
            continue;
        };
        if let Some(field) = extends.map(|_| "extends".to_owned()).or(unresolved) {
            converted.dropped.add(&place, &field, format!("the image is left out: {RESOLVE}"));
            let (references, bases, image) = (Vec::new(), Vec::new(), None);
            builds.push(ForeignBuild { id, place, references, bases, image });
            continue;
        }
        let build = match build {
            Value::String(context) => {
                ComposeBuild { context: Some(context), ..ComposeBuild::default() }
            }
            build => read::item(place.field("build"), build)?,
        };
        builds.push(foreign_build((id, place), service, build, folders, &mut converted.dropped));
    }
    assemble(builds, &mut converted);
    Ok(converted)
}

fn is_extension(key: &str) -> bool {
    key.starts_with("x-")
}

/// Replaces `$$` by a dollar sign in the fields of a service that are read. Returns the first one that
/// has a variable.
fn unescape_fields(service: &mut Value) -> Option<String> {
    let is_text = service.get("build").is_some_and(Value::is_string);
    for field in READ_FIELDS.into_iter().chain(is_text.then_some("build")) {
        if !service.pointer_mut(&format!("/{field}")).is_none_or(unescape) {
            return Some(field.replace('/', "."));
        }
    }
    None
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
        inline: build.dockerfile_inline.map(|_| "dockerfile_inline"),
        args: build.args,
        target: build.target,
        platforms,
        platforms_field: "platforms",
    };
    let mut image = build::image(fields, folders, (&place_of_build, dropped));
    let mut bases = Vec::new();
    let own = build.additional_contexts.0.into_iter();
    let own = own.map(|context| ("build.additional_contexts", context));
    let of_bake = bake.contexts.0.into_iter().map(|context| ("build.x-bake.contexts", context));
    for (field, (alias, context)) in own.chain(of_bake) {
        let id = match &context {
            NamedValue::Text(text) => {
                text.strip_prefix("service:").or_else(|| text.strip_prefix("target:"))
            }
            NamedValue::Missing | NamedValue::Unclear => None,
        };
        if let Some(id) = id {
            bases.push(NamedContext { field, alias, id: id.to_owned() });
        } else if image.take().is_some() {
            let reason = "the image is left out: a named context is a service of this file, or a \
                          stage of the Dockerfile";
            dropped.add(&place, &format!("{field}.{alias}"), reason);
        }
    }
    let fields = [
        ("image", Vec::from_iter(service.image)),
        ("build.tags", build.tags.0),
        ("build.x-bake.tags", bake.tags.0),
    ];
    let of_field = |(field, texts): (_, Vec<String>)| texts.into_iter().map(move |it| (field, it));
    let references = fields.into_iter().flat_map(of_field).collect();
    ForeignBuild { id, place, references, bases, image }
}
