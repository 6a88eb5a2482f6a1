//! The values of a manifest that are texts: each reads itself, and describes itself to an editor.
//! Pure.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::pattern::UnitPattern;
use crate::base::glob::Glob;
use crate::base::limit::{Limit, parse_duration};
use crate::base::name::{ImageName, NameError, Owner, TagTemplate, Visibility};
use crate::base::size::parse_size;
use crate::base::source_ref::SourceRef;

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
        "pattern": r"\$|\{(dir|parent|path|registry|name|tag|digest)\}|^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*$",
        "examples": ["api"],
    }
);
text_type!(
    /// The tag of an image, which may hold `{arch}` and `{fingerprint}`. A number must be quoted:
    /// YAML reads 1.10 as 1.1.
    TagText(TagTemplate),
    |text| text.parse().map_err(|e: NameError| (e.message, e.help)),
    {
        "type": "string",
        "maxLength": 1024,
        "pattern": r"\$|\{(dir|parent|path|registry|name|tag|digest)\}|^([A-Za-z0-9_]|\{arch\}|\{fingerprint\})([A-Za-z0-9._-]|\{arch\}|\{fingerprint\}){0,127}$",
        "examples": ["v1", "3.12", "${TAG}", "v1-{arch}", "{fingerprint}"],
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

text_type!(
    /// The name of a group.
    GroupText(String),
    group_name,
    {
        "type": "string",
        "pattern": r"\$|\{(dir|parent|path|registry|name|tag|digest)\}|^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$",
        "description": "The name of a group.",
        "examples": ["nightly"],
    }
);
text_type!(
    /// A pattern over names, or over `name:tag` where it has a `:`.
    GlobText(Glob),
    |text| text.parse().map_err(|e: NameError| (e.message, e.help)),
    {
        "type": "string",
        "maxLength": 512,
        "pattern": r"\$|^[A-Za-z0-9._/:*?-]+$",
        "description": "A pattern over `name`, or over `name:tag` where it has a `:`. `*` is any run of characters, `?` any one.",
        "examples": ["api", "api-*", "*:nightly"],
    }
);
text_type!(
    /// A unit that this manifest had or has: `name`, or `name:tag`.
    PatternText(UnitPattern),
    |text| text.parse().map_err(|e: NameError| (e.message, e.help)),
    {
        "type": "string",
        "pattern": r"\$|^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$",
        "examples": ["api", "api:v1"],
    }
);

/// A group's name, or what is wrong with it and what to write.
pub(super) fn group_name(text: &str) -> Result<String, (String, String)> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rest = |c: char| word(c) || matches!(c, '.' | '-');
    if text.starts_with(word) && text.chars().all(rest) && text.len() <= 128 {
        return Ok(text.to_owned());
    }
    let help =
        "use at most 128 letters, digits, `_`, `.` and `-`; start with a letter, a digit or `_`";
    Err((format!("`{}` is not the name of a group", text.escape_debug()), help.to_owned()))
}

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

/// The version of the format, for the schema alone.
pub(super) fn version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": 1 })
}

/// A length of time from a minute on.
pub(super) const AGE: &str = r"\$|^0*[1-9][0-9]*(m|h|d)$|^0*([6-9][0-9]|[1-9][0-9]{2,})s$|^0*([6-9][0-9]{4}|[1-9][0-9]{5,})ms$";

/// The key of a label.
pub(super) const LABEL: &str = r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?$";

/// The patterns of a group, for the schema alone.
pub(super) struct GroupPatterns;

impl JsonSchema for GroupPatterns {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GroupPatterns".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let patterns = generator.subschema_for::<Vec<GlobText>>();
        let mut schema = patterns;
        schema.insert("description".to_owned(), "The patterns of its images.".into());
        schema
    }
}

/// Describes a text in a list or a mapping, for the schema alone.
macro_rules! described {
    ($name:ident, $schema:tt) => {
        pub(super) struct $name;

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
described!(VarText, {
    "type": "string",
    "description": "The variable's value: a text. Quote what looks like a number.",
});
described!(ArgText, {
    "type": "string",
    "description": "The argument's value: a text. Quote what looks like a number.",
});
described!(LabelText, {
    "type": "string",
    "pattern": r"\$|^[^\x00-\x1f\x7f]*$",
    "description": "The label's value: a text of one line. Quote what looks like a number.",
});
described!(IncludeText, {
    "type": "string",
    "minLength": 1,
    "description": "A manifest, or a pattern of manifests.",
});
described!(ExcludeText, {
    "type": "string",
    "minLength": 1,
    "description": "A pattern of folders, written as `glob` is.",
});
described!(MatrixSchema, {
    "type": "object",
    "description": "Variables with their values.",
    "minProperties": 1,
    "properties": {
        "exclude": {
            "type": "array",
            "description": "Rows that are left out: those that have all of these values.",
            "items": {
                "type": "object",
                "description": "Some variables with their values.",
                "additionalProperties": {
                    "type": "string",
                    "description": "The variable's value in these rows."
                },
            },
        },
    },
    "patternProperties": {
        "^(?!exclude$)[A-Za-z_][A-Za-z0-9_]*$": {
            "type": "array",
            "description": "The variable's values: texts. Quote what looks like a number.",
            "items": { "type": "string", "description": "A value." },
            "minItems": 1,
            "uniqueItems": true,
        },
    },
    "additionalProperties": false,
    "examples": [{ "PY": ["3.11", "3.12"], "OS": ["slim", "alpine"] }],
});
described!(SourceItem, {
    "type": "string",
    "pattern": r"\$|^\s*[^,\s]+\s*$",
    "description": "A public image to mirror.",
    "examples": ["docker.io/library/ubuntu:22.04"],
});
described!(NeedText, {
    "type": "string",
    "description": "An image of this manifest: `name` or `name:tag`. One with `{fingerprint}` in its tag: `name`.",
    "examples": ["base", "base:3.12"],
});
described!(PlatformText, {
    "anyOf": [
        { "const": "linux/amd64", "description": "64-bit x86." },
        { "const": "linux/arm64", "description": "64-bit ARM." },
        { "type": "string", "pattern": r"\$", "description": "As a variable says." },
    ],
    "description": "A platform that the service builds for.",
});
