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
    let name =
        |value: &serde_json::Value| value.as_str().unwrap().split(':').next().unwrap().to_owned();
    let edge =
        |edge: &serde_json::Value| format!("{} -> {}", name(&edge["from"]), name(&edge["to"]));
    let mut edges: Vec<String> = graph["edges"].as_array().unwrap().iter().map(edge).collect();
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
