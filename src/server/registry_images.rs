//! The images in the registry behind the server: copies of other registries' images, renames and removals.
//!
//! Whoever writes a tag [locks the tag](RegistryImages::lock_tag), and whoever removes one [locks the
//! repository](RegistryImages::lock_repository), until the state says so too. Otherwise a removal, which
//! looks up in the state which other images have the digest, could take one that was pushed and is not
//! recorded yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{
    OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, Semaphore,
    SemaphorePermit,
};

use super::error::ServerError;
use super::location::Location;
use super::model::StoredContent;
use super::registry_client::{ServerRegistryConfig, other_registries, own_registry, reason};
use crate::base::name::Platform;
use crate::base::reference::{OciDigest, RegistryRef};
use crate::base::safe_text::escaped;
use crate::registry::error::RegistryErrorKind;
use crate::registry::{CopiedImage, ImageCopier, Registries, TagRemoval};

/// Maximum number of images that are copied at the same time; the others wait.
const MAX_COPIES: usize = 8;

/// Number of locks at which those without a holder are dropped.
const MAX_IDLE_LOCKS: usize = 1000;

/// Locks by the name of what they lock. Those without a holder are dropped now and then.
#[derive(Debug)]
struct NamedLocks<L>(Mutex<HashMap<String, Weak<L>>>);

impl<L: Default> NamedLocks<L> {
    fn get(&self, name: String) -> Arc<L> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.len() >= MAX_IDLE_LOCKS {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = locks.entry(name).or_default();
        lock.upgrade().unwrap_or_else(|| {
            let new = Arc::default();
            *lock = Arc::downgrade(&new);
            new
        })
    }
}

impl<L> Default for NamedLocks<L> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Access to the images in the registry behind the server.
#[derive(Debug)]
pub(super) struct RegistryImages {
    host: String,
    copier: ImageCopier,
    upstream: Registries,
    copies: Semaphore,
    repositories: NamedLocks<RwLock<()>>,
    tags: NamedLocks<tokio::sync::Mutex<()>>,
}

/// The lock of a tag, released when dropped.
pub(super) struct TagGuard {
    _repository: OwnedRwLockReadGuard<()>,
    _tag: OwnedMutexGuard<()>,
}

/// The lock of a repository, released when dropped.
pub(super) type RepositoryGuard = OwnedRwLockWriteGuard<()>;

impl RegistryImages {
    /// Prepares the access. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// Fails if the host is invalid, if a file cannot be read, or if TLS cannot be set up.
    pub(super) fn open(config: &ServerRegistryConfig) -> Result<Self, ServerError> {
        Ok(Self {
            host: host(&config.registry.address)?,
            copier: ImageCopier::new(own_registry(&config.registry)?),
            upstream: other_registries(config.upstream.clone())?,
            copies: Semaphore::new(MAX_COPIES),
            repositories: NamedLocks::default(),
            tags: NamedLocks::default(),
        })
    }

    /// Waits for a place among the images that are copied at the same time.
    pub(super) async fn copy_slot(&self) -> Option<SemaphorePermit<'_>> {
        self.copies.acquire().await.ok()
    }

    /// Locks the tag of a location, which others may not write meanwhile, and from whose repository
    /// nothing is removed meanwhile.
    pub(super) async fn lock_tag(&self, location: &Location) -> TagGuard {
        let repository = self.repositories.get(location.repository()).read_owned().await;
        let tag = self.tags.get(format!("{}:{}", location.repository(), location.tag));
        TagGuard { _repository: repository, _tag: tag.lock_owned().await }
    }

    /// Locks the repository of a location with all of its tags.
    pub(super) async fn lock_repository(&self, location: &Location) -> RepositoryGuard {
        self.repositories.get(location.repository()).write_owned().await
    }

    /// Copies an image of another registry, or of this one, to a location: all but its tag.
    ///
    /// # Errors
    ///
    /// Fails with a reason for the build, in one line without secrets.
    pub(super) async fn copy(
        &self,
        source: &str,
        platform: Option<Platform>,
        to: &Location,
    ) -> Result<CopiedImage, String> {
        let from: RegistryRef = source.parse().map_err(|error: crate::base::name::NameError| {
            format!("{}; {}", error.message, error.help)
        })?;
        let to = self.reference(to)?;
        let source =
            if from.registry() == self.host { self.copier.destination() } else { &self.upstream };
        let copied = self.copier.copy(source, &from, platform, &to, &|_| ()).await;
        copied.map_err(|error| reason(&error))
    }

    /// Writes the tag of a copied image. The caller holds the lock of the tag.
    ///
    /// # Errors
    ///
    /// Fails with a reason, as [`RegistryImages::copy`] does.
    pub(super) async fn publish(&self, copied: &CopiedImage) -> Result<StoredContent, String> {
        self.copier.publish(copied, &|_| ()).await.map_err(|error| reason(&error))?;
        let digest = Some(copied.digest());
        Ok(StoredContent { size: Some(copied.size), digest, children: copied.children.clone() })
    }

    /// Gives the image with a digest a further tag, at `to`: its blobs are mounted there, and its manifest
    /// is written. The caller holds the lock of the tag `to`.
    ///
    /// # Errors
    ///
    /// Fails with a reason, as [`RegistryImages::copy`] does.
    pub(super) async fn retag(
        &self,
        from: &Location,
        digest: OciDigest,
        to: &Location,
    ) -> Result<(), String> {
        let source = format!("{}/{}@{digest}", self.host, from.repository());
        let copied = self.copy(&source, None, to).await?;
        self.publish(&copied).await.map(|_| ())
    }

    /// Returns the digest that the tag of a location has; `None` if there is no such tag.
    ///
    /// # Errors
    ///
    /// Fails with a reason, as [`RegistryImages::copy`] does.
    pub(super) async fn tagged(&self, location: &Location) -> Result<Option<OciDigest>, String> {
        // A registry cannot have what it has no name for, such as a team with upper case.
        let Ok(reference) = self.reference(location) else { return Ok(None) };
        let lookups = self.copier.destination().resolve_all(&[(reference, None)], &|_| ()).await;
        match lookups.into_iter().next() {
            Some(Ok(found)) => Ok(Some(found.digest)),
            Some(Err(error)) if error.kind == RegistryErrorKind::NotFound => Ok(None),
            Some(Err(error)) => Err(reason(&error)),
            None => Ok(None),
        }
    }

    /// Removes the tag of a location. `is_shared` tells whether another image of the repository has the
    /// digest. The caller holds the lock of the repository.
    ///
    /// # Errors
    ///
    /// Fails with a reason, as [`RegistryImages::copy`] does.
    pub(super) async fn remove(
        &self,
        location: &Location,
        is_shared: impl FnOnce(OciDigest) -> bool,
    ) -> Result<TagRemoval, String> {
        let Ok(reference) = self.reference(location) else { return Ok(TagRemoval::Removed) };
        let removal = self.copier.destination().remove_tag(&reference, is_shared, &|_| ()).await;
        removal.map_err(|error| reason(&error))
    }

    /// Returns the reference of a location in the registry.
    fn reference(&self, location: &Location) -> Result<RegistryRef, String> {
        let reference = format!("{}/{}:{}", self.host, location.repository(), location.tag);
        reference.parse().map_err(|error: crate::base::name::NameError| {
            format!("the registry cannot have the image {reference}: {}", error.message)
        })
    }
}

