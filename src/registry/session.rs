//! Requests manifests and blobs from registries, with the authentication that each registry requires.

use std::collections::HashMap;
use std::sync::Mutex;

use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Method, Url};

use super::authorization::Authorization;
use super::challenge::{self, Challenge, RepositoryAccess};
use super::credentials::{CredentialLookup, Credentials, Keyring};
use super::error::{RegistryErrorKind, RegistryFailure};
use super::manifest::ACCEPT;
use super::message::{RegistryRequest, RegistryResponse, RequestBody};
use super::throttle::lock;
use super::token::{self, TokenCache, TokenRequest};
use super::url::{RegistryProtocol, repository};
use super::wire::RequestSender;
use crate::base::reference::{OciDigest, RegistryRef};
use crate::http::notice::ObserverRef;
use crate::http::target::{check_target, origin};

/// Maximum number of challenges that are met for one request. More than one is rare: a token expires, or
/// a registry redirects to another one.
const MAX_CHALLENGES: u32 = 4;

/// Number of expected challenges at which they are forgotten, so that a process that runs for months does
/// not grow with every repository.
const MAX_EXPECTED_CHALLENGES: usize = 1000;

/// Authenticated access to all registries.
pub(super) struct RegistrySession {
    pub(super) sender: RequestSender,
    pub(super) protocol: RegistryProtocol,
    keyring: Keyring,
    tokens: TokenCache,
    /// Challenges to expect, so that later requests are authenticated from the start: by registry and
    /// repository, or by registry alone if all its repositories have the same challenge.
    challenges: Mutex<HashMap<ChallengeKey, Challenge>>,
}

/// A registry, a repository of it if its challenge is its own, and the access.
type ChallengeKey = (String, Option<String>, RepositoryAccess);

/// A request about an image.
pub(super) struct ImageRequest<'a> {
    pub(super) method: Method,
    pub(super) image: &'a RegistryRef,
    /// `None` if the reference is not valid in a URL.
    pub(super) url: Option<Url>,
    pub(super) accept: &'static [&'static str],
    pub(super) access: RepositoryAccess,
    pub(super) body: RequestBody,
    /// True if the caller reads the body of a success.
    pub(super) leaves_body: bool,
}

impl<'a> ImageRequest<'a> {
    /// Returns a request that reads, and whose response is small.
    pub(super) fn read(method: &Method, image: &'a RegistryRef, url: Option<Url>) -> Self {
        Self {
            method: method.clone(),
            image,
            url,
            accept: &["*/*"],
            access: RepositoryAccess::Pull,
            body: RequestBody::Empty,
            leaves_body: false,
        }
    }
}

/// The registry that answers a request: that of the image, or one to which it redirects.
struct RegistryServer<'a> {
    image: &'a RegistryRef,
    access: RepositoryAccess,
    url: Url,
    /// True for a registry that another one chose. It gets no credentials.
    is_redirected: bool,
}

impl RegistryServer<'_> {
    fn name(&self) -> String {
        if self.is_redirected { origin(&self.url) } else { self.image.registry().to_owned() }
    }
}

/// The authentication of one request.
struct RequestAuth {
    authorization: Authorization,
    /// The token, as its request and the number of its fetch. `None` for a password.
    token: Option<(TokenRequest, u64)>,
    /// True for a password and for a token that was fetched for this request. If the registry rejects
    /// it, another try would fail as well.
    is_new: bool,
}

impl RegistrySession {
    pub(super) fn new(
        sender: RequestSender,
        credentials: Credentials,
        protocol: RegistryProtocol,
    ) -> Self {
        Self {
            sender,
            protocol,
            keyring: Keyring::new(credentials),
            tokens: TokenCache::default(),
            challenges: Mutex::default(),
        }
    }

    /// Requests the manifest of an image by `name`, which is a tag or a digest.
    ///
    /// # Errors
    ///
    /// Fails if the registry cannot be reached or denies access. Other statuses are returned, for HEAD
    /// also 403: some registries deny HEAD only.
    pub(super) async fn manifest(
        &self,
        method: &Method,
        image: &RegistryRef,
        name: &str,
        observer: ObserverRef<'_>,
    ) -> Result<RegistryResponse, RegistryFailure> {
        let url = self.protocol.manifest_url(image, name);
        let request = ImageRequest { accept: ACCEPT, ..ImageRequest::read(method, image, url) };
        self.request(request, observer).await
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
        let url = self.protocol.blob_url(image, digest);
        self.request(ImageRequest::read(&Method::GET, image, url), observer).await
    }

