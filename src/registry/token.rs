//! Fetches the tokens that registries demand, one fetch for all who wait for the same, and keeps each
//! for as long as it holds (Docker's "Token Authentication Specification").

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::Instant;

use super::credentials::Lookup;
use super::docker_config::Credential;
use super::error::{self, RegistryErrorKind, RegistryFailure};
use super::throttle::lock;
use super::wire::{Authorization, Wanted, Wire};
use crate::http::notice::ObserverRef;

/// How long a token holds that does not say so.
const DEFAULT_LIFE: u64 = 60;

/// No token is trusted for longer.
const LONGEST_LIFE: u64 = 24 * 3600;

/// So much earlier a token is taken for expired: it takes time to get there, and clocks differ.
const MARGIN: Duration = Duration::from_secs(5);

/// What a token is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Purpose {
    /// The registry that demanded it, and is shown it. Part of the key: another registry that names
    /// the same service must not get a token that it could use there.
    pub(super) registry: String,
    pub(super) realm: Url,
    pub(super) service: Option<String>,
    /// `repository:library/redis:pull`.
    pub(super) scope: String,
}

/// A token.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) shown: Authorization,
    until: Instant,
    /// Which fetch of its purpose it came from.
    pub(super) fetch: u64,
}

/// All tokens so far.
#[derive(Default)]
pub(super) struct Tokens {
    slots: Mutex<HashMap<Purpose, Arc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    /// Fetches that have ended.
    fetches: AtomicU64,
    last: tokio::sync::Mutex<Option<Result<Token, RegistryFailure>>>,
}

impl Tokens {
    /// A token that holds and is not the one of the fetch `rejected`. Whether it is new.
    pub(super) async fn get(
        &self,
        purpose: &Purpose,
        rejected: Option<u64>,
        fetch: impl AsyncFnOnce() -> Result<Grant, RegistryFailure>,
    ) -> Result<(Token, bool), RegistryFailure> {
        let slot = Arc::clone(lock(&self.slots).entry(purpose.clone()).or_default());
        let seen = slot.fetches.load(Ordering::Acquire);
        let mut last = slot.last.lock().await;
        match &*last {
            Some(Ok(token)) if token.until > Instant::now() && Some(token.fetch) != rejected => {
                return Ok((token.clone(), false));
            }
            // It failed while we waited for it: to try again at once would end the same.
            Some(Err(failure)) if slot.fetches.load(Ordering::Acquire) > seen => {
                return Err(failure.clone());
            }
            _ => {}
        }
        let grant = fetch().await;
        let fetch = slot.fetches.fetch_add(1, Ordering::AcqRel) + 1;
        let token = grant.map(|Grant { shown, until }| Token { shown, until, fetch });
        *last = Some(token.clone());
        Ok((token?, true))
    }
}

/// What a token service gave.
pub(super) struct Grant {
    shown: Authorization,
    until: Instant,
}

