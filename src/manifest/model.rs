//! What a manifest says, as it was written: every value with its place, nothing filled in. The
//! JSON Schema ([`schema`](super::schema())) comes from these types and their comments. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::{Sp, schema};
use crate::base::limit::{Limit, parse_duration};
use crate::base::name::{ImageName, NameError, Owner, Platform, Tag, Visibility};
use crate::base::size::parse_size;
use crate::base::upstream::SourceRef;

/// The images that should exist in an image service.
///
/// Texts may hold `${VAR}`, `${VAR:-default}` and `${VAR:?message}`, taken from `vars`, else from
/// the environment; `$$` is a dollar sign.
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
    #[schemars(schema_with = "schema::version")]
    pub version: Option<Sp<u64>>,
    /// Other manifests that are read with this one, relative to this file: paths or patterns, as
    /// `teams/*/imgplan.yaml`. What this file says under `vars`, `defaults` and `owner` holds in
    /// them where they say nothing themselves; `settings` are said in the first file only.
    #[schemars(
        with = "Option<Vec<schema::IncludeText>>",
        extend("examples" = [["teams/*/imgplan.yaml"]])
    )]
    pub include: Option<Vec<Sp<String>>>,
    /// Variables for `${VAR}`; they win over the environment, and `--var` over them. Each may use
    /// those above it.
    #[schemars(
        with = "Option<BTreeMap<String, schema::VarText>>",
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
    /// The images, in any order.
    #[schemars(with = "Vec<Image>")]
    pub images: Option<Sp<Vec<Sp<Image>>>>,
}

/// What an image says where it says nothing itself.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// The tag. A mirror takes its source's tag instead.
    #[schemars(extend("default" = "latest"))]
    pub tag: Option<Sp<TagText>>,
    /// The Dockerfile, relative to each image's context. Mirrors have none.
    #[schemars(extend("default" = "Dockerfile"))]
    pub dockerfile: Option<Sp<String>>,
    /// The platforms; one build each.
    #[schemars(
        with = "Option<Vec<schema::PlatformText>>",
        extend("minItems" = 1, "uniqueItems" = true, "default" = ["linux/amd64"])
    )]
    pub platforms: Option<Sp<Vec<Sp<Platform>>>>,
    /// Who may pull the images.
    #[schemars(extend("default" = "inherit"))]
    pub visibility: Option<Sp<VisibilitySetting>>,
    /// How long a build may take before imgplan stops waiting for it; the next run goes on
    /// waiting. Without it, imgplan waits until the service says how the build ended.
    pub timeout: Option<Sp<DurationText>>,
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

/// Budgets by class, in the order in which they were written.
#[derive(Debug, Clone)]
pub struct Limits(pub Vec<(Sp<String>, Sp<LimitText>)>);

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LimitsVisitor;

        impl<'de> Visitor<'de> for LimitsVisitor {
            type Value = Limits;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("limits by class")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Limits, A::Error> {
                let mut limits = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    limits.push(entry);
                }
                Ok(Limits(limits))
            }
        }

        deserializer.deserialize_map(LimitsVisitor)
    }
}

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
        "properties": { "context": false, "dockerfile": false, "discover": false },
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
    /// by default; a mirror takes its source's. With several platforms each gets its own: `-amd64`
    /// or `-arm64` is added.
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
        with = "Option<Vec<schema::PlatformText>>",
        extend("minItems" = 1, "uniqueItems" = true, "default" = ["linux/amd64"])
    )]
    pub platforms: Option<Sp<Vec<Sp<Platform>>>>,
    /// Who may pull it.
    #[schemars(extend("default" = "inherit"))]
    pub visibility: Option<Sp<VisibilitySetting>>,
    /// Images of this manifest that must exist first, by `name` or `name:tag`, besides those that
    /// the Dockerfile names.
    #[schemars(with = "Option<Vec<schema::NeedText>>")]
    pub needs: Option<Vec<Sp<String>>>,
    /// A public image to mirror, instead of a `context` to build from; as `docker pull` takes it.
    pub source: Option<Sp<SourceText>>,
    /// Who owns it: `personal`, `platform` or `team: <id>`. By default, who owns all.
    pub owner: Option<Sp<OwnerSetting>>,
    /// How long its build may take before imgplan stops waiting for it; the next run goes on
    /// waiting.
    pub timeout: Option<Sp<DurationText>>,
    /// Variables with their values: the image is made once for each combination, in which its
    /// values use them as `${NAME}`.
    #[schemars(with = "Option<schema::MatrixSchema>")]
    pub matrix: Option<BTreeMap<String, de::IgnoredAny>>,
    /// Folders that are found instead of written: an image for each. `name` and `tag` may hold
    /// `{dir}` (the folder's name), `{parent}` (the name of the one above), `{path}` and, of a
    /// task, `{name}`; the name is `{dir}` by default.
    pub discover: Option<Sp<Discover>>,
    /// Public images to mirror, each as its own image. `name` and `tag` may hold `{registry}`,
    /// `{path}`, `{name}` (the path's last segment), `{tag}` and `{digest}` (12 digits).
    #[schemars(with = "Option<Vec<SourceText>>", extend("minItems" = 1))]
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
    /// Patterns of folders that are left out.
    #[schemars(with = "Option<Vec<schema::ExcludeText>>")]
    pub exclude: Option<Vec<Sp<String>>>,
}

/// Makes a newtype that reads itself from text and describes itself to an editor.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident($inner:ty), $parse:expr, $schema:tt) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = deserializer.deserialize_newtype_struct(stringify!($name), Text)?;
                let parse: fn(&str) -> Result<$inner, (String, String)> = $parse;
                parse(&text).map(Self).map_err(|(message, help)| {
                    de::Error::custom(format_args!("{message}\n{help}"))
                })
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

