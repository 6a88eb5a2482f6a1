//! Puts a build's arguments and target into its Dockerfile, since the service knows neither.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Sp;
use super::files::{DockerfileSource, Files, LoweredOf};
use super::model::Image;
use super::resolve::Resolver;
use crate::base::span::Span;
use crate::dockerfile::LowerSubject;

/// What is lowered into a Dockerfile.
pub(super) struct Lowering<'m> {
    pub(super) args: BTreeMap<String, String>,
    pub(super) target: Option<&'m Sp<String>>,
}

impl<'a> Resolver<'a> {
    /// The arguments and target of a build. `None` where something is wrong with them.
    pub(super) fn lowering(&mut self, image: &'a Image) -> Option<Lowering<'a>> {
        let mut right = true;
        let mut args = BTreeMap::new();
        for (name, value) in image.args.iter().flat_map(|args| args.iter()) {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let digit = name.starts_with(|c: char| c.is_ascii_digit());
            if name.is_empty() || digit || !name.chars().all(word) {
                let message = format!("`{}` is not the name of an ARG", name.escape_debug());
                let help = "use letters, digits and `_`; start with a letter or `_`";
                self.report(message, name.span(), help);
                right = false;
            }
            args.insert(name.to_string(), value.to_string());
        }
        if let Some(target) = image.target.as_ref().filter(|target| target.trim().is_empty()) {
            let help = "name a stage of the Dockerfile, or remove the key to build the last";
            self.report("a target cannot be empty", target.span(), help);
            right = false;
        }
        right.then_some(Lowering { args, target: image.target.as_ref() })
    }

    /// The Dockerfile that is sent: with arguments and target put in where there are any. `span` says
    /// where the manifest names the Dockerfile.
    pub(super) fn lower(
        &mut self,
        read: DockerfileSource,
        image: &Image,
        lowering: &Lowering<'_>,
        span: Span,
        files: &mut Files,
    ) -> Option<DockerfileSource> {
        let Lowering { args, target } = lowering;
        let target = target.map(|target| target.as_str());
        let what = match (args.is_empty(), target) {
            (true, None) => return Some(read),
            (false, None) => "with args",
            (true, Some(_)) => "with its target",
            (false, Some(_)) => "with args and target",
        };
        let of: LoweredOf = (read.path.clone(), args.clone(), target.map(str::to_owned));
        if let Some(known) = files.lowered.get(&of) {
            return Some(known.clone());
        }
        match read.parsed.lowered(args, target) {
            Ok(parsed) => {
                let name = format!("{}, {what}", read.path.display());
                let start = self.sources.add(name, parsed.text());
                let source = DockerfileSource { path: read.path, parsed: Arc::new(parsed), start };
                files.lowered.insert(of, source.clone());
                Some(source)
            }
            Err(errors) => {
                let args = || image.args.iter().flat_map(|args| args.iter());
                for error in errors {
                    let at = match &error.subject {
                        LowerSubject::Arg(name) => {
                            args().map(|(key, _)| key).find(|key| key.as_str() == name)
                        }
                        LowerSubject::Target => lowering.target,
                    };
                    self.report(error.message, at.map_or(span, Sp::span), error.help);
                }
                None
            }
        }
    }
}
