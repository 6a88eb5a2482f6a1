//! Orders units so that bases come first, and finds dependency cycles. Pure.

use std::collections::BTreeSet;

use petgraph::algo::{kosaraju_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::workspace::{Origin, Unit, UnitId};
use crate::base::span::{Problem, Span};

/// A dependency of one unit on another, with the span that declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dependency {
    pub(super) dependent: usize,
    pub(super) base: usize,
    pub(super) span: Span,
}

/// Returns the length of the longest dependency chain below each unit. Fails with one cycle for
/// each set of units that depend on one another.
pub(super) fn depths(
    units: usize,
    edges: &[Dependency],
) -> Result<Vec<usize>, Vec<Vec<Dependency>>> {
    let mut graph: DiGraph<(), &Dependency> = DiGraph::with_capacity(units, edges.len());
    for _ in 0..units {
        graph.add_node(());
    }
    for edge in edges {
        graph.add_edge(NodeIndex::new(edge.base), NodeIndex::new(edge.dependent), edge);
    }
    let Ok(order) = toposort(&graph, None) else { return Err(cycles(&graph)) };
    let mut depths = vec![0; units];
    for node in order {
        for edge in graph.edges(node) {
            let dependent = edge.target().index();
            depths[dependent] = depths[dependent].max(depths[node.index()] + 1);
        }
    }
    Ok(depths)
}

/// Removes the units that are held, sorts the others by depth and key, and updates all IDs to the new
/// order. Dependents of held units are held.
pub(super) fn in_order(
    mut units: Vec<Unit>,
    edges: &[Dependency],
    depths: &[usize],
    is_held: &[bool],
) -> Vec<Unit> {
    let mut order: Vec<usize> = (0..units.len()).collect();
    let rank = |unit: usize| (is_held[unit], depths[unit], &units[unit].key);
    order.sort_by(|&a, &b| rank(a).cmp(&rank(b)));
    let kept = is_held.iter().filter(|held| !**held).count();
    let mut new_ids = vec![UnitId(0); units.len()];
    for (new, &old) in order.iter().enumerate() {
        new_ids[old] = UnitId(new);
    }
    for edge in edges {
        units[edge.dependent].needs.push(new_ids[edge.base]);
    }
    for (unit, &depth) in units.iter_mut().zip(depths) {
        unit.depth = depth;
        unit.needs.sort_unstable();
        unit.needs.dedup();
        if let Origin::Build(build) = &mut unit.origin {
            for base in &mut build.bases {
                base.unit = new_ids[base.unit.0];
            }
        }
    }
    // In place, because a second list of 50,000 units takes 40 MB.
    for at in 0..units.len() {
        while new_ids[at].0 != at {
            let id = new_ids[at].0;
            units.swap(at, id);
            new_ids.swap(at, id);
        }
    }
    units.truncate(kept);
    units
}

/// Returns one cycle of each strongly connected component, as its edges in order.
fn cycles(graph: &DiGraph<(), &Dependency>) -> Vec<Vec<Dependency>> {
    kosaraju_scc(graph)
        .into_iter()
        .filter_map(|component| {
            let start = *component.iter().min()?;
            let inside: BTreeSet<NodeIndex> = component.into_iter().collect();
            cycle_through(graph, start, &inside)
        })
        .collect()
}

/// Searches breadth first, so that the cycle shown is the shortest through `start`.
fn cycle_through(
    graph: &DiGraph<(), &Dependency>,
    start: NodeIndex,
    inside: &BTreeSet<NodeIndex>,
) -> Option<Vec<Dependency>> {
    let mut reached_by: Vec<Option<&Dependency>> = vec![None; graph.node_count()];
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for edge in graph.edges(node).filter(|edge| inside.contains(&edge.target())) {
            let target = edge.target();
            if target == start {
                let mut path = vec![(*edge.weight()).clone()];
                let mut at = node;
                while at != start {
                    let edge = reached_by[at.index()]?;
                    path.push(edge.clone());
                    at = NodeIndex::new(edge.base);
                }
                return Some(path);
            }
            if reached_by[target.index()].is_none() {
                reached_by[target.index()] = Some(edge.weight());
                queue.push_back(target);
            }
        }
    }
    None
}

/// Maximum number of edges of a cycle that are shown.
const MAX_EDGES_SHOWN: usize = 12;

/// Describes a cycle, with a label on each of its edges.
pub(super) fn cycle_problem(cycle: &[Dependency], name: &dyn Fn(usize) -> String) -> Problem {
    let shown = &cycle[..cycle.len().min(MAX_EDGES_SHOWN)];
    let mut names: Vec<String> = shown.iter().map(|edge| name(edge.dependent)).collect();
    if let more @ 1.. = cycle.len() - shown.len() {
        names.push(format!("{more} more"));
    }
    names.extend(cycle.first().map(|edge| name(edge.dependent)));
    let mut labels = shown.iter().map(|edge| {
        let text = format!("{} depends on {}", name(edge.dependent), name(edge.base));
        (edge.span, text)
    });
    let message = format!("dependency cycle: {}", names.join(" -> "));
    let mut problem = match labels.next() {
        Some((span, text)) => Problem::new(message, span, text),
        None => Problem { message, help: None, labels: Vec::new(), warning: false },
    };
    for (span, text) in labels {
        problem = problem.and(span, text);
    }
    problem.help("remove one of these dependencies")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edge(dependent: usize, base: usize) -> Dependency {
        Dependency { dependent, base, span: Span::new(dependent * 10 + base, 1) }
    }

    #[test]
    fn depth_is_the_longest_chain() {
        assert_eq!(depths(4, &[edge(1, 0), edge(2, 1), edge(2, 0)]), Ok(vec![0, 1, 2, 0]));
    }

    #[test]
    fn a_cycle_shows_each_dependency() {
        let cycles = depths(4, &[edge(0, 1), edge(1, 2), edge(2, 0), edge(3, 0)]).unwrap_err();
        assert_eq!(cycles.len(), 1);
        let problem = cycle_problem(&cycles[0], &|unit| format!("u{unit}"));
        assert_eq!(problem.labels.len(), 3);
        assert_eq!(problem.message, "dependency cycle: u0 -> u1 -> u2 -> u0");
        let self_cycle = depths(1, &[edge(0, 0)]).unwrap_err();
        assert_eq!(self_cycle[0].len(), 1);
    }

    proptest! {
        #[test]
        fn bases_have_a_smaller_depth(
            pairs in prop::collection::vec((0usize..12, 0usize..12), 0..40),
        ) {
            let edges: Vec<Dependency> = pairs.iter().map(|&(a, b)| edge(a, b)).collect();
            match depths(12, &edges) {
                Ok(depths) => for edge in &edges {
                    prop_assert!(depths[edge.base] < depths[edge.dependent]);
                },
                Err(cycles) => {
                    prop_assert!(!cycles.is_empty());
                    for cycle in cycles {
                        for (index, edge) in cycle.iter().enumerate() {
                            let next = &cycle[(index + 1) % cycle.len()];
                            prop_assert_eq!(edge.base, next.dependent);
                        }
                    }
                }
            }
        }
    }
}
