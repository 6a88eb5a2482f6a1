//! Lowers the arguments and the target of a build into its Dockerfile, because the service supports
//! neither.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::build_args::ArgValue;
use super::diagnostics::Diagnostics;
use super::files::{DockerfileSource, Files};
use super::model::{Defaults, Image};
use super::spanned::Spanned;
use super::unused::UnusedParts;
use crate::base::name::Platform;
use crate::base::span::Span;
use crate::dockerfile::{Dockerfile, DockerfileError, LowerError, LowerSubject, ReachRequest};

/// The build of an image on one platform.
pub(super) struct PlatformBuild {
    pub(super) platform: Platform,
    /// The Dockerfile, with `args` and the target lowered into it.
    pub(super) dockerfile: DockerfileSource,
    pub(super) args: BTreeMap<String, String>,
}

/// Arguments and target of a build.
pub(super) struct Lowering<'a> {
    args: BTreeMap<&'a str, Argument<'a>>,
    target: Option<&'a Spanned<String>>,
}

/// A build argument where the manifest sets it.
struct Argument<'a> {
    name: Span,
    value: &'a Spanned<ArgValue>,
}

/// Returns the arguments and the target of a build, or `None` if one of them is rejected. Arguments
/// of the image are added to those of the defaults and override them.
pub(super) fn lowering<'a>(
    entry: &'a Image,
    defaults: Option<&'a Defaults>,
    diagnostics: &mut Diagnostics,
) -> Option<Lowering<'a>> {
    let errors = diagnostics.errors();
    let mut args = BTreeMap::new();
    let default_args = defaults.and_then(|defaults| defaults.args.as_ref());
    for (name, value) in [default_args, entry.args.as_deref()].into_iter().flatten().flatten() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_digit = |c: char| c.is_ascii_digit();
        if name.is_empty() || name.starts_with(is_digit) || !name.chars().all(is_word) {
            let message = format!("`{}` is not the name of an ARG", name.escape_debug());
            let help = "use letters, digits and `_`; start with a letter or `_`";
            diagnostics.error(message, name.span(), help);
        }
        args.insert(name.as_str(), Argument { name: name.span(), value });
    }
    if let Some(target) = entry.target.as_ref().filter(|target| target.trim().is_empty()) {
        let help = "name a stage of the Dockerfile, or remove the key to build the last stage";
        diagnostics.error("a target cannot be empty", target.span(), help);
    }
    let target = entry.target.as_ref();
    (diagnostics.errors() == errors).then_some(Lowering { args, target })
}

impl Lowering<'_> {
    /// Returns the name of the target stage.
    pub(super) fn target(&self) -> Option<&str> {
        self.target.map(|target| target.as_str())
    }

    /// Removes the arguments that the Dockerfile does not declare: they have no effect on the image.
    pub(super) fn remove_undeclared(
        &mut self,
        source: &DockerfileSource,
        unused: &mut UnusedParts,
        diagnostics: &Diagnostics,
    ) {
        let args = self.on(Platform::default());
        for LowerError { subject, message, help } in source.parsed.unused_args(&args, self.target())
        {
            let LowerSubject::Arg(name) = subject else { continue };
            if let Some(arg) = self.args.remove(name.as_str()) {
                unused.unused(arg.name, (message, help), diagnostics);
            }
        }
        for arg in self.args.values() {
            unused.used(arg.name);
        }
    }

    /// Reports each argument that has values by platform, and none for a platform of the image.
    /// Returns `None` if there is one. Records values for other platforms as unused.
    pub(super) fn check_platforms(
        &self,
        platforms: &[Platform],
        unused: &mut UnusedParts,
        diagnostics: &mut Diagnostics,
    ) -> Option<()> {
        let errors = diagnostics.errors();
        for (name, Argument { value, .. }) in &self.args {
            for platform in platforms.iter().filter(|platform| value.on(**platform).is_none()) {
                let message = format!("`{name}` has no value for {platform}");
                let help = format!("add `{platform}: <value>`: the image is built for it");
                diagnostics.error(message, value.span(), help);
            }
            for platform in value.platforms() {
                if platforms.contains(platform) {
                    unused.used(platform.span());
                    continue;
                }
                let message = format!("the image is not built for {}", **platform);
                let help = "remove the value, or add the platform to `platforms:`".to_owned();
                unused.unused(platform.span(), (message, help), diagnostics);
            }
        }
        (diagnostics.errors() == errors).then_some(())
    }

    /// Returns the arguments on a platform. One without a value there is empty.
    fn on(&self, platform: Platform) -> BTreeMap<String, String> {
        let value = |arg: &Argument<'_>| arg.value.on(platform).unwrap_or_default();
        self.args.iter().map(|(name, arg)| ((*name).to_owned(), value(arg))).collect()
    }

    /// Returns where the manifest sets an argument or the target.
    fn span_of(&self, subject: &LowerSubject) -> Option<Span> {
        match subject {
            LowerSubject::Arg(name) => self.args.get(name.as_str()).map(|arg| arg.name),
            LowerSubject::Target => self.target.map(Spanned::span),
        }
    }
}