/// The fields of its answer that are read.
#[derive(Deserialize)]
struct Body {
    token: Option<String>,
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

/// Fetches a token, with a credential or, where there is none, as anybody.
pub(super) async fn fetch(
    wire: &Wire,
    purpose: &Purpose,
    lookup: &Lookup,
    hear: ObserverRef<'_>,
) -> Result<Grant, RegistryFailure> {
    let mut url = purpose.realm.clone();
    let mut authorization = None;
    let mut form = None;
    match &lookup.credential {
        Some(Credential::Identity(token)) => form = Some(refresh(purpose, token)),
        credential => {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &purpose.service {
                query.append_pair("service", service);
            }
            query.append_pair("scope", &purpose.scope);
            drop(query);
            authorization = credential.as_ref().and_then(basic);
        }
    }
    let mut secrets = Authorization::secrets(authorization.as_ref());
    if let Some(Credential::Identity(token)) = &lookup.credential {
        secrets.push(token.expose_secret());
    }
    let wanted = Wanted {
        method: if form.is_some() { Method::POST } else { Method::GET },
        url,
        accept: "application/json",
        authorization: authorization.as_ref(),
        form,
        roams: false,
    };
    let asked = Instant::now();
    let answer = wire.send(&wanted, hear).await?;
    let host = purpose.realm.host_str().unwrap_or_default();
    match answer.status {
        200..=299 => grant(&answer.body, asked).ok_or_else(|| {
            RegistryFailure::odd(format!("{host} was asked for a token and gave none"))
        }),
        status @ (400 | 401 | 403 | 404) => {
            let said = error::answer(status, &answer.body, &secrets);
            let whom = if lookup.credential.is_some() { "these credentials" } else { "nobody" };
            Err(denied(
                lookup,
                &format!("{host} gives no token to {whom} ({said})"),
                &purpose.registry,
            ))
        }
        status => {
            let said = error::answer(status, &answer.body, &secrets);
            Err(RegistryFailure::odd(format!(
                "{host} was asked for a token and gave none ({said})"
            )))
        }
    }
}

/// The failure for what may not be read, with what can be done about it.
pub(super) fn denied(lookup: &Lookup, message: &str, registry: &str) -> RegistryFailure {
    let help = match (&lookup.trouble, &lookup.credential) {
        (Some(trouble), _) => format!("no credentials were found: {trouble}"),
        (None, Some(_)) => {
            format!("see that the name is right, or log in anew with `docker login {registry}`")
        }
        (None, None) => {
            format!("see that the name is right, or log in with `docker login {registry}`")
        }
    };
    RegistryFailure::new(RegistryErrorKind::Denied, message, help)
}

/// A user and a password as a header has them.
pub(super) fn basic(credential: &Credential) -> Option<Authorization> {
    let Credential::Password { user, password } = credential else { return None };
    let shown = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
    Authorization::new("Basic", &shown, vec![password.clone()])
}

/// The form that exchanges an identity token (Docker's "Authenticate with OAuth2": `POST /token`).
fn refresh(purpose: &Purpose, token: &SecretString) -> SecretString {
    let mut form = purpose.realm.clone();
    form.query_pairs_mut()
        .clear()
        .append_pair("grant_type", "refresh_token")
        .append_pair("service", purpose.service.as_deref().unwrap_or_default())
        .append_pair("scope", &purpose.scope)
        .append_pair("client_id", "imgplan")
        .append_pair("refresh_token", token.expose_secret());
    form.query().unwrap_or_default().into()
}

fn grant(body: &[u8], asked: Instant) -> Option<Grant> {
    let body: Body = serde_json::from_slice(body).ok()?;
    let filled = |token: &String| !token.is_empty();
    let token = body.token.filter(filled).or(body.access_token.filter(filled))?;
    let shown = Authorization::new("Bearer", &token, Vec::new())?;
    Some(Grant { shown, until: asked + life(body.expires_in) })
}

/// How long a token is used that holds for so many seconds.
fn life(expires_in: Option<f64>) -> Duration {
    let said = expires_in.and_then(|secs| Duration::try_from_secs_f64(secs).ok());
    let life = said.filter(|life| !life.is_zero()).unwrap_or(Duration::from_secs(DEFAULT_LIFE));
    let life = life.min(Duration::from_secs(LONGEST_LIFE));
    life.saturating_sub(MARGIN).max(life / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_a_little_less_long_than_it_holds() {
        let table = [
            (None, 55.0),
            (Some(300.0), 295.0),
            (Some(10.0), 5.0),
            (Some(2.0), 1.0),
            (Some(0.0), 55.0),
            (Some(-1.0), 55.0),
            (Some(f64::MAX), 55.0),
            (Some(1e9), 86_395.0),
        ];
        for (said, expected) in table {
            assert!((life(said).as_secs_f64() - expected).abs() < 1e-9, "{said:?}");
        }
    }

    #[test]
    fn tokens_of_both_names() {
        let secret = |body: &str| {
            let grant = grant(body.as_bytes(), Instant::now())?;
            Some(Authorization::secrets(Some(&grant.shown)).join(" "))
        };
        assert_eq!(secret(r#"{"token":"a","access_token":"b"}"#).as_deref(), Some("a"));
        assert_eq!(
            secret(r#"{"token":"","access_token":"b","expires_in":300}"#).as_deref(),
            Some("b")
        );
        for none in ["{}", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, r#"{"token":1}"#, "[]", "x"] {
            assert_eq!(secret(none), None, "{none}");
        }
    }

    #[test]
    fn a_form_has_all_that_is_asked_for() {
        let purpose = Purpose {
            registry: "r".to_owned(),
            realm: Url::parse("https://a/t?x=1").unwrap(),
            service: Some("s s".to_owned()),
            scope: "repository:a/b:pull".to_owned(),
        };
        assert_eq!(
            refresh(&purpose, &"t&k".into()).expose_secret(),
            "grant_type=refresh_token&service=s+s&scope=repository%3Aa%2Fb%3Apull&client_id=imgplan&\
             refresh_token=t%26k"
        );
    }
}
