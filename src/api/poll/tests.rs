//! Polls of a fake server.

use serde_json::{Value, json};

use super::*;
use crate::api::BuildProgress;
use crate::http::fake::{FakeServer, Reply};

fn id(number: usize) -> BuildId {
    BuildId::new(format!("b-{number}")).unwrap()
}

fn ids(numbers: impl IntoIterator<Item = usize>) -> Vec<BuildId> {
    numbers.into_iter().map(id).collect()
}

fn row(number: usize) -> Value {
    json!({ "id": format!("b-{number}"), "status": "BUILDING" })
}

/// Creates a service with builds of the numbers `0..builds`. It lists some of them, newest first.
fn service(builds: usize, listed: fn(usize) -> bool) -> std::sync::Arc<FakeServer> {
    FakeServer::new(move |request| {
        if let Some(number) = request.line.strip_prefix("GET /images/build/b-") {
            let number: usize = number.parse().unwrap();
            let exists = number < builds;
            return if exists { Reply::json(200, &row(number)) } else { Reply::detail(404, "no") };
        }
        let query = request.line.strip_prefix("GET /images/builds?offset=").unwrap();
        let (offset, limit) = query.split_once("&limit=").unwrap();
        let (offset, limit): (usize, usize) = (offset.parse().unwrap(), limit.parse().unwrap());
        let all: Vec<usize> = (0..builds).rev().filter(|number| listed(*number)).collect();
        let page: Vec<Value> = all.iter().skip(offset).take(limit).map(|n| row(*n)).collect();
        Reply::json(200, &json!({ "data": page, "total_count": all.len() }))
    })
}

/// Polls builds. Returns the number of builds found, of pages, and of single requests.
async fn poll_counts(
    fake: &std::sync::Arc<FakeServer>,
    builds: &[BuildId],
    state: &mut PollState,
) -> (usize, usize, usize) {
    let before = fake.lines().len();
    let found = poll_builds(&Client::fake(fake), builds, state).await;
    assert!(found.iter().map(|(build, _)| build).eq(builds), "in order");
    let lines = fake.lines().split_off(before);
    let pages = lines.iter().filter(|line| line.contains("offset")).count();
    assert_eq!(state.cost() as usize, lines.len());
    (found.iter().filter(|(_, view)| view.is_ok()).count(), pages, lines.len() - pages)
}

