//! The type of `settings.local` of a manifest: see [`model`](super::model). Pure.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::decode::{Decode, decode_struct, decode_text};
use super::diagnostics::Diagnostics;
use super::node::YamlNode;
use super::scalars::{self, DurationSetting, SizeSetting, describe, scalar};
use super::spanned::Spanned;
use crate::base::engine_kind::EngineKind;
use crate::base::name::NameError;

/// Engine of `--local`, the server inside of imgplan, and its limits. Flags and environment variables
/// override them. A manifest cannot set the registry, its credentials and certificates, nor the network
/// of builds: it comes with a checkout, which must not choose where images and passwords go, or which
/// services of this machine a build reaches. These are flags and environment variables only.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(deny_unknown_fields, extend("patternProperties" = scalars::extension_keys()))]
pub(crate) struct LocalSettings {
    /// Program that makes the images, as `--engine`.
    #[schemars(extend("default" = "check"))]
    pub engine: Option<EngineKind>,
    /// Maximum disk space of all builds and their caches, as `--disk`.
    #[schemars(extend("default" = "20GB"))]
    pub disk: Option<SizeSetting>,
    /// Maximum memory of a build, as `--memory`.
    #[schemars(extend("default" = "2GiB"))]
    pub memory: Option<SizeSetting>,
    /// Maximum number of builds at the same time, as `--slots`. The default is one for each core, and 8
    /// with `buildx`.
    #[schemars(range(min = 1, max = 1000))]
    pub slots: Option<Spanned<u32>>,
    /// Maximum time of a build, as `--build-timeout`.
    #[schemars(extend("default" = "1h"))]
    pub build_timeout: Option<DurationSetting>,
}

scalar!(
    EngineKind,
    |node, diagnostics| decode_text(node, diagnostics, |text| {
        let kind = EngineKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        kind.ok_or_else(|| {
            let message = format!("`{}` is not an engine", text.escape_debug());
            NameError::new(message, "write check, buildah, buildx or auto")
        })
    }),
    {
        "anyOf": [
            { "const": "check", "description": "Check builds, and build nothing." },
            { "const": "buildah", "description": "Build with Buildah and runc." },
            { "const": "buildx", "description": "Build with a builder of docker buildx." },
            { "const": "auto", "description": "Buildah if it works here, else check." },
            { "type": "string", "pattern": r"\$", "description": "From a variable." },
        ]
    }
);

decode_struct!(LocalSettings { engine, disk, memory, slots, build_timeout });
