//! The `discover` of an entry. Pure.

use schemars::JsonSchema;

use super::decode::decode_struct;
use super::scalars::{self, HarborOrigin, OnError};
use super::spanned::Spanned;

/// Folders or Dockerfiles to create images from.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(
    deny_unknown_fields,
    extend(
        "patternProperties" = scalars::extension_keys(),
        "dependentRequired" = { "prefer": ["harbor"] },
        "oneOf" = [
            { "required": ["glob"] },
            { "required": ["dockerfiles"] },
            { "required": ["harbor"] },
        ],
    )
)]
pub(crate) struct Discover {
    /// Pattern of folders, relative to this file. Each matching folder with a Dockerfile becomes an
    /// image. `*` and `?` match within a name, `**` matches any number of folders.
    #[schemars(extend("minLength" = 1, "examples" = ["services/*", "tasks/**"]))]
    pub glob: Option<Spanned<String>>,
    /// Pattern of Dockerfiles, relative to this file, with the syntax of `glob`. Each becomes an image
    /// with the name of the file: `api` for `api.Dockerfile` and `Dockerfile.api`, and the name of its
    /// folder for `Dockerfile`.
    #[schemars(extend("minLength" = 1, "examples" = ["docker/*.Dockerfile"]))]
    pub dockerfiles: Option<Spanned<String>>,
    /// Folder of a Harbor task, or of several tasks. The `docker_image` of a task is mirrored, or
    /// else its `environment/Dockerfile` is built.
    #[schemars(extend("minLength" = 1, "examples" = ["tasks"]))]
    pub harbor: Option<Spanned<String>>,
    /// Origin of a Harbor task that has both a `docker_image` and an `environment/Dockerfile`: `image`
    /// mirrors the first, `dockerfile` builds the second. Without it, the image is mirrored, with a
    /// warning.
    #[schemars(extend("examples" = ["dockerfile"]))]
    pub prefer: Option<Spanned<HarborOrigin>>,
    /// Consequence of a Dockerfile with errors. With `skip`, they are warnings, and the image and all
    /// that depend on it stay as they are, even with `--prune`.
    #[schemars(extend("default" = "error"))]
    pub on_error: Option<OnError>,
    /// Patterns of folders to leave out, with everything in them, or of files.
    #[schemars(with = "Option<Vec<scalars::ExcludeText>>")]
    pub exclude: Option<Vec<Spanned<String>>>,
}

decode_struct!(Discover { glob, dockerfiles, harbor, prefer, on_error, exclude });
