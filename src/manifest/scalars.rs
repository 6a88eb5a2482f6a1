//! String values of the manifest: how each is decoded, and its JSON Schema. Pure.

use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::decode::{Decode, decode_quantity, decode_text, reject};
use super::diagnostics::Diagnostics;
use super::node::{ScalarKind, Value, YamlNode};
use super::pattern::UnitPattern;
use super::workspace::InputScope;
use crate::base::glob::Glob;
use crate::base::limit::{Limit, parse_duration};
use crate::base::name::{ImageName, NameError, Owner, Platform, TagTemplate, Visibility};
use crate::base::size::parse_size;
use crate::base::source_ref::SourceRef;

/// Implements the JSON Schema of a type.
macro_rules! describe {
    ($name:ident, $schema:tt) => {
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

/// Implements [`Decode`] and the JSON Schema of a type that is written as a string.
macro_rules! scalar {
    ($name:ident, $decode:expr, $schema:tt) => {
        impl Decode for $name {
            fn decode(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Self> {
                let decode: fn(&mut YamlNode, &mut Diagnostics) -> Option<Self> = $decode;
                decode(node, diagnostics)
            }
        }

        describe!($name, $schema);
    };
}

pub(super) use {describe, scalar};

/// Decodes a string with the parser of its type.
fn parsed<T: FromStr<Err = NameError>>(
    node: &mut YamlNode,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    decode_text(node, diagnostics, str::parse)
}

/// A duration above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DurationSetting(pub Duration);

/// A size in bytes, above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SizeSetting(pub u64);

/// Visibility of an image; `None` keeps the visibility that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VisibilitySetting(pub Option<Visibility>);

/// Name of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupName(pub String);

// In all patterns, `\$` admits a string with variables: an editor does not know their values.
scalar!(ImageName, parsed, {
    "type": "string",
    "maxLength": 255,
    "pattern": r"\$|\{(dir|parent|path|file|registry|name|tag|digest)\}|^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*$",
    "examples": ["api"],
});
scalar!(TagTemplate, parsed, {
    "type": "string",
    "maxLength": 1024,
    "pattern": r"\$|\{(dir|parent|path|file|registry|name|tag|digest)\}|^([A-Za-z0-9_]|\{arch\}|\{fingerprint\})([A-Za-z0-9._-]|\{arch\}|\{fingerprint\}){0,127}$",
    "examples": ["v1", "3.12", "${TAG}", "v1-{arch}", "{fingerprint}"],
});
scalar!(SourceRef, parsed, {
    "type": "string",
    "pattern": r"\$|^\s*[^,\s]+\s*$",
    "description": "A public image to mirror.",
    "examples": ["docker.io/library/ubuntu:22.04", "ghcr.io/astral-sh/uv:0.9"],
});
scalar!(
    InputScope,
    |node, diagnostics| decode_text(node, diagnostics, |text| match text {
        "reached" => Ok(Self::Reached),
        "context" => Ok(Self::Context),
        _ => Err(NameError::new(
            format!("`{text}` is not a part of a context"),
            "write `reached` for the files that the Dockerfile reaches, or `context` for all",
        )),
    }),
    {
        "anyOf": [
            { "const": "reached", "description": "The files that the instructions of the build reach." },
            { "const": "context", "description": "The whole context." },
            { "type": "string", "pattern": r"\$", "description": "From a variable." },
        ]
    }
);
scalar!(Limit, |node, diagnostics| decode_quantity(node, diagnostics, &["/60s"], str::parse), {
    "type": "string",
    "pattern": r"\$|^\s*0*[1-9][0-9]*\s*/\s*0*[1-9][0-9]*(ms|s|m|h|d)\s*$",
    "examples": ["100/60s"],
});
scalar!(
    DurationSetting,
    |node, diagnostics| decode_quantity(node, diagnostics, &["s", "m", "h"], |text| {
        match parse_duration(text) {
            Some(duration) if !duration.is_zero() => Ok(Self(duration)),
            _ => Err(NameError::new(
                format!("`{text}` is not a duration"),
                "write a number above zero and a unit: 30s, 30m, 2h",
            )),
        }
    }),
    {
        "type": "string",
        "pattern": r"\$|^0*[1-9][0-9]*(ms|s|m|h|d)$",
        "examples": ["30m", "2h"],
    }
);
scalar!(
    SizeSetting,
    |node, diagnostics| decode_quantity(node, diagnostics, &["MB", "MiB"], |text| {
        match parse_size(text) {
            Some(bytes) if bytes > 0 => Ok(Self(bytes)),
            _ => Err(NameError::new(
                format!("`{text}` is not a size"),
                "write a whole number above zero and a unit: 64kB, 500MB, 2GB, 2GiB",
            )),
        }
    }),
    {
        "type": "string",
        "pattern": r"\$|^0*[1-9][0-9]* ?([kKMG]?B|[KMG]iB)$",
        "examples": ["500MB", "2GiB"],
    }
);
scalar!(
    VisibilitySetting,
    |node, diagnostics| decode_text(node, diagnostics, |text| {
        if text.eq_ignore_ascii_case("inherit") {
            return Ok(Self(None));
        }
        text.parse().map(|visibility| Self(Some(visibility)))
    }),
    {
        "anyOf": [
            { "const": "inherit", "description": "Keeps the current visibility. A new image is private." },
            { "const": "private", "description": "Only the owner can pull the image." },
            { "const": "public", "description": "Everyone can pull the image." },
            {
                "type": "string",
                "pattern": r"\$|^([Ii][Nn][Hh][Ee][Rr][Ii][Tt]|[Pp][Rr][Ii][Vv][Aa][Tt][Ee]|[Pp][Uu][Bb][Ll][Ii][Cc])$",
                "description": "In upper or lower case, or from a variable.",
            },
        ]
    }
);
scalar!(
    GroupName,
    |node, diagnostics| decode_text(node, diagnostics, |text| {
        check_group_name(text).map(|()| Self(text.to_owned()))
    }),
    {
        "type": "string",
        "pattern": r"\$|\{(dir|parent|path|file|registry|name|tag|digest)\}|^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$",
        "description": "Name of a group.",
        "examples": ["nightly"],
    }
);
scalar!(Glob, parsed, {
    "type": "string",
    "maxLength": 512,
    "pattern": r"\$|^[A-Za-z0-9._/:*?-]+$",
    "description": "Pattern for `name`; with a `:`, pattern for `name:tag`. `*` matches any characters, `?` one character.",
    "examples": ["api", "api-*", "*:nightly"],
});
scalar!(UnitPattern, parsed, {
    "type": "string",
    "pattern": r"\$|^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$",
    "examples": ["api", "api:v1"],
});
scalar!(Platform, parsed, {
    "anyOf": [
        { "const": "linux/amd64", "description": "64-bit x86." },
        { "const": "linux/arm64", "description": "64-bit ARM." },
        { "type": "string", "pattern": r"\$", "description": "From a variable." },
    ],
    "description": "Platform to build for.",
});
scalar!(Owner, decode_owner, {
    "anyOf": [
        { "const": "personal", "description": "The account of the API key." },
        {
            "const": "platform",
            "description": "The platform itself; admins only. Its images are always public.",
        },
        { "type": "string", "pattern": r"\$|^team:.*\S", "description": "A team by its ID, or an owner from a variable." },
        {
            "type": "object",
            "description": "A team.",
            "properties": {
                "team": { "type": "string", "pattern": r"\S", "description": "ID of the team." }
            },
            "required": ["team"],
            "additionalProperties": false,
        },
    ]
});

/// Origin of the image of a Harbor task that has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HarborOrigin {
    Image,
    Dockerfile,
}

scalar!(
    HarborOrigin,
    |node, diagnostics| decode_text(node, diagnostics, |text| match text {
        "image" => Ok(Self::Image),
        "dockerfile" => Ok(Self::Dockerfile),
        _ => Err(NameError::new(
            format!("`{}` is not an origin of a task", text.escape_debug()),
            "write `image` or `dockerfile`",
        )),
    }),
    {
        "anyOf": [
            { "const": "image", "description": "The `docker_image` of the task is mirrored." },
            { "const": "dockerfile", "description": "The `environment/Dockerfile` of the task is built." },
            { "type": "string", "pattern": r"\$", "description": "From a variable." },
        ],
    }
);

/// Consequence of a broken Dockerfile that was discovered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum OnError {
    #[default]
    Error,
    Skip,
}

scalar!(
    OnError,
    |node, diagnostics| decode_text(node, diagnostics, |text| match text {
        "error" => Ok(Self::Error),
        "skip" => Ok(Self::Skip),
        _ => {
            let message = format!("`{}` is not a way to go on", text.escape_debug());
            Err(NameError::new(message, "write `error` or `skip`"))
        }
    }),
    {
        "anyOf": [
            { "const": "error", "description": "Nothing is planned." },
            { "const": "skip", "description": "The image is left as it is, with a warning." },
            { "type": "string", "pattern": r"\$", "description": "From a variable." },
        ],
    }
);

/// Decodes `personal`, `platform` or `team:<id>`, or a mapping with the key `team`.
fn decode_owner(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Owner> {
    if !matches!(node.value, Value::Map(_) | Value::Seq(_)) {
        return parsed(node, diagnostics);
    }
    if let Value::Map(entries) = &node.value
        && let [(key, YamlNode { value: Value::Scalar { text, kind: ScalarKind::Text }, .. })] =
            &entries[..]
        && key.text == "team"
        && !text.trim().is_empty()
    {
        return Some(Owner::Team(text.trim().to_owned()));
    }
    let help = "write `personal`, `platform` or `team: <id>`; quote an ID of digits";
    reject(node, diagnostics, "this is not an owner", help)
}

/// Checks the name of a group.
pub(super) fn check_group_name(text: &str) -> Result<(), NameError> {
    let is_first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_inner = |c: char| is_first(c) || matches!(c, '.' | '-');
    if text.starts_with(is_first) && text.chars().all(is_inner) && text.len() <= 128 {
        return Ok(());
    }
    Err(NameError::new(
        format!("`{}` is not the name of a group", text.escape_debug()),
        "use at most 128 letters, digits, `_`, `.` and `-`; start with a letter, a digit or `_`",
    ))
}

/// Returns the schema of the format's version.
pub(super) fn version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": 1 })
}

/// Returns the schema of keys that are ignored.
pub(super) fn extension_keys() -> serde_json::Value {
    serde_json::json!({ "^x-": { "description": "Ignored. For values with an anchor." } })
}

/// Pattern of a duration of at least one minute.
pub(super) const AGE_PATTERN: &str = r"\$|^0*[1-9][0-9]*(m|h|d)$|^0*([6-9][0-9]|[1-9][0-9]{2,})s$|^0*([6-9][0-9]{4}|[1-9][0-9]{5,})ms$";

/// Pattern of a label's key.
pub(super) const LABEL_PATTERN: &str = r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?$";

/// Pattern of a build argument's name.
pub(super) const ARG_PATTERN: &str = r"^[A-Za-z_][A-Za-z0-9_]*$";

/// Patterns of a group, for the schema alone.
pub(super) struct GroupPatterns;

impl JsonSchema for GroupPatterns {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GroupPatterns".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = generator.subschema_for::<Vec<Glob>>();
        schema.insert("description".to_owned(), "Patterns of the images in the group.".into());
        schema
    }
}

