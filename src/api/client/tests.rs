//! The client and a fake server, under a paused clock.

use std::io::Write;
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::base::limit::Limit;
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
async fn a_request_is_sent_as_documented() {
    let accepted = json!({ "build_id": "b-1", "expires_in": 60 });
    let fake = FakeServer::script([Reply::json(201, &accepted)]);
    let client = Client::fake(&fake);
    let body = BuildImageRequest { image_name: Some("api".to_owned()), ..Default::default() };
    let (mut attempts, stop) = (Attempts::new(Repeat::Safe), CancellationToken::new());
    let results = client.initiate(&body, &mut attempts, None, &stop).await.unwrap();
    assert_eq!(results[0].as_ref().unwrap().expires_in, Some(60 * SEC));
    let request = &fake.requests()[0];
    assert_eq!(request.line, "POST /images/build");
    assert_eq!(request.headers["authorization"], "Bearer k-123");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.body, br#"{"image_name":"api"}"#);
    assert_eq!(fake.notices(), []);
}

#[tokio::test(start_paused = true)]
async fn a_date_in_retry_after_is_by_the_services_clock() {
    let busy = Reply::detail(503, "busy")
        .header("date", "Sat, 01 Aug 2026 12:00:00 GMT")
        .header("retry-after", "Sat, 01 Aug 2026 12:00:09 GMT");
    let fake = FakeServer::script([busy, building()]);
    Client::fake(&fake).status(&id()).await.unwrap();
    assert_eq!(fake.times(), [0, 9]);
}

#[tokio::test(start_paused = true)]
async fn an_html_page_is_a_transient_error() {
    let fake = FakeServer::script([Reply::html(), Reply::html(), building()]);
    Client::fake(&fake).status(&id()).await.unwrap();
    let notices: Vec<String> = fake.notices().iter().map(|notice| format!("{notice:?}")).collect();
    assert_eq!(notices.len(), 2);
    assert!(notices[1].contains("attempt: 2"), "{notices:?}");
    assert!(notices[0].contains("why: \"the service answered with an HTML page instead of JSON\""));
}

/// Returns a reply whose body is compressed.
fn gzip(reply: Reply, coding: &str) -> Reply {
    let Reply::Response { status, headers, body } = reply else { return reply };
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&body).unwrap();
    let body = encoder.finish().unwrap();
    Reply::Response { status, headers, body }.header("content-encoding", coding)
}

