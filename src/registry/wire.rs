//! Sends one request as often as [`retry`] allows, each time when its host has a turn for it, follows
//! it to where it is sent on, and reads its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Request, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout};

use super::error::{self, RegistryErrorKind, RegistryFailure, without};
use super::retry;
use super::throttle::{HostThrottles, SendPermit};
use super::url::{may_send, origin};
use crate::http::backoff::{Jitter, MAX_RETRY_AFTER};
use crate::http::body::{BodyError, BodyLimits, read_body};
use crate::http::header;
use crate::http::notice::{Notice, ObserverRef};
use crate::http::{Transport, TransportError};

/// How long the head of an answer may take.
const HEAD: Duration = Duration::from_secs(30);

/// How long one request may take in all, after the time for its head.
const REST: Duration = Duration::from_secs(30);

/// The largest manifest that registries have to take (OCI distribution specification, "Pushing
/// Manifests").
const MOST_BYTES: usize = 4 << 20;

/// So often one request may be sent on.
const MOST_HOPS: u32 = 5;

/// So often one request may meet a 429, whatever the others meet.
const MOST_REFUSALS: u32 = 10;

/// One request.
pub(super) struct Wanted<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) accept: &'static str,
    pub(super) authorization: Option<&'a Authorization>,
    pub(super) form: Option<SecretString>,
    /// Whether it may be sent on to another host, without what is secret about it.
    pub(super) roams: bool,
}

/// What a request shows so that it is answered. Never leaves the origin that it is for.
#[derive(Debug, Clone)]
pub(super) struct Authorization {
    /// `Bearer` or `Basic`, and what follows: a header's value.
    value: HeaderValue,
    /// The secrets in it, none of which may come back in an error.
    secrets: Vec<SecretString>,
}

impl Authorization {
    /// `None` where it cannot stand in a header.
    pub(super) fn new(scheme: &str, shown: &str, secrets: Vec<SecretString>) -> Option<Self> {
        let mut value = HeaderValue::from_str(&format!("{scheme} {shown}")).ok()?;
        value.set_sensitive(true);
        let secrets = secrets.into_iter().chain([shown.into()]).collect();
        Some(Self { value, secrets })
    }

    /// The secrets, to be taken out of texts.
    pub(super) fn secrets(this: Option<&Self>) -> Vec<&str> {
        let secrets = this.into_iter().flat_map(|this| &this.secrets);
        secrets.map(ExposeSecret::expose_secret).collect()
    }
}

/// An answer that is neither a 429, nor trouble, nor a redirect.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether whoever was asked answered, and not somebody whom the request was sent on to.
    pub(super) at_home: bool,
}

/// All that sends requests.
pub(super) struct Wire {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) hosts: HostThrottles,
    /// Tries at one request, at most.
    pub(super) tries: u32,
    pub(super) jitter: Jitter,
}

/// Why one try came to nothing.
enum Miss {
    /// It may be sent again at once: the host waits by itself.
    Refused,
    /// It may pass. Whether there is no way to the host at all.
    Trouble {
        why: RegistryFailure,
        status: Option<u16>,
        asked: Option<Duration>,
        no_way: bool,
        origin: String,
    },
    Final(RegistryFailure),
}

impl From<RegistryFailure> for Miss {
    fn from(failure: RegistryFailure) -> Self {
        Self::Final(failure)
    }
}

