//! References of Dockerfiles to images of the same manifest, defaults, and the order of units.

use imgplan::test_support::manifest::workspace::{Origin, UnitId};
use imgplan::test_support::manifest::{Invocation, Workspace};

use crate::support::TestEnv;

mod published;

/// Loads a manifest in which `app` is built from this Dockerfile.
fn load(images: &str, dockerfile: &str) -> Result<Workspace, Vec<String>> {
    let env = TestEnv::at("http://127.0.0.1:1");
    env.context("app", dockerfile).context("base", "FROM scratch\n");
    env.write("imgplan.yaml", format!("version: 1\nimages:\n{images}"));
    Workspace::load(&Invocation::file(env.path("imgplan.yaml")), &|_| None)
        .map_err(|error| error.problems.iter().map(|problem| problem.message.clone()).collect())
}

/// Returns the bases of `app`: `text -> name:tag`.
fn bases(images: &str, dockerfile: &str) -> Vec<String> {
    let workspace = load(images, dockerfile).unwrap();
    let mut bases = Vec::new();
    for unit in workspace.units.iter().filter(|unit| unit.image.as_str() == "app") {
        let Origin::Build(build) = &unit.origin else { panic!("app is built") };
        for base in &build.bases {
            let text = &build.dockerfile.text()[base.range.clone()];
            bases.push(format!("{text} -> {}", workspace.unit(base.unit).key));
            assert!(unit.needs.contains(&base.unit), "{text} is not a dependency");
        }
    }
    bases
}

const APP: &str = "  - {name: app, tag: v1, context: app}\n";
const BASE: &str = "  - {name: base, tag: v1, context: base}\n";

fn both() -> String {
    format!("{APP}{BASE}")
}

#[test]
fn references_are_matched_with_bases() {
    for (dockerfile, expected) in [
        ("FROM base\n", &["base -> base:v1"][..]),
        ("FROM base:v1\n", &["base:v1 -> base:v1"]),
        ("FROM base:v1 AS one\nFROM one\n", &["base:v1 -> base:v1"]),
        ("FROM --platform=$TARGETPLATFORM base:v1\n", &["base:v1 -> base:v1"]),
        ("FROM scratch\nCOPY --from=base:v1 /a /a\n", &["base:v1 -> base:v1"]),
        (
            "FROM scratch\nRUN --mount=type=bind,from=base:v1,target=/x true\n",
            &["base:v1 -> base:v1"],
        ),
        ("ARG TAG=v1\nFROM base:${TAG}\n", &["base:${TAG} -> base:v1"]),
        ("ARG B=base\nFROM ${B}\n", &["${B} -> base:v1"]),
        // A stage takes precedence over an image of the same name.
        ("FROM scratch AS base\nFROM base\n", &[]),
        ("FROM scratch\n", &[]),
        // All spellings of one reference are compared as Docker does.
        ("FROM library/base:v1\n", &["library/base:v1 -> base:v1"]),
        ("FROM docker.io/library/base\n", &["docker.io/library/base -> base:v1"]),
        ("FROM index.docker.io/base:v1\n", &["index.docker.io/base:v1 -> base:v1"]),
        // Any other registry or namespace makes it another image.
        ("FROM org/base:v1\n", &[]),
        ("FROM localhost:5000/base:v1\n", &[]),
        // An image is not its own base.
        ("FROM app:v1\n", &[]),
        ("FROM app\n", &[]),
    ] {
        assert_eq!(bases(&both(), dockerfile), expected, "{dockerfile}");
    }
}

#[test]
fn each_platform_has_its_own_base() {
    let images = "  - {name: app, tag: v1, context: app, platforms: [linux/amd64, linux/arm64]}
  - {name: base, tag: v1, context: base, platforms: [linux/amd64, linux/arm64]}
";
    let each = ["base:v1 -> base:v1-amd64", "base:v1 -> base:v1-arm64"];
    assert_eq!(bases(images, "FROM base:v1\n"), each);
    // The tag of one platform selects that unit on all platforms.
    let one = ["base:v1-amd64 -> base:v1-amd64"; 2];
    assert_eq!(bases(images, "FROM base:v1-amd64\n"), one);
}

