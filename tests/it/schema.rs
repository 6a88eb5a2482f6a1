//! The JSON Schemas. The schema of manifests is up to date, valid, agrees with the program and
//! describes every key. The schemas of output match the output.

use std::path::Path;

use imgplan::test_support::manifest::{Invocation, Workspace, schema};
use jsonschema::Validator;
use serde_json::Value;

use super::support::TestEnv;

const FILE: &str = "schema/imgplan.schema.json";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the validator of manifests.
pub(crate) fn validator() -> Validator {
    jsonschema::draft202012::new(&serde_json::from_str(&schema()).unwrap()).unwrap()
}

/// Returns the errors of a YAML document.
pub(crate) fn complaints(validator: &Validator, yaml: &str) -> Vec<String> {
    let document: Value = serde_saphyr::from_str(yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    validator.iter_errors(&document).map(|error| error.to_string()).collect()
}

#[test]
fn the_file_is_up_to_date() {
    let file = std::fs::read_to_string(root().join(FILE)).unwrap_or_default();
    assert!(file == schema(), "{FILE} is stale; run: cargo run -- schema -o {FILE}");
}

#[test]
fn the_command_writes_the_schema() {
    let env = TestEnv::new();
    assert_eq!(env.ok(["schema"]).stdout, schema());
    env.ok(["schema", "-o", "written.json"]).never_says("{");
    assert_eq!(env.read("written.json"), schema());
}

#[test]
fn the_schema_is_valid() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    if let Err(error) = jsonschema::draft202012::meta::validate(&schema) {
        panic!("{error} at {}", error.instance_path());
    }
}

#[test]
fn every_example_is_valid() {
    let (validator, mut count) = (validator(), 0);
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let manifest = entry.unwrap().path().join("imgplan.yaml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        assert_eq!(complaints(&validator, &text), [""; 0], "{}", manifest.display());
        let schema = text.lines().next().unwrap().split_once("$schema=").map(|(_, path)| path);
        let schema = manifest.parent().unwrap().join(schema.unwrap_or_default());
        assert!(schema.is_file(), "{}: the first line names no schema", manifest.display());
        count += 1;
    }
    assert!(count > 0);
}

