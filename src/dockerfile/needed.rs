//! Computes the digest of the parts of a Dockerfile that decide what a build makes. Pure.

use std::collections::BTreeSet;

use super::instruction::{Instruction, Stage};
use super::model::Dockerfile;
use crate::base::digest::{Digest, FieldHasher};

impl Dockerfile {
    /// Returns the digest of these stages, which a build needs, and of the directives and global
    /// ARGs that count for them. Comments and other stages do not change it.
    ///
    /// ```
    /// use imgplan::test_support::dockerfile::Dockerfile;
    ///
    /// let digest = |text: &str| Dockerfile::parse(text).unwrap().digest_of(&[1].into());
    /// let with_comments = digest("FROM a AS test\n# of the test\nFROM b\n# of the image\n");
    /// assert_eq!(digest("FROM c AS test\nFROM b\n"), with_comments);
    /// assert_ne!(digest("FROM a AS test\nFROM c\n"), with_comments);
    /// ```
    pub fn digest_of(&self, stages: &BTreeSet<usize>) -> Digest {
        let needed = || stages.iter().filter_map(|&index| Some((index, self.stages.get(index)?)));
        let mut hasher = FieldHasher::new("dockerfile");
        let mut escape = [0; 4];
        hasher.field(self.escape.encode_utf8(&mut escape).as_bytes());
        hasher.field(self.syntax.as_deref().unwrap_or_default().as_bytes());
        for global in self.globals_of(stages) {
            hasher.field(self.text[global].as_bytes());
        }
        // An index counts all stages, so what it means depends on the stages before.
        let has_indexes = needed().any(|(_, stage)| stage.copies_by_index());
        for (index, stage) in needed() {
            hasher.field(stage.digest.as_bytes());
            if has_indexes {
                hasher.field(&(index as u64).to_le_bytes());
            }
        }
        hasher.finish()
    }

    /// Returns the byte ranges of the global ARGs that these stages may use, and that such ARGs may
    /// use in turn.
    fn globals_of(&self, stages: &BTreeSet<usize>) -> Vec<std::ops::Range<usize>> {
        let spans = stages.iter().filter_map(|&index| self.stages.get(index));
        let mut texts: Vec<&str> = spans.map(|stage| &self.text[stage.span.clone()]).collect();
        let mut used = Vec::new();
        for global in self.globals.iter().rev() {
            if texts.iter().any(|text| text.contains(&global.name)) {
                texts.extend(global.value.as_deref());
                used.push(global.span.clone());
            }
        }
        used.reverse();
        used
    }
}

impl Stage {
    fn copies_by_index(&self) -> bool {
        self.instructions.iter().any(|instruction| {
            let instruction = match instruction {
                Instruction::Onbuild(trigger) => trigger,
                instruction => instruction,
            };
            let Instruction::Copy(copy) = instruction else { return false };
            copy.from.as_ref().is_some_and(|from| from.value.parse::<i64>().is_ok())
        })
    }
}
