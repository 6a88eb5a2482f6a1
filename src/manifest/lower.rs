//! Lowers the arguments and the target of a build into its Dockerfile, because the service supports
//! neither.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostics::Diagnostics;
use super::files::{DockerfileSource, Files};
use super::model::Image;
use super::spanned::Spanned;
use crate::base::name::Platform;
use crate::base::span::Span;
use crate::dockerfile::{DockerfileError, LowerError, LowerSubject, ReachRequest};

/// Arguments and target of a build.
pub(super) struct Lowering<'a> {
    entry: &'a Image,
    pub(super) args: BTreeMap<String, String>,
    pub(super) target: Option<&'a Spanned<String>>,
}

/// Returns the arguments and the target of a build, or `None` if one of them is rejected.
pub(super) fn lowering<'a>(
    entry: &'a Image,
    diagnostics: &mut Diagnostics,
) -> Option<Lowering<'a>> {
    let errors = diagnostics.errors();
    let mut args = BTreeMap::new();
    for (name, value) in entry.args.iter().flat_map(|args| args.iter()) {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_digit = |c: char| c.is_ascii_digit();
        if name.is_empty() || name.starts_with(is_digit) || !name.chars().all(is_word) {
            let message = format!("`{}` is not the name of an ARG", name.escape_debug());
            let help = "use letters, digits and `_`; start with a letter or `_`";
            diagnostics.error(message, name.span(), help);
        }
        args.insert(name.to_string(), value.to_string());
    }
    if let Some(target) = entry.target.as_ref().filter(|target| target.trim().is_empty()) {
        let help = "name a stage of the Dockerfile, or remove the key to build the last stage";
        diagnostics.error("a target cannot be empty", target.span(), help);
    }
    (diagnostics.errors() == errors).then_some(Lowering {
        entry,
        args,
        target: entry.target.as_ref(),
    })
}

/// Returns the Dockerfile to send. `span` is where the manifest names the Dockerfile. Images with
/// equal arguments and target share the result. Removes unused arguments, with a warning for each.
pub(super) fn lower(
    source: DockerfileSource,
    lowering: &mut Lowering<'_>,
    span: Span,
    files: &mut Files<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<DockerfileSource> {
    let Lowering { entry, args, target } = lowering;
    let target_name = target.map(|target| target.as_str());
    for LowerError { subject, message, help } in source.parsed.unused_args(args, target_name) {
        diagnostics.warn(message, subject_span(&subject, entry, *target).unwrap_or(span), help);
        if let LowerSubject::Arg(name) = &subject {
            args.remove(name);
        }
    }
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
                let span = subject_span(&subject, entry, *target).unwrap_or(span);
                diagnostics.error(message, span, help);
            }
            None
        }
    }
}

/// Returns where the manifest sets an argument or the target.
fn subject_span(
    subject: &LowerSubject,
    entry: &Image,
    target: Option<&Spanned<String>>,
) -> Option<Span> {
    let mut names = entry.args.iter().flat_map(|args| args.iter()).map(|(name, _)| name);
    let subject = match subject {
        LowerSubject::Arg(arg) => names.find(|name| name.as_str() == arg),
        LowerSubject::Target => target,
    };
    subject.map(Spanned::span)
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
