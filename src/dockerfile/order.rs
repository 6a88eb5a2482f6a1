//! The stages that a build needs, and their order: a stage must be built before another copies from
//! it. Pure.
//!
//! As in BuildKit, a cycle and a number without a stage are errors wherever they are, but a copy
//! from a later stage is one only in a stage that the build needs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use petgraph::algo::kosaraju_scc;
use petgraph::{Directed, Graph};

use super::instruction::{Instruction, SpannedText};
use super::model::{Dockerfile, DockerfileError, ReferenceKind};
use super::reached::Trigger;
use super::resolve::{NameTarget, SCRATCH, StageBases};

impl Dockerfile {
    /// Reports each copy and mount from a stage that does not exist, or that needs its result.
    pub(super) fn check_stages(&self, errors: &mut Vec<DockerfileError>) {
        let cycle_of = self.cycle_numbers();
        for (index, stage) in self.stages.iter().enumerate() {
            for (kind, name) in stage.instructions.iter().flat_map(Instruction::source_names) {
                match self.resolve_name(kind, &name.value) {
                    // A cycle has at least one edge to a stage that does not come before.
                    NameTarget::Stage(used)
                        if used >= index && cycle_of[used] == cycle_of[index] =>
                    {
                        errors.push(not_built_before(name));
                    }
                    NameTarget::MissingStage => {
                        let message = format!("there is no stage {}", name.value);
                        errors.push(order_error(message, name));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Returns an error for each copy and mount of a needed stage from a stage that is not built
    /// before it. A trigger may copy from the stage that runs it.
    pub(super) fn order_errors(
        &self,
        bases: &StageBases<'_>,
        index: usize,
        outside: &BTreeMap<String, Vec<Trigger>>,
    ) -> Vec<DockerfileError> {
        let is_later = |(kind, name): &(ReferenceKind, &SpannedText)| {
            self.stage_of(*kind, name).is_some_and(|used| used > index)
        };
        let own = self.names_used(bases, index).filter(is_later);
        let mut errors: Vec<_> = own.map(|(_, name)| not_built_before(name)).collect();
        let from_outside = bases.outside_triggers(index, outside).iter();
        let from_outside = from_outside.flat_map(|trigger| trigger.0.source_names());
        for (_, name) in from_outside.filter(is_later) {
            let span = self.stages[index].base.span.clone();
            errors.push(not_built_before(&SpannedText { value: name.value.clone(), span }));
        }
        errors
    }

    /// Returns a replacement for each name after `from=` that means a stage after `last`. Without that
    /// stage, the name would mean an image, and a number nothing. The triggers of `last` stay as
    /// they are: they are part of its image, and other Dockerfiles resolve their names.
    pub(super) fn names_after(&self, last: Option<usize>) -> Vec<(Range<usize>, String)> {
        let Some(last) = last else { return Vec::new() };
        let names = self.stages.iter().take(last + 1).enumerate().flat_map(|(index, stage)| {
            stage.instructions.iter().flat_map(move |instruction| match instruction {
                Instruction::Onbuild(trigger) if index < last => trigger.source_names(),
                instruction => instruction.source_names(),
            })
        });
        names
            .filter(|(kind, name)| self.stage_of(*kind, name).is_some_and(|used| used > last))
            .map(|(_, name)| (name.span.clone(), SCRATCH.to_owned()))
            .collect()
    }

    /// Returns the stages that a build of the stage `target` needs.
    pub(super) fn needed_stages(
        &self,
        bases: &StageBases<'_>,
        target: usize,
        outside: &BTreeMap<String, Vec<Trigger>>,
    ) -> BTreeSet<usize> {
        reachable(target, |index| {
            let from_outside = bases.outside_triggers(index, outside).iter();
            let names = from_outside.flat_map(|trigger| trigger.0.source_names());
            let names = self.names_used(bases, index).chain(names);
            let copied = names.filter_map(|(kind, name)| self.stage_of(kind, name));
            copied.chain(bases.parents[index]).collect()
        })
    }

    /// Returns the names after `from=` of the instructions that a stage runs: the triggers of the
    /// stage that it is based on, and its own.
    fn names_used<'d>(
        &'d self,
        bases: &StageBases<'_>,
        index: usize,
    ) -> impl Iterator<Item = (ReferenceKind, &'d SpannedText)> + use<'d> {
        let instructions =
            self.triggers_of_base(bases, index).chain(&self.stages[index].instructions);
        instructions.flat_map(Instruction::source_names)
    }

    /// Returns a number for each stage. Two stages have the same number if each needs the result of
    /// the other. Takes linear time.
    fn cycle_numbers(&self) -> Vec<usize> {
        let edges = (0..self.stages.len())
            .flat_map(|index| self.sources_of(index).into_iter().map(move |used| (index, used)));
        let graph = Graph::<(), (), Directed, usize>::from_edges(edges);
        let mut numbers: Vec<usize> = (0..self.stages.len()).collect();
        for stages in kosaraju_scc(&graph) {
            let first = stages.first().map_or(0, |stage| stage.index());
            for stage in stages {
                numbers[stage.index()] = first;
            }
        }
        numbers
    }

    /// Returns the stages that the instructions of a stage copy from or mount.
    fn sources_of(&self, index: usize) -> Vec<usize> {
        let names = self.stages[index].instructions.iter().flat_map(Instruction::source_names);
        names.filter_map(|(kind, name)| self.stage_of(kind, name)).collect()
    }

    fn stage_of(&self, kind: ReferenceKind, name: &SpannedText) -> Option<usize> {
        match self.resolve_name(kind, &name.value) {
            NameTarget::Stage(index) => Some(index),
            _ => None,
        }
    }
}

/// Returns `start` and everything that it leads to.
fn reachable(start: usize, next: impl Fn(usize) -> Vec<usize>) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut unvisited = vec![start];
    while let Some(index) = unvisited.pop() {
        if reached.insert(index) {
            unvisited.extend(next(index));
        }
    }
    reached
}

fn not_built_before(name: &SpannedText) -> DockerfileError {
    order_error(format!("the stage `{}` is not built before this one", name.value), name)
}

fn order_error(message: String, name: &SpannedText) -> DockerfileError {
    let help = "use a stage that comes before this one, or an image";
    DockerfileError::new(message, help, name.span.clone())
}
