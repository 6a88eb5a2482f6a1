//! The JSON Schema by which editors check a manifest: it is up to date, valid, agrees with the
//! program, and explains every key.

use std::path::Path;

use imgplan::manifest::{Given, Workspace, schema};
use jsonschema::Validator;
use serde_json::Value;

use super::support::TestEnv;

const FILE: &str = "schema/imgplan.schema.json";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The schema, to hold documents against.
pub(crate) fn validator() -> Validator {
    jsonschema::draft202012::new(&serde_json::from_str(&schema()).unwrap()).unwrap()
}

/// What is wrong with a YAML document; empty where nothing is.
pub(crate) fn complaints(validator: &Validator, yaml: &str) -> Vec<String> {
    let document: Value = serde_saphyr::from_str(yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    let said = |error| format!("{error}");
    validator.iter_errors(&document).map(said).collect()
}

#[test]
fn the_file_is_up_to_date() {
    let file = std::fs::read_to_string(root().join(FILE)).unwrap_or_default();
    assert!(file == schema(), "{FILE} is stale; run: cargo run -- schema -o {FILE}");
}

#[test]
fn the_command_writes_the_file() {
    let env = TestEnv::new();
    assert_eq!(env.ok(["schema"]).stdout, schema());
    env.ok(["schema", "-o", "written.json"]).never_says("{");
    assert_eq!(env.read("written.json"), schema());
}

#[test]
fn it_is_a_schema_of_its_draft() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    if let Err(error) = jsonschema::draft202012::meta::validate(&schema) {
        panic!("{error} at {}", error.instance_path());
    }
}

#[test]
fn every_example_is_valid() {
    let (validator, mut seen) = (validator(), 0);
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let manifest = entry.unwrap().path().join("imgplan.yaml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        assert_eq!(complaints(&validator, &text), [""; 0], "{}", manifest.display());
        let schema = text.lines().next().unwrap().split_once("$schema=").map(|(_, path)| path);
        let schema = manifest.parent().unwrap().join(schema.unwrap_or_default());
        assert!(schema.is_file(), "{}: the first line names no schema", manifest.display());
        seen += 1;
    }
    assert!(seen > 0);
}