#[tokio::test(start_paused = true)]
async fn a_few_builds_are_polled_singly_and_many_by_the_listing() {
    let fake = service(1000, |_| true);
    let mut state = PollState::default();
    assert_eq!(poll_counts(&fake, &ids(0..3), &mut state).await, (3, 0, 3));
    assert_eq!(poll_counts(&fake, &ids(900..1000), &mut state).await, (100, 1, 0));
    assert_eq!(poll_counts(&fake, &ids(750..1000), &mut state).await, (250, 3, 0));
    assert_eq!(
        poll_counts(&fake, &ids([0, 999, 998, 997]), &mut state).await,
        (4, 3, 1),
        "two pages without a polled build"
    );
    assert_eq!(poll_counts(&fake, &ids([999, 998, 5000, 899]), &mut state).await, (3, 4, 1));
    assert_eq!(poll_counts(&fake, &[], &mut state).await, (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn many_builds_are_found_behind_newer_builds_of_others() {
    let fake = service(1000, |_| true);
    let mut state = PollState::default();
    assert_eq!(poll_counts(&fake, &ids(300..500), &mut state).await, (200, 7, 0));
    assert_eq!(poll_counts(&fake, &ids(300..305), &mut state).await, (5, 5, 5), "not for a few");
}

#[tokio::test(start_paused = true)]
async fn many_builds_are_found_between_those_of_other_runs() {
    let fake = service(10_000, |_| true);
    // Each run has its builds side by side.
    let oldest = ids(4000..4375);
    assert_eq!(poll_counts(&fake, &oldest, &mut PollState::default()).await, (375, 60, 0));
    let one_of_80 = ids((4000..10_000).step_by(80));
    assert_eq!(poll_counts(&fake, &one_of_80, &mut PollState::default()).await, (75, 20, 50));
}

#[tokio::test(start_paused = true)]
async fn a_useless_listing_is_suspended() {
    let fake = service(1000, |number| number < 500);
    let mut state = PollState::default();
    let team = ids(500..510);
    for _ in 0..2 {
        assert_eq!(poll_counts(&fake, &team, &mut state).await, (10, 6, 10));
    }
    for _ in 0..3 {
        assert_eq!(poll_counts(&fake, &team, &mut state).await, (10, 0, 10));
    }
    tokio::time::advance(FIRST_SUSPENSION).await;
    assert_eq!(poll_counts(&fake, &team, &mut state).await, (10, 6, 10), "listed again");
    tokio::time::advance(FIRST_SUSPENSION).await;
    assert_eq!(poll_counts(&fake, &team, &mut state).await, (10, 0, 10), "suspended for longer");
    tokio::time::advance(FIRST_SUSPENSION).await;
    assert_eq!(poll_counts(&fake, &ids(490..500), &mut state).await, (10, 1, 0));
    assert_eq!(poll_counts(&fake, &team, &mut state).await, (10, 6, 10), "it was useful");
    assert_eq!(poll_counts(&fake, &ids(490..500), &mut state).await, (10, 1, 0));
}

#[test]
fn suspensions_double_up_to_ten_minutes() {
    let (mut state, start) = (PollState::default(), Instant::now());
    let mut suspend = || {
        state.suspend(start);
        (state.suspended_until.unwrap() - start).as_secs()
    };
    let lengths: Vec<u64> = (0..9).map(|_| suspend()).collect();
    assert_eq!(lengths, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    state.record_listing(true, start);
    state.suspend(start);
    assert_eq!((state.suspended_until.unwrap() - start).as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn one_bad_response_suspends_the_listing_briefly() {
    let not_found = Reply::new(404, "default backend - 404");
    for bad in [Reply::detail(404, "no"), not_found, Reply::html()] {
        let (began, reply) = (Instant::now(), bad.clone());
        let rows: Vec<Value> = (0..9).map(row).collect();
        let fake = FakeServer::new(move |request| match request.line.contains("offset") {
            true if began.elapsed() < Duration::from_secs(3) => reply.clone(),
            true => Reply::json(200, &json!({ "data": rows })),
            false => Reply::json(200, &row(1)),
        });
        let client = Client::fake(&fake);
        let mut state = PollState::quick();
        for (advance, requests) in [(0, 10), (4, 9), (1, 1)] {
            tokio::time::advance(Duration::from_secs(advance)).await;
            poll_builds(&client, &ids(0..9), &mut state).await;
            assert_eq!(state.cost(), requests, "{bad:?}");
        }
    }
}

#[test]
fn the_maximum_number_of_pages_grows_with_the_builds() {
    let table = [(1, 20), (83, 20), (84, 21), (375, 93), (5000, 1250)];
    for (builds, pages) in table {
        assert_eq!(max_pages(builds), pages, "{builds}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_listing_builds_are_polled_singly() {
    for status in [403, 404, 405, 422] {
        let fake = FakeServer::new(move |request| {
            let is_page = request.line.contains("offset");
            if is_page { Reply::detail(status, "no such thing") } else { Reply::json(200, &row(1)) }
        });
        let mut state = PollState::default();
        assert_eq!(poll_counts(&fake, &ids(0..9), &mut state).await, (9, 1, 9), "{status}");
        assert_eq!(poll_counts(&fake, &ids(0..9), &mut state).await, (9, 0, 9), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transient_error_of_the_listing_affects_all() {
    for (reply, attempts) in [
        (Reply::Broken { sent: true }, 3),
        (Reply::detail(503, ""), 3),
        (Reply::detail(401, ""), 1),
    ] {
        let fake = FakeServer::script([reply]);
        let client = Client::fake(&fake);
        let found = poll_builds(&client, &ids(0..50), &mut PollState::quick()).await;
        assert_eq!((found.len(), fake.lines().len()), (50, attempts));
        assert!(found.iter().all(|(_, view)| view == &found[0].1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_build_does_not_affect_the_others() {
    let fake = FakeServer::new(|request| match request.line.as_str() {
        "GET /images/build/b-1" => Reply::detail(500, "oh"),
        _ => Reply::json(200, &json!({ "status": "COMPLETED" })),
    });
    let found = poll_builds(&Client::fake(&fake), &ids(0..3), &mut PollState::quick()).await;
    let ended =
        |at: usize| matches!(&found[at].1, Ok(view) if view.progress == BuildProgress::Completed);
    assert!(ended(0) && !ended(1) && ended(2));
    assert_eq!(fake.lines().len(), 2 + 3);
}
