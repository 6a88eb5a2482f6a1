//! Lookups of references. A lookup costs one HEAD request, and a GET only if the reference is new or has
//! changed, and is an index.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::content::ManifestContent;
use super::credentials::Credentials;
use super::error::{self, RegistryError, RegistryErrorKind, RegistryFailure};
use super::header;
use super::manifest::{self, MediaKind};
use super::message::RegistryResponse;
use super::session::RegistrySession;
use super::throttle::HostThrottles;
use super::url::RegistryProtocol;
use super::wire::RequestSender;
use crate::base::limit::Limit;
use crate::base::name::Platform;
use crate::base::platform::PlatformName;
use crate::base::reference::{OciDigest, RegistryRef};
use crate::base::text::list;
use crate::http::backoff::Jitter;
use crate::http::notice::{Notice, ObserverRef};
use crate::http::transport::{Network, Transport, TransportError};

/// Configuration of the registry client.
#[derive(Clone)]
pub struct RegistryConfig {
    /// Locations of credentials.
    pub credentials: Credentials,
    /// Rate limit per host. Registries do not document a limit for these requests; the default is a
    /// guess that none has objected to.
    pub limit: Limit,
    /// Maximum number of concurrent requests per host.
    pub concurrency: usize,
    /// Maximum number of attempts of a request that fails with a transient error. Responses of 429 are
    /// counted separately.
    pub max_attempts: u32,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The protocol of the registries.
    pub protocol: RegistryProtocol,
    /// CA certificates to trust besides those of the system, in PEM; may be empty.
    pub authorities: Vec<u8>,
    /// Replaces the network in tests.
    pub transport: Option<Arc<dyn Transport>>,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            credentials: Credentials::none(),
            limit: Limit { count: 100, window: Duration::from_secs(10) },
            concurrency: 8,
            max_attempts: 3,
            user_agent: concat!("imgplan/", env!("CARGO_PKG_VERSION")).to_owned(),
            protocol: RegistryProtocol::default(),
            authorities: Vec::new(),
            transport: None,
        }
    }
}

/// The result of a lookup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Digest of the manifest or index that the reference names.
    pub digest: OciDigest,
    /// Digest of the manifest for each platform. Empty for a manifest, whose platform is not looked up,
    /// and for an index without platforms.
    #[serde(default)]
    pub platforms: BTreeMap<Platform, OciDigest>,
}

/// The registry client. Caches tokens and the state of every host; cheap to clone. A process should have
/// one only, since rate limits are kept per client.
#[derive(Clone)]
pub struct Registries {
    pub(super) session: Arc<RegistrySession>,
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registries").finish_non_exhaustive()
    }
}

impl Registries {
    /// Creates a client.
    ///
    /// # Errors
    ///
    /// Fails if TLS cannot be set up, or if the authorities are no certificates.
    pub fn new(config: RegistryConfig) -> Result<Self, TransportError> {
        let transport = match config.transport {
            Some(transport) => transport,
            None => Arc::new(Network::trusting(&config.user_agent, &config.authorities)?),
        };
        let sender = RequestSender {
            transport,
            hosts: HostThrottles::new(config.limit, config.concurrency),
            max_attempts: config.max_attempts,
            // Without a random seed, all processes have the same backoffs, which is acceptable.
            jitter: Jitter::new(getrandom::u64().unwrap_or_default()),
        };
        let session = RegistrySession::new(sender, config.credentials, config.protocol);
        Ok(Self { session: Arc::new(session) })
    }

