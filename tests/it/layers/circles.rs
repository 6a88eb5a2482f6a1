//! Finds files that import each other in a circle, by the paths that they name. Re-exports are
//! followed to the file that defines the name.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::scan::Source;

/// The modules of the crate with their files and re-exports.
struct Modules<'a> {
    files: BTreeMap<Vec<String>, &'a Source>,
    /// The paths that a module re-exports, by the name that they get there.
    exports: BTreeMap<Vec<String>, BTreeMap<String, Vec<String>>>,
}

/// Every circle of files, each as a text with the imports that form it.
pub(super) fn circles(sources: &[Source]) -> Vec<String> {
    let files = sources.iter().map(|source| (source.module(), source)).collect();
    let mut modules = Modules { files, exports: BTreeMap::new() };
    for source in sources {
        let exports = source.imports().into_iter().filter(|import| import.public);
        let exports = exports.map(|import| (import.name, import.path)).collect();
        modules.exports.insert(source.module(), exports);
    }
    let mut graph = DiGraph::<&str, ()>::new();
    let nodes: BTreeMap<&str, NodeIndex> = sources
        .iter()
        .map(|source| (source.path.as_str(), graph.add_node(source.path.as_str())))
        .collect();
    let mut reasons = BTreeMap::<(&str, &str), BTreeSet<String>>::new();
    for source in sources {
        for path in source.uses() {
            let Some(target) = modules.file_of(&path, 0) else { continue };
            if target.path != source.path {
                graph.add_edge(nodes[source.path.as_str()], nodes[target.path.as_str()], ());
                let edge = (source.path.as_str(), target.path.as_str());
                reasons.entry(edge).or_default().insert(path.join("::"));
            }
        }
    }
    let circles = tarjan_scc(&graph).into_iter().filter(|circle| circle.len() > 1);
    circles
        .map(|circle| {
            let circle: Vec<&str> = circle.into_iter().map(|node| graph[node]).collect();
            let inside =
                |edge: &&(&str, &str)| circle.contains(&edge.0) && circle.contains(&edge.1);
            let edges = reasons.keys().filter(inside).map(|edge| {
                let names: Vec<&str> = reasons[edge].iter().map(String::as_str).collect();
                format!("  {} -> {}: {}", edge.0, edge.1, names.join(", "))
            });
            format!("a circle of {} files:\n{}", circle.len(), edges.collect::<Vec<_>>().join("\n"))
        })
        .collect()
}

impl<'a> Modules<'a> {
    /// The file that defines what a path names. `None` for other crates.
    fn file_of(&self, path: &[String], depth: usize) -> Option<&'a Source> {
        let lengths = (0..=path.len()).rev();
        let module =
            lengths.map(|length| &path[..length]).find(|part| self.files.contains_key(*part))?;
        let name = path.get(module.len());
        let export = name.and_then(|name| self.exports.get(module)?.get(name));
        match export {
            // A name that is re-exported under its own path would lead here again.
            Some(export) if depth < 8 && export.as_slice() != path => {
                let rest = &path[module.len() + 1..];
                self.file_of(&[export.as_slice(), rest].concat(), depth + 1)
            }
            _ => self.files.get(module).copied(),
        }
    }
}

#[test]
fn circles_are_found() {
    let read = |files: &[(&str, &str)]| -> Vec<Source> {
        files.iter().map(|(path, text)| Source::read(path, text)).collect()
    };
    let line = [
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a/mod.rs", "mod x; mod y; pub use x::X; pub(crate) use self::y::{Y as Z, W};"),
        ("src/a/x.rs", "pub struct X;"),
        ("src/a/y.rs", "use super::X; fn f() { serde::x() }"),
        ("src/b.rs", "use crate::a::Z; fn g() { crate::a::y::f() }"),
    ];
    assert_eq!(circles(&read(&line)), [""; 0]);
    for (path, text, expected) in [
        ("src/a/x.rs", "use super::y::f;", "src/a/x.rs -> src/a/y.rs: a::y::f"),
        ("src/a/x.rs", "use crate::a::Z;", "src/a/x.rs -> src/a/y.rs: a::Z"),
        ("src/a/x.rs", "fn f() { super::W::new() }", "src/a/x.rs -> src/a/y.rs: a::W"),
        ("src/a/x.rs", "use crate::b::g;", "src/a/x.rs -> src/b.rs: b::g"),
        ("src/a/mod.rs", "mod x; mod y; fn f() { y::f() } struct X;", "src/a/mod.rs -> src/a/y.rs"),
    ] {
        let mut files = line;
        files.iter_mut().find(|file| file.0 == path).unwrap().1 = text;
        let circles = circles(&read(&files));
        assert_eq!(circles.len(), 1, "{path}: {text}: {circles:?}");
        assert!(circles[0].contains(expected), "{circles:?} has no {expected:?}");
    }
}