/// Manifests, most with one image `a`, and true for those that are valid.
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
    (true, "version: 1\nsettings: { local: { engine: auto, disk: 9GB, memory: 1GiB, slots: 2, build_timeout: 30m } }\nimages: []"),
    (true, "version: 1\nvars: { E: check }\nsettings: { local: { engine: '${E}' } }\nimages: []"),
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
    (true, "version: 1\nimages: [{ name: 'a-${V}-${W}', context: a, matrix: [{ V: x, W: '1' }, { V: q, W: '2' }] }]"),
    (true, "version: 1\nimages: [{ name: 'a-${V}-${W:-no}', context: a, matrix: { V: [x], include: [{ V: x, W: z }, { V: q }] } }]"),
    (true, "version: 1\nimages: [{ name: 'a-${V}', context: a, matrix: { include: [{ V: q }] } }]"),
    (true, "version: 1\nimages: [{ discover: { glob: a }, tag: '{path}', visibility: public }]"),
    (true, "version: 1\nimages: [{ discover: { glob: '**', exclude: [t] }, name: 'x-{dir}-{parent}' }]"),
    (true, "version: 1\nimages: [{ discover: { harbor: t }, name: 'x-{name}' }]"),
    (true, "version: 1\nimages: [{ sources: ['b:1', 'c:1'], name: 'x-{path}-{registry}', tag: '{tag}' }]"),
    (true, "version: 1\nimages: [{ sources_from: refs.txt, name: '{name}-{digest}' }]"),
    (true, "version: 1\nimages: [{ sources_from: refs.jsonl }]"),
    (true, "version: 1\nx-a: &a { context: a }\nimages: [{ name: a, x-b: 1.10, <<: *a }]"),
    (true, "version: 1\nx-a: []\ndefaults: { x-b: 1 }\nsettings: { x-c: 1, limits: { x-e: 1 } }\nimages: [{ discover: { x-d: 1, glob: a } }]"),
    (true, "version: 1\nmoved: [{ x-a: 1, from: b, to: a }]\nremoved: [{ x-a: 1, name: d }]\nimages: [{ name: a, context: a }]"),
    (false, "version: 1\nX-a: 1\nimages: []"),
    (false, "version: 1\nimages: [{ name: a, context: a, xa: 1 }]"),
    (false, "version: 1\ninclude: other.yaml"),
    (false, "version: 1\ninclude: [7]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: [x] }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: x }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: [] }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: [{}] }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: [{ V: 1 }] }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: [{ V-W: x }] }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V: [x], include: { V: x } } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V: [x], include: [x] } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: {} }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V: x } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V: [] } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V: [1.10] } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V: [x, x] } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V-W: [x] } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V: [x, q], exclude: { V: x } } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, matrix: { V: [x, q], exclude: [{ V: 1 }] } }]"),
    (true, "version: 1\nimages: [{ discover: { dockerfiles: 'a/*' }, name: 'x-{file}', context: . }]"),
    (true, "version: 1\nimages: [{ discover: { glob: a }, context: ., dockerfile: '{dir}file', published_as: 'q.io/{dir}' }]"),
    (false, "version: 1\nimages: [{ discover: { dockerfiles: 'a/*' }, dockerfile: Dockerfile }]"),
    (false, "version: 1\nimages: [{ discover: { dockerfiles: 'a/*', glob: a } }]"),
    (false, "version: 1\nimages: [{ discover: { dockerfiles: ['a/*'] } }]"),
    (false, "version: 1\nimages: [{ discover: { harbor: t }, context: a }]"),
    (true, "version: 1\nvars: { P: image }\nimages: [{ discover: { harbor: t, prefer: '${P}' } }]"),
    (true, "version: 1\nimages: [{ discover: { harbor: t, prefer: dockerfile } }]"),
    (false, "version: 1\nimages: [{ discover: { harbor: t, prefer: source } }]"),
    (true, "version: 1\nimages: [{ discover: { glob: a, on_error: skip } }]"),
    (false, "version: 1\nimages: [{ discover: { glob: a, on_error: warn } }]"),
    (false, "version: 1\nimages: [{ discover: { glob: a, prefer: dockerfile } }]"),
    (false, "version: 1\nimages: [{ discover: '*' }]"),
    (false, "version: 1\nimages: [{ discover: {} }]"),
    (false, "version: 1\nimages: [{ discover: { glob: a, harbor: t } }]"),
    (false, "version: 1\nimages: [{ discover: { glob: a, globs: t } }]"),
    (false, "version: 1\nimages: [{ discover: { glob: a }, context: [a] }]"),
    (false, "version: 1\nimages: [{ sources: ['b:1'], context: a }]"),
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
    (false, "version: 1\nsettings: { local: { engine: docker } }\nimages: []"),
    (false, "version: 1\nsettings: { local: { slots: 0 } }\nimages: []"),
    (false, "version: 1\nsettings: { local: { registry: '127.0.0.1:5000' } }\nimages: []"),
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
    (true, "version: 1\ndefaults: { args: { A: x } }\nimages: [{ name: a, context: a }, { source: 'b:1' }]"),
    (true, "version: 1\nimages: [{ name: a, context: a, args: { A: 'x-{arch}', B: { linux/amd64: x } } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, args: { A: {} } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, args: { A: { amd64: x } } }]"),
    (false, "version: 1\nimages: [{ name: a, context: a, args: { A: { linux/amd64: 1 } } }]"),
    (false, "version: 1\ndefaults: { args: { A: 1 } }\nimages: [{ name: a, context: a }]"),
    (false, "version: 1\ndefaults: { args: { A-B: x } }\nimages: [{ name: a, context: a }]"),
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

/// The schema and the program accept the same documents. (The program checks more, such as whether a
/// folder exists.)
#[test]
fn the_schema_agrees_with_the_program() {
    let env = TestEnv::new();
    env.context("a", "FROM scratch\n").context("t/environment", "FROM scratch\n");
    env.write("a/afile", "FROM scratch\n");
    env.write("t/task.toml", "[task]\nname = 'T'\n");
    env.write("other.yaml", "version: 1\nimages: []\n");
    env.write(
        "refs.txt",
        "r@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
    );
    env.write("refs.jsonl", "{\"source\": \"redis:7\"}\n");
    let validator = validator();
    for (is_valid, document) in DOCUMENTS {
        let complaints = complaints(&validator, document);
        assert_eq!(complaints.is_empty(), *is_valid, "the schema on\n{document}\n{complaints:?}");
        env.write("imgplan.yaml", document);
        let loaded = Workspace::load(&Invocation::file(env.path("imgplan.yaml")), &|_| None);
        let problems = loaded.err().map_or_else(Vec::new, |error| error.problems);
        assert_eq!(problems.is_empty(), *is_valid, "the program on\n{document}\n{problems:?}");
    }
}

#[test]
fn every_key_has_a_description() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let mut keys = 0;
    check_descriptions(&schema, "", &mut keys);
    assert!(keys > 30, "{keys} keys: are these all?");
}

