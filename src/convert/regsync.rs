//! Converts the configuration of regsync. Pure.

use regex::RegexSetBuilder;
use serde::Deserialize;

use super::build;
use super::dropped::ItemPlace;
use super::mirror::{self, ForeignMirror};
use super::read::{self, LiteralTexts, OtherKeys, Texts};
use super::{ConvertError, Converted};
use crate::base::name::{Platform, Tag};
use crate::base::reference::RegistryRef;

/// Reason to drop a pattern.
const PATTERN: &str = "a pattern over tags: list the tags to mirror";

/// Maximum size of the program of the patterns of a `deny`, in bytes.
const MAX_DENY_BYTES: usize = 64 << 10;

#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
struct RegsyncFile {
    #[serde(default)]
    creds: Option<Vec<RegsyncCredentials>>,
    #[serde(default)]
    defaults: Option<OtherKeys>,
    #[serde(default)]
    sync: Option<Vec<RegsyncEntry>>,
    #[serde(flatten)]
    other: OtherKeys,
}

/// Credentials of a registry, of which only the host is read.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
struct RegsyncCredentials {
    registry: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
struct RegsyncEntry {
    source: Option<String>,
    target: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    tags: Option<RegsyncTags>,
    #[serde(default, rename = "tagSets")]
    tag_sets: Option<Vec<RegsyncTags>>,
    platform: Option<String>,
    #[serde(default)]
    platforms: Texts,
    #[serde(flatten)]
    other: OtherKeys,
}

/// A selection of tags, by anchored regular expressions.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "a mapping")]
struct RegsyncTags {
    #[serde(default)]
    allow: LiteralTexts,
    #[serde(default)]
    deny: LiteralTexts,
    #[serde(flatten)]
    other: OtherKeys,
}

/// Converts the entries of `sync`. Patterns over tags are dropped.
///
/// # Errors
///
/// Fails if the text is not a configuration of regsync.
pub(crate) fn convert(text: &str) -> Result<Converted, ConvertError> {
    let file: RegsyncFile = read::yaml(text)?;
    let mut converted = Converted::default();
    converted.draft.comments.push(mirror::ONE_PLATFORM.to_owned());
    for (index, credentials) in file.creds.into_iter().flatten().enumerate() {
        let host = credentials.registry.filter(|host| !mirror::has_password(host));
        let host = host.as_deref().unwrap_or("its host");
        let reason = format!("no password is copied; the service pulls public images of {host}");
        converted.dropped.add(&ItemPlace::indexed("creds", index), "", reason);
    }
    for (key, _) in read::said(file.defaults.unwrap_or_default()) {
        converted.dropped.add(&ItemPlace::once("defaults"), &key, reason(&key));
    }
    for (key, _) in read::said(file.other) {
        if key != "version" && !key.starts_with("x-") {
            converted.dropped.add(&ItemPlace::once(&key), "", reason(&key));
        }
    }
    for (index, entry) in file.sync.into_iter().flatten().enumerate() {
        let place = ItemPlace::indexed("sync", index);
        add_entry(entry, &place, &mut converted);
    }
    Ok(converted)
}

fn reason(key: &str) -> &'static str {
    match key {
        "interval" | "schedule" => "run `imgplan apply` as a scheduled job",
        "parallel" | "ratelimit" => "imgplan keeps to the limits of the service",
        "backup" => "the service keeps no old image under another tag",
        "hooks" => "imgplan runs no hooks",
        _ => "the service has no such setting",
    }
}