/// Reads a text under the name of its type, which the reader may have a word for.
struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = String;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, text: D) -> Result<String, D::Error> {
        String::deserialize(text)
    }
}

// A `$` stands for a variable, whose value the editor does not know.
text_type!(
    /// The name of an image.
    NameText(ImageName),
    |text| text.parse().map_err(|e: NameError| (e.message, e.help)),
    {
        "type": "string",
        "maxLength": 255,
        "pattern": r"\$|\{|^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*$",
        "examples": ["api"],
    }
);
text_type!(
    /// The tag of an image. A number must be quoted: YAML reads 1.10 as 1.1.
    TagText(Tag),
    |text| text.parse().map_err(|e: NameError| (e.message, e.help)),
    {
        "type": "string",
        "pattern": r"\$|\{|^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$",
        "examples": ["v1", "3.12", "${TAG}"],
    }
);
text_type!(
    /// A public image to mirror.
    SourceText(SourceRef),
    |text| text.parse().map_err(|e: NameError| (e.message, e.help)),
    {
        "type": "string",
        "pattern": r"\$|^\s*[^,\s]+\s*$",
        "examples": ["docker.io/library/ubuntu:22.04", "ghcr.io/astral-sh/uv:0.9"],
    }
);
text_type!(
    /// How many requests in how long.
    LimitText(Limit),
    |text| text.parse().map_err(|e: NameError| (e.message, e.help)),
    {
        "type": "string",
        "pattern": r"\$|^\s*0*[1-9][0-9]*\s*/\s*0*[1-9][0-9]*(ms|s|m|h|d)\s*$",
        "examples": ["100/60s"],
    }
);
text_type!(
    /// A number and a unit: `30s`, `30m`, `2h`.
    DurationText(Duration),
    |text| parse_duration(text).filter(|length| !length.is_zero()).ok_or_else(|| (
        format!("`{text}` is not a length of time"),
        "write a number above zero and a unit: 30s, 30m, 2h".to_owned(),
    )),
    {
        "type": "string",
        "pattern": r"\$|^0*[1-9][0-9]*(ms|s|m|h|d)$",
        "examples": ["30m", "2h"],
    }
);
text_type!(
    /// A whole number and a unit of bytes: `64kB`, `500MB`, `2GB`, `2GiB`.
    SizeText(u64),
    |text| parse_size(text).filter(|size| *size > 0).ok_or_else(|| (
        format!("`{text}` is not a size"),
        "write a whole number above zero and a unit: 64kB, 500MB, 2GB, 2GiB".to_owned(),
    )),
    {
        "type": "string",
        "pattern": r"\$|^0*[1-9][0-9]* ?([kKMG]?B|[KMG]iB)$",
        "examples": ["500MB", "2GiB"],
    }
);
text_type!(
    /// Who may pull an image, in any case; `None` keeps what it has.
    VisibilitySetting(Option<Visibility>),
    |text| match text.to_ascii_lowercase().as_str() {
        "inherit" => Ok(None),
        _ => text.parse().map(Some).map_err(|e: NameError| (e.message, e.help)),
    },
    {
        "anyOf": [
            { "const": "inherit", "description": "It keeps what it has; a new image starts private." },
            { "const": "private", "description": "Its owner." },
            { "const": "public", "description": "Everyone." },
            {
                "type": "string",
                "pattern": r"\$|^([Ii][Nn][Hh][Ee][Rr][Ii][Tt]|[Pp][Rr][Ii][Vv][Aa][Tt][Ee]|[Pp][Uu][Bb][Ll][Ii][Cc])$",
                "description": "In any case, or as a variable says.",
            },
        ]
    }
);

/// `personal`, `platform`, or a mapping with a `team`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerSetting(pub Owner);

impl<'de> Deserialize<'de> for OwnerSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OwnerVisitor;

        impl<'de> Visitor<'de> for OwnerVisitor {
            type Value = OwnerSetting;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`personal`, `platform` or `team: <id>`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OwnerSetting, E> {
                let parsed: Result<Owner, NameError> = text.parse();
                parsed
                    .map(OwnerSetting)
                    .map_err(|e| E::custom(format_args!("{}\n{}", e.message, e.help)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OwnerSetting, A::Error> {
                let wrong = || {
                    de::Error::custom(
                        "this is not an owner\nwrite `personal`, `platform` or `team: <id>`",
                    )
                };
                match map.next_entry::<String, String>()? {
                    Some((key, id)) if key == "team" && !id.trim().is_empty() => {
                        if map.next_key::<String>()?.is_some() {
                            return Err(wrong());
                        }
                        Ok(OwnerSetting(Owner::Team(id.trim().to_owned())))
                    }
                    _ => Err(wrong()),
                }
            }
        }

        deserializer.deserialize_any(OwnerVisitor)
    }
}

impl JsonSchema for OwnerSetting {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OwnerSetting".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "const": "personal", "description": "The account of the key." },
                {
                    "const": "platform",
                    "description": "The provider's own; only for its admins. Always public.",
                },
                { "type": "string", "pattern": r"\$|^team:.*\S", "description": "A team by its ID, or as a variable says." },
                {
                    "type": "object",
                    "description": "A team.",
                    "properties": {
                        "team": { "type": "string", "pattern": r"\S", "description": "The team's ID." }
                    },
                    "required": ["team"],
                    "additionalProperties": false,
                },
            ]
        })
    }
}
