//! The test of a store: whether it enforces conditional writes when many write at once. Several servers
//! that speak the protocol of S3 ignore the condition, or check it before they write.

use futures::future::join_all;

use super::error::SharedError;
use super::object::{PutError, Version};
use super::objects::Objects;
use super::shard::random_id;
use crate::base::state_url::StateUrl;

/// Number of writers in a race.
const WRITER_COUNT: usize = 16;

/// Number of races of each kind: a server that checks before it writes may win some of them.
const RACE_COUNT: usize = 3;

/// Tests a store with objects of its own, which are removed afterwards.
///
/// # Errors
///
/// Fails if the store cannot be reached, and with [`SharedError::Unreliable`] if more than one of many
/// writers is told that it was the only one, or if an old version can be overwritten.
pub(super) async fn check(url: &StateUrl, objects: &Objects) -> Result<(), SharedError> {
    let mut result = Ok(());
    for race in 0..RACE_COUNT {
        let name = format!("probe/{}-{race}", random_id());
        result = check_object(url, objects, &name).await;
        // A test object that cannot be deleted is small and has a unique name.
        let _ = objects.delete(&name).await;
        if result.is_err() {
            break;
        }
    }
    result
}

async fn check_object(url: &StateUrl, objects: &Objects, name: &str) -> Result<(), SharedError> {
    let unreliable = |reason| Err(SharedError::Unreliable { url: url.to_string(), reason });
    let created = race(url, objects, name, None).await?;
    let Some((first, winner)) = one(&created) else {
        let told = created.len();
        return unreliable(format!(
            "it told {told} of {WRITER_COUNT} writers that they created one object"
        ));
    };
    expect_content(url, objects, name, winner).await?;
    let updated = race(url, objects, name, Some(first)).await?;
    let Some((second, winner)) = one(&updated) else {
        let told = updated.len();
        return unreliable(format!(
            "it told {told} of {WRITER_COUNT} writers that they replaced one version of an object"
        ));
    };
    expect_content(url, objects, name, winner).await?;
    if first == second {
        return unreliable("an object that was replaced has the version of before".to_owned());
    }
    let stale = race(url, objects, name, Some(first)).await?;
    if !stale.is_empty() {
        return unreliable(
            "it replaced an object whose version was not the expected one".to_owned(),
        );
    }
    expect_content(url, objects, name, winner).await
}

fn one(winners: &[(Version, String)]) -> Option<(&Version, &str)> {
    match winners {
        [(version, content)] => Some((version, content)),
        _ => None,
    }
}

/// Lets many writers write one object. Returns those that were told that they did, with what they
/// wrote.
async fn race(
    url: &StateUrl,
    objects: &Objects,
    name: &str,
    expected: Option<&Version>,
) -> Result<Vec<(Version, String)>, SharedError> {
    let write = async |writer: usize| {
        let content = format!("{writer} {}", random_id());
        (objects.put_if(name, content.clone().into_bytes(), expected).await, content)
    };
    let (mut winners, mut contents) = (Vec::new(), Vec::new());
    for (result, content) in join_all((0..WRITER_COUNT).map(write)).await {
        match result {
            Ok(version) => winners.push((version, content.clone())),
            Err(PutError::Conflict) => {}
            Err(PutError::Failed(error)) => return Err(SharedError::writing(url, name, &error)),
        }
        contents.push(content);
    }
    if winners.is_empty() {
        // The response of the winner may be lost: its repetition has met a conflict.
        let read = objects.get(name).await;
        let read = read.map_err(|error| SharedError::reading(url, name, &error))?;
        winners.extend(read.and_then(|(bytes, version)| {
            let written = contents.into_iter().find(|content| content.as_bytes() == bytes);
            written.map(|content| (version, content))
        }));
    }
    Ok(winners)
}

/// Fails unless an object has a content.
async fn expect_content(
    url: &StateUrl,
    objects: &Objects,
    name: &str,
    expected: &str,
) -> Result<(), SharedError> {
    let read = objects.get(name).await.map_err(|error| SharedError::reading(url, name, &error))?;
    match read {
        Some((bytes, _)) if bytes == expected.as_bytes() => Ok(()),
        _ => {
            let reason = "an object has another content than that of its last write".to_owned();
            Err(SharedError::Unreliable { url: url.to_string(), reason })
        }
    }
}
