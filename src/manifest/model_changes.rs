//! Types of the manifest's entries for images that were renamed or removed, as they are written.
//! Pure.

use schemars::JsonSchema;

use super::decode::decode_struct;
use super::pattern::UnitPattern;
use super::scalars;
use super::spanned::Spanned;

/// An image whose name or tag has changed.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(
    deny_unknown_fields,
    extend("required" = ["from", "to"], "patternProperties" = scalars::extension_keys())
)]
pub(crate) struct MovedEntry {
    /// Old name: `name`, or `name:tag` for one tag only.
    pub from: Option<Spanned<UnitPattern>>,
    /// New name: an image of this manifest, or the `from` of another entry. It has a tag if `from`
    /// has one.
    pub to: Option<Spanned<UnitPattern>>,
}

decode_struct!(MovedEntry { from, to });

/// An image that is no longer in this manifest.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(
    deny_unknown_fields,
    extend("required" = ["name"], "patternProperties" = scalars::extension_keys())
)]
pub(crate) struct RemovedEntry {
    /// Name in the lockfile: `name`, or `name:tag` for one tag only.
    pub name: Option<Spanned<UnitPattern>>,
    /// Deletes the image in the service. Without it, the image is only forgotten: it leaves the
    /// lockfile and stays in the service.
    #[schemars(extend("default" = false))]
    pub destroy: Option<bool>,
}

decode_struct!(RemovedEntry { name, destroy });
