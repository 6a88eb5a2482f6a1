//! Tables of each format: an input, the entries that it becomes, and what is dropped.

use proptest::prelude::*;

use super::folders::Folders;
use super::harbor::ForeignTask;
use super::{ConvertError, Converted, bake, compose, harbor, prime, regsync, skopeo, yaml};

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
        (r#""contexts": {"k": "target:a"}"#, &["name: a | context: in | published_as: [k]"]),
        (
            r#""inherits": ["b"]"#,
            &["error: this is a bake file with `inherits`, not the output of bake"],
        ),
        (r#""context": 7"#, &["error: target.a: invalid type: integer `7`, expected a string"]),
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
                "b": {"contexts": {"k": "target:base"}}, "c": {"contexts": {"k": "target:a", "a": "target:a"}}}}"#,
                &[
                    "name: base | tag: \"1\" | context: in | published_as: [docker.io/o/base, k]",
                    "name: a | context: in | needs: [\"base:1\"]",
                    "name: b | context: in | needs: [\"base:1\"]",
                    "dropped target.c.contexts.k: the image is left out: elsewhere it means another image",
                ],
            ),
            (
                r#"{"target": {"os": {}, "base": {"contexts": {"os": "target:os"}}, "alone": {},
                "fixed": {"platforms": ["linux/amd64"]}, "a": {"platforms": ["linux/arm64"],
                "contexts": {"base": "target:base"}}, "b": {"contexts": {"base": "target:base"}}}}"#,
                &[
                    "name: os | context: in | platforms: [linux/amd64, linux/arm64]",
                    "name: base | context: in | platforms: [linux/amd64, linux/arm64] | needs: [\"os:latest\"]",
                    "name: alone | context: in",
                    "name: fixed | context: in | platforms: [linux/amd64]",
                    "name: a | context: in | platforms: [linux/arm64] | needs: [\"base:latest\"]",
                    "name: b | context: in | needs: [\"base:latest\"]",
                ],
            ),
            ("target {}", &["error: not the JSON of bake: expected ident at line 1 column 2"]),
            (
                "[]",
                &[
                    "error: not the JSON of bake: invalid type: sequence, expected a mapping at line 1 column 0",
                ],
            ),
            (
                r#"{"target": {}, "variable": {"X": {}}}"#,
                &["error: this is a bake file with `variable`, not the output of bake"],
            ),
        ],
    );
}

#[test]
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
                "services: { a: { build: { args: { A: 1.50, B: yes, C: true, D: 010 } } } }",
                &["name: a | context: in | args: A: \"1.5\" B: \"yes\" C: \"true\" D: \"10\""],
            ),
            (
                "services: { a: { build: { dockerfile_inline: FROM x } } }",
                &[
                    "dropped services.a.build.dockerfile-inline: the image is left out: write its Dockerfile to a file, and name it here",
                ],
            ),
            (
                "services: { a: { build: { x-bake: { platforms: [linux/arm64], tags: x, contexts: { a: 'target:a' } } } } }",
                &["name: x | context: in | platforms: [linux/arm64] | published_as: [a]"],
            ),
            (
                "services: { a: { extends: { service: b }, build: . }, b: { build: { additional_contexts: { k: 'service:a' } } } }",
                &[
                    "dropped services.a: the image is left out: Compose must resolve it; convert the output of `docker compose config`",
                    "dropped services.b: the image is left out, as is its base `a`",
                ],
            ),
            (
                "include: [x]\nservices: { a: { build: { context: '${X}' } } }",
                &[
                    "dropped include: Compose must resolve it; convert the output of `docker compose config`",
                    "dropped services.a: the image is left out: Compose must resolve it; convert the output of `docker compose config`",
                ],
            ),
            (
                "services: { a: [] }",
                &["error: services.a: invalid type: sequence, expected a mapping"],
            ),
            (
                "services: { a: { build: . }, a: { build: x } }",
                &["error: duplicate mapping key `a` is not allowed here at line 1, column 30"],
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
            (r#"{"source": "redis"}"#, &["source: redis"]),
            (
                r#"{"source": "quay.io/o/x:1", "image": "z", "context": "c"}"#,
                &[
                    "name: z | tag: latest | source: \"quay.io/o/x:1\"",
                    "dropped line 1.context: a mirror has none",
                ],
            ),
            (
                r#"{"source": "o/x:1", "image": "y:2"}"#,
                &[
                    "source: \"o/x:1\"",
                    "dropped line 1.target: the service names mirrors of Docker Hub itself: o/x:1",
                ],
            ),
            (
                r#"{"source": "a b"}"#,
                &["dropped line 1: the mirror is left out: `a b` is not an image reference"],
            ),
            ("\n{", &["error: line 2 is not JSON: EOF while parsing an object at line 1 column 1"]),
            (r#"{"source": {}, "set": {}}"#, &["error: line 1 is one of update-bulk"]),
        ],
    );
}

