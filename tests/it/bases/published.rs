//! References by which an image is known outside of the manifest: `published_as` and `needs`.

use super::{APP, BASE, bases, load, near_misses};

/// Returns the images `app` and `base` with more fields each.
fn with(app: &str, base: &str) -> String {
    format!(
        "  - {{name: app, tag: v1, context: app{app}}}\n  - {{name: base, tag: v1, context: base{base}}}\n"
    )
}

#[test]
fn published_references_are_bases() {
    let one = with("", ", published_as: \"quay.io/org/{name}\"");
    let list =
        with("", ", published_as: [ghcr.io/x/y, \"quay.io/org/{name}\", \"z/b:stable\", alias]");
    let defaults = format!("{APP}{BASE}defaults: {{published_as: \"quay.io/org/{{name}}\"}}\n");
    for images in [&one, &list, &defaults] {
        for reference in ["quay.io/org/base:v1", "quay.io/org/base", "QUAY.IO/org/base:v1", "base"]
        {
            let expected = [format!("{reference} -> base:v1")];
            for file in [
                format!("FROM {reference}\n"),
                format!("FROM scratch\nCOPY --from={reference} /a /a\n"),
                format!("FROM scratch\nRUN --mount=type=bind,from={reference},target=/x true\n"),
                format!("FROM scratch\nONBUILD COPY --from={reference} /a /a\n"),
            ] {
                assert_eq!(bases(images, &file), expected, "{file}");
                assert_eq!(near_misses(images, &file), [], "{file}");
            }
        }
        let from_args = "ARG NS=quay.io/org\nARG V=v1\nFROM ${NS}/base:${V}\n";
        assert_eq!(bases(images, from_args), ["${NS}/base:${V} -> base:v1"]);
        for other in ["quay.io/org/base:v2", "quay.io/org2/base:v1", "localhost:5000/base:v1"] {
            assert_eq!(bases(images, &format!("FROM {other}\n")), [""; 0], "{other}");
            assert_eq!(near_misses(images, &format!("FROM {other}\n")).len(), 1, "{other}");
        }
    }
    for (reference, is_base) in [
        ("ghcr.io/x/y:v1", true),
        ("z/b:stable", true),
        ("docker.io/z/b:stable", true),
        ("alias", true),
        ("alias:v1", true),
        ("z/b:v1", false),
        ("z/b", false),
        ("ghcr.io/x/y:v2", false),
    ] {
        let found = bases(&list, &format!("FROM {reference}\n"));
        assert_eq!(found.len(), usize::from(is_base), "{reference}");
    }
}

#[test]
fn the_references_of_an_image_override_the_defaults() {
    let defaults = "defaults: {published_as: \"quay.io/org/{name}\"}\n";
    for (base, reference, is_base, warnings) in [
        ("", "quay.io/org/base", true, 0),
        (", published_as: ghcr.io/x/base", "ghcr.io/x/base", true, 0),
        (", published_as: ghcr.io/x/base", "quay.io/org/base", false, 1),
        (", published_as: []", "quay.io/org/base", false, 0),
        (", published_as: []", "base", true, 0),
    ] {
        let images = format!("{}{defaults}", with("", base));
        let file = format!("FROM {reference}\n");
        assert_eq!(bases(&images, &file).len(), usize::from(is_base), "{base} {reference}");
        assert_eq!(near_misses(&images, &file).len(), warnings, "{base} {reference}");
    }
}

#[test]
fn a_published_mirror_is_a_base() {
    let images = |mirror: &str| {
        format!(
            "{APP}  - {{source: docker.io/library/redis:7, name: cache, tag: v1{mirror}}}
defaults: {{published_as: \"quay.io/org/{{name}}\"}}\n"
        )
    };
    let own = images(", published_as: quay.io/org/cache");
    let expected = ["quay.io/org/cache:v1 -> cache:v1"];
    assert_eq!(bases(&own, "FROM quay.io/org/cache:v1\n"), expected);
    // The defaults are for what is built here.
    assert_eq!(bases(&images(""), "FROM quay.io/org/cache:v1\n"), [""; 0]);
}

#[test]
fn needs_and_the_last_segment_name_a_base() {
    for (needs, reference, is_base) in [
        ("base", "ghcr.io/org/base:v1", true),
        ("base", "ghcr.io/org/base", true),
        ("base:v1", "localhost:5000/a/b/base:v1", true),
        ("base", "ghcr.io/org/base:v2", false),
        ("base", "ghcr.io/base/org", false),
        ("base", "ghcr.io/org/database", false),
        ("other", "ghcr.io/org/base", false),
    ] {
        let other = "  - {name: other, context: base}\n";
        let images = format!("{}{other}", with(&format!(", needs: [\"{needs}\"]"), ""));
        for file in [
            format!("FROM {reference}\n"),
            format!("FROM scratch\nCOPY --from={reference} /a /a\n"),
            format!("ARG B={reference}\nFROM $B\n"),
        ] {
            assert_eq!(bases(&images, &file).len(), usize::from(is_base), "{needs}: {file}");
        }
    }
    let warning = near_misses(&with(", needs: [base]", ""), "FROM ghcr.io/org/base:v2\n");
    assert!(warning[0].1.contains("add `published_as: \"ghcr.io/org/{name}:v2\"`"), "{warning:?}");
}

#[test]
fn a_published_reference_without_a_tag_means_latest_of_several() {
    let images = |tags: [&str; 2]| {
        let image = |tag| {
            format!(
                "  - {{name: b{tag}, tag: {tag}, context: base, published_as: quay.io/org/b}}\n"
            )
        };
        format!("{APP}{}{}", image(tags[0]), image(tags[1]))
    };
    let latest = images(["v1", "latest"]);
    assert_eq!(bases(&latest, "FROM quay.io/org/b\n"), ["quay.io/org/b -> blatest:latest"]);
    assert_eq!(bases(&latest, "FROM quay.io/org/b:v1\n"), ["quay.io/org/b:v1 -> bv1:v1"]);
    let problems = load(&images(["v1", "v2"]), "FROM quay.io/org/b\n").unwrap_err();
    assert_eq!(problems, ["`quay.io/org/b` could be any of bv1:v1, bv2:v2"]);
}

#[test]
fn a_published_reference_has_no_digest() {
    let digest = "a".repeat(64);
    let images = with("", &format!(", published_as: \"x/y@sha256:{digest}\""));
    let problems = load(&images, "FROM scratch\n").unwrap_err();
    assert_eq!(problems, ["`published_as` lists references without a digest"]);
    let images = with("", ", published_as: quay.io/org/base");
    let pinned = format!("FROM quay.io/org/base:v1@sha256:{digest}\n");
    assert_eq!(bases(&images, &pinned), [""; 0]);
    assert_eq!(near_misses(&images, &pinned), []);
}

#[test]
fn an_image_with_a_fingerprint_in_its_tag_is_published_under_a_fixed_tag() {
    let base = "  - {name: base, tag: \"{fingerprint}\", context: base, published_as: [quay.io/o/base, \"quay.io/o/base:stable\"]}\n";
    for (reference, is_base) in
        [("quay.io/o/base:stable", true), ("quay.io/o/base", true), ("quay.io/o/base:v1", false)]
    {
        let found = bases(&format!("{APP}{base}"), &format!("FROM {reference}\n"));
        assert_eq!(found.len(), usize::from(is_base), "{reference}");
    }
}