/// Documents, most with one image `a` to be built, and whether they are right.
#[rustfmt::skip]
const DOCUMENTS: &[(bool, &str)] = &[
    (true, "version: 1\nimages: []"),
    (true, "version: 1\nimages: [{ name: a, context: a }]"),
    (true, "version: 1\nimages: [{ source: 'docker.io/library/redis:7' }]"),
    (true, "version: 1\nimages: [{ source: 'redis:7', name: a, tag: b, visibility: Public }]"),
    (true, "version: 1\nowner: { team: t }\nimages: [{ name: a, context: a, needs: [b] }, { name: b, context: a }]"),
    (true, "version: 1\nowner: 'team: t'\nimages: [{ name: a, context: a, owner: personal, timeout: 30m }]"),
    (true, "version: 1\nowner: platform\nimages: [{ name: x/a, context: a, visibility: PUBLIC }]"),
    (true, "version: 1\nvars: { P: linux/arm64, T: v1 }\nimages: [{ name: 'a-${T}', tag: '${T}', context: a, platforms: ['${P}'] }]"),
    (true, "version: 1\nvars: { V: public, L: 5/1s, O: personal, D: 3m, U: 'http://h', S: 'a:1' }\nowner: '${O}'\nsettings: { url: '${U}', limits: { list: '${L}' } }\nimages: [{ source: '${S}', visibility: '${V}', timeout: '${D}' }]"),
    (true, "version: 1\nsettings: { url: 'https://h', concurrency: 1000, limits: { initiate: 1/500ms, images: 10 / 1m } }\nimages: []"),
    (true, "version: 1\ndefaults: { tag: v1, dockerfile: Dockerfile, platforms: [linux/arm64, linux/amd64], visibility: inherit, timeout: 1d }\nimages: [{ name: a, context: a }]"),
    (true, "version: 1\nsettings: { context_warn: 500MB, context_max: 2 GiB }\nimages: []"),
    (true, "version: 1\nvars: { S: 1kB }\nsettings: { context_warn: '${S}', context_max: 1KB }\nimages: []"),
    (true, "version: 1\nimages: [{ name: a, context: a, max_age: 1d, protect: true, labels: { team: x, 'a/b.c': '' }, groups: [g, 'x.1'], infer_bases: false }]"),
    (true, "version: 1\nimages: [{ source: 'b:1', max_age: 060s, protect: false, labels: {}, groups: [] }]"),
    (true, "version: 1\nimages: [{ name: a, context: a, args: {} }]"),
    (true, "version: 1\ndefaults: { max_age: 60000ms, protect: true, labels: { team: x }, groups: [g], infer_bases: false, tag: 'v-{arch}' }\nimages: [{ name: a, context: a }]"),
    (true, "version: 1\nvars: { V: b }\nimages: [{ name: a, context: a, tag: '${V}-{arch}-{fingerprint}', labels: { v: '${V}' }, groups: ['${V}'] }]"),
    (true, "version: 1\ngroups: { g: [a, '*', 'a:v?', 'x/*'], empty: [] }\nimages: [{ name: a, context: a }]"),
    (true, "version: 1\nmoved: [{ from: b, to: a }, { from: 'c:v1', to: 'a:latest' }]\nremoved: [{ name: d }, { name: 'e:v1', destroy: true }]\nimages: [{ name: a, context: a }]"),
    (true, "version: 1\nmoved: []\nremoved: []\nimages: []"),
    (true, "version: 1\ninclude: [other.yaml]"),
    (true, "version: 1\ninclude: ['o*.yaml']\nimages: []"),
    (true, "version: 1\nimages: [{ name: 'a-${V}', context: a, matrix: { V: ['1', x], W_2: [q], exclude: [{ V: x }] } }]"),
    (true, "version: 1\nimages: [{ discover: { glob: a }, tag: '{path}', visibility: public }]"),
    (true, "version: 1\nimages: [{ discover: { glob: '**', exclude: [t] }, name: 'x-{dir}-{parent}' }]"),
    (true, "version: 1\nimages: [{ discover: { harbor: t }, name: 'x-{name}' }]"),
    (true, "version: 1\nimages: [{ sources: ['b:1', 'c:1'], name: 'x-{path}-{registry}', tag: '{tag}' }]"),
    (true, "version: 1\nimages: [{ sources_from: refs.txt, name: '{name}-{digest}' }]"),
    (true, "version: 1\nimages: [{ sources_from: refs.jsonl }]"),
    (false, "version: 1\ninclude: other.yaml"),
    (false, "version: 1\ninclude: [7]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: [x] }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: {} }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V: x } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V: [] } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V: [1.10] } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V: [x, x] } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V-W: [x] } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V: [x, q], exclude: { V: x } } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V: [x, q], exclude: [{ V: 1 }] } }]"),
    (false, "version: 1\nimages: [{ discover: '*' }]"),
    (false, "version: 1\nimages: [{ discover: {} }]"),
    (false, "version: 1\nimages: [{ discover: { glob: a, harbor: t } }]"),
    (false, "version: 1\nimages: [{ discover: { glob: a, globs: t } }]"),
    (false, "version: 1\nimages: [{ discover: { glob: a }, context: a }]"),
    (false, "version: 1\nimages: [{ discover: { glob: a }, source: 'b:1' }]"),
    (false, "version: 1\nimages: [{ discover: { glob: a }, name: 'x-{dirr}' }]"),
    (false, "version: 1\nimages: [{ sources: 'b:1' }]"),
    (false, "version: 1\nimages: [{ sources: [] }]"),
    (false, "version: 1\nimages: [{ sources: ['b:1,c:1'] }]"),
    (false, "version: 1\nimages: [{ sources: ['b:1'], source: 'c:1' }]"),
    (false, "version: 1\nimages: [{ sources: ['b:1'], sources_from: refs.txt }]"),
    (false, "version: 1\nimages: [{ sources: ['b:1'], dockerfile: Dockerfile }]"),
    (false, "version: 1\nimages: [{ sources_from: [refs.txt] }]"),
    (false, "version: 1\nimages: [{ sources_from: refs.txt, context: a }]"),
    (false, "images: []"),
    (false, "version: 2\nimages: []"),
    (false, "version: '1'\nimages: []"),
    (false, "version: 1"),
    (false, "version: 1\nimages: {}"),
    (false, "version: 1\nimages: [a]"),
    (false, "version: 1\nimages: []\nimage: []"),
    (false, "version: 1\nimages:"),
    (false, "version: 1\nvars: { A: 1 }\nimages: []"),
    (false, "version: 1\nowner: nobody\nimages: []"),
    (false, "version: 1\nowner: 'team: '\nimages: []"),
    (false, "version: 1\nowner: { team: '' }\nimages: []"),
    (false, "version: 1\nowner: { team: t, more: t }\nimages: []"),
    (false, "version: 1\ndefaults: { name: a }\nimages: []"),
    (false, "version: 1\ndefaults: { timeout: 0m }\nimages: []"),
    (false, "version: 1\nsettings: { url: h }\nimages: []"),
    (false, "version: 1\nsettings: { concurrency: 0 }\nimages: []"),
    (false, "version: 1\nsettings: { concurrency: 1001 }\nimages: []"),
    (false, "version: 1\nsettings: { concurrency: '5' }\nimages: []"),
    (false, "version: 1\nsettings: { context_warn: 500 }\nimages: []"),
    (false, "version: 1\nsettings: { context_warn: 0MB }\nimages: []"),
    (false, "version: 1\nsettings: { context_warn: 1.5GB }\nimages: []"),
    (false, "version: 1\nsettings: { context_max: 5TB }\nimages: []"),
    (false, "version: 1\nsettings: { context_max: 500mb }\nimages: []"),
    (false, "version: 1\nsettings: { limits: { initiates: 1/1s } }\nimages: []"),
    (false, "version: 1\nsettings: { limits: { initiate: 0/1s } }\nimages: []"),
    (false, "version: 1\nsettings: { limits: { initiate: 1/1 } }\nimages: []"),
    (false, "version: 1\nimages: [{}]"),
    (false, "version: 1\nimages: [{ name: a }]"),
    (false, "version: 1\nimages: [{ context: a }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, source: 'b:1' }]"),
    (false, "version: 1\nimages: [{ source: 'b:1', dockerfile: Dockerfile }]"),
    (false, "version: 1\nimages: [{ source: 'b:1,c:1' }]"),
    (false, "version: 1\nimages: [{ name: A, context: a }]"),
    (false, "version: 1\nimages: [{ name: a-, context: a }]"),
    (false, "version: 1\nimages: [{ name: 'a:1', context: a }]"),
    (false, "version: 1\nimages: [{ name: a, tag: 1.10, context: a }]"),
    (false, "version: 1\nimages: [{ name: a, tag: -1, context: a }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, platforms: linux/amd64 }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, platforms: [] }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, platforms: [amd64] }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, platforms: [linux/amd64, linux/amd64] }]"),
    (false, "version: 1\ndefaults: { platforms: [] }\nimages: [{ name: a, context: a }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, visibility: secret }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, visibility: }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, needs: b }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, timeout: 30 }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, max_age: 59s }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, max_age: 59999ms }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, max_age: 0d }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, max_age: 7 }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, protect: 'true' }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, infer_bases: 'no' }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, labels: { a: 1 } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, labels: { -a: b } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, labels: { a: \"b\\nc\" } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, labels: [a] }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, groups: g }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, groups: [-g] }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, args: { A: 1 } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, args: { A-B: x } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, args: [A] }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, target: ' ' }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, tag: 'v-{os}' }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, tag: '-{arch}' }]"),
    (false, "version: 1\nimages: [{ source: 'b:1', args: { A: x } }]"),
    (false, "version: 1\nimages: [{ source: 'b:1', target: x }]"),
    (false, "version: 1\nimages: [{ source: 'b:1', infer_bases: true }]"),
    (false, "version: 1\ndefaults: { args: { A: x } }\nimages: []"),
    (false, "version: 1\ngroups: { g: a }\nimages: []"),
    (false, "version: 1\ngroups: { 'g h': [a] }\nimages: []"),
    (false, "version: 1\ngroups: { g: ['[a]'] }\nimages: []"),
    (false, "version: 1\nmoved: [{ from: b }]\nimages: [{ name: a, context: a }]"),
    (false, "version: 1\nmoved: [{ from: b, to: A }]\nimages: [{ name: a, context: a }]"),
    (false, "version: 1\nmoved: [{ from: b, to: a, at: c }]\nimages: [{ name: a, context: a }]"),
    (false, "version: 1\nremoved: [{ destroy: true }]\nimages: []"),
    (false, "version: 1\nremoved: [b]\nimages: []"),
    (false, "version: 1\nremoved: [{ name: 'b:c:d' }]\nimages: []"),
    (false, "version: 1\nimages: [{ name: a, context: a, platform: linux/amd64 }]"),
];

