//! Fields in the resolved workspace: content tags, arguments and targets, groups, labels, and moved
//! names.

use std::sync::Arc;
use std::time::Duration;

use imgplan::test_support::base::digest::{Digest, Fingerprint};
use imgplan::test_support::manifest::workspace::{BuildOrigin, Origin, Unit};
use imgplan::test_support::manifest::{Invocation, Workspace};
use insta::assert_snapshot;

use crate::support::TestEnv;

/// Creates an environment with the contexts of the manifests.
fn contexts() -> TestEnv {
    let env = TestEnv::at("http://127.0.0.1:1");
    env.context("app", "FROM scratch\n")
        .context("base", "FROM scratch\n")
        .context(
            "stages",
            "ARG B=base\nFROM $B AS one\nRUN one\n\nFROM alpine:3 AS two\nCOPY --from=one /x /\n",
        )
        .context("arch", "FROM base-$TARGETARCH\n")
        .context("unset", "ARG B\nFROM $B\n");
    env
}

fn load(manifest: &str) -> Workspace {
    let env = contexts();
    env.write("imgplan.yaml", format!("version: 1\n{manifest}"));
    Workspace::load(&Invocation::file(env.path("imgplan.yaml")), &|_| None)
        .unwrap_or_else(|error| panic!("{manifest}: {:#?}", error.problems))
}

/// Returns the output of `validate` for an invalid manifest.
fn rejected(manifest: &str) -> String {
    let env = contexts();
    env.write("imgplan.yaml", format!("version: 1\n{manifest}"));
    let rejected = env.run(["validate"]);
    rejected.code(1);
    rejected.shown()
}

fn keys(workspace: &Workspace) -> Vec<String> {
    workspace.units.iter().map(Unit::shown).collect()
}

fn unit<'w>(workspace: &'w Workspace, name: &str) -> &'w Unit {
    workspace.units.iter().find(|unit| unit.image.as_str() == name).unwrap()
}

fn build<'w>(workspace: &'w Workspace, name: &str) -> &'w BuildOrigin {
    let Origin::Build(build) = &unit(workspace, name).origin else { panic!("{name} is built") };
    build
}

/// Returns the references of the Dockerfile of an image, as `text -> base` or
/// `text -> image (external)`.
fn references(workspace: &Workspace, name: &str) -> Vec<String> {
    let build = build(workspace, name);
    let text = |range: &std::ops::Range<usize>| &build.dockerfile.text()[range.clone()];
    let bases = build
        .bases
        .iter()
        .map(|base| format!("{} -> {}", text(&base.range), workspace.unit(base.unit).shown()));
    let externals = build.externals.iter().map(|external| {
        // The span points at the same text.
        assert_eq!(workspace.sources.text(external.span), text(&external.range));
        format!("{} -> {} (external)", text(&external.range), external.image)
    });
    bases.chain(externals).collect()
}

#[test]
fn tags_contain_the_architecture_and_the_fingerprint() {
    let both = "platforms: [linux/amd64, linux/arm64]";
    for (image, expected) in [
        ("tag: v1", &["app:v1"][..]),
        ("tag: \"v1-{arch}\"", &["app:v1-amd64"]),
        ("tag: \"{fingerprint}\"", &["app:{fingerprint}"]),
        (&format!("tag: v1, {both}"), &["app:v1-amd64", "app:v1-arm64"]),
        (&format!("tag: \"{{arch}}.v1\", {both}"), &["app:amd64.v1", "app:arm64.v1"]),
        (
            &format!("tag: \"{{fingerprint}}\", {both}"),
            &["app:{fingerprint}-amd64", "app:{fingerprint}-arm64"],
        ),
        (
            &format!("tag: \"{{arch}}-{{fingerprint}}\", {both}"),
            &["app:amd64-{fingerprint}", "app:arm64-{fingerprint}"],
        ),
        // From the defaults.
        ("visibility: public", &["app:d-amd64"]),
    ] {
        let workspace = load(&format!(
            "defaults: {{tag: \"d-{{arch}}\"}}\nimages:\n  - {{name: app, context: app, {image}}}\n"
        ));
        assert_eq!(keys(&workspace), expected, "{image}");
        let mirror = load(
            &format!("images:\n  - {{name: app, source: \"redis:7\", tag: d-amd64, {image}}}\n")
                .replace("tag: d-amd64, tag", "tag"),
        );
        assert_eq!(keys(&mirror), expected, "a mirror with {image}");
    }
}

