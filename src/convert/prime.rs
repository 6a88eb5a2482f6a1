//! Converts the JSON lines of `prime images push-bulk`. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::build::{self, BuildFields};
use super::builds::{ForeignBuild, assemble};
use super::dropped::ItemPlace;
use super::folders::Folders;
use super::read::{self, NamedValues, OtherKeys, Texts};
use super::{ConvertError, Converted};

#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
struct PrimeLine {
    image: Option<String>,
    context: Option<String>,
    /// Path of the Dockerfile, relative to the file.
    dockerfile: Option<String>,
    #[serde(default)]
    platform: Texts,
    #[serde(flatten)]
    other: OtherKeys,
}

/// Converts JSON lines, each of which is a build.
///
/// # Errors
///
/// Fails if a line is not JSON, or is one of `transfer-bulk` or `update-bulk`.
pub(crate) fn convert(text: &str, folders: &Folders) -> Result<Converted, ConvertError> {
    let (mut converted, mut builds) = (Converted::default(), Vec::new());
    for (index, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let place = ItemPlace::line(index + 1);
        let value: Value = read::json(text.trim()).map_err(|error| {
            let help = "write one JSON object per line, as for `prime images push-bulk`";
            ConvertError::new(format!("{place} is not JSON: {error}"), help)
        })?;
        if value.get("set").is_some() {
            let help = "it changes images that exist: write `moved:` for a new name, or \
                        `visibility:` for the image, into the manifest";
            return Err(ConvertError::new(format!("{place} is one of update-bulk"), help));
        }
        if value.get("source").is_some() {
            let help = "a manifest reads such lines itself: write `- sources_from: <file>.jsonl` \
                        under `images:`";
            return Err(ConvertError::new(format!("{place} is one of transfer-bulk"), help));
        }
        let line: PrimeLine = read::item(&place, value)?;
        for key in line.other.keys() {
            converted.dropped.add(&place, key, "prime has no such key");
        }
        builds.extend(foreign_build(line, place, folders, &mut converted));
    }
    assemble(builds, &mut converted);
    Ok(converted)
}

fn foreign_build(
    line: PrimeLine,
    place: ItemPlace,
    folders: &Folders,
    converted: &mut Converted,
) -> Option<ForeignBuild> {
    let (Some(image), Some(context)) = (line.image, line.context) else {
        let reason = "the line is left out: it needs an `image` and a `context`";
        converted.dropped.add(&place, "", reason);
        return None;
    };
    // Relative to the file, unlike in other formats.
    let dockerfile = line.dockerfile.and_then(|path| folders.of_context(&context, &path));
    let fields = BuildFields {
        context: Some(context),
        dockerfile,
        platforms: line.platform.0,
        platforms_field: "platform",
        args: NamedValues::default(),
        ..BuildFields::default()
    };
    let entry = build::image(fields, folders, (&place, &mut converted.dropped));
    let (id, bases) = (place.to_string(), Vec::new());
    Some(ForeignBuild { id, place, references: vec![("image", image)], bases, image: entry })
}
