//! What a reference points to now, asked so that it costs a registry little: a HEAD, and a GET only
//! where that has changed and is an index.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::credentials::Credentials;
use super::error::{self, RegistryError, RegistryErrorKind, RegistryFailure};
use super::header;
use super::manifest::{self, Kind};
use super::session::RegistrySession;
use super::throttle::HostThrottles;
use super::wire::{Answer, Wire};
use crate::base::limit::Limit;
use crate::base::name::Platform;
use crate::base::reference::{OciDigest, RegistryRef};
use crate::http::backoff::Jitter;
use crate::http::notice::{Notice, ObserverRef};
use crate::http::transport::{Network, Transport, TransportError};

/// How registries are asked.
#[derive(Clone)]
pub struct RegistryConfig {
    /// Where credentials are, for those that ask for them.
    pub credentials: Credentials,
    /// Requests to one host. No registry publishes what it bears, so this is a guess at what none
    /// minds.
    pub budget: Limit,
    /// Requests under way to one host.
    pub concurrency: usize,
    /// Tries at one request where there is no connection or the host is in trouble, the first one
    /// among them. A 429 has rules of its own.
    pub tries: u32,
    /// Who we say that we are.
    pub user_agent: String,
    /// What carries requests, if not the network.
    pub transport: Option<Arc<dyn Transport>>,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            credentials: Credentials::none(),
            budget: Limit { count: 100, window: Duration::from_secs(10) },
            concurrency: 8,
            tries: 3,
            user_agent: concat!("imgplan/", env!("CARGO_PKG_VERSION")).to_owned(),
            transport: None,
        }
    }
}

/// What a reference points to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Of what the tag names: an index, or a manifest.
    pub digest: OciDigest,
    /// Of the manifest of each platform that it has. Empty where it is one manifest whose platform
    /// is not known, or an index that does not say for which its manifests are.
    #[serde(default)]
    pub platforms: BTreeMap<Platform, OciDigest>,
}

/// All foreign registries, with what was learned of them so far. Cheap to clone; one a process.
#[derive(Clone)]
pub struct Registries {
    session: Arc<RegistrySession>,
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registries").finish_non_exhaustive()
    }
}

impl Registries {
    /// Fails where no connection can be made secure.
    pub fn new(config: RegistryConfig) -> Result<Self, TransportError> {
        let transport = match config.transport {
            Some(transport) => transport,
            None => Arc::new(Network::new(&config.user_agent)?),
        };
        let hosts = HostThrottles::new(config.budget, config.concurrency);
        // Without entropy all wait alike; that is all.
        let jitter = Jitter::new(getrandom::u64().unwrap_or_default());
        let wire = Wire { transport, hosts, tries: config.tries, jitter };
        Ok(Self { session: Arc::new(RegistrySession::new(wire, config.credentials)) })
    }

    /// What a reference points to now. Where that is what is `known`, one HEAD has told so. What a
    /// digest names does not change: where it is known, nobody is asked.
    pub async fn resolve(
        &self,
        wanted: &RegistryRef,
        known: Option<&Resolved>,
    ) -> Result<Resolved, RegistryError> {
        self.resolve_told(wanted, known, &|_| ()).await
    }

    /// Many at once, each reference once. Answers in the order in which they were asked for; `tell`
    /// hears of each, and of what takes time. A host that cannot be reached fails its own references,
    /// all at once, and no others.
    pub async fn resolve_all(
        &self,
        wanted: &[(RegistryRef, Option<Resolved>)],
        tell: ObserverRef<'_>,
    ) -> Vec<Result<Resolved, RegistryError>> {
        let mut once: Vec<(&RegistryRef, Option<&Resolved>)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut asked = Vec::with_capacity(wanted.len());
        for (reference, known) in wanted {
            let place = *places.entry(reference.to_string()).or_insert(once.len());
            match once.get_mut(place) {
                Some((_, first)) => *first = first.or(known.as_ref()),
                None => once.push((reference, known.as_ref())),
            }
            asked.push(place);
        }
        let one = async |place: usize, reference, known| {
            (place, self.resolve_told(reference, known, tell).await)
        };
        let numbered = once.iter().enumerate();
        let mut under_way: FuturesUnordered<_> =
            numbered.map(|(place, (reference, known))| one(place, *reference, *known)).collect();
        let mut answers: Vec<Option<Result<Resolved, RegistryError>>> = vec![None; once.len()];
        let mut done = 0;
        while let Some((place, answer)) = under_way.next().await {
            done += 1;
            if let Some(free) = answers.get_mut(place) {
                *free = Some(answer);
            }
            let total = once.len();
            if let Some((reference, _)) = once.get(place) {
                tell(Notice::LookupDone { registry: reference.registry().to_owned(), done, total });
            }
        }
        // Each place has its answer by now, so none is left out.
        asked.into_iter().filter_map(|place| answers.get(place)?.clone()).collect()
    }