    /// Looks up references concurrently, each distinct one once, and returns the results in the order
    /// of `references`.
    ///
    /// Each reference comes with its known digests, if there are any: then one HEAD request is enough to
    /// see that it has not changed, and a reference with a known digest of its own needs no request.
    /// `observer` receives every completed lookup and every wait. A host that cannot be reached fails
    /// only its own references, and all of them at once.
    pub async fn resolve_all(
        &self,
        references: &[(RegistryRef, Option<Resolved>)],
        observer: ObserverRef<'_>,
    ) -> Vec<Result<Resolved, RegistryError>> {
        let mut distinct: Vec<(&RegistryRef, Option<&Resolved>)> = Vec::new();
        let mut index_by_reference: HashMap<String, usize> = HashMap::new();
        let mut indices = Vec::with_capacity(references.len());
        for (reference, known) in references {
            let index = *index_by_reference.entry(reference.to_string()).or_insert(distinct.len());
            match distinct.get_mut(index) {
                Some((_, first_known)) => *first_known = first_known.or(known.as_ref()),
                None => distinct.push((reference, known.as_ref())),
            }
            indices.push(index);
        }
        let total = distinct.len();
        let lookup = async |index: usize, reference: &RegistryRef, known: Option<&Resolved>| {
            let result = self.resolve(reference, known, observer).await;
            (index, result.map_err(|failure| failure.with_reference(reference)))
        };
        let mut lookups: FuturesUnordered<_> = distinct
            .iter()
            .enumerate()
            .map(|(index, (reference, known))| lookup(index, reference, *known))
            .collect();
        let mut results: Vec<Option<Result<Resolved, RegistryError>>> = vec![None; total];
        let mut done = 0;
        while let Some((index, result)) = lookups.next().await {
            done += 1;
            let registry = distinct[index].0.registry().to_owned();
            results[index] = Some(result);
            observer(Notice::LookupDone { registry, done, total });
        }
        // Every lookup has ended, so no result is missing.
        indices.into_iter().filter_map(|index| results[index].clone()).collect()
    }

    /// Returns the file or the program that has the user's credential for a reference; `None` if nothing
    /// has. Sends nothing to the registry.
    ///
    /// # Errors
    ///
    /// Fails with the problem of a file or a program for which there is no credential.
    pub async fn credential_source(
        &self,
        reference: &RegistryRef,
    ) -> Result<Option<String>, String> {
        self.session.credential_source(reference).await
    }

    async fn resolve(
        &self,
        reference: &RegistryRef,
        known: Option<&Resolved>,
        observer: ObserverRef<'_>,
    ) -> Result<Resolved, RegistryFailure> {
        if let Some(known) = known.filter(|known| reference.digest() == Some(known.digest)) {
            return Ok(known.clone());
        }
        let name = reference.manifest_name();
        let head = self.session.manifest(&Method::HEAD, reference, &name, observer).await?;
        // Some registries refuse HEAD, with any status, and accept GET. If GET fails as well, its
        // response has a body that says why.
        let digest = header::digest(&head.headers).filter(|_| head.status == 200);
        let Some(digest) = digest else {
            return self.fetch(reference, &name, reference.digest(), known, observer).await;
        };
        if reference.digest().is_some_and(|requested| requested != digest) {
            return Err(digest_mismatch());
        }
        if let Some(known) = known.filter(|known| known.digest == digest) {
            return Ok(known.clone());
        }
        match manifest::media_kind(header::content_type(&head.headers)) {
            MediaKind::Manifest => Ok(Resolved { digest, platforms: BTreeMap::new() }),
            MediaKind::Index | MediaKind::Unknown => {
                self.fetch(reference, &digest.to_string(), Some(digest), known, observer).await
            }
        }
    }

    /// Fetches a manifest, and checks the digest of its bytes against `expected`.
    async fn fetch(
        &self,
        reference: &RegistryRef,
        name: &str,
        expected: Option<OciDigest>,
        known: Option<&Resolved>,
        observer: ObserverRef<'_>,
    ) -> Result<Resolved, RegistryFailure> {
        let response = self.session.manifest(&Method::GET, reference, name, observer).await?;
        if response.status != 200 {
            return Err(status_failure(&response, reference));
        }
        let digest = OciDigest::of(&response.body);
        let from_header = header::digest(&response.headers);
        if [expected, from_header].into_iter().flatten().any(|other| other != digest) {
            return Err(digest_mismatch());
        }
        if let Some(known) = known.filter(|known| known.digest == digest) {
            return Ok(known.clone());
        }
        let platforms = manifest::platforms(&response.body).map_err(RegistryFailure::unexpected)?;
        if platforms.is_empty() {
            check_platforms(manifest::unsupported_platforms(&response.body))?;
        }
        Ok(Resolved { digest, platforms })
    }