#[test]
fn the_platform_of_a_from_chooses_the_base() {
    let app = |base: &str| {
        format!(
            "  - {{name: app, tag: v1, context: app, platforms: [linux/amd64, linux/arm64]}}
  - {{name: base, tag: v1, context: base, platforms: [{base}]}}\n"
        )
    };
    for (platforms, from, on_amd64, on_arm64) in [
        ("linux/amd64", "--platform=linux/amd64", "v1", "v1"),
        ("linux/amd64", "--platform=$BUILDPLATFORM", "v1", "v1"),
        ("linux/amd64, linux/arm64", "--platform=linux/amd64", "v1-amd64", "v1-amd64"),
        ("linux/amd64, linux/arm64", "--platform=linux/arm64", "v1-arm64", "v1-arm64"),
        ("linux/amd64, linux/arm64", "--platform=$BUILDPLATFORM", "v1-amd64", "v1-arm64"),
        ("linux/amd64, linux/arm64", "--platform=$TARGETPLATFORM", "v1-amd64", "v1-arm64"),
    ] {
        let expected = [on_amd64, on_arm64].map(|tag| format!("base -> base:{tag}"));
        let actual = bases(&app(platforms), &format!("FROM {from} base\n"));
        assert_eq!(actual, expected, "{from} of {platforms}");
    }
    for (from, message) in [
        ("linux/arm64", "`base` is not built for linux/arm64, which `--platform` requests"),
        ("linux/arm/v7", "`base` is not built for `linux/arm/v7`"),
    ] {
        let file = format!("FROM --platform={from} base\n");
        let units = format!("{APP}{BASE}");
        assert_eq!(load(&units, &file).unwrap_err(), [message]);
    }
}

#[test]
fn the_platform_of_a_from_applies_to_external_images() {
    use imgplan::test_support::base::name::Platform::{Amd64, Arm64};
    let app = "  - {name: app, tag: v1, context: app, platforms: [linux/arm64]}\n";
    let file = "FROM --platform=linux/amd64 a AS a\nFROM --platform=$BUILDPLATFORM b AS b
FROM c AS c\nFROM --platform=linux/s390x d
COPY --from=a x y\nCOPY --from=b x y\nCOPY --from=c x y\nCOPY --from=e x y\n";
    let workspace = load(app, file).unwrap();
    let Origin::Build(build) = &workspace.units[0].origin else { panic!("app is built") };
    let platforms: Vec<_> =
        build.externals.iter().map(|base| (base.image.as_str(), base.platform)).collect();
    let expected =
        [("a", Some(Amd64)), ("b", None), ("c", Some(Arm64)), ("d", None), ("e", Some(Arm64))];
    assert_eq!(platforms, expected);
}

#[test]
fn a_name_with_several_tags_means_latest() {
    let three = format!("{APP}{BASE}  - {{name: base, context: base}}\n");
    assert_eq!(bases(&three, "FROM base\n"), ["base -> base:latest"]);
    let two = format!("{APP}{BASE}  - {{name: base, tag: v2, context: base}}\n");
    assert_eq!(bases(&two, "FROM base:v2\n"), ["base:v2 -> base:v2"]);
    let problems = load(&two, "FROM base\n").unwrap_err();
    assert_eq!(problems, ["`base` could be any of base:v1, base:v2"]);
    // `needs` decides, if it lists one of them.
    let needing =
        |needs: &str| two.replace("context: app}", &format!("context: app, needs: [{needs}]}}"));
    assert_eq!(bases(&needing("'base:v2'"), "FROM base\n"), ["base -> base:v2"]);
    let problems = load(&needing("'base:v1', 'base:v2'"), "FROM base\n").unwrap_err();
    assert_eq!(problems, ["`base` could be any of base:v1, base:v2"]);
    // It decides before `latest`, and between images that are published under one reference.
    let needing_v1 = three.replace("context: app}", "context: app, needs: ['base:v1']}");
    assert_eq!(bases(&needing_v1, "FROM base\n"), ["base -> base:v1"]);
    let published = "  - {name: app, tag: v1, context: app, needs: ['two:v1']}
  - {name: one, tag: v1, context: base, published_as: q.io/base}
  - {name: two, tag: v1, context: base, published_as: q.io/base}\n";
    assert_eq!(bases(published, "FROM q.io/base:v1\n"), ["q.io/base:v1 -> two:v1"]);
}

