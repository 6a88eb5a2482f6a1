//! Draws the dependency graph for Graphviz, for Mermaid, or as JSON. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use crate::base::name::Platform;
use crate::base::safe_text::is_unsafe;
use crate::manifest::Workspace;
use crate::manifest::workspace::{Origin, Unit, UnitId};

/// Version of the JSON format. The major version grows with incompatible changes.
const FORMAT_VERSION: &str = "1.0";

/// Images and their dependencies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Graph {
    /// Targets first, bases before their dependents; then images outside the manifest.
    pub nodes: Vec<GraphNode>,
    /// Edges from dependents to their dependencies, in the order of the nodes.
    pub edges: Vec<GraphEdge>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct GraphNode {
    /// ID for edges. An image outside the manifest may have the name of a target.
    pub id: String,
    /// `name:tag` of a target; outside the manifest, the reference as it is written.
    pub image: String,
    /// Origin of the image.
    pub kind: NodeKind,
    /// Platform of a target; images outside the manifest have none.
    pub platform: Option<Platform>,
}

/// Origin of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NodeKind {
    /// Built from a context.
    Build,
    /// Mirrored from a source.
    Mirror,
    /// Outside the manifest: a base, or the source of a mirror.
    External,
}

/// Dependency of one image on another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct GraphEdge {
    /// ID of the dependent.
    pub from: String,
    /// ID of the dependency.
    pub to: String,
}

impl Graph {
    /// Returns the graph of the selected targets with all their dependencies.
    pub(crate) fn of(workspace: &Workspace, is_selected: impl Fn(&Unit) -> bool) -> Self {
        let units = &workspace.units;
        let mut shown: HashSet<UnitId> = HashSet::new();
        // Dependencies stand before their dependents: one pass from the end finds all.
        for (index, unit) in units.iter().enumerate().rev() {
            if shown.contains(&UnitId(index)) || is_selected(unit) {
                shown.insert(UnitId(index));
                shown.extend(unit.needs.iter().copied());
            }
        }
        let mut graph = Self::default();
        let mut externals = BTreeMap::new();
        for (index, unit) in units.iter().enumerate() {
            if !shown.contains(&UnitId(index)) {
                continue;
            }
            let (image, platform) = (name(unit), Some(unit.platform));
            let (kind, sources) = sources(unit);
            let mut targets = HashSet::new();
            let mut edge = |to: String| {
                // A Dockerfile may name a base twice.
                if targets.insert(to.clone()) {
                    graph.edges.push(GraphEdge { from: image.clone(), to });
                }
            };
            unit.needs.iter().for_each(|&need| edge(name(workspace.unit(need))));
            for source in sources {
                let id = format!("external {source}");
                edge(id.clone());
                externals.insert(id, source);
            }
            graph.nodes.push(GraphNode { id: image.clone(), image, kind, platform });
        }
        let externals = externals.into_iter().map(|(id, image)| GraphNode {
            id,
            image: image.to_owned(),
            kind: NodeKind::External,
            platform: None,
        });
        graph.nodes.extend(externals);
        graph
    }

    /// Returns the graph in the DOT language of Graphviz.
    pub(crate) fn dot(&self) -> String {
        let mut text =
            "digraph imgplan {\n  rankdir = \"LR\"\n  node [shape = \"box\"]\n".to_owned();
        for GraphNode { id, image, kind, platform } in &self.nodes {
            let style = match kind {
                NodeKind::Build => "",
                NodeKind::Mirror => ", style = \"rounded\"",
                NodeKind::External => ", style = \"dashed\"",
            };
            let label = match platform {
                Some(platform) => format!("{image}\n{platform}"),
                None => image.clone(),
            };
            let (id, label) = (in_dot(id), in_dot(&label));
            let _ = writeln!(text, "  {id} [label = {label}{style}]");
        }
        for GraphEdge { from, to } in &self.edges {
            let _ = writeln!(text, "  {} -> {}", in_dot(from), in_dot(to));
        }
        text.push('}');
        text
    }

