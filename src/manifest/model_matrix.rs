//! The `matrix` of an entry, for the schema alone. Pure.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::decode::Decode;
use super::diagnostics::Diagnostics;
use super::node::YamlNode;

/// The `matrix` of an entry. It is expanded before entries are decoded, so nothing is kept.
#[derive(Debug, Clone)]
pub(crate) struct Matrix;

impl Decode for Matrix {
    fn decode(_: &mut YamlNode, _: &mut Diagnostics) -> Option<Self> {
        Some(Self)
    }
}
impl JsonSchema for Matrix {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Matrix".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [matrix_of_values(), matrix_rows("Rows of variables, each with its value.", 1)],
            "description": "Variables, each with its values; or a list of rows.",
            "examples": [{ "PY": ["3.11", "3.12"], "OS": ["slim", "alpine"] }],
        })
    }
}

/// Returns the schema of a list of rows.
fn matrix_rows(description: &str, min_items: usize) -> Schema {
    json_schema!({
        "type": "array",
        "description": description,
        "minItems": min_items,
        "items": {
            "type": "object",
            "description": "Variables, each with one value.",
            "minProperties": 1,
            "additionalProperties": false,
            "patternProperties": {
                "^[A-Za-z_][A-Za-z0-9_]*$": {
                    "type": "string",
                    "description": "Value of the variable in this row."
                },
            },
        },
    })
}

/// Returns the schema of variables with their values.
fn matrix_of_values() -> Schema {
    json_schema!({
    "type": "object",
    "description": "Variables, each with its values.",
    "minProperties": 1,
    "properties": {
        "include": matrix_rows(
            "Rows to add, as in GitHub Actions: an item adds its variables to each row whose values \
             it does not contradict, or else is a row of its own.",
            0,
        ),
        "exclude": {
            "type": "array",
            "description": "Rows to leave out: each row that has all values of an item.",
            "items": {
                "type": "object",
                "description": "Variables, each with one value.",
                "additionalProperties": {
                    "type": "string",
                    "description": "Value of the variable in these rows."
                },
            },
        },
    },
    "patternProperties": {
        "^(?!(exclude|include)$)[A-Za-z_][A-Za-z0-9_]*$": {
            "type": "array",
            "description": "Values of the variable. Quote a value that looks like a number.",
            "items": { "type": "string", "description": "A value." },
            "minItems": 1,
            "uniqueItems": true,
        },
    },
    "additionalProperties": false,
    })
}