impl Wire {
    /// Sends a request until there is an answer to it, or it should not be sent again.
    pub(super) async fn send(
        &self,
        wanted: &Wanted<'_>,
        hear: ObserverRef<'_>,
    ) -> Result<Answer, RegistryFailure> {
        let host = self.hosts.get(origin(&wanted.url));
        let _seat = host.seat().await?;
        let (mut failed, mut refusals) = (0, 0);
        loop {
            match self.once(wanted, hear).await {
                Ok(answer) => return Ok(answer),
                Err(Miss::Final(failure)) => return Err(failure),
                Err(Miss::Refused) => {
                    refusals += 1;
                    if refusals >= MOST_REFUSALS {
                        let message = format!("{} refuses again and again", host.name);
                        let (kind, help) = (RegistryErrorKind::RateLimited, "try again later");
                        return Err(RegistryFailure::new(kind, message, help));
                    }
                }
                Err(Miss::Trouble { why, status, asked, no_way, origin }) => {
                    failed += 1;
                    let too_long = asked.is_some_and(|asked| asked > MAX_RETRY_AFTER);
                    if failed >= self.tries || too_long {
                        self.hosts.get(origin).gave_up(&why, no_way);
                        return Err(why);
                    }
                    let wait = retry::wait(failed, asked, self.jitter.draw());
                    hear(Notice::Retry {
                        registry: Some(host.name.clone()),
                        action: "query the registry",
                        class: None,
                        attempt: failed,
                        status,
                        why: why.message,
                        wait,
                    });
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Sends a request once, and on to wherever it is sent on to.
    async fn once(&self, wanted: &Wanted<'_>, hear: ObserverRef<'_>) -> Result<Answer, Miss> {
        let (home, mut url) = (wanted.url.origin(), wanted.url.clone());
        // Once it has left home, it does not get back what is secret about it.
        let mut at_home = true;
        for _ in 0..=MOST_HOPS {
            let origin = origin(&url);
            let host = self.hosts.get(origin.clone());
            let turn = host.turn().await?;
            let deadline = Instant::now() + HEAD + REST;
            let request = request(wanted, &url, at_home);
            let secrets = Authorization::secrets(wanted.authorization);
            let trouble = |why: String, status: Option<StatusCode>, asked, no_way| {
                let status = status.map(|status| status.as_u16());
                let message =
                    format!("{}: {}", host.name, error::shorten(&without(&why, &secrets)));
                let help = "see that the registry's name is right and the network is up";
                let why = RegistryFailure::new(RegistryErrorKind::Unreachable, message, help);
                Miss::Trouble { why, status, asked, no_way, origin: origin.clone() }
            };
            let answer = match timeout(HEAD, self.transport.send(request)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(TransportError { sent, message })) => {
                    return Err(trouble(message, None, None, !sent));
                }
                Err(_) => return Err(trouble(silent(HEAD), None, None, false)),
            };
            let (status, headers) = (answer.status(), answer.headers().clone());
            if is_redirect(status) {
                turn.accepted();
                let next = next(wanted, &url, &headers)?;
                at_home = at_home && next.origin() == home;
                url = next;
                continue;
            }
            let limits = BodyLimits { max_bytes: MOST_BYTES, max_silence: HEAD + REST, deadline };
            let mut body = Vec::new();
            match read_body(answer, limits, &mut body).await {
                Err(BodyError::TooLarge) => {
                    let most = MOST_BYTES >> 20;
                    let message = format!("{} sends more than {most} MiB", host.name);
                    return Err(RegistryFailure::odd(message).into());
                }
                Err(BodyError::Broken(error)) if status.is_success() => {
                    return Err(trouble(error.message, Some(status), None, false));
                }
                Err(BodyError::Silent | BodyError::TimedOut) if status.is_success() => {
                    return Err(trouble(silent(HEAD + REST), Some(status), None, false));
                }
                // The status of an error response says enough.
                Ok(()) | Err(_) => {}
            }
            let asked = header::retry_after(&headers, Timestamp::now());
            let said = || error::answer(status.as_u16(), &body, &secrets);
            if status == StatusCode::TOO_MANY_REQUESTS {
                return Err(refused(&turn, &host.name, asked, &said(), hear));
            }
            if retry::is_trouble(status.as_u16()) {
                return Err(trouble(said(), Some(status), asked, false));
            }
            turn.accepted();
            return Ok(Answer { status: status.as_u16(), headers, body: body.into(), at_home });
        }
        Err(RegistryFailure::odd(format!(
            "it is redirected on and on, at last by {}",
            origin(&url)
        ))
        .into())
    }
}

/// Where an answer sends a request on to, if it may go there.
fn next(wanted: &Wanted<'_>, from: &Url, headers: &HeaderMap) -> Result<Url, RegistryFailure> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let by = origin(from);
    let Some(to) = location.and_then(|to| from.join(to).ok()) else {
        return Err(RegistryFailure::odd(format!("{by} redirects, and does not say where")));
    };
    may_send(from, &to)
        .map_err(|place| RegistryFailure::odd(format!("{by} redirects to {place}")))?;
    let leaves = to.origin() != from.origin();
    if wanted.form.is_some() || (leaves && !wanted.roams) {
        let to = origin(&to);
        return Err(RegistryFailure::odd(format!(
            "{by} redirects to {to}, where no secret may go"
        )));
    }
    Ok(to)
}

/// Takes in a 429.
fn refused(
    turn: &SendPermit<'_>,
    host: &str,
    asked: Option<Duration>,
    said: &str,
    hear: ObserverRef<'_>,
) -> Miss {
    match turn.refused(asked, said) {
        Ok(new) => {
            if let Some(wait) = new {
                hear(Notice::RegistryPaused { registry: host.to_owned(), wait });
            }
            Miss::Refused
        }
        Err(failure) => failure.into(),
    }
}

fn request(wanted: &Wanted<'_>, url: &Url, at_home: bool) -> Request {
    let mut request = Request::new(wanted.method.clone(), url.clone());
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static(wanted.accept));
    if let Some(authorization) = wanted.authorization.filter(|_| at_home) {
        headers.insert(AUTHORIZATION, authorization.value.clone());
    }
    if let Some(form) = &wanted.form {
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, kind);
        *request.body_mut() = Some(form.expose_secret().to_owned().into());
    }
    request
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn silent(waited: Duration) -> String {
    format!("no whole answer came in {} s", waited.as_secs())
}
