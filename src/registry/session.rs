//! Asks a registry for one manifest, and shows it what it demands first.

use std::collections::HashMap;
use std::sync::Mutex;

use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Method, Url};

use super::challenge::{self, Challenge};
use super::credentials::{Credentials, Keyring};
use super::error::{RegistryErrorKind, RegistryFailure};
use super::manifest::ACCEPT;
use super::throttle::lock;
use super::token::{self, Purpose, Tokens};
use super::url::{blob_url, manifest_url, may_send};
use super::wire::{Answer, Authorization, Wanted, Wire};
use crate::base::reference::{OciDigest, RegistryRef};
use crate::http::notice::ObserverRef;

/// Whoever asks.
pub(super) struct RegistrySession {
    wire: Wire,
    keyring: Keyring,
    tokens: Tokens,
    /// What each registry demanded last: it is shown to it at once from then on.
    demands: Mutex<HashMap<String, Challenge>>,
}

/// What is shown to a registry.
struct Shown {
    authorization: Authorization,
    /// The fetch that a token came from; `None` for a password.
    fetch: Option<u64>,
    /// Whether it was had just now: a registry that rejects it will reject the next one too.
    new: bool,
}

impl RegistrySession {
    pub(super) fn new(wire: Wire, credentials: Credentials) -> Self {
        let keyring = Keyring::new(credentials);
        Self { wire, keyring, tokens: Tokens::default(), demands: Mutex::default() }
    }

    /// Asks for the manifest of an image by a tag or a digest.
    pub(super) async fn manifest(
        &self,
        method: &Method,
        image: &RegistryRef,
        name: &str,
        hear: ObserverRef<'_>,
    ) -> Result<Answer, RegistryFailure> {
        self.ask(method, image, manifest_url(image, name), ACCEPT, hear).await
    }

    /// Asks for what a manifest of an image consists of; of a large one no more than a bounded part.
    pub(super) async fn blob(
        &self,
        image: &RegistryRef,
        digest: OciDigest,
        hear: ObserverRef<'_>,
    ) -> Result<Answer, RegistryFailure> {
        self.ask(&Method::GET, image, blob_url(image, digest), "*/*", hear).await
    }

    async fn ask(
        &self,
        method: &Method,
        image: &RegistryRef,
        url: Option<Url>,
        accept: &'static str,
        hear: ObserverRef<'_>,
    ) -> Result<Answer, RegistryFailure> {
        let url = url.ok_or_else(|| RegistryFailure::odd(format!("{image} has no URL")))?;
        let demand = lock(&self.demands).get(image.registry()).cloned();
        let mut shown = match demand {
            Some(demand) => Some(self.meet(&demand, image, &url, None, hear).await?),
            None => None,
        };
        loop {
            let wanted = Wanted {
                method: method.clone(),
                url: url.clone(),
                accept,
                authorization: shown.as_ref().map(|shown| &shown.authorization),
                form: None,
                roams: true,
            };
            let answer = self.wire.send(&wanted, hear).await?;
            // What was had just now would be had again.
            let may_pass = answer.at_home && shown.as_ref().is_none_or(|shown| !shown.new);
            if answer.status == 401 && may_pass {
                let rejected = shown.as_ref().and_then(|shown| shown.fetch);
                let demand = demanded(&answer, image)?;
                lock(&self.demands).insert(image.registry().to_owned(), demand.clone());
                shown = Some(self.meet(&demand, image, &url, rejected, hear).await?);
                continue;
            }
            if matches!(answer.status, 401 | 403) {
                let lookup = self.keyring.find(image).await;
                let status = answer.status;
                let message =
                    format!("it does not exist, or may not be read by us (HTTP {status})");
                return Err(token::denied(&lookup, &message, image.registry()));
            }
            return Ok(answer);
        }
    }

    /// What meets a demand.
    async fn meet(
        &self,
        demand: &Challenge,
        image: &RegistryRef,
        url: &Url,
        rejected: Option<u64>,
        hear: ObserverRef<'_>,
    ) -> Result<Shown, RegistryFailure> {
        let (realm, service) = match demand {
            Challenge::Bearer { realm, service } => (realm, service.clone()),
            Challenge::Basic => return self.password(image).await,
        };
        let registry = image.registry().to_owned();
        let realm = Url::parse(realm)
            .map_err(|_| "a place that is no URL".to_owned())
            .and_then(|realm| may_send(url, &realm).map(|()| realm))
            .map_err(|place| {
                RegistryFailure::odd(format!("{registry} has its tokens at {place}"))
            })?;
        let scope = format!("repository:{}:pull", image.repository());
        let purpose = Purpose { registry, realm, service, scope };
        let fetch = async || {
            let lookup = self.keyring.find(image).await;
            token::fetch(&self.wire, &purpose, &lookup, hear).await
        };
        let (token, new) = self.tokens.get(&purpose, rejected, fetch).await?;
        Ok(Shown { authorization: token.shown, fetch: Some(token.fetch), new })
    }

    async fn password(&self, image: &RegistryRef) -> Result<Shown, RegistryFailure> {
        let lookup = self.keyring.find(image).await;
        let shown = lookup.credential.as_ref().and_then(token::basic);
        let authorization = shown.ok_or_else(|| {
            let message = format!("{} wants a user and a password", image.registry());
            token::denied(&lookup, &message, image.registry())
        })?;
        Ok(Shown { authorization, fetch: None, new: true })
    }
}

/// What a registry demands that has answered 401.
fn demanded(answer: &Answer, image: &RegistryRef) -> Result<Challenge, RegistryFailure> {
    let headers = answer.headers.get_all(WWW_AUTHENTICATE).iter();
    challenge::read(headers.filter_map(|value| value.to_str().ok())).ok_or_else(|| {
        let message = format!("{} does not say how to log in to it", image.registry());
        let help = "only tokens (Bearer) and passwords (Basic) are known here";
        RegistryFailure::new(RegistryErrorKind::Denied, message, help)
    })
}