/// Checks all properties and items below a schema.
fn check_descriptions(schema: &Value, at: &str, keys: &mut usize) {
    let Some(schema) = schema.as_object() else { return };
    // A forbidden key is described where it is allowed.
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let properties = properties.filter(|(_, schema)| !schema.is_boolean());
    let items = ["items", "additionalProperties"].into_iter();
    let items = items.filter_map(|name| Some((name, schema.get(name)?)));
    let items = items.filter(|(_, schema)| !schema.is_boolean());
    for (name, below) in properties.map(|(name, schema)| (name.as_str(), schema)).chain(items) {
        *keys += 1;
        let description = below.get("description").and_then(Value::as_str).unwrap_or_default();
        let is_described = description.ends_with('.') || below.get("$ref").is_some();
        assert!(is_described, "{at}/{name} has no description for editors");
        let null = below.get("type").is_some_and(|kind| kind.to_string().contains("null"));
        assert!(!null, "{at}/{name} may be null, which the program refuses");
    }
    for (name, below) in schema {
        match below {
            Value::Array(all) => {
                for one in all {
                    check_descriptions(one, &format!("{at}/{name}"), keys);
                }
            }
            below if matches!(name.as_str(), "properties" | "$defs") => {
                for (key, below) in below.as_object().unwrap() {
                    check_descriptions(below, &format!("{at}/{key}"), keys);
                }
            }
            below => check_descriptions(below, &format!("{at}/{name}"), keys),
        }
    }
}

/// Returns the validator of an output format.
fn output_schema(name: &str) -> Validator {
    let text = std::fs::read_to_string(root().join("schema").join(name)).unwrap();
    let schema = serde_json::from_str(&text).unwrap();
    if let Err(error) = jsonschema::draft202012::meta::validate(&schema) {
        panic!("{name}: {error} at {}", error.instance_path());
    }
    jsonschema::draft202012::new(&schema).unwrap()
}

#[track_caller]
fn assert_valid(validator: &Validator, values: &[Value]) {
    for value in values {
        let errors: Vec<String> =
            validator.iter_errors(value).map(|error| error.to_string()).collect();
        assert_eq!(errors, [""; 0], "{value:#}");
    }
}

/// Targets are built and mirrored, wait for a rate limit, fail and are skipped.
#[test]
fn events_match_their_schema() {
    let events = output_schema("plan.schema.json");
    let env = TestEnv::manifest(
        "version: 1\ndefaults: {tag: v1}\nimages:\n  - {name: base, context: base}\n  \
         - {name: api, context: api}\n  - {name: bad, context: bad}\n  \
         - {name: leaf, context: leaf}\n  - {source: 'docker.io/library/redis:7'}\n",
    );
    env.context("base", "FROM scratch\nCOPY . /\n").context("api", "FROM base:v1\n");
    env.context("bad", "FROM scratch\nCOPY nothing /\n").context("leaf", "FROM bad:v1\n");
    let local = ["--json", "--local"];
    let apply = ["apply", "--auto-approve", "--limit", "initiate=2/1500ms"];
    let plan = env.ok([&["plan"][..], &local].concat());
    let first = env.run([&apply[..], &local].concat());
    first.code(1);
    env.edit("imgplan.yaml", "  - {name: api, context: api}\n", "");
    env.write("base/new", "");
    let second = env.ok([&["plan"][..], &local].concat());
    let why = env.ok([&["why", "base"][..], &local].concat());
    let status = env.ok([&["status"][..], &local].concat());
    let nothing = env.run(["plan", "--json", "-f", "none.yaml"]);
    let remote = TestEnv::manifest(
        "version: 1\nimages:\n  - {source: 'quay.io/library/redis:7'}\n  \
         - {source: 'quay.io/library/redis:8'}\n",
    );
    remote.apply();
    remote.server().send("DELETE", "images/redis/7", &Value::Null);
    remote.server().publish("redis:8");
    let drift = remote.ok(["plan", "--refresh-only", "--json"]);
    let all = [&plan, &first, &second, &why, &status, &nothing, &drift];
    let lines: Vec<Value> = all.into_iter().flat_map(|output| output.json()).collect();
    assert_valid(&events, &lines);
    let kinds: std::collections::BTreeSet<&str> =
        lines.iter().filter_map(|line| line["type"].as_str()).collect();
    for kind in [
        "version",
        "planned_change",
        "change_summary",
        "apply_start",
        "apply_progress",
        "apply_complete",
        "apply_errored",
        "apply_skipped",
        "rate_wait",
        "why",
        "status",
        "diagnostic",
        "drift",
        "refresh_complete",
    ] {
        assert!(kinds.contains(kind), "no {kind} among {kinds:?}");
    }
    // The schema rejects lines with one error.
    for line in &lines {
        for (at, invalid) in mutations(line) {
            assert!(!events.is_valid(&invalid), "the schema accepts a change of {at} in {line}");
        }
    }
}