#[tokio::test(start_paused = true)]
async fn compressed_responses_are_read() {
    for coding in ["gzip", "GZIP", "x-gzip", "identity, gzip"] {
        let fake = FakeServer::script([gzip(building(), coding)]);
        assert!(Client::fake(&fake).status(&id()).await.is_ok(), "{coding}");
        // The text of an error, too.
        let fake = FakeServer::script([gzip(Reply::detail(403, "no access"), coding)]);
        let error = Client::fake(&fake).status(&id()).await.unwrap_err();
        assert!(error.to_string().contains("no access"), "{coding}: {error}");
    }
    let marked = Reply::new(200, "\u{feff}{\"id\": \"b-1\", \"status\": \"BUILDING\"}");
    assert!(Client::fake(&FakeServer::script([marked])).status(&id()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn unknown_codings_are_errors() {
    for coding in ["deflate", "zstd", "br", "gzip, gzip", "rot13"] {
        let fake = FakeServer::script([building().header("content-encoding", coding)]);
        let error = Client::fake(&fake).status(&id()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadResponse, "{error}");
        assert!(error.to_string().contains(&format!("content coding `{coding}`")), "{error}");
        // The status of an error says enough.
        let denied = Reply::detail(403, "no access").header("content-encoding", coding);
        let error = Client::fake(&FakeServer::script([denied])).status(&id()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Forbidden, "{error}");
    }
    let bomb = gzip(Reply::new(200, vec![b' '; 17 << 20]), "gzip");
    let error = Client::fake(&FakeServer::script([bomb])).status(&id()).await.unwrap_err();
    assert!(error.to_string().contains("larger than 16 MiB"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_unreached_service_is_given_up_within_seconds() {
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
async fn an_outage_is_waited_out_for_a_limited_time() {
    let busy = |after: &str| Reply::detail(503, "busy").header("retry-after", after);
    for (reply, requests, max_secs) in [
        // Backoffs of 92 s to 184 s in all.
        (Reply::Broken { sent: false }, 1 + 10, 184),
        // Each attempt takes a minute.
        (Reply::Silence, 1 + 10, 184 + 9 * 60),
        (busy("120"), 1 + 8, 840),
        (busy("3600"), 1 + 8, 840),
        // More than an hour counts as nothing.
        (busy("86400"), 1 + 10, 184),
    ] {
        let fake = FakeServer::script([building(), reply.clone()]);
        let client = Client::fake(&fake);
        client.status(&id()).await.unwrap();
        let error = client.status(&id()).await.unwrap_err();
        assert_eq!(fake.requests().len(), requests, "{reply:?} {error}");
        let elapsed = *fake.times().last().unwrap();
        assert!((max_secs / 2..=max_secs).contains(&elapsed), "{reply:?} {elapsed}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_response_is_lost() {
    for (reply, after, message) in [
        (Reply::Silence, 60, "no data for 60 s"),
        (Reply::Trickle(31 * SEC), 30, "no data for 30 s"),
        (Reply::Trickle(29 * SEC), 120, "the response was not complete in time"),
    ] {
        let fake = FakeServer::script([reply]);
        let start = tokio::time::Instant::now();
        let attempts = Attempts::new(Repeat::Safe).at_most(1);
        let client = Client::fake(&fake);
        let error = client.status_within(&id(), attempts).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::ResponseLost);
        assert_eq!((start.elapsed().as_secs(), &*error.message), (after, message));
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_may_take_longer() {
    for (reply, after) in [(Reply::Silence, 180), (Reply::Trickle(29 * SEC), 240)] {
        let fake = FakeServer::script([reply]);
        let client = Client::fake(&fake).with_max_attempts(1);
        for build in [true, false] {
            let (mut attempts, stop) = (Attempts::new(Repeat::Safe), CancellationToken::new());
            let start = tokio::time::Instant::now();
            let error = if build {
                let request = BuildImageRequest::default();
                client.initiate(&request, &mut attempts, None, &stop).await.unwrap_err()
            } else {
                client.start(&id(), &mut attempts).await.unwrap_err()
            };
            assert_eq!((error.kind, start.elapsed().as_secs()), (ErrorKind::ResponseLost, after));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirected_read_counts_as_two_requests() {
    let redirect = Reply::new(307, "");
    let fake = FakeServer::script([redirect.header("location", "/api/v1/moved?to=1"), building()]);
    let client = Client::fake_with_limits(&fake, &limit(Class::Status, 3));
    client.status(&id()).await.unwrap();
    assert_eq!(fake.lines(), ["GET /images/build/b-1", "GET /moved?to=1"]);
    assert_eq!(fake.requests()[1].headers["authorization"], "Bearer k-123");
    for _ in 0..2 {
        client.status(&id()).await.unwrap();
    }
    assert_eq!(fake.times(), [0, 0, 0, 60], "both count for the rate limit");
}

#[tokio::test(start_paused = true)]
async fn redirects_to_other_services_are_refused() {
    let elsewhere = "https://u:p@eu.example/api/v1/images/build?sig=s3cr3t&key=k-123";
    let away = Reply::new(301, "<html>Moved</html>");
    let away = away.header("location", elsewhere);
    let fake = FakeServer::script([away]);
    let client = Client::fake(&fake);
    let (mut attempts, stop) = (Attempts::new(Repeat::LookUpFirst), CancellationToken::new());
    let request = BuildImageRequest::default();
    let error = client.initiate(&request, &mut attempts, None, &stop).await.unwrap_err();
    assert_eq!((error.kind, fake.requests().len()), (ErrorKind::Rejected, 1));
    assert_snapshot!(error, @"cannot initiate the build (HTTP 301): redirected to https://eu.example/api/v1/images/build, which is not followed");
    let error = client.status(&id()).await.unwrap_err();
    assert_snapshot!(error, @"cannot query the build's status (HTTP 301): redirected to https://eu.example/api/v1/images/build, which is not followed");
    let endless = Reply::new(302, "").header("location", "/on");
    let fake = FakeServer::script([endless]);
    let error = Client::fake(&fake).status(&id()).await.unwrap_err();
    assert_eq!(fake.requests().len(), 6, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_start_is_returned_for_a_lookup() {
    let no = Reply::detail(500, "oh");
    let fake = FakeServer::script([
        Reply::Broken { sent: false },
        Reply::Broken { sent: true },
        no,
        Reply::html(),
        building(),
    ]);
    let client = Client::fake(&fake);
    let mut attempts = Attempts::new(Repeat::LookUpFirst);
    let mut delays = Vec::new();
    let mut requests = Vec::new();
    while let Err(error) = client.start(&id(), &mut attempts).await {
        delays.push(error.look_up_after.unwrap().as_millis());
        requests.push(fake.requests().len());
    }
    // The request that was never sent is retried; each lost one is returned.
    assert_eq!(requests, [2, 3, 4]);
    for (delay, max) in delays.iter().zip([1000, 2000, 4000]) {
        assert!((max / 2..=max).contains(delay), "{delays:?}");
    }
    assert_eq!(fake.notices().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_refused_class_pauses_adapts_and_reports() {
    let too_many = Reply::detail(429, "Too Many Requests (per-token limit)");
    let fake = FakeServer::script([building(), too_many.clone(), too_many, building()]);
    let client = Client::fake_with_limits(&fake, &limit(Class::Status, 10));
    for _ in 0..14 {
        client.status(&id()).await.unwrap();
    }
    // Two refusals cut the capacity to 7 and then 4 per minute, and use up a slot each. Each minute
    // without a refusal adds 1.
    assert_eq!(fake.times(), [0, 0, 2, 6, 60, 60, 62, 62, 66, 120, 120, 122, 122, 122, 126, 180]);
    let notices: Vec<String> = fake.notices().iter().map(|notice| format!("{notice:?}")).collect();
    assert_snapshot!(notices.join("\n"), @r#"
    Retry { registry: None, action: "query the build's status", class: Some(Status), attempt: 1, status: Some(429), why: "HTTP 429: Too Many Requests (per-token limit)", wait: 2s }
    RateWait { class: Status, limit: Limit { count: 7, window: 60s }, wait: 2s }
    Retry { registry: None, action: "query the build's status", class: Some(Status), attempt: 2, status: Some(429), why: "HTTP 429: Too Many Requests (per-token limit)", wait: 4s }
    RateWait { class: Status, limit: Limit { count: 4, window: 60s }, wait: 4s }
    RateWait { class: Status, limit: Limit { count: 4, window: 60s }, wait: 54s }
    RateWait { class: Status, limit: Limit { count: 5, window: 60s }, wait: 54s }
    RateWait { class: Status, limit: Limit { count: 6, window: 60s }, wait: 54s }
    "#);
}

#[tokio::test(start_paused = true)]
async fn refused_transfers_pause_those_of_their_owner_and_are_cut() {
    for (text, next) in [
        ("Image transfer rate limit exceeded: 10/10 images", 7),
        ("Source image build rate limit exceeded: 4/10 images", 6),
        ("the transfer limit is reached", 7),
    ] {
        let fake = FakeServer::script([Reply::detail(429, text).header("retry-after", "30")]);
        let client = Client::fake(&fake);
        let stop = CancellationToken::new();
        let (count, mut permit) =
            client.transfer_permit(&Owner::Personal, 10, &stop).await.unwrap();
        assert_eq!(count, 10);
        let mut attempts = Attempts::new(Repeat::LookUpFirst);
        let source_image = Some("a,b".to_owned());
        let request = BuildImageRequest { source_image, ..BuildImageRequest::default() };
        let response = client.initiate(&request, &mut attempts, permit.as_mut(), &stop).await;
        let refusal = TransferRefusal::of(10, &response).unwrap();
        assert_eq!(fake.times(), [0], "the same request is not sent again");
        client.transfers_refused(&refusal, permit.as_mut());
        drop(permit);
        let start = tokio::time::Instant::now();
        let (count, _permit) = client.transfer_permit(&Owner::Personal, 10, &stop).await.unwrap();
        assert_eq!((count, start.elapsed().as_secs()), (next, 30), "{text}");
        // Other owners have their own limits.
        let team = Owner::Team("t".to_owned());
        assert_eq!(client.transfer_permit(&team, 90, &stop).await.unwrap().0, 60);
        assert_eq!(client.transfer_permit(&Owner::Platform, 90, &stop).await.unwrap().0, 90);
        // Images that were sent without a permit count for the personal account.
        client.transfers_refused(&refusal, None);
        let start = tokio::time::Instant::now();
        client.transfer_permit(&Owner::Personal, 1, &stop).await.unwrap();
        assert!(start.elapsed() >= SEC, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_waits() {
    let too_many = Reply::detail(429, "slow down").header("retry-after", "100");
    let fake = FakeServer::script([too_many]);
    let client = Client::fake(&fake);
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(5 * SEC).await;
        stopper.cancel();
    });
    let start = tokio::time::Instant::now();
    let mut attempts = Attempts::new(Repeat::LookUpFirst);
    let request = BuildImageRequest::default();
    let error = client.initiate(&request, &mut attempts, None, &stop).await.unwrap_err();
    assert_eq!((error.kind, start.elapsed().as_secs()), (ErrorKind::Stopped, 5));
    let error = client.transfer_permit(&Owner::Personal, 1, &stop).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Stopped);
}

#[tokio::test(start_paused = true)]
async fn requests_that_were_never_sent_use_no_slots() {
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
async fn a_stalled_upload_is_sent_again() {
    let fake = FakeServer::script([Reply::Silence, Reply::detail(429, ""), Reply::detail(200, "")]);
    let client = Client::fake(&fake);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"context").unwrap();
    let url = SignedUrl::new("https://storage/up?sig=s3cr3t".to_owned());
    let mut attempts = Attempts::new(Repeat::Safe);
    let upload = || client.upload(&url, file.try_clone().unwrap(), 7);
    let start = tokio::time::Instant::now();
    let lost = upload().await.unwrap_err();
    assert_eq!((lost.kind, start.elapsed().as_secs()), (ErrorKind::ResponseLost, 120));
    assert!(client.retry_upload_after(&lost, &mut attempts).is_some());
    let busy = upload().await.unwrap_err();
    let delay = client.retry_upload_after(&busy, &mut attempts).unwrap();
    assert!(delay >= SEC / 4, "uploads have no rate limit: {delay:?}");
    upload().await.unwrap();
    assert_eq!(fake.requests()[2].headers["content-length"], "7");
    assert!(!format!("{:?}", fake.notices()).contains("s3cr3t"));
    let none = client.upload(&SignedUrl::new("none".to_owned()), file, 7).await.unwrap_err();
    assert_eq!(
        (none.kind, client.retry_upload_after(&none, &mut attempts)),
        (ErrorKind::Misdirected, None)
    );
}

/// The context must not go to an address that a hostile service, or one that was taken over, names.
#[tokio::test]
async fn upload_urls_are_judged() {
    let fake = FakeServer::script([]);
    let client = Client::fake(&fake);
    for url in [
        "http://storage/up",
        "http://127.0.0.1:9000/up",
        "https://localhost/up",
        "https://169.254.169.254/latest",
        "https://user:secret@storage/up",
        "file:///etc/passwd",
    ] {
        let file = tempfile::tempfile().unwrap();
        let error = client.upload(&SignedUrl::new(url.to_owned()), file, 0).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misdirected, "{url}");
        let mut attempts = Attempts::new(Repeat::Safe);
        assert_eq!(client.retry_upload_after(&error, &mut attempts), None, "{url}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert!(fake.requests().is_empty());
}

#[test]
fn the_next_offset_depends_on_the_granted_limit() {
    let granted = json!(50);
    for (offset, rows, limit, total, expected) in [
        (0, 100, None, Some(250), Some(100)),
        (200, 50, None, Some(250), None),
        // Without a total, a partly filled page is the last.
        (0, 100, None, None, Some(100)),
        (0, 99, None, None, None),
        (0, 50, Some(&granted), None, Some(50)),
        (50, 50, Some(&granted), Some(100), None),
        // A wrong total does not lead to endless pages.
        (300, 0, None, Some(1000), None),
        (0, 100, Some(&json!(0)), None, Some(100)),
    ] {
        assert_eq!(
            next_offset(offset, rows, (BUILDS_PER_PAGE, limit), total),
            expected,
            "{offset} {rows} {limit:?} {total:?}"
        );
    }
}