#[test]
fn a_mirror_is_a_base_only_if_it_is_listed_in_needs() {
    let images = |needs: &str| {
        format!(
            "  - {{name: app, tag: v1, context: app{needs}}}\n  - {{source: docker.io/library/redis:7, name: cache, tag: v1}}\n"
        )
    };
    let needed = images(", needs: [cache]");
    for (dockerfile, expected) in [
        ("FROM cache:v1\n", "cache:v1 -> cache:v1"),
        ("FROM redis:7\n", "redis:7 -> cache:v1"),
        ("FROM docker.io/library/redis:7\n", "docker.io/library/redis:7 -> cache:v1"),
        ("FROM index.docker.io/library/redis:7\n", "index.docker.io/library/redis:7 -> cache:v1"),
    ] {
        assert_eq!(bases(&needed, dockerfile), [expected], "{dockerfile}");
        assert_eq!(bases(&images(""), dockerfile), [""; 0], "{dockerfile}");
    }
    assert_eq!(bases(&needed, "FROM redis:8\n"), [""; 0]);
}

#[test]
fn a_base_without_the_platform_is_an_error() {
    let images =
        format!("{BASE}  - {{name: app, tag: v1, context: app, platforms: [linux/arm64]}}\n");
    let problems = load(&images, "FROM base:v1\n").unwrap_err();
    assert_eq!(problems, ["`base:v1` is not built for linux/arm64, but app is"]);
}

#[test]
fn another_tag_is_a_warning() {
    for (dockerfile, warnings) in [
        ("FROM base:v2\n", 1),
        ("FROM base:v1\n", 0),
        ("FROM other:v2\n", 0),
        ("FROM base@sha256:a8560b36e8b8210634f77d9f7f9efd7ffa463e380b75e2e74aff4511df3ef88c\n", 0),
    ] {
        let workspace = load(&both(), dockerfile).unwrap();
        assert_eq!(workspace.warnings.len(), warnings, "{dockerfile}");
    }
}

/// Returns the warnings for this Dockerfile of `app`: message and help.
fn near_misses(images: &str, dockerfile: &str) -> Vec<(String, String)> {
    let workspace = load(images, dockerfile).unwrap();
    let texts = |warning: imgplan::test_support::base::span::Problem| {
        (warning.message, warning.help.unwrap_or_default())
    };
    workspace.warnings.into_iter().map(texts).collect()
}

#[test]
fn a_path_that_ends_with_the_name_of_an_image_is_a_warning() {
    for (from, line) in [
        ("quay.io/org/base:v1", Some("\"quay.io/org/{name}\"` to its entry or to `defaults`")),
        ("quay.io/org/base", Some("\"quay.io/org/{name}\"` to its entry or to `defaults`")),
        (
            "localhost:5000/base:v1",
            Some("\"localhost:5000/{name}\"` to its entry or to `defaults`"),
        ),
        ("org/base:v9", Some("\"org/{name}:v9\"` to its entry")),
        ("quay.io/org/database:v1", None),
        ("quay.io/base/other:v1", None),
        ("quay.io/org/app:v1", None),
        (
            "quay.io/org/base@sha256:a8560b36e8b8210634f77d9f7f9efd7ffa463e380b75e2e74aff4511df3ef88c",
            None,
        ),
    ] {
        for (file, number) in
            [(format!("FROM {from}\n"), 1), (format!("FROM a\nCOPY --from={from} x y\n"), 2)]
        {
            let found = near_misses(&both(), &file);
            assert_eq!(found.len(), usize::from(line.is_some()), "{number} of {file}: {found:?}");
            if let ([(message, help)], Some(line)) = (&found[..], line) {
                assert_eq!(*message, format!("`{from}` is not an image of this manifest"));
                let names = "this manifest has base:v1; if this is that image, add `published_as:";
                assert_eq!(*help, format!("{names} {line}"));
            }
        }
    }
    let other_tag = near_misses(&both(), "FROM library/base:v9\n");
    assert_eq!(other_tag[0].1, "this manifest has base:v1");
    // A mirror is a copy of such an image, and an image may add to a public one of its name.
    let mirror = format!("{APP}  - {{source: docker.io/library/redis:7}}\n");
    assert_eq!(near_misses(&mirror, "FROM docker.io/library/redis:7\n"), []);
    let own = "  - {name: app, tag: v1, context: app}\n  - {name: app, tag: v2, context: base}\n";
    assert_eq!(near_misses(own, "FROM quay.io/org/app:v3\n"), []);
    assert_eq!(near_misses(own, "FROM docker.io/library/app:v3\n"), []);
}

