//! What a manifest says, as it was written: every value with its place, nothing filled in. The
//! JSON Schema ([`schema`](super::schema())) comes from these types and their comments. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

pub use super::scalars::{
    DurationText, GlobText, GroupText, LimitText, NameText, OwnerSetting, PatternText, SizeText,
    SourceText, TagText, VisibilitySetting,
};
use super::{Sp, scalars};
use crate::base::name::Platform;

/// The images that should exist in an image service.
///
/// Texts may hold `${VAR}`, `${VAR:-default}` and `${VAR:?message}`, taken from `--var`, `vars`, a
/// `matrix` or the environment, in this order; `$$` is a dollar sign.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    title = "imgplan manifest",
    extend(
        "$id" = "urn:imgplan:manifest:1",
        "required" = ["version"],
        "anyOf" = [{ "required": ["images"] }, { "required": ["include"] }],
    )
)]
pub struct Manifest {
    /// The version of this format: 1.
    #[schemars(schema_with = "scalars::version")]
    pub version: Option<Sp<u64>>,
    /// Other manifests that are read with this one, relative to this file: paths or patterns, as
    /// `teams/*/imgplan.yaml`. What this file says under `vars`, `defaults` and `owner` holds in
    /// them where they say nothing themselves; `settings` are said in the first file only.
    #[schemars(
        with = "Option<Vec<scalars::IncludeText>>",
        extend("examples" = [["teams/*/imgplan.yaml"]])
    )]
    pub include: Option<Vec<Sp<String>>>,
    /// Variables for `${VAR}`; they win over the environment, and `--var` over them. Each may use
    /// those above it.
    #[schemars(
        with = "Option<BTreeMap<String, scalars::VarText>>",
        extend("examples" = [{ "PYTHON": "3.12", "TAG": "${NIGHT:-latest}" }])
    )]
    pub vars: Option<BTreeMap<String, Sp<String>>>,
    /// What an image says where it says nothing itself.
    pub defaults: Option<Defaults>,
    /// Who owns the images, where an image says nothing itself: `personal`, `platform` or
    /// `team: <id>`. Without it, the team of the credentials, else the account.
    pub owner: Option<Sp<OwnerSetting>>,
    /// How to reach the service and how fast to go.
    pub settings: Option<Settings>,
    /// Groups by their names, each with the patterns of the images in it. An image may name its
    /// groups itself as well.
    #[schemars(
        with = "Option<BTreeMap<String, scalars::GroupPatterns>>",
        extend(
            "propertyNames" = { "pattern": r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$" },
            "examples" = [{ "nightly": ["etl-*", "report:v1"] }]
        )
    )]
    pub groups: Option<Pairs<Vec<Sp<GlobText>>>>,
    /// Images that have a new name or tag: what is there is kept, instead of being built again
    /// under the new name.
    pub moved: Option<Vec<Sp<MovedEntry>>>,
    /// Images that this manifest does not list any more: to be forgotten, or deleted.
    pub removed: Option<Vec<Sp<RemovedEntry>>>,
    /// The images, in any order.
    #[schemars(with = "Vec<Image>")]
    pub images: Option<Sp<Vec<Sp<Image>>>>,
}

/// What an image says where it says nothing itself.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// The tag, which may hold `{arch}` and `{fingerprint}`. A mirror takes its source's tag instead.
    #[schemars(extend("default" = "latest"))]
    pub tag: Option<Sp<TagText>>,
    /// The Dockerfile, relative to each image's context. Mirrors have none.
    #[schemars(extend("default" = "Dockerfile"))]
    pub dockerfile: Option<Sp<String>>,
    /// The platforms; one build each.
    #[schemars(
        with = "Option<Vec<scalars::PlatformText>>",
        extend("minItems" = 1, "uniqueItems" = true, "default" = ["linux/amd64"])
    )]
    pub platforms: Option<Sp<Vec<Sp<Platform>>>>,
    /// Who may pull the images.
    #[schemars(extend("default" = "inherit"))]
    pub visibility: Option<Sp<VisibilitySetting>>,
    /// How long a build may take before imgplan stops waiting for it; the next run goes on
    /// waiting. Without it, imgplan waits until the service says how the build ended.
    pub timeout: Option<Sp<DurationText>>,
    /// How old what was built may become before it is made again: a minute at least. Without it, it
    /// is made again only when something changed.
    #[schemars(extend("pattern" = scalars::AGE, "examples" = ["7d", "24h"]))]
    pub max_age: Option<Sp<DurationText>>,
    /// Whether it is safe from being deleted, by whatever command.
    #[schemars(extend("default" = false))]
    pub protect: Option<bool>,
    /// Notes to tell images apart by, such as who looks after them. An image's own are
    /// added, and win.
    #[schemars(
        with = "Option<BTreeMap<String, scalars::LabelText>>",
        extend("propertyNames" = { "pattern": scalars::LABEL }, "examples" = [{ "team": "search" }])
    )]
    pub labels: Option<Pairs<Sp<String>>>,
    /// The groups that it belongs to. An image's own are added.
    #[schemars(extend("examples" = [["nightly"]]))]
    pub groups: Option<Vec<Sp<GroupText>>>,
    /// Whether a reference of the Dockerfile that names an image of this manifest makes it a base,
    /// which is built first. With `false`, only `needs` orders images, and no reference is replaced.
    #[schemars(extend("default" = true))]
    pub infer_bases: Option<bool>,
}

