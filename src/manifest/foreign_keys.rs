//! Keys that Compose, Bake, CI systems and other build tools use for what a manifest calls otherwise.
//! Pure.

use crate::base::name::NameError;

/// Each key of a manifest, with the keys of other tools for the same thing.
const SYNONYMS: [(&str, &[&str]); 22] = [
    ("needs", &["depends_on", "dependencies", "depends", "requires", "after", "base", "bases"]),
    (
        "args",
        &["build_args", "build_arg", "buildargs", "buildarg", "arguments", "env", "environment"],
    ),
    ("dockerfile", &["dockerfile_path", "docker_file", "containerfile", "file", "build_file"]),
    ("platforms", &["platform", "arch", "archs", "architecture", "architectures"]),
    ("context", &["build", "build_context", "path", "dir", "directory", "folder", "workdir"]),
    ("source", &["from", "src", "mirror", "upstream", "reference", "pull"]),
    ("tag", &["version", "image_tag"]),
    ("name", &["image_name", "id", "title", "container_name"]),
    ("target", &["stage", "build_target", "build_stage"]),
    ("visibility", &["public", "private", "access", "acl"]),
    (
        "owner",
        &["team", "team_id", "teamid", "owner_scope", "ownerscope", "organization", "namespace"],
    ),
    ("protect", &["protected", "prevent_destroy", "lifecycle", "keep"]),
    ("max_age", &["ttl", "expires", "rebuild_after"]),
    ("timeout", &["build_timeout", "timeout_minutes", "deadline"]),
    ("labels", &["annotations", "metadata"]),
    ("images", &["services", "targets", "builds", "image", "containers", "units"]),
    ("vars", &["variables", "variable", "locals", "env", "environment"]),
    ("include", &["includes", "imports", "import", "extends"]),
    ("settings", &["config", "options", "service"]),
    ("limits", &["rate_limits", "rate_limit", "ratelimits"]),
    ("concurrency", &["parallelism", "parallel", "jobs", "max_parallel"]),
    ("destroy", &["delete", "prune", "purge"]),
];

/// Keys for the name of an image in a registry, which a manifest splits into several.
const REFERENCE_KEYS: [&str; 5] = ["image", "repository", "repo", "ref", "destination"];

/// Settings of the local server's engine that only the person or the job that runs imgplan chooses.
const OPERATOR_KEYS: [&str; 6] =
    ["registry", "registry_auth", "registry_ca", "plain_http", "build_network", "cache"];

/// Keys that only images have.
const IMAGE_KEYS: [&str; 8] =
    ["name", "tag", "context", "source", "args", "needs", "target", "matrix"];

/// Returns message and help for a key of other tools that the service has nothing for. `known` are the
/// keys of the mapping.
pub(super) fn unsupported(key: &str, known: &[&str]) -> Option<NameError> {
    let name = key.to_lowercase().replace('-', "_");
    if OPERATOR_KEYS.contains(&&*name) && known.contains(&"build_timeout") {
        let message = format!(
            "a manifest cannot set `{key}`: it comes with a checkout, which must not choose the registry \
             or the network of builds"
        );
        let (flag, variable) = (name.replace('_', "-"), name.to_uppercase());
        return Some(NameError::new(message, format!("use --{flag} or IMGPLAN_{variable}")));
    }
    // The API has no alias, and its transfers copy public references only, so a second tag of an
    // image is another build (API contract, sections 2 and 6).
    (matches!(key, "tags" | "aliases") && known.contains(&"tag")).then(|| {
        NameError::new(
            "an image has one tag: the service has no aliases, and copies only public images",
            "write an entry for each tag, or `tag: \"${TAG}\"` with `matrix: { TAG: [v1, latest] }`; \
             each is built on its own",
        )
    })
}

/// Returns the help for a key of another tool: the key that a manifest has for it. `known` are the
/// keys of the mapping.
pub(super) fn synonym(key: &str, known: &[&str]) -> Option<String> {
    let key = key.to_lowercase().replace('-', "_");
    if REFERENCE_KEYS.contains(&&*key) && known.contains(&"source") {
        let help = "write `name:` and `tag:`, or `source:` for a public image to mirror";
        return Some(help.to_owned());
    }
    let at_top_level = known.contains(&"images");
    if IMAGE_KEYS.contains(&&*key) && (at_top_level || known.contains(&"max_age")) {
        let way_out = if at_top_level {
            "indent it as the other keys of the image"
        } else {
            "`defaults` cannot have it, so write it in each image"
        };
        return Some(format!("`{key}` is a key of an image: {way_out}"));
    }
    let meant = |(ours, theirs): &&(&str, &[&str])| known.contains(ours) && theirs.contains(&&*key);
    SYNONYMS.iter().find(meant).map(|(ours, _)| format!("write `{ours}` instead"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_other_tools_are_translated() {
        let image =
            ["name", "tag", "context", "dockerfile", "platforms", "needs", "source", "args"];
        let top = ["version", "include", "vars", "images", "settings"];
        let defaults = ["platforms", "visibility", "timeout", "max_age"];
        for (key, known, expected) in [
            ("depends_on", &image[..], "write `needs` instead"),
            ("build_args", &image, "write `args` instead"),
            ("build-args", &image, "write `args` instead"),
            ("buildArgs", &image, "write `args` instead"),
            ("platform", &image, "write `platforms` instead"),
            ("dockerfile_path", &image, "write `dockerfile` instead"),
            ("build", &image, "write `context` instead"),
            ("from", &image, "write `source` instead"),
            (
                "image",
                &image,
                "write `name:` and `tag:`, or `source:` for a public image to mirror",
            ),
            (
                "repository",
                &image,
                "write `name:` and `tag:`, or `source:` for a public image to mirror",
            ),
            ("services", &top, "write `images` instead"),
            ("image", &top, "write `images` instead"),
            ("variables", &top, "write `vars` instead"),
            (
                "context",
                &top,
                "`context` is a key of an image: indent it as the other keys of the image",
            ),
            ("args", &top, "`args` is a key of an image: indent it as the other keys of the image"),
            ("extends", &top, "write `include` instead"),
            (
                "needs",
                &defaults,
                "`needs` is a key of an image: `defaults` cannot have it, so write it in each image",
            ),
        ] {
            assert_eq!(synonym(key, known).as_deref(), Some(expected), "{key}");
        }
        assert_eq!(synonym("depends_on", &top), None, "only keys of the mapping are named");
        assert_eq!(synonym("nmae", &image), None);
        assert!(unsupported("tags", &image).is_some_and(|error| error.message.contains("one tag")));
        assert_eq!(unsupported("tags", &top), None);
        assert_eq!(unsupported("tag", &image), None);
    }
}