#[test]
fn a_near_miss_names_the_nearest_three() {
    let tags =
        (1..=100).map(|minor| format!("  - {{name: base, tag: v3.{minor}, context: base}}\n"));
    let images = format!("{APP}{}", tags.collect::<String>());
    for (from, nearest) in [
        ("base:v3.101", "base:v3.10, base:v3.100, base:v3.11"),
        ("base:v3.77-slim", "base:v3.77, base:v3.17, base:v3.27"),
        ("ghcr.io/org/base:v3.42", "base:v3.42, base:v3.12, base:v3.2"),
    ] {
        let found = near_misses(&images, &format!("FROM {from}\n"));
        let help = format!("this manifest has {nearest} and 97 more");
        assert!(found.len() == 1 && found[0].1.starts_with(&help), "{from}: {found:?}");
    }
}

#[test]
fn a_trigger_orders_the_images_that_are_built_on_its_image() {
    let images = format!("{both}  - {{name: tools, tag: v1, context: base}}\n", both = both());
    // `app` has the trigger.
    for (trigger, expected) in [
        ("ONBUILD COPY --from=tools /a /a", &["tools -> tools:v1"][..]),
        ("ONBUILD COPY --from=tools:v1 /a /a", &["tools:v1 -> tools:v1"]),
        ("ONBUILD RUN --mount=from=tools,target=/t /t/x", &["tools -> tools:v1"]),
        ("ONBUILD COPY --from=busybox /a /a", &[]),
        ("ONBUILD COPY --from=quay.io/org/tools /a /a", &[]),
        ("ONBUILD COPY --from=app /a /a", &[]),
        ("ONBUILD COPY x y", &[]),
        ("ONBUILD RUN x\nFROM scratch", &[]),
        ("ONBUILD COPY --from=tools /a /a\nFROM scratch", &[]),
    ] {
        let dockerfile = format!("FROM scratch\n{trigger}\n");
        assert_eq!(bases(&images, &dockerfile), expected, "{trigger}");
        assert_eq!(near_misses(&images, &dockerfile), [], "{trigger}");
    }
}

#[test]
fn a_trigger_reports_what_a_copy_reports() {
    let two =
        "  - {name: tools, tag: v1, context: base}\n  - {name: tools, tag: v2, context: base}\n";
    let arm = "  - {name: tools, tag: v1, context: base, platforms: [linux/arm64]}\n";
    for (tools, message) in [
        (two, "`tools` could be any of tools:v1, tools:v2"),
        (arm, "`tools` is not built for linux/amd64, but app is"),
    ] {
        for keyword in ["", "ONBUILD "] {
            let dockerfile = format!("FROM scratch\n{keyword}COPY --from=tools /a /a\n");
            let problems = load(&format!("{APP}{tools}"), &dockerfile).unwrap_err();
            assert_eq!(problems, [message], "{keyword}");
        }
    }
}

#[test]
fn a_trigger_is_sent_with_the_path_of_its_image() {
    let env = TestEnv::manifest(
        "version: 1\nimages:
  - {name: app, context: app}
  - {name: runtime, context: runtime}
  - {name: tools, context: tools}
",
    );
    let trigger = "ONBUILD COPY --from=tools /x /x";
    env.context("tools", "FROM scratch\n").context("app", "FROM runtime\n");
    env.context("runtime", &format!("FROM scratch\n{trigger}\n"));
    env.ok(["plan"]).says("Order: tools:latest, runtime:latest first");
    env.apply();
    let sent = env.ok(["context", "dockerfile", "runtime"]).stdout;
    assert!(sent.contains("ONBUILD COPY --from=prime/") && !sent.contains(trigger), "{sent}");
    env.edit("tools/Dockerfile", "scratch", "scratch\nENV A=1");
    let steps = env.ok(["plan"]).steps();
    assert!(steps.len() == 3 && steps[2].contains("app:latest"), "{steps:?}");
}

#[test]
fn a_trigger_may_mean_a_stage_of_the_dependent() {
    let env = TestEnv::at("http://127.0.0.1:1");
    env.write(
        "imgplan.yaml",
        "version: 1\nimages:
  - {name: runtime, context: runtime}
  - {name: builder, context: builder}
  - {name: app, context: app}
",
    );
    env.context("runtime", "FROM scratch\nONBUILD COPY --from=builder /a /a\n");
    env.context("builder", "FROM scratch\n");
    let needs = |dockerfile: &str| {
        env.context("app", dockerfile);
        let file = Invocation::file(env.path("imgplan.yaml"));
        let workspace = Workspace::load(&file, &|_| None).unwrap();
        let runtime = workspace.units.iter().find(|unit| unit.image.as_str() == "runtime");
        runtime.unwrap().needs.len()
    };
    assert_eq!(needs("FROM runtime\n"), 1);
    assert_eq!(needs("FROM scratch AS other\nFROM runtime\n"), 1);
    assert_eq!(needs("FROM scratch AS Builder\nFROM runtime:latest\n"), 0);
    assert_eq!(needs("FROM scratch AS builder\n"), 1);
}