/// How to reach the service and how fast to go.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The service's URL. `PRIME_API_BASE_URL` wins over it.
    #[schemars(extend(
        "pattern" = r"\$|^\s*https?://",
        "default" = "https://api.primeintellect.ai"
    ))]
    pub url: Option<Sp<String>>,
    /// How many images are worked on at once. `--concurrency` wins over it.
    #[schemars(range(min = 1, max = 1000), extend("default" = 64))]
    pub concurrency: Option<Sp<u32>>,
    /// The budgets of the classes of requests, each as `150/60s`: at most 150 in any 60 seconds.
    /// `--limit` wins over them. Lower one to leave some of the account's budget to others.
    pub limits: Option<Limits>,
    /// The size above which a context is worth a warning, as `500MB` or `2GiB`: what is sent, before
    /// it is compressed.
    #[schemars(extend("default" = "500MB"))]
    pub context_warn: Option<Sp<SizeText>>,
    /// The size above which a context is an error, so that nothing is planned or sent. Without it,
    /// any size will do.
    pub context_max: Option<Sp<SizeText>>,
}

/// Budgets by class.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Limits(pub Pairs<Sp<LimitText>>);

/// An image that should exist: built from a `context` or mirrored from a `source`; or many of them, by
/// `matrix`, `discover`, `sources` or `sources_from`, of which none is left once they are known.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
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
            "args": false, "target": false, "infer_bases": false,
        },
        "oneOf": [
            { "required": ["source"] },
            { "required": ["sources"] },
            { "required": ["sources_from"] },
        ],
    },
    "else" = {
        "if": { "required": ["discover"] },
        "then": { "properties": { "context": false } },
        "else": { "required": ["name", "context"] },
    },
))]
pub struct Image {
    /// The name under which it lands: lower case letters, digits, and `.`, `_` or `-` between
    /// them. Only the platform's images have a `/` in it. A mirror takes the last segment of its
    /// source's path by default.
    pub name: Option<Sp<NameText>>,
    /// The tag under which it lands; quote what looks like a number. `defaults.tag`, else `latest`
    /// by default; a mirror takes its source's. `{arch}` stands for the platform's `amd64` or
    /// `arm64`; with several platforms and without `{arch}`, `-amd64` or `-arm64` is added.
    /// `{fingerprint}` stands for 12 digits that change with the content: what needs such an image
    /// names it without its tag.
    pub tag: Option<Sp<TagText>>,
    /// The folder to build from, relative to this file. What its `.dockerignore` names is not sent.
    #[schemars(extend("examples" = ["services/api"]))]
    pub context: Option<Sp<String>>,
    /// The Dockerfile, relative to the context; it may lie outside of it. A base that is an image
    /// of this manifest is built first: `FROM base` or `FROM base:tag`.
    #[schemars(extend("default" = "Dockerfile", "examples" = ["../docker/api.Dockerfile"]))]
    pub dockerfile: Option<Sp<String>>,
    /// The platforms; one build each.
    #[schemars(
        with = "Option<Vec<scalars::PlatformText>>",
        extend("minItems" = 1, "uniqueItems" = true, "default" = ["linux/amd64"])
    )]
    pub platforms: Option<Sp<Vec<Sp<Platform>>>>,
    /// Who may pull it.
    #[schemars(extend("default" = "inherit"))]
    pub visibility: Option<Sp<VisibilitySetting>>,
    /// Images of this manifest that must exist first, by `name` or `name:tag`, besides those that
    /// the Dockerfile names.
    #[schemars(with = "Option<Vec<scalars::NeedText>>")]
    pub needs: Option<Vec<Sp<String>>>,
    /// A public image to mirror, instead of a `context` to build from; as `docker pull` takes it.
    pub source: Option<Sp<SourceText>>,
    /// Who owns it: `personal`, `platform` or `team: <id>`. By default, who owns all.
    pub owner: Option<Sp<OwnerSetting>>,
    /// How long its build may take before imgplan stops waiting for it; the next run goes on
    /// waiting.
    pub timeout: Option<Sp<DurationText>>,
    /// Values for `ARG`s of the Dockerfile, which stand in for their defaults in what is sent.
    #[schemars(
        with = "Option<BTreeMap<String, scalars::ArgText>>",
        extend(
            "propertyNames" = { "pattern": r"^[A-Za-z_][A-Za-z0-9_]*$" },
            "examples" = [{ "PYTHON": "3.12" }]
        )
    )]
    pub args: Option<Sp<Pairs<Sp<String>>>>,
    /// The stage of the Dockerfile to build, by its name or number; the last by default.
    #[schemars(extend("pattern" = r"\S", "examples" = ["runtime"]))]
    pub target: Option<Sp<String>>,
    /// How old what was built may become before it is made again: a minute at least. Without it, it
    /// is made again only when something changed.
    #[schemars(extend("pattern" = scalars::AGE, "examples" = ["7d", "24h"]))]
    pub max_age: Option<Sp<DurationText>>,
    /// Whether it is safe from being deleted, by whatever command.
    #[schemars(extend("default" = false))]
    pub protect: Option<bool>,
    /// Notes to tell images apart by, such as who looks after them. Those of `defaults` are added.
    #[schemars(
        with = "Option<BTreeMap<String, scalars::LabelText>>",
        extend("propertyNames" = { "pattern": scalars::LABEL }, "examples" = [{ "team": "search" }])
    )]
    pub labels: Option<Pairs<Sp<String>>>,
    /// The groups that it belongs to. Those of `defaults` are added.
    #[schemars(extend("examples" = [["nightly"]]))]
    pub groups: Option<Vec<Sp<GroupText>>>,
    /// Whether a reference of the Dockerfile that names an image of this manifest makes it a base,
    /// which is built first. With `false`, only `needs` orders images, and no reference is replaced.
    #[schemars(extend("default" = true))]
    pub infer_bases: Option<Sp<bool>>,
    /// Variables with their values: the image is made once for each combination, in which its
    /// values use them as `${NAME}`.
    #[schemars(with = "Option<scalars::MatrixSchema>")]
    pub matrix: Option<IgnoredAny>,
    /// Folders that are found instead of written: an image for each. `name` and `tag` may hold
    /// `{dir}` (the folder's name), `{parent}` (the name of the one above), `{path}` and, of a
    /// task, `{name}`; the name is `{dir}` by default.
    pub discover: Option<Sp<Discover>>,
    /// Public images to mirror, each as its own image. `name` and `tag` may hold `{registry}`,
    /// `{path}`, `{name}` (the path's last segment), `{tag}` and `{digest}` (12 digits).
    #[schemars(with = "Option<Vec<scalars::SourceItem>>", extend("minItems" = 1))]
    pub sources: Option<Vec<Sp<SourceText>>>,
    /// A file of public images to mirror, relative to this file: one reference a line, `#` begins a
    /// comment; or with a name that ends in `.jsonl`, an object a line with `source` and maybe
    /// `name` or `image`, `tag` and `platform`. `name` and `tag` as with `sources`.
    #[schemars(extend("examples" = ["refs.txt"]))]
    pub sources_from: Option<Sp<String>>,
}