/// Returns the build of an image on each of its platforms. `source` is the Dockerfile as written, and
/// `span` where the manifest names it.
pub(super) fn builds(
    source: &DockerfileSource,
    lowering: &Lowering<'_>,
    (platforms, span): (&[Platform], Span),
    files: &mut Files<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<PlatformBuild>> {
    let mut reported = Vec::new();
    let builds = platforms.iter().map(|&platform| {
        let args = lowering.on(platform);
        check_build(source, (&args, lowering.target(), platform), &mut reported, diagnostics);
        let dockerfile = lower(source, lowering, (&args, span), files, diagnostics)?;
        Some(PlatformBuild { platform, dockerfile, args })
    });
    builds.collect()
}

/// Returns builds that stand for those of a broken Dockerfile.
pub(super) fn placeholders(path: &Path, platforms: &[Platform]) -> Option<Vec<PlatformBuild>> {
    let parsed = Arc::new(Dockerfile::parse("FROM scratch\n").ok()?);
    let dockerfile = DockerfileSource { path: path.into(), parsed, start: 0, plain: None };
    let build = |&platform: &Platform| PlatformBuild {
        platform,
        dockerfile: dockerfile.clone(),
        args: BTreeMap::new(),
    };
    Some(platforms.iter().map(build).collect())
}

/// Returns the Dockerfile to send. Images with equal arguments and target share the result.
fn lower(
    source: &DockerfileSource,
    lowering: &Lowering<'_>,
    (args, span): (&BTreeMap<String, String>, Span),
    files: &mut Files<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<DockerfileSource> {
    let target = lowering.target();
    let suffix = match (args.is_empty(), target) {
        (true, None) => return Some(source.clone()),
        (false, None) => "with args",
        (true, Some(_)) => "with its target",
        (false, Some(_)) => "with args and target",
    };
    let key = (source.path.clone(), args.clone(), target.map(str::to_owned));
    if let Some(known) = files.lowered.get(&key) {
        return Some(known.clone());
    }
    match source.parsed.lowered(args, target) {
        Ok(parsed) => {
            let name = format!("{}, {suffix}", source.path.display());
            let start = files.sources.add(name, parsed.shared_text());
            let (path, parsed) = (source.path.clone(), Arc::new(parsed));
            let lowered = DockerfileSource { path, parsed, start, plain: None };
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

/// Reports each problem for which Docker refuses the build, unless it was reported for another
/// platform. `source` is the Dockerfile as written.
fn check_build(
    source: &DockerfileSource,
    (args, target, platform): (&BTreeMap<String, String>, Option<&str>, Platform),
    reported: &mut Vec<DockerfileError>,
    diagnostics: &mut Diagnostics,
) {
    let is_plain = args.is_empty() && target.is_none() && platform == Platform::Amd64;
    let errors = if let Some(plain) = source.plain.as_ref().filter(|_| is_plain) {
        plain.errors.clone()
    } else {
        let request = ReachRequest { args, target, ..ReachRequest::new(platform) };
        // The lowering reports a target that does not exist.
        source.parsed.reach(&request).map(|reach| reach.errors).unwrap_or_default()
    };
    for error in errors {
        if !reported.contains(&error) {
            reported.push(error.clone());
            diagnostics.push(source.problem(error));
        }
    }
}
