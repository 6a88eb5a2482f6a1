//! `imgplan graph`: the dependency graph, from the manifest alone.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::TestEnv;

/// Returns a project with a base, images built on it, and a mirror. No service is running.
fn project() -> TestEnv {
    let env = TestEnv::at("http://127.0.0.1:1");
    env.write(
        "imgplan.yaml",
        "version: 1\ndefaults: {tag: v1}\nimages:\n  - {name: web, context: web, needs: [redis]}\n  \
         - {name: api, context: api}\n  - {name: base, context: base}\n  \
         - {source: 'docker.io/library/redis:7'}\n  - {name: alone, context: base}\n",
    );
    env.context("base", "FROM scratch\n");
    env.context("api", "FROM base:v1 AS one\nFROM base:v1\nCOPY --from=one / /\n");
    env.context("web", "FROM api:v1\nCOPY --from=redis:7 / /redis\n");
    env
}

#[test]
fn dot_is_the_default_format() {
    let env = project();
    assert_snapshot!(env.ok(["graph"]).shown(), @r#"
    exit 0
    --- stdout
    digraph imgplan {
      rankdir = "LR"
      node [shape = "box"]
      "alone:v1" [label = "alone:v1\nlinux/amd64"]
      "base:v1" [label = "base:v1\nlinux/amd64"]
      "redis:7" [label = "redis:7\nlinux/amd64", style = "rounded"]
      "api:v1" [label = "api:v1\nlinux/amd64"]
      "web:v1" [label = "web:v1\nlinux/amd64"]
      "external docker.io/library/redis:7" [label = "docker.io/library/redis:7", style = "dashed"]
      "redis:7" -> "external docker.io/library/redis:7"
      "api:v1" -> "base:v1"
      "web:v1" -> "redis:7"
      "web:v1" -> "api:v1"
    }
    "#);
    // The order does not depend on a hash map.
    assert_eq!(env.ok(["graph"]).stdout, env.ok(["graph"]).stdout);
    assert!(!env.exists("imgplan.lock") && !env.exists(".imgplan"));
}

#[test]
fn mermaid_with_one_image_and_its_bases() {
    assert_snapshot!(project().ok(["graph", "--format", "mermaid", "api"]).shown(), @r#"
    exit 0
    --- stdout
    flowchart LR
      n0["base:v1<br>linux/amd64"]
      n1["api:v1<br>linux/amd64"]
      n1 --> n0
      classDef external stroke-dasharray: 5 5
    "#);
}

#[test]
fn json_has_nodes_and_edges() {
    let env = project();
    let graph: serde_json::Value =
        serde_json::from_str(&env.ok(["graph", "--format=json", "web:v1"]).stdout).unwrap();
    let node = |image: &str, kind: &str| json!({ "id": image, "image": image, "kind": kind, "platform": "linux/amd64" });
    let source = "docker.io/library/redis:7";
    let id = format!("external {source}");
    assert_eq!(
        graph,
        json!({
            "format_version": "1.0",
            "nodes": [
                node("base:v1", "build"),
                node("redis:7", "mirror"),
                node("api:v1", "build"),
                node("web:v1", "build"),
                { "id": id, "image": source, "kind": "external", "platform": null },
            ],
            "edges": [
                { "from": "redis:7", "to": id },
                { "from": "api:v1", "to": "base:v1" },
                { "from": "web:v1", "to": "redis:7" },
                { "from": "web:v1", "to": "api:v1" },
            ],
        })
    );
    // `--json` is the same as `--format json`.
    assert_eq!(env.ok(["graph", "--json", "web"]).json(), [graph]);
}

/// An external base may have the same name as the image built on it.
#[test]
fn an_external_base_is_a_node_of_its_own() {
    let env = TestEnv::manifest("version: 1\nimages: [{ name: debian, tag: '12', context: a }]\n");
    env.context("a", "FROM debian:12\n");
    let graph = env.ok(["graph", "--json"]);
    let graph = &graph.json()[0];
    assert_eq!(graph["edges"], json!([{ "from": "debian:12", "to": "external debian:12" }]));
    assert_eq!(graph["nodes"][1]["kind"], "external");
}

/// Fingerprints are known only to a plan.
#[test]
fn a_tag_with_a_fingerprint_is_shown_as_written() {
    let env = TestEnv::manifest(
        "version: 1\nimages: [{ name: a, tag: 'v1-{fingerprint}', context: a }]\n",
    );
    env.context("a", "FROM scratch\n");
    env.ok(["graph"]).says(r#""a:v1-{fingerprint}" [label = "a:v1-{fingerprint}\nlinux/amd64"]"#);
}

#[test]
fn patterns_select_images_and_unknown_names_fail() {
    let env = project();
    let graph = env.ok(["graph", "--json", "a*"]);
    let nodes = graph.json()[0]["nodes"].as_array().unwrap().clone();
    let images: Vec<&str> = nodes.iter().map(|node| node["image"].as_str().unwrap()).collect();
    assert_eq!(images, ["alone:v1", "base:v1", "api:v1"]);
    env.run(["graph", "apu"]).code(1).says("the manifest has no image `apu`");
    env.run(["graph", "--format", "svg"]).code(64).says("dot, mermaid, json");
}