/// Which folders become images.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["glob"] }, { "required": ["harbor"] }]))]
pub struct Discover {
    /// A pattern of folders, relative to this file: those with a Dockerfile become images. `*` and
    /// `?` stay within a name, `**` is any number of folders.
    #[schemars(extend("minLength" = 1, "examples" = ["services/*", "tasks/**"]))]
    pub glob: Option<Sp<String>>,
    /// A Harbor task, or a folder of tasks: each task's `docker_image` is mirrored, else its
    /// `environment/Dockerfile` built.
    #[schemars(extend("minLength" = 1, "examples" = ["tasks"]))]
    pub harbor: Option<Sp<String>>,
    /// Patterns of folders that are left out, with all that is in them.
    #[schemars(with = "Option<Vec<scalars::ExcludeText>>")]
    pub exclude: Option<Vec<Sp<String>>>,
}

/// An image that has a new name or tag.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["from", "to"]))]
pub struct MovedEntry {
    /// What it was called: `name`, or `name:tag` where only one tag is meant.
    pub from: Option<Sp<PatternText>>,
    /// What it is called now: an image of this manifest, or the `from` of another entry. It has a
    /// tag where `from` has one.
    pub to: Option<Sp<PatternText>>,
}

/// An image that is not listed any more.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct RemovedEntry {
    /// What it was called: `name`, or `name:tag` where only one tag is meant.
    pub name: Option<Sp<PatternText>>,
    /// Whether the service is to delete it. Without it, it stays there, and is only forgotten here.
    #[schemars(extend("default" = false))]
    pub destroy: Option<bool>,
}

/// A mapping in the order in which it was written, its keys with their places.
#[derive(Debug, Clone)]
pub struct Pairs<T>(pub Vec<(Sp<String>, T)>);

impl<T> Pairs<T> {
    /// The keys and their values, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (Sp<String>, T)> {
        self.0.iter()
    }
}

impl<'a, T> IntoIterator for &'a Pairs<T> {
    type Item = &'a (Sp<String>, T);
    type IntoIter = std::slice::Iter<'a, (Sp<String>, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for PairsVisitor<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}
