//! Draws what needs what: for Graphviz, for Mermaid, or as data. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use crate::base::name::Platform;
use crate::manifest::Workspace;
use crate::manifest::workspace::{Origin, Unit, UnitId};

/// The version of the JSON: the major grows when a reader could be misled.
const FORMAT_VERSION: &str = "1.0";

/// Images, and what each needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// Units first, bases before what is built on them, then what is outside of the manifest.
    pub nodes: Vec<Node>,
    /// From what needs something to what it needs, in the order of the nodes.
    pub edges: Vec<Edge>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// What edges call it: an image outside of the manifest may have the name of one in it.
    pub id: String,
    /// Its `name:tag`; of one outside of the manifest, the reference as it is written.
    pub image: String,
    /// How it comes to be.
    pub kind: NodeKind,
    /// The platform that it is made for; what is outside of the manifest has none.
    pub platform: Option<Platform>,
}

/// How an image comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// It is built.
    Build,
    /// It is mirrored.
    Mirror,
    /// It is there: a base that is not of the manifest, or a mirror's source.
    External,
}

/// That one image needs another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The ID of the one that needs.
    pub from: String,
    /// The ID of the one that is needed.
    pub to: String,
}

impl Graph {
    /// The units that are wanted, all that they need, and what these are made from.
    pub fn of(workspace: &Workspace, wanted: impl Fn(&Unit) -> bool) -> Self {
        let units = &workspace.units;
        let mut shown: HashSet<UnitId> = HashSet::new();
        // What a unit needs comes before it: one pass from the end finds all.
        for (index, unit) in units.iter().enumerate().rev() {
            if shown.contains(&UnitId(index)) || wanted(unit) {
                shown.insert(UnitId(index));
                shown.extend(unit.needs.iter().copied());
            }
        }
        let mut graph = Self::default();
        let mut outside = BTreeMap::new();
        for (index, unit) in units.iter().enumerate() {
            if !shown.contains(&UnitId(index)) {
                continue;
            }
            let (image, platform) = (name(unit), Some(unit.platform));
            let (kind, sources) = sources(unit);
            let mut ends = HashSet::new();
            let mut edge = |to: String| {
                // A Dockerfile may name a base twice.
                if ends.insert(to.clone()) {
                    graph.edges.push(Edge { from: image.clone(), to });
                }
            };
            unit.needs.iter().for_each(|&need| edge(name(workspace.unit(need))));
            for source in sources {
                let id = format!("external {source}");
                edge(id.clone());
                outside.insert(id, source);
            }
            graph.nodes.push(Node { id: image.clone(), image, kind, platform });
        }
        let outside = outside.into_iter().map(|(id, image)| Node {
            id,
            image: image.to_owned(),
            kind: NodeKind::External,
            platform: None,
        });
        graph.nodes.extend(outside);
        graph
    }

    /// For Graphviz: `dot -Tsvg`.
    pub fn dot(&self) -> String {
        let mut text =
            "digraph imgplan {\n  rankdir = \"LR\"\n  node [shape = \"box\"]\n".to_owned();
        for Node { id, image, kind, platform } in &self.nodes {
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
        for Edge { from, to } in &self.edges {
            let _ = writeln!(text, "  {} -> {}", in_dot(from), in_dot(to));
        }
        text.push('}');
        text
    }

    /// For Mermaid, which Markdown on most code hosts shows as a picture.
    pub fn mermaid(&self) -> String {
        let ids: HashMap<&str, String> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (node.id.as_str(), format!("n{index}")))
            .collect();
        let id = |of: &str| ids.get(of).map(String::as_str).unwrap_or_default();
        let mut text = "flowchart LR\n".to_owned();
        for node in &self.nodes {
            let (id, label) = (id(&node.id), in_mermaid(&node.image));
            let _ = match (node.kind, node.platform) {
                (NodeKind::Build, Some(it)) => writeln!(text, "  {id}[\"{label}<br>{it}\"]"),
                (NodeKind::Mirror, Some(it)) => writeln!(text, "  {id}(\"{label}<br>{it}\")"),
                _ => writeln!(text, "  {id}[\"{label}\"]:::external"),
            };
        }
        for Edge { from, to } in &self.edges {
            let _ = writeln!(text, "  {} --> {}", id(from), id(to));
        }
        text.push_str("  classDef external stroke-dasharray: 5 5");
        text
    }

    /// As data.
    pub fn json(&self) -> serde_json::Value {
        json!({ "format_version": FORMAT_VERSION, "nodes": self.nodes, "edges": self.edges })
    }
}

/// What a unit is called; where its tag is not known before it is planned, as the manifest has it.
fn name(unit: &Unit) -> String {
    match &unit.content_tag {
        Some(tag) => format!("{}:{tag}", unit.key.name),
        None => unit.key.to_string(),
    }
}

/// How a unit comes to be, and what it is made from that is not of the manifest.
fn sources(unit: &Unit) -> (NodeKind, Vec<&str>) {
    match &unit.origin {
        Origin::Build(build) => {
            (NodeKind::Build, build.externals.iter().map(|base| base.image.as_str()).collect())
        }
        Origin::Mirror(source) => (NodeKind::Mirror, vec![source.as_str()]),
    }
}

/// A quoted ID of the DOT language. A line's end is written as the two characters that mean it.
fn in_dot(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A label of Mermaid: what could end it or be taken for markup is written as its number.
fn in_mermaid(text: &str) -> String {
    let mut quoted = String::new();
    for c in text.chars() {
        match c {
            '"' | '#' | '&' | '<' | '>' | '`' | '\\' | '[' | ']' | '{' | '}' => {
                let _ = write!(quoted, "#{};", u32::from(c));
            }
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, kind: NodeKind) -> Node {
        let platform = (kind != NodeKind::External).then_some(Platform::Amd64);
        let image = id.trim_start_matches("external ").to_owned();
        Node { id: id.to_owned(), image, kind, platform }
    }

    /// References come from Dockerfiles, which may say anything.
    #[test]
    fn odd_names_stay_names() {
        let odd = "external a\"b\\c]<d>\n#e&`f";
        let graph = Graph {
            nodes: vec![
                node("api:{fingerprint}", NodeKind::Build),
                node("redis:7", NodeKind::Mirror),
                node(odd, NodeKind::External),
            ],
            edges: vec![Edge { from: "api:{fingerprint}".to_owned(), to: odd.to_owned() }],
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
        assert_eq!(json["nodes"][2]["id"], odd);
        assert_eq!(json["edges"][0]["to"], odd);
        assert_eq!(json["nodes"][2]["platform"], serde_json::Value::Null);
    }
}
