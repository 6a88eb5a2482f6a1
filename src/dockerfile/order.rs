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
use super::resolve::{NameTarget, SCRATCH, StageBases};
use crate::base::name::Platform;

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

    /// Returns an error for each copy and mount from a stage that is not built before, in a build
    /// with these arguments, this target and this platform. A wrong argument or target gives none:
    /// [`lowered`](Self::lowered) reports it.
    pub fn order_errors(
        &self,
        args: &BTreeMap<String, String>,
        target: Option<&str>,
        platform: Platform,
    ) -> Vec<DockerfileError> {
        if !self.may_be_out_of_order() {
            return Vec::new();
        }
        // The arguments choose the bases, but no stage to copy from: that is a literal.
        let (Ok(with_args), Ok(target)) = (self.lowered(args, None), self.target_index(target))
        else {
            return Vec::new();
        };
        let parents = StageBases::new(&with_args, platform).parents;
        let needed = self.needed_stages(&parents, target);
        let mut errors = Vec::new();
        for index in needed {
            for (kind, name) in self.names_used(&parents, index) {
                if let NameTarget::Stage(used) = self.resolve_name(kind, &name.value)
                    && used >= index
                {
                    errors.push(not_built_before(name));
                }
            }
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

    /// Returns the stages that a build of the stage `target`, or of the last one, needs. `parents` has
    /// for each stage the stage that it is based on.
    pub(super) fn needed_stages(
        &self,
        parents: &[Option<usize>],
        target: Option<usize>,
    ) -> BTreeSet<usize> {
        let target = target.unwrap_or(self.stages.len().saturating_sub(1));
        reachable(target, |index| {
            let names = self.names_used(parents, index);
            let copied = names.filter_map(|(kind, name)| self.stage_of(kind, name));
            copied.chain(parents[index]).collect()
        })
    }

    /// Returns the names after `from=` of the instructions that a stage runs: the triggers of the
    /// stage that it is based on, and its own.
    fn names_used(
        &self,
        parents: &[Option<usize>],
        index: usize,
    ) -> impl Iterator<Item = (ReferenceKind, &SpannedText)> {
        let triggering = parents[index].into_iter().flat_map(|parent| {
            self.stages[parent].instructions.iter().filter_map(|instruction| match instruction {
                Instruction::Onbuild(trigger) => Some(&**trigger),
                _ => None,
            })
        });
        let instructions = triggering.chain(&self.stages[index].instructions);
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

    /// Returns false if every copy and mount is from an earlier stage, as in nearly all files.
    fn may_be_out_of_order(&self) -> bool {
        let is_trigger = |instruction: &Instruction| matches!(instruction, Instruction::Onbuild(_));
        self.stages.iter().enumerate().any(|(index, stage)| {
            stage.instructions.iter().any(is_trigger)
                || self.sources_of(index).iter().any(|&used| used >= index)
        })
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