    /// Sends a request, and meets the challenges of the registry. A request that only reads may be
    /// redirected to another host, which gets no credentials.
    ///
    /// # Errors
    ///
    /// Fails as [`RegistrySession::manifest`] does.
    pub(super) async fn request(
        &self,
        request: ImageRequest<'_>,
        observer: ObserverRef<'_>,
    ) -> Result<RegistryResponse, RegistryFailure> {
        let ImageRequest { method, image, url, accept, access, body, leaves_body } = request;
        let mut server =
            RegistryServer { image, access, url: valid(url, image)?, is_redirected: false };
        let mut auth = self.expected_auth(&server, observer).await?;
        let mut challenges = 0;
        loop {
            let request = RegistryRequest {
                method: method.clone(),
                url: server.url.clone(),
                accept,
                authorization: auth.as_ref().map(|auth| &auth.authorization),
                body: body.clone(),
                follows_to_other_hosts: matches!(method, Method::GET | Method::HEAD),
                leaves_body,
            };
            let response = self.sender.send(&request, observer).await?;
            if !response.from_first_origin {
                (server.url, server.is_redirected) = (response.url.clone(), true);
                auth = None;
            }
            let is_denied = match response.status {
                401 => true,
                403 => method != Method::HEAD,
                _ => false,
            };
            if !is_denied {
                return Ok(response);
            }
            let next = match response.status {
                401 if challenges < MAX_CHALLENGES => {
                    self.meet_challenge(&response, &server, auth.as_ref(), observer).await?
                }
                _ => None,
            };
            if next.is_none() {
                let status = response.status;
                let message =
                    format!("it does not exist, or access to it is denied (HTTP {status})");
                let lookup = self.credential_for(&server).await;
                return Err(token::denied(&lookup, &message, image.registry()));
            }
            (auth, challenges) = (next, challenges + 1);
        }
    }

    /// Returns the header with which the registry of an image will probably accept a request to `url`.
    /// `None` if it requires no authentication, as far as is known.
    ///
    /// # Errors
    ///
    /// Fails if a token is needed and cannot be fetched.
    pub(super) async fn expected_authorization(
        &self,
        image: &RegistryRef,
        access: RepositoryAccess,
        url: &Url,
        observer: ObserverRef<'_>,
    ) -> Result<Option<Authorization>, RegistryFailure> {
        let server = RegistryServer { image, access, url: url.clone(), is_redirected: false };
        Ok(self.expected_auth(&server, observer).await?.map(|auth| auth.authorization))
    }

    async fn expected_auth(
        &self,
        server: &RegistryServer<'_>,
        observer: ObserverRef<'_>,
    ) -> Result<Option<RequestAuth>, RegistryFailure> {
        match self.expected_challenge(server.image, server.access) {
            Some(challenge) => self.authenticate(&challenge, server, None, observer).await,
            None => Ok(None),
        }
    }

    fn expected_challenge(
        &self,
        image: &RegistryRef,
        access: RepositoryAccess,
    ) -> Option<Challenge> {
        let challenges = lock(&self.challenges);
        let (registry, repository) = (image.registry().to_owned(), image.repository().to_owned());
        let of_repository = challenges.get(&(registry.clone(), Some(repository), access));
        of_repository.or_else(|| challenges.get(&(registry, None, access))).cloned()
    }

    /// Returns the authentication for a 401 response to a request with the authentication `rejected`.
    /// `None` if that was the best one.
    async fn meet_challenge(
        &self,
        response: &RegistryResponse,
        server: &RegistryServer<'_>,
        rejected: Option<&RequestAuth>,
        observer: ObserverRef<'_>,
    ) -> Result<Option<RequestAuth>, RegistryFailure> {
        let headers = response.headers.get_all(WWW_AUTHENTICATE).iter();
        let challenge = challenge::parse(headers.filter_map(|value| value.to_str().ok()));
        let Some(challenge) = challenge else {
            // A storage to which a registry redirects sends no challenge.
            if server.is_redirected {
                return Ok(None);
            }
            let message = format!("{} requires a login of an unknown kind", server.name());
            let help = "imgplan supports Bearer tokens and Basic authentication";
            return Err(RegistryFailure::new(RegistryErrorKind::Denied, message, help));
        };
        if !server.is_redirected {
            let (registry, repository) = (server.image.registry(), server.image.repository());
            let of_all = challenge.of_other_repositories(repository, server.access);
            let (key, expected) = match of_all {
                Some(of_all) => (None, of_all),
                None => (Some(repository.to_owned()), challenge.clone()),
            };
            let mut challenges = lock(&self.challenges);
            if challenges.len() >= MAX_EXPECTED_CHALLENGES {
                challenges.clear();
            }
            challenges.insert((registry.to_owned(), key, server.access), expected);
        }
        self.authenticate(&challenge, server, rejected, observer).await
    }

