//! JSON answers of the service.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use imgplan::test_support::api::wire::BuildImageRequest;
use imgplan::test_support::api::{Attempts, BuildProgress, Client, RemoteBuild, Repeat};
use imgplan::test_support::base::name::{BuildId, Owner};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::choices::{Choices, ODD_TEXTS, ShownOnPanic, assert_printable};
use crate::{Answer, client, runtime};

/// Reads answers to a request for builds, in every shape that the service has had. From a documented
/// answer, exactly its build IDs and refusals are read, in order. Every text that is read is
/// printable.
pub fn initiate_answers(input: &[u8]) -> bool {
    let choices = &mut Choices::new(input);
    let (mut body, expected) = initiate(choices);
    let is_changed = choices.mutate_json(&mut body);
    let status = status(choices);
    let text = body.to_string();
    let _shown = ShownOnPanic(&text);
    let client = answering(status, &text);
    let request =
        BuildImageRequest { source_image: Some("redis:7".to_owned()), ..Default::default() };
    let (mut attempts, stop) = (Attempts::new(Repeat::LookUpFirst), CancellationToken::new());
    let initiated = client.initiate(&request, &mut attempts, None, &stop);
    let results = match run(initiated) {
        None => return false,
        Some(Err(error)) => {
            assert_printable(&error.to_string());
            assert!(is_changed || status >= 400 || expected.is_empty(), "{error}");
            return false;
        }
        Some(Ok(results)) => results,
    };
    let mut read = Vec::new();
    for result in &results {
        match result {
            Ok(accepted) => {
                accepted.source.iter().for_each(|text| assert_printable(text));
                accepted.path.iter().for_each(|path| assert_printable(path.as_str()));
                read.push(Ok(accepted.build.to_string()));
            }
            Err(refused) => {
                assert_printable(&refused.message);
                refused.source.iter().for_each(|text| assert_printable(text));
                read.push(Err(()));
            }
        }
    }
    assert!(status < 300 && !read.is_empty());
    if !is_changed {
        assert_eq!(read, expected);
    }
    true
}

/// Reads pages of the listings of builds and images, and the status of a build. From documented rows,
/// every one is read. Every text that is read is printable, and a next page starts after this one.
pub fn listing_answers(input: &[u8]) -> bool {
    let choices = &mut Choices::new(input);
    let count = choices.below(5);
    let offset = choices.pick(&[0, 100, 250, 1 << 40, u64::MAX - 300]);
    let is_images = choices.percent(50);
    let rows: Vec<Value> = (0..count).map(|_| row(choices, is_images)).collect();
    let mut page = json!({ "data": rows, "offset": offset });
    let limit = choices.pick(&[250, 100, 10, 0, -1]);
    set(choices, &mut page, &["limit"], json!(limit));
    set(choices, &mut page, &["total_count", "totalCount"], json!(count * 3));
    let is_changed = choices.mutate_json(&mut page);
    let status = status(choices);
    let text = page.to_string();
    let _shown = ShownOnPanic(&text);
    let client = answering(status, &text);
    if is_images {
        let images = run(client.images(&Owner::Personal, None, offset));
        let Some(images) = readable(images) else { return false };
        assert!(images.next.is_none_or(|next| next > offset), "{:?}", images.next);
        assert!(is_changed || images.rows.len() == count, "{images:?}");
        for row in &images.rows {
            let texts = [&row.name, &row.tag].into_iter().chain(&row.id);
            texts.for_each(|text| assert_printable(text));
            row.path.iter().for_each(|path| assert_printable(path.as_str()));
            assert_printable(&row.owner.as_ref().map(ToString::to_string).unwrap_or_default());
        }
    } else {
        let builds = run(client.builds(offset));
        let Some(builds) = readable(builds) else { return false };
        assert!(builds.next.is_none_or(|next| next > offset), "{:?}", builds.next);
        assert!(is_changed || builds.builds.len() == count, "{builds:?}");
        builds.builds.iter().for_each(assert_build);
    }
    let build = BuildId::new("b-1").expect("the ID is valid");
    let mut single = row(choices, false);
    choices.mutate_json(&mut single);
    let single = answering(200, &single.to_string());
    if let Some(build) = readable(run(single.status(&build))) {
        assert_build(&build);
    }
    true
}

/// Returns a client of a service that answers every request with this status and body.
fn answering(status: u16, body: &str) -> Client {
    client(Arc::new(Answer { status, kind: "application/json", body: body.as_bytes().to_vec() }))
}

fn status(choices: &mut Choices<'_>) -> u16 {
    if choices.percent(85) { 200 } else { choices.pick(&[201, 400, 429, 503]) }
}

/// Runs a request, which waits for rate limits as often as the service asks; `None` if it waits for
/// more than ten minutes.
pub(super) fn run<T>(request: impl Future<Output = T>) -> Option<T> {
    runtime().block_on(async { tokio::time::timeout(Duration::from_secs(600), request).await.ok() })
}

/// Returns the result of a request. The text of an error must be printable.
fn readable<T, E: Display>(result: Option<Result<T, E>>) -> Option<T> {
    match result? {
        Ok(value) => Some(value),
        Err(error) => {
            assert_printable(&error.to_string());
            None
        }
    }
}

