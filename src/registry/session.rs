//! Requests manifests and blobs from registries, with the authentication that each registry requires.

use std::collections::HashMap;
use std::sync::Mutex;

use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Method, Url};

use super::challenge::{self, Challenge};
use super::credentials::{Credentials, Keyring};
use super::error::{RegistryErrorKind, RegistryFailure};
use super::manifest::ACCEPT;
use super::throttle::lock;
use super::token::{self, TokenCache, TokenRequest};
use super::url::{blob_url, check_redirect, manifest_url};
use super::wire::{Authorization, RegistryRequest, RegistryResponse, RequestSender};
use crate::base::reference::{OciDigest, RegistryRef};
use crate::http::notice::ObserverRef;

/// Authenticated access to all registries.
pub(super) struct RegistrySession {
    sender: RequestSender,
    keyring: Keyring,
    tokens: TokenCache,
    /// Last challenge of each registry. Later requests are authenticated from the start.
    challenges: Mutex<HashMap<String, Challenge>>,
}

/// The authentication of one request.
struct RequestAuth {
    authorization: Authorization,
    /// Number of the fetch that returned the token. `None` for a password.
    token_fetch: Option<u64>,
    /// True for a password and for a token that was fetched for this request. If the registry rejects
    /// it, another try would fail as well.
    is_new: bool,
}

impl RegistrySession {
    pub(super) fn new(sender: RequestSender, credentials: Credentials) -> Self {
        Self {
            sender,
            keyring: Keyring::new(credentials),
            tokens: TokenCache::default(),
            challenges: Mutex::default(),
        }
    }

    /// Requests the manifest of an image by `name`, which is a tag or a digest.
    ///
    /// # Errors
    ///
    /// Fails if the registry cannot be reached or denies access. Other statuses are returned.
    pub(super) async fn manifest(
        &self,
        method: &Method,
        image: &RegistryRef,
        name: &str,
        observer: ObserverRef<'_>,
    ) -> Result<RegistryResponse, RegistryFailure> {
        self.request(method, image, manifest_url(image, name), ACCEPT, observer).await
    }

    /// Requests a blob of an image.
    ///
    /// # Errors
    ///
    /// Fails as [`RegistrySession::manifest`] does, and if the blob is larger than a manifest may be.
    pub(super) async fn blob(
        &self,
        image: &RegistryRef,
        digest: OciDigest,
        observer: ObserverRef<'_>,
    ) -> Result<RegistryResponse, RegistryFailure> {
        self.request(&Method::GET, image, blob_url(image, digest), "*/*", observer).await
    }

    async fn request(
        &self,
        method: &Method,
        image: &RegistryRef,
        url: Option<Url>,
        accept: &'static str,
        observer: ObserverRef<'_>,
    ) -> Result<RegistryResponse, RegistryFailure> {
        let url = url.ok_or_else(|| {
            RegistryFailure::unexpected(format!("{image} cannot be written as a URL"))
        })?;
        let challenge = lock(&self.challenges).get(image.registry()).cloned();
        let mut auth = match challenge {
            Some(challenge) => {
                Some(self.authenticate(&challenge, image, &url, None, observer).await?)
            }
            None => None,
        };
        loop {
            let request = RegistryRequest {
                method: method.clone(),
                url: url.clone(),
                accept,
                authorization: auth.as_ref().map(|auth| &auth.authorization),
                form: None,
                follows_to_other_hosts: true,
            };
            let response = self.sender.send(&request, observer).await?;
            let can_authenticate =
                response.from_first_origin && auth.as_ref().is_none_or(|auth| !auth.is_new);
            if response.status == 401 && can_authenticate {
                let rejected = auth.as_ref().and_then(|auth| auth.token_fetch);
                let challenge = challenge_of(&response, image)?;
                lock(&self.challenges).insert(image.registry().to_owned(), challenge.clone());
                auth = Some(self.authenticate(&challenge, image, &url, rejected, observer).await?);
                continue;
            }
            if matches!(response.status, 401 | 403) {
                let lookup = self.keyring.find(image).await;
                let message = format!(
                    "it does not exist, or access to it is denied (HTTP {})",
                    response.status
                );
                return Err(token::denied(&lookup, &message, image.registry()));
            }
            return Ok(response);
        }
    }

    /// Returns the authentication for a challenge. `rejected` is the fetch whose token was rejected.
    async fn authenticate(
        &self,
        challenge: &Challenge,
        image: &RegistryRef,
        url: &Url,
        rejected: Option<u64>,
        observer: ObserverRef<'_>,
    ) -> Result<RequestAuth, RegistryFailure> {
        let (realm, service) = match challenge {
            Challenge::Bearer { realm, service } => (realm, service.clone()),
            Challenge::Basic => return self.password(image).await,
        };
        let registry = image.registry().to_owned();
        let realm = Url::parse(realm)
            .map_err(|_| "an invalid URL".to_owned())
            .and_then(|realm| check_redirect(url, &realm).map(|()| realm))
            .map_err(|target| {
                RegistryFailure::unexpected(format!("the token service of {registry} is {target}"))
            })?;
        let scope = format!("repository:{}:pull", image.repository());
        let request = TokenRequest { registry, realm, service, scope };
        let fetch = async || {
            let lookup = self.keyring.find(image).await;
            token::fetch(&self.sender, &request, &lookup, observer).await
        };
        let (token, is_new) = self.tokens.get(&request, rejected, fetch).await?;
        let (authorization, token_fetch) = (token.authorization, Some(token.fetch));
        Ok(RequestAuth { authorization, token_fetch, is_new })
    }

    async fn password(&self, image: &RegistryRef) -> Result<RequestAuth, RegistryFailure> {
        let lookup = self.keyring.find(image).await;
        let authorization = lookup.credential.as_ref().and_then(token::basic_authorization);
        let authorization = authorization.ok_or_else(|| {
            let message = format!("{} requires a user name and a password", image.registry());
            token::denied(&lookup, &message, image.registry())
        })?;
        Ok(RequestAuth { authorization, token_fetch: None, is_new: true })
    }
}

/// Returns the challenge of a 401 response.
fn challenge_of(
    response: &RegistryResponse,
    image: &RegistryRef,
) -> Result<Challenge, RegistryFailure> {
    let headers = response.headers.get_all(WWW_AUTHENTICATE).iter();
    challenge::parse(headers.filter_map(|value| value.to_str().ok())).ok_or_else(|| {
        let message = format!("{} requires a login of an unknown kind", image.registry());
        let help = "imgplan supports Bearer tokens and Basic authentication";
        RegistryFailure::new(RegistryErrorKind::Denied, message, help)
    })
}
