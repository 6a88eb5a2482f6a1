//! Lists the names that a manifest declares, for the completions of a shell. Reads the manifest, what it
//! includes and the folders of `discover`, but no Dockerfile; problems are not reported.

use std::collections::BTreeSet;

use super::diagnostics::Diagnostics;
use super::expand::{Expanded, Scope, expand};
use super::invocation::Invocation;
use super::model::Image;
use crate::base::name::{Owner, Platform, Tag, TagTemplate};
use crate::base::span::SourceMap;

/// The names of a manifest that a selection can use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeclaredNames {
    /// Images, by their `name` and by the `name:tag` of each target.
    pub(crate) images: BTreeSet<String>,
    /// Groups.
    pub(crate) groups: BTreeSet<String>,
    /// Labels, as `label=value`.
    pub(crate) labels: BTreeSet<String>,
}

impl DeclaredNames {
    /// Reads the names of a manifest. Of a manifest with problems, returns those that can be read.
    pub(crate) fn read(invocation: &Invocation, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let (mut sources, mut diagnostics) = (SourceMap::default(), Diagnostics::default());
        let reach = invocation.reach();
        let Expanded { scopes, .. } =
            expand(invocation, env, &reach, &mut sources, &mut diagnostics);
        let mut names = Self::default();
        for scope in &scopes {
            names.add(scope);
        }
        names
    }

    fn add(&mut self, scope: &Scope) {
        let manifest = &scope.manifest;
        let groups = manifest.groups.iter().flatten();
        self.groups.extend(groups.map(|(name, _)| name.to_string()));
        for (image, _) in scope.images() {
            self.add_image(scope, image);
            let defaults = manifest.defaults.as_ref();
            let groups = [image.groups.as_ref(), defaults.and_then(|it| it.groups.as_ref())];
            let groups = groups.into_iter().flatten().flatten();
            self.groups.extend(groups.map(|group| group.0.clone()));
            let labels = [image.labels.as_ref(), defaults.and_then(|it| it.labels.as_ref())];
            let labels = labels.into_iter().flatten().flatten();
            self.labels.extend(labels.map(|(key, value)| format!("{}={}", **key, **value)));
        }
    }

    fn add_image(&mut self, scope: &Scope, image: &Image) {
        let defaults = scope.manifest.defaults.as_ref();
        let owner = image.owner.as_ref().or(scope.manifest.owner.as_ref());
        let is_platform = owner.is_some_and(|owner| **owner == Owner::Platform);
        let source = image.source.as_ref().and_then(|it| it.destination(is_platform).ok());
        let (source_name, source_tag) = source.unzip();
        let Some(name) = image.name.as_deref().cloned().or(source_name) else { return };
        let tag = image.tag.as_deref().cloned().or_else(|| match source_tag {
            Some(tag) => Some(tag.into()),
            None => defaults?.tag.as_deref().cloned(),
        });
        let tag: TagTemplate = tag.unwrap_or_else(|| Tag::latest().into());
        let default = defaults.and_then(|defaults| defaults.platforms.as_ref());
        let platforms: Vec<Platform> = match image.platforms.as_ref().or(default) {
            Some(platforms) => platforms.iter().map(|platform| **platform).collect(),
            None => vec![Platform::default()],
        };
        let tags = platforms.iter().filter_map(|it| tag.for_one_of(*it, platforms.len()).ok());
        let tags = tags.filter(|tag| !tag.has_fingerprint());
        self.images.extend(tags.map(|tag| format!("{name}:{}", tag.as_str())));
        self.images.insert(name.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(manifest: &str) -> DeclaredNames {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("imgplan.yaml");
        std::fs::write(&path, manifest).unwrap();
        std::fs::create_dir_all(dir.path().join("found/web")).unwrap();
        std::fs::write(dir.path().join("found/web/Dockerfile"), "not a Dockerfile").unwrap();
        DeclaredNames::read(&Invocation::file(path), &|_| None)
    }

    fn texts(names: &BTreeSet<String>) -> Vec<&str> {
        names.iter().map(String::as_str).collect()
    }

    #[test]
    fn names_are_those_of_a_selection() {
        let names = names(
            "version: 1\n\
             defaults: {groups: [all], labels: {org: x}, tag: v1}\n\
             groups: {web: ['w*']}\n\
             vars: {TAG: v2}\n\
             images:\n\
             - {name: app, context: app, tag: '${TAG}', labels: {tier: 'front end'}, groups: [nightly]}\n\
             - {name: multi, context: app, platforms: [linux/amd64, linux/arm64]}\n\
             - {name: exact, context: app, tag: '{fingerprint}'}\n\
             - {source: 'docker.io/library/redis:7'}\n\
             - {discover: {glob: 'found/*'}}\n\
             - {name: 'py-${PY}', context: app, matrix: {PY: ['3.12', '3.13']}}\n",
        );
        assert_eq!(
            texts(&names.images),
            [
                "app",
                "app:v2",
                "exact",
                "multi",
                "multi:v1-amd64",
                "multi:v1-arm64",
                "py-3.12",
                "py-3.12:v1",
                "py-3.13",
                "py-3.13:v1",
                "redis",
                "redis:7",
                "web",
                "web:v1",
            ]
        );
        assert_eq!(texts(&names.groups), ["all", "nightly", "web"]);
        assert_eq!(texts(&names.labels), ["org=x", "tier=front end"]);
    }

    #[test]
    fn what_can_be_read_of_a_broken_manifest_is_listed() {
        let broken =
            "version: 1\nunknown: 1\nimages:\n- {name: app, context: 7, x: 1}\n- {name: b}\n";
        assert_eq!(texts(&names(broken).images), ["app", "app:latest", "b", "b:latest"]);
        for nothing in ["", "version: 2\nimages: [{name: a}]", "images: [", "\u{0}", "[1]"] {
            assert_eq!(names(nothing), DeclaredNames::default(), "{nothing}");
        }
    }
}