    /// Returns the graph in the language of Mermaid, which most code hosts draw in Markdown.
    pub(crate) fn mermaid(&self) -> String {
        let ids: HashMap<&str, String> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (node.id.as_str(), format!("n{index}")))
            .collect();
        let id = |node: &str| ids.get(node).map(String::as_str).unwrap_or_default();
        let mut text = "flowchart LR\n".to_owned();
        for node in &self.nodes {
            let (id, label) = (id(&node.id), in_mermaid(&node.image));
            let _ = match (node.kind, node.platform) {
                (NodeKind::Build, Some(it)) => writeln!(text, "  {id}[\"{label}<br>{it}\"]"),
                (NodeKind::Mirror, Some(it)) => writeln!(text, "  {id}(\"{label}<br>{it}\")"),
                _ => writeln!(text, "  {id}[\"{label}\"]:::external"),
            };
        }
        for GraphEdge { from, to } in &self.edges {
            let _ = writeln!(text, "  {} --> {}", id(from), id(to));
        }
        text.push_str("  classDef external stroke-dasharray: 5 5");
        text
    }

    /// Returns the graph as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        json!({ "format_version": FORMAT_VERSION, "nodes": self.nodes, "edges": self.edges })
    }
}

/// Returns the `name:tag` of a target. A tag that contains the fingerprint is known only after
/// planning, so it is returned as the manifest has it.
fn name(unit: &Unit) -> String {
    match &unit.content_tag {
        Some(tag) => format!("{}:{tag}", unit.key.name),
        None => unit.key.to_string(),
    }
}

/// Returns the origin of a target, and the images outside the manifest that it uses.
fn sources(unit: &Unit) -> (NodeKind, Vec<&str>) {
    match &unit.origin {
        Origin::Build(build) => {
            (NodeKind::Build, build.externals.iter().map(|base| base.image.as_str()).collect())
        }
        Origin::Mirror(source) => (NodeKind::Mirror, vec![source.as_str()]),
    }
}

/// Quotes an ID for the DOT language, with line ends as `\\n`.
fn in_dot(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if is_unsafe(c) => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Escapes a label for Mermaid: characters that end it or start markup are written as numbers.
fn in_mermaid(text: &str) -> String {
    let mut quoted = String::new();
    for c in text.chars() {
        match c {
            '"' | '#' | '&' | '<' | '>' | '`' | '\\' | '[' | ']' | '{' | '}' => {
                let _ = write!(quoted, "#{};", u32::from(c));
            }
            c if is_unsafe(c) => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, kind: NodeKind) -> GraphNode {
        let platform = (kind != NodeKind::External).then_some(Platform::Amd64);
        let image = id.trim_start_matches("external ").to_owned();
        GraphNode { id: id.to_owned(), image, kind, platform }
    }

    /// References come from Dockerfiles, which may contain anything.
    #[test]
    fn special_characters_are_escaped() {
        let reference = "external a\"b\\c]<d>\n#e&`f";
        let graph = Graph {
            nodes: vec![
                node("api:{fingerprint}", NodeKind::Build),
                node("redis:7", NodeKind::Mirror),
                node(reference, NodeKind::External),
            ],
            edges: vec![GraphEdge {
                from: "api:{fingerprint}".to_owned(),
                to: reference.to_owned(),
            }],
        };
        insta::assert_snapshot!(graph.dot(), @r#"
        digraph imgplan {
          rankdir = "LR"
          node [shape = "box"]
          "api:{fingerprint}" [label = "api:{fingerprint}\nlinux/amd64"]
          "redis:7" [label = "redis:7\nlinux/amd64", style = "rounded"]
          "external a\"b\\c]<d>\n#e&`f" [label = "a\"b\\c]<d>\n#e&`f", style = "dashed"]
          "api:{fingerprint}" -> "external a\"b\\c]<d>\n#e&`f"
        }
        "#);
        insta::assert_snapshot!(graph.mermaid(), @r#"
        flowchart LR
          n0["api:#123;fingerprint#125;<br>linux/amd64"]
          n1("redis:7<br>linux/amd64")
          n2["a#34;b#92;c#93;#60;d#62; #35;e#38;#96;f"]:::external
          n0 --> n2
          classDef external stroke-dasharray: 5 5
        "#);
        let json = graph.json();
        assert_eq!(json["nodes"][2]["id"], reference);
        assert_eq!(json["edges"][0]["to"], reference);
        assert_eq!(json["nodes"][2]["platform"], serde_json::Value::Null);
    }
}
