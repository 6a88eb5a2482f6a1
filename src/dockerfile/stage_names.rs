//! Finds the stages of a Dockerfile by name. Pure.

use std::collections::HashMap;

use super::instruction::Stage;

/// The indexes of the stages by their names in lower case. A lookup does not depend on the number
/// of stages, so a file with very many stages is read in linear time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StageNames(HashMap<String, Vec<usize>>);

impl StageNames {
    pub(super) fn new(stages: &[Stage]) -> Self {
        let mut names: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, stage) in stages.iter().enumerate() {
            if let Some(name) = &stage.name {
                names.entry(name.to_ascii_lowercase()).or_default().push(index);
            }
        }
        Self(names)
    }

    /// Returns the index of the last stage with this name, in lower case only, among the first
    /// `visible` stages. A FROM finds stages so.
    pub(super) fn last_before(&self, name: &str, visible: usize) -> Option<usize> {
        self.last(name, visible).filter(|_| !name.contains(|c: char| c.is_ascii_uppercase()))
    }

    /// Returns the index of the last stage with this name, in any case, among the first `visible`
    /// stages.
    pub(super) fn last(&self, name: &str, visible: usize) -> Option<usize> {
        let indexes = self.0.get(&name.to_ascii_lowercase())?;
        indexes[..indexes.partition_point(|&index| index < visible)].last().copied()
    }
}