    async fn resolve_told(
        &self,
        wanted: &RegistryRef,
        known: Option<&Resolved>,
        hear: ObserverRef<'_>,
    ) -> Result<Resolved, RegistryError> {
        if let Some(known) = known.filter(|known| wanted.digest() == Some(known.digest)) {
            return Ok(known.clone());
        }
        self.find(wanted, known, hear).await.map_err(|failure| failure.of(wanted))
    }

    async fn find(
        &self,
        wanted: &RegistryRef,
        known: Option<&Resolved>,
        hear: ObserverRef<'_>,
    ) -> Result<Resolved, RegistryFailure> {
        let name = match (wanted.digest(), wanted.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_string(),
            (None, None) => "latest".to_owned(),
        };
        let head = self.session.manifest(&Method::HEAD, wanted, &name, hear).await?;
        // Where HEAD is not known, or a registry does not tell it more, GET says what there is, if
        // only why there is nothing.
        if !matches!(head.status, 200 | 404 | 405 | 501) {
            return Err(not_had(&head, wanted));
        }
        let digest = header::digest(&head.headers).filter(|_| head.status == 200);
        let Some(digest) = digest else {
            return self.fetch(wanted, &name, wanted.digest(), known, hear).await;
        };
        if wanted.digest().is_some_and(|asked| asked != digest) {
            return Err(lied());
        }
        if let Some(known) = known.filter(|known| known.digest == digest) {
            return Ok(known.clone());
        }
        match manifest::kind(header::content_type(&head.headers)) {
            Kind::Manifest => Ok(Resolved { digest, platforms: BTreeMap::new() }),
            Kind::Index | Kind::Unsaid => {
                self.fetch(wanted, &digest.to_string(), Some(digest), known, hear).await
            }
        }
    }

    /// Fetches a manifest and takes its digest from its bytes, which must be the one that is
    /// `expected`, if any is.
    async fn fetch(
        &self,
        wanted: &RegistryRef,
        name: &str,
        expected: Option<OciDigest>,
        known: Option<&Resolved>,
        hear: ObserverRef<'_>,
    ) -> Result<Resolved, RegistryFailure> {
        let answer = self.session.manifest(&Method::GET, wanted, name, hear).await?;
        if answer.status != 200 {
            return Err(not_had(&answer, wanted));
        }
        let digest = OciDigest::of(&answer.body);
        let said = header::digest(&answer.headers);
        if [expected, said].into_iter().flatten().any(|other| other != digest) {
            return Err(lied());
        }
        if let Some(known) = known.filter(|known| known.digest == digest) {
            return Ok(known.clone());
        }
        let platforms = manifest::platforms(&answer.body).map_err(RegistryFailure::odd)?;
        if platforms.is_empty() && manifest::is_foreign(&answer.body) {
            let message = "it has images for other platforms only than linux/amd64 and linux/arm64";
            let help = "name an image that has one of these";
            return Err(RegistryFailure::new(RegistryErrorKind::NotFound, message, help));
        }
        Ok(Resolved { digest, platforms })
    }

    /// The platform that one image is for, by its configuration: two requests, which only what is
    /// pinned is worth. `None` where its registry does not give that, or it is none of ours.
    pub async fn platform(
        &self,
        wanted: &RegistryRef,
        image: OciDigest,
        tell: ObserverRef<'_>,
    ) -> Option<Platform> {
        let get = &Method::GET;
        let manifest = self.session.manifest(get, wanted, &image.to_string(), tell).await.ok()?;
        let config = manifest::config(&whole(manifest, image)?)?;
        let answer = self.session.blob(wanted, config, tell).await.ok()?;
        manifest::platform(&whole(answer, config)?)
    }
}

/// What was asked for by its digest, if that is what came.
fn whole(answer: Answer, digest: OciDigest) -> Option<Bytes> {
    (answer.status == 200 && OciDigest::of(&answer.body) == digest).then_some(answer.body)
}

fn lied() -> RegistryFailure {
    RegistryFailure::odd("what the registry sent does not have the digest that it should have")
}

/// The failure for an answer without a manifest.
fn not_had(answer: &Answer, wanted: &RegistryRef) -> RegistryFailure {
    let said = error::said(&answer.body);
    let code = said.as_ref().and_then(|said| said.code.as_deref());
    let what = match (answer.status, code) {
        (404, Some("NAME_UNKNOWN" | "NAME_INVALID")) => "repository",
        // Many say the same of a repository that they do not have.
        (404, Some(_)) if wanted.digest().is_some() => "digest, or no such repository",
        (404, Some(_)) => "tag, or no such repository",
        _ => {
            let said = error::answer(answer.status, &answer.body, &[]);
            return RegistryFailure::odd(format!("the registry answers with {said}"));
        }
    };
    let message = format!("the registry has no such {what}");
    RegistryFailure::new(
        RegistryErrorKind::NotFound,
        message,
        "see that the name and the tag are right",
    )
}