#[test]
fn a_trigger_that_means_a_stage_and_an_image_is_a_warning() {
    let env = TestEnv::at("http://127.0.0.1:1");
    env.write(
        "imgplan.yaml",
        "version: 1\nimages:
  - {name: runtime, context: runtime, platforms: [linux/amd64, linux/arm64]}
  - {name: builder, context: builder, platforms: [linux/amd64, linux/arm64]}
  - {name: app, context: app, platforms: [linux/amd64, linux/arm64]}
  - {name: web, context: web, platforms: [linux/amd64, linux/arm64]}
",
    );
    env.context("runtime", "FROM scratch\nONBUILD COPY --from=builder /a /a\n");
    env.context("builder", "FROM scratch\n");
    env.context("app", "FROM scratch AS builder\nFROM runtime\n");
    for (web, warnings) in [
        ("FROM runtime\n", &["`builder` is a stage of app, but not of web"][..]),
        ("FROM scratch AS builder\nFROM runtime\n", &[]),
        ("FROM scratch\n", &[]),
    ] {
        env.context("web", web);
        let file = Invocation::file(env.path("imgplan.yaml"));
        let workspace = Workspace::load(&file, &|_| None).unwrap();
        let found: Vec<&str> =
            workspace.warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(found, warnings, "{web}");
    }
}

#[test]
fn an_arg_of_a_stage_is_no_arg_of_a_from() {
    let move_up = "move `ARG T` above the first FROM";
    for (dockerfile, help) in [
        ("FROM scratch\nARG T=1\nFROM x:$T\n", move_up),
        ("FROM scratch\nARG T\nFROM x:${T}\n", move_up),
        ("FROM scratch AS one\nFROM scratch\nARG T=1\nFROM ${T}\n", move_up),
        ("FROM scratch\nFROM x:$T\n", "declare it above the first FROM: `ARG T=<value>`"),
        ("ARG T\nFROM x:$T\n", "give it a default, `ARG T=<value>`, or a value under `args:`"),
    ] {
        let env = TestEnv::at("http://127.0.0.1:1");
        env.context("app", dockerfile);
        env.write("imgplan.yaml", "version: 1\nimages:\n  - {name: app, context: app}\n");
        let error = Workspace::load(&Invocation::file(env.path("imgplan.yaml")), &|_| None);
        let problems = error.unwrap_err().problems;
        let first = problems[0].help.as_deref().unwrap_or_default();
        assert!(problems.len() == 1 && first.starts_with(help), "{dockerfile}: {problems:?}");
    }
}

#[test]
fn units_are_sorted_by_depth_and_name() {
    let images = "  - {name: z, tag: v1, context: base}
  - {name: app, tag: v1, context: app}
  - {name: base, tag: v1, context: base}
  - {name: a, tag: v1, context: base, needs: [app]}
";
    let workspace = load(images, "FROM base:v1\n").unwrap();
    let order: Vec<String> = workspace.units.iter().map(|unit| unit.key.to_string()).collect();
    assert_eq!(order, ["base:v1", "z:v1", "app:v1", "a:v1"]);
    assert_eq!(workspace.units[3].needs, [UnitId(2)]);
    let depths: Vec<usize> = workspace.units.iter().map(|unit| unit.depth).collect();
    assert_eq!(depths, [0, 0, 1, 2]);
}

#[test]
fn defaults_are_filled_in() {
    let images = "  - {name: app, context: app}\n  - {name: base, tag: own, context: base, visibility: private}
defaults: {tag: d, visibility: public, timeout: 5m, platforms: [linux/arm64]}
";
    let workspace = load(images, "FROM scratch\n").unwrap();
    let shown: Vec<String> = workspace
        .units
        .iter()
        .map(|unit| {
            let visibility = unit.visibility.map(|visibility| visibility.to_string());
            format!("{} {} {}", unit.key, unit.platform, visibility.unwrap_or_default())
        })
        .collect();
    assert_eq!(shown, ["app:d linux/arm64 public", "base:own linux/arm64 private"]);
    assert!(workspace.units.iter().all(|unit| unit.timeout.is_some()));
}
