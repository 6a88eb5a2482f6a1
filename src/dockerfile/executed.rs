//! Finds the platforms on which a build runs commands. Pure.

use std::collections::BTreeMap;

use super::instruction::Instruction;
use super::model::Dockerfile;
use super::platform::ReferencePlatform;
use super::reach::BuildReach;
use super::resolve::StageBases;
use super::variables::BuildValues;
use crate::base::name::Platform;

impl Dockerfile {
    /// Returns the platforms of the needed stages that run a command, each once: the machine that
    /// builds must be able to run programs of all of them. Triggers of images from outside of the
    /// file are not known.
    pub(crate) fn run_platforms(
        &self,
        reach: &BuildReach,
        platform: Platform,
    ) -> Vec<ReferencePlatform> {
        let args = BTreeMap::new();
        let build = BuildValues { args: &args, target: None, platform, builder: platform };
        let bases = StageBases::new(self, build);
        let mut platforms = Vec::new();
        for &index in &reach.stages {
            if !self.runs_command(&bases, index) {
                continue;
            }
            let mut root = index;
            while let Some(parent) = bases.parents[root] {
                root = parent;
            }
            // A `--platform` without a value is an error of the reference.
            let on = bases.platform_of(self, &self.stages[root], platform);
            let on = on.unwrap_or(ReferencePlatform::Unit);
            if !platforms.contains(&on) {
                platforms.push(on);
            }
        }
        platforms
    }

    /// Returns true if a stage has a `RUN`, or if its base is a stage with a trigger that is one.
    fn runs_command(&self, bases: &StageBases, index: usize) -> bool {
        let own = &self.stages[index].instructions;
        let is_run = |instruction: &Instruction| matches!(instruction, Instruction::Run { .. });
        let is_trigger = |instruction: &Instruction| matches!(instruction, Instruction::Onbuild(trigger) if is_run(trigger));
        let parent = bases.parents[index].map(|parent| &self.stages[parent].instructions);
        own.iter().any(is_run) || parent.is_some_and(|parent| parent.iter().any(is_trigger))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::ReachRequest;

    #[test]
    fn commands_run_on_the_platform_of_their_stage() {
        use ReferencePlatform::{Builder, Fixed, Unit};
        let table = [
            ("FROM a\nCOPY x /\n", vec![]),
            ("FROM a\nRUN x\n", vec![Unit]),
            ("FROM scratch AS a\nRUN x\nFROM scratch\n", vec![]),
            (
                "FROM --platform=$BUILDPLATFORM a AS b\nRUN x\nFROM c\nCOPY --from=b /x /\n",
                vec![Builder],
            ),
            (
                "FROM --platform=linux/amd64 a AS b\nFROM b AS c\nRUN x\nFROM c\nRUN y\n",
                vec![Fixed(Platform::Amd64)],
            ),
            ("FROM a AS b\nONBUILD RUN x\nFROM b\n", vec![Unit]),
            ("FROM a\nONBUILD RUN x\n", vec![]),
        ];
        for (text, expected) in table {
            let file = Dockerfile::parse(text).unwrap();
            let reach = file.reach(&ReachRequest::new(Platform::Arm64)).unwrap();
            assert_eq!(file.run_platforms(&reach, Platform::Arm64), expected, "{text}");
        }
    }
}