/// Declares a type that only describes a string in a list or a mapping for the schema.
macro_rules! description {
    ($name:ident, $schema:tt) => {
        pub(super) struct $name;

        describe!($name, $schema);
    };
}
description!(VariableText, {
    "type": "string",
    "description": "Value of the variable. Quote a value that looks like a number.",
});
description!(ArgText, {
    "anyOf": [
        {
            "type": "string",
            "description": "Value of the argument. Quote a value that looks like a number.",
        },
        {
            "type": "object",
            "description": "Value of the argument on each platform of the image.",
            "minProperties": 1,
            "additionalProperties": false,
            "properties": {
                "linux/amd64": { "type": "string", "description": "Value on 64-bit x86." },
                "linux/arm64": { "type": "string", "description": "Value on 64-bit ARM." },
            },
        },
    ],
    "description": "Value of the argument.",
});
description!(LabelText, {
    "type": "string",
    "pattern": r"\$|^[^\x00-\x1f\x7f]*$",
    "description": "Value of the label, on one line. Quote a value that looks like a number.",
});
description!(IncludeText, {
    "type": "string",
    "minLength": 1,
    "description": "Path of a manifest, or a pattern of paths.",
});
description!(ExcludeText, {
    "type": "string",
    "minLength": 1,
    "description": "Pattern of folders, with the syntax of `glob`.",
});
description!(NeedText, {
    "type": "string",
    "description": "An image of this manifest: `name` or `name:tag`. Only `name` if its tag has `{fingerprint}`.",
    "examples": ["base", "base:3.12"],
});
