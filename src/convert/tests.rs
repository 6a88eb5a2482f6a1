//! Tables of each format: an input, the entries that it becomes, and what is dropped.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::folders::Folders;
use super::{ConvertError, Converted, bake, compose, prime, regsync, skopeo, yaml};

/// The input lies in a folder of the manifest's.
fn folders() -> Folders {
    Folders { input: "/repo/in".into(), output: "/repo".into() }
}

/// Returns the entries as the manifest has them, on one line each, and the lines of what was dropped.
fn shown(result: Result<Converted, ConvertError>) -> Vec<String> {
    let converted = match result {
        Ok(converted) => converted,
        Err(error) => return vec![format!("error: {error}")],
    };
    let text = yaml::write(&converted.draft, "x");
    let entries = text.split_once("images:\n").unwrap().1;
    let entries = entries.replace("\n      ", " ").replace("\n    ", " | ").replace("  - ", "");
    let entries = entries.lines().filter(|line| !line.trim_start().starts_with('#'));
    entries.map(str::to_owned).chain(converted.dropped.lines()).collect()
}

/// A function that converts a text.
type Convert = fn(&str) -> Result<Converted, ConvertError>;

#[track_caller]
fn check(convert: Convert, table: &[(&str, &[&str])]) {
    for (input, expected) in table {
        assert_eq!(shown(convert(input)), *expected, "{input}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn fields_of_a_bake_target() {
    let target =
        |fields: &str| bake::convert(&format!("{{\"target\":{{\"a\":{{{fields}}}}}}}"), &folders());
    for (fields, expected) in [
        ("", &["name: a | context: in"][..]),
        (r#""context": null, "args": null, "tags": null"#, &["name: a | context: in"]),
        (r#""context": "../x", "dockerfile": "Dockerfile""#, &["name: a | context: x"]),
        (r#""context": "cwd://y""#, &["name: a | context: in/y"]),
        (r#""context": "/repo/in/z""#, &["name: a | context: in/z"]),
        (
            r#""context": "c", "dockerfile": "../d""#,
            &["name: a | context: in/c | dockerfile: \"../d\""],
        ),
        (
            r#""context": "c", "dockerfile": "/repo/d""#,
            &["name: a | context: in/c | dockerfile: \"../../d\""],
        ),
        (r#""target": "run""#, &["name: a | context: in | target: run"]),
        (r#""args": {"M": 1, "T": "x"}"#, &["name: a | context: in | args: M: \"1\" T: x"]),
        (
            r#""args": {"X": "{arch}", "SOURCE_DATE_EPOCH": "0"}"#,
            &[
                "name: a | context: in",
                "dropped target.a.args.X: `{arch}` would be replaced",
                "dropped target.a.args.SOURCE_DATE_EPOCH: it configures BuildKit, not the image",
            ],
        ),
        (
            r#""platforms": ["linux/arm64/v8", "linux/arm64"]"#,
            &["name: a | context: in | platforms: [linux/arm64]"],
        ),
        (r#""tags": "x""#, &["name: x | context: in"]),
        (
            r#""tags": ["q.io/o/x:1", "q.io/p/x:1"]"#,
            &["name: x | tag: \"1\" | context: in | published_as: [q.io/o/x, q.io/p/x]"],
        ),
        (
            r#""tags": ["x:1", "z"]"#,
            &["name: x | tag: \"1\" | context: in", "name: z | context: in"],
        ),
        (
            r#""tags": ["x@sha256:0000000000000000000000000000000000000000000000000000000000000000"]"#,
            &[
                "dropped target.a.tags: no name for the service: it has a digest",
                "dropped target.a: the image is left out: it has no name of its own",
            ],
        ),
        (r#""pull": false, "no-cache": false, "secret": []"#, &["name: a | context: in"]),
        (
            r#""pull": true, "ulimits": ["x"]"#,
            &[
                "name: a | context: in",
                "dropped target.a.pull: `imgplan lock --upgrade` looks for newer bases",
                "dropped target.a.ulimits: the service has no such setting",
            ],
        ),
        (
            r#""context": "git@github.com:a/b""#,
            &[
                "dropped target.a.context: the image is left out: its context is no folder; clone it, and name the folder",
            ],
        ),
        (
            r#""contexts": {"k": "target:a"}"#,
            &["dropped target.a.contexts.k: the image is left out: the image is its own base"],
        ),
        (
            r#""args": {"NPM_TOKEN": "x", "KEYMAP": "x", "API_KEYS": "x"}"#,
            &[
                "name: a | context: in | args: KEYMAP: x",
                "dropped target.a.args.NPM_TOKEN: it looks like a secret: write `${NPM_TOKEN}` into `args:`",
                "dropped target.a.args.API_KEYS: it looks like a secret: write `${API_KEYS}` into `args:`",
            ],
        ),
        (
            r#""tags": ["u:hunter2@h/x:1"]"#,
            &[
                "dropped target.a.tags: no name for the service: it has a user or a password",
                "dropped target.a: the image is left out: it has no name of its own",
            ],
        ),
        (
            r#""tags": ["ghcr.io/acme/nginx"]"#,
            &[
                "name: nginx | context: in | published_as: [ghcr.io/acme/nginx]",
                "dropped target.a.tags: in later entries, `FROM nginx` is this image, not Docker Hub's",
            ],
        ),
        (
            r#""tags": ["ghcr.io/acme/nginx", "ghcr.io/acme/web"]"#,
            &[
                "name: web | context: in | published_as: [ghcr.io/acme/web]",
                "dropped target.a.tags: the name is left out: in other Dockerfiles, `FROM nginx` is Docker Hub's image; give this one another name",
            ],
        ),
        (
            r#""tags": ["library/nginx", "x"]"#,
            &["name: nginx | context: in", "name: x | context: in"],
        ),
        (
            r#""inherits": ["b"]"#,
            &["error: this is a bake file with `inherits`, not the output of bake"],
        ),
        (r#""context": 7"#, &["error: target.a: expected a string"]),
    ] {
        assert_eq!(shown(target(fields)), expected, "{fields}");
    }
}

#[test]
fn groups_and_contexts_of_bake() {
    check(
        |text| bake::convert(text, &folders()),
        &[
            (
                r#"{"group": {"g": {"targets": ["h", "a"]}, "h": {"targets": ["b", "g"]}, "no name": {"targets": ["a"]}},
                "target": {"a": {}, "b": {}}}"#,
                &[
                    "name: a | context: in | groups: [g, h]",
                    "name: b | context: in | groups: [g, h]",
                    "dropped group.no name: no group can have this name",
                ],
            ),
            (
                r#"{"target": {"base": {"tags": ["o/base:1"]}, "a": {"contexts": {"o/base:1": "target:base", "base": "target:base"}},
                "b": {"contexts": {"k": "target:base"}}, "c": {"contexts": {"a": "target:a"}}}}"#,
                &[
                    "name: base | tag: \"1\" | context: in | published_as: [docker.io/o/base, k]",
                    "name: a | context: in | needs: [\"base:1\"]",
                    "name: b | context: in | needs: [\"base:1\"]",
                    "name: c | context: in | needs: [\"a:latest\"]",
                ],
            ),
            (
                r#"{"target": {"x": {}, "y": {}, "a": {"contexts": {"y": "target:x"}},
                "b": {"contexts": {"k": "target:x"}}, "c": {"contexts": {"k:latest": "target:y"}},
                "d": {"contexts": {"nginx": "target:x"}}, "e": {"contexts": {"q.io/k": "target:x"}}}}"#,
                &[
                    "name: x | context: in",
                    "name: \"y\" | context: in",
                    "dropped target.a.contexts.y: the image is left out: it is another image's name",
                    "dropped target.b.contexts.k: the image is left out: elsewhere it means another image",
                    "dropped target.c.contexts.k:latest: the image is left out: elsewhere it means another image",
                    "dropped target.d.contexts.nginx: the image is left out: in other Dockerfiles it is Docker Hub's image",
                    "dropped target.e.contexts.q.io/k: the image is left out: in other Dockerfiles it is an image of a registry",
                ],
            ),
            ("target {}", &["error: not the JSON of bake: expected ident at line 1 column 2"]),
            ("[]", &["error: not the JSON of bake: expected a mapping at line 1 column 0"]),
            (
                r#"{"target": {}, "variable": {"X": {}}}"#,
                &["error: this is a bake file with `variable`, not the output of bake"],
            ),
        ],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn fields_of_a_compose_service() {
    check(
        |text| compose::convert(text, &folders()),
        &[
            ("services: { a: { build: x } }", &["name: a | context: in/x"]),
            (
                "services: { a: { build: { dockerfile: d } } }",
                &["name: a | context: in | dockerfile: d"],
            ),
            (
                "services: { a: { build: ., image: 'r.io/o/b:2', platform: linux/arm64 } }",
                &[
                    "name: b | tag: \"2\" | context: in | platforms: [linux/arm64] | published_as: [r.io/o/b]",
                ],
            ),
            (
                "services: { a: { build: { args: [A=1, B, 'C=$$x'] } } }",
                &[
                    "name: a | context: in | args: A: \"1\" C: \"$$x\"",
                    "dropped services.a.build.args.B: its value comes from the environment: write it into `args:`",
                ],
            ),
            (
                "services: { a: { build: { args: { A: 1.50, B: yes, C: true, D: 010, E: 12 } } } }",
                &[
                    "name: a | context: in | args: B: \"yes\" C: \"true\" D: \"8\" E: \"12\"",
                    "dropped services.a.build.args.A: it is no text: quote it",
                ],
            ),
            (
                "services: { a: { build: { dockerfile_inline: FROM x } } }",
                &[
                    "dropped services.a.build.dockerfile_inline: the image is left out: write its Dockerfile to a file, and name it here",
                ],
            ),
            (
                "services: { a: { build: { x-bake: { platforms: [linux/arm64], tags: x } } } }",
                &["name: x | context: in | platforms: [linux/arm64]"],
            ),
            (
                "services: { nginx: { build: nginx }, web: { build: web } }",
                &[
                    "name: web | context: in/web",
                    "dropped services.nginx: the name is left out: in other Dockerfiles, `FROM nginx` is Docker Hub's image; give this one another name",
                    "dropped services.nginx: the image is left out: it has no name of its own",
                ],
            ),
            (
                "services: { a: { build: { additional_contexts: [x=y], labels: ['${X}'] }, command: '$X' } }",
                &[
                    "dropped services.a.build.labels: write them into the Dockerfile, as LABEL",
                    "dropped services.a.build.additional_contexts.x: the image is left out: a named context is a service of this file, or a stage of the Dockerfile",
                    "not about images, and left out: 1 field (services.a.command)",
                ],
            ),
            (
                "services: { db: { image: 'x:${X}', platform: a }, a: { build: . } }",
                &[
                    "name: a | context: in",
                    "not about images, and left out: 2 fields (such as services.db.image)",
                ],
            ),
            (
                "services: { a: { extends: { service: b }, build: . }, b: { build: { additional_contexts: { k: 'service:a' } } } }",
                &[
                    "dropped services.a.extends: the image is left out: Compose must resolve it; convert the output of `docker compose config`",
                    "dropped services.b: the image is left out, as is its base `a`",
                ],
            ),
            (
                "include: [x]\nservices: { a: { build: { context: '${X}' } } }",
                &[
                    "dropped include: Compose must resolve it; convert the output of `docker compose config`",
                    "dropped services.a.build.context: the image is left out: Compose must resolve it; convert the output of `docker compose config`",
                ],
            ),
            ("services: { a: [] }", &["error: services.a: expected a mapping"]),
            (
                "services: { a: { build: . }, a: { build: x } }",
                &["error: not valid at line 1, column 30"],
            ),
        ],
    );
}

#[test]
fn lines_of_prime() {
    check(
        |text| prime::convert(text, &folders()),
        &[
            (r#"{"image": "a", "context": "."}"#, &["name: a | context: in"]),
            (
                r#"{"image": "a:1", "context": "c", "dockerfile": "c/D"}"#,
                &["name: a | tag: \"1\" | context: in/c | dockerfile: D"],
            ),
            (r#"{"source": "redis"}"#, &["error: line 1 is one of transfer-bulk"]),
            (
                r#"{"image": "A:1", "context": "c", "platform": ["linux/arm64", "x"]}"#,
                &[
                    "dropped line 1.platform: the service does not build for x",
                    "dropped line 1.image: no name for the service: `A` is not an image path",
                    "dropped line 1: the image is left out: it has no name of its own",
                ],
            ),
            ("\n{", &["error: line 2 is not JSON: EOF while parsing an object at line 1 column 1"]),
            (r#"{"source": {}, "set": {}}"#, &["error: line 1 is one of update-bulk"]),
            (r#""u:hunter2""#, &["error: line 1: expected a mapping"]),
        ],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn entries_of_regsync() {
    let entry = |entry: &str| regsync::convert(&format!("version: 1\nsync: [{{{entry}}}]"));
    for (text, expected) in [
        ("type: image, source: 'q.io/x:1', target: 'r:5000/x:1'", &["source: \"q.io/x:1\""][..]),
        (
            "type: image, source: 'q.io/x:1', target: 'r:5000/o/z:2'",
            &["name: z | tag: \"2\" | source: \"q.io/x:1\""],
        ),
        ("type: image, source: o/x, target: r/o/x", &["source: o/x"]),
        (
            "type: repository, source: x, target: r/x, tags: { allow: ['1.0', '^2$', 'a|b'] }",
            &[
                "source: \"x:1.0\"",
                "source: \"x:2\"",
                "dropped sync[0].tags.allow: a pattern over tags: list the tags to mirror: a|b",
            ],
        ),
        (
            "type: repository, source: x, target: r/x, tagSets: [{ allow: [a] }, { allow: [b], deny: ['[b]'] }]",
            &["source: \"x:a\""],
        ),
        (
            "type: repository, source: x, target: r/x, tags: { allow: [a], deny: ['('] }",
            &[
                "dropped sync[0].tags.deny: an invalid expression, or too large a one",
                "dropped sync[0].tags.allow: the mirror is left out, as it may not be meant: a",
            ],
        ),
        (
            "type: repository, source: x, target: r/x, tags: { allow: [a], semverRange: ['>1'] }",
            &[
                "dropped sync[0].tags.semverRange: a pattern over tags: list the tags to mirror",
                "dropped sync[0].tags.allow: the mirror is left out, as it may not be meant: a",
            ],
        ),
        (
            "type: repository, source: x, target: r/x, tags: { allow: [3.20, 3, 010] }",
            &["source: \"x:3.20\"", "source: \"x:3\"", "source: \"x:010\""],
        ),
        (
            "type: image, source: 'u:hunter2@q.io/x:1', target: r/x",
            &["dropped sync[0]: the mirror is left out: it has a user or a password"],
        ),
        (
            "type: repository, source: x, target: r/x",
            &["dropped sync[0].tags: all tags are meant: list those to mirror"],
        ),
        (
            "type: repository, source: 'x:1', target: r/x",
            &["dropped sync[0]: the mirror is left out: its source is not a repository"],
        ),
        (
            "type: image, source: '{{ .x }}', target: r/x",
            &["dropped sync[0]: the mirror is left out: it is a template"],
        ),
        (
            "type: image, source: x, target: 'ocidir://x'",
            &["dropped sync[0]: the mirror is left out: it is not in a registry"],
        ),
        ("source: x", &["dropped sync[0]: the mirror is left out: its type is not known"]),
        (
            "type: image, source: x, target: r/x, platform: linux/s390x",
            &[
                "dropped sync[0].platforms: the service does not build for linux/s390x",
                "dropped sync[0]: the image is left out: the service has none of its platforms",
            ],
        ),
    ] {
        assert_eq!(shown(entry(text)), expected, "{text}");
    }
}

#[test]
fn registries_of_skopeo() {
    check(
        skopeo::convert,
        &[
            (
                "q.io: { images: { o/x: [a, a], y: [3.20, 1e3] } }",
                &["source: \"q.io/o/x:a\"", "source: \"q.io/y:3.20\"", "source: \"q.io/y:1e3\""],
            ),
            (
                "q.io: { images: { x: } }",
                &["dropped q.io.images.x: all tags are meant: list those to mirror"],
            ),
            (
                "q.io: { images: { x: ['sha256:12'] } }",
                &["dropped q.io.images.x: the mirror is left out: `sha256:12` is not a digest"],
            ),
            (
                "q.io: { images-by-semver: { x: '>1', y: '>2' }, other: 1 }",
                &[
                    "dropped q.io.images-by-semver.x: a pattern over tags: list the tags to mirror",
                    "dropped q.io.images-by-semver.y: a pattern over tags: list the tags to mirror",
                    "dropped q.io.other: skopeo has no such key",
                ],
            ),
            ("[]", &["error: expected mapping start at line 1, column 1"]),
        ],
    );
}

/// An image with many tags and long arguments would be a manifest that nothing reads.
#[test]
fn the_manifest_is_no_larger_than_one_that_is_read() {
    let tags: Vec<String> = (0..100).map(|tag| format!("\"a:{tag}\"")).collect();
    let value = "x".repeat(1 << 20);
    let text =
        format!(r#"{{"target":{{"a":{{"args":{{"V":"{value}"}},"tags":[{}]}}}}}}"#, tags.join(","));
    let converted = bake::convert(&text, &folders()).unwrap();
    assert!((60..64).contains(&converted.draft.len()), "{}", converted.draft.len());
    assert_eq!(converted.dropped.count() + converted.draft.len(), 100);
    let tags: Vec<String> = (0..1_001).map(|tag| format!("\"a:{tag}\"")).collect();
    let text = format!(r#"{{"target":{{"a":{{"tags":[{}]}}}}}}"#, tags.join(","));
    let error = bake::convert(&text, &folders()).unwrap_err();
    assert!(error.message.contains("expected a list of at most 1000 items"), "{error}");
}

/// A value of a key that the formats have.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]",
        Just("target:a".to_owned()),
        Just("service:b".to_owned()),
        Just("linux/arm64".to_owned()),
        Just("q.io/o/x:1".to_owned()),
        Just("nginx".to_owned()),
        Just("repository".to_owned()),
        Just("image".to_owned()),
        "[a-z:/@.${}#\n\u{7}\"]{0,6}",
    ]
}

/// An item of a format: some of its keys with a text, a list or a mapping.
fn any_item(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        4 => any_value().prop_map(Value::from),
        2 => proptest::collection::vec(any_value(), 0..3).prop_map(Value::from),
        1 => proptest::collection::btree_map("[A-C]", any_value(), 0..3).prop_map(|it| json!(it)),
    ];
    proptest::collection::btree_map(proptest::sample::select(keys), value, 0..5)
        .prop_map(|map| json!(map))
}

/// Asserts that an input is an error, or becomes YAML with an item for each entry.
#[track_caller]
fn assert_is_written(result: Result<Converted, ConvertError>) {
    let Ok(converted) = result else { return };
    let text = yaml::write(&converted.draft, "x");
    let manifest: Value = serde_saphyr::from_str(&text).unwrap_or_else(|it| panic!("{it}: {text}"));
    let images = manifest["images"].as_array().map_or(0, Vec::len);
    assert_eq!(images, converted.draft.len(), "{text}");
}

proptest! {
    #[test]
    fn items_are_written_or_are_errors(
        bake in proptest::collection::btree_map("[a-c]", any_item(&[
            "context", "contexts", "dockerfile", "args", "tags", "target", "platforms", "description",
        ]), 0..4),
        build in any_item(&["context", "args", "tags", "platforms", "additional_contexts", "x-bake"]),
        image in any_value(),
        line in any_item(&["image", "context", "dockerfile", "platform"]),
        entry in any_item(&["source", "target", "type", "tags", "platforms"]),
        tags in any_item(&["allow", "deny"]),
        registry in any_item(&["images", "credentials"]),
    ) {
        assert_is_written(bake::convert(&json!({ "target": bake }).to_string(), &folders()));
        let services = json!({ "services": { "a": { "build": build, "image": image }, "b": { "build": "b" } } });
        assert_is_written(compose::convert(&services.to_string(), &folders()));
        assert_is_written(prime::convert(&line.to_string(), &folders()));
        let mut with_tags = entry.clone();
        with_tags["tags"] = tags;
        let sync = json!({ "sync": [entry, with_tags] });
        assert_is_written(regsync::convert(&sync.to_string()));
        assert_is_written(skopeo::convert(&json!({ "q.io": registry }).to_string()));
    }

    #[test]
    fn no_text_panics(text in "[-a{}\\[\\]:,\"' \n#&*!<|0$./@]{0,60}") {
        assert_is_written(bake::convert(&text, &folders()));
        assert_is_written(compose::convert(&text, &folders()));
        assert_is_written(prime::convert(&text, &folders()));
        assert_is_written(regsync::convert(&text));
        assert_is_written(skopeo::convert(&text));
    }
}
