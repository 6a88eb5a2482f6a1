//! Types of a manifest as it is written: each value with its span, no default filled in. The JSON
//! Schema ([`schema`](super::schema())) is generated from these types and their comments. Pure.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::build_args::ArgValue;
use super::decode::{Decode, decode_struct};
use super::diagnostics::Diagnostics;
use super::model_matrix::Matrix;
use super::node::YamlNode;
use super::published::PublishedAs;
use super::scalars;
pub(crate) use super::scalars::{DurationSetting, GroupName, SizeSetting, VisibilitySetting};
use super::spanned::Spanned;
use super::workspace::InputScope;
use crate::base::glob::Glob;
use crate::base::limit::Limit;
use crate::base::name::{ImageName, Owner, Platform, TagTemplate};
use crate::base::source_ref::SourceRef;

pub(crate) use super::model_changes::{MovedEntry, RemovedEntry};
pub(crate) use super::model_discover::Discover;
pub(crate) use super::model_local::LocalSettings;
pub(crate) use super::pairs::Pairs;

/// Images that should exist in an image service.
///
/// Strings may contain the variables `${VAR}`, `${VAR:-default}` and `${VAR:?message}`. Values come
/// from `--var`, `vars`, `matrix` or the environment, in this order. `$$` is a dollar sign.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(
    deny_unknown_fields,
    title = "imgplan manifest",
    extend(
        "$id" = "urn:imgplan:manifest:1",
        "required" = ["version"],
        "patternProperties" = scalars::extension_keys(),
        "anyOf" = [{ "required": ["images"] }, { "required": ["include"] }],
    )
)]
pub(crate) struct Manifest {
    /// Version of the manifest format: 1.
    #[schemars(schema_with = "scalars::version")]
    pub version: Option<Spanned<u64>>,
    /// Other manifests to read together with this one: paths or patterns, relative to this file.
    /// They inherit `vars`, `defaults` and `owner` of this file; their own values win. `settings`
    /// are only allowed in the first file.
    #[schemars(
        with = "Option<Vec<scalars::IncludeText>>",
        extend("examples" = [["teams/*/imgplan.yaml"]])
    )]
    pub include: Option<Vec<Spanned<String>>>,
    /// Variables for `${VAR}`. They override the environment; `--var` overrides them. A variable
    /// can use the variables above it.
    #[schemars(
        with = "Option<BTreeMap<String, scalars::VariableText>>",
        extend("examples" = [{ "PYTHON": "3.12", "TAG": "${NIGHT:-latest}" }])
    )]
    pub vars: Option<Pairs<Spanned<String>>>,
    /// Default values for all images of this file and of the files that it includes.
    pub defaults: Option<Defaults>,
    /// Default owner of the images: `personal`, `platform` or `team: <id>`. Without it, the team of
    /// the credentials, or else the account of the API key.
    pub owner: Option<Spanned<Owner>>,
    /// Connection to the service, and limits.
    pub settings: Option<ManifestSettings>,
    /// Groups of images: the name of each group, with patterns of its images. Images can also list
    /// their groups themselves.
    #[schemars(
        with = "Option<BTreeMap<String, scalars::GroupPatterns>>",
        extend(
            "propertyNames" = { "pattern": r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$" },
            "examples" = [{ "nightly": ["etl-*", "report:v1"] }]
        )
    )]
    pub groups: Option<Pairs<Vec<Spanned<Glob>>>>,
    /// Images whose name or tag has changed. The existing image is kept and not built again under
    /// its new name.
    pub moved: Option<Vec<Spanned<MovedEntry>>>,
    /// Images that are no longer in this manifest, to be forgotten or deleted.
    pub removed: Option<Vec<Spanned<RemovedEntry>>>,
    /// The images, in any order.
    #[schemars(with = "Vec<Image>")]
    pub images: Option<Spanned<Vec<Spanned<Image>>>>,
}

decode_struct!(Manifest {
    version,
    include,
    vars,
    defaults,
    owner,
    settings,
    groups,
    moved,
    removed,
    images,
});

