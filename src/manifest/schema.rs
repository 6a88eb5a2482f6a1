//! Turns the model's types and comments into the JSON Schema by which editors complete and explain
//! a manifest. Pure.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::model::{LimitText, Limits, Manifest};
use crate::base::limit::{Class, Limit};

/// The keys that a reader looks for first, in the order in which they are written.
const FIRST: [&str; 9] = [
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

/// The JSON Schema of a manifest (draft 2020-12), as it stands in `schema/`.
///
/// ```
/// assert!(imgplan::manifest::schema().contains("https://json-schema.org/draft/2020-12/schema"));
/// ```
pub fn schema() -> String {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(tidy));
    let schema = settings.into_generator().into_root_schema_for::<Manifest>();
    let mut text = format!("{:#}", schema.as_value());
    text.push('\n');
    text
}

/// Makes a schema say what the program does and what an editor shows well.
fn tidy(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    refuse_null(object);
    // The width of a number in memory tells a reader nothing that its bounds do not.
    object.remove("format");
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = flow(description);
    }
    let mut sorted: Vec<(String, Value)> = std::mem::take(object).into_iter().collect();
    let rank = |key: &str| FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len());
    sorted.sort_by_key(|(key, _)| rank(key));
    object.extend(sorted);
}

/// A key may be left out, but one without a value is refused by the program too.
fn refuse_null(object: &mut Map<String, Value>) {
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

/// Lines of a comment flow; an empty one ends a paragraph.
fn flow(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

impl JsonSchema for Limits {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Limits".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut classes = Map::new();
        for class in Class::ALL {
            let mut schema = LimitText::json_schema(generator);
            let Limit { count, window } = class.default_limit();
            schema.insert("description".to_owned(), about(class).into());
            schema.insert("default".to_owned(), format!("{count}/{}s", window.as_secs()).into());
            classes.insert(class.as_str().to_owned(), schema.into());
        }
        json_schema!({ "type": "object", "properties": classes, "additionalProperties": false })
    }
}

fn about(class: Class) -> &'static str {
    match class {
        Class::Initiate => "Asking for builds and transfers.",
        Class::Start => "Starting builds whose context is uploaded.",
        Class::Status => "Asking how one build is.",
        Class::List => "Listing builds and images.",
        Class::Images => {
            "Transfers, counted in images and not in requests. Of a team: 60/60s by default."
        }
        Class::Update => "Changing visibility or owner.",
        Class::Delete => "Deleting images.",
    }
}