/// Fails if a text of the build is not printable. The reason of a failure may have several lines.
fn assert_build(build: &RemoteBuild) {
    match &build.progress {
        BuildProgress::Running(text) => assert_printable(text),
        BuildProgress::Failed(text) => text.split('\n').for_each(assert_printable),
        _ => {}
    }
    let image = build.image.iter().flat_map(|(name, tag)| [name, tag]);
    image.for_each(|text| assert_printable(text));
    build.path.iter().for_each(|path| assert_printable(path.as_str()));
}

/// Returns a documented answer and the results to read from it.
fn initiate(choices: &mut Choices<'_>) -> (Value, Vec<Result<String, ()>>) {
    let shape = choices.below(4);
    let count = 1 + choices.below(3);
    if shape < 2 {
        let ids: Vec<String> = (0..count).map(|index| format!("b-{index}")).collect();
        let mut body = accepted(choices, &ids[0]);
        if shape == 1 || count > 1 {
            body[choices.pick(&["buildIds", "build_ids"])] = json!(ids);
        }
        return (body, ids.into_iter().map(Ok).collect());
    }
    let (mut results, mut failed, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..count {
        let id = format!("b-{index}");
        let is_accepted = choices.percent(60);
        let mut item = match (is_accepted, shape) {
            (true, 2) => accepted(choices, &id),
            (true, _) => json!({ "build": accepted(choices, &id) }),
            (false, 2) => json!({}),
            (false, _) => json!({ "build": null }),
        };
        let name = if choices.percent(80) { "redis:7" } else { choices.pick(&ODD_TEXTS) };
        set(choices, &mut item, &["sourceImage", "source_image"], json!(name));
        if shape == 2 {
            item["success"] = json!(is_accepted);
        }
        if !is_accepted {
            let texts = ["no such image", "Image transfer rate limit exceeded: 10/10 images"];
            let error =
                if choices.percent(50) { choices.pick(&texts) } else { choices.pick(&ODD_TEXTS) };
            set(choices, &mut item, &["error"], json!(error));
            set(choices, &mut item, &["retryable"], json!(true));
            failed.push(item.clone());
        }
        expected.push(if is_accepted { Ok(id) } else { Err(()) });
        results.push(item);
    }
    (json!({ "results": results, "failed": failed }), expected)
}

fn accepted(choices: &mut Choices<'_>, id: &str) -> Value {
    let mut item = json!({});
    item[choices.pick(&["build_id", "buildId"])] = json!(id);
    let path = choices.pick(&["prime/me/redis:7", "vm/x", "", "a b", "\u{1b}[2J"]);
    set(choices, &mut item, &["fullImagePath", "full_image_path"], json!(path));
    set(choices, &mut item, &["upload_url", "uploadUrl"], json!("https://storage/x?sig=1"));
    set(choices, &mut item, &["expires_in", "expiresIn"], json!(3600));
    set(choices, &mut item, &["visibility"], json!("PRIVATE"));
    item
}

/// Returns a documented row of a listing.
fn row(choices: &mut Choices<'_>, is_image: bool) -> Value {
    let statuses =
        ["COMPLETED", "FAILED", "BUILDING", "CANCELLED", "PENDING", "QUANTUM \u{1b}[31m"];
    let mut row = json!({ "id": "b-1", "status": choices.pick(&statuses) });
    row["imageName"] = json!(choices.pick(&["app", "ns/app", "\u{202e}app", "a\nb"]));
    row["imageTag"] = json!(choices.pick(&["v1", "latest", "\u{1b}]8;;x\u{7}"]));
    let time = choices.pick(&[
        "2026-08-01T10:00:00Z",
        "2026-08-01T10:00:00.5",
        "9999-12-31T23:59:59Z",
        "-009999-01-01T00:00:00Z",
        "x",
    ]);
    for key in ["createdAt", "startedAt", "completedAt", "pushedAt"] {
        set(choices, &mut row, &[key], json!(time));
    }
    let error = choices.pick(&ODD_TEXTS);
    set(choices, &mut row, &["errorMessage"], json!(error));
    set(choices, &mut row, &["fullImagePath", "displayRef"], json!("prime/me/app:v1"));
    if is_image {
        let owner = choices.pick(&["personal", "team", "platform", "other"]);
        set(choices, &mut row, &["ownerType", "owner_type"], json!(owner));
        let team = choices.pick(&["t-1", "\u{1b}[31m", ""]);
        set(choices, &mut row, &["teamId", "team_id"], json!(team));
        set(choices, &mut row, &["artifactType"], json!("CONTAINER_IMAGE"));
        set(choices, &mut row, &["visibility"], json!("PUBLIC"));
    } else {
        let artifact = json!({ "status": "FAILED", "errorMessage": choices.pick(&ODD_TEXTS) });
        set(choices, &mut row, &["artifacts"], json!([artifact, null]));
    }
    row
}

/// Sets a field under one of its names; sometimes to null, and sometimes not at all.
fn set(choices: &mut Choices<'_>, object: &mut Value, keys: &[&str], value: Value) {
    let fields: Option<&mut Map<String, Value>> = object.as_object_mut();
    let fields = fields.expect("the value is an object");
    match choices.below(8) {
        6 => drop(fields.insert(choices.pick(keys).to_owned(), Value::Null)),
        7 => {}
        _ => drop(fields.insert(choices.pick(keys).to_owned(), value)),
    }
}
