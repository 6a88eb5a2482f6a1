//! Turns one image of another registry into an entry with a `source`. Pure.

use super::Converted;
use super::draft::{DraftImage, DraftOrigin};
use super::dropped::ItemPlace;
use crate::base::name::{ImageName, NameError, Platform, Tag};
use crate::base::source_ref::{RegistryKind, SourceRef};

/// Comment for formats that copy all platforms of an image.
pub(super) const ONE_PLATFORM: &str =
    "An entry without `platforms:` mirrors linux/amd64, not all platforms as before.";

/// A mirror: its source, and the name and the tag that it should have.
#[derive(Debug)]
pub(super) struct ForeignMirror<'a> {
    pub(super) source: &'a str,
    /// Path and tag in the registry of the other tool, if it names them.
    pub(super) destination: Option<(&'a str, &'a str)>,
    pub(super) platforms: Vec<Platform>,
}

/// Adds a mirror, or drops it with the reason.
pub(super) fn add(mirror: ForeignMirror<'_>, place: &ItemPlace, converted: &mut Converted) {
    let left_out = |reason: String| format!("the mirror is left out: {reason}");
    match entry(mirror, place, converted) {
        Ok((key, image)) => {
            if let Err(reason) = converted.draft.add(&key, image) {
                converted.dropped.add(place, "", left_out(reason));
            }
        }
        Err(error) => converted.dropped.add(place, "", left_out(error.message)),
    }
}

/// Returns the entry of a mirror, with its `name:tag`.
fn entry(
    mirror: ForeignMirror<'_>,
    place: &ItemPlace,
    converted: &mut Converted,
) -> Result<(String, DraftImage), NameError> {
    if has_password(mirror.source) {
        return Err(NameError::new("it has a user or a password", "remove them"));
    }
    let source: SourceRef = mirror.source.parse()?;
    let derived = source.destination(false)?;
    let mut image = DraftImage::new(DraftOrigin::Source(source.to_string()));
    image.platforms = mirror.platforms;
    let (mut name, mut tag) = derived.clone();
    if let Some((path, own_tag)) = mirror.destination {
        let is_docker_hub = source.registry_kind() == RegistryKind::DockerHub;
        if !is_docker_hub {
            name = path.rsplit('/').next().unwrap_or(path).parse::<ImageName>()?;
            tag = own_tag.parse::<Tag>()?;
        } else if !format!("/{path}").ends_with(&format!("/{name}")) || own_tag != tag.as_str() {
            let reason = format!("the service names mirrors of Docker Hub itself: {name}:{tag}");
            converted.dropped.add(place, "target", reason);
        }
    }
    image.name = Some(name.to_string()).filter(|_| name != derived.0);
    image.tag = Some(tag.to_string()).filter(|_| tag != derived.1);
    Ok((format!("{name}:{tag}"), image))
}

/// True for a reference with a user or a password before an `@`, which is never shown.
pub(super) fn has_password(reference: &str) -> bool {
    reference.split_once('@').is_some_and(|(_, digest)| !digest.starts_with("sha256:"))
}
