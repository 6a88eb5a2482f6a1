//! Updates of a few images of a fake server.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::http::fake::{FakeRequest, FakeServer, Reply};

/// Parses an update: `a:1 > b:2` renames, `a:1 > t/a:1` moves to a team, `a:1 PUBLIC` sets the
/// visibility, and `a:1 > b:2 PUBLIC` does both.
fn update(text: &str) -> ImageUpdate {
    let (source, set) = text.split_once(' ').unwrap();
    let (name, tag) = source.split_once(':').unwrap();
    let source = UpdateSource {
        owner: Some(WireOwner::Personal),
        name: Some(name.to_owned()),
        tag: Some(tag.to_owned()),
        reference: None,
    };
    let mut update = ImageUpdate { source, set: UpdateSet::default() };
    match set.strip_prefix("> ") {
        None => update.set.visibility = Some(set.to_owned()),
        Some(new) => {
            let (new, visibility) = new.split_once(' ').unwrap_or((new, ""));
            update.set.visibility = (!visibility.is_empty()).then(|| visibility.to_owned());
            let (new_name, new_tag) = new.trim_start_matches("t/").split_once(':').unwrap();
            update.set.name = (new_name != name).then(|| new_name.to_owned());
            update.set.tag = (new_tag != tag).then(|| new_tag.to_owned());
            let team = || WireOwner::Team { team_id: "t".to_owned() };
            update.set.owner = new.starts_with("t/").then(team);
        }
    }
    update
}

fn updates(texts: &[&str]) -> Vec<ImageUpdate> {
    texts.iter().map(|text| update(text)).collect()
}

fn parse(request: &FakeRequest) -> UpdateImagesRequest {
    serde_json::from_slice(&request.body).unwrap()
}

/// Returns the full name of an image: `a:1`, `t/a:1`.
fn full_name(source: &UpdateSource) -> String {
    let team = matches!(source.owner, Some(WireOwner::Team { .. }));
    let text = |part: &Option<String>| part.clone().unwrap();
    format!("{}{}:{}", if team { "t/" } else { "" }, text(&source.name), text(&source.tag))
}

/// Applies a request to the images, with one result per update.
fn apply(images: &mut BTreeSet<String>, request: &UpdateImagesRequest) -> Vec<Value> {
    let mut results = Vec::new();
    for update in &request.updates {
        let (old, new) = (full_name(&update.source), full_name(&probe_new(update).source));
        let code = if !images.contains(&old) {
            "image_not_found"
        } else if old != new && images.contains(&new) {
            "destination_exists"
        } else {
            if !request.dry_run {
                images.remove(&old);
                images.insert(new);
            }
            let after = json!({ "visibility": update.set.visibility });
            results.push(json!({ "source": update.source, "success": true, "after": after }));
            continue;
        };
        let error = json!({ "code": code, "message": format!("{old}: {code}") });
        results.push(json!({ "source": update.source, "success": false, "error": error }));
    }
    results
}

/// Creates a service with these images. For each request that is not a dry run, calls `respond`
/// with its number and a function that applies it.
fn service(
    images: &[&str],
    mut respond: impl FnMut(usize, &mut dyn FnMut() -> Vec<Value>) -> Reply + Send + 'static,
) -> Arc<FakeServer> {
    let images = Mutex::new(images.iter().map(|image| (*image).to_owned()).collect());
    let mut number = 0;
    FakeServer::new(move |request| {
        let (request, mut images) = (parse(request), images.lock().unwrap());
        if request.dry_run {
            return response(apply(&mut images, &request));
        }
        number += 1;
        respond(number - 1, &mut || apply(&mut images, &request))
    })
}

fn response(results: Vec<Value>) -> Reply {
    Reply::json(200, &json!({ "results": results }))
}

async fn outcomes(fake: &Arc<FakeServer>, texts: &[&str]) -> Vec<String> {
    let client = Client::fake(fake);
    let results = client.update_images(&updates(texts), &CancellationToken::new()).await;
    let word = |result: UpdateOutcome| match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{:?}", error.kind),
    };
    results.into_iter().map(word).collect()
}

/// Returns the number of updates in each request; dry runs are negative.
fn sizes(fake: &FakeServer) -> Vec<i64> {
    let requests = fake.requests().iter().map(parse).collect::<Vec<_>>();
    let size = |request: &UpdateImagesRequest| {
        let size = i64::try_from(request.updates.len()).unwrap();
        if request.dry_run { -size } else { size }
    };
    requests.iter().map(size).collect()
}