fn add_entry(entry: RegsyncEntry, place: &ItemPlace, converted: &mut Converted) {
    for (key, _) in read::said(entry.other) {
        converted.dropped.add(place, &key, reason(&key));
    }
    let mut platforms = entry.platforms.0;
    platforms.extend(entry.platform);
    let platforms = build::platforms(&platforms, "platforms", (place, &mut converted.dropped));
    let Some(platforms) = platforms else { return };
    let (source, target) = (entry.source.unwrap_or_default(), entry.target.unwrap_or_default());
    let left_out = match entry.kind.as_deref() {
        _ if [&source, &target].iter().any(|text| text.contains("{{")) => "it is a template",
        _ if [&source, &target].iter().any(|text| text.contains("://")) => {
            "it is not in a registry"
        }
        Some("image") => {
            return add_mirror((&source, &target, None), platforms, place, converted);
        }
        Some("repository") if !is_repository(&source) => "its source is not a repository",
        Some("repository") => "",
        Some("registry") => "all repositories of a registry are meant: list those to mirror",
        _ => "its type is not known",
    };
    if !left_out.is_empty() {
        return converted.dropped.add(place, "", format!("the mirror is left out: {left_out}"));
    }
    let mut tag_sets: Vec<RegsyncTags> = entry.tag_sets.unwrap_or_default();
    tag_sets.extend(entry.tags);
    if tag_sets.is_empty() {
        tag_sets.push(RegsyncTags::default());
    }
    for tags in tag_sets {
        for tag in listed_tags(tags, place, converted) {
            let names = (&*source, &*target, Some(&*tag));
            add_mirror(names, platforms.clone(), place, converted);
        }
    }
}

/// Adds the mirror of an image, or of one tag of a repository.
fn add_mirror(
    (source, target, tag): (&str, &str, Option<&str>),
    platforms: Vec<Platform>,
    place: &ItemPlace,
    converted: &mut Converted,
) {
    let reference: Option<RegistryRef> = target.parse().ok();
    if reference.is_none() {
        converted.dropped.add(place, "target", "it is no reference: the name is the source's");
    }
    let destination = reference.as_ref().map(|reference| {
        let of_target = reference.tag().map_or("latest", Tag::as_str);
        (reference.repository(), tag.unwrap_or(of_target))
    });
    let source = tag.map_or_else(|| source.to_owned(), |tag| format!("{source}:{tag}"));
    mirror::add(ForeignMirror { source: &source, destination, platforms }, place, converted);
}

fn is_repository(source: &str) -> bool {
    let reference: Result<RegistryRef, _> = source.parse();
    reference.is_ok_and(|reference| reference.tag().is_none() && reference.digest().is_none())
}

/// Returns the tags that a selection lists by name and does not deny.
fn listed_tags(tags: RegsyncTags, place: &ItemPlace, converted: &mut Converted) -> Vec<String> {
    let others: Vec<String> = read::said(tags.other).map(|(key, _)| key).collect();
    for key in &others {
        converted.dropped.add(place, &format!("tags.{key}"), PATTERN);
    }
    let denied = tags.deny.0.iter().map(|pattern| format!("^(?:{pattern})$"));
    let denied = RegexSetBuilder::new(denied).size_limit(MAX_DENY_BYTES).build();
    if denied.is_err() {
        converted.dropped.add(place, "tags.deny", "an invalid expression, or too large a one");
    }
    let Some(denied) = denied.ok().filter(|_| others.is_empty()) else {
        // Whether a listed tag is meant is not known.
        for tag in &tags.allow.0 {
            let reason = format!("the mirror is left out, as it may not be meant: {tag}");
            converted.dropped.add(place, "tags.allow", reason);
        }
        return Vec::new();
    };
    if tags.allow.0.is_empty() {
        converted.dropped.add(place, "tags", "all tags are meant: list those to mirror");
        return Vec::new();
    }
    let mut listed = Vec::new();
    for pattern in &tags.allow.0 {
        match literal(pattern) {
            Some(tag) if denied.is_match(&tag) => {}
            Some(tag) => listed.push(tag),
            None => converted.dropped.add(place, "tags.allow", format!("{PATTERN}: {pattern}")),
        }
    }
    listed
}

/// Returns the tag that a pattern means, if it means one. A dot means a dot, as in `3.19`, although it
/// would match any character.
fn literal(pattern: &str) -> Option<String> {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let pattern = pattern.strip_suffix('$').unwrap_or(pattern);
    let tag = pattern.replace("\\.", ".");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    tag.chars().all(is_plain).then_some(tag)
}