/// What the schema says of a document, the program says too. (The program knows more: whether a
/// folder exists, for one.)
#[test]
fn it_agrees_with_the_program() {
    let env = TestEnv::new();
    env.context("a", "FROM scratch\n").context("t/environment", "FROM scratch\n");
    env.write("t/task.toml", "[task]\nname = 'T'\n");
    env.write("other.yaml", "version: 1\nimages: []\n");
    env.write(
        "refs.txt",
        "r@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
    );
    env.write("refs.jsonl", "{\"source\": \"redis:7\"}\n");
    let validator = validator();
    for (right, document) in DOCUMENTS {
        let complaints = complaints(&validator, document);
        assert_eq!(complaints.is_empty(), *right, "the schema on\n{document}\n{complaints:?}");
        env.write("imgplan.yaml", document);
        let loaded = Workspace::load(&Given::file(env.path("imgplan.yaml")), &|_| None);
        let problems = loaded.err().map_or_else(Vec::new, |error| error.problems);
        assert_eq!(problems.is_empty(), *right, "the program on\n{document}\n{problems:?}");
    }
}

#[test]
fn every_key_is_explained() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let mut keys = 0;
    explained(&schema, "", &mut keys);
    assert!(keys > 30, "{keys} keys: are these all?");
}

/// Goes through all properties and items that are below a schema.
fn explained(schema: &Value, at: &str, keys: &mut usize) {
    let Some(schema) = schema.as_object() else { return };
    // Where a key is forbidden, another place explains it.
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let properties = properties.filter(|(_, schema)| !schema.is_boolean());
    let items = ["items", "additionalProperties"].into_iter();
    let items = items.filter_map(|name| Some((name, schema.get(name)?)));
    let items = items.filter(|(_, schema)| !schema.is_boolean());
    for (name, below) in properties.map(|(name, schema)| (name.as_str(), schema)).chain(items) {
        *keys += 1;
        let description = below.get("description").and_then(Value::as_str).unwrap_or_default();
        let explained = description.ends_with('.') || below.get("$ref").is_some();
        assert!(explained, "{at}/{name} has no description: an editor cannot explain it");
        let null = below.get("type").is_some_and(|kind| kind.to_string().contains("null"));
        assert!(!null, "{at}/{name} may be null, which the program refuses");
    }
    for (name, below) in schema {
        match below {
            Value::Array(all) => {
                for one in all {
                    explained(one, &format!("{at}/{name}"), keys);
                }
            }
            below if matches!(name.as_str(), "properties" | "$defs") => {
                for (key, below) in below.as_object().unwrap() {
                    explained(below, &format!("{at}/{key}"), keys);
                }
            }
            below => explained(below, &format!("{at}/{name}"), keys),
        }
    }
}
