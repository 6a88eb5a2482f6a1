//! Converts the JSON that `docker buildx bake --print` prints. Pure.
//!
//! `--print` resolves functions, variables, matrices and inheritance. A bake file itself, in HCL or
//! JSON, has all of these, so it is refused.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::build::{self, BuildFields};
use super::builds::{ForeignBuild, NamedContext, assemble};
use super::dropped::{DropList, ItemPlace};
use super::folders::Folders;
use super::read::{self, NamedValue, NamedValues, OtherKeys, Texts};
use super::{ConvertError, Converted};
use crate::base::name::Tag;

/// Help for a file that was not printed by bake.
const PRINT_HELP: &str =
    "convert what bake resolves: docker buildx bake --print > bake.json, then convert bake.json";

/// Maximum number of groups, each of which is searched for groups within it.
const MAX_GROUPS: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
struct BakeFile {
    #[serde(default)]
    group: Map<String, Value>,
    #[serde(default)]
    target: Map<String, Value>,
    #[serde(flatten)]
    other: OtherKeys,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
struct BakeGroup {
    #[serde(default)]
    targets: Texts,
    #[serde(flatten)]
    other: OtherKeys,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
struct BakeTarget {
    description: Option<String>,
    context: Option<String>,
    #[serde(default)]
    contexts: NamedValues,
    dockerfile: Option<String>,
    #[serde(rename = "dockerfile-inline")]
    inline: Option<String>,
    #[serde(default)]
    args: NamedValues,
    #[serde(default)]
    tags: Texts,
    target: Option<String>,
    #[serde(default)]
    platforms: Texts,
    #[serde(flatten)]
    other: OtherKeys,
}

/// Converts the output of `docker buildx bake --print`.
///
/// # Errors
///
/// Fails if the text is not that output.
pub(crate) fn convert(text: &str, folders: &Folders) -> Result<Converted, ConvertError> {
    let file: BakeFile = read::json(text)
        .map_err(|error| ConvertError::new(format!("not the JSON of bake: {error}"), PRINT_HELP))?;
    let mut converted = Converted::default();
    for (key, _) in read::said(file.other) {
        if ["variable", "function"].contains(&&*key) {
            return Err(unresolved(&key));
        }
        converted.dropped.add(&ItemPlace::once(&key), "", "it is no part of the output of bake");
    }
    let groups = groups_of_targets(file.group, &mut converted.dropped)?;
    let mut builds = Vec::new();
    for (id, value) in file.target {
        let place = ItemPlace::named("target", &id);
        let target: BakeTarget = read::item(&place, value)?;
        let mut build = foreign_build(id, (place, target), folders, &mut converted.dropped)?;
        let of_build = groups.get(&build.id).into_iter().flatten();
        if let Some(image) = &mut build.image {
            image.groups = of_build.cloned().collect();
        }
        builds.push(build);
    }
    assemble(builds, &mut converted);
    Ok(converted)
}

fn unresolved(key: &str) -> ConvertError {
    ConvertError::new(
        format!("this is a bake file with `{key}`, not the output of bake"),
        PRINT_HELP,
    )
}

fn foreign_build(
    id: String,
    (place, target): (ItemPlace, BakeTarget),
    folders: &Folders,
    dropped: &mut DropList,
) -> Result<ForeignBuild, ConvertError> {
    for (key, _) in read::said(target.other) {
        if ["inherits", "matrix", "name"].contains(&&*key) {
            return Err(unresolved(&key));
        }
        dropped.add(&place, &key, reason(&key));
    }
    let fields = BuildFields {
        context: target.context,
        dockerfile: target.dockerfile,
        inline: target.inline.map(|_| "dockerfile-inline"),
        args: target.args,
        target: target.target,
        platforms: target.platforms.0,
        platforms_field: "platforms",
    };
    let mut image = build::image(fields, folders, (&place, dropped));
    if let (Some(image), Some(description)) = (&mut image, target.description) {
        image.comments.push(description);
    }
    let mut bases = Vec::new();
    for (alias, context) in target.contexts.0 {
        let id = match &context {
            NamedValue::Text(context) => context.strip_prefix("target:"),
            NamedValue::Missing | NamedValue::Unclear => None,
        };
        if let Some(id) = id {
            bases.push(NamedContext { field: "contexts", alias, id: id.to_owned() });
        } else if image.take().is_some() {
            let reason = "the image is left out: a named context is a target of this file, or a \
                          stage of the Dockerfile";
            dropped.add(&place, &format!("contexts.{alias}"), reason);
        }
    }
    let references = target.tags.0.into_iter().map(|tag| ("tags", tag)).collect();
    Ok(ForeignBuild { id, place, references, bases, image })
}

/// Returns the reason why a field of a build has no place in a manifest.
pub(super) fn reason(key: &str) -> &'static str {
    match key {
        "labels" | "annotations" => "write them into the Dockerfile, as LABEL",
        "cache-from" | "cache-to" | "cache_from" | "cache_to" => {
            "the service has a cache of its own"
        }
        "secret" | "secrets" | "ssh" => "a build of the service gets no secrets",
        "output" => "the service keeps the image",
        "attest" | "sbom" | "provenance" => "the service makes no attestations",
        "no-cache" | "no-cache-filter" | "no_cache" => "use `imgplan apply --replace`",
        "pull" => "`imgplan lock --upgrade` looks for newer bases",
        _ => "the service has no such setting",
    }
}

/// Returns the groups of each target, also those that contain a group of it.
fn groups_of_targets(
    groups: Map<String, Value>,
    dropped: &mut DropList,
) -> Result<BTreeMap<String, Vec<String>>, ConvertError> {
    if groups.len() > MAX_GROUPS {
        let message = format!("it has more than {MAX_GROUPS} groups");
        return Err(ConvertError::new(message, "print fewer groups"));
    }
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in groups {
        let place = ItemPlace::named("group", &name);
        let group: BakeGroup = read::item(&place, value)?;
        for (key, _) in read::said(group.other) {
            dropped.add(&place, &key, "a group has only a name");
        }
        // The rule for names of groups is that for tags.
        if name.parse::<Tag>().is_err() {
            dropped.add(&place, "", "no group can have this name");
        }
        members.insert(name, group.targets.0);
    }
    let mut of_targets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in members.keys().filter(|name| name.parse::<Tag>().is_ok()) {
        let (mut queue, mut seen) = (vec![name], std::collections::BTreeSet::from([name]));
        while let Some(group) = queue.pop() {
            for member in members.get(group).into_iter().flatten().filter(|it| seen.insert(it)) {
                if members.contains_key(member) {
                    queue.push(member);
                } else {
                    of_targets.entry(member.clone()).or_default().push(name.clone());
                }
            }
        }
    }
    Ok(of_targets)
}