#[test]
fn a_content_tag_has_zeros_until_its_content_is_known() {
    let workspace =
        load("images:\n  - {name: app, context: app, tag: \"{arch}-{fingerprint}-x\"}\n");
    let app = unit(&workspace, "app");
    assert_eq!(app.key.to_string(), "app:amd64-000000000000-x");
    let open = app.content_tag.as_ref().unwrap();
    let known = open.with_fingerprint(&Fingerprint(Digest::from_bytes([0x1f; 32])));
    assert_eq!(known.as_str(), "amd64-1f1f1f1f1f1f-x");
    assert!(open.matches(&known));
    assert_eq!(unit(&load("images:\n  - {name: app, context: app}\n"), "app").content_tag, None);
}

#[test]
fn an_image_with_a_content_tag_is_a_base_by_its_name() {
    let images = |dockerfile: &str| {
        let env = contexts();
        env.context("web", dockerfile);
        env.write(
            "imgplan.yaml",
            "version: 1\nimages:\n  - {name: web, context: web}\n  - {name: base, context: base, tag: \"v1-{fingerprint}\"}\n",
        );
        Workspace::load(&Invocation::file(env.path("imgplan.yaml")), &|_| None).unwrap()
    };
    assert_eq!(references(&images("FROM base\n"), "web"), ["base -> base:v1-{fingerprint}"]);
    // The placeholder zeros are not a tag.
    let zeros = images("FROM base:v1-000000000000\n");
    assert_eq!(
        references(&zeros, "web"),
        ["base:v1-000000000000 -> base:v1-000000000000 (external)"]
    );
    assert_eq!(zeros.warnings.len(), 1);
}

#[test]
fn args_and_target_are_lowered_before_bases_are_matched() {
    let images = |image: &str| {
        load(&format!(
            "images:\n  - {{name: app, context: stages{image}}}\n  - {{name: base, context: base}}\n"
        ))
    };
    for (image, expected) in [
        ("", &["$B -> base:latest", "alpine:3 -> alpine:3 (external)"][..]),
        (", args: {}", &["$B -> base:latest", "alpine:3 -> alpine:3 (external)"]),
        (
            ", args: {B: \"debian:12\"}",
            &["$B -> debian:12 (external)", "alpine:3 -> alpine:3 (external)"],
        ),
        (", target: one", &["$B -> base:latest"]),
        (", target: one, args: {B: x}", &["$B -> x (external)"]),
        (", infer_bases: false", &[]),
    ] {
        let workspace = images(image);
        assert_eq!(references(&workspace, "app"), expected, "{image}");
        let needs = unit(&workspace, "app").needs.len();
        assert_eq!(needs, usize::from(expected.iter().any(|one| one.contains("base"))), "{image}");
    }
    let lowered = images(", target: one, args: {B: x}");
    let build = build(&lowered, "app");
    assert!(!build.dockerfile.text().contains("alpine"), "{}", build.dockerfile.text());
    assert_eq!(build.args.get("B").map(String::as_str), Some("x"));
    assert_eq!(build.target.as_deref(), Some("one"));
    let (name, start, _) = lowered.sources.locate(build.externals[0].span).unwrap();
    assert!(name.ends_with("stages/Dockerfile, with args and target"), "{name}");
    assert_eq!((start.line, start.column), (2, 6));
}

#[test]
fn images_with_equal_args_share_a_lowered_dockerfile() {
    let workspace = load(
        "images:
  - {name: app, context: stages, args: {B: x}}
  - {name: web, context: stages, args: {B: x}, infer_bases: false}
  - {name: job, context: stages, args: {B: y}}
",
    );
    let of = |name| &build(&workspace, name).dockerfile;
    assert!(Arc::ptr_eq(of("app"), of("web")));
    assert_ne!(of("app"), of("job"));
}

