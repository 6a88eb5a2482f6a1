//! Lowers the arguments and the target of a build into its Dockerfile, because the service supports
//! neither.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostics::Diagnostics;
use super::files::{DockerfileSource, Files};
use super::model::{Defaults, Image};
use super::spanned::Spanned;
use super::unused::UnusedParts;
use crate::base::name::Platform;
use crate::base::span::Span;
use crate::dockerfile::{DockerfileError, LowerError, LowerSubject, ReachRequest};

/// Arguments and target of a build.
pub(super) struct Lowering<'a> {
    pub(super) args: BTreeMap<String, String>,
    /// Names of the arguments where the manifest sets them.
    names: BTreeMap<&'a str, Span>,
    pub(super) target: Option<&'a Spanned<String>>,
}

/// Returns the arguments and the target of a build, or `None` if one of them is rejected. Arguments
/// of the image are added to those of the defaults and override them.
pub(super) fn lowering<'a>(
    entry: &'a Image,
    defaults: Option<&'a Defaults>,
    diagnostics: &mut Diagnostics,
) -> Option<Lowering<'a>> {
    let errors = diagnostics.errors();
    let (mut args, mut names) = (BTreeMap::new(), BTreeMap::new());
    let default_args = defaults.and_then(|defaults| defaults.args.as_ref());
    let all = [default_args, entry.args.as_deref()].into_iter().flatten().flatten();
    for (name, value) in all {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_digit = |c: char| c.is_ascii_digit();
        if name.is_empty() || name.starts_with(is_digit) || !name.chars().all(is_word) {
            let message = format!("`{}` is not the name of an ARG", name.escape_debug());
            let help = "use letters, digits and `_`; start with a letter or `_`";
            diagnostics.error(message, name.span(), help);
        }
        args.insert(name.to_string(), value.to_string());
        names.insert(name.as_str(), name.span());
    }
    if let Some(target) = entry.target.as_ref().filter(|target| target.trim().is_empty()) {
        let help = "name a stage of the Dockerfile, or remove the key to build the last stage";
        diagnostics.error("a target cannot be empty", target.span(), help);
    }
    (diagnostics.errors() == errors).then_some(Lowering {
        args,
        names,
        target: entry.target.as_ref(),
    })
}

impl Lowering<'_> {
    /// Removes the arguments that the Dockerfile does not declare: they have no effect on the image.
    pub(super) fn remove_undeclared(
        &mut self,
        source: &DockerfileSource,
        unused: &mut UnusedParts,
        diagnostics: &Diagnostics,
    ) {
        let target = self.target.map(|target| target.as_str());
        for LowerError { subject, message, help } in source.parsed.unused_args(&self.args, target) {
            let LowerSubject::Arg(name) = subject else { continue };
            self.args.remove(&name);
            if let Some(span) = self.names.remove(name.as_str()) {
                unused.unused(span, (message, help), diagnostics);
            }
        }
        for span in self.names.values() {
            unused.used(*span);
        }
    }

    /// Returns where the manifest sets an argument or the target.
    fn span_of(&self, subject: &LowerSubject) -> Option<Span> {
        match subject {
            LowerSubject::Arg(name) => self.names.get(name.as_str()).copied(),
            LowerSubject::Target => self.target.map(Spanned::span),
        }
    }
}

/// Returns the Dockerfile to send. `span` is where the manifest names the Dockerfile. Images with
/// equal arguments and target share the result.
pub(super) fn lower(
    source: DockerfileSource,
    lowering: &Lowering<'_>,
    span: Span,
    files: &mut Files<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<DockerfileSource> {
    let args = &lowering.args;
    let target_name = lowering.target.map(|target| target.as_str());
    let suffix = match (args.is_empty(), target_name) {
        (true, None) => return Some(source),
        (false, None) => "with args",
        (true, Some(_)) => "with its target",
        (false, Some(_)) => "with args and target",
    };
    let key = (source.path.clone(), args.clone(), target_name.map(str::to_owned));
    if let Some(known) = files.lowered.get(&key) {
        return Some(known.clone());
    }
    match source.parsed.lowered(args, target_name) {
        Ok(parsed) => {
            let name = format!("{}, {suffix}", source.path.display());
            let start = files.sources.add(name, parsed.text());
            let lowered = DockerfileSource { path: source.path, parsed: Arc::new(parsed), start };
            files.lowered.insert(key, lowered.clone());
            Some(lowered)
        }
        Err(errors) => {
            for LowerError { subject, message, help } in errors {
                let span = lowering.span_of(&subject).unwrap_or(span);
                diagnostics.error(message, span, help);
            }
            None
        }
    }
}

/// Reports each problem for which Docker refuses the build on one of its platforms. `source` is the
/// Dockerfile as written.
pub(super) fn check_build(
    source: &DockerfileSource,
    lowering: &Lowering<'_>,
    platforms: &[Platform],
    diagnostics: &mut Diagnostics,
) {
    let target = lowering.target.map(|target| target.as_str());
    let mut reported: Vec<DockerfileError> = Vec::new();
    for &platform in platforms {
        let request = ReachRequest { args: &lowering.args, target, ..ReachRequest::new(platform) };
        // The lowering reports a target that does not exist.
        let Ok(reach) = source.parsed.reach(&request) else { continue };
        for error in reach.errors {
            if !reported.contains(&error) {
                reported.push(error.clone());
                diagnostics.push(source.problem(error));
            }
        }
    }
}
