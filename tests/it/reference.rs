//! The reference pages are generated: the manifest page from its JSON Schema, the commands page from
//! `--help`, the exit codes from `imgplan --help`. To update them, run `UPDATE_DOCS=1 cargo test --test it reference`.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::support::TestEnv;

/// Compares a page with what it should be, or writes it.
fn check(page: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/reference").join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == expected,
        "docs/src/reference/{page} is out of date; run `UPDATE_DOCS=1 cargo test --test it reference`"
    );
}

#[test]
fn the_commands_page_is_what_help_prints() {
    let env = TestEnv::at("http://127.0.0.1:9");
    let mut page = String::from(
        "# Commands\n\n\
         The output of `--help` for every command. `-h` prints a shorter version.\n",
    );
    let names = document(&env, &[], &mut page);
    for name in names {
        for nested in document(&env, &[&name], &mut page) {
            document(&env, &[&name, &nested], &mut page);
        }
    }
    check("commands.md", &page);
}

#[test]
fn the_exit_codes_page_is_what_help_prints() {
    let help = TestEnv::at("http://127.0.0.1:9").ok(["--help"]).stdout;
    let codes = help.lines().skip_while(|line| *line != "Exit codes:").skip(1);
    let mut page = String::from("# Exit codes\n\n| code | meaning |\n|---|---|\n");
    for line in codes {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        writeln!(page, "| {code} | {} |", cell(meaning)).unwrap();
    }
    check("exit-codes.md", &page);
}

/// Adds the section of one command and returns the names of its subcommands.
fn document(env: &TestEnv, command: &[&str], page: &mut String) -> Vec<String> {
    let help = env.ok(command.iter().copied().chain(["--help"])).stdout;
    let title = ["imgplan"].iter().chain(command).copied().collect::<Vec<_>>().join(" ");
    let text: Vec<&str> = help.lines().map(str::trim_end).collect();
    write!(page, "\n## {title}\n\n```text\n{}\n```\n", text.join("\n").trim_end()).unwrap();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    commands
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_manifest_page_is_generated_from_the_schema() {
    let env = TestEnv::at("http://127.0.0.1:9");
    let schema: Value = serde_json::from_str(&env.ok(["schema"]).stdout).unwrap();
    let mut page = String::from("# Manifest\n\n");
    writeln!(page, "{}\n", text(&schema, "description")).unwrap();
    page.push_str(
        "The JSON Schema, which this page is generated from, is printed by `imgplan schema`.\n",
    );
    object(&mut page, "The manifest", &schema);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        object(&mut page, name, definition);
    }
    check("manifest.md", &page);
}

/// Adds a section with a table of an object's keys.
fn object(page: &mut String, title: &str, schema: &Value) {
    writeln!(page, "\n## {title}\n").unwrap();
    if title != "The manifest" {
        writeln!(page, "{}\n", text(schema, "description")).unwrap();
    }
    page.push_str("| key | value | description |\n|---|---|---|\n");
    let required: Vec<&Value> = schema["required"].as_array().into_iter().flatten().collect();
    for (key, value) in properties(schema) {
        let mut description = text(&value, "description").to_owned();
        if required.iter().any(|name| name.as_str() == Some(&key)) {
            description.push_str(" Required.");
        }
        if let Some(default) = value.get("default") {
            write!(description, " Default: `{default}`.").unwrap();
        }
        let (kind, description) = (cell(&value_kind(&value)), cell(&description));
        writeln!(page, "| `{key}` | {kind} | {description} |").unwrap();
    }
}

/// The keys of an object, also those that only one of several forms has.
fn properties(schema: &Value) -> Map<String, Value> {
    let mut all = schema["properties"].as_object().cloned().unwrap_or_default();
    for forms in ["oneOf", "anyOf", "allOf"] {
        for form in schema[forms].as_array().into_iter().flatten() {
            for (key, value) in properties(form) {
                all.entry(key).or_insert(value);
            }
        }
    }
    all
}

/// The kinds of value that a key takes, in words.
fn value_kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(value) = schema.get("const") {
        return format!("`{value}`");
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
        return values.join(", ");
    }
    for forms in ["anyOf", "oneOf"] {
        if let Some(forms) = schema[forms].as_array() {
            let mut kinds: Vec<String> = forms.iter().map(value_kind).collect();
            kinds.dedup();
            return kinds.join(" or ");
        }
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => {
            format!("list of {}", value_kind(&schema["items"]))
        }
        Value::String(name) if name == "object" => match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => format!("map to {}", value_kind(values)),
            _ => "map".to_owned(),
        },
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    }
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema[key].as_str().unwrap_or_default()
}

/// A text for a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace("\n\n", "<br>").replace('\n', " ").replace('|', "\\|")
}