#[test]
fn each_platform_can_have_its_own_base() {
    let workspace = load(
        "images:
  - {name: app, context: arch, platforms: [linux/amd64, linux/arm64]}
  - {name: base-arm64, context: base, platforms: [linux/arm64]}
",
    );
    let of: Vec<(usize, usize)> = workspace
        .units
        .iter()
        .filter_map(|unit| match &unit.origin {
            Origin::Build(build) if unit.image.as_str() == "app" => {
                Some((build.bases.len(), build.externals.len()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(of, [(0, 1), (1, 0)]);
}

#[test]
fn without_infer_bases_only_needs_count() {
    // An unresolved reference is not an error then.
    let workspace = load(
        "defaults: {infer_bases: false}
images:
  - {name: app, context: unset, needs: [base]}
  - {name: base, context: base}
  - {name: web, context: stages, infer_bases: true}
",
    );
    assert_eq!(references(&workspace, "app"), [""; 0]);
    assert_eq!(unit(&workspace, "app").needs.len(), 1);
    assert_eq!(references(&workspace, "web").len(), 2);
}

#[test]
fn labels_and_groups_are_merged_with_the_defaults() {
    let workspace = load("defaults:
  {max_age: 7d, protect: true, labels: {team: a, tier: one}, groups: [all], infer_bases: true}
images:
  - {name: app, context: app, max_age: 1m, protect: false, labels: {team: b, own: \"\"}, groups: [web]}
  - {name: base, context: base, tag: v1, platforms: [linux/amd64, linux/arm64]}
  - {name: cache, source: \"quay.io/o/redis:7\", groups: [all], labels: {x: y}}
groups:
  web: [\"b*\"]
  arm: [\"*:*-arm64\"]
  tagged: [\"base:v?\", cache]
  nobody: [nobody, \"app:v1\"]
");
    let shown: Vec<String> = workspace
        .units
        .iter()
        .map(|unit| {
            let groups: Vec<&str> = unit.groups.iter().map(String::as_str).collect();
            let labels: Vec<String> =
                unit.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let age = unit.max_age.unwrap_or_default().as_secs();
            let protect = unit.protect;
            format!("{}: {age} {protect:?} {groups:?} {}", unit.key, labels.join(" "))
        })
        .collect();
    assert_snapshot!(shown.join("\n"), @r#"
    app:latest: 60 Some(false) ["all", "web"] own= team=b tier=one
    base:v1-amd64: 604800 Some(true) ["all", "tagged", "web"] team=a tier=one
    base:v1-arm64: 604800 Some(true) ["all", "arm", "tagged", "web"] team=a tier=one
    cache:7: 604800 Some(true) ["all", "tagged"] team=a tier=one x=y
    "#);
    assert_eq!(unit(&workspace, "app").max_age, Some(Duration::from_mins(1)));
    let warnings: Vec<&str> = workspace.warnings.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(warnings, ["no image matches `nobody`", "no image matches `app:v1`"]);
    let nothing = load("images:\n  - {name: app, context: app}\n");
    assert_eq!(unit(&nothing, "app").protect, None);
    assert_eq!(unit(&nothing, "app").max_age, None);
}

#[test]
fn chains_of_moves_are_followed() {
    let workspace = load(
        "images:
  - {name: app, context: app, tag: v2}
  - {name: web, context: app, tag: \"{fingerprint}\"}
moved:
  - {from: a, to: b}
  - {from: b, to: c}
  - {from: c, to: app}
  - {from: \"a:v1\", to: \"app:v2\"}
  - {from: \"x:v2\", to: \"b:v2\"}
  - {from: \"web:v1\", to: \"web:0123456789ab\"}
removed:
  - {name: old}
  - {name: \"app:v1\", destroy: true}
",
    );
    let moved: Vec<String> =
        workspace.moved.iter().map(|moved| format!("{} -> {}", moved.from, moved.to)).collect();
    assert_eq!(
        moved,
        [
            // Moves of one tag come first, because they take precedence.
            "a:v1 -> app:v2",
            "x:v2 -> app:v2",
            "web:v1 -> web:0123456789ab",
            "a -> app",
            "b -> app",
            "c -> app",
        ]
    );
    let removed: Vec<String> = workspace
        .removed
        .iter()
        .map(|removed| format!("{} {}", removed.from, removed.destroy))
        .collect();
    assert_eq!(removed, ["old false", "app:v1 true"]);
    let span = workspace.moved[0].span;
    assert_eq!(workspace.sources.text(span), "\"a:v1\"");
}

#[test]
fn lowering_errors_point_at_the_manifest() {
    assert_snapshot!(rejected("images:
  - name: app
    context: stages
    args:
      TARGETOS: d
    target: three
"), @"
    exit 1
    --- stderr
      × the builder sets `TARGETOS` from the platform
       ╭─[imgplan.yaml:6:7]
     5 │     args:
     6 │       TARGETOS: d
       ·       ────────
     7 │     target: three
       ╰────
      help: remove it, and set `platforms:`

      × the Dockerfile has no stage `three`
       ╭─[imgplan.yaml:7:13]
     6 │       TARGETOS: d
     7 │     target: three
       ·             ─────
       ╰────
      help: the named stages are `one`, `two`

    error: 2 problems in imgplan.yaml; nothing was sent
    ");
}

#[test]
fn arguments_that_no_arg_declares_are_warnings() {
    let env = TestEnv::at("http://127.0.0.1:9");
    env.write(
        "imgplan.yaml",
        "version: 1\nimages:
  - discover: {glob: services/*}
    args: {A: \"1\", HTTP_PROXY: p, BUILDKIT_INLINE_CACHE: \"1\"}
",
    );
    env.context("services/a", "FROM scratch\nARG A\n").context("services/b", "FROM scratch\n");
    let output = env.ok(["validate"]);
    // One of the two images declares `A`.
    for (text, count) in [
        ("does not declare `A`", 0),
        ("`HTTP_PROXY` is not passed on", 1),
        ("`BUILDKIT_INLINE_CACHE` is a setting of BuildKit", 1),
        ("in 2 images", 2),
        ("⚠", 2),
    ] {
        assert_eq!(output.stderr.matches(text).count(), count, "{text}: {output}");
    }
    env.run(["validate", "--deny-warnings"]).code(1).says("found 2 warnings");
    // An argument without effect is no input, and changes nothing that is sent.
    let inputs = |name| env.ok(["context", "digest", name]).stdout;
    assert!(inputs("a").contains("arg A ") && !inputs("b").contains("arg "), "{}", inputs("b"));
    assert!(!inputs("a").contains("PROXY"));
    let listed = env.ok(["context", "list", "b"]).stdout;
    assert_eq!(listed, "Dockerfile\n");
    // Docker gives these a meaning without an ARG.
    env.edit("imgplan.yaml", "HTTP_PROXY: p", "TARGETARCH: arm64");
    env.run(["validate"]).code(1).says("the builder sets `TARGETARCH` from the platform");
}

#[test]
fn defaults_have_arguments_for_every_image() {
    let workspace = load(
        "defaults: {args: {B: x, UNKNOWN: y}}
images:
  - {name: app, context: stages}
  - {name: web, context: stages, args: {B: y}}
  - {name: base, context: base}
  - {source: \"redis:7\"}
",
    );
    let args = |name| format!("{:?}", build(&workspace, name).args);
    assert_eq!(args("app"), r#"{"B": "x"}"#);
    assert_eq!(args("web"), r#"{"B": "y"}"#);
    // What a Dockerfile does not declare changes nothing: it is sent as written.
    assert_eq!(args("base"), "{}");
    assert!(!build(&workspace, "base").is_lowered());
    let warnings: Vec<String> = workspace
        .warnings
        .iter()
        .map(|warning| format!("{} {}", warning.message, warning.labels[0].1))
        .collect();
    assert_eq!(warnings, ["the Dockerfile does not declare `UNKNOWN` in 3 images"]);
}

#[test]
fn arguments_depend_on_the_platform() {
    let workspace = load(
        "defaults: {platforms: [linux/amd64, linux/arm64]}
images:
  - name: app
    context: stages
    args: {B: {linux/amd64: base, linux/arm64: \"debian-{arch}\"}}
  - {name: web, context: stages, args: {B: \"debian-{arch}\"}}
  - {name: base, context: base, tag: latest}
",
    );
    let shown: Vec<String> = workspace
        .units
        .iter()
        .filter_map(|unit| match &unit.origin {
            Origin::Build(build) => {
                let first = build.dockerfile.text().lines().next().unwrap_or_default();
                Some(format!("{} {:?} {first}", unit.key, build.args))
            }
            Origin::Mirror(_) => None,
        })
        .collect();
    assert_eq!(
        shown,
        [
            "app:latest-arm64 {\"B\": \"debian-arm64\"} ARG B=debian-arm64",
            "base:latest-amd64 {} FROM scratch",
            "base:latest-arm64 {} FROM scratch",
            "web:latest-amd64 {\"B\": \"debian-amd64\"} ARG B=debian-amd64",
            "web:latest-arm64 {\"B\": \"debian-arm64\"} ARG B=debian-arm64",
            "app:latest-amd64 {\"B\": \"base\"} ARG B=base",
        ]
    );
    let base = |key: &str| {
        let unit = workspace.units.iter().find(|unit| unit.key.to_string() == key).unwrap();
        unit.needs.len()
    };
    assert_eq!((base("app:latest-amd64"), base("app:latest-arm64")), (1, 0));
}

#[test]
fn values_by_platform_fit_the_platforms_of_the_image() {
    assert_snapshot!(rejected("images:
  - name: app
    context: stages
    platforms: [linux/amd64, linux/arm64]
    args: {B: {linux/amd64: x}}
"), @"
    exit 1
    --- stderr
      × `B` has no value for linux/arm64
       ╭─[imgplan.yaml:6:15]
     5 │     platforms: [linux/amd64, linux/arm64]
     6 │     args: {B: {linux/amd64: x}}
       ·               ─
       ╰────
      help: add `linux/arm64: <value>`: the image is built for it

    error: 1 problem in imgplan.yaml; nothing was sent
    ");
    let warnings = |images: &str| load(images).warnings.iter().map(|w| w.message.clone()).collect();
    let unused: Vec<String> = warnings(
        "images:
  - {name: app, context: stages, args: {B: {linux/amd64: x, linux/arm64: y}}}
",
    );
    assert_eq!(unused, ["the image is not built for linux/arm64"]);
    // Another image is built for it; and an argument without effect needs no value.
    let used: Vec<String> = warnings(
        "defaults: {args: {B: {linux/amd64: x, linux/arm64: y}}}
images:
  - {name: app, context: stages}
  - {name: web, context: stages, platforms: [linux/arm64]}
  - {name: base, context: base, platforms: [linux/arm64]}
",
    );
    assert_eq!(used, [""; 0]);
}

#[test]
fn an_argument_of_a_matrix_is_a_warning_if_no_row_declares_it() {
    let manifest = |args: &str| {
        format!(
            "images:
  - {{name: \"${{D}}\", context: \"${{D}}\", matrix: {{D: [stages, base]}}, args: {{{args}}}}}
"
        )
    };
    assert_eq!(load(&manifest("B: x")).warnings.len(), 0);
    let warnings = load(&manifest("B: x, C: y")).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].message, "the Dockerfile does not declare `C`");
}

#[test]
fn reference_errors_point_at_the_lowered_dockerfile() {
    assert_snapshot!(rejected("images:
  - {name: app, context: unset, args: {B: \"\"}}
"), @"
    exit 1
    --- stderr
      × cannot resolve `$B`: `$B` is not an image name, because `B` has no value
       ╭─[unset/Dockerfile, with args:2:6]
     1 │ ARG B=
     2 │ FROM $B
       ·      ──
       ╰────
      help: give it a default, `ARG B=<value>`, or a value under `args:`; or set `infer_bases: false`
            and list its bases under `needs:`

    error: 1 problem in imgplan.yaml; nothing was sent
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a snapshot")]
fn invalid_moves_snapshot() {
    assert_snapshot!(rejected("images:
  - {name: app, context: app}
moved:
  - {from: x, to: x}
  - {from: a, to: b}
  - {from: b, to: c}
  - {from: c, to: b}
  - {from: old, to: apps}
  - {from: old, to: app}
  - {from: \"older:v1\", to: ap}
removed:
  - {name: old}
  - {name: app}
"), @r#"
    exit 1
    --- stderr
      × cycle of moves: x -> x
       ╭─[imgplan.yaml:5:19]
     4 │ moved:
     5 │   - {from: x, to: x}
       ·                   ┬
       ·                   ╰── x moves to x
     6 │   - {from: a, to: b}
       ╰────
      help: move the last name to an image of the manifest

      × cycle of moves: b -> c -> b
       ╭─[imgplan.yaml:7:19]
     6 │   - {from: a, to: b}
     7 │   - {from: b, to: c}
       ·                   ┬
       ·                   ╰── b moves to c
     8 │   - {from: c, to: b}
       ·                   ┬
       ·                   ╰── c moves to b
     9 │   - {from: old, to: apps}
       ╰────
      help: move the last name to an image of the manifest

      × two images are moved to `b`
       ╭─[imgplan.yaml:8:19]
     5 │   - {from: x, to: x}
     6 │   - {from: a, to: b}
       ·                   ┬
       ·                   ╰── first
     7 │   - {from: b, to: c}
     8 │   - {from: c, to: b}
       ·                   ┬
       ·                   ╰── second
     9 │   - {from: old, to: apps}
       ╰────
      help: remove one of the two

      × no image of this manifest is named `apps`
        ╭─[imgplan.yaml:9:21]
      8 │   - {from: c, to: b}
      9 │   - {from: old, to: apps}
        ·                     ────
     10 │   - {from: old, to: app}
        ╰────
      help: did you mean `app`?

      × `old` is moved twice
        ╭─[imgplan.yaml:10:12]
      8 │   - {from: c, to: b}
      9 │   - {from: old, to: apps}
        ·            ─┬─
        ·             ╰── first
     10 │   - {from: old, to: app}
        ·            ─┬─
        ·             ╰── second
     11 │   - {from: "older:v1", to: ap}
        ╰────
      help: remove one of the two

      × only one of `older:v1` and `ap` has a tag
        ╭─[imgplan.yaml:11:28]
     10 │   - {from: old, to: app}
     11 │   - {from: "older:v1", to: ap}
        ·            ─────┬────      ─┬
        ·                 │           ╰── new name
        ·                 ╰── old name
     12 │ removed:
        ╰────
      help: write a tag in both, or in neither to move all tags

      × `old` is both moved and removed
        ╭─[imgplan.yaml:13:12]
      8 │   - {from: c, to: b}
      9 │   - {from: old, to: apps}
        ·            ─┬─
        ·             ╰── moved
     10 │   - {from: old, to: app}
     11 │   - {from: "older:v1", to: ap}
     12 │ removed:
     13 │   - {name: old}
        ·            ─┬─
        ·             ╰── removed
     14 │   - {name: app}
        ╰────
      help: remove one of the two entries

      × `app` is still in the manifest
       ╭─[imgplan.yaml:3:12]
     2 │ images:
     3 │   - {name: app, context: app}
       ·            ─┬─
       ·             ╰── still listed
     4 │ moved:
       ╰────
        ╭─[imgplan.yaml:14:12]
     13 │   - {name: old}
     14 │   - {name: app}
        ·            ─┬─
        ·             ╰── moved or removed
        ╰────
      help: remove the image from `images`, or remove this entry

    error: 8 problems in imgplan.yaml; nothing was sent
    "#);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a snapshot")]
fn invalid_fields_snapshot() {
    assert_snapshot!(rejected("defaults:
  max_age: 30s
images:
  - name: app
    context: stages
    tag: v1-{os}
    args: {1B: x}
    target: \" \"
    labels: {-team: x}
    groups: [a b]
  - source: redis:7
    args: {B: x}
    target: one
    infer_bases: true
groups:
  -x: [app]
"), @r#"
    exit 1
    --- stderr
      × `max_age` is less than one minute: every run would rebuild the image
       ╭─[imgplan.yaml:3:12]
     2 │ defaults:
     3 │   max_age: 30s
       ·            ───
     4 │ images:
       ╰────
      help: write at least one minute: 1m, 24h, 7d

      × `{os}` is not a placeholder of a tag
       ╭─[imgplan.yaml:7:10]
     6 │     context: stages
     7 │     tag: v1-{os}
       ·          ───────
     8 │     args: {1B: x}
       ╰────
      help: the placeholders of a tag are {arch} and {fingerprint}

      × `1B` is not the name of an ARG
       ╭─[imgplan.yaml:8:12]
     7 │     tag: v1-{os}
     8 │     args: {1B: x}
       ·            ──
     9 │     target: " "
       ╰────
      help: use letters, digits and `_`; start with a letter or `_`

      × a target cannot be empty
        ╭─[imgplan.yaml:9:13]
      8 │     args: {1B: x}
      9 │     target: " "
        ·             ───
     10 │     labels: {-team: x}
        ╰────
      help: name a stage of the Dockerfile, or remove the key to build the last stage

      × `-team` is not the key of a label
        ╭─[imgplan.yaml:10:14]
      9 │     target: " "
     10 │     labels: {-team: x}
        ·              ─────
     11 │     groups: [a b]
        ╰────
      help: use at most 128 letters, digits, `.`, `_`, `-` and `/`; start and end with a letter or a
            digit

      × `a b` is not the name of a group
        ╭─[imgplan.yaml:11:14]
     10 │     labels: {-team: x}
     11 │     groups: [a b]
        ·              ───
     12 │   - source: redis:7
        ╰────
      help: use at most 128 letters, digits, `_`, `.` and `-`; start with a letter, a digit or `_`

      × a mirror has no build arguments
        ╭─[imgplan.yaml:13:11]
     12 │   - source: redis:7
     13 │     args: {B: x}
        ·           ─
     14 │     target: one
        ╰────
      help: remove it, or build from a `context` instead

      × a mirror has no target
        ╭─[imgplan.yaml:14:13]
     13 │     args: {B: x}
     14 │     target: one
        ·             ───
     15 │     infer_bases: true
        ╰────
      help: remove it, or build from a `context` instead

      × a mirror has no bases
        ╭─[imgplan.yaml:15:18]
     14 │     target: one
     15 │     infer_bases: true
        ·                  ────
     16 │ groups:
        ╰────
      help: remove it, or build from a `context` instead

      × `-x` is not the name of a group
        ╭─[imgplan.yaml:17:3]
     16 │ groups:
     17 │   -x: [app]
        ·   ──
        ╰────
      help: use at most 128 letters, digits, `_`, `.` and `-`; start with a letter, a digit or `_`

    error: 10 problems in imgplan.yaml; nothing was sent
    "#);
}

#[test]
fn duplicate_content_tags_snapshot() {
    assert_snapshot!(rejected("images:
  - {name: app, context: app, tag: \"{fingerprint}\"}
  - {name: app, context: base, tag: \"{fingerprint}\"}
  - {name: app, context: app, tag: 0123456789ab}
"), @r#"
    exit 1
    --- stderr
      × two images have the destination app:{fingerprint}
       ╭─[imgplan.yaml:4:12]
     2 │ images:
     3 │   - {name: app, context: app, tag: "{fingerprint}"}
       ·            ─┬─
       ·             ╰── first image
     4 │   - {name: app, context: base, tag: "{fingerprint}"}
       ·            ─┬─
       ·             ╰── second image
     5 │   - {name: app, context: app, tag: 0123456789ab}
       ╰────
      help: change the `name:` or `tag:` of one of them

      × two images have the destination app:0123456789ab
       ╭─[imgplan.yaml:5:12]
     2 │ images:
     3 │   - {name: app, context: app, tag: "{fingerprint}"}
       ·            ─┬─
       ·             ╰── first image
     4 │   - {name: app, context: base, tag: "{fingerprint}"}
     5 │   - {name: app, context: app, tag: 0123456789ab}
       ·            ─┬─
       ·             ╰── second image
       ╰────
      help: change the `name:` or `tag:` of one of them

    error: 2 problems in imgplan.yaml; nothing was sent
    "#);
}

#[test]
fn a_pattern_that_matches_nothing_is_a_warning() {
    let env = contexts();
    env.write(
        "imgplan.yaml",
        "version: 1\nimages:\n  - {name: app, context: app}\ngroups:\n  nightly: [\"ap\", \"app\"]\n",
    );
    assert_snapshot!(env.run(["validate"]).shown(), @r#"
    exit 0
    --- stdout
    imgplan.yaml is valid: 1 image, 1 target.
    --- stderr
      ⚠ no image matches `ap`
       ╭─[imgplan.yaml:5:13]
     4 │ groups:
     5 │   nightly: ["ap", "app"]
       ·             ────
       ╰────
      help: a pattern matches whole names, or with a `:` whole `name:tag`; `*` matches any characters
    "#);
}
