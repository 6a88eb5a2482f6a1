//! The client against a service inside the process, under a clock that jumps.

use std::io::Write;
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::base::secret::SignedUrl;
use crate::http::fake::{FakeServer, Reply};

const SEC: Duration = Duration::from_secs(1);

fn id() -> BuildId {
    BuildId::new("b-1").unwrap()
}

fn building() -> Reply {
    Reply::json(200, &json!({ "id": "b-1", "status": "BUILDING" }))
}

fn limit(class: Class, count: u32) -> [(Class, Limit); 1] {
    [(class, Limit { count, window: 60 * SEC })]
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_out_and_comes_back_without_a_network() {
    let accepted = json!({ "build_id": "b-1", "expires_in": 60 });
    let fake = FakeServer::script([Reply::json(201, &accepted)]);
    let client = Client::fake(&fake);
    let request = BuildImageRequest { image_name: Some("api".to_owned()), ..Default::default() };
    let (mut tries, stop) = (Attempts::new(Repeat::Safe), CancellationToken::new());
    let results = client.initiate(&request, &mut tries, None, &stop).await.unwrap();
    assert_eq!(results[0].as_ref().unwrap().expires_in, Some(60 * SEC));
    let asked = &fake.requests()[0];
    assert_eq!(asked.line, "POST /images/build");
    assert_eq!(asked.headers["authorization"], "Bearer k-123");
    assert_eq!(asked.headers["content-type"], "application/json");
    assert_eq!(asked.body, br#"{"image_name":"api"}"#);
    assert_eq!(fake.notices(), []);
}

#[tokio::test(start_paused = true)]
async fn a_date_to_come_back_at_is_by_the_services_own_clock() {
    let busy = Reply::detail(503, "busy")
        .header("date", "Sat, 01 Aug 2026 12:00:00 GMT")
        .header("retry-after", "Sat, 01 Aug 2026 12:00:09 GMT");
    let fake = FakeServer::script([busy, building()]);
    Client::fake(&fake).status(&id()).await.unwrap();
    assert_eq!(fake.times(), [0, 9]);
}

#[tokio::test(start_paused = true)]
async fn a_page_for_people_passes() {
    let fake = FakeServer::script([Reply::html(), Reply::html(), building()]);
    Client::fake(&fake).status(&id()).await.unwrap();
    let notices: Vec<String> = fake.notices().iter().map(|notice| format!("{notice:?}")).collect();
    assert_eq!(notices.len(), 2);
    assert!(notices[1].contains("attempt: 2"), "{notices:?}");
    assert!(notices[0].contains("why: \"the service answered with an HTML page instead of JSON\""));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_never_reached_is_given_up_within_seconds() {
    for (reply, requests) in
        [(Reply::Broken { sent: false }, 4), (Reply::Broken { sent: true }, 4), (Reply::html(), 3)]
    {
        let fake = FakeServer::script([reply]);
        let error = Client::fake(&fake).status(&id()).await.unwrap_err();
        assert_eq!(fake.requests().len(), requests, "{error}");
        assert!(*fake.times().last().unwrap() < 4, "{error}");
        assert_eq!(error.stops_run(), error.kind != ErrorKind::ResponseLost, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_out_but_not_for_ever() {
    let busy = |after: &str| Reply::detail(503, "busy").header("retry-after", after);
    for (reply, requests, longest) in [
        // Waits of half to the whole of 184 s.
        (Reply::Broken { sent: false }, 1 + 10, 184),
        // Each a minute in coming.
        (Reply::Silence, 1 + 10, 184 + 9 * 60),
        (busy("120"), 1 + 8, 840),
        (busy("86400"), 1 + 8, 840),
    ] {
        let fake = FakeServer::script([building(), reply.clone()]);
        let client = Client::fake(&fake);
        client.status(&id()).await.unwrap();
        let error = client.status(&id()).await.unwrap_err();
        assert_eq!(fake.requests().len(), requests, "{reply:?} {error}");
        let took = *fake.times().last().unwrap();
        assert!((longest / 2..=longest).contains(&took), "{reply:?} {took}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_end_is_lost() {
    for (reply, after, message) in [
        (Reply::Silence, 60, "nothing came for 60 s"),
        (Reply::Trickle(31 * SEC), 30, "nothing came for 30 s"),
        (Reply::Trickle(29 * SEC), 120, "it was not at its end in time"),
    ] {
        let fake = FakeServer::script([reply]);
        let began = tokio::time::Instant::now();
        let tries = Attempts::new(Repeat::Safe).at_most(1);
        let client = Client::fake(&fake);
        let error = client.status_within(&id(), tries).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::ResponseLost);
        assert_eq!((began.elapsed().as_secs(), &*error.message), (after, message));
    }
}

#[tokio::test(start_paused = true)]
async fn what_asks_for_something_new_may_take_longer() {
    for (reply, after) in [(Reply::Silence, 180), (Reply::Trickle(29 * SEC), 240)] {
        let fake = FakeServer::script([reply]);
        let client = Client::fake(&fake).with_max_attempts(1);
        for build in [true, false] {
            let (mut tries, stop) = (Attempts::new(Repeat::Safe), CancellationToken::new());
            let began = tokio::time::Instant::now();
            let error = if build {
                let request = BuildImageRequest::default();
                client.initiate(&request, &mut tries, None, &stop).await.unwrap_err()
            } else {
                client.start(&id(), &mut tries).await.unwrap_err()
            };
            assert_eq!((error.kind, began.elapsed().as_secs()), (ErrorKind::ResponseLost, after));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_sent_on_within_the_service_takes_two_turns() {
    let on = Reply::new(307, "");
    let fake = FakeServer::script([on.header("location", "/api/v1/moved?to=1"), building()]);
    let client = Client::fake_with_limits(&fake, &limit(Class::Status, 3));
    client.status(&id()).await.unwrap();
    assert_eq!(fake.lines(), ["GET /images/build/b-1", "GET /moved?to=1"]);
    assert_eq!(fake.requests()[1].headers["authorization"], "Bearer k-123");
    for _ in 0..2 {
        client.status(&id()).await.unwrap();
    }
    assert_eq!(fake.times(), [0, 0, 0, 60], "each is a request of its class");
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_elsewhere_does_not_go_there() {
    let elsewhere = "https://u:p@eu.example/api/v1/images/build?sig=s3cr3t&key=k-123";
    let away = Reply::new(301, "<html>Moved</html>");
    let away = away.header("location", elsewhere);
    let fake = FakeServer::script([away]);
    let client = Client::fake(&fake);
    let (mut tries, stop) = (Attempts::new(Repeat::LookUpFirst), CancellationToken::new());
    let request = BuildImageRequest::default();
    let error = client.initiate(&request, &mut tries, None, &stop).await.unwrap_err();
    assert_eq!((error.kind, fake.requests().len()), (ErrorKind::Rejected, 1));
    assert_snapshot!(error, @"cannot initiate the build (HTTP 301): it is redirected to https://eu.example/api/v1/images/build: set PRIME_API_BASE_URL to https://eu.example");
    let error = client.status(&id()).await.unwrap_err();
    assert_snapshot!(error, @"cannot ask for the build's status (HTTP 301): it is redirected to https://eu.example/api/v1/images/build: set PRIME_API_BASE_URL to where the service is");
    let on = Reply::new(302, "").header("location", "/on");
    let fake = FakeServer::script([on]);
    let error = Client::fake(&fake).status(&id()).await.unwrap_err();
    assert_eq!(fake.requests().len(), 6, "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_asks_for_something_new_is_looked_up_first() {
    let no = Reply::detail(500, "oh");
    let fake = FakeServer::script([
        Reply::Broken { sent: false },
        Reply::Broken { sent: true },
        no,
        Reply::html(),
        building(),
    ]);
    let client = Client::fake(&fake);
    let mut tries = Attempts::new(Repeat::LookUpFirst);
    let mut looks = Vec::new();
    let mut requests = Vec::new();
    while let Err(error) = client.start(&id(), &mut tries).await {
        looks.push(error.look_up_after.unwrap().as_millis());
        requests.push(fake.requests().len());
    }
    // What was never sent is sent again at once; of the rest each is returned.
    assert_eq!(requests, [2, 3, 4]);
    for (look, most) in looks.iter().zip([1000, 2000, 4000]) {
        assert!((most / 2..=most).contains(look), "{looks:?}");
    }
    assert_eq!(fake.notices().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_refused_class_waits_and_learns_and_tells() {
    let too_many = Reply::detail(429, "Too Many Requests (per-token limit)");
    let fake = FakeServer::script([building(), too_many.clone(), too_many, building()]);
    let client = Client::fake_with_limits(&fake, &limit(Class::Status, 10));
    for _ in 0..14 {
        client.status(&id()).await.unwrap();
    }
    // Two refusals cut what is let through to 7, then 4 in any minute; the two that were refused
    // are used up. Each minute without a refusal after the one at 2 s adds one.
    assert_eq!(fake.times(), [0, 0, 2, 6, 60, 60, 62, 62, 66, 120, 120, 122, 122, 122, 126, 180]);
    let notices: Vec<String> = fake.notices().iter().map(|notice| format!("{notice:?}")).collect();
    assert_snapshot!(notices.join("\n"), @r#"
    Retry { registry: None, action: "ask for the build's status", class: Some(Status), attempt: 1, status: Some(429), why: "HTTP 429: Too Many Requests (per-token limit)", wait: 2s }
    RateWait { class: Status, limit: Limit { count: 7, window: 60s }, wait: 2s }
    Retry { registry: None, action: "ask for the build's status", class: Some(Status), attempt: 2, status: Some(429), why: "HTTP 429: Too Many Requests (per-token limit)", wait: 4s }
    RateWait { class: Status, limit: Limit { count: 4, window: 60s }, wait: 4s }
    RateWait { class: Status, limit: Limit { count: 4, window: 60s }, wait: 54s }
    RateWait { class: Status, limit: Limit { count: 5, window: 60s }, wait: 54s }
    RateWait { class: Status, limit: Limit { count: 6, window: 60s }, wait: 54s }
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_refused_transfer_holds_back_the_transfers_of_its_owner() {
    let text = "Image transfer rate limit exceeded: 10/10 images";
    let refused = Reply::detail(429, text).header("retry-after", "30");
    let accepted = Reply::json(201, &json!({ "build_id": "b-1" }));
    let fake = FakeServer::script([refused, accepted]);
    let client = Client::fake(&fake);
    let stop = CancellationToken::new();
    let (count, mut turn) = client.transfer_permit(&Owner::Personal, 3, &stop).await.unwrap();
    assert_eq!(count, 3);
    let mut tries = Attempts::new(Repeat::LookUpFirst);
    let request = BuildImageRequest::default();
    client.initiate(&request, &mut tries, turn.as_mut(), &stop).await.unwrap();
    assert_eq!(fake.times(), [0, 30]);
    // What was refused counts as used, and less is let through: 7 - 3 - 3.
    let (count, turn) = client.transfer_permit(&Owner::Personal, 9, &stop).await.unwrap();
    assert_eq!(count, 1);
    // Builds are another budget, and other owners another account.
    let mut tries = Attempts::new(Repeat::Safe);
    client.initiate(&request, &mut tries, None, &stop).await.unwrap();
    let team = Owner::Team("t".to_owned());
    assert_eq!(client.transfer_permit(&team, 90, &stop).await.unwrap().0, 60);
    assert_eq!(client.transfer_permit(&Owner::Platform, 90, &stop).await.unwrap().0, 90);
    assert_eq!(fake.times(), [0, 30, 30]);
    drop(turn);
}

#[tokio::test(start_paused = true)]
async fn to_stop_ends_waits() {
    let too_many = Reply::detail(429, "slow down").header("retry-after", "100");
    let fake = FakeServer::script([too_many]);
    let client = Client::fake(&fake);
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(5 * SEC).await;
        stopper.cancel();
    });
    let began = tokio::time::Instant::now();
    let mut tries = Attempts::new(Repeat::LookUpFirst);
    let request = BuildImageRequest::default();
    let error = client.initiate(&request, &mut tries, None, &stop).await.unwrap_err();
    assert_eq!((error.kind, began.elapsed().as_secs()), (ErrorKind::Stopped, 5));
    let error = client.transfer_permit(&Owner::Personal, 1, &stop).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Stopped);
}

#[tokio::test(start_paused = true)]
async fn what_never_left_uses_nothing_up() {
    let fake = FakeServer::script([
        building(),
        Reply::Broken { sent: false },
        Reply::Broken { sent: false },
        building(),
    ]);
    let client = Client::fake_with_limits(&fake, &limit(Class::Status, 3));
    for _ in 0..3 {
        client.status(&id()).await.unwrap();
    }
    assert_eq!(fake.requests().len(), 5);
    assert!(*fake.times().last().unwrap() < 2);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stands_still_is_lost_and_begun_anew() {
    let fake = FakeServer::script([Reply::Silence, Reply::detail(429, ""), Reply::detail(200, "")]);
    let client = Client::fake(&fake);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"context").unwrap();
    let url = SignedUrl::new("https://storage/up?sig=s3cr3t".to_owned());
    let mut tries = Attempts::new(Repeat::Safe);
    let upload = || client.upload(&url, file.try_clone().unwrap(), 7);
    let began = tokio::time::Instant::now();
    let lost = upload().await.unwrap_err();
    assert_eq!((lost.kind, began.elapsed().as_secs()), (ErrorKind::ResponseLost, 120));
    assert!(client.retry_upload_after(&lost, &mut tries).is_some());
    let busy = upload().await.unwrap_err();
    let wait = client.retry_upload_after(&busy, &mut tries).unwrap();
    assert!(wait >= SEC / 4, "no budget paces uploads: {wait:?}");
    upload().await.unwrap();
    assert_eq!(fake.requests()[2].headers["content-length"], "7");
    assert!(!format!("{:?}", fake.notices()).contains("s3cr3t"));
    let none = client.upload(&SignedUrl::new("none".to_owned()), file, 7).await.unwrap_err();
    assert_eq!(
        (none.kind, client.retry_upload_after(&none, &mut tries)),
        (ErrorKind::Rejected, None)
    );
}

#[test]
fn pages_go_on_by_what_the_service_grants() {
    let granted = json!(50);
    for (offset, rows, limit, total, expected) in [
        (0, 100, None, Some(250), Some(100)),
        (200, 50, None, Some(250), None),
        // Without a total, a page that is not full is the last.
        (0, 100, None, None, Some(100)),
        (0, 99, None, None, None),
        (0, 50, Some(&granted), None, Some(50)),
        (50, 50, Some(&granted), Some(100), None),
        // A total that is wrong does not lead on for ever.
        (300, 0, None, Some(1000), None),
        (0, 100, Some(&json!(0)), None, Some(100)),
    ] {
        assert_eq!(
            next(offset, rows, (BUILDS_PER_PAGE, limit), total),
            expected,
            "{offset} {rows} {limit:?} {total:?}"
        );
    }
}