/// Returns the checked host of the registry.
fn host(text: &str) -> Result<String, ServerError> {
    let parsed = format!("{text}/image").parse::<RegistryRef>();
    match parsed {
        Ok(reference) if reference.repository() == "image" => Ok(reference.registry().to_owned()),
        _ => Err(ServerError::Registry {
            message: format!("`{}` is not the host of a registry", escaped(text)),
            help: "write a host with a dot or a port, without a path: 127.0.0.1:5000".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures::FutureExt;

    use super::*;
    use crate::registry::Credentials;
    use crate::server::engine::config::{PushRegistry, RegistryTrust};

    fn config(host: &str, ca_file: Option<&Path>) -> ServerRegistryConfig {
        let mut registry = PushRegistry::new(host);
        if let Some(file) = ca_file {
            registry.trust = RegistryTrust::Ca(file.to_owned());
        }
        ServerRegistryConfig { registry, upstream: Credentials::none() }
    }

    #[test]
    fn the_host_is_checked() {
        for good in ["127.0.0.1:5000", "localhost", "Registry.example", "[::1]:5000"] {
            let images = RegistryImages::open(&config(good, None)).unwrap();
            assert_eq!(images.host, good.to_lowercase());
        }
        for bad in ["", "registry", "https://r.example", "r.example/path", "r.example:0", "a b"] {
            let error = RegistryImages::open(&config(bad, None)).unwrap_err();
            assert!(error.to_string().contains("is not the host of a registry"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_ca_file_that_has_no_certificates_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("text"), "no certificate").unwrap();
        let large = std::fs::File::create(path("large")).unwrap();
        large.set_len(1 << 40).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", path("zero")).unwrap();
        for (name, expected) in [
            ("missing", "No such file"),
            ("text", "it has none"),
            ("large", "at most"),
            ("fifo", "it is a FIFO"),
            ("zero", "it is a device"),
        ] {
            let error = RegistryImages::open(&config("localhost", Some(&path(name)))).unwrap_err();
            assert!(error.to_string().contains(expected), "{name}: {error}");
        }
    }

    #[tokio::test]
    async fn tags_are_locked_one_by_one_and_with_their_repository() {
        let images = RegistryImages::open(&config("localhost", None)).unwrap();
        let location = |name: &str, tag: &str| Location {
            owner: crate::base::name::Owner::Personal,
            name: name.parse().unwrap(),
            tag: tag.parse().unwrap(),
        };
        let (first, second) = (location("app", "1"), location("app", "2"));
        let guard = images.lock_tag(&first).await;
        images.lock_tag(&second).await;
        images.lock_repository(&location("other", "1")).await;
        assert!(images.lock_tag(&first).now_or_never().is_none());
        assert!(images.lock_repository(&second).now_or_never().is_none());
        drop(guard);
        let guard = images.lock_repository(&first).await;
        assert!(images.lock_tag(&second).now_or_never().is_none());
        drop(guard);
        images.lock_tag(&second).await;
    }
}
