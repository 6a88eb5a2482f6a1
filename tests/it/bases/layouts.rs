//! The bases of layouts as public repositories have them, rebuilt small and with other names: the
//! edges, and the targets that are planned after one change.

use crate::support::TestEnv;

/// Returns an environment with a manifest and contexts: path and Dockerfile.
fn layout(manifest: &str, contexts: &[(&str, &str)]) -> TestEnv {
    let env = TestEnv::manifest(manifest);
    for (path, dockerfile) in contexts {
        env.context(path, dockerfile);
    }
    env
}

/// Returns the edges between targets, `dependent -> base`, without tags, sorted.
fn edges(env: &TestEnv) -> Vec<String> {
    let graph: serde_json::Value =
        serde_json::from_str(&env.ok(["graph", "--format", "json"]).stdout).unwrap();
    let name = |edge: &serde_json::Value, end: &str| {
        let target = edge[end].as_str().unwrap();
        (!target.starts_with("external ")).then(|| target.split(':').next().unwrap().to_owned())
    };
    let edge = |edge| Some(format!("{} -> {}", name(edge, "from")?, name(edge, "to")?));
    let mut edges: Vec<String> =
        graph["edges"].as_array().unwrap().iter().filter_map(edge).collect();
    edges.sort();
    edges
}

/// Applies, adds a line to a Dockerfile, and returns the names of the targets that are planned.
fn planned_after_change(env: &TestEnv, dockerfile: &str) -> Vec<String> {
    env.apply();
    env.plans_nothing();
    env.write(dockerfile, format!("{}ENV CHANGED=1\n", env.read(dockerfile)));
    let names = |step: String| {
        let key = step.split_whitespace().find(|word| word.contains(':')).unwrap_or_default();
        key.split(':').next().unwrap().to_owned()
    };
    let mut planned: Vec<String> = env.ok(["plan"]).steps().into_iter().map(names).collect();
    planned.sort();
    planned
}