/// Default values for images.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(deny_unknown_fields, extend("patternProperties" = scalars::extension_keys()))]
pub(crate) struct Defaults {
    /// Tag of the image. It may contain `{arch}` and `{fingerprint}`. A mirror uses the tag of its
    /// source instead.
    #[schemars(extend("default" = "latest"))]
    pub tag: Option<Spanned<TagTemplate>>,
    /// Path of the Dockerfile, relative to the context of each image. Not used for mirrors.
    #[schemars(extend("default" = "Dockerfile"))]
    pub dockerfile: Option<Spanned<String>>,
    /// Values of build arguments (`ARG`) of every image whose Dockerfile declares them. Arguments of
    /// an image are added to these and override them. Not used for mirrors.
    #[schemars(
        with = "Option<BTreeMap<String, scalars::ArgText>>",
        extend(
            "propertyNames" = { "pattern": scalars::ARG_PATTERN },
            "examples" = [{ "MIRROR": "https://mirror.example.com" }]
        )
    )]
    pub args: Option<Pairs<Spanned<ArgValue>>>,
    /// Platforms of the image. Each platform is built on its own.
    #[schemars(extend("minItems" = 1, "uniqueItems" = true, "default" = ["linux/amd64"]))]
    pub platforms: Option<Spanned<Vec<Spanned<Platform>>>>,
    /// Visibility of the image: who can pull it.
    #[schemars(extend("default" = "inherit"))]
    pub visibility: Option<Spanned<VisibilitySetting>>,
    /// Maximum time to wait for a build of the image. After it, imgplan stops waiting, and the next
    /// run continues to wait. Without it, there is no time limit.
    pub timeout: Option<Spanned<DurationSetting>>,
    /// Maximum age of the image: when it is older, it is rebuilt. At least one minute. Without it,
    /// the image is rebuilt only if something has changed.
    #[schemars(extend("pattern" = scalars::AGE_PATTERN, "examples" = ["7d", "24h"]))]
    pub max_age: Option<Spanned<DurationSetting>>,
    /// Protects the image: no command deletes it.
    #[schemars(extend("default" = false))]
    pub protect: Option<bool>,
    /// Labels to select images by, for example with the team that maintains them. Labels of an
    /// image are added to these and override them.
    #[schemars(
        with = "Option<BTreeMap<String, scalars::LabelText>>",
        extend("propertyNames" = { "pattern": scalars::LABEL_PATTERN }, "examples" = [{ "team": "search" }])
    )]
    pub labels: Option<Pairs<Spanned<String>>>,
    /// Groups that the image belongs to. Groups of an image are added to these.
    #[schemars(extend("examples" = [["nightly"]]))]
    pub groups: Option<Vec<Spanned<GroupName>>>,
    /// Treats an image of this manifest that the Dockerfile refers to as a base, which is built
    /// first. With `false`, only `needs` sets the order, and no reference is replaced.
    #[schemars(extend("default" = true))]
    pub infer_bases: Option<bool>,
    /// References under which each image is known outside, with `{name}` for its name. Dockerfiles
    /// that refer to an image by one of them are built on it. Not used for mirrors.
    #[schemars(extend("examples" = ["quay.io/org/{name}"]))]
    pub published_as: Option<PublishedAs>,
}

decode_struct!(Defaults {
    tag,
    dockerfile,
    args,
    platforms,
    visibility,
    timeout,
    max_age,
    protect,
    labels,
    groups,
    infer_bases,
    published_as,
});

/// Connection to the service, and limits.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(deny_unknown_fields, extend("patternProperties" = scalars::extension_keys()))]
pub(crate) struct ManifestSettings {
    /// URL of the service. `PRIME_API_BASE_URL` overrides it.
    #[schemars(extend(
        "pattern" = r"\$|^\s*https?://",
        "default" = "https://api.primeintellect.ai"
    ))]
    pub url: Option<Spanned<String>>,
    /// URL of a shared state, in the place of the lockfile: `s3://bucket/path`, `gs://bucket/path`,
    /// `az://container/path`, or `file:path` inside the repository. `--state` overrides it.
    #[schemars(extend("pattern" = r"\$|^\s*(s3|gs|az|file):"))]
    pub state: Option<Spanned<String>>,
    /// Builds at once (default: one window of `limits.initiate`, which is 150, and at least 64), and
    /// transfers per owner (default 1000). `--concurrency` overrides it.
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: Option<Spanned<u32>>,
    /// Maximum number of images that `matrix`, `discover`, `sources` and `sources_from` generate.
    /// Without it, a mistake in a matrix could generate millions.
    #[schemars(range(min = 1, max = 10_000_000), extend("default" = 200_000))]
    pub max_images: Option<Spanned<u32>>,
    /// Rate limits of the request classes: `150/60s` is at most 150 requests in any 60 seconds.
    /// `--limit` overrides them. Lower a limit to leave a share of the account's limit to others.
    pub limits: Option<RequestLimits>,
    /// Size of a context above which a warning is shown: `500MB` or `2GiB`. Counts the files that
    /// are sent, before compression.
    #[schemars(extend("default" = "500MB"))]
    pub context_warn: Option<Spanned<SizeSetting>>,
    /// Maximum size of a context. A larger one is an error, and nothing is planned or sent.
    /// Without it, there is no maximum.
    pub context_max: Option<Spanned<SizeSetting>>,
    /// Part of a context that counts and is sent: the files that the instructions of the build
    /// reach, or the whole context. Images override it.
    #[schemars(extend("default" = "reached"))]
    pub inputs: Option<Spanned<InputScope>>,
    /// Engine of `--local`, and its limits.
    pub local: Option<LocalSettings>,
}

