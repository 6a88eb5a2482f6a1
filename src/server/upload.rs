//! Upload URLs: signs them, checks them, and streams what is put there into a file.

use std::path::PathBuf;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::app::App;
use super::body::query;
use super::error::Refusal;
use super::model::{BuildOrigin, BuildStatus, StoredBuild};
use super::state::StateChange;
use crate::base::file::AtPath;

/// How much of a refused upload is read, so that the client sees the answer and not a broken pipe.
const DRAIN: u64 = 64 << 20;

/// The path and query of a URL that lets its holder put build `id`'s context until `expires`, in
/// seconds since 1970.
pub(super) fn signed_path(key: &[u8; 32], id: &str, expires: i64) -> String {
    format!("/uploads/{id}?expires={expires}&signature={}", signature(key, id, expires).to_hex())
}

fn signature(key: &[u8; 32], id: &str, expires: i64) -> blake3::Hash {
    blake3::keyed_hash(key, format!("PUT\n{id}\n{expires}").as_bytes())
}

fn check(key: &[u8; 32], id: &str, parts: &Parts, now: i64) -> Result<(), Refusal> {
    let denied = |detail| Refusal::detail(StatusCode::FORBIDDEN, detail);
    let wrong = || denied("the upload URL's signature is wrong");
    let query = query(&parts.uri).map_err(|_| wrong())?;
    let expires: i64 = query.get("expires").and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    let given = query.get("signature").and_then(|text| blake3::Hash::from_hex(text).ok());
    // Digests compare in constant time.
    if given != Some(signature(key, id, expires)) {
        return Err(wrong());
    }
    if now >= expires {
        return Err(denied("the upload URL has expired"));
    }
    Ok(())
}

/// Where a build's context is kept until the build ends.
pub(super) fn context_path(app: &App, id: &str) -> PathBuf {
    app.uploads.join(format!("{id}.tar.gz"))
}

/// A context that was received whole, and is not any build's yet.
pub(super) struct Received {
    temp: tempfile::NamedTempFile,
    length: u64,
}

/// `PUT /uploads/{id}`, up to the point where it has an effect.
pub(super) async fn receive(
    app: &App,
    id: &str,
    parts: &Parts,
    body: Body,
) -> Result<Received, Refusal> {
    match admit(app, id, parts) {
        Ok(length) => save(app, length, body).await,
        Err(refusal) => {
            drain(body).await;
            Err(refusal)
        }
    }
}

/// The length of an upload that may be taken.
fn admit(app: &App, id: &str, parts: &Parts) -> Result<u64, Refusal> {
    let now = app.clock.now().seconds();
    let store = app.store();
    check(store.key(), id, parts, now)?;
    awaited(store.state().build(id))?;
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
            format!("the context has {length} bytes, and at most {} are taken", app.max_upload);
        return Err(Refusal::detail(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(length)
}

/// The build, if it still waits for its context: what is being read must not be replaced.
fn awaited(build: Option<&StoredBuild>) -> Result<&StoredBuild, Refusal> {
    match build {
        None => Err(Refusal::not_found("no build waits for this upload")),
        Some(build) if build.status == BuildStatus::Uploading => Ok(build),
        Some(build) => {
            let status = build.status.as_str();
            Err(Refusal::conflict(format!("the build no longer waits for its context: {status}")))
        }
    }
}

async fn save(app: &App, length: u64, body: Body) -> Result<Received, Refusal> {
    // A file of its own for each attempt: of two at once, one wins whole.
    let temp = tempfile::Builder::new().prefix(".upload-").tempfile_in(&app.uploads);
    let temp = temp.at("create a file in", &app.uploads)?;
    let file = temp.reopen().at("open", temp.path())?;
    let mut file = tokio::fs::File::from_std(file);
    let mut written = 0;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::bad("the upload broke off"))?;
        written += chunk.len() as u64;
        file.write_all(&chunk).await.at("write", temp.path())?;
    }
    file.flush().await.at("write", temp.path())?;
    if written != length {
        return Err(Refusal::bad("the upload broke off"));
    }
    Ok(Received { temp, length })
}

/// Gives a build its context.
pub(super) fn keep(app: &App, id: &str, received: Received) -> Result<Response, Refusal> {
    let Received { temp, length } = received;
    let mut store = app.store();
    let mut build = awaited(store.state().build(id))?.clone();
    let path = context_path(app, id);
    temp.persist(&path).map_err(|error| error.error).at("write", &path)?;
    if let BuildOrigin::Context { uploaded, .. } = &mut build.origin {
        *uploaded = Some(length);
    }
    store.commit(vec![StateChange::Build(build)])?;
    Ok(StatusCode::OK.into_response())
}

/// Reads what nobody wants, so that the client sees the answer.
pub(super) async fn drain(body: Body) {
    let mut chunks = body.into_data_stream();
    let mut left = DRAIN;
    while let Some(Ok(chunk)) = chunks.next().await {
        match left.checked_sub(chunk.len() as u64) {
            Some(less) => left = less,
            None => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn status(uri: &str, id: &str, now: i64) -> Option<u16> {
        let (parts, ()) = Request::put(uri).body(()).unwrap().into_parts();
        check(&[7; 32], id, &parts, now).err().map(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn a_signature_holds_for_one_build_and_a_while() {
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
