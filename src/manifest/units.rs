//! Splits images into units, one for each platform, and rejects units with the same destination.

use std::collections::HashMap;
use std::sync::Arc;

use super::diagnostics::{Diagnostics, Note};
use super::files;
use super::image::{ImageContent, ResolvedImage};
use super::lower::PlatformBuild;
use super::workspace::{BuildOrigin, InputScope, Origin, Unit};
use crate::base::name::{ImageName, ImageRef, Platform, TagTemplate};
use crate::base::span::{Problem, Span};

/// Span of an image, and its note if it was generated.
type ImagePlace<'n> = (Span, Option<&'n Note>);

/// Splits images into units, and records in each image which units it has. `inputs` is for the
/// images that do not set theirs.
pub(super) fn split(
    images: &mut [ResolvedImage<'_>],
    inputs: InputScope,
    diagnostics: &mut Diagnostics,
) -> Vec<Unit> {
    let mut units = Vec::with_capacity(images.iter().map(|image| image.platforms.len()).sum());
    let mut used: HashMap<ImageRef, ImagePlace<'_>> = HashMap::new();
    for image in images {
        for &platform in &image.platforms {
            let tag = match image.tag.for_one_of(platform, image.platforms.len()) {
                Ok(tag) => tag,
                Err(error) => {
                    let outer = diagnostics.enter(image.note);
                    diagnostics.error(error.message, image.span, error.help);
                    diagnostics.leave(outer);
                    continue;
                }
            };
            let Some(unit) = unit(image, tag, platform, inputs) else { continue };
            if !image.damaged {
                let place = (image.span, image.note);
                if let Some(&first) = used.get(&unit.key) {
                    diagnostics.push(same_destination(&unit.shown(), first, place));
                    continue;
                }
                used.insert(unit.key.clone(), place);
            }
            image.units.push(units.len());
            units.push(unit);
        }
    }
    reject_ambiguous_tags(&used, &units, diagnostics);
    units
}

/// Rejects a literal tag that equals the tag of another unit for some fingerprint.
fn reject_ambiguous_tags(
    used: &HashMap<ImageRef, ImagePlace<'_>>,
    units: &[Unit],
    diagnostics: &mut Diagnostics,
) {
    let mut open: HashMap<&ImageName, Vec<(&TagTemplate, Span)>> = HashMap::new();
    for unit in units {
        if let Some(tag) = &unit.content_tag {
            open.entry(&unit.image).or_default().push((tag, unit.span));
        }
    }
    for unit in units.iter().filter(|unit| unit.content_tag.is_none()) {
        if used.get(&unit.key).is_none_or(|(span, _)| *span != unit.span) {
            continue;
        }
        let mut same_image = open.get(&unit.image).into_iter().flatten();
        if let Some((_, span)) = same_image.find(|(tag, _)| tag.matches(&unit.key.tag)) {
            let (first, second) = (unit.span.min(*span), unit.span.max(*span));
            let key = unit.key.to_string();
            diagnostics.push(same_destination(&key, (first, None), (second, None)));
        }
    }
}

fn same_destination(key: &str, first: ImagePlace<'_>, second: ImagePlace<'_>) -> Problem {
    let message = format!("two images have the destination {key}");
    if let ((span, Some(note)), (same, Some(other))) = (first, second)
        && span == same
    {
        let label = format!("{} and {}", note.words, other.words);
        let help = "use the variables or placeholders that distinguish them in `name:` or `tag:`";
        return Problem::new(message, span, label).help(help);
    }
    let label = |word: &str, note: Option<&Note>| match note {
        Some(note) => format!("{word}, {}", note.words),
        None => word.to_owned(),
    };
    Problem::new(message, second.0, label("second image", second.1))
        .and(first.0, label("first image", first.1))
        .help("change the `name:` or `tag:` of one of them")
}

fn unit(
    image: &ResolvedImage<'_>,
    tag: TagTemplate,
    platform: Platform,
    default_inputs: InputScope,
) -> Option<Unit> {
    let image_tag = Some(&image.tag).filter(|own| **own != tag);
    let image_tag = image_tag.and_then(|own| own.as_str().parse().ok());
    Some(Unit {
        key: ImageRef { name: image.name.clone(), tag: tag.placeholder_tag() },
        content_tag: Some(tag).filter(TagTemplate::has_fingerprint),
        image: image.name.clone(),
        image_tag,
        old_names: Vec::new(),
        platform,
        owner: image.owner.clone(),
        visibility: image.visibility,
        timeout: image.fields.timeout,
        max_age: image.fields.max_age,
        protect: image.fields.protect,
        groups: image.fields.groups.clone(),
        labels: image.fields.labels.clone(),
        origin: match &image.content {
            ImageContent::Mirror(source) => Origin::Mirror(source.clone()),
            ImageContent::Build { context, target, inputs, .. } => {
                let PlatformBuild { dockerfile, args, .. } = image.build_on(platform)?;
                Origin::Build(BuildOrigin {
                    context: context.clone(),
                    dockerfile_path: dockerfile.path.clone(),
                    dockerfile_inside: files::path_inside(context, &dockerfile.path),
                    inputs: inputs.unwrap_or(default_inputs),
                    args: args.clone(),
                    target: target.clone(),
                    dockerfile: Arc::clone(&dockerfile.parsed),
                    dockerfile_start: dockerfile.start,
                    bases: Vec::new(),
                    externals: Vec::new(),
                })
            }
        },
        needs: Vec::new(),
        depth: 0,
        span: image.span,
    })
}