    /// Returns the authentication for a challenge. `None` if it would be `rejected` again.
    async fn authenticate(
        &self,
        challenge: &Challenge,
        server: &RegistryServer<'_>,
        rejected: Option<&RequestAuth>,
        observer: ObserverRef<'_>,
    ) -> Result<Option<RequestAuth>, RegistryFailure> {
        let Challenge::Bearer { realm, service, scope } = challenge else {
            let is_rejected = rejected.is_some_and(|auth| auth.token.is_none());
            return if is_rejected { Ok(None) } else { self.password(server).await.map(Some) };
        };
        let registry = server.name();
        let realm = Url::parse(realm)
            .map_err(|_| "an invalid URL".to_owned())
            .and_then(|realm| check_target(&server.url, &realm).map(|()| realm))
            .map_err(|target| {
                RegistryFailure::unexpected(format!("the token service of {registry} is {target}"))
            })?;
        // A registry behind a proxy that rewrites paths knows its own names only.
        let usual_scope = || repository(&server.url).map(|name| server.access.scope(name));
        let scope = scope.clone().or_else(usual_scope).unwrap_or_default();
        let (service, is_anonymous) = (service.clone(), server.is_redirected);
        let request = TokenRequest { registry, is_anonymous, realm, service, scope };
        let rejected = rejected.and_then(|auth| {
            let (_, fetch) = auth.token.as_ref().filter(|(rejected, _)| *rejected == request)?;
            Some((*fetch, auth.is_new))
        });
        if matches!(rejected, Some((_, true))) {
            return Ok(None);
        }
        let fetch = async || {
            let lookup = self.credential_for(server).await;
            token::fetch(&self.sender, &request, &lookup, observer).await
        };
        let rejected = rejected.map(|(fetch, _)| fetch);
        let (token, is_new) = self.tokens.get(&request, rejected, fetch).await?;
        let authorization = token.authorization;
        Ok(Some(RequestAuth { authorization, token: Some((request, token.fetch)), is_new }))
    }

    async fn password(&self, server: &RegistryServer<'_>) -> Result<RequestAuth, RegistryFailure> {
        let lookup = self.credential_for(server).await;
        let authorization = lookup.credential.as_ref().and_then(token::basic_authorization);
        let authorization = authorization.ok_or_else(|| {
            let message = format!("{} requires a user name and a password", server.name());
            token::denied(&lookup, &message, server.image.registry())
        })?;
        Ok(RequestAuth { authorization, token: None, is_new: true })
    }

    /// Returns the file or the program that has the user's credential for an image, which is sent if the
    /// registry requires one. Fails with the problem for which there is none.
    pub(super) async fn credential_source(
        &self,
        image: &RegistryRef,
    ) -> Result<Option<String>, String> {
        let CredentialLookup { source, problem, .. } = self.keyring.find(image).await;
        problem.map_or(Ok(source), Err)
    }

    /// Returns the credential for a server. It is sent to the registry that the user named, and to no
    /// other one.
    async fn credential_for(&self, server: &RegistryServer<'_>) -> CredentialLookup {
        if !server.is_redirected {
            return self.keyring.find(server.image).await;
        }
        let problem = format!(
            "{} redirects to {}, and credentials do not follow redirects to another host",
            server.image.registry(),
            server.name()
        );
        CredentialLookup { problem: Some(problem), ..CredentialLookup::default() }
    }
}

/// Returns the URL of a request about an image.
fn valid(url: Option<Url>, image: &RegistryRef) -> Result<Url, RegistryFailure> {
    let invalid = || RegistryFailure::unexpected(format!("{image} cannot be written as a URL"));
    url.ok_or_else(invalid)
}