/// Returns copies of a line with one error each, and the place of the error.
fn mutations(line: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for at in ["/type", "/@level", "/@timestamp"] {
        let mut other = line.clone();
        *other.pointer_mut(at).unwrap() = "other".into();
        all.push((at.to_owned(), other));
    }
    let payloads = ["change", "changes", "hook", "run", "diagnostic", "status"];
    for name in payloads.into_iter().filter(|name| line.get(name).is_some_and(Value::is_object)) {
        let optional = ["detail", "range", "snippet", "compared"];
        for key in line[name].as_object().unwrap().keys() {
            if optional.contains(&key.as_str())
                || (line["type"] == "why" && OPTIONAL_IN_WHY.contains(&key.as_str()))
            {
                continue;
            }
            let mut missing = line.clone();
            missing[name].as_object_mut().unwrap().remove(key);
            all.push((format!("{name}/{key}"), missing));
            let mut mistyped = line.clone();
            mistyped[name][key] = Value::Array(vec![Value::Bool(true)]);
            all.push((format!("{name}/{key}"), mistyped));
        }
    }
    all
}

/// Keys that the explanation of a target without changes leaves out.
const OPTIONAL_IN_WHY: [&str; 5] = ["previous_image", "build_id", "owner", "protected", "added"];

#[test]
fn show_matches_its_schema() {
    let schema = output_schema("show.schema.json");
    let env = TestEnv::manifest(
        "version: 1\nimages:\n  - {name: a, context: a}\n  - {source: 'redis:7'}\n",
    );
    env.context("a", "FROM scratch\n");
    let show = || env.ok(["show", "--json"]).json();
    assert_valid(&schema, &show());
    env.apply();
    let shown = show();
    assert_valid(&schema, &shown);
    let unit = &shown[0]["units"][0];
    assert_eq!((&unit["image"], &unit["protect"]), (&"a:latest".into(), &false.into()));
    assert!(unit["built"].get("completed").is_some(), "{unit:#}");
    for key in unit.as_object().unwrap().keys() {
        let mut missing = shown[0].clone();
        missing["units"][0].as_object_mut().unwrap().remove(key);
        assert!(!schema.is_valid(&missing), "{key} is not required");
    }
    for key in unit["built"].as_object().unwrap().keys() {
        let mut mistyped = shown[0].clone();
        mistyped["units"][0]["built"][key] = Value::Bool(true);
        assert!(!schema.is_valid(&mistyped), "{key} has no type");
    }
}

#[test]
fn show_writes_the_pins_of_selected_images() {
    let env = TestEnv::manifest(
        "version: 1\nimages:\n  - {name: a, context: a}\n  - {source: 'redis:7'}\n",
    );
    env.context("a", "FROM scratch\n").apply();
    let digest: imgplan::test_support::base::reference::OciDigest =
        format!("sha256:{}", "7".repeat(64)).parse().unwrap();
    let mut state = imgplan::test_support::state::Store::read_any(
        &imgplan::test_support::state::StatePaths::beside(&env.path("")),
    )
    .unwrap();
    let pin = imgplan::test_support::state::Pin { digest, platforms: [].into() };
    for reference in ["docker.io/library/redis:7", "docker.io/library/debian:12"] {
        state.pins.insert(reference.to_owned(), pin.clone());
    }
    let text = imgplan::test_support::state::encode::encode(&env.server().url(), &state);
    env.write("imgplan.lock", text);
    let pins = |args: &[&str]| {
        let shown = env.ok([&["show", "--json"], args].concat()).json();
        assert_valid(&output_schema("show.schema.json"), &shown);
        let pins = shown[0]["pins"].as_object().unwrap().clone();
        pins.into_iter().map(|(key, pin)| format!("{key} {}", pin["digest"])).collect::<Vec<_>>()
    };
    let (debian, redis) = (
        format!("docker.io/library/debian:12 \"{digest}\""),
        format!("docker.io/library/redis:7 \"{digest}\""),
    );
    assert_eq!(pins(&[]), [debian, redis.clone()]);
    assert_eq!(pins(&["redis"]), [redis]);
    assert_eq!(pins(&["a"]), [""; 0]);
}
