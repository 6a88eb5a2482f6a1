//! What a manifest says, as it was written: every value with its place, nothing filled in. The
//! JSON Schema of `imgplan schema` comes from these types and their comments. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::Sp;
use crate::base::limit::{Limit, parse_duration};
use crate::base::name::{ImageName, NameError, Owner, Platform, Tag, Visibility};
use crate::base::upstream::SourceRef;

/// The images that should exist in an image service.
///
/// Texts may hold `${VAR}`, `${VAR:-default}` and `${VAR:?message}`, taken from `vars`, else from
/// the environment; `$$` is a dollar sign.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "imgplan manifest", extend("required" = ["version", "images"]))]
pub struct Manifest {
    /// The version of this format: 1.
    #[schemars(with = "Version")]
    pub version: Option<Sp<u64>>,
    /// Variables for `${VAR}`; they win over the environment. Each may use those above it.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub vars: Option<BTreeMap<String, Sp<String>>>,
    /// What an image says where it says nothing itself.
    pub defaults: Option<Defaults>,
    /// Who owns the images: `personal`, `platform` or `team: <id>`. Without it, the team of the
    /// credentials, else the account.
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
    /// The tag. `latest` where nothing is said at all.
    pub tag: Option<Sp<TagText>>,
    /// The Dockerfile, relative to the context.
    pub dockerfile: Option<Sp<String>>,
    /// The platforms; one build each.
    pub platforms: Option<Sp<Vec<Sp<Platform>>>>,
    /// Who may pull the images.
    pub visibility: Option<Sp<VisibilitySetting>>,
    /// How long a build may take before imgplan stops waiting for it: `30m`.
    pub timeout: Option<Sp<DurationText>>,
}

/// How to reach the service and how fast to go.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The service's URL. `PRIME_API_BASE_URL` wins over it.
    pub url: Option<Sp<String>>,
    /// How many images are worked on at once. `--concurrency` wins over it.
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: Option<Sp<u32>>,
    /// The budget of a class of requests, as `150/60s`. `--limit` wins over it. Classes: initiate,
    /// start, status, list, images (transfers, counted in images), update, delete.
    #[schemars(with = "Option<BTreeMap<String, LimitText>>")]
    pub limits: Option<Limits>,
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

/// An image that should exist: built from a `context` or mirrored from a `source`.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["name", "context"], "not": { "required": ["source"] } },
    { "required": ["source"], "not": { "anyOf": [
        { "required": ["context"] }, { "required": ["dockerfile"] } ] } },
]))]
pub struct Image {
    /// The name under which it lands. A mirror takes its source's last path segment by default.
    pub name: Option<Sp<NameText>>,
    /// The tag under which it lands. A mirror takes its source's tag by default. With several
    /// platforms each gets its own: `-amd64` or `-arm64` is added.
    pub tag: Option<Sp<TagText>>,
    /// The folder to build from, relative to this file.
    pub context: Option<Sp<String>>,
    /// The Dockerfile, relative to the context; it may lie outside. `Dockerfile` by default.
    pub dockerfile: Option<Sp<String>>,
    /// The platforms; one build each. `linux/amd64` by default.
    pub platforms: Option<Sp<Vec<Sp<Platform>>>>,
    /// Who may pull it. `inherit` keeps what it has; a new image starts private.
    pub visibility: Option<Sp<VisibilitySetting>>,
    /// Images of this manifest that must exist first, by `name` or `name:tag`, besides those that
    /// the Dockerfile names.
    pub needs: Option<Vec<Sp<String>>>,
    /// A public image to mirror: `docker.io/library/ubuntu:22.04`.
    pub source: Option<Sp<SourceText>>,
    /// Who owns it: `personal`, `platform` or `team: <id>`.
    pub owner: Option<Sp<OwnerSetting>>,
    /// How long its build may take before imgplan stops waiting for it: `30m`.
    pub timeout: Option<Sp<DurationText>>,
}

/// Makes a newtype that reads itself from text and describes itself to an editor.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident($inner:ty), $parse:expr, $schema:tt) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
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

// A `$` stands for a variable, whose value the editor does not know.
text_type!(
    /// The name of an image.
    NameText(ImageName),
    |text| text.parse().map_err(|e: NameError| (e.message, e.help)),
    { "type": "string", "pattern": r"\$|^[a-z0-9]([a-z0-9._/-]*[a-z0-9])?$" }
);
text_type!(
    /// The tag of an image. A number must be quoted: YAML reads 1.10 as 1.1.
    TagText(Tag),
    |text| text.parse().map_err(|e: NameError| (e.message, e.help)),
    { "type": "string", "pattern": r"\$|^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$" }
);
text_type!(
    /// A public image to mirror.
    SourceText(SourceRef),
    |text| text.parse().map_err(|e: NameError| (e.message, e.help)),
    { "type": "string", "pattern": r"^[^,\s]+$" }
);
text_type!(
    /// How many requests in how long.
    LimitText(Limit),
    |text| text.parse().map_err(|e: NameError| (e.message, e.help)),
    { "type": "string", "pattern": r"\$|^[0-9]+/[0-9]+(ms|s|m|h|d)$" }
);
text_type!(
    /// A number and a unit: `30s`, `30m`, `2h`.
    DurationText(Duration),
    |text| parse_duration(text).filter(|length| !length.is_zero()).ok_or_else(|| (
        format!("`{text}` is not a length of time"),
        "write a number above zero and a unit: 30s, 30m, 2h".to_owned(),
    )),
    { "type": "string", "pattern": r"\$|^[0-9]+(ms|s|m|h|d)$" }
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
            { "enum": ["inherit", "private", "public"] },
            { "type": "string", "pattern": r"\$|^(?i:inherit|private|public)$" },
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
                { "enum": ["personal", "platform"] },
                { "type": "string", "pattern": r"\$|^team:.+$" },
                {
                    "type": "object",
                    "properties": { "team": { "type": "string", "description": "The team's ID." } },
                    "required": ["team"],
                    "additionalProperties": false,
                },
            ]
        })
    }
}

/// The version of the format, for the schema alone.
struct Version;

impl JsonSchema for Version {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "const": 1 })
    }
}

/// The JSON Schema of a manifest (draft 2020-12), as it stands in `schema/`.
pub fn schema() -> String {
    let schema = schemars::schema_for!(Manifest);
    let mut text = format!("{:#}", schema.as_value());
    text.push('\n');
    text
}
