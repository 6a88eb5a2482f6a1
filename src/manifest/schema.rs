//! Generates the JSON Schema of a manifest from the types and comments of the model. Editors use it
//! for completion and documentation. Pure.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::model::{Manifest, RequestLimits};
use crate::base::limit::{Class, Limit};

/// Schema keywords that are written first, in this order.
const LEADING_KEYWORDS: [&str; 9] = [
    "$schema",
    "$id",
    "$ref",
    "title",
    "description",
    "type",
    "const",
    "required",
    "additionalProperties",
];

/// Returns the JSON Schema of a manifest (draft 2020-12), as committed in `schema/`.
///
/// ```
/// assert!(imgplan::test_support::manifest::schema().contains("https://json-schema.org/draft/2020-12/schema"));
/// ```
pub fn schema() -> String {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(tidy));
    let schema = settings.into_generator().into_root_schema_for::<Manifest>();
    let mut text = format!("{:#}", schema.as_value());
    text.push('\n');
    text
}

/// Adapts a generated schema to what the program accepts and to what editors display.
fn tidy(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    remove_null(object);
    // `uint32` tells a user nothing: the bounds are given.
    object.remove("format");
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = unwrap_lines(description);
    }
    let mut sorted: Vec<(String, Value)> = std::mem::take(object).into_iter().collect();
    let rank = |key: &str| {
        LEADING_KEYWORDS.iter().position(|first| *first == key).unwrap_or(LEADING_KEYWORDS.len())
    };
    sorted.sort_by_key(|(key, _)| rank(key));
    object.extend(sorted);
}

/// Removes `null` from the types: schemars adds it for `Option`, but the program rejects a key
/// without a value.
fn remove_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(any)) = object.get_mut("anyOf") else { return };
    any.retain(|one| *one != json!({ "type": "null" }));
    if let [Value::Object(only)] = any.as_slice() {
        let only = only.clone();
        object.shift_remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}

/// Joins the lines of each paragraph.
fn unwrap_lines(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

impl JsonSchema for RequestLimits {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RequestLimits".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut classes = Map::new();
        for class in Class::ALL {
            let mut schema = Limit::json_schema(generator);
            let Limit { count, window } = class.default_limit();
            schema.insert("description".to_owned(), describe(class).into());
            schema.insert("default".to_owned(), format!("{count}/{}s", window.as_secs()).into());
            classes.insert(class.as_str().to_owned(), schema.into());
        }
        json_schema!({
            "type": "object",
            "properties": classes,
            "patternProperties": super::scalars::extension_keys(),
            "additionalProperties": false,
        })
    }
}

fn describe(class: Class) -> &'static str {
    match class {
        Class::Initiate => "Requests that create builds and transfers.",
        Class::Start => "Requests that start builds after the upload of the context.",
        Class::Status => "Requests for the status of one build.",
        Class::List => "Requests that list builds and images.",
        Class::Images => {
            "Transfers, counted in images, not in requests. The default for a team is 60/60s."
        }
        Class::Update => "Requests that rename images or change their visibility or owner.",
        Class::Delete => "Requests that delete images.",
    }
}
