//! Uploads: signs URLs, checks them, and streams contexts to files.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::app::App;
use super::body::{drain, query};
use super::descriptors::open_patiently;
use super::error::Refusal;
use super::model::{BuildStatus, StoredBuild, StoredOrigin};
use super::state::StateChange;
use crate::base::file::AtPath;
use crate::base::name::BuildId;
use crate::base::work_dir::{WorkFile, WorkName};

/// Returns the path and query of a URL that permits to upload the context of build `id` until
/// `expires`, in seconds since 1970.
pub(super) fn signed_path(key: &[u8; 32], id: &str, expires: i64) -> String {
    format!("/uploads/{id}?expires={expires}&signature={}", signature(key, id, expires).to_hex())
}

fn signature(key: &[u8; 32], id: &str, expires: i64) -> blake3::Hash {
    blake3::keyed_hash(key, format!("PUT\n{id}\n{expires}").as_bytes())
}

fn check_signature(key: &[u8; 32], id: &str, parts: &Parts, now: i64) -> Result<(), Refusal> {
    let denied = |detail| Refusal::detail(StatusCode::FORBIDDEN, detail);
    let wrong = || denied("the upload URL's signature is wrong");
    let query = query(&parts.uri).map_err(|_| wrong())?;
    let expires: i64 = query.get("expires").and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    let received = query.get("signature").and_then(|text| blake3::Hash::from_hex(text).ok());
    // Digests compare in constant time.
    if received != Some(signature(key, id, expires)) {
        return Err(wrong());
    }
    if now >= expires {
        return Err(denied("the upload URL has expired"));
    }
    Ok(())
}

/// Deletes the contexts of builds, which have ended. One that remains only takes disk space.
pub(super) fn delete_contexts<'a>(app: &App, ids: impl IntoIterator<Item = &'a BuildId>) {
    for id in ids {
        let _ = app.uploads.remove(WorkName::upload(id));
    }
}

/// `PUT /uploads/{id}`.
pub(super) async fn store(
    app: &App,
    id: &str,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    let length = match check_upload(app, id, parts) {
        Ok(length) => length,
        Err(refusal) => {
            drain(body).await;
            return Err(refusal);
        }
    };
    let (temp, file) = spool(app, body).await?;
    if file.metadata().await.at("read", &temp.path())?.len() != length {
        return Err(Refusal::bad("the upload broke off"));
    }
    assign(app, id, temp, length)?;
    if app.syncs {
        let uploads = app.uploads.clone();
        blocking(move || uploads.sync()).await?;
    }
    Ok(StatusCode::OK.into_response())
}

/// Runs a function that waits for the disk.
async fn blocking<T: Send + 'static>(function: impl FnOnce() -> T + Send + 'static) -> T {
    let task = tokio::task::spawn_blocking(function);
    task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Checks that an upload may be accepted, and returns its length.
fn check_upload(app: &App, id: &str, parts: &Parts) -> Result<u64, Refusal> {
    let now = app.clock.now().seconds();
    let store = app.store();
    check_signature(store.key(), id, parts, now)?;
    waiting_build(store.state().build(id))?;
    let length = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok())
        .ok_or_else(|| {
            let detail = "an upload needs a Content-Length, and cannot be chunked";
            Refusal::detail(StatusCode::LENGTH_REQUIRED, detail)
        })?;
    if length > app.max_upload {
        let detail =
            format!("the context has {length} bytes, and at most {} are accepted", app.max_upload);
        return Err(Refusal::detail(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(length)
}

/// Returns the build if it still waits for its context: a file that is in use must not be replaced.
fn waiting_build(build: Option<&StoredBuild>) -> Result<&StoredBuild, Refusal> {
    match build {
        None => Err(Refusal::not_found("no build waits for this upload")),
        Some(build) if build.status == BuildStatus::Uploading => Ok(build),
        Some(build) => {
            let status = build.status.as_str();
            Err(Refusal::conflict(format!("the build no longer waits for its context: {status}")))
        }
    }
}

/// Streams a body to a temporary file, and returns the file at its start.
///
/// Each upload has a file of its own, so that of two uploads for one build, one wins as a whole.
pub(super) async fn spool(app: &App, body: Body) -> Result<(WorkFile, tokio::fs::File), Refusal> {
    let open = || {
        let temp = app.uploads.temporary(".upload-")?;
        let file = temp.file.try_clone().at("open", &temp.path())?;
        Ok((temp, file))
    };
    let (temp, file) = open_patiently(open).await?;
    let path = temp.path();
    let mut file = tokio::fs::File::from_std(file);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::bad("the upload broke off"))?;
        file.write_all(&chunk).await.at("write", &path)?;
    }
    file.flush().await.at("write", &path)?;
    if app.syncs {
        file.sync_all().await.at("sync", &path)?;
    }
    file.rewind().await.at("read", &path)?;
    Ok((temp, file))
}

/// Assigns a context to its build.
fn assign(app: &App, id: &str, temp: WorkFile, length: u64) -> Result<(), Refusal> {
    let mut store = app.store();
    let mut build = waiting_build(store.state().build(id))?.clone();
    let name = WorkName::upload(&build.id);
    temp.rename(&name).at("write", &app.uploads.path_of(&name))?;
    if let StoredOrigin::Context { uploaded, .. } = &mut build.origin {
        *uploaded = Some(length);
    }
    Ok(store.commit(vec![StateChange::Build(build)])?)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn status(uri: &str, id: &str, now: i64) -> Option<u16> {
        let (parts, ()) = Request::put(uri).body(()).unwrap().into_parts();
        check_signature(&[7; 32], id, &parts, now).err().map(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn a_signature_is_valid_for_one_build_until_it_expires() {
        let url = signed_path(&[7; 32], "b1", 1000);
        assert_eq!(status(&url, "b1", 999), None);
        assert_eq!(status(&url, "b1", 1000), Some(403));
        assert_eq!(status(&url, "b2", 999), Some(403));
        assert_eq!(status(&url.replace("=1000", "=2000"), "b1", 999), Some(403));
        assert_eq!(status(&signed_path(&[8; 32], "b1", 1000), "b1", 999), Some(403));
        for broken in ["/uploads/b1", "/uploads/b1?expires=1000", "/uploads/b1?signature=x"] {
            assert_eq!(status(broken, "b1", 999), Some(403), "{broken}");
        }
    }
}