decode_struct!(ManifestSettings {
    url,
    state,
    concurrency,
    max_images,
    limits,
    context_warn,
    context_max,
    inputs,
    local,
});

/// Rate limits by request class.
#[derive(Debug, Clone)]
pub(crate) struct RequestLimits(pub Pairs<Spanned<Limit>>);

impl Decode for RequestLimits {
    fn decode(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Self> {
        Pairs::decode(node, diagnostics).map(Self)
    }
}

/// An image to build from a `context` or to mirror from a `source`; or many images, by `matrix`,
/// `discover`, `sources` or `sources_from`.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(deny_unknown_fields, extend(
    "patternProperties" = scalars::extension_keys(),
    "if" = {
        "anyOf": [
            { "required": ["source"] },
            { "required": ["sources"] },
            { "required": ["sources_from"] },
        ]
    },
    "then" = {
        "properties": {
            "context": false, "dockerfile": false, "discover": false,
            "args": false, "target": false, "inputs": false, "infer_bases": false,
        },
        "oneOf": [
            { "required": ["source"] },
            { "required": ["sources"] },
            { "required": ["sources_from"] },
        ],
    },
    "else" = {
        "if": { "required": ["discover"] },
        "then": { "allOf": [
            {
                "if": { "properties": { "discover": { "required": ["harbor"], "description": "Harbor tasks." } } },
                "then": { "properties": { "context": false } },
            },
            {
                "if": { "properties": { "discover": { "required": ["dockerfiles"], "description": "Dockerfiles." } } },
                "then": { "properties": { "dockerfile": false } },
            },
        ] },
        "else": { "required": ["name", "context"] },
    },
))]
pub(crate) struct Image {
    /// Name of the image: lowercase letters, digits, and `.`, `_` or `-` between them. Only images
    /// of the platform have a `/` in their name. The default for a mirror is the last segment of
    /// the repository of its source; for one of Docker Hub, the repository without `library/`.
    pub name: Option<Spanned<ImageName>>,
    /// Tag of the image. Quote a tag that looks like a number. The default is `defaults.tag` or
    /// else `latest`; for a mirror, the tag of its source. `{arch}` becomes `amd64` or `arm64`;
    /// without it, images for several platforms get the suffix `-amd64` or `-arm64`.
    /// `{fingerprint}` becomes 12 digits that change with the content; other images refer to such
    /// an image by its name without a tag.
    pub tag: Option<Spanned<TagTemplate>>,
    /// Folder to build from, relative to this file. Files that `.dockerignore` lists are not sent.
    #[schemars(extend("examples" = ["services/api"]))]
    pub context: Option<Spanned<String>>,
    /// Path of the Dockerfile, relative to the context. It may lie outside of the context. An image
    /// of this manifest that it refers to, as in `FROM base` or `FROM base:tag`, is built first.
    #[schemars(extend("default" = "Dockerfile", "examples" = ["../docker/api.Dockerfile"]))]
    pub dockerfile: Option<Spanned<String>>,
    /// Platforms of the image. Each platform is built on its own.
    #[schemars(extend("minItems" = 1, "uniqueItems" = true, "default" = ["linux/amd64"]))]
    pub platforms: Option<Spanned<Vec<Spanned<Platform>>>>,
    /// Visibility of the image: who can pull it.
    #[schemars(extend("default" = "inherit"))]
    pub visibility: Option<Spanned<VisibilitySetting>>,
    /// Images of this manifest that must be built first, by `name` or `name:tag`, in addition to
    /// those that the Dockerfile refers to.
    #[schemars(with = "Option<Vec<scalars::NeedText>>")]
    pub needs: Option<Vec<Spanned<String>>>,
    /// References under which the image is known outside, one or a list, with `{name}` for its name.
    /// A Dockerfile that refers to the image by one of them is built on it. A reference without a
    /// tag stands for the tag of the image. An empty list says that the image is known nowhere else,
    /// and overrides `defaults`.
    pub published_as: Option<PublishedAs>,
    /// Public image to mirror, instead of a `context` to build from. Written as for `docker pull`.
    pub source: Option<Spanned<SourceRef>>,
    /// Owner of the image: `personal`, `platform` or `team: <id>`. The default is the `owner` of
    /// the manifest.
    pub owner: Option<Spanned<Owner>>,
    /// Maximum time to wait for a build of the image. After it, imgplan stops waiting, and the next
    /// run continues to wait.
    pub timeout: Option<Spanned<DurationSetting>>,
    /// Values of build arguments (`ARG`), which replace the defaults in the Dockerfile. `{arch}` is
    /// `amd64` or `arm64`. Arguments of `defaults` are added.
    #[schemars(
        with = "Option<BTreeMap<String, scalars::ArgText>>",
        extend(
            "propertyNames" = { "pattern": scalars::ARG_PATTERN },
            "examples" = [{ "PYTHON": "3.12", "FILE": { "linux/amd64": "a.tgz", "linux/arm64": "b.tgz" } }]
        )
    )]
    pub args: Option<Spanned<Pairs<Spanned<ArgValue>>>>,
    /// Stage of the Dockerfile to build, by name or number. The default is the last stage.
    #[schemars(extend("pattern" = r"\S", "examples" = ["runtime"]))]
    pub target: Option<Spanned<String>>,
    /// Part of the context that counts and is sent: the files that the instructions of the build
    /// reach, or the whole context. The default is `settings.inputs`.
    #[schemars(extend("default" = "reached"))]
    pub inputs: Option<Spanned<InputScope>>,
    /// Maximum age of the image: when it is older, it is rebuilt. At least one minute. Without it,
    /// the image is rebuilt only if something has changed.
    #[schemars(extend("pattern" = scalars::AGE_PATTERN, "examples" = ["7d", "24h"]))]
    pub max_age: Option<Spanned<DurationSetting>>,
    /// Protects the image: no command deletes it.
    #[schemars(extend("default" = false))]
    pub protect: Option<bool>,
    /// Labels to select images by, for example with the team that maintains them. Labels of
    /// `defaults` are added.
    #[schemars(
        with = "Option<BTreeMap<String, scalars::LabelText>>",
        extend("propertyNames" = { "pattern": scalars::LABEL_PATTERN }, "examples" = [{ "team": "search" }])
    )]
    pub labels: Option<Pairs<Spanned<String>>>,
    /// Groups that the image belongs to. Groups of `defaults` are added.
    #[schemars(extend("examples" = [["nightly"]]))]
    pub groups: Option<Vec<Spanned<GroupName>>>,
    /// Treats an image of this manifest that the Dockerfile refers to as a base, which is built
    /// first. With `false`, only `needs` sets the order, and no reference is replaced.
    #[schemars(extend("default" = true))]
    pub infer_bases: Option<Spanned<bool>>,
    /// Variables, each with several values. One image is created for each combination of values,
    /// which the other keys use as `${NAME}`; or for each row of a list of rows.
    pub matrix: Option<Matrix>,
    /// Finds folders or Dockerfiles and creates an image for each. `name` and `tag` may contain `{dir}`
    /// (name of the folder), `{parent}` (name of its parent), `{path}` (of the folder), `{file}` (name
    /// of a found Dockerfile) and, for a Harbor task, `{name}`. The default name is `{dir}` or
    /// `{file}`. With `context`, all are built from that folder instead of their own.
    // Boxed, because no decoded image has it: it is expanded before.
    pub discover: Option<Box<Spanned<Discover>>>,
    /// Public images to mirror, each as an image of its own. `name` and `tag` may contain
    /// `{registry}`, `{path}`, `{name}` (last segment of the path), `{tag}` and `{digest}` (12
    /// digits).
    #[schemars(extend("minItems" = 1))]
    pub sources: Option<Vec<Spanned<SourceRef>>>,
    /// File with public images to mirror, relative to this file. It has one reference per line; `#`
    /// starts a comment. A `.jsonl` file has one JSON object per line, with `source` and optionally
    /// `name` or `image`, `tag` and `platform`. `name` and `tag` as for `sources`.
    #[schemars(extend("examples" = ["refs.txt"]))]
    pub sources_from: Option<Spanned<String>>,
}

decode_struct!(Image {
    name,
    tag,
    context,
    dockerfile,
    platforms,
    visibility,
    needs,
    published_as,
    source,
    owner,
    timeout,
    args,
    target,
    inputs,
    max_age,
    protect,
    labels,
    groups,
    infer_bases,
    matrix,
    discover,
    sources,
    sources_from,
});