const FOUR: [&str; 4] = ["a:1 > b:1", "c:1 > c:2", "d:1 > t/d:1", "e:1 PUBLIC"];
const EXISTING: [&str; 4] = ["a:1", "c:1", "d:1", "e:1"];

#[tokio::test(start_paused = true)]
async fn updates_share_requests_and_fail_separately() {
    let texts: Vec<String> = (0..250).map(|n| format!("i{n}:1 > i{n}:2")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let existing: Vec<String> = (0..250).filter(|n| *n != 7).map(|n| format!("i{n}:1")).collect();
    let mut existing: Vec<&str> = existing.iter().map(String::as_str).collect();
    existing.push("i120:2");
    let fake = service(&existing, |_, apply| response(apply()));
    let outcomes = outcomes(&fake, &texts).await;
    let failed: Vec<(usize, &String)> =
        outcomes.iter().enumerate().filter(|(_, word)| *word != "ok").collect();
    let expected = [(7, &"NotFound".to_owned()), (120, &"NameTaken".to_owned())];
    assert_eq!(failed, expected);
    // A refused move may have been made before: it is looked up.
    assert_eq!(sizes(&fake), [100, -2, 100, -2, 50]);
}

#[tokio::test(start_paused = true)]
async fn a_move_of_an_earlier_run_counts() {
    let fake = service(&["b:1", "c:2", "t/d:1", "e:1"], |_, apply| response(apply()));
    assert_eq!(outcomes(&fake, &FOUR).await, ["ok"; 4]);
    // The visibility is set afterwards.
    let fake = service(&["b:1"], |_, apply| response(apply()));
    assert_eq!(outcomes(&fake, &["a:1 > b:1 PUBLIC"]).await, ["ok"]);
    let last = parse(fake.requests().last().unwrap()).updates.remove(0);
    assert_eq!((sizes(&fake), last), (vec![1, -2, 1], update("b:1 PUBLIC")));
    // If the image is at its old name, the one at the new name is another image.
    let fake = service(&["a:1", "b:1"], |_, apply| response(apply()));
    assert_eq!(outcomes(&fake, &["a:1 > b:1"]).await, ["NameTaken"]);
    let fake = service(&[], |_, apply| response(apply()));
    assert_eq!(outcomes(&fake, &FOUR).await, ["NotFound"; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_response_is_looked_up_before_the_update_is_sent_again() {
    for takes_effect in [true, false] {
        let fake = service(&EXISTING, move |number, apply| match number {
            0 if takes_effect => {
                apply();
                Reply::Broken { sent: true }
            }
            0 => Reply::detail(502, "Bad Gateway"),
            _ => response(apply()),
        });
        assert_eq!(outcomes(&fake, &FOUR).await, ["ok"; 4], "{takes_effect}");
        // A visibility may be set twice.
        assert_eq!(sizes(&fake), [4, -6, if takes_effect { 1 } else { 4 }], "{takes_effect}");
    }
    // The request takes effect after the lookup, so that the next one is refused.
    let fake = service(&["a:1"], |number, apply| {
        if number == 0 {
            return Reply::Broken { sent: true };
        }
        apply();
        response(apply())
    });
    assert_eq!(outcomes(&fake, &["a:1 > b:1"]).await, ["ok"]);
    assert_eq!(sizes(&fake), [1, -2, 1, -2]);
}

#[tokio::test(start_paused = true)]
async fn missing_results_are_looked_up() {
    type Change = fn(&mut Vec<Value>);
    let cases: [(&str, Change, &[i64]); 6] = [
        ("one missing at the end", |results| drop(results.pop()), &[4, 1]),
        ("one missing at the start", |results| drop(results.remove(0)), &[4, -2]),
        ("in another order", |results| results.reverse(), &[4]),
        ("no success field", |results| results[1] = json!({}), &[4, -2]),
        ("another spelling", |results| results[0]["source"]["name"] = json!("prime/me/A"), &[4]),
        ("another image", |results| results[0]["source"]["name"] = json!("z"), &[4, -2]),
    ];
    for (case, change, expected) in cases {
        let fake = service(&EXISTING, move |number, apply| {
            let mut results = apply();
            if number == 0 {
                change(&mut results);
            }
            response(results)
        });
        assert_eq!(outcomes(&fake, &FOUR).await, ["ok"; 4], "{case}");
        assert_eq!(sizes(&fake), expected, "{case}");
    }
    let short = service(&EXISTING, |_, apply| {
        let mut results = apply();
        results.pop();
        response(results)
    });
    assert_eq!(
        outcomes(&short, &FOUR).await,
        ["ok", "ok", "ok", "ResponseLost"].map(str::to_owned)
    );
    assert_eq!(short.requests().len(), 10, "attempts are limited");
}

#[tokio::test(start_paused = true)]
async fn an_invalid_update_does_not_affect_the_others() {
    let strict = FakeServer::new(move |request| {
        let request = parse(request);
        let bad = |update: &ImageUpdate| update.set.visibility.as_deref() == Some("BAD");
        if request.updates.iter().any(bad) {
            return Reply::json(
                422,
                &json!({ "errors": [{ "param": "updates", "details": "no" }] }),
            );
        }
        let mut results = apply(&mut EXISTING.iter().map(|&at| at.to_owned()).collect(), &request);
        for result in &mut results {
            result["source"] = Value::Null;
        }
        response(results)
    });
    let texts = ["a:1 > b:1", "c:1 > c:2", "d:1 BAD", "e:1 PUBLIC"];
    let expected = ["ok", "ok", "Rejected", "ok"].map(str::to_owned);
    assert_eq!(outcomes(&strict, &texts).await, expected);
    assert_eq!(sizes(&strict), [4, 2, 2, 1, 1]);
    let none = FakeServer::script([Reply::detail(404, "Not Found")]);
    assert_eq!(outcomes(&none, &["a:1 PUBLIC", "b:1 PUBLIC"]).await, ["NotFound"; 2]);
    assert_eq!(none.requests().len(), 1, "a missing endpoint affects all");
    let key = FakeServer::script([Reply::detail(401, "no")]);
    assert_eq!(outcomes(&key, &FOUR).await, ["Unauthorized"; 4]);
    assert_eq!(key.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_lookup_the_result_stays_in_doubt() {
    let fake = FakeServer::new(|request| {
        let dry_run = parse(request).dry_run;
        if dry_run { Reply::detail(400, "no dry runs") } else { Reply::Broken { sent: true } }
    });
    assert_eq!(outcomes(&fake, &["a:1 > b:1"]).await, ["ResponseLost"]);
    assert_eq!(sizes(&fake), [1, -2]);
    // If the old name cannot be looked up, the image at the new name may be another one.
    let fake = FakeServer::new(|request| {
        let no = json!({ "success": false, "error": { "code": "forbidden" } });
        let yes = json!({ "success": true });
        if parse(request).dry_run { response(vec![no, yes]) } else { Reply::Broken { sent: true } }
    });
    assert_eq!(outcomes(&fake, &["a:1 > b:1"]).await, ["ResponseLost"]);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_run_sends_nothing_new() {
    let fake = service(&EXISTING, |_, apply| response(apply()));
    let limits = [(Class::Update, "1/60s".parse().unwrap())];
    let (client, stop) = (Client::fake_with_limits(&fake, &limits), CancellationToken::new());
    let texts: Vec<String> = (0..101).map(|n| format!("i{n}:1 PUBLIC")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        stopper.cancel();
    });
    let mut results = client.update_images(&updates(&texts), &stop).await;
    assert_eq!(results.pop().unwrap().unwrap_err().kind, ErrorKind::Stopped);
    assert!(results.iter().all(|one| one.as_ref().unwrap_err().kind == ErrorKind::NotFound));
}

#[tokio::test(start_paused = true)]
async fn refusals_have_a_reason_without_the_key() {
    let refuse = |error: Value| response(vec![json!({ "success": false, "error": error })]);
    for (error, kind, text) in [
        (json!({ "code": "x", "message": "bad k-123" }), ErrorKind::Rejected, "bad [hidden]"),
        (json!({ "code": "x_y" }), ErrorKind::Rejected, "x_y"),
        (json!("words"), ErrorKind::Rejected, "words"),
        (json!(null), ErrorKind::Rejected, "the service gave no reason"),
        (
            json!({ "message": "Image limit exceeded" }),
            ErrorKind::QuotaExceeded,
            "Image limit exceeded",
        ),
    ] {
        let client = Client::fake(&FakeServer::script([refuse(error)]));
        let stop = CancellationToken::new();
        let result = client.update_images(&updates(&["a:1 PUBLIC"]), &stop).await.remove(0);
        let error = result.unwrap_err();
        assert_eq!((error.kind, &*error.message), (kind, text));
    }
}
