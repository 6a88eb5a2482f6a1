//! The values of variables: of the global scope, and within one stage. Pure.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::instruction::Assignment;
use super::model::{Dockerfile, DockerfileError};
use super::shell::{Expansion, Shell, VariableValue};
use crate::base::name::Platform;

/// The values that a build gives the variables of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct BuildValues<'a> {
    pub(super) args: &'a BTreeMap<String, String>,
    /// The target as the build names it; `None` for the last stage.
    pub(super) target: Option<&'a str>,
    /// The platform of the unit.
    pub(super) platform: Platform,
    /// The platform of the machine that builds.
    pub(super) builder: Platform,
}

/// The variables of the global scope, which `FROM` sees.
#[derive(Debug)]
pub(super) struct GlobalVariables<'b> {
    build: BuildValues<'b>,
    /// The name of the last stage.
    last_stage: Option<&'b str>,
    /// The values of the global ARGs.
    values: HashMap<String, String>,
    /// The defaults that Docker cannot expand.
    pub(super) errors: Vec<DockerfileError>,
}

impl<'b> GlobalVariables<'b> {
    pub(super) fn new(file: &'b Dockerfile, build: BuildValues<'b>) -> Self {
        let last_stage = file.stages.last().and_then(|stage| stage.name.as_deref());
        let mut globals = Self { build, last_stage, values: HashMap::new(), errors: Vec::new() };
        for Assignment { name, value, span } in &file.globals {
            if let Some(value) = build.args.get(name) {
                globals.values.insert(name.clone(), value.clone());
                continue;
            }
            let Some(value) = value else { continue };
            // In a default, a variable without a value is empty.
            match globals.expand(file, value) {
                Ok(expansion) if !expansion.required_unset => {
                    globals.values.insert(name.clone(), expansion.text);
                }
                Ok(expansion) => {
                    let unset = expansion.unset.unwrap_or_default();
                    globals.errors.push(expansion_error(required(&unset), span.clone()));
                }
                Err(message) => globals.errors.push(expansion_error(message, span.clone())),
            }
        }
        globals
    }

    /// Expands a text in the global scope. Fails if the syntax is wrong.
    pub(super) fn expand(&self, file: &Dockerfile, text: &str) -> Result<Expansion, String> {
        let lookup = |name: &str| self.get(name).map_or(VariableValue::Unset, VariableValue::Set);
        Shell { escape: file.escape, keep_quotes: false, lookup: &lookup }.expand(text)
    }

    /// Returns the value of a variable: that of the last global ARG, or the one that BuildKit sets.
    fn get(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned().or_else(|| {
            let predefined = self.predefined(name)?;
            Some(self.build.args.get(name).cloned().unwrap_or(predefined))
        })
    }

    /// Returns the value that BuildKit derives from the platforms or the target.
    fn predefined(&self, name: &str) -> Option<String> {
        if name == "TARGETSTAGE" {
            return Some(self.build.target.or(self.last_stage).unwrap_or("default").to_owned());
        }
        let (platform, rest) = match name.strip_prefix("TARGET") {
            Some(rest) => (self.build.platform, rest),
            None => (self.build.builder, name.strip_prefix("BUILD")?),
        };
        match rest {
            "PLATFORM" => Some(platform.to_string()),
            "OS" => Some("linux".to_owned()),
            "ARCH" => Some(platform.arch().to_owned()),
            // The variant of arm64 is v8, which containerd drops when it normalizes a platform.
            "VARIANT" | "OSVERSION" => Some(String::new()),
            _ => None,
        }
    }
}

/// Returns the error of a text that Docker cannot expand.
pub(super) fn expansion_error(message: String, span: Range<usize>) -> DockerfileError {
    let help = "write variables as `$NAME`, `${NAME}` or `${NAME:-default}`";
    DockerfileError::new(message, help, span)
}

fn required(name: &str) -> String {
    format!("`{}` has no value, which `?` requires", name.escape_debug())
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

    /// Expands a text. Returns `None` if the value of a variable is not known. Fails if Docker cannot
    /// expand the text.
    pub(super) fn expand(&self, file: &Dockerfile, text: &str) -> Result<Option<String>, String> {
        let lookup = |name: &str| self.lookup(name);
        let shell = Shell { escape: file.escape, keep_quotes: false, lookup: &lookup };
        let expansion = shell.expand(text)?;
        match expansion.unset {
            _ if expansion.unknown.is_some() => Ok(None),
            unset if expansion.required_unset => Err(required(&unset.unwrap_or_default())),
            _ => Ok(Some(expansion.text)),
        }
    }

    /// Sets the variables that an `ENV` sets. All its values see the environment before it.
    pub(super) fn set_env(
        &mut self,
        file: &Dockerfile,
        assignments: &[Assignment],
        errors: &mut Vec<DockerfileError>,
    ) {
        let mut new = Vec::new();
        for Assignment { name, value, span } in assignments {
            let Some(value) = value else { continue };
            let expanded = self.expand(file, name).and_then(|name| {
                let value = self.expand(file, value)?;
                Ok(name.map(|name| (name, value)))
            });
            match expanded {
                Ok(assignment) => new.extend(assignment),
                Err(message) => errors.push(expansion_error(message, span.clone())),
            }
        }
        self.values.extend(new);
    }

    /// Sets the variables that an `ARG` of a stage sets. One without a value takes the global one; if
    /// there is none, it changes nothing.
    pub(super) fn set_args(
        &mut self,
        file: &Dockerfile,
        declared: &[Assignment],
        (globals, args): (&GlobalVariables<'_>, &BTreeMap<String, String>),
        errors: &mut Vec<DockerfileError>,
    ) {
        for Assignment { name, value, span } in declared {
            let value = match (args.get(name), value) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => match self.expand(file, default) {
                    Ok(value) => value,
                    Err(message) => {
                        errors.push(expansion_error(message, span.clone()));
                        None
                    }
                },
                (None, None) => match globals.get(name) {
                    Some(value) => Some(value),
                    None => continue,
                },
            };
            self.values.insert(name.clone(), value);
        }
    }
}
