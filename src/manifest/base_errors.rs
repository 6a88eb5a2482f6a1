//! Describes references to images of the manifest that cannot be their base. Pure.

use crate::base::name::{ImageName, NameError, Platform};
use crate::dockerfile::ReferencePlatform;

/// Describes a base that has no unit on the platform that the image `own` requests. `name` is the
/// name of the base.
pub(super) fn not_built(
    own: &ImageName,
    name: &str,
    reference: &str,
    (platform, requested): (Platform, &ReferencePlatform),
) -> NameError {
    let without = "remove `--platform`";
    match requested {
        ReferencePlatform::Other(other) => NameError::new(
            format!("`{reference}` is not built for `{}`", other.escape_debug()),
            format!("the service builds for linux/amd64 and linux/arm64: {without}"),
        ),
        ReferencePlatform::Fixed(fixed) => NameError::new(
            format!("`{reference}` is not built for {fixed}, which `--platform` requests"),
            format!("add {fixed} to the platforms of `{name}`, or {without}"),
        ),
        ReferencePlatform::Unit | ReferencePlatform::Builder => NameError::new(
            format!("`{reference}` is not built for {platform}, but {own} is"),
            format!("add {platform} to the platforms of `{name}`"),
        ),
    }
}
