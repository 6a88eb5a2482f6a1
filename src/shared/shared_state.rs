//! A shared state: finds, creates and reads it, and takes a shard away from a run that has died.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::SharedError;
use super::history::{PastRun, past_runs};
use super::object::{ObjectError, PutError, Version};
use super::objects::Objects;
use super::probe;
use super::shard::{Lease, Shard, ShardHeader, ShardId, random_id};
use crate::base::bucket::BUCKET_COUNT;
use crate::base::plain_text::deserialize_plain;
use crate::base::state_url::StateUrl;
use crate::state::State;

/// The version of the format of the description.
const STATE_FORMAT: u32 = 1;

/// Name of the object that describes a state.
const DESCRIPTION: &str = "state.json";

/// Number of requests to the store at the same time.
pub(super) const MAX_REQUESTS: usize = 16;

/// A shared state that exists and belongs to a service.
#[derive(Debug, Clone)]
pub(crate) struct SharedState {
    pub(super) url: StateUrl,
    pub(super) objects: Objects,
    pub(super) service: String,
}

/// The description of a state, written once.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    imgplan_state: u32,
    #[serde(deserialize_with = "deserialize_plain")]
    service: String,
    shards: u8,
    created: Timestamp,
}

/// Shards, as they were read.
#[derive(Debug, Default)]
pub(crate) struct Shards(BTreeMap<ShardId, ReadShard>);

/// A shard as it was read.
#[derive(Debug)]
pub(super) struct ReadShard {
    pub(super) shard: Shard,
    /// The bytes of its object.
    pub(super) bytes: Vec<u8>,
    pub(super) version: Version,
}

/// The result of a try to take a shard away from the run that holds it.
#[derive(Debug)]
pub(crate) enum Unlock {
    /// No run held it.
    Free,
    /// The lease has not ended, and was left alone.
    Held(Lease),
    /// The lease that was taken away.
    Taken(Lease),
}

impl SharedState {
    /// Finds a state. `service` is the URL of the service of this run, or `local`; `None` accepts
    /// any.
    ///
    /// # Errors
    ///
    /// Fails if there is none, if the store cannot be reached, and if the state belongs to another
    /// service or was written by a later imgplan.
    pub(crate) async fn find(url: &StateUrl, service: Option<&str>) -> Result<Self, SharedError> {
        let objects =
            Objects::connect(url).map_err(|error| SharedError::reading(url, "", &error))?;
        let read = objects.get(DESCRIPTION).await;
        let read = read.map_err(|error| SharedError::reading(url, DESCRIPTION, &error))?;
        let missing = || SharedError::Missing { url: url.to_string() };
        let (bytes, _) = read.ok_or_else(missing)?;
        let damaged =
            |reason: String| SharedError::Damaged { url: format!("{url}/{DESCRIPTION}"), reason };
        let description: Description =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let Description { imgplan_state: format, service: theirs, shards, .. } = description;
        if format > STATE_FORMAT || shards != BUCKET_COUNT {
            let reason = format!(
                "it has format {format} with {shards} shards, and this imgplan reads {STATE_FORMAT} \
                 with {BUCKET_COUNT}"
            );
            return Err(damaged(reason));
        }
        if let Some(ours) = service.filter(|ours| *ours != theirs) {
            let (url, ours) = (url.to_string(), ours.to_owned());
            return Err(SharedError::OtherService { url, theirs, ours });
        }
        Ok(Self { url: url.clone(), objects, service: theirs })
    }

    /// Creates a state, after a test of the store: whether it enforces conditional writes when many
    /// write at once.
    ///
    /// # Errors
    ///
    /// Fails if there is a state already, if the store cannot be reached, and with
    /// [`SharedError::Unreliable`] if it fails the test.
    pub(crate) async fn init(url: &StateUrl, service: &str) -> Result<Self, SharedError> {
        let objects =
            Objects::connect(url).map_err(|error| SharedError::writing(url, "", &error))?;
        if Self::exists(url, &objects).await? {
            return Err(SharedError::Exists { url: url.to_string() });
        }
        probe::check(url, &objects).await?;
        let create =
            async |name: String, bytes: Vec<u8>| match objects.put_if(&name, bytes, None).await {
                Ok(_) => Ok(true),
                Err(PutError::Conflict) => Ok(false),
                Err(PutError::Failed(error)) => Err(SharedError::writing(url, &name, &error)),
            };
        let empty = ShardId::all().map(|id| {
            let header = ShardHeader::new(random_id(), None, None);
            // An empty state is not too large.
            let bytes = Shard::encode(id, &header, service, &State::default()).unwrap_or_default();
            create(id.object(), bytes)
        });
        // The shards of an attempt that was interrupted stay as they are.
        let _: Vec<bool> = stream::iter(empty).buffered(MAX_REQUESTS).try_collect().await?;
        let description = Description {
            imgplan_state: STATE_FORMAT,
            service: service.to_owned(),
            shards: BUCKET_COUNT,
            created: Timestamp::now(),
        };
        // Written last: a state with a description is complete.
        let bytes = serde_json::to_vec(&description).unwrap_or_default();
        if create(DESCRIPTION.to_owned(), bytes).await? {
            Ok(Self { url: url.clone(), objects, service: service.to_owned() })
        } else {
            Err(SharedError::Exists { url: url.to_string() })
        }
    }