/// docker-stacks: each Dockerfile takes its base from the registry where the project publishes, put
/// together by arguments.
#[test]
fn stacks_published_in_one_namespace() {
    let from = |base: &str| {
        format!(
            "ARG REGISTRY=quay.io\nARG OWNER=org\nARG BASE=$REGISTRY/$OWNER/{base}\nFROM $BASE\n"
        )
    };
    let stacks = [
        ("foundation", "lab"),
        ("lab", "minimal"),
        ("minimal", "r"),
        ("minimal", "julia"),
        ("minimal", "scipy"),
        ("scipy", "tensorflow"),
        ("scipy", "pytorch"),
        ("scipy", "datascience"),
        ("scipy", "pyspark"),
        ("pyspark", "all-spark"),
    ];
    let env = layout(
        "version: 1
defaults: {published_as: \"quay.io/org/{name}\"}
images:
  - discover: {glob: \"images/*\"}
",
        &[("images/foundation", "FROM scratch\n")],
    );
    for (base, stack) in stacks {
        env.context(&format!("images/{stack}"), &from(base));
    }
    let mut expected: Vec<String> =
        stacks.iter().map(|(base, stack)| format!("{stack} -> {base}")).collect();
    expected.sort();
    assert_eq!(edges(&env), expected);
    env.ok(["validate", "--deny-warnings"]);
    let planned = planned_after_change(&env, "images/scipy/Dockerfile");
    let all = ["all-spark", "datascience", "pyspark", "pytorch", "scipy", "tensorflow"];
    assert_eq!(planned, all);
}

/// rocker: Dockerfiles with a literal namespace and a tag.
#[test]
fn versions_in_a_literal_namespace() {
    let env = layout(
        "version: 1
defaults: {published_as: \"rocks/{name}\", tag: \"4\"}
images:
  - {name: r-ver, context: r-ver}
  - {name: rstudio, context: rstudio}
  - {name: tidyverse, context: tidyverse}
  - {name: shiny, context: shiny}
  - {name: cuda, context: cuda}
",
        &[
            ("r-ver", "FROM scratch\n"),
            ("rstudio", "FROM rocks/r-ver:4\n"),
            ("tidyverse", "FROM docker.io/rocks/rstudio:4\n"),
            ("shiny", "FROM rocks/r-ver:4\n"),
            ("cuda", "FROM scratch\nCOPY --from=rocks/shiny:4 /init /init\n"),
        ],
    );
    let expected = ["cuda -> shiny", "rstudio -> r-ver", "shiny -> r-ver", "tidyverse -> rstudio"];
    assert_eq!(edges(&env), expected);
    let planned = planned_after_change(&env, "rstudio/Dockerfile");
    assert_eq!(planned, ["rstudio", "tidyverse"]);
}

/// selenium: the namespace and the version are arguments, and the tag comes from a variable.
#[test]
fn a_namespace_and_a_version_from_arguments() {
    let node = "ARG NAMESPACE=hub\nARG VERSION=latest\nFROM ${NAMESPACE}/IMAGE:${VERSION}\n";
    let from = |base: &str| node.replace("IMAGE", base);
    let env = layout(
        "version: 1
vars: {VERSION: 4.1.0-nightly}
defaults: {tag: \"${VERSION}\", published_as: \"grid/{name}\"}
images:
  - matrix: {IMAGE: [base, hub, node-base, node-firefox]}
    name: \"${IMAGE}\"
    context: \"${IMAGE}\"
    args: {NAMESPACE: grid, VERSION: \"${VERSION}\"}
",
        &[
            ("base", "ARG NAMESPACE\nARG VERSION\nFROM scratch\n"),
            ("hub", &from("base")),
            ("node-base", &from("base")),
            ("node-firefox", &from("node-base")),
        ],
    );
    let expected = ["hub -> base", "node-base -> base", "node-firefox -> node-base"];
    assert_eq!(edges(&env), expected);
    let planned = planned_after_change(&env, "node-base/Dockerfile");
    assert_eq!(planned, ["node-base", "node-firefox"]);
}

/// jessfraz: folders that have the names of official images, for something else.
#[test]
fn folders_with_the_names_of_official_images() {
    let manifest =
        |entry: &str| format!("version: 1\nimages:\n  - discover: {{glob: \"**\"}}\n{entry}");
    let env = layout(
        &manifest(""),
        &[
            // A browser, on Alpine.
            ("firefox/alpine", "FROM alpine:latest\n"),
            ("base", "FROM scratch\n"),
            ("curl", "FROM alpine:latest\n"),
            ("wget", "FROM alpine\n"),
            ("htop", "FROM docker.io/library/alpine:3.20\n"),
            ("tor", "FROM base\nCOPY --from=alpine /etc/ssl /etc/ssl\n"),
        ],
    );
    let all_on_hub = ["tor -> base"];
    assert_eq!(edges(&env), all_on_hub);
    let plan = env.ok(["plan"]).all();
    let message = "`alpine` is Docker Hub's official image, not the folder's image `alpine`";
    assert_eq!(plan.matches(message).count(), 1, "{plan}");
    assert!(plan.contains("in 4 images"), "{plan}");
    env.run(["validate", "--deny-warnings"]).code(1);
    // The entry says that only the names of the manifest are its images.
    env.write("imgplan.yaml", manifest("    published_as: []\n"));
    env.ok(["validate", "--deny-warnings"]);
    assert_eq!(edges(&env), all_on_hub);
    assert_eq!(planned_after_change(&env, "firefox/alpine/Dockerfile"), ["alpine"]);
    // The entry names its images itself, and so `alpine` means its image.
    env.write("imgplan.yaml", manifest("    name: \"{dir}\"\n"));
    let captured = ["curl -> alpine", "tor -> alpine", "tor -> base", "wget -> alpine"];
    assert_eq!(edges(&env), captured);
    env.write("imgplan.yaml", manifest("    published_as: \"{name}\"\n"));
    assert_eq!(edges(&env), captured);
    // One image needs it.
    let needs = "  - {name: need, context: curl, needs: [alpine]}\n";
    env.write("imgplan.yaml", manifest(needs));
    assert_eq!(edges(&env), ["need -> alpine", "tor -> base"]);
    // It needs the image, and refers to another tag.
    env.write("curl/Dockerfile", "FROM alpine:3.20\n");
    let plan = env.ok(["plan"]).all();
    assert!(plan.contains("help: this manifest has alpine:latest"), "{plan}");
}
