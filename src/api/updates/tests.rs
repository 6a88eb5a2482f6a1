//! Updates against a service inside the process, which keeps track of a few images.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::*;
use crate::http::fake::{FakeRequest, FakeServer, Reply};

/// `a:1 > b:2` renames, `a:1 > t/a:1` gives it to a team, `a:1 PUBLIC` changes who can pull it, and
/// `a:1 > b:2 PUBLIC` does both.
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
        Some(place) => {
            let (place, visibility) = place.split_once(' ').unwrap_or((place, ""));
            update.set.visibility = (!visibility.is_empty()).then(|| visibility.to_owned());
            let (new_name, new_tag) = place.trim_start_matches("t/").split_once(':').unwrap();
            update.set.name = (new_name != name).then(|| new_name.to_owned());
            update.set.tag = (new_tag != tag).then(|| new_tag.to_owned());
            let team = || WireOwner::Team { team_id: "t".to_owned() };
            update.set.owner = place.starts_with("t/").then(team);
        }
    }
    update
}

fn updates(texts: &[&str]) -> Vec<ImageUpdate> {
    texts.iter().map(|text| update(text)).collect()
}

fn request(asked: &FakeRequest) -> UpdateImagesRequest {
    serde_json::from_slice(&asked.body).unwrap()
}

/// Where an image is: `a:1`, `t/a:1`.
fn place(source: &UpdateSource) -> String {
    let team = matches!(source.owner, Some(WireOwner::Team { .. }));
    let text = |part: &Option<String>| part.clone().unwrap();
    format!("{}{}:{}", if team { "t/" } else { "" }, text(&source.name), text(&source.tag))
}