    /// Tests the store of a state, as [`SharedState::init`] does.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be reached, or fails the test.
    pub(crate) async fn check_store(&self) -> Result<(), SharedError> {
        probe::check(&self.url, &self.objects).await
    }

    /// Reads all shards.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be reached, or a shard is missing or cannot be read.
    pub(crate) async fn read(&self) -> Result<Shards, SharedError> {
        self.read_some(ShardId::all()).await
    }

    /// Reads some shards.
    ///
    /// # Errors
    ///
    /// Fails as [`SharedState::read`] does.
    pub(crate) async fn read_some(
        &self,
        shards: impl Iterator<Item = ShardId>,
    ) -> Result<Shards, SharedError> {
        Ok(Shards(self.read_shards(shards).await?))
    }

    pub(super) async fn read_shards(
        &self,
        shards: impl Iterator<Item = ShardId>,
    ) -> Result<BTreeMap<ShardId, ReadShard>, SharedError> {
        let read = async |id| Ok((id, self.read_shard(id).await?));
        stream::iter(shards.map(read)).buffered(MAX_REQUESTS).try_collect().await
    }

    pub(super) async fn read_shard(&self, id: ShardId) -> Result<ReadShard, SharedError> {
        let name = id.object();
        let read = self.objects.get(&name).await;
        let read = read.map_err(|error| SharedError::reading(&self.url, &name, &error))?;
        let damaged = |reason| {
            let url = format!("{}/{name}", self.url);
            SharedError::Damaged { url, reason }
        };
        let (bytes, version) = read.ok_or_else(|| damaged("it is missing".to_owned()))?;
        let shard = Shard::decode(id, &bytes, &self.service).map_err(damaged)?;
        Ok(ReadShard { shard, bytes, version })
    }

    /// Takes the lease of a shard away from the run that holds it; with `force` also one that has not
    /// ended by this machine's clock.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be reached.
    pub(crate) async fn unlock(&self, id: ShardId, force: bool) -> Result<Unlock, SharedError> {
        loop {
            let ReadShard { shard: Shard { header, state }, version, .. } =
                self.read_shard(id).await?;
            let Some(lease) = header.lease else { return Ok(Unlock::Free) };
            if lease.until > Timestamp::now() && !force {
                return Ok(Unlock::Held(lease));
            }
            let free = ShardHeader::new(random_id(), None, header.changed_by);
            let bytes = Shard::encode(id, &free, &self.service, &state).map_err(|reason| {
                SharedError::writing(&self.url, &id.object(), &ObjectError(reason))
            })?;
            match self.objects.put_if(&id.object(), bytes, Some(&version)).await {
                Ok(_) => return Ok(Unlock::Taken(lease)),
                // The shard was written meanwhile: it is looked at once more.
                Err(PutError::Conflict) => {}
                Err(PutError::Failed(error)) => {
                    return Err(SharedError::writing(&self.url, &id.object(), &error));
                }
            }
        }
    }

    /// Returns the last runs that changed the state, the latest one first.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be reached.
    pub(crate) async fn history(&self) -> Result<Vec<PastRun>, SharedError> {
        let runs = past_runs(&self.objects).await;
        runs.map_err(|reason| SharedError::reading(&self.url, "history", &ObjectError(reason)))
    }

    async fn exists(url: &StateUrl, objects: &Objects) -> Result<bool, SharedError> {
        let read = objects.get(DESCRIPTION).await;
        Ok(read.map_err(|error| SharedError::reading(url, DESCRIPTION, &error))?.is_some())
    }
}

impl Shards {
    /// Returns the recorded state.
    pub(crate) fn into_state(self) -> State {
        let mut state = State::default();
        for ReadShard { shard, .. } in self.0.into_values() {
            state.entries.extend(shard.state.entries);
            state.pins.extend(shard.state.pins);
        }
        state
    }

    /// Returns the leases that runs hold.
    pub(crate) fn leases(&self) -> impl Iterator<Item = (ShardId, &Lease)> {
        self.0.iter().filter_map(|(id, read)| Some((*id, read.shard.header.lease.as_ref()?)))
    }

    /// Returns the number of bytes of all objects.
    pub(crate) fn bytes(&self) -> usize {
        self.0.values().map(|read| read.bytes.len()).sum()
    }
}