    /// Returns the platform of a manifest, from its image configuration. Takes two requests, so it is
    /// only called for references that are being pinned. `None` if the registry does not return the
    /// configuration, or if that names no platform.
    ///
    /// # Errors
    ///
    /// Fails if the registry does not have the manifest, whatever a HEAD request said, and if the
    /// service does not support the platform.
    pub async fn image_platform(
        &self,
        reference: &RegistryRef,
        manifest_digest: OciDigest,
        observer: ObserverRef<'_>,
    ) -> Result<Option<Platform>, RegistryError> {
        let manifest = self.pinned_manifest(reference, manifest_digest, observer).await;
        let manifest = manifest.map_err(|failure| failure.with_reference(reference))?;
        let config = async {
            let config_digest = manifest::config_digest(&manifest)?;
            let config = self.session.blob(reference, config_digest, observer).await;
            verified_body(config.ok()?, config_digest)
        };
        let name = config.await.and_then(|config| manifest::config_platform(&config));
        let platform = name.as_ref().and_then(PlatformName::service_platform);
        let unsupported = name.into_iter().filter(|_| platform.is_none());
        check_platforms(unsupported).map_err(|failure| failure.with_reference(reference))?;
        Ok(platform)
    }

    /// Returns the size of an image, its configuration and layers together, in bytes. `None` for an index.
    ///
    /// # Errors
    ///
    /// Fails if the registry does not have the manifest.
    pub async fn image_size(
        &self,
        reference: &RegistryRef,
        manifest_digest: OciDigest,
        observer: ObserverRef<'_>,
    ) -> Result<Option<u64>, RegistryError> {
        let name = manifest_digest.to_string();
        let session = &self.session;
        let manifest =
            session.raw_manifest(reference, &name, Some(manifest_digest), observer).await;
        let manifest = manifest.map_err(|failure| failure.with_reference(reference))?;
        Ok(match manifest.parsed.content {
            ManifestContent::Image(blobs) => {
                Some(blobs.iter().fold(0, |sum: u64, blob| sum.saturating_add(blob.size)))
            }
            ManifestContent::Index(_) => None,
        })
    }

    async fn pinned_manifest(
        &self,
        reference: &RegistryRef,
        digest: OciDigest,
        observer: ObserverRef<'_>,
    ) -> Result<Bytes, RegistryFailure> {
        let name = digest.to_string();
        let response = self.session.manifest(&Method::GET, reference, &name, observer).await?;
        if response.status != 200 {
            return Err(status_failure(&response, reference));
        }
        verified_body(response, digest).ok_or_else(digest_mismatch)
    }
}

/// Maximum number of platforms in an error message.
const MAX_PLATFORMS_SHOWN: usize = 3;

/// Fails if there are `unsupported` platforms: the platforms of an image without one for the service.
fn check_platforms(
    unsupported: impl IntoIterator<Item = PlatformName>,
) -> Result<(), RegistryFailure> {
    let available = list(unsupported, MAX_PLATFORMS_SHOWN);
    if available.is_empty() {
        return Ok(());
    }
    let ours = Platform::ALL.map(Platform::as_str).join(" or ");
    let message = format!("it has no image for {ours}, only for {available}");
    let help = "use an image for one of these platforms";
    Err(RegistryFailure::new(RegistryErrorKind::NotFound, message, help))
}

/// Returns the body of a response, if it has the digest.
fn verified_body(response: RegistryResponse, digest: OciDigest) -> Option<Bytes> {
    let is_valid = response.status == 200 && OciDigest::of(&response.body) == digest;
    is_valid.then_some(response.body)
}

pub(super) fn digest_mismatch() -> RegistryFailure {
    RegistryFailure::unexpected("the response of the registry does not have the expected digest")
}

/// Returns the failure for a response without a manifest.
pub(super) fn status_failure(
    response: &RegistryResponse,
    reference: &RegistryRef,
) -> RegistryFailure {
    let error = error::parse_error_body(&response.body);
    let code = error.as_ref().and_then(|error| error.code.as_deref());
    let missing = match (response.status, code) {
        (404, Some("NAME_UNKNOWN" | "NAME_INVALID")) => "repository",
        // Many registries return the same code for a missing repository.
        (404, Some(_)) if reference.digest().is_some() => "digest or repository",
        (404, Some(_)) => "tag or repository",
        _ => {
            let response = response.describe();
            return RegistryFailure::unexpected(format!("the registry answered {response}"));
        }
    };
    let message = format!("the registry has no such {missing}");
    RegistryFailure::new(RegistryErrorKind::NotFound, message, "check the name and the tag")
}