#[test]
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
            &["dropped sync[0].tags.deny: a pattern over tags: list the tags to mirror"],
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
                "q.io: { images: { o/x: [a, a], y: b } }",
                &["source: \"q.io/o/x:a\"", "source: \"q.io/y:b\""],
            ),
            (
                "q.io: { images: { x: } }",
                &["dropped registries.q.io.images.x: all tags are meant: list those to mirror"],
            ),
            (
                "q.io: { images: { x: ['sha256:12'] } }",
                &[
                    "dropped registries.q.io.images.x: the mirror is left out: `sha256:12` is not a digest",
                ],
            ),
            (
                "q.io: { images-by-semver: { x: '>1', y: '>2' }, other: 1 }",
                &[
                    "dropped registries.q.io.images-by-semver.x: a pattern over tags: list the tags to mirror",
                    "dropped registries.q.io.images-by-semver.y: a pattern over tags: list the tags to mirror",
                    "dropped registries.q.io.other: skopeo has no such key",
                ],
            ),
            ("[]", &["error: expected mapping start at line 1, column 1"]),
        ],
    );
}

#[test]
fn tasks_of_harbor() {
    let task = |folder: &str, text: &str, has_dockerfile| ForeignTask {
        folder: Some(folder.to_owned()),
        text: Ok(text.to_owned()),
        has_environment: true,
        has_dockerfile,
    };
    let mirror = "[environment]\ndocker_image = 'q.io/x:1'\n";
    for (tasks, expected) in [
        (vec![task("a", "", true), task("b", mirror, false)], &["discover: harbor: in"][..]),
        (
            vec![task("a", mirror, true), task("b", mirror, false)],
            &["discover: harbor: in prefer: image"],
        ),
        (
            vec![task("a", "[environment]\nbuild_timeout_sec = 1_800.5\n", true)],
            &["discover: harbor: in"],
        ),
        (vec![task("a", "", false)], &["error: no task in the folder has an image"]),
        (vec![], &["error: no task in the folder has an image"]),
        (
            vec![task("A b", "", true), task("a-b", "", true)],
            &["error: tasks.a-b: another task is a-b:latest too"],
        ),
        (
            vec![
                task("x", mirror, false),
                task("y", "[environment]\ndocker_image = 'r.io/x:1'", false),
            ],
            &["error: tasks.y: another task is x:1 too"],
        ),
        (
            vec![task("a", "[environment]\ndocker_image = 1", true)],
            &["error: tasks.a: its docker_image is not a text"],
        ),
        (
            vec![task("a", "[environment]\nbuild_timeout_sec = 0", true)],
            &["error: tasks.a: its build_timeout_sec is no time"],
        ),
    ] {
        assert_eq!(shown(harbor::convert(&tasks, &folders())), expected, "{tasks:?}");
    }
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
    let tags: Vec<String> = (0..10_001).map(|tag| format!("\"a:{tag}\"")).collect();
    let text = format!(r#"{{"target":{{"a":{{"tags":[{}]}}}}}}"#, tags.join(","));
    let error = bake::convert(&text, &folders()).unwrap_err();
    assert!(error.message.contains("a list has more than 10000 items"), "{error}");
}

proptest! {
    #[test]
    fn no_text_panics(
        text in "[-a{}\\[\\]:,\"' \n#&*!<|0$./@]{0,60}",
        keys in proptest::collection::vec("(target|services|build|tags|args|image|context|sync|source|type|creds|a)", 0..6),
    ) {
        let nested = keys.iter().rev().fold(text.clone(), |inner, key| format!("{{\"{key}\": {inner}}}"));
        for text in [&text, &nested] {
            let _ = shown(bake::convert(text, &folders()));
            let _ = shown(compose::convert(text, &folders()));
            let _ = shown(prime::convert(text, &folders()));
            let _ = shown(regsync::convert(text));
            let _ = shown(skopeo::convert(text));
        }
    }
}
