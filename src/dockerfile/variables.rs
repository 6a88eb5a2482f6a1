//! The values of variables: of the global scope, and within one stage. Pure.

use std::collections::HashMap;

use super::instruction::{Assignment, Instruction};
use super::model::Dockerfile;
use super::shell::{Expansion, Shell, VariableValue};
use crate::base::name::Platform;

/// The variables of the global scope, which `FROM` sees.
#[derive(Debug)]
pub(super) struct GlobalVariables(HashMap<String, String>);

impl GlobalVariables {
    /// Returns the variables for a build of the platform `unit` on a machine of the platform
    /// `builder`.
    pub(super) fn new(file: &Dockerfile, unit: Platform, builder: Platform) -> Self {
        let mut globals = Self(predefined(unit, builder));
        // BuildKit builds the last stage, because nothing selects another one here.
        let stage = file.stages.last().and_then(|stage| stage.name.clone());
        let stage = stage.unwrap_or_else(|| "default".to_owned());
        globals.0.insert("TARGETSTAGE".to_owned(), stage);
        for Assignment { name, value, .. } in &file.globals {
            let Some(value) = value else { continue };
            // In a default, a variable without a value is empty.
            if let Ok(expansion) = globals.expand(file, value) {
                globals.0.insert(name.clone(), expansion.text);
            }
        }
        globals
    }

    /// Expands a text in the global scope. Fails if the syntax is wrong.
    pub(super) fn expand(&self, file: &Dockerfile, text: &str) -> Result<Expansion, String> {
        let lookup =
            |name: &str| self.0.get(name).cloned().map_or(VariableValue::Unset, VariableValue::Set);
        Shell { escape: file.escape, keep_quotes: false, lookup: &lookup }.expand(text)
    }
}

/// Returns the variables that BuildKit sets in the global scope from the platforms.
fn predefined(unit: Platform, builder: Platform) -> HashMap<String, String> {
    let mut args = HashMap::new();
    for (prefix, platform) in [("TARGET", unit), ("BUILD", builder)] {
        args.insert(format!("{prefix}PLATFORM"), platform.to_string());
        args.insert(format!("{prefix}OS"), "linux".to_owned());
        args.insert(format!("{prefix}ARCH"), platform.arch().to_owned());
        // The variant of arm64 is v8, which containerd drops when it normalizes a platform.
        args.insert(format!("{prefix}VARIANT"), String::new());
        args.insert(format!("{prefix}OSVERSION"), String::new());
    }
    args
}

/// The variables of a stage.
#[derive(Debug, Clone, Default)]
pub(super) struct StageVariables {
    /// The values; `None` if a variable has a value that is not known here.
    values: HashMap<String, Option<String>>,
    /// True if the base image, whose environment is not known here, may set other variables.
    unknown_base: bool,
}

impl StageVariables {
    /// Returns the variables at the start of a stage that is not based on another stage.
    pub(super) fn new(unknown_base: bool) -> Self {
        Self { values: HashMap::new(), unknown_base }
    }

    fn lookup(&self, name: &str) -> VariableValue {
        match self.values.get(name) {
            Some(Some(value)) => VariableValue::Set(value.clone()),
            Some(None) => VariableValue::Unknown,
            // BuildKit sets a PATH if the image has none.
            None if self.unknown_base || name == "PATH" => VariableValue::Unknown,
            None => VariableValue::Unset,
        }
    }

    /// Expands a text. Returns `None` if a variable is unknown or the syntax is wrong.
    pub(super) fn expand(&self, file: &Dockerfile, text: &str) -> Option<String> {
        let lookup = |name: &str| self.lookup(name);
        let shell = Shell { escape: file.escape, keep_quotes: false, lookup: &lookup };
        let expansion = shell.expand(text).ok()?;
        (expansion.unknown.is_none() && !expansion.required_unset).then_some(expansion.text)
    }

    /// Sets the variables that an `ENV` or `ARG` sets.
    pub(super) fn apply(
        &mut self,
        file: &Dockerfile,
        instruction: &Instruction,
        globals: &GlobalVariables,
    ) {
        match instruction {
            // All values of one ENV see the environment before it.
            Instruction::Env(assignments) => {
                let new: Vec<_> = assignments
                    .iter()
                    .filter_map(|Assignment { name, value, .. }| {
                        let value = value.as_ref()?;
                        Some((self.expand(file, name)?, self.expand(file, value)))
                    })
                    .collect();
                self.values.extend(new);
            }
            // An ARG without a value takes the global one; if there is none, it changes nothing.
            Instruction::Arg(args) => {
                for Assignment { name, value, .. } in args {
                    let value = match value {
                        Some(value) => self.expand(file, value),
                        None => match globals.0.get(name) {
                            Some(value) => Some(value.clone()),
                            None => continue,
                        },
                    };
                    self.values.insert(name.clone(), value);
                }
            }
            _ => {}
        }
    }
}