/// What a request makes of the images that there are, one result an update.
fn apply(images: &mut BTreeSet<String>, request: &UpdateImagesRequest) -> Vec<Value> {
    let mut results = Vec::new();
    for update in &request.updates {
        let (old, new) = (place(&update.source), place(&after(update).source));
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

/// A service with these images. `answer` sees the number of each request that is no dry run, and may
/// change or lose what is said of it; whether it takes effect is up to it too.
fn service(
    images: &[&str],
    mut answer: impl FnMut(usize, &mut dyn FnMut() -> Vec<Value>) -> Reply + Send + 'static,
) -> Arc<FakeServer> {
    let images = Mutex::new(images.iter().map(|image| (*image).to_owned()).collect());
    let mut number = 0;
    FakeServer::new(move |asked| {
        let (request, mut images) = (request(asked), images.lock().unwrap());
        if request.dry_run {
            return said(apply(&mut images, &request));
        }
        number += 1;
        answer(number - 1, &mut || apply(&mut images, &request))
    })
}

fn said(results: Vec<Value>) -> Reply {
    Reply::json(200, &json!({ "results": results }))
}

async fn outcomes(fake: &Arc<FakeServer>, texts: &[&str]) -> Vec<String> {
    let client = Client::fake(&fake);
    let results = client.update_images(&updates(texts), &CancellationToken::new()).await;
    let word = |result: Outcome| match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{:?}", error.kind),
    };
    results.into_iter().map(word).collect()
}

/// The requests that came: how many updates each held, a dry run below zero.
fn sizes(fake: &FakeServer) -> Vec<i64> {
    let requests = fake.requests().iter().map(request).collect::<Vec<_>>();
    let size = |request: &UpdateImagesRequest| {
        let size = i64::try_from(request.updates.len()).unwrap();
        if request.dry_run { -size } else { size }
    };
    requests.iter().map(size).collect()
}

const FOUR: [&str; 4] = ["a:1 > b:1", "c:1 > c:2", "d:1 > t/d:1", "e:1 PUBLIC"];
const THERE: [&str; 4] = ["a:1", "c:1", "d:1", "e:1"];

#[tokio::test(start_paused = true)]
async fn many_go_with_one_request_and_each_stands_for_itself() {
    let texts: Vec<String> = (0..250).map(|n| format!("i{n}:1 > i{n}:2")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let there: Vec<String> = (0..250).filter(|n| *n != 7).map(|n| format!("i{n}:1")).collect();
    let mut there: Vec<&str> = there.iter().map(String::as_str).collect();
    there.push("i120:2");
    let fake = service(&there, |_, apply| said(apply()));
    let outcomes = outcomes(&fake, &texts).await;
    let odd: Vec<(usize, &String)> =
        outcomes.iter().enumerate().filter(|(_, word)| *word != "ok").collect();
    let expected = [(7, &"NotFound".to_owned()), (120, &"NameTaken".to_owned())];
    assert_eq!(odd, expected);
    // What is refused may have been done before: it is looked for.
    assert_eq!(sizes(&fake), [100, -2, 100, -2, 50]);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_run_may_have_done_it() {
    let fake = service(&["b:1", "c:2", "t/d:1", "e:1"], |_, apply| said(apply()));
    assert_eq!(outcomes(&fake, &FOUR).await, ["ok"; 4]);
    // It may have been hidden then.
    let fake = service(&["b:1"], |_, apply| said(apply()));
    assert_eq!(outcomes(&fake, &["a:1 > b:1 PUBLIC"]).await, ["ok"]);
    let last = request(fake.requests().last().unwrap()).updates.remove(0);
    assert_eq!((sizes(&fake), last), (vec![1, -2, 1], update("b:1 PUBLIC")));
    // What stands at the new place while the image is at the old one is another image.
    let fake = service(&["a:1", "b:1"], |_, apply| said(apply()));
    assert_eq!(outcomes(&fake, &["a:1 > b:1"]).await, ["NameTaken"]);
    let fake = service(&[], |_, apply| said(apply()));
    assert_eq!(outcomes(&fake, &FOUR).await, ["NotFound"; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_looked_up_before_it_is_asked_for_again() {
    for effect in [true, false] {
        let fake = service(&THERE, move |number, apply| match number {
            0 if effect => {
                apply();
                Reply::Broken { sent: true }
            }
            0 => Reply::detail(502, "Bad Gateway"),
            _ => said(apply()),
        });
        assert_eq!(outcomes(&fake, &FOUR).await, ["ok"; 4], "{effect}");
        // A visibility may be set twice.
        assert_eq!(sizes(&fake), [4, -6, if effect { 1 } else { 4 }], "{effect}");
    }
    // It takes effect after it was looked for, and is refused then.
    let fake = service(&["a:1"], |number, apply| {
        if number == 0 {
            return Reply::Broken { sent: true };
        }
        apply();
        said(apply())
    });
    assert_eq!(outcomes(&fake, &["a:1 > b:1"]).await, ["ok"]);
    assert_eq!(sizes(&fake), [1, -2, 1, -2]);
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_does_not_speak_of_is_looked_up() {
    type Odd = fn(&mut Vec<Value>);
    let cases: [(&str, Odd, &[i64]); 6] = [
        ("short", |results| drop(results.pop()), &[4, 1]),
        ("short at its begin", |results| drop(results.remove(0)), &[4, -2]),
        ("in another order", |results| results.reverse(), &[4]),
        ("no word of success", |results| results[1] = json!({}), &[4, -2]),
        ("spelt otherwise", |results| results[0]["source"]["name"] = json!("prime/me/A"), &[4]),
        ("of another image", |results| results[0]["source"]["name"] = json!("z"), &[4, -2]),
    ];
    for (case, odd, expected) in cases {
        let fake = service(&THERE, move |number, apply| {
            let mut results = apply();
            if number == 0 {
                odd(&mut results);
            }
            said(results)
        });
        assert_eq!(outcomes(&fake, &FOUR).await, ["ok"; 4], "{case}");
        assert_eq!(sizes(&fake), expected, "{case}");
    }
    let short = service(&THERE, |_, apply| {
        let mut results = apply();
        results.pop();
        said(results)
    });
    assert_eq!(
        outcomes(&short, &FOUR).await,
        ["ok", "ok", "ok", "ResponseLost"].map(str::to_owned)
    );
    assert_eq!(short.requests().len(), 10, "it is not asked for ever");
}

#[tokio::test(start_paused = true)]
async fn one_that_spoils_a_request_spoils_no_other() {
    let strict = FakeServer::new(move |asked| {
        let request = request(asked);
        let bad = |update: &ImageUpdate| update.set.visibility.as_deref() == Some("BAD");
        if request.updates.iter().any(bad) {
            return Reply::json(
                422,
                &json!({ "errors": [{ "param": "updates", "details": "no" }] }),
            );
        }
        let mut answer = apply(&mut THERE.iter().map(|&at| at.to_owned()).collect(), &request);
        for result in &mut answer {
            result["source"] = Value::Null;
        }
        said(answer)
    });
    let texts = ["a:1 > b:1", "c:1 > c:2", "d:1 BAD", "e:1 PUBLIC"];
    let expected = ["ok", "ok", "Rejected", "ok"].map(str::to_owned);
    assert_eq!(outcomes(&strict, &texts).await, expected);
    assert_eq!(sizes(&strict), [4, 2, 2, 1, 1]);
    let none = FakeServer::script([Reply::detail(404, "Not Found")]);
    assert_eq!(outcomes(&none, &["a:1 PUBLIC", "b:1 PUBLIC"]).await, ["NotFound"; 2]);
    assert_eq!(none.requests().len(), 1, "there is no such endpoint");
    let key = FakeServer::script([Reply::detail(401, "no")]);
    assert_eq!(outcomes(&key, &FOUR).await, ["Unauthorized"; 4]);
    assert_eq!(key.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_looked_up_is_not_known() {
    let fake = FakeServer::new(|asked| {
        let dry_run = request(asked).dry_run;
        if dry_run { Reply::detail(400, "no dry runs") } else { Reply::Broken { sent: true } }
    });
    assert_eq!(outcomes(&fake, &["a:1 > b:1"]).await, ["ResponseLost"]);
    assert_eq!(sizes(&fake), [1, -2]);
    // What is at the new place may be another image, where it is not told what is at the old one.
    let fake = FakeServer::new(|asked| {
        let no = json!({ "success": false, "error": { "code": "forbidden" } });
        let yes = json!({ "success": true });
        if request(asked).dry_run { said(vec![no, yes]) } else { Reply::Broken { sent: true } }
    });
    assert_eq!(outcomes(&fake, &["a:1 > b:1"]).await, ["ResponseLost"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_stops_asks_for_nothing_new() {
    let fake = service(&THERE, |_, apply| said(apply()));
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
async fn refusals_say_why_without_the_key() {
    let refuse = |error: Value| said(vec![json!({ "success": false, "error": error })]);
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
