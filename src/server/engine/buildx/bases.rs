//! Looks up the bases of a build: their platforms, and the names under which the builder finds them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::base::name::Platform;
use crate::base::reference::{DOCKER_HUB, RegistryRef};
use crate::base::safe_text::one_line;
use crate::dockerfile::Dockerfile;
use crate::registry::{Registries, Resolved};
use crate::server::engine::check::{CheckedDockerfile, FoundBase};
use crate::server::engine::config::PushRegistry;
use crate::server::engine::{BaseImage, BuildJob, EngineFailure};
use crate::server::error::ServerError;
use crate::server::registry_client::{credentials, other_registries, reason};

/// Number of known references at which all are forgotten.
const MAX_KNOWN: usize = 10_000;

/// The registries of bases.
pub(super) struct BaseLookup {
    /// Host of the registry that the server pushes to.
    host: String,
    own: Registries,
    others: Registries,
    /// The digests of earlier lookups, so that a base that has not changed takes one HEAD request, which
    /// Docker Hub does not count.
    known: Mutex<HashMap<String, Resolved>>,
}

impl BaseLookup {
    /// Creates a lookup. `own` is the client of `registry`.
    ///
    /// # Errors
    /// Fails if TLS cannot be set up.
    pub(super) fn new(registry: &PushRegistry, own: &Registries) -> Result<Self, ServerError> {
        Ok(Self {
            host: registry.address.to_lowercase(),
            own: own.clone(),
            others: other_registries(credentials(registry.auth.as_deref()))?,
            known: Mutex::default(),
        })
    }

    /// Checks the platforms of the bases of a build. Returns the images that take the place of names in
    /// the Dockerfile, for `--build-context`: those of this server that are not named with its registry.
    /// `native` is the platform of the builder.
    ///
    /// # Errors
    /// Fails if a base cannot be looked up, is for another platform, or has the name of a stage.
    pub(super) async fn contexts(
        &self,
        job: &BuildJob,
        checked: &CheckedDockerfile,
        native: Platform,
    ) -> Result<BTreeMap<String, String>, EngineFailure> {
        let mut contexts = BTreeMap::new();
        for base in &checked.bases {
            let reference = base.full_reference()?;
            let resolved = self.resolved(job, base, &reference, native).await;
            let context = resolved.and_then(|resolved| {
                let pinned = format!("{}@{}", reference.name(), resolved.digest);
                Ok(named_context(base, &checked.dockerfile)?.map(|name| (name, pinned)))
            });
            let context = context.map_err(|reason| {
                let (dockerfile, line) = (&job.dockerfile, base.line);
                let shown = one_line(&base.reference, 300);
                format!("{dockerfile}: line {line}: the base image `{shown}` {reason}")
            })?;
            contexts.extend(context);
        }
        Ok(contexts)
    }

    /// Looks up a base, and checks its platform.
    async fn resolved(
        &self,
        job: &BuildJob,
        base: &FoundBase,
        reference: &RegistryRef,
        native: Platform,
    ) -> Result<Resolved, String> {
        let unsupported =
            || "is used for a platform that this server does not build for".to_owned();
        let wanted = base.platform.on_builder(job.platform, native).ok_or_else(unsupported)?;
        let registry = if reference.registry() == self.host { &self.own } else { &self.others };
        let cannot = |error| format!("cannot be looked up: {}", reason(&error));
        let key = reference.to_string();
        let known = self.known(|known| known.get(&key).cloned());
        let lookups = registry.resolve_all(&[(reference.clone(), known)], &|_| ()).await;
        let lookup = lookups.into_iter().next().ok_or("cannot be looked up")?;
        let mut found = lookup.map_err(cannot)?;
        if found.platforms.is_empty() {
            let platform = registry.image_platform(reference, found.digest, &|_| ()).await;
            let platform = platform.map_err(cannot)?.ok_or("has no platform")?;
            found.platforms.insert(platform, found.digest);
        }
        self.known(|known| {
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            known.insert(key, found.clone())
        });
        match found.platforms.keys().next() {
            Some(actual) if !found.platforms.contains_key(&wanted) => Err(format!(
                "is for {actual}, and this build needs it for {wanted}: use a base that has {wanted}"
            )),
            _ => Ok(found),
        }
    }

    fn known<T>(&self, work: impl FnOnce(&mut HashMap<String, Resolved>) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the name of a base that the builder must be told; `None` if it finds the base itself.
///
/// # Errors
/// Fails if a stage has the name: `BuildKit` would put the image in the place of the stage, too.
fn named_context(base: &FoundBase, dockerfile: &Dockerfile) -> Result<Option<String>, String> {
    let BaseImage::Own(own) = &base.image else { return Ok(None) };
    let is_full = own.split_once('/').is_some_and(|(host, _)| {
        base.reference.split_once('/').is_some_and(|(named, _)| named.eq_ignore_ascii_case(host))
    });
    if is_full {
        return Ok(None);
    }
    if familiar_name(&base.reference).is_some_and(|name| stages(dockerfile).contains(&name)) {
        return Err("has the name of a stage: give the stage another name".to_owned());
    }
    Ok(Some(base.reference.clone()))
}

/// Returns the name of an image as a stage may have it: `core` for `docker.io/library/core:latest`.
/// `None` for an image that no stage can be confused with.
fn familiar_name(reference: &str) -> Option<String> {
    let parsed: RegistryRef = reference.parse().ok()?;
    let is_latest = parsed.manifest_name() == "latest";
    let name = parsed.repository().strip_prefix("library/")?;
    (is_latest && parsed.registry() == DOCKER_HUB).then(|| name.to_owned())
}

/// Returns the names of the stages, in lower case.
fn stages(dockerfile: &Dockerfile) -> BTreeSet<String> {
    let instructions = dockerfile.plain_instructions();
    let from = instructions.iter().filter(|(_, instruction)| instruction.keyword == "FROM");
    from.filter_map(|(_, from)| Some(from.rest.split_ascii_whitespace().nth(2)?.to_lowercase()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::ReferencePlatform;

    #[test]
    fn only_short_names_of_own_images_are_replaced() {
        let name = |reference: &str, own: Option<&str>| {
            let image = own.map_or(BaseImage::External, |own| BaseImage::Own(own.to_owned()));
            let platform = ReferencePlatform::Unit;
            let base = FoundBase { reference: reference.to_owned(), line: 1, platform, image };
            let file = Dockerfile::parse("FROM x AS core\nFROM core AS Tool\nRUN x\n").unwrap();
            named_context(&base, &file)
        };
        let own = Some("r.example:5000/prime/local/core:latest");
        let replaced = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(name("golang", None), Ok(None));
        assert_eq!(name("core", None), Ok(None));
        assert_eq!(name("r.example:5000/prime/local/core", own), Ok(None));
        assert_eq!(name("R.example:5000/prime/local/core@sha256:1", own), Ok(None));
        assert_eq!(name("prime/local/core", own), replaced("prime/local/core"));
        assert_eq!(name("core:v1", own), replaced("core:v1"));
        assert_eq!(name("other", own), replaced("other"));
        for hidden in ["core", "core:latest", "library/core", "docker.io/library/tool:latest"] {
            assert!(name(hidden, own).unwrap_err().contains("name of a stage"), "{hidden}");
        }
    }
}
